//go:build interop

package keycloak_test

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/oidcgate/oidcgate/blackbox/internal/idp"
	"github.com/oidcgate/oidcgate/blackbox/internal/rp"
	"github.com/oidcgate/oidcgate/blackbox/internal/visitor"
	"github.com/oidcgate/oidcgate/blackbox/internal/walk"
	"github.com/oidcgate/oidcgate/oidcgatetest"
)

// testBesideOthers has one service with Keycloak, the npm provider, one without ID Tokens and one of
// the test kit: a visitor logs in and out at each, and a code of one is of no use at another.
func testBesideOthers(t *testing.T, server *server, issuer string, options rp.Options) {
	base := rp.NewBaseURL(t)
	const secret = "a secret of the service and its providers"
	callback := func(name string) string { return base + "/auth/callback/" + name }

	server.addClient(t, client{ID: "beside", Secret: secret, RedirectURLs: []string{callback("keycloak")}, Attributes: map[string]string{
		"post.logout.redirect.uris": base + "/auth/logout/done",
	}})
	npmClient := idp.NewClient("beside", secret, "client_secret_basic", base)
	npmClient.RedirectURLs = []string{callback("npm")}
	npm := idp.Start(t, idp.Config{Clients: []idp.Client{npmClient}, Users: []idp.User{alice}})
	kit, plain := oidcgatetest.NewProvider(t), oidcgatetest.NewProvider(t, oidcgatetest.Config{WithoutIDTokens: true})
	for name, p := range map[string]*oidcgatetest.Provider{"kit": kit, "plain": plain} {
		p.AddClient(oidcgatetest.Client{ID: "beside", Secret: secret, RedirectURLs: []string{callback(name)}, PostLogoutRedirectURLs: []string{base + "/auth/logout/done"}})
	}
	kitURL, plainURL := kit.Server().URL, plain.Server().URL
	all := map[string]rp.Options{
		"keycloak": {"OIDC_ISSUER": issuer, "OIDC_SCOPES": "profile email"},
		"npm":      {"OIDC_ISSUER": npm.Issuer, "OIDC_SCOPES": "profile email", "OIDC_USERINFO": "required", "OIDC_PUSHED": "off"},
		"kit":      {"OIDC_ISSUER": kitURL, "OIDC_SCOPES": "profile email"},
		"plain": {
			"OIDC_ISSUER": plainURL, "OIDC_SUBJECT_CLAIM": "sub", "OIDC_SCOPES": "profile email",
			"OIDC_AUTHORIZATION_ENDPOINT": plainURL + "/authorize", "OIDC_TOKEN_ENDPOINT": plainURL + "/token", "OIDC_USERINFO_ENDPOINT": plainURL + "/userinfo",
		},
	}
	dir := t.TempDir()
	for name, o := range all {
		var file strings.Builder
		for key, value := range o.With("OIDC_CLIENT_ID", "beside", "OIDC_CLIENT_SECRET", secret, "OIDC_LABEL", "Sign in with "+name) {
			fmt.Fprintf(&file, "%s=%s\n", key, value)
		}
		if err := os.WriteFile(filepath.Join(dir, name+".env"), []byte(file.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	shop := rp.Start(t, rp.Options{"BASE_URL": base, "SESSION_KEYS": rp.NewKey(), "PROVIDERS": dir, "CA_FILE": server.caFile, "REDIS_URL": options["REDIS_URL"]})
	visit := func(t *testing.T, name string) (v *visitor.Visitor, end *visitor.Page) {
		t.Helper()
		v = visitor.New()
		v.Trust(server.roots)
		link := v.Get(t, shop.URL+"/app").Link("Sign in with " + name)
		if link == "" {
			t.Fatalf("the visitor cannot choose %s", name)
		}
		return v, v.LogIn(t, v.Get(t, link), alice.Login, alice.Password)
	}
	for name, o := range all {
		t.Run("log in and out at "+name, func(t *testing.T) {
			v, end := visit(t, name)
			if end.URL.String() != shop.URL+"/app" {
				t.Fatalf("the login ends at %s with %d:\n%s", end.URL, end.Status, end.Body)
			}
			if got := walk.Whoami(t, v, shop.URL); got.Issuer != o["OIDC_ISSUER"] || got.Subject == "" {
				t.Errorf("signed in: %+v", got)
			}
			walk.LogOut(t, v, shop.URL)
			walk.Status(t, v, shop.URL+"/whoami", 401)
		})
	}
	t.Run("C032 a code of Keycloak is of no use at another callback", func(t *testing.T) {
		v := visitor.New()
		v.Trust(server.roots)
		link := v.Get(t, shop.URL+"/app").Link("Sign in with keycloak")
		v.HoldAt(callback("keycloak") + "?")
		held := v.LogIn(t, v.Get(t, link), alice.Login, alice.Password).Location()
		v.HoldAt("")
		u, err := url.Parse(held)
		if err != nil || !u.Query().Has("code") {
			t.Fatalf("the login leads to %q", held)
		}
		for _, name := range []string{"npm", "kit", "plain"} {
			if end := v.Get(t, callback(name)+"?"+u.RawQuery); end.Status < 400 || end.Status > 499 {
				t.Errorf("%s: %d at %s\n%s", name, end.Status, end.URL, end.Body)
			}
		}
		walk.Status(t, v, shop.URL+"/whoami", 401)
		if n := kit.Count(oidcgatetest.Token) + plain.Count(oidcgatetest.Token); n > 2 { // one for each login above
			t.Errorf("the others got %d token requests", n)
		}
	})
}
