package blackbox_test

import (
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/oidcgate/oidcgate/blackbox/internal/idp"
	"github.com/oidcgate/oidcgate/blackbox/internal/rp"
	"github.com/oidcgate/oidcgate/blackbox/internal/visitor"
	"github.com/oidcgate/oidcgate/internal/redistest"
)

// The way of one visitor through a service, for every client authentication, router and store.
func TestLogInAndOut(t *testing.T) {
	server := redistest.Start(t)
	options, basic := newShop(t)
	clients := map[string]idp.Client{
		"basic": basic,
		"post":  idp.NewClient("shop-post", clientSecret, "client_secret_post", options["BASE_URL"]),
		"none":  idp.NewClient("shop-none", "", "none", options["BASE_URL"]),
	}
	var registered []idp.Client
	for _, client := range clients {
		registered = append(registered, client)
	}
	op := idp.Start(t, idp.Config{Clients: registered})
	options = with(options, "OIDC_ISSUER", op.Issuer)
	stores := map[string]string{"Redis": "redis://" + server.Addr, "memory": ""}

	for auth, client := range clients {
		for _, router := range []string{"mux", "chi", "gin"} {
			for store, url := range stores {
				t.Run(strings.Join([]string{auth, router, store}, " on "), func(t *testing.T) {
					walkThrough(t, op, with(options, "ROUTER", router, "REDIS_URL", url,
						"OIDC_CLIENT_ID", client.ID, "OIDC_CLIENT_SECRET", client.Secret, "OIDC_CLIENT_AUTH", auth))
				})
			}
		}
	}
}

func walkThrough(t *testing.T, op *idp.Provider, options rp.Options) {
	shop := rp.Start(t, options)
	alice, bob := visitor.New(), visitor.New()

	status(t, alice, shop.URL+"/public", http.StatusOK)
	status(t, alice, shop.URL+"/whoami", http.StatusUnauthorized)
	if p := alice.Get(t, shop.URL+"/app?color=blue"); !strings.HasPrefix(p.URL.String(), op.Issuer) {
		t.Fatalf("/app leads a stranger to %s, want the provider", p.URL)
	}
	logIn(t, alice, shop.URL+"/app?color=blue", idp.Alice)
	logIn(t, bob, shop.URL+"/mounted/app", idp.Bob)

	wantIdentity(t, whoami(t, alice, shop.URL), op.Issuer, idp.Alice)
	wantIdentity(t, whoami(t, bob, shop.URL), op.Issuer, idp.Bob)
	for page, want := range map[string]int{"/app": http.StatusOK, "/admin": http.StatusForbidden, "/domain": http.StatusForbidden} {
		status(t, bob, shop.URL+page, want)
		status(t, alice, shop.URL+page, http.StatusOK)
	}
	wantLoggedOut(t, op, shop, alice)
	status(t, bob, shop.URL+"/app", http.StatusOK)

	shop.Stop() // the last events are printed then
	for _, name := range []string{"login.started", "login.succeeded", "access.denied", "logout.started", "logout.completed"} {
		if !slices.ContainsFunc(shop.Events(t), func(e rp.Event) bool { return e.Name == name }) {
			t.Errorf("standard output has no event %q", name)
		}
	}
	tellNothing(t, shop, bob)
}

func wantIdentity(t *testing.T, got identity, issuer string, u idp.User) {
	t.Helper()
	want := identity{
		Issuer: issuer, Subject: u.Claims["sub"].(string), Name: u.Claims["name"].(string),
		Email: u.Claims["email"].(string), EmailVerified: u.Claims["email_verified"].(bool), Groups: u.Claims["groups"].([]string),
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("/whoami answers %+v, want %+v", got, want)
	}
}

// wantLoggedOut logs out and finds both sessions ended: the service's and the provider's.
func wantLoggedOut(t *testing.T, op *idp.Provider, shop *rp.Replica, v *visitor.Visitor) {
	t.Helper()
	before := v.Cookies(shop.URL)
	p := logOut(t, v, shop.URL)
	if p.URL.String() != shop.URL+"/public" || !strings.Contains(p.Body, "You are not signed in") {
		t.Errorf("logging out ends at %s:\n%s\nwant /public, not signed in", p.URL, p.Body)
	}
	status(t, v, shop.URL+"/whoami", http.StatusUnauthorized)
	if p := v.Get(t, shop.URL+"/app"); !strings.HasPrefix(p.URL.String(), op.Issuer) || p.FormWith("password") == nil {
		t.Errorf("after logging out /app leads to %s:\n%s\nwant the provider's login page", p.URL, p.Body)
	}
	// The cookie of before opens nothing, wherever somebody kept it.
	thief := visitor.New()
	thief.SetCookies(shop.URL, before)
	status(t, thief, shop.URL+"/whoami", http.StatusUnauthorized)
}

// Claims may come from either place; where userinfo is off, the ID Token's are the only ones.
func TestUserinfo(t *testing.T) {
	options, client := newShop(t)
	tests := []struct {
		name, userinfo  string
		claimsInIDToken bool
		want            string // the e-mail address
	}{
		{"off, and the ID Token has only who it is: no e-mail address", "off", false, ""},
		{"off, and the ID Token has the claims: its e-mail address", "off", true, "alice@example.com"},
		{"on, and the ID Token has only who it is: that of userinfo", "on", false, "alice@example.com"},
		{"required, and the ID Token has only who it is: that of userinfo", "required", false, "alice@example.com"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			op := idp.Start(t, idp.Config{Clients: []idp.Client{client}, ClaimsInIDToken: tt.claimsInIDToken})
			shop := rp.Start(t, with(options, "OIDC_ISSUER", op.Issuer, "OIDC_USERINFO", tt.userinfo))
			alice := visitor.New()
			p := alice.LogIn(t, alice.Get(t, shop.URL+"/app"), idp.Alice.Login, idp.Alice.Password)
			if p.Status != http.StatusOK {
				t.Fatalf("logging in ends at %s with %d:\n%s", p.URL, p.Status, p.Body)
			}
			if got := whoami(t, alice, shop.URL); got.Email != tt.want || got.Subject != "alice-0001" {
				t.Errorf("/whoami answers %+v, want Alice with the e-mail address %q", got, tt.want)
			}
		})
	}
}

func TestSayingNo(t *testing.T) {
	options, client := newShop(t)
	op := idp.Start(t, idp.Config{Clients: []idp.Client{client}})
	shop := rp.Start(t, with(options, "OIDC_ISSUER", op.Issuer))
	v := visitor.New()
	abort := v.Get(t, shop.URL+"/app").Form("abort")
	if abort == nil {
		t.Fatal("the login page has no way back")
	}
	p := v.Submit(t, abort)
	if !strings.HasPrefix(p.URL.String(), shop.URL+"/auth/callback") || p.Status < 400 || p.Status > 499 {
		t.Errorf("saying no at the provider ends at %s with %d, want a page of the service with a 4xx status", p.URL, p.Status)
	}
	status(t, v, shop.URL+"/whoami", http.StatusUnauthorized)
	logIn(t, v, shop.URL+"/app", idp.Alice)
}
