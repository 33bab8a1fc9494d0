package oidcgate_test

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oidcgate/oidcgate"
	"github.com/oidcgate/oidcgate/oidcgatetest"
)

// withSessionInfo has /auth/session show these claims.
func withSessionInfo(claims ...string) func(*oidcgate.Config, *oidcgate.Provider) {
	return func(c *oidcgate.Config, _ *oidcgate.Provider) {
		c.Site.SessionInfo, c.Site.SessionClaims = true, claims
	}
}

// sessionInfo asks /auth/session as a script of the page /basket.
func (w *world) sessionInfo() answer {
	return w.get("/auth/session", append([]string{"Referer: " + shopURL + "/basket?a=b"}, ownFetch...)...)
}

func TestSessionInfo(t *testing.T) {
	type info struct {
		Name          string
		Claims        map[string]any
		ExpiresIn     int64  `json:"expires_in"`
		IdleExpiresIn int64  `json:"idle_expires_in"`
		LoginURL      string `json:"login_url"`
		LogoutURL     string `json:"logout_url"`
	}
	t.Run("C172 off unless it is asked for: the path is the application's", func(t *testing.T) {
		w := newWorld(t)
		w.login()
		if a := w.sessionInfo(); a.body != "home" {
			t.Errorf("%d %s", a.StatusCode, a.body)
		}
	})
	t.Run("C172 who is signed in, for how long, and nothing more", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, withSessionInfo("email", "/realm_access/roles", "not there"))
			w.op.SetUser(oidcgatetest.User{Subject: "alice", Claims: map[string]any{
				"name": "Alice", "email": "alice@example.org", "realm_access": map[string]any{"roles": []string{"buyer"}}, "groups": []string{"secret group"},
			}})
			w.login()
			time.Sleep(10*time.Minute + time.Millisecond)
			a := w.sessionInfo()
			var got info
			if err := json.Unmarshal([]byte(a.body), &got); err != nil || a.StatusCode != http.StatusOK {
				t.Fatalf("%d %v: %s", a.StatusCode, err, a.body)
			}
			if roles, _ := got.Claims["/realm_access/roles"].([]any); got.Name != "Alice" || got.Claims["email"] != "alice@example.org" || len(roles) != 1 || roles[0] != "buyer" || len(got.Claims) != 2 {
				t.Errorf("%+v", got)
			}
			if got.IdleExpiresIn != 3000-1 || got.ExpiresIn != 24*3600-600-1 {
				t.Errorf("%d and %d seconds are left", got.IdleExpiresIn, got.ExpiresIn)
			}
			if want := shopURL + "/auth/login?return_to=" + url.QueryEscape("/basket?a=b"); got.LoginURL != want || got.LogoutURL != shopURL+"/auth/logout" {
				t.Errorf("login %q, want %q; logout %q", got.LoginURL, want, got.LogoutURL)
			}
			for name, want := range map[string]string{"Content-Type": "application/json", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Cross-Origin-Resource-Policy": "same-origin", "Vary": "Cookie"} {
				if a.Header.Get(name) != want {
					t.Errorf("%s: %q, want %q", name, a.Header.Get(name), want)
				}
			}
			for _, word := range []string{"secret group", "token", "eyJ", w.cookie("__Host-Http-oidcgate")} {
				if strings.Contains(a.body, word) {
					t.Errorf("the answer has %q: %s", word, a.body)
				}
			}
		})
	})
	t.Run("C105 it is no use of the session: the idle time goes on", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, withSessionInfo())
			w.login()
			for range 70 {
				time.Sleep(time.Minute)
				w.sessionInfo()
			}
			if a := w.sessionInfo(); a.body != "null\n" || a.StatusCode != http.StatusOK {
				t.Errorf("%d %s", a.StatusCode, a.body)
			}
		})
	})
	t.Run("C172 null for nobody, also for a cookie that opens nothing", func(t *testing.T) {
		w := newWorld(t, withSessionInfo())
		for _, cookie := range []string{"x=y", "__Host-Http-oidcgate=junk"} {
			a := w.get("/auth/session", append([]string{"Cookie: " + cookie}, ownFetch...)...)
			if a.StatusCode != http.StatusOK || a.body != "null\n" || len(a.Cookies()) != 0 {
				t.Errorf("%d %s %v", a.StatusCode, a.body, a.Cookies())
			}
		}
	})
	t.Run("C172 other sites, and links, get 403 and learn nothing", func(t *testing.T) {
		w := newWorld(t, withSessionInfo())
		for _, signedIn := range []bool{false, true} {
			if signedIn {
				w.login()
			}
			var bodies []string
			for _, from := range [][]string{{"Sec-Fetch-Site: cross-site"}, {"Sec-Fetch-Site: same-site"}, nil, {"Sec-Fetch-Site: same-origin", "Sec-Fetch-Mode: navigate"}} {
				a := w.get("/auth/session", from...)
				w.problem(a, http.StatusForbidden)
				bodies = append(bodies, a.body)
			}
			if strings.Contains(strings.Join(bodies, ""), "alice") {
				t.Errorf("%s", bodies)
			}
		}
	})
	t.Run("C172 other methods get 405", func(t *testing.T) {
		w := newWorld(t, withSessionInfo())
		for _, method := range []string{"POST", "DELETE", "OPTIONS"} {
			a := w.send(w.browser, method, "/auth/session", "", ownFetch...)
			if w.problem(a, http.StatusMethodNotAllowed); a.Header.Get("Allow") != "GET, HEAD" {
				t.Errorf("%s: Allow %q", method, a.Header.Get("Allow"))
			}
		}
	})
	t.Run("F17 503 while the store does not answer, and the cookie stays", func(t *testing.T) {
		w := newWorld(t, withSessionInfo())
		w.login()
		w.config.Store = downStore{w.store}
		w.open(oidcgate.Provider{Issuer: w.op.Issuer(), ClientID: "shop", Auth: oidcgate.ClientSecretBasic(secret)})
		a := w.sessionInfo()
		if w.problem(a, http.StatusServiceUnavailable); a.Header.Get("Retry-After") == "" {
			t.Errorf("no Retry-After")
		}
	})
	t.Run("C113 claims that are due are read again, and who is refused is nobody", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var refuse atomic.Bool
			w := newWorld(t, withSessionInfo(), func(c *oidcgate.Config, _ *oidcgate.Provider) {
				c.Tokens.ClaimsMaxAge = 5 * time.Minute
				c.OnLogin = func(context.Context, *oidcgate.Login) error {
					if refuse.Load() {
						return oidcgate.Deny("no")
					}
					return nil
				}
			})
			w.login()
			refuse.Store(true)
			time.Sleep(6 * time.Minute)
			if a := w.sessionInfo(); a.body != "null\n" {
				t.Errorf("%d %s", a.StatusCode, a.body)
			}
		})
	})
	t.Run("what is wrong with the configuration is said", func(t *testing.T) {
		for want, site := range map[string]oidcgate.SiteOptions{
			"has no use without": {SessionClaims: []string{"email"}},
			"has an empty name":  {SessionInfo: true, SessionClaims: []string{""}},
		} {
			_, err := oidcgate.New(oidcgate.Config{BaseURL: "http://localhost:8080", Site: site}, oidcgate.Provider{
				Issuer: "https://id.test", ClientID: "shop", Auth: oidcgate.ClientSecretPost(secret),
			})
			if err == nil || !strings.Contains(err.Error(), "Site.SessionClaims: "+want) {
				t.Errorf("%v, want one with %q", err, want)
			}
		}
	})
}

// A request after a quarter of the idle time is written down, so that the session goes on. That of
// /auth/session is not.
func TestSessionInfoWritesNothing(t *testing.T) {
	t.Parallel() // it waits
	onEachStore(t, func(t *testing.T, on change) {
		w, records := newTapped(t, on, withSessionInfo("email"), func(c *oidcgate.Config, _ *oidcgate.Provider) { c.IdleTimeout = 16 * time.Second })
		w.login()
		key := records.record(t, "s:")
		before := records.value(t, key)
		time.Sleep(4050 * time.Millisecond) // a quarter of the idle time
		records.reset()
		for range 3 {
			if a := w.sessionInfo(); a.StatusCode != http.StatusOK || a.body == "null\n" {
				t.Fatalf("%d %s", a.StatusCode, a.body)
			}
		}
		if writes, _ := records.count(); writes != 0 || !bytes.Equal(records.value(t, key), before) {
			t.Errorf("C105 %d writes, want none", writes)
		}
		records.reset()
		w.subject()
		if writes, _ := records.count(); writes != 1 {
			t.Error("C105 the next request of the visitor, which is a use, is not written down")
		}
	})
}
