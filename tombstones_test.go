package oidcgate_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/oidcgate/oidcgate"
	"github.com/oidcgate/oidcgate/oidcgatetest"
	"github.com/oidcgate/oidcgate/store"
)

// newerStore has logouts that a replica of another version wrote.
type newerStore struct {
	store.Store
	format func(string) string
}

func (s newerStore) Create(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	if strings.HasPrefix(key, "U:") || strings.HasPrefix(key, "E:") {
		value = []byte(s.format(string(value)))
	}
	return s.Store.Create(ctx, key, value, ttl)
}

// A logout that a replica of another version has written in its own way counts as one.
func TestLogoutsThatCannotBeRead(t *testing.T) {
	for name, format := range map[string]func(string) string{
		"as it is":     func(s string) string { return s },
		"a third time": func(s string) string { return s + " 3" },
		"a version":    func(s string) string { return "v2 " + s },
		"sealed":       func(string) string { return "\x02abcdef" },
		"nothing":      func(string) string { return "" },
	} {
		for _, how := range []string{"back channel", "EndUser"} {
			inBubble(t, "F41 C128 "+name+", "+how, func(t *testing.T) {
				f := newFleet(t, 1, func(c *oidcgate.Config, _ *oidcgate.Provider) { c.Store = newerStore{c.Store, format} })
				back := f.callbackURL("/app")
				time.Sleep(5 * time.Second)
				for range 2 { // the second finds what the first has left
					if how == "EndUser" {
						if _, err := f.gates[0].Sessions().EndUser(t.Context(), f.op.Issuer(), "alice"); err != nil {
							t.Fatal(err)
						}
					} else if a := f.logoutToken(f.logoutClaims("sub", "alice")); a.StatusCode != http.StatusOK {
						t.Fatal(a.StatusCode)
					}
				}
				time.Sleep(5 * time.Second)
				f.denied(f.get(back), http.StatusForbidden, oidcgate.ReasonLogoutWon)
			})
		}
	}
}

// The provider answers slowly to a login that comes back in the last second.
func TestLogoutsThatAreForgotten(t *testing.T) {
	for _, by := range []string{"EndUser", "sub", "sid"} {
		for _, skew := range []time.Duration{0, time.Second} {
			inBubble(t, fmt.Sprintf("C128 a login that ends after the tombstone is refused: %s, clocks that differ by %v", by, skew), func(t *testing.T) {
				f := newFleet(t, 1, func(c *oidcgate.Config, _ *oidcgate.Provider) { c.Limits.ClockSkew = skew })
				begun := time.Now().Add(-time.Minute).Unix()
				f.op.EveryIDToken(func(t *oidcgatetest.JWT) { t.Claims["sid"], t.Claims["auth_time"] = "S", begun })
				authorize := f.get("/auth/login?return_to=/app").location()
				time.Sleep(time.Second)
				switch by {
				case "EndUser":
					if _, err := f.gate.Sessions().EndUser(t.Context(), f.op.Issuer(), "alice"); err != nil {
						t.Fatal(err)
					}
				case "sub":
					f.logoutToken(f.logoutClaims("sub", "alice"))
				case "sid":
					f.logoutToken(f.logoutClaims("sid", "S"))
				}
				time.Sleep(10*time.Minute - 2*time.Second)
				f.op.Always(oidcgatetest.Token, oidcgatetest.Delay(5*time.Second))
				a := f.get(f.get(authorize).location())
				if skew == 0 { // a minute: the tombstone is there
					f.denied(a, http.StatusForbidden, oidcgate.ReasonLogoutWon)
				} else {
					f.denied(a, http.StatusBadRequest, oidcgate.ReasonStateExpired)
				}
				if got := f.subject(); got != "" {
					t.Errorf("signed in as %q", got)
				}
			})
		}
	}
}

func TestEndWithAccessTokenWithoutOne(t *testing.T) {
	inBubble(t, "C085 an ID Token alone ends nothing", func(t *testing.T) {
		w := newWorld(t, answering("id_token", "form_post"), endsWithToken)
		w.arrive(w.response("/app"))
		for i := range 8 {
			time.Sleep(10 * time.Minute)
			if got := w.subject(); got != "alice" {
				t.Fatalf("after %d minutes: signed in as %q", 10*(i+1), got)
			}
		}
	})
}
