package oidcgate_test

import (
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oidcgate/oidcgate"
	"github.com/oidcgate/oidcgate/oidcgatetest"
)

func TestRefreshOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTokenWorld(t, oidcgatetest.Config{RotateRefreshTokens: true, AccessTokenLifetime: time.Minute})
		w.login()
		first := w.accessToken()
		time.Sleep(2 * time.Minute)
		var wg sync.WaitGroup
		got := make([]string, 50)
		for i := range got {
			wg.Go(func() { got[i] = w.accessToken() })
		}
		wg.Wait()
		for _, token := range got {
			if token == first || token != got[0] {
				t.Fatalf("tokens %q after %q", got, first)
			}
		}
		if n := w.op.Count(oidcgatetest.Token); n != 2 {
			t.Errorf("%d token calls, want the login's and one refresh", n)
		}
	})
}

// newTokenWorld is a world whose shop tells its access token at /token.
func newTokenWorld(t *testing.T, op oidcgatetest.Config, changes ...func(*oidcgate.Config, *oidcgate.Provider)) *world {
	t.Helper()
	w := newWorldOf(t, oidcgatetest.NewProvider(t, op), changes...)
	mux := http.NewServeMux()
	mux.Handle("/", w.shop())
	mux.HandleFunc("/token", func(rw http.ResponseWriter, r *http.Request) {
		token, err := w.gate.Token(r.Context())
		if err != nil {
			http.Error(rw, err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprint(rw, token.AccessToken)
	})
	w.handler = w.gate.Wrap(mux)
	return w
}

func (w *world) accessToken() string {
	w.Helper()
	a := w.get("/token")
	if a.StatusCode != http.StatusOK {
		w.Errorf("/token: %d %s\n%s", a.StatusCode, a.body, w.logged())
	}
	return a.body
}

func TestBackchannelLogout(t *testing.T) {
	w := newWorld(t)
	w.login()
	claims := map[string]any{
		"iss": w.op.Issuer(), "aud": "shop", "iat": time.Now().Unix(), "exp": time.Now().Add(time.Minute).Unix(),
		"jti": "1", "sub": "alice", "events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}},
	}
	form := url.Values{"logout_token": {w.op.NewJWT(claims).Compact()}}.Encode()
	if a := w.send(w.newBrowser(), http.MethodPost, "/auth/backchannel-logout", form); a.StatusCode != http.StatusOK {
		t.Fatalf("status %d\n%s", a.StatusCode, w.logged())
	}
	if got := w.subject(); got != "" {
		t.Errorf("still signed in as %q", got)
	}
	if a := w.send(w.newBrowser(), http.MethodPost, "/auth/backchannel-logout", form); a.StatusCode != http.StatusBadRequest {
		t.Errorf("the same token again: status %d, want 400", a.StatusCode)
	}
}
