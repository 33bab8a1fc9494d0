package blackbox_test

import (
	"os"
	"strings"
	"testing"

	"github.com/oidcgate/oidcgate/blackbox/internal/idp"
	"github.com/oidcgate/oidcgate/blackbox/internal/rp"
	"github.com/oidcgate/oidcgate/blackbox/internal/visitor"
)

func TestMain(m *testing.M) { os.Exit(rp.Run(m)) }

const (
	clientSecret  = "a secret of client and provider alone"
	sessionCookie = "oidcgate" // on plain http, where it cannot have the prefix __Host-
)

// newShop returns the options of a service and its registration as a client at the provider. The
// caller must still set OIDC_ISSUER.
func newShop(t testing.TB) (rp.Options, idp.Client) {
	t.Helper()
	base := rp.NewBaseURL(t)
	return rp.Options{
		"BASE_URL":           base,
		"SESSION_KEYS":       rp.NewKey(),
		"OIDC_CLIENT_ID":     "shop",
		"OIDC_CLIENT_SECRET": clientSecret,
		"OIDC_SCOPES":        "profile email groups",
		"OIDC_USERINFO":      "on",
		"SESSION_VALUES":     "true",
	}, idp.NewClient("shop", clientSecret, "client_secret_basic", base)
}

// upToCallback logs in at the provider and returns the callback's address, without opening it.
func upToCallback(t testing.TB, v *visitor.Visitor, base string, u idp.User) string {
	t.Helper()
	callback := base + "/auth/callback"
	v.HoldAt(callback)
	defer v.HoldAt("")
	p := v.LogIn(t, v.Get(t, base+"/app"), u.Login, u.Password)
	if !strings.HasPrefix(p.Location(), callback+"?") {
		t.Fatalf("logging in as %s ended at %s with %d, Location %q, want one to the callback:\n%s", u.Login, p.URL, p.Status, p.Location(), p.Body)
	}
	return p.Location()
}
