package oidcgate_test

import (
	"errors"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oidcgate/oidcgate"
	"github.com/oidcgate/oidcgate/oidcgatetest"
)

func TestSetProviders(t *testing.T) {
	first := func(w *world) oidcgate.Provider {
		return oidcgate.Provider{Issuer: w.op.Issuer(), ClientID: "shop", Auth: oidcgate.ClientSecretBasic(secret)}
	}
	second := func(staff *oidcgatetest.Provider) oidcgate.Provider {
		return oidcgate.Provider{Name: "staff", Issuer: staff.Issuer(), ClientID: "shop", Auth: oidcgate.ClientSecretBasic(secret)}
	}
	set := func(w *world, providers ...oidcgate.Provider) {
		w.Helper()
		if err := w.gate.SetProviders(providers...); err != nil {
			w.Fatal(err)
		}
	}
	t.Run("one is added and taken away, and the first notices nothing", func(t *testing.T) {
		w, staff := severalProviders(t)
		set(w, first(w))
		w.login()
		if a := w.get("/auth/login?provider=staff"); !strings.HasPrefix(a.location(), w.op.Issuer()) {
			t.Errorf("with one provider the login goes to %q", a.location())
		}
		back := w.get(w.get("/auth/login").location()).location() // a login under way
		set(w, first(w), second(staff))
		if a := w.get(back); a.StatusCode != http.StatusSeeOther {
			t.Errorf("the login that was under way ends with %d\n%s", a.StatusCode, a.body)
		}
		if n := w.op.Count(oidcgatetest.Discovery); n != 1 {
			t.Errorf("the first provider was discovered %d times, want once", n)
		}
		w.get(w.get(w.get("/auth/login?provider=staff").location()).location())
		if got := w.subject(); got != "bob" {
			t.Errorf("at the new provider: signed in as %q, want bob", got)
		}
		set(w, first(w))
		if a := w.get("/app"); a.StatusCode != http.StatusSeeOther || len(a.Cookies()) != 0 {
			t.Errorf("a session of a provider that is not there: %d, cookies %v", a.StatusCode, a.Cookies())
		}
		set(w, first(w), second(staff))
		if got := w.subject(); got != "bob" {
			t.Errorf("when it is back: signed in as %q, want bob", got)
		}
	})
	t.Run("a provider that was replaced by another issuer keeps nothing", func(t *testing.T) {
		w, staff := severalProviders(t)
		w.get(w.get(w.get("/auth/login?provider=staff").location()).location())
		moved := second(staff)
		moved.Issuer = w.op.Issuer()
		set(w, first(w), moved)
		if got := w.subject(); got != "" {
			t.Errorf("signed in as %q", got)
		}
		if a := w.get("/auth/login?provider=staff"); !strings.HasPrefix(a.location(), w.op.Issuer()) {
			t.Errorf("the login goes to %q", a.location())
		}
	})
	const lostLogin, lostSession = "a login came back to the address of a provider that this gate does not have", "a session is of a provider that this gate does not have"
	count := func(w *world, said string) int {
		if err := w.gate.Wait(w.Context()); err != nil {
			w.Error(err)
		}
		return strings.Count(w.logged(), said)
	}
	inBubble(t, "a login that ends where its provider is unknown is told once an hour, and strangers cause no line", func(t *testing.T) {
		w, staff := severalProviders(t)
		back := w.get(w.get("/auth/login?provider=staff").location()).location()
		set(w, first(w))
		query := back[strings.IndexByte(back, '?'):]
		for _, other := range []string{"/auth/callback/shop" + query, "/auth/callback/" + query, "/auth/callback/staff/x" + query, "/auth/callbacks/staff" + query, "/callback/staff" + query} {
			w.get(other)
		}
		w.send(w.newBrowser(), "GET", back, "")
		if n := count(w, lostLogin); n != 0 {
			t.Errorf("strangers: %s", w.logged())
		}
		for range 3 {
			w.get(back)
		}
		if n := count(w, lostLogin); n != 1 || !strings.Contains(w.logged(), `"path":"/auth/callback/staff"`) || !strings.Contains(w.logged(), "call SetProviders in each") {
			t.Errorf("%d lines: %s", n, w.logged())
		}
		for i := range 3 { // the browser sends no cookie with a form of another site
			w.send(w.newBrowser(), "POST", "/auth/callback/staff"+strings.Repeat("x", i), "code=x&state=x")
		}
		if n := count(w, lostLogin); n != 2 {
			t.Errorf("%d lines with those of POST: %s", n, w.logged())
		}
		set(w, first(w), second(staff))
		if w.get(back); w.subject() != "bob" {
			t.Errorf("a login that began before: signed in as %q\n%s", w.subject(), w.logged())
		}
		set(w, first(w))
		time.Sleep(time.Minute)
		w.send(w.newBrowser(), "POST", "/auth/callback/staff", "code=x&state=x")
		if n := count(w, lostLogin); n != 3 {
			t.Errorf("%d lines after a minute: %s", n, w.logged())
		}
	})
	t.Run("a session whose provider is unknown is told once", func(t *testing.T) {
		w, staff := severalProviders(t)
		w.signInAt(w.browser, "staff")
		if n := count(w, lostSession); n != 0 {
			t.Errorf("before: %s", w.logged())
		}
		set(w, first(w))
		for range 3 {
			if a := w.get("/app"); !strings.Contains(a.location(), "gone=provider") {
				t.Errorf("the guard leads to %q", a.location())
			}
		}
		if n := count(w, lostSession); n != 1 || !strings.Contains(w.logged(), `"provider":"staff"`) {
			t.Errorf("%d lines: %s", n, w.logged())
		}
		set(w, first(w), second(staff))
		if got := w.subject(); got != "bob" {
			t.Errorf("signed in as %q", got)
		}
	})
	t.Run("a fault changes nothing", func(t *testing.T) {
		w, staff := severalProviders(t)
		for name, providers := range map[string][]oidcgate.Provider{
			"none": nil, "no issuer": {first(w), {Name: "x", ClientID: "shop", Auth: oidcgate.PublicClient()}}, "twice": {second(staff), second(staff)},
		} {
			err := w.gate.SetProviders(providers...)
			if _, ok := errors.AsType[*oidcgate.ConfigError](err); !ok {
				t.Errorf("%s: %v", name, err)
			}
		}
		if a := w.get("/auth/login?provider=staff"); !strings.HasPrefix(a.location(), staff.Issuer()) {
			t.Errorf("the login goes to %q", a.location())
		}
	})
	t.Run("under traffic", func(t *testing.T) {
		w, staff := severalProviders(t)
		var changes, logins sync.WaitGroup
		stop := make(chan struct{})
		changes.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				if i%2 == 0 {
					_ = w.gate.SetProviders(first(w))
				} else {
					_ = w.gate.SetProviders(first(w), second(staff))
				}
			}
		})
		for range 4 {
			logins.Go(func() {
				for range 25 {
					browser := w.newBrowser()
					browser.Transport = w.browser.Transport
					at := "/auth/login?return_to=/app&provider=."
					for range 3 {
						at = w.send(browser, http.MethodGet, at, "").location()
					}
					if at != shopURL+"/app" {
						t.Errorf("a login at the first provider ends at %q", at)
						return
					}
				}
			})
		}
		logins.Wait()
		close(stop)
		changes.Wait()
	})
}

// Whoever reloads the list of providers in two steps signs nobody out.
func TestProviderIsAwayDuringARefresh(t *testing.T) {
	for name, change := range map[string]change{
		"a token": func(*oidcgate.Config, *oidcgate.Provider) {},
		"claims":  func(c *oidcgate.Config, _ *oidcgate.Provider) { c.Tokens.ClaimsMaxAge = 5 * time.Minute },
	} {
		inBubble(t, "F02 the session goes on with the new refresh token: "+name, func(t *testing.T) {
			var p oidcgate.Provider
			f := newFleet(t, 1, change, func(_ *oidcgate.Config, q *oidcgate.Provider) { p = *q })
			f.login()
			time.Sleep(9*time.Minute + 50*time.Second)
			f.op.Always(oidcgatetest.Token, oidcgatetest.Delay(2*time.Second))
			other := p
			other.Name = "other"
			go func() {
				time.Sleep(time.Second)
				_ = f.gates[0].SetProviders(other)
				time.Sleep(1500 * time.Millisecond)
				_ = f.gates[0].SetProviders(p)
			}()
			f.token()
			time.Sleep(time.Minute)
			if _, status := f.token(); status != http.StatusOK || f.subject() != "alice" {
				t.Errorf("status %d, signed in as %q; events %+v", status, f.subject(), f.eventsOf(oidcgate.EventRefreshFailed))
			}
		})
	}
}

// Users are known by issuer and subject, so a second provider with the same issuer must be the same
// one, whatever its client.
func TestTwoProvidersWithOneIssuer(t *testing.T) {
	const issuer = "https://id.test"
	auth := oidcgate.ClientSecretBasic(secret)
	first := oidcgate.Provider{Issuer: issuer, ClientID: "shop", Auth: auth}
	same := oidcgate.Provider{Name: "staff", Issuer: issuer, ClientID: "staff", Auth: auth, Scopes: []string{"groups"}}
	at := func(change func(*oidcgate.Endpoints)) oidcgate.Provider {
		p := same
		change(&p.Endpoints)
		return p
	}
	accepting := oidcgate.Provider{Name: "staff", Issuer: "https://evil.test", ClientID: "staff", Auth: auth}
	accepting.Verification.Issuers = []string{issuer}
	accepting.Endpoints.JWKS = "https://evil.test/jwks"
	plain := oidcgate.OAuth2(oidcgate.OAuth2Options{
		Issuer: issuer, ClientID: "staff", Auth: auth,
		Authorization: "https://evil.test/a", Token: "https://evil.test/t", Userinfo: "https://evil.test/u",
	})
	plain.Name = "staff"
	bySecret := same
	bySecret.Verification.SigningAlgs = []string{"HS256"}
	ofTenant := oidcgate.Provider{Name: "staff", Issuer: "https://id.test/{tenantid}/v2", ClientID: "staff", Auth: auth}
	ofTenant.Verification.Tenants, ofTenant.Endpoints.Discovery = []string{"a", "b"}, "https://id.test/common/config"
	one := oidcgate.Provider{Issuer: "https://id.test/b/v2", ClientID: "shop", Auth: auth}
	if _, err := oidcgate.New(oidcgate.Config{BaseURL: "http://localhost"}, one, ofTenant); err == nil || !strings.Contains(err.Error(), "another provider too") {
		t.Errorf("C032 a tenant beside its template: %v", err)
	}
	for _, row := range []struct {
		name   string
		second oidcgate.Provider
		fault  bool
	}{
		{"C032 one whose client secret signs", bySecret, true},
		{"C032 another client at the same provider", same, false},
		{"C032 other keys", at(func(e *oidcgate.Endpoints) { e.JWKS = "https://evil.test/jwks" }), true},
		{"C032 another token endpoint", at(func(e *oidcgate.Endpoints) { e.Token = "https://evil.test/token" }), true},
		{"C032 another userinfo endpoint", at(func(e *oidcgate.Endpoints) { e.Userinfo = "https://evil.test/userinfo" }), true},
		{"C032 another discovery document", at(func(e *oidcgate.Endpoints) { e.Discovery = "https://evil.test/config" }), true},
		{"C032 another authorization endpoint alone", at(func(e *oidcgate.Endpoints) { e.Authorization = "https://id.test/authorize" }), false},
		{"C032 one without ID Tokens", plain, true},
		{"C032 one that accepts the issuer of the first", accepting, true},
	} {
		for order, providers := range map[string][]oidcgate.Provider{"": {first, row.second}, ", the other way round": {row.second, first}} {
			t.Run(row.name+order, func(t *testing.T) {
				_, err := oidcgate.New(oidcgate.Config{BaseURL: "http://localhost"}, providers...)
				if said := err != nil && strings.Contains(err.Error(), "is the issuer of another provider too"); said != row.fault {
					t.Errorf("fault %v, want %v: %v", said, row.fault, err)
				}
			})
		}
	}
}

func TestSetProvidersKeepsAndForgets(t *testing.T) {
	t.Run("userinfo that is asked from now on is asked at once", func(t *testing.T) {
		for _, mode := range []oidcgate.UserinfoMode{oidcgate.UserinfoRequired, oidcgate.UserinfoOptional} {
			var p oidcgate.Provider
			w := newWorld(t, func(_ *oidcgate.Config, q *oidcgate.Provider) { p = *q })
			w.login()
			p.Userinfo = mode
			if err := w.gate.SetProviders(p); err != nil {
				t.Fatal(err)
			}
			w.browser = w.newBrowser()
			if a := w.get(w.callbackURL("/app")); a.location() != shopURL+"/app" || w.op.Count(oidcgatetest.Userinfo) != 1 {
				t.Errorf("%v: %d, asked %d times", mode, a.StatusCode, w.op.Count(oidcgatetest.Userinfo))
			}
		}
	})
	t.Run("F02 the keys of a provider with configured endpoints stay", func(t *testing.T) {
		var p oidcgate.Provider
		w := newWorld(t, func(_ *oidcgate.Config, q *oidcgate.Provider) {
			at := q.Issuer
			q.Endpoints.Authorization, q.Endpoints.Token, q.Endpoints.JWKS = at+"/authorize", at+"/token", at+"/jwks"
			p = *q
		})
		w.login()
		w.op.Always(oidcgatetest.JWKS, oidcgatetest.Answer(503, "", ""))
		if err := w.gate.SetProviders(p); err != nil {
			t.Fatal(err)
		}
		w.browser = w.newBrowser()
		if a := w.get(w.callbackURL("/app")); a.location() != shopURL+"/app" {
			t.Errorf("%d\n%s", a.StatusCode, a.body)
		}
	})
}

func TestSetProvidersKeepsBounds(t *testing.T) {
	inBubble(t, "C010 C129 junk causes no more loads of the keys, however often the providers are set", func(t *testing.T) {
		var p oidcgate.Provider
		f := newFleet(t, 1, func(_ *oidcgate.Config, provider *oidcgate.Provider) { p = *provider })
		f.login()
		time.Sleep(5 * time.Minute)
		before := f.op.Count(oidcgatetest.JWKS)
		for range 12 {
			junk := f.op.NewJWT(f.logoutClaims("sub", "x"))
			junk.Header["kid"] = "unknown"
			f.sendLogout(junk.Compact())
			if err := f.gates[0].SetProviders(p); err != nil {
				t.Fatal(err)
			}
			time.Sleep(5 * time.Second)
		}
		if n := f.op.Count(oidcgatetest.JWKS) - before; n > 4 {
			t.Errorf("%d loads in a minute", n)
		}
	})
	inBubble(t, "F04 no more logins use the provider at a time", func(t *testing.T) {
		var p oidcgate.Provider
		f := newFleet(t, 1, func(_ *oidcgate.Config, provider *oidcgate.Provider) { p = *provider })
		var now, most atomic.Int32
		f.op.Always(oidcgatetest.Token, func(http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				most.Store(max(most.Load(), now.Add(1)))
				time.Sleep(9 * time.Second)
				now.Add(-1)
				w.WriteHeader(http.StatusInternalServerError)
			})
		})
		var logins sync.WaitGroup
		for range 2 {
			for range 70 {
				f.browser = f.newBrowser()
				browser, callback := f.browser, f.callbackURL("/app")
				logins.Go(func() { f.send(browser, http.MethodGet, callback, "") })
			}
			if err := f.gates[0].SetProviders(p); err != nil {
				t.Fatal(err)
			}
		}
		logins.Wait()
		time.Sleep(time.Minute)
		if n := most.Load(); n > 64 || n == 0 {
			t.Errorf("%d at a time", n)
		}
	})
}
