//go:build interop

package keycloak_test

import (
	"testing"
	"time"

	"github.com/oidcgate/oidcgate/blackbox/internal/rp"
	"github.com/oidcgate/oidcgate/blackbox/internal/visitor"
	"github.com/oidcgate/oidcgate/blackbox/internal/walk"
)

// testLogInAgainElsewhere has a user authenticate anew for one application, while a session of
// another goes on. Keycloak's refreshed ID Tokens say in auth_time when that was, at all of them.
func testLogInAgainElsewhere(t *testing.T, server *server, issuer string, options rp.Options) {
	const secret = "a secret of two applications"
	start := func(id string, more ...string) *rp.Replica {
		base := rp.NewBaseURL(t)
		server.addClient(t, client{ID: id, Secret: secret, RedirectURLs: []string{base + "/auth/callback"}, Attributes: map[string]string{}})
		own := options.With("BASE_URL", base, "OIDC_ISSUER", issuer, "OIDC_CLIENT_ID", id, "OIDC_CLIENT_SECRET", secret, "COOKIE_NAME", id)
		return rp.Start(t, own.With(more...))
	}
	shop := start("again-shop", "REREAD_CLAIMS", "2s")
	bank := start("again-bank", "OIDC_PROMPT", "login")
	v := visitor.New()
	v.Trust(server.roots)
	walk.LogIn(t, v, shop.URL+"/app", alice)
	time.Sleep(2 * time.Second) // auth_time counts seconds
	walk.LogIn(t, v, bank.URL+"/app", alice)
	for range 3 {
		time.Sleep(2100 * time.Millisecond) // the claims are due
		if got := walk.Whoami(t, v, shop.URL); got.Subject != alice.Claims["sub"] {
			t.Errorf("C081 signed in at the shop: %+v", got)
		}
	}
	refreshed := 0
	for _, e := range shop.Events(t) {
		switch e.Name {
		case "refresh.succeeded":
			refreshed++
		case "refresh.failed", "session.revoked":
			t.Errorf("C081 %+v", e)
		}
	}
	if refreshed == 0 {
		t.Error("no tokens were refreshed")
	}
}
