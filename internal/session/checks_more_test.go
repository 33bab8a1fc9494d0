package session_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oidcgate/oidcgate/internal/claims"
	"github.com/oidcgate/oidcgate/internal/event"
	"github.com/oidcgate/oidcgate/internal/interleave"
	"github.com/oidcgate/oidcgate/internal/session"
)

func TestErrForeignIsErrGoneAlone(t *testing.T) {
	for target, want := range map[error]bool{
		session.ErrGone: true, session.ErrForeign: true,
		session.ErrStore: false, session.ErrProvider: false, session.ErrTokenExpired: false,
	} {
		err := fmt.Errorf("reading: %w", session.ErrForeign)
		if got := errors.Is(err, target); got != want {
			t.Errorf("errors.Is(ErrForeign, %v) is %v", target, got)
		}
	}
}

func TestScopeOfARefresh(t *testing.T) {
	for name, answered := range map[string]string{"left out": "", "another": "openid"} {
		inTime(t, "C080 the scope is "+name, func(t *testing.T) {
			w := newWorld(t, nil)
			l := w.loginUnderWay()
			l.Tokens.Scope = "openid email"
			w.wantErr(w.Begin(t.Context(), l), nil)
			w.provider.refresh = func(n int) (*session.ProviderTokens, error) {
				answer := tokens(n)
				answer.Scope = answered
				return answer, nil
			}
			time.Sleep(isOver)
			w.wantToken(w.Keeper, &l.Session, "at-1")
			got, err := w.Tokens(t.Context(), l.ID)
			w.wantErr(err, nil)
			want := answered
			if want == "" {
				want = "openid email"
			}
			if got.Scope != want {
				t.Errorf("scope %q, want %q", got.Scope, want)
			}
		})
	}
}

func TestEndsWithoutValues(t *testing.T) {
	inTime(t, "C107 where there are no values, none are deleted", func(t *testing.T) {
		w := newWorld(t, func(l *session.Limits) { l.Values = false })
		w.wantErr(w.End(t.Context(), w.login(lifetime).ID), nil)
		for key := range w.asked {
			if strings.HasPrefix(key, "v:") {
				t.Errorf("the store is asked for %s", key)
			}
		}
	})
}

func TestLogoutTokenThatNamesASessionTwice(t *testing.T) {
	inTime(t, "C125 by its sub, and by the sid of a refresh: it ends once", func(t *testing.T) {
		w := newWorld(t, nil)
		l := w.loginUnderWay()
		o, err := claims.Of(map[string]any{"iss": issuer, "sub": "alice", "iat": time.Now().Unix()})
		if err != nil {
			t.Fatal(err)
		}
		l.Identity.IDToken, _ = o.Object()
		w.wantErr(w.Begin(t.Context(), l), nil)
		w.brings(claims.Object("").With("sid", claims.Text("another")))
		time.Sleep(isOver)
		w.wantToken(w.Keeper, &l.Session, "at-1")
		var deleted atomic.Int64
		w.breaks(func(c interleave.Call) error {
			if c.Is(interleave.Delete, "s:") {
				deleted.Add(1)
			}
			return nil
		})
		_, err = w.UseLogoutToken(t.Context(), session.LogoutToken{
			Issuer: issuer, ID: rand.Text(), Subject: "alice", SessionID: "another", IssuedAt: time.Now(),
			Expires: time.Now().Add(2 * time.Minute),
		})
		w.wantErr(err, nil)
		w.wantLive(false, &l.Session)
		if n := deleted.Load(); n != 1 {
			t.Errorf("its identity is deleted %d times", n)
		}
	})
}

func TestSessionBeforeALoginThatCannotBeEnded(t *testing.T) {
	for _, user := range []string{"alice", "bob"} { // who logs in, with the old tokens to be revoked or not
		inTime(t, "C109 F16 the login is refused, and nothing of it stays: "+user, func(t *testing.T) {
			w := newWorld(t, func(l *session.Limits) { l.UserSessions = 1 })
			before, after := w.login(lifetime), w.loginUnderWay()
			o, err := claims.Of(map[string]any{"iss": issuer, "sub": user, "iat": time.Now().Unix()})
			if err != nil {
				t.Fatal(err)
			}
			old := w.living()
			after.Identity.IDToken, _ = o.Object()
			after.Before = *before
			w.fails(interleave.Delete, "s:"+string(w.Handle(before.ID)), 0)
			w.wantErr(w.Begin(t.Context(), after), session.ErrStore)
			w.breaks(nil)
			w.wantLive(true, before)
			w.wantLive(false, &after.Session)
			w.wantRevoked()
			if now := w.living(); !slices.Equal(now, old) {
				t.Errorf("in the store is %q, before the login %q", now, old)
			}
			if n := len(w.told(event.SessionCreated)); n != 1 {
				t.Errorf("%d sessions are told to have begun, want 1", n)
			}
		})
	}
	inTime(t, "C109 F16 one that this replica could not read: the login begins", func(t *testing.T) {
		w := newWorld(t, nil)
		before, after := w.login(lifetime), w.loginUnderWay()
		after.Before.ID = before.ID
		w.fails(interleave.Delete, "s:", 0)
		w.wantErr(w.Begin(t.Context(), after), nil)
		w.breaks(nil)
		w.wantLive(true, &after.Session)
	})
	inTime(t, "C109 F16 the session from before has ended, and something of it is left: the login begins", func(t *testing.T) {
		w := newWorld(t, nil)
		before, after := w.login(lifetime), w.loginUnderWay()
		after.Before = *before
		w.fails(interleave.Delete, "t:", 0)
		w.wantErr(w.Begin(t.Context(), after), nil)
		w.breaks(nil)
		w.wantLive(false, before)
		w.wantLive(true, &after.Session)
	})
	inTime(t, "C109 C114 the session that a login replaces counts no more for the limit", func(t *testing.T) {
		w := newWorld(t, func(l *session.Limits) { l.UserSessions = 2 })
		other := w.login(lifetime)
		time.Sleep(time.Minute)
		before, after := w.login(lifetime), w.loginUnderWay()
		after.Before = *before
		w.wantErr(w.Begin(t.Context(), after), nil)
		w.wantLive(true, other, &after.Session)
		w.wantLive(false, before)
	})
	inTime(t, "C109 the session from before cannot be ended: it keeps its tokens", func(t *testing.T) {
		w := newWorld(t, nil)
		before, after := w.login(lifetime), w.loginUnderWay()
		o, err := claims.Of(map[string]any{"iss": issuer, "sub": "bob", "iat": time.Now().Unix()})
		if err != nil {
			t.Fatal(err)
		}
		after.Identity.IDToken, _ = o.Object()
		after.Before = *before
		w.fails(interleave.Delete, "s:", 0)
		w.wantErr(w.Begin(t.Context(), after), session.ErrStore)
		w.breaks(nil)
		w.wantLive(true, before)
		w.wantRevoked()
		w.wantToken(w.Keeper, before, "at-0")
	})
}

func TestTombstoneOfAnotherSID(t *testing.T) {
	inTime(t, "C107 the store fails once when it is asked whether the new sid is logged out: it is asked again", func(t *testing.T) {
		w := newWorld(t, nil)
		s := w.login(lifetime)
		w.brings(claims.Object("").With("sid", claims.Text("another")))
		_, err := w.UseLogoutToken(t.Context(), session.LogoutToken{
			Issuer: issuer, ID: rand.Text(), SessionID: "another", IssuedAt: time.Now(),
			Expires: time.Now().Add(2 * time.Minute),
		})
		w.wantErr(err, nil)
		w.wantLive(true, s)
		time.Sleep(isDue)
		w.fails(interleave.Get, "I:", 1)
		w.wantNoToken(s, session.ErrGone)
		w.breaks(nil)
		w.wantLive(false, s)
	})
	inTime(t, "C107 the store fails once when it is to end the session for that: it is asked again", func(t *testing.T) {
		w := newWorld(t, nil)
		s := w.login(lifetime)
		w.brings(claims.Object("").With("sid", claims.Text("another")))
		_, err := w.EndProviderSession(t.Context(), issuer, "another", "")
		w.wantErr(err, nil)
		time.Sleep(isDue)
		w.fails(interleave.Delete, "s:", 1)
		w.wantNoToken(s, session.ErrGone)
		w.breaks(nil)
		w.wantLive(false, s)
	})
}

func TestTakenOverTokensThatCannotBeRead(t *testing.T) {
	inTime(t, "C082 the tokens of another replica cannot be read: the old ones serve", func(t *testing.T) {
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
		time.Sleep(isDue)
		w.wantToken(w.Keeper, s, "at-0")
		w.breaks(nil)
		w.wantToken(w.Keeper, s, "at-2")
	})
}

func TestNobodyWaitsForARefresh(t *testing.T) {
	inTime(t, "C082 a lock of another is not waited for when nobody needs it", func(t *testing.T) {
		w := newWorld(t, rereads)
		s := w.login(lifetime)
		key := "l:" + string(w.Handle(s.ID))
		w.wantErr(w.memory.Create(t.Context(), key, []byte("another replica"), time.Hour), nil)
		time.Sleep(isOver)
		begun := time.Now()
		for range 2 { // both leave
			ctx, leave := context.WithTimeout(t.Context(), 2*time.Second)
			_, err := w.Token(ctx, s)
			leave()
			w.wantErr(err, ctx.Err())
		}
		w.wantErr(w.Wait(t.Context()), nil)
		if took := time.Since(begun); took > 10*time.Second {
			t.Errorf("it is waited for %v", took)
		}
	})
}

func TestClaimsThatAnotherHasRead(t *testing.T) {
	// reread begins a session whose claims are stale as the request found it, and are not in the
	// store, and whose tokens cannot be refreshed.
	reread := func(t *testing.T) (*world, *session.Session) {
		w := newWorld(t, rereads)
		s := w.login(lifetime)
		time.Sleep(20 * time.Minute)
		_, err := w.replica(nil).Reread(t.Context(), s)
		w.wantErr(err, nil)
		time.Sleep(isOver)
		w.provider.refresh = func(int) (*session.ProviderTokens, error) {
			return nil, failure(session.NoAnswer, "")
		}
		return w, s
	}
	inTime(t, "C113 the refresh fails and the claims are fresh: nobody is asked", func(t *testing.T) {
		w, s := reread(t)
		w.provider.decide = func() error { t.Error("the application is asked"); return nil }
		w.wantNoToken(s, session.ErrProvider)
	})
	inTime(t, "F16 the refresh fails, and the store cannot say how old the claims are", func(t *testing.T) {
		w, s := reread(t)
		w.provider.decide = func() error { t.Error("the application is asked"); return nil }
		w.provider.refresh = func(int) (*session.ProviderTokens, error) {
			w.fails(interleave.Get, "s:", 0)
			return nil, failure(session.NoAnswer, "")
		}
		w.wantNoToken(s, session.ErrStore)
	})
}

func TestUserinfoThatIsNotRefused(t *testing.T) {
	inTime(t, "C075 Limits.KeepRefused keeps no session of another's userinfo", func(t *testing.T) {
		w := newWorld(t, func(l *session.Limits) { rereads(l); l.KeepRefused = true })
		s := w.login(lifetime)
		w.provider.noUserinfo = failure(session.Rejected, event.ReasonUserinfoSubject)
		time.Sleep(20 * time.Minute)
		_, err := w.Reread(t.Context(), s)
		w.wantErr(err, session.ErrGone)
	})
	inTime(t, "C113 one that ends just within the leeway may be over, one that ends later is not", func(t *testing.T) {
		for past, told := range map[time.Duration]int{0: 0, time.Millisecond: 1} {
			w := newWorld(t, rereads)
			l := w.loginUnderWay()
			l.Tokens.RefreshToken, l.Tokens.Expiry = "", time.Now().Add(20*time.Minute+w.config.Limits.Leeway+past)
			w.wantErr(w.Begin(t.Context(), l), nil)
			w.provider.noUserinfo = failure(session.TokenRefused, event.ReasonUserinfoRefused)
			time.Sleep(20 * time.Minute)
			_, _ = w.Reread(t.Context(), &l.Session)
			if got := w.told(event.UserinfoFailed); len(got) != told {
				t.Errorf("%v past the leeway: told %q, want %d", past, got, told)
			}
		}
	})
	inTime(t, "C113 a token that may be over excuses a refusal, and no other failure", func(t *testing.T) {
		for kind, told := range map[session.FailureKind]int{session.TokenRefused: 0, session.NoAnswer: 1} {
			w := newWorld(t, rereads)
			l := w.loginUnderWay()
			l.Tokens.Expiry = time.Now().Add(20*time.Minute + w.config.Limits.Leeway/2)
			w.wantErr(w.Begin(t.Context(), l), nil)
			w.provider.refresh = func(int) (*session.ProviderTokens, error) {
				return nil, failure(session.NoAnswer, "")
			}
			w.provider.noUserinfo = failure(kind, event.ReasonUserinfoError)
			time.Sleep(20 * time.Minute)
			_, err := w.Reread(t.Context(), &l.Session)
			w.wantErr(err, nil)
			if got := w.told(event.UserinfoFailed); len(got) != told {
				t.Errorf("failure %v: told %q, want %d", kind, got, told)
			}
		}
	})
}

func TestAnswersThatKeepRefusedDoesNotExcuse(t *testing.T) {
	inTime(t, "C081 Limits.KeepRefused keeps no session whose new tokens are another user's", func(t *testing.T) {
		w := newWorld(t, func(l *session.Limits) { rereads(l); l.KeepRefused = true })
		s := w.login(lifetime)
		w.brings(claims.Object("").With("sub", claims.Text("bob")))
		w.provider.verify = func() error { return failure(session.Rejected, "") }
		time.Sleep(isOver)
		w.wantNoToken(s, session.ErrGone)
		w.wantLive(false, s)
	})
}

func TestLongAnswerThatCannotBeVerified(t *testing.T) {
	inTime(t, "F38 C081 for want of keys the session goes on, however long the ID Token is", func(t *testing.T) {
		w := newWorld(t, rereads)
		s := w.login(lifetime)
		w.provider.refresh = func(n int) (*session.ProviderTokens, error) {
			answer := tokens(n)
			answer.IDToken = strings.Repeat("x", 8*16<<10+1)
			return answer, nil
		}
		w.provider.verify = func() error { return failure(session.NotVerifiable, "") }
		time.Sleep(isOver)
		w.wantNoToken(s, session.ErrProvider)
		w.wantLive(true, s)
	})
}

func TestHintWhereOnLoginFails(t *testing.T) {
	for _, keep := range []bool{false, true} {
		inTime(t, fmt.Sprint("C113 it says that guards answer 503 where they do: ", !keep), func(t *testing.T) {
			w := newWorld(t, func(l *session.Limits) { rereads(l); l.KeepRefused = keep })
			s := w.login(lifetime)
			w.provider.decide = func() error { return errDown }
			time.Sleep(20 * time.Minute)
			_, err := w.Reread(t.Context(), s)
			w.wantErr(err, nil)
			w.wantTold(event.RereadFailed, event.ReasonHookError)
			for _, e := range w.events {
				if hint := strings.Contains(e.Hint, "503"); e.Type == event.RereadFailed && hint == keep {
					t.Errorf("the hint is %q", e.Hint)
				}
			}
		})
	}
}

func TestLogoutAloneWithoutTokens(t *testing.T) {
	inTime(t, "C117 where the tokens are lost, nothing is done with them", func(t *testing.T) {
		w := newWorld(t, nil)
		s := w.login(lifetime)
		w.wantErr(w.memory.Delete(t.Context(), w.key("t:"), nil), nil)
		hint := w.Alone(t.Context(), s, func(tokens *session.Tokens) { t.Errorf("called with %v", tokens) })
		if hint != "" {
			t.Errorf("the hint %q", hint)
		}
	})
}

func TestRefusedLoginBesideASessionThatIsOver(t *testing.T) {
	inTime(t, "C087 a session that is over keeps no refresh token from being revoked", func(t *testing.T) {
		w := newWorld(t, nil)
		w.login(lifetime)
		w.wantErr(w.memory.Delete(t.Context(), w.key("s:"), nil), nil) // the lists still have it
		w.Discard(t.Context(), w.loginUnderWay())
		w.wantRevoked("rt-0")
	})
}

func TestLogoutThatCannotBeRemembered(t *testing.T) {
	inTime(t, "C124 F16 without its tombstone, all of the session ends at once but its place in the lists", func(t *testing.T) {
		w := newWorld(t, nil)
		s := w.login(lifetime)
		v := w.values(s)
		w.wantErr(w.SaveValues(t.Context(), s, &v, put("a")), nil)
		w.fails(interleave.Create, "U:", 0)
		w.wantErr(w.logoutBySub(time.Now()), session.ErrStore)
		w.wantLive(false, s)
		if keys := w.living("d:", "u:", "i:", "j:"); len(keys) != 0 {
			t.Errorf("left behind: %q", keys)
		}
	})
}

func TestEndThatTheStoreRefusesTwice(t *testing.T) {
	inTime(t, "C113 F32 it counts from the first: what another replica has found since then overrules it", func(t *testing.T) {
		w := newWorld(t, rereads)
		s := w.login(lifetime)
		time.Sleep(20 * time.Minute)
		w.provider.decide = func() error { return failure(session.Rejected, "") }
		w.fails(interleave.Delete, "s:", 0)
		for range 2 {
			_, err := w.Reread(t.Context(), s)
			w.wantErr(err, session.ErrStore)
			w.wantErr(w.Wait(t.Context()), nil)
			time.Sleep(w.config.Limits.Leeway * 3 / 4)
		}
		w.breaks(nil)
		w.provider.decide = nil
		w.touched(s)
		w.wantErr(w.replica(nil).Renew(t.Context(), s), nil)
		_, err := w.Reread(t.Context(), s)
		w.wantErr(err, nil)
		w.wantLive(true, s)
	})
}
