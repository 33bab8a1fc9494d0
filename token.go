package oidcgate

import (
	"context"
	"errors"
	"fmt"
	"io"

	"golang.org/x/oauth2"

	"github.com/oidcgate/oidcgate/internal/front"
	"github.com/oidcgate/oidcgate/internal/op"
	"github.com/oidcgate/oidcgate/internal/session"
)

// Token returns a valid access token of the signed-in visitor. ctx is the request's context. A
// token that is about to expire is refreshed first; all requests and replicas share one refresh,
// which goes on even if the request ends meanwhile. A token that is bound to a key
// (TokenRequest.Binding, [DPoP]) has the type DPoP and is of use to [Gate.Client] alone.
//
// Token fails with [ErrNoSession] when nobody is signed in, when an access token admitted the
// request ([Identity.FromAccessToken]), because it comes without a session, or when the provider
// has withdrawn the refresh token, which ends the session; with [ErrTokenExpired]; with an error
// that wraps [ErrProviderUnavailable] or [ErrStoreUnavailable] when provider or store cannot
// answer; and with the context's error. The refresh token is never returned.
func (g *Gate) Token(ctx context.Context) (*oauth2.Token, error) {
	t, _, err := g.tokens(ctx)
	if err != nil {
		return nil, err
	}
	return publicToken(t), nil
}

// publicToken returns an access token as applications get it.
func publicToken(t *session.ProviderTokens) *oauth2.Token {
	return &oauth2.Token{AccessToken: t.AccessToken, TokenType: t.TokenType, Expiry: t.Expiry}
}

// TokenSource returns [Gate.Token] as libraries want it, and fails like it, also where an access
// token admitted the request. ctx is the request's context; do not keep the source after it. A
// token that is bound to a key or to a certificate is an error: such libraries would send it
// without them.
func (g *Gate) TokenSource(ctx context.Context) oauth2.TokenSource {
	return tokenSource{ctx, g}
}

type tokenSource struct {
	ctx  context.Context
	gate *Gate
}

// Token implements [oauth2.TokenSource].
func (s tokenSource) Token() (*oauth2.Token, error) {
	t, up, err := s.gate.tokens(s.ctx)
	switch {
	case err != nil:
		return nil, err
	case t.DPoPKey != "" || up.Client.BindsToCertificate():
		return nil, errors.New("oidcgate: the access token is bound to a key or to a certificate; use " +
			"Gate.Client")
	}
	return publicToken(t), nil
}

// Format keeps the visitor's context out of logs.
func (tokenSource) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "oidcgate.TokenSource") }

// tokens returns the visitor's tokens and the provider that they are from. It fails like
// [Gate.Token].
func (g *Gate) tokens(ctx context.Context) (*session.ProviderTokens, *front.Provider, error) {
	v, err := g.admitted(ctx)
	if err != nil {
		return nil, nil, err
	}
	t, err := g.keeper.Token(withoutVisit(ctx), v.found.Session)
	switch up := g.front.ProviderOf(&v.found.Session.Identity); {
	case err != nil:
		return nil, nil, tokenError(err)
	case up == nil:
		return nil, nil, ErrNoSession
	case t.AccessToken == "":
		return nil, nil, op.ErrNoAccessToken
	default:
		return &t.ProviderTokens, up, nil
	}
}

// tokenError is the error for a caller who gets no token.
func tokenError(err error) error {
	if errors.Is(err, session.ErrGone) {
		return ErrNoSession
	}
	return err
}
