package main

import (
	"context"
	"net/http"
	"slices"
	"sync"

	"github.com/oidcgate/oidcgate"
)

// identity is what identifies a user of a provider. An e-mail address does not.
type identity struct {
	Issuer  string `json:"iss"`
	Subject string `json:"sub"`
}

func identityOf(id *oidcgate.Identity) identity { return identity{id.Issuer(), id.Subject()} }

// accounts are the accounts of this service. Each has the identities that log in to it. They are in
// the memory of this process; a real service has them in its database. The zero value is empty.
type accounts struct {
	mu         sync.Mutex
	number     map[identity]int // of the account
	identities [][]identity     // by the number of the account
}

// open returns the account of an identity. It makes one for an identity that has none.
func (a *accounts) open(id *oidcgate.Identity) (number int, identities []identity) {
	a.mu.Lock()
	defer a.mu.Unlock()
	number, known := a.number[identityOf(id)]
	if !known {
		number = len(a.identities)
		a.identities = append(a.identities, nil)
		a.add(number, identityOf(id))
	}
	return number, slices.Clone(a.identities[number])
}

// add attaches an identity to an account. a.mu is held.
func (a *accounts) add(number int, id identity) {
	if a.number == nil {
		a.number = make(map[identity]int)
	}
	a.number[id] = number
	a.identities[number] = append(a.identities[number], id)
}

// link attaches the second identity to the account of the first. It reports whether that is so now:
// an identity of another account stays there.
func (a *accounts) link(first, second *oidcgate.Identity) bool {
	number, _ := a.open(first)
	a.mu.Lock()
	defer a.mu.Unlock()
	other, known := a.number[identityOf(second)]
	if !known {
		a.add(number, identityOf(second))
		return true
	}
	return other == number
}

// onLink lets users attach an identity that has no account yet.
func (s *service) onLink(_ context.Context, l *oidcgate.Linking) error {
	if !s.accounts.link(l.First(), l.Second()) {
		return oidcgate.Deny("This identity belongs to another account.")
	}
	s.logger.Info("rp: one account", "first", identityOf(l.First()), "second", identityOf(l.Second()))
	return nil
}

// accountAnswer is the account in JSON.
type accountAnswer struct {
	Number     int               `json:"account"`
	Identities []identity        `json:"identities"`
	Links      map[string]string `json:"links"` // where an identity is attached, by provider
}

// account tells which identities the user has. It has no guard, like whoami.
func (s *service) account(w http.ResponseWriter, r *http.Request) {
	if s.anonymous(w, r) {
		return
	}
	id, _ := oidcgate.FromContext(r.Context())
	answer := accountAnswer{Links: make(map[string]string)}
	answer.Number, answer.Identities = s.accounts.open(id)
	for _, name := range s.providerNames() {
		link, err := s.gate.LinkURL(r.Context(), name, "/account")
		if s.failed(w, err) {
			return
		}
		answer.Links[name] = link
	}
	s.writeJSON(w, http.StatusOK, answer)
}
