package oidcgate

import (
	"context"
	"errors"

	"golang.org/x/oauth2"

	"github.com/oidcgate/oidcgate/internal/session"
)

var errNoAccessToken = errors.New("oidcgate: the provider gives no access token: its " +
	"Request.ResponseType is \"id_token\"")

// Token returns a valid access token of the signed-in visitor. ctx is the request's context. A
// token that is about to expire is refreshed first; all requests and replicas share one refresh,
// which goes on even if the request ends meanwhile.
//
// Token fails with [ErrNoSession] when nobody is signed in or the provider has withdrawn the
// refresh token, which ends the session; with [ErrTokenExpired]; with an error that wraps
// [ErrProviderUnavailable] or [ErrStoreUnavailable] when provider or store cannot answer; and with
// the context's error. The refresh token is never returned.
func (g *Gate) Token(ctx context.Context) (*oauth2.Token, error) {
	v, err := g.signedIn(ctx)
	if err != nil {
		return nil, err
	}
	t, err := g.keeper.Token(ctx, v.session)
	switch {
	case err == nil && t.AccessToken == "":
		return nil, errNoAccessToken
	case err == nil:
		return &oauth2.Token{
			AccessToken: t.AccessToken, TokenType: t.TokenType, Expiry: t.Expiry,
		}, nil
	case errors.Is(err, session.ErrGone):
		return nil, ErrNoSession
	case errors.Is(err, ErrStoreUnavailable) && ctx.Err() != nil:
		return nil, ctx.Err() // the caller gave up; the store did not fail
	}
	return nil, err
}
