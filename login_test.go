package oidcgate_test

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oidcgate/oidcgate"
	"github.com/oidcgate/oidcgate/internal/returnto"
	"github.com/oidcgate/oidcgate/internal/seal"
	"github.com/oidcgate/oidcgate/oidcgatetest"
	"github.com/oidcgate/oidcgate/store"
)

// authorization begins a login at an address of the shop and returns the request it makes of the provider.
func (w *world) authorization(target string, headers ...string) *url.URL {
	w.Helper()
	a := w.get(target, headers...)
	u, err := url.Parse(a.location())
	if err != nil || a.StatusCode != http.StatusSeeOther || !strings.HasPrefix(a.location(), strings.TrimSuffix(w.op.Issuer(), "/")+"/authorize?") {
		w.Fatalf("GET %s: %d to %q, want 303 to the provider\n%s", target, a.StatusCode, a.location(), a.body)
	}
	return u
}

// finishLogin follows the browser from the provider to the end of the login.
func (w *world) finishLogin(authorization string) answer {
	w.Helper()
	a := w.get(authorization)
	if !strings.HasPrefix(a.location(), shopURL+"/auth/callback") {
		w.Fatalf("the provider answers %d to %q\n%s", a.StatusCode, a.location(), a.body)
	}
	return w.get(a.location())
}

// secret256 is 256 bits in base64url.
var secret256 = regexp.MustCompile(`^[A-Za-z0-9_-]{43}$`)

func TestAuthorizationRequest(t *testing.T) {
	t.Run("C018 it has what the code flow needs, each parameter once", func(t *testing.T) {
		w := newWorld(t)
		q := w.authorization("/auth/login").Query()
		want := map[string]string{
			"response_type": "code", "client_id": "shop", "redirect_uri": shopURL + "/auth/callback",
			"scope": "openid profile email", "code_challenge_method": "S256",
		}
		for name, value := range want {
			if got := q[name]; len(got) != 1 || got[0] != value {
				t.Errorf("%s = %q, want %q once", name, got, value)
			}
		}
		for _, name := range []string{"state", "nonce", "code_challenge"} {
			if got := q[name]; len(got) != 1 || !secret256.MatchString(got[0]) {
				t.Errorf("%s = %q, want 256 bits in base64url, once", name, got)
			}
		}
		if len(q) != 8 {
			t.Errorf("%d parameters, want 8: %v", len(q), slices.Sorted(maps.Keys(q)))
		}
	})

	t.Run("C019 the verifier fits the challenge and does not stand in the request", func(t *testing.T) {
		w := newWorld(t)
		u := w.authorization("/auth/login")
		w.finishLogin(u.String())
		verifier := w.op.LastRequest(oidcgatetest.Token).Form.Get("code_verifier")
		sum := sha256.Sum256([]byte(verifier))
		if got, want := u.Query().Get("code_challenge"), base64.RawURLEncoding.EncodeToString(sum[:]); got != want {
			t.Errorf("code_challenge %q, want %q", got, want)
		}
		if !secret256.MatchString(verifier) || strings.Contains(u.String(), verifier) {
			t.Errorf("the verifier has %d characters, or stands in %s", len(verifier), u)
		}
	})

	t.Run("C019 C020 C021 nothing repeats in 1,000 logins", func(t *testing.T) {
		w := newWorld(t)
		w.authorization("/auth/login") // discovery
		seen := map[string]bool{}
		for range 1000 {
			rec := w.direct(httptest.NewRequest(http.MethodGet, shopURL+"/auth/login", nil))
			u, _ := url.Parse(rec.Header().Get("Location"))
			for _, name := range []string{"state", "nonce", "code_challenge"} {
				value := u.Query().Get(name)
				if seen[value] || !secret256.MatchString(value) {
					t.Fatalf("%s = %q appears twice, or is not 256 bits", name, value)
				}
				seen[value] = true
			}
		}
	})

	t.Run("C023 it is shorter than 2 KB for the longest return path", func(t *testing.T) {
		w := newWorld(t)
		u := w.authorization("/auth/login?return_to=/app?" + strings.Repeat("x", 2000))
		if got := len(u.String()); got >= 2<<10 {
			t.Errorf("%d bytes", got)
		}
	})

	t.Run("C024 R-FLOW-2 R-FLOW-3 C048 a link chooses none of its parameters", func(t *testing.T) {
		w := newWorld(t)
		own := w.authorization("/auth/login").Query()
		link := url.Values{}
		for _, name := range []string{
			"redirect_uri", "scope", "state", "nonce", "client_id", "response_type", "response_mode", "code_challenge",
			"code_challenge_method", "acr_values", "max_age", "prompt", "login_hint", "audience", "request", "request_uri",
			"provider", "attempt", "session", "iss", "step",
		} {
			link.Set(name, "https://evil.example")
		}
		a := w.get("/auth/login?" + link.Encode())
		if strings.Contains(a.location(), "evil") {
			t.Errorf("the link's value stands in %s", a.location())
		}
		u, _ := url.Parse(a.location())
		got, want := slices.Sorted(maps.Keys(u.Query())), slices.Sorted(maps.Keys(own))
		if !slices.Equal(got, want) {
			t.Errorf("parameters %v, want %v", got, want)
		}
		for _, c := range a.Cookies() {
			if strings.Contains(c.String(), "evil") {
				t.Errorf("the link's value stands in the cookie %v", c)
			}
		}
	})

	t.Run("C017 forged forwarding headers change neither redirect URI nor cookies", func(t *testing.T) {
		w := newWorld(t)
		r := httptest.NewRequest(http.MethodGet, "http://evil.example/auth/login", nil)
		for _, h := range []string{"X-Forwarded-Host", "X-Forwarded-Server", "X-Original-Host", "X-Host", "Forwarded"} {
			r.Header.Set(h, "evil.example")
		}
		r.Header.Set("X-Forwarded-Proto", "http")
		r.Header.Set("X-Forwarded-Prefix", "/evil")
		r.Header.Set("Forwarded", "host=evil.example;proto=http")
		rec := w.direct(r)
		u, _ := url.Parse(rec.Header().Get("Location"))
		if got := u.Query().Get("redirect_uri"); got != shopURL+"/auth/callback" {
			t.Errorf("redirect_uri %q", got)
		}
		for _, c := range rec.Result().Cookies() {
			if !c.Secure || c.Domain != "" {
				t.Errorf("cookie %v", c)
			}
		}
		if strings.Contains(rec.Header().Get("Location"), "evil") {
			t.Errorf("Location %q", rec.Header().Get("Location"))
		}
	})
}

// direct sends a request to the shop past the network, for bytes that a client does not send.
func (w *world) direct(r *http.Request) *httptest.ResponseRecorder {
	rec := httptest.NewRecorder()
	if r.Header.Get("Accept") == "" {
		r.Header.Set("Accept", "text/html")
	}
	w.handler.ServeHTTP(rec, r)
	return rec
}

func TestLoginBeginsForNavigationsOnly(t *testing.T) {
	tests := []struct {
		name, method string
		headers      []string
		want         int
	}{
		{"a HEAD", http.MethodHead, nil, 405},
		{"an OPTIONS", http.MethodOptions, nil, 405},
		{"a POST", http.MethodPost, nil, 405},
		{"a prefetch", http.MethodGet, []string{"Sec-Purpose: prefetch", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document"}, 400},
		{"a prerender", http.MethodGet, []string{"Sec-Purpose: prefetch;prerender", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document"}, 400},
		{"an old prefetch", http.MethodGet, []string{"Purpose: prefetch"}, 400},
		{"an image", http.MethodGet, []string{"Sec-Fetch-Mode: no-cors", "Sec-Fetch-Dest: image"}, 400},
		{"an iframe", http.MethodGet, []string{"Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: iframe"}, 400},
		{"a fetch", http.MethodGet, []string{"Sec-Fetch-Mode: cors", "Sec-Fetch-Dest: empty"}, 400},
	}
	for _, tt := range tests {
		t.Run("C026 "+tt.name+" begins no login", func(t *testing.T) {
			w := newWorld(t)
			a := w.send(w.browser, tt.method, "/auth/login", "", tt.headers...)
			if a.StatusCode != tt.want || a.location() != "" {
				t.Errorf("%d to %q, want %d", a.StatusCode, a.location(), tt.want)
			}
			if c := a.Cookies(); len(c) != 0 {
				t.Errorf("cookies %v", c)
			}
			if n := w.op.Count(oidcgatetest.Discovery); n != 0 {
				t.Errorf("the provider was asked %d times", n)
			}
		})
	}
}

func TestLoginOfSomebodySignedIn(t *testing.T) {
	t.Run("C028 a link on another site leads on without a login", func(t *testing.T) {
		w := newWorld(t)
		w.login()
		a := w.get("/auth/login?return_to=/app/1", "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document")
		if a.StatusCode != http.StatusSeeOther || a.location() != shopURL+"/app/1" {
			t.Errorf("%d to %q, want the page itself", a.StatusCode, a.location())
		}
		if got := w.subject(); got != "alice" {
			t.Errorf("signed in: %q, want alice", got)
		}
	})

	t.Run("C028 the session stays until the new login has succeeded", func(t *testing.T) {
		w := newWorld(t)
		w.login()
		w.op.SetUser(oidcgatetest.User{Subject: "mallory"})
		u := w.authorization("/auth/login", "Sec-Fetch-Site: same-origin", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document")
		if got := w.subject(); got != "alice" {
			t.Errorf("after the start: %q, want alice", got)
		}
		w.op.NextIDToken((*oidcgatetest.JWT).CorruptSignature)
		w.denied(w.finishLogin(u.String()), http.StatusBadGateway, oidcgate.ReasonSignature)
		if got := w.subject(); got != "alice" {
			t.Errorf("after the failure: %q, want alice", got)
		}
		w.finishLogin(w.authorization("/auth/login").String())
		if got := w.subject(); got != "mallory" {
			t.Errorf("after the success: %q, want mallory", got)
		}
	})
}

func TestAbandonedLogins(t *testing.T) {
	t.Run("F26 C022 logins of strangers write nothing to the store", func(t *testing.T) {
		tally := &tallyStore{Store: &store.Memory{}}
		w := newWorld(t, func(c *oidcgate.Config, _ *oidcgate.Provider) { c.Store = tally })
		for range 500 {
			w.direct(httptest.NewRequest(http.MethodGet, shopURL+"/app", nil))
			w.direct(httptest.NewRequest(http.MethodGet, shopURL+"/auth/login", nil))
		}
		if n := tally.writes.Load(); n != 0 {
			t.Errorf("%d writes, want 0", n)
		}
	})

	inBubble(t, "F26 F16 whether the store takes writes is tried every five seconds, however many begin a login", func(t *testing.T) {
		f := newFleet(t, 1)
		writes := 0
		for _, call := range f.drill.during(func() {
			for range 500 {
				f.get("/auth/login")
				time.Sleep(20 * time.Millisecond)
			}
		}) {
			if strings.HasPrefix(call, "create ") {
				writes++
			}
		}
		if writes != 16 {
			t.Errorf("%d writes in ten seconds, want two times eight", writes)
		}
	})

	inBubble(t, "F16 no login begins that must fail: the store refuses writes", func(t *testing.T) {
		f := newFleet(t, 1)
		f.get("/auth/login")
		f.drill.fail(func(op, _ string) error {
			if op != "get" && op != "members" {
				return errors.New("OOM command not allowed")
			}
			return nil
		}, nil)
		time.Sleep(5 * time.Second)
		for range 3 {
			if err := f.gate.Ready(t.Context()); !errors.Is(err, oidcgate.ErrStoreUnavailable) {
				t.Errorf("Ready: %v", err)
			}
			if a := f.get("/auth/login"); a.StatusCode != http.StatusServiceUnavailable {
				t.Errorf("status %d", a.StatusCode)
			}
		}
		f.drill.fail(nil, nil)
		time.Sleep(time.Second)
		if err := f.gate.Ready(t.Context()); err != nil {
			t.Errorf("Ready, when the store is well: %v", err)
		}
		if a := f.get("/auth/login"); a.StatusCode != http.StatusSeeOther {
			t.Errorf("status %d when the store is well", a.StatusCode)
		}
	})

	inBubble(t, "F16 when the store is back after it was told to be down, that is told, once", func(t *testing.T) {
		f := newFleet(t, 1)
		f.login()
		told := func(when string, down, back int) {
			t.Helper()
			d, b := len(f.reported(oidcgate.EventStoreUnavailable)), len(f.reported(oidcgate.EventStoreAvailable))
			if d != down || b != back {
				t.Errorf("%s: told %d times that it is down and %d times that it is back, want %d and %d", when, d, b, down, back)
			}
		}
		ready := func(want error) {
			t.Helper()
			time.Sleep(5 * time.Second)
			if err := f.gate.Ready(t.Context()); !errors.Is(err, want) {
				t.Errorf("Ready: %v, want %v", err, want)
			}
		}
		ready(nil)
		told("never down", 0, 0)

		f.drill.fail(func(string, string) error { return errIll }, nil)
		f.get("/app")
		ready(errIll)
		told("down", 2, 0)
		f.drill.fail(on("create ", errIll), nil)
		if a := f.get("/app"); a.StatusCode != http.StatusOK {
			t.Errorf("status %d while it takes no writes", a.StatusCode)
		}
		told("it can be read", 2, 0)
		ready(errIll)
		told("it takes no writes", 3, 0)
		f.drill.fail(nil, nil)
		ready(nil)
		ready(nil)
		told("back", 3, 1)
		if !strings.Contains(f.logged(), `"level":"INFO","msg":"oidcgate: store.available"`) {
			t.Errorf("the log has no such line:\n%s", f.logged())
		}

		f.drill.fail(on("get ", errIll), nil)
		f.get("/app")
		f.drill.fail(nil, nil)
		time.Sleep(5 * time.Second)
		f.get("/auth/login")
		told("down and back again, as a login notices", 4, 2)
	})

	inBubble(t, "F26 F16 while the store takes no writes it is tried once a second, however many begin a login or leave", func(t *testing.T) {
		f := newFleet(t, 1)
		f.drill.fail(on("create ", errIll), nil)
		calls := f.drill.during(func() {
			for range 5 {
				var strangers sync.WaitGroup
				for i := range 100 {
					strangers.Go(func() {
						ctx, cancel := context.WithCancel(t.Context())
						defer cancel()
						if i%2 == 0 {
							cancel()
						}
						r := httptest.NewRequestWithContext(ctx, http.MethodGet, shopURL+"/auth/login", nil)
						w := httptest.NewRecorder()
						f.gate.Wrap(http.NotFoundHandler()).ServeHTTP(w, r)
						if i%2 == 1 && w.Code != http.StatusServiceUnavailable && w.Code != http.StatusSeeOther {
							t.Errorf("status %d", w.Code)
						}
					})
				}
				strangers.Wait()
				if a := f.get("/auth/login"); a.StatusCode != http.StatusServiceUnavailable {
					t.Errorf("status %d", a.StatusCode)
				}
				time.Sleep(time.Second)
			}
		})
		writes := 0
		for _, call := range calls {
			if strings.HasPrefix(call, "create r:") {
				writes++
			}
		}
		if writes != 5*8 {
			t.Errorf("%d writes in five seconds, want five times eight", writes)
		}
	})

	for _, length := range []int{1, 300, 468, 560} {
		path := "/app?" + strings.Repeat("x", length)
		t.Run(fmt.Sprintf("F27 100 logins with a return path of %d bytes leave at most 8 attempts and the newest works", len(path)), func(t *testing.T) {
			w := newWorld(t)
			w.login()
			var states []string
			var newest string
			for range 100 {
				u := w.authorization("/auth/login?return_to=" + url.QueryEscape(path))
				states, newest = append(states, u.Query().Get("state")), u.String()
			}
			if n := len(w.cookieNames("__Host-Http-oidcgate-a-")); n > 8 || n < 3 {
				t.Errorf("%d attempts, want 3 to 8", n)
			}
			if n := len(w.sentCookies()); n >= 4<<10 {
				t.Errorf("the Cookie header has %d bytes, want less than 4 KB", n)
			}
			if len(w.eventsOf(oidcgate.EventAttemptLimitReached)) == 0 {
				t.Error("no event")
			}
			a := w.get("/auth/callback?code=x&state=" + states[0])
			w.denied(a, http.StatusBadRequest, oidcgate.ReasonUnknownState)
			if a := w.finishLogin(newest); a.location() != shopURL+path {
				t.Errorf("the newest login ends with %d at %q", a.StatusCode, a.location())
			}
		})
	}

	t.Run("F27 the oldest attempt goes first", func(t *testing.T) {
		w := newWorld(t)
		var logins []string
		for range 9 {
			logins = append(logins, w.authorization("/auth/login").String())
		}
		for _, login := range logins[1:] {
			if a := w.finishLogin(login); a.StatusCode != http.StatusSeeOther {
				t.Errorf("one of the newest eight: %d\n%s", a.StatusCode, a.body)
			}
		}
		w.denied(w.finishLogin(logins[0]), http.StatusBadRequest, oidcgate.ReasonUnknownState)
	})
}

func TestLoginsOfAnotherSite(t *testing.T) {
	t.Run("F27 a page of another site that begins logins evicts its own", func(t *testing.T) {
		w := newWorld(t)
		victims := w.authorization("/auth/login?return_to=/app").String()
		var last string
		for range 20 {
			last = w.authorization("/auth/login", "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document").String()
		}
		if n := len(w.cookieNames("__Host-Http-oidcgate-a-")); n > 8 {
			t.Errorf("%d attempts, want at most 8", n)
		}
		if a := w.finishLogin(last); a.StatusCode != http.StatusSeeOther {
			t.Errorf("the last of the other site ends with %d", a.StatusCode)
		}
		if a := w.finishLogin(victims); a.location() != shopURL+"/app" {
			t.Errorf("the login under way ends with %d at %q\n%s", a.StatusCode, a.location(), a.body)
		}
	})
}

// sentCookies is the Cookie header the browser sends to the shop.
func (w *world) sentCookies() string {
	u, _ := url.Parse(shopURL)
	r := http.Request{Header: http.Header{}}
	for _, c := range w.browser.Jar.Cookies(u) {
		r.AddCookie(c)
	}
	return r.Header.Get("Cookie")
}

func TestCookieBomb(t *testing.T) {
	t.Run("F25 R-DOS-3 more cookies than are read end in a page, not in a loop", func(t *testing.T) {
		w := newWorld(t)
		bomb := "Cookie: " + strings.TrimSuffix(strings.Repeat("a=b; ", 3001), "; ")
		location := "/app"
		for range 3 {
			location = w.get(location, bomb).location()
		}
		a := w.get(location, bomb)
		w.denied(a, http.StatusBadRequest, oidcgate.ReasonUnknownState)
	})
}

func TestBrowserWithoutCookies(t *testing.T) {
	t.Run("R-DOS-3 a browser that keeps no cookie ends at a page that says so", func(t *testing.T) {
		w := newWorld(t)
		w.browser.Jar = nil
		a := w.get(w.callbackURL("/app"))
		w.denied(a, http.StatusBadRequest, oidcgate.ReasonUnknownState)
		if !strings.Contains(a.body, "cookies") {
			t.Errorf("the page does not speak of cookies:\n%s", a.body)
		}
	})
}

// noRandom is an entropy source that has failed.
type noRandom struct{}

func (noRandom) Read([]byte) (int, error) { return 0, errors.New("no entropy") }

func TestLoginWithoutRandomness(t *testing.T) {
	w := newWorld(t)
	w.login() // everything that is kept is there
	w.browser = w.newBrowser()
	working := rand.Reader
	rand.Reader = noRandom{}
	a := w.get("/auth/login")
	rand.Reader = working
	t.Run("F42 without randomness there is no login", func(t *testing.T) {
		w.denied(a, http.StatusInternalServerError, "internal")
		if c := a.Cookies(); len(c) != 0 {
			t.Errorf("cookies %v", c)
		}
		if a.Header.Get("Retry-After") != "" {
			t.Error("the browser is told when to try again, and nobody knows")
		}
	})
	t.Run("F42 an attempt that cannot be encrypted begins no login", func(t *testing.T) {
		for n := int64(0); ; n += 4 { // bytes that there are
			w := newWorld(t)
			w.get("/public")
			rand.Reader = io.MultiReader(io.LimitReader(working, n), noRandom{})
			a := w.get("/auth/login")
			rand.Reader = working
			if a.StatusCode == http.StatusSeeOther && n > 16 {
				break
			}
			w.denied(a, http.StatusInternalServerError, "internal")
			if n > 256 {
				t.Fatalf("%d bytes are not enough", n)
			}
		}
	})
	const text = 26 // bytes that rand.Text reads, which ends the process without them
	t.Run("F42 options that cannot be encrypted are not asked for", func(t *testing.T) {
		rand.Reader = io.MultiReader(io.LimitReader(working, text), noRandom{})
		got := w.gate.LoginURL("/app", oidcgate.LoginOptions{Prompt: "login"})
		rand.Reader = working
		if want := shopURL + "/auth/login?return_to=%2Fapp"; got != want {
			t.Errorf("%s, want %s", got, want)
		}
	})
	t.Run("F42 without randomness a logout ends the session here, and goes to the page", func(t *testing.T) {
		w := newWorld(t)
		w.login()
		const nonce = 12 // of what a second click looks for
		rand.Reader = io.MultiReader(io.LimitReader(working, nonce+text), noRandom{})
		a := w.send(w.browser, http.MethodPost, "/auth/logout", "return_to=%2Fbye", sameOrigin)
		rand.Reader = working
		if a.location() != shopURL+"/bye" || w.subject() != "" {
			t.Errorf("%d to %q, signed in as %q", a.StatusCode, a.location(), w.subject())
		}
	})
}

// An entry is a line of the corpus of return paths: a value, and what becomes of it.
type entry struct {
	ID     string
	In     string
	Expect string
	Reason oidcgate.Reason
}

func (e *entry) UnmarshalJSON(b []byte) error {
	var line struct {
		ID, Expect string
		In         json.RawMessage
		Reason     oidcgate.Reason
	}
	if err := json.Unmarshal(b, &line); err != nil {
		return err
	}
	e.ID, e.Expect, e.Reason = line.ID, line.Expect, line.Reason
	if line.In[0] == '"' {
		return json.Unmarshal(line.In, &e.In)
	}
	var long struct{ Repeat []any } // a prefix, a character, and how often
	if err := json.Unmarshal(line.In, &long); err != nil {
		return err
	}
	e.In = long.Repeat[0].(string) + strings.Repeat(long.Repeat[1].(string), int(long.Repeat[2].(float64)))
	return nil
}

// fits reports whether the value fits into an attempt's cookie, which holds 1 KB.
func (e entry) fits() bool { return len(e.In) <= 600 }

// page is where a login with the value as return path leads.
func (e entry) page() string {
	if e.Expect != "accept" || !e.fits() {
		return "/"
	}
	page, _, _ := strings.Cut(e.In, "#")
	return page
}

func corpus(t testing.TB) []entry {
	t.Helper()
	file, err := os.Open("internal/returnto/testdata/return-to.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var entries []entry
	for lines := bufio.NewScanner(file); lines.Scan(); {
		var e entry
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			t.Fatalf("%s: %v", lines.Text(), err)
		}
		entries = append(entries, e)
	}
	if len(entries) < 100 {
		t.Fatalf("%d entries", len(entries))
	}
	return entries
}

// onSite fails unless a redirect leads to a path of the shop that may be returned to.
func (w *world) onSite(id, location string) {
	w.Helper()
	path, ok := strings.CutPrefix(location, shopURL)
	if _, err := returnto.Check(path, "/auth"); !ok || err != nil {
		w.Errorf("%s: it leads to %.100q", id, location)
	}
}

// rejected fails unless the newest of the events says why the entry was refused, once.
func (w *world) rejected(e entry, before int) (after int) {
	w.Helper()
	events := w.eventsOf(oidcgate.EventReturnToRejected)
	want := before
	switch {
	case e.Expect == "reject" && e.In != "":
		want++
	case !e.fits():
		want, e.Reason = want+1, oidcgate.Reason(returnto.TooLong)
	}
	if len(events) != want || want > before && events[want-1].Reason != e.Reason {
		w.Errorf("%s: %d events, want %d, the last with %q: %+v", e.ID, len(events), want, e.Reason, events[before:])
	}
	return len(events)
}

func TestReturnPathsThroughEveryDoor(t *testing.T) {
	entries := corpus(t)

	t.Run("R-URL-3 as return_to of the login", func(t *testing.T) {
		w := newWorld(t)
		n := 0
		for _, e := range entries {
			login := w.authorization("/auth/login?return_to=" + url.QueryEscape(e.In))
			if a := w.finishLogin(login.String()); a.location() != shopURL+e.page() {
				t.Errorf("%s: %.100q leads to %.100q, want %.100q", e.ID, e.In, a.location(), e.page())
			}
			n = w.rejected(e, n)
		}
	})

	t.Run("R-URL-3 as raw bytes in the query of the login", func(t *testing.T) {
		w := newWorld(t)
		u, _ := url.Parse(shopURL)
		for _, e := range entries {
			r := httptest.NewRequest(http.MethodGet, shopURL+"/auth/login", nil)
			r.URL.RawQuery = "return_to=" + e.In
			rec := w.direct(r)
			w.browser.Jar.SetCookies(u, rec.Result().Cookies())
			a := w.finishLogin(rec.Header().Get("Location"))
			w.onSite(e.ID, a.location())
			if !strings.ContainsAny(e.In, "%+&;#") && a.location() != shopURL+e.page() {
				t.Errorf("%s: %.100q leads to %.100q, want %.100q", e.ID, e.In, a.location(), e.page())
			}
		}
	})

	t.Run("R-URL-3 inside the attempt that comes back", func(t *testing.T) {
		w := newWorld(t)
		n := 0
		for _, e := range entries {
			if !e.fits() {
				continue
			}
			login := w.authorization("/auth/login")
			w.rewriteAttempt(login.Query().Get("state"), e.In)
			if a := w.finishLogin(login.String()); a.location() != shopURL+e.page() {
				t.Errorf("%s: %.100q leads to %.100q, want %.100q", e.ID, e.In, a.location(), e.page())
			}
			n = w.rejected(e, n)
		}
	})

	t.Run("R-URL-3 in the link of the page that refuses a login", func(t *testing.T) {
		w := newWorld(t)
		link := regexp.MustCompile(`href="([^"]*)"`)
		for _, e := range entries {
			login := w.authorization("/auth/login?return_to=" + url.QueryEscape(e.In))
			w.op.NextIDToken((*oidcgatetest.JWT).CorruptSignature)
			for _, m := range link.FindAllStringSubmatch(w.finishLogin(login.String()).body, -1) {
				u, err := url.Parse(m[1])
				if err != nil || u.Scheme+"://"+u.Host != shopURL {
					t.Errorf("%s: a link to %.100q", e.ID, m[1])
				}
				if back := u.Query().Get("return_to"); back != "" && back != e.page() {
					t.Errorf("%s: the link leads back to %.100q, want %.100q", e.ID, back, e.page())
				}
			}
		}
	})

	t.Run("R-URL-3 as target of the logout", func(t *testing.T) {
		w := newWorld(t)
		for _, e := range entries {
			w.login()
			form := url.Values{"return_to": {e.In}}.Encode()
			a := w.send(w.browser, http.MethodPost, "/auth/logout", form, "Sec-Fetch-Site: same-origin")
			if !strings.HasPrefix(a.location(), w.op.Issuer()) {
				t.Fatalf("%s: the logout leads to %d %q", e.ID, a.StatusCode, a.location())
			}
			a = w.get(w.get(a.location()).location())
			want := ""
			if e.Expect == "accept" {
				want, _, _ = strings.Cut(shopURL+e.In, "#")
			}
			if a.location() != want {
				t.Errorf("%s: %.100q leads to %.100q, want %.100q", e.ID, e.In, a.location(), want)
			}
		}
	})

	t.Run("R-URL-4 as the path of a request to a guard", func(t *testing.T) {
		w := newWorld(t)
		w.handler = w.gate.Wrap(w.gate.Require()(http.HandlerFunc(w.whoami)))
		for _, e := range entries {
			a := w.raw("GET " + e.In + " HTTP/1.1")
			if !strings.HasPrefix(a.location(), shopURL+"/auth/login") {
				continue // the server refuses the line, or it is a route of the gate
			}
			w.onSite(e.ID, w.finishLogin(w.authorization(a.location()).String()).location())
			w.browser = w.newBrowser()
		}
	})
}

// rewriteAttempt puts another return path into the attempt in the browser.
func (w *world) rewriteAttempt(state, returnTo string) {
	w.Helper()
	sum := sha256.Sum256([]byte(state))
	w.rewrite("attempt", "__Host-Http-oidcgate-a-"+base64.RawURLEncoding.EncodeToString(sum[:8]), returnTo)
}

// rewrite puts another return path into a sealed cookie, as whoever has the application's key could.
func (w *world) rewrite(purpose, cookie, returnTo string) {
	w.Helper()
	key, err := base64.StdEncoding.DecodeString(worldKey)
	if err != nil {
		w.Fatal(err)
	}
	ring, err := seal.NewRing([][]byte{key}, shopURL+"\x00__Host-oidcgate") // the name without "Http-"
	if err != nil {
		w.Fatal(err)
	}
	binding := seal.Binding{Purpose: purpose, Name: cookie}
	sealed, err := base64.RawURLEncoding.DecodeString(w.cookie(cookie))
	if err != nil {
		w.Fatal(err)
	}
	_, text, err := ring.Open(binding, 0, sealed)
	if err != nil {
		w.Fatalf("the cookie %s cannot be opened: %v", cookie, err)
	}
	var members map[string]any
	if err := json.Unmarshal(text, &members); err != nil {
		w.Fatal(err)
	}
	members["r"] = returnTo
	if text, err = json.Marshal(members); err != nil {
		w.Fatal(err)
	}
	if sealed, err = ring.Seal(binding, nil, text); err != nil {
		w.Fatal(err)
	}
	w.setCookie(cookie, base64.RawURLEncoding.EncodeToString(sealed))
}

// setCookie puts a cookie of the shop into the browser.
func (w *world) setCookie(name, value string) {
	u, _ := url.Parse(shopURL)
	w.browser.Jar.SetCookies(u, []*http.Cookie{{Name: name, Value: value, Path: "/", Secure: true}})
}

// raw sends a request line as it stands to the shop, over a connection.
func (w *world) raw(line string) answer {
	w.Helper()
	transport := oidcgatetest.NewTransport(map[string]http.Handler{"shop.test": w.handler})
	conn, err := transport.DialContext(w.Context(), "tcp", "shop.test:443")
	if err != nil {
		w.Fatal(err)
	}
	defer conn.Close()
	go func() {
		_, _ = io.WriteString(conn, line+"\r\nHost: shop.test\r\nAccept: text/html\r\nConnection: close\r\n\r\n")
	}()
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return answer{Response: &http.Response{StatusCode: http.StatusBadRequest, Header: http.Header{}}}
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		w.Fatalf("%.100q: %v", line, err)
	}
	return answer{resp, string(body)}
}

func TestRawRequestLines(t *testing.T) {
	for _, tt := range []struct{ line, want string }{
		{"GET //evil.example/x HTTP/1.1", "/"},
		{`GET /\evil.example/x HTTP/1.1`, "/"},
		{"GET http://evil.example/x HTTP/1.1", "/x"},
		{"GET http://evil.example//evil.example/x HTTP/1.1", "/"},
		{"GET /auth/../auth/login HTTP/1.1", "/"},
	} {
		t.Run("R-URL-4 "+strings.TrimSuffix(tt.line, " HTTP/1.1")+" ends on this site", func(t *testing.T) {
			w := newWorld(t)
			w.handler = w.gate.Wrap(w.gate.Require()(http.HandlerFunc(w.whoami)))
			a := w.raw(tt.line)
			if a.StatusCode != http.StatusSeeOther || !strings.HasPrefix(a.location(), shopURL+"/auth/login") {
				t.Fatalf("%d to %q, want the login", a.StatusCode, a.location())
			}
			if got := w.finishLogin(w.authorization(a.location()).String()).location(); got != shopURL+tt.want {
				t.Errorf("it leads to %q, want %q", got, shopURL+tt.want)
			}
		})
	}
}

func TestLoginNeverReturnsToTheGate(t *testing.T) {
	for _, path := range []string{"/auth/login", "/auth/callback?code=a&state=b", "/auth/logout", "/auth/logout/done", "/auth", "/AUTH/login", "/auth/anything"} {
		t.Run("R-URL-5 "+path+" becomes the default", func(t *testing.T) {
			w := newWorld(t, func(c *oidcgate.Config, _ *oidcgate.Provider) { c.Site.DefaultPath = "/welcome" })
			login := w.authorization("/auth/login?return_to=" + url.QueryEscape(path))
			if a := w.finishLogin(login.String()); a.location() != shopURL+"/welcome" {
				t.Errorf("it leads to %q", a.location())
			}
		})
	}
}

// severalProviders opens a shop with two providers: one without a name at id.test, one named staff at staff.test.
func severalProviders(t *testing.T, changes ...func(*oidcgate.Config)) (w *world, staff *oidcgatetest.Provider) {
	t.Helper()
	w = newWorld(t)
	staff = oidcgatetest.NewProvider(t, oidcgatetest.Config{Issuer: "https://staff.test"})
	staff.SetUser(oidcgatetest.User{Subject: "bob"})
	staff.AddClient(oidcgatetest.Client{
		ID: "shop", Secret: secret,
		RedirectURLs: []string{shopURL + "/auth/callback/staff"}, PostLogoutRedirectURLs: []string{shopURL + "/auth/logout/done"},
	})
	hosts := map[string]http.Handler{"id.test": w.op, "staff.test": staff}
	w.config.HTTP.Transport = oidcgatetest.NewTransport(hosts)
	for _, change := range changes {
		change(&w.config)
	}
	w.open(
		oidcgate.Provider{Issuer: w.op.Issuer(), ClientID: "shop", Auth: oidcgate.ClientSecretBasic(secret)},
		oidcgate.Provider{Name: "staff", Issuer: staff.Issuer(), ClientID: "shop", Auth: oidcgate.ClientSecretBasic(secret)},
	)
	hosts["shop.test"] = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { w.handler.ServeHTTP(rw, r) })
	w.browser.Transport = oidcgatetest.NewTransport(hosts)
	return w, staff
}

func TestSeveralProviders(t *testing.T) {
	t.Run("the visitor chooses, and comes back to the page that was asked for", func(t *testing.T) {
		w, _ := severalProviders(t)
		a := w.get(w.get("/app/1?x=y").location())
		if a.StatusCode != http.StatusOK || len(a.Cookies()) != 0 {
			t.Fatalf("the choice: %d %v\n%s", a.StatusCode, a.Cookies(), a.body)
		}
		for _, label := range []string{"id.test", "staff"} {
			link := linkTo(t, a.body, label)
			authorization := w.get(link).location()
			end := w.get(w.get(authorization).location())
			if end.location() != shopURL+"/app/1?x=y" {
				t.Errorf("%s: the login ends with %d at %q\n%s", label, end.StatusCode, end.location(), end.body)
			}
		}
		if got := w.subject(); got != "bob" {
			t.Errorf("signed in: %q, want bob", got)
		}
	})

	t.Run("R-FLOW-2 a provider that is not configured gets the choice", func(t *testing.T) {
		w, _ := severalProviders(t)
		for _, name := range []string{"evil", "https://evil.example", "Staff"} {
			if a := w.get("/auth/login?provider=" + url.QueryEscape(name)); a.StatusCode != http.StatusOK || strings.Contains(a.body, "evil") {
				t.Errorf("provider=%s: %d to %q\n%s", name, a.StatusCode, a.location(), a.body)
			}
		}
	})

	t.Run("C025 a stronger login is asked of the provider that knows the visitor", func(t *testing.T) {
		w, staff := severalProviders(t)
		w.handler = w.gate.Wrap(w.gate.Require(oidcgate.ACR("gold"))(http.HandlerFunc(w.whoami)))
		w.get(w.get(w.get("/auth/login?provider=staff").location()).location())
		staff.EveryIDToken(func(j *oidcgatetest.JWT) { j.Claims["acr"] = "gold" })
		a := w.get(w.get("/vault").location())
		if !strings.HasPrefix(a.location(), staff.Issuer()) || !strings.Contains(a.location(), "acr_values=gold") {
			t.Fatalf("the stronger login: %d to %q\n%s", a.StatusCode, a.location(), a.body)
		}
		end := w.get(w.get(a.location()).location())
		if a := w.get(end.location()); a.StatusCode != http.StatusOK {
			t.Errorf("after it: %d to %q\n%s", a.StatusCode, a.location(), a.body)
		}
	})

	t.Run("C032 C020 the state of one provider does not work at the other", func(t *testing.T) {
		w, staff := severalProviders(t)
		back := w.get(w.get("/auth/login?provider=staff").location()).location()
		a := w.get(strings.Replace(back, "/auth/callback/staff", "/auth/callback", 1))
		w.denied(a, http.StatusBadRequest, oidcgate.ReasonIssMismatch)
		w.tokenCalls(0)
		if n := staff.Count(oidcgatetest.Token); n != 0 {
			t.Errorf("%d token calls at the other, want 0", n)
		}
	})

	t.Run("C032 R-FLOW-8 nor where neither provider says who it is", func(t *testing.T) {
		w, staff := severalProviders(t)
		for _, op := range []*oidcgatetest.Provider{w.op, staff} {
			op.Always(oidcgatetest.Discovery, oidcgatetest.EditJSON(func(m map[string]any) {
				delete(m, "authorization_response_iss_parameter_supported")
			}))
			op.Always(oidcgatetest.Authorization, oidcgatetest.EditRedirect(func(q url.Values) { q.Del("iss") }))
		}
		back := w.get(w.get("/auth/login?provider=staff").location()).location()
		a := w.get(strings.Replace(back, "/auth/callback/staff", "/auth/callback", 1))
		w.denied(a, http.StatusBadRequest, oidcgate.ReasonIssMismatch)
		w.tokenCalls(0)
		if a := w.get(back); a.StatusCode != http.StatusSeeOther {
			t.Errorf("at its own callback: %d\n%s", a.StatusCode, a.body)
		}
	})

	t.Run("C031 C032 the code of one provider is not redeemed at the other", func(t *testing.T) {
		w, staff := severalProviders(t)
		staff.Inject(oidcgatetest.Authorization, oidcgatetest.EditRedirect(func(q url.Values) { q.Set("iss", w.op.Issuer()) }))
		back := w.get(w.get("/auth/login?provider=staff").location()).location()
		w.denied(w.get(back), http.StatusBadRequest, oidcgate.ReasonIssMismatch)
		w.tokenCalls(0)
		if n := staff.Count(oidcgatetest.Token); n != 0 {
			t.Errorf("%d token calls at the other, want 0", n)
		}
	})
}

// linkTo finds the address of a link by its text.
func linkTo(t *testing.T, body, text string) string {
	t.Helper()
	m := regexp.MustCompile(`<a href="([^"]*)"[^>]*>` + regexp.QuoteMeta(text) + `<`).FindStringSubmatch(body)
	if m == nil {
		t.Fatalf("no link %q in\n%s", text, body)
	}
	return strings.ReplaceAll(m[1], "&amp;", "&")
}

func TestBaseURLWithPath(t *testing.T) {
	t.Run("behind a proxy that strips a path, every address has it", func(t *testing.T) {
		w := newWorld(t, func(c *oidcgate.Config, _ *oidcgate.Provider) { c.BaseURL = shopURL + "/outlet" })
		w.op.AddClient(oidcgatetest.Client{
			ID: "shop", Secret: secret,
			RedirectURLs:           []string{shopURL + "/outlet/auth/callback"},
			PostLogoutRedirectURLs: []string{shopURL + "/outlet/auth/logout/done"},
		})
		w.handler = http.StripPrefix("/outlet", w.handler)
		a := w.get("/outlet/app/1")
		if want := shopURL + "/outlet/auth/login?return_to=%2Fapp%2F1"; a.location() != want {
			t.Fatalf("the guard leads to %q, want %q", a.location(), want)
		}
		a = w.get(w.get(w.get(a.location()).location()).location())
		if want := shopURL + "/outlet/app/1"; a.location() != want {
			t.Fatalf("the login leads to %q, want %q\n%s", a.location(), want, a.body)
		}
		if a = w.get(a.location()); a.StatusCode != http.StatusOK {
			t.Errorf("the page: %d", a.StatusCode)
		}
		a = w.send(w.browser, http.MethodPost, "/outlet/auth/logout?return_to=/bye", "", "Sec-Fetch-Site: same-origin")
		a = w.get(w.get(a.location()).location())
		if want := shopURL + "/outlet/bye"; a.location() != want {
			t.Errorf("the logout leads to %q, want %q\n%s", a.location(), want, a.body)
		}
	})
	t.Run("a return path that begins with the path of BaseURL is told of once", func(t *testing.T) {
		w := newWorld(t, func(c *oidcgate.Config, _ *oidcgate.Provider) { c.BaseURL = shopURL + "/outlet" })
		w.handler = http.StripPrefix("/outlet", w.handler)
		for path, want := range map[string]int{"/app": 0, "/outlets": 0, "/a/outlet": 0} {
			w.get("/outlet/auth/login?return_to=" + url.QueryEscape(path))
			if n := strings.Count(w.logged(), "begins with the path of BaseURL"); n != want {
				t.Errorf("for %s it is told %d times", path, n)
			}
		}
		for range 2 {
			w.get("/outlet/auth/login?return_to=%2Foutlet%2Fapp")
			w.get("/outlet/auth/login?return_to=%2Foutlet")
		}
		if n := strings.Count(w.logged(), "begins with the path of BaseURL"); n != 1 {
			t.Errorf("it is told %d times", n)
		}
	})
}

// isPing reports whether a key is written to see whether the store takes writes, however many ask.
func isPing(key string) bool { return strings.HasPrefix(key, "r:") }

// tallyStore counts what is written to a store, and can be made to fail.
type tallyStore struct {
	store.Store
	reads, writes atomic.Int64
	ill           atomic.Bool
}

var errIll = errors.New("the store is ill")

func (s *tallyStore) Get(ctx context.Context, key string) ([]byte, error) {
	s.reads.Add(1)
	if s.ill.Load() {
		return nil, errIll
	}
	return s.Store.Get(ctx, key)
}

func (s *tallyStore) Create(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	if !isPing(key) {
		s.writes.Add(1)
	}
	if s.ill.Load() {
		return errIll
	}
	return s.Store.Create(ctx, key, value, ttl)
}

func (s *tallyStore) Swap(ctx context.Context, key string, old, value []byte, ttl time.Duration) error {
	s.writes.Add(1)
	if s.ill.Load() {
		return errIll
	}
	return s.Store.Swap(ctx, key, old, value, ttl)
}

func (s *tallyStore) Delete(ctx context.Context, key string, old []byte) error {
	if !isPing(key) {
		s.writes.Add(1)
	}
	if s.ill.Load() {
		return errIll
	}
	return s.Store.Delete(ctx, key, old)
}

func TestReadyBesideAProviderThatHangs(t *testing.T) {
	for name, known := range map[string]bool{"that is known": true, "that nobody asked yet": false} {
		inBubble(t, "F15 Ready does not wait for one provider when there is another "+name, func(t *testing.T) {
			w, _ := severalProviders(t)
			w.op.Always(oidcgatetest.Discovery, oidcgatetest.Hang())
			if known {
				w.get("/auth/login?provider=staff")
			}
			start := time.Now()
			if err := w.gate.Ready(t.Context()); err != nil {
				t.Error(err)
			}
			if took := time.Since(start); took > time.Second {
				t.Errorf("it took %v", took)
			}
		})
	}
}

func TestChoice(t *testing.T) {
	t.Run("the last choice stands first, in this browser", func(t *testing.T) {
		w, staff := severalProviders(t)
		begun := w.get(linkTo(t, w.get("/auth/login").body, "staff")).location()
		if body := w.get("/auth/login").body; strings.Contains(body, "used last time") {
			t.Errorf("the page after a login that was only begun:\n%s", body)
		}
		staff.Inject(oidcgatetest.Token, oidcgatetest.Answer(http.StatusBadRequest, "application/json", `{"error":"invalid_grant"}`))
		w.get(w.get(begun).location())
		if body := w.get("/auth/login").body; strings.Contains(body, "used last time") {
			t.Errorf("the page after a login that failed:\n%s", body)
		}
		w.get(w.get(w.get(linkTo(t, w.get("/auth/login").body, "staff")).location()).location())
		body := w.get("/auth/login").body
		if first, second := strings.Index(body, ">staff<"), strings.Index(body, ">id.test<"); first < 0 || first > second || !strings.Contains(body, "used last time") {
			t.Errorf("the page after a login at staff:\n%s", body)
		}
		for _, c := range w.get(w.get(w.get(linkTo(t, body, "staff")).location()).location()).Cookies() {
			if strings.HasSuffix(c.Name, "-last") {
				t.Errorf("the same choice again sets %v", c)
			}
		}
		transport := w.browser.Transport
		w.browser = w.newBrowser()
		w.browser.Transport = transport
		if body := w.get("/auth/login", "Cookie: __Host-Http-oidcgate-last=nowhere").body; strings.Contains(body, "used last time") {
			t.Errorf("a provider that is not there was used last:\n%s", body)
		}
	})
	realm := func(c *oidcgate.Config) {
		c.HomeRealm = func(email string) (string, bool) {
			switch _, domain, _ := strings.Cut(email, "@"); domain {
			case "staff.example":
				return "staff", true
			case "customer.example":
				return "", true
			case "gone.example":
				return "gone", true
			case "boom.example":
				panic("no table")
			}
			return "", false
		}
	}
	post := func(w *world, email string, headers ...string) answer {
		form := url.Values{"email": {email}, "return_to": {"/app/1"}}.Encode()
		return w.send(w.browser, http.MethodPost, "/auth/login", form, append(headers, "Sec-Fetch-Mode: navigate", "Sec-Fetch-Site: same-origin")...)
	}
	t.Run("an address that is no text is unknown", func(t *testing.T) {
		for _, email := range []string{"a\x01@staff.example", "a\u0085@staff.example", "\xff@staff.example", strings.Repeat("a", 300) + "@staff.example"} {
			w, _ := severalProviders(t, realm)
			if a := post(w, email); a.StatusCode != http.StatusOK || !strings.Contains(a.body, "No login service is known") {
				t.Errorf("%q: %d to %q\n%s", email, a.StatusCode, a.location(), a.body)
			}
		}
	})
	t.Run("the domain of an e-mail address chooses", func(t *testing.T) {
		w, staff := severalProviders(t, realm)
		if body := w.get("/auth/login").body; !strings.Contains(body, `<input name="email" type="email"`) {
			t.Fatalf("the page does not ask for an address:\n%s", body)
		} else if strings.Contains(body, "No login service is known") {
			t.Errorf("the page says so before an address is there:\n%s", body)
		}
		for email, issuer := range map[string]string{"bob@staff.example": staff.Issuer(), "jane@customer.example": w.op.Issuer()} {
			a := post(w, email)
			to, err := url.Parse(a.location())
			if err != nil || !strings.HasPrefix(a.location(), issuer) || to.Query().Get("login_hint") != email {
				t.Errorf("%s: %d to %q\n%s", email, a.StatusCode, a.location(), a.body)
			}
			if end := w.get(w.get(a.location()).location()); end.location() != shopURL+"/app/1" {
				t.Errorf("%s: the login ends with %d at %q", email, end.StatusCode, end.location())
			}
		}
	})
	t.Run("a provider is called by its label", func(t *testing.T) {
		w, staff := severalProviders(t)
		first := oidcgate.Provider{Issuer: w.op.Issuer(), ClientID: "shop", Auth: oidcgate.ClientSecretBasic(secret)}
		second := oidcgate.Provider{Name: "staff", Label: "Our <staff>", Issuer: staff.Issuer(), ClientID: "shop", Auth: oidcgate.ClientSecretBasic(secret)}
		if err := w.gate.SetProviders(first, second); err != nil {
			t.Fatal(err)
		}
		if body := w.get("/auth/login").body; !strings.Contains(body, ">Our &lt;staff&gt;<") || !strings.Contains(body, ">id.test<") {
			t.Errorf("the page is\n%s", body)
		}
	})
	t.Run("the choice has the labels in the visitor's language", func(t *testing.T) {
		w, _ := severalProviders(t, func(c *oidcgate.Config) {
			c.Pages.Words = map[string]map[string]string{"de": {"provider.staff": "Für Angestellte"}}
		})
		for language, want := range map[string]bool{"de": true, "de-CH": true, "fr": false} {
			a := w.get("/auth/login?return_to=/app", "Accept-Language: "+language)
			if strings.Contains(a.body, "Für Angestellte") != want {
				t.Errorf("in %s the page is\n%s", language, a.body)
			}
		}
		if strings.Contains(w.logged(), "lacks texts") {
			t.Errorf("the log says\n%s", w.logged())
		}
	})
	t.Run("an address that nobody knows leads to the choice", func(t *testing.T) {
		w, _ := severalProviders(t, realm)
		for _, email := range []string{"eve@elsewhere.example", "x@gone.example", "x@boom.example", "", strings.Repeat("x", 300) + "@staff.example"} {
			a := post(w, email)
			if a.StatusCode != http.StatusOK || !strings.Contains(a.body, "No login service is known") || !strings.Contains(a.body, "return_to=%2Fapp%2F1") {
				t.Errorf("%.30s: %d to %q\n%s", email, a.StatusCode, a.location(), a.body)
			}
		}
		if err := w.gate.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(w.logged(), "no table") {
			t.Error("the log does not have the panic of HomeRealm")
		}
		if n := strings.Count(w.logged(), "HomeRealm names a provider"); n != 1 || !strings.Contains(w.logged(), `"provider":"gone"`) {
			t.Errorf("%d lines for the provider that is none", n)
		}
	})
	t.Run("C047 another site posts an address", func(t *testing.T) {
		w, _ := severalProviders(t, realm)
		form := "email=bob@staff.example"
		a := w.send(w.browser, http.MethodPost, "/auth/login", form, "Sec-Fetch-Mode: navigate", "Sec-Fetch-Site: cross-site", "Origin: https://evil.example")
		if a.StatusCode != http.StatusForbidden || a.location() != "" {
			t.Errorf("%d to %q", a.StatusCode, a.location())
		}
		if err := w.gate.Wait(t.Context()); err != nil || !strings.Contains(w.logged(), `"origin":"https://evil.example"`) {
			t.Errorf("the log says\n%s", w.logged())
		}
	})
	for name, form := range map[string]string{
		"cannot be read": "email=bob@staff.example&x=%zz", "is too long": "email=bob@staff.example&x=" + strings.Repeat("x", 40<<10),
	} {
		t.Run("C047 a form that "+name+" begins no login", func(t *testing.T) {
			w, _ := severalProviders(t, realm)
			a := w.send(w.browser, http.MethodPost, "/auth/login", form, "Sec-Fetch-Mode: navigate", "Sec-Fetch-Site: same-origin")
			if a.StatusCode != http.StatusForbidden || a.location() != "" {
				t.Errorf("%d to %q", a.StatusCode, a.location())
			}
			if err := w.gate.Wait(t.Context()); err != nil || strings.Contains(w.logged(), "page of this origin") {
				t.Errorf("the log says\n%s", w.logged())
			}
		})
	}
	t.Run("C119 the ID Token of one provider is not shown to another", func(t *testing.T) {
		w, staff := severalProviders(t, func(c *oidcgate.Config) {
			c.LoginOptions = func(*http.Request) oidcgate.LoginOptions { return oidcgate.LoginOptions{Prompt: "none"} }
		})
		w.get(w.get(w.get("/auth/login?provider=.").location()).location())
		for provider, issuer := range map[string]string{".": w.op.Issuer(), "staff": staff.Issuer()} {
			to := w.get("/auth/login?provider=" + provider).location()
			u, err := url.Parse(to)
			if err != nil || !strings.HasPrefix(to, issuer) || u.Query().Has("id_token_hint") != (provider == ".") {
				t.Errorf("%s: to %q", provider, to)
			}
		}
	})
	t.Run("Ready asks nobody else when one provider is known", func(t *testing.T) {
		w, staff := severalProviders(t)
		w.get("/auth/login?provider=.")
		if err := w.gate.Ready(t.Context()); err != nil || staff.Count(oidcgatetest.Discovery) != 0 {
			t.Errorf("%v, %d requests to the other provider", err, staff.Count(oidcgatetest.Discovery))
		}
	})
	t.Run("where one provider is left, it was not the choice", func(t *testing.T) {
		w, _ := severalProviders(t, realm)
		first := oidcgate.Provider{Issuer: w.op.Issuer(), ClientID: "shop", Auth: oidcgate.ClientSecretBasic(secret)}
		if err := w.gate.SetProviders(first); err != nil {
			t.Fatal(err)
		}
		if a := post(w, "eve@elsewhere.example", "Cookie: __Host-Http-oidcgate-last=staff"); !strings.Contains(a.body, "No login service is known") || strings.Contains(a.body, "used last time") {
			t.Errorf("%d\n%s", a.StatusCode, a.body)
		}
	})
	t.Run("without HomeRealm there is nothing to post", func(t *testing.T) {
		w, _ := severalProviders(t)
		if a := post(w, "bob@staff.example"); a.StatusCode != http.StatusMethodNotAllowed {
			t.Errorf("status %d", a.StatusCode)
		}
		if a := w.get("/auth/login"); strings.Contains(a.body, "e-mail") || strings.Contains(a.body, "<form") {
			t.Errorf("the page asks for an address:\n%s", a.body)
		}
	})
	t.Run("the application writes the page", func(t *testing.T) {
		var pages []oidcgate.Page
		w, _ := severalProviders(t, realm, func(c *oidcgate.Config) {
			c.Page = func(rw http.ResponseWriter, _ *http.Request, p oidcgate.Page) bool {
				pages = append(pages, p)
				if p.Kind != oidcgate.PageChoose {
					return false
				}
				_, _ = io.WriteString(rw, "ours")
				return true
			}
		})
		if a := w.get("/auth/login"); a.body != "ours" || len(pages) != 1 || len(pages[0].Links) != 2 || pages[0].Form.Field.Name != "email" {
			t.Errorf("%q, pages %+v", a.body, pages)
		}
		if a := w.get("/auth/logout"); !strings.Contains(a.body, "Signed out") || pages[1].Kind != oidcgate.PageSignedOut {
			t.Errorf("%q, pages %+v", a.body, pages)
		}
	})
}
