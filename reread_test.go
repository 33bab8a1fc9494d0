package oidcgate_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oidcgate/oidcgate"
	"github.com/oidcgate/oidcgate/oidcgatetest"
)

var errReadOnly = errors.New("read only replica")

// decides has OnLogin answer a re-read, and never refuse a login.
func decides(on func(l *oidcgate.Login) error) change {
	return func(c *oidcgate.Config, _ *oidcgate.Provider) {
		c.OnLogin = func(_ context.Context, l *oidcgate.Login) error {
			if !l.IsReread() {
				return nil
			}
			return on(l)
		}
	}
}

func deny(*oidcgate.Login) error { return oidcgate.Deny("You have left the company.") }

// withoutMember removes a member from the answers of the token endpoint.
func withoutMember(name string) oidcgatetest.Fault {
	return oidcgatetest.EditJSON(func(m map[string]any) { delete(m, name) })
}

func TestRereadWithoutAnEnd(t *testing.T) {
	inBubble(t, "C113 a request whose client leaves meanwhile is not carried out with the old claims", func(t *testing.T) {
		f := newFleet(t, 1, rereads)
		f.op.SetUser(inGroups("admin"))
		f.login()
		f.op.SetUser(inGroups())
		time.Sleep(6 * time.Minute)
		f.op.Always(oidcgatetest.Token, oidcgatetest.Delay(time.Second))
		var orders atomic.Int64
		handler := f.gate.Wrap(f.gate.Require(oidcgate.Claim("groups", "admin"))(
			http.HandlerFunc(func(http.ResponseWriter, *http.Request) { orders.Add(1) })))
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
				defer cancel()
				r := httptest.NewRequestWithContext(ctx, http.MethodPost, shopURL+"/transfer", nil)
				r.Header.Set("Cookie", f.sentCookies())
				handler.ServeHTTP(httptest.NewRecorder(), r)
			})
		}
		wg.Wait()
		if n := orders.Load(); n != 0 {
			t.Errorf("%d of 50 requests were carried out with a group that the provider took away", n)
		}
	})
	for _, op := range []string{"create l:", "create m:", "swap s:"} {
		inBubble(t, "C113 F16 the store cannot write ("+op+"): 503, never the old claims", func(t *testing.T) {
			f := newFleet(t, 1, rereads)
			f.op.SetUser(inGroups("admin"))
			f.login()
			f.op.SetUser(inGroups())
			time.Sleep(6 * time.Minute)
			f.drill.fail(on(op, errReadOnly), nil)
			for range 5 {
				if status := f.admin(); status != http.StatusServiceUnavailable {
					t.Errorf("status %d", status)
				}
				time.Sleep(20 * time.Second)
			}
		})
	}
	inBubble(t, "C113 F16 the store is slow to refuse the new tokens: 503, never the old claims", func(t *testing.T) {
		f := newFleet(t, 1, rereads)
		f.op.SetUser(inGroups("admin"))
		f.login()
		f.op.SetUser(inGroups())
		time.Sleep(6 * time.Minute)
		f.drill.fail(on("swap t:", errReadOnly), nil)
		if status := f.admin(); status != http.StatusServiceUnavailable {
			t.Errorf("status %d", status)
		}
		f.drill.fail(nil, nil)
		time.Sleep(time.Second)
		if status := f.admin(); status != http.StatusForbidden {
			t.Errorf("status %d when the store is well", status)
		}
	})
	for _, op := range []string{"swap s:", "delete s:"} {
		inBubble(t, "C113 F16 the provider takes longer than a request waits, and the store refuses ("+op+"): 503 from the second request on", func(t *testing.T) {
			decide := deny
			if op == "swap s:" {
				decide = func(*oidcgate.Login) error { return nil }
			}
			f := newFleet(t, 1, rereads, decides(decide))
			f.op.SetUser(inGroups("admin"))
			f.login()
			f.op.SetUser(inGroups())
			f.op.Always(oidcgatetest.Token, oidcgatetest.Delay(2500*time.Millisecond))
			time.Sleep(6 * time.Minute)
			f.drill.fail(on(op, errReadOnly), nil)
			for i := range 10 {
				status := f.admin()
				// The tokens may be deleted by then, without which the session is over.
				if i > 0 && status != http.StatusServiceUnavailable && status != http.StatusSeeOther {
					t.Errorf("request %d: status %d", i, status)
				}
				time.Sleep(20 * time.Second)
			}
			f.drill.fail(nil, nil)
			f.op.Clear(oidcgatetest.Token)
			if status := f.admin(); status == http.StatusOK {
				t.Errorf("status %d when all is well", status)
			}
		})
	}
	inBubble(t, "C113 a Deny holds for the request in which the session cannot be deleted", func(t *testing.T) {
		f := newFleet(t, 1, rereads, decides(deny))
		f.op.SetUser(inGroups("admin"))
		f.login()
		time.Sleep(6 * time.Minute)
		f.drill.fail(on("delete s:", errReadOnly), nil)
		for i := range 3 {
			// The tokens may be deleted by then, without which the session is over.
			status := f.admin()
			if status != http.StatusServiceUnavailable && (i == 0 || status != http.StatusSeeOther) {
				t.Errorf("status %d", status)
			}
		}
	})
	inBubble(t, "C113 a Deny holds for tokens when the session cannot be deleted", func(t *testing.T) {
		f := newFleet(t, 1, rereads, decides(deny))
		f.login()
		time.Sleep(11 * time.Minute)
		f.drill.fail(on("delete s:", errReadOnly), nil)
		if token, status := f.token(); status != http.StatusServiceUnavailable {
			t.Errorf("status %d, token %q", status, token)
		}
	})
	inBubble(t, "C113 a Deny holds for a token that is not due, when nothing can be deleted", func(t *testing.T) {
		f := newFleet(t, 1, rereads, decides(deny))
		f.login()
		time.Sleep(6 * time.Minute) // claims are due, the access token is not
		f.drill.fail(func(op, _ string) error {
			if op == "delete" {
				return errReadOnly
			}
			return nil
		}, nil)
		if token, status := f.token(); status != http.StatusServiceUnavailable {
			t.Errorf("status %d, token %q", status, token)
		}
	})
	inBubble(t, "C113 another replica waits for the one that reads the claims", func(t *testing.T) {
		f := newFleet(t, 2, rereads)
		f.op.SetUser(inGroups("admin"))
		f.login()
		f.op.SetUser(inGroups())
		time.Sleep(6 * time.Minute)
		f.op.Always(oidcgatetest.Token, oidcgatetest.Delay(time.Second))
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				if status := f.admin(); status != http.StatusForbidden {
					t.Errorf("status %d", status)
				}
			})
		}
		wg.Wait()
		f.refreshed(1)
	})
	inBubble(t, "C113 F08 a provider that hangs holds up a guarded page for two seconds, and others not at all", func(t *testing.T) {
		f := newFleet(t, 1, rereads)
		var browsers []*http.Client
		for range 200 {
			f.browser = f.newBrowser()
			f.login()
			browsers = append(browsers, f.browser)
		}
		time.Sleep(6 * time.Minute)
		f.op.Always(oidcgatetest.Token, oidcgatetest.Hang())
		public := f.gate.Wrap(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
		slowest := func(visit func(*http.Client)) time.Duration {
			var mu sync.Mutex
			var took []time.Duration
			var wg sync.WaitGroup
			for _, b := range browsers {
				wg.Go(func() {
					begin := time.Now()
					visit(b)
					mu.Lock()
					defer mu.Unlock()
					took = append(took, time.Since(begin))
				})
			}
			wg.Wait()
			return slices.Max(took)
		}
		for range 3 {
			guarded := slowest(func(b *http.Client) { f.send(b, http.MethodGet, "/app", "") })
			if guarded > 2*time.Second {
				t.Errorf("the slowest guarded page took %v", guarded)
			}
			own := f.handler
			f.handler = public
			if unguarded := slowest(func(b *http.Client) { f.send(b, http.MethodGet, "/public", "") }); unguarded > 0 {
				t.Errorf("the slowest page that asks for no identity took %v", unguarded)
			}
			f.handler = own
			time.Sleep(5 * time.Second)
		}
	})
	inBubble(t, "C113 FromContext reads the claims again, and SessionErr says why it cannot", func(t *testing.T) {
		f := newFleet(t, 1, rereads)
		f.op.SetUser(inGroups("admin"))
		f.login()
		f.op.SetUser(inGroups())
		time.Sleep(6 * time.Minute)
		var signedIn bool
		var groups []string
		var err error
		f.handler = f.gate.Wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			var id *oidcgate.Identity
			id, signedIn = oidcgate.FromContext(r.Context())
			if signedIn {
				groups, _ = id.ClaimStrings("groups")
			}
			err = f.gate.SessionErr(r.Context())
		}))
		f.drill.fail(on("swap s:", errReadOnly), nil)
		f.get("/")
		if signedIn || !errors.Is(err, oidcgate.ErrStoreUnavailable) {
			t.Errorf("signed in %v, error %v", signedIn, err)
		}
		f.drill.fail(nil, nil)
		f.get("/")
		if !signedIn || len(groups) != 0 || err != nil {
			t.Errorf("signed in %v, groups %q, error %v", signedIn, groups, err)
		}
	})
}

func TestRereadOfTwoReplicasThatTheStoreRefuses(t *testing.T) {
	for _, op := range []string{"swap s:", "swap t:", "delete s:"} {
		inBubble(t, "C113 F16 two replicas, a slow provider, and the store refuses ("+op+"): 503 at both from the second request on", func(t *testing.T) {
			decide := func(*oidcgate.Login) error { return nil }
			if op == "delete s:" {
				decide = deny
			}
			fleetOf := newFleet
			if op == "swap t:" {
				fleetOf = newFleetThatKeepsRefreshTokens // one that rotates and is not saved is lost
			}
			f := fleetOf(t, 2, rereads, decides(decide))
			f.op.SetUser(inGroups("admin"))
			f.login()
			f.op.SetUser(inGroups())
			time.Sleep(6 * time.Minute)
			f.op.Always(oidcgatetest.Token, oidcgatetest.Delay(2500*time.Millisecond))
			f.drill.fail(func(did, key string) error {
				return errors.Join(on(op, errReadOnly)(did, key), on("delete t:", errReadOnly)(did, key))
			}, nil)
			cookies := f.sentCookies()
			ask := func(g *oidcgate.Gate) int {
				r := httptest.NewRequest(http.MethodGet, shopURL+"/admin", nil)
				r.Header.Set("Cookie", cookies)
				w := httptest.NewRecorder()
				g.Wrap(g.Require(oidcgate.Claim("groups", "admin"))(
					http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))).ServeHTTP(w, r)
				return w.Code
			}
			for i := range 20 {
				var wg sync.WaitGroup
				for j, g := range f.gates {
					wg.Go(func() {
						if status := ask(g); i > 0 && status != http.StatusServiceUnavailable {
							t.Errorf("request %d at replica %d: status %d", i, j, status)
						}
					})
					time.Sleep(100 * time.Millisecond)
				}
				wg.Wait()
				time.Sleep(20 * time.Second)
			}
			f.drill.fail(nil, nil)
			f.op.Clear(oidcgatetest.Token)
			want := http.StatusForbidden
			if op == "delete s:" {
				want = http.StatusSeeOther
			}
			for j, g := range f.gates {
				if status := ask(g); status != want {
					t.Errorf("replica %d: status %d when all is well", j, status)
				}
			}
		})
	}
}

func TestRereadOfALockThatIsNotGivenBack(t *testing.T) {
	inBubble(t, "C113 F16 the store refuses the new claims and the lock's return: 503 from the second request on", func(t *testing.T) {
		f := newFleet(t, 1, rereads)
		f.op.SetUser(inGroups("admin"))
		f.login()
		f.op.SetUser(inGroups())
		time.Sleep(6 * time.Minute)
		f.op.Always(oidcgatetest.Token, oidcgatetest.Delay(2500*time.Millisecond))
		f.drill.fail(func(op, key string) error {
			return errors.Join(on("swap s:", errReadOnly)(op, key), on("swap l:", errReadOnly)(op, key))
		}, nil)
		for i := range 4 { // the lease is 15 seconds
			if status := f.admin(); i > 0 && status != http.StatusServiceUnavailable {
				t.Errorf("request %d: status %d", i, status)
			}
			time.Sleep(time.Second)
		}
	})
}

func TestOnLoginThatHangs(t *testing.T) {
	inBubble(t, "F34 OnLogin does not return: minutes later it is asked again, and its answer counts", func(t *testing.T) {
		var asked atomic.Int64
		released := make(chan struct{})
		f := newFleet(t, 1, rereads, decides(func(l *oidcgate.Login) error {
			if asked.Add(1) == 1 {
				<-released // a call into a dead connection
			}
			return deny(l)
		}))
		f.login()
		time.Sleep(6 * time.Minute)
		f.get("/app")
		time.Sleep(2 * time.Minute)
		if got := f.subject(); got != "" || asked.Load() != 2 {
			t.Errorf("signed in as %q, OnLogin was asked %d times", got, asked.Load())
		}
		if e := f.reported(oidcgate.EventRefreshFailed); len(e) != 2 || e[0].Reason != "internal" {
			t.Errorf("events %+v", e)
		}
		if err := f.gate.Wait(t.Context()); err != nil {
			t.Error(err)
		}
		close(released)
	})
	inBubble(t, "C113 F34 OnLogin never returns for a user: nobody keeps a group by that", func(t *testing.T) {
		released := make(chan struct{})
		f := newFleet(t, 2, rereads, decides(func(*oidcgate.Login) error { <-released; return nil }))
		f.op.SetUser(inGroups("admin"))
		f.login()
		f.op.SetUser(inGroups())
		for range 30 {
			time.Sleep(time.Minute)
			f.admin()
		}
		if status := f.admin(); status != http.StatusServiceUnavailable {
			t.Errorf("status %d", status)
		}
		close(released)
		time.Sleep(time.Minute)
		f.admin()
		if status := f.admin(); status != http.StatusForbidden {
			t.Errorf("OnLogin answers again: status %d", status)
		}
	})
	inBubble(t, "C113 F34 a provider that hangs is no OnLogin that does: the old claims count", func(t *testing.T) {
		f := newFleet(t, 1, rereads)
		f.op.SetUser(inGroups("admin"))
		f.login()
		released := make(chan struct{})
		f.op.Always(oidcgatetest.Token, func(http.Handler) http.Handler {
			return http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-released })
		})
		for range 30 {
			time.Sleep(time.Minute)
			f.admin()
		}
		if status := f.admin(); status != http.StatusOK {
			t.Errorf("status %d", status)
		}
		close(released)
	})
	inBubble(t, "F34 OnLogin ends its goroutine, as t.FailNow of a mock does: 503, and no tokens", func(t *testing.T) {
		f := newFleet(t, 1, rereads, decides(func(*oidcgate.Login) error { runtime.Goexit(); return nil }))
		f.op.SetUser(inGroups("admin"))
		f.login()
		f.op.SetUser(inGroups())
		time.Sleep(6 * time.Minute)
		if status := f.admin(); status != http.StatusServiceUnavailable {
			t.Errorf("status %d", status)
		}
		time.Sleep(10 * time.Minute)
		if token, status := f.token(); status != http.StatusBadGateway {
			t.Errorf("status %d, token %q", status, token)
		}
	})
	inBubble(t, "F34 OnLogin does not return: Token waits two seconds, as guards do", func(t *testing.T) {
		released := make(chan struct{})
		f := newFleet(t, 1, rereads, decides(func(*oidcgate.Login) error { <-released; return nil }))
		f.login()
		time.Sleep(11 * time.Minute)
		answered := make(chan int, 1)
		go func() {
			_, status := f.token()
			answered <- status
		}()
		select {
		case status := <-answered:
			if status != http.StatusOK {
				t.Errorf("status %d", status)
			}
		case <-time.After(3 * time.Second):
			t.Error("no answer")
		}
		close(released)
	})
}

func TestRereadWhileTheTokenEndpointFails(t *testing.T) {
	html := oidcgatetest.Answer(200, "text/html", "<h1>maintenance</h1>")
	for name, fail := range map[string]func(f *fleet){
		"is down":               func(f *fleet) { f.op.Always(oidcgatetest.Token, oidcgatetest.Answer(503, "", "")) },
		"breaks the connection": func(f *fleet) { f.op.Always(oidcgatetest.Token, oidcgatetest.Reset()) },
		"answers with a page":   func(f *fleet) { f.op.Always(oidcgatetest.Token, html) },
		"sends elsewhere":       func(f *fleet) { f.op.Always(oidcgatetest.Token, oidcgatetest.Redirect(302, "https://id.test/closed")) },
		"signs with a key that is not published": func(f *fleet) {
			f.op.EveryIDToken(func(j *oidcgatetest.JWT) { j.Header["kid"] = "not there" })
		},
	} {
		start := func(t *testing.T, changes ...change) *fleet {
			op := oidcgatetest.NewProvider(t, oidcgatetest.Config{AccessTokenLifetime: 10 * time.Hour, RotateRefreshTokens: true})
			f := newFleetOf(t, op, 2, append(changes, rereads)...)
			f.op.SetUser(inUserinfoGroups("admin"))
			f.login()
			f.op.SetUser(inUserinfoGroups())
			fail(f)
			time.Sleep(6 * time.Minute)
			return f
		}
		inBubble(t, "C113 the token endpoint "+name+", and userinfo tells what is so", func(t *testing.T) {
			f := start(t, asksUserinfo)
			if status := f.admin(); status != http.StatusForbidden {
				t.Errorf("status %d with a group that the provider took away", status)
			}
			f.op.Clear(oidcgatetest.Token)
			f.op.SetUser(inUserinfoGroups("admin"))
			time.Sleep(time.Minute)
			if status := f.admin(); status != http.StatusOK {
				t.Errorf("status %d: the claims were not read again soon", status)
			}
		})
		inBubble(t, "C113 the token endpoint "+name+", and OnLogin decides without userinfo", func(t *testing.T) {
			f := start(t, decides(deny))
			if got := f.subject(); got != "" {
				t.Errorf("signed in as %q, whom OnLogin refuses", got)
			}
		})
		inBubble(t, "C113 the token endpoint "+name+", and userinfo refuses the token, which may be replaced: the session goes on", func(t *testing.T) {
			f := start(t, asksUserinfo)
			f.op.Always(oidcgatetest.Userinfo, invalidToken)
			if got := f.subject(); got != "alice" {
				t.Errorf("signed in as %q", got)
			}
		})
	}
}

func TestRereadWhileUserinfoFails(t *testing.T) {
	for name, fault := range map[string]oidcgatetest.Fault{
		"is down": oidcgatetest.Answer(503, "", ""), "is busy": oidcgatetest.Answer(429, "", ""),
		"breaks the connection": oidcgatetest.Reset(), "hangs": oidcgatetest.Hang(),
	} {
		for mode, config := range map[string]change{
			"optional": func(_ *oidcgate.Config, p *oidcgate.Provider) { p.Userinfo = oidcgate.UserinfoOptional },
			"required": func(_ *oidcgate.Config, p *oidcgate.Provider) { p.Userinfo = oidcgate.UserinfoRequired },
		} {
			inBubble(t, "C113 userinfo, "+mode+", "+name+": what the new ID Token says counts", func(t *testing.T) {
				f := newFleet(t, 2, rereads, config)
				f.op.SetUser(inGroups("admin"))
				f.login()
				f.op.SetUser(inGroups())
				f.op.Always(oidcgatetest.Userinfo, fault)
				time.Sleep(6 * time.Minute)
				f.admin() // waits for two seconds
				if err := f.gate.Wait(t.Context()); err != nil {
					t.Fatal(err)
				}
				time.Sleep(10 * time.Second) // the other replica reads the claims
				if status := f.admin(); status != http.StatusForbidden {
					t.Errorf("status %d with a group that the ID Token has not any more", status)
				}
				f.op.Clear(oidcgatetest.Userinfo)
				f.op.SetUser(inGroups("admin"))
				time.Sleep(3 * time.Minute)
				if status := f.admin(); status != http.StatusOK {
					t.Errorf("status %d: the claims were not read again soon", status)
				}
			})
		}
	}
}

func TestUserinfoThatCannotBeRead(t *testing.T) {
	surrogate := oidcgatetest.Edit(func(r *oidcgatetest.Response) {
		r.Body = []byte(strings.Replace(string(r.Body), "{", `{"nickname":"\ud83d",`, 1))
	})
	keeps := func(c *oidcgate.Config, _ *oidcgate.Provider) { c.Tokens.KeepRefused = true }
	for _, row := range []struct {
		name   string
		fault  oidcgatetest.Fault
		config change
		want   int // in the end
	}{
		{"it is too long", oidcgatetest.Huge(2 << 20), rereads, http.StatusForbidden},
		{"half an emoji", surrogate, rereads, http.StatusForbidden},
		{"it is a page", oidcgatetest.Answer(200, "text/html", "<form>"), rereads, http.StatusForbidden},
		{"the access token is too long for the server", oidcgatetest.Answer(431, "text/html", "too large"), rereads, http.StatusForbidden},
		{"the request is bad, and short", oidcgatetest.Answer(400, "text/html", "bad"), rereads, http.StatusOK},
		{"with KeepRefused", surrogate, keeps, http.StatusOK},
		{"the status is another", oidcgatetest.Answer(404, "application/json", "{}"), rereads, http.StatusOK},
		{"nothing comes", oidcgatetest.Answer(503, "", ""), rereads, http.StatusOK},
	} {
		inBubble(t, "C113 userinfo cannot be read: "+row.name, func(t *testing.T) {
			var withGroup atomic.Bool
			f := newFleet(t, 2, asksUserinfo, decides(func(l *oidcgate.Login) error {
				groups, _ := l.Identity().ClaimStrings("groups")
				withGroup.Store(len(groups) > 0)
				return nil
			}), rereads, row.config)
			f.op.SetUser(inUserinfoGroups("admin"))
			time.Sleep(time.Hour) // so long has the process heard of nobody else
			f.login()
			time.Sleep(6 * time.Minute)
			f.op.Always(oidcgatetest.Userinfo, row.fault)
			for range 4 {
				if status := f.admin(); status != http.StatusOK {
					t.Errorf("status %d before userinfo could not be read for ClaimsMaxAge", status)
				}
				time.Sleep(time.Minute)
			}
			f.op.Clear(oidcgatetest.Userinfo)
			f.admin() // it can be read again
			time.Sleep(6 * time.Minute)
			f.op.Always(oidcgatetest.Userinfo, row.fault)
			f.admin()
			time.Sleep(4 * time.Minute)
			if status := f.admin(); status != http.StatusOK {
				t.Errorf("status %d four minutes after userinfo could be read", status)
			}
			time.Sleep(2 * time.Minute)
			if status := f.admin(); status != row.want || withGroup.Load() != (row.want == http.StatusOK) {
				t.Errorf("status %d, want %d; OnLogin saw the group: %v", status, row.want, withGroup.Load())
			}
			f.op.Clear(oidcgatetest.Userinfo)
			time.Sleep(time.Minute)
			if status := f.admin(); status != http.StatusOK {
				t.Errorf("status %d when userinfo can be read again", status)
			}
		})
	}
}

func TestRereadOnceInARequest(t *testing.T) {
	inBubble(t, "C113 the guard and the handler have one answer, also when claims become due in between", func(t *testing.T) {
		f := newFleet(t, 1, rereads)
		f.login()
		time.Sleep(5*time.Minute - time.Second)
		f.handler = f.gate.Wrap(f.gate.Require()(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			time.Sleep(2 * time.Second)
			if _, ok := oidcgate.FromContext(r.Context()); !ok {
				t.Errorf("admitted, and then nobody: %v", f.gate.SessionErr(r.Context()))
			}
		})))
		f.drill.fail(on("create l:", errReadOnly), nil)
		if a := f.get("/"); a.StatusCode != http.StatusOK {
			t.Errorf("status %d", a.StatusCode)
		}
	})
}

// TestUserinfoThatNeverAnswers has a userinfo that takes no token of this client, such as Microsoft Graph when the token is for
// an API.
func TestUserinfoThatNeverAnswers(t *testing.T) {
	optional := func(_ *oidcgate.Config, p *oidcgate.Provider) { p.Userinfo = oidcgate.UserinfoOptional }
	replicas := 2
	begin := func(t *testing.T, atLogin oidcgatetest.Fault) *fleet {
		f := newFleet(t, replicas, rereads, optional)
		f.op.SetUser(inGroups("admin"))
		f.op.Always(oidcgatetest.Userinfo, atLogin)
		f.login()
		return f
	}
	reread := func(f *fleet) {
		time.Sleep(6 * time.Minute)
		f.get("/app")
	}
	for name, refreshes := range map[string]oidcgatetest.Fault{
		"": oidcgatetest.EditJSON(func(map[string]any) {}), ", where refreshes bring no ID Token": withoutMember("id_token"),
	} {
		inBubble(t, "C113 nobody is signed out for it"+name, func(t *testing.T) {
			f := begin(t, invalidToken)
			f.op.Always(oidcgatetest.Token, refreshes)
			for range 8 {
				reread(f)
			}
			if f.subject() != "alice" || f.admin() != http.StatusOK {
				t.Errorf("signed in as %q", f.subject())
			}
			if e := f.reported(oidcgate.EventUserinfoFailed); len(e) < 8 || e[0].Reason != "userinfo_refused" {
				t.Errorf("%d events %+v", len(e), e)
			}
			if e := f.reported(oidcgate.EventRereadFailed); len(e) > 0 {
				t.Errorf("events %+v", e)
			}
		})
	}
	inBubble(t, "C113 a bare 403 is asked for once in each interval", func(t *testing.T) {
		f := begin(t, oidcgatetest.Answer(403, "", ""))
		for range 60 {
			time.Sleep(time.Minute)
			f.get("/app")
		}
		if n := f.op.Count(oidcgatetest.Userinfo); n > 13 || f.subject() != "alice" {
			t.Errorf("asked %d times in an hour, signed in as %q", n, f.subject())
		}
	})
	inBubble(t, "C113 the ID Token's groups count", func(t *testing.T) {
		f := begin(t, invalidToken)
		reread(f)
		f.op.SetUser(inGroups("staff"))
		reread(f)
		if got := f.admin(); got != http.StatusForbidden || f.subject() != "alice" {
			t.Errorf("/admin is %d for %q", got, f.subject())
		}
	})
	for name, answer := range map[string]oidcgatetest.Fault{"500": oidcgatetest.Answer(500, "", ""), "429": oidcgatetest.Answer(429, "", "")} {
		inBubble(t, "C113 where it failed otherwise at the login, a refusal ends the session: "+name, func(t *testing.T) {
			f := begin(t, answer)
			f.op.Clear(oidcgatetest.Userinfo)
			f.op.Always(oidcgatetest.Userinfo, invalidToken)
			reread(f)
			if got := f.subject(); got != "" {
				t.Errorf("signed in as %q", got)
			}
		})
	}
	inBubble(t, "C113 so it is where it was asked too often for a while", func(t *testing.T) {
		replicas = 1
		f := begin(t, invalidToken)
		bob := f.signInAs("bob")
		var hers atomic.Bool
		hers.Store(true)
		f.op.Clear(oidcgatetest.Userinfo)
		f.op.Always(oidcgatetest.Userinfo, whileHers(&hers, oidcgatetest.Answer(429, "", "")))
		for range 8 {
			hers.Store(true)
			reread(f)
			hers.Store(false)
			f.who(bob)
		}
		f.op.Clear(oidcgatetest.Userinfo)
		f.op.Always(oidcgatetest.Userinfo, invalidToken)
		for range 4 {
			reread(f)
		}
		if f.subject() != "alice" {
			t.Error("signed out")
		}
	})
	inBubble(t, "C113 once it has answered, a refusal ends the session", func(t *testing.T) {
		f := begin(t, invalidToken)
		reread(f)
		f.op.Clear(oidcgatetest.Userinfo)
		reread(f)
		f.op.Always(oidcgatetest.Userinfo, invalidToken)
		reread(f)
		if got := f.subject(); got != "" {
			t.Errorf("signed in as %q", got)
		}
	})
}

func TestRereadAlwaysAsksOnLogin(t *testing.T) {
	for name, row := range map[string]struct{ without, detail string }{
		"refreshes bring no ID Token": {"id_token", "the refresh brought no ID Token, and userinfo is off"},
		"there is no refresh token":   {"refresh_token", "there is no refresh token, and userinfo is off"},
	} {
		inBubble(t, "C113 "+name, func(t *testing.T) {
			without := row.without
			var blocked atomic.Bool
			var asked atomic.Int64
			f := newFleet(t, 1, rereads, decides(func(l *oidcgate.Login) error {
				asked.Add(1)
				if got, _ := l.Identity().ClaimStrings("groups"); len(got) != 1 || got[0] != "staff" {
					t.Errorf("OnLogin sees the groups %q", got)
				}
				l.Drop("groups")
				if blocked.Load() {
					return oidcgate.Deny("blocked")
				}
				return nil
			}))
			f.op.SetUser(inGroups("staff"))
			if without == "refresh_token" {
				f.op.Inject(oidcgatetest.Token, withoutMember(without))
			}
			f.login()
			if without == "id_token" {
				f.op.Always(oidcgatetest.Token, withoutMember(without))
			}
			for range 3 {
				time.Sleep(6 * time.Minute)
				f.get("/app")
			}
			if asked.Load() != 3 || f.subject() != "alice" {
				t.Errorf("OnLogin was asked %d times, signed in as %q", asked.Load(), f.subject())
			}
			if e := f.reported(oidcgate.EventRereadFailed); len(e) != 3 || e[0].Reason != "no_news" || e[0].Detail != row.detail {
				t.Errorf("events %+v", e)
			}
			blocked.Store(true)
			time.Sleep(6 * time.Minute)
			f.get("/app")
			if got := f.subject(); got != "" {
				t.Errorf("OnLogin refuses, and %q is signed in", got)
			}
			f.reportedOnce(oidcgate.EventRefreshFailed, oidcgate.ReasonPolicyDenied)
		})
	}
	for name, fails := range map[string]func(l *oidcgate.Login) error{
		"an error": func(*oidcgate.Login) error { return errors.New("its database is down") },
		"an error that says no session": func(*oidcgate.Login) error {
			return fmt.Errorf("another service: %w", oidcgate.ErrNoSession)
		},
		"a panic": func(*oidcgate.Login) error { panic("in OnLogin") },
	} {
		inBubble(t, "C113 "+name+" of OnLogin keeps session and claims, tells, and OnLogin is asked again", func(t *testing.T) {
			var ill atomic.Bool
			ill.Store(true)
			f := newFleet(t, 2, rereads, decides(func(l *oidcgate.Login) error {
				if ill.Load() {
					return fails(l)
				}
				return nil
			}))
			f.op.SetUser(inGroups("admin"))
			f.login()
			f.op.SetUser(inGroups())
			time.Sleep(6 * time.Minute)
			for range 10 {
				if status := f.admin(); status != http.StatusOK {
					t.Errorf("status %d", status)
				}
			}
			f.reportedOnce(oidcgate.EventRereadFailed, oidcgate.ReasonHookError)
			ill.Store(false)
			time.Sleep(time.Minute)
			if status := f.admin(); status != http.StatusForbidden {
				t.Errorf("status %d when OnLogin is well", status)
			}
		})
	}
}

// invalidToken is how a resource refuses an access token (RFC 6750, section 3.1).
func invalidToken(next http.Handler) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("WWW-Authenticate", `Bearer realm="userinfo", error="invalid_token"`)
		rw.WriteHeader(http.StatusUnauthorized)
	})
}

func TestRereadWithARevokedToken(t *testing.T) {
	keeps := func(c *oidcgate.Config, _ *oidcgate.Provider) { c.Tokens.KeepRefused = true }
	for _, row := range []struct {
		name   string
		config change
		want   string // who is signed in
	}{
		{"the session ends", func(*oidcgate.Config, *oidcgate.Provider) {}, ""},
		{"the session goes on with KeepRefused", keeps, "alice"},
	} {
		for token, answer := range map[string]oidcgatetest.Fault{
			"the only access token":  withoutMember("refresh_token"),
			"also the refreshed one": oidcgatetest.EditJSON(func(map[string]any) {}),
		} {
			inBubble(t, "C113 userinfo refuses "+token+": "+row.name, func(t *testing.T) {
				f := newFleet(t, 2, rereads, asksUserinfo, row.config)
				f.op.Inject(oidcgatetest.Token, answer)
				f.login()
				f.op.Always(oidcgatetest.Userinfo, invalidToken)
				time.Sleep(6 * time.Minute)
				for range 3 {
					if got := f.subject(); got != row.want {
						t.Errorf("signed in as %q, want %q", got, row.want)
					}
				}
				if f.refreshes(1) > 1 {
					t.Errorf("%d refreshes", f.refreshes(1))
				}
				if row.want == "" {
					f.reportedOnce(oidcgate.EventSessionRevoked, oidcgate.ReasonByToken)
				}
				f.reportedOnce(oidcgate.EventUserinfoFailed, "userinfo_refused")
			})
		}
	}
	for name, at := range map[string]time.Duration{"soon": 10*time.Minute - 5*time.Second, "not for long": 8 * time.Minute} {
		inBubble(t, "C113 F14 userinfo refuses an access token that is over here "+name, func(t *testing.T) {
			f := newFleet(t, 2, rereads, asksUserinfo)
			f.op.Inject(oidcgatetest.Token, withoutMember("refresh_token"))
			f.login()
			time.Sleep(at)
			f.op.Always(oidcgatetest.Userinfo, invalidToken)
			if got, soon := f.subject(), name == "soon"; (got == "alice") != soon {
				t.Errorf("signed in as %q: the provider's clock may be ahead: %v", got, soon)
			}
		})
	}
	for _, tt := range []struct {
		name     string
		lifetime time.Duration
		refresh  bool
		want     string
	}{
		{"just refreshed", 0, true, ""},
		{"not older than Tokens.Lifetime", 0, false, ""},
		{"older than Tokens.Lifetime", 5 * time.Minute, false, "alice"},
	} {
		inBubble(t, "C113 C131 userinfo refuses an access token that came without expires_in, "+tt.name, func(t *testing.T) {
			f := newFleet(t, 2, rereads, asksUserinfo, func(c *oidcgate.Config, _ *oidcgate.Provider) { c.Tokens.Lifetime = tt.lifetime })
			f.op.Always(oidcgatetest.Token, oidcgatetest.EditJSON(func(m map[string]any) {
				delete(m, "expires_in")
				if !tt.refresh {
					delete(m, "refresh_token")
				}
			}))
			f.login()
			f.op.Always(oidcgatetest.Userinfo, invalidToken)
			time.Sleep(6 * time.Minute)
			if got := f.subject(); got != tt.want {
				t.Errorf("signed in as %q, want %q", got, tt.want)
			}
		})
	}
	inBubble(t, "C113 F16 the provider refuses the client for a moment when claims are due: they are read again soon after", func(t *testing.T) {
		f := newFleet(t, 2, asksUserinfo, func(c *oidcgate.Config, _ *oidcgate.Provider) { c.Tokens.ClaimsMaxAge = 30 * time.Minute })
		f.login()
		time.Sleep(31 * time.Minute)
		f.op.Always(oidcgatetest.Token, oidcgatetest.Answer(401, "application/json", `{"error":"invalid_client"}`))
		f.subject()
		f.op.Clear(oidcgatetest.Token)
		f.op.Always(oidcgatetest.Userinfo, invalidToken)
		time.Sleep(2 * time.Minute)
		if got := f.subject(); got != "" {
			t.Errorf("signed in as %q", got)
		}
	})
	inBubble(t, "C113 F14 userinfo refuses an access token that has just come, and is over soon", func(t *testing.T) {
		f := newFleet(t, 2, rereads, asksUserinfo)
		f.op.Always(oidcgatetest.Token, oidcgatetest.EditJSON(func(m map[string]any) { m["expires_in"] = 30 }))
		f.login()
		time.Sleep(6 * time.Minute)
		f.op.Always(oidcgatetest.Userinfo, invalidToken)
		if got := f.subject(); got != "" {
			t.Errorf("signed in as %q", got)
		}
	})
	inBubble(t, "C113 an access token that is over is not shown to userinfo", func(t *testing.T) {
		f := newFleet(t, 2, rereads, asksUserinfo)
		f.op.SetUser(inUserinfoGroups("staff"))
		f.op.Inject(oidcgatetest.Token, withoutMember("refresh_token"))
		f.login()
		time.Sleep(11 * time.Minute)
		before := f.op.Count(oidcgatetest.Userinfo)
		f.inspect(func(id *oidcgate.Identity) {
			if got, _ := id.ClaimStrings("groups"); len(got) != 1 {
				t.Errorf("groups %q", got)
			}
		})
		if f.op.Count(oidcgatetest.Userinfo) != before {
			t.Error("userinfo was asked with a token that is over")
		}
		f.reportedOnce(oidcgate.EventRereadFailed, "no_news")
		if e := f.reported(oidcgate.EventRereadFailed)[0]; e.Detail != "the access token is over, and there is no refresh token" || !strings.Contains(e.Hint, "offline_access") || strings.Contains(e.Hint, "Set Provider.Userinfo") {
			t.Errorf("event %+v", e)
		}
	})
}

func TestUserinfoAtOnce(t *testing.T) {
	for name, fault := range map[string]oidcgatetest.Fault{
		"after a refresh":       oidcgatetest.EditJSON(func(map[string]any) {}),
		"with the access token": withoutMember("refresh_token"),
	} {
		inBubble(t, "F40 however many sessions read their claims at once, a replica asks userinfo for 32 at a time, "+name, func(t *testing.T) {
			op := oidcgatetest.NewProvider(t, oidcgatetest.Config{AccessTokenLifetime: 30 * time.Minute})
			f := newFleetOf(t, op, 1, rereads, asksUserinfo)
			f.op.Always(oidcgatetest.Token, fault)
			var browsers []*http.Client
			for i := range 100 {
				browsers = append(browsers, f.signInAs(fmt.Sprint("user", i)))
			}
			time.Sleep(6 * time.Minute)
			var now, most atomic.Int64
			f.op.Always(oidcgatetest.Userinfo, func(next http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					n := now.Add(1)
					defer now.Add(-1)
					for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
					}
					time.Sleep(time.Second)
					next.ServeHTTP(w, r)
				})
			})
			var wg sync.WaitGroup
			for _, b := range browsers {
				wg.Go(func() { f.send(b, http.MethodGet, "/app", "") })
			}
			wg.Wait()
			if err := f.gate.Wait(t.Context()); err != nil {
				t.Fatal(err)
			}
			if n := most.Load(); n != 32 {
				t.Errorf("%d requests at once, want 32", n)
			}
			if n := f.op.Count(oidcgatetest.Userinfo); n != 200 {
				t.Errorf("%d requests, want one for each login and one for each re-read", n)
			}
		})
	}
}

func TestPlacesOfOneUser(t *testing.T) {
	inBubble(t, "F40 the sessions of one user make four refreshes at a time, and hold up nobody else", func(t *testing.T) {
		f := newFleet(t, 1)
		var hers []*http.Client
		for range 40 {
			hers = append(hers, f.signInAs("alice"))
		}
		bobs := f.signInAs("bob")
		time.Sleep(11 * time.Minute)
		var now, most atomic.Int64
		f.op.Always(oidcgatetest.Token, func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				n := now.Add(1)
				defer now.Add(-1)
				for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
				}
				time.Sleep(time.Second)
				next.ServeHTTP(w, r)
			})
		})
		var wg sync.WaitGroup
		for _, b := range hers {
			wg.Go(func() { f.mustToken(b) })
		}
		time.Sleep(100 * time.Millisecond)
		begin := time.Now()
		f.mustToken(bobs)
		if took := time.Since(begin); took != time.Second {
			t.Errorf("another user's token took %v", took)
		}
		wg.Wait()
		if n := most.Load(); n != 5 {
			t.Errorf("%d requests at once, want four of hers and his", n)
		}
	})
}

func TestWaitingForAnotherReplica(t *testing.T) {
	for _, row := range []struct {
		path string
		most int // store commands of both replicas, while the provider takes half a minute
	}{
		{"/app", 80},    // waits for two seconds
		{"/token", 120}, // waits for the end
	} {
		inBubble(t, "C082 a replica that waits for another's refresh asks the store seldom: "+row.path, func(t *testing.T) {
			f := newFleet(t, 2, rereads)
			f.login()
			time.Sleep(11 * time.Minute)
			f.op.Always(oidcgatetest.Token, oidcgatetest.Delay(30*time.Second))
			var wg sync.WaitGroup
			first := f.drill.during(func() {
				for range 2 { // one at each replica
					wg.Go(func() { f.get(row.path) })
				}
				time.Sleep(5 * time.Second)
			})
			later := f.drill.during(func() { time.Sleep(20 * time.Second) })
			tries := func(call string) bool { return strings.HasPrefix(call, "create l:") }
			if row.path == "/app" && slices.ContainsFunc(later, tries) {
				t.Errorf("nobody waits any more: %q", later)
			}
			last := f.drill.during(wg.Wait)
			if n := len(first) + len(later) + len(last); n > row.most {
				t.Errorf("%d store commands, want at most %d", n, row.most)
			}
			time.Sleep(time.Minute)
			f.refreshed(1)
		})
	}
}

func TestOnLoginAsksWhoIsSignedIn(t *testing.T) {
	asks := func(f **fleet) change {
		return func(c *oidcgate.Config, _ *oidcgate.Provider) {
			c.Tokens.ClaimsMaxAge = 50 * time.Millisecond
			c.OnLogin = func(ctx context.Context, l *oidcgate.Login) error {
				if !l.IsReread() {
					return nil
				}
				_, ok := oidcgate.FromContext(ctx) // as a log handler does
				err := (*f).gate.SessionErr(ctx)
				if _, noToken := (*f).gate.Token(ctx); ok || err != nil || !errors.Is(noToken, oidcgate.ErrNoSession) {
					t.Errorf("the context of OnLogin: signed in %v, %v, token: %v", ok, err, noToken)
				}
				return deny(l)
			}
		}
	}
	// In real time: a goroutine that waits for a sync.Once stops the clock of a bubble.
	t.Run("C113 OnLogin asks its context who is signed in, and decides for the request that waits", func(t *testing.T) {
		var f *fleet
		f = newFleet(t, 1, asks(&f))
		f.op.SetUser(inGroups("admin"))
		f.login()
		time.Sleep(60 * time.Millisecond)
		if status := f.admin(); status != http.StatusSeeOther {
			t.Errorf("status %d: the request went on with the old claims", status)
		}
	})
	inBubble(t, "C113 so does one that Token asks", func(t *testing.T) {
		var f *fleet
		f = newFleet(t, 1, asks(&f))
		f.login()
		time.Sleep(11 * time.Minute)
		if token, status := f.token(); status != http.StatusUnauthorized {
			t.Errorf("status %d, token %q", status, token)
		}
	})
	inBubble(t, "C113 RFC 8693 so does one that ExchangeToken asks", func(t *testing.T) {
		var f *fleet
		f = newFleet(t, 1, asks(&f))
		f.login()
		time.Sleep(11 * time.Minute)
		var err error
		f.handler = f.gate.Wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			_, err = f.gate.ExchangeToken(r.Context(), oidcgate.TokenExchange{Audience: "ledger"})
		}))
		f.get("/")
		if !errors.Is(err, oidcgate.ErrNoSession) {
			t.Errorf("error %v, want that the session is over", err)
		}
	})
}

func TestProviderRefusesARefresh(t *testing.T) {
	answer := func(status int, code string) oidcgatetest.Fault {
		return oidcgatetest.Answer(status, "application/json", `{"error":"`+code+`"}`)
	}
	for _, code := range []string{
		"interaction_required", "login_required", "consent_required", "account_selection_required",
	} {
		inBubble(t, "C084 C113 the user is refused, and the session ends: "+code, func(t *testing.T) {
			f := newFleet(t, 2, rereads)
			f.op.SetUser(inGroups("admin"))
			f.login()
			f.op.Always(oidcgatetest.Token, answer(400, code))
			time.Sleep(6 * time.Minute)
			if status := f.admin(); status != http.StatusSeeOther {
				t.Errorf("status %d", status)
			}
			f.reportedOnce(oidcgate.EventSessionRevoked, oidcgate.ReasonByToken)
			f.reportedOnce(oidcgate.EventRefreshFailed, "token_endpoint_error")
		})
	}
	refusals := map[string]oidcgatetest.Fault{
		"invalid_client": answer(401, "invalid_client"), "unauthorized_client": answer(400, "unauthorized_client"),
		"a code of its own": answer(400, "teapot"), "no code": oidcgatetest.Answer(400, "", ""), "404": oidcgatetest.Answer(404, "", ""),
	}
	for name, refusal := range refusals {
		inBubble(t, "C113 the refresh is refused ("+name+"), and userinfo tells what is so", func(t *testing.T) {
			f := newFleet(t, 2, rereads, asksUserinfo)
			f.op.SetUser(inUserinfoGroups("admin"))
			f.login()
			f.op.SetUser(inUserinfoGroups())
			f.op.Always(oidcgatetest.Token, refusal)
			time.Sleep(6 * time.Minute)
			if status := f.admin(); status != http.StatusForbidden {
				t.Errorf("status %d while the access token serves", status)
			}
			f.op.Clear(oidcgatetest.Token)
			time.Sleep(6 * time.Minute)
			if f.mustToken(); f.subject() != "alice" {
				t.Errorf("signed in as %q when the provider is set right", f.subject())
			}
		})
		inBubble(t, "C113 the refresh is refused ("+name+") after the access token's end, and OnLogin decides", func(t *testing.T) {
			var denies atomic.Bool
			f := newFleet(t, 2, rereads, decides(func(l *oidcgate.Login) error {
				if denies.Load() {
					return deny(l)
				}
				return nil
			}))
			f.login()
			f.op.Always(oidcgatetest.Token, refusal)
			time.Sleep(20 * time.Minute)
			if got := f.subject(); got != "alice" {
				t.Errorf("signed in as %q: the application does not refuse", got)
			}
			denies.Store(true)
			time.Sleep(6 * time.Minute)
			if got := f.subject(); got != "" {
				t.Errorf("signed in as %q: the application refuses", got)
			}
		})
		inBubble(t, "C084 EndWithAccessToken: the refresh is refused ("+name+"), and the session ends a minute after the access token", func(t *testing.T) {
			f := newFleet(t, 2, rereads, func(c *oidcgate.Config, _ *oidcgate.Provider) { c.Tokens.EndWithAccessToken = true })
			f.login()
			f.op.Always(oidcgatetest.Token, refusal)
			time.Sleep(10*time.Minute + 30*time.Second)
			if got := f.subject(); got != "alice" {
				t.Errorf("signed in as %q", got)
			}
			time.Sleep(time.Minute)
			f.token()
			if got := f.subject(); got != "" {
				t.Errorf("signed in as %q after the end of the access token", got)
			}
		})
	}
	inBubble(t, "C084 EndWithAccessToken: a provider that fails refuses nobody", func(t *testing.T) {
		f := newFleet(t, 2, rereads, func(c *oidcgate.Config, _ *oidcgate.Provider) { c.Tokens.EndWithAccessToken = true })
		f.login()
		f.op.Always(oidcgatetest.Token, answer(500, "server_error"))
		time.Sleep(20 * time.Minute)
		if got := f.subject(); got != "alice" {
			t.Errorf("signed in as %q", got)
		}
	})
}

func TestUserinfoRefusesAReread(t *testing.T) {
	for _, row := range []struct {
		status  int
		body    string
		refuses bool // the access token
	}{
		{403, `{"error":"insufficient_scope"}`, true}, {403, "", false}, {401, "", false}, {401, `{"error":"invalid_request"}`, false}, {403, `{"status":403,"error":"Forbidden"}`, false},
		{404, "", false}, {400, `{"error":"invalid_request"}`, false}, {200, "<html>", false},
	} {
		for _, keeps := range []bool{false, true} {
			inBubble(t, fmt.Sprintf("C113 userinfo answers %d %s (KeepRefused: %v)", row.status, row.body, keeps), func(t *testing.T) {
				var asked atomic.Int64
				f := newFleet(t, 1, rereads, asksUserinfo, decides(func(*oidcgate.Login) error { asked.Add(1); return nil }),
					func(c *oidcgate.Config, _ *oidcgate.Provider) { c.Tokens.KeepRefused = keeps })
				f.op.SetUser(inUserinfoGroups("admin"))
				f.login()
				f.op.Always(oidcgatetest.Userinfo, oidcgatetest.Answer(row.status, "application/json", row.body))
				time.Sleep(6 * time.Minute)
				status := f.admin()
				if row.refuses && !keeps {
					if status != http.StatusSeeOther {
						t.Errorf("status %d: the session goes on", status)
					}
					return
				}
				if status != http.StatusOK || asked.Load() != 1 {
					t.Errorf("status %d, and OnLogin was asked %d times about the old claims", status, asked.Load())
				}
				f.op.Clear(oidcgatetest.Userinfo)
				f.op.SetUser(inUserinfoGroups())
				time.Sleep(time.Minute)
				if status := f.admin(); status != http.StatusForbidden {
					t.Errorf("status %d when userinfo is back", status)
				}
			})
		}
	}
}

func TestRefreshesHaveAFloor(t *testing.T) {
	for _, seconds := range []int{0, 1} {
		inBubble(t, fmt.Sprintf("C082 expires_in %d: a session refreshes at most every three seconds", seconds), func(t *testing.T) {
			f := newFleet(t, 2)
			short := oidcgatetest.EditJSON(func(m map[string]any) { m["expires_in"] = seconds })
			f.op.Always(oidcgatetest.Token, short)
			f.login()
			for range 200 {
				f.mustToken()
				time.Sleep(50 * time.Millisecond)
			}
			if n := f.refreshes(1); n > 4 {
				t.Errorf("%d refreshes in ten seconds", n)
			}
		})
	}
}

func TestRefreshedIDTokenOfAnotherTime(t *testing.T) {
	inBubble(t, "C081 F14 an iat older than the first by less than ClockSkew is that of another machine of the provider", func(t *testing.T) {
		f := newFleet(t, 1)
		f.login()
		time.Sleep(9*time.Minute + 55*time.Second)
		f.op.NextIDToken(func(t *oidcgatetest.JWT) { t.Claims["iat"] = time.Now().Add(-10 * time.Minute).Unix() })
		f.mustToken()
	})
	inBubble(t, "C081 an iat older than the first is refused", func(t *testing.T) {
		f := newFleet(t, 1)
		f.login()
		time.Sleep(9*time.Minute + 55*time.Second)
		f.op.NextIDToken(func(t *oidcgatetest.JWT) { t.Claims["iat"] = time.Now().Add(-11 * time.Minute).Unix() })
		if _, status := f.token(); status != http.StatusUnauthorized {
			t.Errorf("status %d", status)
		}
		f.reportedOnce(oidcgate.EventRefreshFailed, "iat")
	})
	for _, by := range []string{"the first", "another"} {
		inBubble(t, "C081 C125 after a refresh with another sid a logout by "+by+" sid ends the session", func(t *testing.T) {
			f := newFleet(t, 2)
			f.login()
			first := f.sid(f.browser)
			f.op.EveryIDToken(func(t *oidcgatetest.JWT) { t.Claims["sid"] = "another" })
			time.Sleep(9*time.Minute + 55*time.Second)
			f.mustToken()
			sid := "another"
			if by == "the first" {
				sid = first
			}
			if a := f.logoutToken(f.logoutClaims("sid", sid)); a.StatusCode != http.StatusOK {
				t.Errorf("status %d", a.StatusCode)
			}
			if got := f.subject(); got != "" {
				t.Errorf("signed in as %q", got)
			}
		})
	}
	inBubble(t, "C081 C128 a logout by the new sid that came before the refresh wins", func(t *testing.T) {
		f := newFleet(t, 2)
		f.login()
		time.Sleep(9*time.Minute + 55*time.Second)
		f.op.EveryIDToken(func(t *oidcgatetest.JWT) { t.Claims["sid"] = "another" })
		f.logoutToken(f.logoutClaims("sid", "another"))
		if token, status := f.token(); token != "" || status != http.StatusUnauthorized {
			t.Errorf("status %d", status)
		}
	})
}

func TestRefreshRefusedWithoutACode(t *testing.T) {
	refused := oidcgatetest.Answer(400, "", "")
	inBubble(t, "C085 400 and nothing else: EndWithAccessToken ends the session after the access token", func(t *testing.T) {
		f := newFleet(t, 2, func(c *oidcgate.Config, _ *oidcgate.Provider) { c.Tokens.EndWithAccessToken = true })
		f.login()
		f.op.Always(oidcgatetest.Token, refused)
		for range 20 {
			time.Sleep(40 * time.Second)
			f.token()
		}
		if got := f.subject(); got != "" {
			t.Errorf("signed in as %q", got)
		}
		e := f.reported(oidcgate.EventRefreshFailed)
		if len(e) == 0 || !strings.Contains(e[0].Hint, "EndWithAccessToken") {
			t.Errorf("events %+v", e)
		}
	})
	inBubble(t, "C084 400 and nothing else: by default the session goes on", func(t *testing.T) {
		f := newFleet(t, 2)
		f.login()
		f.op.Always(oidcgatetest.Token, refused)
		for range 20 {
			time.Sleep(40 * time.Second)
			f.token()
		}
		if got := f.subject(); got != "alice" {
			t.Errorf("signed in as %q", got)
		}
	})
}

func TestCookieWhileKeysAreReplaced(t *testing.T) {
	inBubble(t, "C113 F22 claims that a replica with newer keys has read again: the cookie stays", func(t *testing.T) {
		keys := func(text string) func(*oidcgate.Config) {
			return func(c *oidcgate.Config) {
				parsed, err := oidcgate.ParseKeys(text)
				if err != nil {
					t.Fatal(err)
				}
				c.Keys = parsed
			}
		}
		f := newFleet(t, 1, func(c *oidcgate.Config, _ *oidcgate.Provider) {
			keys(oldKey)(c)
			c.Tokens.ClaimsMaxAge = 5 * time.Minute
		})
		older := f.gate
		f.login()
		newer := f.reopen(keys(newKey + "," + oldKey))
		guarded := func(g *oidcgate.Gate) http.Handler { return g.Wrap(g.Require()(http.HandlerFunc(f.whoami))) }
		cookies := f.sentCookies()
		get := func(g *oidcgate.Gate) *httptest.ResponseRecorder {
			r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, shopURL+"/app", nil)
			r.Header.Set("Cookie", cookies)
			r.Header.Set("Sec-Fetch-Mode", "navigate")
			r.Header.Set("Sec-Fetch-Dest", "document")
			rec := httptest.NewRecorder()
			guarded(g).ServeHTTP(rec, r)
			return rec
		}
		time.Sleep(290 * time.Second)
		get(older) // notes the use
		time.Sleep(20 * time.Second)
		f.op.Always(oidcgatetest.Token, oidcgatetest.Delay(time.Second))
		var wg sync.WaitGroup
		wg.Go(func() {
			if rec := get(newer); rec.Code != 200 {
				t.Errorf("newer: %d", rec.Code)
			}
		})
		time.Sleep(100 * time.Millisecond)
		rec := get(older)
		wg.Wait()
		for _, c := range rec.Result().Cookies() {
			if c.Name == sessionCookie && c.MaxAge < 0 {
				t.Errorf("the cookie of a session that lives is deleted: %v", c)
			}
		}
		if rec := get(newer); rec.Code != 200 {
			t.Errorf("the session is over: %d", rec.Code)
		}
		if rec := get(older); true {
			t.Log("later, at the older:", rec.Code, rec.Header())
		}
	})
}

func TestLinkOfAnotherSiteWithoutTheTokensKey(t *testing.T) {
	inBubble(t, "F41 R-DOS-3 a guard that cannot read the tokens and the login do not send the browser to and fro", func(t *testing.T) {
		f := newFleet(t, 1, func(c *oidcgate.Config, _ *oidcgate.Provider) {
			c.Keys, c.Tokens.ClaimsMaxAge = mustKeys(t, oldKey), 10*time.Minute
		})
		f.login()
		f.reopen(func(c *oidcgate.Config) { c.Keys = mustKeys(t, newKey+","+oldKey) })
		time.Sleep(9 * time.Minute)
		f.get("/") // seals the session, and not its tokens, with the newer key
		f.reopen(func(c *oidcgate.Config) { c.Keys = mustKeys(t, newKey) })
		time.Sleep(2 * time.Minute)
		link := []string{"Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document"}
		a := f.get("/app", link...)
		login := a.location()
		a = f.get(login, link...)
		if a.StatusCode != http.StatusUnauthorized || !strings.Contains(a.body, "/auth/login?gone=key") {
			t.Fatalf("%s: status %d to %q\n%s", login, a.StatusCode, a.location(), a.body)
		}
		a = f.get(login, "Sec-Fetch-Site: same-origin", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document")
		if !strings.HasPrefix(a.location(), f.op.Issuer()) {
			t.Errorf("the link leads to %q", a.location())
		}
	})
}

func TestRevocationWhenUserinfoRefuses(t *testing.T) {
	inBubble(t, "C087 C127 userinfo refuses the token that a refresh has just brought: the refresh token, which is good, is revoked", func(t *testing.T) {
		f := newFleet(t, 1, func(c *oidcgate.Config, p *oidcgate.Provider) {
			c.Tokens.ClaimsMaxAge = 5 * time.Minute
			p.Userinfo = oidcgate.UserinfoRequired
		})
		revoked := f.revocations()
		f.login()
		f.op.Always(oidcgatetest.Userinfo, invalidToken)
		time.Sleep(11 * time.Minute)
		if got := f.subject(); got != "" {
			t.Fatalf("signed in: %q", got)
		}
		if err := f.gate.Wait(t.Context()); err != nil || len(revoked()) != 1 {
			t.Errorf("%v, %d refresh tokens revoked, want 1", err, len(revoked()))
		}
	})
}

func TestRefreshWithTooLongAToken(t *testing.T) {
	long := oidcgatetest.EditJSON(func(m map[string]any) {
		m["access_token"] = m["access_token"].(string) + strings.Repeat("x", 32<<10)
	})
	longer := oidcgatetest.EditJSON(func(m map[string]any) { m["more"] = strings.Repeat("x", 1<<20) })
	page := oidcgatetest.Answer(200, "text/html", strings.Repeat("x", 1<<20+1))
	for name, row := range map[string]struct {
		fault oidcgatetest.Fault
		ends  bool
	}{
		"an access token":          {long, true},
		"an answer":                {longer, true},
		"the page of a proxy":      {page, false},
		"an answer that is broken": {oidcgatetest.Answer(200, "application/json", "{"), false},
	} {
		for _, asks := range []oidcgate.UserinfoMode{oidcgate.UserinfoOff, oidcgate.UserinfoRequired} {
			inBubble(t, fmt.Sprintf("C113 F38 %s that is too long, userinfo %v: nobody keeps a group by it", name, asks), func(t *testing.T) {
				f := newFleet(t, 2, rereads, func(_ *oidcgate.Config, p *oidcgate.Provider) { p.Userinfo = asks })
				f.op.SetUser(inGroups("admin"))
				f.login()
				f.op.SetUser(inGroups())
				f.op.Always(oidcgatetest.Token, row.fault)
				time.Sleep(20 * time.Minute)
				f.get("/app")
				time.Sleep(20 * time.Minute)
				if got := f.subject(); (got == "") != row.ends {
					t.Errorf("signed in: %q", got)
				}
				if row.ends {
					f.reportedOnce(oidcgate.EventRefreshFailed, "claims")
				}
			})
		}
	}
}

// Such an answer is a refusal of the access token, or a proxy's.
func TestUserinfoThatMayRefuseTheToken(t *testing.T) {
	bare := oidcgatetest.Answer(401, "application/json", `{"message":"Bad credentials"}`)
	for _, row := range []struct {
		name     string
		lifetime time.Duration
		want     int
	}{
		{"a token that may be over", 5 * time.Minute, http.StatusOK},
		{"a token that is good by all that is known", 8 * time.Hour, http.StatusForbidden},
	} {
		inBubble(t, "C113 C131 "+row.name+", which came without expires_in", func(t *testing.T) {
			f := newFleet(t, 2, rereads, asksUserinfo, func(c *oidcgate.Config, _ *oidcgate.Provider) { c.Tokens.Lifetime = row.lifetime })
			f.op.SetUser(inUserinfoGroups("admin"))
			f.op.Always(oidcgatetest.Token, oidcgatetest.EditJSON(func(m map[string]any) {
				delete(m, "expires_in")
				delete(m, "refresh_token")
			}))
			time.Sleep(time.Hour) // so long has the process heard of nobody else
			f.login()
			f.op.Always(oidcgatetest.Userinfo, bare)
			for range 4 {
				time.Sleep(6 * time.Minute)
				f.admin()
			}
			if status, got := f.admin(), f.subject(); status != row.want || got != "alice" {
				t.Errorf("status %d, signed in as %q", status, got)
			}
		})
	}
}

// A provider with one grant for each user and client, such as Google, ends all when one of its refresh tokens is revoked. So does
// Keycloak before 26.0.8, whose ID Tokens have a sid.
func TestRefusedLoginBesideAnotherSession(t *testing.T) {
	for _, sid := range []bool{false, true} {
		inBubble(t, fmt.Sprintf("C087 userinfo is down during a login, sessions have a sid: %v", sid), func(t *testing.T) {
			f := newFleet(t, 1, func(_ *oidcgate.Config, p *oidcgate.Provider) { p.Userinfo = oidcgate.UserinfoRequired })
			if !sid {
				f.op.EveryIDToken(func(j *oidcgatetest.JWT) { delete(j.Claims, "sid") })
			}
			revoked := f.revocations()
			f.login()
			f.op.Inject(oidcgatetest.Userinfo, oidcgatetest.Answer(500, "", ""))
			f.as(f.newBrowser(), func() {
				if a := f.get(f.callbackURL("/app")); a.StatusCode < 500 {
					t.Errorf("the login ends with %d", a.StatusCode)
				}
			})
			if got := revoked(); len(got) > 0 {
				t.Errorf("revoked %q", got)
			}
		})
	}
}

// Slack's errors have status 200.
func TestErrorOfUserinfoWithStatus200(t *testing.T) {
	for _, body := range []string{`{"ok":false,"error":"internal_error"}`, `{"ok":false}`, `{"error":"temporarily_unavailable"}`, `{"error":{"code":500}}`, `{"errcode":-1}`, `{"success":false}`, `{"errors":[1],"data":null}`} {
		trouble := oidcgatetest.Answer(200, "application/json", body)
		inBubble(t, "C113 C075 an error is not about another user, "+body, func(t *testing.T) {
			f := newFleet(t, 2, rereads, asksUserinfo)
			f.op.SetUser(inUserinfoGroups("admin"))
			time.Sleep(time.Hour) // so long has the process heard of nobody else
			f.login()
			time.Sleep(6 * time.Minute)
			f.op.Inject(oidcgatetest.Userinfo, trouble)
			for range 3 {
				if status := f.admin(); status != http.StatusOK {
					t.Errorf("status %d", status)
				}
				time.Sleep(2 * time.Minute)
			}
			f.op.Always(oidcgatetest.Userinfo, trouble)
			for range 8 {
				time.Sleep(2 * time.Minute)
				f.admin()
			}
			if status, got := f.admin(), f.subject(); status != http.StatusForbidden || got != "alice" {
				t.Errorf("the errors go on: status %d, signed in as %q", status, got)
			}
		})
		for mode, signedIn := range map[oidcgate.UserinfoMode]string{oidcgate.UserinfoOptional: "alice", oidcgate.UserinfoRequired: ""} {
			t.Run(fmt.Sprintf("C075 a login meets an error, userinfo %v, %s", mode, body), func(t *testing.T) {
				w := newWorld(t, func(_ *oidcgate.Config, p *oidcgate.Provider) { p.Userinfo = mode })
				w.op.Always(oidcgatetest.Userinfo, trouble)
				w.get(w.callbackURL("/app"))
				if got := w.subject(); got != signedIn {
					t.Errorf("signed in as %q, want %q", got, signedIn)
				}
			})
		}
	}
}

func TestRereadOfReplacedClaims(t *testing.T) {
	for name, fault := range map[string]oidcgatetest.Fault{
		"answers 500":              oidcgatetest.Answer(500, "", ""),
		"breaks the connection":    oidcgatetest.Reset(),
		"refuses the access token": oidcgatetest.Answer(401, "application/json", `{"error":"invalid_token"}`),
	} {
		inBubble(t, "C113 F16 userinfo "+name+": OnLogin decides on what userinfo said, not on what OnLogin made of it", func(t *testing.T) {
			var seen []string
			f := newFleet(t, 2, func(c *oidcgate.Config, p *oidcgate.Provider) {
				p.Userinfo = oidcgate.UserinfoRequired
				c.Tokens.ClaimsMaxAge, c.Tokens.KeepRefused = 5*time.Minute, true
				c.OnLogin = func(_ context.Context, l *oidcgate.Login) error {
					groups, _ := l.Identity().ClaimStrings("groups")
					_, restricted := l.Identity().ClaimJSON("restricted")
					seen = append(seen, fmt.Sprint(groups, restricted))
					l.Drop("restricted")
					return l.Set("groups", groups[:min(1, len(groups))])
				}
			})
			f.op.SetUser(oidcgatetest.User{UserinfoClaims: map[string]any{"groups": []string{"admin", "a", "b"}, "restricted": true}})
			f.login()
			f.op.Always(oidcgatetest.Userinfo, fault)
			for range 3 {
				time.Sleep(6 * time.Minute)
				if a := f.get("/admin"); a.StatusCode != http.StatusOK {
					t.Errorf("/admin is %d", a.StatusCode)
				}
			}
			if want := slices.Repeat([]string{"[admin a b] true"}, len(seen)); len(seen) < 4 || !slices.Equal(seen, want) {
				t.Errorf("OnLogin saw %q", seen)
			}
		})
	}
	inBubble(t, "C113 F16 userinfo is unreadable once, and then it is down: its claims stay", func(t *testing.T) {
		f := newFleet(t, 2, func(c *oidcgate.Config, p *oidcgate.Provider) {
			p.Userinfo = oidcgate.UserinfoRequired
			c.Tokens.ClaimsMaxAge = 5 * time.Minute
			c.OnLogin = func(_ context.Context, l *oidcgate.Login) error {
				groups, _ := l.Identity().ClaimStrings("groups")
				if len(groups) == 0 {
					return oidcgate.Deny("you are in no group")
				}
				return l.Set("groups", groups)
			}
		})
		f.op.SetUser(oidcgatetest.User{UserinfoClaims: map[string]any{"groups": []string{"admin"}}})
		f.login()
		time.Sleep(6 * time.Minute)
		f.op.Always(oidcgatetest.Userinfo, oidcgatetest.Answer(200, "text/html", "<p>A proxy"))
		f.get("/admin")
		f.op.Always(oidcgatetest.Userinfo, oidcgatetest.Answer(500, "", ""))
		for range 4 {
			time.Sleep(6 * time.Minute)
			if a := f.get("/admin"); a.StatusCode != http.StatusOK {
				t.Fatalf("/admin is %d", a.StatusCode)
			}
		}
	})
	inBubble(t, "C113 what userinfo said at the last re-read counts", func(t *testing.T) {
		var seen []string
		f := newFleet(t, 2, func(c *oidcgate.Config, p *oidcgate.Provider) {
			p.Userinfo = oidcgate.UserinfoRequired
			c.Tokens.ClaimsMaxAge = 5 * time.Minute
			c.OnLogin = func(_ context.Context, l *oidcgate.Login) error {
				groups, _ := l.Identity().ClaimStrings("groups")
				seen = append(seen, fmt.Sprint(groups))
				return l.Set("groups", []string{})
			}
		})
		for _, groups := range [][]string{{"a"}, {"b"}} {
			f.op.SetUser(oidcgatetest.User{UserinfoClaims: map[string]any{"groups": groups}})
			if len(seen) == 0 {
				f.login()
			}
			time.Sleep(6 * time.Minute)
			f.get("/admin") // a guard has the claims read again
		}
		f.op.Always(oidcgatetest.Userinfo, oidcgatetest.Answer(500, "", ""))
		time.Sleep(6 * time.Minute)
		f.get("/admin") // a guard has the claims read again
		if want := []string{"[a]", "[a]", "[b]", "[b]"}; !slices.Equal(seen, want) {
			t.Errorf("OnLogin saw %q, want %q", seen, want)
		}
	})
}
