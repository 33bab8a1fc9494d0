package blackbox_test

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/oidcgate/oidcgate/blackbox/internal/idp"
	"github.com/oidcgate/oidcgate/blackbox/internal/rp"
	"github.com/oidcgate/oidcgate/blackbox/internal/visitor"
	"github.com/oidcgate/oidcgate/blackbox/internal/walk"
)

// request returns the names of the parameters that a login sends through the browser, sorted.
func request(t *testing.T, issuer, login string) []string {
	t.Helper()
	v := visitor.New()
	v.HoldAt(issuer)
	u, err := url.Parse(v.Get(t, login).Location())
	if err != nil || !strings.HasPrefix(u.String(), issuer) {
		t.Fatalf("the login leads to %s, %v", u, err)
	}
	var names []string
	for name := range u.Query() {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Authorization requests are pushed and signed, at a real provider.
func TestRequests(t *testing.T) {
	pushed := []string{"client_id", "request_uri"}
	signed := []string{"client_id", "request", "response_type", "scope"}
	for _, row := range []struct {
		name    string
		op      idp.Config
		options []string
		want    []string // nil: a plain request
	}{
		{"C096 pushed because the provider announces it", idp.Config{}, nil, pushed},
		{"C096 pushed because the provider requires it", idp.Config{RequirePushed: true}, nil, pushed},
		{"C096 pushed because the service requires it", idp.Config{}, []string{"OIDC_PUSHED", "required"}, pushed},
		{"C096 not pushed because the service does not want it", idp.Config{}, []string{"OIDC_PUSHED", "off"}, nil},
		{"C099 signed in the address", idp.Config{RequestObjects: true}, []string{"OIDC_PUSHED", "off", "OIDC_REQUEST_OBJECT", "signed"}, signed},
		{"C099 encrypted in the address", idp.Config{RequestObjects: true}, []string{"OIDC_PUSHED", "off", "OIDC_REQUEST_OBJECT", "encrypted"}, signed},
		{"C099 signed and pushed", idp.Config{RequestObjects: true, RequirePushed: true}, []string{"OIDC_REQUEST_OBJECT", "signed"}, pushed},
		{"C099 encrypted and pushed", idp.Config{RequestObjects: true}, []string{"OIDC_REQUEST_OBJECT", "encrypted"}, pushed},
	} {
		t.Run(row.name, func(t *testing.T) {
			file, key := rp.WriteKey(t, "ES256")
			options, client := newShop(t)
			client.Keys = &jose.JSONWebKeySet{Keys: []jose.JSONWebKey{key}}
			row.op.Clients = []idp.Client{client}
			op := idp.Start(t, row.op)
			options = options.With("OIDC_ISSUER", op.Issuer, "OIDC_CLIENT_KEYS", "ES256:"+file, "OIDC_MAX_AGE", "1h").With(row.options...)
			shop := rp.Start(t, options)
			alice := visitor.New()
			walk.LogIn(t, alice, shop.URL+"/app?color=blue", idp.Alice)
			walk.WantIdentity(t, walk.Whoami(t, alice, shop.URL), op.Issuer, idp.Alice)
			names := request(t, op.Issuer, shop.URL+"/auth/login")
			if row.want == nil && !slices.Contains(names, "state") || row.want != nil && !slices.Equal(names, row.want) {
				t.Errorf("the browser carries %v, want %v", names, row.want)
			}
		})
	}
}

// A provider that refuses what is pushed ends the login on a page of the service.
func TestPushedRequestIsRefused(t *testing.T) {
	t.Run("C098 a redirect URI that is not registered", func(t *testing.T) {
		options, client := newShop(t)
		client.RedirectURLs = []string{"http://localhost:1/elsewhere"}
		op := idp.Start(t, idp.Config{Clients: []idp.Client{client}})
		shop := rp.Start(t, options.With("OIDC_ISSUER", op.Issuer))
		p := visitor.New().Get(t, shop.URL+"/app")
		if p.Status != http.StatusBadGateway || !strings.HasPrefix(p.URL.String(), shop.URL+"/auth/login") {
			t.Errorf("the login ends at %s with %d, want a page of the service with 502", p.URL, p.Status)
		}
	})
}

// The service chooses parameters of its logins.
func TestLoginParameters(t *testing.T) {
	t.Run("C024 the claims parameter", func(t *testing.T) {
		options, client := newShop(t)
		op := idp.Start(t, idp.Config{Clients: []idp.Client{client}})
		shop := rp.Start(t, options.With("OIDC_ISSUER", op.Issuer, "OIDC_USERINFO", "off", "OIDC_SCOPES", "profile",
			"OIDC_CLAIMS", `{"id_token":{"email":{"essential":true}}}`))
		alice := visitor.New()
		p := alice.LogIn(t, alice.Get(t, shop.URL+"/app"), idp.Alice.Login, idp.Alice.Password)
		if got := walk.Whoami(t, alice, shop.URL); got.Email != "alice@example.com" {
			t.Errorf("logging in ends at %s with %d, and /whoami answers %+v", p.URL, p.Status, got)
		}
	})
	t.Run("C024 resources", func(t *testing.T) {
		const resource = "https://api.example/orders"
		options, client := newShop(t)
		op := idp.Start(t, idp.Config{Clients: []idp.Client{client}, Resources: []string{resource}, Watched: true})
		options = options.With("OIDC_ISSUER", op.Issuer, "OIDC_USERINFO", "off", "OIDC_RESOURCES", resource)
		shop := rp.Start(t, options)
		alice := visitor.New()
		p := alice.LogIn(t, alice.Get(t, shop.URL+"/app"), idp.Alice.Login, idp.Alice.Password)
		if got := walk.Whoami(t, alice, shop.URL); got.Subject != "alice-0001" {
			t.Fatalf("logging in ends at %s with %d:\n%s", p.URL, p.Status, p.Body)
		}
		tokens := op.Watch(t).Tokens
		for _, token := range tokens {
			if token.Audience != resource {
				t.Errorf("the access token is for %q, want %q", token.Audience, resource)
			}
		}
		if len(tokens) != 1 {
			t.Errorf("%d access tokens, want one", len(tokens))
		}
	})
	t.Run("C024 a link to register", func(t *testing.T) {
		options, client := newShop(t)
		op := idp.Start(t, idp.Config{Clients: []idp.Client{client}, Register: true})
		shop := rp.Start(t, options.With("OIDC_ISSUER", op.Issuer))
		alice := visitor.New()
		p := alice.Get(t, shop.URL+"/auth/login?prompt=create&return_to=/app")
		if !strings.Contains(p.Body, "Register") {
			t.Fatalf("the link leads to %s:\n%s", p.URL, p.Body)
		}
		if p = alice.LogIn(t, p, idp.Alice.Login, idp.Alice.Password); p.URL.String() != shop.URL+"/app" {
			t.Errorf("registering ends at %s with %d", p.URL, p.Status)
		}
		walk.WantIdentity(t, walk.Whoami(t, alice, shop.URL), op.Issuer, idp.Alice)
	})
	t.Run("C025 prompt=login asks again", func(t *testing.T) {
		options, client := newShop(t)
		op := idp.Start(t, idp.Config{Clients: []idp.Client{client}})
		shop := rp.Start(t, options.With("OIDC_ISSUER", op.Issuer, "OIDC_PROMPT", "login"))
		alice := visitor.New()
		for range 2 {
			alice.Clear(shop.URL)
			p := alice.Get(t, shop.URL+"/app")
			if p.Form("login") == nil {
				t.Fatalf("the provider does not ask; the login ends at %s with %d", p.URL, p.Status)
			}
			if p = alice.LogIn(t, p, idp.Alice.Login, idp.Alice.Password); p.Status != http.StatusOK {
				t.Errorf("logging in ends at %s with %d:\n%s", p.URL, p.Status, p.Body)
			}
		}
	})
}
