package oidcgate_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/oidcgate/oidcgate"
	"github.com/oidcgate/oidcgate/oidcgatetest"
)

const document = "Sec-Fetch-Dest: document"

// withLoginPage is a shop with a page on which visitors choose how to log in. It shows where it leads.
func withLoginPage(t *testing.T, changes ...change) *world {
	t.Helper()
	w := newWorld(t, append(changes, func(c *oidcgate.Config, _ *oidcgate.Provider) { c.Site.LoginPage = "/sign-in" })...)
	shop := w.shop()
	signIn := func(rw http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(rw, w.gate.LoginURL(w.gate.ReturnPath(r)))
	}
	w.handler = w.gate.Wrap(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/sign-in":
			signIn(rw, r)
		case "/fresh":
			w.gate.Require(oidcgate.MaxAge(time.Minute))(shop).ServeHTTP(rw, r)
		case "/bob":
			w.gate.Require(oidcgate.LoginWith(oidcgate.LoginOptions{LoginHint: "bob"}))(shop).ServeHTTP(rw, r)
		default:
			shop.ServeHTTP(rw, r)
		}
	}))
	return w
}

func TestLoginPage(t *testing.T) {
	const navigation = "Sec-Fetch-Mode: navigate"
	t.Run("C110 a navigation leads to the page, from there to the provider, and back to what was asked for", func(t *testing.T) {
		w := withLoginPage(t)
		a := w.get("/app?x=1&y=%20", navigation, document)
		if want := shopURL + "/sign-in?return_to=" + url.QueryEscape("/app?x=1&y=%20"); a.StatusCode != http.StatusSeeOther || a.location() != want {
			t.Fatalf("%d to %q, want %q", a.StatusCode, a.location(), want)
		}
		login := w.get(a.location(), navigation, document).body
		if a := w.finishLogin(w.authorization(login).String()); a.location() != shopURL+"/app?x=1&y=%20" || w.subject() != "alice" {
			t.Errorf("the login ends at %q, signed in as %q", a.location(), w.subject())
		}
	})
	t.Run("C110 scripts, forms and the session's route name the page", func(t *testing.T) {
		w := withLoginPage(t, func(c *oidcgate.Config, _ *oidcgate.Provider) { c.Site.SessionInfo = true })
		var problem struct {
			LoginURL string `json:"login_url"`
		}
		a := w.get("/app", "Sec-Fetch-Mode: cors", "Sec-Fetch-Dest: empty", "Sec-Fetch-Site: same-origin", "Referer: "+shopURL+"/list")
		if err := json.Unmarshal([]byte(a.body), &problem); err != nil || problem.LoginURL != shopURL+"/sign-in?return_to=%2Flist" {
			t.Errorf("a script gets %d %s", a.StatusCode, a.body)
		}
		form := w.send(w.browser, http.MethodPost, "/app", "a=b", navigation, document, "Origin: "+shopURL, "Referer: "+shopURL+"/form")
		if form.StatusCode != http.StatusUnauthorized || !strings.Contains(form.body, `href="`+shopURL+`/sign-in?return_to=%2Fform"`) {
			t.Errorf("a form gets %d\n%s", form.StatusCode, form.body)
		}
		w.finishLogin(w.authorization("/auth/login").String())
		info := w.get("/auth/session", "Sec-Fetch-Mode: cors", "Sec-Fetch-Dest: empty", "Sec-Fetch-Site: same-origin", "Referer: "+shopURL+"/list")
		if want := `"login_url":"` + shopURL + `/sign-in?return_to=%2Flist"`; !strings.Contains(info.body, want) {
			t.Errorf("the session's route says %s", info.body)
		}
	})
	t.Run("C110 a login that was refused leads back to the page, and to the site whoever is signed in", func(t *testing.T) {
		w := withLoginPage(t)
		a := w.get(edited(t, w.callbackURL("/auth/login?return_to=%2Fapp"), failed("error", "access_denied")))
		if want := `href="` + shopURL + `/sign-in?return_to=%2Fapp"`; a.StatusCode != http.StatusForbidden || !strings.Contains(a.body, want) {
			t.Errorf("%d\n%s", a.StatusCode, a.body)
		}
		w.finishLogin(w.authorization("/auth/login").String())
		a = w.get("/auth/callback?code=x&state=y", document)
		if a.StatusCode != http.StatusBadRequest || !strings.Contains(a.body, `href="`+shopURL+`/"`) {
			t.Errorf("signed in: %d\n%s", a.StatusCode, a.body)
		}
	})
	t.Run("F41 R-DOS-3 a session that another replica may know leads to the login, which counts the rounds", func(t *testing.T) {
		w := newWorld(t, func(c *oidcgate.Config, _ *oidcgate.Provider) {
			c.Site.LoginPage, c.Keys = "/sign-in", mustKeys(t, oldKey)
		})
		w.finishLogin(w.authorization("/auth/login").String())
		w.reopen(func(c *oidcgate.Config) { c.Keys = mustKeys(t, newKey) })
		if a := w.get("/app", navigation, document); !strings.HasPrefix(a.location(), shopURL+"/auth/login?gone=key") {
			t.Errorf("%d to %q", a.StatusCode, a.location())
		}
	})
	t.Run("C110 a guard that asks for more of a login leads to the provider", func(t *testing.T) {
		w := withLoginPage(t)
		if a := w.get("/bob", navigation, document); !strings.HasPrefix(a.location(), shopURL+"/auth/login?") {
			t.Errorf("%d to %q", a.StatusCode, a.location())
		}
	})
	inBubble(t, "C110 C111 whoever is signed in and must log in once more goes to the provider", func(t *testing.T) {
		w := withLoginPage(t)
		w.finishLogin(w.authorization("/auth/login").String())
		time.Sleep(10 * time.Minute)
		if a := w.get("/fresh", navigation, document); !strings.HasPrefix(a.location(), shopURL+"/auth/login?") {
			t.Errorf("%d to %q", a.StatusCode, a.location())
		}
	})
	t.Run("C110 a page behind a guard is no loop: the log says what to do", func(t *testing.T) {
		w := withLoginPage(t)
		w.guardedBy()
		if a := w.get("/app", navigation, document); !strings.HasPrefix(a.location(), shopURL+"/sign-in?") {
			t.Errorf("%d to %q", a.StatusCode, a.location())
		}
		a := w.get("/sign-in?return_to=%2Fapp", navigation, document)
		if a.StatusCode != http.StatusInternalServerError || !strings.Contains(w.logged(), "have the page outside the guards") {
			t.Errorf("%d to %q; the log:\n%s", a.StatusCode, a.location(), w.logged())
		}
	})
	t.Run("R-DOS-3 F20 a store that loses sessions is told of, though the page is in between", func(t *testing.T) {
		w := withLoginPage(t, func(c *oidcgate.Config, _ *oidcgate.Provider) { c.Store = forgetfulStore{c.Store} })
		for range 3 {
			a := w.follow("/app", 1)
			if a := w.follow(a.body, 2); a.location() != shopURL+"/app" {
				t.Fatalf("%d to %q\n%s", a.StatusCode, a.location(), a.body)
			}
		}
		w.denied(w.follow(w.follow("/app", 1).body, 2), http.StatusInternalServerError, "loop_session_lost")
	})
	t.Run("C024 no guard has sent the visitor", func(t *testing.T) {
		w := withLoginPage(t, func(c *oidcgate.Config, _ *oidcgate.Provider) { c.Site.DefaultPath = "/start" })
		for _, returnTo := range []string{"", "//evil.example", "https://evil.example/", `/\evil.example`, "/auth/logout", "/a\r\nb", "app"} {
			a := w.get("/sign-in?return_to=" + url.QueryEscape(returnTo))
			if want := w.gate.LoginURL("/start"); a.body != want {
				t.Errorf("return_to=%q: %s, want %s", returnTo, a.body, want)
			}
		}
	})
	t.Run("C110 a script of the page itself leads where the page leads", func(t *testing.T) {
		w := withLoginPage(t)
		for referer, want := range map[string]string{"/sign-in?return_to=%2Fapp%3Fx": "?return_to=%2Fapp%3Fx", "/sign-in": "", "/sign-in?return_to=%2F%2Fevil.example": ""} {
			a := w.get("/app", "Sec-Fetch-Mode: cors", "Sec-Fetch-Dest: empty", "Sec-Fetch-Site: same-origin", "Referer: "+shopURL+referer)
			if login := `"login_url":"` + shopURL + `/sign-in` + want + `"`; !strings.Contains(a.body, login) {
				t.Errorf("from %s: %s, want %s", referer, a.body, login)
			}
		}
	})
	t.Run("C110 a BaseURL with a path", func(t *testing.T) {
		w := withLoginPage(t, func(c *oidcgate.Config, _ *oidcgate.Provider) { c.BaseURL = shopURL + "/shop" })
		if a := w.get("/app", navigation, document); a.location() != shopURL+"/shop/sign-in?return_to=%2Fapp" {
			t.Errorf("to %q", a.location())
		}
		if a := w.get("/sign-in?return_to=%2Fapp"); a.body != shopURL+"/shop/auth/login?return_to=%2Fapp" {
			t.Errorf("from there to %q", a.body)
		}
	})
}

func TestLogoutLinkOfARefusal(t *testing.T) {
	w := newWorld(t)
	w.guardedBy(oidcgate.Claim("groups", "admin"))
	logout := fmt.Sprintf(`href="%s/auth/logout`, shopURL)
	t.Run("C111 who is signed in by NewContext has nothing to log out of", func(t *testing.T) {
		r := httptest.NewRequest(http.MethodGet, "/orders", nil)
		r.Header.Set("Sec-Fetch-Mode", "navigate")
		rec := w.direct(r.WithContext(oidcgatetest.NewContext(t.Context(), w.gate, oidcgatetest.User{Subject: "karl"})))
		if rec.Code != http.StatusForbidden || strings.Contains(rec.Body.String(), logout) {
			t.Errorf("%d\n%s", rec.Code, rec.Body)
		}
	})
	t.Run("C111 who has a session can log out", func(t *testing.T) {
		w.login()
		if a := w.get("/orders", "Sec-Fetch-Mode: navigate", document); a.StatusCode != http.StatusForbidden || !strings.Contains(a.body, logout) {
			t.Errorf("%d\n%s", a.StatusCode, a.body)
		}
	})
}
