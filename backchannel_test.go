package oidcgate_test

import (
	"bufio"
	"cmp"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/oidcgate/oidcgate"
	"github.com/oidcgate/oidcgate/internal/redistest"
	"github.com/oidcgate/oidcgate/oidcgatetest"
)

// logoutClaims are those of a logout token (OpenID Connect Back-Channel Logout, 2.4) with more, given as name
// and value.
func (w *world) logoutClaims(more ...any) map[string]any { return logoutClaimsOf(w.op, more...) }

func logoutClaimsOf(op *oidcgatetest.Provider, more ...any) map[string]any {
	claims := map[string]any{
		"iss": op.Issuer(), "aud": "shop", "jti": rand.Text(),
		"iat": time.Now().Unix(), "exp": time.Now().Add(2 * time.Minute).Unix(),
		"events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}},
	}
	for i := 0; i < len(more); i += 2 {
		claims[more[i].(string)] = more[i+1]
	}
	return claims
}

// logoutToken sends a logout token with these claims, as the provider does: without cookies.
func (f *fleet) logoutToken(claims map[string]any) answer {
	f.Helper()
	return f.sendLogout(f.op.NewJWT(claims).Compact())
}

func (f *fleet) sendLogout(token string) answer {
	f.Helper()
	form := url.Values{"logout_token": {token}}
	return f.send(f.newBrowser(), http.MethodPost, "/auth/backchannel-logout", form.Encode())
}

// sid is the provider's name for the session of a browser.
func (f *fleet) sid(browser *http.Client) (sid string) {
	f.Helper()
	f.as(browser, func() { f.inspect(func(id *oidcgate.Identity) { sid = id.ProviderSessionID() }) })
	return sid
}

// isPlain checks what every answer of the back channel has: no cookie, no body, no place in a cache.
func (a answer) isPlain(t *testing.T) {
	t.Helper()
	if got := a.Header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("Cache-Control %q, want no-store", got)
	}
	if a.Header["Set-Cookie"] != nil || a.body != "" {
		t.Errorf("cookies %q, body %q", a.Header["Set-Cookie"], a.body)
	}
}

func TestBackchannelRequest(t *testing.T) {
	const form = "application/x-www-form-urlencoded"
	for _, row := range []struct {
		name, method, contentType string
		body                      func(token string) string
		query                     bool // the token stands in the address, too
		want                      int
	}{
		{"GET", "GET", "", nil, true, 405},
		{"HEAD", "HEAD", "", nil, true, 405},
		{"PUT", "PUT", form, func(t string) string { return "logout_token=" + t }, false, 405},
		{"DELETE", "DELETE", "", nil, true, 405},
		{"OPTIONS", "OPTIONS", "", nil, true, 405},
		{"the token in the address", "POST", form, nil, true, 400},
		{"JSON", "POST", "application/json", func(t string) string { return `{"logout_token":"` + t + `"}` }, false, 400},
		{"a form that says it is text", "POST", "text/plain", func(t string) string { return "logout_token=" + t }, false, 400},
		{"a form that says nothing", "POST", "", func(t string) string { return "logout_token=" + t }, false, 400},
		{"no token", "POST", form, func(string) string { return "logout=1" }, false, 400},
		{"an empty token", "POST", form, func(string) string { return "logout_token=" }, false, 400},
		{"two tokens", "POST", form, func(t string) string { return "logout_token=" + t + "&logout_token=" + t }, false, 400},
		{"a form that is none", "POST", form, func(t string) string { return "logout_token=" + t + "&%zz" }, false, 400},
		{"a body of a megabyte", "POST", form, func(t string) string { return "logout_token=" + t + "&x=" + strings.Repeat("x", 1<<20) }, false, 400},
		{"a token of 20 KB", "POST", form, func(t string) string { return "logout_token=" + t + strings.Repeat("A", 20<<10) }, false, 400},

		{"a form", "POST", form, func(t string) string { return "logout_token=" + t }, false, 200},
		{"a form with a character set", "POST", form + "; charset=UTF-8", func(t string) string { return "logout_token=" + t }, false, 200},
		{"a form with more in it", "POST", form, func(t string) string { return "foo=bar&foo=baz&logout_token=" + t }, false, 200},
	} {
		inBubble(t, fmt.Sprintf("C121 %s: %d", row.name, row.want), func(t *testing.T) {
			f := newFleet(t, 2)
			f.login()
			token := f.op.NewJWT(f.logoutClaims("sub", "alice")).Compact()
			target := "/auth/backchannel-logout"
			if row.query {
				target += "?logout_token=" + token
			}
			body := ""
			if row.body != nil {
				body = row.body(token)
			}
			// What a browser would be refused for does not count: the provider's server is no browser.
			a := f.send(f.newBrowser(), row.method, target, body, "Content-Type: "+row.contentType, "Origin: https://id.test", "Sec-Fetch-Site: cross-site")
			if a.StatusCode != row.want {
				t.Errorf("status %d\n%s", a.StatusCode, f.logged())
			}
			a.isPlain(t)
			if allow := a.Header.Get("Allow"); row.want == 405 && allow != "POST" {
				t.Errorf("Allow %q, want POST", allow)
			}
			if alive := f.subject() != ""; alive != (row.want != 200) {
				t.Errorf("the session is alive: %v", alive)
			}
			time.Sleep(time.Second) // for the server, which lingers over a connection it closes
		})
	}
}

func TestLogoutTokenIsRefused(t *testing.T) {
	set := func(name string, value any) func(*oidcgatetest.JWT) {
		return func(t *oidcgatetest.JWT) { t.Claims[name] = value }
	}
	drop := func(name string) func(*oidcgatetest.JWT) {
		return func(t *oidcgatetest.JWT) { delete(t.Claims, name) }
	}
	header := func(name string, value any) func(*oidcgatetest.JWT) {
		return func(t *oidcgatetest.JWT) { t.Header[name] = value }
	}
	at := func(name string, d time.Duration) func(*oidcgatetest.JWT) {
		return func(t *oidcgatetest.JWT) { t.Claims[name] = time.Now().Add(d).Unix() }
	}
	event := func(value any) func(*oidcgatetest.JWT) {
		return set("events", map[string]any{"http://schemas.openid.net/event/backchannel-logout": value})
	}
	for _, row := range []struct {
		name   string
		change func(*oidcgatetest.JWT)
		reason oidcgate.Reason
	}{
		{"C122 no signature", (*oidcgatetest.JWT).Unsigned, "alg"},
		{"C122 signed with the client's secret", func(t *oidcgatetest.JWT) { t.SignWith("HS256", []byte(secret)) }, "alg"},
		{"C122 signed by somebody else", (*oidcgatetest.JWT).SignForeign, oidcgate.ReasonSignature},
		{"C122 a broken signature", (*oidcgatetest.JWT).CorruptSignature, oidcgate.ReasonSignature},
		{"C122 a key that nobody has", header("kid", "unknown"), oidcgate.ReasonKeyUnknown},
		{"C122 a critical header", header("crit", []string{"x"}), "id_token_malformed"},
		{"C122 no iss", drop("iss"), "iss_claim"},
		{"C122 iss of another provider", set("iss", "https://evil.test"), "iss_claim"},
		{"C122 no aud", drop("aud"), "aud"},
		{"C122 aud of another client", set("aud", "shopINVALID"), "aud"},
		{"C122 aud of two clients", set("aud", []string{"shop", "another"}), "aud"},
		{"C122 R-OUT-1 no iat", drop("iat"), "iat"},
		{"C122 iat in the future", at("iat", time.Hour), "iat"},
		{"C123 iat of long ago", at("iat", -time.Hour), "iat"},
		{"C122 iat as a text", set("iat", "now"), "iat"},
		{"C122 no exp", drop("exp"), "exp"},
		{"C122 exp past", at("exp", -2*time.Minute), "exp"},
		{"C123 exp tomorrow", at("exp", 24*time.Hour), "exp"},
		{"C122 nbf in the future", at("nbf", time.Hour), "nbf"},
		{"C122 R-OUT-1 no jti", drop("jti"), "jti"},
		{"C122 an empty jti", set("jti", ""), "jti"},
		{"C122 jti as a number", set("jti", 7), "jti"},
		{"C122 a jti of a kilobyte", set("jti", strings.Repeat("j", 1<<10)), "jti"},
		{"C122 neither sub nor sid", drop("sub"), "sub"},
		{"C122 an empty sub", set("sub", ""), "sub"},
		{"C122 sub as a list", set("sub", []string{"alice"}), "sub"},
		{"C122 sid as a number must not end all of the user's sessions", set("sid", 7), "sid"},
		{"C122 an empty sid must not end all of the user's sessions", set("sid", ""), "sid"},
		{"C122 no events", drop("events"), "events"},
		{"C122 events as a list", set("events", []string{"http://schemas.openid.net/event/backchannel-logout"}), "events"},
		{"C122 another event", set("events", map[string]any{"http://schemas.openid.net/event/wrong": map[string]any{}}), "events"},
		{"C122 the event's value is true", event(true), "events"},
		{"C122 the event's value is a text", event("{}"), "events"},
		{"C122 the event's value is null", event(nil), "events"},
		{"C122 the event's value is a list", event([]any{}), "events"},
		{"C122 a nonce", set("nonce", "n"), "typ"},
		{"C122 an empty nonce", set("nonce", ""), "typ"},
		{"C123 typ JWT", header("typ", "JWT"), "typ"},
		{"C123 typ of an access token", header("typ", "at+jwt"), "typ"},
		{"C123 typ of a security event", header("typ", "secevent+jwt"), "typ"},
		{"C123 typ that is no text", header("typ", 7), "typ"},
		{"C122 claims twice", func(t *oidcgatetest.JWT) {
			t.Payload = append([]byte(`{"sub":"bob",`), mustJSON(t.Claims)[1:]...)
		}, "id_token_malformed"},
		{"C122 no token", func(t *oidcgatetest.JWT) { t.Finish = func(string) string { return "a.b.c" } }, "id_token_malformed"},
		{"C122 two parts", func(t *oidcgatetest.JWT) {
			t.Finish = func(s string) string { return s[:strings.LastIndex(s, ".")] }
		}, "id_token_malformed"},
	} {
		inBubble(t, row.name, func(t *testing.T) {
			f := newFleet(t, 2)
			f.login()
			token := f.op.NewJWT(f.logoutClaims("sub", "alice"))
			row.change(token)
			a := f.sendLogout(token.Compact())
			if a.StatusCode != http.StatusBadRequest {
				t.Errorf("status %d, want 400", a.StatusCode)
			}
			a.isPlain(t)
			if got := f.subject(); got != "alice" {
				t.Errorf("signed in as %q", got)
			}
			f.reportedOnce(oidcgate.EventBackchannelRejected, row.reason)
		})
	}
	inBubble(t, "C122 signed with a good key of another algorithm", func(t *testing.T) {
		f := newFleet(t, 1)
		f.login()
		f.op.AddKey("ES256")
		if a := f.logoutToken(f.logoutClaims("sub", "alice")); a.StatusCode != http.StatusBadRequest || f.subject() != "alice" {
			t.Errorf("status %d, signed in as %q", a.StatusCode, f.subject())
		}
	})
	inBubble(t, "C122 an ID Token is no logout token", func(t *testing.T) {
		f := newFleet(t, 1)
		idToken := ""
		f.op.NextIDToken(func(t *oidcgatetest.JWT) { t.Finish = func(s string) string { idToken = s; return s } })
		f.login()
		if a := f.sendLogout(idToken); a.StatusCode != http.StatusBadRequest || f.subject() != "alice" {
			t.Errorf("status %d, signed in as %q", a.StatusCode, f.subject())
		}
	})
}

func mustJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

func TestLogoutTokenIsAccepted(t *testing.T) {
	typed := func(typ any) func(*oidcgatetest.JWT) {
		return func(t *oidcgatetest.JWT) {
			t.Header["typ"] = typ
			if typ == nil {
				delete(t.Header, "typ")
			}
		}
	}
	for name, change := range map[string]func(*oidcgatetest.JWT){
		"C123 typ logout+jwt":        typed("logout+jwt"),
		"C123 typ LOGOUT+JWT":        typed("LOGOUT+JWT"),
		"C123 no typ":                typed(nil),
		"C122 a claim nobody knows":  func(t *oidcgatetest.JWT) { t.Claims["foo"] = "bar" },
		"C122 aud as a list":         func(t *oidcgatetest.JWT) { t.Claims["aud"] = []string{"shop"} },
		"C122 the event has members": func(t *oidcgatetest.JWT) { t.Claims["events"].(map[string]any)["more"] = 1 },
		"C122 a clock that is ahead": func(t *oidcgatetest.JWT) { t.Claims["iat"] = time.Now().Add(30 * time.Second).Unix() },
	} {
		inBubble(t, name, func(t *testing.T) {
			f := newFleet(t, 2)
			f.login()
			token := f.op.NewJWT(f.logoutClaims("sub", "alice"))
			change(token)
			a := f.sendLogout(token.Compact())
			if a.StatusCode != http.StatusOK || f.subject() != "" {
				t.Errorf("status %d, signed in as %q\n%s", a.StatusCode, f.subject(), f.logged())
			}
			a.isPlain(t)
			f.reportedOnce(oidcgate.EventBackchannelAccepted, "")
			if e := f.reported(oidcgate.EventBackchannelAccepted)[0]; !strings.HasSuffix(e.Detail, ": 1") || e.Hint != "" {
				t.Errorf("detail %q, hint %q", e.Detail, e.Hint)
			}
		})
	}
	inBubble(t, "C125 a token that ends nothing, as those of CAS 6: 200, and the event says so", func(t *testing.T) {
		f := newFleet(t, 1)
		f.login()
		if a := f.logoutToken(f.logoutClaims("sid", "ST-1")); a.StatusCode != http.StatusOK || f.subject() != "alice" {
			t.Errorf("status %d, signed in as %q", a.StatusCode, f.subject())
		}
		f.reportedOnce(oidcgate.EventBackchannelAccepted, "")
		if e := f.reported(oidcgate.EventBackchannelAccepted)[0]; !strings.HasSuffix(e.Detail, ": 0") || !strings.Contains(e.Hint, "compare sub and sid") {
			t.Errorf("detail %q, hint %q", e.Detail, e.Hint)
		}
	})
}

// Many providers follow a draft of the specification.
func TestLogoutTokenOfADraft(t *testing.T) {
	typJWT := func(t *oidcgatetest.JWT) { t.Header["typ"] = "JWT" }
	noExp := func(t *oidcgatetest.JWT) { delete(t.Claims, "exp") }
	farExp := func(t *oidcgatetest.JWT) { t.Claims["exp"] = time.Now().Add(24 * time.Hour).Unix() }
	for _, row := range []struct {
		name   string
		change func(*oidcgatetest.JWT)
		allow  func(*oidcgate.Verification)
		field  string
		reason oidcgate.Reason
	}{
		{"C123 typ JWT", typJWT, func(v *oidcgate.Verification) { v.LogoutTypeJWT = true }, "Verification.LogoutTypeJWT", "typ"},
		{"C122 no exp", noExp, func(v *oidcgate.Verification) { v.LogoutWithoutExp = true }, "Verification.LogoutWithoutExp", "exp"},
		{"C123 exp a day after iat", farExp, func(v *oidcgate.Verification) { v.LogoutWithoutExp = true }, "Verification.LogoutWithoutExp", "exp"},
	} {
		inBubble(t, row.name+" is refused, and the log names the field that allows it", func(t *testing.T) {
			f := newFleet(t, 1)
			f.login()
			token := f.op.NewJWT(f.logoutClaims("sub", "alice"))
			row.change(token)
			if a := f.sendLogout(token.Compact()); a.StatusCode != http.StatusBadRequest || f.subject() != "alice" {
				t.Errorf("status %d, signed in as %q", a.StatusCode, f.subject())
			}
			f.reportedOnce(oidcgate.EventBackchannelRejected, row.reason)
			if e := f.reported(oidcgate.EventBackchannelRejected); !strings.Contains(e[0].Hint, row.field) || !strings.Contains(f.logged(), row.field) {
				t.Errorf("the hint is %q; the log:\n%s", e[0].Hint, f.logged())
			}
		})
		inBubble(t, row.name+" is accepted where that is configured, once, on all replicas, for as long as it counts", func(t *testing.T) {
			f := newFleet(t, 3, func(_ *oidcgate.Config, p *oidcgate.Provider) { row.allow(&p.Verification) })
			f.login()
			token := f.op.NewJWT(f.logoutClaims("sub", "alice"))
			row.change(token)
			raw := token.Compact()
			if a := f.sendLogout(raw); a.StatusCode != http.StatusOK || f.subject() != "" {
				t.Errorf("status %d, signed in as %q\n%s", a.StatusCode, f.subject(), f.logged())
			}
			time.Sleep(time.Second)
			f.login()
			for range 10 { // two minutes, and a minute of skew
				time.Sleep(18 * time.Second)
				if a := f.sendLogout(raw); a.StatusCode != http.StatusBadRequest || f.subject() != "alice" {
					t.Errorf("status %d, signed in as %q", a.StatusCode, f.subject())
				}
			}
		})
	}
}

// TestBackchannelEffect has three sessions, two of them alice's, and says who is left.
func TestBackchannelEffect(t *testing.T) {
	for _, row := range []struct {
		name   string
		claims func(sids []string) []any
		left   string
	}{
		{"C125 sid ends that session and no other", func(sids []string) []any { return []any{"sid", sids[0]} }, "-,alice,bob"},
		{"C125 sub ends all sessions of the user and no other", func([]string) []any { return []any{"sub", "alice"} }, "-,-,bob"},
		{"C125 sub and sid end that session", func(sids []string) []any { return []any{"sub", "alice", "sid", sids[1]} }, "alice,-,bob"},
		{"C125 a sid nobody has: 200", func([]string) []any { return []any{"sid", "unknown"} }, "alice,alice,bob"},
		{"C125 a user nobody is: 200", func([]string) []any { return []any{"sub", "carol"} }, "alice,alice,bob"},
		{"C125 a user's name in other letters is another user", func([]string) []any { return []any{"sub", "Alice"} }, "alice,alice,bob"},
	} {
		onMemoryAndRedis(t, row.name, func(t *testing.T, on change) {
			f := newFleet(t, 3, on)
			browsers := []*http.Client{f.signInAs("alice"), f.signInAs("alice"), f.signInAs("bob")}
			var sids []string
			for _, b := range browsers {
				sids = append(sids, f.sid(b))
			}
			claims := row.claims(sids)
			for range 2 { // the second finds the sessions over, which is as good
				if a := f.logoutToken(f.logoutClaims(claims...)); a.StatusCode != http.StatusOK {
					t.Errorf("status %d\n%s", a.StatusCode, f.logged())
				}
				var left []string
				for _, b := range browsers {
					left = append(left, cmp.Or(f.who(b), "-"))
				}
				if got := strings.Join(left, ","); got != row.left {
					t.Errorf("left %s, want %s", got, row.left)
				}
			}
		})
	}
}

// onMemoryAndRedis runs a test in a bubble with a store in memory, and outside with a real Redis.
func onMemoryAndRedis(t *testing.T, name string, test func(t *testing.T, on change)) {
	inBubble(t, name, func(t *testing.T) { test(t, func(*oidcgate.Config, *oidcgate.Provider) {}) })
	t.Run(name+" (Redis)", func(t *testing.T) {
		rdb := redistest.Start(t).Client(func(o *redis.Options) { o.ContextTimeoutEnabled = true })
		test(t, func(c *oidcgate.Config, _ *oidcgate.Provider) { c.Store = patient(rdb) })
	})
}

func TestBackchannelReplay(t *testing.T) {
	inBubble(t, "C124 R-OUT-1 a token is good once, on all replicas, for as long as it lives", func(t *testing.T) {
		f := newFleet(t, 3)
		f.login()
		token := f.op.NewJWT(f.logoutClaims("sub", "alice")).Compact()
		if a := f.sendLogout(token); a.StatusCode != http.StatusOK {
			t.Fatalf("status %d", a.StatusCode)
		}
		time.Sleep(time.Second)
		f.login()
		for range 5 {
			time.Sleep(35 * time.Second) // exp is two minutes ahead, and the leeway one more
			if a := f.sendLogout(token); a.StatusCode != http.StatusBadRequest || f.subject() != "alice" {
				t.Errorf("status %d, signed in as %q", a.StatusCode, f.subject())
			}
		}
		reasons := map[oidcgate.Reason]int{}
		for _, e := range f.reported(oidcgate.EventBackchannelRejected) {
			reasons[e.Reason]++
		}
		if reasons["replayed"] != 5 {
			t.Errorf("refused for %v", reasons)
		}
	})
	inBubble(t, "C124 the store cannot remember the token: 503, and the provider's next try succeeds", func(t *testing.T) {
		f := newFleet(t, 2)
		f.login()
		token := f.op.NewJWT(f.logoutClaims("sub", "alice")).Compact()
		f.drill.fail(on("create j:", errIll), nil)
		if a := f.sendLogout(token); a.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("status %d, want 503", a.StatusCode)
		}
		f.drill.fail(nil, nil)
		if a := f.sendLogout(token); a.StatusCode != http.StatusOK || f.subject() != "" {
			t.Errorf("status %d, signed in as %q", a.StatusCode, f.subject())
		}
	})
	inBubble(t, "C124 a hundred copies at once do what one does", func(t *testing.T) {
		f := newFleet(t, 3)
		f.login()
		token := f.op.NewJWT(f.logoutClaims("sub", "alice")).Compact()
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				if a := f.sendLogout(token); a.StatusCode != http.StatusOK && a.StatusCode != http.StatusBadRequest {
					t.Errorf("status %d", a.StatusCode)
				}
			})
		}
		wg.Wait()
		if n := len(f.reported(oidcgate.EventSessionRevoked)); f.subject() != "" || n == 0 {
			t.Errorf("signed in as %q, %d events of its end", f.subject(), n)
		}
	})
}

// TestBackchannelStoreFails lets each command of a logout fail in turn.
func TestBackchannelStoreFails(t *testing.T) {
	for _, late := range []bool{false, true} {
		for _, claim := range []string{"sub", "sid"} {
			name := fmt.Sprintf("C124 R-OPS-2 each command of a logout by %s fails in turn (carried out: %v): 503, and the next try ends the session", claim, late)
			inBubble(t, name, func(t *testing.T) {
				for n, more := 1, true; more; n++ {
					more = logoutFails(t, claim, n, late)
				}
			})
		}
	}
}

// logoutFails fails the nth command of a logout and reports whether there was one.
func logoutFails(t *testing.T, claim string, n int, late bool) (failed bool) {
	t.Helper()
	f := newFleet(t, 2)
	f.login()
	value := map[string]string{"sub": "alice", "sid": f.sid(f.browser)}[claim]
	token := f.op.NewJWT(f.logoutClaims(claim, value)).Compact()
	command := ""
	var count atomic.Int64 // some commands come at the same time
	fault := func(op, key string) error {
		if count.Add(1) == int64(n) {
			command = op + " " + key[:2]
			return errIll
		}
		return nil
	}
	if late {
		f.drill.fail(nil, fault)
	} else {
		f.drill.fail(fault, nil)
	}
	a := f.sendLogout(token)
	f.drill.fail(nil, nil)
	if command == "" {
		return false
	}
	if a.StatusCode != http.StatusServiceUnavailable || a.Header.Get("Retry-After") == "" {
		t.Errorf("%s failed: status %d, Retry-After %q", command, a.StatusCode, a.Header.Get("Retry-After"))
	}
	a.isPlain(t)
	if a := f.sendLogout(token); a.StatusCode != http.StatusOK || f.subject() != "" {
		t.Errorf("%s failed, and the next try: status %d, signed in as %q", command, a.StatusCode, f.subject())
	}
	return true
}

// TestLogoutDuringLogin has the provider log a user out while the login is under way.
func TestLogoutDuringLogin(t *testing.T) {
	for _, claim := range []string{"sub", "sid"} {
		onMemoryAndRedis(t, "C128 a logout by "+claim+" sent from inside the token endpoint wins", func(t *testing.T, on change) {
			f := newFleet(t, 3, on)
			f.op.NextIDToken(func(t *oidcgatetest.JWT) { t.Claims["sid"] = "S" })
			f.op.Inject(oidcgatetest.Token, func(next http.Handler) http.Handler {
				return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
					next.ServeHTTP(rw, r)
					value := map[string]string{"sub": "alice", "sid": "S"}[claim]
					if a := f.logoutToken(f.logoutClaims(claim, value)); a.StatusCode != http.StatusOK {
						t.Errorf("the logout was answered %d", a.StatusCode)
					}
				})
			})
			a := f.get(f.callbackURL("/app"))
			f.reported(oidcgate.EventLoginFailed) // by whichever replica
			f.denied(a, http.StatusForbidden, oidcgate.ReasonLogoutWon)
			if got := f.subject(); got != "" {
				t.Errorf("signed in as %q", got)
			}
		})
		inBubble(t, "C128 a logout by "+claim+" before any command of the login to the store wins", func(t *testing.T) {
			for n, more := 1, true; more; n++ {
				more = logoutBefore(t, claim, n)
			}
		})
	}
	inBubble(t, "C128 a login after the logout is let in, also while the tombstone stands", func(t *testing.T) {
		f := newFleet(t, 3)
		f.login()
		f.logoutToken(f.logoutClaims("sub", "alice"))
		time.Sleep(time.Second) // times in tokens are seconds
		f.login()
		if got := f.subject(); got != "alice" {
			t.Errorf("signed in as %q", got)
		}
	})
	inBubble(t, "C128 a login in the second of the logout is refused, and the log says why", func(t *testing.T) {
		f := newFleet(t, 1)
		f.login()
		f.logoutToken(f.logoutClaims("sub", "alice"))
		f.denied(f.get(f.callbackURL("/app")), http.StatusForbidden, oidcgate.ReasonLogoutWon)
		if hint := f.failedLogin().Hint; !strings.Contains(hint, "whole seconds") {
			t.Errorf("the hint is %q", hint)
		}
	})
	inBubble(t, "C128 a logout that arrives late ends no login that came after it", func(t *testing.T) {
		f := newFleet(t, 3)
		f.login()
		old := f.browser
		late := f.op.NewJWT(f.logoutClaims("sub", "alice")).Compact()
		time.Sleep(5 * time.Second)
		newer := f.signInAs("alice")
		if a := f.sendLogout(late); a.StatusCode != http.StatusOK {
			t.Errorf("status %d", a.StatusCode)
		}
		if f.who(old) != "" || f.who(newer) != "alice" {
			t.Errorf("the old session is %q's, the newer %q's", f.who(old), f.who(newer))
		}
	})
	for name, row := range map[string]struct {
		late     time.Duration // the logout token arrives after that time
		authTime time.Duration // after the logout; zero: before the login began
		want     string
	}{
		"C128 a code that the browser holds back until after a logout by sub begins no session":      {0, 0, ""},
		"C128 so does one that comes before the logout token does":                                   {10 * time.Second, 0, ""},
		"C128 a login page that was open before the logout, where the user authenticates afterwards": {0, 2 * time.Second, "alice"},
		"C128 the same, and the logout token comes late":                                             {10 * time.Second, 2 * time.Second, "alice"},
	} {
		inBubble(t, name, func(t *testing.T) {
			f := newFleet(t, 1)
			begun := time.Now()
			f.op.EveryIDToken(func(j *oidcgatetest.JWT) {
				delete(j.Claims, "sid")
				j.Claims["auth_time"] = begun.Add(-time.Minute).Unix()
				if row.authTime != 0 {
					j.Claims["auth_time"] = begun.Add(5*time.Second + row.authTime).Unix()
				}
			})
			held := f.callbackURL("/app")
			time.Sleep(5 * time.Second)
			claims := f.logoutClaims("sub", "alice")
			if row.late == 0 {
				f.logoutToken(claims)
			}
			time.Sleep(5 * time.Second)
			f.get(held)
			if row.late != 0 {
				time.Sleep(row.late)
				f.logoutToken(claims)
			}
			if got := f.subject(); got != row.want {
				t.Errorf("signed in as %q, want %q", got, row.want)
			}
		})
	}
	for _, skew := range []time.Duration{-55 * time.Second, 55 * time.Second} {
		inBubble(t, fmt.Sprintf("C128 F14 a code held back over a logout by sub, the provider's clock is off by %v", skew), func(t *testing.T) {
			f := newFleet(t, 1)
			f.op.EveryIDToken(func(j *oidcgatetest.JWT) {
				j.Claims["iat"] = time.Now().Add(skew).Unix()
				delete(j.Claims, "auth_time")
			})
			held := f.callbackURL("/app")
			time.Sleep(10 * time.Second)
			claims := f.logoutClaims("sub", "alice")
			claims["iat"] = time.Now().Add(skew).Unix()
			claims["exp"] = time.Now().Add(skew + 2*time.Minute).Unix()
			if a := f.logoutToken(claims); a.StatusCode != http.StatusOK {
				t.Errorf("the logout was answered %d", a.StatusCode)
			}
			time.Sleep(5 * time.Second)
			f.denied(f.get(held), http.StatusForbidden, oidcgate.ReasonLogoutWon)
			f.login() // one that begins afterwards
		})
	}
	inBubble(t, "C128 an older logout after a newer one lets nobody in again", func(t *testing.T) {
		f := newFleet(t, 3)
		older := f.op.NewJWT(f.logoutClaims("sub", "alice")).Compact()
		time.Sleep(5 * time.Second)
		f.op.Inject(oidcgatetest.Token, func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				next.ServeHTTP(rw, r)
				f.logoutToken(f.logoutClaims("sub", "alice"))
				f.sendLogout(older)
			})
		})
		a := f.get(f.callbackURL("/app"))
		f.reported(oidcgate.EventLoginFailed) // by whichever replica
		f.denied(a, http.StatusForbidden, oidcgate.ReasonLogoutWon)
	})
}

// logoutBefore logs the user out right before the nth command of the callback to the store, and reports whether
// there was one.
func logoutBefore(t *testing.T, claim string, n int) (found bool) {
	t.Helper()
	f := newFleet(t, 2)
	f.op.NextIDToken(func(t *oidcgatetest.JWT) { t.Claims["sid"] = "S" })
	callback := f.callbackURL("/app")
	var count atomic.Int64 // some commands come at the same time
	command := ""
	f.drill.fail(func(op, key string) error {
		if count.Add(1) != int64(n) {
			return nil
		}
		command = op + " " + key[:2]
		f.drill.fail(nil, nil)
		value := map[string]string{"sub": "alice", "sid": "S"}[claim]
		if a := f.logoutToken(f.logoutClaims(claim, value)); a.StatusCode != http.StatusOK {
			t.Errorf("before %s: the logout was answered %d", command, a.StatusCode)
		}
		return nil
	}, nil)
	f.get(callback)
	f.drill.fail(nil, nil)
	if got := f.subject(); command != "" && got != "" {
		t.Errorf("a logout before %s (command %d): signed in as %q", command, n, got)
	}
	return command != ""
}

func TestLogoutAtTheAddressOfNoProvider(t *testing.T) {
	const said = "a logout was sent to an address of no provider"
	w, _ := severalProviders(t)
	for _, other := range []struct{ method, path string }{
		{"GET", "/auth/backchannel-logout/shop"}, {"POST", "/auth/backchannel-logouts"}, {"POST", "/backchannel-logout/shop"},
	} {
		w.send(w.newBrowser(), other.method, other.path, "")
		if err := w.gate.Wait(t.Context()); err != nil || strings.Contains(w.logged(), said) {
			t.Errorf("%v is no logout, and the log says %s", other, w.logged())
		}
	}
	long := strings.Repeat("x", 1000)
	for range 2 {
		w.send(w.newBrowser(), "POST", "/auth/backchannel-logout/"+long, "a stranger's")
		w.send(w.newBrowser(), "POST", "/auth/backchannel-logout/shop", "logout_token=x")
	}
	if err := w.gate.Wait(t.Context()); err != nil {
		t.Error(err)
	}
	if n := strings.Count(w.logged(), said); n != 2 || strings.Contains(w.logged(), long[:200]) {
		t.Errorf("it is told %d times, want once of each: %s", n, w.logged())
	}
	for _, part := range []string{`"sent_to":"/auth/backchannel-logout/shop"`, shopURL + "/auth/backchannel-logout/staff"} {
		if !strings.Contains(w.logged(), part) {
			t.Errorf("the log does not have %s: %s", part, w.logged())
		}
	}
}

// TestBackchannelOfTwoProviders has sessions with one sid and one sub at two providers.
func TestBackchannelOfTwoProviders(t *testing.T) {
	for claim, value := range map[string]string{"sid": "S", "sub": "alice"} {
		inBubble(t, "C126 a provider ends its own sessions only, however they are called: by "+claim, func(t *testing.T) {
			w, staff := severalProviders(t)
			staff.RotateKeys() // the first keys of all providers are the same
			same := func(t *oidcgatetest.JWT) { t.Claims["sid"], t.Claims["sub"] = "S", "alice" }
			w.op.EveryIDToken(same)
			staff.EveryIDToken(same)
			customer, employee := w.browser, w.newBrowser()
			employee.Transport = customer.Transport
			w.signInAt(customer, "id.test")
			w.signInAt(employee, "staff")

			send := func(path string, token *oidcgatetest.JWT) int {
				form := url.Values{"logout_token": {token.Compact()}}.Encode()
				return w.send(w.newBrowser(), http.MethodPost, "/auth/backchannel-logout"+path, form).StatusCode
			}
			for _, path := range []string{"", "/staff"} {
				if status := send(path, staff.NewJWT(w.logoutClaims(claim, value))); status != http.StatusBadRequest {
					t.Errorf("a token by the one in the other's name at %q: status %d", path, status)
				}
			}
			if status := send("", staff.NewJWT(logoutClaimsOf(staff, claim, value))); status != http.StatusBadRequest {
				t.Errorf("a token at the other's address: status %d", status)
			}
			if status := send("/staff", staff.NewJWT(logoutClaimsOf(staff, claim, value))); status != http.StatusOK {
				t.Errorf("a good token: status %d\n%s", status, w.logged())
			}
			if a := w.send(customer, http.MethodGet, "/whoami", ""); a.StatusCode != http.StatusOK {
				t.Error("a logout at one provider ended the session of the other")
			}
			if a := w.send(employee, http.MethodGet, "/whoami", ""); a.StatusCode != http.StatusUnauthorized {
				t.Error("the logout ended nothing")
			}
		})
	}
}

// signInAt signs a browser in at one of several providers, by the label of its link.
func (w *world) signInAt(browser *http.Client, label string) {
	w.Helper()
	follow := func(target string) answer { return w.send(browser, http.MethodGet, target, "") }
	choice := follow(follow("/app").location())
	callback := follow(follow(linkTo(w.T, choice.body, label)).location()).location()
	if a := follow(callback); a.StatusCode != http.StatusSeeOther {
		w.Fatalf("login at %s: status %d\n%s", label, a.StatusCode, a.body)
	}
}

func TestBackchannelFlood(t *testing.T) {
	inBubble(t, "C129 F36 C010 junk by the thousand loads no keys and keeps no logout away", func(t *testing.T) {
		f := newFleet(t, 1)
		f.login()
		before := f.op.Count(oidcgatetest.JWKS)
		token := f.op.NewJWT(f.logoutClaims("sub", "alice"))
		token.Payload = mustJSON(token.Claims)
		good := token.Compact()
		parts := strings.Split(good, ".")
		var wg sync.WaitGroup
		for i := range 100 {
			wg.Go(func() {
				for n := range 20 {
					header := base64.RawURLEncoding.EncodeToString(mustJSON(map[string]any{"alg": "RS256", "kid": fmt.Sprint("junk", i, "-", n)}))
					// While the keys may not be loaded again nobody knows that it is junk.
					switch a := f.sendLogout(header + "." + parts[1] + "." + parts[2]); a.StatusCode {
					case http.StatusBadRequest, http.StatusServiceUnavailable:
					default:
						t.Errorf("junk: status %d", a.StatusCode)
					}
				}
			})
		}
		wg.Wait()
		if loads := f.op.Count(oidcgatetest.JWKS) - before; loads > 2 {
			t.Errorf("the keys were loaded %d times", loads)
		}
		if f.subject() != "alice" {
			t.Error("junk ended the session")
		}
		if a := f.sendLogout(good); a.StatusCode != http.StatusOK || f.subject() != "" {
			t.Errorf("a good logout after it: status %d, signed in as %q", a.StatusCode, f.subject())
		}
	})
	inBubble(t, "C129 while the keys hang sixteen tokens wait for them, and the others are sent away", func(t *testing.T) {
		f := newFleet(t, 1)
		f.openReplicas(1, oidcgate.Provider{Issuer: f.op.Issuer(), ClientID: "shop", Auth: oidcgate.ClientSecretBasic(secret)})
		f.op.Always(oidcgatetest.JWKS, oidcgatetest.Hang())
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				if a := f.logoutToken(f.logoutClaims("sub", "alice")); a.StatusCode != http.StatusServiceUnavailable && a.StatusCode != http.StatusGatewayTimeout {
					t.Errorf("status %d, want 503", a.StatusCode)
				}
			})
		}
		wg.Wait()
		busy := 0
		for _, e := range f.reported(oidcgate.EventBackchannelRejected) {
			if e.Reason == "busy" {
				busy++
			}
		}
		if busy != 4 {
			t.Errorf("%d of 20 tokens were sent away, want 4", busy)
		}
	})
	inBubble(t, "C129 F36 C124 a logout waits for no token of strangers whose keys hang: of this provider, and of another", func(t *testing.T) {
		w, staff := severalProviders(t)
		staff.RotateKeys() // the first keys of all providers are the same
		customer, employee := w.browser, w.newBrowser()
		employee.Transport = customer.Transport
		w.signInAt(customer, "id.test")
		w.signInAt(employee, "staff")
		send := func(path string, token *oidcgatetest.JWT) int {
			form := url.Values{"logout_token": {token.Compact()}}.Encode()
			return w.send(w.newBrowser(), http.MethodPost, "/auth/backchannel-logout"+path, form).StatusCode
		}
		staff.Always(oidcgatetest.JWKS, oidcgatetest.Hang())
		junk := staff.NewJWT(logoutClaimsOf(staff, "sub", "bob"))
		junk.Header["kid"] = "unknown"
		var strangers sync.WaitGroup
		for range 40 {
			strangers.Go(func() { send("/staff", junk) })
		}
		synctest.Wait()
		start := time.Now()
		for path, op := range map[string]*oidcgatetest.Provider{"": w.op, "/staff": staff} {
			sub := map[string]string{"": "alice", "/staff": "bob"}[path]
			if status := send(path, op.NewJWT(logoutClaimsOf(op, "sub", sub))); status != http.StatusOK || time.Since(start) > 0 {
				t.Errorf("%s: a genuine logout is answered %d after %v", op.Issuer(), status, time.Since(start))
			}
		}
		for name, b := range map[string]*http.Client{"customer": customer, "employee": employee} {
			if a := w.send(b, http.MethodGet, "/whoami", ""); a.StatusCode != http.StatusUnauthorized {
				t.Errorf("the %s is still signed in", name)
			}
		}
		strangers.Wait()
	})
	inBubble(t, "C124 F36 a genuine logout token while the keys may not be loaded: 503, and the provider's next try succeeds", func(t *testing.T) {
		f := newFleet(t, 1)
		f.login()
		for range 3 {
			junk := f.op.NewJWT(f.logoutClaims("sub", "alice"))
			junk.Header["kid"] = "unknown"
			f.sendLogout(junk.Compact())
		}
		f.op.RotateKeys()
		token := f.op.NewJWT(f.logoutClaims("sub", "alice")).Compact()
		if a := f.sendLogout(token); a.StatusCode != http.StatusServiceUnavailable || a.Header.Get("Retry-After") == "" {
			t.Errorf("status %d, Retry-After %q", a.StatusCode, a.Header.Get("Retry-After"))
		}
		time.Sleep(30 * time.Second)
		if a := f.sendLogout(token); a.StatusCode != http.StatusOK || f.subject() != "" {
			t.Errorf("the next try: status %d, signed in as %q", a.StatusCode, f.subject())
		}
	})
	inBubble(t, "C129 a replica that cannot load the keys answers 503, and the provider's next try succeeds", func(t *testing.T) {
		f := newFleet(t, 1)
		f.login()
		f.openReplicas(1, oidcgate.Provider{Issuer: f.op.Issuer(), ClientID: "shop", Auth: oidcgate.ClientSecretBasic(secret)})
		f.op.Always(oidcgatetest.JWKS, oidcgatetest.Answer(500, "", ""))
		token := f.op.NewJWT(f.logoutClaims("sub", "alice")).Compact()
		if a := f.sendLogout(token); a.StatusCode != http.StatusServiceUnavailable || a.Header.Get("Retry-After") == "" || f.subject() != "alice" {
			t.Errorf("status %d, signed in as %q", a.StatusCode, f.subject())
		}
		f.op.Clear(oidcgatetest.JWKS)
		time.Sleep(time.Minute)
		if a := f.sendLogout(token); a.StatusCode != http.StatusOK || f.subject() != "" {
			t.Errorf("status %d, signed in as %q", a.StatusCode, f.subject())
		}
	})
}

// TestSlowLogoutBodies sends bodies byte by byte over real connections.
func TestSlowLogoutBodies(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 1)
	f.login()
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { f.handler.ServeHTTP(rw, r) }))
	defer server.Close()
	var slow sync.WaitGroup
	for range 40 {
		slow.Go(func() {
			if status := trickle(t, server.Listener.Addr().String()); status != http.StatusBadRequest {
				t.Errorf("F35 a slow body: status %d, want 400", status)
			}
		})
	}
	resp, err := http.PostForm(server.URL+"/auth/backchannel-logout", url.Values{"logout_token": {f.op.NewJWT(f.logoutClaims("sub", "alice")).Compact()}})
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK || f.subject() != "" {
		t.Errorf("C129 a logout between slow ones: status %d, signed in as %q", resp.StatusCode, f.subject())
	}
	slow.Wait()
}

// trickle sends a body at a byte per half second until it is answered.
func trickle(t *testing.T, address string) (status int) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Error(err)
		return 0
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, "POST /auth/backchannel-logout HTTP/1.1\r\nHost: shop.test\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 1000\r\n\r\n")
	answered := make(chan int, 1)
	go func() {
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Error(err)
			answered <- 0
			return
		}
		defer resp.Body.Close()
		answered <- resp.StatusCode
	}()
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case status := <-answered:
			return status
		case <-tick.C:
			_, _ = io.WriteString(conn, "x")
		}
	}
}
