package oidcgate_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/oidcgate/oidcgate"
	"github.com/oidcgate/oidcgate/oidcgatetest"
)

// sessionExpiry has ID Tokens say that the session ends so long after the test began.
func (f *fleet) sessionExpiry(after time.Duration) {
	end := time.Now().Add(after).Unix()
	f.op.EveryIDToken(func(t *oidcgatetest.JWT) { t.Claims["session_expiry"] = end })
}

func TestSessionExpiry(t *testing.T) {
	inBubble(t, "C105 the session ends when the provider says", func(t *testing.T) {
		f := newFleet(t, 2)
		f.sessionExpiry(20 * time.Minute)
		f.login()
		f.inspect(func(id *oidcgate.Identity) {
			if left := time.Until(id.Expires()); left != 20*time.Minute {
				t.Errorf("it ends in %v", left)
			}
		})
		time.Sleep(20*time.Minute - time.Second)
		if got := f.subject(); got != "alice" {
			t.Errorf("signed in as %q before its end", got)
		}
		time.Sleep(time.Second)
		if got := f.subject(); got != "" {
			t.Errorf("signed in as %q after its end", got)
		}
	})
	inBubble(t, "C105 a session ends no later than SessionLifetime, whatever the provider says", func(t *testing.T) {
		f := newFleet(t, 1)
		f.sessionExpiry(1000 * time.Hour)
		f.login()
		f.inspect(func(id *oidcgate.Identity) {
			if left := time.Until(id.Expires()); left > 24*time.Hour {
				t.Errorf("it ends in %v", left)
			}
		})
	})
	inBubble(t, "C105 a refresh may bring the end nearer, and neither further away nor without it", func(t *testing.T) {
		f := newFleet(t, 2)
		f.sessionExpiry(time.Hour)
		f.login()
		for _, step := range []struct {
			says string
			set  func()
			want time.Duration // of the end, from the login
		}{
			{"nothing", func() { f.op.EveryIDToken(func(*oidcgatetest.JWT) {}) }, time.Hour},
			{"a later end", func() { f.sessionExpiry(2 * time.Hour) }, time.Hour},
			{"an earlier end", func() { f.sessionExpiry(10 * time.Minute) }, 43 * time.Minute},
		} {
			time.Sleep(11 * time.Minute)
			step.set()
			f.mustToken()
			f.inspect(func(id *oidcgate.Identity) {
				if got := id.Expires().Sub(id.Created()); got != step.want {
					t.Errorf("the refresh says %s: the session lasts %v, want %v", step.says, got, step.want)
				}
			})
		}
		time.Sleep(10 * time.Minute)
		if got := f.subject(); got != "" {
			t.Errorf("signed in as %q after the end", got)
		}
	})
	for name, down := range map[string]time.Duration{"for some seconds": 5 * time.Second, "for longer than a refresh": 15 * time.Second} {
		inBubble(t, "C105 F16 the store cannot write the nearer end "+name+": the session ends all the same", func(t *testing.T) {
			f := newFleet(t, 2)
			f.login()
			time.Sleep(11 * time.Minute)
			f.sessionExpiry(30 * time.Minute)
			f.drill.fail(on("swap s:", errIll), nil)
			time.AfterFunc(down, func() { f.drill.fail(nil, nil) })
			f.token()
			time.Sleep(down)
			if down > 10*time.Second {
				f.mustToken()
			}
			time.Sleep(30 * time.Minute)
			if got := f.subject(); got != "" {
				t.Errorf("signed in as %q after the end", got)
			}
		})
	}
	inBubble(t, "C105 an end in milliseconds refuses the login, once, and says so", func(t *testing.T) {
		f := newFleet(t, 1)
		f.op.EveryIDToken(func(t *oidcgatetest.JWT) {
			t.Claims["session_expiry"] = time.Now().Add(time.Hour).UnixMilli()
		})
		a := f.get(f.callbackURL("/app"))
		f.denied(a, http.StatusBadGateway, "session_expiry")
		if e := f.reported(oidcgate.EventLoginFailed); !strings.Contains(e[0].Hint, "milliseconds") {
			t.Errorf("the hint is %q", e[0].Hint)
		}
		if f.op.Count(oidcgatetest.Authorization) != 1 {
			t.Error("the browser goes round")
		}
	})
}
