package oidcgate_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/oidcgate/oidcgate"
)

// The name of the session cookie before browsers knew "__Host-Http-".
const olderCookie = "__Host-oidcgate"

// updated is a world that had the older name, and what becomes of it when the name is the default.
func updated(t *testing.T) (w *world, update func()) {
	t.Helper()
	w = newWorld(t, func(c *oidcgate.Config, _ *oidcgate.Provider) { c.Site.CookieName = olderCookie })
	return w, func() {
		w.config.Site.CookieName = ""
		w.open(oidcgate.Provider{Issuer: w.op.Issuer(), ClientID: "shop", Auth: oidcgate.ClientSecretBasic(secret)})
	}
}

func TestCookieOfTheOlderName(t *testing.T) {
	t.Run("C104 a session goes on under it, and the next login uses the new one", func(t *testing.T) {
		w, update := updated(t)
		w.login()
		update()
		if got := w.subject(); got != "alice" {
			t.Fatalf("after the update signed in as %q", got)
		}
		w.finishLogin(w.authorization("/auth/login").String())
		if names := w.cookieNames("__Host-"); w.cookie(olderCookie) != "" || w.cookie(sessionCookie) == "" {
			t.Errorf("after the next login: cookies %q", names)
		}
		if got := w.subject(); got != "alice" {
			t.Errorf("after the next login signed in as %q", got)
		}
	})

	t.Run("C104 C117 a logout ends and deletes it", func(t *testing.T) {
		w, update := updated(t)
		w.login()
		id := w.cookie(olderCookie)
		update()
		w.logout(sameOrigin)
		if w.cookie(olderCookie) != "" {
			t.Error("the cookie is left")
		}
		if rec := w.requestAs("/whoami", olderCookie+"="+id); rec.Code != http.StatusUnauthorized {
			t.Errorf("its session goes on: %d", rec.Code)
		}
	})

	t.Run("C029 a login that was under way finishes", func(t *testing.T) {
		w, update := updated(t)
		callback := w.callbackURL("/app")
		update()
		if a := w.get(callback); a.location() != shopURL+"/app" {
			t.Errorf("%d to %q\n%s", a.StatusCode, a.location(), a.body)
		}
		if names := w.cookieNames(olderCookie); len(names) != 0 {
			t.Errorf("cookies %q are left", names)
		}
	})

	t.Run("C048 C101 C104 what a script plants under it opens nothing and replaces nothing", func(t *testing.T) {
		w := newWorld(t)
		w.login()
		mallorys := w.cookie(sessionCookie)
		w.browser = w.newBrowser()
		attempt := w.authorization("/auth/login").Query().Get("state")
		name := w.cookieNames(sessionCookie + "-a-")[0]
		sealed := w.cookie(name)
		w.browser = w.newBrowser()
		for _, planted := range []string{mallorys, mallorys[:43], strings.Repeat("A", 43), "junk"} {
			if rec := w.requestAs("/whoami", olderCookie+"="+planted); rec.Code != http.StatusUnauthorized {
				t.Errorf("%q: signed in: %d", planted, rec.Code)
			}
			if rec := w.requestAs("/whoami", sessionCookie+"="+mallorys+"; "+olderCookie+"="+planted); rec.Code != http.StatusOK {
				t.Errorf("%q beside a session signs it out: %d", planted, rec.Code)
			}
		}
		w.setCookie(strings.Replace(name, sessionCookie, olderCookie, 1), sealed)
		w.denied(w.get("/auth/callback?code=x&state="+attempt), http.StatusBadRequest, oidcgate.ReasonStateBrowserMismatch)
	})

	t.Run("C104 without the mark of its name a session is none", func(t *testing.T) {
		w := newWorld(t)
		w.login()
		id := w.cookie(sessionCookie)
		for _, value := range []string{id[:43], id[:43] + "x", id + "."} {
			if rec := w.requestAs("/whoami", sessionCookie+"="+value); rec.Code != http.StatusUnauthorized {
				t.Errorf("%q: signed in: %d", value, rec.Code)
			}
		}
	})

	t.Run("C104 the guard deletes it when its session is over", func(t *testing.T) {
		w, update := updated(t)
		w.login()
		update()
		if _, err := w.gate.Sessions().EndUser(t.Context(), w.op.Issuer(), "alice"); err != nil {
			t.Fatal(err)
		}
		w.get("/app")
		if w.cookie(olderCookie) != "" {
			t.Error("the cookie is left")
		}
	})
}

func TestCookieNamesWithSpace(t *testing.T) {
	w := newWorld(t)
	w.login()
	id := w.cookie(sessionCookie)
	for _, space := range []string{"\t", "\v", "\f", "\u0085", "\u00a0", "\u1680", "\u2000", "\u200b", "\u2028", "\u202f", "\u3000", "\ufeff"} {
		for _, name := range []string{space + sessionCookie, sessionCookie + space, url.QueryEscape(space) + sessionCookie} {
			t.Run("C104 F24 "+url.QueryEscape(name)+" is another name", func(t *testing.T) {
				rec := w.requestAs("/whoami", "a=b;"+name+"="+id)
				// RFC 6265, section 5.2 strips spaces and tabs around a name: with them it is the same.
				if want := http.StatusUnauthorized; rec.Code != want && strings.Trim(name, " \t") != sessionCookie {
					t.Errorf("%d, want %d", rec.Code, want)
				}
				rec = w.requestAs("/whoami", sessionCookie+"="+id+"; "+name+"="+strings.Repeat("A", 43)+".")
				if rec.Code != http.StatusOK && strings.Trim(name, " \t") != sessionCookie {
					t.Errorf("it signs out: %d", rec.Code)
				}
			})
		}
		t.Run("C104 a configured name with "+url.QueryEscape(space), func(t *testing.T) {
			c, p := goodConfig(t)
			for _, name := range []string{space + sessionCookie, sessionCookie + space, "__Host-Http-a" + space + "b"} {
				c.Site.CookieName = name
				if _, err := oidcgate.New(c, p); err == nil {
					t.Errorf("New takes %q", name)
				}
			}
		})
	}
}
