package oidcgate_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oidcgate/oidcgate"
	"github.com/oidcgate/oidcgate/store"
)

// logouts collects what OnLogout gets.
type logouts struct {
	mu  sync.Mutex
	got []oidcgate.Logout
}

func (l *logouts) add(o oidcgate.Logout) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.got = append(l.got, o)
}

func (l *logouts) set(c *oidcgate.Config, _ *oidcgate.Provider) { c.OnLogout = l.add }

// all returns what OnLogout has got when the gate has nothing left to tell.
func (l *logouts) all(w *world) []oidcgate.Logout {
	w.Helper()
	if err := w.gate.Wait(w.Context()); err != nil {
		w.Fatal(err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.got)
}

func TestOnLogout(t *testing.T) {
	for _, tt := range []struct {
		name   string
		end    func(w *world)
		reason oidcgate.Reason
	}{
		{"the visitor logs out", func(w *world) { w.send(w.browser, http.MethodPost, "/auth/logout", "", "Origin: "+shopURL) }, oidcgate.ReasonByUser},
		{"an administrator ends it", func(w *world) { _, _ = w.gate.Sessions().EndUser(w.Context(), w.op.Issuer(), "alice") }, oidcgate.ReasonByAdmin},
		{"the provider logs out", func(w *world) {
			raw := w.op.NewJWT(w.logoutClaims("sub", "alice")).Compact()
			w.send(w.newBrowser(), http.MethodPost, "/auth/backchannel-logout", "logout_token="+raw)
		}, oidcgate.ReasonBackchannel},
	} {
		t.Run("C134 "+tt.name+": one call, with whose session it was", func(t *testing.T) {
			l := &logouts{}
			w := newWorld(t, l.set)
			w.login()
			list, err := w.gate.Sessions().ListUser(t.Context(), w.op.Issuer(), "alice")
			if err != nil || len(list) != 1 {
				t.Fatalf("%v, %v", list, err)
			}
			tt.end(w)
			tt.end(w) // finds nothing to end
			got, began := l.all(w), w.eventsOf(oidcgate.EventLoginSucceeded)
			if len(began) != 1 || began[0].SessionRef == "" {
				t.Fatalf("%+v", began)
			}
			want := oidcgate.Logout{
				Issuer: w.op.Issuer(), Subject: "alice", SubjectHash: began[0].SubjectHash,
				SessionID: list[0].ID, SessionRef: began[0].SessionRef, Reason: tt.reason,
			}
			if !slices.Equal(got, []oidcgate.Logout{want}) {
				t.Errorf("%+v, want %+v", got, want)
			}
		})
	}
	t.Run("C134 a login in the place of a session is no logout, and an expired session neither", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			l := &logouts{}
			w := newWorld(t, l.set)
			w.login()
			if a := w.get(w.callbackURL("/auth/login?return_to=/app")); a.StatusCode != http.StatusSeeOther || a.location() != shopURL+"/app" {
				t.Fatalf("%d to %q", a.StatusCode, a.location())
			}
			time.Sleep(25 * time.Hour)
			w.get("/whoami")
			if got := l.all(w); len(got) != 0 {
				t.Errorf("%+v", got)
			}
		})
	})
	t.Run("C134 300 sessions that end at once are 300 calls, and a slow OnLogout delays nobody", func(t *testing.T) {
		l, hold := &logouts{}, make(chan struct{})
		w := newWorld(t, func(c *oidcgate.Config, _ *oidcgate.Provider) {
			c.OnLogout = func(o oidcgate.Logout) { <-hold; l.add(o) }
			c.Limits.UserSessions = 300
		})
		const n = 300 // more than wait of an event
		for range n {
			w.browser = w.newBrowser()
			w.login()
		}
		if ended, err := w.gate.Sessions().EndUser(t.Context(), w.op.Issuer(), "alice"); ended != n || err != nil {
			t.Fatalf("%d, %v", ended, err)
		}
		close(hold)
		if got := l.all(w); len(got) != n {
			t.Errorf("%d calls, want %d", len(got), n)
		}
	})
	t.Run("C134 a panic is logged, and the next end is told all the same", func(t *testing.T) {
		l := &logouts{}
		w := newWorld(t, func(c *oidcgate.Config, _ *oidcgate.Provider) {
			c.OnLogout = func(o oidcgate.Logout) {
				l.add(o)
				panic("no")
			}
		})
		for range 2 {
			w.browser = w.newBrowser()
			w.login()
		}
		_, _ = w.gate.Sessions().EndUser(t.Context(), w.op.Issuer(), "alice")
		if got := l.all(w); len(got) != 2 || !strings.Contains(w.logged(), "OnLogout panicked") {
			t.Errorf("%+v\n%s", got, w.logged())
		}
	})
}

func TestOnLogoutWithoutSummary(t *testing.T) {
	t.Run("C134 F18 a session whose summary cannot be read ends, and is told", func(t *testing.T) {
		l, d := &logouts{}, &drill{Store: &store.Memory{}}
		w := newWorld(t, l.set, func(c *oidcgate.Config, _ *oidcgate.Provider) { c.Store = d })
		w.login()
		d.fail(func(op, key string) error {
			if op == "get" && strings.Contains(key, "d:") {
				return errors.New("stumbles")
			}
			return nil
		}, nil)
		_, err := w.gate.Sessions().EndUser(t.Context(), w.op.Issuer(), "alice")
		d.fail(nil, nil)
		if _, again := w.gate.Sessions().EndUser(t.Context(), w.op.Issuer(), "alice"); err == nil || again != nil {
			t.Errorf("%v, then %v", err, again)
		}
		if got := l.all(w); len(got) != 1 || got[0].Subject != "alice" {
			t.Errorf("%+v", got)
		}
	})
	t.Run("C134 F18 a logout whose answer was lost is told when it is repeated", func(t *testing.T) {
		l, d := &logouts{}, &drill{Store: &store.Memory{}}
		w := newWorld(t, l.set, func(c *oidcgate.Config, _ *oidcgate.Provider) { c.Store = d })
		w.login()
		d.fail(nil, func(op, key string) error {
			if op == "delete" && strings.Contains(key, "s:") {
				return errors.New("the answer is lost")
			}
			return nil
		})
		w.send(w.browser, http.MethodPost, "/auth/logout", "", "Origin: "+shopURL)
		d.fail(nil, nil)
		w.send(w.browser, http.MethodPost, "/auth/logout", "", "Origin: "+shopURL)
		if got := l.all(w); len(got) != 1 || got[0].Subject != "alice" || got[0].Reason != oidcgate.ReasonByUser {
			t.Errorf("%+v", got)
		}
	})
	t.Run("C134 a logout during another one finds nothing to end, and is not told", func(t *testing.T) {
		l, d := &logouts{}, &drill{Store: &store.Memory{}}
		w := newWorld(t, l.set, func(c *oidcgate.Config, _ *oidcgate.Provider) { c.Store = d })
		w.login()
		cookies, first := w.sentCookies(), true
		d.fail(nil, func(op, key string) error {
			if op == "delete" && strings.Contains(key, "s:") && first {
				first = false
				w.send(w.newBrowser(), http.MethodPost, "/auth/logout", "", "Origin: "+shopURL, "Cookie: "+cookies)
			}
			return nil
		})
		w.send(w.browser, http.MethodPost, "/auth/logout", "", "Origin: "+shopURL)
		if got := l.all(w); len(got) != 1 || first {
			t.Errorf("%+v", got)
		}
	})
	t.Run("C134 a visitor who logs out of a session that was idle for too long is not told", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			l := &logouts{}
			w := newWorld(t, l.set)
			w.login()
			time.Sleep(2 * time.Hour)
			w.send(w.browser, http.MethodPost, "/auth/logout", "", "Origin: "+shopURL)
			if got := l.all(w); len(got) != 0 || len(w.eventsOf(oidcgate.EventSessionRevoked)) != 0 {
				t.Errorf("%+v", got)
			}
		})
	})
	t.Run("C134 a logout at a replica that does not know the session's provider is told", func(t *testing.T) {
		l := &logouts{}
		w := newWorld(t, l.set)
		w.login()
		other := oidcgate.Provider{Name: "other", Issuer: "https://other.test", ClientID: "shop", Auth: oidcgate.ClientSecretPost(secret)}
		if err := w.gate.SetProviders(other); err != nil {
			t.Fatal(err)
		}
		w.send(w.browser, http.MethodPost, "/auth/logout", "", "Origin: "+shopURL)
		if got := l.all(w); len(got) != 1 || got[0].Subject != "alice" || len(w.eventsOf(oidcgate.EventSessionRevoked)) != 1 {
			t.Errorf("%+v", got)
		}
	})
	t.Run("C134 a session that has expired is no logout, also when it is taken out of the list", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			l := &logouts{}
			w := newWorld(t, l.set)
			w.login()
			first, err := w.gate.Sessions().ListUser(t.Context(), w.op.Issuer(), "alice")
			if err != nil || len(first) != 1 {
				t.Fatalf("%v, %v", first, err)
			}
			time.Sleep(50 * time.Minute)
			w.browser = w.newBrowser()
			w.login()
			time.Sleep(20 * time.Minute) // the first is idle
			w.handler = w.gate.Wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				if err := w.gate.Sessions().End(r.Context(), first[0].ID); err != nil {
					t.Error(err)
				}
			}))
			w.get("/end")
			if got := l.all(w); len(got) != 0 {
				t.Errorf("%+v", got)
			}
		})
	})
}

func TestWaitForOnLogout(t *testing.T) {
	inBubble(t, "F39 Wait waits for OnLogout, as long as its context lets it", func(t *testing.T) {
		done := false
		f := newFleet(t, 1, func(c *oidcgate.Config, _ *oidcgate.Provider) {
			c.OnLogout = func(oidcgate.Logout) { time.Sleep(time.Minute); done = true }
		})
		f.login()
		f.logout(sameOrigin)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := f.gates[0].Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v", err)
		}
		if err := f.gates[0].Wait(t.Context()); err != nil || !done {
			t.Errorf("error %v, done: %v", err, done)
		}
		if strings.Contains(f.logged(), "panicked") {
			t.Errorf("the log says\n%s", f.logged())
		}
	})
}
