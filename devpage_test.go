package oidcgate_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oidcgate/oidcgate"
	"github.com/oidcgate/oidcgate/oidcgatetest"
	"github.com/oidcgate/oidcgate/store"
)

const devURL = "http://localhost:8080"

// devWorld is a service on this machine with the page for developers, and a visitor.
type devWorld struct {
	*testing.T
	op      *oidcgatetest.Provider
	gate    *oidcgate.Gate
	handler http.Handler
	browser *http.Client

	mu     sync.Mutex
	bodies []string // of the provider's answers to token requests
}

func newDevWorld(t *testing.T, u oidcgatetest.User, changes ...func(*oidcgate.Config, *oidcgate.Provider)) *devWorld {
	t.Helper()
	w := &devWorld{T: t, op: oidcgatetest.NewProvider(t)}
	config := oidcgate.Config{
		BaseURL: devURL, DevPage: true, Logger: slog.New(slog.DiscardHandler),
		HTTP:   oidcgate.HTTPOptions{Transport: w.op.Transport(), Wrap: w.listen},
		Tokens: oidcgate.TokenOptions{ClaimsMaxAge: time.Hour},
	}
	provider := w.op.ProviderFor(devURL)
	for _, change := range changes {
		change(&config, &provider)
	}
	var err error
	if w.gate, err = oidcgate.New(config, provider); err != nil {
		t.Fatal(err)
	}
	w.handler = w.gate.Wrap(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		id, ok := oidcgate.FromContext(r.Context())
		if !ok {
			rw.WriteHeader(http.StatusUnauthorized)
			return
		}
		_, _ = io.WriteString(rw, id.Name())
	}))
	w.browser = w.op.SignIn(t, w.gate, w.handler, u)
	return w
}

// listen remembers the answers of the token endpoint.
func (w *devWorld) listen(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		resp, err := next.RoundTrip(r)
		if p, _ := oidcgate.ProviderRequestFromContext(r.Context()); err != nil || p.Purpose != "token" && p.Purpose != "refresh" {
			return resp, err
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		resp.Body = io.NopCloser(strings.NewReader(string(body)))
		w.mu.Lock()
		defer w.mu.Unlock()
		w.bodies = append(w.bodies, string(body))
		return resp, err
	})
}

// tokenAnswers is how often the provider gave tokens.
func (w *devWorld) tokenAnswers() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.bodies)
}

// send sends a request of the visitor's browser, which follows redirects.
func (w *devWorld) send(method, target string, form url.Values, headers ...string) answer {
	w.Helper()
	r, err := http.NewRequest(method, devURL+target, strings.NewReader(form.Encode()))
	if err != nil {
		w.Fatal(err)
	}
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	r.Header.Set("Accept", "text/html")
	r.Header.Set("Sec-Fetch-Mode", "navigate")
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		if r.Header.Set(name, value); name == "Host" {
			r.Host = value
		}
	}
	resp, err := w.browser.Do(r)
	if err != nil {
		w.Fatalf("%s %s: %v", method, target, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		w.Fatal(err)
	}
	return answer{resp, string(body)}
}

func (w *devWorld) open() string {
	w.Helper()
	a := w.send(http.MethodGet, "/auth/dev", nil)
	if a.StatusCode != http.StatusOK {
		w.Fatalf("%d %s", a.StatusCode, a.body)
	}
	return a.body
}

// press posts a button and returns the page to which it leads.
func (w *devWorld) press(button, outcome string) string {
	w.Helper()
	a := w.send(http.MethodPost, "/auth/dev", url.Values{"do": {button}}, "Sec-Fetch-Site: same-origin", "Origin: "+devURL)
	if got := a.Request.URL.String(); a.StatusCode != http.StatusOK || got != devURL+"/auth/dev?done="+outcome {
		w.Fatalf("%s: %d at %s, want the outcome %s\n%s", button, a.StatusCode, got, outcome, a.body)
	}
	return w.open()
}

func (w *devWorld) wantParts(body string, parts ...string) {
	w.Helper()
	for _, part := range parts {
		if !strings.Contains(body, part) {
			_, shown, _ := strings.Cut(body, "</head>")
			w.Errorf("the page lacks %q:\n%s", part, shown)
		}
	}
}

var bob = oidcgatetest.User{Subject: "bob", Claims: map[string]any{"name": "Bob Hope", "groups": []string{"staff"}}}

func TestDevPageIsOffByDefault(t *testing.T) {
	w := newDevWorld(t, bob, func(c *oidcgate.Config, _ *oidcgate.Provider) { c.DevPage = false })
	t.Run("C190 without DevPage the address is the application's", func(t *testing.T) {
		if a := w.send(http.MethodGet, "/auth/dev", nil); a.body != "Bob Hope" {
			t.Errorf("%d %s", a.StatusCode, a.body)
		}
		r := httptest.NewRequest(http.MethodGet, devURL+"/auth/dev", nil)
		if route, _ := w.gate.Route(r); route != "" {
			t.Errorf("the route is %q", route)
		}
	})
}

func TestDevPageNeedsALoopbackHost(t *testing.T) {
	op := oidcgatetest.NewProvider(t)
	for _, base := range []string{"https://shop.example", "https://192.168.1.7", "https://localhost.example"} {
		t.Run("C190 New refuses it at "+base, func(t *testing.T) {
			_, err := oidcgate.New(oidcgate.Config{
				BaseURL: base, DevPage: true, Store: &store.Memory{}, Keys: mustKeys(t, worldKey),
			}, op.ProviderFor(base))
			var fault *oidcgate.ConfigError
			if !errors.As(err, &fault) || fault.Field != "DevPage" {
				t.Errorf("got %v, want a fault of DevPage", err)
			}
		})
	}
	for _, base := range []string{"http://127.0.0.1:8080", "http://[::1]:8080", "https://shop.localhost"} {
		t.Run("C190 New takes it at "+base, func(t *testing.T) {
			if _, err := oidcgate.New(oidcgate.Config{BaseURL: base, DevPage: true}, op.ProviderFor(base)); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestDevPageIsForTheDeveloperAlone(t *testing.T) {
	w := newDevWorld(t, bob)
	for _, tt := range []struct {
		name    string
		method  string
		headers []string
		status  int
		part    string
	}{
		{"a name that another site made for this machine", "GET", []string{"Host: evil.example:8080"}, 403, "named a host"},
		{"another name of this machine", "GET", []string{"Host: 127.0.0.1:8080"}, 403, devURL + "/auth/dev alone"},
		{"another port", "GET", []string{"Host: localhost:9090"}, 403, "named a host"},
		{"a host in capitals", "GET", []string{"Host: LOCALHOST:8080"}, 200, "Bob Hope"},
		{"a link of another site", "GET", []string{"Sec-Fetch-Site: cross-site", "Sec-Fetch-Dest: document"}, 200, "Bob Hope"},
		{"a frame of another site", "GET", []string{"Sec-Fetch-Site: cross-site", "Sec-Fetch-Dest: iframe"}, 403, "Another site"},
		{"a script of another port", "GET", []string{"Sec-Fetch-Site: same-site", "Sec-Fetch-Mode: no-cors", "Sec-Fetch-Dest: script"}, 403, "Another site"},
		{"a form of another site", "POST", []string{"Sec-Fetch-Site: cross-site"}, 403, "Another site"},
		{"a form of another port", "POST", []string{"Sec-Fetch-Site: same-site"}, 403, "Another site"},
		{"a form with another host", "POST", []string{"Sec-Fetch-Site: same-origin", "Host: evil.example:8080"}, 403, "named a host"},
		{"another method", "DELETE", nil, 405, "does not accept"},
	} {
		t.Run("C190 "+tt.name, func(t *testing.T) {
			var form url.Values
			if tt.method == http.MethodPost {
				form = url.Values{"do": {"end"}}
			}
			a := w.send(tt.method, "/auth/dev", form, tt.headers...)
			if a.StatusCode != tt.status || !strings.Contains(a.body, tt.part) {
				t.Errorf("%d %s, want %d with %q", a.StatusCode, a.body, tt.status, tt.part)
			}
			if tt.status != 200 && strings.Contains(a.body, "Bob Hope") {
				t.Errorf("the refusal shows the session: %s", a.body)
			}
			w.wantParts(w.open(), "Bob Hope") // the session goes on
		})
	}
	t.Run("C190 a form of another origin, in a browser that says nothing of sites", func(t *testing.T) {
		r := oidcgatetest.NewRequest(w.browser, http.MethodPost, devURL+"/auth/dev", strings.NewReader("do=end"))
		r.Header = http.Header{
			"Cookie": r.Header["Cookie"], "Origin": {"http://localhost:9090"},
			"Content-Type": {"application/x-www-form-urlencoded"},
		}
		r.RemoteAddr = "127.0.0.1:40000"
		rec := httptest.NewRecorder()
		w.handler.ServeHTTP(rec, r)
		if rec.Code != http.StatusForbidden {
			t.Errorf("%d %s", rec.Code, rec.Body)
		}
		w.wantParts(w.open(), "Bob Hope")
	})
	t.Run("C190 a program of another machine", func(t *testing.T) {
		r := oidcgatetest.NewRequest(w.browser, http.MethodGet, devURL+"/auth/dev", nil)
		r.RemoteAddr = "192.168.1.20:40000"
		rec := httptest.NewRecorder()
		w.handler.ServeHTTP(rec, r)
		if rec.Code != http.StatusForbidden || strings.Contains(rec.Body.String(), "Bob Hope") {
			t.Errorf("%d %s", rec.Code, rec.Body)
		}
		r.RemoteAddr = "[::ffff:127.0.0.1]:40000"
		rec = httptest.NewRecorder()
		w.handler.ServeHTTP(rec, r)
		if rec.Code != http.StatusOK {
			t.Errorf("from this machine: %d %s", rec.Code, rec.Body)
		}
	})
	t.Run("C190 the answer loads nothing, is not framed and not kept", func(t *testing.T) {
		a := w.send(http.MethodGet, "/auth/dev", nil)
		policy := a.Header.Get("Content-Security-Policy")
		for _, part := range []string{"default-src 'none'", "form-action 'self'", "frame-ancestors 'none'", "base-uri 'none'", "style-src 'sha256-"} {
			if !strings.Contains(policy, part) {
				t.Errorf("the policy %q lacks %q", policy, part)
			}
		}
		if got := a.Header.Get("Cache-Control"); got != "no-store" {
			t.Errorf("Cache-Control: %q", got)
		}
		if strings.Contains(a.body, " style=") || strings.Contains(a.body, "<script") {
			t.Error("the page has what its policy refuses")
		}
	})
}

func TestDevPageShowsWhatTheGateKnows(t *testing.T) {
	u := bob
	u.UserinfoClaims = map[string]any{"locale": "en-GB", "name": "Robert"}
	w := newDevWorld(t, u, func(c *oidcgate.Config, p *oidcgate.Provider) {
		p.Userinfo, p.Label = oidcgate.UserinfoRequired, "The Office"
		c.OnLogin = func(_ context.Context, l *oidcgate.Login) error { return l.Set("role", "cook") }
	})
	body := w.open()
	w.wantParts(body,
		"The Office", w.op.Issuer(), w.op.URL(oidcgatetest.Token), devURL+"/auth/callback", "fetched at", "loaded at",
		">Session<", ">Idle time<", ">Access token<", ">Claims<", "min left",
		`<code>locale</code>`, `<code>role</code>`, ">OnLogin<", "userinfo differs",
		"&#34;alg&#34;: &#34;RS256&#34;", "&#34;sub&#34;: &#34;bob&#34;",
		"login.succeeded", "session.created", "this session", "provider.ready",
	)
	stranger := &devWorld{T: t, gate: w.gate, handler: w.handler}
	stranger.browser = &http.Client{Transport: oidcgatetest.NewTransport(map[string]http.Handler{"localhost:8080": w.handler})}
	body = stranger.open()
	stranger.wantParts(body, "Nobody is signed in", "The Office", "login.succeeded")
	if strings.Contains(body, "Bob Hope") || strings.Contains(body, "this session") {
		t.Errorf("a browser without a session sees one: %s", body)
	}
}

func TestDevPageShowsWhatIsWrongWithAProvider(t *testing.T) {
	op := oidcgatetest.NewProvider(t)
	gate, err := oidcgate.New(oidcgate.Config{
		BaseURL: devURL, DevPage: true, Logger: slog.New(slog.DiscardHandler),
		HTTP: oidcgate.HTTPOptions{Transport: op.Transport()},
	}, oidcgate.Provider{Issuer: op.Issuer() + "/", ClientID: "shop", Auth: oidcgate.PublicClient()})
	if err != nil {
		t.Fatal(err)
	}
	w := &devWorld{T: t, gate: gate, handler: gate.Wrap(http.NotFoundHandler())}
	w.browser = &http.Client{Transport: oidcgatetest.NewTransport(map[string]http.Handler{"localhost:8080": w.handler})}
	w.open()
	w.wantParts(w.open(), "not known", "set Issuer without the slash at its end", "provider.rejected", "issuer_mismatch")
}

func TestDevPageShowsNothingThatCouldBeUsed(t *testing.T) {
	w := newDevWorld(t, oidcgatetest.User{Subject: "bob", Claims: map[string]any{
		"name":           "Bob Hope",
		"_claim_sources": map[string]any{"src1": map[string]any{"endpoint": "https://bank.example/claims", "access_token": "ksj3n283dke"}},
		"access_token":   "f9a8b7c6d5",
	}})
	w.press("renew", "renewed")
	w.send(http.MethodGet, "/auth/callback?code=thecode123&state=thestate123", nil) // an event
	body := w.open()
	secrets := map[string]string{"a token of distributed claims": "ksj3n283dke", "a token as a claim": "f9a8b7c6d5", "a code": "thecode123", "a state": "thestate123", "the secret": "a secret of the test"}
	at, _ := url.Parse(devURL)
	for _, c := range w.browser.Jar.Cookies(at) {
		secrets["the cookie "+c.Name] = c.Value
	}
	for i, answer := range w.bodies {
		for name, token := range tokensOf(t, answer) {
			secrets[fmt.Sprintf("%s %d", name, i)] = token
			if parts := strings.Split(token, "."); len(parts) == 3 {
				secrets[fmt.Sprintf("the signature of %s %d", name, i)] = parts[2]
			}
		}
	}
	if len(secrets) < 11 {
		t.Fatalf("only %d secrets are known", len(secrets))
	}
	sessions, err := w.gate.Sessions().ListUser(t.Context(), w.op.Issuer(), "bob")
	if err != nil || len(sessions) != 1 {
		t.Fatalf("%v, %v", sessions, err)
	}
	secrets["the handle of the session"] = sessions[0].ID
	for name, secret := range secrets {
		t.Run("C190 "+name+" is not on the page", func(t *testing.T) {
			if secret == "" || strings.Contains(body, secret) {
				t.Errorf("%q is on the page, or empty", secret)
			}
		})
	}
}

// tokensOf returns the tokens of a token answer by name.
func tokensOf(t *testing.T, answer string) map[string]string {
	t.Helper()
	var all map[string]any
	if err := json.Unmarshal([]byte(answer), &all); err != nil {
		t.Fatal(err)
	}
	tokens := map[string]string{}
	for _, name := range []string{"access_token", "refresh_token", "id_token"} {
		if token, _ := all[name].(string); token != "" {
			tokens[name] = token
		}
	}
	return tokens
}

func TestDevPageEscapes(t *testing.T) {
	hostile := `<script>alert(1)</script>"'` + "\u202e\x00</style><img src=x onerror=alert(1)>"
	w := newDevWorld(t, oidcgatetest.User{Subject: "bob", Claims: map[string]any{
		"name": hostile, hostile: hostile, "list": []any{hostile, map[string]any{hostile: 1}},
	}})
	w.send(http.MethodGet, "/auth/login?return_to="+url.QueryEscape("//"+hostile), nil)
	body := w.open()
	for _, raw := range []string{"<script", "<img", "\u202e", "\x00"} {
		if strings.Contains(body, raw) {
			t.Errorf("C190 the page has %q as it came", raw)
		}
	}
	w.wantParts(body, "&lt;script&gt;alert(1)&lt;/script&gt;", `\u{202E}`)
}

func TestDevPageButtons(t *testing.T) {
	t.Run("renew spends the refresh token and reads the claims again", func(t *testing.T) {
		decided := 0
		w := newDevWorld(t, bob, func(c *oidcgate.Config, p *oidcgate.Provider) {
			p.Userinfo = oidcgate.UserinfoRequired
			c.OnLogin = func(context.Context, *oidcgate.Login) error { decided++; return nil }
		})
		w.wantParts(w.open(), ">Refresh tokens and re-read claims<")
		w.op.SetUser(oidcgatetest.User{Subject: "bob", Claims: map[string]any{"name": "Bob the Builder"}})
		body := w.press("renew", "renewed")
		if n := w.tokenAnswers(); n != 2 || decided != 2 {
			t.Errorf("the provider gave tokens %d times and OnLogin was asked %d times, want 2 and 2", n, decided)
		}
		w.wantParts(body, "refresh.succeeded")
	})
	t.Run("renew without ClaimsMaxAge refreshes the tokens alone", func(t *testing.T) {
		w := newDevWorld(t, bob, func(c *oidcgate.Config, _ *oidcgate.Provider) { c.Tokens.ClaimsMaxAge = 0 })
		w.wantParts(w.open(), ">Refresh tokens<", "claims stay as they were")
		w.press("renew", "renewed")
		if n := w.tokenAnswers(); n != 2 {
			t.Errorf("the provider gave tokens %d times, want 2", n)
		}
	})
	t.Run("renew says that the provider fails", func(t *testing.T) {
		w := newDevWorld(t, bob)
		w.op.Inject(oidcgatetest.Token, oidcgatetest.Answer(503, "", ""))
		w.wantParts(w.press("renew", "failed"), "refresh.failed", "Bob Hope")
	})
	t.Run("renew says that OnLogin ends the session", func(t *testing.T) {
		w := newDevWorld(t, bob, func(c *oidcgate.Config, _ *oidcgate.Provider) {
			c.OnLogin = func(_ context.Context, l *oidcgate.Login) error {
				if l.IsReread() {
					return oidcgate.Deny("no more")
				}
				return nil
			}
		})
		w.wantParts(w.press("renew", "refused"), "Nobody is signed in", "session.revoked")
	})
	t.Run("end ends the session", func(t *testing.T) {
		w := newDevWorld(t, bob)
		w.wantParts(w.press("end", "ended"), "session.revoked")
		if a := w.send(http.MethodGet, "/", nil); a.StatusCode != http.StatusUnauthorized {
			t.Errorf("%d %s", a.StatusCode, a.body)
		}
		w.press("end", "nobody")
	})
	t.Run("what is no button does nothing", func(t *testing.T) {
		w := newDevWorld(t, bob)
		a := w.send(http.MethodPost, "/auth/dev", url.Values{"do": {"delete"}}, "Sec-Fetch-Site: same-origin")
		if a.StatusCode != http.StatusBadRequest {
			t.Errorf("%d %s", a.StatusCode, a.body)
		}
		w.wantParts(w.open(), "Bob Hope")
	})
}

func TestDevPageIsNoUseOfTheSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newDevWorld(t, bob, func(c *oidcgate.Config, _ *oidcgate.Provider) { c.IdleTimeout = 20 * time.Minute })
		for range 2 {
			time.Sleep(9 * time.Minute)
			w.wantParts(w.open(), "Bob Hope")
		}
		time.Sleep(3 * time.Minute)
		w.wantParts(w.open(), "opens no session")
	})
}

func TestDevPageRemembersFiftyEvents(t *testing.T) {
	w := newDevWorld(t, bob)
	var strangers sync.WaitGroup
	for i := range 80 {
		strangers.Go(func() {
			jar, _ := cookiejar.New(nil)
			one := &http.Client{Jar: jar, Transport: w.browser.Transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
			for _, path := range []string{fmt.Sprintf("/auth/callback?code=c%d&state=s%d", i, i), "/auth/dev"} {
				resp, err := one.Get(devURL + path)
				if err != nil {
					t.Error(err)
					return
				}
				_, _ = io.Copy(io.Discard, resp.Body)
				_ = resp.Body.Close()
			}
		})
	}
	strangers.Wait()
	if n := strings.Count(w.open(), `<code class="type">login.failed</code>`); n != 50 {
		t.Errorf("the page has %d events, want 50", n)
	}
}

func TestDevPageDoesNotWaitForOnEvent(t *testing.T) {
	goOn := make(chan struct{})
	defer close(goOn)
	w := newDevWorld(t, bob, func(c *oidcgate.Config, _ *oidcgate.Provider) {
		c.OnEvent = func(oidcgate.Event) { <-goOn }
	})
	w.wantParts(w.open(), "login.succeeded")
}

func TestDevPageWithoutIDTokens(t *testing.T) {
	w := &devWorld{T: t, op: oidcgatetest.NewProvider(t, oidcgatetest.Config{WithoutIDTokens: true})}
	var err error
	w.gate, err = oidcgate.New(oidcgate.Config{
		BaseURL: devURL, DevPage: true, Logger: slog.New(slog.DiscardHandler),
		HTTP: oidcgate.HTTPOptions{Transport: w.op.Transport()},
	}, w.op.ProviderFor(devURL))
	if err != nil {
		t.Fatal(err)
	}
	w.handler = w.gate.Wrap(http.NotFoundHandler())
	w.browser = w.op.SignIn(t, w.gate, w.handler, oidcgatetest.User{Subject: "octocat"})
	a := w.send(http.MethodGet, "/auth/dev", nil)
	for text, want := range map[string]bool{
		"octocat": true, "none: it issues no ID Tokens": true, "the gate": true, "Redirect URI": true,
		"the first login loads them": false, "Post-logout redirect URI": false,
	} {
		if strings.Contains(a.body, text) != want {
			t.Errorf("%q: want %t in\n%s", text, want, a.body)
		}
	}
}
