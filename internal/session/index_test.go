package session_test

import (
	"crypto/rand"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oidcgate/oidcgate/internal/event"
	"github.com/oidcgate/oidcgate/internal/interleave"
	"github.com/oidcgate/oidcgate/internal/session"
)

// begin begins a session whose ID Token is of now, and returns the error.
func (w *world) begin() error {
	w.Helper()
	return w.Begin(w.Context(), w.loginUnderWay())
}

// logoutBySub has the provider log alice out by a token that was made at a time.
func (w *world) logoutBySub(at time.Time) error { return w.logoutBy("alice", "", at) }

// logoutBySID is logoutBySub for her session at the provider alone.
func (w *world) logoutBySID(at time.Time) error { return w.logoutBy("", sid, at) }

func (w *world) logoutBy(subject, sid string, at time.Time) error {
	w.Helper()
	done, err := w.UseLogoutToken(w.Context(), session.LogoutToken{
		Issuer: issuer, ID: rand.Text(), Subject: subject, SessionID: sid, IssuedAt: at,
		Expires: time.Now().Add(2 * time.Minute),
	})
	if done.First == (err != nil) {
		w.Errorf("first %v, error %v", done.First, err)
	}
	return err
}

// wantLive checks which of the sessions live.
func (w *world) wantLive(want bool, sessions ...*session.Session) {
	w.Helper()
	for i, s := range sessions {
		_, err := w.Load(w.Context(), s.ID)
		if live := err == nil; live != want {
			w.Errorf("session %d: %v, want it to live: %v", i, err, want)
		}
	}
}

func TestATombstoneNeverBecomesEarlier(t *testing.T) {
	tests := []struct {
		name    string
		logouts []time.Duration // after the test's begin
	}{
		{"one logout", []time.Duration{10 * time.Second}},
		{"an older one after it", []time.Duration{10 * time.Second, 5 * time.Second}},
		{"an older one before it", []time.Duration{5 * time.Second, 10 * time.Second}},
		{"the same twice", []time.Duration{10 * time.Second, 10 * time.Second}},
	}
	for _, tt := range tests {
		inTime(t, "C128 "+tt.name, func(t *testing.T) {
			w := newWorld(t, nil)
			begun := time.Now()
			for _, at := range tt.logouts {
				w.wantErr(w.logoutBySub(begun.Add(at)), nil)
			}
			time.Sleep(7 * time.Second)
			w.wantErr(w.begin(), session.ErrLoggedOut)
			time.Sleep(3 * time.Second) // the same second is not later
			w.wantErr(w.begin(), session.ErrLoggedOut)
			if keys := w.living("U:", "j:"); len(keys) != 0 {
				t.Errorf("logins that were refused have left %q", keys)
			}
			time.Sleep(time.Second)
			w.wantErr(w.begin(), nil)
		})
	}
	inTime(t, "C128 a logout renews it for the logins that are under way then", func(t *testing.T) {
		w := newWorld(t, nil)
		attempt := w.config.Limits.Attempt + 2*w.config.Limits.Leeway
		later := time.Now().Add(2 * attempt)
		for _, at := range []time.Time{later, later.Add(-time.Second)} {
			w.wantErr(w.logoutBySub(at), nil)
			time.Sleep(attempt - time.Millisecond)
		}
		w.wantErr(w.begin(), session.ErrLoggedOut)
		time.Sleep(time.Millisecond)
		w.wantErr(w.begin(), nil)
	})
	inTime(t, "C128 two logouts at the same time: the later counts", func(t *testing.T) {
		w := newWorld(t, nil)
		now := time.Now()
		var came atomic.Bool
		w.broken = func(c interleave.Call) error {
			if c.Is(interleave.Swap, "U:") && !came.Swap(true) {
				return w.logoutBySub(now.Add(10 * time.Second))
			}
			return nil
		}
		for _, at := range []time.Duration{0, 5 * time.Second} {
			w.wantErr(w.logoutBySub(now.Add(at)), nil)
		}
		time.Sleep(7 * time.Second)
		w.wantErr(w.begin(), session.ErrLoggedOut)
	})
}

func TestEnd(t *testing.T) {
	inTime(t, "C125 sub ends all sessions of the user, and C126 none of another provider's",
		func(t *testing.T) {
			w := newWorld(t, nil)
			one, two := w.login(lifetime), w.login(lifetime)
			n, err := w.EndUser(
				t.Context(), session.User{Issuer: issuer + "2", Subject: "alice"}, "")
			if n != 0 || err != nil {
				t.Errorf("%d sessions ended, %v", n, err)
			}
			w.wantLive(true, one, two)
			n, err = w.EndUser(t.Context(), alice, event.ReasonByAdmin)
			if n != 2 || err != nil {
				t.Errorf("%d sessions ended, %v", n, err)
			}
			w.wantLive(false, one, two)
			w.wantTold(event.SessionRevoked, event.ReasonByAdmin, event.ReasonByAdmin)
		})
	inTime(t, "C128 a logout that arrives late keeps the sessions of logins that are surely later",
		func(t *testing.T) {
			w := newWorld(t, nil)
			before := w.login(lifetime)
			at := time.Now()
			time.Sleep(30 * time.Second)
			perhaps := w.login(lifetime) // the provider's clock may be a minute behind
			time.Sleep(32 * time.Second)
			after := w.login(lifetime)
			w.wantErr(w.logoutBySub(at), nil)
			w.wantTold(event.SessionRevoked, event.ReasonBackchannel, event.ReasonBackchannel)
			w.wantLive(false, before, perhaps)
			w.wantLive(true, after)
		})
	inTime(t, "C114 sessions are listed, newest first, and ended one by one", func(t *testing.T) {
		w := newWorld(t, nil)
		var sessions []*session.Session
		var want []session.Handle
		for range 4 {
			s := w.login(lifetime)
			sessions, want = append(sessions, s), append(want, w.Handle(s.ID))
			time.Sleep(time.Minute)
		}
		slices.Reverse(want)
		w.wantErr(w.EndOne(t.Context(), sessions[0].Identity.User(), want[0], event.ReasonByUser), nil)
		w.wantErr(w.EndOne(t.Context(), sessions[0].Identity.User(), "nobody's", ""), session.ErrGone)
		w.wantTold(event.SessionRevoked, event.ReasonByUser)
		w.broken = func(interleave.Call) error { return errors.New("down") }
		w.wantErr(w.EndOne(t.Context(), sessions[0].Identity.User(), want[1], ""), session.ErrStore)
		_, err := w.List(t.Context(), alice)
		w.wantErr(err, session.ErrStore)
		w.broken = nil
		w.wantList(want[1:]...)
		n, err := w.EndOthers(t.Context(), sessions[0], event.ReasonByUser)
		if n != 2 || err != nil {
			t.Errorf("%d sessions ended, %v", n, err)
		}
		w.wantList(want[3])
		w.wantLive(true, sessions[0])
	})
	inTime(t, "C105 an idle session is neither listed nor counted as ended", func(t *testing.T) {
		w := newWorld(t, nil)
		w.login(lifetime)
		time.Sleep(time.Hour)
		w.wantList()
		n, err := w.EndUser(t.Context(), alice, "")
		if n != 0 || err != nil {
			t.Errorf("%d sessions ended, %v", n, err)
		}
		w.wantTold(event.SessionRevoked)
		if keys := w.living("E:"); len(keys) != 0 {
			t.Errorf("left behind: %q", keys)
		}
	})
	inTime(t, "C114 a session without its summary is ended all the same", func(t *testing.T) {
		w := newWorld(t, nil)
		s := w.login(lifetime)
		w.wantErr(w.memory.Delete(t.Context(), w.key("d:"), nil), nil)
		w.wantList()
		n, err := w.EndProviderSession(t.Context(), issuer, sid, "")
		if n != 1 || err != nil {
			t.Errorf("%d sessions ended, %v", n, err)
		}
		w.wantLive(false, s)
		if keys := w.living("I:", "u:"); len(keys) != 0 {
			t.Errorf("left behind: %q", keys)
		}
	})
}

// wantList checks the list of alice's sessions.
func (w *world) wantList(want ...session.Handle) {
	w.Helper()
	list, err := w.List(w.Context(), alice)
	var got []session.Handle
	for _, l := range list {
		got = append(got, l.Handle)
	}
	if err != nil || !slices.Equal(got, want) {
		w.Errorf("list %q, %v, want %q", got, err, want)
	}
}

// TestTheStoreFailsDuringALogout breaks each call of a logout in turn. What was not done is said
// not to be done, and the next logout does it.
// losesReplies has the store carry out deletions of a prefix and answer with an error.
func (w *world) losesReplies(prefix string) {
	w.breaks(func(c interleave.Call) error {
		if !c.Is(interleave.Delete, prefix) {
			return nil
		}
		return errors.Join(errDown, w.memory.Delete(w.Context(), c.Key, nil))
	})
}

func TestTheReplyOfALogoutIsLost(t *testing.T) {
	inTime(t, "C114 F16 the sessions are told once: the first call fails, and the next has nothing to tell", func(t *testing.T) {
		w := newWorld(t, nil)
		s := w.login(lifetime)
		w.losesReplies("s:")
		n, err := w.EndUser(t.Context(), s.Identity.User(), event.ReasonByAdmin)
		w.wantErr(err, session.ErrStore)
		w.breaks(nil)
		again, err := w.EndUser(t.Context(), s.Identity.User(), event.ReasonByAdmin)
		w.wantErr(err, nil)
		w.wantTold(event.SessionRevoked, event.ReasonByAdmin)
		if n != 1 || again != 0 || len(w.living("E:")) != 0 {
			t.Errorf("%d ended, then %d; left are %q", n, again, w.living())
		}
	})
	inTime(t, "C127 F16 the refresh token of a session that the application refuses is revoked all the same", func(t *testing.T) {
		w := newWorld(t, func(l *session.Limits) { l.Reread = 5 * time.Minute })
		w.provider.decide = func() error { return failure(session.Rejected, "") }
		s := w.login(lifetime)
		time.Sleep(isDue)
		w.losesReplies("s:")
		_, err := w.Reread(t.Context(), s)
		w.wantErr(err, session.ErrStore)
		w.wantErr(w.Wait(t.Context()), nil)
		w.wantRevoked("rt-1")
	})
}

func TestTheStoreFailsDuringALogout(t *testing.T) {
	logouts := map[string]func(w *world, s *session.Session) error{
		"C124 by sid": func(w *world, _ *session.Session) error {
			_, err := w.EndProviderSession(w.Context(), issuer, sid, "")
			return err
		},
		"C124 by sub": func(w *world, _ *session.Session) error {
			return w.logoutBySub(time.Now())
		},
		"C107 by the visitor": func(w *world, s *session.Session) error {
			_, err := w.LogOut(w.Context(), s)
			return err
		},
		"C107 by id": func(w *world, s *session.Session) error { return w.End(w.Context(), s.ID) },
	}
	for name, logout := range logouts {
		inTime(t, name, func(t *testing.T) {
			for broken := 0; ; broken++ {
				w := newWorld(t, nil)
				s := w.login(lifetime)
				calls := 0
				var failed interleave.Call
				var mu sync.Mutex
				w.broken = func(c interleave.Call) error {
					mu.Lock()
					defer mu.Unlock()
					if calls++; calls == broken+1 {
						failed = c
						return errors.New("down")
					}
					return nil
				}
				err := logout(w, s)
				if calls <= broken { // there were fewer calls
					w.wantErr(err, nil)
					break
				}
				if failed.Is(interleave.Create, "h:") {
					w.wantErr(err, nil) // only a second click on "log out" looks for it
				} else {
					w.wantErr(err, session.ErrStore)
				}
				w.broken = nil
				w.wantErr(logout(w, s), nil)
				w.wantLive(false, s)
				rest := []string{"U:", "I:", "j:", "h:"}
				if failed.Is(interleave.Delete, "d:") {
					rest = append(rest, "d:") // a summary that no set leads to, until its TTL
				}
				if keys := w.living(rest...); len(keys) != 0 {
					t.Errorf("call %d failed, and the next logout has left %q", broken+1, keys)
				}
			}
		})
	}
}

// TestTheStoreLosesTheEndOfASession is about a store that fails over to a replica in the middle of a
// logout.
func TestTheStoreLosesTheEndOfASession(t *testing.T) {
	type ends = func(w *world, s *session.Session) error
	for name, row := range map[string]struct {
		looks  int64 // how often it looks for the identity before it ends the session
		logout ends
	}{
		"by sid": {1, func(w *world, _ *session.Session) error {
			_, err := w.EndProviderSession(w.Context(), issuer, sid, "")
			return err
		}},
		"in a frame": {1, func(w *world, _ *session.Session) error {
			_, err := w.EndBySID(w.Context(), "", issuer, sid, "")
			return err
		}},
		"of the user":      {1, func(w *world, _ *session.Session) error { _, err := w.EndUser(w.Context(), alice, ""); return err }},
		"of one":           {1, func(w *world, s *session.Session) error { return w.EndOne(w.Context(), alice, w.Handle(s.ID), "") }},
		"of an id":         {0, func(w *world, s *session.Session) error { return w.End(w.Context(), s.ID) }},
		"by the visitor":   {0, func(w *world, s *session.Session) error { _, err := w.LogOut(w.Context(), s); return err }},
		"of an unread one": {1, func(w *world, s *session.Session) error { return w.logOutUnread(s.ID) }},
	} {
		inTime(t, "C114 F18 a logout whose deletion is lost says so, and the next one finds the session: "+name, func(t *testing.T) {
			w := newWorld(t, nil)
			s := w.login(lifetime)
			identity, err := w.memory.Get(t.Context(), w.key("s:"))
			w.wantErr(err, nil)
			var looked atomic.Int64
			w.breaks(func(c interleave.Call) error {
				if c.Is(interleave.Get, "s:") && looked.Add(1) == row.looks+1 {
					return w.memory.Create(t.Context(), w.key("s:"), identity, time.Hour)
				}
				return nil
			})
			w.wantErr(row.logout(w, s), session.ErrStore)
			w.breaks(nil)
			w.wantLive(true, s)
			w.wantList(w.Handle(s.ID))
			if len(w.leads(s)) == 0 {
				t.Error("the sid's set does not lead to it")
			}
			w.wantErr(row.logout(w, s), nil)
			w.wantLive(false, s)
			w.wantList()
		})
	}
}

func TestTheStoreLosesTheEndOfASessionThatALoginReplaces(t *testing.T) {
	inTime(t, "C109 F18 the login is refused, and the old session stays in the list", func(t *testing.T) {
		w := newWorld(t, nil)
		before := w.login(lifetime)
		identity, err := w.memory.Get(t.Context(), w.key("s:"))
		w.wantErr(err, nil)
		deleted := false
		key := w.key("s:")
		var mu sync.Mutex
		w.breaks(func(c interleave.Call) error {
			mu.Lock()
			defer mu.Unlock()
			if c.Is(interleave.Get, "s:") && c.Key == key && deleted {
				deleted = false
				return w.memory.Create(t.Context(), key, identity, time.Hour)
			}
			deleted = deleted || c.Is(interleave.Delete, "s:") && c.Key == key
			return nil
		})
		l := w.loginUnderWay()
		l.Before = *before
		w.wantErr(w.Begin(t.Context(), l), session.ErrStore)
		w.breaks(nil)
		w.wantLive(false, &l.Session)
		w.wantLive(true, before)
		if len(w.leads(before)) == 0 {
			t.Error("no set leads to it any more")
		}
	})
}

func TestLogoutDuringALoginIsNoTroubleOfTheStore(t *testing.T) {
	inTime(t, "C128 the login is refused, and nobody is told that the store has lost something", func(t *testing.T) {
		w := newWorld(t, nil)
		l := w.loginUnderWay()
		w.once(interleave.Create, "s:", func() {
			_, err := w.EndUser(t.Context(), l.Identity.User(), "")
			w.wantErr(err, nil)
		})
		w.wantErr(w.Begin(t.Context(), l), session.ErrLoggedOut)
		w.wantTold(event.StoreUnavailable)
	})
}

func TestHintIsForTheOwnLogout(t *testing.T) {
	inTime(t, "C109 a session that a login replaces leaves nothing", func(t *testing.T) {
		w := newWorld(t, nil)
		l := w.loginUnderWayOf(1)
		l.Tokens.IDToken = "an ID Token"
		w.wantErr(w.Begin(t.Context(), l), nil)
		next := w.loginUnderWayOf(2)
		next.Before = l.Session
		w.wantErr(w.Begin(t.Context(), next), nil)
		if whose, tokens, err := w.LogOutUnread(t.Context(), l.ID); whose != nil || tokens.IDToken != "" || err != nil {
			t.Errorf("%v %q, %v", whose, tokens.IDToken, err)
		}
	})
}

func TestHintOfALogoutThatFailsHalfway(t *testing.T) {
	inTime(t, "C117 the next try of a logout has the ID Token, whatever was left", func(t *testing.T) {
		w := newWorld(t, nil)
		l := w.loginUnderWay()
		l.Tokens.IDToken = "an ID Token"
		w.wantErr(w.Begin(t.Context(), l), nil)
		s := &l.Session
		w.fails(interleave.Delete, "d:", 0)
		_, err := w.LogOut(t.Context(), s)
		w.wantErr(err, session.ErrLeftovers)
		w.breaks(nil)
		whose, tokens, err := w.LogOutUnread(t.Context(), s.ID)
		if err != nil || whose == nil || tokens.IDToken != "an ID Token" {
			t.Errorf("%v %+v, %v", whose, tokens, err)
		}
		again, err := w.LogOut(t.Context(), s) // another click, which found the session before
		if err != nil || again.IDToken != tokens.IDToken {
			t.Errorf("%+v, %v", again, err)
		}
	})
}

func TestLogoutInAFrameOfASessionThatIsNotListed(t *testing.T) {
	inTime(t, "C120 F18 the sid's set has lost one of its sessions: a logout by that one ends all of them", func(t *testing.T) {
		w := newWorld(t, nil)
		lost, other := w.login(lifetime), w.login(lifetime)
		for _, set := range w.leads(lost) {
			w.wantErr(w.memory.Remove(t.Context(), set, string(w.Handle(lost.ID))), nil)
		}
		n, err := w.EndBySID(t.Context(), w.Handle(lost.ID), issuer, sid, "")
		if n != 2 || err != nil {
			t.Errorf("%d sessions ended, %v", n, err)
		}
		w.wantLive(false, lost, other)
		w.wantList()
	})
}

func TestTheStoreDeletesPartOfASession(t *testing.T) {
	inTime(t, "C114 a session whose tokens cannot be deleted has ended, and is told of once", func(t *testing.T) {
		w := newWorld(t, nil)
		s := w.login(lifetime)
		w.fails(interleave.Delete, "t:", 0)
		n, err := w.EndUser(t.Context(), alice, event.ReasonByAdmin)
		if n != 1 {
			t.Errorf("%d sessions ended, want 1", n)
		}
		w.wantErr(err, session.ErrStore)
		w.wantTold(event.SessionRevoked, event.ReasonByAdmin)
		w.wantLive(false, s)
		w.broken = nil
		n, err = w.EndUser(t.Context(), alice, event.ReasonByAdmin)
		w.wantErr(err, nil)
		if told := len(w.told(event.SessionRevoked)); n != 0 || told != 1 {
			t.Errorf("again: %d sessions ended, %d events", n, told)
		}
		if keys := w.living("E:"); len(keys) != 0 {
			t.Errorf("left behind: %q", keys)
		}
	})
}

func TestTheSummaryCannotBeRead(t *testing.T) {
	logouts := map[string]func(*world) (int, error){
		"of a user": func(w *world) (int, error) { return w.EndUser(w.Context(), alice, "") },
		"by sid": func(w *world) (int, error) {
			return w.EndProviderSession(w.Context(), issuer, sid, "")
		},
		"by sid and sub": func(w *world) (int, error) {
			_, err := w.UseLogoutToken(w.Context(), session.LogoutToken{
				Issuer: issuer, ID: tokenID, Subject: "alice", SessionID: sid, IssuedAt: time.Now(),
				Expires: time.Now().Add(2 * time.Minute),
			})
			return 1, err
		},
	}
	for name, logout := range logouts {
		inTime(t, "C114 a session ends without its summary in a logout "+name, func(t *testing.T) {
			w := newWorld(t, nil)
			s := w.login(lifetime)
			w.fails(interleave.Get, "d:", 0)
			n, err := logout(w)
			w.wantErr(err, session.ErrStore)
			w.broken = nil
			w.wantLive(false, s)
			if n != 1 || len(w.told(event.SessionRevoked)) != 1 {
				t.Errorf("%d sessions ended, %d events", n, len(w.told(event.SessionRevoked)))
			}
			_, err = logout(w)
			w.wantErr(err, nil)
			if keys := w.living("E:", "I:", "U:", "j:"); len(keys) != 0 {
				t.Errorf("the next logout has left %q", keys)
			}
		})
	}
	inTime(t, "C128 a session that may be of a later login stays in a logout by sub", func(t *testing.T) {
		w := newWorld(t, nil)
		s := w.login(lifetime)
		w.fails(interleave.Get, "d:", 0)
		w.wantErr(w.logoutBySub(time.Now().Add(-time.Hour)), session.ErrStore)
		w.broken = nil
		w.wantLive(true, s)
	})
}

func TestOnce(t *testing.T) {
	inTime(t, "C030 an attempt is taken once, for as long as a login may take", func(t *testing.T) {
		w := newWorld(t, nil)
		w.wantErr(w.ClaimAttempt(t.Context(), "reference"), nil)
		time.Sleep(w.config.Limits.Attempt + 2*w.config.Limits.Leeway - time.Millisecond)
		w.wantErr(w.replica(nil).ClaimAttempt(t.Context(), "reference"), session.ErrUsed)
		w.wantErr(w.ClaimAttempt(t.Context(), "another"), nil)
	})
	inTime(t, "C124 a logout token is remembered by issuer until after its expiry",
		func(t *testing.T) {
			w := newWorld(t, nil)
			token := session.LogoutToken{
				Issuer: issuer, ID: tokenID, Subject: "alice", IssuedAt: time.Now(),
				Expires: time.Now().Add(2 * time.Minute),
			}
			use := func(issuer string) error {
				token.Issuer = issuer
				_, err := w.UseLogoutToken(t.Context(), token)
				return err
			}
			w.wantErr(use(issuer), nil)
			w.wantErr(use(issuer), session.ErrUsed)
			time.Sleep(2*time.Minute + 2*w.config.Limits.Leeway - time.Millisecond)
			w.wantErr(use(issuer), session.ErrUsed)
			w.wantErr(use(issuer+"2"), nil)
		})
	t.Run("F15 a store that is down is not ready", func(t *testing.T) {
		w := newWorld(t, nil)
		w.wantErr(w.Ping(t.Context()), nil)
		w.broken = func(interleave.Call) error { return errors.New("down") }
		w.wantErr(w.Ping(t.Context()), session.ErrStore)
		w.wantErr(w.logoutBySub(time.Now()), session.ErrStore)
		w.wantErr(w.ClaimAttempt(t.Context(), "reference"), session.ErrStore)
	})
}
