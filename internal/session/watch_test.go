package session_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oidcgate/oidcgate/internal/event"
	"github.com/oidcgate/oidcgate/internal/interleave"
	"github.com/oidcgate/oidcgate/internal/session"
)

func watches(l *session.Limits) { l.Watch = 15 * time.Second }

// wantEnded checks whether what watches a session has ended, and that its cause is right.
func wantEnded(t *testing.T, ctx context.Context, want bool) {
	t.Helper()
	synctest.Wait()
	switch cause := context.Cause(ctx); {
	case want && !errors.Is(cause, session.ErrGone):
		t.Errorf("the cause is %v", cause)
	case !want && cause != nil:
		t.Errorf("it ended: %v", cause)
	}
}

// breaks sets broken while others may call the store.
func (w *world) breaks(f func(interleave.Call) error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.broken = f
}

// oneHangs are two providers: one hangs, and the user of the other is refused when claims are read
// again.
type oneHangs struct{ *provider }

func (p oneHangs) Refresh(
	ctx context.Context, id *session.Identity, t *session.ProviderTokens,
) (*session.ProviderTokens, error) {
	if id.Provider == "hangs" {
		time.Sleep(10 * time.Second)
		return nil, failure(session.NoAnswer, "")
	}
	return p.provider.Refresh(ctx, id, t)
}

func (oneHangs) Decide(context.Context, session.Session, string) (session.Identity, error) {
	return session.Identity{}, failure(session.Rejected, "")
}

func TestWatchOfARuleThatIsSlow(t *testing.T) {
	inTime(t, "C107 F34 a rule that does not return holds up no other, and no logout", func(t *testing.T) {
		w := newWorld(t, watches)
		defer time.Sleep(time.Minute) // for rules that are being asked
		over := make(chan struct{})
		defer close(over)
		hangs := func(context.Context, *session.Session) bool { <-over; return true }
		slow := func(context.Context, *session.Session) bool { time.Sleep(150 * time.Millisecond); return true }
		s := w.login(lifetime)
		var contexts []context.Context
		for range 200 {
			ctx, stop := w.Watch(t.Context(), s, slow)
			defer stop()
			contexts = append(contexts, ctx)
		}
		_, stop := w.Watch(t.Context(), s, hangs)
		defer stop()
		time.Sleep(5 * time.Minute)
		for _, ctx := range contexts {
			wantEnded(t, ctx, false)
		}
		other := w.login(lifetime)
		ctx, stop := w.Watch(t.Context(), other, nil)
		defer stop()
		w.wantErr(w.replica(nil).End(t.Context(), other.ID), nil)
		time.Sleep(15 * time.Second)
		wantEnded(t, ctx, true)
	})
}

func TestWatchOfManyRules(t *testing.T) {
	inTime(t, "C107 F45 not more rules than 64 are asked at a time, and a late one delays only its own stream", func(t *testing.T) {
		w := newWorld(t, watches)
		defer time.Sleep(time.Minute) // for rules that are being asked
		var mu sync.Mutex
		running, most := 0, 0
		slow := func(context.Context, *session.Session) bool {
			mu.Lock()
			running++
			most = max(most, running)
			mu.Unlock()
			time.Sleep(20 * time.Millisecond)
			mu.Lock()
			running--
			mu.Unlock()
			return true
		}
		for range 500 {
			_, stop := w.Watch(t.Context(), w.login(lifetime), slow)
			defer stop()
		}
		s := w.login(lifetime)
		_, stop := w.Watch(t.Context(), s, func(context.Context, *session.Session) bool { time.Sleep(50 * time.Second); return true })
		defer stop()
		var gone atomic.Bool
		other, stopOther := w.Watch(t.Context(), s, func(context.Context, *session.Session) bool { return !gone.Load() })
		defer stopOther()
		time.Sleep(time.Minute)
		wantEnded(t, other, false)
		gone.Store(true)
		time.Sleep(17 * time.Second)
		if cause := context.Cause(other); cause != session.ErrNotAllowed {
			t.Errorf("the cause is %v", cause)
		}
		mu.Lock()
		defer mu.Unlock()
		if most > 64 {
			t.Errorf("%d at a time", most)
		}
	})
}

func TestWatch(t *testing.T) {
	inTime(t, "C107 a logout in this process ends it at once", func(t *testing.T) {
		w := newWorld(t, watches)
		s, other := w.login(lifetime), w.login(lifetime)
		ctx, stop := w.Watch(t.Context(), s, nil)
		defer stop()
		stays, stopOther := w.Watch(t.Context(), other, nil)
		defer stopOther()
		w.wantErr(w.End(t.Context(), s.ID), nil)
		wantEnded(t, ctx, true)
		wantEnded(t, stays, false)
	})
	inTime(t, "C107 a logout by another replica ends it after the interval", func(t *testing.T) {
		w := newWorld(t, watches)
		s := w.login(lifetime)
		ctx, stop := w.Watch(t.Context(), s, nil)
		defer stop()
		time.Sleep(10 * time.Second)
		w.wantErr(w.replica(nil).End(t.Context(), s.ID), nil)
		wantEnded(t, ctx, false)
		time.Sleep(5 * time.Second)
		wantEnded(t, ctx, true)
	})
	inTime(t, "C105 F16 the deadline ends it at once, also while the store does not answer", func(t *testing.T) {
		w := newWorld(t, watches)
		s := w.login(5*time.Minute + time.Second)
		ctx, stop := w.Watch(t.Context(), s, nil)
		defer stop()
		w.breaks(func(interleave.Call) error { return errors.New("the store does not answer") })
		time.Sleep(5 * time.Minute)
		wantEnded(t, ctx, false)
		time.Sleep(time.Second)
		wantEnded(t, ctx, true)
	})
	inTime(t, "C105 watching is no use: the idle time ends it", func(t *testing.T) {
		w := newWorld(t, watches)
		ctx, stop := w.Watch(t.Context(), w.login(lifetime), nil)
		defer stop()
		time.Sleep(time.Hour - time.Second)
		wantEnded(t, ctx, false)
		time.Sleep(16 * time.Second)
		wantEnded(t, ctx, true)
	})
	inTime(t, "F16 a store that does not answer, or panics, ends nothing", func(t *testing.T) {
		w := newWorld(t, watches)
		s := w.login(lifetime)
		ctx, stop := w.Watch(t.Context(), s, nil)
		defer stop()
		w.breaks(func(interleave.Call) error { return errors.New("the store is down") })
		time.Sleep(time.Minute)
		wantEnded(t, ctx, false)
		w.breaks(func(interleave.Call) error { panic("a fault of the store") })
		time.Sleep(time.Minute)
		wantEnded(t, ctx, false)
		w.breaks(nil)
		w.wantErr(w.replica(nil).End(t.Context(), s.ID), nil)
		time.Sleep(15 * time.Second)
		wantEnded(t, ctx, true)
	})
	inTime(t, "C107 a logout by another replica ends it also while the provider hangs and the claims of many are due", func(t *testing.T) {
		w := newWorld(t, func(l *session.Limits) { watches(l); l.Reread = 5 * time.Minute })
		defer time.Sleep(10 * time.Minute) // for the refreshes that are under way
		w.provider.refresh = func(int) (*session.ProviderTokens, error) {
			time.Sleep(10 * time.Second)
			return nil, failure(session.NoAnswer, "")
		}
		s := w.login(lifetime)
		ctx, stop := w.Watch(t.Context(), s, nil)
		defer stop()
		for range 1000 {
			_, stop := w.Watch(t.Context(), w.login(lifetime), nil)
			defer stop()
		}
		time.Sleep(5*time.Minute + time.Second)
		w.wantErr(w.replica(nil).End(t.Context(), s.ID), nil)
		time.Sleep(15 * time.Second)
		wantEnded(t, ctx, true)
	})
	inTime(t, "C113 a provider that hangs does not keep the claims of another's users from being read", func(t *testing.T) {
		w := newWorld(t, func(l *session.Limits) { watches(l); l.Reread = 5 * time.Minute })
		defer time.Sleep(10 * time.Minute) // for the refreshes that are under way
		w.config.Provider = oneHangs{w.provider}
		w.Keeper = session.New(w.config)
		watch := func(provider string) context.Context {
			l := w.loginUnderWayOf(1)
			l.Identity.Provider = provider
			w.wantErr(w.Begin(t.Context(), l), nil)
			ctx, stop := w.Watch(t.Context(), &l.Session, nil)
			t.Cleanup(stop)
			return ctx
		}
		for range 3000 {
			watch("hangs")
		}
		time.Sleep(20 * time.Second)
		ctx := watch("well")
		time.Sleep(5*time.Minute + 15*time.Second)
		wantEnded(t, ctx, true)
	})
	inTime(t, "C107 F16 on a slow store all streams are read in turn, and no round is told as a failure", func(t *testing.T) {
		w := newWorld(t, watches)
		const streams, slow = 2560, 5 * time.Second // a round reads 256 of them, or 192
		read := map[string]int{}
		var mu sync.Mutex
		atATime, most := 0, 0
		k := w.replica(func(c *session.Config) {
			c.Store = interleave.Func(func(ctx context.Context, c interleave.Call) interleave.Reply {
				mu.Lock()
				atATime++
				most = max(most, atATime)
				mu.Unlock()
				defer func() { mu.Lock(); defer mu.Unlock(); atATime-- }()
				select {
				case <-time.After(slow):
				case <-ctx.Done():
					return interleave.Reply{Err: ctx.Err()}
				}
				mu.Lock()
				read[c.Key]++
				mu.Unlock()
				return w.call(ctx, c)
			})
		})
		for range streams {
			_, stop := k.Watch(t.Context(), w.login(lifetime), nil)
			defer stop()
		}
		time.Sleep(14 * 35 * time.Second) // 14 rounds with the pauses between them
		mu.Lock()
		defer mu.Unlock()
		if len(read) != streams || most != 64 {
			t.Errorf("%d of %d streams were read, %d at a time", len(read), streams, most)
		}
		w.wantTold(event.StoreUnavailable)
	})
	inTime(t, "C107 F16 reads that hang do not keep the others from being read", func(t *testing.T) {
		w := newWorld(t, watches)
		hangs := map[string]bool{}
		k := w.replica(func(c *session.Config) {
			c.Store = interleave.Func(func(ctx context.Context, c interleave.Call) interleave.Reply {
				if hangs[c.Key] {
					<-ctx.Done()
					return interleave.Reply{Err: ctx.Err()}
				}
				return w.call(ctx, c)
			})
		})
		for range 200 {
			s := w.login(lifetime)
			hangs["s:"+string(w.Handle(s.ID))] = true
			_, stop := k.Watch(t.Context(), s, nil)
			defer stop()
		}
		time.Sleep(time.Minute)
		s := w.login(lifetime)
		ctx, stop := k.Watch(t.Context(), s, nil)
		defer stop()
		w.wantErr(w.End(t.Context(), s.ID), nil)
		time.Sleep(5 * time.Minute)
		wantEnded(t, ctx, true)
	})
	inTime(t, "F34 each session is read once, and no goroutine is left when nobody watches", func(t *testing.T) {
		w := newWorld(t, watches)
		var stops []func()
		for range 100 {
			s := w.login(lifetime)
			for range 2 {
				_, stop := w.Watch(t.Context(), s, nil)
				stops = append(stops, stop)
			}
		}
		var reads atomic.Int64
		w.breaks(func(interleave.Call) error { reads.Add(1); return nil })
		time.Sleep(15 * time.Second)
		synctest.Wait()
		if reads.Load() != 100 {
			t.Errorf("%d reads of 100 sessions", reads.Load())
		}
		for _, stop := range stops {
			stop()
			stop()
		}
	}) // the bubble fails if a goroutine is left
	inTime(t, "a request that ends is not watched any more, and another may begin", func(t *testing.T) {
		w := newWorld(t, watches)
		s := w.login(lifetime)
		request, leave := context.WithCancel(t.Context())
		ended, _ := w.Watch(request, s, nil)
		leave()
		synctest.Wait()
		if cause := context.Cause(ended); cause != context.Canceled {
			t.Errorf("the cause is %v", cause)
		}
		ctx, stop := w.Watch(t.Context(), s, nil)
		defer stop()
		w.wantErr(w.End(t.Context(), s.ID), nil)
		wantEnded(t, ctx, true)
	})
	inTime(t, "C107 when nobody watched for a while, a later stream is read again", func(t *testing.T) {
		w := newWorld(t, watches)
		_, stop := w.Watch(t.Context(), w.login(lifetime), nil)
		stop()
		synctest.Wait()
		s := w.login(lifetime)
		ctx, stop := w.Watch(t.Context(), s, nil)
		defer stop()
		w.wantErr(w.replica(nil).End(t.Context(), s.ID), nil)
		time.Sleep(15 * time.Second)
		wantEnded(t, ctx, true)
	})
	inTime(t, "C113 an application that could not decide twice ends it, and not the session", func(t *testing.T) {
		w := newWorld(t, func(l *session.Limits) { watches(l); l.Reread = 5 * time.Minute })
		s := w.login(lifetime)
		w.provider.decide = func() error { return errors.New("its database is down") }
		ctx, stop := w.Watch(t.Context(), s, nil)
		defer stop()
		time.Sleep(6 * time.Minute)
		wantEnded(t, ctx, false)
		time.Sleep(6 * time.Minute)
		wantEnded(t, ctx, true)
		w.wantLive(true, s)
		w.wantTold(event.SessionRevoked)
	})
	inTime(t, "C113 a refusal ends it, also while the store cannot end the session", func(t *testing.T) {
		w := newWorld(t, func(l *session.Limits) { watches(l); l.Reread = 5 * time.Minute })
		s := w.login(lifetime)
		ctx, stop := w.Watch(t.Context(), s, nil)
		defer stop()
		w.provider.decide = func() error { return failure(session.Rejected, "") }
		w.fails(interleave.Delete, "s:", 0)
		time.Sleep(5 * time.Minute)
		wantEnded(t, ctx, false)
		time.Sleep(time.Minute)
		wantEnded(t, ctx, true)
		stop()
		w.breaks(nil)
	})
	inTime(t, "F41 a record of a key that only other replicas have ends nothing", func(t *testing.T) {
		w := newWorld(t, watches)
		s := w.login(lifetime)
		other := w.replica(func(c *session.Config) { c.Ring = newRing(t, 1) })
		ctx, stop := other.Watch(t.Context(), s, nil)
		defer stop()
		time.Sleep(time.Minute)
		wantEnded(t, ctx, false)
		w.wantErr(w.End(t.Context(), s.ID), nil)
		time.Sleep(15 * time.Second)
		wantEnded(t, ctx, true)
	})
}

func TestWatchAndTwoRefusalsHoursApart(t *testing.T) {
	inTime(t, "C107 C113 F18 another replica has read the claims again meanwhile: the stream goes on", func(t *testing.T) {
		w := newWorld(t, func(l *session.Limits) { l.Reread, l.Watch = 5*time.Minute, 15*time.Second })
		var refuse atomic.Bool
		a := w.replica(func(c *session.Config) {
			c.Store = interleave.Func(func(ctx context.Context, call interleave.Call) interleave.Reply {
				if call.Is(interleave.Create, "l:") && refuse.CompareAndSwap(true, false) {
					return interleave.Reply{Err: errors.New("the store stumbles")}
				}
				return w.call(ctx, call)
			})
		})
		b := w.replica(nil)
		s := w.login(lifetime)
		ctx, stop := a.Watch(t.Context(), s, nil)
		defer stop()
		for range 2 {
			refuse.Store(true)
			for refuse.Load() {
				time.Sleep(time.Second)
			}
			time.Sleep(500 * time.Millisecond) // after the round of a
			for range 12 {
				now, err := b.Load(t.Context(), s.ID)
				w.wantErr(err, nil)
				if b.Stale(now) {
					_, err = b.Reread(t.Context(), now)
					w.wantErr(err, nil)
				}
				time.Sleep(5*time.Minute + 100*time.Millisecond)
			}
		}
		if ctx.Err() != nil {
			t.Errorf("the stream has ended: %v", context.Cause(ctx))
		}
	})
}
