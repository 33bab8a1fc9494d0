package blackbox_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/oidcgate/oidcgate/blackbox/internal/idp"
	"github.com/oidcgate/oidcgate/blackbox/internal/rp"
	"github.com/oidcgate/oidcgate/blackbox/internal/visitor"
	"github.com/oidcgate/oidcgate/blackbox/internal/walk"
	"github.com/oidcgate/oidcgate/internal/redistest"
)

// illness is a fault of Redis while visitors use the service.
type illness struct {
	name    string
	befall  func(*testing.T, *ward)
	heal    func(*testing.T, *ward)
	proxied bool // the service reaches Redis through a proxy
	reads   bool // Redis still answers reads
	deletes bool // Redis still deletes, and takes changes that hardly grow
}

// ward is a service whose Redis gets a fault.
type ward struct {
	redis *redistest.Server
	proxy *redistest.Proxy // if the fault needs one
	admin *redis.Client
	shop  *rp.Replica

	issuer string // of the provider, which has no fault
}

var illnesses = []illness{
	{
		name:   "stopped",
		befall: func(_ *testing.T, w *ward) { w.redis.Stop() },
		heal:   func(_ *testing.T, w *ward) { w.redis.Restart() },
	},
	{
		name:   "hung",
		befall: func(_ *testing.T, w *ward) { w.redis.Pause() },
		heal:   func(_ *testing.T, w *ward) { w.redis.Resume() },
	},
	{
		name:    "slower than anybody waits",
		befall:  func(_ *testing.T, w *ward) { w.proxy.SetDelay(5 * time.Second) },
		heal:    func(_ *testing.T, w *ward) { w.proxy.SetDelay(0) },
		proxied: true,
	},
	{
		name:   "read-only",
		befall: func(t *testing.T, w *ward) { w.command(t, "REPLICAOF", "127.0.0.1", "1") }, // no process listens there
		heal:   func(t *testing.T, w *ward) { w.command(t, "REPLICAOF", "NO", "ONE") },
		reads:  true,
	},
	{
		name:    "out of memory",
		befall:  func(t *testing.T, w *ward) { w.command(t, "CONFIG", "SET", "maxmemory", "1") },
		heal:    func(t *testing.T, w *ward) { w.command(t, "CONFIG", "SET", "maxmemory", "0") },
		reads:   true,
		deletes: true, // deleting needs no memory
	},
}

func (w *ward) command(t *testing.T, args ...any) {
	t.Helper()
	if err := w.admin.Do(t.Context(), args...).Err(); err != nil {
		t.Fatalf("%v: %v", args, err)
	}
}

// A fault of Redis signs nobody out. Requests that only read work as long as Redis answers reads.
// All others get 503 with Retry-After, and their cookies stay. When Redis works again, everything
// works as before.
func TestIllStore(t *testing.T) {
	options, client := newShop(t)
	op := idp.Start(t, idp.Config{Clients: []idp.Client{client}})
	for _, ill := range illnesses {
		t.Run("Redis is "+ill.name, func(t *testing.T) {
			// Redis writes to disk before it answers, so that a restarted Redis has all data.
			server := redistest.Start(t, "--appendonly", "yes", "--appendfsync", "always")
			w := &ward{redis: server, admin: server.Client(nil), issuer: op.Issuer}
			addr := server.Addr
			if ill.proxied {
				w.proxy = redistest.NewProxy(t, server.Addr)
				addr = w.proxy.Addr
			}
			w.shop = rp.Start(t, options.With("OIDC_ISSUER", op.Issuer, "REDIS_URL", "redis://"+addr, "REDIS_TIMEOUT", "500ms"))
			w.goThrough(t, ill)
		})
	}
}

func (w *ward) goThrough(t *testing.T, ill illness) {
	base := w.shop.URL
	alice, bob, leaver := visitor.New(), visitor.New(), visitor.New()
	walk.LogIn(t, alice, base+"/app", idp.Alice)
	walk.LogIn(t, leaver, base+"/app", idp.Bob)
	walk.Status(t, alice, base+"/put?k=cart&v=apples", http.StatusOK)
	cookies := alice.Cookies(base)
	callback := upToCallback(t, bob, base, idp.Bob)

	stop := w.traffic(t, alice)
	ill.befall(t, w)
	if ill.reads {
		w.wantReading(t, alice)
		// With deletes only what is longer is refused.
		wantUnavailable(t, alice, base+"/put?k=cart&v="+strings.Repeat("pear", 400))
	} else {
		w.wantNothing(t, alice)
	}
	if ill.deletes {
		w.wantLogout(t, leaver)
		walk.Status(t, alice, base+"/put?k=cart&v=plums", http.StatusOK)
		walk.Status(t, alice, base+"/put?k=cart&v=apples", http.StatusOK)
	} else {
		w.wantNoLogout(t, leaver)
	}
	wantUnavailable(t, bob, callback)
	ill.heal(t, w)
	w.awaitWell(t)
	stop()

	if got := alice.Cookies(base); !slices.EqualFunc(got, cookies, sameCookie) {
		t.Errorf("Alice's cookies became %v, were %v", got, cookies)
	}
	walk.WantIdentity(t, walk.Whoami(t, alice, base), w.issuer, idp.Alice)
	if p := walk.Status(t, alice, base+"/get?k=cart", http.StatusOK); p.Body != "apples" {
		t.Errorf("Alice's cart holds %q, want apples", p.Body)
	}
	if p := bob.Get(t, callback); p.URL.String() != base+"/app" || p.Status != http.StatusOK {
		t.Errorf("the callback that was answered 503 now ends at %s with %d, want /app:\n%s", p.URL, p.Status, p.Body)
	}
	walk.LogOut(t, alice, base)
	walk.Status(t, alice, base+"/whoami", http.StatusUnauthorized)
}

func sameCookie(a, b *http.Cookie) bool { return a.Name == b.Name && a.Value == b.Value }

// wantReading checks what must work as long as Redis answers reads.
func (w *ward) wantReading(t *testing.T, alice *visitor.Visitor) {
	t.Helper()
	for _, page := range []string{"/public", "/whoami", "/app", "/admin", "/domain", "/token"} {
		walk.Status(t, alice, w.shop.URL+page, http.StatusOK)
	}
	if p := walk.Status(t, alice, w.shop.URL+"/get?k=cart", http.StatusOK); p.Body != "apples" {
		t.Errorf("Alice's cart holds %q, want apples", p.Body)
	}
}

// wantNothing checks the answers while Redis does not answer: the service does not know whether the
// visitor is signed in, and must not answer that the visitor is not.
func (w *ward) wantNothing(t *testing.T, alice *visitor.Visitor) {
	t.Helper()
	walk.Status(t, alice, w.shop.URL+"/public", http.StatusOK)
	walk.Status(t, alice, w.shop.URL+"/file", http.StatusOK)
	walk.Status(t, visitor.New(), w.shop.URL+"/public", http.StatusOK)
	walk.Status(t, visitor.New(), w.shop.URL+"/whoami", http.StatusUnauthorized)
	for _, page := range []string{"/whoami", "/app", "/admin", "/get?k=cart", "/put?k=cart&v=pears", "/token"} {
		wantUnavailable(t, alice, w.shop.URL+page)
	}
}

func wantUnavailable(t *testing.T, v *visitor.Visitor, address string) {
	t.Helper()
	checkUnavailable(t, walk.Status(t, v, address, http.StatusServiceUnavailable))
}

func checkUnavailable(t *testing.T, p *visitor.Page) {
	t.Helper()
	if p.Status != http.StatusServiceUnavailable || p.Header.Get("Retry-After") == "" {
		t.Errorf("%s answers %d, Retry-After %q, want 503 and some seconds", p.URL, p.Status, p.Header.Get("Retry-After"))
	}
	if set := p.Header.Values("Set-Cookie"); len(set) > 0 {
		t.Errorf("%s answers 503 and sets the cookies %q, want none", p.URL, set)
	}
}

// wantNoLogout presses the logout button and checks that the answer is 503.
func (w *ward) wantNoLogout(t *testing.T, v *visitor.Visitor) {
	t.Helper()
	checkUnavailable(t, v.Submit(t, visitor.NewForm(w.shop.URL+"/auth/logout")))
}

// wantLogout checks that a logout works.
func (w *ward) wantLogout(t *testing.T, v *visitor.Visitor) {
	t.Helper()
	v.ConfirmLogout(t, v.Submit(t, visitor.NewForm(w.shop.URL+"/auth/logout")))
	walk.Status(t, v, w.shop.URL+"/whoami", http.StatusUnauthorized)
}

// traffic sends requests of a visitor until the function it returns is called. No response may say
// that the visitor is not signed in.
func (w *ward) traffic(t *testing.T, v *visitor.Visitor) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	for range 3 {
		running.Go(func() {
			for ctx.Err() == nil {
				if err := visitOnce(v, w.shop.URL+"/whoami"); err != nil {
					t.Errorf("under way: %v", err)
					return
				}
				time.Sleep(10 * time.Millisecond)
			}
		})
	}
	return func() {
		cancel()
		running.Wait()
	}
}

func visitOnce(v *visitor.Visitor, address string) error {
	r, err := http.NewRequest(http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	resp, err := v.Client().Do(r)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	switch {
	case len(resp.Header.Values("Set-Cookie")) > 0:
		return fmt.Errorf("%s answers %d and sets the cookies %q", address, resp.StatusCode, resp.Header.Values("Set-Cookie"))
	case resp.StatusCode == http.StatusServiceUnavailable && resp.Header.Get("Retry-After") != "":
		return nil
	case resp.StatusCode != http.StatusOK:
		return fmt.Errorf("%s answers %d, want 200, or 503 with Retry-After", address, resp.StatusCode)
	}
	return nil
}

// awaitWell waits until the service works again on every connection: after many refused connections
// go-redis dials only about once a second for each of its pools.
func (w *ward) awaitWell(t *testing.T) {
	t.Helper()
	const inARow = 40 // times 50 ms
	well := 0
	for end := time.Now().Add(3 * time.Minute); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if well++; !w.shop.Ready() {
			well = 0
		}
		if well == inARow {
			return
		}
	}
	t.Fatal("Redis is well and the service is not ready")
}
