package oidcgate_test

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/oidcgate/oidcgate"
	"github.com/oidcgate/oidcgate/oidcgatetest"
)

// What is asked at further addresses may depend on the ID Token: it is the one that counts now, and as the provider
// issued it.
func TestFurtherClaimsAreReadAgain(t *testing.T) {
	rightsOf := map[string][]string{"finance": {"admin"}, "canteen": {"staff"}}
	byDepartment := func(c *oidcgate.Config, p *oidcgate.Provider) {
		p.Claims.Further = func(_ context.Context, id *oidcgate.Identity, _ *http.Client) (map[string]any, error) {
			department, _ := id.ClaimString("department")
			return map[string]any{"groups": rightsOf[department]}, nil
		}
	}
	in := func(department string) oidcgatetest.User {
		return oidcgatetest.User{Subject: "alice", Claims: map[string]any{"department": department}}
	}
	drops := func(c *oidcgate.Config, _ *oidcgate.Provider) {
		c.OnLogin = func(_ context.Context, l *oidcgate.Login) error { l.Drop("department"); return nil }
	}
	inBubble(t, "C113 of the ID Token that the refresh has brought", func(t *testing.T) {
		f := newFleet(t, 1, rereads, byDepartment)
		f.op.SetUser(in("finance"))
		f.login()
		f.op.SetUser(in("canteen"))
		time.Sleep(6 * time.Minute)
		if status := f.admin(); status != http.StatusForbidden {
			t.Errorf("status %d", status)
		}
	})
	for name, comes := range map[string]bool{
		"C113 of what the application has dropped":                true,
		"C113 of the login's ID Token, where none comes any more": false,
	} {
		inBubble(t, name, func(t *testing.T) {
			f := newFleet(t, 1, rereads, byDepartment, drops)
			f.op.SetUser(in("finance"))
			f.login()
			if !comes {
				f.op.Always(oidcgatetest.Token, oidcgatetest.EditJSON(func(m map[string]any) { delete(m, "id_token") }))
			}
			for range 3 {
				time.Sleep(6 * time.Minute)
				if status := f.admin(); status != http.StatusOK {
					t.Errorf("status %d", status)
				}
			}
		})
	}
}

func TestProviderTakenAwayDuringAReread(t *testing.T) {
	inBubble(t, "C113 the application is not asked about what it has left of the claims", func(t *testing.T) {
		own := oidcgate.Provider{Issuer: "https://id.test", ClientID: "shop", Auth: oidcgate.ClientSecretBasic(secret)}
		other := own
		other.Name = "other"
		f := newFleet(t, 1, rereads, func(c *oidcgate.Config, _ *oidcgate.Provider) {
			c.OnLogin = func(_ context.Context, l *oidcgate.Login) error {
				if groups, _ := l.Identity().ClaimStrings("groups"); len(groups) == 0 {
					return oidcgate.Deny("no groups")
				}
				l.Drop("groups")
				return l.Set("groups_seen", true)
			}
		})
		f.op.SetUser(inGroups("staff"))
		f.login()
		time.Sleep(6 * time.Minute)
		f.op.Always(oidcgatetest.Token, oidcgatetest.Delay(3*time.Second))
		go f.get("/app")
		time.Sleep(time.Second)
		if err := f.gates[0].SetProviders(other); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if err := f.gates[0].SetProviders(own, other); err != nil {
			t.Fatal(err)
		}
		f.op.Clear(oidcgatetest.Token)
		if a := f.get("/app"); a.StatusCode != http.StatusOK {
			t.Errorf("status %d when the provider is back\n%s", a.StatusCode, f.logged())
		}
	})
}

func TestFurtherFailsForOneUser(t *testing.T) {
	inBubble(t, "C113 it fails for alice again and again, and for nobody else: she loses her claims of userinfo", func(t *testing.T) {
		fails := false
		f := newFleet(t, 1, rereads, asksUserinfo, func(_ *oidcgate.Config, p *oidcgate.Provider) {
			p.Claims.Further = func(_ context.Context, id *oidcgate.Identity, _ *http.Client) (map[string]any, error) {
				if fails && id.Subject() == "alice" {
					return nil, errors.New("no table")
				}
				return nil, nil
			}
		})
		bob := f.signInAs("bob")
		f.op.SetUser(inUserinfoGroups("admin"))
		f.login()
		fails = true
		for minute := range 35 {
			time.Sleep(time.Minute)
			status := f.admin()
			if minute < 14 && status != http.StatusOK || f.who(bob) != "bob" {
				t.Fatalf("status %d after %d minutes", status, minute+1)
			}
		}
		if status := f.admin(); status != http.StatusForbidden || f.subject() != "alice" {
			t.Errorf("status %d, signed in as %q", status, f.subject())
		}
	})
}
