package oidcgate_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oidcgate/oidcgate"
	"github.com/oidcgate/oidcgate/oidcgatetest"
	"github.com/oidcgate/oidcgate/store"
)

const guarded = "what the guard protects"

// guardedBy puts a guard in front of everything. The handler behind it says so.
func (w *world) guardedBy(rules ...oidcgate.Rule) {
	protected := http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(rw, guarded) })
	w.handler = w.gate.Wrap(w.gate.Require(rules...)(protected))
}

// An outcome is what a guard answers.
type outcome int

const (
	toLogin  outcome = iota // 303 to the login
	toPage                  // a page that says what to do
	toScript                // problem+json with the address of the login
)

// visits are the ways to make a request, and what a visitor who is not signed in gets.
var visits = []struct {
	name, method string
	headers      []string
	body         string
	want         outcome
}{
	{"a navigation", "GET", []string{"Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document"}, "", toLogin},
	{"a navigation of a browser that says little", "GET", []string{"Accept: text/html,application/xhtml+xml,*/*;q=0.8"}, "", toLogin},
	{"a client that takes anything", "GET", []string{"Accept: */*"}, "", toLogin},
	{"a navigation through a proxy that asks for a password", "GET", []string{"Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document", "Authorization: Basic YTpi"}, "", toLogin},
	{"a client with a password", "GET", []string{"Accept: */*", "Authorization: Basic YTpi"}, "", toScript},
	{"a client with a token", "GET", []string{"Accept: */*", "Authorization: Bearer x"}, "", toScript},
	{"a navigation with a token", "GET", []string{"Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document", "Authorization: Bearer x"}, "", toScript},
	{"a client that sends JSON", "GET", []string{"Accept: */*", "Content-Type: application/json"}, "", toScript},
	{"a client that sends JSON of a kind", "GET", []string{"Content-Type: application/ld+json; charset=utf-8"}, "", toScript},
	{"a navigation that would take JSON too", "GET", []string{"Accept: text/html, application/json"}, "", toLogin},
	{"a prefetch", "GET", []string{"Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document", "Sec-Purpose: prefetch"}, "", toScript},
	{"a prerender", "GET", []string{"Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document", "Sec-Purpose: prefetch;prerender"}, "", toScript},
	{"an old prefetch", "GET", []string{"Purpose: prefetch"}, "", toScript},
	{"an iframe", "GET", []string{"Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: iframe"}, "", toScript},
	{"an embedded object", "GET", []string{"Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: object"}, "", toScript},
	{"a fetch", "GET", []string{"Sec-Fetch-Mode: cors", "Sec-Fetch-Dest: empty", "Accept: */*"}, "", toScript},
	{"a fetch that asks for HTML", "GET", []string{"Sec-Fetch-Mode: same-origin", "Sec-Fetch-Dest: empty", "Accept: text/html"}, "", toScript},
	{"an image", "GET", []string{"Sec-Fetch-Mode: no-cors", "Sec-Fetch-Dest: image", "Accept: image/avif,image/webp,*/*;q=0.8"}, "", toScript},
	{"a script", "GET", []string{"Sec-Fetch-Mode: no-cors", "Sec-Fetch-Dest: script"}, "", toScript},
	{"a service worker's script", "GET", []string{"Sec-Fetch-Mode: same-origin", "Sec-Fetch-Dest: serviceworker"}, "", toScript},
	{"an image in a browser that says little", "GET", []string{"Accept: image/webp,image/*;q=0.8,*/*;q=0.5"}, "", toScript},
	{"a stylesheet in a browser that says little", "GET", []string{"Accept: text/css,*/*;q=0.1"}, "", toScript},
	{"an XMLHttpRequest", "GET", []string{"X-Requested-With: XMLHttpRequest"}, "", toScript},
	{"an API client", "GET", []string{"Accept: application/json"}, "", toScript},
	{"an API client that takes anything else too", "GET", []string{"Accept: application/json, text/plain, */*"}, "", toScript},
	{"an event stream", "GET", []string{"Accept: text/event-stream"}, "", toScript},
	{"a websocket", "GET", []string{"Upgrade: websocket", "Connection: Upgrade", "Sec-Fetch-Mode: websocket"}, "", toScript},
	{"a websocket of Chromium, or of an old browser", "GET", []string{"Upgrade: websocket", "Connection: Upgrade", "Origin: https://shop.test"}, "", toScript},
	{"a HEAD", "HEAD", nil, "", toScript},
	{"an OPTIONS", "OPTIONS", []string{"Sec-Fetch-Mode: cors", "Access-Control-Request-Method: PUT"}, "", toScript},
	{"a form", "POST", []string{"Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document"}, "a=b", toPage},
	{"a form of an old browser", "POST", []string{"Accept: text/html", "Content-Type: application/x-www-form-urlencoded"}, "a=b", toPage},
	{"an upload of an old browser", "POST", []string{"Accept: text/html", "Content-Type: multipart/form-data; boundary=x"}, "--x--", toPage},
	{"a form posted by a script", "POST", []string{"Sec-Fetch-Mode: cors", "Sec-Fetch-Dest: empty", "Accept: text/html", "Content-Type: application/x-www-form-urlencoded"}, "a=b", toScript},
	{"a form posted by an old script", "POST", []string{"X-Requested-With: XMLHttpRequest", "Accept: text/html", "Content-Type: application/x-www-form-urlencoded"}, "a=b", toScript},
	{"a form posted by a client that takes anything", "POST", []string{"Accept: */*", "Content-Type: application/x-www-form-urlencoded"}, "a=b", toScript},
	{"posted JSON", "POST", []string{"Content-Type: application/json", "Accept: application/json"}, "{}", toScript},
	{"a PUT", "PUT", []string{"Accept: */*"}, "x", toScript},
	{"a DELETE", "DELETE", nil, "", toScript},
	{"a method nobody knows", "BREW", nil, "", toScript},
}

func TestAdmitStrangers(t *testing.T) {
	for _, tt := range visits {
		t.Run("C110 R-FLOW-1 "+tt.name+" does not pass", func(t *testing.T) {
			w := newWorld(t)
			w.guardedBy()
			a := w.sendOnly(w.browser, tt.method, "/orders?page=2", tt.body, tt.headers...)
			w.answered(a, tt.method, tt.want, "/orders?page=2")
			if strings.Contains(a.body, guarded) {
				t.Errorf("the handler wrote:\n%s", a.body)
			}
			if c := a.Cookies(); len(c) != 0 {
				t.Errorf("cookies %v", c)
			}
			if got := a.Header.Get("Cache-Control"); got != "no-store" {
				t.Errorf("Cache-Control %q", got)
			}
			if n := len(w.eventsOf(oidcgate.EventLoginStarted)); n != 0 {
				t.Errorf("%d logins begun", n)
			}
		})
	}
}

// A form may be posted by a visitor who never was signed in, or whose session is over.
func TestPageOfAFormThatWasNotSent(t *testing.T) {
	for language, text := range map[string]string{
		"en": "This needs a login, so what you entered was not sent.",
		"de": "Dafür ist eine Anmeldung nötig. Deshalb wurden Ihre Eingaben nicht gesendet.",
		"fr": "Cette action demande une connexion. Ce que vous avez saisi n’a donc pas été envoyé.",
	} {
		t.Run("the page does not say that the visitor was signed in: "+language, func(t *testing.T) {
			w := newWorld(t)
			w.guardedBy()
			a := w.send(w.browser, http.MethodPost, "/orders", "a=b", "Accept-Language: "+language)
			if a.StatusCode != http.StatusUnauthorized || !strings.Contains(a.body, text) {
				t.Errorf("%d\n%s", a.StatusCode, a.body)
			}
		})
	}
}

// Who is signed in is not told that a login is missing.
func TestPageOfAFormThatNeedsAnotherLogin(t *testing.T) {
	for language, texts := range map[string][]string{
		"en": {"You are signed in, but this needs a fresh or a stronger login.", "was not sent", ">Log in again<"},
		"de": {"Sie sind angemeldet, aber dafür ist eine neue oder eine stärkere Anmeldung nötig.", "nicht gesendet", ">Noch einmal anmelden<"},
		"fr": {"Vous êtes connecté, mais cette action exige une connexion récente ou plus sûre.", "pas été envoyé", ">Se reconnecter<"},
	} {
		for name, rule := range map[string]oidcgate.Rule{
			"fresh": oidcgate.MaxAge(5 * time.Minute), "strong": oidcgate.ACR("gold"),
		} {
			t.Run("C110 "+name+", "+language, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t)
					w.login()
					time.Sleep(10 * time.Minute)
					w.guardedBy(rule)
					a := w.send(w.browser, http.MethodPost, "/pay", "a=b", "Accept-Language: "+language, "Referer: "+shopURL+"/pay")
					for _, text := range append(texts, "?return_to=%2Fpay&amp;step=") {
						if a.StatusCode != http.StatusUnauthorized || !strings.Contains(a.body, text) {
							t.Errorf("%d, without %q\n%s", a.StatusCode, text, a.body)
						}
					}
				})
			})
		}
	}
}

func TestAdmitLeavesOutWhatIsNoReturnPath(t *testing.T) {
	for name, page := range map[string]string{
		"an address of 900 KB":             "/app?" + strings.Repeat("%25", 300_000),
		"an address just too long":         "/app?" + strings.Repeat("x", 2044),
		"an address of 2 KB as it is seen": "/app?" + strings.Repeat("\u00e9", 1100),
		"an address on another site":       "//evil.example/app",
		"an address with an encoded slash": "/app/a%2f..%2fb",
	} {
		for _, headers := range [][]string{
			{"Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document"},
			{"Sec-Fetch-Mode: cors", "Sec-Fetch-Dest: empty", "Accept: */*"},
		} {
			t.Run("F25 "+name+", "+headers[0], func(t *testing.T) {
				w := newWorld(t)
				w.guardedBy()
				r := httptest.NewRequest(http.MethodGet, "/", nil)
				r.URL.Path, r.URL.RawQuery, _ = strings.Cut(page, "?")
				if path, err := url.PathUnescape(r.URL.Path); err == nil && path != r.URL.Path {
					r.URL.Path, r.URL.RawPath = path, r.URL.Path
				}
				for _, h := range headers {
					key, value, _ := strings.Cut(h, ": ")
					r.Header.Set(key, value)
				}
				rec := w.direct(r)
				if n := len(rec.Header().Get("Location")) + rec.Body.Len(); n > 300 {
					t.Errorf("an answer of %d bytes", n)
				}
				text := rec.Header().Get("Location") + rec.Body.String()
				if !strings.Contains(text, shopURL+"/auth/login") || strings.Contains(text, "return_to") {
					t.Errorf("%d %.300s, want the login without a return path", rec.Code, text)
				}
			})
		}
	}
}

// answered fails unless a guard's answer has the outcome.
func (w *world) answered(a answer, method string, want outcome, page string) {
	w.Helper()
	login := shopURL + "/auth/login"
	back := login + "?return_to=" + url.QueryEscape(page)
	switch want {
	case toLogin:
		if a.StatusCode != http.StatusSeeOther || a.location() != back {
			w.Errorf("%d to %q, want 303 to %q", a.StatusCode, a.location(), back)
		}
	case toPage:
		if a.StatusCode != http.StatusUnauthorized || !strings.Contains(a.body, "not sent") || !strings.Contains(a.body, `href="`+login+`"`) {
			w.Errorf("%d, want a page that says that nothing was sent\n%s", a.StatusCode, a.body)
		}
	case toScript:
		var problem struct {
			Status   int
			LoginURL string `json:"login_url"`
		}
		if a.StatusCode != http.StatusUnauthorized || a.Header.Get("Content-Type") != "application/problem+json" || a.location() != "" {
			w.Fatalf("%d %s, want 401 and problem+json\n%s", a.StatusCode, a.Header.Get("Content-Type"), a.body)
		}
		if got := a.Header.Get("WWW-Authenticate"); got != "Session" {
			w.Errorf("C110 the challenge is %q", got)
		}
		if method == http.MethodHead {
			return
		}
		back = login // there is no Referer
		if err := json.Unmarshal([]byte(a.body), &problem); err != nil || problem.Status != 401 || problem.LoginURL != back {
			w.Errorf("%v, want the login %q: %s", err, back, a.body)
		}
	}
}

func TestTryAgainWhileTheStoreIsIll(t *testing.T) {
	tally := &tallyStore{Store: &store.Memory{}}
	w := newWorld(t, func(c *oidcgate.Config, _ *oidcgate.Provider) { c.Store = tally })
	w.login()
	w.handler = w.gate.Wrap(http.StripPrefix("/app", w.gate.Require()(http.NotFoundHandler())))
	tally.ill.Store(true)
	const again = `<a href="` + shopURL + `/app/orders?from=1&amp;to=2">Try again</a>`
	for _, tt := range []struct {
		name, method string
		headers      []string
		want         bool
	}{
		{"F20 a person who navigates may try again", http.MethodGet, nil, true},
		{"F20 what was posted is not tried again", http.MethodPost, nil, false},
		{"F20 a script gets no link", http.MethodGet, []string{"Sec-Fetch-Mode: cors"}, false},
		{"F20 a frame gets no link", http.MethodGet, []string{"Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: iframe"}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := w.send(w.browser, tt.method, "/app/orders?from=1&to=2", "", tt.headers...)
			if a.StatusCode != http.StatusServiceUnavailable || a.Header.Get("Refresh") != "" {
				t.Errorf("status %d, Refresh %q", a.StatusCode, a.Header.Get("Refresh"))
			}
			if strings.Contains(a.body, again) != tt.want || strings.Contains(a.body, "Try again<") != tt.want {
				t.Errorf("the link is wanted: %t\n%s", tt.want, a.body)
			}
		})
	}
}

func TestAdmitWhileTheStoreIsIll(t *testing.T) {
	for _, tt := range visits {
		t.Run("F20 C110 "+tt.name+" gets 503 and keeps its cookie", func(t *testing.T) {
			tally := &tallyStore{Store: &store.Memory{}}
			w := newWorld(t, func(c *oidcgate.Config, _ *oidcgate.Provider) { c.Store = tally })
			w.login()
			w.guardedBy()
			tally.ill.Store(true)
			a := w.sendOnly(w.browser, tt.method, "/orders", tt.body, tt.headers...)
			if a.StatusCode != http.StatusServiceUnavailable || a.Header.Get("Retry-After") == "" || a.location() != "" {
				t.Errorf("%d, Retry-After %q, to %q", a.StatusCode, a.Header.Get("Retry-After"), a.location())
			}
			if strings.Contains(a.body, guarded) || len(a.Cookies()) != 0 {
				t.Errorf("cookies %v, body:\n%s", a.Cookies(), a.body)
			}
			tally.ill.Store(false)
			if a := w.get("/orders"); a.StatusCode != http.StatusOK || a.body != guarded {
				t.Errorf("when the store is well again: %d\n%s", a.StatusCode, a.body)
			}
		})
	}

	t.Run("a page that is not guarded goes on, and can tell", func(t *testing.T) {
		tally := &tallyStore{Store: &store.Memory{}}
		w := newWorld(t, func(c *oidcgate.Config, _ *oidcgate.Provider) { c.Store = tally })
		w.login()
		var told error
		w.handler = w.gate.Wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { told = w.gate.SessionErr(r.Context()) }))
		tally.ill.Store(true)
		if a := w.get("/"); a.StatusCode != http.StatusOK || told == nil {
			t.Errorf("%d, Err: %v", a.StatusCode, told)
		}
	})

	t.Run("a login is not begun, and says so", func(t *testing.T) {
		tally := &tallyStore{Store: &store.Memory{}}
		w := newWorld(t, func(c *oidcgate.Config, _ *oidcgate.Provider) { c.Store = tally })
		tally.ill.Store(true)
		a := w.get("/auth/login")
		w.denied(a, http.StatusServiceUnavailable, oidcgate.ReasonStoreError)
		if a.Header.Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
	})

	t.Run("C030 a login does not end, and no code is sent", func(t *testing.T) {
		tally := &tallyStore{Store: &store.Memory{}}
		w := newWorld(t, func(c *oidcgate.Config, _ *oidcgate.Provider) { c.Store = tally })
		callback := w.callbackURL("/app")
		tally.ill.Store(true)
		w.denied(w.get(callback), http.StatusServiceUnavailable, oidcgate.ReasonStoreError)
		if e := w.eventsOf(oidcgate.EventLoginFailed); !strings.Contains(e[0].Hint, "Check that the store is up") {
			t.Errorf("the hint is %q", e[0].Hint)
		}
		w.tokenCalls(0)
		tally.ill.Store(false)
		if a := w.get(callback); a.location() != shopURL+"/app" {
			t.Errorf("when the store is well again: %d\n%s", a.StatusCode, a.body)
		}
	})
}

func TestRequestsWithoutSession(t *testing.T) {
	tally := &tallyStore{Store: &store.Memory{}}
	w := newWorld(t, func(c *oidcgate.Config, _ *oidcgate.Provider) {
		c.Store = tally
		c.WithoutSession = func(r *http.Request) bool { return strings.HasPrefix(r.URL.Path, "/static/") }
	})
	w.login()
	mux := http.NewServeMux()
	mux.HandleFunc("/static/style.css", func(rw http.ResponseWriter, r *http.Request) {
		if id, ok := oidcgate.FromContext(r.Context()); ok {
			t.Errorf("%v is signed in", id)
		}
		_, _ = io.WriteString(rw, "body {}")
	})
	protected := http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(rw, guarded) })
	mux.Handle("/static/secret.css", w.gate.Require()(protected))
	mux.Handle("/app", w.gate.Require()(protected))
	w.handler = w.gate.Wrap(mux)
	t.Run("C108 it costs no read, and says nothing of cookies", func(t *testing.T) {
		before := tally.reads.Load()
		a := w.get("/static/style.css")
		if a.StatusCode != 200 || a.body != "body {}" || tally.reads.Load() != before {
			t.Errorf("%d, %d reads", a.StatusCode, tally.reads.Load()-before)
		}
		if v, c := a.Header.Get("Vary"), a.Header.Get("Cache-Control"); v != "" || c != "" {
			t.Errorf("Vary %q, Cache-Control %q", v, c)
		}
	})
	t.Run("C110 a guard lets nobody in and logs the cure", func(t *testing.T) {
		if a := w.get("/static/secret.css"); a.StatusCode != http.StatusInternalServerError || strings.Contains(a.body, guarded) {
			t.Errorf("%d\n%s", a.StatusCode, a.body)
		}
		if log := w.logged(); !strings.Contains(log, "Config.WithoutSession") || !strings.Contains(log, `"path":"/static/secret.css"`) {
			t.Errorf("the log is\n%s", log)
		}
	})
	t.Run("other requests have their session, and the gate its routes", func(t *testing.T) {
		if a := w.get("/app"); a.body != guarded {
			t.Errorf("%d\n%s", a.StatusCode, a.body)
		}
	})
}

// A Wrap inside a group of a router does not get the requests for the gate's own routes.
func TestWrapThatServesNoLogin(t *testing.T) {
	const cure = "not a group or a prefix of it"
	inGroup := func(w *world) {
		mux := http.NewServeMux()
		mux.Handle("/app/", w.gate.Wrap(w.gate.Require()(http.NotFoundHandler())))
		w.handler = mux
	}
	t.Run("the log says so, once, when visitors are sent to the login in vain", func(t *testing.T) {
		w := newWorld(t)
		inGroup(w)
		for i := range 20 {
			w.get("/app/")
			if said := strings.Contains(w.logged(), cure); said != (i >= 7) {
				t.Fatalf("after %d visitors: said is %v", i+1, said)
			}
		}
		if log := w.logged(); strings.Count(log, cure) != 1 || !strings.Contains(log, "BaseURL is not the address of this service") || !strings.Contains(log, "another replica gets them") || !strings.Contains(log, `"login":"`+shopURL+`/auth/login"`) {
			t.Errorf("the log is\n%s", log)
		}
	})
	t.Run("on a developer's machine it says so sooner", func(t *testing.T) {
		w := newWorld(t, func(c *oidcgate.Config, _ *oidcgate.Provider) { c.BaseURL = "http://localhost:8080" })
		inGroup(w)
		for i := range 5 {
			w.get("http://shop.test/app/")
			if said := strings.Contains(w.logged(), cure); said != (i >= 2) {
				t.Fatalf("after %d visitors: said is %v\n%s", i+1, said, w.logged())
			}
		}
	})
	t.Run("it says nothing when one has arrived, nor of scripts", func(t *testing.T) {
		w := newWorld(t)
		inGroup(w)
		for range 20 {
			w.get("/app/", "Sec-Fetch-Mode: cors")
		}
		w.handler = w.gate.Wrap(w.gate.Require()(http.NotFoundHandler()))
		w.get("/auth/login")
		for range 20 {
			w.get("/app/")
		}
		if strings.Contains(w.logged(), cure) {
			t.Errorf("the log is\n%s", w.logged())
		}
	})
}

// Nobody takes BaseURL's path off, and the gate's own routes do not have it.
func TestPathOfBaseURLIsNotTakenOff(t *testing.T) {
	const cure = "a proxy or http.StripPrefix around Wrap must take BaseURL's path off"
	under := func(t *testing.T) *world {
		return newWorld(t, func(c *oidcgate.Config, _ *oidcgate.Provider) { c.BaseURL += "/shop" })
	}
	t.Run("the log says so, once, at the first request for a route of the gate", func(t *testing.T) {
		w := under(t)
		w.get("/shop/login")
		if strings.Contains(w.logged(), cure) {
			t.Fatalf("before that the log is\n%s", w.logged())
		}
		for range 20 {
			w.get("/app")
			w.get("/shop/auth/login?return_to=%2Fapp")
		}
		log := w.logged()
		if strings.Count(log, cure) != 1 || strings.Count(log, "no request for it") != 0 || !strings.Contains(log, `"path":"/shop/auth/login"`) {
			t.Errorf("the log is\n%s", log)
		}
	})
	t.Run("it says nothing where one has arrived without the path, or BaseURL has none", func(t *testing.T) {
		for _, w := range []*world{under(t), newWorld(t)} {
			w.get("/auth/login")
			w.get("/shop/auth/login")
			if strings.Contains(w.logged(), cure) {
				t.Errorf("the log is\n%s", w.logged())
			}
		}
	})
}

func TestAllows(t *testing.T) {
	for name, row := range map[string]struct {
		signedIn bool
		rules    []oidcgate.Rule
		want     bool
	}{
		"nobody":                 {false, nil, false},
		"a visitor":              {true, nil, true},
		"a rule allows":          {true, []oidcgate.Rule{oidcgate.Claim("email", "alice@example.com")}, true},
		"a rule refuses":         {true, []oidcgate.Rule{oidcgate.Claim("email", "alice@example.com"), oidcgate.Claim("groups", "none")}, false},
		"a new login would help": {true, []oidcgate.Rule{oidcgate.ACR("gold")}, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			if row.signedIn {
				w.login()
			}
			got := !row.want
			w.handler = w.gate.Wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = w.gate.Allows(r.Context(), row.rules...) }))
			if a := w.get("/"); a.StatusCode != http.StatusOK || got != row.want {
				t.Errorf("%d, Allows %v, want %v", a.StatusCode, got, row.want)
			}
		})
	}
	t.Run("outside Wrap, and with a rule that nothing made", func(t *testing.T) {
		w := newWorld(t)
		if w.gate.Allows(t.Context()) {
			t.Error("it allows")
		}
		defer func() {
			if recover() == nil {
				t.Error("no panic")
			}
		}()
		w.gate.Allows(t.Context(), oidcgate.Rule{})
	})
	t.Run("while the store is ill", func(t *testing.T) {
		tally := &tallyStore{Store: &store.Memory{}}
		w := newWorld(t, func(c *oidcgate.Config, _ *oidcgate.Provider) { c.Store = tally })
		w.login()
		got := true
		w.handler = w.gate.Wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = w.gate.Allows(r.Context()) }))
		tally.ill.Store(true)
		if w.get("/"); got {
			t.Error("it allows")
		}
	})
}

func TestAdmitOutsideWrap(t *testing.T) {
	t.Run("a guard without Wrap lets nobody in and logs the cure", func(t *testing.T) {
		w := newWorld(t)
		w.login()
		w.handler = w.gate.Require()(http.HandlerFunc(w.whoami))
		if a := w.get("/app"); a.StatusCode != http.StatusInternalServerError || strings.Contains(a.body, "alice") {
			t.Errorf("%d\n%s", a.StatusCode, a.body)
		}
		if log := w.logged(); !strings.Contains(log, "gate.Wrap(router)") || !strings.Contains(log, `"level":"ERROR"`) {
			t.Errorf("the log does not tell the cure:\n%s", log)
		}
	})
}

func TestNestedGates(t *testing.T) {
	w := newWorld(t)
	config := w.config
	config.Site.CookieName, config.Site.Prefix = "__Host-inner", "/inner"
	inner, err := oidcgate.New(config, oidcgate.Provider{Issuer: w.op.Issuer(), ClientID: "shop", Auth: oidcgate.ClientSecretBasic(secret)})
	if err != nil {
		t.Fatal(err)
	}
	outer := w.gate
	mux := http.NewServeMux()
	protected := http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(rw, guarded) })
	mux.Handle("/outer", outer.Require()(protected))
	mux.Handle("/within", inner.Require()(protected))
	mux.HandleFunc("/whoami", w.whoami)
	w.login()

	w.handler = outer.Wrap(inner.Wrap(mux))
	t.Run("C111 a guard believes its own gate only", func(t *testing.T) {
		if a := w.get("/outer"); a.StatusCode != http.StatusOK {
			t.Errorf("the outer gate's guard: %d", a.StatusCode)
		}
		if a := w.get("/within"); a.location() != shopURL+"/inner/login?return_to=%2Fwithin" {
			t.Errorf("the inner gate's guard: %d to %q, want its login", a.StatusCode, a.location())
		}
	})
	t.Run("FromContext tells of the innermost gate", func(t *testing.T) {
		if got := w.subject(); got != "" {
			t.Errorf("%q", got)
		}
		w.handler = inner.Wrap(outer.Wrap(mux))
		if got := w.subject(); got != "alice" {
			t.Errorf("the other way round: %q, want alice", got)
		}
	})
	t.Run("C020 the session of one gate is none at the other", func(t *testing.T) {
		w.handler = inner.Wrap(mux)
		w.setCookie("__Host-inner", w.cookie("__Host-Http-oidcgate"))
		if got := w.subject(); got != "" {
			t.Errorf("signed in: %q", got)
		}
	})
	t.Run("a gate wrapped twice is wrapped once", func(t *testing.T) {
		w.handler = outer.Wrap(outer.Wrap(mux))
		if a := w.get("/outer"); a.StatusCode != http.StatusOK || len(a.Header["Vary"]) != 1 {
			t.Errorf("%d, Vary %q", a.StatusCode, a.Header["Vary"])
		}
	})
}

func TestNewContext(t *testing.T) {
	t.Run("an identity of a test is believed by its gate and by no other", func(t *testing.T) {
		w, other := newWorld(t), newWorld(t)
		w.guardedBy(oidcgate.Claim("groups", "admin"))
		id, err := oidcgate.NewIdentity("https://id.test", "bob", map[string]any{"groups": []string{"admin"}})
		if err != nil {
			t.Fatal(err)
		}
		r := httptest.NewRequest(http.MethodGet, "/orders", nil)
		if rec := w.direct(r.WithContext(w.gate.NewContext(t.Context(), id))); rec.Body.String() != guarded {
			t.Errorf("its gate: %d", rec.Code)
		}
		if rec := w.direct(r.WithContext(other.gate.NewContext(t.Context(), id))); rec.Code != http.StatusSeeOther {
			t.Errorf("another gate's: %d, want the login", rec.Code)
		}
	})
}

func TestReturnToWhatTheBrowserAskedFor(t *testing.T) {
	wrapped := func(w *world, h http.Handler) http.Handler { return w.gate.Require()(h) }
	inner := http.NewServeMux()
	inner.HandleFunc("/members/list", func(rw http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(rw, guarded) })
	tests := []struct {
		name, path string
		handler    func(*world) http.Handler
	}{
		{"under http.StripPrefix", "/team/members/list?x=1", func(w *world) http.Handler { return http.StripPrefix("/team", wrapped(w, inner)) }},
		{"under two of them", "/a/team/members/list", func(w *world) http.Handler {
			return http.StripPrefix("/a", http.StripPrefix("/team", wrapped(w, inner)))
		}},
		{"where a middleware rewrote the path", "/old?q=%20", func(w *world) http.Handler {
			return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				r.URL.Path, r.URL.RawPath, r.URL.RawQuery = "/members/list", "", ""
				wrapped(w, inner).ServeHTTP(rw, r)
			})
		}},
		{"with an escaped path", "/caf%C3%A9/a%20b?c=d%2Fe", func(w *world) http.Handler { return wrapped(w, http.NotFoundHandler()) }},
	}
	for _, tt := range tests {
		t.Run("C110 "+tt.name+" a login returns to the page asked for", func(t *testing.T) {
			w := newWorld(t)
			w.handler = w.gate.Wrap(tt.handler(w))
			a := w.get(w.callbackURL(tt.path))
			if a.location() != shopURL+tt.path {
				t.Errorf("it returns to %q, want %q", a.location(), shopURL+tt.path)
			}
		})
	}
}

func TestPathTricks(t *testing.T) {
	for _, target := range []string{
		"/app", "/app/", "/app/x", "//app", "/public/../app", "/public/..%2fapp", "/%61pp", "/app%2f", "/app;x", "/app?x=/public",
		"/app#/public", "/./app", "/app/../app", "http://shop.test/app", "http://evil.example/app", "/app?/auth/login", "/app/auth/login",
		"/auth/../app", "/auth/login/../../app", "/auth/callback/../../app", "/app%00", "/app/.", "/app//",
	} {
		t.Run("C112 "+target+" shows nothing to a stranger", func(t *testing.T) {
			w := newWorld(t)
			protected := http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(rw, guarded) })
			mux := http.NewServeMux()
			mux.Handle("/app", w.gate.Require()(protected))
			mux.Handle("/app/", w.gate.Require()(protected))
			w.handler = w.gate.Wrap(mux)
			a := w.raw("GET " + target + " HTTP/1.1")
			if strings.Contains(a.body, guarded) {
				t.Errorf("%d:\n%s", a.StatusCode, a.body)
			}
		})
	}

	for header, want := range map[string]int{
		"User-Agent: kube-probe/1.30": 303, "X-Original-URL: /public": 303, "X-Rewrite-URL: /public": 303,
		"X-Forwarded-Uri: /public": 303, "X-HTTP-Method-Override: OPTIONS": 303, "X-Forwarded-For: 127.0.0.1": 303,
		"Authorization: Bearer x": 401,
	} {
		t.Run("C112 the header "+header+" opens nothing", func(t *testing.T) {
			w := newWorld(t)
			w.guardedBy()
			if a := w.get("/app", header); a.StatusCode != want {
				t.Errorf("%d\n%s", a.StatusCode, a.body)
			}
		})
	}
}

func TestIdentityHeaders(t *testing.T) {
	for _, header := range []string{"X-Auth-Sub: admin", "X-Forwarded-User: admin", "X_Auth_Sub: admin", "Remote-User: admin", "X-Oidcgate-Subject: admin"} {
		t.Run("C111 the header "+header+" is nobody's identity", func(t *testing.T) {
			w := newWorld(t)
			if a := w.get("/whoami", header); a.StatusCode != http.StatusUnauthorized || strings.Contains(a.body, "admin") {
				t.Errorf("%d %s", a.StatusCode, a.body)
			}
		})
	}
}

func TestRules(t *testing.T) {
	user := oidcgatetest.User{Subject: "alice", Claims: map[string]any{
		"email": "alice@Shop.Example", "email_verified": true,
		"groups": []any{"sales", "admin"}, "role": "boss", "level": 1, "active": true, "a/b": "slash",
		"realm_access": map[string]any{"roles": []any{"editor"}},
	}}
	tests := []struct {
		name string
		rule oidcgate.Rule
		want bool
	}{
		{"a claim that is the value", oidcgate.Claim("role", "boss"), true},
		{"a list that holds a value", oidcgate.Claim("groups", "x", "admin"), true},
		{"a list without the value", oidcgate.Claim("groups", "root"), false},
		{"a text that is another value", oidcgate.Claim("role", "clerk"), false},
		{"part of a value", oidcgate.Claim("groups", "adm"), false},
		{"another letter case", oidcgate.Claim("groups", "Admin"), false},
		{"a claim that is not there", oidcgate.Claim("nothing", "x"), false},
		{"a number is not its text", oidcgate.Claim("level", "1"), false},
		{"a boolean is not its text", oidcgate.Claim("active", "true"), false},
		{"a pointer into an object", oidcgate.Claim("/realm_access/roles", "editor"), true},
		{"a pointer to nowhere", oidcgate.Claim("/realm_access/groups", "editor"), false},
		{"a name with a slash is a name", oidcgate.Claim("a/b", "slash"), true},
		{"a pointer to a name with a slash", oidcgate.Claim("/a~1b", "slash"), true},
		{"a domain in any letter case", oidcgate.EmailDomain("SHOP.example"), true},
		{"a domain above", oidcgate.EmailDomain("example"), false},
		{"a domain that ends alike", oidcgate.EmailDomain("op.example"), false},
		{"a function that agrees", oidcgate.Match(func(id *oidcgate.Identity) bool { return id.Subject() == "alice" }), true},
		{"a function that does not", oidcgate.Match(func(*oidcgate.Identity) bool { return false }), false},
	}
	w := newWorld(t)
	w.op.SetUser(user)
	w.login()
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w.guardedBy(tt.rule)
			a := w.get("/x")
			if tt.want != (a.StatusCode == http.StatusOK) || !tt.want && a.StatusCode != http.StatusForbidden {
				t.Errorf("%d, want admission: %v", a.StatusCode, tt.want)
			}
		})
	}
	t.Run("every rule must allow", func(t *testing.T) {
		w.guardedBy(oidcgate.Claim("role", "boss"), oidcgate.Claim("groups", "root"))
		if a := w.get("/x"); a.StatusCode != http.StatusForbidden || strings.Contains(a.body, guarded) {
			t.Errorf("%d", a.StatusCode)
		}
	})
	t.Run("who may not enter is told so and is not sent to log in", func(t *testing.T) {
		w.guardedBy(oidcgate.Claim("groups", "root"))
		for _, tt := range visits {
			a := w.sendOnly(w.browser, tt.method, "/x", tt.body, tt.headers...)
			if a.StatusCode != http.StatusForbidden || a.location() != "" || strings.Contains(a.body, guarded) {
				t.Errorf("%s: %d to %q", tt.name, a.StatusCode, a.location())
			}
		}
		if n := len(w.eventsOf(oidcgate.EventAccessDenied)); n < len(visits) {
			t.Errorf("%d events", n)
		}
	})
}

var lineNumber = regexp.MustCompile(`go:[0-9]+ `)

func TestAccessDeniedSaysWhereAndWhy(t *testing.T) {
	alice := oidcgatetest.User{Subject: "alice", Claims: map[string]any{"groups": []string{"staff"}}}
	withEmail := oidcgatetest.User{Subject: "alice", Claims: map[string]any{"email": "alice@shop.example", "email_verified": true}}
	long := strings.Repeat("x", 1000)
	for _, tt := range []struct {
		name, path string
		rules      []oidcgate.Rule
		want       string
	}{
		{"a claim", "/office?q=1", []oidcgate.Rule{oidcgate.Claim("groups", "admin", "boss")},
			"/office: claim groups is none of [admin boss]"},
		{"a domain", "/office", []oidcgate.Rule{oidcgate.EmailDomain("shop.example")},
			"/office: there is no domain of the verified e-mail address, want one of [shop.example]"},
		{"a domain of which the address is not", "/office", []oidcgate.Rule{oidcgate.EmailDomain("bank.example")},
			"/office: domain of the verified e-mail address is none of [bank.example]"},
		{"a claim that is absent", "/office", []oidcgate.Rule{oidcgate.Claim("roles", "admin")},
			"/office: there is no claim roles, want one of [admin]; the claims are groups"},
		{"a claim within another, without a slash", "/office", []oidcgate.Rule{oidcgate.Claim("realm_access/roles", "admin")},
			"/office: there is no claim realm_access/roles, want one of [admin]; the claims are groups"},
		{"a claim within another, with dots", "/office", []oidcgate.Rule{oidcgate.Claim("realm_access.roles", "admin")},
			"/office: there is no claim realm_access.roles, want one of [admin]; the claims are groups"},
		{"a pointer", "/office", []oidcgate.Rule{oidcgate.Claim("/realm_access/roles", "admin")},
			"/office: there is no claim /realm_access/roles, want one of [admin]; the claims are groups"},
		{"a claim in other case", "/office", []oidcgate.Rule{oidcgate.Claim("Groups", "admin")},
			"/office: there is no claim Groups, want one of [admin]; found /groups"},
		{"a claim that is an address", "/office", []oidcgate.Rule{oidcgate.Claim("https://shop.example/roles", "admin")},
			"/office: there is no claim https://shop.example/roles, want one of [admin]; the claims are groups"},
		{"a function", "/office", []oidcgate.Rule{oidcgate.Match(func(*oidcgate.Identity) bool { return false })},
			"/office: Match at require_test.go:N refuses"},
		{"classes that exclude each other", "/office", []oidcgate.Rule{oidcgate.ACR("a"), oidcgate.ACR("b")},
			"/office: no ACR satisfies all rules"},
		{"a path that forges no line", "/a%0Ab", []oidcgate.Rule{oidcgate.Claim("groups", "admin")},
			"/a%0Ab: claim groups is none of [admin]"},
		{"a long path and long values", "/" + long, []oidcgate.Rule{oidcgate.Claim("groups", long)},
			"/" + long[:199] + ": claim groups is none of [" + long[:175]},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w, alice := newWorld(t), alice
			if strings.HasPrefix(tt.name, "a domain of which") {
				alice = withEmail
			}
			guard := w.gate.Require(tt.rules...)(http.NotFoundHandler())
			for _, service := range []http.Handler{guard, w.gate.Wrap(guard)} { // an identity of NewContext has no visit of Wrap
				r := oidcgatetest.WithIdentity(httptest.NewRequest(http.MethodGet, tt.path, nil), w.gate, alice)
				service.ServeHTTP(httptest.NewRecorder(), r)
			}
			w.op.SetUser(alice)
			w.login()
			w.guardedBy(tt.rules...)
			w.get(tt.path)
			denied := w.eventsOf(oidcgate.EventAccessDenied)
			for _, e := range denied {
				if lineNumber.ReplaceAllString(e.Detail, "go:N ") != tt.want {
					t.Errorf("the detail is %q, want %q", e.Detail, tt.want)
				}
			}
			if len(denied) != 3 {
				t.Fatalf("%d events, want 3", len(denied))
			}
			ref := w.eventsOf(oidcgate.EventSessionCreated)[0].SessionRef
			if got := []string{denied[0].SessionRef, denied[1].SessionRef, denied[2].SessionRef}; !slices.Equal(got, []string{"", "", ref}) {
				t.Errorf("the events name the sessions %q, want that of the third, %q", got, ref)
			}
		})
	}
}

func TestBoundsOfMaxAge(t *testing.T) {
	inBubble(t, "a login is too old, or from the future, when it is so by more than ClockSkew", func(t *testing.T) {
		oidcgate.MaxAge(time.Second) // the least that there is
		w := newWorld(t, func(c *oidcgate.Config, _ *oidcgate.Provider) { c.Limits.ClockSkew = 30 * time.Second })
		for age, want := range map[time.Duration]bool{
			-31 * time.Second: false, -30 * time.Second: true, 90 * time.Second: true, 91 * time.Second: false,
		} {
			id, err := oidcgate.NewIdentity(w.op.Issuer(), "alice", map[string]any{"auth_time": time.Now().Add(-age).Unix()})
			if err != nil {
				t.Fatal(err)
			}
			if got := w.gate.Allows(w.gate.NewContext(t.Context(), id), oidcgate.MaxAge(time.Minute)); got != want {
				t.Errorf("%v ago: allowed %v", age, got)
			}
		}
	})
}

func TestIdentityWithoutASessionIsNotReadAgain(t *testing.T) {
	t.Run("C113 Tokens.ClaimsMaxAge is for sessions", func(t *testing.T) {
		w := newWorld(t, func(c *oidcgate.Config, _ *oidcgate.Provider) { c.Tokens.ClaimsMaxAge = time.Minute })
		id, err := oidcgate.NewIdentity(w.op.Issuer(), "alice", nil)
		if err != nil {
			t.Fatal(err)
		}
		if got, ok := oidcgate.FromContext(w.gate.NewContext(t.Context(), id)); !ok || got != id {
			t.Errorf("%v, %v", got, ok)
		}
	})
}

func TestRulesThatGuardNothingPanic(t *testing.T) {
	tests := map[string]func(){
		"Claim without a name":                  func() { oidcgate.Claim("", "x") },
		"Claim without values":                  func() { oidcgate.Claim("groups") },
		"Claim with an empty value":             func() { oidcgate.Claim("groups", "") },
		"EmailDomain without a domain":          func() { oidcgate.EmailDomain() },
		"EmailDomain with an empty domain":      func() { oidcgate.EmailDomain("") },
		"EmailDomain with a whole address":      func() { oidcgate.EmailDomain("a@b.example") },
		"Match without a function":              func() { oidcgate.Match(nil) },
		"ACR without values":                    func() { oidcgate.ACR() },
		"ACR with a space":                      func() { oidcgate.ACR("a b") },
		"ACR with an empty value":               func() { oidcgate.ACR("gold", "") },
		"MaxAge of less than a second":          func() { oidcgate.MaxAge(time.Millisecond) },
		"Require with a Rule that nothing made": func() { newWorld(t).gate.Require(oidcgate.Rule{}) },
	}
	for name, build := range tests {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			build()
		})
	}
}

func TestCachingHeaders(t *testing.T) {
	w := newWorld(t)
	mux := http.NewServeMux()
	mux.HandleFunc("/page", w.whoami)
	mux.Handle("/app", w.gate.Require()(http.HandlerFunc(w.whoami)))
	mux.Handle("/own", w.gate.Require()(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Cache-Control", "private, max-age=60")
	})))
	w.handler = w.gate.Wrap(mux)
	check := func(path, want string) {
		t.Helper()
		a := w.get(path)
		if got := a.Header["Cache-Control"]; strings.Join(got, "|") != want {
			t.Errorf("%s: Cache-Control %q, want %q", path, got, want)
		}
		if got := a.Header["Vary"]; len(got) != 1 || got[0] != "Cookie" {
			t.Errorf("%s: Vary %q, want Cookie", path, got)
		}
	}
	t.Run("C115 a stranger's page may be cached, under its cookies", func(t *testing.T) { check("/page", "") })
	t.Run("C115 a stranger's way to the login may not", func(t *testing.T) { check("/app", "no-store") })
	w.finishLogin(w.authorization("/auth/login").String())
	t.Run("C115 the page of somebody signed in is private", func(t *testing.T) { check("/page", "private, no-cache") })
	t.Run("C115 a guarded page is not stored", func(t *testing.T) { check("/app", "private, no-store") })
	t.Run("C115 the handler's own word wins", func(t *testing.T) { check("/own", "private, max-age=60") })
}

// stepUp signs in, puts a guard in front and returns the way to the stronger login.
func (w *world) stepUp(rules ...oidcgate.Rule) *url.URL {
	w.Helper()
	w.login()
	w.guardedBy(rules...)
	a := w.get("/vault?x=1")
	if a.StatusCode != http.StatusSeeOther || !strings.HasPrefix(a.location(), shopURL+"/auth/login?return_to=%2Fvault%3Fx%3D1&step=") {
		w.Fatalf("%d to %q, want a stronger login\n%s", a.StatusCode, a.location(), a.body)
	}
	return w.authorization(a.location())
}

func acr(value any) func(*oidcgatetest.JWT) {
	return func(j *oidcgatetest.JWT) { j.Claims["acr"] = value }
}

func TestStepUpByACR(t *testing.T) {
	t.Run("C025 the provider is asked, and who then has the class is in", func(t *testing.T) {
		w := newWorld(t)
		u := w.stepUp(oidcgate.ACR("gold", "silver"))
		if got := u.Query().Get("acr_values"); got != "gold silver" {
			t.Errorf("acr_values %q", got)
		}
		w.op.NextIDToken(acr("silver"))
		a := w.finishLogin(u.String())
		if a.location() != shopURL+"/vault?x=1" {
			t.Fatalf("%d to %q\n%s", a.StatusCode, a.location(), a.body)
		}
		if a = w.get(a.location()); a.body != guarded {
			t.Errorf("%d\n%s", a.StatusCode, a.body)
		}
	})

	for name, change := range map[string]func(*oidcgatetest.JWT){
		"another class": acr("bronze"),
		"no class":      func(j *oidcgatetest.JWT) { delete(j.Claims, "acr") },
		"a list":        acr([]any{"gold"}),
		"a number":      acr(1),
	} {
		t.Run("C025 C067 R-DOS-3 "+name+" ends the login, and the session before goes on", func(t *testing.T) {
			w := newWorld(t)
			u := w.stepUp(oidcgate.ACR("gold"))
			session := w.cookie("__Host-Http-oidcgate")
			w.op.NextIDToken(change)
			w.denied(w.finishLogin(u.String()), http.StatusForbidden, "acr")
			if w.cookie("__Host-Http-oidcgate") != session {
				t.Error("the session is another one")
			}
		})
	}

	t.Run("R-DOS-3 two guards' classes are asked for together", func(t *testing.T) {
		w := newWorld(t)
		w.op.NextIDToken(acr("gold"))
		u := w.stepUp(oidcgate.ACR("gold", "silver"), oidcgate.ACR("silver", "bronze"))
		if got := u.Query().Get("acr_values"); got != "silver" {
			t.Errorf("acr_values %q, want the one that both take", got)
		}
	})

	t.Run("R-DOS-3 classes that exclude each other end at 403", func(t *testing.T) {
		w := newWorld(t)
		w.op.NextIDToken(acr("gold"))
		w.login()
		w.guardedBy(oidcgate.ACR("gold"), oidcgate.ACR("silver"))
		if a := w.get("/vault"); a.StatusCode != http.StatusForbidden {
			t.Errorf("%d to %q", a.StatusCode, a.location())
		}
	})

	t.Run("C110 a script is told what is missing", func(t *testing.T) {
		w := newWorld(t)
		w.stepUp(oidcgate.ACR("gold"))
		a := w.get("/vault", "Accept: application/json")
		if a.StatusCode != http.StatusUnauthorized || !strings.Contains(a.body, "insufficient_user_authentication") {
			t.Errorf("%d\n%s", a.StatusCode, a.body)
		}
	})
	t.Run("C110 the challenge of RFC 9470", func(t *testing.T) {
		for want, rules := range map[string][]oidcgate.Rule{
			`Session error="insufficient_user_authentication", acr_values="gold a\"b"`:          {oidcgate.ACR("gold", `a"b`)},
			`Session error="insufficient_user_authentication", max_age="60"`:                    {oidcgate.MaxAge(time.Minute)},
			`Session error="insufficient_user_authentication", acr_values="gold", max_age="90"`: {oidcgate.ACR("gold"), oidcgate.MaxAge(90 * time.Second)},
		} {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.login()
				time.Sleep(5 * time.Minute)
				w.guardedBy(rules...)
				if got := w.get("/vault", "Accept: application/json").Header.Get("WWW-Authenticate"); got != want {
					t.Errorf("%s, want %s", got, want)
				}
			})
		}
	})
}

func TestStepUpByAge(t *testing.T) {
	in := func(name string, f func(*testing.T, *world)) {
		t.Run(name, func(t *testing.T) { synctest.Test(t, func(t *testing.T) { f(t, newWorld(t)) }) })
	}

	in("C025 who logged in just now is in", func(t *testing.T, w *world) {
		w.login()
		w.guardedBy(oidcgate.MaxAge(5 * time.Minute))
		if a := w.get("/vault"); a.body != guarded {
			t.Errorf("%d\n%s", a.StatusCode, a.body)
		}
	})

	in("C025 who logged in too long ago logs in again and is in", func(t *testing.T, w *world) {
		w.login()
		time.Sleep(10 * time.Minute)
		w.guardedBy(oidcgate.MaxAge(5 * time.Minute))
		u := w.authorization(w.get("/vault").location())
		if got := u.Query().Get("max_age"); got != "300" {
			t.Errorf("max_age %q, want 300", got)
		}
		a := w.finishLogin(u.String())
		if a = w.get(a.location()); a.body != guarded {
			t.Errorf("%d to %q", a.StatusCode, a.location())
		}
	})

	in("C025 an auth_time ahead of the clock by more than it may differ is not fresh", func(t *testing.T, w *world) {
		w.op.EveryIDToken(func(j *oidcgatetest.JWT) { j.Claims["auth_time"] = time.Now().Add(59 * time.Second).Unix() })
		w.login()
		w.guardedBy(oidcgate.MaxAge(5 * time.Minute))
		if a := w.get("/vault"); a.body != guarded {
			t.Errorf("59 seconds ahead: %d\n%s", a.StatusCode, a.body)
		}
		w.op.EveryIDToken(func(j *oidcgatetest.JWT) { j.Claims["auth_time"] = time.Now().Add(20 * time.Hour).Unix() })
		w.browser = w.newBrowser()
		w.handler = w.gate.Wrap(w.shop())
		w.login()
		w.guardedBy(oidcgate.MaxAge(5 * time.Minute))
		a := w.get("/vault")
		if a.StatusCode != http.StatusSeeOther {
			t.Fatalf("20 hours ahead: %d\n%s", a.StatusCode, a.body)
		}
		a = w.finishLogin(w.authorization(a.location()).String())
		if a.StatusCode != http.StatusForbidden {
			t.Errorf("a stronger login whose auth_time is ahead again: %d to %q", a.StatusCode, a.location())
		}
	})

	in("C025 another user who answers a step-up does not come to its page", func(t *testing.T, w *world) {
		const page = "/vault?to=mallory&amount=900"
		w.login()
		time.Sleep(10 * time.Minute)
		w.guardedBy(oidcgate.MaxAge(5 * time.Minute))
		u := w.authorization(w.get(page).location())
		w.op.SetUser(oidcgatetest.User{Subject: "bob"})
		if a := w.finishLogin(u.String()); a.location() != shopURL+"/" {
			t.Errorf("bob: %d to %q, want the default path", a.StatusCode, a.location())
		}
		w.handler = w.gate.Wrap(w.shop())
		if got := w.subject(); got != "bob" {
			t.Errorf("signed in: %q, want bob", got)
		}
		time.Sleep(10 * time.Minute)
		w.guardedBy(oidcgate.MaxAge(5 * time.Minute))
		if a := w.finishLogin(w.authorization(w.get(page).location()).String()); a.location() != shopURL+page {
			t.Errorf("bob's own: %d to %q, want the page", a.StatusCode, a.location())
		}
	})

	in("C025 nor does one who is refused first and then tries again", func(t *testing.T, w *world) {
		w.login()
		time.Sleep(10 * time.Minute)
		w.guardedBy(oidcgate.MaxAge(5 * time.Minute))
		u := w.authorization(w.get("/vault?to=mallory").location())
		w.op.SetUser(oidcgatetest.User{Subject: "bob"})
		w.op.NextIDToken((*oidcgatetest.JWT).CorruptSignature)
		a := w.finishLogin(u.String())
		if a.StatusCode < 400 || strings.Contains(a.body, "mallory") {
			t.Errorf("%d, want a page without the way to alice's\n%s", a.StatusCode, a.body)
		}
	})

	in("C025 the shorter of two ages is asked for", func(t *testing.T, w *world) {
		w.login()
		time.Sleep(20 * time.Minute)
		w.guardedBy(oidcgate.MaxAge(10*time.Minute), oidcgate.MaxAge(2*time.Minute), oidcgate.MaxAge(time.Hour))
		if got := w.authorization(w.get("/vault").location()).Query().Get("max_age"); got != "120" {
			t.Errorf("max_age %q, want 120", got)
		}
	})

	old := map[string]func(*oidcgatetest.JWT){
		"an old auth_time":           func(j *oidcgatetest.JWT) { j.Claims["auth_time"] = time.Now().Add(-time.Hour).Unix() },
		"no auth_time":               func(j *oidcgatetest.JWT) { delete(j.Claims, "auth_time") },
		"an auth_time that is text":  func(j *oidcgatetest.JWT) { j.Claims["auth_time"] = "now" },
		"an auth_time in the future": func(j *oidcgatetest.JWT) { j.Claims["auth_time"] = time.Now().Add(time.Hour).Unix() },
		"an auth_time just too old":  func(j *oidcgatetest.JWT) { j.Claims["auth_time"] = time.Now().Add(-7 * time.Minute).Unix() },
	}
	for name, change := range old {
		in("C025 C067 R-DOS-3 "+name+" ends the login, and the session before goes on", func(t *testing.T, w *world) {
			w.login()
			time.Sleep(10 * time.Minute)
			w.guardedBy(oidcgate.MaxAge(5 * time.Minute))
			u := w.authorization(w.get("/vault").location())
			w.op.NextIDToken(change)
			w.denied(w.finishLogin(u.String()), http.StatusForbidden, "auth_time")
			w.guardedBy()
			if a := w.get("/app"); a.body != guarded {
				t.Errorf("the session before: %d", a.StatusCode)
			}
		})
	}

	in("R-DOS-3 a provider whose clock is behind makes no loop", func(t *testing.T, w *world) {
		w.op.EveryIDToken(func(j *oidcgatetest.JWT) { j.Claims["auth_time"] = time.Now().Add(-50 * time.Second).Unix() })
		w.login()
		time.Sleep(10 * time.Minute)
		w.guardedBy(oidcgate.MaxAge(10 * time.Second))
		a := w.finishLogin(w.authorization(w.get("/vault").location()).String())
		if a = w.get(a.location()); a.body != guarded {
			t.Errorf("after the stronger login: %d to %q", a.StatusCode, a.location())
		}
	})
}

func TestForgedStep(t *testing.T) {
	plain := func(w *world, target string) {
		w.Helper()
		q := w.authorization(target).Query()
		if q.Has("acr_values") || q.Has("max_age") {
			w.Errorf("%.80s: acr_values %q, max_age %q", target, q["acr_values"], q["max_age"])
		}
	}
	stepOf := func(w *world) string {
		w.Helper()
		u, err := url.Parse(w.get("/vault").location())
		if err != nil {
			w.Fatal(err)
		}
		return "/auth/login?step=" + u.Query().Get("step")
	}

	t.Run("C025 R-FLOW-2 one that is made up is ignored", func(t *testing.T) {
		w := newWorld(t)
		w.login()
		for _, step := range []string{"", "x", "e30", strings.Repeat("A", 200), "%00", strings.Repeat("A", 20000)} {
			plain(w, "/auth/login?step="+step)
		}
	})

	t.Run("C025 R-FLOW-2 one of another visitor is ignored", func(t *testing.T) {
		w := newWorld(t)
		w.stepUp(oidcgate.ACR("gold"))
		foreign := stepOf(w)
		if !w.authorization(foreign).Query().Has("acr_values") {
			t.Fatal("the visitor's own is ignored too")
		}
		w.browser = w.newBrowser()
		plain(w, foreign)
		w.finishLogin(w.authorization("/auth/login").String())
		plain(w, foreign)
	})

	t.Run("C025 one of an earlier session is ignored", func(t *testing.T) {
		w := newWorld(t)
		w.stepUp(oidcgate.ACR("gold"))
		old := stepOf(w)
		w.finishLogin(w.authorization("/auth/login").String())
		plain(w, old)
	})
}
