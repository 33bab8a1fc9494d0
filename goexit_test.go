package oidcgate_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oidcgate/oidcgate"
)

// exits ends the goroutine of its first request.
type exits struct {
	http.RoundTripper
	once atomic.Bool
}

func (e *exits) RoundTrip(r *http.Request) (*http.Response, error) {
	if !e.once.Swap(true) {
		runtime.Goexit()
	}
	return e.RoundTripper.RoundTrip(r)
}

// A function of the application that ends its goroutine gives no answer, and the next request asks
// again.
func TestFunctionsThatEndTheirGoroutine(t *testing.T) {
	ask := func(t *testing.T, h http.Handler, r *http.Request) int {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		rec, begun := httptest.NewRecorder(), time.Now()
		h.ServeHTTP(rec, r.WithContext(ctx))
		if took := time.Since(begun); took > time.Minute {
			t.Errorf("%s took %v", r.URL.Path, took)
		}
		return rec.Code
	}
	inBubble(t, "F34 HTTP.Transport, during the discovery", func(t *testing.T) {
		w := newWorld(t, func(c *oidcgate.Config, _ *oidcgate.Provider) {
			c.HTTP.Transport = &exits{RoundTripper: c.HTTP.Transport}
		})
		status := 0
		for range 4 {
			r := httptest.NewRequest(http.MethodGet, shopURL+"/auth/login", nil)
			r.Header.Set("Accept", "text/html")
			status = ask(t, w.handler, r)
			time.Sleep(time.Minute) // longer than a pause after a failure
		}
		if status != http.StatusSeeOther {
			t.Errorf("the last login: %d", status)
		}
	})
	inBubble(t, "F34 the client's secret, during an introspection", func(t *testing.T) {
		var once atomic.Bool
		a := newAPI(t, func(_ *oidcgate.Config, p *oidcgate.Provider) {
			p.Auth = oidcgate.ClientSecretBasic(func(context.Context) (string, error) {
				if !once.Swap(true) {
					runtime.Goexit()
				}
				return secret, nil
			})
		})
		token, status := a.op.NewOpaqueToken(nil), 0
		for range 3 {
			r := httptest.NewRequest(http.MethodGet, shopURL+"/api", nil)
			r.Header.Set("Authorization", "Bearer "+token)
			status = ask(t, a.handler, r)
		}
		if status != http.StatusOK {
			t.Errorf("the last request: %d", status)
		}
	})
}
