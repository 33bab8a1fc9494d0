package troubles_test

import (
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/oidcgate/oidcgate/blackbox/internal/idp"
	"github.com/oidcgate/oidcgate/blackbox/internal/process"
	"github.com/oidcgate/oidcgate/blackbox/internal/rp"
	"github.com/oidcgate/oidcgate/blackbox/internal/visitor"
	"github.com/oidcgate/oidcgate/blackbox/internal/walk"
	"github.com/oidcgate/oidcgate/internal/redistest"
	"github.com/oidcgate/oidcgate/oidcgatetest"
)

const secret = "a-secret-of-client-and-provider"

// options are those of a service at base.
func options(base, issuer string) rp.Options {
	return rp.Options{
		"BASE_URL": base, "SESSION_KEYS": rp.NewKey(), "OIDC_ISSUER": issuer,
		"OIDC_CLIENT_ID": "shop", "OIDC_CLIENT_SECRET": secret, "OIDC_SCOPES": "profile", "OIDC_USERINFO": "on",
	}
}

// words stand for the addresses of a service and a provider.
func words(base, issuer string) []string {
	return []string{
		base, "https://shop.example", issuer, "https://id.example",
		strings.TrimPrefix(base, "http://"), "shop.example", strings.TrimPrefix(issuer, "http://"), "id.example",
	}
}

// The troubles between a service and a provider that has its own pages.
func TestTroublesWithAProvider(t *testing.T) {
	base := rp.NewBaseURL(t)
	op := idp.Start(t, idp.Config{Clients: []idp.Client{idp.NewClient("shop", secret, "client_secret_basic", base)}})
	said := func() *quote { return newQuote(words(base, op.Issuer)...) }

	for _, row := range []struct {
		name   string
		option []string // of the service
	}{
		{"wrong client secret", []string{"OIDC_CLIENT_SECRET", "another-secret"}},
		{"redirect URI not registered", []string{"ROUTE_PREFIX", "/sign-in"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			shop, v, q := rp.Start(t, options(base, op.Issuer).With(row.option...)), visitor.New(), said()
			p := v.Get(t, base+"/app")
			q.page(t, p.Status, p.Body)
			q.line(t, shop.Stderr, "login.failed")
			q.check(t, row.name)
		})
	}
	t.Run("wrong issuer", func(t *testing.T) {
		shop, q := rp.Start(t, options(base, op.Issuer+"/")), said()
		p := visitor.New().Get(t, base+"/app")
		q.page(t, p.Status, p.Body)
		q.line(t, shop.Stderr, "provider.rejected")
		q.line(t, shop.Stderr, "login.failed")
		q.check(t, "wrong issuer")
	})
	t.Run("no discovery document", func(t *testing.T) {
		shop, q := rp.Start(t, options(base, op.Issuer+"/realms/shop")), said()
		if shop.Ready() {
			t.Error("the service is ready")
		}
		q.line(t, shop.Stderr, "provider.rejected")
		q.line(t, shop.Stderr, "not ready")
		p := visitor.New().Get(t, base+"/app")
		q.page(t, p.Status, p.Body)
		q.check(t, "no discovery document")
	})
	t.Run("claim missing", func(t *testing.T) {
		shop, v, q := rp.Start(t, options(base, op.Issuer)), visitor.New(), said()
		v.LogIn(t, v.Get(t, base+"/app"), idp.Alice.Login, idp.Alice.Password)
		p := walk.Status(t, v, base+"/admin", http.StatusForbidden)
		q.page(t, p.Status, p.Body)
		q.line(t, shop.Stderr, "access.denied")
		q.check(t, "claim missing")
	})
	t.Run("claim different", func(t *testing.T) {
		o := options(base, op.Issuer).With("OIDC_SCOPES", "profile groups")
		shop, v, q := rp.Start(t, o), visitor.New(), said()
		v.LogIn(t, v.Get(t, base+"/app"), idp.Bob.Login, idp.Bob.Password)
		walk.Status(t, v, base+"/admin", http.StatusForbidden)
		q.line(t, shop.Stderr, "access.denied")
		q.check(t, "claim different")
	})
	t.Run("different keys", func(t *testing.T) { differentKeys(t, base, op.Issuer, said()) })
	t.Run("Redis down", func(t *testing.T) { redisDown(t, base, op.Issuer) })
}

// differentKeys lets a login begin at one replica and end at another, which has another key. Then
// it brings the session of the first to the second.
func differentKeys(t *testing.T, base, issuer string, q *quote) {
	redis := redistest.Start(t)
	replica := func() *rp.Replica {
		o := options(base, issuer).With("REDIS_URL", "redis://"+redis.Addr,
			"ADDR", net.JoinHostPort("127.0.0.1", strconv.Itoa(process.FreePort(t))))
		return rp.Start(t, o)
	}
	first, second := replica(), replica()
	v := visitor.New()
	v.Route(base, first.Addr)
	login := v.Get(t, base+"/app")
	v.Route(base, second.Addr)
	p := v.LogIn(t, login, idp.Alice.Login, idp.Alice.Password)
	q.page(t, p.Status, p.Body)
	q.line(t, second.Stderr, "login.failed")

	v.Route(base, first.Addr)
	walk.LogIn(t, v, base+"/app", idp.Alice)
	v.Route(base, second.Addr)
	walk.Status(t, v, base+"/whoami", http.StatusUnauthorized)
	q.line(t, second.Stderr, "session.unreadable")
	q.check(t, "different keys")
}

// redisDown kills the Redis of a signed-in visitor.
func redisDown(t *testing.T, base, issuer string) {
	redis := redistest.Start(t)
	q := newQuote(append(words(base, issuer), redis.Addr, "redis.example:6379")...)
	shop := rp.Start(t, options(base, issuer).With("REDIS_URL", "redis://"+redis.Addr))
	v := visitor.New()
	walk.LogIn(t, v, base+"/app", idp.Alice)
	redis.Stop()
	p := walk.Status(t, v, base+"/app", http.StatusServiceUnavailable)
	q.page(t, p.Status, p.Body)
	q.line(t, shop.Stderr, "store.unavailable")
	q.check(t, "Redis down")
}

// Nobody listens where the provider should be.
func TestTroublesWithoutAProvider(t *testing.T) {
	base := rp.NewBaseURL(t)
	issuer := "http://127.0.0.1:" + strconv.Itoa(process.FreePort(t))
	shop, q := rp.Start(t, options(base, issuer)), newQuote(words(base, issuer)...)
	p := visitor.New().Get(t, base+"/app")
	q.page(t, p.Status, p.Body)
	q.line(t, shop.Stderr, "provider.unreachable")
	q.check(t, "provider down")
}

// A visitor who cancels has done nothing wrong, and nobody is warned.
func TestTroublesWithAVisitorWhoCancels(t *testing.T) {
	base := rp.NewBaseURL(t)
	op := startProvider(t, base)
	op.Always(oidcgatetest.Authorization, func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			query := url.Values{"error": {"access_denied"}, "state": {r.FormValue("state")}, "iss": {op.Issuer()}}
			http.Redirect(w, r, r.FormValue("redirect_uri")+"?"+query.Encode(), http.StatusSeeOther)
		})
	})
	shop, q := rp.Start(t, options(base, op.Issuer())), newQuote(words(base, op.Issuer())...)
	p := visitor.New().Get(t, base+"/app")
	q.page(t, p.Status, p.Body)
	q.line(t, shop.Stderr, "login.failed")
	q.check(t, "cancelled")
}

// A provider whose clock is wrong dates its ID Tokens by it.
func TestTroublesWithClocks(t *testing.T) {
	for name, off := range map[string]time.Duration{
		"provider's clock ahead": 10 * time.Minute, "provider's clock behind": -10 * time.Minute,
	} {
		t.Run(name, func(t *testing.T) {
			base := rp.NewBaseURL(t)
			op := startProvider(t, base)
			op.EveryIDToken(func(j *oidcgatetest.JWT) {
				for _, claim := range []string{"iat", "exp"} {
					j.Claims[claim] = time.Now().Add(off).Unix() // the provider's times are whole seconds
				}
				j.Claims["exp"] = time.Now().Add(off + 5*time.Minute).Unix()
			})
			shop, q := rp.Start(t, options(base, op.Issuer())), newQuote(words(base, op.Issuer())...)
			p := visitor.New().Get(t, base+"/app")
			q.page(t, p.Status, p.Body)
			q.line(t, shop.Stderr, "login.failed")
			q.check(t, name)
		})
	}
}

// startProvider starts a provider that logs everybody in without asking.
func startProvider(t *testing.T, base string) *oidcgatetest.Provider {
	t.Helper()
	server := httptest.NewUnstartedServer(nil)
	op := oidcgatetest.NewProvider(t, oidcgatetest.Config{Issuer: "http://" + server.Listener.Addr().String()})
	op.AddClient(oidcgatetest.Client{ID: "shop", Secret: secret, RedirectURLs: []string{base + "/auth/callback"}})
	server.Config.Handler = op
	server.Start()
	t.Cleanup(server.Close)
	return op
}
