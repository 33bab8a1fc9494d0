package session_test

import (
	"bytes"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oidcgate/oidcgate/internal/session"
)

// A replica whose clock is behind that of the others finds times that lie ahead. If they counted as
// due, it would refresh every session that the others have just refreshed. To it, the new ID Tokens
// are issued in the future: it cannot use them.
func TestReplicaWhoseClockIsBehind(t *testing.T) {
	inTime(t, "C113 F14 what the others have just read and refreshed is not due at it", func(t *testing.T) {
		const age, behind = 5 * time.Minute, 2 * time.Minute
		w := newWorld(t, func(l *session.Limits) { l.Reread = age })
		l := w.loginUnderWay()
		l.Identity.Checked = time.Now().Add(behind)
		l.Tokens.Issued = l.Identity.Checked
		l.Tokens.Expiry = l.Tokens.Issued.Add(tokenLife)
		w.wantErr(w.Begin(t.Context(), l), nil)
		for at := time.Duration(0); at < age+behind; at += time.Minute {
			if w.Stale(&l.Session) {
				t.Errorf("after %v the claims are due", at)
			}
			w.wantToken(w.Keeper, &l.Session, "at-0")
			time.Sleep(time.Minute)
		}
		w.wantSpent()
		if !w.Stale(&l.Session) {
			t.Errorf("the claims are not due %v after they were read", age)
		}
	})
}

func TestClockThatWasSetBack(t *testing.T) {
	const ahead, little = 58 * time.Minute, 50 * time.Second // a little is less than clocks may differ
	id, key := newID(), ""
	var noted, notedEarly []byte // the record, as a clock that is ahead writes it
	begin := func(t *testing.T) (*world, *session.Session) {
		w := newWorld(t, nil)
		l := w.loginUnderWay()
		l.ID = id
		w.wantErr(w.Begin(t.Context(), l), nil)
		key = "s:" + string(w.Handle(id))
		return w, &l.Session
	}
	synctest.Test(t, func(t *testing.T) {
		w, s := begin(t)
		time.Sleep(ahead)
		w.touched(s)
		noted, _ = w.memory.Get(t.Context(), key)
	})
	short := func(l *session.Limits) { l.Idle, l.Touch = time.Minute, 15*time.Second }
	synctest.Test(t, func(t *testing.T) {
		w, s := begin(t)
		time.Sleep(little)
		_, err := w.replica(func(c *session.Config) { short(&c.Limits) }).Load(t.Context(), s.ID)
		w.wantErr(err, nil)
		notedEarly, _ = w.memory.Get(t.Context(), key)
	})
	inTime(t, "C105 F14 a replica whose clock is a little behind takes no note back", func(t *testing.T) {
		w, s := begin(t)
		old, err := w.memory.Get(t.Context(), key)
		w.wantErr(err, nil)
		w.wantErr(w.memory.Swap(t.Context(), key, old, notedEarly, time.Hour), nil)
		_, err = w.replica(func(c *session.Config) { short(&c.Limits) }).Load(t.Context(), s.ID)
		w.wantErr(err, nil)
		if now, _ := w.memory.Get(t.Context(), key); !bytes.Equal(now, notedEarly) {
			t.Error("the note is taken back")
		}
	})
	inTime(t, "C105 F14 a session that is in use goes on, though a clock that was ahead has noted its use", func(t *testing.T) {
		w, s := begin(t)
		old, err := w.memory.Get(t.Context(), key)
		w.wantErr(err, nil)
		w.wantErr(w.memory.Swap(t.Context(), key, old, noted, time.Hour), nil)
		for range 20 {
			time.Sleep(10 * time.Minute)
			w.wantLive(true, s)
		}
	})
}
