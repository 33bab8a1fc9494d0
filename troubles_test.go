package oidcgate_test

import (
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/oidcgate/oidcgate"
	"github.com/oidcgate/oidcgate/oidcgatetest"
)

// admins asks for the page for administrators every half hour, for four hours, and returns the last
// answer's status.
func (f *fleet) admins() int {
	for range 8 {
		time.Sleep(30 * time.Minute)
		f.admin()
		time.Sleep(30 * time.Second)
	}
	return f.admin()
}

func TestRereadWithATokenEndpointThatIsIll(t *testing.T) {
	answer := func(status int, typ, body string) func(*fleet) {
		return func(f *fleet) { f.op.Always(oidcgatetest.Token, oidcgatetest.Answer(status, typ, body)) }
	}
	for name, fail := range map[string]func(*fleet){
		"503": answer(503, "text/plain", ""), "429": answer(429, "application/json", `{"error":"slow_down"}`),
		"a page": answer(200, "text/html", "<h1>maintenance</h1>"), "404": answer(404, "text/html", "gone"),
		"no tokens": answer(200, "application/json", `{"error":null}`),
		"a redirect": func(f *fleet) {
			f.op.Always(oidcgatetest.Token, oidcgatetest.Redirect(302, "https://id.test/maintenance"))
		},
		"a key that is not published": func(f *fleet) {
			f.op.EveryIDToken(func(j *oidcgatetest.JWT) { j.Header["kid"] = "not-there" })
		},
		"no answer": func(f *fleet) { f.op.Always(oidcgatetest.Token, oidcgatetest.Reset()) },
	} {
		inBubble(t, "C113 OnLogin decides again whatever the token endpoint answers: "+name, func(t *testing.T) {
			op := oidcgatetest.NewProvider(t, oidcgatetest.Config{AccessTokenLifetime: 10 * time.Hour, RotateRefreshTokens: true})
			f := newFleetOf(t, op, 1, rereads, asksUserinfo, decides(func(*oidcgate.Login) error { return oidcgate.Deny("blocked") }))
			f.op.SetUser(inUserinfoGroups("admin"))
			f.login()
			fail(f)
			if status := f.admins(); status == http.StatusOK {
				t.Error("a blocked user is let in")
			}
		})
	}
}

func TestRereadWithoutUserinfo(t *testing.T) {
	for name, fault := range map[string]oidcgatetest.Fault{
		"503": oidcgatetest.Answer(503, "text/plain", ""), "reset": oidcgatetest.Reset(),
		"429": oidcgatetest.Answer(429, "", ""), "hangs": oidcgatetest.Hang(),
	} {
		inBubble(t, "C113 a new ID Token counts while userinfo gives no answer: "+name, func(t *testing.T) {
			f := newFleet(t, 1, rereads, func(_ *oidcgate.Config, p *oidcgate.Provider) { p.Userinfo = oidcgate.UserinfoOptional })
			f.op.SetUser(inGroups("admin"))
			f.login()
			f.op.SetUser(inGroups())
			f.op.Always(oidcgatetest.Userinfo, fault)
			if status := f.admins(); status != http.StatusForbidden {
				t.Errorf("status %d, though the ID Token says that the group is gone", status)
			}
			if f.subject() != "alice" {
				t.Error("alice was signed out")
			}
		})
	}
}

func TestRefreshesThatComeLate(t *testing.T) {
	for _, row := range []struct {
		sessions int
		slow     time.Duration
	}{{450, 3 * time.Second}, {200, 8 * time.Second}} {
		inBubble(t, fmt.Sprintf("F40 no refresh token is spent without the time to read the answer: %d sessions, %v", row.sessions, row.slow), func(t *testing.T) {
			f := newFleet(t, 1)
			var all []*http.Client
			for i := range row.sessions {
				all = append(all, f.signInAs(fmt.Sprint("user", i)))
			}
			time.Sleep(11 * time.Minute)
			f.op.Always(oidcgatetest.Token, oidcgatetest.Delay(row.slow))
			var wg sync.WaitGroup
			for _, b := range all {
				wg.Go(func() { f.token(b) })
			}
			wg.Wait()
			f.op.Clear(oidcgatetest.Token)
			for range 2 {
				time.Sleep(time.Minute)
				for _, b := range all {
					f.token(b)
				}
			}
			out := 0
			for _, b := range all {
				if f.who(b) == "" {
					out++
				}
			}
			if suspected := len(f.reported(oidcgate.EventRefreshReuseSuspected)); out != 0 || suspected != 0 {
				t.Errorf("%d visitors were signed out, and %d times a stolen token was suspected", out, suspected)
			}
		})
	}
}
