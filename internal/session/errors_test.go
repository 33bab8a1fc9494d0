package session_test

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/oidcgate/oidcgate/internal/claims"
	"github.com/oidcgate/oidcgate/internal/event"
	"github.com/oidcgate/oidcgate/internal/interleave"
	"github.com/oidcgate/oidcgate/internal/session"
)

// fails breaks the calls of an operation whose key has a prefix; the first n of them if n > 0.
func (w *world) fails(op interleave.Op, prefix string, n int64) {
	var failed atomic.Int64
	w.breaks(func(c interleave.Call) error {
		if !c.Is(op, prefix) || failed.Add(1) > n && n > 0 {
			return nil
		}
		return errDown
	})
}

// once calls f before the first call of an operation whose key has a prefix.
func (w *world) once(op interleave.Op, prefix string, f func()) {
	var called atomic.Bool
	w.breaks(func(c interleave.Call) error {
		if c.Is(op, prefix) && called.CompareAndSwap(false, true) {
			f()
		}
		return nil
	})
}

func (w *world) logOutUnread(id session.ID) error {
	_, _, err := w.LogOutUnread(w.Context(), id)
	return err
}

// touched notes that another replica has a request of the session.
func (w *world) touched(s *session.Session) {
	w.Helper()
	if _, err := w.replica(nil).Load(w.Context(), s.ID); err != nil {
		w.Error(err)
	}
}

func TestTheRandomSourceFails(t *testing.T) {
	const nonceLen = 12 // of the AEAD
	errRandom := errors.New("no randomness")
	// broken calls f while the random source fails.
	broken := func(f func()) {
		whole := rand.Reader
		rand.Reader = iotest.ErrReader(errRandom)
		defer func() { rand.Reader = whole }()
		f()
	}
	for _, record := range []string{"identity", "tokens", "summary"} { // in this order
		inTime(t, "F42 no session begins without its "+record, func(t *testing.T) {
			w := newWorld(t, nil)
			l := w.loginUnderWay()
			nonces := map[string]int64{"identity": 0, "tokens": 1, "summary": 2}[record]
			whole := rand.Reader
			rand.Reader = io.MultiReader(io.LimitReader(whole, nonces*nonceLen), iotest.ErrReader(errRandom))
			err := w.Begin(t.Context(), l)
			rand.Reader = whole
			w.wantErr(err, errRandom)
			if keys := w.living(); len(keys) != 0 {
				t.Errorf("left behind: %q", keys)
			}
		})
	}
	inTime(t, "F42 the use of a session is not noted, and it is loaded", func(t *testing.T) {
		w := newWorld(t, nil)
		s := w.login(lifetime)
		time.Sleep(w.config.Limits.Touch)
		broken(func() { w.wantLive(true, s) })
		w.wantTold(event.SessionTouchFailed, "")
	})
	inTime(t, "F42 no values are saved", func(t *testing.T) {
		w := newWorld(t, nil)
		s := w.login(lifetime)
		v := w.values(s)
		broken(func() { w.wantErr(w.SaveValues(t.Context(), s, &v, put("a")), errRandom) })
		if v := w.values(s); v.Current != "" {
			t.Errorf("values %q", v.Current)
		}
	})
	inTime(t, "F42 refreshed tokens that cannot be encrypted are not given out", func(t *testing.T) {
		w := newWorld(t, nil)
		s := w.login(lifetime)
		time.Sleep(isOver)
		whole := rand.Reader
		w.provider.refresh = func(n int) (*session.ProviderTokens, error) {
			rand.Reader = iotest.ErrReader(errRandom)
			return tokens(n), nil
		}
		w.wantNoToken(s, errRandom)
		rand.Reader = whole
		got, err := w.Tokens(t.Context(), s.ID)
		if err != nil || got.RefreshToken != "rt-0" {
			t.Errorf("the store has %v, %v", got, err)
		}
	})
	inTime(t, "F42 an earlier end cannot be saved", func(t *testing.T) {
		w := newWorld(t, nil)
		s := w.login(lifetime)
		w.brings(claims.Object("").With("session_expiry", claims.Int(time.Now().Add(time.Hour).Unix())))
		time.Sleep(isOver)
		whole := rand.Reader
		w.once(interleave.Get, "s:", func() { rand.Reader = iotest.ErrReader(errRandom) })
		_, _ = w.Token(t.Context(), s)
		rand.Reader = whole
		if len(w.told(event.RefreshSucceeded)) != 0 {
			t.Error("the refresh is told to have succeeded")
		}
	})
	inTime(t, "F42 claims that were read again cannot be saved: a refused session stays as it is", func(t *testing.T) {
		w := newWorld(t, rereads)
		s := w.login(lifetime)
		w.provider.refresh = func(n int) (*session.ProviderTokens, error) { return tokens(n), nil }
		whole := rand.Reader
		w.provider.decide = func() error { rand.Reader = iotest.ErrReader(errRandom); return nil }
		time.Sleep(20 * time.Minute)
		_, _ = w.Reread(t.Context(), s)
		rand.Reader = whole
		w.wantTold(event.UserinfoFailed, event.ReasonProviderUnreachable)
		w.provider.decide = func() error { t.Error("the application is asked again at once"); return nil }
		_, _ = w.Reread(t.Context(), s)
		got, err := w.Load(t.Context(), s.ID)
		if err != nil || !got.Identity.Checked.Equal(s.Identity.Checked) {
			t.Errorf("the session is %+v, %v", got, err)
		}
	})
}

func rereads(l *session.Limits) { l.Reread = 20 * time.Minute }

// brings lets the next refreshes bring an ID Token with these claims.
func (w *world) brings(o claims.Object) {
	w.provider.refresh = func(n int) (*session.ProviderTokens, error) {
		answer := tokens(n)
		answer.IDToken = "ID Token"
		return answer, nil
	}
	w.provider.claims = o
}

func TestAnotherWritesTheRecordMeanwhile(t *testing.T) {
	inTime(t, "C105 a session is used while its end is moved: the end is moved", func(t *testing.T) {
		w := newWorld(t, nil)
		s := w.login(lifetime)
		end := time.Now().Add(30 * time.Minute).Truncate(time.Second)
		w.brings(claims.Object("").With("session_expiry", claims.Int(end.Unix())))
		time.Sleep(isOver)
		w.once(interleave.Swap, "s:", func() { w.touched(s) })
		w.wantToken(w.Keeper, s, "at-1")
		got, err := w.Load(t.Context(), s.ID)
		if err != nil || got.Times.Deadline != end.UnixMilli() || got.Times.Seen != time.Now().UnixMilli() {
			t.Errorf("the session is %+v, %v", got, err)
		}
		w.wantTold(event.RefreshSucceeded, "")
	})
	inTime(t, "C086 a session_expiry that is not earlier changes nothing", func(t *testing.T) {
		for _, later := range []time.Duration{0, time.Second, time.Hour} {
			w := newWorld(t, nil)
			s := w.login(lifetime)
			end := time.UnixMilli(s.Times.Deadline).Add(later)
			w.brings(claims.Object("").With("session_expiry", claims.Int(end.Unix())))
			time.Sleep(isOver)
			w.breaks(func(c interleave.Call) error {
				if c.Is(interleave.Swap, "s:") {
					t.Errorf("%v later: the record is written", later)
				}
				return nil
			})
			w.wantToken(w.Keeper, s, "at-1")
		}
	})
	inTime(t, "C113 a session is used while the application decides: the new claims are saved", func(t *testing.T) {
		w := newWorld(t, rereads)
		s := w.login(lifetime)
		group := claims.Object("").With("group", claims.Text("readers"))
		w.provider.userinfo = group
		time.Sleep(20 * time.Minute)
		w.once(interleave.Swap, "s:", func() { w.touched(s) })
		got, err := w.Reread(t.Context(), s)
		w.wantErr(err, nil)
		if got.Identity.Userinfo != group || got.Times.Seen != time.Now().UnixMilli() {
			t.Errorf("the session is %+v", got)
		}
	})
}

func TestErrorsOfAReread(t *testing.T) {
	due := func(t *testing.T) (*world, *session.Session) {
		w := newWorld(t, rereads)
		w.provider.userinfo = claims.Object("").With("group", claims.Text("readers"))
		s := w.login(lifetime)
		w.provider.refresh = func(n int) (*session.ProviderTokens, error) {
			answer := tokens(n)
			answer.Expiry = time.Now().Add(time.Hour)
			return answer, nil
		}
		time.Sleep(15 * time.Minute)
		w.wantToken(w.Keeper, s, "at-1") // its access token is not due for an hour
		time.Sleep(20 * time.Minute)
		return w, s
	}
	inTime(t, "F16 the store cannot say how old the claims are: nobody is asked", func(t *testing.T) {
		w, s := due(t)
		w.fails(interleave.Get, "s:", 1)
		w.provider.decide = func() error { t.Error("the application is asked"); return nil }
		got, err := w.Reread(t.Context(), s)
		w.wantErr(err, session.ErrStore)
		if got != nil {
			t.Errorf("the session %+v", got)
		}
	})
	inTime(t, "C113 another replica has read the claims again: nobody is asked", func(t *testing.T) {
		w, s := due(t)
		w.replica(nil).Reread(t.Context(), s)
		w.provider.decide = func() error { t.Error("the application is asked"); return nil }
		got, err := w.Reread(t.Context(), s)
		if w.wantErr(err, nil); w.Stale(got) {
			t.Error("the claims are stale")
		}
	})
	inTime(t, "F16 the store cannot be read when the claims are saved: they are not", func(t *testing.T) {
		w, s := due(t)
		w.provider.decide = func() error { w.fails(interleave.Swap, "s:", 0); return nil }
		_, err := w.Reread(t.Context(), s)
		w.wantErr(err, session.ErrStore)
		w.wantTold(event.UserinfoFailed)
	})
	inTime(t, "F34 a fault of the application is an error, and not the old claims", func(t *testing.T) {
		w, s := due(t)
		w.provider.decide = func() error { panic("a fault") }
		got, err := w.Reread(t.Context(), s)
		w.wantErr(err, session.ErrProvider)
		if got != nil {
			t.Errorf("the session %+v", got)
		}
	})
	inTime(t, "C113 F32 old claims that the store once refused to replace count again after a refresh that is saved", func(t *testing.T) {
		w, s := due(t)
		w.fails(interleave.Swap, "s:", 0)
		_, err := w.Reread(t.Context(), s)
		w.wantErr(err, session.ErrStore)
		w.breaks(nil)
		s, err = w.Reread(t.Context(), s)
		w.wantErr(err, nil)
		time.Sleep(20 * time.Minute)
		w.provider.decide = func() error { time.Sleep(5 * time.Second); return nil } // longer than a request waits
		got, err := w.Reread(t.Context(), s)
		if w.wantErr(err, nil); got != s {
			t.Errorf("the session %+v", got)
		}
		w.wantErr(w.Wait(t.Context()), nil)
	})
	inTime(t, "C113 what takes longer than two seconds is not waited for", func(t *testing.T) {
		w, s := due(t)
		w.provider.decide = func() error { time.Sleep(time.Minute); return nil }
		begun := time.Now()
		got, err := w.Reread(t.Context(), s)
		w.wantErr(err, nil)
		if took := time.Since(begun); took != 2*time.Second || got != s {
			t.Errorf("after %v: %+v", took, got)
		}
		ctx, leave := context.WithCancel(t.Context())
		leave()
		begun = time.Now()
		s2 := *s
		_, err = w.Reread(ctx, &s2)
		if took := time.Since(begun); took != 0 || err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("after %v: %v", took, err)
		}
		w.wantErr(w.Wait(t.Context()), nil)
	})
	inTime(t, "C113 a browser that leaves does not wait", func(t *testing.T) {
		w, s := due(t)
		w.provider.decide = func() error { time.Sleep(time.Second); return nil }
		ctx, leave := context.WithCancel(t.Context())
		leave()
		_, err := w.Reread(ctx, s)
		w.wantErr(err, context.Canceled)
		w.wantErr(w.Wait(t.Context()), nil)
	})
	inTime(t, "F32 tokens that cannot be saved: the old claims may not count", func(t *testing.T) {
		w := newWorld(t, rereads)
		s := w.login(lifetime)
		time.Sleep(20 * time.Minute)
		w.fails(interleave.Swap, "t:", 0)
		_, err := w.Reread(t.Context(), s)
		w.wantErr(err, session.ErrStore)
		w.wantErr(w.Wait(t.Context()), nil)
	})
	inTime(t, "C113 userinfo refuses the access token: the session ends, unless Limits say otherwise", func(t *testing.T) {
		for _, keep := range []bool{false, true} {
			w := newWorld(t, func(l *session.Limits) { rereads(l); l.KeepRefused = keep })
			s := w.login(lifetime)
			w.provider.noUserinfo = failure(session.TokenRefused, event.ReasonUserinfoRefused)
			time.Sleep(20 * time.Minute)
			_, err := w.Reread(t.Context(), s)
			want := session.ErrGone
			if keep {
				want = nil
			}
			w.wantErr(err, want)
			w.wantTold(event.UserinfoFailed, event.ReasonUserinfoRefused)
		}
	})
	inTime(t, "C113 no answer of userinfo: the old claims stay, and there is a pause", func(t *testing.T) {
		w, s := due(t)
		w.provider.noUserinfo = failure(session.NoAnswer, event.ReasonUserinfoError)
		for range 3 {
			got, err := w.Reread(t.Context(), s)
			w.wantErr(err, nil)
			if got.Identity.Userinfo == "" {
				t.Error("the claims are gone")
			}
			s = got
		}
		w.wantTold(event.UserinfoFailed, event.ReasonUserinfoError)
	})
	inTime(t, "C108 F14 the pause of a replica whose clock is ahead is believed for two seconds", func(t *testing.T) {
		w := newWorld(t, nil)
		s := w.login(lifetime)
		time.Sleep(isOver)
		ahead := fmt.Sprint("paused ", time.Now().Add(41*time.Second).UnixMilli())
		w.wantErr(w.memory.Create(t.Context(), "l:"+string(w.Handle(s.ID)), []byte(ahead), time.Second), nil)
		w.wantNoToken(s, session.ErrProvider)
		time.Sleep(2 * time.Second)
		w.wantToken(w.Keeper, s, "at-1")
	})
	inTime(t, "C108 while it pauses, requests do not ask the store whether it does", func(t *testing.T) {
		w, s := due(t)
		w.provider.noUserinfo = failure(session.NoAnswer, event.ReasonUserinfoError)
		calls := 0
		w.broken = func(interleave.Call) error { calls++; return nil }
		for _, k := range []*session.Keeper{w.Keeper, w.replica(nil)} { // the second finds the pause of the first
			_, err := k.Reread(t.Context(), s)
			w.wantErr(err, nil)
			calls = 0
			for range 10 {
				_, err := k.Reread(t.Context(), s)
				w.wantErr(err, nil)
			}
			_, err = k.Token(t.Context(), s)
			w.wantErr(err, nil)
			if calls != 1 { // that read the tokens
				t.Errorf("ten requests and a token cost %d operations", calls)
			}
		}
		w.breaks(nil)
		w.provider.noUserinfo = nil
		time.Sleep(40 * time.Second)
		got, err := w.Reread(t.Context(), s)
		w.wantErr(err, nil)
		if w.Stale(got) {
			t.Error("the claims are due when the pause is over")
		}
	})
	inTime(t, "C075 userinfo about another ends the session", func(t *testing.T) {
		w, s := due(t)
		w.provider.noUserinfo = failure(session.Rejected, event.ReasonUserinfoSubject)
		_, err := w.Reread(t.Context(), s)
		w.wantErr(err, session.ErrGone)
		w.wantTold(event.RefreshFailed, event.ReasonClaims)
		w.wantTold(event.UserinfoFailed)
	})
	inTime(t, "C113 where nobody says anything new, an event says so", func(t *testing.T) {
		w, s := due(t)
		w.provider.userinfoOff = true
		_, err := w.Reread(t.Context(), s)
		w.wantErr(err, nil)
		w.wantTold(event.RereadFailed, event.ReasonNoNews)
	})
	inTime(t, "C113 F32 while the store cannot end the session of a user who is refused, its tokens stay", func(t *testing.T) {
		w, s := due(t)
		w.provider.decide = func() error { return failure(session.Rejected, "") }
		w.fails(interleave.Delete, "s:", 0)
		_, err := w.Reread(t.Context(), s)
		w.wantErr(err, session.ErrStore)
		w.wantRevoked()
	})
	inTime(t, "C113 a client that the provider refuses is told by the refresh alone", func(t *testing.T) {
		w, s := due(t)
		w.provider.userinfoOff = true
		w.provider.refresh = func(int) (*session.ProviderTokens, error) {
			return nil, failure(session.ClientRefused, event.ReasonTokenEndpointError)
		}
		_, err := w.Reread(t.Context(), s)
		w.wantErr(err, nil)
		w.wantTold(event.RefreshFailed, event.ReasonTokenEndpointError)
		w.wantTold(event.RereadFailed)
	})
	for kind, hints := range map[session.FailureKind]bool{session.Unreadable: true, session.Unusable: false} {
		for _, keep := range []bool{false, true} {
			inTime(t, fmt.Sprintf("C113 a hint says what the loss of userinfo (%v) leads to, where claims are lost: %v", kind, !keep), func(t *testing.T) {
				w := newWorld(t, func(l *session.Limits) { rereads(l); l.KeepRefused = keep })
				s := w.login(lifetime)
				w.provider.noUserinfo = failure(kind, event.ReasonUserinfoError)
				time.Sleep(20 * time.Minute)
				_, err := w.Reread(t.Context(), s)
				w.wantErr(err, nil)
				w.mu.Lock()
				defer w.mu.Unlock()
				for _, e := range w.events {
					if e.Type == event.UserinfoFailed && (e.Hint != "") != (hints && !keep) {
						t.Errorf("the hint is %q", e.Hint)
					}
				}
			})
		}
	}
}

// A refresh reads claims again that are not due. Its refusal holds all the same.
func TestRefusalThatTheStoreRefuses(t *testing.T) {
	for name, refuse := range map[string]func(*world){
		"C113 the application denies the user": func(w *world) {
			w.provider.decide = func() error { return failure(session.Rejected, "") }
		},
		"C113 userinfo refuses the fresh token": func(w *world) {
			w.provider.noUserinfo = failure(session.TokenRefused, "")
		},
		"C084 the refresh token is withdrawn": func(w *world) {
			w.provider.refresh = func(int) (*session.ProviderTokens, error) { return nil, failure(session.InvalidGrant, "") }
		},
		"C081 the new tokens are another user's": func(w *world) {
			w.brings(claims.Object("").With("sub", claims.Text("bob")))
			w.provider.verify = func() error { return failure(session.Rejected, "") }
		},
	} {
		begin := func(t *testing.T) (*world, *session.Session) {
			w := newWorld(t, func(l *session.Limits) { l.Reread = time.Hour })
			s := w.login(lifetime)
			time.Sleep(isOver)
			refuse(w)
			return w, s
		}
		inTime(t, name+", and the store fails once", func(t *testing.T) {
			w, s := begin(t)
			w.fails(interleave.Delete, "s:", 1)
			w.wantNoToken(s, session.ErrGone)
			w.wantLive(false, s)
		})
		inTime(t, name+", and the store fails for one visitor while others are refreshed", func(t *testing.T) {
			w, s := begin(t)
			w.fails(interleave.Delete, "s:", 0)
			go func() { _, _ = w.Token(t.Context(), s) }()
			time.Sleep(time.Millisecond)
			synctest.Wait()
			w.provider.decide, w.provider.noUserinfo, w.provider.refresh, w.provider.verify = nil, nil, nil, nil
			w.wantErr(w.Renew(t.Context(), w.loginAt("another", 7)), nil)
			time.Sleep(time.Millisecond)
			if !w.Stale(s) {
				t.Error("a guard would let the visitor in")
			}
			w.breaks(nil)
		})
		inTime(t, name+", and the store fails for long: nobody gets anything meanwhile", func(t *testing.T) {
			w, s := begin(t)
			w.fails(interleave.Delete, "s:", 0)
			for range 3 {
				w.wantNoToken(s, session.ErrStore)
				if !w.Stale(s) {
					t.Error("a guard would let the visitor in")
				}
				_, err := w.Reread(t.Context(), s)
				w.wantErr(err, session.ErrStore)
				time.Sleep(20 * time.Second)
			}
			for _, prefix := range []string{"s:", "t:"} {
				w.fails(interleave.Get, prefix, 0)
				_, err := w.Reread(t.Context(), s)
				w.wantErr(err, session.ErrStore)
			}
			w.breaks(nil)
			_, err := w.Reread(t.Context(), s)
			w.wantErr(err, session.ErrGone)
			w.wantLive(false, s)
			w.wantTold(event.RefreshReuseSuspected)
		})
	}
	inTime(t, "C113 claims that the store could not save are read again by the next guard", func(t *testing.T) {
		w := newWorld(t, func(l *session.Limits) { l.Reread = time.Hour })
		s := w.login(lifetime)
		time.Sleep(isOver)
		w.provider.userinfo = claims.Object("").With("group", claims.Text("readers"))
		w.fails(interleave.Swap, "s:", 0)
		w.wantToken(w.Keeper, s, "at-1")
		w.breaks(nil)
		if !w.Stale(s) {
			t.Error("the old claims count")
		}
		got, err := w.Reread(t.Context(), s)
		w.wantErr(err, nil)
		if got.Identity.Userinfo == "" || w.Stale(got) {
			t.Errorf("session %v", got)
		}
		w.wantSpent("rt-0")
	})
	inTime(t, "C113 while the store takes no claims, requests ask userinfo and the application once a second", func(t *testing.T) {
		w := newWorld(t, func(l *session.Limits) { l.Reread = 10 * time.Minute })
		s := w.login(lifetime)
		time.Sleep(10 * time.Minute)
		asked := 0
		w.provider.onUserinfo = func() { asked++ }
		w.fails(interleave.Swap, "s:", 0)
		for range 100 {
			_, err := w.Reread(t.Context(), s)
			w.wantErr(err, session.ErrStore)
			time.Sleep(50 * time.Millisecond)
		}
		if asked < 3 || asked > 7 {
			t.Errorf("in five seconds they asked %d times", asked)
		}
		w.breaks(nil)
		time.Sleep(2 * time.Second)
		_, err := w.Reread(t.Context(), s)
		w.wantErr(err, nil)
	})
	inTime(t, "C113 F40 an application that takes long to decide is no trouble of the store", func(t *testing.T) {
		w := newWorld(t, func(l *session.Limits) { l.Reread = 10 * time.Minute })
		s := w.login(lifetime)
		time.Sleep(10 * time.Minute)
		asked := 0
		w.provider.decide = func() error {
			asked++
			_, err := w.Load(t.Context(), s.ID) // another request, which notes the use of the session
			w.wantErr(err, nil)
			time.Sleep(25 * time.Second)
			return nil
		}
		_, err := w.Reread(t.Context(), s)
		w.wantErr(err, nil)
		w.wantErr(w.Wait(t.Context()), nil)
		w.wantTold(event.StoreUnavailable)
		got, err := w.Load(t.Context(), s.ID)
		w.wantErr(err, nil)
		if w.Stale(got) || asked != 1 {
			t.Errorf("the claims are due: %v, and the application was asked %d times", w.Stale(got), asked)
		}
	})
	inTime(t, "C113 F34 they are read again also after a refresh that panics", func(t *testing.T) {
		w := newWorld(t, func(l *session.Limits) { l.Reread = time.Hour })
		s := w.login(lifetime)
		time.Sleep(isOver)
		w.provider.userinfo = claims.Object("").With("group", claims.Text("readers"))
		w.fails(interleave.Swap, "s:", 0)
		w.wantToken(w.Keeper, s, "at-1")
		w.breaks(nil)
		w.provider.decide = func() error { panic("a fault") }
		_, err := w.Reread(t.Context(), s)
		w.wantErr(err, session.ErrProvider)
		if !w.Stale(s) {
			t.Error("the old claims count")
		}
	})
	for name, then := range map[string]func(*world, *session.Session){
		"the provider is away by then": func(w *world, _ *session.Session) {
			time.Sleep(isOver)
			w.provider.refresh = func(int) (*session.ProviderTokens, error) { return nil, failure(session.NoAnswer, "") }
		},
		"the provider refuses the client by then": func(w *world, _ *session.Session) {
			time.Sleep(isOver)
			w.provider.refresh = func(int) (*session.ProviderTokens, error) { return nil, failure(session.ClientRefused, "") }
		},
		"the application gives no answer in between": func(w *world, s *session.Session) {
			w.provider.decide = func() error { return errDown }
			for range 3 {
				_, err := w.Reread(w.Context(), s)
				w.wantErr(err, session.ErrStore)
				time.Sleep(time.Minute)
			}
			w.provider.decide = nil
		},
	} {
		inTime(t, "C113 claims that the store refused count as soon as it takes them, though "+name, func(t *testing.T) {
			w := newWorld(t, func(l *session.Limits) { l.Reread = 5 * time.Hour })
			w.provider.userinfoOff = true
			s := w.login(lifetime)
			w.provider.claims = s.Identity.IDToken.With("group", claims.Text("readers"))
			w.provider.refresh = func(n int) (*session.ProviderTokens, error) {
				answer := tokens(n)
				answer.IDToken = "e30." + base64.RawURLEncoding.EncodeToString(w.provider.claims.AppendJSON(nil)) + ".c2ln"
				return answer, nil
			}
			time.Sleep(isOver)
			w.fails(interleave.Swap, "s:", 0)
			w.wantToken(w.Keeper, s, "at-1")
			w.breaks(nil)
			then(w, s)
			if !w.Stale(s) {
				t.Error("a guard does not look")
			}
			got, err := w.Reread(t.Context(), s)
			w.wantErr(err, nil)
			if _, ok := got.Identity.Claim("group"); !ok {
				t.Error("the old claims count")
			}
		})
	}
	for name, fail := range map[string]func(calls int) error{
		"once": func(calls int) error {
			if calls > 1 {
				return nil
			}
			return errDown
		},
		"for long": func(int) error { return errDown },
	} {
		inTime(t, "C113 C127 what the store does not delete "+name+" gives no tokens to a request under way", func(t *testing.T) {
			w := newWorld(t, func(l *session.Limits) { l.Reread = time.Hour })
			s := w.login(lifetime)
			time.Sleep(isOver)
			w.provider.decide = func() error { return failure(session.Rejected, "") }
			calls := 0
			w.breaks(func(c interleave.Call) error {
				if !c.Is(interleave.Delete, "t:") {
					return nil
				}
				calls++
				return fail(calls)
			})
			_, err := w.Token(t.Context(), s)
			if err == nil {
				t.Error("a token of a session that has to end")
			}
			w.wantErr(w.Wait(t.Context()), nil)
			w.breaks(nil)
			for range 3 {
				w.wantNoToken(s, session.ErrGone)
			}
			w.wantTold(event.SessionRevoked, event.ReasonByToken)
		})
	}
	inTime(t, "C113 F34 a Deny is not forgotten when the store panics", func(t *testing.T) {
		w := newWorld(t, func(l *session.Limits) { l.Reread = time.Hour })
		s := w.login(lifetime)
		time.Sleep(isOver)
		w.provider.decide = func() error { return failure(session.Rejected, "") }
		w.once(interleave.Delete, "s:", func() { panic("a fault") })
		w.wantNoToken(s, session.ErrProvider)
		w.provider.decide = nil
		_, err := w.Reread(t.Context(), s)
		w.wantErr(err, session.ErrGone)
	})
	inTime(t, "C113 F16 a store that is away for a second keeps no other replica at the old claims", func(t *testing.T) {
		w := newWorld(t, rereads)
		s := w.login(lifetime)
		w.provider.userinfo = claims.Object("").With("group", claims.Text("readers"))
		time.Sleep(20 * time.Minute)
		var away time.Time
		w.breaks(func(c interleave.Call) error {
			if away.IsZero() && c.Is(interleave.Swap, "s:") {
				away = time.Now()
			}
			if !away.IsZero() && time.Since(away) < time.Second {
				return errDown
			}
			return nil
		})
		_, err := w.Reread(t.Context(), s)
		w.wantErr(err, session.ErrStore)
		got, err := w.replica(nil).Reread(t.Context(), s)
		w.wantErr(err, nil)
		if err == nil && got.Identity.Userinfo == "" {
			t.Error("the old claims count")
		}
	})
	for name, reread := range map[string]time.Duration{"": 0, ", with ClaimsMaxAge": time.Hour} {
		for _, op := range []interleave.Op{interleave.Create, interleave.Swap} {
			inTime(t, fmt.Sprintf("F18 a store that only reads (no %s)%s takes nothing from pages while a token is due", op, name), func(t *testing.T) {
				w := newWorld(t, func(l *session.Limits) { l.Reread = reread })
				s := w.login(lifetime)
				time.Sleep(isOver)
				w.fails(op, "", 0)
				w.wantNoToken(s, session.ErrStore)
				spent := len(w.provider.spent)
				if w.Stale(s) {
					t.Error("guards answer 503")
				}
				w.wantErr(w.Wait(t.Context()), nil)
				if w.Stale(s) || len(w.provider.spent) != spent {
					t.Error("guards answer 503, or spend the refresh token")
				}
			})
		}
	}
	inTime(t, "C113 a session without a refresh token sends none when its re-read is tried again", func(t *testing.T) {
		w := newWorld(t, rereads)
		l := w.loginUnderWay()
		l.Tokens.RefreshToken, l.Tokens.Expiry = "", time.Now().Add(lifetime)
		w.wantErr(w.Begin(t.Context(), l), nil)
		s := &l.Session
		w.provider.userinfo = claims.Object("").With("group", claims.Text("readers"))
		time.Sleep(20 * time.Minute)
		w.breaks(func(c interleave.Call) error {
			if !c.Is(interleave.Swap, "s:") {
				return nil
			}
			w.breaks(nil)
			return errors.Join(c.On(t.Context(), &w.memory).Err, errDown) // the reply is lost
		})
		_, err := w.Reread(t.Context(), s)
		w.wantErr(err, session.ErrStore)
		w.breaks(nil)
		w.provider.noUserinfo = failure(session.TokenRefused, "")
		s, err = w.Load(t.Context(), s.ID)
		w.wantErr(err, nil)
		_, err = w.Reread(t.Context(), s)
		w.wantErr(err, session.ErrGone)
		w.wantSpent()
	})
	inTime(t, "C113 F16 a Deny holds for who waits while the lock cannot be given back", func(t *testing.T) {
		w := newWorld(t, rereads)
		s := w.login(lifetime)
		time.Sleep(20 * time.Minute)
		w.provider.decide = func() error {
			w.breaks(func(interleave.Call) error { return errDown })
			return failure(session.Rejected, "")
		}
		_, err := w.Reread(t.Context(), s)
		w.wantErr(err, session.ErrStore)
	})
	inTime(t, "C113 a refusal holds when nobody answers the next time", func(t *testing.T) {
		w := newWorld(t, func(l *session.Limits) { l.Reread = time.Hour })
		s := w.login(lifetime)
		time.Sleep(isOver)
		w.provider.decide = func() error { return failure(session.Rejected, "") }
		w.fails(interleave.Delete, "s:", 0)
		w.wantNoToken(s, session.ErrStore)
		w.wantErr(w.Wait(t.Context()), nil)
		w.breaks(nil)
		w.provider.decide = func() error { return errDown }
		w.provider.noUserinfo = failure(session.NoAnswer, "")
		_, err := w.Reread(t.Context(), s)
		w.wantErr(err, session.ErrGone)
		w.wantRevoked("rt-1")
	})
	inTime(t, "C113 what another replica has learnt since then counts", func(t *testing.T) {
		w := newWorld(t, rereads)
		s := w.login(lifetime)
		time.Sleep(20 * time.Minute)
		w.provider.decide = func() error { return failure(session.Rejected, "") }
		w.fails(interleave.Delete, "s:", 0)
		_, err := w.Reread(t.Context(), s)
		w.wantErr(err, session.ErrStore)
		w.wantErr(w.Wait(t.Context()), nil)
		w.breaks(nil)
		w.provider.decide = nil
		time.Sleep(20 * time.Minute)
		w.touched(s)
		_, err = w.replica(nil).Reread(t.Context(), s)
		w.wantErr(err, nil)
		time.Sleep(20 * time.Minute)
		s, err = w.Reread(t.Context(), s)
		w.wantErr(err, nil)
		if err == nil && w.Stale(s) {
			t.Error("guards still look again")
		}
	})
	for name, meanwhile := range map[string]func(*world, *session.Session){
		"another replica has only refreshed the tokens": func(w *world, s *session.Session) {
			time.Sleep(isOver)
			_, _ = w.replica(nil).Token(w.Context(), s)
		},
		"claims were read by a clock that is ahead": func(w *world, s *session.Session) {
			time.Sleep(50 * time.Second)
			w.provider.decide = nil
			w.touched(s)
			w.wantErr(w.replica(nil).Renew(w.Context(), s), nil)
			w.provider.decide = func() error { return errDown }
		},
	} {
		inTime(t, "C113 a Deny holds, though "+name, func(t *testing.T) {
			w := newWorld(t, func(l *session.Limits) { l.Reread = time.Hour })
			s := w.login(lifetime)
			time.Sleep(isOver)
			w.provider.decide = func() error { return failure(session.Rejected, "") }
			w.fails(interleave.Delete, "s:", 0)
			w.wantNoToken(s, session.ErrStore)
			w.wantErr(w.Wait(t.Context()), nil)
			w.breaks(nil)
			w.provider.decide = func() error { return errDown }
			meanwhile(w, s)
			w.wantNoToken(s, session.ErrGone)
			w.wantLive(false, s)
		})
	}
	inTime(t, "C113 F16 a store that is away for longer than the lock is tried to be given back", func(t *testing.T) {
		for _, away := range []time.Duration{5 * time.Second, 12 * time.Second, 14 * time.Second} {
			for _, denies := range []bool{false, true} {
				w := newWorld(t, func(l *session.Limits) { l.Reread = time.Hour })
				s := w.login(lifetime)
				time.Sleep(isOver)
				w.provider.userinfo = claims.Object("").With("group", claims.Text("readers"))
				w.provider.decide = func() error {
					w.breaks(func(interleave.Call) error { return errDown })
					time.AfterFunc(away, func() { w.breaks(nil) })
					w.provider.decide = nil
					if denies {
						return failure(session.Rejected, "")
					}
					return nil
				}
				_, err := w.Token(t.Context(), s)
				w.wantErr(w.Wait(t.Context()), nil)
				time.Sleep(away)
				for range 3 {
					var got *session.Session
					if got, err = w.Load(t.Context(), s.ID); err == nil && w.Stale(got) {
						got, err = w.Reread(t.Context(), got)
					}
					if err == nil && got.Identity.Userinfo == "" {
						t.Errorf("away for %v, denied: %v: the old claims count", away, denies)
					}
					time.Sleep(10 * time.Second)
				}
				if gone := errors.Is(err, session.ErrGone); gone != denies {
					t.Errorf("away for %v, denied: %v: %v", away, denies, err)
				}
			}
		}
	})
}

func TestRefusalIsNotCrowdedOut(t *testing.T) {
	inTime(t, "C113 F40 a refusal stays while thousands of tokens cannot be saved", func(t *testing.T) {
		w := newWorld(t, rereads)
		s := w.login(lifetime)
		time.Sleep(20 * time.Minute)
		w.provider.decide = func() error { return failure(session.Rejected, "") }
		w.fails(interleave.Delete, "s:", 0)
		_, err := w.Reread(t.Context(), s)
		w.wantErr(err, session.ErrStore)
		w.wantErr(w.Wait(t.Context()), nil)
		w.fails(interleave.Get, "t:", 0)
		for range 2 * 4096 {
			_, err := w.Reread(t.Context(), &session.Session{ID: newID()})
			w.wantErr(err, session.ErrStore)
		}
		s.Identity.Checked = time.Now()
		if !w.Stale(s) {
			t.Error("the refusal is forgotten")
		}
	})
}

func TestManySessionsThatTheStoreRefuses(t *testing.T) {
	inTime(t, "F40 4,096 of them are remembered", func(t *testing.T) {
		const kept = 4096
		w := newWorld(t, rereads)
		all := make([]*session.Session, kept+1)
		w.fails(interleave.Get, "t:", 0)
		for n := range all {
			all[n] = &session.Session{ID: newID()}
			_, err := w.Reread(t.Context(), all[n])
			w.wantErr(err, session.ErrStore)
		}
		w.breaks(func(interleave.Call) error { time.Sleep(5 * time.Second); return nil }) // longer than a request waits
		var refused atomic.Int64
		for _, s := range all {
			go func() {
				if _, err := w.Reread(t.Context(), s); errors.Is(err, session.ErrStore) {
					refused.Add(1)
				}
			}()
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if n := refused.Load(); n != kept {
			t.Errorf("%d are remembered", n)
		}
		w.wantErr(w.Wait(t.Context()), nil)
	})
}

func TestErrorsOfARefresh(t *testing.T) {
	inTime(t, "C082 another refresh that does not end is not waited for for ever", func(t *testing.T) {
		w := newWorld(t, nil)
		s := w.login(lifetime)
		key := "l:" + string(w.Handle(s.ID))
		w.wantErr(w.memory.Create(t.Context(), key, []byte("another replica"), time.Hour), nil)
		time.Sleep(isOver)
		begun := time.Now()
		w.breaks(func(c interleave.Call) error {
			if c.Is(interleave.Swap, "l:") {
				t.Error("it is written to the lock of another")
			}
			return nil
		})
		w.wantNoToken(s, session.ErrProvider)
		if took := time.Since(begun); took != 40*time.Second {
			t.Errorf("after %v", took)
		}
		w.wantSpent()
	})
	inTime(t, "C084 a provider that cannot be reached is told, and there is a pause", func(t *testing.T) {
		w := newWorld(t, nil)
		s := w.login(lifetime)
		reached := 0
		w.provider.reach = func() error {
			reached++
			return failure(session.NoAnswer, event.ReasonMetadataInvalid)
		}
		time.Sleep(isOver)
		w.wantNoToken(s, session.ErrProvider)
		w.wantNoToken(s, session.ErrProvider)
		w.wantTold(event.RefreshFailed, event.ReasonMetadataInvalid)
		if reached != 1 {
			t.Errorf("it was asked %d times", reached)
		}
	})
	inTime(t, "C085 a hint stands beside a refusal without a reason, and no other failure", func(t *testing.T) {
		for _, kind := range []session.FailureKind{session.NoAnswer, session.NotRotated, session.Refused} {
			w := newWorld(t, nil)
			s := w.login(lifetime)
			w.provider.refresh = func(int) (*session.ProviderTokens, error) { return nil, failure(kind, "") }
			time.Sleep(isOver)
			w.wantNoToken(s, session.ErrProvider)
			w.wantTold(event.RefreshFailed, "reason")
			for _, e := range w.events {
				if hint := strings.Contains(e.Hint, "EndWithAccessToken"); e.Type == event.RefreshFailed && hint != (kind == session.Refused) {
					t.Errorf("kind %d has the hint %q", kind, e.Hint)
				}
			}
		}
	})
	inTime(t, "C085 refusals without a reason end the session a minute after the first, if asked to", func(t *testing.T) {
		for _, tt := range []struct {
			ends  bool
			kind  session.FailureKind
			first time.Duration // how long after the login the provider refuses first
			again time.Duration // how long after that
			want  error
		}{
			{true, session.Refused, isOver, time.Minute, session.ErrGone},
			{true, session.Refused, isOver, time.Minute - time.Millisecond, session.ErrProvider},
			{true, session.Refused, lifetime / 2, time.Minute - time.Millisecond, session.ErrProvider},
			{true, session.Refused, lifetime / 2, time.Minute, session.ErrGone},
			{true, session.NoAnswer, isOver, time.Minute, session.ErrProvider},
			{false, session.Refused, isOver, time.Minute, session.ErrProvider},
		} {
			w := newWorld(t, func(l *session.Limits) { l.EndWithAccessToken, l.Idle = tt.ends, lifetime })
			s := w.login(lifetime)
			w.provider.refresh = func(int) (*session.ProviderTokens, error) { return nil, failure(tt.kind, "") }
			time.Sleep(tt.first)
			w.wantNoToken(s, session.ErrProvider)
			w.wantLive(true, s)
			time.Sleep(tt.again)
			w.wantNoToken(s, tt.want)
			w.wantTold(event.RefreshFailed, "reason", "reason")
			w.wantLive(tt.want != session.ErrGone, s)
		}
	})
	inTime(t, "C085 a refresh between two refusals begins the minute anew", func(t *testing.T) {
		w := newWorld(t, func(l *session.Limits) { l.EndWithAccessToken, l.Idle = true, lifetime })
		s := w.login(lifetime)
		refuses := func(int) (*session.ProviderTokens, error) { return nil, failure(session.Refused, "") }
		w.provider.refresh = refuses
		time.Sleep(isOver)
		w.wantNoToken(s, session.ErrProvider)
		time.Sleep(time.Minute)
		w.provider.refresh = nil
		w.wantToken(w.Keeper, s, "at-2")
		w.provider.refresh = refuses
		time.Sleep(isOver)
		w.wantNoToken(s, session.ErrProvider)
		w.wantLive(true, s)
	})
	inTime(t, "C085 refusals while the access token is good end nothing", func(t *testing.T) {
		w := newWorld(t, func(l *session.Limits) { l.EndWithAccessToken = true })
		s := w.login(lifetime)
		w.provider.refresh = func(int) (*session.ProviderTokens, error) { return nil, failure(session.Refused, "") }
		for range 2 {
			w.wantErr(w.Renew(t.Context(), s), session.ErrProvider)
			time.Sleep(2 * time.Minute)
		}
		w.wantLive(true, s)
	})
	inTime(t, "C085 F32 a refusal that cannot be noted is noted the next time", func(t *testing.T) {
		w := newWorld(t, func(l *session.Limits) { l.EndWithAccessToken = true })
		s := w.login(lifetime)
		w.provider.refresh = func(int) (*session.ProviderTokens, error) { return nil, failure(session.Refused, "") }
		time.Sleep(isOver)
		w.fails(interleave.Swap, "t:", 0)
		w.wantNoToken(s, session.ErrProvider)
		w.broken = nil
		for range 2 {
			time.Sleep(2 * time.Minute)
			w.wantLive(true, s)
			_, _ = w.Token(t.Context(), s)
		}
		w.wantLive(false, s)
	})
	inTime(t, "F32 a session that cannot be ended is an error of the store, and is ended later", func(t *testing.T) {
		w := newWorld(t, nil)
		s := w.login(lifetime)
		w.provider.refresh = func(int) (*session.ProviderTokens, error) {
			return nil, failure(session.InvalidGrant, "")
		}
		time.Sleep(isOver)
		w.fails(interleave.Delete, "", 0)
		w.wantNoToken(s, session.ErrStore)
		w.breaks(nil)
		w.wantLive(true, s)
		time.Sleep(time.Minute)
		w.wantNoToken(s, session.ErrGone)
		w.wantLive(false, s)
	})
	inTime(t, "F32 a refresh token that is kept for want of keys and cannot be saved is an error", func(t *testing.T) {
		w := newWorld(t, nil)
		s := w.login(lifetime)
		w.brings("")
		w.provider.verify = func() error { return failure(session.NotVerifiable, "") }
		time.Sleep(isOver)
		w.fails(interleave.Swap, "t:", 0)
		w.wantNoToken(s, session.ErrStore)
	})
	inTime(t, "F32 the tokens of another replica that cannot be read are an error", func(t *testing.T) {
		w := newWorld(t, nil)
		s := w.login(lifetime)
		other := w.replica(nil)
		w.provider.refresh = func(n int) (*session.ProviderTokens, error) {
			if n == 1 {
				w.loseLock()
				w.wantToken(other, s, "at-2")
				w.fails(interleave.Get, "t:", 0)
			}
			return tokens(n), nil
		}
		time.Sleep(isOver)
		w.wantNoToken(s, session.ErrStore)
	})
	inTime(t, "C081 a refreshed ID Token with the sid of a session that was logged out ends this one", func(t *testing.T) {
		w := newWorld(t, nil)
		s := w.login(lifetime)
		w.brings(claims.Object("").With("sid", claims.Text("another")))
		_, err := w.EndProviderSession(t.Context(), issuer, "another", "")
		w.wantErr(err, nil)
		time.Sleep(isOver)
		w.wantErr(w.begin(), nil) // the tombstone of the sid is still there for this
		_, err = w.EndProviderSession(t.Context(), issuer, "another", "")
		w.wantErr(err, nil)
		w.wantNoToken(s, session.ErrGone)
		w.wantRevoked("rt-1")
		w.wantLive(false, s)
	})
	inTime(t, "C125 after a refresh with another sid, a logout by either ends the session", func(t *testing.T) {
		for _, by := range []string{sid, "another"} {
			w := newWorld(t, nil)
			s := w.login(lifetime)
			w.brings(claims.Object("").With("sid", claims.Text("another")))
			time.Sleep(isOver)
			w.wantToken(w.Keeper, s, "at-1")
			n, err := w.EndBySID(t.Context(), "", issuer, by, "")
			if n != 1 || err != nil {
				t.Errorf("by %q: %d sessions ended, %v", by, n, err)
			}
		}
	})
	inTime(t, "C080 the same sid again, or none, writes nothing", func(t *testing.T) {
		for _, o := range []claims.Object{"", claims.Object("").With("sid", claims.Text(sid))} {
			w := newWorld(t, nil)
			s := w.login(lifetime)
			w.brings(o)
			time.Sleep(isOver)
			w.breaks(func(c interleave.Call) error {
				if c.Op == interleave.Add {
					t.Errorf("%s is written", c.Key)
				}
				return nil
			})
			w.wantToken(w.Keeper, s, "at-1")
		}
	})
	inTime(t, "C105 tokens that are due, and the session is gone", func(t *testing.T) {
		w := newWorld(t, nil)
		s := w.login(lifetime)
		w.wantErr(w.End(t.Context(), s.ID), nil)
		w.wantNoToken(s, session.ErrGone)
		w.wantSpent()
	})
}

func TestErrorsOfValues(t *testing.T) {
	inTime(t, "F16 the store cannot say whether the session was ended: the values stay, and it is an error", func(t *testing.T) {
		w := newWorld(t, nil)
		s := w.login(lifetime)
		v := w.values(s)
		w.fails(interleave.Get, "s:", 0)
		err := w.SaveValues(t.Context(), s, &v, put("a"))
		w.wantErr(err, session.ErrStore)
		if errors.Is(err, session.ErrGone) {
			t.Errorf("the error %v", err)
		}
		w.breaks(nil)
		if _, ok := w.values(s).Current.Get("a"); !ok {
			t.Error("the values are deleted")
		}
	})
	inTime(t, "C107 values whose record is lost meanwhile are not made up for", func(t *testing.T) {
		w := newWorld(t, nil)
		s := w.login(lifetime)
		v := w.values(s)
		w.wantErr(w.SaveValues(t.Context(), s, &v, put("a")), nil)
		key := w.key("v:")
		w.once(interleave.Swap, "v:", func() { w.wantErr(w.memory.Delete(t.Context(), key, nil), nil) })
		w.wantErr(w.SaveValues(t.Context(), s, &v, put("b")), session.ErrGone)
		w.wantErr(w.SaveValues(t.Context(), s, &v, put("b")), session.ErrGone) // nor by the next save of this request
		if v := w.values(s); v.Current != "" {
			t.Errorf("values %q", v.Current)
		}
	})
	inTime(t, "F16 a store that refuses the values is an error", func(t *testing.T) {
		for _, op := range []interleave.Op{interleave.Create, interleave.Swap} {
			w := newWorld(t, nil)
			s := w.login(lifetime)
			v := w.values(s)
			if op == interleave.Swap {
				w.wantErr(w.SaveValues(t.Context(), s, &v, put("a")), nil)
			}
			w.fails(op, "v:", 0)
			w.wantErr(w.SaveValues(t.Context(), s, &v, put("b")), session.ErrStore)
		}
	})
	inTime(t, "F16 values that changed meanwhile cannot be read again", func(t *testing.T) {
		w := newWorld(t, nil)
		s := w.login(lifetime)
		v, other := w.values(s), w.values(s)
		w.wantErr(w.SaveValues(t.Context(), s, &other, put("a")), nil)
		w.fails(interleave.Get, "v:", 0)
		w.wantErr(w.SaveValues(t.Context(), s, &v, put("b")), session.ErrStore)
	})
	inTime(t, "C106 values that change without end are an error after three seconds", func(t *testing.T) {
		w := newWorld(t, nil)
		s := w.login(lifetime)
		v := w.values(s)
		w.wantErr(w.SaveValues(t.Context(), s, &v, put("a")), nil)
		tries, begun := 0, time.Now()
		err := w.SaveValues(t.Context(), s, &v, func(o claims.Object) claims.Object {
			tries++
			other := w.values(s)
			w.wantErr(w.SaveValues(t.Context(), s, &other, put(fmt.Sprint("b", tries))), nil)
			return put("c")(o)
		})
		if err == nil || tries < 100 || time.Since(begun) != 3*time.Second {
			t.Errorf("after %d tries and %v: %v", tries, time.Since(begun), err)
		}
	})
	inTime(t, "C106 a hundred requests of a page save values at once, in a slow store", func(t *testing.T) {
		w := newWorld(t, nil)
		s := w.login(lifetime)
		w.breaks(func(interleave.Call) error { time.Sleep(5 * time.Millisecond); return nil })
		var pages sync.WaitGroup
		for i := range 100 {
			pages.Go(func() {
				v := w.values(s)
				w.wantErr(w.SaveValues(t.Context(), s, &v, put(fmt.Sprint(i))), nil)
			})
		}
		pages.Wait()
		saved := maps.Collect(w.values(s).Current.All())
		if len(saved) != 100 {
			t.Errorf("%d values are saved", len(saved))
		}
	})
	inTime(t, "F38 values that are too large may become smaller, and not grow", func(t *testing.T) {
		w := newWorld(t, nil)
		s := w.login(lifetime)
		v := w.values(s)
		text := func(n int) func(claims.Object) claims.Object {
			return func(claims.Object) claims.Object {
				return claims.Object("").With("a", claims.Text(strings.Repeat("x", n)))
			}
		}
		w.wantErr(w.SaveValues(t.Context(), s, &v, text(1000)), nil)
		small := w.replica(func(c *session.Config) { c.Limits.MaxBytes = len(text(500)("")) })
		v, err := small.ReadValues(t.Context(), s)
		w.wantErr(err, nil)
		for n, want := range map[int]bool{1001: false, 999: true} {
			if err := small.SaveValues(t.Context(), s, &v, text(n)); (err == nil) != want {
				t.Errorf("%d bytes: %v", n, err)
			}
		}
		same := func(claims.Object) claims.Object {
			return claims.Object("").With("a", claims.Text(strings.Repeat("y", 999)))
		}
		if small.SaveValues(t.Context(), s, &v, same) == nil {
			t.Error("other values of the same size are saved")
		}
		w.wantErr(small.SaveValues(t.Context(), s, &v, text(100)), nil)
		w.wantErr(small.SaveValues(t.Context(), s, &v, text(500)), nil)
		if small.SaveValues(t.Context(), s, &v, text(501)) == nil {
			t.Error("values of one byte too many are saved")
		}
	})
	inTime(t, "C108 values that do not change are not written", func(t *testing.T) {
		w := newWorld(t, nil)
		s := w.login(lifetime)
		v := w.values(s)
		w.wantErr(w.SaveValues(t.Context(), s, &v, put("a")), nil)
		w.breaks(func(c interleave.Call) error { t.Errorf("%s %s", c.Op, c.Key); return nil })
		w.wantErr(w.SaveValues(t.Context(), s, &v, put("a")), nil)
	})
}

func TestErrorsOfALogout(t *testing.T) {
	inTime(t, "C124 F16 the provider's second try counts where the answer to the last write was lost", func(t *testing.T) {
		w := newWorld(t, nil)
		s := w.login(lifetime)
		lost := false
		w.breaks(func(c interleave.Call) error {
			if lost || !c.Is(interleave.Create, "j:") {
				return nil
			}
			lost = true
			return errors.Join(c.On(w.Context(), &w.memory).Err, errDown)
		})
		token := session.LogoutToken{
			Issuer: issuer, ID: "jti", SessionID: sid, IssuedAt: time.Now(), Expires: time.Now().Add(time.Minute),
		}
		_, err := w.UseLogoutToken(t.Context(), token)
		w.wantErr(err, session.ErrStore)
		w.wantLive(false, s)
		done, err := w.UseLogoutToken(t.Context(), token)
		w.wantErr(err, nil)
		if !done.First {
			t.Error("it is told by nobody")
		}
		_, err = w.UseLogoutToken(t.Context(), token)
		w.wantErr(err, session.ErrUsed)
	})
	inTime(t, "C107 a session that could not be ended is still watched", func(t *testing.T) {
		w := newWorld(t, watches)
		s := w.login(lifetime)
		ctx, stop := w.Watch(t.Context(), s, nil)
		defer stop()
		w.fails(interleave.Delete, "s:", 0)
		w.wantErr(w.End(t.Context(), s.ID), session.ErrStore)
		_, err := w.LogOut(t.Context(), s)
		w.wantErr(err, session.ErrStore)
		wantEnded(t, ctx, false)
		w.wantTold(event.SessionRevoked)
		w.breaks(nil)
		w.wantErr(w.End(t.Context(), s.ID), nil)
		wantEnded(t, ctx, true)
	})
	inTime(t, "C127 a logout that cannot read the tokens keeps them: the next one revokes them", func(t *testing.T) {
		w := newWorld(t, nil)
		s := w.login(lifetime)
		w.fails(interleave.Get, "t:", 0)
		_, err := w.LogOut(t.Context(), s)
		w.wantErr(err, session.ErrLeftovers)
		w.wantTold(event.SessionRevoked, event.ReasonByUser)
		w.wantErr(w.logOutUnread(s.ID), session.ErrLeftovers)
		w.breaks(nil)
		w.wantLive(false, s)
		w.wantRevoked()
		w.wantErr(w.logOutUnread(s.ID), nil)
		w.wantRevoked("rt-0")
		w.wantTold(event.SessionRevoked, event.ReasonByUser)
		if keys := w.living("h:"); len(keys) != 0 {
			t.Errorf("left behind: %q", keys)
		}
	})
	inTime(t, "C127 that goes to the client and the provider that the session is from", func(t *testing.T) {
		for _, aud := range []any{"shop", []any{"other", "shop"}, nil} {
			w := newWorld(t, nil)
			l := w.loginUnderWay()
			about := map[string]any{"iss": issuer, "sub": "alice", "iat": time.Now().Unix()}
			if aud != nil {
				about["aud"] = aud
			}
			o, err := claims.Of(about)
			if err != nil {
				t.Fatal(err)
			}
			l.Identity.IDToken, _ = o.Object()
			l.Identity.Provider = "here"
			w.wantErr(w.Begin(t.Context(), l), nil)
			w.provider.onRevoke = func(id *session.Identity) {
				if id.Provider != "here" || id.User() != alice || id.HasAudience("shop") != (aud != nil) {
					t.Errorf("provider %q, user %v, aud %v: for the client: %v", id.Provider, id.User(), aud, id.HasAudience("shop"))
				}
			}
			w.wantErr(w.logOutUnread(l.ID), nil)
			w.wantRevoked("rt-0")
		}
	})
	inTime(t, "C127 so does one that cannot read the tokens that a refresh has just saved", func(t *testing.T) {
		w := newWorld(t, nil)
		s := w.login(lifetime)
		time.Sleep(isOver)
		other := w.replica(nil)
		refreshing, saved := false, false
		w.breaks(func(c interleave.Call) error {
			switch {
			case c.Is(interleave.Delete, "t:") && !refreshing:
				refreshing = true
				_, err := other.Token(t.Context(), s)
				w.wantErr(err, session.ErrGone)
				saved = true
			case c.Is(interleave.Get, "t:") && saved:
				return errDown
			}
			return nil
		})
		_, err := w.LogOut(t.Context(), s)
		w.wantErr(err, session.ErrLeftovers)
		w.breaks(nil)
		w.wantErr(w.logOutUnread(s.ID), nil)
		w.wantRevoked("rt-0", "rt-1")
		if keys := w.living("h:"); len(keys) != 0 {
			t.Errorf("left behind: %q", keys)
		}
	})
	inTime(t, "C127 while the identity cannot be deleted, a logout revokes nothing", func(t *testing.T) {
		w := newWorld(t, nil)
		s := w.login(lifetime)
		w.fails(interleave.Delete, "s:", 0)
		err := w.logOutUnread(s.ID)
		if !errors.Is(err, session.ErrStore) || errors.Is(err, session.ErrLeftovers) {
			t.Errorf("error %v", err)
		}
		w.breaks(nil)
		w.wantRevoked()
		w.wantLive(true, s)
		w.wantToken(w.Keeper, s, "at-0")
	})
	inTime(t, "C127 tokens that are damaged, and cannot be deleted, are said to be left", func(t *testing.T) {
		w := newWorld(t, nil)
		s := w.login(lifetime)
		w.change("t:", func([]byte) []byte { return []byte("damaged") })
		w.fails(interleave.Delete, "t:", 0)
		_, err := w.LogOut(t.Context(), s)
		w.wantErr(err, session.ErrLeftovers)
	})
	inTime(t, "C127 a refresh token that a refresh during the logout kept is revoked once", func(t *testing.T) {
		w := newWorld(t, nil)
		s := w.login(lifetime)
		w.provider.refresh = func(n int) (*session.ProviderTokens, error) {
			return &session.ProviderTokens{AccessToken: fmt.Sprint("at-", n)}, nil
		}
		time.Sleep(isOver)
		w.once(interleave.Delete, "t:", func() {
			_, err := w.replica(nil).Token(t.Context(), s)
			w.wantErr(err, session.ErrGone)
		})
		_, err := w.LogOut(t.Context(), s)
		w.wantErr(err, nil)
		w.wantSpent("rt-0")
		w.wantRevoked("rt-0")
	})
	inTime(t, "C114 a session whose summary cannot be read is not ended one by one", func(t *testing.T) {
		w := newWorld(t, nil)
		s := w.login(lifetime)
		w.fails(interleave.Get, "d:", 0)
		w.wantErr(w.EndOne(t.Context(), s.Identity.User(), w.Handle(s.ID), ""), session.ErrStore)
		w.wantErr(w.End(t.Context(), s.ID), session.ErrStore)
		w.wantLive(true, s)
		_, err := w.List(t.Context(), alice)
		w.wantErr(err, session.ErrStore)
	})
	inTime(t, "C114 as many sessions as are allowed: nothing more is read", func(t *testing.T) {
		w := newWorld(t, func(l *session.Limits) { l.UserSessions = 2 })
		w.login(lifetime)
		read := 0
		w.breaks(func(c interleave.Call) error {
			if c.Is(interleave.Get, "d:") || c.Is(interleave.Get, "s:") {
				read++
			}
			return nil
		})
		w.login(lifetime)
		if read != 1 { // whether its own summary is there
			t.Errorf("%d reads", read)
		}
	})
	inTime(t, "C114 F18 a login whose summary the store loses, as in a failover, begins no session", func(t *testing.T) {
		w := newWorld(t, nil)
		l := w.loginUnderWay()
		w.once(interleave.Create, "s:", func() { w.wantErr(w.memory.Delete(w.Context(), w.key("d:"), nil), nil) })
		w.wantErr(w.Begin(t.Context(), l), session.ErrStore)
		w.wantTold(event.StoreUnavailable, "")
		w.wantLive(false, &l.Session)
	})
	inTime(t, "C114 any number of sessions is allowed: the user's are not listed", func(t *testing.T) {
		w := newWorld(t, nil)
		w.breaks(func(c interleave.Call) error {
			if c.Is(interleave.Members, "u:") {
				t.Errorf("%s %s", c.Op, c.Key)
			}
			return nil
		})
		w.login(lifetime)
	})
	inTime(t, "C114 a login whose replica has a clock behind that of the others ends no session of its own", func(t *testing.T) {
		w := newWorld(t, func(l *session.Limits) { l.UserSessions = 1 })
		ahead := w.loginUnderWay()
		ahead.Identity.Created = time.Now().Add(time.Minute)
		w.wantErr(w.Begin(t.Context(), ahead), nil)
		w.wantLive(true, &ahead.Session, w.login(lifetime))
	})
	for _, down := range []error{
		errDown, &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connection refused")},
	} {
		inTime(t, "F15 the caller gave up, and the store is down: told, "+down.Error(), func(t *testing.T) {
			w := newWorld(t, nil)
			w.breaks(func(interleave.Call) error { return down })
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			w.wantErr(w.ClaimAttempt(ctx, "reference"), session.ErrStore)
			w.wantTold(event.StoreUnavailable, "")
		})
	}
}

// TestTheSessionBeforeALogin begins sessions in the place of others.
func TestTheSessionBeforeALogin(t *testing.T) {
	type who struct{ issuer, subject, sid string }
	identity := func(t *testing.T, u who) session.Identity {
		v, err := claims.Of(map[string]any{"iss": u.issuer, "sub": u.subject, "sid": u.sid, "iat": time.Now().Unix()})
		if err != nil {
			t.Fatal(err)
		}
		id := session.Identity{Created: time.Now(), Checked: time.Now()}
		id.IDToken, _ = v.Object()
		return id
	}
	first := who{issuer, "alice", "one"}
	for _, tt := range []struct {
		name          string
		before, after who
		revoked       bool
	}{
		{"the same session at the provider", first, first, false},
		{"another session at the provider", first, who{issuer, "alice", "two"}, true},
		{"the new one does not say which", first, who{issuer, "alice", ""}, false},
		{"the old one does not say which", who{issuer, "alice", ""}, first, false},
		{"another user", first, who{issuer, "bob", "one"}, true},
		{"another issuer", first, who{issuer + "2", "alice", "one"}, true},
	} {
		inTime(t, "C109 C087 "+tt.name, func(t *testing.T) {
			w := newWorld(t, nil)
			before := w.loginUnderWay()
			before.Identity = identity(t, tt.before)
			w.wantErr(w.Begin(t.Context(), before), nil)
			after := w.loginUnderWay()
			after.Identity, after.Before = identity(t, tt.after), before.Session
			w.wantErr(w.Begin(t.Context(), after), nil)
			w.wantLive(false, &before.Session)
			w.wantLive(true, &after.Session)
			var want []string
			if tt.revoked {
				want = []string{"rt-0"}
			}
			w.wantRevoked(want...)

			discarded := w.loginUnderWay()
			discarded.Identity, discarded.Before = identity(t, tt.after), before.Session
			discarded.Tokens = session.NewTokens(tokens(9), "nonce", "")
			w.Discard(t.Context(), discarded)
			w.wantRevoked(want...) // the session that lives may share the grant
			w.wantErr(w.End(t.Context(), after.ID), nil)
			w.broken = func(interleave.Call) error { return errDown }
			w.Discard(t.Context(), discarded)
			w.wantRevoked(want...) // nor does the store say whether one does
			w.broken = nil
			left, leave := context.WithCancel(t.Context())
			leave() // the browser has left
			w.Discard(left, discarded)
			if tt.before.subject != tt.after.subject || tt.before.issuer != tt.after.issuer {
				want = append(want, "rt-9")
			}
			w.wantRevoked(want...)
		})
	}
	inTime(t, "C109 one whose record only another replica can read ends, in its lists too", func(t *testing.T) {
		w := newWorld(t, nil)
		before, after := w.login(lifetime), w.loginUnderWay()
		after.Before.ID = before.ID
		w.wantErr(w.Begin(t.Context(), after), nil)
		w.wantLive(false, before)
		w.wantList(w.Handle(after.ID))
		w.wantRevoked()
		w.wantErr(w.End(t.Context(), after.ID), nil)
		if keys := w.living(); len(keys) != 0 {
			t.Errorf("left behind: %q", keys)
		}
	})
	inTime(t, "C109 its tokens cannot be read: it ends all the same", func(t *testing.T) {
		w := newWorld(t, nil)
		before, after := w.login(lifetime), w.loginUnderWay()
		after.Identity, after.Before = identity(t, who{issuer, "bob", ""}), *before
		w.fails(interleave.Get, "t:", 0)
		w.wantErr(w.Begin(t.Context(), after), nil)
		w.wantLive(false, before)
		w.wantRevoked()
	})
	inTime(t, "C109 a login that fails keeps it", func(t *testing.T) {
		w := newWorld(t, nil)
		before, after := w.login(lifetime), w.loginUnderWay()
		after.Before = *before
		w.fails(interleave.Create, "s:", 0)
		w.wantErr(w.Begin(t.Context(), after), session.ErrStore)
		w.breaks(nil)
		w.wantLive(true, before)
		w.wantRevoked()
	})
	inTime(t, "C087 without one, the refresh token of a refused login is revoked", func(t *testing.T) {
		w := newWorld(t, nil)
		w.Discard(t.Context(), w.loginUnderWay())
		w.wantRevoked("rt-0")
	})
}

func TestKeepRefusedWithoutIDTokens(t *testing.T) {
	for keep, goesOn := range map[bool]bool{false: false, true: true} {
		inTime(t, fmt.Sprint("C113 userinfo refuses the token that a refresh brought; KeepRefused is ", keep), func(t *testing.T) {
			w := newWorld(t, func(l *session.Limits) { l.KeepRefused = keep })
			s := w.login(lifetime)
			w.brings(claims.Object("").With("sub", claims.Text("alice")))
			w.provider.verify = func() error { return failure(session.TokenRefused, "") }
			time.Sleep(isOver)
			w.touched(s)
			w.wantNoToken(s, map[bool]error{false: session.ErrGone, true: session.ErrProvider}[keep])
			w.wantLive(goesOn, s)
		})
	}
}

func TestLongUserinfo(t *testing.T) {
	long := claims.Object("").With("about_me", claims.Text(strings.Repeat("x", 8*16<<10)))
	inTime(t, "F38 C113 a login whose userinfo is too long to be kept is refused, whatever OnLogin drops", func(t *testing.T) {
		for reread, want := range map[time.Duration]error{0: nil, time.Minute: session.ErrTooLarge} {
			w := newWorld(t, func(l *session.Limits) { l.Reread = reread })
			l := w.loginUnderWay()
			l.Tokens.Userinfo = &long
			w.wantErr(w.Begin(t.Context(), l), want)
			if b, _ := w.memory.Get(t.Context(), w.key("t:")); want == nil && len(b) > 5_000 {
				t.Errorf("without re-reads the tokens have %d bytes", len(b))
			}
			l = w.loginUnderWay()
			l.Tokens.IDToken = strings.Repeat("x", 8*16<<10+1)
			w.wantErr(w.Begin(t.Context(), l), want)
		}
	})
	inTime(t, "F38 C113 what the gate notes in a record that has no room left does not end the session", func(t *testing.T) {
		w := newWorld(t, func(l *session.Limits) { l.Reread, l.Values = 10*time.Minute, true })
		l, err := w.loginUnderWay(), error(session.ErrTooLarge)
		for n := 16 << 10; errors.Is(err, session.ErrTooLarge); n-- {
			said := claims.Object("").With("bio", claims.Text(strings.Repeat("x", n)))
			l.Identity.Userinfo, l.Tokens.Userinfo = said, &said
			err = w.Begin(t.Context(), l)
		}
		w.wantErr(err, nil)
		s := &l.Session
		v := w.values(s)
		w.wantErr(w.SaveValues(t.Context(), s, &v, put("a")), nil)
		w.provider.noUserinfo = &session.Failure{Kind: session.Unreadable, Err: errDown}
		time.Sleep(11 * time.Minute)
		_, err = w.Reread(t.Context(), s)
		w.wantErr(err, nil)
		w.provider.noUserinfo, w.provider.userinfo = nil, l.Identity.Userinfo
		time.Sleep(11 * time.Minute)
		_, err = w.Reread(t.Context(), s)
		w.wantErr(err, nil)
		w.wantLive(true, s)
	})
	inTime(t, "F38 C113 the session ends when its userinfo becomes too long", func(t *testing.T) {
		w := newWorld(t, func(l *session.Limits) { l.Reread = time.Minute })
		s := w.login(lifetime)
		w.provider.userinfo = long
		time.Sleep(2 * time.Minute)
		_, err := w.Reread(t.Context(), s)
		w.wantErr(err, session.ErrGone)
	})
}

func TestTheEndOfASessionThatHasEndedMeanwhile(t *testing.T) {
	for name, ends := range map[string]func(*world, *session.Session) event.Reason{
		"C087 a login has replaced it": func(w *world, s *session.Session) event.Reason {
			l := w.loginUnderWay()
			l.Before = *s
			w.wantErr(w.Begin(w.Context(), l), nil)
			return ""
		},
		"C113 its visitor has logged out": func(w *world, s *session.Session) event.Reason {
			_, err := w.LogOut(w.Context(), s)
			w.wantErr(err, nil)
			return event.ReasonByUser
		},
	} {
		for what, refuse := range map[string]func(*world, func()){
			"the new tokens are another user's": func(w *world, meanwhile func()) {
				w.provider.verify = func() error { meanwhile(); return failure(session.Rejected, "") }
			},
			"the application denies the user": func(w *world, meanwhile func()) {
				w.provider.decide = func() error { meanwhile(); return failure(session.Rejected, "") }
			},
		} {
			inTime(t, name+" when "+what, func(t *testing.T) {
				w := newWorld(t, rereads)
				s := w.login(lifetime)
				time.Sleep(isOver)
				var told []event.Reason
				refuse(w, func() {
					if reason := ends(w, s); reason != "" {
						told = append(told, reason)
					}
				})
				w.wantNoToken(s, session.ErrGone)
				w.wantTold(event.SessionRevoked, told...)
				if told == nil {
					w.wantRevoked()
				}
			})
		}
	}
}

func TestNewsThatAreOlder(t *testing.T) {
	inTime(t, "C113 claims that a replica read before it lost the lock do not replace newer ones", func(t *testing.T) {
		w := newWorld(t, rereads)
		s := w.login(lifetime)
		time.Sleep(20 * time.Minute)
		other := w.replica(nil)
		w.provider.userinfo = claims.Object("").With("group", claims.Text("admin"))
		w.provider.decide = func() error {
			w.provider.decide = nil
			time.Sleep(time.Second) // it stands still
			w.loseLock()
			w.provider.userinfo = claims.Object("").With("group", claims.Text("readers"))
			_, err := other.Reread(t.Context(), s)
			w.wantErr(err, nil)
			return nil
		}
		_, _ = w.Reread(t.Context(), s)
		w.wantErr(w.Wait(t.Context()), nil)
		got, err := w.Load(t.Context(), s.ID)
		w.wantErr(err, nil)
		if v, _ := got.Identity.Claim("group"); err == nil && string(v.AppendJSON(nil)) != `"readers"` {
			t.Errorf("the group is %s", v.AppendJSON(nil))
		}
	})
}

// Nor do they where the newer ones are incomplete, and so do not count as read again.
func TestNewsThatAreOlderThanIncompleteOnes(t *testing.T) {
	inTime(t, "C113 claims that a replica read before it lost the lock do not replace those of a newer ID Token", func(t *testing.T) {
		const age = 5 * time.Minute
		w := newWorld(t, func(l *session.Limits) { l.Reread = age })
		inGroup := func(g string) claims.Object {
			v, err := claims.Of(map[string]any{"iss": issuer, "sub": "alice", "group": g})
			w.wantErr(err, nil)
			o, _ := v.Object()
			return o
		}
		w.brings(inGroup("admin"))
		s := w.login(lifetime)
		time.Sleep(age)
		other := w.replica(nil)
		w.provider.onUserinfo = func() {
			w.provider.onUserinfo = nil
			w.loseLock()
			time.Sleep(age/2 + time.Second) // it stands still
			w.brings(inGroup("readers"))
			w.provider.noUserinfo = failure(session.NoAnswer, "")
			_, err := other.Reread(t.Context(), s)
			w.wantErr(err, nil)
			w.provider.noUserinfo = nil
		}
		_, err := w.Reread(t.Context(), s)
		w.wantErr(err, nil)
		time.Sleep(age)
		got, err := other.Load(t.Context(), s.ID)
		w.wantErr(err, nil)
		if v, _ := got.Identity.Claim("group"); string(v.AppendJSON(nil)) != `"readers"` {
			t.Errorf("the group is %s", v.AppendJSON(nil))
		}
	})
}

func TestTroubleOfTheStoreThatIsOver(t *testing.T) {
	for name, fails := range map[string]func(w *world, when string){
		"refused the tokens once": func(w *world, when string) {
			if when == "now" {
				w.fails(interleave.Swap, "t:", 1)
			}
		},
		"refused the lock once, when tokens were due": func(w *world, when string) {
			if when == "then" {
				w.fails(interleave.Create, "l:", 1)
			}
		},
	} {
		inTime(t, "F16 a slow provider has the old claims stay, though the store "+name, func(t *testing.T) {
			w := newWorld(t, func(l *session.Limits) { l.Reread = 30 * time.Minute })
			s := w.login(lifetime)
			time.Sleep(isDue)
			fails(w, "then")
			_, _ = w.Token(t.Context(), s)
			time.Sleep(30 * time.Minute)
			fails(w, "now")
			w.provider.onUserinfo = func() { time.Sleep(8 * time.Second) }
			_, err := w.Reread(t.Context(), s)
			w.wantErr(err, nil)
		})
	}
	inTime(t, "F31 a provider that was not asked has lost no answer, though the store's answer was lost", func(t *testing.T) {
		w := newWorld(t, nil)
		s := w.login(lifetime)
		time.Sleep(isOver)
		w.breaks(func(c interleave.Call) error {
			if !c.Is(interleave.Create, "m:") {
				return nil
			}
			w.breaks(nil)
			return errors.Join(c.On(w.Context(), &w.memory).Err, errDown)
		})
		w.wantNoToken(s, session.ErrStore)
		w.provider.refresh = func(int) (*session.ProviderTokens, error) { return nil, failure(session.InvalidGrant, "") }
		w.wantNoToken(s, session.ErrGone)
		w.wantTold(event.RefreshReuseSuspected)
	})
	for _, fails := range []string{"I:", "i:"} {
		inTime(t, "C107 F16 a logout by a later sid ends the session, though "+fails+" failed for long", func(t *testing.T) {
			w := newWorld(t, nil)
			s := w.login(lifetime)
			later := claims.Object("").With("sid", claims.Text("later"))
			w.provider.claims = later
			w.provider.refresh = func(n int) (*session.ProviderTokens, error) {
				answer := tokens(n)
				answer.IDToken = "e30." + base64.RawURLEncoding.EncodeToString(later.AppendJSON(nil)) + ".c2ln"
				if n == 1 {
					_, err := w.EndProviderSession(t.Context(), issuer, "later", "")
					w.wantErr(err, nil)
				}
				return answer, nil
			}
			time.Sleep(isOver)
			w.breaks(func(c interleave.Call) error {
				if c.Is(interleave.Get, fails) || c.Is(interleave.Add, fails) {
					return errDown
				}
				return nil
			})
			w.wantToken(w.Keeper, s, "at-1")
			w.wantErr(w.Wait(t.Context()), nil)
			w.breaks(nil)
			if !w.Stale(s) {
				t.Error("a guard does not look")
			}
			_, err := w.Reread(t.Context(), s)
			w.wantErr(err, session.ErrGone)
			w.wantLive(false, s)
		})
	}
}

func TestTheReplyOfALockIsLost(t *testing.T) {
	inTime(t, "F16 C113 nobody waits for a lock of which nobody knows", func(t *testing.T) {
		w := newWorld(t, func(l *session.Limits) { l.Reread = time.Minute })
		s := w.login(lifetime)
		time.Sleep(2 * time.Minute)
		w.breaks(func(c interleave.Call) error {
			if !c.Is(interleave.Create, "l:") {
				return nil
			}
			return errors.Join(errDown, w.memory.Create(w.Context(), c.Key, c.Value, time.Hour))
		})
		_, err := w.Reread(t.Context(), s)
		w.wantErr(err, session.ErrStore)
		w.breaks(nil)
		_, err = w.Reread(t.Context(), s)
		w.wantErr(err, nil)
	})
	inTime(t, "F16 C113 nor for one that the last refresh had left", func(t *testing.T) {
		w := newWorld(t, func(l *session.Limits) { l.Reread = time.Minute })
		s := w.login(lifetime)
		time.Sleep(2 * time.Minute)
		w.wantErr(w.memory.Create(t.Context(), "l:"+string(w.Handle(s.ID)), []byte("refused "), time.Hour), nil)
		w.breaks(func(c interleave.Call) error {
			if !c.Is(interleave.Swap, "l:") {
				return nil
			}
			w.breaks(nil)
			return errors.Join(c.On(w.Context(), &w.memory).Err, errDown)
		})
		_, err := w.Reread(t.Context(), s)
		w.wantErr(err, session.ErrStore)
		_, err = w.Reread(t.Context(), s)
		w.wantErr(err, nil)
	})
}

func TestWatchTakesItselfOut(t *testing.T) {
	inTime(t, "F34 one of two watchers leaves: the other is told", func(t *testing.T) {
		w := newWorld(t, watches)
		s := w.login(lifetime)
		_, leave := w.Watch(t.Context(), s, nil)
		ctx, stop := w.Watch(t.Context(), s, nil)
		defer stop()
		leave()
		synctest.Wait()
		w.wantErr(w.replica(nil).End(t.Context(), s.ID), nil)
		time.Sleep(15 * time.Second)
		wantEnded(t, ctx, true)
	})
	inTime(t, "F34 a session that nobody watches any more is not read", func(t *testing.T) {
		w := newWorld(t, watches)
		gone, s := w.login(lifetime), w.login(lifetime)
		_, leave := w.Watch(t.Context(), gone, nil)
		_, stop := w.Watch(t.Context(), s, nil)
		defer stop()
		leave()
		synctest.Wait()
		var read []string
		w.breaks(func(c interleave.Call) error { read = append(read, c.Key); return nil })
		time.Sleep(15 * time.Second)
		synctest.Wait()
		if want := []string{"s:" + string(w.Handle(s.ID))}; !slices.Equal(read, want) {
			t.Errorf("%q is read, want %q", read, want)
		}
	})
}

// failsNth breaks the nth call of an operation whose key has a prefix.
func (w *world) failsNth(op interleave.Op, prefix string, n int64) {
	var calls atomic.Int64
	w.breaks(func(c interleave.Call) error {
		if c.Is(op, prefix) && calls.Add(1) == n {
			return errDown
		}
		return nil
	})
}

func TestTheStoreFailsForOneCall(t *testing.T) {
	for n := int64(1); n <= 3; n++ { // by Token, before the lock is taken, and under it
		inTime(t, "F32 the tokens cannot be read before the provider is asked", func(t *testing.T) {
			w := newWorld(t, nil)
			s := w.login(lifetime)
			time.Sleep(isOver)
			w.failsNth(interleave.Get, "t:", n)
			w.wantNoToken(s, session.ErrStore)
			w.wantSpent()
		})
	}
	for n := int64(1); n <= 4; n++ { // before the lock, under it, before the claims are saved, after
		inTime(t, "F16 the claims cannot be read while they are renewed", func(t *testing.T) {
			w := newWorld(t, func(l *session.Limits) { rereads(l); l.TokenLifetime = 2 * time.Hour })
			w.provider.userinfo = claims.Object("").With("group", claims.Text("readers"))
			l := w.loginUnderWay()
			l.Tokens = session.NewTokens(&session.ProviderTokens{AccessToken: "at-0"}, "nonce", "")
			w.wantErr(w.Begin(t.Context(), l), nil)
			time.Sleep(20 * time.Minute)
			w.failsNth(interleave.Get, "s:", n)
			got, err := w.Reread(t.Context(), &l.Session)
			w.wantErr(err, session.ErrStore)
			if got != nil {
				t.Errorf("the session %+v", got)
			}
		})
	}
	inTime(t, "C128 a tombstone that cannot be renewed is an error", func(t *testing.T) {
		w := newWorld(t, nil)
		w.wantErr(w.logoutBySub(time.Now()), nil)
		w.fails(interleave.Swap, "U:", 0)
		w.wantErr(w.logoutBySub(time.Now().Add(time.Second)), session.ErrStore)
		w.fails(interleave.Get, "U:", 0)
		w.wantErr(w.logoutBySub(time.Now().Add(time.Second)), session.ErrStore)
	})
	inTime(t, "F15 while writes fail, one question a second writes again, and all have the last error", func(t *testing.T) {
		w := newWorld(t, nil)
		w.fails(interleave.Create, "r:", 0)
		for i := range 3 {
			for range 5 {
				w.wantErr(w.Ping(t.Context()), session.ErrStore)
			}
			if n := len(w.told(event.StoreUnavailable)); n != 1+i {
				t.Errorf("told %d times in %d seconds", n, 1+i)
			}
			time.Sleep(time.Second)
		}
		w.breaks(nil)
		w.wantErr(w.Ping(t.Context()), nil)
	})
	inTime(t, "F15 who leaves during a try does not end it, and one who has left asks nobody", func(t *testing.T) {
		w := newWorld(t, nil)
		ctx, cancel := context.WithCancel(t.Context())
		w.once(interleave.Create, "r:", cancel)
		w.wantErr(w.Ping(ctx), nil)
		time.Sleep(5 * time.Second)
		w.breaks(func(c interleave.Call) error { t.Errorf("%s %s", c.Op, c.Key); return nil })
		w.wantErr(w.Ping(ctx), context.Canceled)
	})
	inTime(t, "F15 while one tries, the others have what came of the last try", func(t *testing.T) {
		w := newWorld(t, nil)
		w.wantErr(w.Ping(t.Context()), nil)
		time.Sleep(5 * time.Second)
		w.once(interleave.Create, "r:", func() { time.Sleep(2 * time.Second) })
		var trying sync.WaitGroup
		trying.Go(func() { _ = w.Ping(t.Context()) })
		time.Sleep(time.Second)
		begun := time.Now()
		w.wantErr(w.Ping(t.Context()), nil)
		if waited := time.Since(begun); waited != 0 {
			t.Errorf("waited for %v", waited)
		}
		trying.Wait()
	})
	inTime(t, "F40 a refresh that is over gives its place back", func(t *testing.T) {
		w := newWorld(t, nil)
		var all []*session.Session
		for range 40 {
			all = append(all, w.login(lifetime))
		}
		time.Sleep(isOver)
		for _, s := range all {
			if _, err := w.Token(t.Context(), s); err != nil {
				t.Fatal(err)
			}
		}
	})
	inTime(t, "C113 a long ID Token is kept where its claims may be needed again", func(t *testing.T) {
		w := newWorld(t, func(l *session.Limits) { rereads(l); l.MaxIDToken = 10 })
		l := w.loginUnderWay()
		l.Tokens.IDToken = "0123456789a"
		w.wantErr(w.Begin(t.Context(), l), nil)
		if got, err := w.Tokens(t.Context(), l.ID); err != nil || got.IDToken != "0123456789a" {
			t.Errorf("tokens %v, %v", got, err)
		}
	})
}

func TestHasAudience(t *testing.T) {
	for _, tt := range []struct {
		aud  any
		want bool
	}{
		{"shop", true}, {"other", false}, {[]any{"shop"}, true}, {[]any{"other", "shop"}, true},
		{[]any{"other"}, false}, {[]any{1}, false}, {[]any{}, false}, {1, false}, {nil, false},
	} {
		v, err := claims.Of(map[string]any{"aud": tt.aud})
		if err != nil {
			t.Fatal(err)
		}
		var id session.Identity
		id.IDToken, _ = v.Object()
		if got := id.HasAudience("shop"); got != tt.want {
			t.Errorf("C059 aud %v is for the client: %v", tt.aud, got)
		}
	}
}
