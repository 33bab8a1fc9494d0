package front

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/oidcgate/oidcgate/internal/attempt"
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

// at is where the provider's logins take place.
func (up *Provider) at() attempt.At {
	return attempt.At{Provider: up.Name, Client: attempt.ClientOf(up.Issuer, up.ClientID)}
}

// Providers are the providers of a gate. They may be replaced while requests are served: whoever
// needs a provider asks for it and keeps it no longer than its request. The zero value has none.
type Providers struct{ current atomic.Pointer[[]*Provider] }

// Replace puts other providers in place of all. Requests under way go on with those they have. One
// that takes the place of another of its name knows what that has learned.
func (p *Providers) Replace(all []*Provider) {
	for _, up := range all {
		if before := p.Find(up.Name); before != nil {
			up.Client.Inherit(before.Client)
		}
	}
	p.current.Store(&all)
}

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
		if up.ThirdParty && (up.Issuer == issuer || up.Client != nil && up.Client.Accepts(issuer)) {
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

// Ready returns nil when the metadata of one provider is known. If none is, it asks all at once and
// waits for the first that answers: one that hangs says nothing about the others.
func (p *Providers) Ready(ctx context.Context) error {
	all := p.All()
	for _, up := range all {
		if _, known := up.Client.Known(); known {
			return nil
		}
	}
	answers := make(chan error, len(all))
	for _, up := range all {
		go func() { answers <- up.discover(ctx) }()
	}
	var causes []error
	for range all {
		err := <-answers
		if err == nil {
			return nil
		}
		causes = append(causes, err)
	}
	return errors.Join(causes...)
}

// discover fetches the metadata. Its error names the provider and the cure.
func (up *Provider) discover(ctx context.Context) error {
	_, err := up.Client.Metadata(ctx)
	if err == nil {
		return nil
	}
	err = fmt.Errorf("oidcgate: %s: %w", up.Label, err)
	if e, ok := errors.AsType[*op.Error](err); ok && e.Hint != "" {
		err = fmt.Errorf("%w; %s", err, e.Hint)
	}
	return err
}
