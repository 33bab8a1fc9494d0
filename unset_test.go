package oidcgate_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/oidcgate/oidcgate"
	"github.com/oidcgate/oidcgate/store"
)

func TestTextOfWhatIsNotSet(t *testing.T) {
	for want, v := range map[string]fmt.Stringer{"not set": oidcgate.ClientAuth{}, "no keys": oidcgate.Keys{}} {
		t.Run(want, func(t *testing.T) {
			if got := v.String(); got != want {
				t.Errorf("got %q", got)
			}
		})
	}
}

func TestClientAssertion(t *testing.T) {
	t.Run("C090 without a function it is not set", func(t *testing.T) {
		_, err := oidcgate.New(oidcgate.Config{BaseURL: shopURL, Store: &store.Memory{}, Keys: mustKeys(t, worldKey)}, oidcgate.Provider{
			Issuer: "https://id.test", ClientID: "shop", Auth: oidcgate.ClientAssertion(nil),
		})
		var fault *oidcgate.ConfigError
		if !errors.As(err, &fault) || fault.Field != "Provider.Auth" {
			t.Errorf("%v, want a fault of Provider.Auth", err)
		}
	})
	t.Run("C090 the function is asked at each login, and its error ends the login", func(t *testing.T) {
		asked := 0
		w := newWorld(t, func(_ *oidcgate.Config, p *oidcgate.Provider) {
			p.Auth = oidcgate.ClientAssertion(func(context.Context) (string, error) {
				asked++
				return "", errors.New("the identity service is away")
			})
		})
		for n := 1; n <= 2; n++ {
			a := w.send(w.browser, http.MethodGet, w.callbackURL("/app"), "")
			events := w.eventsOf(oidcgate.EventLoginFailed)
			if a.StatusCode != http.StatusServiceUnavailable || len(events) != n || events[n-1].Reason != "client_secret" {
				t.Errorf("status %d, events %+v", a.StatusCode, events)
			}
			if asked != n {
				t.Errorf("asked %d times for %d logins", asked, n)
			}
		}
	})
}

func TestClaimThatIsNoJSON(t *testing.T) {
	t.Run("a claim of the application that encoding/json cannot write changes nothing", func(t *testing.T) {
		var kept []string
		var err error
		w := newWorld(t, func(c *oidcgate.Config, _ *oidcgate.Provider) {
			c.OnLogin = func(_ context.Context, l *oidcgate.Login) error {
				if err := l.Set("groups", []string{"readers"}); err != nil {
					return err
				}
				err = l.Set("groups", make(chan int))
				kept, _ = l.Identity().ClaimStrings("groups")
				return nil
			}
		})
		w.login()
		if err == nil || !strings.Contains(err.Error(), "groups") || len(kept) != 1 || kept[0] != "readers" {
			t.Errorf("error %v, groups %q", err, kept)
		}
	})
	t.Run("an identity for tests", func(t *testing.T) {
		id, err := oidcgate.NewIdentity("https://id.test", "alice", map[string]any{"x": make(chan int)})
		if err == nil || id != nil {
			t.Errorf("%v, %v", id, err)
		}
	})
}

func TestNewLinking(t *testing.T) {
	first, second := &oidcgate.Identity{}, &oidcgate.Identity{}
	if l := oidcgate.NewLinking(first, second); l.First() != first || l.Second() != second {
		t.Error("it has other identities")
	}
}

func TestTextOfAProviderError(t *testing.T) {
	for want, e := range map[string]*oidcgate.ProviderError{
		"the provider answered with the error access_denied":              {Code: "access_denied"},
		`the provider answered with the error access_denied: "try again"`: {Code: "access_denied", Description: "try again"},
	} {
		t.Run(want, func(t *testing.T) {
			if got := e.Error(); got != want {
				t.Errorf("got %q", got)
			}
		})
	}
}

func TestStoreWithoutKeys(t *testing.T) {
	for name, row := range map[string]struct {
		store store.Store
		keys  oidcgate.Keys
		want  bool
	}{
		"a store without keys": {&store.Memory{}, oidcgate.Keys{}, true},
		"a store with keys":    {&store.Memory{}, mustKeys(t, worldKey), false},
		"neither":              {nil, oidcgate.Keys{}, false},
	} {
		t.Run("the log warns of "+name, func(t *testing.T) {
			var log strings.Builder
			_, err := oidcgate.New(oidcgate.Config{
				BaseURL: "http://localhost:8080", Store: row.store, Keys: row.keys,
				Logger: slog.New(slog.NewTextHandler(&log, nil)),
			}, oidcgate.Provider{Issuer: "https://id.test", ClientID: "shop", Auth: oidcgate.ClientSecretBasic(secret)})
			if got := strings.Contains(log.String(), "a random key is used"); err != nil || got != row.want {
				t.Errorf("%v, logged %s", err, log.String())
			}
		})
	}
}

func TestLogoutOutsideOfWrap(t *testing.T) {
	t.Run("C117 it ends the session of the cookie", func(t *testing.T) {
		w := newWorld(t)
		w.login()
		r := httptest.NewRequest(http.MethodPost, shopURL+"/bye", nil)
		r.AddCookie(&http.Cookie{Name: sessionCookie, Value: w.cookie(sessionCookie)})
		rec := httptest.NewRecorder()
		w.gate.Logout(rec, r, "/bye")
		if rec.Code != http.StatusSeeOther || !strings.HasPrefix(rec.Header().Get("Location"), "https://id.test/") {
			t.Errorf("status %d, to %q", rec.Code, rec.Header().Get("Location"))
		}
		if a := w.get("/whoami"); a.StatusCode != http.StatusUnauthorized {
			t.Errorf("the session lives: %d %s", a.StatusCode, a.body)
		}
	})
}
