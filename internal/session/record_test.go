package session_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oidcgate/oidcgate/internal/claims"
	"github.com/oidcgate/oidcgate/internal/event"
	"github.com/oidcgate/oidcgate/internal/interleave"
	"github.com/oidcgate/oidcgate/internal/session"
)

// damage changes the last bit of a record.
func damage(sealed []byte) []byte { sealed[len(sealed)-1] ^= 1; return sealed }

func TestTimesEnds(t *testing.T) {
	const idle = time.Minute
	tests := []struct {
		name  string
		times session.Times
		want  int64
	}{
		{"tokens and values have only a deadline", session.Times{Deadline: 500_000}, 500_000},
		{"idle before the deadline", session.Times{Deadline: 500_000, Seen: 1}, 60_001},
		{"the deadline before idle", session.Times{Deadline: 500_000, Seen: 499_999}, 500_000},
		{"both at once", session.Times{Deadline: 500_000, Seen: 440_000}, 500_000},
		{"used after the deadline", session.Times{Deadline: 5, Seen: 10}, 5},
		{"a deadline long ago", session.Times{Deadline: -1, Seen: 10}, -1},
	}
	for _, tt := range tests {
		t.Run("C105 "+tt.name, func(t *testing.T) {
			if got := tt.times.Ends(idle); got != tt.want {
				t.Errorf("%+v ends at %d, want %d", tt.times, got, tt.want)
			}
		})
	}
}

func TestReadOfARecordThatCannotBeOpened(t *testing.T) {
	tests := []struct {
		name   string
		change func(sealed []byte) []byte
		reason event.Reason
		kept   bool
	}{
		{"F22 C103 damaged: deleted", damage, event.ReasonDamaged, false},
		{
			"F22 C105 with another deadline: deleted",
			func(b []byte) []byte { b[12] ^= 1; return b }, event.ReasonDamaged, false,
		},
		{"F22 empty: deleted", func([]byte) []byte { return nil }, event.ReasonDamaged, false},
		{
			"F41 of a newer version: kept",
			func(b []byte) []byte { b[0]++; return b }, event.ReasonVersionNewer, true,
		},
		{
			"F41 of an unknown key: kept",
			func(b []byte) []byte { b[1] ^= 1; return b }, event.ReasonKeyUnknown, true,
		},
	}
	reads := map[string]func(*world, session.ID) error{
		"s:": func(w *world, id session.ID) error {
			_, err := w.Load(w.Context(), id)
			return err
		},
		"t:": func(w *world, id session.ID) error {
			_, err := w.Tokens(w.Context(), id)
			return err
		},
	}
	for _, tt := range tests {
		for prefix, read := range reads {
			t.Run(prefix+" "+tt.name, func(t *testing.T) {
				w := newWorld(t, nil)
				s := w.login(lifetime)
				w.change(prefix, tt.change)
				w.wantErr(read(w, s.ID), session.ErrGone)
				w.wantTold(event.SessionUnreadable, tt.reason)
				if kept := slices.Contains(w.living(), w.key(prefix)); kept != tt.kept {
					t.Errorf("the record is kept: %v", kept)
				}
			})
		}
	}

	t.Run("F41 a logout ends a session whose record is of an unknown key", func(t *testing.T) {
		w := newWorld(t, nil)
		s := w.login(lifetime)
		other := w.replica(func(c *session.Config) { c.Ring = newRing(t, 1) })
		w.wantErr(other.End(t.Context(), s.ID), nil)
		_, err := w.Load(t.Context(), s.ID)
		w.wantErr(err, session.ErrGone)
	})
}

func TestReadOfARecordThatIsOver(t *testing.T) {
	tests := []struct {
		name     string
		lifetime time.Duration
		reason   event.Reason
	}{
		{"idle", lifetime, event.ReasonIdle},
		{"at its deadline", 30 * time.Minute, event.ReasonAbsolute},
	}
	for _, tt := range tests {
		name := "C105 " + tt.name + ": deleted with all that belongs to it, " +
			"though the store would keep it"
		inTime(t, name, func(t *testing.T) {
			w := newWorld(t, nil)
			w.forever = true
			s := w.login(tt.lifetime)
			time.Sleep(min(tt.lifetime, time.Hour) - time.Millisecond)
			w.wantTold(event.SessionExpired)
			if n := len(w.living()); n != 5 { // s: t: d: u: i:
				t.Errorf("%d keys before the end: %q", n, w.living())
			}
			time.Sleep(time.Millisecond)
			_, err := w.Load(t.Context(), s.ID)
			w.wantErr(err, session.ErrGone)
			w.wantTold(event.SessionExpired, tt.reason)
			if keys := w.living(); len(keys) != 0 {
				t.Errorf("left behind: %q", keys)
			}
		})
	}

	inTime(t, "C105 tokens are not read after the deadline", func(t *testing.T) {
		w := newWorld(t, nil)
		w.forever = true
		s := w.login(5 * time.Minute)
		time.Sleep(5 * time.Minute)
		_, err := w.Tokens(t.Context(), s.ID)
		w.wantErr(err, session.ErrGone)
	})
	inTime(t, "C107 a session that was used meanwhile is not deleted as idle", func(t *testing.T) {
		w := newWorld(t, nil)
		w.forever = true
		s := w.login(lifetime)
		time.Sleep(time.Hour)
		w.broken = func(c interleave.Call) error {
			if c.Is(interleave.Delete, "s:") {
				w.change("s:", func([]byte) []byte { return []byte("written by another") })
			}
			return nil
		}
		_, err := w.Load(t.Context(), s.ID)
		w.wantErr(err, session.ErrGone)
		if !slices.Contains(w.living(), w.key("s:")) || !slices.Contains(w.living(), w.key("d:")) {
			t.Errorf("only %q is left", w.living())
		}
	})
}

func TestLoad(t *testing.T) {
	down := errors.New("down")
	inTime(t, "F16 a store that does not answer is an error of the store", func(t *testing.T) {
		w := newWorld(t, nil)
		s := w.login(lifetime)
		w.broken = func(interleave.Call) error { return down }
		_, err := w.Load(t.Context(), s.ID)
		w.wantErr(err, session.ErrStore)
		w.wantErr(err, down)
		w.wantTold(event.StoreUnavailable, "")
	})
	inTime(t, "C108 F18 a note of use that is refused is an event, no error", func(t *testing.T) {
		w := newWorld(t, nil)
		s := w.login(lifetime)
		time.Sleep(3 * time.Minute)
		w.broken = func(c interleave.Call) error {
			if c.Op == interleave.Swap {
				return down
			}
			return nil
		}
		got, err := w.Load(t.Context(), s.ID)
		w.wantErr(err, nil)
		if got.Times != s.Times {
			t.Errorf("times %v, want %v", got.Times, s.Times)
		}
		w.wantTold(event.SessionTouchFailed, "")
	})
	inTime(t, "C105 C106 a shorter SessionLifetime counts for sessions that live, and takes nothing from them before", func(t *testing.T) {
		w := newWorld(t, nil)
		s := w.login(lifetime)
		shorter := w.replica(func(c *session.Config) { c.Limits.Lifetime = time.Hour })
		for range 2 {
			time.Sleep(29 * time.Minute)
			_, err := shorter.Load(t.Context(), s.ID)
			w.wantErr(err, nil)
			_, err = shorter.Token(t.Context(), s)
			w.wantErr(err, nil)
		}
		time.Sleep(2 * time.Minute)
		_, err := shorter.Load(t.Context(), s.ID)
		w.wantErr(err, session.ErrGone)
	})
	inTime(t, "C105 a session that is older than a shorter SessionLifetime ends at its next use", func(t *testing.T) {
		w := newWorld(t, nil)
		s := w.login(lifetime)
		for range 3 {
			time.Sleep(29 * time.Minute)
			w.touched(s)
		}
		time.Sleep(29 * time.Minute)
		_, err := w.replica(func(c *session.Config) { c.Limits.Lifetime = time.Hour }).Load(t.Context(), s.ID)
		w.wantErr(err, session.ErrGone)
		w.wantTold(event.SessionExpired, event.ReasonAbsolute)
		if keys := w.living(); len(keys) != 0 {
			t.Errorf("left behind: %q", keys)
		}
	})
	inTime(t, "C105 so does one whose use was noted just before", func(t *testing.T) {
		w := newWorld(t, nil)
		s := w.login(lifetime)
		for range 3 {
			time.Sleep(29 * time.Minute)
			w.touched(s)
		}
		_, err := w.replica(func(c *session.Config) { c.Limits.Lifetime = time.Hour }).Load(t.Context(), s.ID)
		w.wantErr(err, session.ErrGone)
	})
	inTime(t, "C107 a session that ends before its use is noted is gone", func(t *testing.T) {
		w := newWorld(t, nil)
		s := w.login(lifetime)
		time.Sleep(3 * time.Minute)
		w.broken = func(c interleave.Call) error {
			if c.Is(interleave.Swap, "s:") {
				return w.memory.Delete(t.Context(), c.Key, nil)
			}
			return nil
		}
		_, err := w.Load(t.Context(), s.ID)
		w.wantErr(err, session.ErrGone)
	})
	inTime(t, "C108 two notes of use at a time: the session is loaded", func(t *testing.T) {
		w := newWorld(t, nil)
		s := w.login(lifetime)
		time.Sleep(3 * time.Minute)
		var other error
		w.broken = func(c interleave.Call) error {
			if c.Is(interleave.Swap, "s:") {
				w.broken = nil
				_, other = w.replica(nil).Load(t.Context(), s.ID)
			}
			return nil
		}
		_, err := w.Load(t.Context(), s.ID)
		w.wantErr(errors.Join(err, other), nil)
		w.wantTold(event.SessionTouchFailed)
	})
}

func TestBegin(t *testing.T) {
	inTime(t, "F38 an identity that is too large is refused, leaving nothing", func(t *testing.T) {
		w := newWorld(t, func(l *session.Limits) { l.MaxBytes = 10 })
		w.wantErr(w.begin(), session.ErrTooLarge)
		if keys := w.living(); len(keys) != 0 {
			t.Errorf("left behind: %q", keys)
		}
	})
	inTime(t, "F38 the error names the largest claim that the application could drop", func(t *testing.T) {
		w := newWorld(t, func(l *session.Limits) { l.MaxBytes = 10 })
		l := w.loginUnderWay()
		l.Identity.Userinfo = claims.Object("").With("small", claims.Text("x")).
			With("large", claims.Text(strings.Repeat("x", 100))).With("middle", claims.Text("xxxxx")).
			With("nonce", claims.Text(strings.Repeat("x", 1000)))
		if err := w.Begin(t.Context(), l); err == nil || !strings.HasSuffix(err.Error(), `the largest claim is "large"`) {
			t.Errorf("error %v", err)
		}
	})
	for _, prefix := range []string{"I:", "U:", "E:"} {
		inTime(t, "C128 "+prefix+" cannot be read: no session begins", func(t *testing.T) {
			w := newWorld(t, nil)
			w.broken = func(c interleave.Call) error {
				if c.Is(interleave.Get, prefix) {
					return errors.New("down")
				}
				return nil
			}
			w.wantErr(w.begin(), session.ErrStore)
			if keys := w.living(); len(keys) != 0 {
				t.Errorf("left behind: %q", keys)
			}
		})
	}
	inTime(t, "F38 an ID Token that is too long for a hint is left out", func(t *testing.T) {
		w := newWorld(t, func(l *session.Limits) { l.MaxIDToken = 10 })
		for token, want := range map[string]string{"0123456789": "0123456789", "0123456789a": ""} {
			l := w.loginUnderWay()
			l.Tokens.IDToken = token
			w.wantErr(w.Begin(t.Context(), l), nil)
			got, err := w.Tokens(t.Context(), l.ID)
			if err != nil || got.IDToken != want || got.AccessToken != "at-0" {
				t.Errorf("tokens %+v, %v, want the ID Token %q", got, err, want)
			}
		}
	})
	for _, prefix := range []string{"d:", "u:", "i:", "s:", "t:"} {
		inTime(t, "F16 "+prefix+" is carried out and said to have failed: nothing stays",
			func(t *testing.T) {
				w := newWorld(t, nil)
				w.broken = func(c interleave.Call) error {
					if c.Is(interleave.Create, prefix) || c.Is(interleave.Add, prefix) {
						_ = c.On(t.Context(), &w.memory)
						return errors.New("the connection broke")
					}
					return nil
				}
				w.wantErr(w.begin(), session.ErrStore)
				if keys := w.living(); len(keys) != 0 {
					t.Errorf("left behind: %q", keys)
				}
			})
	}
}

func TestStoreThatIsCancelled(t *testing.T) {
	w := newWorld(t, nil)
	w.broken = func(interleave.Call) error { return context.Canceled }
	t.Run("F15 the store cancelled its own work: told", func(t *testing.T) {
		if err := w.Ping(t.Context()); !errors.Is(err, session.ErrStore) || len(w.told(event.StoreUnavailable)) != 1 {
			t.Errorf("error %v, told %d times", err, len(w.told(event.StoreUnavailable)))
		}
	})
	for name, gaveUp := range map[string]func(context.Context) (context.Context, context.CancelFunc){
		"gave up": func(ctx context.Context) (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancel(ctx)
			cancel()
			return ctx, cancel
		},
		"gave up with a cause": func(ctx context.Context) (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancelCause(ctx)
			cancel(errDown)
			return ctx, func() {}
		},
		"has a deadline": func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeout(ctx, time.Second)
		},
	} {
		inTime(t, "F17 the caller "+name+": not told, and no error of the store", func(t *testing.T) {
			w := newWorld(t, nil)
			s := w.login(lifetime)
			ctx, cancel := gaveUp(t.Context())
			defer cancel()
			for _, end := range []error{nil, fmt.Errorf("read tcp: %w", os.ErrDeadlineExceeded)} {
				w.broken = func(interleave.Call) error {
					<-ctx.Done()
					return cmp.Or(end, ctx.Err())
				}
				_, load := w.Load(ctx, s.ID)
				for call, err := range map[string]error{"Load": load, "ClaimAttempt": w.ClaimAttempt(ctx, "reference")} {
					if !errors.Is(err, ctx.Err()) || errors.Is(err, session.ErrStore) {
						t.Errorf("%s: error %v", call, err)
					}
				}
			}
			w.wantTold(event.StoreUnavailable)
		})
	}
	inTime(t, "F17 the caller gives up while the use of a session is noted: not told", func(t *testing.T) {
		w := newWorld(t, nil)
		s := w.login(lifetime)
		time.Sleep(w.config.Limits.Touch)
		ctx, cancel := context.WithCancel(t.Context())
		w.once(interleave.Swap, "s:", cancel)
		if _, err := w.Load(ctx, s.ID); err != nil || ctx.Err() == nil {
			t.Errorf("error %v, the context's %v", err, ctx.Err())
		}
		w.wantTold(event.SessionTouchFailed)
	})
	inTime(t, "F17 a connection ends just before the caller's time does: not told", func(t *testing.T) {
		w := newWorld(t, nil)
		s := w.login(lifetime)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		w.broken = func(interleave.Call) error {
			time.Sleep(time.Second) // until the very moment at which ctx ends
			return os.ErrDeadlineExceeded
		}
		_, err := w.Load(ctx, s.ID)
		if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, session.ErrStore) || len(w.told(event.StoreUnavailable)) != 0 {
			t.Errorf("error %v, told %d times", err, len(w.told(event.StoreUnavailable)))
		}
	})
	inTime(t, "F16 an error long before that time is told at once", func(t *testing.T) {
		w := newWorld(t, nil)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		w.broken = func(interleave.Call) error { return errDown }
		begun := time.Now()
		_, err := w.Load(ctx, newID())
		if w.wantErr(err, session.ErrStore); time.Since(begun) != 0 {
			t.Errorf("after %v", time.Since(begun))
		}
	})
	inTime(t, "F17 the time that a store has here is over: told", func(t *testing.T) {
		w := newWorld(t, nil)
		w.broken = func(interleave.Call) error { time.Sleep(time.Minute); return context.DeadlineExceeded }
		_, err := w.UseProof(t.Context(), "thumbprint", "id", time.Minute)
		if !errors.Is(err, session.ErrStore) || len(w.told(event.StoreUnavailable)) != 1 {
			t.Errorf("error %v, told %d times", err, len(w.told(event.StoreUnavailable)))
		}
	})
}
