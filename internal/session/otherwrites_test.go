package session_test

import (
	"testing"
	"time"

	"github.com/oidcgate/oidcgate/internal/event"
	"github.com/oidcgate/oidcgate/internal/interleave"
	"github.com/oidcgate/oidcgate/internal/session"
)

func TestLockThatOthersTakeAndRelease(t *testing.T) {
	begin := func(t *testing.T, value string, ttl time.Duration) (w *world, s *session.Session, key string) {
		w = newWorld(t, nil)
		s = w.login(lifetime)
		time.Sleep(isOver)
		key = "l:" + string(w.Handle(s.ID))
		w.wantErr(w.memory.Create(t.Context(), key, []byte(value), ttl), nil)
		return w, s, key
	}
	inTime(t, "C082 a lock that is released before its owner is read is taken", func(t *testing.T) {
		w, s, key := begin(t, "another replica", time.Hour)
		w.once(interleave.Get, "l:", func() { w.wantErr(w.memory.Delete(t.Context(), key, nil), nil) })
		w.wantToken(w.Keeper, s, "at-1")
		w.wantSpent("rt-0")
	})
	inTime(t, "F32 a lock whose owner cannot be read", func(t *testing.T) {
		w, s, _ := begin(t, "another replica", time.Hour)
		w.fails(interleave.Get, "l:", 0)
		w.wantNoToken(s, session.ErrStore)
		w.wantSpent()
	})
	inTime(t, "C082 a lock of a refresh that the store refused is taken", func(t *testing.T) {
		w, s, _ := begin(t, "refused ", time.Hour)
		w.wantToken(w.Keeper, s, "at-1")
		w.wantSpent("rt-0")
	})
	inTime(t, "C082 another is faster at such a lock, and is waited for", func(t *testing.T) {
		w, s, key := begin(t, "refused ", time.Hour)
		w.once(interleave.Swap, "l:", func() {
			w.wantErr(w.memory.Swap(t.Context(), key, []byte("refused "), []byte("refused by another"), 5*time.Second), nil)
		})
		began := time.Now()
		w.wantToken(w.Keeper, s, "at-1")
		w.wantSpent("rt-0")
		if d := time.Since(began); d < 5*time.Second {
			t.Errorf("refreshed after %v, beside another", d)
		}
	})
	inTime(t, "C082 such a lock is gone meanwhile", func(t *testing.T) {
		w, s, key := begin(t, "refused ", time.Hour)
		w.once(interleave.Swap, "l:", func() { w.wantErr(w.memory.Delete(t.Context(), key, nil), nil) })
		w.wantToken(w.Keeper, s, "at-1")
		w.wantSpent("rt-0")
	})
	inTime(t, "F32 such a lock cannot be taken", func(t *testing.T) {
		w, s, _ := begin(t, "refused ", time.Hour)
		w.fails(interleave.Swap, "l:", 0)
		w.wantNoToken(s, session.ErrStore)
		w.wantSpent()
	})
}

func TestTokenEndThatCannotBeNoted(t *testing.T) {
	for n := 1; n <= 3; n++ {
		inTime(t, "C085 a refresh is good though the end of its token cannot be noted", func(t *testing.T) {
			w := newWorld(t, func(l *session.Limits) { l.EndWithAccessToken = true })
			s := w.login(lifetime)
			time.Sleep(isOver)
			saved, reads := false, 0
			w.breaks(func(c interleave.Call) error {
				saved = saved || c.Is(interleave.Swap, "t:")
				if !saved || !c.Is(interleave.Get, "s:") {
					return nil
				}
				if reads++; reads == n {
					return errDown
				}
				return nil
			})
			w.wantToken(w.Keeper, s, "at-1")
			w.wantTold(event.RefreshSucceeded, "")
			w.wantSpent("rt-0")
		})
	}
}

func TestRefreshTokenOfARefusalThatCannotBeKept(t *testing.T) {
	inTime(t, "F32 C080 a refresh token that comes with a refusal and cannot be saved", func(t *testing.T) {
		w := newWorld(t, nil)
		s := w.login(lifetime)
		w.provider.refresh = func(int) (*session.ProviderTokens, error) {
			return &session.ProviderTokens{RefreshToken: "rt-9"}, failure(session.NoAnswer, "")
		}
		time.Sleep(isOver)
		w.fails(interleave.Swap, "t:", 0)
		w.wantNoToken(s, session.ErrStore)
		w.wantTold(event.RefreshFailed, event.ReasonStoreError)
		w.wantSpent("rt-0")
	})
}

func TestSurplusOfSessionsThatAreOver(t *testing.T) {
	for range 8 { // the store lists them in any order
		inTime(t, "C114 those that are over go before those that live", func(t *testing.T) {
			w := newWorld(t, func(l *session.Limits) { l.UserSessions = 5 })
			var live, over []*session.Session
			for range 2 {
				live = append(live, w.login(lifetime))
				time.Sleep(time.Minute)
				over = append(over, w.login(lifetime))
				time.Sleep(time.Minute)
			}
			for _, s := range over {
				w.wantErr(w.memory.Delete(t.Context(), "s:"+string(w.Handle(s.ID)), nil), nil)
			}
			live = append(live, w.login(lifetime))
			live = append(live, w.login(lifetime), w.login(lifetime))
			w.wantLive(true, live...)
			time.Sleep(time.Minute)
			w.login(lifetime)
			w.wantLive(false, live[0])
			w.wantLive(true, live[1:]...)
		})
	}
}

func TestTombstoneThatEndsMeanwhile(t *testing.T) {
	inTime(t, "C128 a logout whose tombstone is there, and then gone, writes it anew", func(t *testing.T) {
		w := newWorld(t, nil)
		early := w.loginUnderWay()
		time.Sleep(time.Second)
		_, err := w.EndUser(t.Context(), alice, event.ReasonByAdmin)
		w.wantErr(err, nil)
		key := w.key("E:")
		time.Sleep(time.Second)
		gone := false
		w.once(interleave.Get, "E:", func() {
			gone = true
			w.wantErr(w.memory.Delete(t.Context(), key, nil), nil)
		})
		_, err = w.EndUser(t.Context(), alice, event.ReasonByAdmin)
		w.wantErr(err, nil)
		if !gone {
			t.Error("the tombstone is not read")
		}
		w.wantErr(w.Begin(t.Context(), early), session.ErrLoggedOut)
	})
}
