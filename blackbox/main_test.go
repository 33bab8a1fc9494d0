package blackbox_test

import (
	"encoding/json"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/oidcgate/oidcgate/blackbox/internal/idp"
	"github.com/oidcgate/oidcgate/blackbox/internal/rp"
	"github.com/oidcgate/oidcgate/blackbox/internal/visitor"
)

func TestMain(m *testing.M) { os.Exit(rp.Run(m)) }

const (
	clientSecret  = "a secret of client and provider"
	sessionCookie = "oidcgate" // on plain http, where it cannot have the prefix __Host-
)

// newShop returns the options of a service and the client it is at the provider. The two know of each other once
// OIDC_ISSUER is set.
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

// with returns a copy of options with more set, given as name, value, name, value.
func with(options rp.Options, more ...string) rp.Options {
	c := make(rp.Options, len(options)+len(more)/2)
	for name, value := range options {
		c[name] = value
	}
	for i := 0; i < len(more); i += 2 {
		c[more[i]] = more[i+1]
	}
	return c
}

// logIn opens a guarded page and logs in on the way.
func logIn(t testing.TB, v *visitor.Visitor, page string, u idp.User) {
	t.Helper()
	p := v.LogIn(t, v.Get(t, page), u.Login, u.Password)
	if p.Status != http.StatusOK || p.URL.String() != page {
		t.Fatalf("logging in as %s at %s ended at %s with %d:\n%s", u.Login, page, p.URL, p.Status, p.Body)
	}
	if hello := "hello " + u.Claims["name"].(string); !strings.Contains(p.Body, hello) {
		t.Fatalf("%s does not say %q:\n%s", page, hello, p.Body)
	}
}

// upToCallback logs in at the provider and returns the address it leads back to, which nobody has opened.
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

// identity is what /whoami answers.
type identity struct {
	Issuer        string   `json:"iss"`
	Subject       string   `json:"sub"`
	Name          string   `json:"name"`
	Email         string   `json:"email"`
	EmailVerified bool     `json:"email_verified"`
	Groups        []string `json:"groups"`
}

func whoami(t testing.TB, v *visitor.Visitor, base string) identity {
	t.Helper()
	p := v.Get(t, base+"/whoami")
	if p.Status != http.StatusOK {
		t.Fatalf("/whoami answers %d %s", p.Status, p.Body)
	}
	var id identity
	if err := json.Unmarshal([]byte(p.Body), &id); err != nil {
		t.Fatalf("/whoami answers %q: %v", p.Body, err)
	}
	return id
}

// status opens a path and checks what it answers, without following a redirect.
func status(t testing.TB, v *visitor.Visitor, address string, want int) *visitor.Page {
	t.Helper()
	p := v.Peek(t, address)
	if p.Status != want {
		t.Fatalf("GET %s answers %d, want %d; Location %q\n%s", address, p.Status, want, p.Header.Get("Location"), p.Body)
	}
	return p
}

// logOut presses the button of a page of the service and answers the provider's question.
func logOut(t testing.TB, v *visitor.Visitor, base string) *visitor.Page {
	t.Helper()
	button := v.Get(t, base+"/app").FormTo("/auth/logout")
	if button == nil {
		t.Fatal("/app has no button to log out")
	}
	return v.ConfirmLogout(t, v.Submit(t, button))
}

// tellNothing looks for what must never be printed in what a replica printed.
func tellNothing(t testing.TB, r *rp.Replica, v *visitor.Visitor) {
	t.Helper()
	secrets := []string{clientSecret, "code=", "eyJ"}
	for _, c := range v.Cookies(r.URL) {
		secrets = append(secrets, c.Value)
	}
	for _, secret := range secrets {
		if strings.Contains(r.Stdout()+r.Stderr(), secret) {
			t.Errorf("the service printed %q", secret)
		}
	}
}
