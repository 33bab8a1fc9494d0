package oidcgate_test

import (
	"context"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/oidcgate/oidcgate"
	"github.com/oidcgate/oidcgate/oidcgatetest"
)

var another = regexp.MustCompile(`<a[^>]* href="([^"]*)"[^>]*>Use another account</a>`)

// anotherAccount returns where the link "Use another account" of a page leads.
func (w *world) anotherAccount(a answer) string {
	w.Helper()
	m := another.FindStringSubmatch(a.body)
	if m == nil {
		w.Fatalf("%d: there is no link:\n%s", a.StatusCode, a.body)
	}
	return html.UnescapeString(m[1])
}

// Whoever is logged in at the provider would come back as the same user at once.
func TestAnotherAccount(t *testing.T) {
	prompt := func(w *world, a answer) (prompt, maxAge string) {
		w.Helper()
		u, err := url.Parse(w.get(w.anotherAccount(a)).location())
		if err != nil || u.Host != "id.test" {
			w.Fatalf("the link leads to %v, %v", u, err)
		}
		return u.Query().Get("prompt"), u.Query().Get("max_age")
	}
	announce := func(w *world, values ...string) {
		w.op.Always(oidcgatetest.Discovery, oidcgatetest.EditJSON(func(m map[string]any) { m["prompt_values_supported"] = values }))
	}
	t.Run("C024 a page that is not for this account offers it, and it leads back to the page", func(t *testing.T) {
		w := newWorld(t)
		announce(w, "none", "login", "select_account")
		w.login()
		w.guardedBy(oidcgate.Claim("groups", "admin"))
		a := w.get("/office?page=2")
		if got := w.anotherAccount(a); got != shopURL+"/auth/login?another=1&return_to=%2Foffice%3Fpage%3D2" {
			t.Errorf("the link is %q", got)
		}
		if p, age := prompt(w, a); p != "select_account" || age != "" {
			t.Errorf("prompt %q, max_age %q", p, age)
		}
	})
	t.Run("C024 where the page is not known, it leads to none", func(t *testing.T) {
		w := newWorld(t)
		w.login()
		w.guardedBy(oidcgate.Claim("groups", "admin"))
		a := w.send(w.browser, http.MethodPost, "/office", "x=y", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Site: same-origin")
		if got := w.anotherAccount(a); got != shopURL+"/auth/login?another=1" {
			t.Errorf("the link is %q", got)
		}
	})
	t.Run("C024 a provider that does not know select_account asks for a login", func(t *testing.T) {
		w := newWorld(t)
		announce(w, "none", "login", "consent")
		w.login()
		w.guardedBy(oidcgate.Claim("groups", "admin"))
		if p, age := prompt(w, w.get("/office")); p != "login" || age != "0" {
			t.Errorf("prompt %q, max_age %q", p, age)
		}
	})
	t.Run("C024 a login that OnLogin denied offers it in place of the same login again", func(t *testing.T) {
		w := newWorld(t, func(c *oidcgate.Config, _ *oidcgate.Provider) {
			c.OnLogin = func(context.Context, *oidcgate.Login) error { return oidcgate.Deny("Ask the office.") }
		})
		a := w.get(w.callbackURL("/app"))
		if a.StatusCode != http.StatusForbidden || strings.Contains(a.body, "Log in again") {
			t.Errorf("%d\n%s", a.StatusCode, a.body)
		}
		if p, _ := prompt(w, a); p != "select_account" {
			t.Errorf("prompt %q", p)
		}
	})
	t.Run("a login that failed for another reason does not", func(t *testing.T) {
		w := newWorld(t)
		w.op.Always(oidcgatetest.Token, oidcgatetest.Answer(500, "", ""))
		if a := w.get(w.callbackURL("/app")); another.MatchString(a.body) || !strings.Contains(a.body, "Log in again") {
			t.Errorf("%d\n%s", a.StatusCode, a.body)
		}
	})
	t.Run("the choice of a provider keeps it", func(t *testing.T) {
		w, staff := severalProviders(t)
		a := w.get("/auth/login?another=1&return_to=/app")
		u, err := url.Parse(w.get(linkTo(t, a.body, "staff")).location())
		if err != nil || !strings.HasPrefix(u.String(), staff.Issuer()) || u.Query().Get("prompt") != "select_account" {
			t.Errorf("the login goes to %v, %v", u, err)
		}
	})
	t.Run("C024 no link chooses another prompt by it", func(t *testing.T) {
		w := newWorld(t)
		u, err := url.Parse(w.get("/auth/login?another=consent&prompt=consent").location())
		if err != nil || u.Query().Get("prompt") != "select_account" {
			t.Errorf("the login goes to %v, %v", u, err)
		}
	})
}
