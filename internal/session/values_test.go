package session_test

import (
	"errors"
	"testing"
	"time"

	"github.com/oidcgate/oidcgate/internal/claims"
	"github.com/oidcgate/oidcgate/internal/event"
	"github.com/oidcgate/oidcgate/internal/interleave"
	"github.com/oidcgate/oidcgate/internal/session"
)

// put returns a merge that sets a value.
func put(name string) func(claims.Object) claims.Object {
	return func(o claims.Object) claims.Object { return o.With(name, claims.Text("1")) }
}

// values reads the values of a session.
func (w *world) values(s *session.Session) session.Values {
	w.Helper()
	v, err := w.ReadValues(w.Context(), s)
	if err != nil {
		w.Fatal(err)
	}
	return v
}

func TestSaveValues(t *testing.T) {
	inTime(t, "C106 values put when the deadline has just passed leave nothing for ever",
		func(t *testing.T) {
			w := newWorld(t, nil)
			s := w.login(5 * time.Minute)
			v := w.values(s)
			time.Sleep(10 * time.Minute)
			_ = w.SaveValues(t.Context(), s, &v, put("a"))
			for key, ttl := range w.written {
				if ttl <= 0 {
					t.Errorf("%s for %v", key, ttl)
				}
			}
			time.Sleep(time.Second)
			if keys := w.living(); len(keys) != 0 {
				t.Errorf("records are left: %v", keys)
			}
		})
	inTime(t, "F29 a save goes on top of what another request has saved", func(t *testing.T) {
		w := newWorld(t, nil)
		s := w.login(lifetime)
		first, second := w.values(s), w.values(s)
		w.wantErr(w.SaveValues(t.Context(), s, &first, put("a")), nil)
		w.wantErr(w.SaveValues(t.Context(), s, &second, put("b")), nil)
		w.wantErr(w.SaveValues(t.Context(), s, &first, put("c")), nil)
		got := w.values(s).Current
		for _, name := range []string{"a", "b", "c"} {
			if _, ok := got.Get(name); !ok {
				t.Errorf("the value %s is lost", name)
			}
		}
	})
	inTime(t, "C107 values of a session that was ended are not saved", func(t *testing.T) {
		w := newWorld(t, nil)
		s := w.login(lifetime)
		v := w.values(s)
		w.wantErr(w.End(t.Context(), s.ID), nil)
		w.wantErr(w.SaveValues(t.Context(), s, &v, put("a")), session.ErrGone)
		if keys := w.living(); len(keys) != 0 {
			t.Errorf("records are left: %v", keys)
		}
	})
	inTime(t, "F41 values under a key of another replica stay, and the save says why not",
		func(t *testing.T) {
			w := newWorld(t, nil)
			s := w.login(lifetime)
			v := w.values(s)
			w.wantErr(w.SaveValues(t.Context(), s, &v, put("a")), nil)
			other := w.replica(func(c *session.Config) { c.Ring = newRing(t, 1) })
			_, err := other.ReadValues(t.Context(), s)
			w.wantErr(err, session.ErrForeign)
			err = other.SaveValues(t.Context(), s, &session.Values{}, put("b"))
			if err == nil || errors.Is(err, session.ErrGone) || errors.Is(err, session.ErrStore) {
				t.Errorf("saving: error %v", err)
			}
			if _, ok := w.values(s).Current.Get("a"); !ok {
				t.Error("the values are lost")
			}
			w.wantTold(event.SessionUnreadable, event.ReasonKeyUnknown, event.ReasonKeyUnknown)
		})
	inTime(t, "C107 F22 nobody is let in without values that there were: they may restrict the visitor", func(t *testing.T) {
		for name, lose := range map[string]func(w *world, s *session.Session){
			"damaged":    func(w *world, _ *session.Session) { w.change("v:", damage) },
			"evicted":    func(w *world, s *session.Session) { _ = w.memory.Delete(w.Context(), "v:"+string(w.Handle(s.ID)), nil) },
			"logged out": func(w *world, s *session.Session) { w.wantErr(w.End(w.Context(), s.ID), nil) },
		} {
			w := newWorld(t, func(l *session.Limits) { l.Values = true })
			s := w.login(lifetime)
			v := w.values(s)
			w.wantErr(w.SaveValues(t.Context(), s, &v, put("a")), nil)
			s, err := w.Load(t.Context(), s.ID)
			w.wantErr(err, nil)
			if v := w.values(s); v.Current == "" {
				t.Error("no values")
			}
			lose(w, s)
			for range 2 {
				if _, err := w.ReadValues(t.Context(), s); !errors.Is(err, session.ErrGone) {
					t.Errorf("%s: %v", name, err)
				}
			}
		}
	})
	inTime(t, "C107 values whose note the store refuses are not said to be saved, and the next save notes them", func(t *testing.T) {
		w := newWorld(t, func(l *session.Limits) { l.Values = true })
		s := w.login(lifetime)
		v := w.values(s)
		w.fails(interleave.Swap, "s:", 0)
		w.wantErr(w.SaveValues(t.Context(), s, &v, put("a")), session.ErrStore)
		w.broken = nil
		v = w.values(s)
		w.wantErr(w.SaveValues(t.Context(), s, &v, put("b")), nil)
		if now, err := w.Load(t.Context(), s.ID); err != nil || !now.Identity.HasValues {
			t.Errorf("%v: %+v", err, now)
		}
	})
	inTime(t, "C107 values of a session of an older version, which noted none, are read, and noted with the next save", func(t *testing.T) {
		w := newWorld(t, func(l *session.Limits) { l.Values = true })
		s := w.login(lifetime)
		v, key := w.values(s), "s:"+string(w.Handle(s.ID))
		before, err := w.memory.Get(t.Context(), key)
		w.wantErr(err, nil)
		w.wantErr(w.SaveValues(t.Context(), s, &v, put("a")), nil)
		noted, err := w.memory.Get(t.Context(), key)
		w.wantErr(err, nil)
		w.wantErr(w.memory.Swap(t.Context(), key, noted, before, time.Hour), nil)
		if v := w.values(s); v.Current == "" { // s is as it was before
			t.Error("no values")
		}
		if now, err := w.Load(t.Context(), s.ID); err != nil || !now.Identity.HasValues {
			t.Errorf("%v: %+v", err, now)
		}
	})
	inTime(t, "C107 a save does not make up for values that are lost", func(t *testing.T) {
		w := newWorld(t, func(l *session.Limits) { l.Values = true })
		s := w.login(lifetime)
		v := w.values(s)
		w.wantErr(w.SaveValues(t.Context(), s, &v, put("may only read")), nil)
		w.wantErr(w.memory.Delete(t.Context(), "v:"+string(w.Handle(s.ID)), nil), nil)
		w.wantErr(w.SaveValues(t.Context(), s, &v, put("b")), session.ErrGone)
		s, err := w.Load(t.Context(), s.ID)
		w.wantErr(err, nil)
		_, err = w.ReadValues(t.Context(), s)
		w.wantErr(err, session.ErrGone)
	})
	inTime(t, "F16 a store that is ill is an error, and no values", func(t *testing.T) {
		w := newWorld(t, nil)
		s := w.login(lifetime)
		w.broken = func(interleave.Call) error { return errors.New("down") }
		_, err := w.ReadValues(t.Context(), s)
		w.wantErr(err, session.ErrStore)
	})
}
