package oidcgate

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/oauth2"

	"github.com/oidcgate/oidcgate/internal/claims"
	"github.com/oidcgate/oidcgate/internal/provider"
	"github.com/oidcgate/oidcgate/store"
)

// ErrTokenExpired is returned by [Gate.Token] when the session's access token is over.
var ErrTokenExpired = errors.New("oidcgate: the access token has expired")

// tokens are what the provider issued for a session. They have a record of their own, which the hot path
// does not read.
type tokens struct {
	provider.Tokens
}

func newTokens(t *provider.Tokens) *tokens { return &tokens{*t} }

// encode frames the tokens. An ID Token that is too long to be a hint in a logout URL has no other use and is
// left out.
func (t *tokens) encode() ([]byte, error) {
	expiry, err := claims.Of(t.Expiry.UnixMilli())
	if err != nil {
		return nil, err
	}
	idToken := t.IDToken
	if len(idToken) > provider.MaxEndSessionURL {
		idToken = ""
	}
	return []byte(claims.Object("").
		With("access_token", claims.Text(t.AccessToken)).
		With("token_type", claims.Text(t.TokenType)).
		With("refresh_token", claims.Text(t.RefreshToken)).
		With("id_token", claims.Text(idToken)).
		With("scope", claims.Text(t.Scope)).
		With("expiry", expiry)), nil
}

func decodeTokens(b []byte) *tokens {
	record := claims.Object(b)
	t := &tokens{provider.Tokens{
		AccessToken:  member(record, "access_token"),
		TokenType:    member(record, "token_type"),
		RefreshToken: member(record, "refresh_token"),
		IDToken:      member(record, "id_token"),
		Scope:        member(record, "scope"),
	}}
	expiry, _ := record.Get("expiry")
	if text, ok := expiry.Number(); ok && text != zeroMillis {
		t.Expiry = parseMillis(text)
	}
	return t
}

// zeroMillis is how the zero time is framed: the provider did not say when the token ends.
var zeroMillis = fmt.Sprint(time.Time{}.UnixMilli())

func (g *Gate) saveTokens(ctx context.Context, token string, t *tokens, deadline time.Time) error {
	plaintext, err := t.encode()
	if err != nil {
		return err
	}
	key := tokensRecord.key(g, token)
	header := times{deadline: deadline.UnixMilli()}.header()
	sealed, err := g.ring.Seal(tokensRecord.binding(key, token), header, plaintext)
	if err != nil {
		return err
	}
	return g.config.Store.Create(ctx, key, sealed, ttlUntil(deadline.UnixMilli(), time.Now()))
}

// loadTokens reads the tokens of a session; errGone when there are none that can be read.
func (g *Gate) loadTokens(ctx context.Context, token string) (*tokens, error) {
	key := tokensRecord.key(g, token)
	sealed, err := g.config.Store.Get(ctx, key)
	if errors.Is(err, store.ErrNotFound) {
		return nil, errGone
	}
	if err != nil {
		return nil, err
	}
	clear, plaintext, err := g.ring.Open(tokensRecord.binding(key, token), timesSize, sealed)
	if err != nil {
		g.unreadable(ctx, key, sealed, err)
		return nil, errGone
	}
	if time.Now().UnixMilli() >= parseTimes(clear).deadline {
		return nil, errGone
	}
	return decodeTokens(plaintext), nil
}

// Token returns the access token of the signed-in visitor, for calls in the visitor's name. The context is the
// request's. It fails with [ErrNoSession] when nobody is signed in, with [ErrTokenExpired] when the token's
// time is over, and with an error that wraps [ErrUnavailable] when the store cannot answer. A provider that
// does not say how long its token lives (expires_in is optional, RFC 6749, section 5.1) is believed until
// the session ends. The refresh token is never handed out.
func (g *Gate) Token(ctx context.Context) (*oauth2.Token, error) {
	st := stateFrom(ctx, g)
	if st == nil || st.token == "" {
		if st != nil && st.err != nil {
			return nil, st.err
		}
		return nil, ErrNoSession
	}
	t, err := g.loadTokens(ctx, st.token)
	switch {
	case errors.Is(err, errGone):
		return nil, ErrNoSession
	case err != nil:
		g.events.storeIll(err)
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	case !t.Expiry.IsZero() && !time.Now().Before(t.Expiry):
		return nil, ErrTokenExpired
	}
	return &oauth2.Token{AccessToken: t.AccessToken, TokenType: t.TokenType, Expiry: t.Expiry}, nil
}
