package oidcgate_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/oidcgate/oidcgate"
	"github.com/oidcgate/oidcgate/oidcgatetest"
)

// The code of these logins was redeemed, and then something of the answer was refused.
func TestRefusedLoginRevokesItsToken(t *testing.T) {
	for name, row := range map[string]struct {
		change change
		refuse func(f *fleet)
	}{
		"a claim is not as it must be": {
			func(_ *oidcgate.Config, p *oidcgate.Provider) {
				p.Verification.RequireClaims = map[string][]string{"hd": {"shop.example"}}
			},
			func(*fleet) {},
		},
		"the answer has no ID Token": {
			func(*oidcgate.Config, *oidcgate.Provider) {},
			func(f *fleet) {
				f.op.Inject(oidcgatetest.Token, oidcgatetest.EditJSON(func(m map[string]any) { delete(m, "id_token") }))
			},
		},
		"the tokens are of another type": {
			func(*oidcgate.Config, *oidcgate.Provider) {},
			func(f *fleet) {
				f.op.Inject(oidcgatetest.Token, oidcgatetest.EditJSON(func(m map[string]any) { m["token_type"] = "mac" }))
			},
		},
		"userinfo gives no answer": {
			func(_ *oidcgate.Config, p *oidcgate.Provider) { p.Userinfo = oidcgate.UserinfoRequired },
			func(f *fleet) {
				f.op.Always(oidcgatetest.Userinfo, oidcgatetest.Answer(http.StatusInternalServerError, "", ""))
			},
		},
		"the nonce is another's": {
			func(*oidcgate.Config, *oidcgate.Provider) {},
			func(f *fleet) { f.op.EveryIDToken(func(t *oidcgatetest.JWT) { t.Claims["nonce"] = "another" }) },
		},
	} {
		inBubble(t, "C087 "+name, func(t *testing.T) {
			f := newFleet(t, 1, row.change)
			issued := ""
			f.op.Always(oidcgatetest.Token, oidcgatetest.EditJSON(func(m map[string]any) { issued, _ = m["refresh_token"].(string) }))
			revoked := f.revocations()
			row.refuse(f)
			if a := f.get(f.callbackURL("/app")); a.StatusCode < 400 {
				t.Errorf("status %d", a.StatusCode)
			}
			if got := revoked(); len(got) != 1 || got[0] == "" || issued != "" && got[0] != issued {
				t.Errorf("revoked are %q, want %q", got, issued)
			}
		})
	}
	inBubble(t, "C087 not where the browser has a session, which may be of the same grant", func(t *testing.T) {
		f := newFleet(t, 1)
		f.login()
		revoked := f.revocations()
		f.op.EveryIDToken(func(t *oidcgatetest.JWT) { t.Claims["nonce"] = "another" })
		if a := f.get(f.callbackURL("/auth/login")); a.StatusCode < 400 || len(revoked()) != 0 || f.subject() != "alice" {
			t.Errorf("status %d, revoked are %q, signed in as %q", a.StatusCode, revoked(), f.subject())
		}
	})
	inBubble(t, "C087 F14 not while the clocks differ, which refuses the logins of all", func(t *testing.T) {
		f := newFleet(t, 1)
		f.login()
		revoked := f.revocations()
		f.op.EveryIDToken(func(t *oidcgatetest.JWT) { t.Claims["iat"] = time.Now().Add(time.Hour).Unix() })
		mine := f.browser
		f.browser = f.newBrowser()
		if a := f.get(f.callbackURL("/auth/login")); a.StatusCode < 400 || len(revoked()) != 0 || f.who(mine) != "alice" {
			t.Errorf("status %d, revoked are %q", a.StatusCode, revoked())
		}
	})
}
