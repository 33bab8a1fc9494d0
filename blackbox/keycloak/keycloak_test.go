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

// TestKeycloak starts Keycloak once for all subtests, because the start takes most of the time.
func TestKeycloak(t *testing.T) {
	server := startServer(t)
	base, receiver := rp.NewBaseURL(t), freeAddr(t)
	redisURL := "redis://" + redistest.Start(t).Addr
	tour := walk.Tour{Issuer: server.addRealm(t, base, receiver), Roots: server.roots, Alice: alice, Bob: bob}
	options := rp.Options{
		"BASE_URL":           base,
		"SESSION_KEYS":       rp.NewKey(),
		"OIDC_ISSUER":        tour.Issuer,
		"OIDC_CLIENT_SECRET": "a secret of client and Keycloak",
		"OIDC_SCOPES":        "profile email",
		"OIDC_USERINFO":      "on",
		"CA_FILE":            server.caFile,
	}
	t.Run("back-channel logout", func(t *testing.T) {
		own := options.With("REDIS_URL", redisURL, "OIDC_CLIENT_ID", "shop-backchannel", "OIDC_LOGOUT_WITHOUT_REVOCATION", "true")
		testBackchannelLogout(t, server, own, receiver)
	})
	t.Run("protocol", func(t *testing.T) { testProtocol(t, server, tour.Issuer, options.With("REDIS_URL", redisURL)) })
	t.Run("API", func(t *testing.T) { testAPI(t, server, tour.Issuer, options.With("REDIS_URL", redisURL)) })
	t.Run("token exchange", func(t *testing.T) { testExchange(t, server, tour.Issuer) })
	t.Run("log in again elsewhere", func(t *testing.T) {
		testLogInAgainElsewhere(t, server, tour.Issuer, options.With("REDIS_URL", redisURL))
	})
	t.Run("doctor", func(t *testing.T) { testDoctor(t, server, tour.Issuer, base) })
	t.Run("beside others", func(t *testing.T) { testBesideOthers(t, server, tour.Issuer, options.With("REDIS_URL", redisURL)) })
	t.Run("log in and out", func(t *testing.T) { testLogInAndOut(t, tour, options, redisURL) })
	t.Run("FAPI 2.0", func(t *testing.T) { testFAPI(t, server, tour.Issuer, options.With("REDIS_URL", redisURL)) })
}

// testLogInAndOut logs in, checks the claims and a page for one group, and logs out here and at
// Keycloak. It does so with every client authentication method, router and store.
func testLogInAndOut(t *testing.T, tour walk.Tour, options rp.Options, redisURL string) {
	clients := map[string]rp.Options{
		"basic": options.With("OIDC_CLIENT_ID", "shop"),
		"post":  options.With("OIDC_CLIENT_ID", "shop"),
		"none":  options.With("OIDC_CLIENT_ID", "shop-public", "OIDC_CLIENT_SECRET", ""),
	}
	stores := map[string]string{"Redis": redisURL, "memory": ""}
	for auth, client := range clients {
		for _, router := range []string{"mux", "chi", "gin"} {
			for store, url := range stores {
				t.Run(strings.Join([]string{auth, router, store}, " on "), func(t *testing.T) {
					tour.Options = client.With("ROUTER", router, "REDIS_URL", url, "OIDC_CLIENT_AUTH", auth)
					tour.Take(t)
				})
			}
		}
	}
}
