package oidcgate_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oidcgate/oidcgate"
	"github.com/oidcgate/oidcgate/oidcgatetest"
	"github.com/oidcgate/oidcgate/store"
)

const sameOrigin = "Sec-Fetch-Site: same-origin"

// logout posts to the logout and returns the answer.
func (w *world) logout(headers ...string) answer {
	w.Helper()
	return w.send(w.browser, http.MethodPost, "/auth/logout", "", headers...)
}

func TestLogoutFromElsewhere(t *testing.T) {
	attacks := []struct {
		name, method string
		headers      []string
		want         int
	}{
		{"an image", "GET", []string{"Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: no-cors", "Sec-Fetch-Dest: image"}, 200},
		{"a link", "GET", []string{"Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document"}, 200},
		{"a HEAD", "HEAD", nil, 200},
		{"a form of another site", "POST", []string{"Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate"}, 403},
		{"a form of a sibling", "POST", []string{"Sec-Fetch-Site: same-site", "Sec-Fetch-Mode: navigate"}, 403},
		{"a form of another origin in an old browser", "POST", []string{"Origin: https://evil.example"}, 403},
		{"a form without an origin", "POST", []string{"Origin: null"}, 403},
		{"a form that names its origin as the host", "POST", []string{"Origin: https://evil.example", "X-Forwarded-Host: evil.example"}, 403},
		{"a PUT", "PUT", []string{sameOrigin}, 405},
		{"a DELETE", "DELETE", []string{sameOrigin}, 405},
		{"an OPTIONS", "OPTIONS", []string{"Sec-Fetch-Site: cross-site"}, 405},
	}
	for _, tt := range attacks {
		t.Run("C116 "+tt.name+" signs nobody out", func(t *testing.T) {
			w := newWorld(t)
			w.login()
			a := w.send(w.browser, tt.method, "/auth/logout", "", tt.headers...)
			if a.StatusCode != tt.want || a.location() != "" {
				t.Errorf("%d to %q, want %d", a.StatusCode, a.location(), tt.want)
			}
			if got := w.subject(); got != "alice" {
				t.Errorf("signed in afterwards: %q", got)
			}
		})
	}

	for _, headers := range [][]string{{sameOrigin}, {"Sec-Fetch-Site: none"}, {"Origin: " + shopURL}, nil} {
		t.Run(fmt.Sprintf("C116 a form of this site with %v signs out", headers), func(t *testing.T) {
			w := newWorld(t)
			w.login()
			w.logout(headers...)
			if got := w.subject(); got != "" {
				t.Errorf("signed in afterwards: %q", got)
			}
		})
	}

	t.Run("C017 the origin that counts is BaseURL's, whatever Host a proxy wrote", func(t *testing.T) {
		w := newWorld(t)
		w.login()
		r := httptest.NewRequest(http.MethodPost, "http://10.0.0.7:8080/auth/logout", nil)
		r.Header.Set("Origin", shopURL)
		r.Header.Set("Cookie", w.sentCookies())
		rec := w.direct(r)
		if got := w.subject(); rec.Code != http.StatusSeeOther || got != "" {
			t.Errorf("%d, signed in afterwards: %q", rec.Code, got)
		}
	})

	t.Run("C116 the page that a link leads to asks, and its button signs out", func(t *testing.T) {
		w := newWorld(t)
		w.login()
		a := w.get("/auth/logout?return_to=/bye")
		form := regexp.MustCompile(`<form method="post" action="([^"]*)"><input type="hidden" name="return_to" value="/bye">`).FindStringSubmatch(a.body)
		if form == nil {
			t.Fatalf("no form in\n%s", a.body)
		}
		if got := a.Header.Get("Content-Security-Policy"); strings.Contains(got, "form-action") {
			t.Errorf("the policy does not let the form lead wherever the provider's logout goes: %s", got)
		}
		a = w.send(w.browser, http.MethodPost, form[1], "return_to=%2Fbye", sameOrigin)
		a = w.get(w.get(a.location()).location())
		if a.location() != shopURL+"/bye" || w.subject() != "" {
			t.Errorf("%d to %q\n%s", a.StatusCode, a.location(), a.body)
		}
	})
}

func TestLogoutAtTheProvider(t *testing.T) {
	t.Run("C117 it has the hint, the client, the way back and a state, each once", func(t *testing.T) {
		w := newWorld(t)
		w.login()
		u, err := url.Parse(w.logout(sameOrigin).location())
		if err != nil {
			t.Fatal(err)
		}
		q := u.Query()
		if u.Host != "id.test" || q.Get("client_id") != "shop" || q.Get("post_logout_redirect_uri") != shopURL+"/auth/logout/done" {
			t.Errorf("it leads to %s", u)
		}
		if strings.Count(q.Get("id_token_hint"), ".") != 2 || len(q.Get("state")) < 22 || len(q) != 4 {
			t.Errorf("parameters %v", q)
		}
	})

	broken := map[string]func(*world){
		"is down":       func(w *world) { w.op.Always(oidcgatetest.EndSession, oidcgatetest.Reset()) },
		"has no logout": func(*world) {},
		"was never seen by the new process": func(w *world) {
			w.op.Always(oidcgatetest.Discovery, oidcgatetest.Answer(500, "text/plain", "down"))
			w.open(oidcgate.Provider{Issuer: w.op.Issuer(), ClientID: "shop", Auth: oidcgate.ClientSecretBasic(secret)})
		},
		"is not configured any more": func(w *world) {
			w.open(oidcgate.Provider{Name: "new", Issuer: "https://new.test", ClientID: "shop", Auth: oidcgate.ClientSecretBasic(secret)})
		},
	}
	for name, breakIt := range broken {
		t.Run("C117 a provider that "+name+" is no obstacle", func(t *testing.T) {
			w := newWorld(t)
			if name == "has no logout" {
				w.op.Always(oidcgatetest.Discovery, oidcgatetest.EditJSON(func(m map[string]any) { delete(m, "end_session_endpoint") }))
			}
			w.login()
			session := w.cookie("__Host-Http-oidcgate")
			breakIt(w)
			a := w.logout(sameOrigin)
			if name == "is down" {
				if !strings.HasPrefix(a.location(), w.op.Issuer()) {
					t.Errorf("%d to %q", a.StatusCode, a.location())
				}
			} else if a.StatusCode != http.StatusOK || !strings.Contains(a.body, "Signed out") {
				t.Errorf("%d to %q\n%s", a.StatusCode, a.location(), a.body)
			}
			if w.cookie("__Host-Http-oidcgate") != "" {
				t.Error("the cookie is there")
			}
			w.setCookie("__Host-Http-oidcgate", session)
			if got := w.subject(); got != "" {
				t.Errorf("the session is there: %q", got)
			}
		})
	}

	t.Run("C117 when the store cannot end the session, nobody says that it did", func(t *testing.T) {
		tally := &tallyStore{Store: &store.Memory{}}
		w := newWorld(t, func(c *oidcgate.Config, _ *oidcgate.Provider) { c.Store = tally })
		w.login()
		tally.ill.Store(true)
		a := w.logout(sameOrigin)
		if a.StatusCode != http.StatusServiceUnavailable || a.location() != "" || len(a.Cookies()) != 0 {
			t.Errorf("%d to %q with %v", a.StatusCode, a.location(), a.Cookies())
		}
		tally.ill.Store(false)
		if got := w.subject(); got != "alice" {
			t.Errorf("signed in: %q", got)
		}
	})

	t.Run("C117 who is not signed in is signed out", func(t *testing.T) {
		w := newWorld(t)
		if a := w.logout(sameOrigin); a.StatusCode != http.StatusOK || !strings.Contains(a.body, "Signed out") {
			t.Errorf("%d to %q\n%s", a.StatusCode, a.location(), a.body)
		}
		if n := w.op.Count(oidcgatetest.EndSession) + w.op.Count(oidcgatetest.Discovery); n != 0 {
			t.Errorf("the provider was asked %d times", n)
		}
	})

	t.Run("C117 from a handler it is the same", func(t *testing.T) {
		w := newWorld(t)
		w.login()
		w.handler = w.gate.Wrap(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { w.gate.Logout(rw, r, "/bye") }))
		a := w.send(w.browser, http.MethodPost, "/quit", "")
		if w.cookie("__Host-Http-oidcgate") != "" {
			t.Error("the cookie is there")
		}
		if a = w.get(w.get(a.location()).location()); a.location() != shopURL+"/bye" {
			t.Errorf("%d to %q\n%s", a.StatusCode, a.location(), a.body)
		}
	})

	t.Run("C119 a hint that makes the address too long is left out", func(t *testing.T) {
		w := newWorld(t)
		w.op.EveryIDToken(func(j *oidcgatetest.JWT) { j.Claims["long"] = strings.Repeat("x", 10<<10) })
		w.login()
		a := w.logout(sameOrigin)
		u, err := url.Parse(a.location())
		if err != nil || len(a.location()) > 4<<10 || u.Query().Has("id_token_hint") || u.Query().Get("client_id") != "shop" {
			t.Errorf("%d to %d bytes: %.300s", a.StatusCode, len(a.location()), a.location())
		}
		if a = w.get(w.get(a.location()).location()); !strings.Contains(a.body, "Signed out") {
			t.Errorf("%d\n%s", a.StatusCode, a.body)
		}
	})

	t.Run("C119 the hint stands in no log", func(t *testing.T) {
		w := newWorld(t)
		w.login()
		u, err := url.Parse(w.logout(sameOrigin).location())
		if err != nil {
			t.Fatal(err)
		}
		w.eventsOf(oidcgate.EventSessionRevoked)
		hint := u.Query().Get("id_token_hint")
		if log := w.logged(); hint == "" || strings.Contains(log, hint) || strings.Contains(log, strings.Split(hint, ".")[1]) {
			t.Errorf("hint %q in\n%s", hint, log)
		}
	})
}

func TestReturnFromTheProvidersLogout(t *testing.T) {
	// way signs out towards /bye and returns the provider's way back.
	way := func(w *world) *url.URL {
		w.Helper()
		w.login()
		a := w.send(w.browser, http.MethodPost, "/auth/logout", "return_to=%2Fbye", sameOrigin)
		u, err := url.Parse(w.get(a.location()).location())
		if err != nil || u.Path != "/auth/logout/done" {
			w.Fatalf("the provider leads to %v", u)
		}
		return u
	}
	plain := func(w *world, a answer) {
		w.Helper()
		if a.StatusCode != http.StatusOK || a.location() != "" || !strings.Contains(a.body, "Signed out") {
			w.Errorf("%d to %q, want the plain page\n%s", a.StatusCode, a.location(), a.body)
		}
		done := w.eventsOf(oidcgate.EventLogoutCompleted)
		if n := len(done); n == 0 || done[n-1].Reason != "state_mismatch" {
			w.Errorf("events %+v, want the last to be a state_mismatch", done)
		}
	}

	t.Run("C118 its state leads on, once", func(t *testing.T) {
		w := newWorld(t)
		u := way(w)
		if a := w.get(u.String()); a.location() != shopURL+"/bye" {
			t.Errorf("%d to %q", a.StatusCode, a.location())
		}
		plain(w, w.get(u.String()))
	})

	wrong := map[string]string{"no state": "", "an empty state": "state=", "another state": "state=AAAAAAAAAAAAAAAAAAAAAAAAAA", "markup": "state=" + url.QueryEscape(markup)}
	for name, query := range wrong {
		t.Run("C118 "+name+" gets the plain page, and the right one still works", func(t *testing.T) {
			w := newWorld(t)
			u := way(w)
			a := w.get("/auth/logout/done?" + query)
			plain(w, a)
			if strings.Contains(a.body, "markup") {
				t.Errorf("the page repeats the state:\n%s", a.body)
			}
			if a := w.get(u.String()); a.location() != shopURL+"/bye" {
				t.Errorf("%d to %q", a.StatusCode, a.location())
			}
		})
	}

	t.Run("C118 the state of another browser gets the plain page", func(t *testing.T) {
		w := newWorld(t)
		u := way(w)
		w.browser = w.newBrowser()
		plain(w, w.get(u.String()))
	})

	t.Run("C118 a cookie that is made up gets the plain page", func(t *testing.T) {
		w := newWorld(t)
		for _, value := range []string{"x", "%", strings.Repeat("A", 100), strings.Repeat("A", 3000)} {
			w.setCookie("__Host-Http-oidcgate-logout", value)
			plain(w, w.get("/auth/logout/done?state="))
		}
	})

	t.Run("R-URL-3 C118 a path of another site in the cookie gets the plain page", func(t *testing.T) {
		w := newWorld(t)
		u := way(w)
		w.rewrite("logout", "__Host-Http-oidcgate-logout", "//evil.example")
		if a := w.get(u.String()); a.StatusCode != http.StatusOK || a.location() != "" {
			t.Errorf("%d to %q", a.StatusCode, a.location())
		}
	})

	t.Run("C118 no parameter chooses where it leads", func(t *testing.T) {
		w := newWorld(t)
		plain(w, w.get("/auth/logout/done?return_to=/x&post_logout_redirect_uri=https://evil.example&redirect=https://evil.example"))
	})

	t.Run("C118 no state comes twice", func(t *testing.T) {
		w := newWorld(t)
		seen := map[string]bool{}
		for range 20 {
			w.login()
			u, _ := url.Parse(w.logout(sameOrigin).location())
			if s := u.Query().Get("state"); s == "" || seen[s] {
				t.Fatalf("state %q", s)
			} else {
				seen[s] = true
			}
		}
	})
}

func TestLogoutFormOfStrangers(t *testing.T) {
	for name, body := range map[string]string{
		"a form that cannot be read": "return_to=%zz",
		"a form that is too long":    "return_to=/" + strings.Repeat("x", 40<<10),
		"a form with semicolons":     "return_to=/a;b",
	} {
		t.Run(name+" is refused whole", func(t *testing.T) {
			w := newWorld(t)
			w.login()
			a := w.send(w.browser, http.MethodPost, "/auth/logout", body, sameOrigin)
			if a.StatusCode != http.StatusBadRequest {
				t.Errorf("%d", a.StatusCode)
			}
			if got := w.subject(); got != "alice" {
				t.Errorf("signed in: %q", got)
			}
		})
	}
}

func TestLogoutOfAStranger(t *testing.T) {
	t.Run("F16 asks the store nothing, also while it is down", func(t *testing.T) {
		w, records := newTapped(t)
		records.refuse(func(storeCall) error { return errIll })
		if a := w.logout(sameOrigin); a.StatusCode != http.StatusOK || !strings.Contains(a.body, "Signed out") || len(records.since()) != 0 {
			t.Errorf("status %d, the store got %+v\n%s", a.StatusCode, records.since(), a.body)
		}
	})
}

func TestRefreshTokenThatCannotBeRevoked(t *testing.T) {
	inBubble(t, "C087 the log says so, and the session ends", func(t *testing.T) {
		f := newFleet(t, 1)
		f.revocations(oidcgatetest.Answer(http.StatusInternalServerError, "", ""))
		f.login()
		f.logout(sameOrigin)
		synctest.Wait() // the log is written by and by
		if f.subject() != "" || !strings.Contains(f.logged(), "cannot revoke a refresh token") {
			t.Errorf("signed in as %q, and the log says\n%s", f.subject(), f.logged())
		}
	})
}

// A client secret and a transport are the application's, and may do anything.
func TestLogoutWithAFaultOfTheApplication(t *testing.T) {
	for name, fault := range map[string]func(){
		"panics":              func() { panic("the application's fault") },
		"ends its goroutine":  runtime.Goexit,
		"does not return now": func() { time.Sleep(10 * time.Minute) },
	} {
		for _, fresh := range []bool{false, true} {
			inBubble(t, fmt.Sprintf("F34 C117 a secret that %s keeps nobody signed in, with FreshHint %v", name, fresh), func(t *testing.T) {
				var faulty atomic.Bool
				f := newFleet(t, 1, func(_ *oidcgate.Config, p *oidcgate.Provider) {
					p.Logout.FreshHint = fresh
					p.Auth = oidcgate.ClientSecretBasic(func(context.Context) (string, error) {
						if faulty.Load() {
							fault()
						}
						return secret, nil
					})
				})
				f.revocations()
				f.login()
				time.Sleep(30 * time.Minute) // the ID Token has expired
				faulty.Store(true)
				begun := time.Now()
				a := f.logout(sameOrigin)
				if took := time.Since(begun); a.StatusCode != http.StatusSeeOther || f.subject() != "" || took > 6*time.Second {
					t.Errorf("status %d after %v, and %q is signed in", a.StatusCode, took, f.subject())
				}
				if synctest.Wait(); !strings.Contains(f.logged(), "cannot revoke a refresh token") {
					t.Errorf("the log says\n%s", f.logged())
				}
				time.Sleep(time.Hour)
			})
		}
	}
}

func TestLogoutOfAnIdentityWithoutSession(t *testing.T) {
	w := newWorld(t)
	id, err := oidcgate.NewIdentity(w.op.Issuer(), "alice", nil)
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest(http.MethodPost, shopURL+"/leave", nil)
	rec := httptest.NewRecorder()
	w.gate.Logout(rec, r.WithContext(w.gate.NewContext(r.Context(), id)), "/bye")
	if to := rec.Header().Get("Location"); to != shopURL+"/bye" {
		t.Errorf("the browser goes to %q: there is no session to end at the provider", to)
	}
}

func TestLogoutBehindNewContext(t *testing.T) {
	for name, around := range map[string]func(*fleet, http.Handler) http.Handler{
		"within Wrap":  func(f *fleet, h http.Handler) http.Handler { return f.gates[0].Wrap(h) },
		"outside Wrap": func(_ *fleet, h http.Handler) http.Handler { return h },
	} {
		inBubble(t, "C115 the session of the request's cookie ends, "+name, func(t *testing.T) {
			f := newFleet(t, 1)
			f.login()
			id, err := oidcgate.NewIdentity("https://tokens.test", "a program", nil)
			if err != nil {
				t.Fatal(err)
			}
			leave := around(f, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				ctx := f.gates[0].NewContext(f.gates[0].NewContext(r.Context(), id), id)
				f.gates[0].Logout(w, r.WithContext(ctx), "/bye")
			}))
			r := httptest.NewRequest(http.MethodPost, shopURL+"/leave", nil)
			r.AddCookie(&http.Cookie{Name: "__Host-Http-oidcgate", Value: f.cookie("__Host-Http-oidcgate")})
			rec := httptest.NewRecorder()
			leave.ServeHTTP(rec, r)
			if !strings.Contains(rec.Header().Get("Location"), "id_token_hint") || f.subject() != "" {
				t.Errorf("the browser goes to %q, and %q is signed in", rec.Header().Get("Location"), f.subject())
			}
		})
	}
}

func TestRefreshDuringALogout(t *testing.T) {
	for name, row := range map[string]struct {
		prepare func(f *fleet) (end func())
		refresh time.Duration // when the refresh begins
		end     time.Duration // when the end begins
		slow    string        // what takes 100 milliseconds in the store
	}{
		"a logout": {func(f *fleet) func() { return func() { f.logout() } }, 0, 50 * time.Millisecond, "delete s:"},
		"another user's login": {func(f *fleet) func() {
			f.op.SetUser(oidcgatetest.User{Subject: "bob"})
			callback := f.callbackURL("/auth/login")
			return func() { f.get(callback) }
		}, 60 * time.Millisecond, 0, "create s:"},
	} {
		inBubble(t, "C087 C127 the refresh token that comes while "+name+" deletes the session is revoked too", func(t *testing.T) {
			f := newFleet(t, 2)
			revoked := f.revocations()
			f.login()
			time.Sleep(11 * time.Minute)
			mine, handle := f.sentCookies(), f.handle()
			end := row.prepare(f)
			var came atomic.Value
			f.op.Always(oidcgatetest.Token, oidcgatetest.Delay(100*time.Millisecond), func(next http.Handler) http.Handler {
				refresh := oidcgatetest.EditJSON(func(m map[string]any) { came.Store(m["refresh_token"]) })(next)
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if r.FormValue("grant_type") == "refresh_token" {
						refresh.ServeHTTP(w, r)
						return
					}
					next.ServeHTTP(w, r)
				})
			})
			f.drill.fail(func(op, key string) error {
				if strings.HasPrefix(op+" "+key, row.slow) {
					time.Sleep(100 * time.Millisecond)
				}
				return nil
			}, nil)
			var both sync.WaitGroup
			both.Go(func() {
				time.Sleep(row.refresh)
				f.send(f.newBrowser(), http.MethodGet, "/token", "", "Cookie: "+mine)
			})
			time.Sleep(row.end)
			end()
			both.Wait()
			if token, _ := came.Load().(string); token == "" || !slices.Contains(revoked(), token) {
				t.Errorf("revoked %q, and not %q, which came for it", revoked(), token)
			}
			if _, err := f.drill.Get(t.Context(), "t:"+handle); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("the tokens: %v", err)
			}
		})
	}
}

func TestLogoutThatFailsHalfway(t *testing.T) {
	for name, fails := range map[string]func(op, key string) bool{
		"the tokens stay":                    func(op, key string) bool { return op == "delete" && strings.HasPrefix(key, "t:") },
		"the tokens cannot be read":          func(_, key string) bool { return strings.HasPrefix(key, "t:") },
		"the tokens could be deleted unread": func(op, key string) bool { return op == "get" && strings.HasPrefix(key, "t:") },
		"the summary stays":                  func(op, key string) bool { return op == "delete" && strings.HasPrefix(key, "d:") },
		"the user's set cannot be changed":   func(op, _ string) bool { return op == "remove" },
	} {
		inBubble(t, "C087 C117 F16 a logout says what is so, and the next one finds what is left: "+name, func(t *testing.T) {
			f := newFleet(t, 1)
			revoked := f.revocations()
			f.login()
			handle := f.handle()
			f.drill.fail(func(op, key string) error {
				if fails(op, key) {
					return errReadOnly
				}
				return nil
			}, nil)
			a := f.logout(sameOrigin)
			if a.StatusCode != http.StatusServiceUnavailable || !strings.Contains(a.body, "Signed out of this site only") {
				t.Errorf("status %d: %s", a.StatusCode, a.body)
			}
			if got := f.subject(); got != "" {
				t.Errorf("signed in as %q", got)
			}
			f.drill.fail(nil, nil)
			if a := f.logout(sameOrigin); !strings.HasPrefix(a.location(), f.op.Issuer()) {
				t.Errorf("the next logout does not end the session at the provider: status %d to %q", a.StatusCode, a.location())
			}
			if len(revoked()) == 0 {
				t.Error("the refresh token was not revoked")
			}
			for _, key := range []string{"s:", "t:", "d:"} {
				if _, err := f.drill.Get(t.Context(), key+handle); !errors.Is(err, store.ErrNotFound) {
					t.Errorf("%s is left: %v", key, err)
				}
			}
			if f.cookie("__Host-Http-oidcgate") != "" {
				t.Error("the cookie stays")
			}
		})
	}
	inBubble(t, "C117 a logout after IdleTimeout ends the session at the provider", func(t *testing.T) {
		f := newFleet(t, 1)
		f.login()
		time.Sleep(2 * time.Hour)
		a := f.logout(sameOrigin)
		if at := a.location(); !strings.HasPrefix(at, f.op.Issuer()) || !strings.Contains(at, "id_token_hint=") {
			t.Errorf("status %d to %q", a.StatusCode, at)
		}
		if a := f.logout(sameOrigin); a.location() != "" {
			t.Errorf("once more: status %d to %q", a.StatusCode, a.location())
		}
	})
	inBubble(t, "C117 a second click, with the cookie of the first, leads to the provider too", func(t *testing.T) {
		f := newFleet(t, 2)
		f.login()
		cookie := f.cookieOf(f.browser)
		for click := range 3 {
			f.setCookie("__Host-Http-oidcgate", cookie)
			a := f.logout(sameOrigin)
			if at := a.location(); !strings.HasPrefix(at, f.op.Issuer()) || !strings.Contains(at, "id_token_hint=") {
				t.Errorf("click %d: status %d to %q", click, a.StatusCode, at)
			}
		}
		time.Sleep(time.Minute)
		f.setCookie("__Host-Http-oidcgate", cookie)
		if a := f.logout(sameOrigin); a.location() != "" {
			t.Errorf("a minute later: status %d to %q", a.StatusCode, a.location())
		}
	})
	inBubble(t, "C117 F16 F41 a replica without the key ends the session, also while it cannot read the tokens", func(t *testing.T) {
		f := newFleet(t, 1)
		f.login()
		handle := f.handle()
		f.config.Keys = mustKeys(t, newKey)
		first := f.handler
		f.open(oidcgate.Provider{Issuer: f.op.Issuer(), ClientID: "shop", Auth: oidcgate.ClientSecretBasic(secret)})
		f.drill.fail(on("get t:", errReadOnly), nil)
		if a := f.logout(sameOrigin); a.StatusCode != http.StatusServiceUnavailable || !strings.Contains(a.body, "Signed out of this site only") {
			t.Errorf("status %d: %s", a.StatusCode, a.body)
		}
		f.handler = first
		if got := f.subject(); got != "" {
			t.Errorf("signed in as %q", got)
		}
		f.drill.fail(nil, nil)
		f.logout(sameOrigin)
		if _, err := f.drill.Get(t.Context(), "t:"+handle); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("the tokens are left: %v", err)
		}
	})
	inBubble(t, "C117 F16 a logout that cannot end the session says that the visitor is still signed in", func(t *testing.T) {
		f := newFleet(t, 1)
		f.login()
		f.drill.fail(on("delete s:", errReadOnly), nil)
		a := f.send(f.browser, http.MethodPost, "/auth/logout?return_to=/bye", "", sameOrigin)
		if a.StatusCode != http.StatusServiceUnavailable || !strings.Contains(a.body, "Still signed in") {
			t.Errorf("status %d: %s", a.StatusCode, a.body)
		}
		if got := f.subject(); got != "alice" {
			t.Errorf("signed in as %q", got)
		}
		f.drill.fail(nil, nil)
		for _, part := range []string{`action="` + shopURL + `/auth/logout"`, `name="return_to" value="/bye"`, "<button>Try again</button>"} {
			if !strings.Contains(a.body, part) {
				t.Errorf("the page has no %s: %s", part, a.body)
			}
		}
	})
}

func TestRevocationAtAFreshReplica(t *testing.T) {
	t.Run("C087 C127 a replica that was just started revokes too", func(t *testing.T) {
		f := newFleet(t, 1)
		revoked := f.revocations()
		f.login()
		f.reopen(func(*oidcgate.Config) {}) // restarted
		if a := f.send(f.browser, http.MethodPost, "/auth/logout", "", "Origin: "+shopURL); a.StatusCode != http.StatusSeeOther || len(revoked()) != 1 {
			t.Errorf("%d to %q, %d refresh tokens revoked, want one", a.StatusCode, a.location(), len(revoked()))
		}
	})
}

func TestLogoutWithTwoCookies(t *testing.T) {
	const other = "__Host-Http-oidcgate=BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB."
	post := func(f *fleet, cookies string) answer {
		return f.send(f.newBrowser(), http.MethodPost, "/auth/logout", "", sameOrigin, "Cookie: "+cookies)
	}
	for _, tt := range []struct{ name, before, after string }{
		{"another session before it", other + "; ", ""},
		{"another session after it", "", "; " + other},
		{"one that is malformed before it", "__Host-Http-oidcgate=x; ", ""},
		{"one that is malformed after it", "", "; __Host-Http-oidcgate=x"},
	} {
		inBubble(t, "C117 F24 the session ends and the cookie is deleted: "+tt.name, func(t *testing.T) {
			f := newFleet(t, 1)
			revoked := f.revocations()
			f.login()
			cookies := tt.before + f.sentCookies() + tt.after
			ask := f.send(f.newBrowser(), http.MethodGet, "/auth/logout", "", "Sec-Fetch-Mode: navigate", "Cookie: "+cookies)
			if len(ask.Cookies()) != 0 || !strings.Contains(ask.body, "<form") || f.subject() != "alice" {
				t.Errorf("a GET: cookies %v, signed in as %q\n%s", ask.Cookies(), f.subject(), ask.body)
			}
			for _, command := range []string{"delete s:", "get d:"} {
				f.drill.fail(on(command, errIll), nil)
				if a := post(f, cookies); a.StatusCode != http.StatusServiceUnavailable || len(a.Cookies()) != 0 {
					t.Errorf("%s fails: status %d, cookies %v", command, a.StatusCode, a.Cookies())
				}
			}
			f.drill.fail(nil, nil)
			a := post(f, cookies)
			if a.StatusCode != http.StatusOK || !strings.Contains(a.Header.Get("Set-Cookie"), "__Host-Http-oidcgate=; Path=/; Max-Age=0") {
				t.Errorf("status %d, cookies %v", a.StatusCode, a.Cookies())
			}
			if got := f.subject(); got != "" {
				t.Errorf("signed in as %q", got)
			}
			if got := revoked(); len(got) != 1 {
				t.Errorf("refresh tokens revoked: %q", got)
			}
		})
	}
	inBubble(t, "C117 F24 of both names", func(t *testing.T) {
		f := newFleet(t, 1)
		f.login()
		older := "; __Host-oidcgate=" + f.cookie("__Host-Http-oidcgate")
		post(f, f.sentCookies()+older+"; "+other)
		if got := f.subject(); got != "" {
			t.Errorf("signed in as %q", got)
		}
	})
	inBubble(t, "C117 F24 too many are not looked up, and the page says that the visitor is signed in", func(t *testing.T) {
		f := newFleet(t, 1)
		f.login()
		cookies := f.sentCookies()
		for c := 'C'; c < 'C'+8; c++ {
			cookies += "; __Host-Http-oidcgate=" + strings.Repeat(string(c), 43) + "."
		}
		f.drill.fail(func(op, key string) error { t.Errorf("%s %s", op, key); return nil }, nil)
		a := post(f, cookies)
		f.drill.fail(nil, nil)
		if a.StatusCode != http.StatusServiceUnavailable || !strings.Contains(a.body, "Still signed in") || f.subject() != "alice" {
			t.Errorf("status %d, signed in as %q\n%s", a.StatusCode, f.subject(), a.body)
		}
	})
}

func TestLogoutWithoutValues(t *testing.T) {
	for _, path := range []string{"/auth/logout", "/bye"} {
		t.Run("C117 F16 the values cannot be read: the session ends all the same, by "+path, func(t *testing.T) {
			f := newFleet(t, 1, func(c *oidcgate.Config, _ *oidcgate.Provider) { c.EnableValues = true })
			f.login()
			mux := http.NewServeMux()
			mux.HandleFunc("/bye", func(rw http.ResponseWriter, r *http.Request) { f.gate.Logout(rw, r, "/") })
			f.handler = f.gate.Wrap(mux)
			f.drill.fail(on("get v:", errIll), nil)
			if a := f.send(f.browser, "POST", path, "", "Origin: "+shopURL); a.StatusCode != http.StatusSeeOther {
				t.Errorf("status %d", a.StatusCode)
			}
			f.drill.fail(nil, nil)
			if list, err := f.gate.Sessions().ListUser(t.Context(), f.op.Issuer(), "alice"); len(list) != 0 || err != nil {
				t.Errorf("%d sessions live, %v", len(list), err)
			}
		})
	}
}

func TestLogoutWhoseSessionCannotBeRead(t *testing.T) {
	t.Run("C117 F16 the store fails once: nothing ends halfway, and the page says that the visitor is signed in", func(t *testing.T) {
		f := newFleet(t, 1)
		f.login()
		reads := 0
		f.drill.fail(func(op, key string) error {
			if op != "get" || !strings.HasPrefix(key, "s:") {
				return nil
			}
			if reads++; reads > 1 {
				return nil
			}
			return errIll
		}, nil)
		a := f.send(f.browser, http.MethodPost, "/auth/logout", "", "Origin: "+shopURL)
		f.drill.fail(nil, nil)
		if a.StatusCode != http.StatusServiceUnavailable || !strings.Contains(a.body, "Still signed in") || f.subject() != "alice" {
			t.Errorf("status %d, signed in as %q\n%s", a.StatusCode, f.subject(), a.body)
		}
	})
}
