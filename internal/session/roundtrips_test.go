package session_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oidcgate/oidcgate/internal/event"
	"github.com/oidcgate/oidcgate/internal/interleave"
	"github.com/oidcgate/oidcgate/internal/session"
	"github.com/oidcgate/oidcgate/store"
)

// trip is how long every call of a distant store takes. In a bubble time passes only in them, so
// that the time of an operation is the number of its round trips in sequence.
const trip = time.Millisecond

// distant is a store that carries out a batch in one round trip.
type distant struct{ *single }

func (d distant) Batch(ctx context.Context, ops []store.Op) []store.Result {
	time.Sleep(trip)
	return d.memory.Batch(ctx, ops)
}

// single is a distant store that knows no batches.
type single struct {
	memory *store.Memory
	trip   time.Duration
}

func (d *single) Get(ctx context.Context, key string) ([]byte, error) {
	time.Sleep(d.trip)
	return d.memory.Get(ctx, key)
}

func (d *single) Create(ctx context.Context, k string, v []byte, ttl time.Duration) error {
	time.Sleep(d.trip)
	return d.memory.Create(ctx, k, v, ttl)
}

func (d *single) Swap(ctx context.Context, k string, old, v []byte, ttl time.Duration) error {
	time.Sleep(d.trip)
	return d.memory.Swap(ctx, k, old, v, ttl)
}

func (d *single) Delete(ctx context.Context, key string, old []byte) error {
	time.Sleep(d.trip)
	return d.memory.Delete(ctx, key, old)
}

func (d *single) Add(ctx context.Context, set, member string, ttl time.Duration) error {
	time.Sleep(d.trip)
	return d.memory.Add(ctx, set, member, ttl)
}

func (d *single) Members(ctx context.Context, set string) ([]string, error) {
	time.Sleep(d.trip)
	return d.memory.Members(ctx, set)
}

func (d *single) Remove(ctx context.Context, set, member string) error {
	time.Sleep(d.trip)
	return d.memory.Remove(ctx, set, member)
}

// trips returns how many round trips in sequence a function makes.
func trips(f func()) int {
	begun := time.Now()
	f()
	return int(time.Since(begun) / trip)
}

// logins begins n sessions of alice, without round trips.
func (w *world) logins(n int) []*session.Session {
	w.Helper()
	near := w.replica(func(c *session.Config) { c.Store = &w.memory })
	var sessions []*session.Session
	for range n {
		l := w.loginUnderWay()
		if err := near.Begin(w.Context(), l); err != nil {
			w.Fatal(err)
		}
		sessions = append(sessions, &l.Session)
	}
	return sessions
}

func TestRoundTripsOfManySessions(t *testing.T) {
	token := func(subject, sid string) session.LogoutToken {
		return session.LogoutToken{
			Issuer: issuer, ID: rand.Text(), Subject: subject, SessionID: sid,
			IssuedAt: time.Now(), Expires: time.Now().Add(time.Minute),
		}
	}
	logouts := []struct {
		name  string
		more  int // round trips: a logout token is looked up and remembered
		spare int // sessions
		do    func(context.Context, *session.Keeper, *session.Session) error
	}{
		{"EndUser", 0, 0, func(ctx context.Context, k *session.Keeper, _ *session.Session) error {
			_, err := k.EndUser(ctx, alice, "")
			return err
		}},
		{"EndOthers", 0, 1, func(ctx context.Context, k *session.Keeper, s *session.Session) error {
			_, err := k.EndOthers(ctx, s, "")
			return err
		}},
		{"EndProviderSession", 0, 0, func(ctx context.Context, k *session.Keeper, _ *session.Session) error {
			_, err := k.EndProviderSession(ctx, issuer, sid, "")
			return err
		}},
		{"a logout token with sub", 2, 0, func(ctx context.Context, k *session.Keeper, _ *session.Session) error {
			_, err := k.UseLogoutToken(ctx, token("alice", ""))
			return err
		}},
		{"a logout token with sid", 2, 0, func(ctx context.Context, k *session.Keeper, _ *session.Session) error {
			_, err := k.UseLogoutToken(ctx, token("", sid))
			return err
		}},
		{"a logout token with both", 2, 0, func(ctx context.Context, k *session.Keeper, _ *session.Session) error {
			_, err := k.UseLogoutToken(ctx, token("alice", sid))
			return err
		}},
	}
	for _, l := range logouts {
		sizes := []int{1, 100, 1000}
		if l.name == "a logout token with sub" {
			sizes = append(sizes, 5000)
		}
		for _, n := range sizes {
			most := 6 + l.more + n/100
			inTime(t, fmt.Sprintf("C114 %s ends %d sessions in at most %d round trips", l.name, n, most),
				func(t *testing.T) {
					w := newWorld(t, nil)
					sessions := w.logins(n)
					k := w.replica(func(c *session.Config) {
						c.Store = distant{&single{&w.memory, trip}}
					})
					got := trips(func() { w.wantErr(l.do(t.Context(), k, sessions[0]), nil) })
					if got > most {
						t.Errorf("%d round trips", got)
					}
					w.wantLive(false, sessions[l.spare:]...)
					w.wantLive(true, sessions[:l.spare]...)
					if ended := len(w.told(event.SessionRevoked)); ended != n-l.spare {
						t.Errorf("%d sessions were said to be ended", ended)
					}
					t.Logf("%d round trips", got)
				})
		}
	}
	inTime(t, "C114 a list of 1,000 sessions takes at most 3 round trips", func(t *testing.T) {
		w := newWorld(t, nil)
		w.logins(1000)
		k := w.replica(func(c *session.Config) { c.Store = distant{&single{&w.memory, trip}} })
		got := trips(func() {
			if list, err := k.List(t.Context(), alice); len(list) != 1000 || err != nil {
				t.Errorf("%d sessions, %v", len(list), err)
			}
		})
		if got > 3 {
			t.Errorf("%d round trips", got)
		}
	})
}

// errDown is a store that does not answer.
var errDown = errors.New("down")

func TestEndOfManySessions(t *testing.T) {
	inTime(t, "C114 a slow store that knows no batches gets the time that the sessions need",
		func(t *testing.T) {
			w := newWorld(t, nil)
			sessions := w.logins(2000)
			k := w.replica(func(c *session.Config) { c.Store = &single{&w.memory, 10 * trip} })
			begun := time.Now()
			w.wantErr(func() error {
				_, err := k.UseLogoutToken(t.Context(), session.LogoutToken{
					Issuer: issuer, ID: tokenID, Subject: "alice", IssuedAt: begun,
					Expires: begun.Add(time.Minute),
				})
				return err
			}(), nil)
			if took := time.Since(begun); took < 4*time.Second {
				t.Errorf("it took %v: not long enough to show anything", took)
			}
			w.wantLive(false, sessions...)
		})
	for _, slow := range []time.Duration{200 * time.Millisecond, 500 * time.Millisecond} {
		inTime(t, "C114 F16 a logout for which the store is too slow ends some, the newest of those it has read first, and so does each next one: "+slow.String(),
			func(t *testing.T) {
				w := newWorld(t, nil)
				sessions := w.logins(1000)
				k := w.replica(func(c *session.Config) {
					c.Store = interleave.Func(func(ctx context.Context, c interleave.Call) interleave.Reply {
						select {
						case <-time.After(slow):
							return w.call(ctx, c)
						case <-ctx.Done():
							return interleave.Reply{Err: ctx.Err()}
						}
					})
				})
				tries := 1
				for ; ; tries++ {
					before := len(w.told(event.SessionRevoked))
					n, err := k.EndUser(t.Context(), alice, "")
					left := 1000 - before - n
					if len(w.told(event.SessionRevoked)) != before+n || left > 0 && n == 0 {
						t.Fatalf("try %d: %d ended, %d are left, %v", tries, n, left, err)
					}
					if err == nil {
						break
					}
					w.wantErr(err, session.ErrStore)
					if left > 0 && !strings.Contains(err.Error(), "sessions were not ended") {
						t.Fatal(err)
					}
					if tries == 200 {
						t.Fatalf("after %d tries %d are left", tries, left)
					}
				}
				t.Logf("%d tries", tries)
				w.wantLive(false, sessions...)
				if keys := w.living("E:"); len(keys) != 0 {
					t.Errorf("left behind: %d keys, as %s", len(keys), keys[0])
				}
			})
	}
	inTime(t, "C114 F18 a set that cannot be read does not keep the sessions of the other", func(t *testing.T) {
		for _, unread := range []string{"u:", "i:"} {
			w := newWorld(t, nil)
			s := w.login(lifetime)
			w.fails(interleave.Members, unread, 0)
			_, err := w.UseLogoutToken(t.Context(), session.LogoutToken{
				Issuer: issuer, ID: tokenID, Subject: "alice", SessionID: sid, IssuedAt: time.Now(),
				Expires: time.Now().Add(time.Minute),
			})
			w.wantErr(err, session.ErrStore)
			w.wantLive(false, s)
		}
	})
	inTime(t, "C114 the error counts as not ended only what lives", func(t *testing.T) {
		w := newWorld(t, nil)
		w.logins(20)
		w.fails(interleave.Delete, "d:", 0)
		n, err := w.EndUser(t.Context(), alice, "")
		if n != 20 || err == nil || !strings.Contains(err.Error(), "all sessions have ended, and of 20 something is left") {
			t.Errorf("%d, %v", n, err)
		}
	})
	inTime(t, "C114 sessions that cannot be ended are said, and the next logout ends them, and C124 the "+
		"logout token may be used again", func(t *testing.T) {
		w := newWorld(t, nil)
		sessions := w.logins(20)
		stuck := map[string]bool{}
		for _, s := range sessions[5:8] {
			stuck["s:"+string(w.Handle(s.ID))] = true
		}
		w.broken = func(c interleave.Call) error {
			if c.Op == interleave.Delete && stuck[c.Key] {
				return errDown
			}
			return nil
		}
		token := session.LogoutToken{
			Issuer: issuer, ID: tokenID, Subject: "alice", IssuedAt: time.Now(),
			Expires: time.Now().Add(time.Minute),
		}
		_, err := w.UseLogoutToken(t.Context(), token)
		w.wantErr(err, session.ErrStore)
		if err == nil || !strings.Contains(err.Error(), "3 of 20 sessions were not ended") {
			t.Errorf("error %v", err)
		}
		w.wantLive(true, sessions[5:8]...)
		w.wantLive(false, slices.Concat(sessions[:5], sessions[8:])...)
		w.broken = nil
		done, err := w.UseLogoutToken(t.Context(), token)
		if !done.First || err != nil {
			t.Errorf("the next try: %v, %v", done, err)
		}
		w.wantLive(false, sessions...)
		if n := len(w.told(event.SessionRevoked)); n != 20 {
			t.Errorf("%d events", n)
		}
	})
	inTime(t, "C114 a session that could not be ended keeps its values, which may restrict the visitor, and its tokens", func(t *testing.T) {
		w := newWorld(t, func(l *session.Limits) { l.Values = true })
		sessions := w.logins(3)
		for _, s := range sessions {
			v := session.Values{}
			w.wantErr(w.SaveValues(t.Context(), s, &v, put("may only read")), nil)
		}
		stuck := "s:" + string(w.Handle(sessions[1].ID))
		w.broken = func(c interleave.Call) error {
			if c.Op == interleave.Delete && c.Key == stuck {
				return errDown
			}
			return nil
		}
		_, err := w.EndUser(t.Context(), alice, "")
		w.wantErr(err, session.ErrStore)
		if v := w.values(sessions[1]); v.Current == "" {
			t.Error("its values are gone")
		}
		_, err = w.Tokens(t.Context(), sessions[1].ID)
		w.wantErr(err, nil)
		w.broken = nil
		_, err = w.EndUser(t.Context(), alice, "")
		w.wantErr(err, nil)
		if keys := w.living("E:"); len(keys) != 0 {
			t.Errorf("left behind: %q", keys)
		}
	})
	inTime(t, "C114 of a session whose summary cannot be read only the index stays", func(t *testing.T) {
		w := newWorld(t, func(l *session.Limits) { l.Values = true })
		s, v := w.login(lifetime), session.Values{}
		w.wantErr(w.SaveValues(t.Context(), s, &v, put("a")), nil)
		w.fails(interleave.Get, "d:", 0)
		_, err := w.EndUser(t.Context(), alice, "")
		w.wantErr(err, session.ErrStore)
		w.wantLive(false, s)
		for _, key := range w.living("E:") {
			if strings.HasPrefix(key, "t:") || strings.HasPrefix(key, "v:") || strings.HasPrefix(key, "s:") {
				t.Errorf("left behind: %s", key)
			}
		}
	})
	inTime(t, "C114 the newest end first", func(t *testing.T) {
		w := newWorld(t, nil)
		var sessions []*session.Session
		for range 501 {
			sessions = append(sessions, w.login(lifetime))
			time.Sleep(time.Second)
		}
		deleted := 0
		w.broken = func(c interleave.Call) error {
			w.mu.Lock()
			defer w.mu.Unlock()
			if c.Is(interleave.Delete, "s:") {
				if deleted++; deleted > 496 { // 62 times 8
					return errDown
				}
			}
			return nil
		}
		n, err := w.EndUser(t.Context(), alice, "")
		if n != 496 || !errors.Is(err, session.ErrStore) {
			t.Errorf("%d ended, %v", n, err)
		}
		w.wantLive(true, sessions[:5]...)
		w.wantLive(false, sessions[5:]...)
	})
	inTime(t, "C114 a store that goes down is not asked about every batch", func(t *testing.T) {
		w := newWorld(t, nil)
		w.logins(1500)
		asked := 0
		w.broken = func(c interleave.Call) error {
			w.mu.Lock()
			defer w.mu.Unlock()
			if c.Is(interleave.Delete, "s:") {
				asked++
			}
			if c.Op == interleave.Delete {
				return errDown
			}
			return nil
		}
		_, err := w.EndUser(t.Context(), alice, "")
		if asked != 8 || err == nil || !strings.Contains(err.Error(), "1500 of 1500") {
			t.Errorf("%d deletions, %v", asked, err)
		}
	})
	inTime(t, "C114 a login beyond the limit ends the oldest, first those that are over", func(t *testing.T) {
		w := newWorld(t, func(l *session.Limits) { l.UserSessions = 3 })
		var sessions []*session.Session
		login := func() {
			sessions = append(sessions, w.login(lifetime))
			time.Sleep(time.Minute)
		}
		login()
		login()
		for range 13 { // the first stays in use, the second ends idle
			time.Sleep(5 * time.Minute)
			_, err := w.Load(t.Context(), sessions[0].ID)
			w.wantErr(err, nil)
		}
		login()
		login()
		w.wantLive(true, sessions[0], sessions[2], sessions[3])
		w.wantTold(event.SessionRevoked)
		login()
		w.wantLive(false, sessions[0], sessions[1])
		w.wantLive(true, sessions[2:]...)
		w.wantTold(event.SessionRevoked, event.ReasonSessionLimit)
	})
}

func TestTTLAndTheClock(t *testing.T) {
	inTime(t, "C106 no TTL is longer than a session may live, though the clock was set back",
		func(t *testing.T) {
			w := newWorld(t, nil)
			l := w.loginUnderWay()
			l.Times.Deadline = time.Now().Add(lifetime + 24*time.Hour).UnixMilli() // a day back
			w.wantErr(w.Begin(t.Context(), l), nil)
			v := w.values(&l.Session)
			w.wantErr(w.SaveValues(t.Context(), &l.Session, &v, put("a")), nil)
			if len(w.written) < 6 {
				t.Errorf("only %d keys were written", len(w.written))
			}
			for key, ttl := range w.written {
				if ttl > lifetime {
					t.Errorf("%s lies for %v", key, ttl)
				}
			}
		})
}

func TestLoginThatTimesOut(t *testing.T) {
	inTime(t, "F16 what a login has written when its time is over is deleted all the same", func(t *testing.T) {
		w := newWorld(t, nil)
		ctx, cancel := context.WithCancel(t.Context())
		w.broken = func(c interleave.Call) error {
			if c.Is(interleave.Get, "U:") {
				cancel() // as a store does that takes too long
				return context.Canceled
			}
			return nil
		}
		w.wantErr(w.Begin(ctx, w.loginUnderWay()), context.Canceled)
		if keys := w.living(); len(keys) != 0 {
			t.Errorf("left behind: %q", keys)
		}
	})
}

func TestPanicsOfAStore(t *testing.T) {
	for _, command := range []interleave.Op{interleave.Create, interleave.Add, interleave.Get} {
		inTime(t, "F34 a login that meets one can be recovered: "+string(command), func(t *testing.T) {
			w := newWorld(t, nil)
			w.broken = func(c interleave.Call) error {
				if c.Op == command {
					panic("a fault of the store")
				}
				return nil
			}
			defer func() {
				if v := recover(); v != "a fault of the store" {
					t.Errorf("recovered %v", v)
				}
			}()
			_ = w.Begin(t.Context(), w.loginUnderWay())
		})
	}
	inTime(t, "F34 a login that meets a store that ends its goroutine is none", func(t *testing.T) {
		w := newWorld(t, nil)
		w.broken = func(c interleave.Call) error {
			if c.Op == interleave.Add {
				runtime.Goexit()
			}
			return nil
		}
		w.wantErr(w.Begin(t.Context(), w.loginUnderWay()), session.ErrStore)
	})
}
