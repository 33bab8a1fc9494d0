package oidcgate

import (
	"context"
	"errors"
	"net/http"

	"github.com/oidcgate/oidcgate/internal/front"
	"github.com/oidcgate/oidcgate/internal/session"
)

// Linking is a second identity that a signed-in user wants to attach to their account, as
// [Config.OnLink] gets it. Do not keep it after OnLink returns.
type Linking struct {
	first, second *Identity
	request       *http.Request
}

// NewLinking returns a linking for tests of an OnLink function.
func NewLinking(first, second *Identity) *Linking { return &Linking{first, second, nil} }

// First returns the identity that is signed in. The session stays this one's.
func (l *Linking) First() *Identity { return l.first }

// Second returns the identity that the user has just proven to have. It has passed every check of a
// login. Save its Issuer and Subject with the account of the first, and look the account up by
// either in OnLogin. Never compare e-mail addresses: whoever controls a provider chooses them.
func (l *Linking) Second() *Identity { return l.second }

// Request returns the request that brought the browser back from the provider, for the visitor's
// language. It is as [Login.Request] is, and nil for [NewLinking].
func (l *Linking) Request() *http.Request { return l.request }

// LinkURL returns the address at which the signed-in visitor of ctx attaches an identity of the
// named provider (Provider.Name; the one without a name is "" or "."): the visitor logs in there,
// [Config.OnLink] decides, and the browser goes to returnTo. The session stays as it is. The
// address works for twelve hours and for this session alone. Use it for links that open in the same
// tab.
//
// The options are for the login there, as those of [Gate.LoginURL] are, but Provider in them counts
// for nothing. Without Prompt "select_account", a provider at which the visitor is logged in may
// answer with the same identity again. Where that is the one that is signed in here, there is
// nothing to attach: the browser goes to returnTo, and OnLink is not called.
//
// It panics unless Config.OnLink is set. The error is [ErrNoSession] if nobody is signed in by a
// session of this gate, or it says that no provider has the name.
func (g *Gate) LinkURL(
	ctx context.Context, provider, returnTo string, options ...LoginOptions,
) (string, error) {
	if g.config.OnLink == nil {
		panic("oidcgate: LinkURL needs Config.OnLink")
	}
	v, err := g.signedIn(ctx)
	if err != nil {
		return "", err
	}
	return g.front.LinkURL(ctx, v.found.ID(), provider, returnTo, together(options))
}

// link asks the application whether two identities belong to one account.
func (g *Gate) link(
	ctx context.Context, first session.Identity, second front.Login,
) (refused *front.Failure) {
	defer func() {
		if v := recover(); v != nil {
			refused = g.panicked(ctx, "OnLink", v)
		}
	}()
	if g.config.OnLink == nil { // a link of another replica's, or of an older configuration
		return hookFailure("Config.OnLink", errors.New("Config.OnLink is nil"))
	}
	linking := &Linking{&Identity{rec: &first}, &Identity{rec: &second.Identity}, second.Request}
	return decision("OnLink", g.config.OnLink(ctx, linking))
}
