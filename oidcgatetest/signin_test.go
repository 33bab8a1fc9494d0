package oidcgatetest_test

import (
	"cmp"
	"context"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/oidcgate/oidcgate"
	"github.com/oidcgate/oidcgate/oidcgatetest"
)

// newShop returns a gate whose provider is p.
func newShop(t *testing.T, p *oidcgatetest.Provider, change func(*oidcgate.Config)) *oidcgate.Gate {
	t.Helper()
	config := oidcgate.Config{BaseURL: "http://localhost", HTTP: oidcgate.HTTPOptions{Transport: p.Transport()}}
	if change != nil {
		change(&config)
	}
	gate, err := oidcgate.New(config, p.ProviderFor(config.BaseURL))
	if err != nil {
		t.Fatal(err)
	}
	return gate
}

func get(t *testing.T, browser *http.Client, address string) (status int, body string) {
	t.Helper()
	resp, err := browser.Get(address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

func TestSignIn(t *testing.T) {
	p := oidcgatetest.NewProvider(t, oidcgatetest.Config{JWTAccessTokens: true})
	gate := newShop(t, p, func(c *oidcgate.Config) { c.EnableValues = true })
	mux := http.NewServeMux()
	mux.Handle("/who", gate.RequireAPI(oidcgate.Claim("groups", "staff"))(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, _ := oidcgate.FromContext(r.Context())
		address, _ := id.Email()
		token, err := gate.Token(r.Context())
		list, listErr := gate.Sessions().List(r.Context())
		_, _ = fmt.Fprint(w, id.Subject(), " ", address, " ", err == nil && token.AccessToken != "", " ", len(list), " ", listErr)
	})))
	mux.HandleFunc("/put", func(_ http.ResponseWriter, r *http.Request) { gate.Values().Put(r.Context(), "cart", "tea") })
	mux.HandleFunc("/cart", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, gate.Values().GetString(r.Context(), "cart"))
	})
	mux.HandleFunc("/nobody", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no page", http.StatusNotFound) })
	shop := gate.Wrap(mux)
	p.SetNobody() // does not count for visitors of SignIn
	bob := p.SignIn(t, gate, shop, oidcgatetest.User{Subject: "bob", Claims: map[string]any{
		"groups": []string{"staff"}, "email": "bob@example.com",
	}})
	alice := p.SignIn(t, gate, shop, oidcgatetest.User{})

	if status, body := get(t, bob, "http://localhost/who"); status != 200 || body != "bob bob@example.com true 1 <nil>" {
		t.Errorf("bob gets %d %q", status, body)
	}
	if status, _ := get(t, alice, "http://localhost/who"); status != 403 {
		t.Errorf("alice, who is not of the staff, gets %d", status)
	}
	if status, _ := get(t, bob, "http://localhost/put"); status != 200 {
		t.Errorf("putting a value: %d", status)
	}
	if _, body := get(t, bob, "http://localhost/cart"); body != "tea" {
		t.Errorf("the value is %q", body)
	}
	if _, body := get(t, alice, "http://localhost/cart"); body != "" {
		t.Errorf("alice's value is %q", body)
	}
	t.Run("a request for httptest", func(t *testing.T) {
		rec := httptest.NewRecorder()
		shop.ServeHTTP(rec, oidcgatetest.NewRequest(bob, "GET", "http://localhost/who", nil))
		if rec.Code != 200 || !strings.HasPrefix(rec.Body.String(), "bob ") {
			t.Errorf("%d %s", rec.Code, rec.Body)
		}
	})
	t.Run("a logout, and the login again as the same user", func(t *testing.T) {
		resp, err := bob.PostForm(gate.LogoutURL("/nobody"), nil)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if status, _ := get(t, bob, "http://localhost/who"); status != 401 {
			t.Errorf("after the logout: %d", status)
		}
		if _, _ = get(t, bob, gate.LoginURL("/cart")); true {
			if status, body := get(t, bob, "http://localhost/who"); status != 200 || !strings.HasPrefix(body, "bob ") {
				t.Errorf("after the login: %d %q", status, body)
			}
		}
	})
	t.Run("a WebSocket says what it says in Chromium", func(t *testing.T) {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://localhost/who", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Upgrade", "websocket")
		resp, err := bob.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if got := resp.Request.Header; resp.StatusCode != http.StatusOK || got.Get("Sec-Fetch-Site") != "" {
			t.Errorf("got %s, sent %v", resp.Status, got)
		}
	})
	t.Run("a request of another site says so", func(t *testing.T) {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://localhost/who", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Sec-Fetch-Site", "cross-site")
		resp, err := bob.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusForbidden {
			t.Errorf("got %s", resp.Status)
		}
	})
}

func TestNewBrowser(t *testing.T) {
	p := oidcgatetest.NewProvider(t)
	gate := newShop(t, p, nil)
	mux := http.NewServeMux()
	who := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, _ := oidcgate.FromContext(r.Context())
		c, err := r.Cookie("customer")
		_, _ = fmt.Fprint(w, id.Subject(), " ", err == nil && c.Value == "42")
	})
	mux.Handle("/api", gate.RequireAPI()(who))
	mux.Handle("/page", gate.Require()(who))
	mux.HandleFunc("/sign-in", func(w http.ResponseWriter, _ *http.Request) {
		http.SetCookie(w, &http.Cookie{Name: "customer", Value: "42"})
	})
	hosts := map[string]http.Handler{"localhost": gate.Wrap(mux), "id.test": p}
	browser := oidcgatetest.NewBrowser(hosts)
	t.Run("nobody has logged in with it", func(t *testing.T) {
		if status, body := get(t, browser, "http://localhost/api"); status != http.StatusUnauthorized {
			t.Errorf("got %d %q", status, body)
		}
	})
	t.Run("the user of SetUser logs in, beside a session of the application", func(t *testing.T) {
		p.SetUser(oidcgatetest.User{Subject: "bob"})
		_, _ = get(t, browser, "http://localhost/sign-in")
		if status, body := get(t, browser, gate.LoginURL("/page")); status != 200 || body != "bob true" {
			t.Errorf("the page after the login: %d %q", status, body)
		}
		if status, body := get(t, browser, "http://localhost/api"); status != 200 || body != "bob true" {
			t.Errorf("the API: %d %q", status, body)
		}
		rec := httptest.NewRecorder()
		gate.Wrap(mux).ServeHTTP(rec, oidcgatetest.NewRequest(browser, "GET", "http://localhost/api", nil))
		if rec.Code != 200 || rec.Body.String() != "bob true" {
			t.Errorf("a request for httptest: %d %s", rec.Code, rec.Body)
		}
	})
	t.Run("another browser is another visitor", func(t *testing.T) {
		if status, _ := get(t, oidcgatetest.NewBrowser(hosts), "http://localhost/api"); status != http.StatusUnauthorized {
			t.Errorf("got %d", status)
		}
	})
}

func TestSignInAtOneOfSeveralProviders(t *testing.T) {
	main := oidcgatetest.NewProvider(t)
	partner := oidcgatetest.NewProvider(t, oidcgatetest.Config{Issuer: "https://partner.test"})
	gate, err := oidcgate.New(oidcgate.Config{
		BaseURL: "http://localhost",
		HTTP: oidcgate.HTTPOptions{Transport: oidcgatetest.NewTransport(map[string]http.Handler{
			"id.test": main, "partner.test": partner,
		})},
	}, main.ProviderFor("http://localhost"), partner.ProviderFor("http://localhost/", "partner"))
	if err != nil {
		t.Fatal(err)
	}
	shop := gate.Wrap(gate.Require()(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, _ := oidcgate.FromContext(r.Context())
		_, _ = io.WriteString(w, id.Subject()+" at "+id.Issuer())
	})))
	for _, p := range []*oidcgatetest.Provider{main, partner} {
		bob := p.SignIn(t, gate, shop, oidcgatetest.User{Subject: "bob"})
		if status, body := get(t, bob, "http://localhost/"); status != 200 || body != "bob at "+p.Issuer() {
			t.Errorf("at %s: %d %q", p.Issuer(), status, body)
		}
	}
	t.Run("the browser reaches the other one too, as who is there, and still is a browser", func(t *testing.T) {
		partner.SetUser(oidcgatetest.User{Subject: "robert"})
		defer partner.SetUser(oidcgatetest.User{})
		mux := http.NewServeMux()
		mux.Handle("/api", gate.RequireAPI()(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			id, _ := oidcgate.FromContext(r.Context())
			_, _ = io.WriteString(w, id.Subject())
		})))
		bob := main.SignIn(t, gate, gate.Wrap(mux), oidcgatetest.User{Subject: "bob"}, partner)
		if status, body := get(t, bob, "http://localhost/api"); status != 200 || body != "bob" {
			t.Errorf("after the first login: %d %q", status, body)
		}
		other := gate.LoginURL("/api", oidcgate.LoginOptions{Provider: "partner"})
		if status, body := get(t, bob, other); status != 200 || body != "robert" {
			t.Errorf("after the login at the partner: %d %q", status, body)
		}
		if status, body := get(t, bob, gate.LoginURL("/api", oidcgate.LoginOptions{Provider: "."})); status != 200 || body != "bob" {
			t.Errorf("after one more at the first: %d %q", status, body)
		}
	})
	t.Run("the gate has several, and not this one", func(t *testing.T) {
		f := &failing{T: t}
		defer func() {
			want := "oidcgatetest: logging in ended at /auth/login with 200 OK: " +
				"none of the gate's providers has the issuer https://stranger.test\nLog in\n"
			if recover() != f || !strings.HasPrefix(f.said, want) {
				t.Errorf("it said\n%s\nwant\n%s", f.said, want)
			}
		}()
		stranger := oidcgatetest.NewProvider(t, oidcgatetest.Config{Issuer: "https://stranger.test"})
		stranger.SignIn(f, gate, shop, oidcgatetest.User{})
	})
}

func TestSignInWhereTheApplicationLetsChoose(t *testing.T) {
	page := func(markup string) func(*oidcgate.Config) {
		return func(c *oidcgate.Config) {
			c.Page = func(w http.ResponseWriter, _ *http.Request, p oidcgate.Page) bool {
				for _, l := range p.Links {
					_, _ = fmt.Fprintf(w, markup, html.EscapeString(l.URL), l.Text)
				}
				return true
			}
		}
	}
	for name, change := range map[string]func(*oidcgate.Config){
		"by a link with a class":         page(`<a class="choice" href="%s">%s</a>`),
		"by a link in single quotes":     page(`<a href='%s'>%s</a>`),
		"by a link without quotes":       page(`<a href=%s>%s</a>`),
		"by a button":                    page(`<button formaction="%s">%s</button>`),
		"on a page of the application's": func(c *oidcgate.Config) { c.Site.LoginPage = "/login" },
		"nowhere: it is one of them": func(c *oidcgate.Config) {
			c.LoginOptions = func(*http.Request) oidcgate.LoginOptions { return oidcgate.LoginOptions{Provider: "third"} }
		},
	} {
		t.Run(name, func(t *testing.T) {
			first := oidcgatetest.NewProvider(t)
			second := oidcgatetest.NewProvider(t, oidcgatetest.Config{Issuer: "https://partner.test"})
			third := oidcgatetest.NewProvider(t, oidcgatetest.Config{Issuer: "https://third.test"})
			c := oidcgate.Config{
				BaseURL: "http://localhost",
				HTTP: oidcgate.HTTPOptions{Transport: oidcgatetest.NewTransport(map[string]http.Handler{
					"id.test": first, "partner.test": second, "third.test": third,
				})},
			}
			change(&c)
			gate, err := oidcgate.New(c, first.ProviderFor(c.BaseURL), second.ProviderFor(c.BaseURL, "partner"), third.ProviderFor(c.BaseURL, "third"))
			if err != nil {
				t.Fatal(err)
			}
			shop := gate.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if id, ok := oidcgate.FromContext(r.Context()); ok {
					_, _ = io.WriteString(w, id.Subject()+" at "+id.Issuer())
				}
			}))
			for _, p := range []*oidcgatetest.Provider{first, second, third} {
				bob := p.SignIn(t, gate, shop, oidcgatetest.User{Subject: "bob"}, third)
				if status, body := get(t, bob, "http://localhost/"); status != 200 || body != "bob at "+p.Issuer() {
					t.Errorf("at %s: %d %q", p.Issuer(), status, body)
				}
			}
		})
	}
}

func TestProviderForLeavesItsArguments(t *testing.T) {
	names := []string{"one", "two"}
	oidcgatetest.NewProvider(t).ProviderFor("http://localhost", names[:1]...)
	if names[1] != "two" {
		t.Errorf("the names are %q", names)
	}
}

func TestProviderForTwoNamesAtOneIssuer(t *testing.T) {
	p := oidcgatetest.NewProvider(t)
	gate, err := oidcgate.New(oidcgate.Config{
		BaseURL: "http://localhost", HTTP: oidcgate.HTTPOptions{Transport: p.Transport()},
	}, p.ProviderFor("http://localhost"), p.ProviderFor("http://localhost", "staff"))
	if err != nil {
		t.Fatal(err)
	}
	shop := gate.Wrap(gate.Require()(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, _ := oidcgate.FromContext(r.Context())
		_, _ = io.WriteString(w, id.ProviderName())
	})))
	bob := p.SignIn(t, gate, shop, oidcgatetest.User{Subject: "bob"})
	for _, name := range []string{"", "staff"} {
		login := gate.LoginURL("/", oidcgate.LoginOptions{Provider: cmp.Or(name, ".")})
		if status, body := get(t, bob, login); status != 200 || body != name {
			t.Errorf("%q: %d %q", name, status, body)
		}
	}
	defer func() {
		if v := recover(); v != "oidcgatetest: ProviderFor takes one name, not 2" {
			t.Errorf("two names: %v", v)
		}
	}()
	p.ProviderFor("http://localhost", "staff", "partner")
}

// failing is a test that a helper lets fail.
type failing struct {
	*testing.T
	said string
}

func (f *failing) Fatalf(format string, args ...any) {
	f.said = fmt.Sprintf(format, args...)
	panic(f)
}

func TestSignInFails(t *testing.T) {
	for _, row := range []struct {
		name string
		with func(*oidcgate.Config)
		wrap func(*oidcgate.Gate, http.Handler) http.Handler
		want string // where R is the reference
	}{
		{"OnLogin refuses", func(c *oidcgate.Config) {
			c.OnLogin = func(context.Context, *oidcgate.Login) error { return oidcgate.Deny("not <you>") }
		}, (*oidcgate.Gate).Wrap, "oidcgatetest: logging in ended at /auth/callback with 403 Forbidden\n" +
			"No access\nnot <you>\nReference: R · policy_denied"},
		{"the gate does not reach the provider", func(c *oidcgate.Config) {
			c.HTTP.Transport = oidcgatetest.NewTransport(nil)
		}, (*oidcgate.Gate).Wrap, "oidcgatetest: logging in ended at /auth/login with 503 Service Unavailable: " +
			"the gate does not reach this provider; set Config.HTTP.Transport to p.Transport()\n" +
			"Please try again\nThe login service does not answer. Try again shortly.\nReference: R · provider_unreachable"},
		{"the handler is not wrapped", nil, func(_ *oidcgate.Gate, h http.Handler) http.Handler { return h },
			"oidcgatetest: logging in ended at /auth/login with 404 Not Found: " +
				"the gate does not serve that path; is the handler gate.Wrap(...), behind http.StripPrefix where BaseURL has a path?\n404 page not found\n"},
	} {
		t.Run(row.name, func(t *testing.T) {
			p := oidcgatetest.NewProvider(t)
			gate := newShop(t, p, row.with)
			f := &failing{T: t}
			defer func() {
				said := regexp.MustCompile(`[0-9A-F]{10}`).ReplaceAllString(f.said, "R")
				if recover() != f || said != row.want {
					t.Errorf("it said\n%s\nwant\n%s", said, row.want)
				}
			}()
			p.SignIn(f, gate, row.wrap(gate, http.NotFoundHandler()), oidcgatetest.User{})
		})
	}
}
