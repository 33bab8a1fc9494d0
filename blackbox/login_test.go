package blackbox_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/oidcgate/oidcgate/blackbox/internal/idp"
	"github.com/oidcgate/oidcgate/blackbox/internal/rp"
	"github.com/oidcgate/oidcgate/blackbox/internal/visitor"
	"github.com/oidcgate/oidcgate/blackbox/internal/walk"
	"github.com/oidcgate/oidcgate/internal/redistest"
)

// One visitor uses a service, with every client authentication method, router and store.
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
	options = options.With("OIDC_ISSUER", op.Issuer)
	tour := walk.Tour{Issuer: op.Issuer, Alice: idp.Alice, Bob: idp.Bob}
	stores := map[string]string{"Redis": "redis://" + server.Addr, "memory": ""}

	for auth, client := range clients {
		for _, router := range []string{"mux", "chi", "gin"} {
			for store, url := range stores {
				t.Run(strings.Join([]string{auth, router, store}, " on "), func(t *testing.T) {
					tour.Options = options.With("ROUTER", router, "REDIS_URL", url,
						"OIDC_CLIENT_ID", client.ID, "OIDC_CLIENT_SECRET", client.Secret, "OIDC_CLIENT_AUTH", auth)
					tour.Take(t)
				})
			}
		}
	}
}

// Claims may come from the ID Token or from userinfo. Without userinfo, only those of the ID Token
// are there.
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
			shop := rp.Start(t, options.With("OIDC_ISSUER", op.Issuer, "OIDC_USERINFO", tt.userinfo))
			alice := visitor.New()
			p := alice.LogIn(t, alice.Get(t, shop.URL+"/app"), idp.Alice.Login, idp.Alice.Password)
			if p.Status != http.StatusOK {
				t.Fatalf("logging in ends at %s with %d:\n%s", p.URL, p.Status, p.Body)
			}
			if got := walk.Whoami(t, alice, shop.URL); got.Email != tt.want || got.Subject != "alice-0001" {
				t.Errorf("/whoami answers %+v, want Alice with the e-mail address %q", got, tt.want)
			}
		})
	}
}

// The provider's answer takes every way through the browser.
func TestResponses(t *testing.T) {
	options, client := newShop(t)
	client.GrantTypes = append(client.GrantTypes, "implicit")
	client.ApplicationType = "native"
	client.ResponseTypes = []string{"code", "code id_token", "id_token"}
	op := idp.Start(t, idp.Config{Clients: []idp.Client{client}, ClaimsInIDToken: true})
	options = options.With("OIDC_ISSUER", op.Issuer)
	for _, row := range []struct{ responseType, responseMode string }{
		{"code", "form_post"}, {"code", "fragment"}, {"code", "query.jwt"}, {"code", "form_post.jwt"}, {"code", "fragment.jwt"}, {"code", "jwt"},
		{"code id_token", ""}, {"code id_token", "form_post"}, {"code id_token", "fragment.jwt"},
		{"id_token", ""}, {"id_token", "form_post"}, {"id_token", "form_post.jwt"},
	} {
		t.Run(row.responseType+" by "+row.responseMode, func(t *testing.T) {
			options := options.With("OIDC_RESPONSE_TYPE", row.responseType, "OIDC_RESPONSE_MODE", row.responseMode)
			if row.responseType == "id_token" {
				options = options.With("OIDC_USERINFO", "off")
			}
			shop := rp.Start(t, options)
			alice := visitor.New()
			for range 2 { // the second time the provider asks nothing
				alice.Clear(shop.URL)
				p := alice.LogIn(t, alice.Get(t, shop.URL+"/app?color=blue"), idp.Alice.Login, idp.Alice.Password)
				if p.Status != http.StatusOK || p.URL.String() != shop.URL+"/app?color=blue" {
					t.Fatalf("logging in ends at %s with %d:\n%s", p.URL, p.Status, p.Body)
				}
				if got := walk.Whoami(t, alice, shop.URL); got.Email != "alice@example.com" || got.Subject != "alice-0001" {
					t.Errorf("/whoami answers %+v", got)
				}
			}
			stranger := visitor.New()
			p := stranger.Submit(t, stranger.Get(t, shop.URL+"/app").Form("abort"))
			if p.URL.Path != "/auth/callback" || p.Status != http.StatusForbidden {
				t.Errorf("saying no ends at %s with %d", p.URL, p.Status)
			}
		})
	}
}

func TestSayingNo(t *testing.T) {
	options, client := newShop(t)
	op := idp.Start(t, idp.Config{Clients: []idp.Client{client}})
	shop := rp.Start(t, options.With("OIDC_ISSUER", op.Issuer))
	v := visitor.New()
	abort := v.Get(t, shop.URL+"/app").Form("abort")
	if abort == nil {
		t.Fatal("the login page has no way back")
	}
	p := v.Submit(t, abort)
	if !strings.HasPrefix(p.URL.String(), shop.URL+"/auth/callback") || p.Status < 400 || p.Status > 499 {
		t.Errorf("saying no at the provider ends at %s with %d, want a page of the service with a 4xx status", p.URL, p.Status)
	}
	walk.Status(t, v, shop.URL+"/whoami", http.StatusUnauthorized)
	walk.LogIn(t, v, shop.URL+"/app", idp.Alice)
}

// A page that wants a fresh login gets one: the provider asks for the password again.
func TestStepUp(t *testing.T) {
	options, client := newShop(t)
	op := idp.Start(t, idp.Config{Clients: []idp.Client{client}})
	shop := rp.Start(t, options.With("OIDC_ISSUER", op.Issuer, "STEP_UP_AGE", "10s", "LEEWAY", "1s"))
	alice := visitor.New()
	walk.LogIn(t, alice, shop.URL+"/fresh", idp.Alice)
	time.Sleep(12 * time.Second)
	walk.Status(t, alice, shop.URL+"/app", http.StatusOK)
	p := alice.Get(t, shop.URL+"/fresh?order=7")
	if !strings.HasPrefix(p.URL.String(), op.Issuer) || p.FormWith("password") == nil {
		t.Fatalf("C025 /fresh leads to %s, want the provider's login page:\n%s", p.URL, p.Body)
	}
	if p = alice.LogIn(t, p, idp.Alice.Login, idp.Alice.Password); p.URL.String() != shop.URL+"/fresh?order=7" || p.Status != http.StatusOK {
		t.Errorf("C025 the fresh login ends at %s with %d", p.URL, p.Status)
	}
}
