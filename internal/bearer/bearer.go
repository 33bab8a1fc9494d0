// Package bearer decides whether a request to an API brings a good access token, and answers those
// that do not. It knows no session and no store.
//
//	bearer.go    Guard: from a request to a verified token
//	request.go   reads the token that a request brings
//	cache.go     what the provider said about tokens, for a short time
//	answer.go    Refusal: the answers and their challenges
//	report.go    tells of refused tokens, within a bound
//	metadata.go  what the API says about itself
package bearer

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/oidcgate/oidcgate/internal/event"
	"github.com/oidcgate/oidcgate/internal/op"
)

// Provider is one whose access tokens are taken.
type Provider struct {
	Name   string
	Issuer string
	Client *op.Client
}

// Config is what a [Guard] works by.
type Config struct {
	// Providers returns the providers at this time.
	Providers func() []Provider

	Introspect bool          // providers are asked about every token, not only about opaque ones
	MaxAge     time.Duration // how long what they say counts
	Leeway     time.Duration // how far clocks may differ

	// Once remembers for ttl that a proof by that key was used, over all replicas. first is false if
	// it was used before.
	Once func(ctx context.Context, thumbprint, id string, ttl time.Duration) (first bool, err error)

	// Tell is called with the event of a refused token, and must not block. The event has how many
	// others were refused for the same reason since the last one.
	Tell func(context.Context, event.Record)

	Realm       string   // of challenges: the address of this service
	Audience    []string // the names of the API
	MetadataURL string   // of the metadata of the API; "" if it has none
}

// Guard decides about access tokens. It is safe for concurrent use.
type Guard struct {
	cfg    Config
	cache  cache
	report report
}

// New returns a Guard. It starts no goroutine.
func New(cfg Config) *Guard { return &Guard{cfg: cfg, cache: newCache(cfg.MaxAge)} }

// Token is a verified access token, whose sender may use it.
type Token struct {
	Provider string // its name
	Raw      string // as it was sent
	*op.AccessToken
}

// Format keeps the token out of logs.
func (*Token) Format(w fmt.State, _ rune) { _, _ = io.WriteString(w, "token") }

// Verify returns the access token of a request. address is that of the request as clients write it.
// Nothing in a token counts before its signature is verified, or the provider has said that it is
// good, with one exception: iss chooses the provider whose keys are tried.
func (g *Guard) Verify(r *http.Request, address string) (*Token, *Refusal) {
	shown, refusal := read(r)
	if refusal != nil {
		return nil, g.refuse(r.Context(), refusal)
	}
	p, refusal := g.choose(shown.token)
	if refusal == nil {
		var t *op.AccessToken
		if t, refusal = g.verify(r.Context(), p, shown.token); refusal == nil {
			refusal = g.checkPossession(r, address, shown, t)
		}
		if refusal == nil && p.Client.BindsTokens() && !t.IsBound() {
			refusal = invalidToken(event.ReasonTokenBinding,
				"the token is bound to nothing, and the provider's profile demands that it is")
		}
		if refusal == nil {
			return &Token{Provider: p.Name, Raw: shown.token, AccessToken: t}, nil
		}
	}
	refusal.Scheme, refusal.Provider, refusal.Issuer = shown.scheme, p.Name, p.Issuer
	return nil, g.refuse(r.Context(), refusal)
}

// choose returns the provider that is to verify a token. With several, the token names it. An
// opaque token names none, and is shown to nobody: a provider that gets the token of another could
// use it.
func (g *Guard) choose(raw string) (Provider, *Refusal) {
	providers := g.cfg.Providers()
	if len(providers) == 1 {
		return providers[0], nil
	}
	if !op.IsJWT(raw) {
		return Provider{}, invalidToken(event.ReasonTokenOpaque,
			"an opaque token does not say which of the providers issued it")
	}
	iss := op.PeekIssuer(raw)
	for _, p := range providers {
		if p.Client.Accepts(iss) {
			return p, nil
		}
	}
	return Provider{}, invalidToken(event.ReasonIssuer, "iss is that of none of the providers")
}

func (g *Guard) verify(
	ctx context.Context, p Provider, raw string,
) (*op.AccessToken, *Refusal) {
	if !op.IsJWT(raw) {
		return result(g.introspect(ctx, p, raw, nil))
	}
	t, err := p.Client.VerifyAccessToken(ctx, raw)
	if err != nil || !g.cfg.Introspect {
		return result(t, err)
	}
	return result(g.introspect(ctx, p, raw, t))
}

// introspect asks the provider, or returns what it said a short time ago.
func (g *Guard) introspect(
	ctx context.Context, p Provider, raw string, known *op.AccessToken,
) (*op.AccessToken, error) {
	k := key{provider: p.Issuer, hash: sha256.Sum256([]byte(raw))}
	ask := func(ctx context.Context, wasGood bool) (*op.AccessToken, error) {
		return p.Client.Introspect(ctx, raw, known, wasGood)
	}
	return g.cache.get(ctx, k, ask)
}

// result turns an error of internal/op into a refusal.
func result(t *op.AccessToken, err error) (*op.AccessToken, *Refusal) {
	if err == nil {
		return t, nil
	}
	e, ok := errors.AsType[*op.Error](err)
	switch {
	case !ok: // the caller left
		return nil, unavailable(event.ReasonIntrospection, err)
	case e.Status != http.StatusUnauthorized:
		f := unavailable(e.Reason, e.Err)
		f.Hint = e.Hint
		return nil, f
	}
	return nil, &Refusal{
		Status: e.Status, Code: codeInvalidToken, Reason: e.Reason, Err: e.Err, Hint: e.Hint,
	}
}

// checkPossession checks that the sender may use a token that is bound to a key or to a
// certificate. A bound token without proof is as a stolen one. One that is not bound must not come
// with the scheme DPoP, whose client believes that it is (RFC 9449, 7.1).
func (g *Guard) checkPossession(
	r *http.Request, address string, shown credentials, t *op.AccessToken,
) *Refusal {
	if want := t.CertificateThumbprint; want != "" && certificateOf(r) != want {
		return invalidToken(event.ReasonTokenBinding,
			"the token is bound to a certificate, and the connection does not show it")
	}
	switch bound, byProof := t.KeyThumbprint != "", shown.scheme == schemeDPoP; {
	case bound && !byProof:
		return invalidToken(event.ReasonTokenBinding,
			"the token is bound to a key, and came with the scheme Bearer")
	case byProof && !bound:
		return invalidToken(event.ReasonTokenBinding,
			"the token is not bound to a key, and came with the scheme DPoP")
	case byProof:
		return g.checkProof(r, address, shown, t.KeyThumbprint)
	}
	return nil
}

// checkProof checks the proof of a request. Only a proof by the right key is remembered, so that
// strangers write nothing to the store.
func (g *Guard) checkProof(
	r *http.Request, address string, shown credentials, thumbprint string,
) *Refusal {
	proof, err := op.VerifyProof(shown.proof, op.Proven{
		Method: r.Method, URL: address, AccessToken: shown.token, Leeway: g.cfg.Leeway,
	})
	if err != nil {
		return badProof(event.ReasonProof, errors.Unwrap(err))
	}
	if proof.Thumbprint != thumbprint {
		return invalidToken(event.ReasonTokenBinding, "the proof is by another key")
	}
	// As long as a replica takes it whose clock is behind, by as much as clocks may differ.
	ttl := max(time.Until(proof.Expires), 0) + 2*g.cfg.Leeway + time.Second
	first, err := g.cfg.Once(r.Context(), thumbprint, proof.ID, ttl)
	switch {
	case err != nil:
		return unavailable(event.ReasonStoreError, err)
	case !first:
		return badProof(event.ReasonReplayed, errors.New("the proof was used before"))
	}
	return nil
}

// certificateOf returns the thumbprint of the certificate that the client showed (RFC 8705, 3.1),
// or "". Only the connection counts: a header can be written by anybody who reaches this process.
func certificateOf(r *http.Request) string {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return ""
	}
	sum := sha256.Sum256(r.TLS.PeerCertificates[0].Raw)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}
