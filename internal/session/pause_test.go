package session_test

import (
	"errors"
	"fmt"
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

// What one replica alone may have, such as an old client secret or no way to the provider, does not
// hold up the others.
func TestOneReplicaIsIll(t *testing.T) {
	for _, row := range []struct {
		kind session.FailureKind
		own  bool
	}{
		{session.NotRotated, true}, {session.ClientRefused, true}, {session.NotRotated, false}, {session.NoAnswer, false},
	} {
		inTime(t, fmt.Sprintf("C084 F40 a failure of kind %d holds up others: %v", row.kind, !row.own), func(t *testing.T) {
			w := newWorld(t, nil)
			ill, asked := &provider{}, 0
			ill.refresh = func(int) (*session.ProviderTokens, error) {
				asked++
				return nil, &session.Failure{Kind: row.kind, Own: row.own, Reason: event.ReasonTokenEndpointError, Err: errDown}
			}
			sick := w.replica(func(c *session.Config) { c.Provider = ill })
			s := w.login(lifetime)
			time.Sleep(isOver + time.Minute)
			for range 5 {
				_, err := sick.Token(t.Context(), s)
				w.wantErr(err, session.ErrProvider)
			}
			w.wantErr(sick.Renew(t.Context(), s), session.ErrProvider)
			if asked != 1 {
				t.Errorf("it asks %d times", asked)
			}
			if _, err := w.Token(t.Context(), s); errors.Is(err, session.ErrProvider) == row.own {
				t.Errorf("at another: %v", err)
			}
			time.Sleep(time.Minute)
			_, err := w.Token(t.Context(), s)
			w.wantErr(err, nil)
		})
	}
	inTime(t, "C084 F40 two replicas that are ill do not ask for many sessions in turn, and a third that is well does", func(t *testing.T) {
		w := newWorld(t, nil)
		asked := 0
		ill := &provider{refresh: func(int) (*session.ProviderTokens, error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			asked++
			return nil, &session.Failure{Kind: session.ClientRefused, Own: true, Err: errDown}
		}}
		two := [2]*session.Keeper{}
		for i := range two {
			two[i] = w.replica(func(c *session.Config) { c.Provider = ill })
		}
		const many = 5000 // more than a replica remembers
		var all []*session.Session
		for range many {
			all = append(all, w.login(lifetime))
		}
		time.Sleep(isOver + 10*time.Minute)
		for range 4 {
			for _, s := range all {
				for _, k := range two {
					_, _ = k.Token(t.Context(), s)
				}
			}
			time.Sleep(4 * time.Second)
		}
		if asked != 2*many {
			t.Errorf("the provider was asked %d times for %d sessions", asked, many)
		}
		for _, s := range all[:10] {
			_, err := w.Token(t.Context(), s)
			w.wantErr(err, nil)
		}
	})
	inTime(t, "C084 F40 a replica that is well again does not wait for those that failed after it", func(t *testing.T) {
		w := newWorld(t, nil)
		ills := true
		ill := &provider{}
		ill.refresh = func(int) (*session.ProviderTokens, error) {
			if ills {
				return nil, &session.Failure{Kind: session.NotRotated, Own: true, Err: errDown}
			}
			return tokens(1), nil
		}
		var all []*session.Keeper
		for range 4 {
			all = append(all, w.replica(func(c *session.Config) { c.Provider = ill }))
		}
		s := w.login(lifetime)
		time.Sleep(isOver + 10*time.Minute)
		for _, k := range all {
			_, err := k.Token(t.Context(), s)
			w.wantErr(err, session.ErrProvider)
			time.Sleep(12 * time.Second)
		}
		ills = false // 48 s after the first has failed, 12 s after the last
		_, err := all[3].Token(t.Context(), s)
		w.wantErr(err, session.ErrProvider)
		_, err = all[0].Token(t.Context(), s)
		w.wantErr(err, nil)
	})
	for name, fails := range map[string]func(*provider){
		"the token endpoint": func(p *provider) {
			p.refresh = func(int) (*session.ProviderTokens, error) {
				return nil, &session.Failure{Kind: session.NotRotated, Own: true, Err: errDown}
			}
		},
		"userinfo": func(p *provider) { p.noUserinfo = &session.Failure{Kind: session.NoAnswer, Own: true, Err: errDown} },
	} {
		inTime(t, "C113 F40 a replica that does not reach "+name+" keeps no other from reading claims again", func(t *testing.T) {
			w := newWorld(t, func(l *session.Limits) { l.Reread = 5 * time.Minute })
			ill := &provider{}
			fails(ill)
			sick := w.replica(func(c *session.Config) { c.Provider = ill })
			s := w.login(lifetime)
			time.Sleep(6 * time.Minute)
			if s, err := sick.Reread(t.Context(), s); err != nil || !sick.Stale(s) {
				t.Errorf("at the ill one: %v", err)
			}
			w.wantErr(sick.Wait(t.Context()), nil)
			if s, err := w.Reread(t.Context(), s); err != nil || w.Stale(s) {
				t.Errorf("at another: %v", err)
			}
		})
	}
	inTime(t, "C084 an old client secret at one replica signs nobody out, with EndWithAccessToken", func(t *testing.T) {
		w := newWorld(t, func(l *session.Limits) { l.EndWithAccessToken = true })
		ill := &provider{}
		ill.refresh = func(int) (*session.ProviderTokens, error) {
			return nil, &session.Failure{Kind: session.ClientRefused, Own: true, Reason: event.ReasonTokenEndpointError, Err: errDown}
		}
		sick := w.replica(func(c *session.Config) { c.Provider = ill })
		s := w.login(lifetime)
		time.Sleep(isOver + 10*time.Minute) // the visitor comes back
		for i := range 40 {
			time.Sleep(10 * time.Second)
			if i%4 == 0 {
				_, _ = sick.Token(t.Context(), s)
				continue
			}
			_, err := w.Token(t.Context(), s)
			w.wantErr(err, nil)
		}
		w.wantLive(true, s)
	})
}
