//go:build interop

package keycloak_test

import (
	"os"
	"strings"
	"testing"

	"github.com/oidcgate/oidcgate/blackbox/internal/idp"
	"github.com/oidcgate/oidcgate/blackbox/internal/rp"
	"github.com/oidcgate/oidcgate/blackbox/internal/walk"
	"github.com/oidcgate/oidcgate/internal/redistest"
)

func TestMain(m *testing.M) { os.Exit(rp.Run(m)) }

// The users of realm.json.
var (
	alice = idp.User{Login: "alice", Password: "alice's password", Claims: map[string]any{
		"sub": "7c1a2a56-0001-4a6b-9d7e-00000000a11c", "name": "Alice Adams",
		"email": "alice@example.com", "email_verified": true, "groups": []string{"admin"},
	}}
	bob = idp.User{Login: "bob", Password: "bob's password", Claims: map[string]any{
		"sub": "7c1a2a56-0002-4a6b-9d7e-000000000b0b", "name": "Bob Brown",
		"email": "bob@example.com", "email_verified": false, "groups": []string{"staff"},
	}}
)

// Login, claims, a page for one group, logout here and at Keycloak: for every client authentication, router and
// store.
func TestLogInAndOut(t *testing.T) {
	server := startServer(t)
	base := rp.NewBaseURL(t)
	tour := walk.Tour{Issuer: server.addRealm(t, base), Roots: server.roots, Alice: alice, Bob: bob}
	options := rp.Options{
		"BASE_URL":      base,
		"SESSION_KEYS":  rp.NewKey(),
		"OIDC_ISSUER":   tour.Issuer,
		"OIDC_SCOPES":   "profile email",
		"OIDC_USERINFO": "on",
		"CA_FILE":       server.caFile,
	}
	clients := map[string]rp.Options{
		"basic": {"OIDC_CLIENT_ID": "shop", "OIDC_CLIENT_SECRET": "a secret of client and Keycloak"},
		"post":  {"OIDC_CLIENT_ID": "shop", "OIDC_CLIENT_SECRET": "a secret of client and Keycloak"},
		"none":  {"OIDC_CLIENT_ID": "shop-public"},
	}
	stores := map[string]string{"Redis": "redis://" + redistest.Start(t).Addr, "memory": ""}
	for auth, client := range clients {
		for _, router := range []string{"mux", "chi", "gin"} {
			for store, url := range stores {
				t.Run(strings.Join([]string{auth, router, store}, " on "), func(t *testing.T) {
					tour.Options = options.With("ROUTER", router, "REDIS_URL", url, "OIDC_CLIENT_AUTH", auth,
						"OIDC_CLIENT_ID", client["OIDC_CLIENT_ID"], "OIDC_CLIENT_SECRET", client["OIDC_CLIENT_SECRET"])
					tour.Take(t)
				})
			}
		}
	}
}
