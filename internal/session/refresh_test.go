package session_test

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oidcgate/oidcgate/internal/claims"
	"github.com/oidcgate/oidcgate/internal/event"
	"github.com/oidcgate/oidcgate/internal/interleave"
	"github.com/oidcgate/oidcgate/internal/session"
)

// The ages of tokens: margins are a minute, and half of it differs from session to session.
const (
	isDue  = tokenLife - 10*time.Second
	isOver = tokenLife + time.Second
)

// wantToken asks for an access token and checks what comes.
func (w *world) wantToken(k *session.Keeper, s *session.Session, want string) {
	w.Helper()
	t, err := k.Token(w.Context(), s)
	if err != nil || t.AccessToken != want {
		w.Errorf("tokens %+v, %v, want %s", t, err, want)
	}
}

// wantNoToken asks for an access token and checks why none comes.
func (w *world) wantNoToken(s *session.Session, want error) {
	w.Helper()
	t, err := w.Token(w.Context(), s)
	if t != nil {
		w.Errorf("the access token %s", t.AccessToken)
	}
	w.wantErr(err, want)
}

// wantSpent checks which refresh tokens were sent to the provider.
func (w *world) wantSpent(want ...string) {
	w.Helper()
	w.provider.mu.Lock()
	defer w.provider.mu.Unlock()
	if !slices.Equal(w.provider.spent, want) {
		w.Errorf("spent %q, want %q", w.provider.spent, want)
	}
}

// wantRevoked checks which refresh tokens were revoked.
func (w *world) wantRevoked(want ...string) {
	w.Helper()
	w.provider.mu.Lock()
	defer w.provider.mu.Unlock()
	if !slices.Equal(w.provider.revoked, want) {
		w.Errorf("revoked %q, want %q", w.provider.revoked, want)
	}
}

func (p *provider) sent() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.spent)
}

// loseLock makes the lease of the refresh run out.
func (w *world) loseLock() {
	w.Helper()
	if err := w.memory.Delete(w.Context(), w.key("l:"), nil); err != nil {
		w.Error(err)
	}
}

func TestToken(t *testing.T) {
	inTime(t, "C080 a refresh token that rotates is replaced", func(t *testing.T) {
		w := newWorld(t, nil)
		s := w.login(lifetime)
		w.wantToken(w.Keeper, s, "at-0")
		time.Sleep(isDue)
		w.wantToken(w.Keeper, s, "at-1")
		time.Sleep(isDue)
		w.wantToken(w.replica(nil), s, "at-2")
		w.wantSpent("rt-0", "rt-1")
		if keys := w.living("s:", "t:", "d:", "u:", "i:"); len(keys) != 0 {
			t.Errorf("the refresh has left %q", keys)
		}
	})
	inTime(t, "C082 a renewal of the lock that the store refuses twice is repeated in time", func(t *testing.T) {
		w := newWorld(t, func(l *session.Limits) { l.LockLease = 3 * time.Second })
		s := w.login(lifetime)
		w.provider.refresh = func(n int) (*session.ProviderTokens, error) {
			time.Sleep(9 * time.Second)
			return tokens(n), nil
		}
		var renewals atomic.Int32
		w.broken = func(c interleave.Call) error {
			if !c.Is(interleave.Swap, "l:") || renewals.Add(1) > 2 {
				return nil
			}
			time.Sleep(500 * time.Millisecond)
			return errors.New("no answer in time")
		}
		time.Sleep(isOver)
		var other sync.WaitGroup
		other.Go(func() { w.wantToken(w.replica(nil), s, "at-1") })
		w.wantToken(w.Keeper, s, "at-1")
		other.Wait()
		w.wantSpent("rt-0")
	})
	inTime(t, "F40 userinfo and an application that hang hold up no new token", func(t *testing.T) {
		for name, hang := range map[string]func(*world){
			"userinfo":        func(w *world) { w.provider.onUserinfo = func() { time.Sleep(10 * time.Second) } },
			"the application": func(w *world) { w.provider.decide = func() error { time.Sleep(15 * time.Second); return nil } },
		} {
			w := newWorld(t, func(l *session.Limits) { l.Reread = time.Hour })
			s := w.login(lifetime)
			hang(w)
			time.Sleep(isOver)
			begun := time.Now()
			w.wantToken(w.Keeper, s, "at-1")
			if took := time.Since(begun); took > 2*time.Second {
				t.Errorf("%s: it took %v", name, took)
			}
		}
	})
	inTime(t, "C085 a token that ends while it is refreshed is not returned", func(t *testing.T) {
		w := newWorld(t, nil)
		s := w.login(lifetime)
		w.provider.refresh = func(n int) (*session.ProviderTokens, error) {
			time.Sleep(4 * time.Second)
			return tokens(n), nil
		}
		time.Sleep(tokenLife - time.Second)
		w.wantToken(w.Keeper, s, "at-1")
		time.Sleep(tokenLife - 4*time.Second)
		w.wantToken(w.Keeper, s, "at-1") // it serves for longer than a request waits
	})
	inTime(t, "C080 what an answer leaves out stays", func(t *testing.T) {
		w := newWorld(t, nil)
		s := w.login(lifetime)
		w.provider.refresh = func(n int) (*session.ProviderTokens, error) {
			return &session.ProviderTokens{AccessToken: fmt.Sprint("at-", n)}, nil
		}
		time.Sleep(isOver)
		w.wantToken(w.Keeper, s, "at-1")
		for range 4 { // more than TokenLifetime: the answer said no expiry
			time.Sleep(30 * time.Minute)
			if _, err := w.Load(t.Context(), s.ID); err != nil {
				t.Error(err)
			}
		}
		w.wantToken(w.Keeper, s, "at-2")
		w.wantSpent("rt-0", "rt-0")
	})
	inTime(t, "C085 without a refresh token the access token is over when it is over",
		func(t *testing.T) {
			w := newWorld(t, nil)
			l := w.loginUnderWay()
			l.Tokens.RefreshToken = ""
			w.wantErr(w.Begin(t.Context(), l), nil)
			s := &l.Session
			time.Sleep(isDue)
			w.wantToken(w.Keeper, s, "at-0")
			time.Sleep(isOver - isDue)
			w.wantNoToken(s, session.ErrTokenExpired)
		})
	inTime(t, "C086 a refresh changes neither deadline nor identity", func(t *testing.T) {
		w := newWorld(t, nil)
		s := w.login(30 * time.Minute)
		time.Sleep(isDue)
		w.wantToken(w.Keeper, s, "at-1")
		got, err := w.Load(t.Context(), s.ID)
		w.wantErr(err, nil)
		if got.Times.Deadline != s.Times.Deadline || got.Identity.IDToken != s.Identity.IDToken {
			t.Errorf("session %+v, want %+v", got, s)
		}
		time.Sleep(30*time.Minute - isDue)
		w.wantNoToken(s, session.ErrGone)
	})
	inTime(t, "C082 fifty requests on two replicas: one refresh", func(t *testing.T) {
		w := newWorld(t, nil)
		s := w.login(lifetime)
		w.provider.refresh = func(n int) (*session.ProviderTokens, error) {
			time.Sleep(time.Second)
			return tokens(n), nil
		}
		time.Sleep(isOver)
		replicas := []*session.Keeper{w.Keeper, w.replica(nil)}
		for i := range 50 {
			go w.wantToken(replicas[i%2], s, "at-1")
		}
		synctest.Wait()
		for _, k := range replicas {
			w.wantErr(k.Wait(t.Context()), nil)
		}
		w.wantSpent("rt-0")
	})
	inTime(t, "F34 a provider that panics ends one refresh", func(t *testing.T) {
		w := newWorld(t, nil)
		s := w.login(lifetime)
		w.provider.refresh = func(int) (*session.ProviderTokens, error) { panic("a fault") }
		time.Sleep(isOver)
		var told any
		stack := ""
		k := w.replica(func(c *session.Config) {
			c.Panicked = func(_ context.Context, _ string, v any) { told, stack = v, string(debug.Stack()) }
		})
		_, err := k.Token(t.Context(), s)
		w.wantErr(err, session.ErrProvider)
		if told != "a fault" || !strings.Contains(stack, "refresh_test.go") {
			t.Errorf("told of %v, with the stack\n%s", told, stack)
		}
	})
}

// slowly rotates after a time.
type slowly struct {
	*provider
	takes time.Duration
}

func (p slowly) Refresh(_ context.Context, _ *session.Identity, t *session.ProviderTokens) (*session.ProviderTokens, error) {
	p.mu.Lock()
	p.spent = append(p.spent, t.RefreshToken)
	p.mu.Unlock()
	time.Sleep(p.takes)
	fresh := tokens(1)
	fresh.AccessToken, fresh.RefreshToken = t.AccessToken+"+", t.RefreshToken+"+"
	return fresh, nil
}

func TestWaitingForAPlaceWhileCutOff(t *testing.T) {
	inTime(t, "C082 C083 F40 a refresh token that another replica has spent meanwhile is not sent", func(t *testing.T) {
		w := newWorld(t, func(l *session.Limits) { l.LockLease = 3 * time.Second })
		var cutOff atomic.Bool
		a := w.replica(func(c *session.Config) {
			c.Provider = slowly{w.provider, 9 * time.Second}
			c.Store = interleave.Func(func(ctx context.Context, call interleave.Call) interleave.Reply {
				if cutOff.Load() {
					time.Sleep(500 * time.Millisecond)
					return interleave.Reply{Err: errors.New("no route to the store")}
				}
				return w.call(ctx, call)
			})
		})
		quick := &provider{}
		b := w.replica(func(c *session.Config) { c.Provider = slowly{quick, 0} })
		var all []*session.Session
		for i := range 12 {
			l := w.loginUnderWay()
			l.Tokens.RefreshToken = fmt.Sprint("rt-", i)
			w.wantErr(w.Begin(t.Context(), l), nil)
			all = append(all, &l.Session)
		}
		time.Sleep(isDue)
		for _, s := range all {
			go func() { _, _ = a.Token(t.Context(), s) }()
		}
		time.Sleep(time.Second)
		sent := w.provider.sent() // those that have a place
		cutOff.Store(true)
		time.Sleep(4500 * time.Millisecond)
		for _, s := range all {
			_, err := b.Token(t.Context(), s)
			w.wantErr(err, nil)
		}
		cutOff.Store(false)
		time.Sleep(2 * time.Minute)
		w.wantErr(a.Wait(t.Context()), nil)
		if got := w.provider.sent(); got != sent || sent == len(all) {
			t.Errorf("the replica sent %d refresh tokens of %d, %d of them before it was cut off", got, len(all), sent)
		}
		for _, s := range all {
			fresh, err := a.Token(t.Context(), s)
			w.wantErr(err, nil)
			if !strings.HasSuffix(fresh.AccessToken, "+") {
				t.Errorf("the token %s", fresh.AccessToken)
			}
		}
	})
}

func TestStandingStillWithTheLock(t *testing.T) {
	for at, row := range map[string]struct {
		op     interleave.Op
		prefix string
		nth    int32
	}{
		"the read of the tokens": {interleave.Get, "t:", 3}, // with the lock in hand
		"the mark":               {interleave.Create, "m:", 1},
	} {
		inTime(t, "C082 C083 F40 a refresh token that another replica has spent meanwhile is not sent: at "+at, func(t *testing.T) {
			w := newWorld(t, nil)
			p := slowly{&provider{}, 0}
			var stands atomic.Bool
			goesOn := make(chan struct{})
			var calls atomic.Int32
			a := w.replica(func(c *session.Config) {
				c.Provider = p
				c.Store = interleave.Func(func(ctx context.Context, call interleave.Call) interleave.Reply {
					if stands.Load() {
						<-goesOn
					}
					r := w.call(ctx, call)
					if call.Is(row.op, row.prefix) && calls.Add(1) == row.nth {
						stands.Store(true)
						<-goesOn
					}
					return r
				})
			})
			b := w.replica(func(c *session.Config) { c.Provider = p })
			s := w.login(lifetime)
			time.Sleep(isDue)
			go func() { _, _ = a.Token(t.Context(), s) }()
			time.Sleep(20 * time.Second) // longer than the lease
			w.wantToken(b, s, "at-0+")
			stands.Store(false)
			close(goesOn)
			time.Sleep(time.Minute)
			w.wantErr(a.Wait(t.Context()), nil)
			if n := p.sent(); n != 1 || calls.Load() < row.nth {
				t.Errorf("%d refresh tokens were sent, %d calls", n, calls.Load())
			}
			w.wantToken(a, s, "at-0+")
			if keys := w.living("s:", "t:", "d:", "u:", "i:"); len(keys) != 0 {
				t.Errorf("left %q", keys)
			}
		})
	}
}

func TestTheRefreshIsNotAlone(t *testing.T) {
	inTime(t, "C082 the lease was lost: the newer tokens of another replica stay",
		func(t *testing.T) {
			w := newWorld(t, nil)
			s := w.login(lifetime)
			other := w.replica(nil)
			w.provider.refresh = func(n int) (*session.ProviderTokens, error) {
				if n == 1 {
					w.loseLock()
					w.wantToken(other, s, "at-2")
				}
				return tokens(n), nil
			}
			time.Sleep(isOver)
			w.wantToken(w.Keeper, s, "at-2")
			time.Sleep(isOver)
			w.wantToken(w.Keeper, s, "at-3")
			w.wantSpent("rt-0", "rt-0", "rt-2")
		})
	inTime(t, "C082 refused, because another replica has refreshed: its tokens count",
		func(t *testing.T) {
			w := newWorld(t, nil)
			s := w.login(lifetime)
			other := w.replica(nil)
			w.provider.refresh = func(n int) (*session.ProviderTokens, error) {
				if n > 1 {
					return tokens(n), nil
				}
				w.loseLock()
				w.wantToken(other, s, "at-2")
				return nil, failure(session.InvalidGrant, "")
			}
			time.Sleep(isOver)
			w.wantToken(w.Keeper, s, "at-2")
			w.wantTold(event.RefreshFailed)
			w.wantTold(event.SessionRevoked)
		})
	inTime(t, "C082 C084 refused, and another replica has only noted that it failed: the session ends",
		func(t *testing.T) {
			w := newWorld(t, func(l *session.Limits) { l.EndWithAccessToken = true })
			s := w.login(lifetime)
			other := w.replica(nil)
			w.provider.refresh = func(n int) (*session.ProviderTokens, error) {
				if n > 1 {
					return nil, failure(session.Refused, "")
				}
				w.loseLock()
				_, err := other.Token(t.Context(), s)
				w.wantErr(err, session.ErrProvider)
				return nil, failure(session.InvalidGrant, "")
			}
			time.Sleep(isOver)
			w.wantNoToken(s, session.ErrGone)
			w.wantTold(event.SessionRevoked, event.ReasonByToken)
		})
	inTime(t, "F32 refused, and the store cannot say whether another has refreshed: it goes on",
		func(t *testing.T) {
			w := newWorld(t, nil)
			s := w.login(lifetime)
			other := w.replica(nil)
			w.provider.refresh = func(n int) (*session.ProviderTokens, error) {
				if n > 1 {
					return tokens(n), nil
				}
				w.loseLock()
				w.wantToken(other, s, "at-2")
				w.fails(interleave.Get, "t:", 0)
				return nil, failure(session.InvalidGrant, "")
			}
			time.Sleep(isOver)
			w.wantNoToken(s, session.ErrStore)
			if !w.Stale(s) {
				t.Error("no guard would look again")
			}
			w.wantTold(event.SessionRevoked)
			w.breaks(nil)
			w.wantToken(w.Keeper, s, "at-2")
			if w.Stale(s) {
				t.Error("guards still look again")
			}
		})
	inTime(t, "C082 an answer with more than is taken, and another replica has refreshed: its tokens count", func(t *testing.T) {
		for _, down := range []bool{false, true} {
			w := newWorld(t, func(l *session.Limits) { l.Reread = time.Hour })
			s := w.login(lifetime)
			other := w.replica(nil)
			w.provider.refresh = func(n int) (*session.ProviderTokens, error) {
				if n > 1 {
					return tokens(n), nil
				}
				if down {
					w.fails(interleave.Get, "t:", 0)
				} else {
					w.loseLock()
					w.wantToken(other, s, "at-2")
				}
				return nil, failure(session.Rejected, "")
			}
			time.Sleep(isOver)
			if down { // the store cannot say whether another has
				w.wantNoToken(s, session.ErrStore)
				w.breaks(nil)
			}
			w.wantToken(w.Keeper, s, "at-2")
			w.wantTold(event.SessionRevoked)
		}
	})
	inTime(t, "C107 C127 a logout during the refresh wins, and the new token is revoked",
		func(t *testing.T) {
			w := newWorld(t, nil)
			s := w.login(lifetime)
			w.provider.refresh = func(n int) (*session.ProviderTokens, error) {
				w.wantErr(w.End(t.Context(), s.ID), nil)
				return tokens(n), nil
			}
			time.Sleep(isDue) // the old access token still serves, and is not given out
			w.wantNoToken(s, session.ErrGone)
			w.wantRevoked("rt-1")
			if keys := w.living(); len(keys) != 0 {
				t.Errorf("left behind: %q", keys)
			}
		})
	inTime(t, "C107 refused, because a logout came first: nothing is reported", func(t *testing.T) {
		w := newWorld(t, nil)
		s := w.login(lifetime)
		w.provider.refresh = func(int) (*session.ProviderTokens, error) {
			w.wantErr(w.End(t.Context(), s.ID), nil)
			return nil, failure(session.InvalidGrant, "")
		}
		time.Sleep(isDue)
		w.wantNoToken(s, session.ErrGone)
		w.wantTold(event.RefreshFailed)
	})
	inTime(t, "C107 refused without a reason, a logout comes before that is noted: the old access token is not given out", func(t *testing.T) {
		w := newWorld(t, func(l *session.Limits) { l.EndWithAccessToken = true })
		s := w.login(lifetime)
		w.provider.refresh = func(int) (*session.ProviderTokens, error) { return nil, failure(session.Refused, "") }
		time.Sleep(isDue)
		w.breaks(func(c interleave.Call) error {
			if !c.Is(interleave.Swap, "t:") {
				return nil
			}
			w.breaks(nil)
			w.wantErr(w.End(t.Context(), s.ID), nil)
			return errDown
		})
		w.wantNoToken(s, session.ErrGone)
	})
	inTime(t, "C083 the browser leaves: the new tokens are saved", func(t *testing.T) {
		w := newWorld(t, nil)
		s := w.login(lifetime)
		time.Sleep(isOver)
		ctx, leave := context.WithCancel(t.Context())
		w.provider.refresh = func(n int) (*session.ProviderTokens, error) {
			leave()
			time.Sleep(time.Second)
			return tokens(n), nil
		}
		_, err := w.Token(ctx, s)
		w.wantErr(err, ctx.Err())
		w.wantErr(w.Wait(t.Context()), nil)
		w.wantToken(w.Keeper, s, "at-1")
		w.wantSpent("rt-0")
	})
}

func TestTheProviderFails(t *testing.T) {
	inTime(t, "C084 invalid_grant ends the session", func(t *testing.T) {
		w := newWorld(t, nil)
		s := w.login(lifetime)
		w.provider.refresh = func(int) (*session.ProviderTokens, error) {
			return nil, failure(session.InvalidGrant, "")
		}
		time.Sleep(isDue)
		w.wantNoToken(s, session.ErrGone)
		w.wantNoToken(s, session.ErrGone)
		w.wantSpent("rt-0")
		w.wantTold(event.RefreshFailed, event.ReasonInvalidGrant)
		w.wantTold(event.SessionRevoked, event.ReasonByToken)
		if keys := w.living(); len(keys) != 0 {
			t.Errorf("left behind: %q", keys)
		}
	})
	inTime(t, "C084 F16 the store fails when invalid_grant is to end the session: it ends when the store is back", func(t *testing.T) {
		w := newWorld(t, nil)
		s := w.login(lifetime)
		w.provider.refresh = func(int) (*session.ProviderTokens, error) {
			return nil, failure(session.InvalidGrant, "")
		}
		time.Sleep(isDue)
		w.fails(interleave.Delete, "s:", 0)
		w.wantNoToken(s, session.ErrStore)
		w.wantLive(true, s)
		w.breaks(nil)
		w.wantErr(w.Wait(t.Context()), nil)
		w.wantNoToken(s, session.ErrGone)
		w.wantLive(false, s)
		w.wantTold(event.SessionRevoked, event.ReasonByToken)
	})
	inTime(t, "C127 F16 the refresh token of a session that is refused is revoked, whatever of it could not be deleted", func(t *testing.T) {
		w := newWorld(t, func(l *session.Limits) { l.Reread = 5 * time.Minute })
		w.provider.decide = func() error { return failure(session.Rejected, "") }
		s := w.login(lifetime)
		time.Sleep(isDue)
		w.fails(interleave.Delete, "x:", 0)
		_, err := w.Reread(t.Context(), s)
		w.wantErr(err, session.ErrStore)
		w.wantErr(w.Wait(t.Context()), nil)
		w.wantRevoked("rt-1")
	})
	inTime(t, "F31 invalid_grant after a lost answer is told as that", func(t *testing.T) {
		w := newWorld(t, nil)
		s := w.login(lifetime)
		w.provider.refresh = func(n int) (*session.ProviderTokens, error) {
			if n == 1 {
				return nil, errors.New("the connection broke")
			}
			return nil, failure(session.InvalidGrant, "")
		}
		time.Sleep(isOver)
		w.wantNoToken(s, session.ErrProvider)
		time.Sleep(time.Minute)
		w.wantNoToken(s, session.ErrGone)
		w.wantTold(event.RefreshReuseSuspected, event.ReasonInvalidGrant)
	})
	inTime(t, "C084 a provider that was not reached has lost no answer", func(t *testing.T) {
		w := newWorld(t, nil)
		s := w.login(lifetime)
		w.provider.reach = func() error { return errors.New("no metadata") }
		time.Sleep(isOver)
		w.wantNoToken(s, session.ErrProvider)
		w.wantSpent()
		if keys := w.living("s:", "t:", "d:", "u:", "i:", "l:"); len(keys) != 0 {
			t.Errorf("the store holds %q", keys)
		}
	})
	inTime(t, "C084 an answer that keeps the refresh token good has lost nothing",
		func(t *testing.T) {
			w := newWorld(t, nil)
			s := w.login(lifetime)
			w.provider.refresh = func(int) (*session.ProviderTokens, error) {
				return nil, failure(session.NotRotated, "")
			}
			time.Sleep(isOver)
			w.wantNoToken(s, session.ErrProvider)
			if keys := w.living("s:", "t:", "d:", "u:", "i:", "l:"); len(keys) != 0 {
				t.Errorf("the store holds %q", keys)
			}
		})
	inTime(t, "C080 nor has one that brings another refresh token", func(t *testing.T) {
		w := newWorld(t, nil)
		s := w.login(lifetime)
		w.provider.refresh = func(n int) (*session.ProviderTokens, error) {
			if n == 1 {
				return &session.ProviderTokens{RefreshToken: "rt-1"}, failure(session.NoAnswer, "")
			}
			return nil, failure(session.InvalidGrant, "")
		}
		time.Sleep(isOver)
		w.wantNoToken(s, session.ErrProvider)
		time.Sleep(time.Minute)
		w.wantNoToken(s, session.ErrGone)
		w.wantSpent("rt-0", "rt-1")
		w.wantTold(event.RefreshReuseSuspected)
	})
	inTime(t, "F31 an answer that was lost is remembered over a try that spent nothing", func(t *testing.T) {
		w := newWorld(t, nil)
		s := w.login(lifetime)
		w.provider.refresh = func(n int) (*session.ProviderTokens, error) {
			return nil, failure([]session.FailureKind{
				session.NoAnswer, session.NotRotated, session.InvalidGrant,
			}[n-1], "")
		}
		time.Sleep(isOver)
		for _, want := range []error{session.ErrProvider, session.ErrProvider, session.ErrGone} {
			w.wantNoToken(s, want)
			time.Sleep(time.Minute)
		}
		w.wantTold(event.RefreshReuseSuspected, event.ReasonInvalidGrant)
	})
	for _, asked := range []time.Duration{isDue, isOver, isOver + 20*time.Second, 2 * tokenLife} {
		inTime(t, fmt.Sprintf("C084 a pause for all replicas, %v after the login", asked),
			func(t *testing.T) {
				w := newWorld(t, nil)
				s := w.login(lifetime)
				w.provider.refresh = func(int) (*session.ProviderTokens, error) {
					return nil, failure(session.NoAnswer, "")
				}
				time.Sleep(asked)
				// Overdue since a minute before the end: half of that, up to a quarter more.
				overdue := asked - (tokenLife - time.Minute)
				shortest := min(max(overdue/2, time.Second), 30*time.Second)
				for _, k := range []*session.Keeper{w.Keeper, w.replica(nil), w.replica(nil)} {
					_, err := k.Token(t.Context(), s)
					if asked < tokenLife {
						w.wantErr(err, nil) // the old one still serves
					} else {
						w.wantErr(err, session.ErrProvider)
					}
				}
				w.wantSpent("rt-0")
				time.Sleep(shortest - time.Millisecond)
				_, _ = w.Token(t.Context(), s)
				w.wantSpent("rt-0")
				time.Sleep(shortest/4 + 2*time.Millisecond)
				_, _ = w.Token(t.Context(), s)
				w.wantSpent("rt-0", "rt-0")
			})
	}
	inTime(t, "C084 for want of keys the refresh token is kept, and nothing else of the answer",
		func(t *testing.T) {
			w := newWorld(t, nil)
			s := w.login(lifetime)
			w.provider.refresh = func(n int) (*session.ProviderTokens, error) {
				answer := tokens(n)
				answer.IDToken = "ID Token"
				return answer, nil
			}
			w.provider.verify = func() error {
				return failure(session.NotVerifiable, event.ReasonJWKSUnavailable)
			}
			time.Sleep(isDue)
			w.wantToken(w.Keeper, s, "at-0")
			w.wantTold(event.RefreshFailed, event.ReasonJWKSUnavailable)
			kept, err := w.Tokens(t.Context(), s.ID)
			if err != nil || kept.RefreshToken != "rt-1" || kept.AccessToken != "at-0" ||
				kept.IDToken != "" {
				t.Errorf("kept %+v, %v", kept, err)
			}
			w.wantToken(w.replica(nil), s, "at-0")
			w.wantSpent("rt-0") // there is a pause
			w.provider.verify = nil
			time.Sleep(time.Minute)
			w.wantToken(w.Keeper, s, "at-2")
			w.wantSpent("rt-0", "rt-1")
			if keys := w.living("s:", "t:", "d:", "u:", "i:"); len(keys) != 0 {
				t.Errorf("the store holds %q", keys)
			}
		})
	inTime(t, "C081 an ID Token of somebody else ends the session, and its tokens are revoked",
		func(t *testing.T) {
			w := newWorld(t, nil)
			s := w.login(lifetime)
			w.provider.refresh = func(n int) (*session.ProviderTokens, error) {
				answer := tokens(n)
				answer.IDToken = "ID Token"
				return answer, nil
			}
			w.provider.verify = func() error {
				return failure(session.Rejected, event.ReasonSubject)
			}
			time.Sleep(isDue)
			w.wantNoToken(s, session.ErrGone)
			w.wantTold(event.RefreshFailed, event.ReasonSubject)
			w.wantRevoked("rt-1")
			if keys := w.living(); len(keys) != 0 {
				t.Errorf("left behind: %q", keys)
			}
		})
}

func TestTheStoreFailsDuringARefresh(t *testing.T) {
	down := errors.New("down")
	inTime(t, "F32 new tokens are saved when the store answers again", func(t *testing.T) {
		w := newWorld(t, nil)
		s := w.login(lifetime)
		end := time.Now().Add(isOver + 5*time.Second)
		w.broken = func(c interleave.Call) error {
			if c.Is(interleave.Swap, "t:") && time.Now().Before(end) {
				return down
			}
			return nil
		}
		time.Sleep(isOver)
		w.wantToken(w.Keeper, s, "at-1")
		w.wantSpent("rt-0")
	})
	inTime(t, "F32 a save whose reply was lost is not taken for another's", func(t *testing.T) {
		w := newWorld(t, nil)
		s := w.login(lifetime)
		failures := 0
		w.broken = func(c interleave.Call) error {
			if c.Is(interleave.Swap, "t:") && failures == 0 {
				failures++
				_ = c.On(t.Context(), &w.memory)
				return down
			}
			return nil
		}
		time.Sleep(isOver)
		w.wantToken(w.Keeper, s, "at-1")
		w.wantSpent("rt-0")
	})
	inTime(t, "F32 new tokens that cannot be saved at all are not given out", func(t *testing.T) {
		w := newWorld(t, nil)
		s := w.login(lifetime)
		w.broken = func(c interleave.Call) error {
			if c.Is(interleave.Swap, "t:") {
				return down
			}
			return nil
		}
		time.Sleep(isOver)
		w.wantNoToken(s, session.ErrStore)
		w.wantTold(event.RefreshFailed, event.ReasonStoreError)
	})
	for _, prefix := range []string{"l:", "m:"} {
		inTime(t, "F32 no "+prefix+" no refresh: the provider is not asked", func(t *testing.T) {
			w := newWorld(t, nil)
			s := w.login(lifetime)
			w.broken = func(c interleave.Call) error {
				if c.Is(interleave.Create, prefix) {
					return down
				}
				return nil
			}
			time.Sleep(isDue)
			w.wantToken(w.Keeper, s, "at-0") // it still serves
			time.Sleep(isOver - isDue)
			w.wantNoToken(s, session.ErrStore)
			w.wantSpent()
		})
	}
}

func TestReread(t *testing.T) {
	every := func(l *session.Limits) { l.Reread = 20 * time.Minute }
	group := claims.Object("").With("group", claims.Text("readers"))

	inTime(t, "C113 new claims replace the old, and C086 the login's stay", func(t *testing.T) {
		w := newWorld(t, every)
		s := w.login(lifetime)
		w.provider.userinfo = group
		time.Sleep(20 * time.Minute)
		if !w.Stale(s) {
			t.Fatal("the claims are not stale")
		}
		got, err := w.Reread(t.Context(), s)
		w.wantErr(err, nil)
		if got.Identity.Userinfo != group || got.Identity.IDToken != s.Identity.IDToken ||
			w.Stale(got) || got.Times != s.Times {
			t.Errorf("session %+v", got)
		}
	})
	inTime(t, "C113 C079 of a new ID Token the claims of the protocol are not taken",
		func(t *testing.T) {
			w := newWorld(t, every)
			s := w.login(lifetime)
			w.provider.refresh = func(n int) (*session.ProviderTokens, error) {
				answer := tokens(n)
				answer.IDToken = "ID Token"
				return answer, nil
			}
			w.provider.claims = group.With("sub", claims.Text("mallory")).
				With("sid", claims.Text("another")).With("acr", claims.Text("high"))
			time.Sleep(20 * time.Minute)
			got, err := w.Reread(t.Context(), s)
			w.wantErr(err, nil)
			id := got.Identity
			_, acr := id.IDToken.Get("acr")
			if _, ok := id.IDToken.Get("group"); !ok || acr ||
				id.Subject() != "alice" || id.ProviderSessionID() != sid {
				t.Errorf("the ID Token %s", id.IDToken.AppendJSON(nil))
			}
		})
	for name, away := range map[string]func(*provider){
		"userinfo": func(p *provider) { p.noUserinfo = failure(session.NoAnswer, "") },
		"the token endpoint": func(p *provider) {
			p.refresh = func(int) (*session.ProviderTokens, error) { return nil, failure(session.NoAnswer, "") }
			p.noUserinfo = failure(session.NoAnswer, "")
		},
	} {
		inTime(t, "C113 of a session from before ClaimsMaxAge, nothing is decided while "+name+" is away", func(t *testing.T) {
			w := newWorld(t, nil)
			s := w.login(lifetime)
			rereads := w.replica(func(c *session.Config) { every(&c.Limits) })
			asked := 0
			w.provider.decide = func() error { asked++; return nil }
			away(w.provider)
			time.Sleep(isOver)
			w.touched(s)
			time.Sleep(isOver)
			_, err := rereads.Reread(t.Context(), s)
			w.wantErr(err, nil)
			if asked != 0 {
				t.Error("the application decided on what it had left")
			}
			w.provider.noUserinfo, w.provider.refresh, w.provider.userinfo = nil, nil, group
			time.Sleep(time.Minute)
			got, err := rereads.Reread(t.Context(), s)
			w.wantErr(err, nil)
			if asked != 1 || got.Identity.Userinfo != group {
				t.Errorf("asked %d times, session %+v", asked, got)
			}
		})
	}
	inTime(t, "C113 of one whose userinfo is not asked for, the application decides all the same", func(t *testing.T) {
		w := newWorld(t, nil)
		s := w.login(lifetime)
		rereads := w.replica(func(c *session.Config) { every(&c.Limits) })
		w.provider.userinfoOff = true
		w.provider.refresh = func(int) (*session.ProviderTokens, error) { return nil, failure(session.NoAnswer, "") }
		w.provider.decide = func() error { return failure(session.Rejected, "") }
		time.Sleep(isOver)
		w.touched(s)
		time.Sleep(isOver)
		_, err := rereads.Reread(t.Context(), s)
		w.wantErr(err, session.ErrGone)
	})
	inTime(t, "C113 F40 while userinfo or the application is down, only that is asked again, and the ID Token grows no older", func(t *testing.T) {
		for name, down := range map[string]func(*provider) func(){
			"userinfo": func(p *provider) func() {
				p.noUserinfo = failure(session.NoAnswer, "")
				return func() { p.noUserinfo = nil }
			},
			"the application": func(p *provider) func() {
				p.decide = func() error { return errDown }
				return func() { p.decide = nil }
			},
		} {
			w := newWorld(t, every)
			s := w.login(lifetime)
			w.brings(group)
			back := down(w.provider)
			time.Sleep(20 * time.Minute)
			for range 9 {
				_, err := w.Reread(t.Context(), s)
				w.wantErr(err, nil)
				time.Sleep(time.Minute)
			}
			w.wantSpent("rt-0")
			back()
			got, err := w.Reread(t.Context(), s)
			w.wantErr(err, nil)
			if age := time.Since(got.Identity.Checked); age != 9*time.Minute {
				t.Errorf("%s was down: the claims are %v old", name, age)
			}
			if slices.Contains(w.told(event.RereadFailed), event.ReasonNoNews) {
				t.Errorf("%s was down: there is said to be no news", name)
			}
			w.wantSpent("rt-0")
			time.Sleep(11 * time.Minute)
			_, err = w.Reread(t.Context(), &session.Session{ID: s.ID, Identity: got.Identity, Times: got.Times})
			w.wantErr(err, nil)
			w.wantSpent("rt-0", "rt-1")
		}
	})
	inTime(t, "C113 with KeepRefused userinfo that refuses costs no refresh at every try", func(t *testing.T) {
		w := newWorld(t, func(l *session.Limits) { every(l); l.KeepRefused = true })
		s := w.login(lifetime)
		w.brings(group)
		w.provider.noUserinfo = failure(session.TokenRefused, "")
		time.Sleep(20 * time.Minute)
		for range 9 {
			_, err := w.Reread(t.Context(), s)
			w.wantErr(err, nil)
			time.Sleep(time.Minute)
		}
		w.wantSpent("rt-0")
	})
	inTime(t, "C113 a recent token that userinfo refuses is refreshed once, and userinfo asked again", func(t *testing.T) {
		for _, refused := range []int{1, 2} {
			w := newWorld(t, every)
			s := w.login(lifetime)
			w.brings(group)
			w.provider.noUserinfo = failure(session.NoAnswer, "")
			time.Sleep(20 * time.Minute)
			_, err := w.Reread(t.Context(), s)
			w.wantErr(err, nil)
			time.Sleep(time.Minute)
			asked := 0
			w.provider.onUserinfo = func() {
				if asked++; asked <= refused {
					w.provider.noUserinfo = failure(session.TokenRefused, "")
				} else {
					w.provider.noUserinfo = nil
				}
			}
			_, err = w.Reread(t.Context(), s)
			w.wantErr(err, map[int]error{1: nil, 2: session.ErrGone}[refused])
			w.wantSpent("rt-0", "rt-1")
			if asked != 2 {
				t.Errorf("userinfo was asked %d times", asked)
			}
		}
	})
	inTime(t, "F38 claims that have become too large end the session", func(t *testing.T) {
		w := newWorld(t, every)
		s := w.login(lifetime)
		w.provider.userinfo = group.With("big", claims.Text(strings.Repeat("x", 20<<10)))
		time.Sleep(20 * time.Minute)
		_, err := w.Reread(t.Context(), s)
		w.wantErr(err, session.ErrGone)
		w.wantTold(event.RefreshFailed, event.ReasonClaims)
	})
	inTime(t, "F38 so does an ID Token that is too long to be kept", func(t *testing.T) {
		w := newWorld(t, every)
		s := w.login(lifetime)
		w.provider.refresh = func(n int) (*session.ProviderTokens, error) {
			fresh := tokens(n)
			fresh.IDToken = strings.Repeat("x", 8*16<<10+1)
			return fresh, nil
		}
		time.Sleep(isOver)
		w.wantNoToken(s, session.ErrGone)
		w.wantTold(event.RefreshFailed, event.ReasonClaims)
		w.wantRevoked("rt-1")
	})
	inTime(t, "C113 C087 the application refuses: the session ends, and its refresh token is revoked", func(t *testing.T) {
		w := newWorld(t, every)
		s := w.login(lifetime)
		w.provider.userinfo = group
		w.provider.decide = func() error { return failure(session.Rejected, "") }
		time.Sleep(20 * time.Minute)
		_, err := w.Reread(t.Context(), s)
		w.wantErr(err, session.ErrGone)
		w.wantTold(event.RefreshFailed, event.ReasonClaims)
		if keys := w.living(); len(keys) != 0 {
			t.Errorf("left behind: %q", keys)
		}
		if n := len(w.provider.revoked); n != 1 || w.provider.revoked[0] != "rt-1" {
			t.Errorf("revoked %q, want the refresh token of the session", w.provider.revoked)
		}
	})
	inTime(t, "C113 C085 so it does where the provider gives no new token", func(t *testing.T) {
		w := newWorld(t, every)
		s := w.login(lifetime)
		w.provider.refresh = func(int) (*session.ProviderTokens, error) { return nil, failure(session.NoAnswer, "") }
		w.provider.decide = func() error { return failure(session.Rejected, "") }
		time.Sleep(20 * time.Minute)
		w.wantNoToken(s, session.ErrGone)
		w.wantLive(false, s)
	})
	inTime(t, "C113 userinfo refuses the new access token: nobody gets it", func(t *testing.T) {
		w := newWorld(t, every)
		s := w.login(lifetime)
		w.provider.noUserinfo = failure(session.TokenRefused, event.ReasonUserinfoRefused)
		time.Sleep(20 * time.Minute)
		w.wantNoToken(s, session.ErrGone)
		w.wantLive(false, s)
	})
	inTime(t, "C113 the application gives no answer: the old claims stay, and there is a pause",
		func(t *testing.T) {
			w := newWorld(t, every)
			s := w.login(lifetime)
			w.provider.userinfo = group
			w.provider.decide = func() error { return errors.New("its database is down") }
			time.Sleep(20 * time.Minute)
			for range 3 {
				got, err := w.Reread(t.Context(), s)
				w.wantErr(err, nil)
				if got.Identity.Userinfo != "" {
					t.Errorf("claims %q", got.Identity.Userinfo)
				}
			}
			time.Sleep(time.Second - time.Millisecond)
			_, err := w.Reread(t.Context(), s)
			w.wantErr(err, nil)
			w.wantTold(event.RereadFailed, event.ReasonHookError)
			time.Sleep(time.Second/4 + time.Millisecond) // the pause differs by a quarter
			_, err = w.Reread(t.Context(), s)
			w.wantErr(err, nil)
			if n := len(w.told(event.RereadFailed)); n != 2 {
				t.Errorf("the application was asked %d times", n)
			}
		})
	inTime(t, "C113 the application gives no answer for as long as claims may be old: they count no more", func(t *testing.T) {
		for _, keep := range []bool{false, true} {
			w := newWorld(t, func(l *session.Limits) { every(l); l.KeepRefused = keep })
			l, err := w.loginUnderWay(), error(session.ErrTooLarge)
			for n := 16 << 10; errors.Is(err, session.ErrTooLarge); n -= 4 { // the record has no room left
				l.Identity.Userinfo = claims.Object("").With("bio", claims.Text(strings.Repeat("x", n)))
				err = w.Begin(t.Context(), l)
			}
			w.wantErr(err, nil)
			s := &l.Session
			w.provider.userinfo = group
			w.provider.decide = func() error { return errors.New("its database refuses that name") }
			time.Sleep(20 * time.Minute)
			_, err = w.Reread(t.Context(), s)
			w.wantErr(err, nil)
			for range 50 {
				time.Sleep(30 * time.Second)
				for range 2 { // the second during the pause
					if s, err = w.Load(t.Context(), s.ID); err == nil {
						_, err = w.Reread(t.Context(), s)
					}
				}
			}
			if (err == nil) != keep {
				t.Errorf("KeepRefused is %v: %v", keep, err)
			}
			w.provider.decide = nil
			time.Sleep(11 * time.Second) // it is asked again soon
			got, err := w.Reread(t.Context(), s)
			if w.wantErr(err, nil); err == nil && (got.Identity.Userinfo != group || !got.Identity.Undecided.IsZero()) {
				t.Errorf("afterwards %+v", got.Identity)
			}
		}
	})
	inTime(t, "C113 userinfo refuses the access token, because another replica has refreshed: its token is asked with",
		func(t *testing.T) {
			w := newWorld(t, every)
			s := w.login(lifetime)
			other := w.replica(nil)
			asked := 0
			w.provider.userinfo = group
			w.provider.onUserinfo = func() {
				asked++
				w.provider.noUserinfo = nil
				if asked > 1 {
					return
				}
				w.loseLock()
				w.wantErr(other.Renew(t.Context(), s), nil)
				w.provider.noUserinfo = failure(session.TokenRefused, "")
			}
			time.Sleep(20 * time.Minute)
			got, err := w.Reread(t.Context(), s)
			w.wantErr(err, nil)
			w.wantTold(event.SessionRevoked)
			w.wantTold(event.UserinfoFailed)
			if asked != 3 || got.Identity.Userinfo != group {
				t.Errorf("userinfo was asked %d times, session %v", asked, got)
			}
			w.wantSpent("rt-0", "rt-1")
		})
	inTime(t, "C113 it refuses that of another replica too: nobody gets a token", func(t *testing.T) {
		w := newWorld(t, every)
		s := w.login(lifetime)
		other, asked := w.replica(nil), 0
		w.provider.onUserinfo = func() {
			asked++
			n := asked
			if n == 1 {
				w.loseLock()
				_, err := other.Reread(t.Context(), s)
				w.wantErr(err, nil)
			}
			w.provider.noUserinfo = nil
			if n != 2 { // that of the other replica
				w.provider.noUserinfo = failure(session.TokenRefused, "")
			}
		}
		time.Sleep(20 * time.Minute)
		w.wantNoToken(s, session.ErrGone)
		w.wantLive(false, s)
	})
	inTime(t, "C107 a logout while the application decides wins", func(t *testing.T) {
		w := newWorld(t, every)
		s := w.login(lifetime)
		w.provider.userinfo = group
		w.provider.decide = func() error { return w.End(t.Context(), s.ID) }
		time.Sleep(20 * time.Minute)
		_, err := w.Reread(t.Context(), s)
		w.wantErr(err, session.ErrGone)
		if keys := w.living(); len(keys) != 0 {
			t.Errorf("left behind: %q", keys)
		}
	})
}

// loginAt is login of some user at another provider.
func (w *world) loginAt(provider string, user int) *session.Session {
	w.Helper()
	l := w.loginUnderWayOf(user)
	l.Identity.Provider = provider
	if err := w.Begin(w.Context(), l); err != nil {
		w.Fatal(err)
	}
	return &l.Session
}

// loginUnderWayOf is loginUnderWay of some user.
func (w *world) loginUnderWayOf(user int) *session.Login {
	l := w.loginUnderWay()
	l.Identity.IDToken = claims.Object("").With("iss", claims.Text(issuer)).
		With("sub", claims.Text(fmt.Sprint("user ", user)))
	return l
}

func TestOneProvidersTroubleIsNotAnothers(t *testing.T) {
	inTime(t, "F08 a provider that hangs holds up no tokens of another", func(t *testing.T) {
		w := newWorld(t, nil)
		var slow []*session.Session
		for i := range 100 {
			slow = append(slow, w.loginAt("slow", i))
		}
		well := w.loginAt("well", 0)
		time.Sleep(isOver)
		w.provider.refresh = func(n int) (*session.ProviderTokens, error) {
			time.Sleep(30 * time.Second)
			return tokens(n), nil
		}
		for _, s := range slow {
			go func() { _, _ = w.Token(t.Context(), s) }()
		}
		synctest.Wait()
		w.provider.refresh = nil
		begun := time.Now()
		_, err := w.Token(t.Context(), well)
		w.wantErr(err, nil)
		if took := time.Since(begun); took != 0 {
			t.Errorf("a token of the provider that is well came after %v", took)
		}
		w.wantErr(w.Wait(t.Context()), nil)
	})
	inTime(t, "F08 a provider whose userinfo hangs is not asked by more than have a place", func(t *testing.T) {
		w := newWorld(t, func(l *session.Limits) { l.Reread = time.Minute })
		var asked atomic.Int32
		w.provider.onUserinfo = func() {
			asked.Add(1)
			time.Sleep(time.Minute) // longer than a refresh may take
		}
		var slow []*session.Session
		for i := range 40 {
			l := w.loginUnderWayOf(i)
			l.Tokens.RefreshToken = "" // that would be exchanged first
			w.wantErr(w.Begin(t.Context(), l), nil)
			slow = append(slow, &l.Session)
		}
		time.Sleep(time.Minute)
		for _, s := range slow {
			go func() { _, _ = w.Reread(t.Context(), s) }()
		}
		synctest.Wait()
		w.wantErr(w.Wait(t.Context()), nil)
		if n := asked.Load(); n != 32 {
			t.Errorf("userinfo was asked for %d sessions", n)
		}
		// What came late is saved all the same.
		if failed, unsaved := len(w.told(event.UserinfoFailed)), len(w.told(event.StoreUnavailable)); failed != 8 || unsaved != 0 {
			t.Errorf("userinfo failed for %d sessions, and the claims of %d could not be saved", failed, unsaved)
		}
	})
	inTime(t, "C113 F08 userinfo hangs: what new ID Tokens say counts, also for sessions that find no place there", func(t *testing.T) {
		w := newWorld(t, func(l *session.Limits) { l.Reread = 5 * time.Minute })
		w.provider.noUserinfo = errors.New("no answer")
		w.provider.onUserinfo = func() { time.Sleep(10 * time.Second) }
		w.brings(claims.Object("").With("group", claims.Text("none")))
		var all []*session.Session
		for i := range 300 {
			l := w.loginUnderWayOf(i)
			w.wantErr(w.Begin(t.Context(), l), nil)
			all = append(all, &l.Session)
		}
		time.Sleep(6 * time.Minute)
		for _, s := range all {
			go func() { _, _ = w.Reread(t.Context(), s) }()
		}
		synctest.Wait()
		w.wantErr(w.Wait(t.Context()), nil)
		old := 0
		for _, s := range all {
			now, err := w.Load(t.Context(), s.ID)
			w.wantErr(err, nil)
			if v, _ := now.Identity.Claim("group"); v == "" {
				old++
			}
		}
		if old != 0 {
			t.Errorf("%d sessions have the old claims", old)
		}
	})
	inTime(t, "C113 the claims of all sessions of a user with many are soon read again, at a provider that is slow", func(t *testing.T) {
		w := newWorld(t, func(l *session.Limits) { l.Reread = 5 * time.Minute })
		w.provider.refresh = func(n int) (*session.ProviderTokens, error) { time.Sleep(time.Second); return tokens(n), nil }
		w.provider.onUserinfo = func() { time.Sleep(time.Second) }
		w.provider.userinfo = claims.Object("").With("group", claims.Text("none"))
		var all []*session.Session
		for range 100 {
			all = append(all, w.login(lifetime))
		}
		time.Sleep(5 * time.Minute)
		for range 20 {
			for _, s := range all {
				now, err := w.Load(t.Context(), s.ID)
				if err == nil && w.Stale(now) {
					go func() { _, _ = w.Reread(t.Context(), now) }()
				}
			}
			time.Sleep(3 * time.Second)
		}
		w.wantErr(w.Wait(t.Context()), nil)
		for _, s := range all {
			now, err := w.Load(t.Context(), s.ID)
			w.wantErr(err, nil)
			if v, _ := now.Identity.Claim("group"); v == "" {
				t.Fatal("a session has the old claims a minute after they were due")
			}
		}
	})
	inTime(t, "F34 a store that panics while the lease is renewed ends no process", func(t *testing.T) {
		w := newWorld(t, nil)
		s := w.login(lifetime)
		w.provider.refresh = func(n int) (*session.ProviderTokens, error) {
			time.Sleep(9 * time.Second)
			return tokens(n), nil
		}
		time.Sleep(isOver)
		w.broken = func(c interleave.Call) error {
			if c.Is(interleave.Swap, "l:") {
				panic("a fault of the store")
			}
			return nil
		}
		w.wantToken(w.Keeper, s, "at-1")
	})
	inTime(t, "C087 a refresh token kept for want of keys is revoked when a logout came first",
		func(t *testing.T) {
			w := newWorld(t, nil)
			s := w.login(lifetime)
			w.provider.refresh = func(n int) (*session.ProviderTokens, error) {
				answer := tokens(n)
				answer.IDToken = "ID Token"
				return answer, nil
			}
			w.provider.verify = func() error {
				w.wantErr(w.End(t.Context(), s.ID), nil)
				return failure(session.NotVerifiable, "")
			}
			time.Sleep(isOver)
			w.wantNoToken(s, session.ErrGone)
			w.wantRevoked("rt-1")
		})
	inTime(t, "C080 a token that still serves is not waited for longer than two seconds",
		func(t *testing.T) {
			w := newWorld(t, nil)
			s := w.login(lifetime)
			w.provider.refresh = func(n int) (*session.ProviderTokens, error) {
				time.Sleep(9 * time.Second)
				return tokens(n), nil
			}
			time.Sleep(isDue)
			begun := time.Now()
			w.wantToken(w.Keeper, s, "at-0")
			if took := time.Since(begun); took != 2*time.Second {
				t.Errorf("after %v", took)
			}
			w.wantErr(w.Wait(t.Context()), nil)
			w.wantToken(w.Keeper, s, "at-1")
		})
}

func TestWhatARefreshedIDTokenChanges(t *testing.T) {
	// refreshed begins a session whose next refresh brings an ID Token with these claims.
	refreshed := func(t *testing.T, o claims.Object) (*world, *session.Session) {
		w := newWorld(t, nil)
		s := w.login(lifetime)
		w.provider.refresh = func(n int) (*session.ProviderTokens, error) {
			answer := tokens(n)
			answer.IDToken = "ID Token"
			return answer, nil
		}
		w.provider.claims = o
		time.Sleep(isOver)
		return w, s
	}
	another := claims.Object("").With("sid", claims.Text("another"))
	for _, fails := range []struct {
		op     interleave.Op
		prefix string
	}{{interleave.Add, "i:"}, {interleave.Get, "I:"}, {interleave.Swap, "d:"}} {
		inTime(t, "F16 a store that cannot "+string(fails.op)+" "+fails.prefix+" is told, and the tokens serve",
			func(t *testing.T) {
				w, s := refreshed(t, another)
				w.broken = func(c interleave.Call) error {
					if c.Is(fails.op, fails.prefix) {
						return errors.New("the store is down")
					}
					return nil
				}
				w.wantToken(w.Keeper, s, "at-1")
				if len(w.told(event.StoreUnavailable)) == 0 {
					t.Error("nothing is told")
				}
			})
	}
	inTime(t, "C105 an earlier end that cannot be saved is an error of the store, and the old end stays",
		func(t *testing.T) {
			end := time.Now().Add(20 * time.Minute)
			w, s := refreshed(t, claims.Object("").With("session_expiry", claims.Int(end.Unix())))
			w.broken = func(c interleave.Call) error {
				if c.Is(interleave.Swap, "s:") {
					return errors.New("the store is down")
				}
				return nil
			}
			w.wantToken(w.Keeper, s, "at-1")
			if len(w.told(event.RefreshSucceeded)) != 0 {
				t.Error("the refresh is told to have succeeded")
			}
		})
	inTime(t, "C105 an earlier end that the store refused for long is moved by the next guard", func(t *testing.T) {
		w, s := refreshed(t, claims.Object("").With("session_expiry", claims.Int(time.Now().Add(20*time.Minute).Unix())))
		w.fails(interleave.Swap, "s:", 0)
		w.wantToken(w.Keeper, s, "at-1")
		w.wantErr(w.Wait(t.Context()), nil)
		for range 2 {
			if !w.Stale(s) {
				t.Error("a guard does not look")
			}
			_, err := w.Reread(t.Context(), s)
			w.wantErr(err, session.ErrStore)
		}
		w.breaks(nil)
		time.Sleep(2 * time.Second)
		got, err := w.Reread(t.Context(), s)
		w.wantErr(err, nil)
		if w.Stale(got) {
			t.Error("guards look again")
		}
		time.Sleep(20 * time.Minute)
		w.wantLive(false, s)
	})
	inTime(t, "C125 the end of a session whose new sid was logged out is told once, whatever of it cannot be deleted", func(t *testing.T) {
		w, s := refreshed(t, another)
		_, err := w.EndProviderSession(t.Context(), issuer, "another", "")
		w.wantErr(err, nil)
		w.fails(interleave.Delete, "t:", 0)
		w.wantNoToken(s, session.ErrStore)
		w.wantErr(w.Wait(t.Context()), nil)
		w.breaks(nil)
		w.wantLive(false, s)
		w.wantTold(event.SessionRevoked, event.ReasonByToken)
		w.wantRevoked("rt-1")
	})
	inTime(t, "C105 an earlier end holds, also where the process dies after the tokens are saved", func(t *testing.T) {
		end := time.Now().Add(20 * time.Minute)
		w, s := refreshed(t, claims.Object("").With("session_expiry", claims.Int(end.Unix())))
		died := false
		w.breaks(func(c interleave.Call) error {
			if died {
				return errDown
			}
			died = c.Is(interleave.Delete, "m:") // the note that the provider is asked
			return nil
		})
		_, _ = w.Token(t.Context(), s)
		w.breaks(nil)
		got, err := w.Peek(t.Context(), s.ID)
		w.wantErr(err, nil)
		if got.Times.Deadline != end.Truncate(time.Second).UnixMilli() {
			t.Errorf("the session ends at %v, want %v", time.UnixMilli(got.Times.Deadline), end)
		}
	})
}

func TestStaleAtTheEndOfTheAccessToken(t *testing.T) {
	const notNoted = time.Duration(0x7fff)
	for _, tt := range []struct {
		name string
		on   bool
		ends time.Duration // from now
		want bool
	}{
		{"it is over", true, -time.Second, true},
		{"it is over now", true, 0, true},
		{"it is not over", true, time.Second, false},
		{"it is not noted", true, notNoted, false},
		{"EndWithAccessToken was switched off", false, -time.Second, false},
	} {
		inTime(t, "C085 "+tt.name, func(t *testing.T) {
			w := newWorld(t, func(l *session.Limits) { l.EndWithAccessToken = tt.on })
			id := session.Identity{TokenEnds: time.Now().Add(tt.ends)}
			if tt.ends == notNoted {
				id.TokenEnds = time.Time{}
			}
			if got := w.Stale(&session.Session{Identity: id}); got != tt.want {
				t.Errorf("stale: %v, want %v", got, tt.want)
			}
		})
	}
	inTime(t, "C085 without a refresh token no end is noted", func(t *testing.T) {
		w := newWorld(t, func(l *session.Limits) { l.EndWithAccessToken, l.Reread = true, time.Minute })
		l := w.loginUnderWay()
		l.Tokens.RefreshToken = ""
		if err := w.Begin(t.Context(), l); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Minute)
		s, err := w.Load(t.Context(), l.ID)
		if err != nil {
			t.Fatal(err)
		}
		if s, err = w.Reread(t.Context(), s); err != nil || !s.Identity.TokenEnds.IsZero() {
			t.Errorf("noted: %v, error %v", s, err)
		}
	})
}
