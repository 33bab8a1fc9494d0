package oidcgate_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/oidcgate/oidcgate"
	"github.com/oidcgate/oidcgate/oidcgatetest"
)

// newPushing opens a shop at a provider that takes pushed requests.
func newPushing(t *testing.T, required bool, changes ...change) *world {
	t.Helper()
	return newWorldOf(t, oidcgatetest.NewProvider(t, oidcgatetest.Config{
		PushedRequests: true, RequirePushedRequests: required,
	}), changes...)
}

// asked returns the parameters of a login as the provider reads them, and the address of the browser.
func (w *world) asked(login string) (params, address url.Values) {
	w.Helper()
	a := w.get(login)
	_, address = split(w.T, a.location())
	if address.Has("request_uri") {
		return w.op.LastRequest(oidcgatetest.PushedRequest).Form, address
	}
	return address, address
}

func TestPushedLogin(t *testing.T) {
	for _, row := range []struct {
		name     string
		required bool
		mode     oidcgate.PushedMode
		pushes   int
	}{
		{"C096 announced", false, oidcgate.PushedIfAnnounced, 1},
		{"C096 required by the provider", true, oidcgate.PushedIfAnnounced, 1},
		{"C096 required here", false, oidcgate.PushedRequired, 1},
		{"C096 off", false, oidcgate.PushedOff, 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newPushing(t, row.required, func(_ *oidcgate.Config, p *oidcgate.Provider) { p.Request.Pushed = row.mode })
			w.login()
			if w.subject() != "alice" || w.op.Count(oidcgatetest.PushedRequest) != row.pushes {
				t.Errorf("signed in as %q after %d pushed requests", w.subject(), w.op.Count(oidcgatetest.PushedRequest))
			}
			_, address := w.asked("/auth/login")
			names := []string{}
			for name := range address {
				names = append(names, name)
			}
			slices.Sort(names)
			if want := []string{"client_id", "request_uri"}; row.pushes > 0 && !slices.Equal(names, want) {
				t.Errorf("the browser carries %v, want %v", names, want)
			}
		})
	}
}

func TestPushedLoginFails(t *testing.T) {
	refusal := oidcgatetest.Answer(400, "application/json", `{"error":"invalid_scope","error_description":"no scope groups"}`)
	for _, row := range []struct {
		name   string
		fault  oidcgatetest.Fault
		status int
		reason oidcgate.Reason
		code   string
	}{
		{"C098 the endpoint is broken", oidcgatetest.Answer(500, "", ""), 503, "par_error", ""},
		{"C098 the provider refuses the request", refusal, 502, "par_error", "invalid_scope"},
		{"C097 the answer is cut", oidcgatetest.Answer(201, "application/json", `{"request_uri":"urn:a"}`), 502, "par_response_invalid", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newPushing(t, false)
			w.op.Always(oidcgatetest.PushedRequest, row.fault)
			a := w.get("/auth/login")
			w.denied(a, row.status, row.reason)
			if left := w.cookieNames("__Host-Http-oidcgate-a-"); len(left) != 0 || w.op.Count(oidcgatetest.Authorization) != 0 {
				t.Errorf("attempts %v are left", left)
			}
			e := w.eventsOf(oidcgate.EventLoginFailed)[0]
			refused, ok := errors.AsType[*oidcgate.ProviderError](e.Err)
			if ok != (row.code != "") || ok && (refused.Code != row.code || refused.Description != "no scope groups" || e.Hint == "") {
				t.Errorf("event %+v", e)
			}
			w.op.Clear(oidcgatetest.PushedRequest)
			w.login()
		})
	}
}

// signs gives the client a key that signs its requests.
func signs(t *testing.T, mode oidcgate.ObjectMode) (change, jose.JSONWebKeySet) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return func(_ *oidcgate.Config, p *oidcgate.Provider) {
		p.ClientKeys = oidcgate.NewClientKeys([]oidcgate.ClientKey{{Key: key, ID: "k1"}})
		p.Request.Object = mode
		p.Request.Resources = []string{"https://a.test", "https://b.test"}
		p.Request.Login = oidcgate.LoginOptions{MaxAge: time.Hour, Claims: `{"id_token":{"nickname":null}}`}
	}, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "k1"}}}
}

func TestSignedLogin(t *testing.T) {
	for _, row := range []struct {
		name   string
		pushed oidcgate.PushedMode
	}{
		{"C099 a signed request in the address", oidcgate.PushedOff},
		{"C099 a signed request, pushed", oidcgate.PushedRequired},
	} {
		t.Run(row.name, func(t *testing.T) {
			signed, keys := signs(t, oidcgate.ObjectSigned)
			w := newPushing(t, false, signed, func(_ *oidcgate.Config, p *oidcgate.Provider) { p.Request.Pushed = row.pushed })
			w.op.AddClient(oidcgatetest.Client{ID: "shop", Secret: secret, RedirectURLs: []string{shopURL + "/auth/callback"}, Keys: keys})
			w.login()
			if w.subject() != "alice" {
				t.Fatalf("signed in as %q\n%s", w.subject(), w.logged())
			}
			params, address := w.asked("/auth/login")
			if !params.Has("request") || params.Has("state") || params.Has("request_uri") {
				t.Errorf("the request is %v", params)
			}
			if address.Has("request_uri") && strings.HasPrefix(address.Get("request_uri"), "http") {
				t.Errorf("C100 the request refers to %q", address.Get("request_uri"))
			}
		})
	}
}

func TestLoginOptions(t *testing.T) {
	// The application reads the request to the login: a tenant in its query.
	chooses := func(c *oidcgate.Config, p *oidcgate.Provider) {
		p.Request.Params = map[string]string{"ui_locales": "de", "prompt": "select_account"}
		p.Request.LinkParams = []string{"login_hint"}
		c.LoginOptions = func(r *http.Request) oidcgate.LoginOptions {
			if r.URL.Query().Get("tenant") != "acme" {
				return oidcgate.LoginOptions{}
			}
			return oidcgate.LoginOptions{UILocales: []string{"fr", "en"}, Params: map[string]string{"kc_idp_hint": "acme"}}
		}
	}
	for _, row := range []struct {
		name, query string
		want        map[string]string
	}{
		{"C024 an ordinary login", "", map[string]string{"ui_locales": "de", "prompt": "select_account"}},
		{"C024 the application knows the tenant", "tenant=acme", map[string]string{"ui_locales": "fr en", "prompt": "select_account", "kc_idp_hint": "acme"}},
		{"C024 a link names the user, and more that it may not", "login_hint=jane&prompt=none&kc_idp_hint=evil", map[string]string{"ui_locales": "de", "prompt": "select_account", "login_hint": "jane"}},
		{"C024 a link names two users", "login_hint=jane&login_hint=joe", map[string]string{"ui_locales": "de", "prompt": "select_account"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			params, _ := newWorld(t, chooses).asked("/auth/login?" + row.query)
			for _, name := range []string{"ui_locales", "prompt", "kc_idp_hint", "login_hint"} {
				if got := strings.Join(params[name], "|"); got != row.want[name] {
					t.Errorf("%s is %q, want %q", name, got, row.want[name])
				}
			}
		})
	}
	t.Run("C024 a value that cannot be sent", func(t *testing.T) {
		w := newWorld(t, func(c *oidcgate.Config, _ *oidcgate.Provider) {
			c.LoginOptions = func(*http.Request) oidcgate.LoginOptions { return oidcgate.LoginOptions{Claims: "[]"} }
		})
		w.denied(w.get("/auth/login"), http.StatusInternalServerError, "login_options")
	})
}

// TestChosenLoginIsChecked is about what a login asked for: the ID Token must show it.
func TestChosenLoginIsChecked(t *testing.T) {
	old := func(age time.Duration) func(*world) { return claim("auth_time", time.Now().Add(-age).Unix()) }
	asks := func(o oidcgate.LoginOptions) change {
		return func(c *oidcgate.Config, _ *oidcgate.Provider) {
			c.LoginOptions = func(*http.Request) oidcgate.LoginOptions { return o }
		}
	}
	link := func(_ *oidcgate.Config, p *oidcgate.Provider) {
		p.Request.LinkParams = []string{"max_age", "prompt", "acr_values"}
	}
	always := func(_ *oidcgate.Config, p *oidcgate.Provider) { p.Request.Login.MaxAge = time.Minute }
	login, minute := asks(oidcgate.LoginOptions{Prompt: "login"}), asks(oidcgate.LoginOptions{MaxAge: time.Minute})
	gold := asks(oidcgate.LoginOptions{ACRValues: []string{"gold"}})
	for _, row := range []struct {
		name   string
		change change
		query  string
		spoil  func(*world)
		reason oidcgate.Reason
	}{
		{"C025 prompt=login, and the login is of yesterday", login, "", old(24 * time.Hour), "auth_time"},
		{"C025 prompt=login, and nothing says when it was", login, "", withoutClaim("auth_time"), "auth_time"},
		{"C025 prompt=login, and a login of now", login, "", old(0), ""},
		{"C025 max_age, and the login is too old", minute, "", old(5 * time.Minute), "auth_time"},
		{"C025 max_age, and the login is recent", minute, "", old(30 * time.Second), ""},
		{"C025 max_age of the configuration", always, "", old(5 * time.Minute), "auth_time"},
		{"C025 max_age of a link", link, "max_age=60", old(5 * time.Minute), "auth_time"},
		{"C025 prompt=login of a link", link, "prompt=login", old(5 * time.Minute), "auth_time"},
		{"C025 acr of a link", link, "acr_values=gold", claim("acr", "silver"), "acr"},
		{"C025 acr that is another", gold, "", claim("acr", "silver"), "acr"},
		{"C025 acr that is missing", gold, "", old(0), "acr"},
		{"C025 acr that was asked for", gold, "", claim("acr", "gold"), ""},
		{"C025 nothing was asked for", func(*oidcgate.Config, *oidcgate.Provider) {}, "max_age=60&prompt=login&acr_values=gold", old(24 * time.Hour), ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t, row.change)
			callback := w.callbackURL("/auth/login?" + row.query)
			row.spoil(w)
			a := w.get(callback)
			if row.reason != "" {
				w.denied(a, http.StatusForbidden, row.reason)
				return
			}
			if a.StatusCode != http.StatusSeeOther || w.subject() != "alice" {
				t.Errorf("status %d, signed in as %q\n%s", a.StatusCode, w.subject(), w.logged())
			}
		})
	}
}

func TestStepUpAndLoginOptions(t *testing.T) {
	t.Run("C025 what a guard demands stays", func(t *testing.T) {
		w := newWorld(t, func(c *oidcgate.Config, _ *oidcgate.Provider) {
			c.LoginOptions = func(*http.Request) oidcgate.LoginOptions {
				return oidcgate.LoginOptions{ACRValues: []string{"bronze"}, MaxAge: time.Hour, LoginHint: "jane"}
			}
		})
		w.op.EveryIDToken(func(t *oidcgatetest.JWT) { t.Claims["acr"] = "bronze" })
		w.login()
		gold := http.NewServeMux()
		gold.Handle("/gold", w.gate.Require(oidcgate.ACR("gold"), oidcgate.MaxAge(time.Minute))(http.NotFoundHandler()))
		w.handler = w.gate.Wrap(gold)
		params, _ := w.asked(w.get("/gold").location())
		if params.Get("acr_values") != "gold" || params.Get("max_age") != "60" || params.Get("login_hint") != "jane" {
			t.Errorf("a guard's login asks for %v", params)
		}
	})
}

func TestSilentLoginByOption(t *testing.T) {
	w := newWorld(t, func(c *oidcgate.Config, _ *oidcgate.Provider) {
		c.LoginOptions = func(*http.Request) oidcgate.LoginOptions {
			return oidcgate.LoginOptions{Prompt: "none", LoginHint: "jane"}
		}
	})
	w.op.SetNobody()
	callback := w.callbackURL("/auth/login")
	params, _ := w.asked(callback) // the callback begins the login once more
	if params.Has("prompt") || params.Get("login_hint") != "jane" {
		t.Errorf("C024 the second request has %v, want the login hint and no prompt", params)
	}
}

// TestMuchIsAsked is about logins that ask for so much that it does not fit into a cookie.
func TestMuchIsAsked(t *testing.T) {
	claims := func(n int) string { return `{"id_token":{"x":{"value":"` + strings.Repeat("v", n) + `"}}}` }
	always := func(n int) change {
		return func(_ *oidcgate.Config, p *oidcgate.Provider) {
			p.Request.Login = oidcgate.LoginOptions{Prompt: "none", Claims: claims(n)}
		}
	}
	chosen := func(n int) change {
		return func(c *oidcgate.Config, _ *oidcgate.Provider) {
			c.LoginOptions = func(*http.Request) oidcgate.LoginOptions {
				return oidcgate.LoginOptions{Prompt: "none", Claims: claims(n)}
			}
		}
	}
	many := func(n int) change {
		return func(c *oidcgate.Config, _ *oidcgate.Provider) {
			c.LoginOptions = func(*http.Request) oidcgate.LoginOptions {
				return oidcgate.LoginOptions{ACRValues: []string{strings.Repeat("a", n)}}
			}
		}
	}
	linked := func(c *oidcgate.Config, p *oidcgate.Provider) {
		p.Request.Params = map[string]string{"prompt": "none"}
		for i := range 26 {
			p.Request.LinkParams = append(p.Request.LinkParams, "p"+string(rune('a'+i)))
		}
	}
	link := "&pa=" + strings.Repeat("x", 256)
	for i := 'b'; i <= 'z'; i++ {
		link += "&p" + string(i) + "=" + strings.Repeat("x", 256)
	}
	for _, row := range []struct {
		name   string
		change change
		query  string
		fits   bool
	}{
		{"claims of the configuration", always(900), "", true},
		{"very many claims of the configuration", always(6000), "", true},
		{"claims of the application", chosen(900), "", true},
		{"too many claims of the application", chosen(3000), "", false},
		{"classes of the application", many(900), "", true},
		{"too many classes of the application", many(3000), "", false},
		{"parameters of a link", linked, link[:4*260], true},
		{"too many parameters of a link", linked, link, false},
	} {
		t.Run("C024 "+row.name, func(t *testing.T) {
			w := newWorld(t, row.change)
			w.op.SetNobody()
			if !row.fits {
				w.denied(w.get("/auth/login?return_to=/app"+row.query), http.StatusBadRequest, "login_options")
				failed := w.eventsOf(oidcgate.EventLoginFailed)
				if !strings.Contains(failed[0].Hint, "Request.Login") || len(w.cookieNames(sessionCookie+"-a-")) != 0 {
					t.Errorf("hint %q, cookies %q", failed[0].Hint, w.cookieNames(""))
				}
				return
			}
			first, _ := w.asked("/auth/login?return_to=/app" + row.query)
			if first.Get("prompt") == "" {
				if len(first.Get("acr_values")) != 900 {
					t.Errorf("asked with %v", first)
				}
				return
			}
			callback := w.get(w.op.Issuer() + "/authorize?" + first.Encode()).location()
			second, _ := w.asked(callback) // the callback begins the login once more
			if second.Has("prompt") || second.Get("claims") != first.Get("claims") || second.Get("pa") != first.Get("pa") || len(second) < 8 {
				t.Errorf("asked at first with %v, and then with %v", first, second)
			}
			w.op.SetUser(oidcgatetest.User{Subject: "alice"})
			if a := w.finishLogin(w.op.Issuer() + "/authorize?" + second.Encode()); a.location() != shopURL+"/app" {
				t.Errorf("the login ends at %q: %d\n%s", a.location(), a.StatusCode, w.logged())
			}
		})
	}
	t.Run("C024 too many classes of the configuration", func(t *testing.T) {
		c, p := goodConfig(t)
		p.Request.Login.ACRValues = strings.Fields(strings.Repeat("urn:example:class ", 60))
		_, err := oidcgate.New(c, p)
		if err == nil || !strings.Contains(err.Error(), "Provider.Request.Login.ACRValues:") || !strings.Contains(err.Error(), "cookie") {
			t.Errorf("error %v", err)
		}
	})
}

func TestRegister(t *testing.T) {
	t.Run("C024 a link to register", func(t *testing.T) {
		w := newWorld(t)
		params, _ := w.asked(w.gate.RegisterURL("/app?x=1"))
		if params.Get("prompt") != "create" {
			t.Errorf("the request has %v", params)
		}
		a := w.get(w.callbackURL(w.gate.RegisterURL("/app?x=1")))
		if a.location() != shopURL+"/app?x=1" || w.subject() != "alice" {
			t.Errorf("it leads to %q, signed in as %q", a.location(), w.subject())
		}
		if q, _ := w.asked(w.gate.RegisterURL("")); q.Get("prompt") != "create" {
			t.Errorf("without a path the request has %v", q)
		}
	})
	t.Run("C024 a provider that cannot register", func(t *testing.T) {
		w := newWorld(t)
		w.op.Always(oidcgatetest.Discovery, oidcgatetest.EditJSON(func(m map[string]any) { m["prompt_values_supported"] = []string{"none", "login"} }))
		w.denied(w.get(w.gate.RegisterURL("")), http.StatusBadRequest, "prompt_unsupported")
	})
	t.Run("C024 a link to register at one of two providers", func(t *testing.T) {
		w := newWorld(t)
		p := oidcgate.Provider{Issuer: w.op.Issuer(), ClientID: "shop", Auth: oidcgate.ClientSecretBasic(secret), Name: "a"}
		q := p
		q.Name = "b"
		w.open(p, q)
		if page := w.get(w.gate.RegisterURL("/app")).body; strings.Count(page, "prompt=create") != 2 {
			t.Errorf("the links do not lead to register:\n%s", page)
		}
	})
}

func TestRichLogin(t *testing.T) {
	var granted string
	w := newWorld(t, func(c *oidcgate.Config, p *oidcgate.Provider) {
		p.Request.Resources = []string{"https://a.test", "https://b.test"}
		p.Request.Login.Claims = `{"id_token":{"nickname":null}}`
		c.LoginOptions = func(r *http.Request) oidcgate.LoginOptions {
			return oidcgate.LoginOptions{AuthorizationDetails: `[{"type":"payment","amount":7}]`}
		}
		c.OnLogin = func(_ context.Context, l *oidcgate.Login) error {
			nickname, _ := l.Identity().ClaimString("nickname")
			granted = nickname + l.AuthorizationDetails()
			return nil
		}
	})
	w.op.SetUser(oidcgatetest.User{Subject: "alice", UserinfoClaims: map[string]any{"nickname": "al"}})
	w.login()
	if want := `al[{"type":"payment","amount":7}]`; granted != want {
		t.Errorf("C024 OnLogin sees %s, want %s", granted, want)
	}
	if got := w.op.LastRequest(oidcgatetest.Token).Form["resource"]; !slices.Equal(got, []string{"https://a.test", "https://b.test"}) {
		t.Errorf("C024 the code is sent for %q", got)
	}
}

func TestLoginOptionsPanics(t *testing.T) {
	t.Run("F34 a panic of LoginOptions is a page, and the log has it", func(t *testing.T) {
		w := newWorld(t, func(c *oidcgate.Config, _ *oidcgate.Provider) {
			c.LoginOptions = func(*http.Request) oidcgate.LoginOptions { panic("the application's fault") }
		})
		w.denied(w.get("/auth/login"), http.StatusInternalServerError, oidcgate.ReasonHookError)
		if !strings.Contains(w.logged(), "the application's fault") {
			t.Errorf("the log says %s", w.logged())
		}
	})
}

func TestSigningAlgorithmIsAnnounced(t *testing.T) {
	t.Run("C099 the provider takes requests that are signed by another algorithm", func(t *testing.T) {
		signed, _ := signs(t, oidcgate.ObjectSigned)
		w := newWorld(t, signed)
		w.op.Always(oidcgatetest.Discovery, oidcgatetest.EditJSON(func(m map[string]any) {
			m["request_object_signing_alg_values_supported"] = []string{"PS256"}
		}))
		w.authorization("/auth/login")
		w.eventsOf(oidcgate.EventLoginStarted)
		if !strings.Contains(w.logged(), "signing algorithms of requests PS256, and configured is ES256") {
			t.Errorf("the log has no hint:\n%s", w.logged())
		}
	})
}

func TestACRThatClaimsDemand(t *testing.T) {
	demand := oidcgate.LoginOptions{Claims: `{"id_token":{"acr":{"essential":true,"values":["gold","silver"]}}}`}
	for name, tt := range map[string]struct {
		acr any
		ok  bool
	}{"none": {nil, false}, "another": {"bronze", false}, "one of them": {"silver", true}} {
		t.Run("C067 the ID Token has "+name, func(t *testing.T) {
			w := newWorld(t, func(_ *oidcgate.Config, p *oidcgate.Provider) { p.Request.Login = demand })
			w.op.NextIDToken(func(token *oidcgatetest.JWT) {
				if delete(token.Claims, "acr"); tt.acr != nil {
					token.Claims["acr"] = tt.acr
				}
			})
			a := w.get(w.callbackURL("/app"))
			if ok := a.StatusCode == http.StatusSeeOther; ok != tt.ok {
				t.Errorf("%d, signed in: %v, want %v\n%s", a.StatusCode, ok, tt.ok, w.logged())
			}
		})
	}
}
