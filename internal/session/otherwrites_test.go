package session_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"testing/synctest"
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

func TestLockThatLostItsTTL(t *testing.T) {
	// begin leads a session to a lock that the store does not end by itself.
	begin := func(t *testing.T) (w *world, s *session.Session) {
		w = newWorld(t, nil)
		s = w.login(lifetime)
		time.Sleep(isOver)
		w.forever = true
		w.provider.refresh = func(n int) (*session.ProviderTokens, error) {
			if n == 1 {
				return nil, failure(session.NoAnswer, "")
			}
			return tokens(n), nil
		}
		return w, s
	}
	// dies leaves the lock of a refresh behind, as a replica that dies does.
	dies := func(w *world, s *session.Session) {
		w.breaks(func(c interleave.Call) error {
			if c.Is(interleave.Swap, "l:") || c.Is(interleave.Delete, "l:") {
				return errors.New("the replica has died")
			}
			return nil
		})
		w.wantNoToken(s, session.ErrProvider)
		w.breaks(nil)
	}
	const longest = 95 * time.Second // a wait, a refresh and a lease
	const longOver = 10 * time.Minute
	inTime(t, "C082 a pause ends when its time and the skew of clocks have passed", func(t *testing.T) {
		w, s := begin(t)
		w.wantNoToken(s, session.ErrProvider)
		time.Sleep(w.config.Limits.Leeway)
		w.wantNoToken(s, session.ErrProvider)
		w.wantSpent("rt-0")
		time.Sleep(time.Minute)
		w.wantToken(w.replica(nil), s, "at-2")
	})
	inTime(t, "C082 a lock ends when its owner is surely gone", func(t *testing.T) {
		w, s := begin(t)
		dies(w, s)
		time.Sleep(longest + longOver)
		w.wantToken(w.replica(nil), s, "at-2")
	})
	inTime(t, "C082 and not while its owner may still refresh", func(t *testing.T) {
		w, s := begin(t)
		dies(w, s)
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		other := w.replica(nil)
		_, err := other.Token(ctx, s)
		w.wantErr(err, context.DeadlineExceeded)
		w.wantErr(other.Wait(t.Context()), nil)
		w.wantSpent("rt-0")
	})
	inTime(t, "C082 F14 nor by a clock that is nine minutes ahead", func(t *testing.T) {
		w, s := begin(t)
		dies(w, s)
		time.Sleep(longest + 9*time.Minute)
		_, err := w.replica(nil).Token(t.Context(), s)
		w.wantErr(err, session.ErrProvider)
		w.wantSpent("rt-0")
	})
	inTime(t, "C082 one of two takes it", func(t *testing.T) {
		w, s := begin(t)
		dies(w, s)
		time.Sleep(longest + longOver)
		for _, k := range []*session.Keeper{w.Keeper, w.replica(nil)} {
			go w.wantToken(k, s, "at-2")
		}
		synctest.Wait()
		time.Sleep(time.Minute)
		w.wantSpent("rt-0", "rt-0")
	})
	inTime(t, "F32 it still says that the store refused the last refresh", func(t *testing.T) {
		w, s := begin(t)
		key := "l:" + string(w.Handle(s.ID))
		owner := fmt.Sprint("refused another replica ", time.Now().UnixMilli())
		w.wantErr(w.memory.Create(t.Context(), key, []byte(owner), 1000*time.Hour), nil)
		time.Sleep(2 * longOver)
		var taken string
		w.provider.refresh = func(n int) (*session.ProviderTokens, error) {
			value, err := w.memory.Get(t.Context(), key)
			w.wantErr(err, nil)
			taken = string(value)
			return tokens(n), nil
		}
		w.wantToken(w.Keeper, s, "at-1")
		if !strings.HasPrefix(taken, "refused ") || taken == owner {
			t.Errorf("the lock was %q", taken)
		}
	})
}

func TestTokenEndIsNoted(t *testing.T) {
	begin := func(t *testing.T) (*world, *session.Session) {
		w := newWorld(t, func(l *session.Limits) { l.EndWithAccessToken = true })
		s := w.login(lifetime)
		time.Sleep(isOver)
		return w, s
	}
	inTime(t, "C085 unless nobody asked for that", func(t *testing.T) {
		w := newWorld(t, nil)
		s := w.login(lifetime)
		time.Sleep(isOver)
		w.wantToken(w.Keeper, s, "at-1")
		got, err := w.Load(t.Context(), s.ID)
		w.wantErr(err, nil)
		if !s.Identity.TokenEnds.IsZero() || !got.Identity.TokenEnds.IsZero() {
			t.Errorf("the token ends at %v and %v", s.Identity.TokenEnds, got.Identity.TokenEnds)
		}
	})
	inTime(t, "C085 also where it is earlier than that of the token before", func(t *testing.T) {
		w, s := begin(t)
		w.wantToken(w.Keeper, s, "at-1")
		w.provider.refresh = func(n int) (*session.ProviderTokens, error) {
			answer := tokens(n)
			answer.Expiry = time.Now().Add(tokenLife / 2)
			return answer, nil
		}
		s, err := w.Load(t.Context(), s.ID)
		w.wantErr(err, nil)
		w.wantErr(w.Renew(t.Context(), s), nil)
		s, err = w.Load(t.Context(), s.ID)
		w.wantErr(err, nil)
		if want := time.Now().Add(tokenLife / 2); !s.Identity.TokenEnds.Equal(want) {
			t.Errorf("the token ends at %v, want %v", s.Identity.TokenEnds, want)
		}
	})
	inTime(t, "C085 also when the session is used at the same time", func(t *testing.T) {
		w, s := begin(t)
		w.once(interleave.Swap, "s:", func() { w.touched(s) })
		w.wantToken(w.Keeper, s, "at-1")
		got, err := w.Load(t.Context(), s.ID)
		w.wantErr(err, nil)
		if want := time.Now().Add(tokenLife); !got.Identity.TokenEnds.Equal(want) {
			t.Errorf("the token ends at %v, want %v", got.Identity.TokenEnds, want)
		}
	})
	inTime(t, "C085 F42 a note that cannot be encrypted leaves the session as it is", func(t *testing.T) {
		w, s := begin(t)
		whole := rand.Reader
		saved := false
		w.breaks(func(c interleave.Call) error {
			if saved = saved || c.Is(interleave.Swap, "t:"); saved && c.Is(interleave.Get, "s:") {
				rand.Reader = iotest.ErrReader(errDown)
			}
			return nil
		})
		w.wantToken(w.Keeper, s, "at-1")
		w.breaks(nil)
		rand.Reader = whole
		w.wantLive(true, s)
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

func TestRefreshesWaitForAPlace(t *testing.T) {
	for _, tt := range []struct {
		name   string
		places int
		user   func(n int) int
	}{
		{"F40 a provider that hangs has 32 places", 32, func(n int) int { return n }},
		{"F40 a user has four of them", 4, func(int) int { return 0 }},
	} {
		inTime(t, tt.name+", and who gets none keeps the refresh token", func(t *testing.T) {
			w := newWorld(t, nil)
			all := make([]*session.Session, tt.places+1)
			for n := range all {
				all[n] = w.loginAt("slow", tt.user(n))
			}
			time.Sleep(isOver)
			w.provider.refresh = func(n int) (*session.ProviderTokens, error) {
				time.Sleep(2 * time.Minute) // longer than a refresh may take
				return tokens(n), nil
			}
			for _, s := range all[:tt.places] {
				go func() { _, _ = w.Token(t.Context(), s) }()
			}
			synctest.Wait()
			last := all[tt.places]
			w.wantNoToken(last, session.ErrProvider)
			if n := len(w.provider.spent); n != tt.places {
				t.Errorf("%d refresh tokens were sent", n)
			}
			w.wantErr(w.Wait(t.Context()), nil)
			w.provider.refresh = nil
			time.Sleep(time.Minute)
			w.wantToken(w.Keeper, last, fmt.Sprint("at-", tt.places+1))
		})
	}
}

func TestChecksOfRefreshedTokensWaitForAPlace(t *testing.T) {
	inTime(t, "F40 where userinfo says whose a token is, a user has four places there, and who gets none keeps the refresh token", func(t *testing.T) {
		w := newWorld(t, nil)
		var all []*session.Session
		for range 20 {
			all = append(all, w.loginAt("slow", 0))
		}
		time.Sleep(isOver)
		var asking, most atomic.Int64
		w.provider.verify = func() error {
			most.Store(max(most.Load(), asking.Add(1)))
			defer asking.Add(-1)
			time.Sleep(time.Minute)
			return failure(session.NotVerifiable, "")
		}
		for _, s := range all {
			go func() { _, _ = w.Token(t.Context(), s) }()
		}
		time.Sleep(time.Second)
		w.wantErr(w.Wait(t.Context()), nil)
		if n := most.Load(); n > 4 {
			t.Errorf("%d at a time", n)
		}
		w.provider.verify = nil
		time.Sleep(time.Minute)
		for _, s := range all {
			_, err := w.Token(t.Context(), s)
			w.wantErr(err, nil)
		}
	})
}

func TestPlacesOfCallsThatNeverReturn(t *testing.T) {
	inTime(t, "F40 F08 their places are given back", func(t *testing.T) {
		w := newWorld(t, nil)
		never := make(chan struct{})
		defer close(never)
		w.provider.refresh = func(n int) (*session.ProviderTokens, error) {
			if n <= 32 {
				<-never
			}
			return tokens(n), nil
		}
		for n := range 32 {
			s := w.loginAt("slow", n)
			defer time.AfterFunc(isOver, func() { _, _ = w.Token(t.Context(), s) }).Stop()
		}
		last := w.loginAt("slow", 99)
		time.Sleep(isOver + 5*time.Minute)
		w.wantToken(w.Keeper, last, "at-33")
	})
}

func TestAccessTokenThatUserinfoRefuses(t *testing.T) {
	inTime(t, "F32 C113 nobody knows whether another replica has a newer one: the session stays", func(t *testing.T) {
		w := newWorld(t, rereads)
		s := w.login(lifetime)
		w.provider.noUserinfo = failure(session.TokenRefused, event.ReasonUserinfoRefused)
		w.provider.onUserinfo = func() { w.fails(interleave.Get, "t:", 0) }
		time.Sleep(20 * time.Minute)
		got, err := w.Reread(t.Context(), s)
		w.wantErr(err, session.ErrStore)
		if got != nil {
			t.Errorf("the session %+v", got)
		}
		w.wantErr(w.Wait(t.Context()), nil)
		w.breaks(nil)
		w.wantLive(true, s)
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
	inTime(t, "C128 one that is gone when it is renewed is written anew", func(t *testing.T) {
		w := newWorld(t, nil)
		early := w.loginUnderWay()
		for range 2 {
			_, err := w.EndUser(t.Context(), alice, event.ReasonByAdmin)
			w.wantErr(err, nil)
			key := w.key("E:")
			w.once(interleave.Swap, "E:", func() { w.wantErr(w.memory.Delete(t.Context(), key, nil), nil) })
			time.Sleep(time.Second)
		}
		w.wantErr(w.Begin(t.Context(), early), session.ErrLoggedOut)
	})
	inTime(t, "C128 F41 one that cannot be read stays, and refuses every login", func(t *testing.T) {
		w := newWorld(t, nil)
		for range 2 {
			_, err := w.EndUser(t.Context(), alice, event.ReasonByAdmin)
			w.wantErr(err, nil)
			w.change("E:", func([]byte) []byte { return []byte("of a newer version") })
		}
		_, err := w.EndUser(t.Context(), alice, event.ReasonByAdmin)
		w.wantErr(err, nil)
		time.Sleep(time.Second)
		w.wantErr(w.Begin(t.Context(), w.loginUnderWay()), session.ErrLoggedOut)
	})
}

func TestLoginThatBeginsAfterTheOthersEnd(t *testing.T) {
	inTime(t, "C114 it is in the lists all the same, and the next logout ends it", func(t *testing.T) {
		w := newWorld(t, nil)
		s, l := w.login(lifetime), w.loginUnderWay()
		l.Start = time.Now().Add(time.Millisecond)
		w.once(interleave.Create, "s:", func() { // when it is in the lists already
			n, err := w.EndOthers(t.Context(), s, event.ReasonByUser)
			if n != 0 || err != nil {
				t.Errorf("%d sessions are ended, %v", n, err)
			}
		})
		w.wantErr(w.Begin(t.Context(), l), nil)
		w.wantLive(true, s, &l.Session)
		n, err := w.EndUser(t.Context(), alice, event.ReasonByAdmin)
		if n != 2 || err != nil {
			t.Errorf("%d sessions are ended, %v", n, err)
		}
		w.wantLive(false, s, &l.Session)
	})
}

func TestSurplusAndALoginThatIsSlow(t *testing.T) {
	inTime(t, "C114 another login at the limit leaves it in the index, and the next logout ends it", func(t *testing.T) {
		w := newWorld(t, func(l *session.Limits) { l.UserSessions = 1 })
		w.login(lifetime)
		slow := w.loginUnderWay()
		slow.Start = time.Now()
		slow.Identity.Created = time.Now() // OnLogin is asked after that
		time.Sleep(5 * time.Minute)
		other := w.loginUnderWay()
		w.once(interleave.Create, "s:", func() { w.wantErr(w.replica(nil).Begin(t.Context(), other), nil) })
		w.wantErr(w.Begin(t.Context(), slow), nil)
		_, err := w.EndUser(t.Context(), alice, event.ReasonByAdmin)
		w.wantErr(err, nil)
		w.wantLive(false, &slow.Session, &other.Session)
	})
}

func TestLogoutThatLetsLoginsIn(t *testing.T) {
	inTime(t, "C125 a session that is about to begin stays in the index, and the next logout finds it", func(t *testing.T) {
		w := newWorld(t, nil)
		l := w.loginUnderWay()
		w.once(interleave.Create, "s:", func() {
			n, err := w.EndBySID(t.Context(), "", issuer, sid, event.ReasonFrontchannel)
			if n != 0 || err != nil {
				t.Errorf("%d sessions are ended, %v", n, err)
			}
		})
		w.wantErr(w.Begin(t.Context(), l), nil)
		w.wantLive(true, &l.Session)
		n, err := w.EndBySID(t.Context(), "", issuer, sid, event.ReasonFrontchannel)
		if n != 1 || err != nil {
			t.Errorf("%d sessions are ended, %v", n, err)
		}
		w.wantLive(false, &l.Session)
	})
}
