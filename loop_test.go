package oidcgate_test

import (
	"context"
	"errors"
	"html"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oidcgate/oidcgate"
	"github.com/oidcgate/oidcgate/oidcgatetest"
	"github.com/oidcgate/oidcgate/store"
)

// forgetfulStore loses every session at once.
type forgetfulStore struct{ store.Store }

func (forgetfulStore) Get(context.Context, string) ([]byte, error) { return nil, store.ErrNotFound }

// jarWithout is a browser that does not keep one cookie.
type jarWithout struct {
	*cookiejar.Jar
	name string
}

func (j jarWithout) SetCookies(u *url.URL, cookies []*http.Cookie) {
	for _, c := range cookies {
		if c.Name != j.name {
			j.Jar.SetCookies(u, []*http.Cookie{c})
		}
	}
}

// follow navigates to a page and goes where the browser is sent, at most so many times.
func (w *world) follow(page string, most int) answer {
	w.Helper()
	a := w.get(page, "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document")
	for i := 0; a.location() != "" && i < most; i++ {
		a = w.get(a.location(), "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document")
	}
	return a
}

func TestLoginLoop(t *testing.T) {
	loses := func(c *oidcgate.Config, _ *oidcgate.Provider) { c.Store = forgetfulStore{c.Store} }
	// split has the gate's routes at one replica and the pages at another, which has other keys.
	split := func(w *world) {
		routes, first := w.handler, w.gate
		provider := oidcgate.Provider{Issuer: w.op.Issuer(), ClientID: "shop", Auth: oidcgate.ClientSecretBasic(secret)}
		w.config.Keys = mustKeys(w.T, newKey)
		w.open(provider)
		pages := w.handler
		w.gate = first // it tells of the login
		w.handler = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			if strings.HasPrefix(r.URL.Path, "/auth/") {
				routes.ServeHTTP(rw, r)
				return
			}
			pages.ServeHTTP(rw, r)
		})
	}
	for _, tt := range []struct {
		name    string
		change  change
		arrange func(*world)
		status  int
		reason  oidcgate.Reason
		says    string
		detail  string
	}{
		{"the store loses sessions", loses, func(*world) {}, 500, "loop_session_lost", "session was gone", "the sessions of the logins before were gone at once"},
		{"the replicas have different keys", func(*oidcgate.Config, *oidcgate.Provider) {}, split, 500, "loop_key_unknown", "could not be read",
			"a replica could not read the sessions of the logins before"},
		{"the browser does not keep the session's cookie", func(*oidcgate.Config, *oidcgate.Provider) {}, func(w *world) {
			w.browser.Jar = jarWithout{w.browser.Jar.(*cookiejar.Jar), sessionCookie}
		}, 400, "loop_no_cookie", "cookies", "after the logins before, the browser sent no session cookie"},
	} {
		t.Run("R-DOS-3 F20 "+tt.name+": three rounds, then a page that says so", func(t *testing.T) {
			w := newWorld(t, tt.change)
			tt.arrange(w)
			a := w.follow("/app", 60)
			w.denied(a, tt.status, tt.reason)
			if !strings.Contains(a.body, tt.says) {
				t.Errorf("the page does not say %q:\n%s", tt.says, a.body)
			}
			if n := w.op.Count(oidcgatetest.Token); n != 3 {
				t.Errorf("%d logins, want 3", n)
			}
			if failed := w.eventsOf(oidcgate.EventLoginFailed); len(failed) != 1 || failed[0].Hint == "" || failed[0].Detail != tt.detail {
				t.Errorf("events %+v, want one with a hint and the detail %q", failed, tt.detail)
			}
			if a := w.follow("/app", 4); !strings.HasPrefix(a.location(), shopURL+"/") || a.StatusCode != http.StatusSeeOther {
				t.Errorf("a new try: %d to %q, want a login", a.StatusCode, a.location())
			}
		})
	}

	for _, by := range []string{"a link", "an e-mail address"} {
		t.Run("R-DOS-3 F20 the visitor chooses by "+by+", and the store loses sessions", func(t *testing.T) {
			w, _ := severalProviders(t, func(c *oidcgate.Config) {
				c.Store = forgetfulStore{c.Store}
				c.HomeRealm = func(string) (string, bool) { return "staff", true }
			})
			a := w.follow("/app", 10) // to the page of choice
			for range 4 {
				link := regexp.MustCompile(`href="([^"]*provider=staff[^"]*)"`).FindStringSubmatch(a.body)
				if link == nil {
					t.Fatalf("the page has no link:\n%s", a.body)
				}
				if by == "a link" {
					a = w.follow(html.UnescapeString(link[1]), 10)
					continue
				}
				form := url.Values{"email": {"bob@staff.example"}}
				for _, m := range regexp.MustCompile(`type="hidden" name="([^"]*)" value="([^"]*)"`).FindAllStringSubmatch(a.body, -1) {
					form.Set(m[1], html.UnescapeString(m[2]))
				}
				a = w.send(w.browser, http.MethodPost, "/auth/login", form.Encode(), "Sec-Fetch-Mode: navigate", "Sec-Fetch-Site: same-origin")
				if a.location() != "" {
					a = w.follow(a.location(), 10)
				}
			}
			w.denied(a, http.StatusInternalServerError, "loop_session_lost")
			if strings.Contains(a.body, "gone=") || strings.Contains(a.body, "was=") {
				t.Errorf("the links of the page carry the cause on:\n%s", a.body)
			}
		})
	}

	t.Run("R-DOS-3 the page of choice in several tabs, after a session was lost", func(t *testing.T) {
		w, _ := severalProviders(t)
		w.follow("/auth/login?provider=staff&return_to=/app", 3)
		if _, err := w.gate.Sessions().EndUser(t.Context(), "https://staff.test", "bob"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(1100 * time.Millisecond) // a login in the second of EndUser is refused
		tab := w.follow("/app", 3)
		link := regexp.MustCompile(`href="([^"]*provider=staff[^"]*)"`).FindStringSubmatch(tab.body)
		if link == nil {
			t.Fatalf("the page has no link:\n%s", tab.body)
		}
		for i := range 6 {
			if a := w.follow(html.UnescapeString(link[1]), 10); a.StatusCode != http.StatusOK || w.subject() != "bob" {
				t.Errorf("tab %d: %d, signed in as %q\n%s", i, a.StatusCode, w.subject(), a.body)
			}
		}
	})

	t.Run("R-DOS-3 rounds that take longer than a minute are none", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, loses)
			for range 8 {
				if a := w.follow("/app", 3); !strings.HasPrefix(a.location(), shopURL+"/app") {
					t.Fatalf("%d to %q, want the page after the login\n%s", a.StatusCode, a.location(), a.body)
				}
				time.Sleep(31 * time.Second)
			}
		})
	})
}

func TestReplicasOfDifferentKeys(t *testing.T) {
	const navigation = "Sec-Fetch-Mode: navigate"
	for _, path := range []string{"/app", "/auth/login", "/auth/logout"} {
		t.Run("F22 F41 a replica that cannot read a session keeps its cookie for those that can: "+path, func(t *testing.T) {
			w := newWorld(t)
			w.login()
			first, gate := w.handler, w.gate
			w.config.Keys = mustKeys(t, newKey)
			w.open(oidcgate.Provider{Issuer: w.op.Issuer(), ClientID: "shop", Auth: oidcgate.ClientSecretBasic(secret)})
			second := w.handler
			a := w.get(path, navigation, "Sec-Fetch-Dest: document")
			w.handler = first
			if got := w.subject(); got != "alice" {
				t.Errorf("status %d, and at the first replica signed in as %q", a.StatusCode, got)
			}
			if path != "/auth/logout" {
				return
			}
			if !strings.Contains(a.body, "Do you want to log out?") {
				t.Errorf("the page does not ask:\n%s", a.body)
			}
			w.handler = second
			w.logout(sameOrigin)
			w.handler, w.gate = first, gate
			if got := w.subject(); got != "" || w.cookie(sessionCookie) != "" {
				t.Errorf("signed in as %q after the logout, cookie %q", got, w.cookie(sessionCookie))
			}
		})
	}
}

// A login begins at one replica and ends at another.
func TestAttemptOfAnotherReplica(t *testing.T) {
	for _, row := range []struct {
		name   string
		change func(cookie string) string
		keys   string // of the replica where the login ends
		status int
		reason oidcgate.Reason
		says   string
	}{
		{"that has the same keys", strings.Clone, worldKey, 303, "", ""},
		{"that has other keys", strings.Clone, newKey, 500, "state_key_unknown", "fault of this site"},
		{"with junk in the cookie", func(c string) string { return "_" + c[1:] }, worldKey, 400, "state_browser_mismatch", "did not begin in this browser"},
		{"with a damaged cookie", func(c string) string { return c[:len(c)-4] + "AAAA" }, worldKey, 400, "state_browser_mismatch", "did not begin in this browser"},
		{"with a cookie that is none", func(string) string { return "x" }, newKey, 400, "state_browser_mismatch", "did not begin in this browser"},
	} {
		t.Run("C029 F41 a login ends at a replica "+row.name, func(t *testing.T) {
			w := newWorld(t)
			callback := w.callbackURL("/app")
			name := w.cookieNames(sessionCookie + "-a-")[0]
			shop, _ := url.Parse(shopURL)
			w.browser.Jar.SetCookies(shop, []*http.Cookie{{Name: name, Value: row.change(w.cookie(name)), Path: "/", Secure: true}})
			w.config.Keys = mustKeys(t, row.keys)
			w.open(oidcgate.Provider{Issuer: w.op.Issuer(), ClientID: "shop", Auth: oidcgate.ClientSecretBasic(secret)})
			a := w.get(callback, "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document")
			if row.reason == "" {
				if a.StatusCode != row.status || w.subject() != "alice" {
					t.Errorf("status %d, signed in as %q", a.StatusCode, w.subject())
				}
				return
			}
			w.denied(a, row.status, row.reason)
			if !strings.Contains(a.body, row.says) {
				t.Errorf("the page does not say %q:\n%s", row.says, a.body)
			}
			failed := w.eventsOf(oidcgate.EventLoginFailed)
			if hint := len(failed) == 1 && strings.Contains(failed[0].Hint, "same Keys"); hint != (row.status == 500) {
				t.Errorf("events %+v", failed)
			}
			if n := w.op.Count(oidcgatetest.Token); n != 0 {
				t.Errorf("%d codes were sent", n)
			}
		})
	}
}

// What people do is no loop.
func TestNoLoginLoop(t *testing.T) {
	inBubble(t, "R-DOS-3 F29 restored tabs that all begin a login, again and again", func(t *testing.T) {
		w := newWorld(t)
		shop, _ := url.Parse(shopURL)
		for range 6 {
			var tabs []string
			for range 7 {
				tabs = append(tabs, w.authorization(w.get("/app").location()).String())
			}
			for _, tab := range tabs {
				if a := w.finishLogin(tab); a.location() != shopURL+"/app" {
					t.Fatalf("a tab ends with %d at %q\n%s", a.StatusCode, a.location(), a.body)
				}
			}
			// The browser ends. It forgets the session's cookie, but not those with an age.
			w.browser.Jar.SetCookies(shop, []*http.Cookie{{Name: sessionCookie, Path: "/", MaxAge: -1}})
			time.Sleep(35 * time.Second)
		}
	})

	t.Run("R-DOS-3 logins and logouts in quick succession", func(t *testing.T) {
		w := newWorld(t)
		for range 6 {
			w.login()
			if a := w.logout(sameOrigin); a.StatusCode != http.StatusSeeOther {
				t.Fatalf("logout: %d", a.StatusCode)
			}
		}
	})

	t.Run("R-DOS-3 one user after another, without a logout", func(t *testing.T) {
		w := newWorld(t)
		for range 6 {
			if a := w.finishLogin(w.authorization("/auth/login").String()); a.StatusCode != http.StatusSeeOther {
				t.Fatalf("login: %d\n%s", a.StatusCode, a.body)
			}
		}
	})

	logouts := map[string]func(f *fleet) error{
		"by EndUser": func(f *fleet) error {
			_, err := f.gate.Sessions().EndUser(f.Context(), f.op.Issuer(), "alice")
			return err
		},
		"by the provider's logout of its session": func(f *fleet) error {
			if a := f.logoutToken(f.logoutClaims("sid", f.sid(f.browser))); a.StatusCode != http.StatusOK {
				return errors.New(a.body)
			}
			return nil
		},
		"by the provider's logout in a frame": func(f *fleet) error {
			q := url.Values{"iss": {f.op.Issuer()}, "sid": {f.sid(f.browser)}}
			if a := f.get("/auth/frontchannel-logout?"+q.Encode(), "Sec-Fetch-Dest: iframe"); f.cookie(sessionCookie) != "" {
				return errors.New(a.body)
			}
			return nil
		},
		"by the provider's logout of the user": func(f *fleet) error {
			if a := f.logoutToken(f.logoutClaims("sub", "alice")); a.StatusCode != http.StatusOK {
				return errors.New(a.body)
			}
			return nil
		},
	}
	for name, logout := range logouts {
		inBubble(t, "R-DOS-3 F20 a session that is ended again and again "+name, func(t *testing.T) {
			f := newFleet(t, 2)
			for range 7 {
				if a := f.follow("/app", 3); !strings.HasPrefix(a.location(), shopURL+"/app") {
					t.Fatalf("%d to %q, want the page after the login\n%s", a.StatusCode, a.location(), a.body)
				}
				time.Sleep(2 * time.Second)
				if err := logout(f); err != nil {
					t.Fatal(err)
				}
				time.Sleep(2 * time.Second) // logouts count seconds
			}
		})
	}
}
