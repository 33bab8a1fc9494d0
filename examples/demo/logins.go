package main

import (
	"context"
	"slices"
	"sync"

	"github.com/oidcgate/oidcgate"
)

// identity is the key of a user: a subject counts only at its issuer. An e-mail address is no key,
// because a provider may give it to anybody.
type identity struct{ issuer, subject string }

func keyOf(id *oidcgate.Identity) identity { return identity{id.Issuer(), id.Subject()} }

// login is an identity with which a customer may log in.
type login struct {
	key            identity
	Provider, Name string
}

// customer is somebody who buys tea. Most have one login.
type customer struct {
	Name   string
	Logins []login
}

func (c customer) has(provider string) bool {
	return slices.ContainsFunc(c.Logins, func(l login) bool { return l.Provider == provider })
}

// customers has those who linked several logins. It is lost when the demo ends; a shop has this
// table in its database.
type customers struct {
	mu  sync.Mutex
	all map[identity]customer
}

// find returns the customer with that login. Without an entry it is a customer with this login alone.
func (c *customers) find(id *oidcgate.Identity) customer {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.locked(id)
}

func (c *customers) locked(id *oidcgate.Identity) customer {
	if known, ok := c.all[keyOf(id)]; ok {
		return known
	}
	return customer{id.Name(), []login{loginOf(id)}}
}

func loginOf(id *oidcgate.Identity) login { return login{keyOf(id), id.ProviderName(), id.Name()} }

// link is Config.OnLink. The customer has just logged in with the second identity too, and from now
// on logs in with either. A login that another customer linked is refused.
func (c *customers) link(_ context.Context, linking *oidcgate.Linking) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	first, second := c.locked(linking.First()), loginOf(linking.Second())
	if slices.ContainsFunc(first.Logins, func(l login) bool { return l.key == second.key }) {
		return nil // they are linked already
	}
	if _, taken := c.all[second.key]; taken {
		return oidcgate.Deny("This login belongs to another customer.")
	}
	first.Logins = append(slices.Clone(first.Logins), second)
	for _, l := range first.Logins {
		c.all[l.key] = first
	}
	return nil
}

// way is a way to log in, on the account page.
type way struct {
	Label, Name string
	This        bool   // the customer logged in with it
	LinkURL     string // where a login at this provider is linked; empty if one is
}

// ways lists the logins of the customer, and the providers at which another could be linked. It is
// empty if there is one provider only.
func (s *shop) ways(ctx context.Context, id *oidcgate.Identity) ([]way, error) {
	if len(s.providers) == 1 {
		return nil, nil
	}
	c, list := s.customers.find(id), []way(nil)
	for _, l := range c.Logins {
		list = append(list, way{Label: s.label(l.Provider), Name: l.Name, This: l.key == keyOf(id)})
	}
	for _, p := range s.providers {
		if c.has(p.Name) {
			continue
		}
		address, err := s.gate.LinkURL(ctx, p.Name, "/account")
		if err != nil {
			return nil, err
		}
		list = append(list, way{Label: p.Label, LinkURL: address})
	}
	return list, nil
}

// label returns the name of a provider that visitors see.
func (s *shop) label(provider string) string {
	i := slices.IndexFunc(s.providers, func(p oidcgate.Provider) bool { return p.Name == provider })
	if i < 0 {
		return provider
	}
	return s.providers[i].Label
}
