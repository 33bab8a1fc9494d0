package blackbox_test

import (
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/oidcgate/oidcgate/blackbox/internal/idp"
	"github.com/oidcgate/oidcgate/blackbox/internal/rp"
	"github.com/oidcgate/oidcgate/internal/redistest"
)

// Attempts are stored in the browser. If the store held them, anybody could fill it.
func TestStrangersLeaveNothingInRedis(t *testing.T) {
	const starts, atOnce = 10_000, 16
	server := redistest.Start(t)
	options, client := newShop(t)
	op := idp.Start(t, idp.Config{Clients: []idp.Client{client}})
	shop := rp.Start(t, options.With("OIDC_ISSUER", op.Issuer, "REDIS_URL", "redis://"+server.Addr, "LOG_LEVEL", "warn",
		"REDIS_TIMEOUT", "10s")) // on a busy machine Redis may be late
	stranger := &http.Client{
		Transport:     &http.Transport{MaxIdleConnsPerHost: atOnce},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	defer stranger.CloseIdleConnections()

	todo := make(chan struct{}, starts)
	for range starts {
		todo <- struct{}{}
	}
	close(todo)
	var running sync.WaitGroup
	for range atOnce {
		running.Go(func() {
			for range todo {
				if !startLogin(t, stranger, shop.URL, op.Issuer) {
					return
				}
			}
		})
	}
	running.Wait()

	if n, err := server.Client(nil).DBSize(t.Context()).Result(); err != nil || n != 0 {
		t.Errorf("after %d login starts Redis has %d keys (%v), want none", starts, n, err)
	}
}

// startLogin reports whether one more visitor was redirected to the provider.
func startLogin(t *testing.T, stranger *http.Client, base, issuer string) bool {
	r, err := http.NewRequest(http.MethodGet, base+"/auth/login?return_to=/app", nil)
	if err != nil {
		t.Error(err)
		return false
	}
	r.Header.Set("Accept", "text/html")
	resp, err := stranger.Do(r)
	if err != nil {
		t.Error(err)
		return false
	}
	defer func() { _ = resp.Body.Close() }()
	_, _ = io.Copy(io.Discard, resp.Body)
	if resp.StatusCode != http.StatusSeeOther || !strings.HasPrefix(resp.Header.Get("Location"), issuer) {
		t.Errorf("starting a login answers %d, Location %q, want 303 to the provider", resp.StatusCode, resp.Header.Get("Location"))
		return false
	}
	return true
}
