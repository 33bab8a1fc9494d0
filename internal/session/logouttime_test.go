package session_test

import (
	"strconv"
	"testing"
	"time"

	"github.com/oidcgate/oidcgate/internal/interleave"
	"github.com/oidcgate/oidcgate/internal/session"
)

// TestLogoutAndClocks logs alice out by sub while the provider's clock differs. Her ID Tokens have
// no auth_time.
func TestLogoutAndClocks(t *testing.T) {
	rows := []struct {
		name   string
		skew   time.Duration // of the provider's clock
		begins time.Duration // the login, after the logout; negative: its code was held back
		late   time.Duration // the logout token
		want   error
	}{
		{"C128 F14 a code held back, the clocks agree", 0, -10 * time.Second, 0, session.ErrLoggedOut},
		{"C128 F14 a code held back, the provider's is half a minute behind", -30 * time.Second, -10 * time.Second, 0, session.ErrLoggedOut},
		{"C128 F14 a code held back, it is behind by all but the leeway", -59 * time.Second, -10 * time.Second, 0, session.ErrLoggedOut},
		{"C128 F14 a code held back, it is ahead", 59 * time.Second, -10 * time.Second, 0, session.ErrLoggedOut},
		{"C128 F14 a code held back, and the token comes minutes late", -59 * time.Second, -10 * time.Second, 3 * time.Minute, session.ErrLoggedOut},
		{"C128 F14 a login afterwards, the clocks agree", 0, 2 * time.Second, 0, nil},
		{"C128 F14 a login afterwards, the provider's is behind", -59 * time.Second, 2 * time.Second, 0, nil},
		{"C128 F14 a login afterwards, it is ahead", 59 * time.Second, 2 * time.Second, 0, nil},
		{"C128 F14 a login two leeways afterwards, and the token comes later still", 59 * time.Second, 2*time.Minute + time.Second, 3 * time.Minute, nil},
	}
	for by, logout := range map[string]func(*world, time.Time) error{
		"sub": (*world).logoutBySub, "sid": (*world).logoutBySID,
	} {
		for _, r := range rows {
			inTime(t, r.name+", by "+by, func(t *testing.T) {
				w := newWorld(t, nil)
				time.Sleep(time.Minute)
				at := time.Now().Add(10 * time.Second)
				l := w.loginUnderWay()
				l.Start = at.Add(r.begins)
				time.Sleep(time.Until(at.Add(r.late)))
				w.wantErr(logout(w, at.Add(r.skew)), nil)
				time.Sleep(max(time.Until(l.Start), 0) + 5*time.Second)
				l.Identity = w.identityOf(time.Now().Add(r.skew))
				w.wantErr(w.Begin(t.Context(), l), r.want)
			})
		}
	}
	for name, by := range map[string][2]string{"sub": {"alice", ""}, "sid": {"", sid}, "both": {"alice", sid}} {
		inTime(t, "C125 C128 a token by "+name+" that comes late ends the sessions from before it, and no later one", func(t *testing.T) {
			w := newWorld(t, nil)
			before := w.login(lifetime)
			time.Sleep(time.Minute)
			logout := time.Now()
			time.Sleep(2 * time.Minute)
			after := w.login(lifetime)
			time.Sleep(time.Minute)
			w.wantErr(w.logoutBy(by[0], by[1], logout), nil)
			w.wantLive(false, before)
			w.wantLive(true, after)
		})
	}
	inTime(t, "C128 after EndProviderSession no login out of the session at the provider is let in for as long as one may take", func(t *testing.T) {
		w := newWorld(t, nil)
		_, err := w.EndProviderSession(t.Context(), issuer, sid, "")
		w.wantErr(err, nil)
		most := w.config.Limits.Attempt + 2*w.config.Limits.Leeway
		for _, row := range []struct {
			wait time.Duration
			want error
		}{
			{time.Second, session.ErrLoggedOut},
			{most - 2*time.Second, session.ErrLoggedOut},
			{2 * time.Second, nil},
		} {
			time.Sleep(row.wait)
			l := w.loginUnderWay()
			l.Start, l.Identity = time.Now(), w.identity()
			w.wantErr(w.Begin(t.Context(), l), row.want)
		}
	})
	inTime(t, "C128 F14 a session that began before the logout was received ends, the provider's clock is behind",
		func(t *testing.T) {
			w := newWorld(t, nil)
			s := w.login(lifetime)
			time.Sleep(10 * time.Second)
			w.wantErr(w.logoutBySub(time.Now().Add(-30*time.Second)), nil)
			w.wantLive(false, s)
		})
	inTime(t, "C128 F14 a login takes a leeway more than it may at the most: its tombstones may be gone then, "+
		"where the clock at which it began was ahead", func(t *testing.T) {
		w := newWorld(t, nil)
		const most = 11 * time.Minute
		l := w.loginUnderWay()
		l.Start = time.Now().Add(-most)
		w.wantErr(w.Begin(t.Context(), l), nil)
		l = w.loginUnderWay()
		l.Start = time.Now().Add(-most - time.Second)
		w.wantErr(w.Begin(t.Context(), l), session.ErrTooLate)
		w.wantLive(false, &l.Session)
	})
	inTime(t, "C128 of a logout in two tokens the later times count", func(t *testing.T) {
		w := newWorld(t, nil)
		begun := time.Now()
		w.wantErr(w.logoutBySub(begun.Add(-30*time.Second)), nil)
		l := w.loginUnderWay()
		l.Start = begun.Add(time.Second)
		time.Sleep(2 * time.Second)
		w.wantErr(w.logoutBySub(begun.Add(-40*time.Second)), nil) // older, and received later
		l.Identity = w.identityOf(time.Now())
		w.wantErr(w.Begin(t.Context(), l), session.ErrLoggedOut)
	})
	inTime(t, "C128 a logout token that comes late does not make a newer one's times earlier", func(t *testing.T) {
		w := newWorld(t, nil)
		begun := time.Now()
		l := w.loginUnderWay()
		l.Start = begun.Add(-10 * time.Second)
		w.wantErr(w.logoutBySub(begun), nil)
		w.wantErr(w.logoutBySub(begun.Add(-90*time.Second)), nil)
		time.Sleep(2 * time.Second)
		l.Identity = w.identityOf(time.Now())
		w.wantErr(w.Begin(t.Context(), l), session.ErrLoggedOut)
	})
}

func TestTombstonesOfOlderVersions(t *testing.T) {
	for _, r := range []struct {
		name  string
		start time.Duration // of the login, after the logout
		want  error
	}{
		{"C128 F41 a tombstone of an older version refuses a login from before it", -time.Second, session.ErrLoggedOut},
		{"C128 F41 a tombstone of an older version refuses a login of the same second", 0, session.ErrLoggedOut},
		{"C128 F41 a tombstone of an older version lets a later login in", time.Second, nil},
	} {
		inTime(t, r.name, func(t *testing.T) {
			w := newWorld(t, nil)
			logout := time.Now().Truncate(time.Second)
			w.wantErr(w.logoutBySub(logout), nil)
			w.change("U:", func([]byte) []byte { return []byte(millis(logout)) })
			time.Sleep(5 * time.Second)
			l := w.loginUnderWay()
			l.Start = logout.Add(r.start)
			w.wantErr(w.Begin(t.Context(), l), r.want)
		})
	}
	inTime(t, "C128 F41 a tombstone of a sid of an older version refuses every login", func(t *testing.T) {
		w := newWorld(t, nil)
		now := time.Now()
		w.wantErr(w.logoutBySID(now), nil)
		w.change("I:", func([]byte) []byte { return []byte(millis(now)) })
		time.Sleep(10 * time.Second)
		w.wantErr(w.begin(), session.ErrLoggedOut)
	})
	inTime(t, "C128 F41 a tombstone of an older version becomes later, not earlier", func(t *testing.T) {
		w := newWorld(t, nil)
		now := time.Now()
		w.wantErr(w.logoutBySub(now), nil)
		w.change("U:", func([]byte) []byte { return []byte(millis(now.Add(10 * time.Second))) })
		w.wantErr(w.logoutBySub(now), nil)
		time.Sleep(5 * time.Second)
		w.wantErr(w.begin(), session.ErrLoggedOut)
		time.Sleep(10 * time.Second)
		w.wantErr(w.begin(), nil)
	})
}

func millis(t time.Time) string { return strconv.FormatInt(t.UnixMilli(), 10) }

func TestLogoutTokenWithoutSub(t *testing.T) {
	inTime(t, "C125 says nothing about any user", func(t *testing.T) {
		w := newWorld(t, nil)
		w.login(lifetime)
		_, err := w.UseLogoutToken(t.Context(), session.LogoutToken{
			Issuer: issuer, ID: tokenID, SessionID: sid, IssuedAt: time.Now(), Expires: time.Now().Add(2 * time.Minute),
		})
		w.wantErr(err, nil)
		if keys := w.living("I:", "j:"); len(keys) != 0 {
			t.Errorf("in the store: %q", keys)
		}
	})
}

func TestUsedLogoutTokenHasNoEffect(t *testing.T) {
	for _, of := range []struct{ name, subject, sid string }{
		{"a sid", "", sid}, {"a sub", "alice", ""}, {"both", "alice", sid},
	} {
		inTime(t, "C124 a used token with "+of.name+" writes nothing, and no tombstone lies longer for it", func(t *testing.T) {
			w := newWorld(t, func(l *session.Limits) { l.Attempt = 5 * time.Minute })
			s := w.login(lifetime)
			logout := time.Now().Add(time.Second)
			token := session.LogoutToken{
				Issuer: issuer, ID: tokenID, Subject: of.subject, SessionID: of.sid,
				IssuedAt: logout, Expires: logout.Add(9 * time.Minute),
			}
			l := w.loginUnderWay() // it began before the logout
			time.Sleep(time.Second)
			_, err := w.UseLogoutToken(t.Context(), token)
			w.wantErr(err, nil)
			w.wantLive(false, s)
			time.Sleep(w.config.Limits.Attempt + 2*w.config.Limits.Leeway - time.Second)
			w.broken = func(c interleave.Call) error {
				if c.Op != interleave.Get {
					t.Errorf("%s %s", c.Op, c.Key)
				}
				return nil
			}
			replay := func() {
				_, err = w.UseLogoutToken(t.Context(), token)
				w.wantErr(err, session.ErrUsed)
			}
			replay()
			time.Sleep(time.Second)
			replay()
			w.broken = nil
			l.Identity = w.identity()
			w.wantErr(w.Begin(t.Context(), l), session.ErrTooLate) // no tombstone is found: ErrLoggedOut comes first
		})
	}
}
