//go:build interop

package interop_test

import (
	"crypto/x509"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/oidcgate/oidcgate/blackbox/internal/idp"
	"github.com/oidcgate/oidcgate/blackbox/internal/rp"
	"github.com/oidcgate/oidcgate/blackbox/internal/visitor"
	"github.com/oidcgate/oidcgate/blackbox/internal/walk"
	"github.com/oidcgate/oidcgate/internal/redistest"
)

func TestMain(m *testing.M) { os.Exit(rp.Run(m)) }

// server is a running provider.
type server struct {
	issuer string
	roots  *x509.CertPool // of its certificate; nil: it uses http
	caFile string
}

// fetched returns what scripts/interop has fetched: the value of an environment variable.
func fetched(t *testing.T, name string) string {
	t.Helper()
	path := os.Getenv(name)
	if path == "" {
		t.Fatalf("%s is not set; `make interop` fetches the providers and runs these tests", name)
	}
	return path
}

// options returns those of a service that uses the provider, with sessions in a Redis of the test.
func (s *server) options(t *testing.T, base string) rp.Options {
	t.Helper()
	return rp.Options{
		"BASE_URL": base, "SESSION_KEYS": rp.NewKey(), "REDIS_URL": "redis://" + redistest.Start(t).Addr,
		"OIDC_ISSUER": s.issuer, "OIDC_SCOPES": "profile email", "OIDC_USERINFO": "on", "CA_FILE": s.caFile,
	}
}

// logIn starts a service and logs a user in.
func (s *server) logIn(t *testing.T, options rp.Options, u idp.User) (*rp.Replica, *visitor.Visitor) {
	t.Helper()
	shop := rp.Start(t, options)
	v := visitor.New()
	v.Trust(s.roots)
	walk.LogIn(t, v, shop.URL+"/app", u)
	return shop, v
}

// wantLoggedOut logs out and checks that the next visit needs the password again.
func (s *server) wantLoggedOut(t *testing.T, shop *rp.Replica, v *visitor.Visitor) {
	t.Helper()
	walk.LogOut(t, v, shop.URL)
	walk.Status(t, v, shop.URL+"/whoami", http.StatusUnauthorized)
	if p := v.Get(t, shop.URL+"/app"); p.FormWith("password") == nil {
		t.Errorf("after logging out /app leads to %s:\n%s\nwant the provider's login page", p.URL, p.Body)
	}
}

// wantRefreshed waits until the access token of a session is replaced by another.
func wantRefreshed(t *testing.T, shop *rp.Replica, v *visitor.Visitor) {
	t.Helper()
	first := v.Get(t, shop.URL+"/token")
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(time.Second) {
		p := v.Get(t, shop.URL+"/token")
		if p.Status != http.StatusOK {
			t.Fatalf("/token answers %d %s", p.Status, p.Body)
		}
		if p.Body != first.Body {
			return
		}
	}
	t.Fatalf("the access token %s was not refreshed within %v", first.Body, patience)
}

const patience = 2 * time.Minute // with a provider, on a busy machine

// write writes a file of a provider's configuration.
func write(t *testing.T, dir, name, content string) string {
	t.Helper()
	file := filepath.Join(dir, name)
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}
