// Package walk has the test that is run with every provider: visitors use the relying party of
// ../rp.
package walk

import (
	"crypto/x509"
	"encoding/json"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/oidcgate/oidcgate/blackbox/internal/idp"
	"github.com/oidcgate/oidcgate/blackbox/internal/rp"
	"github.com/oidcgate/oidcgate/blackbox/internal/visitor"
)

// Tour is a service and two users of its provider: Alice, in the group admin and with a verified
// e-mail address at example.com, and Bob, who has neither.
type Tour struct {
	Issuer     string
	Roots      *x509.CertPool // certificate authorities that visitors trust; nil: the system's
	Options    rp.Options     // of the service
	Alice, Bob idp.User
}

// Take starts the service, logs both users in, checks which pages each may see, and logs Alice out.
func (tour Tour) Take(t *testing.T) {
	t.Helper()
	shop := rp.Start(t, tour.Options)
	alice, bob := tour.newVisitor(), tour.newVisitor()

	Status(t, alice, shop.URL+"/public", http.StatusOK)
	Status(t, alice, shop.URL+"/whoami", http.StatusUnauthorized)
	if p := alice.Get(t, shop.URL+"/app?color=blue"); !strings.HasPrefix(p.URL.String(), tour.Issuer) {
		t.Fatalf("/app leads a stranger to %s, want the provider", p.URL)
	}
	LogIn(t, alice, shop.URL+"/app?color=blue", tour.Alice)
	LogIn(t, bob, shop.URL+"/mounted/app", tour.Bob)

	WantIdentity(t, Whoami(t, alice, shop.URL), tour.Issuer, tour.Alice)
	WantIdentity(t, Whoami(t, bob, shop.URL), tour.Issuer, tour.Bob)
	for page, want := range map[string]int{"/app": http.StatusOK, "/admin": http.StatusForbidden, "/domain": http.StatusForbidden} {
		Status(t, bob, shop.URL+page, want)
		Status(t, alice, shop.URL+page, http.StatusOK)
	}
	tour.logOut(t, shop, alice)
	Status(t, bob, shop.URL+"/app", http.StatusOK)

	shop.Stop() // it prints the last events
	tour.checkOutput(t, shop, bob)
}

func (tour Tour) newVisitor() *visitor.Visitor {
	v := visitor.New()
	v.Trust(tour.Roots)
	return v
}

// checkOutput checks that the output has the required events and no secrets.
func (tour Tour) checkOutput(t *testing.T, shop *rp.Replica, v *visitor.Visitor) {
	t.Helper()
	for _, name := range []string{"login.started", "login.succeeded", "access.denied", "logout.started", "logout.completed"} {
		if !slices.ContainsFunc(shop.Events(t), func(e rp.Event) bool { return e.Name == name }) {
			t.Errorf("standard output has no event %q", name)
		}
	}
	secrets := []string{tour.Options["SESSION_KEYS"], "code=", "eyJ"} // every JWT begins with eyJ
	if secret := tour.Options["OIDC_CLIENT_SECRET"]; secret != "" {
		secrets = append(secrets, secret)
	}
	for _, c := range v.Cookies(shop.URL) {
		secrets = append(secrets, c.Value)
	}
	for _, secret := range secrets {
		if strings.Contains(shop.Stdout()+shop.Stderr(), secret) {
			t.Errorf("the service printed %q", secret)
		}
	}
}

// WantIdentity compares a service's identity of a user with the user's data at the provider.
func WantIdentity(t testing.TB, got Identity, issuer string, u idp.User) {
	t.Helper()
	want := Identity{
		Issuer: issuer, Subject: u.Claims["sub"].(string), Name: u.Claims["name"].(string),
		Email: u.Claims["email"].(string), EmailVerified: u.Claims["email_verified"].(bool), Groups: u.Claims["groups"].([]string),
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("/whoami answers %+v, want %+v", got, want)
	}
}

// logOut logs out and checks that the session of the service and that of the provider have ended.
func (tour Tour) logOut(t *testing.T, shop *rp.Replica, v *visitor.Visitor) {
	t.Helper()
	before := v.Cookies(shop.URL)
	p := LogOut(t, v, shop.URL)
	if p.URL.String() != shop.URL+"/public" || !strings.Contains(p.Body, "You are not signed in") {
		t.Errorf("logging out ends at %s:\n%s\nwant /public, not signed in", p.URL, p.Body)
	}
	Status(t, v, shop.URL+"/whoami", http.StatusUnauthorized)
	if p := v.Get(t, shop.URL+"/app"); !strings.HasPrefix(p.URL.String(), tour.Issuer) || p.FormWith("password") == nil {
		t.Errorf("after logging out /app leads to %s:\n%s\nwant the provider's login page", p.URL, p.Body)
	}
	// A copy of the old cookie must not work any more.
	thief := visitor.New()
	thief.SetCookies(shop.URL, before)
	Status(t, thief, shop.URL+"/whoami", http.StatusUnauthorized)
}

// LogIn opens a guarded page and logs in on the way.
func LogIn(t testing.TB, v *visitor.Visitor, page string, u idp.User) {
	t.Helper()
	p := v.LogIn(t, v.Get(t, page), u.Login, u.Password)
	if p.Status != http.StatusOK || p.URL.String() != page {
		t.Fatalf("logging in as %s at %s ended at %s with %d:\n%s", u.Login, page, p.URL, p.Status, p.Body)
	}
	if hello := "hello " + u.Claims["name"].(string); !strings.Contains(p.Body, hello) {
		t.Fatalf("%s does not say %q:\n%s", page, hello, p.Body)
	}
}

// Identity is the response of /whoami.
type Identity struct {
	Issuer        string   `json:"iss"`
	Subject       string   `json:"sub"`
	Name          string   `json:"name"`
	Email         string   `json:"email"`
	EmailVerified bool     `json:"email_verified"`
	Groups        []string `json:"groups"`
}

// Whoami asks a service who is signed in.
func Whoami(t testing.TB, v *visitor.Visitor, base string) Identity {
	t.Helper()
	p := v.Get(t, base+"/whoami")
	if p.Status != http.StatusOK {
		t.Fatalf("/whoami answers %d %s", p.Status, p.Body)
	}
	var id Identity
	if err := json.Unmarshal([]byte(p.Body), &id); err != nil {
		t.Fatalf("/whoami answers %q: %v", p.Body, err)
	}
	return id
}

// Status opens a path and checks the status of the response, without following a redirect.
func Status(t testing.TB, v *visitor.Visitor, address string, want int) *visitor.Page {
	t.Helper()
	p := v.Peek(t, address)
	if p.Status != want {
		t.Fatalf("GET %s answers %d, want %d; Location %q\n%s", address, p.Status, want, p.Header.Get("Location"), p.Body)
	}
	return p
}

// LogOut presses the logout button of a page and confirms the logout at the provider.
func LogOut(t testing.TB, v *visitor.Visitor, base string) *visitor.Page {
	t.Helper()
	button := v.Get(t, base+"/app").FormTo("/auth/logout")
	if button == nil {
		t.Fatal("/app has no button to log out")
	}
	return v.ConfirmLogout(t, v.Submit(t, button))
}
