package oidcgate_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/oidcgate/oidcgate"
	"github.com/oidcgate/oidcgate/internal/redistest"
	"github.com/oidcgate/oidcgate/oidcgatetest"
	"github.com/oidcgate/oidcgate/store"
	"github.com/oidcgate/oidcgate/store/redisstore"
)

// newFleetThatKeepsRefreshTokens has a provider whose refresh tokens do not rotate.
func newFleetThatKeepsRefreshTokens(t *testing.T, n int, changes ...change) *fleet {
	t.Helper()
	op := oidcgatetest.NewProvider(t, oidcgatetest.Config{AccessTokenLifetime: 10 * time.Minute})
	return newFleetOf(t, op, n, changes...)
}

// spent is the refresh token that the provider was sent last.
func (f *fleet) spent() string { return f.op.LastRequest(oidcgatetest.Token).Form.Get("refresh_token") }

func TestRefresh(t *testing.T) {
	inBubble(t, "C080 a refresh token that rotates is replaced by the new one, and so is the access token", func(t *testing.T) {
		f := newFleet(t, 2)
		f.login()
		seen := []string{f.mustToken()}
		var spent []string
		for range 3 {
			time.Sleep(11 * time.Minute)
			seen = append(seen, f.mustToken())
			spent = append(spent, f.spent())
		}
		if distinct(seen) != 4 || distinct(spent) != 3 {
			t.Errorf("access tokens %q, refresh tokens %q; want each one new", seen, spent)
		}
		f.refreshed(3)
	})
	inBubble(t, "C080 a refresh token that stays is kept", func(t *testing.T) {
		f := newFleetThatKeepsRefreshTokens(t, 2)
		f.login()
		seen := []string{f.mustToken()}
		var spent []string
		for range 3 {
			time.Sleep(11 * time.Minute)
			seen = append(seen, f.mustToken())
			spent = append(spent, f.spent())
		}
		if distinct(seen) != 4 || distinct(spent) != 1 {
			t.Errorf("access tokens %q, refresh tokens %q; want each access token new and one refresh token", seen, spent)
		}
	})
	inBubble(t, "C080 the new token's time is that of its own answer", func(t *testing.T) {
		f := newFleet(t, 1)
		f.login()
		time.Sleep(11 * time.Minute)
		f.op.Inject(oidcgatetest.Token, oidcgatetest.EditJSON(func(m map[string]any) { m["expires_in"] = 7200 }))
		token := f.mustToken()
		time.Sleep(50 * time.Minute)
		f.subject() // keeps the session from being idle
		time.Sleep(50 * time.Minute)
		if got := f.mustToken(); got != token {
			t.Error("the token was refreshed before its time")
		}
		f.refreshed(1)
	})
	inBubble(t, "a token without expires_in is taken to live for TokenLifetime, and not for ever", func(t *testing.T) {
		f := newFleet(t, 1, func(c *oidcgate.Config, _ *oidcgate.Provider) { c.Tokens.Lifetime = 20 * time.Minute })
		f.op.Always(oidcgatetest.Token, oidcgatetest.EditJSON(func(m map[string]any) { delete(m, "expires_in") }))
		f.login()
		first := f.mustToken()
		time.Sleep(18 * time.Minute)
		if f.mustToken() != first {
			t.Error("refreshed before TokenLifetime")
		}
		time.Sleep(2 * time.Minute)
		if f.mustToken() == first {
			t.Error("not refreshed after TokenLifetime")
		}
		f.refreshed(1)
	})
	inBubble(t, "C086 no number of refreshes makes the session longer or the login more recent", func(t *testing.T) {
		f := newFleet(t, 2, func(c *oidcgate.Config, _ *oidcgate.Provider) { c.SessionLifetime = 5 * time.Hour })
		begun := time.Now()
		f.login()
		before := f.times()
		for time.Since(begun) < 5*time.Hour-10*time.Minute {
			time.Sleep(9*time.Minute + 30*time.Second)
			f.mustToken()
		}
		if after := f.times(); after != before {
			t.Errorf("%s at login, %s after the refreshes", before, after)
		}
		time.Sleep(5*time.Hour - time.Since(begun))
		if _, status := f.token(); status != http.StatusUnauthorized || f.subject() != "" {
			t.Errorf("status %d, signed in as %q after the end of the session", status, f.subject())
		}
	})
	inBubble(t, "C085 EndWithToken ends a session whose token cannot be refreshed", func(t *testing.T) {
		f := newFleet(t, 1, func(c *oidcgate.Config, _ *oidcgate.Provider) { c.Tokens.EndWithAccessToken = true })
		f.op.Inject(oidcgatetest.Token, oidcgatetest.EditJSON(func(m map[string]any) { delete(m, "refresh_token") }))
		f.login()
		time.Sleep(10*time.Minute - time.Second)
		if f.subject() != "alice" {
			t.Error("the session ended before the token")
		}
		time.Sleep(2 * time.Second)
		if got := f.subject(); got != "" {
			t.Errorf("signed in as %q after the end of the token", got)
		}
	})
	inBubble(t, "C085 EndWithToken leaves a session alone whose token is refreshed", func(t *testing.T) {
		f := newFleet(t, 1, func(c *oidcgate.Config, _ *oidcgate.Provider) { c.Tokens.EndWithAccessToken = true })
		f.login()
		for range 4 {
			time.Sleep(20 * time.Minute)
			f.mustToken()
		}
	})
	inBubble(t, "F34 a refresh that panics ends no process and blocks nobody", func(t *testing.T) {
		f := newFleet(t, 1)
		f.login()
		time.Sleep(11 * time.Minute)
		f.drill.fail(func(op, key string) error {
			if op == "create" && strings.HasPrefix(key, "m:") {
				panic("in the store")
			}
			return nil
		}, nil)
		if _, status := f.token(); status != http.StatusBadGateway {
			t.Errorf("status %d, want an error", status)
		}
		f.drill.fail(nil, nil)
		f.mustToken()
		f.refreshed(1)
	})
}

func distinct(values []string) int {
	values = slices.Sorted(slices.Values(values))
	return len(slices.Compact(values))
}

// times tells what a session says of its own times.
func (f *fleet) times() (times string) {
	f.Helper()
	f.inspect(func(id *oidcgate.Identity) {
		times = fmt.Sprint(id.Created(), id.Expires(), id.AuthTime(), id.ACR(), id.ProviderSessionID(), id.Issuer(), id.Subject())
	})
	return times
}

// inspect shows the visitor's identity as a request sees it.
func (f *fleet) inspect(look func(*oidcgate.Identity)) {
	f.Helper()
	shop := f.handler
	defer func() { f.handler = shop }()
	f.handler = f.gate.Wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		id, ok := oidcgate.FromContext(r.Context())
		if !ok {
			f.Error("nobody is signed in")
			return
		}
		look(id)
	}))
	f.get("/")
}

// TestHintsOfARefresh holds that refresh.failed says what a login would.
func TestHintsOfARefresh(t *testing.T) {
	for name, row := range map[string]struct {
		answer oidcgatetest.Fault
		hint   string
	}{
		"F10 the token endpoint answers 503": {oidcgatetest.Answer(503, "text/html", "maintenance"), "in trouble or overloaded"},
		"F10 the secret is wrong":            {oidcgatetest.Answer(401, "application/json", `{"error":"invalid_client"}`), "the provider refused the client"},
	} {
		inBubble(t, name, func(t *testing.T) {
			f := newFleet(t, 1)
			f.login()
			time.Sleep(11 * time.Minute)
			f.op.Inject(oidcgatetest.Token, row.answer)
			f.token()
			if e := f.reported(oidcgate.EventRefreshFailed); len(e) != 1 || e[0].Reason != "token_endpoint_error" || !strings.Contains(e[0].Hint, row.hint) {
				t.Errorf("events %+v, want the hint %q", e, row.hint)
			}
		})
	}
}

// TestRefreshedIDToken holds what a refresh says of the user against what the login said.
func TestRefreshedIDToken(t *testing.T) {
	set := func(name string, value any) func(*oidcgatetest.JWT) {
		return func(t *oidcgatetest.JWT) { t.Claims[name] = value }
	}
	refused := []struct {
		name   string
		change func(*oidcgatetest.JWT)
		reason oidcgate.Reason
	}{
		{"sub of another user", set("sub", "mallory"), "sub"},
		{"no sub", func(t *oidcgatetest.JWT) { delete(t.Claims, "sub") }, "sub"},
		{"iss of another provider", set("iss", "https://evil.test"), "iss_claim"},
		{"aud of another client", set("aud", "another"), "aud"},
		{"aud without this client", set("aud", []string{"another", "third"}), "aud"},
		{"azp of another client", set("azp", "another"), "azp"},
		{"nonce of another login", set("nonce", "another"), oidcgate.ReasonNonce},
		{"auth_time earlier than at login", func(t *oidcgatetest.JWT) { t.Claims["auth_time"] = time.Now().Add(-time.Hour).Unix() }, "auth_time"},
		{"iat of long ago", func(t *oidcgatetest.JWT) { t.Claims["iat"] = time.Now().Add(-time.Hour).Unix() }, "iat"},
		{"exp that is no time", set("exp", "tomorrow"), "exp"},
		{"exp past, and another user", func(t *oidcgatetest.JWT) {
			t.Claims["exp"], t.Claims["sub"] = time.Now().Add(-time.Hour).Unix(), "mallory"
		}, "sub"},
		{"at_hash of another access token", set("at_hash", "AAAAAAAAAAAAAAAAAAAAAA"), "at_hash"},
		{"signature of somebody else", (*oidcgatetest.JWT).SignForeign, oidcgate.ReasonSignature},
		{"broken signature", (*oidcgatetest.JWT).CorruptSignature, oidcgate.ReasonSignature},
		{"no signature", (*oidcgatetest.JWT).Unsigned, "alg"},
		{"a logout token", set("events", map[string]any{}), "typ"},
		{"no token at all", func(t *oidcgatetest.JWT) { t.Finish = func(string) string { return "junk" } }, "id_token_malformed"},
	}
	for _, row := range refused {
		inBubble(t, "C081 refused: "+row.name, func(t *testing.T) {
			f := newFleet(t, 2)
			revoked := f.revocations()
			f.login()
			time.Sleep(11 * time.Minute)
			f.op.NextIDToken(row.change)
			if token, status := f.token(); status != http.StatusUnauthorized {
				t.Errorf("status %d, token %q", status, token)
			}
			if got := f.subject(); got != "" {
				t.Errorf("still signed in as %q", got)
			}
			if len(revoked()) != 1 || revoked()[0] == f.spent() {
				t.Errorf("revoked %q; want the new refresh token", revoked())
			}
			f.reportedOnce(oidcgate.EventRefreshFailed, row.reason)
			f.refreshed(1)
		})
	}
	inBubble(t, "C081 C111 the user authenticates anew for another application, as Keycloak has it: the session goes on, and keeps its own auth_time", func(t *testing.T) {
		f := newFleet(t, 2)
		f.login()
		var before time.Time
		f.inspect(func(id *oidcgate.Identity) { before = id.AuthTime() })
		time.Sleep(11 * time.Minute)
		f.op.NextIDToken(set("auth_time", time.Now().Unix()))
		if _, status := f.token(); status != http.StatusOK || f.subject() != "alice" {
			t.Errorf("status %d, signed in as %q", status, f.subject())
		}
		f.inspect(func(id *oidcgate.Identity) {
			if got := id.AuthTime(); got.IsZero() || !got.Equal(before) {
				t.Errorf("auth_time %v, want %v", got, before)
			}
		})
	})
	at := func(name string, from time.Duration) func(*oidcgatetest.JWT) {
		return func(t *oidcgatetest.JWT) { t.Claims[name] = time.Now().Add(from).Unix() }
	}
	for name, change := range map[string]func(*oidcgatetest.JWT){
		"is issued in the future":  at("iat", 2*time.Minute),
		"is past":                  at("exp", -2*time.Minute),
		"is not valid yet":         at("nbf", 2*time.Minute),
		"is issued 12 minutes ago": at("iat", -12*time.Minute),
	} {
		inBubble(t, "C081 F14 the clocks differ: the session goes on when the ID Token "+name+", and nothing of it counts", func(t *testing.T) {
			f := newFleet(t, 2)
			revoked := f.revocations()
			f.login()
			f.mustToken()
			time.Sleep(11 * time.Minute)
			f.mustToken()
			time.Sleep(11 * time.Minute)
			f.op.NextIDToken(change)
			if token, status := f.token(); token != "" || status == http.StatusUnauthorized {
				t.Errorf("status %d, token %q", status, token)
			}
			if got := f.subject(); got != "alice" || len(revoked()) > 0 {
				t.Errorf("signed in as %q, revoked %q", got, revoked())
			}
			if e := f.reported(oidcgate.EventRefreshFailed); len(e) != 1 || !strings.Contains(e[0].Hint, "NTP") {
				t.Errorf("events %+v", e)
			}
			time.Sleep(time.Minute)
			f.mustToken()
		})
	}
	for name, change := range map[string]func(*oidcgatetest.JWT){
		"has a kid that the key set does not have yet":  func(t *oidcgatetest.JWT) { t.Header["kid"] = "newer"; t.SignForeign() },
		"has no kid, and its key is not in the set yet": func(t *oidcgatetest.JWT) { delete(t.Header, "kid"); t.SignForeign() },
	} {
		inBubble(t, "C081 F05 the session goes on when the ID Token "+name, func(t *testing.T) {
			f := newFleet(t, 1)
			f.login()
			time.Sleep(11 * time.Minute)
			f.op.NextIDToken(change)
			f.token()
			if got := f.subject(); got != "alice" {
				t.Errorf("signed in as %q", got)
			}
			time.Sleep(time.Minute)
			f.mustToken()
		})
	}
	accepted := []struct {
		name   string
		change func(t *oidcgatetest.JWT, nonce string)
	}{
		{"no nonce", func(*oidcgatetest.JWT, string) {}},
		{"the nonce of the login", func(t *oidcgatetest.JWT, nonce string) { t.Claims["nonce"] = nonce }},
		{"no auth_time", func(t *oidcgatetest.JWT, _ string) { delete(t.Claims, "auth_time") }},
		{"no at_hash", func(t *oidcgatetest.JWT, _ string) { delete(t.Claims, "at_hash") }},
		{"azp of this client", func(t *oidcgatetest.JWT, _ string) { t.Claims["azp"] = "shop" }},
		{"aud as a list", func(t *oidcgatetest.JWT, _ string) { t.Claims["aud"] = []string{"shop"} }},
		{"another sid and acr, which are not taken over", func(t *oidcgatetest.JWT, _ string) { t.Claims["sid"], t.Claims["acr"] = "other", "gold" }},
	}
	for _, row := range accepted {
		inBubble(t, "C081 accepted: "+row.name, func(t *testing.T) {
			f := newFleet(t, 2)
			f.login()
			first, before := f.mustToken(), f.times()
			nonce := f.op.LastRequest(oidcgatetest.Authorization).Form.Get("nonce")
			time.Sleep(11 * time.Minute)
			f.op.NextIDToken(func(t *oidcgatetest.JWT) { row.change(t, nonce) })
			if f.mustToken() == first {
				t.Error("the token was not refreshed")
			}
			if after := f.times(); after != before {
				t.Errorf("%s before, %s after", before, after)
			}
		})
	}
	inBubble(t, "C081 accepted: no ID Token", func(t *testing.T) {
		f := newFleet(t, 2)
		f.login()
		first := f.mustToken()
		time.Sleep(11 * time.Minute)
		f.op.Inject(oidcgatetest.Token, oidcgatetest.EditJSON(func(m map[string]any) { delete(m, "id_token") }))
		if f.mustToken() == first {
			t.Error("the token was not refreshed")
		}
	})
	for name, kid := range map[string]func(*oidcgatetest.JWT){
		"no kid":              func(j *oidcgatetest.JWT) { delete(j.Header, "kid") },
		"a kid that is fixed": func(j *oidcgatetest.JWT) { j.Header["kid"] = "the key" },
	} {
		inBubble(t, "C084 the provider has another key, which cannot be loaded, and tokens have "+name+": nobody is logged out", func(t *testing.T) {
			f := newFleet(t, 1)
			f.op.EveryIDToken(kid)
			f.op.Always(oidcgatetest.JWKS, oidcgatetest.EditJSON(func(m map[string]any) {
				for _, key := range m["keys"].([]any) {
					key.(map[string]any)["kid"] = "the key"
				}
			}))
			f.login()
			first := f.mustToken()
			time.Sleep(9*time.Minute + 55*time.Second)
			f.op.RotateKeys()
			f.op.Clear(oidcgatetest.JWKS)
			f.op.Always(oidcgatetest.JWKS, oidcgatetest.Answer(500, "", ""))
			if got := f.mustToken(); got != first || f.subject() != "alice" {
				t.Errorf("token %q, want %q; signed in as %q", got, first, f.subject())
			}
			f.op.Clear(oidcgatetest.JWKS)
			f.op.EveryIDToken(func(*oidcgatetest.JWT) {})
			time.Sleep(time.Minute)
			if f.mustToken() == first {
				t.Error("the token was not refreshed when the keys are there")
			}
		})
	}
	inBubble(t, "C084 the keys cannot be had: nothing is believed, nobody is logged out, and no refresh token is lost", func(t *testing.T) {
		f := newFleet(t, 2)
		f.login()
		first := f.mustToken()
		f.op.RotateKeys()
		f.op.Always(oidcgatetest.JWKS, oidcgatetest.Answer(500, "", ""))
		time.Sleep(10*time.Minute - 5*time.Second)
		if f.mustToken() != first {
			t.Error("a token was given out that came with an ID Token nobody could verify")
		}
		time.Sleep(10 * time.Minute)
		if _, status := f.token(); status != http.StatusBadGateway {
			t.Errorf("status %d, want ErrProviderUnavailable", status)
		}
		f.op.Clear(oidcgatetest.JWKS)
		time.Sleep(time.Minute)
		f.mustToken()
		if got := f.subject(); got != "alice" {
			t.Errorf("signed in as %q", got)
		}
	})
}

// revocations gives the provider a revocation endpoint and returns what tells the tokens it was sent.
func (f *fleet) revocations(faults ...oidcgatetest.Fault) (revoked func() []string) {
	f.op.Always(oidcgatetest.Discovery, oidcgatetest.EditJSON(func(m map[string]any) {
		m["revocation_endpoint"] = f.op.Issuer() + "/revoke"
	}))
	var mu sync.Mutex
	var tokens []string
	record := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			id, password, _ := r.BasicAuth()
			if r.URL.Path != "/revoke" || id != "shop" || password == "" || r.Form.Get("token_type_hint") != "refresh_token" {
				f.Errorf("%s %s as %q: %v", r.Method, r.URL, id, r.Form)
			}
			mu.Lock()
			tokens = append(tokens, r.Form.Get("token"))
			mu.Unlock()
			next.ServeHTTP(rw, r)
		})
	}
	if len(faults) == 0 {
		faults = []oidcgatetest.Fault{oidcgatetest.Answer(200, "", "")}
	}
	f.op.Always(oidcgatetest.Other, append([]oidcgatetest.Fault{record}, faults...)...)
	return func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(tokens)
	}
}

func TestOneRefreshOverAllReplicas(t *testing.T) {
	for _, row := range []struct {
		name  string
		after time.Duration
	}{
		{"C082 F30 R-REF-1 a hundred requests over three replicas after the token's end: one refresh", 11 * time.Minute},
		{"C082 F30 R-REF-1 a hundred requests over three replicas shortly before: one refresh", 10*time.Minute - 10*time.Second},
	} {
		inBubble(t, row.name, func(t *testing.T) {
			f := newFleet(t, 3)
			f.login()
			f.mustToken()
			f.op.Always(oidcgatetest.Token, oidcgatetest.Delay(time.Second))
			time.Sleep(row.after)
			for _, token := range f.tokens(100) {
				if token == "" || f.owner(token) != "alice" {
					t.Errorf("a request got the token %q, which is over", token)
				}
			}
			f.refreshed(1)
			if len(f.reported(oidcgate.EventRefreshSucceeded)) != 1 {
				t.Error("want one event of the refresh")
			}
		})
	}
	t.Run("C082 F30 the same in a real Redis", func(t *testing.T) {
		rdb := redistest.Start(t).Client(func(o *redis.Options) { o.ContextTimeoutEnabled = true })
		op := oidcgatetest.NewProvider(t, oidcgatetest.Config{RotateRefreshTokens: true, AccessTokenLifetime: time.Second})
		f := newFleetOf(t, op, 3, func(c *oidcgate.Config, _ *oidcgate.Provider) {
			c.Store = redisstore.NewWith(rdb, redisstore.Config{Prefix: rand.Text() + ":", Timeout: patience})
		})
		op.Always(oidcgatetest.Token, oidcgatetest.EditJSON(func(m map[string]any) { m["expires_in"] = 3600 }))
		op.Inject(oidcgatetest.Token)
		f.login()
		time.Sleep(time.Second + 10*time.Millisecond)
		got := f.tokens(100)
		if distinct(got) != 1 || got[0] == "" {
			t.Errorf("tokens %q", got)
		}
		f.refreshed(1)
	})
	inBubble(t, "C083 F30 the browser leaves in the middle: the next request has the new token", func(t *testing.T) {
		f := newFleet(t, 3)
		f.login()
		first := f.mustToken()
		f.op.Always(oidcgatetest.Token, oidcgatetest.Delay(3*time.Second))
		time.Sleep(11 * time.Minute)
		ctx, leave := context.WithTimeout(t.Context(), time.Second)
		defer leave()
		r, _ := http.NewRequestWithContext(ctx, http.MethodGet, shopURL+"/token", nil)
		if resp, err := f.browser.Do(r); err == nil {
			resp.Body.Close()
			t.Fatal("the browser did not leave")
		}
		time.Sleep(5 * time.Second)
		if f.mustToken() == first {
			t.Error("the new token is lost")
		}
		f.refreshed(1)
	})
	inBubble(t, "C083 the browser that came first leaves: those who wait with it do not go with it", func(t *testing.T) {
		f := newFleet(t, 1)
		f.login()
		handle := f.handle()
		time.Sleep(11 * time.Minute)
		if err := f.drill.Create(t.Context(), "l:"+handle, []byte("another replica"), 5*time.Second); err != nil {
			t.Fatal(err)
		}
		ctx, leave := context.WithTimeout(t.Context(), time.Second)
		defer leave()
		go func() {
			r, _ := http.NewRequestWithContext(ctx, http.MethodGet, shopURL+"/token", nil)
			if resp, err := f.browser.Do(r); err == nil {
				resp.Body.Close()
				t.Error("the browser did not leave")
			}
		}()
		time.Sleep(500 * time.Millisecond)
		f.mustToken()
		f.refreshed(1)
	})
	inBubble(t, "F39 Close waits for a refresh and its save, as long as it may", func(t *testing.T) {
		f := newFleet(t, 1)
		f.login()
		first := f.mustToken()
		f.op.Always(oidcgatetest.Token, oidcgatetest.Delay(3*time.Second))
		time.Sleep(11 * time.Minute)
		go f.token()
		time.Sleep(time.Second)
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := f.gate.Wait(short); err == nil {
			t.Error("Close did not wait")
		}
		if err := f.gate.Wait(t.Context()); err != nil {
			t.Error(err)
		}
		f.op.Clear(oidcgatetest.Token)
		if f.mustToken() == first {
			t.Error("the new token is lost")
		}
		f.refreshed(1)
	})
	inBubble(t, "R-REF-2 a provider slower than the lease is asked once: the lease is renewed", func(t *testing.T) {
		f := newFleet(t, 3, func(c *oidcgate.Config, _ *oidcgate.Provider) { c.Tokens.LockLease = 3 * time.Second })
		f.login()
		f.op.Always(oidcgatetest.Token, oidcgatetest.Delay(9*time.Second))
		time.Sleep(11 * time.Minute)
		if got := f.tokens(30); distinct(got) != 1 || got[0] == "" {
			t.Errorf("tokens %q", got)
		}
		f.refreshed(1)
	})
	inBubble(t, "F30 a replica that died with the lock is waited for no longer than its lease", func(t *testing.T) {
		f := newFleet(t, 3)
		f.login()
		handle := f.handle()
		time.Sleep(11 * time.Minute)
		if err := f.drill.Create(t.Context(), "l:"+handle, []byte("a dead replica"), 15*time.Second); err != nil {
			t.Fatal(err)
		}
		died := time.Now()
		if got := f.tokens(30); distinct(got) != 1 || got[0] == "" {
			t.Errorf("tokens %q", got)
		}
		if waited := time.Since(died); waited < 15*time.Second || waited > 20*time.Second {
			t.Errorf("refreshed after %v, want the lease of 15 s", waited)
		}
		f.refreshed(1)
	})
	inBubble(t, "C082 who comes by the lock late reads again, and finds the work done", func(t *testing.T) {
		f := newFleet(t, 2)
		f.login()
		time.Sleep(11 * time.Minute)
		f.drill.fail(func(op, key string) error {
			if op == "create" && strings.HasPrefix(key, "l:") {
				f.drill.fail(nil, nil)
				time.Sleep(5 * time.Second) // between reading the tokens and taking the lock
			}
			return nil
		}, nil)
		late := make(chan string)
		go func() { late <- f.mustToken() }()
		time.Sleep(time.Second)
		first := f.mustToken()
		if got := <-late; got != first {
			t.Errorf("tokens %q and %q", first, got)
		}
		f.refreshed(1)
	})
	inBubble(t, "R-REF-2 who lost the lock overwrites nobody's newer tokens", func(t *testing.T) {
		f := newFleetThatKeepsRefreshTokens(t, 2)
		f.login()
		handle := f.handle()
		time.Sleep(11 * time.Minute)
		f.op.Inject(oidcgatetest.Token, oidcgatetest.Delay(8*time.Second))
		slow := make(chan string)
		go func() { slow <- f.mustToken() }()
		time.Sleep(time.Second)
		if err := f.drill.Delete(t.Context(), "l:"+handle, nil); err != nil { // a store that fails over and forgets
			t.Fatal(err)
		}
		newer := f.mustToken()
		if got := <-slow; got != newer || f.mustToken() != newer {
			t.Errorf("the slow replica gave %q, the fast one %q, and %q is kept", got, newer, f.mustToken())
		}
		f.refreshed(2)
	})
	inBubble(t, "R-REF-2 who lost the lock and is refused goes on with the newer tokens, and ends no session", func(t *testing.T) {
		f := newFleet(t, 2)
		f.login()
		handle := f.handle()
		time.Sleep(11 * time.Minute)
		f.op.Inject(oidcgatetest.Token, oidcgatetest.Delay(8*time.Second))
		slow := make(chan string)
		go func() { slow <- f.mustToken() }()
		time.Sleep(time.Second)
		if err := f.drill.Delete(t.Context(), "l:"+handle, nil); err != nil {
			t.Fatal(err)
		}
		newer := f.mustToken()
		if got := <-slow; got != newer || f.subject() != "alice" {
			t.Errorf("the slow replica gave %q, the fast one %q; signed in as %q", got, newer, f.subject())
		}
		f.refreshed(2)
	})
	inBubble(t, "F40 sessions that began together do not refresh together", func(t *testing.T) {
		f := newFleet(t, 2)
		browsers := make([]*http.Client, 60)
		for i := range browsers {
			browsers[i] = f.signInAs("alice")
		}
		time.Sleep(9 * time.Minute)
		busiest := 0
		for range 65 {
			before := f.refreshes(60)
			for _, browser := range browsers {
				f.mustToken(browser)
			}
			busiest = max(busiest, f.refreshes(60)-before)
			time.Sleep(time.Second)
		}
		if f.refreshes(60) != 60 || busiest > 20 {
			t.Errorf("%d refreshes, %d of them in one second; want 60, spread", f.refreshes(60), busiest)
		}
	})
	inBubble(t, "F40 however many sessions are due at once, a replica asks for 32 at a time", func(t *testing.T) {
		f := newFleet(t, 1)
		browsers := make([]*http.Client, 100)
		for i := range browsers {
			browsers[i] = f.signInAs(fmt.Sprint("user", i))
		}
		var mu sync.Mutex
		now, most := 0, 0
		f.op.Always(oidcgatetest.Token, func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				mu.Lock()
				now++
				most = max(most, now)
				mu.Unlock()
				time.Sleep(time.Second)
				next.ServeHTTP(rw, r)
				mu.Lock()
				now--
				mu.Unlock()
			})
		})
		time.Sleep(11 * time.Minute)
		var wg sync.WaitGroup
		for _, browser := range browsers {
			wg.Go(func() { f.mustToken(browser) })
		}
		wg.Wait()
		if most != 32 || f.refreshes(100) != 100 {
			t.Errorf("%d refreshes, %d at a time", f.refreshes(100), most)
		}
	})
}

// handle names the records of the one session that there is.
func (f *fleet) handle() (handle string) {
	f.Helper()
	for _, call := range f.drill.during(func() { f.subject() }) {
		if name, ok := strings.CutPrefix(call, "get s:"); ok {
			handle = name
		}
	}
	if handle == "" {
		f.Fatal("no session was read")
	}
	return handle
}

func TestProviderFailsToRefresh(t *testing.T) {
	const json = "application/json"
	for _, row := range []struct {
		name  string
		fault oidcgatetest.Fault
	}{
		{"status 500", oidcgatetest.Answer(500, "", "")},
		{"status 503", oidcgatetest.Answer(503, "", "")},
		{"status 500 with an error code", oidcgatetest.Answer(500, json, `{"error":"server_error"}`)},
		{"status 429", oidcgatetest.Answer(429, "", "")},
		{"no answer", oidcgatetest.Hang()},
		{"half an answer", oidcgatetest.HangBody()},
		{"a reset", oidcgatetest.Reset()},
		{"junk", oidcgatetest.Answer(200, json, "<html>")},
		{"a page", oidcgatetest.Answer(200, "text/html", "<html>")},
		{"a redirect", oidcgatetest.Redirect(307, "https://evil.test/")},
		{"invalid_client", oidcgatetest.Answer(401, json, `{"error":"invalid_client"}`)},
		{"an unknown error", oidcgatetest.Answer(400, json, `{"error":"teapot"}`)},
	} {
		inBubble(t, "C084 R-REF-3 nobody is logged out by: "+row.name, func(t *testing.T) {
			f := newFleetThatKeepsRefreshTokens(t, 3)
			f.login()
			first := f.mustToken()
			f.op.Always(oidcgatetest.Token, row.fault)
			time.Sleep(9*time.Minute + 30*time.Second)
			for _, token := range f.tokens(30) {
				if token != first {
					t.Errorf("token %q; the old one serves until it is over", token)
				}
			}
			replicas := 1 // of those that try
			if row.name == "invalid_client" || row.name == "an unknown error" {
				replicas = len(f.gates) // one of them alone may have an old secret
			}
			if n := f.refreshes(1); n < 1 || n > replicas {
				t.Errorf("the provider was asked %d times to refresh", n)
			}
			outage := 10 * time.Minute
			for until := time.Now().Add(outage); time.Now().Before(until); time.Sleep(500 * time.Millisecond) {
				if token, status := f.token(); token != first && status != http.StatusBadGateway {
					t.Fatalf("status %d, token %q", status, token)
				}
			}
			if n := f.refreshes(1); n < 10 || n > 40*replicas {
				t.Errorf("the provider was asked %d times in %v; want pauses that grow to half a minute", n, outage)
			}
			f.op.Clear(oidcgatetest.Token)
			time.Sleep(time.Minute)
			if f.mustToken() == first || f.subject() != "alice" {
				t.Errorf("not refreshed when the provider is back")
			}
			if n := len(f.reported(oidcgate.EventSessionRevoked)); n != 0 {
				t.Errorf("%d sessions were ended", n)
			}
		})
	}
	inBubble(t, "C084 invalid_grant ends the session, and the provider is not asked again", func(t *testing.T) {
		f := newFleet(t, 3)
		f.login()
		f.op.Always(oidcgatetest.Token, oidcgatetest.Answer(400, json, `{"error":"invalid_grant"}`))
		time.Sleep(9*time.Minute + 50*time.Second)
		f.tokens(10) // one finds out, and the others may still have been given the old token
		for range 10 {
			for _, token := range f.tokens(10) {
				if token != "" {
					t.Errorf("token %q of a session whose refresh token is no good", token)
				}
			}
		}
		if got := f.subject(); got != "" {
			t.Errorf("signed in as %q", got)
		}
		f.refreshed(1)
		f.reportedOnce(oidcgate.EventRefreshFailed, "invalid_grant")
		f.reportedOnce(oidcgate.EventSessionRevoked, "token")
	})
	inBubble(t, "the provider is down when metadata is due: the session goes on and no refresh token is spent", func(t *testing.T) {
		f := newFleet(t, 1)
		f.login()
		f.openReplicas(1, oidcgate.Provider{Issuer: f.op.Issuer(), ClientID: "shop", Auth: oidcgate.ClientSecretBasic(secret)})
		f.op.Always(oidcgatetest.Discovery, oidcgatetest.Answer(500, "", ""))
		time.Sleep(11 * time.Minute)
		if _, status := f.token(); status != http.StatusBadGateway {
			t.Errorf("status %d", status)
		}
		f.op.Clear(oidcgatetest.Discovery)
		time.Sleep(2 * time.Minute)
		f.mustToken()
		f.refreshed(1)
	})
}

// lost carries a request out and breaks the connection in place of its answer.
func lost(next http.Handler) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(httptest.NewRecorder(), r)
		oidcgatetest.Reset()(next).ServeHTTP(rw, r)
	})
}

func TestRefreshIsCut(t *testing.T) {
	inBubble(t, "F31 the answer is lost after the provider rotated: the session ends once, as suspected reuse", func(t *testing.T) {
		f := newFleet(t, 3)
		f.login()
		f.op.Inject(oidcgatetest.Token, lost)
		time.Sleep(11 * time.Minute)
		if _, status := f.token(); status != http.StatusBadGateway {
			t.Errorf("status %d after the lost answer", status)
		}
		time.Sleep(time.Minute)
		for range 5 {
			if _, status := f.token(); status != http.StatusUnauthorized {
				t.Errorf("status %d after the provider refused the spent token", status)
			}
		}
		f.refreshed(2)
		f.reportedOnce(oidcgate.EventRefreshReuseSuspected, "invalid_grant")
		if n := len(f.reported(oidcgate.EventRefreshFailed)); n != 1 {
			t.Errorf("%d events of a failed refresh, want that of the lost answer", n)
		}
	})
	inBubble(t, "R-REF-4 the answer is lost and the provider takes the old token again: the session goes on", func(t *testing.T) {
		f := newFleetThatKeepsRefreshTokens(t, 3)
		f.login()
		f.op.Inject(oidcgatetest.Token, lost)
		time.Sleep(11 * time.Minute)
		f.token()
		time.Sleep(time.Minute)
		f.mustToken()
		f.refreshed(2)
		if n := len(f.reported(oidcgate.EventRefreshReuseSuspected)); n != 0 {
			t.Errorf("%d events of suspected reuse", n)
		}
	})
	inBubble(t, "F31 C084 the provider cannot be reached, and then withdraws the refresh token: no suspected reuse", func(t *testing.T) {
		var unreachable atomic.Bool
		f := newFleet(t, 3, func(c *oidcgate.Config, _ *oidcgate.Provider) {
			transport := c.HTTP.Transport.(*http.Transport)
			dial := transport.DialTLSContext
			transport.DialTLSContext = func(ctx context.Context, network, address string) (net.Conn, error) {
				if unreachable.Load() {
					return nil, &net.OpError{Op: "dial", Net: network, Err: syscall.ECONNREFUSED}
				}
				return dial(ctx, network, address)
			}
		})
		f.login()
		f.mustToken()
		unreachable.Store(true)
		time.Sleep(11 * time.Minute)
		if _, status := f.token(); status != http.StatusBadGateway {
			t.Errorf("status %d while the provider cannot be reached", status)
		}
		unreachable.Store(false)
		f.op.Always(oidcgatetest.Token, oidcgatetest.Answer(400, "application/json", `{"error":"invalid_grant"}`))
		time.Sleep(time.Minute)
		f.token()
		if n := len(f.reported(oidcgate.EventRefreshReuseSuspected)); n != 0 {
			t.Errorf("%d events of suspected reuse", n)
		}
		if n := len(f.reported(oidcgate.EventRefreshFailed)); n != 2 {
			t.Errorf("%d events of a failed refresh, want that of the outage and that of the refusal", n)
		}
	})
	inBubble(t, "a refresh token withdrawn while nothing was lost is no suspected reuse", func(t *testing.T) {
		f := newFleet(t, 3)
		f.login()
		time.Sleep(11 * time.Minute)
		f.mustToken()
		f.op.Always(oidcgatetest.Token, oidcgatetest.Answer(400, "application/json", `{"error":"invalid_grant"}`))
		time.Sleep(11 * time.Minute)
		f.token()
		if n := len(f.reported(oidcgate.EventRefreshReuseSuspected)); n != 0 {
			t.Errorf("%d events of suspected reuse", n)
		}
	})
	inBubble(t, "F31 R-REF-4 the store is ill for longer than a save is tried: the session ends once, without a loop", func(t *testing.T) {
		f := newFleet(t, 3)
		f.login()
		time.Sleep(11 * time.Minute)
		f.drill.fail(on("swap t:", errIll), nil)
		if _, status := f.token(); status != http.StatusServiceUnavailable {
			t.Errorf("status %d", status)
		}
		f.drill.fail(nil, nil)
		time.Sleep(time.Minute)
		for range 5 {
			if _, status := f.token(); status != http.StatusUnauthorized {
				t.Errorf("status %d", status)
			}
		}
		f.refreshed(2)
		f.reportedOnce(oidcgate.EventRefreshReuseSuspected, "invalid_grant")
	})
}

func TestStoreFailsDuringRefresh(t *testing.T) {
	for _, command := range []string{"create l:", "get l:", "create m:", "get t:"} {
		inBubble(t, "F32 no refresh without the lock: "+command+" fails", func(t *testing.T) {
			f := newFleet(t, 2)
			f.login()
			first, handle := f.mustToken(), f.handle()
			time.Sleep(9*time.Minute + 50*time.Second)
			if command == "get l:" { // is asked for only where somebody has it
				_ = f.drill.Create(t.Context(), "l:"+handle, []byte("another"), time.Minute)
			}
			reads := 0
			f.drill.fail(func(op, key string) error {
				if op+" "+key == "get t:"+handle {
					if reads++; reads <= 2 {
						return nil // so that the lock is taken
					}
				}
				return on(command, errIll)(op, key)
			}, nil)
			if token, status := f.token(); token != first {
				t.Errorf("status %d, token %q; the old one serves", status, token)
			}
			time.Sleep(2 * time.Minute)
			if command == "get l:" {
				_ = f.drill.Create(t.Context(), "l:"+handle, []byte("another"), time.Minute)
			}
			reads = 0
			if _, status := f.token(); status != http.StatusServiceUnavailable {
				t.Errorf("status %d after the token's end, want ErrStoreUnavailable", status)
			}
			f.refreshed(0)
			f.drill.fail(nil, nil)
			time.Sleep(2 * time.Minute)
			f.mustToken()
			f.refreshed(1)
		})
	}
	inBubble(t, "R-REF-4 the save is tried again while the store stumbles", func(t *testing.T) {
		f := newFleet(t, 2)
		f.login()
		first := f.mustToken()
		time.Sleep(11 * time.Minute)
		back := time.Now().Add(5 * time.Second)
		f.drill.fail(func(op, key string) error {
			if time.Now().Before(back) {
				return on("swap t:", errIll)(op, key)
			}
			return nil
		}, nil)
		if got := f.mustToken(); got == first || f.mustToken() != got {
			t.Error("the new token is lost")
		}
		f.refreshed(1)
	})
	inBubble(t, "F31 the store's reply to the save is lost: the save counts", func(t *testing.T) {
		f := newFleet(t, 2)
		f.login()
		first := f.mustToken()
		time.Sleep(11 * time.Minute)
		replies := 0
		f.drill.fail(nil, func(op, key string) error {
			if replies++; replies > 3 {
				return nil
			}
			return on("swap t:", errIll)(op, key)
		})
		if got := f.mustToken(); got == first || f.mustToken() != got {
			t.Error("the new token is lost")
		}
		f.refreshed(1)
	})
	inBubble(t, "the lock cannot be released: the lease does it", func(t *testing.T) {
		f := newFleet(t, 2)
		f.login()
		f.drill.fail(on("delete l:", errIll), nil)
		for range 3 {
			time.Sleep(11 * time.Minute)
			f.mustToken()
		}
		f.refreshed(3)
	})
}

func TestLogoutDuringARefresh(t *testing.T) {
	for _, row := range []struct {
		name    string
		logout  func(f *fleet)
		revoked int // by the user's own request the old token, and then the new one
	}{
		{"by the user", func(f *fleet) {
			f.send(f.browser, http.MethodPost, "/auth/logout", "", "Sec-Fetch-Site: same-origin")
		}, 2},
		{"by the provider", func(f *fleet) {
			if a := f.logoutToken(f.logoutClaims("sub", "alice")); a.StatusCode != http.StatusOK {
				f.Errorf("the logout was answered %d", a.StatusCode)
			}
		}, 1},
		{"by an administrator", func(f *fleet) {
			if n, err := f.gates[0].Sessions().EndUser(f.Context(), f.op.Issuer(), "alice"); n != 1 || err != nil {
				f.Errorf("EndUser: %d, %v", n, err)
			}
		}, 1},
	} {
		inBubble(t, "F30 C127 a logout "+row.name+" wins, and the new refresh token is revoked", func(t *testing.T) {
			f := newFleet(t, 3)
			revoked := f.revocations()
			f.login()
			handle := f.handle()
			time.Sleep(11 * time.Minute)
			f.op.Inject(oidcgatetest.Token, oidcgatetest.Delay(3*time.Second))
			cookies := f.browser.Jar
			status := make(chan int)
			go func() {
				_, s := f.token(&http.Client{Jar: cookies, Transport: f.browser.Transport})
				status <- s
			}()
			time.Sleep(time.Second)
			session := f.sentCookies()
			row.logout(f)
			if s := <-status; s != http.StatusUnauthorized {
				t.Errorf("the request that refreshed: status %d", s)
			}
			if a := f.send(f.newBrowser(), http.MethodGet, "/token", "", "Cookie: "+session); a.StatusCode != http.StatusUnauthorized {
				t.Errorf("the old cookie: status %d %s", a.StatusCode, a.body)
			}
			if got := revoked(); distinct(got) != row.revoked || len(got) != row.revoked {
				t.Errorf("revoked %q, want %d", got, row.revoked)
			}
			for _, kind := range []string{"s:", "t:", "d:", "m:"} {
				if _, err := f.drill.Get(t.Context(), kind+handle); err != store.ErrNotFound {
					t.Errorf("the record %q outlives the logout: %v", kind, err)
				}
			}
		})
	}
}

func TestRefreshWithAnOddMember(t *testing.T) {
	member := oidcgatetest.EditJSON
	for name, fault := range map[string]oidcgatetest.Fault{
		"expires_in 599.5":   member(func(m map[string]any) { m["expires_in"] = 599.5 }),
		"expires_in -1":      member(func(m map[string]any) { m["expires_in"] = -1 }),
		"scope a list":       member(func(m map[string]any) { m["scope"] = []string{"openid"} }),
		"no token_type":      member(func(m map[string]any) { delete(m, "token_type") }),
		"no access token":    member(func(m map[string]any) { delete(m, "access_token") }),
		"id_token of a list": member(func(m map[string]any) { m["id_token"] = []string{} }),
		"another type":       oidcgatetest.Edit(func(r *oidcgatetest.Response) { r.Header.Set("Content-Type", "text/plain") }),
		"no type":            oidcgatetest.Edit(func(r *oidcgatetest.Response) { r.Header.Del("Content-Type") }),
		"a huge token":       member(func(m map[string]any) { m["access_token"] = strings.Repeat("x", 40_000) }),
		"status 201":         oidcgatetest.Edit(func(r *oidcgatetest.Response) { r.Status = http.StatusCreated }),
	} {
		inBubble(t, "C084 an answer that cannot be used has a new refresh token, which is kept: "+name, func(t *testing.T) {
			f := newFleet(t, 2)
			f.login()
			time.Sleep(11 * time.Minute)
			f.op.Inject(oidcgatetest.Token, fault)
			if token, status := f.token(); status != http.StatusBadGateway {
				t.Errorf("status %d, token %q", status, token)
			}
			time.Sleep(time.Minute)
			f.mustToken()
			if e := f.reported(oidcgate.EventRefreshReuseSuspected); len(e) != 0 {
				t.Errorf("events %+v", e)
			}
		})
	}
}

func TestRefreshTokenThatIsTooLong(t *testing.T) {
	inBubble(t, "F08 C084 an answer that cannot be used has a refresh token that is too long to be kept", func(t *testing.T) {
		f := newFleetThatKeepsRefreshTokens(t, 1)
		f.login()
		time.Sleep(11 * time.Minute)
		f.op.Inject(oidcgatetest.Token, oidcgatetest.EditJSON(func(m map[string]any) {
			m["refresh_token"] = strings.Repeat("x", 40_000)
		}))
		if token, status := f.token(); status != http.StatusBadGateway {
			t.Errorf("status %d, token %q", status, token)
		}
		time.Sleep(time.Minute)
		f.mustToken()
		if spent := f.spent(); len(spent) > 1000 {
			t.Errorf("it was kept: %d bytes", len(spent))
		}
	})
}

func TestLoginAgainDuringARefresh(t *testing.T) {
	for sid, want := range map[string]int{"the same session of the provider": 0, "another session of the provider": 2} {
		inBubble(t, "C087 a login in "+sid+" replaces a session that is refreshed", func(t *testing.T) {
			f := newFleet(t, 2)
			revoked := f.revocations()
			say := func(sid string) { f.op.EveryIDToken(func(j *oidcgatetest.JWT) { j.Claims["sid"] = sid }) }
			say("the same session of the provider")
			other := f.signInAs("alice") // a device of hers, that neither is replaced nor counts
			f.login()
			time.Sleep(11 * time.Minute)
			say(sid)
			target := f.callbackURL("/auth/login?prompt=login")
			f.op.Inject(oidcgatetest.Token, oidcgatetest.Delay(2*time.Second))
			cookies := f.sentCookies()
			status := make(chan int)
			go func() {
				tab := f.newBrowser()
				tab.Jar = nil
				status <- f.send(tab, http.MethodGet, "/token", "", "Cookie: "+cookies).StatusCode
			}()
			time.Sleep(time.Second)
			if a := f.get(target); a.StatusCode != http.StatusSeeOther || f.subject() != "alice" {
				t.Errorf("the login: status %d", a.StatusCode)
			}
			if s := <-status; s != http.StatusUnauthorized {
				t.Errorf("the request that refreshed: status %d", s)
			}
			if got := revoked(); len(got) != want {
				t.Errorf("revoked %q, want %d", got, want)
			}
			if f.who(other) != "alice" {
				t.Error("the other device is signed out")
			}
		})
	}
	inBubble(t, "C127 a logout during a refresh revokes the new token, though the user has another device", func(t *testing.T) {
		f := newFleet(t, 2)
		revoked := f.revocations()
		f.op.EveryIDToken(func(j *oidcgatetest.JWT) { delete(j.Claims, "sid") })
		f.signInAs("alice")
		f.login()
		time.Sleep(11 * time.Minute)
		f.op.Inject(oidcgatetest.Token, oidcgatetest.Delay(2*time.Second))
		cookies := f.browser.Jar
		status := make(chan int)
		go func() {
			_, s := f.token(&http.Client{Jar: cookies, Transport: f.browser.Transport})
			status <- s
		}()
		time.Sleep(time.Second)
		f.send(f.browser, http.MethodPost, "/auth/logout", "", "Sec-Fetch-Site: same-origin")
		<-status
		if got := revoked(); distinct(got) != 2 {
			t.Errorf("revoked %q, want the old token and the new one", got)
		}
	})
}

func TestRevocationAtLogout(t *testing.T) {
	for _, row := range []struct {
		name  string
		fault oidcgatetest.Fault
		takes time.Duration
	}{
		{"it works", oidcgatetest.Answer(200, "", ""), 0},
		{"it fails", oidcgatetest.Answer(500, "", "down"), 0},
		{"it is refused", oidcgatetest.Answer(400, "application/json", `{"error":"unsupported_token_type"}`), 0},
		{"it hangs", oidcgatetest.Hang(), 2 * time.Second},
		{"it is reset", oidcgatetest.Reset(), 0},
		{"it redirects", oidcgatetest.Redirect(307, "https://evil.test/"), 0},
	} {
		inBubble(t, "C087 the refresh token is revoked once and the logout is done: "+row.name, func(t *testing.T) {
			f := newFleet(t, 1)
			revoked := f.revocations(row.fault)
			f.login()
			begun := time.Now()
			a := f.send(f.browser, http.MethodPost, "/auth/logout", "", "Sec-Fetch-Site: same-origin")
			if !strings.HasPrefix(a.location(), f.op.Issuer()+"/logout") || f.subject() != "" {
				t.Errorf("status %d to %q, signed in as %q", a.StatusCode, a.location(), f.subject())
			}
			if took := time.Since(begun); took != row.takes {
				t.Errorf("the visitor waited %v, want %v", took, row.takes)
			}
			if len(revoked()) != 1 || revoked()[0] == "" {
				t.Errorf("revoked %q, want the refresh token, once", revoked())
			}
		})
	}
	inBubble(t, "C087 a provider without a revocation endpoint is asked nothing", func(t *testing.T) {
		f := newFleet(t, 1)
		f.login()
		f.send(f.browser, http.MethodPost, "/auth/logout", "", "Sec-Fetch-Site: same-origin")
		if n := f.op.Count(oidcgatetest.Other); n != 0 {
			t.Errorf("%d calls to addresses the metadata does not name", n)
		}
	})
	inBubble(t, "C087 nothing is revoked with Logout.WithoutRevocation", func(t *testing.T) {
		f := newFleet(t, 1, func(_ *oidcgate.Config, p *oidcgate.Provider) { p.Logout.WithoutRevocation = true })
		revoked := f.revocations()
		f.login()
		a := f.send(f.browser, http.MethodPost, "/auth/logout", "", "Sec-Fetch-Site: same-origin")
		if !strings.HasPrefix(a.location(), f.op.Issuer()+"/logout") || f.subject() != "" || len(revoked()) != 0 {
			t.Errorf("%d to %q, signed in as %q, revoked %q", a.StatusCode, a.location(), f.subject(), revoked())
		}
	})
	inBubble(t, "C087 a session without a refresh token has nothing to revoke", func(t *testing.T) {
		f := newFleet(t, 1)
		revoked := f.revocations()
		f.op.Inject(oidcgatetest.Token, oidcgatetest.EditJSON(func(m map[string]any) { delete(m, "refresh_token") }))
		f.login()
		f.send(f.browser, http.MethodPost, "/auth/logout", "", "Sec-Fetch-Site: same-origin")
		if len(revoked()) != 0 {
			t.Errorf("revoked %q", revoked())
		}
	})
}

// TestRefreshesEndWithTheTest fails, by synctest, when a refresh leaves a goroutine behind.
func TestRefreshesEndWithTheTest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 2)
		f.login()
		f.op.Always(oidcgatetest.Token, oidcgatetest.Hang())
		time.Sleep(11 * time.Minute)
		ctx, leave := context.WithTimeout(t.Context(), time.Second)
		defer leave()
		r, _ := http.NewRequestWithContext(ctx, http.MethodGet, shopURL+"/token", nil)
		if resp, err := f.browser.Do(r); err == nil {
			resp.Body.Close()
		}
	})
}

// Gitea and Forgejo have one grant for a user and an application, and write the nonce of its last login into each ID Token.
func TestNonceOfAnotherDevice(t *testing.T) {
	for _, any := range []bool{false, true} {
		inBubble(t, fmt.Sprintf("C081 a refreshed ID Token has the nonce of a login on another device: AnyNonceAtRefresh %v", any), func(t *testing.T) {
			f := newFleet(t, 1, func(_ *oidcgate.Config, p *oidcgate.Provider) { p.Verification.AnyNonceAtRefresh = any })
			last := ""
			f.op.EveryIDToken(func(j *oidcgatetest.JWT) {
				if nonce, ok := j.Claims["nonce"].(string); ok {
					last = nonce
				}
				j.Claims["nonce"] = last
			})
			f.login()
			phone := f.signInAs("alice")
			time.Sleep(11 * time.Minute)
			f.mustToken(phone)
			_, status := f.token()
			if want := map[bool]int{false: http.StatusUnauthorized, true: http.StatusOK}[any]; status != want {
				t.Errorf("status %d, want %d", status, want)
			}
			if synctest.Wait(); !any && !strings.Contains(f.logged(), "AnyNonceAtRefresh") {
				t.Error("the log does not name the cure")
			}
		})
	}
}

// TestNoteBesideASlowAnswer has a replica lose its lock while the provider, which has rotated at once, answers slowly. Another
// sends the spent token meanwhile, is refused, and notes that with the tokens.
func TestNoteBesideASlowAnswer(t *testing.T) {
	inBubble(t, "C082 C083 F40 the new tokens are saved over the note", func(t *testing.T) {
		f := newFleet(t, 2, rereads, func(c *oidcgate.Config, _ *oidcgate.Provider) { c.HTTP.Timeout = 40 * time.Second })
		var slow atomic.Bool
		f.op.Always(oidcgatetest.Token, func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				answer := httptest.NewRecorder()
				next.ServeHTTP(answer, r)
				if slow.CompareAndSwap(true, false) {
					time.Sleep(25 * time.Second)
				}
				body := strings.ReplaceAll(answer.Body.String(), "invalid_grant", "invalid_request") // as Dex says it
				rw.Header().Set("Content-Type", "application/json")
				rw.WriteHeader(answer.Code)
				_, _ = io.WriteString(rw, body)
			})
		})
		f.login()
		time.Sleep(11 * time.Minute)
		slow.Store(true)
		f.drill.fail(on("swap l:", errReadOnly), nil) // its lock is not renewed
		go f.token()
		time.Sleep(20 * time.Second)
		for range 6 {
			f.token()
			time.Sleep(2 * time.Second)
		}
		f.drill.fail(nil, nil)
		time.Sleep(time.Minute)
		f.mustToken()
	})
}

// TestRefreshedIDTokenWithNull has null where there is no claim, as authentik had before 2022.10.
func TestRefreshedIDTokenWithNull(t *testing.T) {
	for _, name := range []string{"at_hash", "c_hash", "nonce", "auth_time"} {
		inBubble(t, "C081 a claim that is null is absent: "+name, func(t *testing.T) {
			f := newFleet(t, 1)
			revoked := f.revocations()
			f.login()
			time.Sleep(11 * time.Minute)
			f.op.NextIDToken(func(t *oidcgatetest.JWT) { t.Claims[name] = nil })
			f.mustToken()
			if got := f.subject(); got != "alice" || len(revoked()) > 0 {
				t.Errorf("signed in as %q, %d refresh tokens revoked", got, len(revoked()))
			}
		})
	}
}
