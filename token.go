package oidcgate

import (
	"context"
	"errors"

	"golang.org/x/oauth2"
)

// ErrTokenExpired is returned by [Gate.Token] when the session's access token is over and cannot be
// refreshed, because the provider gave no refresh token.
var ErrTokenExpired = errors.New("oidcgate: the access token has expired")

// ErrProviderUnavailable is wrapped by what [Gate.Token] returns when the access token is over and the
// provider gives no new one at the moment. The session goes on.
var ErrProviderUnavailable = errors.New("oidcgate: the provider gives no new access token at the moment")

// Token returns a live access token of the signed-in visitor, for calls in the visitor's name. The context is
// the request's. A token that is due is refreshed first, once over all requests and replicas (see refresh.go);
// that goes on even if the request ends meanwhile.
//
// Token fails with [ErrNoSession] when nobody is signed in or the provider has withdrawn the refresh token,
// which ends the session; with [ErrTokenExpired]; with an error that wraps [ErrProviderUnavailable] or
// [ErrUnavailable] when provider or store cannot answer; and with the context's error. The refresh token is
// never handed out.
func (g *Gate) Token(ctx context.Context) (*oauth2.Token, error) {
	v, err := g.signedIn(ctx)
	if err != nil {
		return nil, err
	}
	t, err := g.loadTokens(ctx, v.token)
	if err != nil {
		return nil, g.tokenError(ctx, err)
	}
	if g.due(t, v.token) {
		if t, err = g.refreshed(ctx, v, t); err != nil {
			return nil, g.tokenError(ctx, err)
		}
	}
	return &oauth2.Token{AccessToken: t.AccessToken, TokenType: t.TokenType, Expiry: t.Expiry}, nil
}

// tokenError tells the caller of Token whose trouble it is. A caller that gave up is not told that the store
// is ill.
func (g *Gate) tokenError(ctx context.Context, err error) error {
	switch {
	case errors.Is(err, errGone):
		return ErrNoSession
	case errors.Is(err, ErrTokenExpired), errors.Is(err, ErrProviderUnavailable), errors.Is(err, ErrUnavailable):
		return err
	case ctx.Err() != nil:
		return ctx.Err()
	}
	return g.storeError(err)
}
