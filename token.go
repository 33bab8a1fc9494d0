package oidcgate

import (
	"context"
	"errors"
	"hash/crc32"
	"net/http"
	"time"

	"golang.org/x/oauth2"

	"github.com/oidcgate/oidcgate/internal/claims"
	"github.com/oidcgate/oidcgate/internal/provider"
	"github.com/oidcgate/oidcgate/store"
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
	st, err := g.signedIn(ctx)
	if err != nil {
		return nil, err
	}
	t, err := g.loadTokens(ctx, st.token)
	if err != nil {
		return nil, g.tokenError(ctx, err)
	}
	if g.due(t, st.token) {
		if t, err = g.refreshed(ctx, st, t); err != nil {
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
	return g.ill(err)
}

// Client returns an http.Client that sends the access token of the signed-in visitor with every request, as
// [Gate.Token] returns it at that moment. It belongs to the request whose context it was made with; do not
// keep it. The token goes wherever requests go: use it for the visitor's resource servers only. Redirects are
// not followed.
func (g *Gate) Client(ctx context.Context) *http.Client {
	return &http.Client{
		Transport:     &bearer{gate: g, ctx: ctx},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// bearer adds the token of one visitor. It takes it from the context it was made with and keeps none: a
// client that is shared by mistake sends no older token, and no other visitor's.
type bearer struct {
	gate *Gate
	ctx  context.Context
}

// RoundTrip implements [http.RoundTripper]. It waits for a token no longer than the request may take.
func (b *bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancel(b.ctx)
	defer cancel()
	defer context.AfterFunc(r.Context(), cancel)()
	t, err := b.gate.Token(ctx)
	if err != nil {
		if r.Body != nil {
			_ = r.Body.Close()
		}
		return nil, err
	}
	r = r.Clone(r.Context())
	t.SetAuthHeader(r)
	return http.DefaultTransport.RoundTrip(r)
}

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
