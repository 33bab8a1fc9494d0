package session_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/oidcgate/oidcgate/internal/interleave"
	"github.com/oidcgate/oidcgate/internal/session"
)

// exchanger gets tokens that are good for a time. It counts them.
type exchanger struct {
	life time.Duration // 0: the provider does not say
	err  error
	hang time.Duration

	mu sync.Mutex
	n  int
}

func (e *exchanger) exchange(context.Context, *session.ProviderTokens) (*session.ProviderTokens, error) {
	e.mu.Lock()
	e.n++
	n := e.n
	e.mu.Unlock()
	time.Sleep(e.hang)
	if e.err != nil {
		return nil, e.err
	}
	t := &session.ProviderTokens{AccessToken: fmt.Sprint("x-", n), TokenType: "DPoP", Scope: "read", DPoPKey: "key"}
	if e.life > 0 {
		t.Expiry = time.Now().Add(e.life)
	}
	return t, nil
}

// wantExchanged asks for the token of a service and checks what comes.
func (w *world) wantExchanged(s *session.Session, e *exchanger, service, want string) {
	w.Helper()
	t, err := w.Exchanged(w.Context(), s, service, e.exchange)
	if err != nil || t.AccessToken != want {
		w.Errorf("token %+v, %v, want %s", t, err, want)
	}
}

// exchanges is a session whose own access token outlives the test.
func exchanges(t *testing.T) (*world, *session.Session) {
	w := newWorld(t, nil)
	l := w.loginUnderWay()
	forever := tokens(0)
	forever.Expiry = time.Now().Add(lifetime)
	l.Tokens = session.NewTokens(forever, "nonce", "")
	w.wantErr(w.Begin(t.Context(), l), nil)
	return w, &l.Session
}

func TestExchangedTokenIsKept(t *testing.T) {
	for name, tt := range map[string]struct {
		life, wait time.Duration
		want       string
	}{
		"until half a minute before its end":      {10 * time.Minute, 9*time.Minute + 30*time.Second - time.Millisecond, "x-1"},
		"no longer":                               {10 * time.Minute, 9*time.Minute + 30*time.Second, "x-2"},
		"a short one until a quarter of its life": {time.Minute, 45*time.Second - time.Millisecond, "x-1"},
		"a short one no longer":                   {time.Minute, 45 * time.Second, "x-2"},
		"one without an end is not":               {0, 0, "x-2"},
	} {
		inTime(t, "F40 "+name, func(t *testing.T) {
			w, s := exchanges(t)
			e := &exchanger{life: tt.life}
			w.wantExchanged(s, e, "ledger", "x-1")
			time.Sleep(tt.wait)
			w.wantExchanged(s, e, "ledger", tt.want)
		})
	}
	inTime(t, "F40 for one without an end nothing is written", func(t *testing.T) {
		w, s := exchanges(t)
		w.breaks(func(c interleave.Call) error {
			if c.Is(interleave.Create, "x:") {
				t.Errorf("%s is written", c.Key)
			}
			return nil
		})
		w.wantExchanged(s, &exchanger{}, "ledger", "x-1")
	})
	inTime(t, "F40 with all that the provider says of it", func(t *testing.T) {
		w, s := exchanges(t)
		e := &exchanger{life: time.Hour}
		first, err := w.Exchanged(t.Context(), s, "ledger", e.exchange)
		w.wantErr(err, nil)
		again, err := w.Exchanged(t.Context(), s, "ledger", e.exchange)
		w.wantErr(err, nil)
		if again.TokenType != "DPoP" || again.Scope != "read" || again.DPoPKey != "key" || !again.Expiry.Equal(first.Expiry.Truncate(time.Millisecond)) || e.n != 1 {
			t.Errorf("%+v, %d exchanges", again, e.n)
		}
	})
	inTime(t, "F40 one that ends later beside one that ends sooner", func(t *testing.T) {
		w, s := exchanges(t)
		w.wantExchanged(s, &exchanger{life: 2 * time.Hour}, "ledger", "x-1")
		w.wantExchanged(s, &exchanger{life: time.Minute}, "stock", "x-1")
		time.Sleep(59 * time.Minute)
		s, err := w.Load(t.Context(), s.ID)
		w.wantErr(err, nil)
		w.wantExchanged(s, &exchanger{err: errDown}, "ledger", "x-1")
	})
	inTime(t, "F40 eight of a session", func(t *testing.T) {
		w, s := exchanges(t)
		e := &exchanger{life: time.Hour}
		for range 2 {
			for n := range 8 {
				w.wantExchanged(s, e, fmt.Sprint("service ", n), fmt.Sprint("x-", n+1))
			}
		}
		w.wantExchanged(s, e, "another", "x-9")
		w.wantExchanged(s, e, "another", "x-9")
		for n := range 8 {
			_, err := w.Exchanged(t.Context(), s, fmt.Sprint("service ", n), e.exchange)
			w.wantErr(err, nil)
		}
		if e.n == 9 {
			t.Error("nine are kept")
		}
	})
	inTime(t, "F40 those that are over take no room of those that are good", func(t *testing.T) {
		w, s := exchanges(t)
		long, short := &exchanger{life: time.Hour}, &exchanger{life: time.Minute}
		w.wantExchanged(s, long, "ledger", "x-1")
		for n := range 7 {
			w.wantExchanged(s, short, fmt.Sprint("service ", n), fmt.Sprint("x-", n+1))
		}
		time.Sleep(time.Minute)
		w.wantExchanged(s, long, "another", "x-2")
		w.wantExchanged(s, long, "ledger", "x-1")
	})
	inTime(t, "F40 the ninth takes the room of the oldest", func(t *testing.T) {
		w, s := exchanges(t)
		e := &exchanger{life: time.Hour}
		for n := range 9 {
			w.wantExchanged(s, e, fmt.Sprint("service ", n), fmt.Sprint("x-", n+1))
		}
		for n := 1; n < 9; n++ {
			w.wantExchanged(s, e, fmt.Sprint("service ", n), fmt.Sprint("x-", n+1))
		}
		w.wantExchanged(s, e, "service 0", "x-10")
	})
	inTime(t, "F40 those that come at the same moment are all kept", func(t *testing.T) {
		w, s := exchanges(t)
		e := &exchanger{life: time.Hour}
		for range 2 {
			var all sync.WaitGroup
			for n := range 4 {
				all.Go(func() {
					_, err := w.Exchanged(t.Context(), s, fmt.Sprint("service ", n), func(ctx context.Context, of *session.ProviderTokens) (*session.ProviderTokens, error) {
						time.Sleep(time.Second)
						return e.exchange(ctx, of)
					})
					w.wantErr(err, nil)
				})
			}
			all.Wait()
			time.Sleep(time.Second)
		}
		if e.n != 4 {
			t.Errorf("%d exchanges", e.n)
		}
	})
	inTime(t, "F42 one that cannot be encrypted comes all the same, and the others stay", func(t *testing.T) {
		w, s := exchanges(t)
		e := &exchanger{life: time.Hour}
		w.wantExchanged(s, e, "ledger", "x-1")
		whole := rand.Reader
		_, err := w.Exchanged(t.Context(), s, "stock", func(ctx context.Context, of *session.ProviderTokens) (*session.ProviderTokens, error) {
			rand.Reader = iotest.ErrReader(errors.New("no randomness"))
			return e.exchange(ctx, of)
		})
		rand.Reader = whole
		w.wantErr(err, nil)
		w.wantExchanged(s, e, "ledger", "x-1")
		w.wantExchanged(s, e, "stock", "x-3")
	})
	inTime(t, "F40 without the store it comes all the same, and is not kept", func(t *testing.T) {
		w, s := exchanges(t)
		e := &exchanger{life: time.Hour}
		w.fails(interleave.Create, "x:", 1)
		w.wantExchanged(s, e, "ledger", "x-1")
		w.wantExchanged(s, e, "ledger", "x-2")
		w.fails(interleave.Swap, "x:", 1)
		w.wantExchanged(s, e, "stock", "x-3")
		w.wantExchanged(s, e, "stock", "x-4")
		w.wantExchanged(s, e, "ledger", "x-2")
	})
}

func TestExchangeFails(t *testing.T) {
	inTime(t, "F40 the error counts for five seconds, for this service alone", func(t *testing.T) {
		w, s := exchanges(t)
		e := &exchanger{err: errors.New("no"), life: time.Hour}
		for range 2 {
			_, err := w.Exchanged(t.Context(), s, "ledger", e.exchange)
			w.wantErr(err, e.err)
			time.Sleep(5*time.Second - time.Millisecond)
		}
		if e.n != 1 {
			t.Errorf("%d exchanges within five seconds", e.n)
		}
		w.wantExchanged(s, &exchanger{life: time.Hour}, "stock", "x-1")
		e.err = nil
		w.wantExchanged(s, e, "ledger", "x-2")
	})
	inTime(t, "F32 the kept tokens cannot be read", func(t *testing.T) {
		w, s := exchanges(t)
		e := &exchanger{life: time.Hour}
		w.fails(interleave.Get, "x:", 1)
		_, err := w.Exchanged(t.Context(), s, "ledger", e.exchange)
		w.wantErr(err, session.ErrStore)
		if e.n != 0 {
			t.Errorf("%d exchanges", e.n)
		}
		w.wantExchanged(s, e, "ledger", "x-1") // this is no error of the exchange
	})
	inTime(t, "F40 the session has no tokens: nobody is asked", func(t *testing.T) {
		w, s := exchanges(t)
		w.wantErr(w.memory.Delete(t.Context(), w.key("t:"), nil), nil)
		e := &exchanger{}
		_, err := w.Exchanged(t.Context(), s, "ledger", e.exchange)
		w.wantErr(err, session.ErrGone)
		if e.n != 0 {
			t.Errorf("%d exchanges", e.n)
		}
	})
	inTime(t, "F40 it panics", func(t *testing.T) {
		w, s := exchanges(t)
		_, err := w.Exchanged(t.Context(), s, "ledger", func(context.Context, *session.ProviderTokens) (*session.ProviderTokens, error) {
			panic("oops")
		})
		w.wantErr(err, session.ErrProvider)
		w.wantExchanged(s, &exchanger{}, "ledger", "x-1")
	})
	inTime(t, "F40 the errors of 4,096 are remembered", func(t *testing.T) {
		w, s := exchanges(t)
		e := &exchanger{err: errors.New("no")}
		ask := func(from, to int) {
			for n := from; n < to; n++ {
				_, err := w.Exchanged(t.Context(), s, fmt.Sprint("service ", n), e.exchange)
				w.wantErr(err, e.err)
			}
		}
		ask(0, 4096)
		ask(0, 4096)
		if e.n != 4096 {
			t.Errorf("%d exchanges of 4,096 that failed", e.n)
		}
		ask(4096, 4097)
		ask(0, 4097)
		if e.n == 4097 {
			t.Error("4,097 errors are remembered")
		}
	})
}

func TestExchangesWait(t *testing.T) {
	inTime(t, "F40 calls for one token share an exchange, which does not end with the one who began it", func(t *testing.T) {
		w, s := exchanges(t)
		e := &exchanger{life: time.Hour, hang: 2 * time.Second}
		var wg sync.WaitGroup
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			token, err := w.Exchanged(ctx, s, "ledger", e.exchange)
			if token != nil || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%+v, %v", token, err)
			}
		})
		synctest.Wait()
		w.wantExchanged(s, e, "ledger", "x-1")
		wg.Wait()
		w.wantExchanged(s, e, "ledger", "x-1")
	})
	inTime(t, "F40 32 at a time, and the others wait for half a minute", func(t *testing.T) {
		w, s := exchanges(t)
		slow, e := &exchanger{life: time.Hour, hang: time.Minute}, &exchanger{life: time.Hour}
		var wg sync.WaitGroup
		for user := range 8 {
			mine := w.loginAt(s.Identity.Provider, user)
			for n := range 4 {
				wg.Go(func() { _, _ = w.Exchanged(t.Context(), mine, fmt.Sprint("slow ", n), slow.exchange) })
			}
		}
		synctest.Wait()
		began := time.Now()
		_, err := w.Exchanged(t.Context(), s, "ledger", e.exchange)
		if !errors.Is(err, session.ErrProvider) || !strings.Contains(err.Error(), "too many token exchanges") {
			t.Errorf("error %v", err)
		}
		if d := time.Since(began); d != 30*time.Second || slow.n != 32 || e.n != 0 {
			t.Errorf("after %v, %d and %d exchanges", d, slow.n, e.n)
		}
		wg.Wait()
		w.wantExchanged(s, e, "ledger", "x-1") // to have waited is no error of the exchange
	})
	inTime(t, "F40 four of one user, however many sessions and tokens: another user waits for none", func(t *testing.T) {
		w, s := exchanges(t)
		slow, e := &exchanger{life: time.Hour, hang: time.Minute}, &exchanger{life: time.Hour}
		var wg sync.WaitGroup
		for n := range 40 {
			wg.Go(func() { _, _ = w.Exchanged(t.Context(), s, fmt.Sprint("slow ", n), slow.exchange) })
		}
		synctest.Wait()
		if slow.n != 4 {
			t.Errorf("%d exchanges of one user", slow.n)
		}
		began := time.Now()
		w.wantExchanged(w.loginAt(s.Identity.Provider, 1), e, "ledger", "x-1")
		if d := time.Since(began); d != 0 {
			t.Errorf("after %v", d)
		}
		wg.Wait()
	})
	inTime(t, "F34 an exchange that does not return ends, and the next one begins", func(t *testing.T) {
		w, s := exchanges(t)
		over := make(chan struct{})
		_, err := w.Exchanged(t.Context(), s, "ledger", func(context.Context, *session.ProviderTokens) (*session.ProviderTokens, error) {
			<-over
			return nil, errors.New("at last")
		})
		if !errors.Is(err, session.ErrProvider) || !strings.Contains(err.Error(), "did not end") {
			t.Errorf("error %v", err)
		}
		e := &exchanger{life: time.Hour}
		w.wantExchanged(s, e, "ledger", "x-1")
		close(over)
		synctest.Wait()
		w.wantExchanged(s, e, "ledger", "x-1") // what the first one came to counts no more
	})
	inTime(t, "F40 the places of another provider are free", func(t *testing.T) {
		w, s := exchanges(t)
		slow := &exchanger{life: time.Hour, hang: time.Minute}
		var wg sync.WaitGroup
		for n := range 32 {
			wg.Go(func() { _, _ = w.Exchanged(t.Context(), s, fmt.Sprint("slow ", n), slow.exchange) })
		}
		synctest.Wait()
		began := time.Now()
		w.wantExchanged(w.loginAt("another", 1), &exchanger{life: time.Hour}, "ledger", "x-1")
		if d := time.Since(began); d != 0 {
			t.Errorf("after %v", d)
		}
		wg.Wait()
	})
}
