package session_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	"github.com/oidcgate/oidcgate/internal/claims"
	"github.com/oidcgate/oidcgate/internal/event"
	"github.com/oidcgate/oidcgate/internal/interleave"
	"github.com/oidcgate/oidcgate/internal/session"
)

// sidsFrom begins a session and refreshes it n times. The ID Tokens have the sids sid-1, sid-2 and
// so on.
func (w *world) sidsFrom(n int) *session.Session {
	w.Helper()
	s := w.login(lifetime)
	for i := 1; i <= n; i++ {
		w.refreshWith(s, fmt.Sprint("sid-", i), fmt.Sprint("at-", i))
	}
	return s
}

// refreshWith refreshes a session, by an ID Token with a sid.
func (w *world) refreshWith(s *session.Session, sid, want string) {
	w.Helper()
	w.brings(claims.Object("").With("sid", claims.Text(sid)))
	time.Sleep(isOver)
	w.touched(s)
	w.wantToken(w.Keeper, s, want)
}

// leads returns the sets of sids that lead to a session.
func (w *world) leads(s *session.Session) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var sets []string
	for key := range w.asked {
		if members, _ := w.memory.Members(w.Context(), key); strings.HasPrefix(key, "i:") &&
			slices.Contains(members, string(w.Handle(s.ID))) {
			sets = append(sets, key)
		}
	}
	return sets
}

func TestManySIDs(t *testing.T) {
	const kept = 4 // besides that of the login
	inTime(t, "C125 a session is listed under the sid of its login and the last four of refreshes", func(t *testing.T) {
		w := newWorld(t, nil)
		s := w.sidsFrom(10)
		if got := w.leads(s); len(got) != kept+1 {
			t.Errorf("%d sets lead to it, want %d", len(got), kept+1)
		}
		for _, by := range []string{"sid-6", "another"} {
			n, err := w.EndBySID(t.Context(), "", issuer, by, "")
			if n != 0 || err != nil {
				t.Errorf("by %q: %d sessions ended, %v", by, n, err)
			}
		}
		w.wantLive(true, s)
	})
	for _, by := range []string{sid, "sid-7", "sid-10"} {
		inTime(t, "C125 a logout by one of them ends it: "+by, func(t *testing.T) {
			w := newWorld(t, nil)
			s := w.sidsFrom(10)
			n, err := w.EndBySID(t.Context(), "", issuer, by, "")
			if n != 1 || err != nil {
				t.Errorf("%d sessions ended, %v", n, err)
			}
			w.wantLive(false, s)
		})
	}
	inTime(t, "C125 a sid that comes again counts as the last", func(t *testing.T) {
		w := newWorld(t, nil)
		s := w.sidsFrom(4)
		w.refreshWith(s, "sid-1", "at-5")
		w.refreshWith(s, "sid-5", "at-6")
		for by, want := range map[string]int{"sid-2": 0, "sid-1": 1} {
			if n, err := w.EndBySID(t.Context(), "", issuer, by, ""); n != want || err != nil {
				t.Errorf("by %q: %d sessions ended, want %d, %v", by, n, want, err)
			}
		}
	})
	inTime(t, "C125 the same sid as at the last refresh is not written again", func(t *testing.T) {
		w := newWorld(t, nil)
		s := w.sidsFrom(1)
		w.breaks(func(c interleave.Call) error {
			if c.Is(interleave.Swap, "d:") || c.Op == interleave.Remove {
				t.Errorf("%s %s", c.Op, c.Key)
			}
			return nil
		})
		w.refreshWith(s, "sid-1", "at-2")
	})
	inTime(t, "C125 F21 the replica dies when it has saved the tokens: the session is listed under the new sid", func(t *testing.T) {
		w := newWorld(t, nil)
		s := w.login(lifetime)
		w.brings(claims.Object("").With("sid", claims.Text("sid-1")))
		time.Sleep(isOver)
		w.touched(s)
		var saved atomic.Bool
		w.breaks(func(c interleave.Call) error {
			if saved.Load() {
				runtime.Goexit()
			}
			saved.Store(c.Is(interleave.Swap, "t:"))
			return nil
		})
		go func() { _, _ = w.Token(t.Context(), s) }()
		time.Sleep(time.Minute)
		w.breaks(nil)
		n, err := w.replica(nil).EndBySID(t.Context(), "", issuer, "sid-1", "")
		if n != 1 || err != nil || !saved.Load() {
			t.Errorf("%d sessions ended, %v", n, err)
		}
	})
	inTime(t, "F41 a summary that this replica cannot read stays as it is", func(t *testing.T) {
		w := newWorld(t, nil)
		s := w.login(lifetime)
		w.change("d:", func([]byte) []byte { return []byte("of a newer version") })
		w.refreshWith(s, "sid-1", "at-1")
		got, err := w.memory.Get(t.Context(), w.key("d:"))
		if string(got) != "of a newer version" || len(w.leads(s)) != 2 {
			t.Errorf("it is %q, %v; %d sets lead to the session", got, err, len(w.leads(s)))
		}
	})
	inTime(t, "C125 no set leads to a session without a sid, but for that of its user", func(t *testing.T) {
		w := newWorld(t, nil)
		l := w.loginUnderWayOf(1)
		w.wantErr(w.Begin(t.Context(), l), nil)
		if got := w.leads(&l.Session); len(got) != 0 {
			t.Errorf("%d sets lead to it", len(got))
		}
	})
	inTime(t, "C125 a session without a summary is listed all the same", func(t *testing.T) {
		w := newWorld(t, nil)
		s := w.login(lifetime)
		w.wantErr(w.memory.Delete(t.Context(), w.key("d:"), nil), nil)
		w.refreshWith(s, "sid-1", "at-1")
		w.wantTold(event.RefreshSucceeded, "")
		w.wantTold(event.StoreUnavailable)
		if n, err := w.EndBySID(t.Context(), "", issuer, "sid-1", ""); n != 1 || err != nil {
			t.Errorf("%d sessions ended, %v", n, err)
		}
	})
	inTime(t, "C125 a summary that ends meanwhile is not written", func(t *testing.T) {
		w := newWorld(t, nil)
		s := w.login(lifetime)
		key := w.key("d:")
		w.once(interleave.Swap, "d:", func() { w.wantErr(w.memory.Delete(t.Context(), key, nil), nil) })
		w.refreshWith(s, "sid-1", "at-1")
		w.wantTold(event.StoreUnavailable)
		if _, err := w.memory.Get(t.Context(), key); err == nil {
			t.Error("it is written")
		}
	})
	inTime(t, "C125 a summary that another replica writes meanwhile keeps what that wrote", func(t *testing.T) {
		w := newWorld(t, nil)
		s := w.sidsFrom(1)
		key := w.key("d:")
		other, err := w.memory.Get(t.Context(), key)
		w.wantErr(err, nil)
		w.refreshWith(s, "sid-2", "at-2")
		w.once(interleave.Swap, "d:", func() { w.change("d:", func([]byte) []byte { return other }) })
		w.refreshWith(s, "sid-3", "at-3")
		w.wantTold(event.StoreUnavailable)
		n, err := w.EndUser(t.Context(), alice, "")
		if n != 1 || err != nil {
			t.Errorf("%d sessions ended, %v", n, err)
		}
		if got := w.leads(s); len(got) != 1 { // sid-2, of which the other knew nothing
			t.Errorf("%d sets lead to the session that has ended, want 1", len(got))
		}
	})
	inTime(t, "F42 a summary that cannot be encrypted stays as it is", func(t *testing.T) {
		w := newWorld(t, nil)
		s := w.sidsFrom(1)
		whole := rand.Reader
		w.once(interleave.Get, "d:", func() { rand.Reader = iotest.ErrReader(errDown) })
		w.brings(claims.Object("").With("sid", claims.Text("sid-2")))
		time.Sleep(isOver)
		_, _ = w.Token(t.Context(), s)
		rand.Reader = whole
		w.wantTold(event.RefreshSucceeded, "") // that of sid-1
		w.wantList(w.Handle(s.ID))
	})
	for op, prefix := range map[interleave.Op]string{
		interleave.Get: "d:", interleave.Swap: "d:", interleave.Remove: "i:",
	} {
		inTime(t, "F16 the store fails once at the summary: it is asked again, "+string(op), func(t *testing.T) {
			w := newWorld(t, nil)
			s := w.sidsFrom(kept)
			w.fails(op, prefix, 1)
			w.refreshWith(s, "sid-5", "at-5")
			if got := w.leads(s); len(got) != kept+1 {
				t.Errorf("%d sets lead to it, want %d", len(got), kept+1)
			}
			_, err := w.EndUser(t.Context(), alice, "")
			w.wantErr(err, nil)
			if got := w.leads(s); len(got) != 0 {
				t.Errorf("%d sets lead to the session that has ended", len(got))
			}
		})
	}
}

// ends are all ways in which a session ends.
var ends = map[string]func(w *world, s *session.Session) error{
	"a logout by the visitor": func(w *world, s *session.Session) error {
		_, err := w.LogOut(w.Context(), s)
		return err
	},
	"a logout by the visitor, unread": func(w *world, s *session.Session) error {
		return w.logOutUnread(s.ID)
	},
	"EndUser": func(w *world, _ *session.Session) error {
		_, err := w.EndUser(w.Context(), alice, "")
		return err
	},
	"EndOne": func(w *world, s *session.Session) error {
		return w.EndOne(w.Context(), s.Identity.User(), w.Handle(s.ID), "")
	},
	"the idle time": func(w *world, s *session.Session) error {
		time.Sleep(lifetime)
		if _, err := w.Load(w.Context(), s.ID); !errors.Is(err, session.ErrGone) {
			return errors.New("it has not ended")
		}
		return nil
	},
	"EndBySID": func(w *world, _ *session.Session) error {
		_, err := w.EndBySID(w.Context(), "", issuer, sid, "")
		return err
	},
	"a logout token": func(w *world, _ *session.Session) error { return w.logoutBySub(time.Now()) },
	"a login of the same user": func(w *world, s *session.Session) error {
		l := w.loginUnderWay()
		l.Before = *s
		return w.Begin(w.Context(), l)
	},
	"a login of another user": func(w *world, s *session.Session) error {
		l := w.loginUnderWayOf(7)
		l.Before = *s
		return w.Begin(w.Context(), l)
	},
	"a login in the place of a session that could not be read": func(w *world, s *session.Session) error {
		l := w.loginUnderWay()
		l.Before.ID = s.ID
		return w.Begin(w.Context(), l)
	},
}

func TestWhatTheEndOfASessionDeletes(t *testing.T) {
	for name, end := range ends {
		inTime(t, "C125 C127 with the session go its place under the sids of refreshes, and its exchanged tokens: "+name,
			func(t *testing.T) {
				w := newWorld(t, nil)
				w.forever = true // nothing goes by itself
				s := w.sidsFrom(6)
				_, err := w.Exchanged(t.Context(), s, "ledger",
					func(context.Context, *session.ProviderTokens) (*session.ProviderTokens, error) {
						return &session.ProviderTokens{AccessToken: "x", Expiry: time.Now().Add(12 * time.Hour)}, nil
					})
				w.wantErr(err, nil)
				w.wantErr(end(w, s), nil)
				w.wantLive(false, s)
				if got := w.leads(s); len(got) != 0 {
					t.Errorf("%d sets lead to it", len(got))
				}
				for _, prefix := range []string{"s:", "t:", "x:", "d:"} {
					if _, err := w.memory.Get(t.Context(), prefix+string(w.Handle(s.ID))); err == nil {
						t.Errorf("%s is left", prefix)
					}
				}
			})
	}
}
