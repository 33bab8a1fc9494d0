package session_test

import (
	"sync"
	"testing"
	"time"

	"github.com/oidcgate/oidcgate/internal/claims"
	"github.com/oidcgate/oidcgate/internal/event"
	"github.com/oidcgate/oidcgate/internal/session"
)

func TestRenew(t *testing.T) {
	inTime(t, "C080 C082 tokens are refreshed before they are due, once for all who ask meanwhile", func(t *testing.T) {
		w := newWorld(t, nil)
		s := w.login(lifetime)
		w.provider.refresh = func(n int) (*session.ProviderTokens, error) {
			time.Sleep(time.Second)
			return tokens(n), nil
		}
		var all sync.WaitGroup
		for range 10 {
			all.Go(func() { w.wantErr(w.Renew(t.Context(), s), nil) })
		}
		all.Wait()
		w.wantSpent("rt-0")
		w.wantToken(w.Keeper, s, "at-1")
		w.wantErr(w.Renew(t.Context(), s), nil)
		w.wantSpent("rt-0", "rt-1")
	})
	inTime(t, "C113 claims are read again before they are due, if they ever are", func(t *testing.T) {
		for reread, want := range map[time.Duration]claims.Object{
			time.Hour: claims.Object("").With("group", claims.Text("readers")),
			0:         "",
		} {
			w := newWorld(t, func(l *session.Limits) { l.Reread = reread })
			s := w.login(lifetime)
			w.provider.userinfo = claims.Object("").With("group", claims.Text("readers"))
			time.Sleep(time.Minute)
			w.wantErr(w.Renew(t.Context(), s), nil)
			now, err := w.Load(t.Context(), s.ID)
			w.wantErr(err, nil)
			if now.Identity.Userinfo != want {
				t.Errorf("with Reread %v the claims are %s", reread, now.Identity.Userinfo.AppendJSON(nil))
			}
		}
	})
	inTime(t, "C082 a refresh that is under way is waited for, and not taken for what was asked", func(t *testing.T) {
		w := newWorld(t, func(l *session.Limits) { l.Reread = time.Hour })
		s := w.login(lifetime)
		w.provider.refresh = func(n int) (*session.ProviderTokens, error) {
			time.Sleep(time.Second)
			return tokens(n), nil
		}
		time.Sleep(isDue)
		go func() { _, _ = w.Token(t.Context(), s) }()
		time.Sleep(time.Millisecond)
		w.wantErr(w.Renew(t.Context(), s), nil)
		w.wantSpent("rt-0", "rt-1")
	})
	inTime(t, "a provider that has failed is left alone", func(t *testing.T) {
		w := newWorld(t, nil)
		s := w.login(lifetime)
		w.provider.refresh = func(int) (*session.ProviderTokens, error) {
			return nil, failure(session.NotRotated, event.ReasonTokenEndpointError)
		}
		for range 2 {
			w.wantErr(w.Renew(t.Context(), s), session.ErrProvider)
		}
		w.wantSpent("rt-0")
		w.wantToken(w.Keeper, s, "at-0")
	})
	inTime(t, "C084 a session whose refresh token was withdrawn is gone", func(t *testing.T) {
		w := newWorld(t, nil)
		s := w.login(lifetime)
		w.provider.refresh = func(int) (*session.ProviderTokens, error) {
			return nil, failure(session.InvalidGrant, event.ReasonInvalidGrant)
		}
		w.wantErr(w.Renew(t.Context(), s), session.ErrGone)
		w.wantErr(w.Renew(t.Context(), s), session.ErrGone)
	})
}
