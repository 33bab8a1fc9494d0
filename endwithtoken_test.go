package oidcgate_test

import (
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oidcgate/oidcgate"
	"github.com/oidcgate/oidcgate/oidcgatetest"
)

func endsWithToken(c *oidcgate.Config, _ *oidcgate.Provider) { c.Tokens.EndWithAccessToken = true }

// pages opens guarded pages side by side and returns how many of them were shown.
func (f *fleet) pages(n int) (shown int) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			status := f.get("/app").StatusCode
			mu.Lock()
			defer mu.Unlock()
			if status == http.StatusOK {
				shown++
			}
		})
	}
	wg.Wait()
	return shown
}

func TestEndWithAccessTokenOfGuardedPages(t *testing.T) {
	invalidGrant := oidcgatetest.Answer(400, "application/json", `{"error":"invalid_grant"}`)
	for name, config := range map[string]change{
		"alone": endsWithToken, "and ClaimsMaxAge": func(c *oidcgate.Config, p *oidcgate.Provider) {
			endsWithToken(c, p)
			c.Tokens.ClaimsMaxAge = time.Hour
		},
	} {
		inBubble(t, "C085 the refresh token is withdrawn, no handler asks for a token, and a guard ends the session: EndWithAccessToken "+name, func(t *testing.T) {
			f := newFleet(t, 2, config)
			f.login()
			f.op.Always(oidcgatetest.Token, invalidGrant)
			time.Sleep(10*time.Minute - time.Second)
			if n := f.pages(10); n != 10 {
				t.Errorf("%d of 10 pages before the end of the access token", n)
			}
			f.refreshed(0)
			time.Sleep(2 * time.Second)
			if n := f.pages(50); n != 0 {
				t.Errorf("%d of 50 pages after the end of the access token", n)
			}
			f.refreshed(1)
			f.reportedOnce(oidcgate.EventSessionRevoked, oidcgate.ReasonByToken)
		})
	}
	inBubble(t, "C085 a guard has the tokens refreshed once, and the pages after it read the session only", func(t *testing.T) {
		f := newFleet(t, 2, endsWithToken)
		f.login()
		reads := func(when string) {
			t.Helper()
			calls := f.drill.during(func() { f.pages(3) })
			calls = slices.DeleteFunc(calls, func(c string) bool { return strings.HasPrefix(c, "swap s:") }) // notes that the session is used
			if got := strings.Join(calls, " "); strings.Count(got, "get s:") != 3 || len(calls) != 3 {
				t.Errorf("three pages %s: %s", when, got)
			}
		}
		time.Sleep(11 * time.Minute)
		if n := f.pages(50); n != 50 {
			t.Errorf("%d of 50 pages", n)
		}
		f.refreshed(1)
		reads("after a refresh by a guard")
		time.Sleep(9*time.Minute + 45*time.Second)
		reads("before the end")
		f.mustToken()
		f.refreshed(2)
		time.Sleep(30 * time.Second)
		reads("after a refresh by Token, and the end of the token before")
		time.Sleep(10 * time.Minute)
		if n := f.pages(50); n != 50 {
			t.Errorf("%d of 50 pages", n)
		}
		f.refreshed(3)
	})
	inBubble(t, "C085 the refresh is refused for another reason: the session ends a minute after the access token", func(t *testing.T) {
		f := newFleet(t, 2, endsWithToken)
		f.login()
		f.op.Always(oidcgatetest.Token, oidcgatetest.Answer(401, "application/json", `{"error":"invalid_client"}`))
		time.Sleep(10*time.Minute + 30*time.Second)
		if n := f.pages(10); n != 10 {
			t.Errorf("%d of 10 pages half a minute after the access token", n)
		}
		time.Sleep(2 * time.Minute)
		if n := f.pages(10); n != 0 {
			t.Errorf("%d of 10 pages two minutes later", n)
		}
	})
	for name, fault := range map[string]oidcgatetest.Fault{
		"is down": oidcgatetest.Answer(503, "", ""), "hangs": oidcgatetest.Hang(),
	} {
		inBubble(t, "C085 the provider "+name+": the session goes on, and is refreshed when the provider is back", func(t *testing.T) {
			var asked atomic.Int64
			f := newFleetThatKeepsRefreshTokens(t, 2, endsWithToken, decides(func(*oidcgate.Login) error { asked.Add(1); return nil }))
			f.login()
			f.op.Always(oidcgatetest.Token, fault)
			for range 8 {
				time.Sleep(20 * time.Minute)
				if n := f.pages(10); n != 10 {
					t.Errorf("%d of 10 pages", n)
				}
			}
			f.op.Clear(oidcgatetest.Token)
			time.Sleep(time.Minute)
			before := f.op.Count(oidcgatetest.Token)
			if n := f.pages(10); n != 10 || f.op.Count(oidcgatetest.Token) != before+1 {
				t.Errorf("%d of 10 pages, and %d refreshes", n, f.op.Count(oidcgatetest.Token)-before)
			}
			if n := asked.Load(); n != 0 {
				t.Errorf("OnLogin was asked %d times, without ClaimsMaxAge", n)
			}
		})
	}
	inBubble(t, "C085 the end of new tokens cannot be noted: the next guard notes it, and refreshes nothing", func(t *testing.T) {
		f := newFleet(t, 2, endsWithToken)
		f.login()
		time.Sleep(11 * time.Minute)
		f.drill.fail(on("swap s:", errReadOnly), nil)
		for range 3 {
			if n := f.pages(1); n != 1 {
				t.Errorf("%d of 1 pages", n)
			}
		}
		f.drill.fail(nil, nil)
		f.pages(1)
		f.refreshed(1)
		if calls := f.drill.during(func() { f.pages(1) }); len(calls) != 1 {
			t.Errorf("a page: %s", strings.Join(calls, " "))
		}
	})
	inBubble(t, "C085 without EndWithAccessToken no guard asks for tokens", func(t *testing.T) {
		f := newFleet(t, 1)
		f.login()
		time.Sleep(11 * time.Minute)
		if n := f.pages(3); n != 3 {
			t.Errorf("%d of 3 pages", n)
		}
		f.refreshed(0)
	})
}
