package front

import (
	"sync/atomic"

	"github.com/oidcgate/oidcgate/internal/op"
)

// Provider is one provider of a gate. It is not changed once it is in [Providers].
type Provider struct {
	Name   string
	Label  string // shown to people: the name, or the issuer's host
	Issuer string
	Origin string // of the issuer
	Client *op.Client

	ClientID string
	HasKeys  bool // the client has keys of its own

	ThirdParty bool // others may begin its logins
}

// Providers are the providers of a gate. They may be replaced while requests are served: whoever
// needs a provider asks for it and keeps it no longer than its request. The zero value has none.
type Providers struct{ current atomic.Pointer[[]*Provider] }

// Replace puts other providers in place of all. Requests under way go on with those they have.
func (p *Providers) Replace(all []*Provider) { p.current.Store(&all) }

// All returns the providers in the order in which they are shown. It must not be changed.
func (p *Providers) All() []*Provider {
	if all := p.current.Load(); all != nil {
		return *all
	}
	return nil
}

// Find returns the provider of that name, or nil.
func (p *Providers) Find(name string) *Provider {
	for _, up := range p.All() {
		if up.Name == name {
			return up
		}
	}
	return nil
}

// Initiator returns the provider with that issuer whose logins others may begin, or nil.
func (p *Providers) Initiator(issuer string) *Provider {
	for _, up := range p.All() {
		if up.Issuer == issuer && up.ThirdParty {
			return up
		}
	}
	return nil
}

// ThirdParty reports whether others may begin the logins of any provider.
func (p *Providers) ThirdParty() bool {
	for _, up := range p.All() {
		if up.ThirdParty {
			return true
		}
	}
	return false
}
