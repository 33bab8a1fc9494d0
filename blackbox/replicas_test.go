package blackbox_test

import (
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/oidcgate/oidcgate/blackbox/internal/idp"
	"github.com/oidcgate/oidcgate/blackbox/internal/process"
	"github.com/oidcgate/oidcgate/blackbox/internal/rp"
	"github.com/oidcgate/oidcgate/blackbox/internal/visitor"
	"github.com/oidcgate/oidcgate/blackbox/internal/walk"
	"github.com/oidcgate/oidcgate/internal/redistest"
)

// Two processes form one service: a visitor can continue on either process what began on the other.
func TestReplicas(t *testing.T) {
	options, client := newShop(t)
	op := idp.Start(t, idp.Config{Clients: []idp.Client{client}})
	options = options.With("OIDC_ISSUER", op.Issuer, "REDIS_URL", "redis://"+redistest.Start(t).Addr)
	first := startReplica(t, options)
	second := startReplica(t, options.With("ROUTER", "chi"))
	base := options["BASE_URL"]

	t.Run("a login begun on one is finished on the other", func(t *testing.T) {
		v := visitor.New()
		v.Route(base, first.Addr)
		loginPage := v.Get(t, base+"/app")
		v.Route(base, second.Addr)
		if p := v.LogIn(t, loginPage, idp.Alice.Login, idp.Alice.Password); p.Status != http.StatusOK || p.URL.String() != base+"/app" {
			t.Fatalf("the login ends at %s with %d:\n%s", p.URL, p.Status, p.Body)
		}
	})
	t.Run("C030 a callback that one has answered is refused by the other, even with its cookies", func(t *testing.T) {
		v, thief := visitor.New(), visitor.New()
		v.Route(base, first.Addr)
		thief.Route(base, second.Addr)
		callback := upToCallback(t, v, base, idp.Alice)
		thief.SetCookies(callback, v.Cookies(callback))
		if p := v.Get(t, callback); p.URL.String() != base+"/app" {
			t.Fatalf("the callback ends at %s with %d, want /app", p.URL, p.Status)
		}
		if p := walk.Status(t, thief, callback, http.StatusBadRequest); len(p.Header.Values("Set-Cookie")) > 1 {
			t.Errorf("the second answer sets %q", p.Header.Values("Set-Cookie"))
		}
		walk.Status(t, thief, base+"/whoami", http.StatusUnauthorized)
	})
	t.Run("F28 a callback sent many times at once to both makes one session", func(t *testing.T) {
		v := visitor.New()
		v.Route(base, first.Addr)
		callback := upToCallback(t, v, base, idp.Alice)
		if n := sessionsOf(t, callback, v.Cookies(callback), first, second); n != 1 {
			t.Errorf("%d of the answers set a session cookie, want 1", n)
		}
	})
	t.Run("who is signed in on one is signed in on the other, and signed out as well", func(t *testing.T) {
		v := visitor.New()
		v.Route(base, first.Addr)
		walk.LogIn(t, v, base+"/app", idp.Bob)
		v.Route(base, second.Addr)
		walk.WantIdentity(t, walk.Whoami(t, v, base), op.Issuer, idp.Bob)
		walk.Status(t, v, base+"/put?k=cart&v=apples", http.StatusOK)
		v.Route(base, first.Addr)
		if p := walk.Status(t, v, base+"/get?k=cart", http.StatusOK); p.Body != "apples" {
			t.Errorf("a value put on one is %q on the other, want apples", p.Body)
		}
		walk.LogOut(t, v, base)
		v.Route(base, second.Addr)
		walk.Status(t, v, base+"/whoami", http.StatusUnauthorized)
	})
	t.Run("one that is killed is missed by nobody", func(t *testing.T) {
		v := visitor.New()
		v.Route(base, first.Addr)
		walk.LogIn(t, v, base+"/app", idp.Alice)
		first.Kill()
		v.Route(base, second.Addr)
		walk.Status(t, v, base+"/app", http.StatusOK)
	})
}

// sessionsOf sends a callback to the replicas in turn, all at once, and counts the answers that set a session
// cookie.
func sessionsOf(t *testing.T, callback string, cookies []*http.Cookie, replicas ...*rp.Replica) int {
	t.Helper()
	const times = 40
	var running sync.WaitGroup
	var sessions atomic.Int32
	for i := range times {
		running.Go(func() {
			v := visitor.New()
			v.Route(callback, replicas[i%len(replicas)].Addr)
			v.SetCookies(callback, cookies)
			v.HoldAt(replicas[0].URL)
			r, err := http.NewRequest(http.MethodGet, callback, nil)
			if err != nil {
				t.Error(err)
				return
			}
			resp, err := v.Client().Do(r)
			if err != nil {
				t.Error(err)
				return
			}
			_ = resp.Body.Close()
			for _, c := range resp.Cookies() {
				if c.Name == sessionCookie && c.Value != "" {
					sessions.Add(1)
				}
			}
		})
	}
	running.Wait()
	return int(sessions.Load())
}

func startReplica(t *testing.T, options rp.Options) *rp.Replica {
	t.Helper()
	return rp.Start(t, options.With("ADDR", net.JoinHostPort("127.0.0.1", strconv.Itoa(process.FreePort(t)))))
}
