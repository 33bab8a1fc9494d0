package oidcgate

import (
	"context"
	"errors"

	"golang.org/x/oauth2"

	"github.com/oidcgate/oidcgate/internal/session"
)

// Token returns a live access token of the signed-in visitor, for calls in the visitor's name. The
// context is the request's. A token that is due is refreshed first, once over all requests and
// replicas. The refresh goes on even if the request ends meanwhile.
//
// Token fails with [ErrNoSession] when nobody is signed in or the provider has withdrawn the refresh
// token, which ends the session; with [ErrTokenExpired]; with an error that wraps
// [ErrProviderUnavailable] or [ErrStoreUnavailable] when provider or store cannot answer; and with the
// context's error. The refresh token is never handed out.
func (g *Gate) Token(ctx context.Context) (*oauth2.Token, error) {
	v, err := g.signedIn(ctx)
	if err != nil {
		return nil, err
	}
	t, err := g.keeper.Token(ctx, v.session())
	switch {
	case err == nil:
		return &oauth2.Token{
			AccessToken: t.AccessToken, TokenType: t.TokenType, Expiry: t.Expiry,
		}, nil
	case errors.Is(err, session.ErrGone):
		return nil, ErrNoSession
	case errors.Is(err, ErrStoreUnavailable) && ctx.Err() != nil:
		return nil, ctx.Err() // the caller gave up; the store is well
	}
	return nil, err
}
