package oidcgate_test

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/oidcgate/oidcgate"
	"github.com/oidcgate/oidcgate/internal/op"
	"github.com/oidcgate/oidcgate/oidcgatetest"
)

// purposes is a transport that counts requests by what they are for.
type purposes struct {
	mu   sync.Mutex
	seen map[oidcgate.ProviderRequest]int
}

func (p *purposes) wrap(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		what, ok := oidcgate.ProviderRequestFromContext(r.Context())
		if !ok {
			what.Purpose = "unknown: " + r.URL.Path
		}
		p.mu.Lock()
		p.seen[what]++
		p.mu.Unlock()
		return next.RoundTrip(r)
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestProviderRequestsSayWhatTheyAreFor(t *testing.T) {
	seen := &purposes{seen: map[oidcgate.ProviderRequest]int{}}
	config := oidcgatetest.Config{Introspection: true, PushedRequests: true, AccessTokenAudience: apiURL}
	w := newWorldOf(t, oidcgatetest.NewProvider(t, config), func(c *oidcgate.Config, p *oidcgate.Provider) {
		c.HTTP.Wrap, c.API.Audience = seen.wrap, []string{apiURL}
		p.Name, p.Userinfo = "main", oidcgate.UserinfoRequired
		p.Claims.FurtherOrigins = []string{p.Issuer}
		p.Claims.Further = func(_ context.Context, _ *oidcgate.Identity, client *http.Client) (map[string]any, error) {
			resp, err := client.Get(p.Issuer + "/userinfo")
			if err == nil {
				err = resp.Body.Close()
			}
			return nil, err
		}
	})
	w.op.AddClient(oidcgatetest.Client{
		ID: "shop", Secret: secret, RedirectURLs: []string{shopURL + "/auth/callback/main"},
		PostLogoutRedirectURLs: []string{shopURL + "/auth/logout/done"}, Exchanges: []string{"ledger"},
	})
	w.op.Always(oidcgatetest.Discovery, oidcgatetest.EditJSON(func(m map[string]any) { m["revocation_endpoint"] = w.op.Issuer() + "/revoke" }))
	w.login()
	calls := http.NewServeMux()
	calls.HandleFunc("/exchange", func(rw http.ResponseWriter, r *http.Request) {
		if _, err := w.gate.ExchangeToken(r.Context(), oidcgate.TokenExchange{Audience: "ledger"}); err != nil {
			t.Error(err)
		}
	})
	calls.Handle("/api", w.gate.RequireToken()(http.NotFoundHandler()))
	w.handler = w.gate.Wrap(calls)
	w.get("/exchange")
	w.get("/api", "Authorization: Bearer "+w.op.NewOpaqueToken(nil))
	w.logout()
	if err := w.gate.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}

	want := slices.DeleteFunc(slices.Clone(op.Purposes), func(p string) bool { return p == op.ForRefresh })
	for _, purpose := range want {
		if seen.seen[oidcgate.ProviderRequest{Provider: "main", Purpose: purpose}] == 0 {
			t.Errorf("no request for %q among %v", purpose, seen.seen)
		}
	}
	for r := range maps.Keys(seen.seen) {
		if r.Provider != "main" || !slices.Contains(want, r.Purpose) {
			t.Errorf("a request for %+v", r)
		}
	}
	if r, ok := oidcgate.ProviderRequestFromContext(t.Context()); ok || r != (oidcgate.ProviderRequest{}) {
		t.Errorf("another context has %+v", r)
	}
}

func TestRefreshSaysWhatItIsFor(t *testing.T) {
	seen := &purposes{seen: map[oidcgate.ProviderRequest]int{}}
	w := newWorldOf(t, oidcgatetest.NewProvider(t, oidcgatetest.Config{AccessTokenLifetime: 1e9}),
		func(c *oidcgate.Config, _ *oidcgate.Provider) { c.HTTP.Wrap = seen.wrap })
	w.op.Always(oidcgatetest.Token, oidcgatetest.EditJSON(func(m map[string]any) { m["expires_in"] = 0 }))
	w.login()
	w.handler = w.gate.Wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = w.gate.Token(r.Context())
	}))
	w.get("/")
	if n := seen.seen[oidcgate.ProviderRequest{Purpose: "refresh"}]; n == 0 {
		t.Errorf("no refresh among %v", seen.seen)
	}
}

// What wraps the transport must not cost the gate's own transport its checks.
func TestWrapKeepsTheTransport(t *testing.T) {
	seen := &purposes{seen: map[oidcgate.ProviderRequest]int{}}
	gate, err := oidcgate.New(oidcgate.Config{BaseURL: "http://localhost", HTTP: oidcgate.HTTPOptions{Wrap: seen.wrap}},
		oidcgate.Provider{Issuer: "https://169.254.169.254", ClientID: "shop", Auth: oidcgate.PublicClient()})
	if err != nil {
		t.Fatal(err)
	}
	if err := gate.Ready(t.Context()); err == nil || !strings.Contains(err.Error(), "link-local") {
		t.Errorf("Ready: %v, want an error that names a link-local address", err)
	}
	if n := seen.seen[oidcgate.ProviderRequest{Purpose: "discovery"}]; n != 1 {
		t.Errorf("%d requests passed through Wrap, want 1: %v", n, seen.seen)
	}
}

func TestRoute(t *testing.T) {
	w := newWorld(t, func(c *oidcgate.Config, p *oidcgate.Provider) { c.Site.Prefix, p.Name = "/sign", "main" })
	for path, want := range map[string][2]string{
		"/sign/login":                    {"login"},
		"/sign/logout":                   {"logout"},
		"/sign/logout/done":              {"logout/done"},
		"/sign/callback/main":            {"callback", "main"},
		"/sign/backchannel-logout/main":  {"backchannel-logout", "main"},
		"/sign/frontchannel-logout/main": {"frontchannel-logout", "main"},
		"/sign/initiate":                 {}, // Request.ThirdParty is false
		"/sign/jwks/main":                {}, // no keys
		"/sign/callback":                 {},
		"/sign/callback/other":           {},
		"/sign/callback/":                {},
		"/sign":                          {},
		"/auth/login":                    {},
		"/":                              {},
	} {
		r, _ := http.NewRequest(http.MethodGet, shopURL+path, nil)
		if route, provider := w.gate.Route(r); [2]string{route, provider} != want {
			t.Errorf("%s is %q of %q, want %q", path, route, provider, want)
		}
	}
}
