package oidcgate_test

import (
	"context"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oidcgate/oidcgate"
	"github.com/oidcgate/oidcgate/oidcgatetest"
)

// A provider signs with the client secret. The secret is replaced there, and a minute later here.
func TestSecretIsReplacedWhileItSigns(t *testing.T) {
	older, newer := strings.Repeat("1", 32), strings.Repeat("2", 32)
	fixed := false
	begin := func(t *testing.T) (f *fleet, signs, here *atomic.Value) {
		signs, here = new(atomic.Value), new(atomic.Value)
		signs.Store(older)
		here.Store(older)
		f = newFleet(t, 1, func(_ *oidcgate.Config, p *oidcgate.Provider) {
			p.Verification.SigningAlgs = []string{"HS256"}
			p.Auth = oidcgate.ClientSecretBasic(func(context.Context) (string, error) { return here.Load().(string), nil })
			if fixed {
				p.Auth = oidcgate.ClientSecretBasic(older)
			}
		})
		f.register(older)
		f.op.EveryIDToken(func(j *oidcgatetest.JWT) {
			delete(j.Header, "kid")
			j.SignWith("HS256", []byte(signs.Load().(string)))
		})
		f.login()
		f.mustToken()
		return f, signs, here
	}
	inBubble(t, "C016 F41 sessions that are refreshed meanwhile go on", func(t *testing.T) {
		f, signs, here := begin(t)
		time.Sleep(10 * time.Minute)
		signs.Store(newer) // the provider takes both for a while
		f.token()
		time.Sleep(time.Minute)
		here.Store(newer)
		f.register(newer)
		f.mustToken()
	})
	inBubble(t, "C016 so does one for which the function returns another one before the answer is there", func(t *testing.T) {
		f, signs, here := begin(t)
		time.Sleep(10 * time.Minute)
		f.op.Always(oidcgatetest.Token, oidcgatetest.Delay(time.Second))
		time.AfterFunc(500*time.Millisecond, func() { here.Store(newer) })
		f.token()
		f.op.Clear(oidcgatetest.Token)
		time.Sleep(time.Minute)
		signs.Store(newer)
		f.register(newer)
		f.mustToken()
	})
	inBubble(t, "C124 a logout is to be sent again", func(t *testing.T) {
		f, signs, here := begin(t)
		signs.Store(newer)
		token := func() string {
			j := f.op.NewJWT(f.logoutClaims("sub", "alice"))
			delete(j.Header, "kid")
			j.SignWith("HS256", []byte(newer))
			return j.Compact()
		}
		if a := f.sendLogout(token()); a.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("status %d", a.StatusCode)
		}
		here.Store(newer)
		if a := f.sendLogout(token()); a.StatusCode != http.StatusOK || f.subject() != "" {
			t.Errorf("status %d afterwards, and %q is signed in", a.StatusCode, f.subject())
		}
	})
	inBubble(t, "C124 a logout that the only secret did not sign is refused for good", func(t *testing.T) {
		fixed = true
		f, _, _ := begin(t)
		j := f.op.NewJWT(f.logoutClaims("sub", "alice"))
		delete(j.Header, "kid")
		j.SignWith("HS256", []byte(newer))
		if a := f.sendLogout(j.Compact()); a.StatusCode != http.StatusBadRequest || f.subject() != "alice" {
			t.Errorf("status %d, and %q is signed in", a.StatusCode, f.subject())
		}
	})
}

// register has the provider know the shop by a secret.
func (f *fleet) register(secret string) {
	f.op.AddClient(oidcgatetest.Client{ID: "shop", Secret: secret, RedirectURLs: []string{shopURL + "/auth/callback"}})
}
