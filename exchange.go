package oidcgate

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"golang.org/x/oauth2"

	"github.com/oidcgate/oidcgate/internal/event"
	"github.com/oidcgate/oidcgate/internal/front"
	"github.com/oidcgate/oidcgate/internal/op"
	"github.com/oidcgate/oidcgate/internal/session"
)

// TokenExchange says what a token is for (RFC 8693, section 2.1). Empty fields are not sent.
type TokenExchange struct {
	Audience string   // the service's name at the provider
	Resource string   // the service's address
	Scopes   []string // what the token may do there
}

// ExchangeToken returns an access token for another service, in the visitor's name, in exchange for
// the visitor's own or, where an access token admitted the request ([Identity.FromAccessToken]),
// for that one (RFC 8693). ctx is the request's context. The provider must allow that to this
// client. A token is returned again until shortly before it expires: one for the visitor's own
// token is kept with the session, encrypted, for every replica, and the last eight are; one for a
// caller's token is kept by the replica that got it, and 1,024 are. One without an expiry is not.
//
// A token that is bound to a key (TokenRequest.Binding, [DPoP]) is of use to [Gate.ExchangeClient]
// alone. ExchangeToken fails like [Gate.Token], with a [ProviderError] when the provider refuses,
// and for an answer with a token of another kind, such as an ID Token (RFC 8693, section 2.2.1).
func (g *Gate) ExchangeToken(ctx context.Context, x TokenExchange) (*oauth2.Token, error) {
	t, _, err := g.exchange(ctx, x)
	if err != nil {
		return nil, err
	}
	return publicToken(t), nil
}

func (g *Gate) exchange(
	ctx context.Context, x TokenExchange,
) (*session.ProviderTokens, *front.Provider, error) {
	v, up, err := g.exchanger(ctx)
	if err != nil {
		return nil, nil, err
	}
	request := fmt.Sprintf("%q", append([]string{x.Audience, x.Resource}, x.Scopes...))
	id, found := v.identity, v.found // as they are now: the exchange may outlive the request
	exchange := func(ctx context.Context, t *session.ProviderTokens) (*session.ProviderTokens, error) {
		answer, err := up.Client.ExchangeToken(ctx, (*op.Tokens)(t), op.TokenExchange(x))
		if e, ok := errors.AsType[*op.Error](err); ok {
			g.events.Emit(ctx, event.Record{
				Type: event.ExchangeFailed, Reason: e.Reason, Hint: e.Hint, Err: e,
				Provider: up.Name, Issuer: up.Issuer,
				SubjectHash: g.SubjectHash(id), SessionRef: g.front.SessionRef(&found),
				Detail: fmt.Sprintf("for %.200s: %s", cmp.Or(x.Audience, x.Resource), event.Text(e)),
			})
		}
		return (*session.ProviderTokens)(answer), err
	}
	var t *session.ProviderTokens
	if sent := v.sent; sent != nil {
		t, err = g.keeper.ExchangedSent(withoutVisit(ctx), session.Sent{
			User: v.identity.record().User(), Provider: up.Name, Token: sent.Raw,
		}, request, exchange)
	} else {
		t, err = g.keeper.Exchanged(withoutVisit(ctx), v.found.Session, request, exchange)
	}
	if err != nil {
		return nil, nil, notExchanged(err)
	}
	return t, up, nil
}

// exchanger returns the visit of a request with a token that can be exchanged, of the session or of
// the caller, and the provider that the token is from.
func (g *Gate) exchanger(ctx context.Context) (v *visit, up *front.Provider, err error) {
	if v = visitFrom(ctx, g); v != nil && v.sent != nil {
		up = g.front.Providers.Find(v.sent.Provider)
		if up != nil && !up.Client.Issues(v.identity.Issuer()) {
			up = nil // another provider has taken the name meanwhile
		}
	} else if v, err = g.admitted(ctx); err == nil {
		up = g.front.ProviderOf(&v.found.Session.Identity)
	}
	if err == nil && up == nil {
		err = ErrNoSession
	}
	return v, up, err
}

// notExchanged is the error of [Gate.ExchangeToken] for one of the provider, the store or ctx.
func notExchanged(err error) error {
	e, ok := errors.AsType[*op.Error](err)
	switch {
	case ok && e.Code != "":
		return &ProviderError{Code: e.Code, Description: e.Description}
	case ok:
		return fmt.Errorf("%w: %w", ErrProviderUnavailable, err)
	}
	return tokenError(err)
}
