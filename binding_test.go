package oidcgate_test

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/oidcgate/oidcgate"
	"github.com/oidcgate/oidcgate/oidcgatetest"
)

func withDPoP(_ *oidcgate.Config, p *oidcgate.Provider) {
	p.TokenRequest.Binding = oidcgate.DPoP()
	p.Userinfo = oidcgate.UserinfoRequired
}

// proof is a DPoP proof, opened.
type proof struct {
	thumbprint string
	claims     map[string]any
}

func openProof(t *testing.T, raw string) proof {
	t.Helper()
	jws, err := jose.ParseSignedCompact(raw, []jose.SignatureAlgorithm{jose.ES256, jose.EdDSA})
	if err != nil {
		t.Fatalf("C092 the proof %q: %v", raw, err)
	}
	header := jws.Signatures[0].Protected
	payload, err := jws.Verify(header.JSONWebKey)
	if err != nil || header.ExtraHeaders["typ"] != "dpop+jwt" || !header.JSONWebKey.IsPublic() {
		t.Fatalf("C092 header %+v, signature %v", header, err)
	}
	p := proof{thumbprint: thumbprintOf(t, header.JSONWebKey)}
	if err := json.Unmarshal(payload, &p.claims); err != nil {
		t.Fatal(err)
	}
	return p
}

func thumbprintOf(t *testing.T, key *jose.JSONWebKey) string {
	t.Helper()
	sum, err := key.Thumbprint(5) // SHA-256
	if err != nil {
		t.Fatal(err)
	}
	return base64.RawURLEncoding.EncodeToString(sum)
}

func TestDPoP(t *testing.T) {
	for _, nonces := range []bool{false, true} {
		name := map[bool]string{false: "without nonces", true: "with nonces"}[nonces]
		t.Run("C092 C093 "+name+": login, userinfo, refresh on another replica, one key", func(t *testing.T) {
			op := oidcgatetest.NewProvider(t, oidcgatetest.Config{DPoPNonces: nonces, AccessTokenLifetime: time.Second, RotateRefreshTokens: true})
			w := newWorldOf(t, op, withDPoP)
			u := w.authorization("/auth/login?return_to=/app")
			jkt := u.Query().Get("dpop_jkt")
			if len(jkt) != 43 {
				t.Errorf("C092 dpop_jkt %q", jkt)
			}
			if a := w.finishLogin(u.String()); a.location() != shopURL+"/app" {
				t.Fatalf("%d\n%s\n%s", a.StatusCode, a.body, w.logged())
			}
			before := openProof(t, op.LastRequest(oidcgatetest.Token).Header.Get("DPoP"))
			if before.thumbprint != jkt || before.claims["htm"] != "POST" || before.claims["htu"] != w.op.Issuer()+"/token" || before.claims["ath"] != nil {
				t.Errorf("C092 the proof %v by %q, announced %q", before.claims, before.thumbprint, jkt)
			}
			if asked := op.LastRequest(oidcgatetest.Userinfo); !strings.HasPrefix(asked.Header.Get("Authorization"), "DPoP ") || asked.URL.RawQuery != "" {
				t.Errorf("C092 userinfo was asked with %q", asked.Header.Get("Authorization"))
			}
			time.Sleep(time.Second)
			w.open(oidcgate.Provider{ // another replica
				Issuer: op.Issuer(), ClientID: "shop", Auth: oidcgate.ClientSecretBasic(secret),
				TokenRequest: oidcgate.TokenRequest{Binding: oidcgate.DPoP()},
			})
			var failure error
			w.handler = w.gate.Wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				token, err := w.gate.Token(r.Context())
				if failure = err; err == nil && token.TokenType != "DPoP" {
					t.Errorf("C094 the token's type is %q", token.TokenType)
				}
			}))
			if w.get("/"); failure != nil {
				t.Fatalf("C092 the refresh: %v\n%s", failure, w.logged())
			}
			after := openProof(t, op.LastRequest(oidcgatetest.Token).Header.Get("DPoP"))
			if after.thumbprint != jkt || after.claims["jti"] == before.claims["jti"] {
				t.Errorf("C092 the refresh's proof %v by %q", after.claims, after.thumbprint)
			}
			if strings.Contains(w.logged(), "EdDSA:") || strings.Contains(w.logged(), "ES256:") {
				t.Error("C095 the key is in the log")
			}
		})
	}
	t.Run("C093 a provider that always wants a nonce is asked twice, and the login is refused", func(t *testing.T) {
		w := newWorld(t, withDPoP)
		w.op.Always(oidcgatetest.Token, oidcgatetest.Edit(func(r *oidcgatetest.Response) {
			r.Status, r.Body = 400, []byte(`{"error":"use_dpop_nonce"}`)
			r.Header.Set("DPoP-Nonce", "n")
		}))
		w.denied(w.get(w.callbackURL("/app")), http.StatusBadGateway, oidcgate.ReasonTokenEndpointError)
		w.tokenCalls(2)
	})
	for name, answer := range map[string]func(r *oidcgatetest.Response){
		"with another error":        func(r *oidcgatetest.Response) { r.Status, r.Body = 400, []byte(`{"error":"invalid_grant"}`) },
		"with status 401":           func(r *oidcgatetest.Response) { r.Status, r.Body = 401, []byte(`{"error":"use_dpop_nonce"}`) },
		"with status 500":           func(r *oidcgatetest.Response) { r.Status, r.Body = 500, []byte(`{"error":"use_dpop_nonce"}`) },
		"with what is no JSON":      func(r *oidcgatetest.Response) { r.Status, r.Body = 400, []byte(`use_dpop_nonce`) },
		"with a nonce in a success": func(*oidcgatetest.Response) {},
	} {
		t.Run("C093 C051 the code is not sent again after an answer "+name, func(t *testing.T) {
			w := newWorld(t, withDPoP)
			w.op.Always(oidcgatetest.Token, oidcgatetest.Edit(func(r *oidcgatetest.Response) {
				answer(r)
				r.Header.Set("DPoP-Nonce", "n")
			}))
			w.get(w.callbackURL("/app"))
			w.tokenCalls(1)
		})
	}
	t.Run("C093 no nonce, no second request", func(t *testing.T) {
		w := newWorld(t, withDPoP)
		w.op.Always(oidcgatetest.Token, oidcgatetest.Answer(400, "application/json", `{"error":"use_dpop_nonce"}`))
		w.get(w.callbackURL("/app"))
		w.tokenCalls(1)
	})
	t.Run("C094 bearer tokens in place of bound ones are refused", func(t *testing.T) {
		w := newWorld(t, withDPoP)
		w.op.Always(oidcgatetest.Token, oidcgatetest.EditJSON(func(m map[string]any) { m["token_type"] = "Bearer" }))
		w.denied(w.get(w.callbackURL("/app")), http.StatusBadGateway, "token_type")
	})
	t.Run("C131 the type in any letters", func(t *testing.T) {
		w := newWorld(t, withDPoP)
		w.op.Always(oidcgatetest.Token, oidcgatetest.EditJSON(func(m map[string]any) { m["token_type"] = "dpop" }))
		w.login()
	})
	t.Run("C092 each login has a key of its own", func(t *testing.T) {
		w := newWorld(t, withDPoP)
		first, second := w.authorization("/auth/login").Query(), w.authorization("/auth/login").Query()
		if first.Get("dpop_jkt") == second.Get("dpop_jkt") {
			t.Error("two logins, one key")
		}
	})
	for algs, want := range map[string]string{`["RS256","EdDSA"]`: "EdDSA", `["EdDSA","ES256"]`: "ES256", `["RS256"]`: ""} {
		t.Run("C092 the provider lists "+algs, func(t *testing.T) {
			w := newWorld(t, withDPoP)
			w.op.Always(oidcgatetest.Discovery, oidcgatetest.EditJSON(func(m map[string]any) {
				m["dpop_signing_alg_values_supported"] = json.RawMessage(algs)
			}))
			if want == "" {
				w.denied(w.get("/auth/login"), http.StatusServiceUnavailable, "metadata_invalid")
				return
			}
			w.login()
			header, _ := base64.RawURLEncoding.DecodeString(strings.Split(w.op.LastRequest(oidcgatetest.Token).Header.Get("DPoP"), ".")[0])
			if !strings.Contains(string(header), `"alg":"`+want+`"`) {
				t.Errorf("header %s, want %s", header, want)
			}
		})
	}
	t.Run("C092 without the field nothing of it is sent", func(t *testing.T) {
		w := newWorld(t)
		u := w.authorization("/auth/login")
		w.finishLogin(u.String())
		if u.Query().Has("dpop_jkt") || w.op.LastRequest(oidcgatetest.Token).Header.Get("DPoP") != "" {
			t.Errorf("sent %s, %v", u, w.op.LastRequest(oidcgatetest.Token).Header)
		}
	})
}

// resource is a resource server that wants a nonce in DPoP proofs.
type resource struct {
	*httptest.Server
	mu     sync.Mutex
	proofs []proof
	bodies []string
	tokens []string
	scheme string // of the challenge
}

func newResource(t *testing.T, nonce string) *resource {
	t.Helper()
	s := &resource{scheme: "DPoP"}
	s.Server = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		p := openProof(t, r.Header.Get("DPoP"))
		s.mu.Lock()
		s.proofs, s.bodies = append(s.proofs, p), append(s.bodies, string(body))
		s.tokens = append(s.tokens, r.Header.Get("Authorization"))
		scheme := s.scheme
		s.mu.Unlock()
		if nonce != "" && p.claims["nonce"] != nonce {
			rw.Header().Set("DPoP-Nonce", nonce)
			rw.Header().Set("WWW-Authenticate", scheme+` error="use_dpop_nonce"`)
			rw.WriteHeader(http.StatusUnauthorized)
		}
	}))
	t.Cleanup(s.Close)
	return s
}

func TestClientProvesItsKey(t *testing.T) {
	ask := func(w *world, api *resource, r *http.Request) (status int) {
		w.handler = w.gate.Wrap(http.HandlerFunc(func(_ http.ResponseWriter, visit *http.Request) {
			a, err := w.gate.Client(visit.Context(), api.URL).Do(r)
			if err != nil {
				t.Error(err)
				return
			}
			_ = a.Body.Close()
			status = a.StatusCode
		}))
		w.get("/")
		return status
	}
	t.Run("C092 each request has a proof of its own, for its address and its token", func(t *testing.T) {
		w, api := newWorld(t, withDPoP), newResource(t, "")
		w.login()
		for range 2 {
			r, _ := http.NewRequest(http.MethodGet, api.URL+"/a%2Fb/c?secret=x#f", nil)
			ask(w, api, r)
		}
		token := strings.TrimPrefix(api.tokens[0], "DPoP ")
		sum := sha256.Sum256([]byte(token))
		for _, p := range api.proofs {
			if p.claims["htu"] != api.URL+"/a%2Fb/c" || p.claims["htm"] != "GET" || p.claims["ath"] != base64.RawURLEncoding.EncodeToString(sum[:]) {
				t.Errorf("the proof %v for the token %s", p.claims, token)
			}
		}
		if api.proofs[0].claims["jti"] == api.proofs[1].claims["jti"] {
			t.Error("one proof for two requests")
		}
	})
	for _, scheme := range []string{"DPoP", "dpop"} {
		t.Run("C093 C131 "+scheme+" wants a nonce: asked once more with the same body, and not again the next time", func(t *testing.T) {
			w, api := newWorld(t, withDPoP), newResource(t, "n-1")
			api.scheme = scheme
			w.login()
			for range 2 {
				r, _ := http.NewRequest(http.MethodPost, api.URL, strings.NewReader("the order"))
				if status := ask(w, api, r); status != http.StatusOK {
					t.Errorf("status %d", status)
				}
			}
			if got := strings.Join(api.bodies, ", "); got != "the order, the order, the order" {
				t.Errorf("bodies %q", got)
			}
		})
	}
	t.Run("C093 a body that cannot be read twice is not sent twice", func(t *testing.T) {
		w, api := newWorld(t, withDPoP), newResource(t, "n-1")
		w.login()
		r, _ := http.NewRequest(http.MethodPost, api.URL, io.NopCloser(strings.NewReader("the order")))
		if status := ask(w, api, r); status != http.StatusUnauthorized || len(api.bodies) != 1 {
			t.Errorf("status %d, bodies %q", status, api.bodies)
		}
	})
}

func TestCertificateBoundTokens(t *testing.T) {
	certificate := newClientCertificate(t)
	op := oidcgatetest.NewProvider(t)
	server := op.TLSServer()
	key := newClientKey(t)
	wrapped := &purposes{seen: map[oidcgate.ProviderRequest]int{}} // which must not hide the certificate
	w := newWorldOf(t, op, func(c *oidcgate.Config, p *oidcgate.Provider) {
		c.HTTP = oidcgate.HTTPOptions{RootCAs: x509.NewCertPool(), Wrap: wrapped.wrap}
		c.HTTP.RootCAs.AddCert(server.Certificate())
		p.Auth = oidcgate.PrivateKeyJWT()
		p.ClientKeys = oidcgate.NewClientKeys([]oidcgate.ClientKey{{Key: key}})
		p.TokenRequest.Binding = oidcgate.MutualTLS(certificate)
		p.Userinfo = oidcgate.UserinfoRequired
	})
	w.register(func(c *oidcgatetest.Client) {
		c.AuthMethod, c.Certificate, c.CertificateBound = oidcgatetest.PrivateKeyJWT, certificate.Leaf, true
		c.Keys, _ = w.publishedKeys("/auth/jwks")
	})
	u, err := url.Parse(w.get("/auth/login?return_to=/app").location())
	if err != nil {
		t.Fatal(err)
	}
	resp, err := withoutRedirects(server.Client()).Get(u.String())
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if a := w.get(resp.Header.Get("Location")); a.location() != shopURL+"/app" {
		t.Fatalf("C091 %d\n%s", a.StatusCode, w.logged())
	}
	if n := wrapped.seen[oidcgate.ProviderRequest{Purpose: "token"}]; n != 1 {
		t.Errorf("%d token requests passed through Wrap: %v", n, wrapped.seen)
	}
	t.Run("C091 the client of the application shows the certificate", func(t *testing.T) {
		shown := ""
		api := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			if len(r.TLS.PeerCertificates) > 0 {
				shown = r.TLS.PeerCertificates[0].Subject.CommonName
			}
		}))
		api.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
		api.StartTLS()
		t.Cleanup(api.Close)
		roots := x509.NewCertPool()
		roots.AddCert(api.Certificate())
		standard := http.DefaultTransport.(*http.Transport)
		before := standard.TLSClientConfig
		standard.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
		t.Cleanup(func() { standard.TLSClientConfig = before })
		w.handler = w.gate.Wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			a, err := w.gate.Client(r.Context(), api.URL).Get(api.URL)
			if err != nil {
				t.Error(err)
				return
			}
			_ = a.Body.Close()
			if tok, err := w.gate.TokenSource(r.Context()).Token(); err == nil || tok != nil {
				t.Error("C091 a library gets the token, and would send it without the certificate")
			}
		}))
		w.get("/")
		if shown != "shop" {
			t.Errorf("C091 the resource saw the certificate of %q", shown)
		}
	})
}

func TestTokenExchange(t *testing.T) {
	const ledger = "https://ledger.example"
	open := func(t *testing.T, config oidcgatetest.Config, changes ...func(*oidcgate.Config, *oidcgate.Provider)) (w *world, ask func(oidcgate.TokenExchange) (string, error)) {
		w = newWorldOf(t, oidcgatetest.NewProvider(t, config), changes...)
		w.register(func(c *oidcgatetest.Client) { c.Secret, c.Exchanges = secret, []string{"ledger", ledger, "a", "b"} })
		w.login()
		return w, func(x oidcgate.TokenExchange) (token string, err error) {
			w.handler = w.gate.Wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				if t, failure := w.gate.ExchangeToken(r.Context(), x); failure == nil {
					token = t.TokenType + " " + t.AccessToken
				} else {
					err = failure
				}
			}))
			w.get("/")
			return token, err
		}
	}
	t.Run("RFC 8693: asked once for each audience, and kept with the session", func(t *testing.T) {
		w, ask := open(t, oidcgatetest.Config{})
		first, err := ask(oidcgate.TokenExchange{Audience: "ledger", Scopes: []string{"read", "write"}})
		if err != nil {
			t.Fatal(err)
		}
		form := w.op.LastRequest(oidcgatetest.Token).Form
		if form.Get("audience") != "ledger" || form.Get("scope") != "read write" || form.Has("resource") || form.Get("subject_token") == "" {
			t.Errorf("asked with %v", form)
		}
		for _, x := range []oidcgate.TokenExchange{{Resource: ledger}, {Audience: "ledger"}, {Audience: "ledger", Scopes: []string{"read"}}} {
			if other, err := ask(x); err != nil || other == first {
				t.Errorf("%+v: %q, %v", x, other, err)
			}
		}
		calls := w.op.Count(oidcgatetest.Token)
		w.open(oidcgate.Provider{Issuer: w.op.Issuer(), ClientID: "shop", Auth: oidcgate.ClientSecretBasic(secret)}) // another replica
		if again, err := ask(oidcgate.TokenExchange{Audience: "ledger", Scopes: []string{"read", "write"}}); err != nil || again != first || w.op.Count(oidcgatetest.Token) != calls {
			t.Errorf("%q, %v after %d more requests; want %q", again, err, w.op.Count(oidcgatetest.Token)-calls, first)
		}
		w.send(w.browser, http.MethodPost, "/auth/logout", "", "Sec-Fetch-Site: same-origin")
		if token, err := ask(oidcgate.TokenExchange{Audience: "ledger"}); err == nil {
			t.Errorf("after the logout: %q", token)
		}
	})
	t.Run("RFC 8693: exchanged again before it expires, and no more than eight are kept", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w, ask := open(t, oidcgatetest.Config{AccessTokenLifetime: 10 * time.Minute})
			first, _ := ask(oidcgate.TokenExchange{Audience: "a"})
			time.Sleep(9 * time.Minute)
			if again, _ := ask(oidcgate.TokenExchange{Audience: "a"}); again != first {
				t.Error("exchanged early")
			}
			time.Sleep(40 * time.Second)
			second, err := ask(oidcgate.TokenExchange{Audience: "a"})
			if second == first || err != nil {
				t.Errorf("%q, %v half a minute before its end", second, err)
			}
			before := w.op.Count(oidcgatetest.Token)
			for i := range 20 {
				if _, err := ask(oidcgate.TokenExchange{Audience: "b", Scopes: []string{string(rune('a' + i))}}); err != nil {
					t.Error(err)
				}
			}
			if n := w.op.Count(oidcgatetest.Token) - before; n != 20 {
				t.Errorf("%d requests for 20 tokens", n)
			}
		})
	})
	t.Run("F40 RFC 8693: requests at the same time share an exchange, and for a few seconds its error", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w, ask := open(t, oidcgatetest.Config{})
			asked := func(audience string) (requests int, refused int64) {
				gate := w.gate
				var failed atomic.Int64
				w.handler = gate.Wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
					if _, err := gate.ExchangeToken(r.Context(), oidcgate.TokenExchange{Audience: audience}); err != nil {
						failed.Add(1)
					}
				}))
				before := w.op.Count(oidcgatetest.Token)
				var wg sync.WaitGroup
				for range 50 {
					wg.Go(func() { w.get("/") })
				}
				wg.Wait()
				return w.op.Count(oidcgatetest.Token) - before, failed.Load()
			}
			w.op.Always(oidcgatetest.Token, oidcgatetest.Delay(time.Second))
			if n, failed := asked("ledger"); n != 1 || failed != 0 {
				t.Errorf("%d requests to the provider for one token, %d failed", n, failed)
			}
			if n, failed := asked("payroll"); n != 1 || failed != 50 {
				t.Errorf("%d requests to the provider for a token that it refuses, %d failed", n, failed)
			}
			if n, failed := asked("payroll"); n != 0 || failed != 50 {
				t.Errorf("just after a refusal: %d requests to the provider, %d failed", n, failed)
			}
			time.Sleep(6 * time.Second)
			if n, _ := asked("payroll"); n != 1 {
				t.Errorf("later: %d requests to the provider", n)
			}
			if _, err := ask(oidcgate.TokenExchange{Audience: "a"}); err != nil {
				t.Error(err)
			}
		})
	})
	t.Run("RFC 8693: a token that is kept is that of the same request alone", func(t *testing.T) {
		w, ask := open(t, oidcgatetest.Config{})
		if _, err := ask(oidcgate.TokenExchange{Audience: "ledger", Scopes: []string{"a"}}); err != nil {
			t.Fatal(err)
		}
		for _, other := range []oidcgate.TokenExchange{
			{Audience: "ledger\x00", Resource: "a"}, {Audience: "ledger\x00\x00a"}, {Audience: "ledger", Resource: "\x00a"}, {Audience: "ledger", Scopes: []string{"a", ""}},
		} {
			before := w.op.Count(oidcgatetest.Token)
			_, _ = ask(other) // the provider may refuse it
			if n := w.op.Count(oidcgatetest.Token) - before; n != 1 {
				t.Errorf("%+q: %d requests to the provider", other, n)
			}
		}
	})
	t.Run("RFC 8693: refused", func(t *testing.T) {
		_, ask := open(t, oidcgatetest.Config{})
		_, err := ask(oidcgate.TokenExchange{Audience: "payroll"})
		if e, ok := errors.AsType[*oidcgate.ProviderError](err); !ok || e.Code != "invalid_target" {
			t.Errorf("error %v", err)
		}
	})
	t.Run("F08 RFC 8693: the provider does not answer", func(t *testing.T) {
		w, ask := open(t, oidcgatetest.Config{})
		w.op.Always(oidcgatetest.Token, oidcgatetest.Answer(503, "text/plain", ""))
		if _, err := ask(oidcgate.TokenExchange{Audience: "ledger"}); !errors.Is(err, oidcgate.ErrProviderUnavailable) {
			t.Errorf("error %v", err)
		}
	})
	t.Run("C092 RFC 8693: the client of the other service presents the exchanged token, and proves the key", func(t *testing.T) {
		w, _ := open(t, oidcgatetest.Config{}, withDPoP)
		api := newResource(t, "n-1")
		var exchanged string
		w.handler = w.gate.Wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			x := oidcgate.TokenExchange{Audience: "ledger"}
			a, err := w.gate.ExchangeClient(r.Context(), x, api.URL).Get(api.URL)
			if err != nil {
				t.Error(err)
				return
			}
			_ = a.Body.Close()
			token, err := w.gate.ExchangeToken(r.Context(), x)
			if err != nil || a.StatusCode != http.StatusOK {
				t.Errorf("status %d, %v", a.StatusCode, err)
				return
			}
			exchanged = token.AccessToken
			if _, err := w.gate.ExchangeClient(r.Context(), x, "https://other.example").Get(api.URL); err == nil {
				t.Error("C055 the token went to an origin that was not given")
			}
		}))
		w.get("/")
		for _, shown := range api.tokens {
			if shown != "DPoP "+exchanged {
				t.Errorf("the service saw %q, want the exchanged token", shown)
			}
		}
	})
	t.Run("C092 RFC 8693: bound to the session's key", func(t *testing.T) {
		w, ask := open(t, oidcgatetest.Config{}, withDPoP)
		token, err := ask(oidcgate.TokenExchange{Audience: "ledger"})
		if err != nil || !strings.HasPrefix(token, "DPoP ") || w.op.LastRequest(oidcgatetest.Token).Header.Get("DPoP") == "" {
			t.Errorf("%q, %v", token, err)
		}
	})
}

func TestNonceTakesTime(t *testing.T) {
	inBubble(t, "C092 a provider that asks slowly for a nonce costs no refresh token", func(t *testing.T) {
		op := oidcgatetest.NewProvider(t, oidcgatetest.Config{DPoPNonces: true, RotateRefreshTokens: true, AccessTokenLifetime: 10 * time.Minute})
		f := newFleetOf(t, op, 2, withDPoP)
		f.login()
		time.Sleep(11 * time.Minute)
		f.op.Always(oidcgatetest.Token, oidcgatetest.Delay(6*time.Second))
		for range 2 { // one of each replica: the other has no nonce
			if _, status := f.token(); status != http.StatusOK {
				t.Errorf("token: %d", status)
			}
			time.Sleep(11 * time.Minute)
		}
	})
}
