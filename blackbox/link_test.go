package blackbox_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oidcgate/oidcgate/blackbox/internal/rp"
	"github.com/oidcgate/oidcgate/blackbox/internal/visitor"
	"github.com/oidcgate/oidcgate/blackbox/internal/walk"
	"github.com/oidcgate/oidcgate/oidcgatetest"
)

// account is the answer of /account.
type account struct {
	Number     int `json:"account"`
	Identities []struct {
		Issuer  string `json:"iss"`
		Subject string `json:"sub"`
	} `json:"identities"`
	Links map[string]string `json:"links"`
}

// accountOf asks a service for the account of a visitor.
func accountOf(t testing.TB, v *visitor.Visitor, base string) account {
	t.Helper()
	p := v.Get(t, base+"/account")
	var a account
	if err := json.Unmarshal([]byte(p.Body), &a); err != nil || p.Status != http.StatusOK {
		t.Fatalf("/account answers %d %s: %v", p.Status, p.Body, err)
	}
	return a
}

// writeProvider writes the file of a provider for PROVIDERS.
func writeProvider(t testing.TB, dir, name string, options rp.Options) {
	t.Helper()
	var lines strings.Builder
	for option, value := range options {
		if strings.HasPrefix(option, "OIDC_") && value != "" {
			lines.WriteString(option + "=" + value + "\n")
		}
	}
	if err := os.WriteFile(filepath.Join(dir, name+".env"), []byte(lines.String()), 0o600); err != nil {
		t.Fatal(err)
	}
}

// logInWith logs in at one of several providers, whose passwords are the names.
func logInWith(t testing.TB, v *visitor.Visitor, base, provider, user string) {
	t.Helper()
	address := base + "/auth/login?" + url.Values{"provider": {provider}, "return_to": {"/app"}}.Encode()
	if p := v.LogIn(t, v.Get(t, address), user, user); p.URL.String() != base+"/app" || p.Status != http.StatusOK {
		t.Fatalf("logging in as %s with %s ends at %s with %d:\n%s", user, provider, p.URL, p.Status, p.Body)
	}
}

// checkLinking has users of another provider attach their identities of this one.
func (p *plainProvider) checkLinking(t *testing.T) {
	t.Helper()
	house := &product{
		config: oidcgatetest.Config{AccessTokenLifetime: 2 * time.Second},
		endpoints: map[string]oidcgatetest.Endpoint{
			"/authorize": oidcgatetest.Authorization, "/token": oidcgatetest.Token, "/userinfo": oidcgatetest.Userinfo, "/jwks": oidcgatetest.JWKS, "/logout": oidcgatetest.EndSession,
		},
		users: map[string]oidcgatetest.User{"alice": {Subject: "house-alice"}, "bob": {Subject: "house-bob"}},
	}
	house.start(t)
	dir := t.TempDir()
	writeProvider(t, dir, "matomo", p.options(t, "/userinfo/id", "OIDC_SCOPES", "profile"))
	shop := rp.Start(t, house.options(t, oidcgatetest.Client{Secret: clientSecret}, "PROVIDERS", dir, "LINK", "true"))

	alice := visitor.New()
	logInWith(t, alice, shop.URL, ".", "alice")
	before := accountOf(t, alice, shop.URL)
	if end := alice.LogIn(t, alice.Get(t, before.Links["matomo"]), "alice", "alice"); end.URL.Path != "/account" || end.Status != http.StatusOK {
		t.Fatalf("attaching ends at %s with %d:\n%s", end.URL, end.Status, end.Body)
	}
	if got := walk.Whoami(t, alice, shop.URL); got.Subject != "house-alice" || got.Issuer != house.Issuer() {
		t.Errorf("after attaching the user is %+v", got)
	}
	other := visitor.New()
	logInWith(t, other, shop.URL, "matomo", "alice")
	if got := walk.Whoami(t, other, shop.URL); got.Subject != "90071992547409931" || got.Issuer != p.url {
		t.Errorf("with the second identity the user is %+v", got)
	}
	for _, v := range []*visitor.Visitor{alice, other} {
		if got := accountOf(t, v, shop.URL); got.Number != before.Number || len(got.Identities) != 2 {
			t.Errorf("the account is %+v, before it was %+v", got, before)
		}
		awaitNewToken(t, v, shop.URL)
	}
	bob := visitor.New()
	logInWith(t, bob, shop.URL, ".", "bob")
	mine := accountOf(t, bob, shop.URL)
	if end := bob.LogIn(t, bob.Get(t, mine.Links["matomo"]), "alice", "alice"); end.Status != http.StatusForbidden {
		t.Errorf("attaching an identity of another account ends at %s with %d:\n%s", end.URL, end.Status, end.Body)
	}
	if got := accountOf(t, bob, shop.URL); got.Number == before.Number || len(got.Identities) != 1 {
		t.Errorf("bob's account is %+v", got)
	}
	p.logOut(t, shop, other)
	walk.Status(t, alice, shop.URL+"/app", http.StatusOK)
	house.logOutAt(t, alice, shop.URL)
	shop.Stop() // it prints the last events
	linked := slices.DeleteFunc(shop.Events(t), func(e rp.Event) bool { return e.Name != "account.linked" })
	if len(linked) != 1 {
		t.Errorf("the events tell of %d attached identities, want one", len(linked))
	}
}
