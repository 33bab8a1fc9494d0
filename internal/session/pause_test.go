package session_test

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oidcgate/oidcgate/internal/event"
	"github.com/oidcgate/oidcgate/internal/session"
)

// One endpoint of the provider that is down, or the application's database, does not stop another.
func TestTokensWhileRereadsFail(t *testing.T) {
	noAnswer := failure(session.NoAnswer, event.ReasonUserinfoError)
	for name, fails := range map[string]func(*provider){
		"userinfo fails": func(p *provider) { p.noUserinfo = noAnswer },
		"userinfo hangs": func(p *provider) {
			p.noUserinfo, p.onUserinfo = noAnswer, func() { time.Sleep(10 * time.Second) }
		},
		"the application's database is down": func(p *provider) {
			p.decide = func() error { return errors.New("down") }
		},
		"userinfo fails, and the token endpoint every other time": func(p *provider) {
			p.noUserinfo = noAnswer
			answer := p.refresh
			p.refresh = func(n int) (*session.ProviderTokens, error) {
				if n%2 == 0 {
					return nil, failure(session.NoAnswer, "")
				}
				return answer(n)
			}
		},
	} {
		inTime(t, "C084 C113 tokens of a minute are refreshed while "+name, func(t *testing.T) {
			w := newWorld(t, func(l *session.Limits) { l.Reread = 90 * time.Second })
			w.provider.refresh = func(n int) (*session.ProviderTokens, error) {
				fresh := tokens(n)
				fresh.Expiry = time.Now().Add(time.Minute)
				return fresh, nil
			}
			s := w.login(lifetime)
			time.Sleep(isOver)
			w.wantToken(w.Keeper, s, "at-1")
			w.wantErr(w.Wait(t.Context()), nil)
			fails(w.provider)
			replicas := []*session.Keeper{w.Keeper, w.replica(nil)}
			const seconds = 600
			for i := range seconds {
				k := replicas[i%2]
				if k.Stale(s) {
					if found, err := k.Reread(t.Context(), s); err == nil {
						s = found
					}
				}
				got, err := k.Token(t.Context(), s)
				if err != nil || !time.Now().Before(k.Expires(got)) {
					t.Fatalf("second %d: %+v, %v", i, got, err)
				}
				time.Sleep(time.Second)
			}
			if n := len(w.provider.spent); n > seconds/15 {
				t.Errorf("%d refreshes", n)
			}
			for _, k := range replicas {
				w.wantErr(k.Wait(t.Context()), nil)
			}
		})
	}
}

func TestTokenThatEndsDuringAReread(t *testing.T) {
	inTime(t, "C080 whoever waits for the re-read gets a new one", func(t *testing.T) {
		w := newWorld(t, func(l *session.Limits) { l.Reread, l.ProviderTimeout = 20*time.Minute, 30*time.Second })
		s := w.login(lifetime)
		w.provider.noUserinfo = failure(session.NoAnswer, event.ReasonUserinfoError)
		for _, want := range []string{"at-1", "at-2"} {
			time.Sleep(isOver)
			w.wantToken(w.Keeper, s, want)
			w.wantErr(w.Wait(t.Context()), nil)
		}
		time.Sleep(tokenLife - time.Minute - time.Second) // it is not due yet
		var hung atomic.Bool
		w.provider.onUserinfo = func() {
			if hung.CompareAndSwap(false, true) { // the first time
				time.Sleep(70 * time.Second)
			}
		}
		_, err := w.Reread(t.Context(), s)
		w.wantErr(err, nil)
		time.Sleep(58 * time.Second)
		w.wantToken(w.Keeper, s, "at-3")
		w.wantSpent("rt-0", "rt-1", "rt-2")
	})
}
