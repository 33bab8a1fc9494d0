package blackbox_test

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/oidcgate/oidcgate/blackbox/internal/idp"
	"github.com/oidcgate/oidcgate/blackbox/internal/rp"
	"github.com/oidcgate/oidcgate/blackbox/internal/visitor"
	"github.com/oidcgate/oidcgate/blackbox/internal/walk"
)

// A provider that registers a client as client_secret_basic, client_secret_post or none, and
// releases claims by the scopes openid, profile and email.
func TestThreeAuthMethods(t *testing.T) {
	options, basic := newShop(t)
	base := options["BASE_URL"]
	clients := map[string]idp.Client{
		"basic": basic,
		"post":  idp.NewClient("shop-post", clientSecret, "client_secret_post", base),
		"none":  idp.NewClient("shop-none", "", "none", base),
	}
	var registered []idp.Client
	for _, client := range clients {
		registered = append(registered, client)
	}
	op, spy := startBehindSpy(t, idp.Config{
		Clients: registered, AlwaysRefreshToken: true, RotateRefreshToken: true, Watched: true, TTL: map[string]int{"AccessToken": 2},
	})
	options = options.With("OIDC_ISSUER", op.Issuer)
	bundles := map[string]walk.Identity{
		"":              {Name: "alice-0001"},
		"profile":       {Name: "Alice Adams"},
		"email":         {Name: "alice-0001", Email: "alice@example.com", EmailVerified: true},
		"profile email": {Name: "Alice Adams", Email: "alice@example.com", EmailVerified: true},
	}
	for auth, client := range clients {
		for scopes, want := range bundles {
			t.Run(strings.TrimSpace("C018 C051 "+auth+" with openid "+scopes), func(t *testing.T) {
				shop := rp.Start(t, options.With("OIDC_CLIENT_ID", client.ID, "OIDC_CLIENT_SECRET", client.Secret, "OIDC_CLIENT_AUTH", auth, "OIDC_SCOPES", scopes))
				want.Issuer, want.Subject, want.Groups = op.Issuer, "alice-0001", []string{}
				before := len(spy.tokenRequests(t, ""))
				checkMethod(t, op, shop, want)
				for _, r := range spy.tokenRequests(t, "")[before:] {
					checkAuth(t, auth, client.ID, r)
				}
			})
		}
	}
}

// checkAuth checks that a token request has the secret in the place of the method, and nowhere else.
func checkAuth(t *testing.T, auth, id string, r seenRequest) {
	t.Helper()
	form := parseForm(t, r.body)
	name, secret, inHeader := (&http.Request{Header: r.header}).BasicAuth()
	got := []string{name, secret, form.Get("client_id"), form.Get("client_secret")}
	want := map[string][]string{
		"basic": {id, url.QueryEscape(clientSecret), "", ""}, "post": {"", "", id, clientSecret}, "none": {"", "", id, ""},
	}[auth]
	if !slices.Equal(got, want) || inHeader != (auth == "basic") {
		t.Errorf("a token request for %s has %q, want %q", form.Get("grant_type"), got, want)
	}
}

// checkMethod logs Alice in, has her tokens refreshed without her, and logs her out.
func checkMethod(t *testing.T, op *idp.Provider, shop *rp.Replica, want walk.Identity) {
	t.Helper()
	before := op.Watch(t)
	alice := visitor.New()
	if p := alice.LogIn(t, alice.Get(t, shop.URL+"/app?color=blue"), idp.Alice.Login, idp.Alice.Password); p.URL.String() != shop.URL+"/app?color=blue" || p.Status != http.StatusOK {
		t.Fatalf("logging in ends at %s with %d:\n%s\n%s", p.URL, p.Status, p.Body, shop.Stderr())
	}
	wantWhoami(t, alice, shop.URL, want)
	awaitNewToken(t, alice, shop.URL)
	wantWhoami(t, alice, shop.URL, want)
	after := op.Watch(t)
	if n := after.Refreshes["alice-0001"] - before.Refreshes["alice-0001"]; n < 1 {
		t.Errorf("the provider refreshed %d times", n)
	}
	if n := after.Refused["alice-0001"] + after.Refused["nobody"] + after.Reused["alice-0001"]; n != 0 {
		t.Errorf("the provider refused %d refreshes", n)
	}
	cookies := alice.Cookies(shop.URL)
	if end := walk.LogOut(t, alice, shop.URL); end.URL.String() != shop.URL+"/public" {
		t.Errorf("logging out ends at %s:\n%s", end.URL, end.Body)
	}
	wantSignedOut(t, alice, shop.URL, cookies)
	if again := alice.Get(t, shop.URL+"/app"); again.FormWith("password") == nil || !strings.HasPrefix(again.URL.String(), op.Issuer) {
		t.Errorf("after the logout /app leads to %s", again.URL)
	}
}
