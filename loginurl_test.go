package oidcgate_test

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/oidcgate/oidcgate"
	"github.com/oidcgate/oidcgate/oidcgatetest"
)

func TestLoginURLWithOptions(t *testing.T) {
	// asks returns the authorization request to which an address leads.
	asks := func(w *world, address string) url.Values {
		w.Helper()
		a := w.get(address)
		u, err := url.Parse(a.location())
		if err != nil || a.StatusCode != http.StatusSeeOther {
			w.Fatalf("%s: %d to %q\n%s", address, a.StatusCode, a.location(), a.body)
		}
		return u.Query()
	}
	options := oidcgate.LoginOptions{
		Prompt: "login", LoginHint: "bob@shop.example", UILocales: []string{"de-CH", "fr"}, Display: "touch",
		MaxAge: time.Minute, ACRValues: []string{"gold"}, Params: map[string]string{"kc_idp_hint": "staff"},
	}
	t.Run("C024 the request has what the application asks for, and the address does not say it", func(t *testing.T) {
		w := newWorld(t)
		address := w.gate.LoginURL("/app?a=b", options)
		if strings.Contains(address, "bob") || strings.Contains(address, "gold") || !strings.HasPrefix(address, shopURL+"/auth/login?return_to=%2Fapp%3Fa%3Db&with=") {
			t.Errorf("the address is %s", address)
		}
		q := asks(w, address)
		for name, want := range map[string]string{
			"prompt": "login", "login_hint": "bob@shop.example", "ui_locales": "de-CH fr", "display": "touch",
			"max_age": "0", "acr_values": "gold", "kc_idp_hint": "staff",
		} {
			if got := q.Get(name); got != want {
				t.Errorf("%s: %q, want %q", name, got, want)
			}
		}
	})
	t.Run("C024 without options it is the plain address", func(t *testing.T) {
		w := newWorld(t)
		if got := w.gate.LoginURL("/app"); got != shopURL+"/auth/login?return_to=%2Fapp" {
			t.Errorf("%s", got)
		}
		if got := w.gate.LoginURL("", options); !strings.HasPrefix(got, shopURL+"/auth/login?with=") {
			t.Errorf("without a page to return to: %s", got)
		}
	})
	t.Run("C024 the first options win, and all over those of Config", func(t *testing.T) {
		w := newWorld(t, func(c *oidcgate.Config, _ *oidcgate.Provider) {
			c.LoginOptions = func(*http.Request) oidcgate.LoginOptions {
				return oidcgate.LoginOptions{LoginHint: "of Config", Display: "page", UILocales: []string{"en"}}
			}
		})
		q := asks(w, w.gate.LoginURL("", oidcgate.LoginOptions{LoginHint: "first"}, oidcgate.LoginOptions{LoginHint: "second", Display: "wap"}))
		if q.Get("login_hint") != "first" || q.Get("display") != "wap" || q.Get("ui_locales") != "en" {
			t.Errorf("%v", q)
		}
	})
	t.Run("C024 nobody changes or makes them", func(t *testing.T) {
		w := newWorld(t)
		other := newWorld(t, func(c *oidcgate.Config, _ *oidcgate.Provider) { c.Site.CookieName = "__Host-other" })
		good := w.gate.LoginURL("/app", options)
		for name, address := range map[string]string{
			"changed":              good[:len(good)-9] + "AAAAAAAAA",
			"cut":                  good[:len(good)-10],
			"of another gate":      other.gate.LoginURL("/app", options),
			"plain JSON":           shopURL + "/auth/login?with=" + url.QueryEscape(`{"h":"mallory"}`),
			"twice, the first bad": shopURL + "/auth/login?with=x&with=" + good[strings.Index(good, "with=")+5:],
		} {
			if q := asks(w, address); q.Has("login_hint") || q.Has("prompt") {
				t.Errorf("%s: %v", name, q)
			}
		}
	})
	t.Run("options that cannot be sent refuse the login, and the log says why", func(t *testing.T) {
		w := newWorld(t)
		w.denied(w.get(w.gate.LoginURL("", oidcgate.LoginOptions{Prompt: "none login"})), http.StatusInternalServerError, oidcgate.Reason("login_options"))
	})
	t.Run("the choice of a provider keeps them, by link and by e-mail address", func(t *testing.T) {
		w, staff := severalProviders(t, func(c *oidcgate.Config) {
			c.HomeRealm = func(string) (string, bool) { return "staff", true }
		})
		page := w.get(w.gate.LoginURL("/app", oidcgate.LoginOptions{UILocales: []string{"fr"}})).body
		if q := asks(w, linkTo(t, page, "staff")); q.Get("ui_locales") != "fr" {
			t.Errorf("by link: %v", q)
		}
		form := url.Values{"email": {"bob@staff.example"}}
		for _, m := range hiddenField.FindAllStringSubmatch(page, -1) {
			form.Set(m[1], m[2])
		}
		a := w.send(w.browser, http.MethodPost, "/auth/login", form.Encode(), "Sec-Fetch-Mode: navigate", "Sec-Fetch-Site: same-origin")
		u, err := url.Parse(a.location())
		if err != nil || !strings.HasPrefix(u.String(), staff.Issuer()) || u.Query().Get("ui_locales") != "fr" || u.Query().Get("login_hint") != "bob@staff.example" {
			t.Errorf("by address: %d to %v", a.StatusCode, u)
		}
	})
	t.Run("C024 the choice by e-mail address keeps what the links keep: a link to register", func(t *testing.T) {
		w, _ := severalProviders(t, func(c *oidcgate.Config) {
			c.HomeRealm = func(string) (string, bool) { return "staff", true }
		})
		form := url.Values{"email": {"bob@staff.example"}}
		for _, m := range hiddenField.FindAllStringSubmatch(w.get(w.gate.RegisterURL("/app")).body, -1) {
			form.Set(m[1], m[2])
		}
		a := w.send(w.browser, http.MethodPost, "/auth/login", form.Encode(), "Sec-Fetch-Mode: navigate", "Sec-Fetch-Site: same-origin")
		if !strings.Contains(a.location(), "prompt=create") {
			t.Errorf("%d to %s", a.StatusCode, a.location())
		}
	})
	t.Run("a login with them ends as any other", func(t *testing.T) {
		w := newWorld(t)
		w.op.SetUser(oidcgatetest.User{Subject: "bob"})
		a := w.get(w.get(w.get(w.gate.LoginURL("/app", oidcgate.LoginOptions{LoginHint: "bob"})).location()).location())
		if a.location() != shopURL+"/app" || w.subject() != "bob" {
			t.Errorf("%d to %q, signed in as %q", a.StatusCode, a.location(), w.subject())
		}
	})
}

var hiddenField = regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)"`)

func TestLoginWith(t *testing.T) {
	first := oidcgate.LoginWith(oidcgate.LoginOptions{LoginHint: "bob@shop.example"})
	second := oidcgate.LoginWith(oidcgate.LoginOptions{LoginHint: "second", UILocales: []string{"de"}, MaxAge: time.Hour})
	guard := func(w *world, rules ...oidcgate.Rule) {
		w.handler = w.gate.Wrap(w.gate.Require(rules...)(http.HandlerFunc(w.whoami)))
	}
	request := func(w *world, target string, headers ...string) url.Values {
		w.Helper()
		a := w.get(target, headers...)
		login := a.location()
		if a.StatusCode == http.StatusUnauthorized {
			login = w.problem(a, http.StatusUnauthorized).LoginURL
		}
		if strings.Contains(login, "bob@") || strings.Contains(login, "bob%40") { // "bob" may stand in what is sealed
			t.Errorf("C024 the address says what is asked for: %s", login)
		}
		u, err := url.Parse(w.get(login).location())
		if err != nil {
			w.Fatal(err)
		}
		return u.Query()
	}
	t.Run("C024 the login of a guard has what its rules ask for, also that of a script", func(t *testing.T) {
		w := newWorld(t)
		guard(w, first, second)
		for _, headers := range [][]string{nil, ownFetch} {
			q := request(w, "/page?a=b", headers...)
			if q.Get("login_hint") != "bob@shop.example" || q.Get("ui_locales") != "de" || q.Get("max_age") != "3600" {
				t.Errorf("%v", q)
			}
		}
	})
	t.Run("C024 without such a rule it asks for nothing", func(t *testing.T) {
		w := newWorld(t)
		guard(w)
		if q := request(w, "/page"); q.Has("login_hint") || q.Has("ui_locales") {
			t.Errorf("%v", q)
		}
	})
	t.Run("C111 whoever is signed in enters, whatever the rule asks of a login", func(t *testing.T) {
		w := newWorld(t)
		w.login()
		guard(w, first, second)
		if a := w.get("/page"); a.StatusCode != http.StatusOK {
			t.Errorf("%d to %q", a.StatusCode, a.location())
		}
	})
	t.Run("C025 one more login has it too, beside what it must bring", func(t *testing.T) {
		w := newWorld(t)
		w.login()
		guard(w, oidcgate.ACR("gold"), second)
		if q := request(w, "/page"); q.Get("acr_values") != "gold" || q.Get("login_hint") != "second" || q.Get("max_age") != "3600" {
			t.Errorf("%v", q)
		}
	})
}

func TestLoginWithKeepsItsOptions(t *testing.T) {
	t.Run("C024 what the application changes later changes no guard", func(t *testing.T) {
		o := oidcgate.LoginOptions{UILocales: []string{"de"}, ACRValues: []string{"gold"}, Params: map[string]string{"x": "1"}}
		rule := oidcgate.LoginWith(o)
		o.UILocales[0], o.ACRValues[0], o.Params["x"] = "fr", "bronze", "2"
		w := newWorld(t)
		w.handler = w.gate.Wrap(w.gate.Require(rule)(http.HandlerFunc(w.whoami)))
		u, err := url.Parse(w.get(w.get("/page").location()).location())
		if err != nil {
			t.Fatal(err)
		}
		if q := u.Query(); q.Get("ui_locales") != "de" || q.Get("acr_values") != "gold" || q.Get("x") != "1" {
			t.Errorf("%v", q)
		}
	})
}

func TestLoginWithPanics(t *testing.T) {
	t.Run("C024 what cannot be sent is noticed when the guard is built", func(t *testing.T) {
		defer func() {
			if text, _ := recover().(string); !strings.Contains(text, "LoginWith: Prompt") {
				t.Errorf("%q", text)
			}
		}()
		oidcgate.LoginWith(oidcgate.LoginOptions{Prompt: "none login"})
	})
}

func TestLoginWithOnAPageThatRefuses(t *testing.T) {
	t.Run("C024 the login for another account has what the guard asks for, but for who it is", func(t *testing.T) {
		w := newWorld(t)
		w.login()
		w.guardedBy(oidcgate.LoginWith(oidcgate.LoginOptions{LoginHint: "bob", UILocales: []string{"de"}, Params: map[string]string{"kc_idp_hint": "customers"}}), oidcgate.Claim("groups", "nobody has it"))
		a := w.get("/app", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document")
		if a.StatusCode != http.StatusForbidden {
			t.Fatal(a.StatusCode)
		}
		q := w.authorization(w.anotherAccount(a)).Query()
		if q.Get("kc_idp_hint") != "customers" || q.Get("ui_locales") != "de" || q.Has("login_hint") || q.Get("prompt") != "select_account" {
			t.Errorf("the login asks %v", q)
		}
	})
}
