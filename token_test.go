package oidcgate_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oidcgate/oidcgate"
	"github.com/oidcgate/oidcgate/oidcgatetest"
	"github.com/oidcgate/oidcgate/store"
)

// drill is a store in which things go wrong. It notes the name of every key and set it is asked for.
type drill struct {
	store.Store

	mu            sync.Mutex
	before, after func(op, key string) error
	calls         []string // "op key"
}

// fail has before asked ahead of every command, whose error is the command's, and after when it was carried
// out: its error stands for a reply that is lost. Either may be nil, and either may do something else.
func (d *drill) fail(before, after func(op, key string) error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.before, d.after = before, after
}

// during returns the commands that f leads to.
func (d *drill) during(f func()) []string {
	d.mu.Lock()
	d.calls = nil
	d.mu.Unlock()
	f()
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.calls)
}

func (d *drill) carry(op, key string, do func() error) error {
	d.mu.Lock()
	d.calls = append(d.calls, op+" "+key)
	before, after := d.before, d.after
	d.mu.Unlock()
	if before != nil {
		if err := before(op, key); err != nil {
			return err
		}
	}
	err := do()
	if err == nil && after != nil {
		err = after(op, key)
	}
	return err
}

func (d *drill) Get(ctx context.Context, key string) (value []byte, err error) {
	err = d.carry("get", key, func() (err error) { value, err = d.Store.Get(ctx, key); return err })
	return value, err
}

func (d *drill) Create(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	return d.carry("create", key, func() error { return d.Store.Create(ctx, key, value, ttl) })
}

func (d *drill) Swap(ctx context.Context, key string, old, value []byte, ttl time.Duration) error {
	return d.carry("swap", key, func() error { return d.Store.Swap(ctx, key, old, value, ttl) })
}

func (d *drill) Delete(ctx context.Context, key string, old []byte) error {
	return d.carry("delete", key, func() error { return d.Store.Delete(ctx, key, old) })
}

func (d *drill) Add(ctx context.Context, set, member string, ttl time.Duration) error {
	return d.carry("add", set, func() error { return d.Store.Add(ctx, set, member, ttl) })
}

func (d *drill) Members(ctx context.Context, set string) (members []string, err error) {
	err = d.carry("members", set, func() (err error) { members, err = d.Store.Members(ctx, set); return err })
	return members, err
}

func (d *drill) Remove(ctx context.Context, set, member string) error {
	return d.carry("remove", set, func() error { return d.Store.Remove(ctx, set, member) })
}

// on makes a fault of the commands whose name and key begin so, such as "swap t:".
func on(prefix string, err error) func(op, key string) error {
	return func(op, key string) error {
		if strings.HasPrefix(op+" "+key, prefix) {
			return err
		}
		return nil
	}
}

// fleet is a shop of several replicas: gates with one configuration on one store. The requests of a browser go
// to one after the other.
type fleet struct {
	*world
	drill    *drill
	gates    []*oidcgate.Gate
	next     atomic.Uint32
	provider oidcgate.Provider
}

// newFleet opens a shop of n replicas. Its provider rotates refresh tokens and gives access tokens of ten
// minutes.
func newFleet(t *testing.T, n int, changes ...change) *fleet {
	t.Helper()
	op := oidcgatetest.NewProvider(t, oidcgatetest.Config{RotateRefreshTokens: true, AccessTokenLifetime: 10 * time.Minute})
	return newFleetOf(t, op, n, changes...)
}

func newFleetOf(t *testing.T, op *oidcgatetest.Provider, n int, changes ...change) *fleet {
	t.Helper()
	f := &fleet{drill: &drill{}}
	f.world = newWorldOf(t, op, append(changes, func(c *oidcgate.Config, p *oidcgate.Provider) {
		f.drill.Store, c.Store = c.Store, f.drill
		f.provider = *p
	})...)
	f.openReplicas(n, f.provider)
	return f
}

func (f *fleet) openReplicas(n int, provider oidcgate.Provider) {
	f.Helper()
	f.gates = nil
	var shops []http.Handler
	for range n {
		f.open(provider)
		gate := f.gate
		f.gates = append(f.gates, gate)
		shops = append(shops, f.gate.Wrap(f.tokenShop(f.gate)))
		f.Cleanup(func() { // refreshes that the store refuses go on for a while
			ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
			defer cancel()
			_ = gate.Wait(ctx)
		})
	}
	f.handler = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		shops[int(f.next.Add(1))%n].ServeHTTP(rw, r)
	})
}

// tokenShop is the shop with pages that tell the access token and the sessions of the visitor.
func (w *world) tokenShop(gate *oidcgate.Gate) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", w.shop())
	mux.HandleFunc("/token", func(rw http.ResponseWriter, r *http.Request) {
		token, err := gate.Token(r.Context())
		if err != nil {
			http.Error(rw, err.Error(), tokenStatus(err))
			return
		}
		_, _ = io.WriteString(rw, token.AccessToken)
	})
	mux.HandleFunc("/sessions", func(rw http.ResponseWriter, r *http.Request) {
		list, err := gate.Sessions().List(r.Context())
		writeResult(rw, list, err)
	})
	mux.HandleFunc("/sessions/of", func(rw http.ResponseWriter, r *http.Request) {
		list, err := gate.Sessions().ListUser(r.Context(), w.op.Issuer(), r.FormValue("user"))
		writeResult(rw, list, err)
	})
	mux.HandleFunc("/sessions/end", func(rw http.ResponseWriter, r *http.Request) {
		writeResult(rw, nil, gate.Sessions().End(r.Context(), r.FormValue("id")))
	})
	mux.HandleFunc("/sessions/end-others", func(rw http.ResponseWriter, r *http.Request) {
		n, err := gate.Sessions().EndOthers(r.Context())
		writeResult(rw, n, err)
	})
	return mux
}

func writeResult(rw http.ResponseWriter, v any, err error) {
	if err != nil {
		http.Error(rw, err.Error(), tokenStatus(err))
		return
	}
	_ = json.NewEncoder(rw).Encode(v)
}

// tokenStatus tells errors apart for a browser.
func tokenStatus(err error) int {
	switch {
	case errors.Is(err, oidcgate.ErrNoSession):
		return http.StatusUnauthorized
	case errors.Is(err, oidcgate.ErrTokenExpired):
		return http.StatusGone
	case errors.Is(err, oidcgate.ErrProviderUnavailable):
		return http.StatusBadGateway
	case errors.Is(err, oidcgate.ErrStoreUnavailable):
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

// token returns the visitor's access token, or "" and the status that says why there is none.
func (f *fleet) token(browser ...*http.Client) (string, int) {
	f.Helper()
	a := f.send(append(browser, f.browser)[0], http.MethodGet, "/token", "")
	if a.StatusCode != http.StatusOK {
		return "", a.StatusCode
	}
	return a.body, a.StatusCode
}

// mustToken is token for a visitor who must have one.
func (f *fleet) mustToken(browser ...*http.Client) string {
	f.Helper()
	token, status := f.token(browser...)
	if token == "" {
		f.Fatalf("/token: status %d\n%s", status, f.logged())
	}
	return token
}

// tokens asks for the visitor's access token n times at once.
func (f *fleet) tokens(n int) []string {
	f.Helper()
	got := make([]string, n)
	var wg sync.WaitGroup
	for i := range got {
		wg.Go(func() { got[i], _ = f.token() })
	}
	wg.Wait()
	return got
}

// refreshes returns how often the provider was asked to refresh, of logins that many.
func (f *fleet) refreshes(logins int) int { return f.op.Count(oidcgatetest.Token) - logins }

// refreshed fails the test unless the provider was asked to refresh so often since the one login.
func (f *fleet) refreshed(want int) {
	f.Helper()
	if got := f.refreshes(1); got != want {
		f.Errorf("the provider was asked %d times to refresh, want %d\n%s", got, want, f.logged())
	}
}

// reported returns the events of a type, of all replicas.
func (f *fleet) reported(kind oidcgate.EventType) []oidcgate.Event {
	f.Helper()
	for _, gate := range f.gates {
		if err := gate.Wait(f.Context()); err != nil {
			f.Fatalf("Close: %v", err)
		}
	}
	return f.eventsOf(kind)
}

// reportedOnce fails the test unless there is one event of the type, with the reason.
func (f *fleet) reportedOnce(kind oidcgate.EventType, reason oidcgate.Reason) {
	f.Helper()
	if got := f.reported(kind); len(got) != 1 || got[0].Reason != reason {
		f.Errorf("%d events %s: %+v; want one with the reason %q", len(got), kind, got, reason)
	}
}

// signInAs signs a new browser in as somebody.
func (f *fleet) signInAs(subject string) *http.Client {
	f.Helper()
	f.op.SetUser(oidcgatetest.User{Subject: subject})
	mine := f.browser
	defer func() { f.browser = mine }()
	f.browser = f.newBrowser()
	f.login()
	return f.browser
}

// as has f do what a browser does.
func (f *fleet) as(browser *http.Client, do func()) {
	mine := f.browser
	defer func() { f.browser = mine }()
	f.browser = browser
	do()
}

// who returns who is signed in with a browser.
func (f *fleet) who(browser *http.Client) (subject string) {
	f.Helper()
	f.as(browser, func() { subject = f.subject() })
	return subject
}

// inBubble runs a test on the clock of testing/synctest.
func inBubble(t *testing.T, name string, test func(t *testing.T)) {
	t.Run(name, func(t *testing.T) { synctest.Test(t, test) })
}

func TestTokenErrors(t *testing.T) {
	inBubble(t, "nobody is signed in", func(t *testing.T) {
		f := newFleet(t, 1)
		if _, status := f.token(); status != http.StatusUnauthorized {
			t.Errorf("status %d, want ErrNoSession", status)
		}
	})
	inBubble(t, "a context that is no request's has no session", func(t *testing.T) {
		f := newFleet(t, 1)
		if _, err := f.gate.Token(t.Context()); !errors.Is(err, oidcgate.ErrNoSession) {
			t.Errorf("%v, want ErrNoSession", err)
		}
	})
	inBubble(t, "the tokens cannot be read", func(t *testing.T) {
		f := newFleet(t, 1)
		f.login()
		f.drill.fail(on("get t:", errIll), nil)
		if _, status := f.token(); status != http.StatusServiceUnavailable {
			t.Errorf("status %d, want ErrStoreUnavailable", status)
		}
		f.drill.fail(nil, nil)
		f.mustToken()
	})
	inBubble(t, "F32 RFC 8693 the session cannot be read: that is no end of it for ExchangeToken either", func(t *testing.T) {
		f := newFleet(t, 1)
		f.login()
		f.drill.fail(on("get s:", errIll), nil)
		var err error
		f.handler = f.gate.Wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			_, err = f.gate.ExchangeToken(r.Context(), oidcgate.TokenExchange{Audience: "ledger"})
		}))
		f.get("/")
		if !errors.Is(err, oidcgate.ErrStoreUnavailable) || errors.Is(err, oidcgate.ErrNoSession) {
			t.Errorf("error %v, want ErrStoreUnavailable", err)
		}
	})
	inBubble(t, "C085 an access token without a refresh token is over when it is over", func(t *testing.T) {
		f := newFleet(t, 1)
		f.op.Inject(oidcgatetest.Token, oidcgatetest.EditJSON(func(m map[string]any) { delete(m, "refresh_token") }))
		f.login()
		time.Sleep(10*time.Minute - time.Second)
		f.mustToken()
		time.Sleep(2 * time.Second)
		if _, status := f.token(); status != http.StatusGone {
			t.Errorf("status %d, want ErrTokenExpired", status)
		}
		if got := f.subject(); got != "alice" {
			t.Errorf("signed in as %q; the session does not end with the token", got)
		}
		f.refreshed(0)
	})
	inBubble(t, "a caller that gives up is told so, and not that the store is ill", func(t *testing.T) {
		f := newFleet(t, 1)
		f.login()
		f.op.Always(oidcgatetest.Token, oidcgatetest.Delay(5*time.Second))
		time.Sleep(11 * time.Minute)
		got := make(chan error, 1)
		f.handler = f.gate.Wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			ctx, cancel := context.WithTimeout(r.Context(), time.Second)
			defer cancel()
			_, err := f.gate.Token(ctx)
			got <- err
		}))
		f.get("/")
		if err := <-got; !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, oidcgate.ErrStoreUnavailable) {
			t.Errorf("%v, want the context's error", err)
		}
		if n := len(f.reported(oidcgate.EventStoreUnavailable)); n != 0 {
			t.Errorf("%d events say that the store is ill", n)
		}
	})
	inBubble(t, "F17 a handler whose time is over is told so by every call, and not that the store is ill", func(t *testing.T) {
		f := newFleet(t, 1, rereads)
		f.login()
		time.Sleep(6 * time.Minute)
		called := map[string]error{}
		f.handler = f.gate.Wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			ctx, cancel := context.WithTimeout(r.Context(), time.Second)
			defer cancel()
			<-ctx.Done()
			_, called["Token"] = f.gate.Token(ctx)
			_, called["List"] = f.gate.Sessions().List(ctx)
			_, called["EndOthers"] = f.gate.Sessions().EndOthers(ctx)
			_, called["EndUser"] = f.gate.Sessions().EndUser(ctx, f.op.Issuer(), "alice")
			called["Ready"] = f.gate.Ready(ctx)
			called["Logout"] = f.gate.Sessions().End(ctx, "a session")
		}))
		f.get("/")
		for call, err := range called {
			if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, oidcgate.ErrStoreUnavailable) {
				t.Errorf("%s: %v, want the context's error", call, err)
			}
		}
		if n := len(f.reported(oidcgate.EventStoreUnavailable)); n != 0 || len(called) != 6 {
			t.Errorf("%d events say that the store is ill", n)
		}
	})
}

func TestTokensAreNotShared(t *testing.T) {
	inBubble(t, "two users who refresh at once get each their own token", func(t *testing.T) {
		f := newFleet(t, 3)
		browsers := map[string]*http.Client{"alice": f.signInAs("alice"), "bob": f.signInAs("bob")}
		f.op.Always(oidcgatetest.Token, oidcgatetest.Delay(100*time.Millisecond))
		for range 3 {
			time.Sleep(11 * time.Minute)
			var wg sync.WaitGroup
			for subject, browser := range browsers {
				for range 20 {
					wg.Go(func() {
						if got := f.owner(f.mustToken(browser)); got != subject {
							t.Errorf("%s was given the token of %s", subject, got)
						}
					})
				}
			}
			wg.Wait()
		}
		if got := f.refreshes(2); got != 6 {
			t.Errorf("%d refreshes, want three for each", got)
		}
	})
}

// owner asks the provider whose an access token is.
func (w *world) owner(accessToken string) string {
	w.Helper()
	a := w.send(w.newBrowser(), http.MethodGet, w.op.Issuer()+"/userinfo", "", "Authorization: Bearer "+accessToken)
	var who struct{ Sub string }
	if err := json.Unmarshal([]byte(a.body), &who); err != nil {
		w.Errorf("userinfo: status %d: %s", a.StatusCode, a.body)
	}
	return who.Sub
}

// TestClient calls a real resource server: the client's transport is net/http's own.
func TestClient(t *testing.T) {
	var elsewhere atomic.Int32
	foreign := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere.Add(1) }))
	defer foreign.Close()
	api := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/away" {
			http.Redirect(rw, r, foreign.URL, http.StatusTemporaryRedirect)
			return
		}
		_, _ = io.WriteString(rw, r.Header.Get("Authorization"))
	}))
	defer api.Close()

	f := newFleet(t, 1)
	shared := make(chan *http.Client, 1)
	mux := http.NewServeMux()
	mux.Handle("/", f.tokenShop(f.gate))
	mux.HandleFunc("/call", func(rw http.ResponseWriter, r *http.Request) {
		call(rw, f.gate.Client(r.Context(), api.URL), api.URL+r.FormValue("path"))
	})
	mux.HandleFunc("/keep", func(_ http.ResponseWriter, r *http.Request) { shared <- f.gate.Client(r.Context(), api.URL) })
	f.handler = f.gate.Wrap(mux)
	alice, bob := f.signInAs("alice"), f.signInAs("bob")

	t.Run("each request is made with the token of its own visitor", func(t *testing.T) {
		for _, browser := range []*http.Client{alice, bob} {
			if got := f.send(browser, http.MethodGet, "/call", "").body; got != "Bearer "+f.mustToken(browser) {
				t.Errorf("the resource server got %q", got)
			}
		}
	})
	t.Run("nobody is signed in: nothing is sent", func(t *testing.T) {
		if a := f.send(f.newBrowser(), http.MethodGet, "/call", ""); a.StatusCode != http.StatusUnauthorized {
			t.Errorf("status %d: %s", a.StatusCode, a.body)
		}
	})
	t.Run("a redirect is not followed, and the token goes nowhere else", func(t *testing.T) {
		if a := f.send(alice, http.MethodGet, "/call?path=/away", ""); a.StatusCode != http.StatusTemporaryRedirect || elsewhere.Load() != 0 {
			t.Errorf("status %d, %d requests elsewhere", a.StatusCode, elsewhere.Load())
		}
	})
	t.Run("a client kept beyond its request sends no token after the logout", func(t *testing.T) {
		f.send(alice, http.MethodGet, "/keep", "")
		kept := <-shared
		f.send(alice, http.MethodPost, "/auth/logout", "", "Sec-Fetch-Site: same-origin")
		if resp, err := kept.Get(api.URL); err == nil {
			resp.Body.Close()
			t.Errorf("it was answered %s", resp.Status)
		}
	})
}

// call passes on what a resource server answers.
func call(rw http.ResponseWriter, client *http.Client, target string) {
	resp, err := client.Get(target)
	if err != nil {
		http.Error(rw, err.Error(), tokenStatus(err))
		return
	}
	defer resp.Body.Close()
	rw.WriteHeader(resp.StatusCode)
	_, _ = io.Copy(rw, resp.Body)
}

func TestClientWaitsNoLongerThanItsRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 1)
		f.login()
		f.op.Always(oidcgatetest.Token, oidcgatetest.Delay(5*time.Second))
		time.Sleep(11 * time.Minute)
		got := make(chan string, 1)
		f.handler = f.gate.Wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			begun := time.Now()
			req, _ := http.NewRequestWithContext(ctx, http.MethodGet, "https://api.test/", nil)
			_, err := f.gate.Client(r.Context(), "https://api.test").Do(req)
			got <- fmt.Sprint(errors.Is(err, context.Canceled), " after ", time.Since(begun))
		}))
		f.get("/")
		if s := <-got; s != "true after 1s" {
			t.Errorf("given up: %s", s)
		}
		f.reported(oidcgate.EventRefreshSucceeded) // the refresh is let end
	})
}

// TestTokensWhileKeysRotate has replicas with different keys on one store.
func TestTokensWhileKeysRotate(t *testing.T) {
	const newKey = "7X5m1rSxkq0Zl2cB8dJtVw9yHnPfGuAeQoKiRsTjU3M="
	with := func(f *fleet, texts ...string) {
		var handlers []http.Handler
		f.gates = nil
		for _, text := range texts {
			f.config.Keys = mustKeys(f.T, text)
			f.openReplicas(1, oidcgate.Provider{Issuer: f.op.Issuer(), ClientID: "shop", Auth: oidcgate.ClientSecretBasic(secret)})
			handlers = append(handlers, f.handler)
		}
		f.handler = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			handlers[int(f.next.Add(1))%len(handlers)].ServeHTTP(rw, r)
		})
	}
	inBubble(t, "F41 old key first, new key first, old key gone: tokens are refreshed and sessions listed all the while", func(t *testing.T) {
		f := newFleet(t, 1)
		f.login()
		for i, keys := range [][]string{
			{worldKey, worldKey + "," + newKey},
			{worldKey + "," + newKey, newKey + "," + worldKey},
			{newKey + "," + worldKey, newKey + "," + worldKey},
		} {
			with(f, keys...)
			for range 2 {
				time.Sleep(11 * time.Minute)
				token := f.mustToken()
				if again := f.mustToken(); again != token {
					t.Errorf("step %d: two replicas have two tokens", i)
				}
			}
			if list := f.list(f.browser); len(list) != 1 {
				t.Errorf("step %d: %d sessions in the list", i, len(list))
			}
		}
		f.refreshed(6)
	})
	inBubble(t, "F41 a logout reaches sessions whose key this replica does not know", func(t *testing.T) {
		f := newFleet(t, 1)
		f.login()
		sid, shop := f.sid(f.browser), f.handler
		with(f, newKey)
		if got := f.subject(); got != "" {
			t.Errorf("signed in as %q by a replica without the key", got)
		}
		if a := f.logoutToken(f.logoutClaims("sid", sid)); a.StatusCode != http.StatusOK {
			t.Errorf("the logout was answered %d", a.StatusCode)
		}
		f.handler = shop
		if got := f.subject(); got != "" {
			t.Errorf("signed in as %q after the logout", got)
		}
	})
}

func TestClientSendsNoTokenAstray(t *testing.T) {
	var got []string // "host authorization"
	note := func(rw http.ResponseWriter, r *http.Request) {
		got = append(got, r.URL.Path+" "+strings.Fields(r.Header.Get("Authorization") + " nothing")[0])
		switch r.URL.Path {
		case "/away":
			http.Redirect(rw, r, "http://"+strings.Replace(r.Host, "127.0.0.1", "localhost", 1)+"/elsewhere", http.StatusFound)
		case "/stay":
			http.Redirect(rw, r, "/here", http.StatusFound)
		}
	}
	api := httptest.NewServer(http.HandlerFunc(note))
	t.Cleanup(api.Close)
	call := func(f *fleet, to string) (err error) {
		f.handler = f.gate.Wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			client := f.gate.Client(r.Context(), api.URL, "http://api.invalid")
			client.CheckRedirect = nil // follow redirects
			a, getErr := client.Get(to)
			if err = getErr; err == nil {
				a.Body.Close()
			}
		}))
		f.get("/")
		return err
	}
	t.Run("C055 a request that is redirected to another host has no token", func(t *testing.T) {
		f := newFleet(t, 1)
		f.login()
		got = nil
		if err := call(f, api.URL+"/away"); err != nil {
			t.Fatal(err)
		}
		if err := call(f, api.URL+"/stay"); err != nil {
			t.Fatal(err)
		}
		if want := "/away Bearer /elsewhere nothing /stay Bearer /here Bearer"; strings.Join(got, " ") != want {
			t.Errorf("%q, want %q", got, want)
		}
	})
	t.Run("C055 no token goes to an origin that was not given", func(t *testing.T) {
		f := newFleet(t, 1)
		f.login()
		got = nil
		for _, to := range []string{"https://api.invalid/", "http://localhost" + api.URL[strings.LastIndex(api.URL, ":"):] + "/here", api.URL[:len(api.URL)-1] + "/"} {
			if err := call(f, to); err == nil || !strings.Contains(err.Error(), "the origins that Client was given") {
				t.Errorf("%s: error %v", to, err)
			}
		}
		if len(got) != 0 {
			t.Errorf("requests arrived: %q", got)
		}
	})
	t.Run("C055 no token goes over http to another machine", func(t *testing.T) {
		f := newFleet(t, 1)
		f.login()
		if err := call(f, "http://api.invalid/"); err == nil || !strings.Contains(err.Error(), "use https") {
			t.Errorf("error %v", err)
		}
	})
	t.Run("C055 with InsecureAllowHTTP it may", func(t *testing.T) {
		f := newFleet(t, 1, func(c *oidcgate.Config, _ *oidcgate.Provider) { c.InsecureAllowHTTP = true })
		f.login()
		if err := call(f, "http://api.invalid/"); err == nil || strings.Contains(err.Error(), "use https") {
			t.Errorf("error %v, want that there is no such host", err)
		}
	})
}

// longRequest returns a request's context that goes on after the request was answered.
func (f *fleet) longRequest() context.Context {
	f.Helper()
	var ctx context.Context
	h := f.gate.Wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { ctx = r.Context() }))
	r := httptest.NewRequestWithContext(f.Context(), http.MethodGet, shopURL+"/stream", nil)
	r.Header.Set("Cookie", f.sentCookies())
	h.ServeHTTP(httptest.NewRecorder(), r)
	return ctx
}

func TestTokenInALongRequest(t *testing.T) {
	token := func(f *fleet, ctx context.Context) string {
		tok, err := f.gate.Token(ctx)
		if err != nil {
			return err.Error()
		}
		return tok.AccessToken
	}
	inBubble(t, "C105 there is no token after the session's idle end", func(t *testing.T) {
		f := newFleet(t, 1)
		f.login()
		ctx := f.longRequest()
		time.Sleep(2 * time.Hour)
		if got := token(f, ctx); got != oidcgate.ErrNoSession.Error() {
			t.Errorf("two hours later: %q", got)
		}
		f.refreshed(0)
	})
	inBubble(t, "C105 there is one while other requests use the session", func(t *testing.T) {
		f := newFleet(t, 1)
		f.login()
		ctx := f.longRequest()
		for range 4 {
			time.Sleep(30 * time.Minute)
			f.subject()
		}
		if got := token(f, ctx); got != f.mustToken() {
			t.Errorf("two hours later: %q", got)
		}
	})
	inBubble(t, "C105 there is none after a session_expiry that a refresh brought", func(t *testing.T) {
		f := newFleet(t, 1)
		f.login()
		ctx := f.longRequest()
		time.Sleep(10 * time.Minute)
		f.sessionExpiry(10 * time.Minute)
		f.mustToken()
		time.Sleep(10 * time.Minute)
		if got := token(f, ctx); got != oidcgate.ErrNoSession.Error() {
			t.Errorf("after the end that the provider wants: %q", got)
		}
		f.refreshed(1)
	})
}

func TestTokenSource(t *testing.T) {
	t.Run("C109 a source gives what Token gives", func(t *testing.T) {
		f := newFleet(t, 1)
		ctx := f.longRequest()
		if _, err := f.gate.TokenSource(ctx).Token(); !errors.Is(err, oidcgate.ErrNoSession) {
			t.Errorf("of nobody: %v", err)
		}
		f.login()
		ctx = f.longRequest()
		want, err := f.gate.Token(ctx)
		if err != nil {
			t.Fatal(err)
		}
		source := f.gate.TokenSource(ctx)
		got, err := source.Token()
		if err != nil || got.AccessToken != want.AccessToken {
			t.Errorf("%v, %v", got, err)
		}
		if text := fmt.Sprintf("%v %+v %#v", source, source, source); strings.Contains(text, "alice") || strings.Contains(text, "context") {
			t.Errorf("it prints %q", text)
		}
	})
	t.Run("C092 a token that is bound to a key is an error: nobody would prove the key", func(t *testing.T) {
		f := newFleet(t, 1, func(_ *oidcgate.Config, p *oidcgate.Provider) { p.TokenRequest.Binding = oidcgate.DPoP() })
		f.login()
		tok, err := f.gate.TokenSource(f.longRequest()).Token()
		if err == nil || !strings.Contains(err.Error(), "Gate.Client") || tok != nil {
			t.Errorf("%v, %v", tok, err)
		}
	})
}

func TestResourceTransport(t *testing.T) {
	t.Run("C055 it carries the requests of Client, with the token, and those of a redirect, without", func(t *testing.T) {
		var got []string
		carrier := roundTripper(func(r *http.Request) (*http.Response, error) {
			got = append(got, r.URL.Host+" "+strings.Fields(r.Header.Get("Authorization") + " nothing")[0])
			rec := httptest.NewRecorder()
			if r.URL.Host == "api.example" {
				rec.Header().Set("Location", "https://elsewhere.example/")
				rec.WriteHeader(http.StatusFound)
			}
			resp := rec.Result()
			resp.Request = r
			return resp, nil
		})
		f := newFleet(t, 1, func(c *oidcgate.Config, _ *oidcgate.Provider) { c.HTTP.ResourceTransport = carrier })
		f.login()
		client := f.gate.Client(f.longRequest(), "https://api.example")
		client.CheckRedirect = nil
		resp, err := client.Get("https://api.example/orders")
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if want := []string{"api.example Bearer", "elsewhere.example nothing"}; !slices.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	})
	t.Run("C091 with MutualTLS it must be one that can show a certificate", func(t *testing.T) {
		_, err := oidcgate.New(oidcgate.Config{
			BaseURL: "http://localhost:8080", HTTP: oidcgate.HTTPOptions{ResourceTransport: roundTripper(nil)},
		}, oidcgate.Provider{
			Issuer: "https://id.test", ClientID: "shop", Auth: oidcgate.ClientSecretPost(secret),
			TokenRequest: oidcgate.TokenRequest{Binding: oidcgate.MutualTLS(newClientCertificate(t))},
		})
		if err == nil || !strings.Contains(err.Error(), "HTTP.ResourceTransport") {
			t.Errorf("%v", err)
		}
	})
}
