package oidcgate_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/oidcgate/oidcgate"
	"github.com/oidcgate/oidcgate/oidcgatetest"
	"github.com/oidcgate/oidcgate/store"
)

// newRelay opens an API that exchanges tokens for the service ledger, and keeps what came of the
// last exchange.
func newRelay(t *testing.T, config oidcgatetest.Config, changes ...change) *relay {
	t.Helper()
	r := &relay{api: newAPIAt(t, config, changes...)}
	r.register(func(c *oidcgatetest.Client) { c.Secret, c.Exchanges = secret, []string{"ledger"} })
	r.relays()
	return r
}

type relay struct {
	*api
	token string
	err   error
}

// relays has the gate, which may be that of another replica, serve the API.
func (r *relay) relays() {
	gate := r.gate
	exchange := http.HandlerFunc(func(_ http.ResponseWriter, q *http.Request) {
		t, err := gate.ExchangeToken(q.Context(), oidcgate.TokenExchange{Audience: q.FormValue("for"), Scopes: []string{"read"}})
		if r.token, r.err = "", err; err == nil {
			r.token = t.TokenType + " " + t.AccessToken
		}
	})
	mux := http.NewServeMux()
	mux.Handle("/api", gate.RequireToken()(exchange))
	mux.Handle("/either", gate.RequireEither()(exchange))
	mux.Handle("/open", exchange)
	mux.Handle("/app", gate.Require()(exchange))
	r.handler = gate.Wrap(mux)
}

// asks calls the API with a token, and returns how many requests went to the token endpoint.
func (r *relay) asks(path, token string, headers ...string) int {
	r.Helper()
	before := r.op.Count(oidcgatetest.Token)
	r.token, r.err = "", nil
	if token == "" {
		r.send(r.browser, http.MethodGet, path, "", headers...)
	} else {
		r.call(path, token, headers...)
	}
	return r.op.Count(oidcgatetest.Token) - before
}

// of returns an access token of a user that another client sends.
func (r *relay) of(subject string) string {
	return r.op.NewAccessToken(map[string]any{"sub": subject}).Compact()
}

// keepsTimes is a store that knows how long the last exchanged token was to be kept.
type keepsTimes struct {
	store.Store
	last time.Duration
}

func (s *keepsTimes) Create(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	if strings.HasPrefix(key, "x:") {
		s.last = ttl
	}
	return s.Store.Create(ctx, key, value, ttl)
}

// says returns the claims of the exchanged token.
func (r *relay) says() (claims struct {
	Subject  string `json:"sub"`
	Audience string `json:"aud"`
	Scope    string `json:"scope"`
}) {
	r.Helper()
	_, token, _ := strings.Cut(r.token, " ")
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(token+"..", ".")[1])
	if r.err != nil || err != nil || json.Unmarshal(payload, &claims) != nil {
		r.Errorf("the token %q, %v", r.token, r.err)
	}
	return claims
}

func TestExchangeOfASentToken(t *testing.T) {
	t.Run("RFC 8693: asked once for each token, by each replica", func(t *testing.T) {
		r := newRelay(t, oidcgatetest.Config{})
		sent := r.of("bob")
		if n := r.asks("/api?for=ledger", sent); n != 1 {
			t.Errorf("%d requests", n)
		}
		if got := r.says(); got.Subject != "bob" || got.Audience != "ledger" || got.Scope != "read" {
			t.Errorf("a token of %+v", got)
		}
		form := r.op.LastRequest(oidcgatetest.Token).Form
		if form.Get("subject_token") != sent || form.Get("audience") != "ledger" || form.Get("scope") != "read" {
			t.Errorf("asked with %v", form)
		}
		first := r.token
		if n := r.asks("/either?for=ledger", sent); n != 0 || r.token != first {
			t.Errorf("%d requests for the same: %q, %v", n, r.token, r.err)
		}
		r.open(oidcgate.Provider{Issuer: r.op.Issuer(), ClientID: "shop", Auth: oidcgate.ClientSecretBasic(secret)}) // another replica
		r.relays()
		if n := r.asks("/either?for=ledger", sent); n != 1 || r.err != nil {
			t.Errorf("%d requests at another replica: %q, %v", n, r.token, r.err)
		}
		for _, subject := range []string{"bob", "carol"} {
			if n := r.asks("/api?for=ledger", r.of(subject)); n != 1 || r.says().Subject != subject || r.token == first {
				t.Errorf("another token, of %s: %d requests, %+v", subject, n, r.says())
			}
		}
		if n := r.asks("/api?for=ledger", r.op.NewOpaqueToken(map[string]any{"sub": "dave"})); n != 1 || r.says().Subject != "dave" {
			t.Errorf("an opaque token: %d requests, %+v", n, r.says())
		}
	})
	t.Run("RFC 8693: a refusal is told once, with its cure", func(t *testing.T) {
		r := newRelay(t, oidcgatetest.Config{})
		r.login()
		for path, token := range map[string]string{"/app?for=vault": "", "/api?for=vault": r.of("bob")} {
			for range 2 {
				r.asks(path, token)
			}
			if r.err == nil || !strings.Contains(r.err.Error(), "invalid_target") {
				t.Errorf("%s: the error %v", path, r.err)
			}
			got := r.eventsOf(oidcgate.EventExchangeFailed)
			if len(got) == 0 {
				t.Fatalf("%s: no event", path)
			}
			e := got[len(got)-1]
			if e.Reason != "token_endpoint_error" || !strings.Contains(e.Detail, "for vault: ") || !strings.Contains(e.Detail, "ask for vault") ||
				!strings.Contains(e.Hint, "does not give this client tokens") || e.SubjectHash == "" || (e.SessionRef == "") != (token != "") {
				t.Errorf("%s: %+v", path, e)
			}
		}
		if got := r.eventsOf(oidcgate.EventExchangeFailed); len(got) != 2 || got[0].SubjectHash == got[1].SubjectHash {
			t.Errorf("%+v", got)
		}
	})
	t.Run("C169 RFC 8693: of a session and a token in one request, the one that is let in counts", func(t *testing.T) {
		r := newRelay(t, oidcgatetest.Config{})
		r.login()
		for path, want := range map[string]string{"/api?for=ledger": "bob", "/either?for=ledger": "bob", "/open?for=ledger": "alice"} {
			if r.asks(path, r.of("bob")); r.says().Subject != want {
				t.Errorf("%s: the token of %q, want %q", path, r.says().Subject, want)
			}
		}
		if r.asks("/either?for=ledger", "", ownFetch...); r.says().Subject != "alice" {
			t.Errorf("the session alone: the token of %q", r.says().Subject)
		}
	})
	t.Run("C160 RFC 8693: no token that no guard has let in", func(t *testing.T) {
		r := newRelay(t, oidcgatetest.Config{})
		if n := r.asks("/open?for=ledger", r.of("bob")); n != 0 || !errors.Is(r.err, oidcgate.ErrNoSession) {
			t.Errorf("without a guard: %d requests, %v", n, r.err)
		}
		if n := r.asks("/api?for=ledger", r.of("bob")+"x"); n != 0 || r.token != "" {
			t.Errorf("a token that is refused: %d requests, %q", n, r.token)
		}
	})
	t.Run("C032 no token is shown to a provider that has taken the name meanwhile", func(t *testing.T) {
		r := newRelay(t, oidcgatetest.Config{})
		r.handler = r.gate.Wrap(r.gate.RequireToken()(http.HandlerFunc(func(_ http.ResponseWriter, q *http.Request) {
			other := oidcgate.Provider{Issuer: "https://other.test", ClientID: "shop", Auth: oidcgate.ClientSecretBasic(secret)}
			if err := r.gate.SetProviders(other); err != nil {
				t.Error(err)
			}
			_, r.err = r.gate.ExchangeToken(q.Context(), oidcgate.TokenExchange{Audience: "ledger"})
		})))
		if r.asks("/api", r.of("bob")); !errors.Is(r.err, oidcgate.ErrNoSession) {
			t.Errorf("%v", r.err)
		}
	})
	t.Run("RFC 8693: refused", func(t *testing.T) {
		r := newRelay(t, oidcgatetest.Config{})
		r.asks("/api?for=payroll", r.of("bob"))
		if e, ok := errors.AsType[*oidcgate.ProviderError](r.err); !ok || e.Code != "invalid_target" {
			t.Errorf("%v", r.err)
		}
	})
	inBubble(t, "F26 RFC 8693: kept until it ends, and not in the store, which callers could fill", func(t *testing.T) {
		kept := &keepsTimes{Store: &store.Memory{}}
		r := newRelay(t, oidcgatetest.Config{AccessTokenLifetime: time.Hour}, func(c *oidcgate.Config, _ *oidcgate.Provider) { c.Store = kept })
		short := r.op.NewAccessToken(map[string]any{"exp": time.Now().Add(10 * time.Minute).Unix()}).Compact()
		long, forever := r.of("bob"), r.op.NewOpaqueToken(map[string]any{"sub": "bob", "exp": nil})
		for _, token := range []string{short, long, forever} {
			if n := r.asks("/api?for=ledger", token); n != 1 || r.err != nil || kept.last != 0 {
				t.Errorf("%d requests, %v, kept in the store for %v", n, r.err, kept.last)
			}
		}
		time.Sleep(9 * time.Minute)
		for _, token := range []string{short, long, forever} {
			if n := r.asks("/api?for=ledger", token); n != 0 || r.err != nil {
				t.Errorf("later: %d requests, %v", n, r.err)
			}
		}
		time.Sleep(51 * time.Minute)
		if n := r.asks("/api?for=ledger", forever); n != 1 || r.err != nil {
			t.Errorf("at its end: %d requests, %v", n, r.err)
		}
	})
	t.Run("C092 RFC 8693: with DPoP the exchanged token has a key of its own, which is proven", func(t *testing.T) {
		r := newRelay(t, oidcgatetest.Config{}, withDPoP)
		ledger := newResource(t, "")
		r.handler = r.gate.Wrap(r.gate.RequireToken()(http.HandlerFunc(func(_ http.ResponseWriter, q *http.Request) {
			a, err := r.gate.ExchangeClient(q.Context(), oidcgate.TokenExchange{Audience: "ledger"}, ledger.URL).Get(ledger.URL)
			if r.err = err; err == nil {
				_ = a.Body.Close()
			}
		})))
		for range 2 {
			if r.asks("/api", r.of("bob")); r.err != nil {
				t.Fatal(r.err)
			}
		}
		if len(ledger.tokens) != 2 || !strings.HasPrefix(ledger.tokens[0], "DPoP ") || ledger.proofs[0].thumbprint == ledger.proofs[1].thumbprint {
			t.Errorf("%q, proofs %+v", ledger.tokens, ledger.proofs)
		}
	})
}
