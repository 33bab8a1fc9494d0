package oidcgate_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/oidcgate/oidcgate"
	"github.com/oidcgate/oidcgate/internal/redistest"
	"github.com/oidcgate/oidcgate/oidcgatetest"
	"github.com/oidcgate/oidcgate/store"
)

func TestLoginAndLogout(t *testing.T) {
	w := newWorld(t)

	if a := w.get("/public"); a.StatusCode != http.StatusOK || a.body != "welcome" {
		t.Fatalf("/public: %d %q", a.StatusCode, a.body)
	}
	a := w.get(w.callbackURL("/app/orders?page=2"))
	if a.StatusCode != http.StatusSeeOther || a.location() != shopURL+"/app/orders?page=2" {
		t.Fatalf("after the login: %d to %q\n%s\n%s", a.StatusCode, a.location(), a.body, w.logged())
	}
	if a := w.get(a.location()); a.StatusCode != http.StatusOK || !strings.Contains(a.body, `"sub":"alice"`) {
		t.Fatalf("the page that was asked for: %d %s", a.StatusCode, a.body)
	}
	if a := w.get("/admin"); a.StatusCode != http.StatusForbidden {
		t.Errorf("/admin without the group: %d, want 403", a.StatusCode)
	}

	a = w.send(w.browser, http.MethodPost, "/auth/logout", "", "Sec-Fetch-Site: same-origin")
	if a.StatusCode != http.StatusSeeOther || !strings.HasPrefix(a.location(), w.op.Issuer()) {
		t.Fatalf("logout: %d to %q\n%s", a.StatusCode, a.location(), a.body)
	}
	if got := w.subject(); got != "" {
		t.Errorf("signed in after the logout: %q", got)
	}
	a = w.get(a.location()) // the provider's logout
	if !strings.HasPrefix(a.location(), shopURL+"/auth/logout/done?") {
		t.Fatalf("the provider's logout: %d to %q\n%s", a.StatusCode, a.location(), a.body)
	}
	if a = w.get(a.location()); a.StatusCode != http.StatusOK || !strings.Contains(a.body, "Signed out") {
		t.Errorf("after the provider's logout: %d\n%s", a.StatusCode, a.body)
	}
	if n := w.op.Count(oidcgatetest.Token); n != 1 {
		t.Errorf("%d token calls, want 1", n)
	}
}

func TestFormPostedWithoutASession(t *testing.T) {
	for _, row := range []struct{ name, referer, link string }{
		{"the login leads back to the page with the form", shopURL + "/checkout?step=2", shopURL + "/auth/login?return_to=%2Fcheckout%3Fstep%3D2"},
		{"a page of another site is nothing to go back to", "https://shop.test.evil.example/checkout", shopURL + "/auth/login"},
		{"a browser that does not say", "", shopURL + "/auth/login"},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t)
			a := w.send(w.browser, http.MethodPost, "/app", "a=b", "Sec-Fetch-Mode: navigate", "Referer: "+row.referer)
			if a.StatusCode != http.StatusUnauthorized || !strings.Contains(a.body, `href="`+row.link+`"`) {
				t.Errorf("%d, want a link to %s\n%s", a.StatusCode, row.link, a.body)
			}
		})
	}
}

func TestAttacks(t *testing.T) {
	t.Run("R-DOS-6 an error that strangers send for themselves leaves nothing in the store", func(t *testing.T) {
		w := newWorld(t, func(c *oidcgate.Config, _ *oidcgate.Provider) { c.Store = &store.Memory{MaxEntries: 10} })
		for range 20 {
			w.browser = w.newBrowser()
			location, err := url.Parse(w.get("/auth/login").location())
			if err != nil {
				t.Fatal(err)
			}
			q := url.Values{"error": {"x"}, "iss": {w.op.Issuer()}, "state": {location.Query().Get("state")}}
			if a := w.get("/auth/callback?" + q.Encode()); a.StatusCode != http.StatusBadGateway {
				t.Fatalf("status %d", a.StatusCode)
			}
		}
		w.login()
	})
	t.Run("R-OUT-5 a replica that cannot read the session ends it all the same", func(t *testing.T) {
		const other = "c29tZSBvdGhlciBrZXkgb2YgdGhlIHNob3AsIDMyIGI="
		w := newWorld(t)
		reader, provider := w.gate, oidcgate.Provider{Issuer: w.op.Issuer(), ClientID: "shop", Auth: oidcgate.ClientSecretBasic(secret)}
		w.login()
		cookies := w.sentCookies()
		w.config.Keys = mustKeys(t, other)
		w.open(provider)
		if a := w.logout("Sec-Fetch-Site: same-origin"); a.StatusCode != http.StatusOK || w.cookie("__Host-Http-oidcgate") != "" {
			t.Errorf("status %d, cookie %q", a.StatusCode, w.cookie("__Host-Http-oidcgate"))
		}
		w.gate, w.handler = reader, reader.Wrap(w.shop())
		if a := w.send(w.newBrowser(), http.MethodGet, "/whoami", "", "Cookie: "+cookies); a.StatusCode != http.StatusUnauthorized {
			t.Errorf("the old cookie is still good: %d %s", a.StatusCode, a.body)
		}
	})
	t.Run("R-SES-4 a session of a provider that was replaced lets nobody in", func(t *testing.T) {
		w := newWorld(t)
		w.login()
		w.open(oidcgate.Provider{Issuer: "https://other.test", ClientID: "shop", Auth: oidcgate.ClientSecretBasic(secret)})
		if got := w.subject(); got != "" {
			t.Errorf("signed in: %q", got)
		}
	})
	t.Run("C079 userinfo adds nothing below a claim of the ID Token", func(t *testing.T) {
		w := newWorld(t, func(_ *oidcgate.Config, p *oidcgate.Provider) { p.Userinfo = oidcgate.UserinfoOptional })
		w.op.SetUser(oidcgatetest.User{
			Subject:        "alice",
			Claims:         map[string]any{"realm_access": map[string]any{"note": "none"}},
			UserinfoClaims: map[string]any{"realm_access": map[string]any{"roles": []string{"admin"}}},
		})
		guard := w.gate.Require(oidcgate.Claim("/realm_access/roles", "admin"))
		w.handler = w.gate.Wrap(guard(http.HandlerFunc(w.whoami)))
		w.login()
		if a := w.get("/whoami"); a.StatusCode != http.StatusForbidden {
			t.Errorf("status %d, want 403", a.StatusCode)
		}
	})
	t.Run("F41 values that another replica sealed are neither replaced nor asked for again and again", func(t *testing.T) {
		w, records := newTapped(t, func(c *oidcgate.Config, _ *oidcgate.Provider) { c.EnableValues = true })
		w.login()
		w.handler = w.gate.Wrap(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			w.gate.Values().Put(r.Context(), "k", r.URL.Query().Get("v"))
		}))
		if a := w.get("/?v=1"); a.StatusCode != http.StatusOK {
			t.Fatalf("status %d", a.StatusCode)
		}
		key := records.record(t, "v:")
		newer := records.value(t, key)
		newer[0]++
		records.put(t, key, newer)
		if a := w.get("/?v=2"); a.StatusCode != http.StatusOK || !slices.Equal(records.value(t, key), newer) {
			t.Errorf("status %d, and the values are replaced", a.StatusCode)
		}
		w.eventsOf(oidcgate.EventValuesNotSaved)
		if n := len(w.eventsOf(oidcgate.EventSessionUnreadable)); n > 2 {
			t.Errorf("%d events for one request", n)
		}
	})
}

func TestSessionOfAnotherClient(t *testing.T) {
	t.Run("C111 gates that share all but the client do not share sessions", func(t *testing.T) {
		w := newWorld(t)
		w.login()
		w.op.AddClient(oidcgatetest.Client{ID: "back-office", Secret: secret, RedirectURLs: []string{shopURL + "/auth/callback"}})
		w.open(oidcgate.Provider{Issuer: w.op.Issuer(), ClientID: "back-office", Auth: oidcgate.ClientSecretBasic(secret)})
		if got := w.subject(); got != "" {
			t.Errorf("signed in as %q with a session of the client \"shop\"", got)
		}
		if a := w.get("/app"); a.StatusCode != http.StatusSeeOther {
			t.Errorf("a guard of the other client: %d", a.StatusCode)
		}
		w.login()
		if got := w.subject(); got != "alice" {
			t.Errorf("after a login of its own: signed in as %q", got)
		}
	})
	t.Run("C111 a session whose audience is a list goes on", func(t *testing.T) {
		w := newWorld(t, func(_ *oidcgate.Config, p *oidcgate.Provider) {
			p.Verification.TrustedAudiences = []string{"api"}
		})
		w.op.EveryIDToken(func(j *oidcgatetest.JWT) {
			j.Claims["aud"], j.Claims["azp"] = []string{"api", "shop"}, "shop"
		})
		w.login()
		if got := w.subject(); got != "alice" {
			t.Errorf("signed in as %q", got)
		}
	})
}

func TestContextShowsNothing(t *testing.T) {
	for name, change := range map[string]func(*oidcgate.Config, *oidcgate.Provider){
		"with values":    func(c *oidcgate.Config, _ *oidcgate.Provider) { c.EnableValues = true },
		"without values": func(*oidcgate.Config, *oidcgate.Provider) {},
	} {
		t.Run("C016 C055 the context of a request, "+name, func(t *testing.T) {
			seen := &contextStore{Store: &store.Memory{}}
			w := newWorld(t, change, func(c *oidcgate.Config, _ *oidcgate.Provider) { c.Store = seen })
			w.login()
			secrets := []string{w.cookie("__Host-Http-oidcgate"), "alice", worldKey}
			var texts []map[string]string
			w.handler = w.gate.Wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				ctx := r.Context()
				if tok, err := w.gate.Token(ctx); err != nil {
					t.Error(err)
				} else {
					secrets = append(secrets, tok.AccessToken)
				}
				below, cancel := context.WithCancel(context.WithValue(ctx, &secrets, "a value"))
				defer cancel()
				texts = append(texts, printed(t, ctx), printed(t, below), printed(t, struct{ Ctx context.Context }{ctx}),
					printed(t, w.gate.Client(ctx)), printed(t, w.gate.Client(ctx).Transport))
			}))
			w.get("/")
			seen.each(func(ctx context.Context) { texts = append(texts, printed(t, ctx)) })
			if len(texts) < 6 {
				t.Fatalf("%d values printed", len(texts))
			}
			for _, forms := range texts {
				for form, text := range forms {
					for _, secret := range secrets {
						if strings.Contains(text, secret) || strings.Contains(text, fmt.Sprintf("%x", secret)) {
							t.Errorf("%s shows %q:\n%.500s", form, secret, text)
						}
					}
				}
			}
		})
	}
}

// contextStore remembers the contexts of its calls.
type contextStore struct {
	store.Store
	mu   sync.Mutex
	seen []context.Context
}

func (s *contextStore) Get(ctx context.Context, key string) ([]byte, error) {
	s.mu.Lock()
	s.seen = append(s.seen, ctx)
	s.mu.Unlock()
	return s.Store.Get(ctx, key)
}

func (s *contextStore) each(f func(context.Context)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, ctx := range s.seen {
		f(ctx)
	}
}

func TestClientThatLeaves(t *testing.T) {
	t.Run("F17 a client that leaves early says nothing about the store", func(t *testing.T) {
		rdb := redistest.Start(t).Client(func(o *redis.Options) { o.ContextTimeoutEnabled = true })
		w := newWorld(t, func(c *oidcgate.Config, _ *oidcgate.Provider) { c.Store = patient(rdb) })
		w.login()
		cookie := w.sentCookies()
		for i := range 300 { // each leaves a little later: before, during and after the read
			ctx, leave := context.WithCancel(t.Context())
			if i == 0 {
				leave()
			}
			left := time.AfterFunc(time.Duration(i)*5*time.Microsecond, leave)
			r := httptest.NewRequest(http.MethodGet, "/app", nil)
			r.Header.Set("Cookie", cookie)
			w.direct(r.WithContext(ctx))
			left.Stop()
			leave()
		}
		if events := w.eventsOf(oidcgate.EventStoreUnavailable); len(events) != 0 {
			t.Errorf("%d events: %+v", len(events), events[0])
		}
		if got := w.subject(); got != "alice" {
			t.Errorf("afterwards signed in as %q", got)
		}
	})
}
