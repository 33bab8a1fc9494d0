package oidcgate_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oidcgate/oidcgate"
	"github.com/oidcgate/oidcgate/oidcgatetest"
)

// handlerFunc is a log that is called for each line.
type handlerFunc func()

func (f handlerFunc) Enabled(context.Context, slog.Level) bool  { return true }
func (f handlerFunc) Handle(context.Context, slog.Record) error { f(); return nil }
func (f handlerFunc) WithAttrs([]slog.Attr) slog.Handler        { return f }
func (f handlerFunc) WithGroup(string) slog.Handler             { return f }

func TestSinkBlocks(t *testing.T) {
	blocks := func(gate chan struct{}) func() { return func() { <-gate } }
	for name, sink := range map[string]func(wait func()) change{
		"OnEvent": func(wait func()) change {
			return func(c *oidcgate.Config, _ *oidcgate.Provider) {
				next := c.OnEvent
				c.OnEvent = func(e oidcgate.Event) { wait(); next(e) }
			}
		},
		"the log": func(wait func()) change {
			return func(c *oidcgate.Config, _ *oidcgate.Provider) {
				c.Logger = slog.New(slog.NewTextHandler(writerFunc(wait), &slog.HandlerOptions{Level: slog.LevelDebug}))
			}
		},
	} {
		t.Run("F45 "+name+" blocks and no request waits for it", func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				opened := make(chan struct{})
				w := newWorld(t, sink(blocks(opened)))
				w.login()
				for range 2000 { // more events than wait in the queue
					w.requestAs("/public", sessionCookie+"=junk")
				}
				if got := w.subject(); got != "alice" {
					t.Errorf("signed in as %q", got)
				}
				ctx, cancel := context.WithCancel(t.Context())
				cancel()
				if err := w.gate.Wait(ctx); !errors.Is(err, context.Canceled) {
					t.Errorf("Close: %v, want the context's error", err)
				}
				close(opened)
				malformed := w.eventsOf(oidcgate.EventCookieMalformed)
				var dropped uint64
				w.mu.Lock()
				for _, e := range w.events {
					dropped += e.Dropped
				}
				w.mu.Unlock()
				if len(malformed) == 0 || uint64(len(malformed))+dropped < 2000 {
					t.Errorf("%d events arrived, %d were counted as dropped, of 2000", len(malformed), dropped)
				}
			})
		})
	}

	inBubble(t, "F45 OnEvent does not return, and the log has every event", func(t *testing.T) {
		opened := make(chan struct{})
		w := newWorld(t, func(c *oidcgate.Config, _ *oidcgate.Provider) {
			c.OnEvent = func(oidcgate.Event) { <-opened }
		})
		for range 300 {
			w.requestAs("/public", sessionCookie+"=junk")
			synctest.Wait() // the log has its line
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := w.gate.Wait(ctx)
		if want := "oidcgate: OnEvent has not returned from all events: context deadline exceeded"; err == nil || err.Error() != want {
			t.Errorf("Wait: %v, want %q", err, want)
		}
		if n := strings.Count(w.logged(), "oidcgate: cookie.malformed"); n != 300 {
			t.Errorf("%d lines, want 300", n)
		}
		if n := strings.Count(w.logged(), "OnEvent is too slow"); n != 1 {
			t.Errorf("%d lines say that OnEvent is too slow, want 1", n)
		}
		close(opened)
	})
	inBubble(t, "F45 the log blocks, and no logout waits for it whose refresh token cannot be revoked", func(t *testing.T) {
		var blocked atomic.Bool
		opened := make(chan struct{})
		op := oidcgatetest.NewProvider(t, oidcgatetest.Config{AccessTokenLifetime: 10 * time.Minute})
		f := newFleetOf(t, op, 1, func(c *oidcgate.Config, _ *oidcgate.Provider) {
			c.Logger = slog.New(handlerFunc(func() {
				if blocked.Load() {
					<-opened
				}
			}))
		})
		f.revocations(oidcgatetest.Answer(http.StatusInternalServerError, "", ""))
		f.login()
		blocked.Store(true)
		time.AfterFunc(time.Hour, func() { close(opened) })
		begun := time.Now()
		if a := f.logout(sameOrigin); a.StatusCode != http.StatusSeeOther || time.Since(begun) > time.Minute {
			t.Errorf("status %d after %v", a.StatusCode, time.Since(begun))
		}
		time.Sleep(time.Hour)
	})
	inBubble(t, "F45 the log blocks, and no request waits for it that names an unknown provider", func(t *testing.T) {
		opened := make(chan struct{})
		w := newWorld(t, func(c *oidcgate.Config, _ *oidcgate.Provider) {
			c.Logger = slog.New(handlerFunc(func() { <-opened }))
		})
		time.AfterFunc(time.Hour, func() { close(opened) })
		begun := time.Now()
		if a := w.send(w.newBrowser(), http.MethodPost, "/auth/callback/nobody", "code=x&state=x"); time.Since(begun) > time.Minute {
			t.Errorf("status %d after %v", a.StatusCode, time.Since(begun))
		}
		time.Sleep(time.Hour)
	})
	t.Run("F34 F45 OnEvent panics and the gate goes on", func(t *testing.T) {
		w := newWorld(t, func(c *oidcgate.Config, _ *oidcgate.Provider) {
			c.OnEvent = func(oidcgate.Event) { panic("a hook") }
		})
		w.login()
		if err := w.gate.Wait(t.Context()); err != nil {
			t.Errorf("Close: %v", err)
		}
		if !strings.Contains(w.logged(), "OnEvent panicked") {
			t.Errorf("the log does not say so:\n%s", w.logged())
		}
	})

	t.Run("events come in order, one at a time", func(t *testing.T) {
		var mu sync.Mutex
		var order []oidcgate.EventType
		w := newWorld(t, func(c *oidcgate.Config, _ *oidcgate.Provider) {
			c.OnEvent = func(e oidcgate.Event) {
				if !mu.TryLock() {
					t.Error("two at a time")
					return
				}
				defer mu.Unlock()
				order = append(order, e.Type)
			}
		})
		w.login()
		w.send(w.browser, http.MethodPost, "/auth/logout", "", "Sec-Fetch-Site: same-origin")
		if err := w.gate.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		want := []oidcgate.EventType{
			oidcgate.EventProviderReady, oidcgate.EventLoginStarted, oidcgate.EventJWKSRefreshed, oidcgate.EventSessionCreated,
			oidcgate.EventLoginSucceeded, oidcgate.EventLogoutStarted, oidcgate.EventSessionRevoked,
		}
		if fmt.Sprint(order) != fmt.Sprint(want) {
			t.Errorf("events %v, want %v", order, want)
		}
	})
}

type writerFunc func()

func (f writerFunc) Write(b []byte) (int, error) { f(); return len(b), nil }

// canaries are the secrets of a test, by what they are. None of them may come out anywhere.
type canaries struct {
	mu     sync.Mutex
	values map[string]string // value to name
}

func (c *canaries) add(name string, values ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, v := range values {
		if len(v) >= 8 {
			c.values[v] = name
			c.values[url.QueryEscape(v)] = name
		}
	}
}

// providersWords is the name of words that are meant for the operator.
const providersWords = "provider's words"

// sweep looks for them in a text.
func (c *canaries) sweep(t *testing.T, where, text string) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	for value, name := range c.values {
		if name == providersWords && !strings.Contains(where, "page") {
			continue
		}
		if i := strings.Index(text, value); i >= 0 {
			t.Errorf("%s shows the %s: ...%s...", where, name, text[max(0, i-60):min(len(text), i+len(value)+20)])
		}
	}
}

const (
	canarySecret  = "c4n4ry-client-secret"
	canarySubject = "c4n4ry-subject"
	canaryText    = "c4n4ry-provider-text"
	canaryWords   = "c4n4ry-provider-words" // may stand in the log, short and quoted, and on no page
)

// caged opens a shop whose every secret is a canary: those that are known before, and those that the provider
// makes and the browser carries, caught as they pass.
func caged(t *testing.T) (*world, *tap, *canaries) {
	birds := &canaries{values: map[string]string{}}
	birds.add("client's secret", canarySecret)
	birds.add("subject", canarySubject, canarySubject+"@example.com")
	birds.add("provider's text", canaryText)
	birds.add(providersWords, canaryWords)
	birds.add("key", oldKey, oldKey[:20])
	w, records := newTapped(t, asksUserinfo, keepsValues, func(c *oidcgate.Config, p *oidcgate.Provider) {
		c.Keys, p.Auth = mustKeys(t, oldKey), oidcgate.ClientSecretPost(canarySecret)
	})
	w.op.AddClient(oidcgatetest.Client{
		ID: "shop", Secret: canarySecret, AuthMethod: oidcgatetest.ClientSecretPost,
		RedirectURLs:           []string{shopURL + "/auth/callback"},
		PostLogoutRedirectURLs: []string{shopURL + "/auth/logout/done"},
	})
	w.op.SetUser(oidcgatetest.User{Subject: canarySubject, Claims: map[string]any{"email": canarySubject + "@example.com", "email_verified": true}})
	w.op.Always(oidcgatetest.Token, catchTokens(birds))
	w.handler = catchCookies(birds, w.handler)
	return w, records, birds
}

// catchTokens makes canaries of what a token request and its answer hold.
func catchTokens(birds *canaries) oidcgatetest.Fault {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			birds.add("code", r.Form.Get("code"))
			birds.add("verifier", r.Form.Get("code_verifier"))
			oidcgatetest.EditJSON(func(m map[string]any) {
				for _, name := range []string{"access_token", "refresh_token", "id_token"} {
					text, _ := m[name].(string)
					birds.add(name, text)
				}
			})(next).ServeHTTP(w, r)
		})
	}
}

// catchCookies makes canaries of the cookies the shop sets and of the state, nonce and code it meets.
func catchCookies(birds *canaries, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		birds.add("state", q.Get("state"))
		birds.add("code", q.Get("code"))
		next.ServeHTTP(w, r)
		for _, c := range (&http.Response{Header: w.Header()}).Cookies() {
			birds.add("cookie "+c.Name, c.Value)
		}
		if u, err := url.Parse(w.Header().Get("Location")); err == nil {
			q := u.Query()
			birds.add("state", q.Get("state"))
			birds.add("nonce", q.Get("nonce"))
			birds.add("id_token_hint", q.Get("id_token_hint"))
		}
	})
}

// TestNoSecretComesOut runs logins, refusals of every kind and logouts, and sweeps the log at its most
// talkative, the events, the pages, and the errors.
func TestNoSecretComesOut(t *testing.T) {
	evil := oidcgatetest.Answer(http.StatusBadRequest, "application/json", `{"error":"`+canaryText+`","error_description":"`+canaryWords+`"}`)
	html := oidcgatetest.Answer(http.StatusOK, "text/html", "<h1>"+canaryText+"</h1>")
	always := func(e oidcgatetest.Endpoint, f oidcgatetest.Fault) func(*world, *tap) {
		return func(w *world, _ *tap) { w.op.Always(e, f) }
	}
	for _, row := range []struct {
		name  string
		spoil func(*world, *tap)
	}{
		{"a login", func(*world, *tap) {}},
		{"the token endpoint echoes the request", always(oidcgatetest.Token, func(next http.Handler) http.Handler { return echo(next) })},
		{"the token endpoint has words of its own", always(oidcgatetest.Token, evil)},
		{"the token endpoint answers in HTML", always(oidcgatetest.Token, html)},
		{"the token endpoint redirects with all it got", always(oidcgatetest.Token, oidcgatetest.Redirect(307, "https://id.test/"+canaryText))},
		{"the token endpoint sends a broken header", always(oidcgatetest.Token, oidcgatetest.EditJSON(func(m map[string]any) { m["token_type"] = canaryText }))},
		{"the ID Token is bad", func(w *world, _ *tap) { claim("aud", canaryWords)(w) }},
		{"the ID Token is no token", func(w *world, _ *tap) { finish(func(string) string { return canaryText + "." + canaryText })(w) }},
		{"the ID Token is no JSON", func(w *world, _ *tap) { payload(`{"` + canaryText)(w) }},
		{"the kid is unknown", func(w *world, _ *tap) { header("kid", canaryText)(w) }},
		{"the keys are HTML", always(oidcgatetest.JWKS, html)},
		{"userinfo is HTML", always(oidcgatetest.Userinfo, html)},
		{"userinfo is about another", always(oidcgatetest.Userinfo, oidcgatetest.Answer(200, "application/json", `{"sub":"`+canaryText+`"}`))},
		{"userinfo breaks", always(oidcgatetest.Userinfo, oidcgatetest.Reset())},
		{"the token endpoint breaks", always(oidcgatetest.Token, oidcgatetest.Reset())},
		{"the store refuses to write", func(_ *world, records *tap) { records.refuse(refusesWrites) }},
	} {
		t.Run(row.name, func(t *testing.T) {
			w, records, birds := caged(t)
			callback := w.callbackURL("/app")
			row.spoil(w, records)
			pages := []answer{w.get(callback), w.get(callback), w.get("/whoami-not"), w.get("/auth/logout")}
			records.refuse(nil)
			out := w.send(w.browser, http.MethodPost, "/auth/logout", "", "Sec-Fetch-Site: same-origin")
			pages = append(pages, out)
			if strings.HasPrefix(out.location(), w.op.Issuer()) {
				pages = append(pages, w.get(w.get(out.location()).location()))
			}
			w.sweepAll(birds, pages...)
		})
	}

	t.Run("what strangers send to the callback", func(t *testing.T) {
		w, _, birds := caged(t)
		good, q := split(t, w.callbackURL("/app"))
		var pages []answer
		for name, values := range map[string]url.Values{
			"error":             {"error": {canaryText}, "error_description": {canaryText}, "error_uri": {"https://evil.example/" + canaryText}},
			"registered error":  {"error": {"access_denied"}, "error_description": {canaryWords}, "state": q["state"]},
			"unknown error":     {"error": {canaryText}, "state": q["state"]},
			"another state":     {"state": {strings.Repeat("S", 43)}, "code": {canaryText}},
			"two states":        {"state": {q.Get("state"), canaryText}, "code": {canaryText}},
			"another issuer":    {"state": q["state"], "code": {canaryText}, "iss": {"https://evil.example/" + canaryWords}},
			"tokens in the URL": {"state": q["state"], "code": {canaryText}, "id_token": {canaryText}, "iss": q["iss"]},
		} {
			a := w.get(good + "?" + values.Encode())
			if a.StatusCode < 400 {
				t.Errorf("%s: status %d", name, a.StatusCode)
			}
			pages = append(pages, a)
		}
		w.sweepAll(birds, pages...)
	})

	t.Run("a provider that cannot be discovered", func(t *testing.T) {
		w, _, birds := caged(t)
		w.op.Always(oidcgatetest.Discovery, html)
		page := w.get("/auth/login")
		err := w.gate.Ready(t.Context())
		if err == nil {
			t.Error("ready")
		}
		w.sweepAll(birds, page)
		for form, text := range printed(t, err) {
			birds.sweep(t, "the error of Ready under "+form, text)
		}
	})

	t.Run("the errors of Token and Err", func(t *testing.T) {
		w, records, birds := caged(t)
		w.login()
		records.refuse(func(c storeCall) error {
			if strings.HasPrefix(c.key, "t:") {
				return errors.New("connection refused")
			}
			return nil
		})
		_, err := accessToken(w)
		if !errors.Is(err, oidcgate.ErrStoreUnavailable) {
			t.Errorf("Token: %v, want ErrStoreUnavailable", err)
		}
		for form, text := range printed(t, err) {
			birds.sweep(t, "the error of Token under "+form, text)
		}
	})

	t.Run("OnLogin refuses, fails and panics", func(t *testing.T) {
		for name, hook := range map[string]func() error{
			"refuses": func() error { return oidcgate.Deny("Ask the office.") },
			"fails":   func() error { return errors.New("no database") },
			"panics":  func() error { panic("no database") },
		} {
			w, records, birds := caged(t)
			w.reopen(func(c *oidcgate.Config) { c.OnLogin = func(context.Context, *oidcgate.Login) error { return hook() } })
			w.op.AddClient(oidcgatetest.Client{ID: "shop", Secret: secret, RedirectURLs: []string{shopURL + "/auth/callback"}})
			w.op.Always(oidcgatetest.Token, catchTokens(birds))
			w.handler = catchCookies(birds, w.handler)
			page := w.get(w.callbackURL("/app"))
			if page.StatusCode < 400 {
				t.Errorf("OnLogin %s: status %d", name, page.StatusCode)
			}
			w.leavesNothing(records)
			w.sweepAll(birds, page)
		}
	})
}

// sweepAll sweeps the log, the events and the pages.
func (w *world) sweepAll(birds *canaries, pages ...answer) {
	w.Helper()
	if err := w.gate.Wait(w.Context()); err != nil {
		w.Fatal(err)
	}
	if w.logged() == "" {
		w.Error("nothing was logged")
	}
	birds.sweep(w.T, "the log", w.logged())
	w.mu.Lock()
	events := w.events
	w.mu.Unlock()
	text, err := json.Marshal(events)
	if err != nil || len(events) == 0 {
		w.Fatalf("%d events: %v", len(events), err)
	}
	birds.sweep(w.T, "an event", string(text))
	birds.sweep(w.T, "an event under %+v", fmt.Sprintf("%+v %#v", events, events))
	for _, p := range pages {
		birds.sweep(w.T, "the page of "+p.Request.URL.Path, p.body)
	}
}

func TestStepUpNamesTheSession(t *testing.T) {
	w := newWorld(t)
	w.handler = w.gate.Wrap(w.gate.Require(oidcgate.ACR("gold"))(http.NotFoundHandler()))
	w.get(w.callbackURL("/app"))
	w.get("/app", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document")
	begun, asked := w.eventsOf(oidcgate.EventSessionCreated), w.eventsOf(oidcgate.EventStepUpRequired)
	if len(begun) != 1 || len(asked) != 1 {
		t.Fatalf("%d sessions began, %d step-ups", len(begun), len(asked))
	}
	b, a := begun[0], asked[0]
	if a.SessionRef != b.SessionRef || a.Issuer != b.Issuer || a.Provider != b.Provider || a.SubjectHash != b.SubjectHash {
		t.Errorf("%+v, want the session of %+v", a, b)
	}
}

// Lines of the application's own log are joined with the gate's by the session.
func TestSessionRef(t *testing.T) {
	w := newWorld(t)
	var got string
	inner := w.handler
	w.handler = w.gate.Wrap(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		got = w.gate.SessionRef(r.Context())
		inner.ServeHTTP(rw, r)
	}))
	w.get("/public")
	if got != "" {
		t.Errorf("without a session: %q", got)
	}
	w.login()
	w.get("/public")
	if want := w.eventsOf(oidcgate.EventSessionCreated)[0].SessionRef; got != want || got == "" {
		t.Errorf("%q, want %q as in events", got, want)
	}
	id, err := oidcgate.NewIdentity(w.op.Issuer(), "alice", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, ctx := range []context.Context{t.Context(), w.gate.NewContext(t.Context(), id)} {
		if got := w.gate.SessionRef(ctx); got != "" {
			t.Errorf("%v has the session %q", ctx, got)
		}
	}
}

func TestWithoutOnEvent(t *testing.T) {
	t.Run("F45 a gate without OnEvent logs its events, and no fault", func(t *testing.T) {
		p := oidcgatetest.NewProvider(t)
		var log strings.Builder
		gate, err := oidcgate.New(oidcgate.Config{
			BaseURL: "http://localhost", HTTP: oidcgate.HTTPOptions{Transport: p.Transport()},
			Logger: slog.New(slog.NewTextHandler(&log, nil)),
		}, p.ProviderFor("http://localhost"))
		if err != nil {
			t.Fatal(err)
		}
		p.SignIn(t, gate, gate.Wrap(http.NotFoundHandler()), oidcgatetest.User{Subject: "bob"})
		if err := gate.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := log.String(); !strings.Contains(got, "login.succeeded") || strings.Contains(got, "level=ERROR") {
			t.Errorf("the log:\n%s", got)
		}
	})
}
