package oidcgate

import (
	"context"
	"errors"
	"hash/crc32"
	"time"

	"github.com/oidcgate/oidcgate/internal/claims"
	"github.com/oidcgate/oidcgate/internal/provider"
	"github.com/oidcgate/oidcgate/store"
)

// tokens are what the provider issued for a session. They have a record of their own, which the hot path
// does not read.
type tokens struct {
	provider.Tokens
	issued time.Time // when they were received
	nonce  string    // of the login, for refreshed ID Tokens that repeat it

	deadline int64  // of the session, from the record's header
	sealed   []byte // the record they were read from
}

func newTokens(t *provider.Tokens, nonce string) *tokens {
	return &tokens{Tokens: *t, issued: time.Now(), nonce: nonce}
}

// encode frames the tokens. An ID Token that is too long to be a hint in a logout URL has no other use and is
// left out.
func (t *tokens) encode() []byte {
	expiry, _ := claims.Of(t.Expiry.UnixMilli()) // numbers: cannot fail
	issued, _ := claims.Of(t.issued.UnixMilli())
	idToken := t.IDToken
	if len(idToken) > provider.MaxEndSessionURL {
		idToken = ""
	}
	record := claims.Object("").
		With("access_token", claims.Text(t.AccessToken)).
		With("token_type", claims.Text(t.TokenType)).
		With("refresh_token", claims.Text(t.RefreshToken)).
		With("id_token", claims.Text(idToken)).
		With("scope", claims.Text(t.Scope)).
		With("nonce", claims.Text(t.nonce)).
		With("issued", issued)
	if !t.Expiry.IsZero() {
		record = record.With("expiry", expiry)
	}
	return []byte(record)
}

func decodeTokens(b []byte) *tokens {
	record := claims.Object(b)
	return &tokens{
		Tokens: provider.Tokens{
			AccessToken:  member(record, "access_token"),
			TokenType:    member(record, "token_type"),
			RefreshToken: member(record, "refresh_token"),
			IDToken:      member(record, "id_token"),
			Scope:        member(record, "scope"),
			Expiry:       moment(record, "expiry"),
		},
		issued: moment(record, "issued"),
		nonce:  member(record, "nonce"),
	}
}

func (g *Gate) saveTokens(ctx context.Context, token string, t *tokens, deadline time.Time) error {
	t.deadline = deadline.UnixMilli()
	key := tokensRecord.key(g, token)
	sealed, err := g.sealTokens(key, token, t)
	if err != nil {
		return err
	}
	return g.config.Store.Create(ctx, key, sealed, ttlUntil(t.deadline, time.Now()))
}

func (g *Gate) sealTokens(key, token string, t *tokens) ([]byte, error) {
	return g.ring.Seal(tokensRecord.binding(key, token), times{deadline: t.deadline}.header(), t.encode())
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
	t := decodeTokens(plaintext)
	t.deadline, t.sealed = parseTimes(clear).deadline, sealed
	if time.Now().UnixMilli() >= t.deadline {
		return nil, errGone
	}
	return t, nil
}

// lifetime is how long the access token was said to live. A provider that does not say (expires_in is only
// recommended, RFC 6749, section 5.1) is taken at Config.TokenLifetime, not at "for ever".
func (g *Gate) lifetime(t *tokens) time.Duration {
	if t.Expiry.IsZero() {
		return g.config.TokenLifetime
	}
	return t.Expiry.Sub(t.issued)
}

func (g *Gate) expiry(t *tokens) time.Time { return t.issued.Add(g.lifetime(t)) }

// usable reports whether the access token still serves.
func (g *Gate) usable(t *tokens) bool { return time.Now().Before(g.expiry(t)) }

// margin is how long before its end an access token is refreshed at the earliest.
func (g *Gate) margin(t *tokens) time.Duration { return min(g.config.RefreshMargin, g.lifetime(t)/4) }

// due reports whether the access token should be refreshed: when its time is over, or a margin before. The
// margin is at most a quarter of the token's life, and half of it differs from session to session, so that
// those who logged in together do not come back together. For one session it is the same on every replica.
func (g *Gate) due(t *tokens, token string) bool {
	if t.RefreshToken == "" {
		return !g.usable(t)
	}
	margin := g.margin(t)
	spread := margin / 2 / (1 << 16) * time.Duration(crc32.ChecksumIEEE([]byte(token))>>16)
	return !time.Now().Before(g.expiry(t).Add(spread - margin))
}
