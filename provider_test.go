package oidcgate_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/oidcgate/oidcgate"
	"github.com/oidcgate/oidcgate/oidcgatetest"
)

// refusal is a login that the provider spoils between the callback and the session.
type refusal struct {
	name   string
	spoil  func(*world)
	status int
	reason oidcgate.Reason
	last   oidcgatetest.Endpoint // the last endpoint that is asked
}

// run logs in until the callback, spoils it, and checks the refusal whole: the answer, the event, what was
// asked of the provider after the check that failed (nothing), and what is left in the store (nothing).
func (row refusal) run(t *testing.T, changes ...change) {
	t.Helper()
	w, records := newTapped(t, append([]change{asksUserinfo}, changes...)...)
	callback := w.callbackURL("/app")
	row.spoil(w)
	w.denied(w.get(callback), row.status, row.reason)
	w.askedUntil(row.last)
	w.leavesNothing(records)
}

type change = func(*oidcgate.Config, *oidcgate.Provider)

func asksUserinfo(_ *oidcgate.Config, p *oidcgate.Provider) {
	p.Userinfo = oidcgate.UserinfoRequired
}

// askedUntil checks that a login went no further than to the endpoint, and asked each only once.
func (w *world) askedUntil(last oidcgatetest.Endpoint) {
	w.Helper()
	order := []oidcgatetest.Endpoint{oidcgatetest.Authorization, oidcgatetest.Token, oidcgatetest.Userinfo}
	for i, e := range order {
		want := 0
		if i <= slices.Index(order, last) {
			want = 1
		}
		if got := w.op.Count(e); got != want {
			w.Errorf("%d requests to the %s endpoint, want %d", got, e, want)
		}
	}
	if n := w.op.Count(oidcgatetest.Other); n != 0 {
		w.Errorf("%d requests to addresses the provider does not have", n)
	}
}

// leavesNothing checks that nobody is signed in, here and in the store.
func (w *world) leavesNothing(records *tap) {
	w.Helper()
	if got := w.subject(); got != "" {
		w.Errorf("signed in as %q", got)
	}
	if keys := records.living(w.Context()); len(keys) != 0 {
		w.Errorf("records of a session are left: %v", keys)
	}
}

// badIDToken spoils the next ID Token.
func badIDToken(change func(*oidcgatetest.JWT)) func(*world) {
	return func(w *world) { w.op.NextIDToken(change) }
}

// claim sets a claim of the next ID Token.
func claim(name string, value any) func(*world) {
	return badIDToken(func(t *oidcgatetest.JWT) { t.Claims[name] = value })
}

func withoutClaim(name string) func(*world) {
	return badIDToken(func(t *oidcgatetest.JWT) { delete(t.Claims, name) })
}

func header(name string, value any) func(*world) {
	return badIDToken(func(t *oidcgatetest.JWT) { t.Header[name] = value })
}

func payload(text string) func(*world) {
	return badIDToken(func(t *oidcgatetest.JWT) { t.Payload = []byte(text) })
}

func finish(f func(compact string) string) func(*world) {
	return badIDToken(func(t *oidcgatetest.JWT) { t.Finish = f })
}

func TestIDTokenIsRefused(t *testing.T) {
	in := func(d time.Duration) int64 { return time.Now().Add(d).Unix() }
	const bad = http.StatusBadGateway
	for _, row := range []struct {
		name   string
		spoil  func(*world)
		reason oidcgate.Reason
	}{
		{"C058 iss of another provider", claim("iss", "https://evil.example"), "iss_claim"},
		{"C058 iss with a slash behind", claim("iss", "https://id.test/"), "iss_claim"},
		{"C058 iss in capitals", claim("iss", "https://ID.test"), "iss_claim"},
		{"C058 no iss", withoutClaim("iss"), "iss_claim"},
		{"C059 aud of another client", claim("aud", "shop1"), "aud"},
		{"C059 aud with another client beside us", claim("aud", []string{"shop", "other"}), "aud"},
		{"C059 aud of nobody", claim("aud", []string{}), "aud"},
		{"C059 aud in a list in a list", claim("aud", [][]string{{"shop"}}), "aud"},
		{"C059 aud a number", claim("aud", 7), "aud"},
		{"C059 no aud", withoutClaim("aud"), "aud"},
		{"C060 azp of another client", claim("azp", "other"), "azp"},
		{"C060 azp of several audiences is no cure", badIDToken(func(t *oidcgatetest.JWT) {
			t.Claims["aud"], t.Claims["azp"] = []string{"shop", "other"}, "shop"
		}), "aud"},
		{"C061 one bit of the signature flipped", badIDToken((*oidcgatetest.JWT).CorruptSignature), oidcgate.ReasonSignature},
		{"C061 signed by a stranger", badIDToken((*oidcgatetest.JWT).SignForeign), oidcgate.ReasonSignature},
		{"C061 no signature", badIDToken((*oidcgatetest.JWT).Unsigned), "alg"},
		{"C061 the signature cut off", finish(func(s string) string { return s[:strings.LastIndex(s, ".")+1] }), oidcgate.ReasonSignature},
		{"C062 exp long past", claim("exp", in(-time.Hour)), "exp"},
		{"C062 exp a string", claim("exp", fmt.Sprint(in(time.Hour))), "exp"},
		{"C062 exp negative", claim("exp", -1), "exp"},
		{"C062 exp beyond all time", claim("exp", json.Number("1e400")), "exp"},
		{"C062 no exp", withoutClaim("exp"), "exp"},
		{"C063 iat of tomorrow", claim("iat", in(24*time.Hour)), "iat"},
		{"C063 iat of yesterday", claim("iat", in(-24*time.Hour)), "iat"},
		{"C063 iat a string", claim("iat", fmt.Sprint(in(0))), "iat"},
		{"C063 no iat", withoutClaim("iat"), "iat"},
		{"C064 nbf in ten minutes", claim("nbf", in(10*time.Minute)), "nbf"},
		{"C064 nbf a string", claim("nbf", "now"), "nbf"},
		{"C065 nonce of another login", claim("nonce", "another"), oidcgate.ReasonNonce},
		{"C065 nonce with one character more", badIDToken(func(t *oidcgatetest.JWT) {
			t.Claims["nonce"] = t.Claims["nonce"].(string) + "1"
		}), oidcgate.ReasonNonce},
		{"C065 nonce empty", claim("nonce", ""), oidcgate.ReasonNonce},
		{"C065 no nonce", withoutClaim("nonce"), oidcgate.ReasonNonce},
		{"C066 sub empty", claim("sub", ""), "sub"},
		{"C066 sub a number", claim("sub", 7), "sub"},
		{"C066 sub of 256 characters", claim("sub", strings.Repeat("a", 256)), "sub"},
		{"C066 sub beyond ASCII", claim("sub", "älice"), "sub"},
		{"C066 sub with a line break", claim("sub", "alice\nadmin"), "sub"},
		{"C066 no sub", withoutClaim("sub"), "sub"},
		{"C068 typ of an access token", header("typ", "at+jwt"), "typ"},
		{"C068 typ of a logout token", header("typ", "logout+jwt"), "typ"},
		{"C068 typ of a proof", header("typ", "dpop+jwt"), "typ"},
		{"C068 typ of a security event", header("typ", "secevent+jwt"), "typ"},
		{"C068 typ of a request object", header("typ", "oauth-authz-req+jwt"), "typ"},
		{"C068 typ of an introspection", header("typ", "token-introspection+jwt"), "typ"},
		{"C068 events, as logout tokens have them", claim("events", map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}}), "typ"},
		{"C069 sub twice", badIDToken(func(t *oidcgatetest.JWT) {
			text, err := json.Marshal(t.Claims)
			if err != nil {
				panic(err)
			}
			t.Payload = []byte(strings.TrimSuffix(string(text), "}") + `,"sub":"mallory"}`)
		}), "id_token_malformed"},
		{"C069 sub by another name", badIDToken(func(t *oidcgatetest.JWT) {
			t.Claims["SUB"] = t.Claims["sub"]
			delete(t.Claims, "sub")
		}), "sub"},
		{"C069 a list in place of an object", payload(`["sub"]`), "id_token_malformed"},
		{"C069 two objects", payload(`{}{}`), "id_token_malformed"},
		{"C069 half a surrogate", payload(`{"name":"\ud800"}`), "id_token_malformed"},
		{"C069 bytes that are no UTF-8", payload("{\"name\":\"\xff\"}"), "id_token_malformed"},
		{"C070 four parts", finish(func(s string) string { return s + ".e30" }), "id_token_malformed"},
		{"C070 padded", finish(func(s string) string { return s + "=" }), "id_token_malformed"},
		{"C070 a line break inside", finish(func(s string) string { return s[:20] + "\n" + s[20:] }), "id_token_malformed"},
		{"C070 not compact", finish(func(s string) string { return `{"payload":"` + s + `"}` }), "id_token_malformed"},
		{"C070 crit", header("crit", []string{"exp"}), "id_token_malformed"},
		{"C070 b64", header("b64", false), "id_token_malformed"},
		{"C070 zip", header("zip", "DEF"), "id_token_malformed"},
		{"C070 a megabyte of dots", finish(func(string) string { return strings.Repeat(".", 900<<10) }), "id_token_malformed"},
		{"C071 encrypted", finish(func(s string) string { return strings.Repeat(strings.Split(s, ".")[0]+".", 4) + "AA" }), "id_token_malformed"},
		{"C057 at_hash of another access token", claim("at_hash", "MTIzNDU2Nzg5MDEyMzQ1Ng"), "at_hash"},
		{"C057 at_hash a number", claim("at_hash", 7), "at_hash"},
		{"C014 none", header("alg", "none"), "alg"},
		{"C014 None", header("alg", "None"), "alg"},
		{"C014 nOnE", header("alg", "nOnE"), "alg"},
		{"C014 no alg", badIDToken(func(t *oidcgatetest.JWT) { delete(t.Header, "alg") }), "alg"},
		{"C014 HMAC by the client's secret", badIDToken(func(t *oidcgatetest.JWT) { t.SignWith("HS256", []byte(secret)) }), "alg"},
		{"C014 HMAC by the public key", func(w *world) {
			key := pemOf(w.op.PublicKeys().Keys[0].Key)
			w.op.NextIDToken(func(t *oidcgatetest.JWT) { t.SignWith("HS256", key) })
		}, "alg"},
		{"C014 RS512 though RS256 is agreed", header("alg", "RS512"), "alg"},
		{"C008 a key in the token's own header", badIDToken(signWithOwnKey), oidcgate.ReasonSignature},
		{"C008 a certificate in the token's own header", badIDToken(func(t *oidcgatetest.JWT) {
			signWithOwnKey(t)
			t.Header["x5c"] = []string{"MIIB"}
		}), "id_token_malformed"},
		{"C008 addresses of keys in the token's header", badIDToken(func(t *oidcgatetest.JWT) {
			t.SignForeign()
			t.Header["jku"], t.Header["x5u"] = "https://id.test/evil/jwks", "https://id.test/evil/x5u"
		}), oidcgate.ReasonSignature},
		{"C009 a kid nobody has", header("kid", "unknown"), oidcgate.ReasonKeyUnknown},
		{"C070 a kid that is no string", header("kid", 7), "id_token_malformed"},
	} {
		t.Run(row.name, func(t *testing.T) {
			refusal{row.name, row.spoil, bad, row.reason, oidcgatetest.Token}.run(t)
		})
	}
}

// signWithOwnKey makes a token that carries the key that signed it.
func signWithOwnKey(t *oidcgatetest.JWT) {
	t.SignForeign()
	t.Header["jwk"] = jose.JSONWebKey{Key: t.Key.(*rsa.PrivateKey).Public(), Algorithm: "RS256", Use: "sig"}
}

func pemOf(public any) []byte {
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		panic(err)
	}
	return []byte("-----BEGIN PUBLIC KEY-----\n" + base64.StdEncoding.EncodeToString(der) + "\n-----END PUBLIC KEY-----\n")
}

func TestIDTokenIsAccepted(t *testing.T) {
	for _, row := range []struct {
		name string
		with func(*world)
	}{
		{"C059 aud a list of us", claim("aud", []string{"shop"})},
		{"C060 azp is us", claim("azp", "shop")},
		{"C066 sub of 255 characters", claim("sub", strings.Repeat("a", 255))},
		{"C068 no typ", badIDToken(func(t *oidcgatetest.JWT) { delete(t.Header, "typ") })},
		{"C057 no at_hash", withoutClaim("at_hash")},
		{"C013 no kid and one key that fits", badIDToken(func(t *oidcgatetest.JWT) { delete(t.Header, "kid") })},
		{"C069 a claim that is ours in capitals is another claim", claim("SUB", "mallory")},
		{"C072 distributed claims are not fetched", claim("_claim_sources", map[string]any{"a": map[string]any{"endpoint": "https://id.test/evil"}})},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t)
			callback := w.callbackURL("/app")
			row.with(w)
			if a := w.get(callback); a.StatusCode != http.StatusSeeOther {
				t.Fatalf("status %d, want 303\n%s", a.StatusCode, w.logged())
			}
			if got := w.subject(); got == "" || got == "mallory" {
				t.Errorf("signed in as %q", got)
			}
			if n := w.op.Count(oidcgatetest.Other); n != 0 {
				t.Errorf("%d requests to addresses the provider does not have", n)
			}
		})
	}
}

func TestClocksThatDiffer(t *testing.T) {
	for _, row := range []struct {
		name   string
		claim  string
		offset time.Duration
		reason oidcgate.Reason // "": the login works
	}{
		{"F14 C062 exp 59 seconds ago", "exp", -59 * time.Second, ""},
		{"F14 C062 exp 61 seconds ago", "exp", -61 * time.Second, "exp"},
		{"F14 C063 iat in 59 seconds", "iat", 59 * time.Second, ""},
		{"F14 C063 iat in 61 seconds", "iat", 61 * time.Second, "iat"},
		{"F14 C063 iat nine minutes ago", "iat", -9 * time.Minute, ""},
		{"F14 C063 iat twelve minutes ago", "iat", -12 * time.Minute, "iat"},
		{"F14 C064 nbf in 59 seconds", "nbf", 59 * time.Second, ""},
		{"F14 C064 nbf in 61 seconds", "nbf", 61 * time.Second, "nbf"},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				spoil := claim(row.claim, time.Now().Add(row.offset).Unix())
				if row.reason != "" {
					refusal{row.name, spoil, http.StatusBadGateway, row.reason, oidcgatetest.Token}.run(t)
					return
				}
				w := newWorld(t)
				spoil(w)
				w.login()
			})
		})
	}
}

func TestTokenEndpointMisbehaves(t *testing.T) {
	const jsonType = "application/json"
	answers := func(status int, contentType, body string) func(*world) {
		return func(w *world) { w.op.Always(oidcgatetest.Token, oidcgatetest.Answer(status, contentType, body)) }
	}
	edits := func(change func(map[string]any)) func(*world) {
		return func(w *world) { w.op.Always(oidcgatetest.Token, oidcgatetest.EditJSON(change)) }
	}
	fault := func(f oidcgatetest.Fault) func(*world) {
		return func(w *world) { w.op.Always(oidcgatetest.Token, f) }
	}
	const bad, down = http.StatusBadGateway, http.StatusServiceUnavailable
	rows := []refusal{
		{"C051 C054 invalid_grant", answers(400, jsonType, `{"error":"invalid_grant"}`), bad, oidcgate.ReasonTokenEndpointError, oidcgatetest.Token},
		{"C051 C054 invalid_client", answers(401, jsonType, `{"error":"invalid_client"}`), bad, oidcgate.ReasonTokenEndpointError, oidcgatetest.Token},
		{"C054 an error with status 200", answers(200, jsonType, `{"error":"invalid_grant"}`), bad, oidcgate.ReasonTokenEndpointError, oidcgatetest.Token},
		{"C053 HTML", answers(200, "text/html", "<h1>login</h1>"), bad, "token_response_invalid", oidcgatetest.Token},
		{"C053 status 201", fault(oidcgatetest.Edit(func(r *oidcgatetest.Response) { r.Status = 201 })), bad, "token_response_invalid", oidcgatetest.Token},
		{"C053 JSON that says it is text", fault(oidcgatetest.Edit(func(r *oidcgatetest.Response) { r.Header.Set("Content-Type", "text/plain") })), bad, "token_response_invalid", oidcgatetest.Token},
		{"C053 a form", answers(200, "application/x-www-form-urlencoded", "access_token=a&token_type=Bearer&id_token=b"), bad, "token_response_invalid", oidcgatetest.Token},
		{"C053 no ID Token", edits(func(m map[string]any) { delete(m, "id_token") }), bad, "id_token_missing", oidcgatetest.Token},
		{"C053 another token type", edits(func(m map[string]any) { m["token_type"] = "mac" }), bad, "token_type", oidcgatetest.Token},
		{"C053 no access token", edits(func(m map[string]any) { delete(m, "access_token") }), bad, "token_response_invalid", oidcgatetest.Token},
		{"C053 an access token that splits a header", edits(func(m map[string]any) { m["access_token"] = "a\r\nX-Admin: 1" }), bad, "token_response_invalid", oidcgatetest.Token},
		{"C053 an access token that is a number", edits(func(m map[string]any) { m["access_token"] = 7 }), bad, "token_response_invalid", oidcgatetest.Token},
		{"C055 it echoes the request", fault(echo), bad, oidcgate.ReasonTokenEndpointError, oidcgatetest.Token},
		{"C056 F11 the connection breaks", fault(oidcgatetest.Reset()), bad, oidcgate.ReasonTokenEndpointUnreachable, oidcgatetest.Token},
		{"F08 a huge answer", fault(oidcgatetest.Huge(100 << 20)), bad, "token_response_invalid", oidcgatetest.Token},
		{"F08 a compressed bomb", fault(oidcgatetest.GzipBomb(100 << 20)), bad, "token_response_invalid", oidcgatetest.Token},
		{"F09 lists in lists", answers(200, jsonType, strings.Repeat("[", 100_000)), bad, "token_response_invalid", oidcgatetest.Token},
		{"F09 objects in objects", answers(200, jsonType, strings.Repeat(`{"a":`, 100_000)), bad, "token_response_invalid", oidcgatetest.Token},
		{"F09 a very long number", edits(func(m map[string]any) { m["expires_in"] = json.Number(strings.Repeat("9", 100_000)) }), bad, "token_response_invalid", oidcgatetest.Token},
		{"F10 status 500", answers(500, "text/html", "oops"), down, oidcgate.ReasonTokenEndpointError, oidcgatetest.Token},
		{"F10 status 502 in HTML", answers(502, "text/html", "<h1>bad gateway</h1>"), down, oidcgate.ReasonTokenEndpointError, oidcgatetest.Token},
		{"F10 status 429", answers(429, jsonType, `{}`), down, oidcgate.ReasonTokenEndpointError, oidcgatetest.Token},
		{"F10 status 204", answers(204, "", ""), bad, "token_response_invalid", oidcgatetest.Token},
		{"F10 nothing", answers(200, jsonType, ""), bad, "token_response_invalid", oidcgatetest.Token},
		{"F10 null", answers(200, jsonType, "null"), bad, "token_response_invalid", oidcgatetest.Token},
		{"F10 a list", answers(200, jsonType, "[]"), bad, "token_response_invalid", oidcgatetest.Token},
	}
	for _, status := range []int{301, 302, 303, 307, 308} {
		rows = append(rows, refusal{
			fmt.Sprintf("C052 a redirect with status %d", status),
			fault(oidcgatetest.Redirect(status, "https://id.test/evil")), bad, "token_response_invalid", oidcgatetest.Token,
		})
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) { row.run(t) })
	}
}

// echo answers with all that it was sent, as careless providers do.
func echo(http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusBadRequest)
		_ = json.NewEncoder(w).Encode(map[string]string{
			"error":             "invalid_grant",
			"error_description": r.Form.Encode() + " " + r.Header.Get("Authorization"),
		})
	})
}

func TestProviderIsSlow(t *testing.T) {
	for _, row := range []refusal{
		{"F03 the token endpoint takes the request and is silent", func(w *world) { w.op.Always(oidcgatetest.Token, oidcgatetest.Hang()) }, http.StatusGatewayTimeout, oidcgate.ReasonTokenEndpointUnreachable, oidcgatetest.Token},
		{"F03 the token endpoint stops in the middle", func(w *world) { w.op.Always(oidcgatetest.Token, oidcgatetest.HangBody()) }, http.StatusGatewayTimeout, oidcgate.ReasonTokenEndpointUnreachable, oidcgatetest.Token},
		{"F03 the token endpoint sends a byte a second", func(w *world) { w.op.Always(oidcgatetest.Token, oidcgatetest.Trickle(time.Second)) }, http.StatusGatewayTimeout, oidcgate.ReasonTokenEndpointUnreachable, oidcgatetest.Token},
		{"F03 userinfo is silent", func(w *world) { w.op.Always(oidcgatetest.Userinfo, oidcgatetest.Hang()) }, http.StatusGatewayTimeout, "userinfo_error", oidcgatetest.Userinfo},
		{"F03 the keys do not come", func(w *world) { w.op.Always(oidcgatetest.JWKS, oidcgatetest.Hang()) }, http.StatusGatewayTimeout, "jwks_unavailable", oidcgatetest.Token},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				row.run(t)
				if d := time.Since(start); d > 10*time.Second {
					t.Errorf("the login was refused after %v, want the deadline of 10s", d)
				}
			})
		})
	}
}

func TestSlowProviderAndManyLogins(t *testing.T) {
	t.Run("F04 500 logins at a provider that takes three seconds", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			var under, most atomic.Int64
			w.op.Always(oidcgatetest.Token, func(next http.Handler) http.Handler {
				return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
					most.Store(max(most.Load(), under.Add(1)))
					defer under.Add(-1)
					next.ServeHTTP(rw, r)
				})
			}, oidcgatetest.Delay(3*time.Second))
			statuses := w.logins(500)
			if statuses[http.StatusSeeOther] == 0 || statuses[http.StatusSeeOther]+statuses[http.StatusServiceUnavailable] != 500 {
				t.Errorf("statuses %v, want some 303 and for the others 503", statuses)
			}
			if most.Load() > 64 {
				t.Errorf("%d logins at the provider at once", most.Load())
			}
			for _, e := range w.eventsOf(oidcgate.EventLoginFailed) {
				if e.Reason != oidcgate.ReasonProviderBusy {
					t.Fatalf("a login failed by %q: %+v", e.Reason, e)
				}
			}
			if a := w.get("/public"); a.StatusCode != http.StatusOK {
				t.Errorf("/public: status %d", a.StatusCode)
			}
			w.op.Clear(oidcgatetest.Token)
			w.login() // no slot was lost
		})
	})
}

// logins finishes n logins at the same time, each of a browser of its own, and counts the statuses.
func (w *world) logins(n int) map[int]int {
	w.Helper()
	type visitor struct {
		browser  *http.Client
		callback string
	}
	var visitors []visitor
	for range n {
		w.browser = w.newBrowser()
		visitors = append(visitors, visitor{w.browser, w.callbackURL("/app")})
	}
	var mu sync.Mutex
	statuses := map[int]int{}
	var all sync.WaitGroup
	for _, v := range visitors {
		all.Go(func() {
			a, err := v.browser.Get(v.callback)
			if err != nil {
				w.Errorf("the callback: %v", err)
				return
			}
			_ = a.Body.Close()
			mu.Lock()
			defer mu.Unlock()
			statuses[a.StatusCode]++
		})
	}
	all.Wait()
	w.browser = w.newBrowser()
	return statuses
}

func TestTokenRequest(t *testing.T) {
	const awkward = "a:b%+ c/é"
	for _, row := range []struct {
		name   string
		method oidcgatetest.AuthMethod
		secret string
		auth   oidcgate.ClientAuth
	}{
		{"C049 client_secret_basic", oidcgatetest.ClientSecretBasic, secret, oidcgate.ClientSecretBasic(secret)},
		{"C050 a secret that needs encoding, in the header", oidcgatetest.ClientSecretBasic, awkward, oidcgate.ClientSecretBasic(awkward)},
		{"C050 a secret that needs encoding, in the body", oidcgatetest.ClientSecretPost, awkward, oidcgate.ClientSecretPost(awkward)},
		{"C049 client_secret_post", oidcgatetest.ClientSecretPost, secret, oidcgate.ClientSecretPost(secret)},
		{"C049 a public client", oidcgatetest.NoClientSecret, "", oidcgate.PublicClient()},
		{"C016 a secret from a function", oidcgatetest.ClientSecretBasic, secret, oidcgate.ClientSecretBasic(
			func(context.Context) (string, error) { return secret, nil })},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t, func(_ *oidcgate.Config, p *oidcgate.Provider) { p.Auth = row.auth })
			w.op.AddClient(oidcgatetest.Client{
				ID: "shop", Secret: row.secret, AuthMethod: row.method, RedirectURLs: []string{shopURL + "/auth/callback"},
			})
			w.login()
			r := w.op.LastRequest(oidcgatetest.Token)
			form := r.Form
			if r.Method != http.MethodPost || r.URL.RawQuery != "" || r.Header.Get("Content-Type") != "application/x-www-form-urlencoded" {
				t.Errorf("the request is %s %v of type %q", r.Method, r.URL, r.Header.Get("Content-Type"))
			}
			if form.Get("grant_type") != "authorization_code" || form.Get("redirect_uri") != shopURL+"/auth/callback" || len(form.Get("code_verifier")) != 43 {
				t.Errorf("the form is %v", form)
			}
			inHeader, inBody := r.Header.Get("Authorization") != "", form.Has("client_secret")
			if inHeader != (row.method == oidcgatetest.ClientSecretBasic) || inBody != (row.method == oidcgatetest.ClientSecretPost) {
				t.Errorf("authentication in the header: %v, in the body: %v", inHeader, inBody)
			}
		})
	}

	t.Run("C016 a secret that rotates is read for each login", func(t *testing.T) {
		current := secret
		w := newWorld(t, func(_ *oidcgate.Config, p *oidcgate.Provider) {
			p.Auth = oidcgate.ClientSecretBasic(func(context.Context) (string, error) { return current, nil })
		})
		w.login()
		current = "the next secret"
		w.op.AddClient(oidcgatetest.Client{ID: "shop", Secret: current, RedirectURLs: []string{shopURL + "/auth/callback"}})
		w.browser = w.newBrowser()
		w.login()
	})

	t.Run("C016 a secret that cannot be read", func(t *testing.T) {
		w, records := newTapped(t, func(_ *oidcgate.Config, p *oidcgate.Provider) {
			p.Auth = oidcgate.ClientSecretBasic(func(context.Context) (string, error) { return "", errors.New("vault is sealed") })
		})
		w.denied(w.get(w.callbackURL("/app")), http.StatusServiceUnavailable, "client_secret")
		w.askedUntil(oidcgatetest.Authorization)
		w.leavesNothing(records)
	})

	t.Run("C051 C054 the wrong secret is sent once and the operator told what to check", func(t *testing.T) {
		w := newWorld(t, func(_ *oidcgate.Config, p *oidcgate.Provider) { p.Auth = oidcgate.ClientSecretBasic("not it") })
		w.denied(w.get(w.callbackURL("/app")), http.StatusBadGateway, oidcgate.ReasonTokenEndpointError)
		if n := w.op.Count(oidcgatetest.Token); n != 1 {
			t.Errorf("%d token calls, want 1", n)
		}
		if e := w.eventsOf(oidcgate.EventLoginFailed); !strings.Contains(e[0].Hint, "client id, secret") {
			t.Errorf("the hint is %q", e[0].Hint)
		}
	})

	t.Run("C053 the token type in any case, and members unknown to us", func(t *testing.T) {
		w := newWorld(t)
		w.op.Always(oidcgatetest.Token, oidcgatetest.EditJSON(func(m map[string]any) {
			m["token_type"], m["news"] = "bEARER", map[string]any{"deep": []int{1}}
			delete(m, "expires_in")
		}))
		w.login()
	})
}

func TestUserinfo(t *testing.T) {
	answers := func(contentType, body string) func(*world) {
		return func(w *world) {
			w.op.Always(oidcgatetest.Userinfo, oidcgatetest.Answer(http.StatusOK, contentType, body))
		}
	}
	signed := func(claims map[string]any, change func(*oidcgatetest.JWT)) func(*world) {
		return func(w *world) {
			token := w.op.NewJWT(claims)
			if change != nil {
				change(token)
			}
			answers("application/jwt", token.Compact())(w)
		}
	}
	right := map[string]any{"iss": "https://id.test", "aud": "shop", "sub": "alice"}
	for _, row := range []struct {
		name   string
		spoil  func(*world)
		reason oidcgate.Reason
	}{
		{"C075 about another user", answers("application/json", `{"sub":"alice1"}`), "userinfo_sub"},
		{"C075 sub in another case", answers("application/json", `{"sub":"Alice"}`), "userinfo_sub"},
		{"C075 no sub", answers("application/json", `{"email":"eve@evil.example"}`), "userinfo_sub"},
		{"C075 sub a number", answers("application/json", `{"sub":7}`), "userinfo_sub"},
		{"C076 HTML", answers("text/html", "<h1>Alice</h1>"), "userinfo_error"},
		{"C076 status 401", func(w *world) {
			w.op.Always(oidcgatetest.Userinfo, oidcgatetest.Answer(401, "application/json", `{"sub":"alice"}`))
		}, "userinfo_error"},
		{"C052 a redirect", func(w *world) {
			w.op.Always(oidcgatetest.Userinfo, oidcgatetest.Redirect(302, "https://id.test/evil"))
		}, "userinfo_error"},
		{"C069 sub twice", answers("application/json", `{"sub":"alice","sub":"mallory"}`), "userinfo_error"},
		{"C077 signed for another client", signed(map[string]any{"iss": "https://id.test", "aud": "other", "sub": "alice"}, nil), "userinfo_error"},
		{"C077 signed by another issuer's name", signed(map[string]any{"iss": "https://evil.example", "aud": "shop", "sub": "alice"}, nil), "userinfo_error"},
		{"C077 signed by a stranger", signed(right, (*oidcgatetest.JWT).SignForeign), "userinfo_error"},
		{"C077 not signed at all", signed(right, (*oidcgatetest.JWT).Unsigned), "userinfo_error"},
		{"F08 a huge answer", func(w *world) { w.op.Always(oidcgatetest.Userinfo, oidcgatetest.Huge(100<<20)) }, "userinfo_error"},
	} {
		t.Run(row.name, func(t *testing.T) {
			refusal{row.name, row.spoil, http.StatusBadGateway, row.reason, oidcgatetest.Userinfo}.run(t)
		})
	}

	t.Run("C078 unsigned though it was agreed to be signed", func(t *testing.T) {
		refusal{"", func(*world) {}, http.StatusBadGateway, "userinfo_error", oidcgatetest.Userinfo}.run(t,
			func(_ *oidcgate.Config, p *oidcgate.Provider) { p.Verification.SignedUserinfo = true })
	})
	t.Run("C077 signed for us", func(t *testing.T) {
		w := newWorld(t, asksUserinfo)
		signed(map[string]any{"iss": "https://id.test", "aud": "shop", "sub": "alice", "nickname": "Ally"}, nil)(w)
		w.login()
	})
	t.Run("C075 about another user refuses the login also where userinfo is optional", func(t *testing.T) {
		refusal{"", answers("application/json", `{"sub":"mallory"}`), http.StatusBadGateway, "userinfo_sub", oidcgatetest.Userinfo}.run(t,
			func(_ *oidcgate.Config, p *oidcgate.Provider) { p.Userinfo = oidcgate.UserinfoOptional })
	})
	t.Run("C076 an optional endpoint that fails costs its claims and not the login", func(t *testing.T) {
		w := newWorld(t, func(_ *oidcgate.Config, p *oidcgate.Provider) { p.Userinfo = oidcgate.UserinfoOptional })
		w.op.Always(oidcgatetest.Userinfo, oidcgatetest.Answer(500, "text/plain", "oops"))
		w.login()
		if e := w.eventsOf(oidcgate.EventUserinfoFailed); len(e) != 1 {
			t.Errorf("events %+v, want one that userinfo failed", e)
		}
	})
	t.Run("C074 the access token goes in the header, after the ID Token", func(t *testing.T) {
		w := newWorld(t, asksUserinfo)
		w.login()
		r := w.op.LastRequest(oidcgatetest.Userinfo)
		if !strings.HasPrefix(r.Header.Get("Authorization"), "Bearer ") || len(r.Form) != 0 {
			t.Errorf("the request has the form %v and the header %q", r.Form, r.Header)
		}
	})
}

func TestUserinfoAddsOnlyProfile(t *testing.T) {
	var id *oidcgate.Identity
	w := newWorld(t, asksUserinfo, func(c *oidcgate.Config, _ *oidcgate.Provider) {
		c.OnLogin = func(_ context.Context, l *oidcgate.Login) error { id = l.Identity(); return nil }
	})
	w.op.SetUser(oidcgatetest.User{
		Subject: "alice",
		Claims:  map[string]any{"groups": []string{"staff"}},
		UserinfoClaims: map[string]any{
			"iss": "https://evil.example", "sid": "evil", "acr": "evil", "amr": []string{"evil"}, "auth_time": 1,
			"azp": "evil", "nonce": "evil", "groups": []string{"admin"}, "nickname": "Ally",
		},
	})
	w.login()
	if got := id.Issuer(); got != "https://id.test" {
		t.Errorf("C079 iss %q", got)
	}
	if id.ProviderSessionID() == "evil" || id.ACR() != "" || id.AMR() != nil || id.AuthTime().Unix() == 1 {
		t.Errorf("C079 sid %q, acr %q, amr %q, auth_time %v: taken from userinfo", id.ProviderSessionID(), id.ACR(), id.AMR(), id.AuthTime())
	}
	var all map[string]any
	if err := id.Decode(&all); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(all["groups"]); got != "[staff]" {
		t.Errorf("C079 groups %s, want those of the ID Token", got)
	}
	if !id.FromUserinfo("nickname") || id.FromUserinfo("groups") || all["nickname"] != "Ally" {
		t.Errorf("C079 provenance: nickname %v, groups %v; nickname %v", id.FromUserinfo("nickname"), id.FromUserinfo("groups"), all["nickname"])
	}
}

func TestVerifiedEmail(t *testing.T) {
	for _, row := range []struct {
		name     string
		email    any
		verified any
		want     bool
	}{
		{"C073 verified, at the domain", "a@corp.example", true, true},
		{"C073 the domain in another case", "a@CORP.example", true, true},
		{"C073 two at signs", "a@evil.example@corp.example", true, false},
		{"C073 verified by a string", "a@corp.example", "true", false},
		{"C073 not verified", "a@corp.example", false, false},
		{"C073 nothing says that it is verified", "a@corp.example", nil, false},
		{"C073 a domain that ends like it", "a@evilcorp.example", true, false},
		{"C073 a subdomain", "a@sub.corp.example", true, false},
		{"C073 a list", []string{"a@corp.example"}, true, false},
		{"C073 a look-alike", "a@cоrp.example", true, false}, // the o is Cyrillic
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t)
			id, err := oidcgate.NewIdentity("https://id.test", "alice", map[string]any{"email": row.email, "email_verified": row.verified})
			if err != nil {
				t.Fatal(err)
			}
			guarded := w.gate.Require(oidcgate.EmailDomain("corp.example"))(http.NotFoundHandler())
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			rec := httptest.NewRecorder()
			guarded.ServeHTTP(rec, r.WithContext(w.gate.NewContext(r.Context(), id)))
			if got := rec.Code == http.StatusNotFound; got != row.want {
				t.Errorf("let in: %v, want %v (status %d)", got, row.want, rec.Code)
			}
		})
	}
}

func TestResponseIssuer(t *testing.T) {
	for _, row := range []struct {
		name       string
		advertised bool
		iss        []string
		reason     oidcgate.Reason // "": the login works
	}{
		{"C031 iss of another provider", true, []string{"https://evil.example"}, oidcgate.ReasonIssMismatch},
		{"C031 iss with a slash behind", true, []string{"https://id.test/"}, oidcgate.ReasonIssMismatch},
		{"C031 iss empty", true, []string{""}, oidcgate.ReasonIssMismatch},
		{"C031 iss missing though announced", true, nil, "iss_missing"},
		{"C031 iss twice", true, []string{"https://id.test", "https://evil.example"}, "duplicate_parameter"},
		{"C031 C033 iss twice, and the same", true, []string{"https://id.test", "https://id.test"}, ""},
		{"C031 iss of another provider though not announced", false, []string{"https://evil.example"}, oidcgate.ReasonIssMismatch},
		{"C031 iss missing and not announced", false, nil, ""},
		{"C031 iss there though not announced", false, []string{"https://id.test"}, ""},
	} {
		for _, outcome := range []string{"code", "error"} {
			t.Run(row.name+" beside a "+outcome, func(t *testing.T) {
				w, records := newTapped(t)
				w.op.Always(oidcgatetest.Discovery, oidcgatetest.EditJSON(func(m map[string]any) {
					m["authorization_response_iss_parameter_supported"] = row.advertised
				}))
				if outcome == "error" {
					w.op.SetNobody() // access_denied
				}
				callback, q := split(t, w.callbackURL("/app"))
				q["iss"] = row.iss
				a := w.get(callback + "?" + q.Encode())
				switch {
				case row.reason != "":
					w.denied(a, http.StatusBadRequest, row.reason)
				case outcome == "error":
					w.denied(a, http.StatusForbidden, "op_error:access_denied")
				default:
					if a.StatusCode != http.StatusSeeOther || w.subject() != "alice" {
						t.Errorf("status %d, signed in as %q\n%s", a.StatusCode, w.subject(), w.logged())
					}
					return
				}
				w.askedUntil(oidcgatetest.Authorization)
				w.leavesNothing(records)
			})
		}
	}
}

func split(t *testing.T, address string) (string, url.Values) {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	u.RawQuery = ""
	return u.String(), q
}

func TestAuthorizationRequestIsOurs(t *testing.T) {
	w := newWorld(t, func(_ *oidcgate.Config, p *oidcgate.Provider) {
		p.Request.Params = map[string]string{"ui_locales": "de", "prompt": "select_account"}
	})
	evil := url.Values{
		"redirect_uri": {"https://evil.example"}, "scope": {"admin"}, "state": {"x"}, "nonce": {"y"}, "client_id": {"evil"},
		"code_challenge": {"z"}, "code_challenge_method": {"plain"}, "response_type": {"token"}, "response_mode": {"fragment"},
		"request": {"r"}, "request_uri": {"https://evil.example/r"}, "prompt": {"none"}, "ui_locales": {"en"}, "max_age": {"0"},
		"acr_values": {"low"}, "login_hint": {"eve"},
	}
	a := w.get("/auth/login?" + evil.Encode())
	_, q := split(t, a.location())
	for name, values := range q {
		if len(values) != 1 {
			t.Errorf("C024 %s stands there %d times: %q", name, len(values), values)
		}
	}
	want := map[string]string{
		"redirect_uri": shopURL + "/auth/callback", "client_id": "shop", "response_type": "code", "scope": "openid profile email",
		"code_challenge_method": "S256", "ui_locales": "de", "prompt": "select_account",
		"response_mode": "", "request": "", "request_uri": "", "max_age": "", "acr_values": "", "login_hint": "",
	}
	for name, value := range want {
		if got := q.Get(name); got != value {
			t.Errorf("C024 %s is %q, want %q", name, got, value)
		}
	}
	for _, name := range []string{"state", "nonce", "code_challenge"} {
		if len(q.Get(name)) != 43 || q.Get(name) == evil.Get(name) {
			t.Errorf("C024 %s is %q", name, q.Get(name))
		}
	}
}

func TestMetadataIsRefused(t *testing.T) {
	member := func(name string, value any) func(*world) {
		return func(w *world) {
			w.op.Always(oidcgatetest.Discovery, oidcgatetest.EditJSON(func(m map[string]any) { m[name] = value }))
		}
	}
	answer := func(f oidcgatetest.Fault) func(*world) {
		return func(w *world) { w.op.Always(oidcgatetest.Discovery, f) }
	}
	type row struct {
		name   string
		spoil  func(*world)
		reason oidcgate.Reason
		event  oidcgate.EventType
	}
	const rejected = oidcgate.EventProviderRejected
	rows := []row{
		{"C001 the issuer with a slash behind", member("issuer", "https://id.test/"), "issuer_mismatch", rejected},
		{"C001 the issuer in capitals", member("issuer", "https://ID.test"), "issuer_mismatch", rejected},
		{"C001 the issuer with its port", member("issuer", "https://id.test:443"), "issuer_mismatch", rejected},
		{"C001 the issuer on http", member("issuer", "http://id.test"), "issuer_mismatch", rejected},
		{"C001 another tenant's issuer", member("issuer", "https://id.test/other"), "issuer_mismatch", rejected},
		{"C001 no issuer", member("issuer", nil), "issuer_mismatch", rejected},
		{"C006 a flag that is a string", member("authorization_response_iss_parameter_supported", "true"), "metadata_invalid", rejected},
		{"C006 challenge methods in a string", member("code_challenge_methods_supported", "S256"), "metadata_invalid", rejected},
		{"C006 algorithms in a string", member("id_token_signing_alg_values_supported", "RS256"), "metadata_invalid", rejected},
		{"C006 methods of authentication in a string", member("token_endpoint_auth_methods_supported", "none"), "metadata_invalid", rejected},
		{"C019 challenge methods without S256", member("code_challenge_methods_supported", []string{"plain"}), "pkce_unsupported", rejected},
		{"C052 discovery redirects", answer(oidcgatetest.Redirect(302, "https://id.test/evil")), "metadata_invalid", rejected},
		{"F07 HTML in place of metadata", answer(oidcgatetest.Answer(200, "text/html", "<h1>hi</h1>")), "metadata_invalid", rejected},
		{"F08 metadata of 100 MB", answer(oidcgatetest.Huge(100 << 20)), "metadata_invalid", rejected},
		{"F08 metadata that is a bomb", answer(oidcgatetest.GzipBomb(100 << 20)), "metadata_invalid", rejected},
		{"F01 the provider is down", answer(oidcgatetest.Answer(503, "", "")), "provider_unreachable", oidcgate.EventProviderUnreachable},
	}
	for _, endpoint := range []string{"authorization_endpoint", "token_endpoint", "jwks_uri", "userinfo_endpoint", "end_session_endpoint"} {
		for _, value := range []string{"http://id.test/x", "//id.test/x", "file:///etc/passwd", "/x", "https://user@id.test/x", "https://id.test/x#f", "https://"} {
			rows = append(rows, row{"C003 " + endpoint + " " + value, member(endpoint, value), "endpoint_invalid", rejected})
		}
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			w, records := newTapped(t, asksUserinfo)
			row.spoil(w)
			w.denied(w.get("/auth/login"), http.StatusServiceUnavailable, row.reason)
			w.askedUntil("")
			w.leavesNothing(records)
			if e := w.eventsOf(row.event); len(e) != 1 || e[0].Reason != row.reason {
				t.Errorf("events %+v, want one %s with the reason %q", e, row.event, row.reason)
			}
		})
	}
}

func TestDiscovery(t *testing.T) {
	for issuer, path := range map[string]string{
		"https://id.test":     "/.well-known/openid-configuration",
		"https://id.test/":    "/.well-known/openid-configuration",
		"https://id.test/t1":  "/t1/.well-known/openid-configuration",
		"https://id.test/t1/": "/t1/.well-known/openid-configuration",
	} {
		t.Run("C002 the metadata of "+issuer, func(t *testing.T) {
			w := newWorldAt(t, issuer)
			w.login()
			if got := w.op.LastRequest(oidcgatetest.Discovery).URL.RequestURI(); got != path {
				t.Errorf("asked for %q, want %q", got, path)
			}
			if n := w.op.Count(oidcgatetest.Discovery); n != 1 {
				t.Errorf("asked %d times, want once", n)
			}
		})
	}

	t.Run("C005 explicit endpoints need no discovery, and the issuer still counts", func(t *testing.T) {
		explicit := func(_ *oidcgate.Config, p *oidcgate.Provider) {
			p.Endpoints.Authorization, p.Endpoints.Token = p.Issuer+"/authorize", p.Issuer+"/token"
			p.Endpoints.JWKS, p.Endpoints.Userinfo = p.Issuer+"/jwks", p.Issuer+"/userinfo"
		}
		w := newWorld(t, asksUserinfo, explicit)
		w.login()
		if n := w.op.Count(oidcgatetest.Discovery); n != 0 {
			t.Errorf("%d requests for metadata, want none", n)
		}
		refusal{"", claim("iss", "https://evil.example"), http.StatusBadGateway, "iss_claim", oidcgatetest.Token}.run(t, explicit)
	})

	t.Run("C019 metadata that is silent about challenges", func(t *testing.T) {
		w := newWorld(t)
		w.op.Always(oidcgatetest.Discovery, oidcgatetest.EditJSON(func(m map[string]any) { delete(m, "code_challenge_methods_supported") }))
		w.login()
		if got := w.op.LastRequest(oidcgatetest.Authorization).Form.Get("code_challenge_method"); got != "S256" {
			t.Errorf("code_challenge_method %q, want S256", got)
		}
	})

	t.Run("C015 requests carry no cookies and ask for JSON", func(t *testing.T) {
		w := newWorld(t)
		setsCookie := oidcgatetest.Edit(func(r *oidcgatetest.Response) { r.Header.Set("Set-Cookie", "spy=1; Path=/") })
		w.op.Always(oidcgatetest.Discovery, setsCookie)
		w.op.Always(oidcgatetest.Token, setsCookie)
		w.login()
		for _, e := range []oidcgatetest.Endpoint{oidcgatetest.Token, oidcgatetest.JWKS} {
			h := w.op.LastRequest(e).Header
			if h.Get("Cookie") != "" || !strings.Contains(h.Get("Accept"), "json") || h.Get("Accept-Encoding") != "identity" {
				t.Errorf("%s: headers %v", e, h)
			}
		}
	})
}

// newWorldAt is newWorld with a provider at another issuer.
func newWorldAt(t *testing.T, issuer string) *world {
	t.Helper()
	op := oidcgatetest.NewProvider(t, oidcgatetest.Config{Issuer: issuer})
	op.AddClient(oidcgatetest.Client{ID: "shop", Secret: secret, RedirectURLs: []string{shopURL + "/auth/callback"}})
	w := newWorld(t, func(c *oidcgate.Config, p *oidcgate.Provider) {
		c.HTTP.Transport, p.Issuer = op.Transport(), issuer
	})
	w.op = op
	w.browser = w.newBrowser()
	return w
}

func TestMetadataChangesWhileRunning(t *testing.T) {
	for _, row := range []struct {
		name   string
		change func(map[string]any)
		reason oidcgate.Reason // of provider.downgrade_refused; "": the change is taken
	}{
		{"F13 C007 an endpoint moves on the same origin", func(m map[string]any) { m["authorization_endpoint"] = "https://id.test/authorize?tenant=2" }, ""},
		{"F13 C007 the token endpoint moves to another origin", func(m map[string]any) { m["token_endpoint"] = "https://evil.example/token" }, "downgrade"},
		{"F13 C007 the keys move to another origin", func(m map[string]any) { m["jwks_uri"] = "https://evil.example/jwks" }, "downgrade"},
		{"F13 C007 the authorization endpoint goes to http", func(m map[string]any) { m["authorization_endpoint"] = "http://id.test/authorize" }, "endpoint_invalid"},
		{"F13 C007 the issuer changes", func(m map[string]any) { m["issuer"] = "https://evil.example" }, "issuer_mismatch"},
		{"F13 C007 iss in responses is withdrawn", func(m map[string]any) { delete(m, "authorization_response_iss_parameter_supported") }, "downgrade"},
		{"F13 C007 S256 is withdrawn", func(m map[string]any) { m["code_challenge_methods_supported"] = []string{"plain"} }, "pkce_unsupported"},
		{"F13 C007 challenge methods vanish", func(m map[string]any) { delete(m, "code_challenge_methods_supported") }, "downgrade"},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				before := w.get("/auth/login").location()
				w.op.Always(oidcgatetest.Discovery, oidcgatetest.EditJSON(row.change))
				time.Sleep(61 * time.Minute)
				w.get("/auth/login") // is served by what is known, and starts the refresh
				synctest.Wait()
				after := w.get("/auth/login").location()
				moved := strings.SplitN(before, "client_id", 2)[0] != strings.SplitN(after, "client_id", 2)[0]
				if moved != (row.reason == "") {
					t.Errorf("the login leads to %q, before to %q", after, before)
				}
				refused := w.eventsOf(oidcgate.EventProviderDowngradeRefused)
				if row.reason != "" && (len(refused) != 1 || refused[0].Reason != row.reason) {
					t.Errorf("events %+v, want one with the reason %q", refused, row.reason)
				}
				if row.reason != "" {
					w.login() // by the last good metadata
				}
			})
		})
	}
}

func TestProviderIsDown(t *testing.T) {
	t.Run("F01 metadata that cannot be used: Ready says why, and names the provider", func(t *testing.T) {
		w := newWorld(t)
		w.op.Always(oidcgatetest.Discovery, oidcgatetest.EditJSON(func(m map[string]any) { delete(m, "authorization_endpoint") }))
		err := w.gate.Ready(t.Context())
		if err == nil || !strings.HasPrefix(err.Error(), "oidcgate: id.test: provider: ") || strings.HasSuffix(err.Error(), "; ") {
			t.Errorf("error %q", err)
		}
	})
	t.Run("F01 it is down at start and found again by itself", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			up := w.config.HTTP.Transport
			sleeping := &switchable{next: oidcgatetest.NewTransport(nil)}
			w.config.HTTP.Transport = sleeping
			w.open(oidcgate.Provider{Issuer: w.op.Issuer(), ClientID: "shop", Auth: oidcgate.ClientSecretBasic(secret)})

			if a := w.get("/public"); a.StatusCode != http.StatusOK {
				t.Errorf("/public: status %d", a.StatusCode)
			}
			if err := w.gate.Ready(t.Context()); err == nil {
				t.Error("ready without ever having had metadata")
			}
			a := w.get(w.get("/app").location())
			if a.Header.Get("Retry-After") == "" {
				t.Error("no Retry-After")
			}
			w.denied(a, a.StatusCode, oidcgate.ReasonProviderUnreachable)
			if a.StatusCode < 502 || a.StatusCode > 504 {
				t.Errorf("status %d, want one of a dependency that is down", a.StatusCode)
			}

			sleeping.set(up)
			time.Sleep(30 * time.Second)
			w.login()
			if err := w.gate.Ready(t.Context()); err != nil {
				t.Errorf("not ready: %v", err)
			}
			if e := w.eventsOf(oidcgate.EventProviderReady); len(e) != 1 {
				t.Errorf("events %+v, want one that the provider is ready", e)
			}
		})
	})

	t.Run("F01 while it is down nobody hammers it", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.op.Always(oidcgatetest.Discovery, oidcgatetest.Answer(503, "", ""))
			for range 100 {
				w.get("/auth/login")
			}
			if n := w.op.Count(oidcgatetest.Discovery); n != 1 {
				t.Errorf("%d requests for metadata at the same moment, want 1", n)
			}
		})
	})

	t.Run("F02 it goes down later: who is signed in stays, the gate stays ready, a login is refused", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			line := &switchable{next: w.config.HTTP.Transport}
			w.config.HTTP.Transport = line
			w.open(oidcgate.Provider{Issuer: w.op.Issuer(), ClientID: "shop", Auth: oidcgate.ClientSecretBasic(secret)})
			w.login()
			line.set(oidcgatetest.NewTransport(nil))
			if got := w.subject(); got != "alice" {
				t.Errorf("signed in as %q", got)
			}
			time.Sleep(50 * time.Minute)
			if got := w.subject(); got != "alice" {
				t.Errorf("signed in as %q after an hour", got)
			}
			if err := w.gate.Ready(t.Context()); err != nil {
				t.Errorf("not ready: %v", err)
			}
			w.browser = w.newBrowser()
			a := w.get(w.callbackURL("/app"))
			w.denied(a, a.StatusCode, oidcgate.ReasonTokenEndpointUnreachable)
		})
	})

	t.Run("the gate is not ready while the store is ill", func(t *testing.T) {
		w, records := newTapped(t)
		w.login()
		records.refuse(func(storeCall) error { return errors.New("connection refused") })
		if err := w.gate.Ready(t.Context()); !errors.Is(err, oidcgate.ErrStoreUnavailable) {
			t.Errorf("Ready: %v, want ErrStoreUnavailable", err)
		}
	})
}

// switchable is a transport that can be exchanged.
type switchable struct {
	mu   sync.Mutex
	next http.RoundTripper
}

func (s *switchable) set(next http.RoundTripper) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next = next
}

func (s *switchable) RoundTrip(r *http.Request) (*http.Response, error) {
	s.mu.Lock()
	next := s.next
	s.mu.Unlock()
	return next.RoundTrip(r)
}

func TestKeyRotation(t *testing.T) {
	t.Run("C009 F05 the keys rotate just before signing", func(t *testing.T) {
		w := newWorld(t)
		w.login()
		old := w.op.PublicKeys().Keys[0].KeyID
		w.browser = w.newBrowser()
		callback := w.callbackURL("/app")
		w.op.RotateKeys()
		w.op.RemoveKey(old)
		if a := w.get(callback); a.StatusCode != http.StatusSeeOther || w.subject() != "alice" {
			t.Errorf("status %d\n%s", a.StatusCode, w.logged())
		}
		if n := w.op.Count(oidcgatetest.JWKS); n != 2 {
			t.Errorf("the keys were loaded %d times, want 2", n)
		}
	})

	t.Run("C009 C010 junk logout tokens do not use up the loads that a login needs", func(t *testing.T) {
		w := newWorld(t)
		w.login()
		for range 5 {
			junk := w.op.NewJWT(w.logoutClaims("sub", "alice"))
			junk.Header["kid"] = "unknown"
			w.send(w.newBrowser(), http.MethodPost, "/auth/backchannel-logout", "logout_token="+junk.Compact())
		}
		w.op.RotateKeys()
		w.browser = w.newBrowser()
		if a := w.get(w.callbackURL("/app")); a.StatusCode != http.StatusSeeOther {
			t.Errorf("the first login after the rotation is answered %d\n%s", a.StatusCode, w.logged())
		}
	})

	t.Run("F05 the key set lags behind: one login is refused, one after the interval is not", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.login()
			lag := oidcgatetest.EditJSON(func(m map[string]any) { m["keys"] = m["keys"].([]any)[:1] })
			w.op.Always(oidcgatetest.JWKS, lag)
			w.op.RotateKeys()
			w.browser = w.newBrowser()
			w.denied(w.get(w.callbackURL("/app")), http.StatusBadGateway, oidcgate.ReasonKeyUnknown)
			if n := w.op.Count(oidcgatetest.JWKS); n != 2 {
				t.Errorf("the keys were loaded %d times, want 2", n)
			}
			w.op.Clear(oidcgatetest.JWKS)
			time.Sleep(time.Minute)
			w.login()
		})
	})

	t.Run("F06 a key that was removed is trusted no longer than the refresh interval", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.login()
			w.op.RemoveKey(w.op.PublicKeys().Keys[0].KeyID)
			w.op.AddKey("RS256")
			stolen := w.op.NewJWT(nil)
			w.op.RotateKeys()
			w.op.RemoveKey(stolen.Header["kid"].(string))
			time.Sleep(61 * time.Minute)
			w.browser = w.newBrowser()
			callback := w.callbackURL("/app")
			w.op.NextIDToken(func(t *oidcgatetest.JWT) { t.Header["kid"], t.Key = stolen.Header["kid"], stolen.Key })
			w.denied(w.get(callback), http.StatusBadGateway, oidcgate.ReasonKeyUnknown)
		})
	})

	t.Run("C010 fifty tokens with unknown kids do not load the keys fifty times", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.op.EveryIDToken(func(t *oidcgatetest.JWT) { t.Header["kid"] = rand.Text() })
			for range 50 {
				w.browser = w.newBrowser()
				w.get(w.callbackURL("/app"))
			}
			if n := w.op.Count(oidcgatetest.JWKS); n > 2 {
				t.Errorf("the keys were loaded %d times, want at most 2", n)
			}
			if e := w.eventsOf(oidcgate.EventLoginFailed); len(e) != 50 {
				t.Errorf("%d logins were refused, want 50", len(e))
			}
		})
	})

	t.Run("C010 fifty bad signatures by a known kid do not load the keys fifty times", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.op.EveryIDToken((*oidcgatetest.JWT).CorruptSignature)
			for range 50 {
				w.browser = w.newBrowser()
				w.get(w.callbackURL("/app"))
			}
			if n := w.op.Count(oidcgatetest.JWKS); n > 2 {
				t.Errorf("the keys were loaded %d times, want at most 2", n)
			}
		})
	})
}

// keys edits the published key set.
func keys(change func(list []any) []any) func(*world) {
	return func(w *world) {
		w.op.Always(oidcgatetest.JWKS, oidcgatetest.EditJSON(func(m map[string]any) { m["keys"] = change(m["keys"].([]any)) }))
	}
}

// eachKey sets a member of every published key.
func eachKey(name string, value any) func(*world) {
	return keys(func(list []any) []any {
		for _, k := range list {
			k.(map[string]any)[name] = value
		}
		return list
	})
}

func beside(junk ...any) func(*world) {
	return keys(func(list []any) []any { return append(junk, list...) })
}

func TestKeySet(t *testing.T) {
	secp256k1 := map[string]any{"kty": "EC", "crv": "secp256k1", "x": strings.Repeat("A", 43), "y": strings.Repeat("A", 43), "kid": "k1"}
	for _, row := range []struct {
		name string
		set  func(*world)
	}{
		{"C011 an unknown kind of key beside", beside(map[string]any{"kty": "PQ", "kid": "x"})},
		{"C011 a curve nobody knows beside", beside(secp256k1)},
		{"C011 a modulus that is no base64 beside", beside(map[string]any{"kty": "RSA", "n": "!!!", "e": "AQAB"})},
		{"C011 a certificate that is none beside", beside(map[string]any{"kty": "RSA", "n": "AQAB", "e": "AQAB", "x5c": []string{"junk"}})},
		{"C011 null beside", beside(nil)},
		{"C011 an empty key beside", beside(map[string]any{})},
		{"C011 a string beside", beside("key")},
		{"C012 a symmetric key beside", beside(map[string]any{"kty": "oct", "k": "c2VjcmV0"})},
		{"C013 neither the key nor the token has a kid", func(w *world) {
			keys(func(list []any) []any { delete(list[0].(map[string]any), "kid"); return list })(w)
			w.op.EveryIDToken(func(t *oidcgatetest.JWT) { delete(t.Header, "kid") })
		}},
		{"C013 the token has no kid and four keys fit", func(w *world) {
			for range 3 {
				w.op.AddKey("RS256")
			}
			w.op.EveryIDToken(func(t *oidcgatetest.JWT) { delete(t.Header, "kid") })
		}},
		{"C013 another key with the same kid", keys(func(list []any) []any {
			kid := list[0].(map[string]any)["kid"]
			other, err := rsa.GenerateKey(rand.Reader, 2048)
			if err != nil {
				t.Fatal(err)
			}
			return append([]any{jose.JSONWebKey{Key: other.Public(), KeyID: kid.(string), Algorithm: "RS256", Use: "sig"}}, list...)
		})},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t)
			row.set(w)
			w.login()
		})
	}

	jwks := func(f oidcgatetest.Fault) func(*world) {
		return func(w *world) { w.op.Always(oidcgatetest.JWKS, f) }
	}
	const bad = http.StatusBadGateway
	for _, row := range []refusal{
		{"C012 the key is for encryption", eachKey("use", "enc"), bad, "jwks_unavailable", oidcgatetest.Token},
		{"C012 the key is not for verifying", eachKey("key_ops", []string{"encrypt"}), bad, "jwks_unavailable", oidcgatetest.Token},
		{"C012 the key is for another algorithm", eachKey("alg", "RS512"), bad, "jwks_unavailable", oidcgatetest.Token},
		{"C012 the private part is published", eachKey("d", "AQAB"), bad, "jwks_unavailable", oidcgatetest.Token},
		{"C012 a key of 1024 bits", weakKey, bad, "jwks_unavailable", oidcgatetest.Token},
		{"C052 the key set redirects", jwks(oidcgatetest.Redirect(302, "https://id.test/evil")), bad, "jwks_unavailable", oidcgatetest.Token},
		{"F07 HTML", jwks(oidcgatetest.Answer(200, "text/html", "<h1>hi</h1>")), bad, "jwks_unavailable", oidcgatetest.Token},
		{"F07 nothing", jwks(oidcgatetest.Answer(200, "application/json", "")), bad, "jwks_unavailable", oidcgatetest.Token},
		{"F07 an empty object", jwks(oidcgatetest.Answer(200, "application/json", "{}")), bad, "jwks_unavailable", oidcgatetest.Token},
		{"F07 keys null", jwks(oidcgatetest.Answer(200, "application/json", `{"keys":null}`)), bad, "jwks_unavailable", oidcgatetest.Token},
		{"F07 cut short", jwks(oidcgatetest.Edit(func(r *oidcgatetest.Response) { r.Body = r.Body[:len(r.Body)/2] })), bad, "jwks_unavailable", oidcgatetest.Token},
		{"F07 status 404", jwks(oidcgatetest.Answer(404, "", "")), bad, "jwks_unavailable", oidcgatetest.Token},
		{"F07 status 500", jwks(oidcgatetest.Answer(500, "", "")), http.StatusServiceUnavailable, "jwks_unavailable", oidcgatetest.Token},
		{"F07 keys twice", jwks(oidcgatetest.Answer(200, "application/json", `{"keys":[],"keys":[]}`)), bad, "jwks_unavailable", oidcgatetest.Token},
		{"F07 ten thousand keys", keys(func(list []any) []any { return append(make([]any, 10_000), list...) }), bad, "jwks_unavailable", oidcgatetest.Token},
		{"F08 a key set of 100 MB", jwks(oidcgatetest.Huge(100 << 20)), bad, "jwks_unavailable", oidcgatetest.Token},
	} {
		t.Run(row.name, func(t *testing.T) { row.run(t) })
	}

	t.Run("C012 a curve that is not the algorithm's", func(t *testing.T) {
		refusal{"", wrongCurve, bad, "jwks_unavailable", oidcgatetest.Token}.run(t, func(_ *oidcgate.Config, p *oidcgate.Provider) {
			p.Verification.SigningAlgs = []string{"ES256"}
		})
	})

	t.Run("F07 junk later: the last good keys serve on", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.login()
			w.op.Always(oidcgatetest.JWKS, oidcgatetest.Answer(200, "text/html", "<h1>hi</h1>"))
			time.Sleep(61 * time.Minute)
			w.browser = w.newBrowser()
			w.login()
			if e := w.eventsOf(oidcgate.EventJWKSRefreshFailed); len(e) == 0 {
				t.Error("no event that the keys could not be refreshed")
			}
		})
	})
}

func weakKey(w *world) {
	key, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		w.Fatal(err)
	}
	keys(func([]any) []any {
		return []any{jose.JSONWebKey{Key: key.Public(), KeyID: "weak", Algorithm: "RS256", Use: "sig"}}
	})(w)
	w.op.NextIDToken(func(t *oidcgatetest.JWT) { t.Header["kid"], t.Key = "weak", key })
}

func wrongCurve(w *world) {
	key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		w.Fatal(err)
	}
	keys(func([]any) []any {
		return []any{jose.JSONWebKey{Key: key.Public(), KeyID: "p384", Use: "sig"}}
	})(w)
	w.op.NextIDToken(func(t *oidcgatetest.JWT) {
		t.Header["kid"] = "p384"
		t.SignWith("ES256", key)
	})
}

func TestOverTLS(t *testing.T) {
	open := func(t *testing.T, op *oidcgatetest.Provider, transport http.RoundTripper) *world {
		w := newWorld(t, func(c *oidcgate.Config, p *oidcgate.Provider) {
			c.HTTP.Transport, p.Issuer = transport, op.Issuer()
		})
		op.AddClient(oidcgatetest.Client{ID: "shop", Secret: secret, RedirectURLs: []string{shopURL + "/auth/callback"}})
		w.op = op
		w.browser = w.newBrowser()
		return w
	}
	t.Run("C004 a certificate nobody signed", func(t *testing.T) {
		op := oidcgatetest.NewProvider(t)
		op.TLSServer().Config.ErrorLog = log.New(io.Discard, "", 0)
		w := open(t, op, nil)
		a := w.get("/auth/login")
		w.denied(a, a.StatusCode, oidcgate.ReasonProviderUnreachable)
		if a.StatusCode < 502 {
			t.Errorf("status %d", a.StatusCode)
		}
		if n := op.Count(oidcgatetest.Discovery); n != 0 {
			t.Errorf("%d requests arrived over a connection that proves nothing", n)
		}
	})

	t.Run("F44 C056 over HTTP/2 a token request that breaks is not sent again", func(t *testing.T) {
		op := oidcgatetest.NewProvider(t)
		server := httptest.NewUnstartedServer(op)
		server.EnableHTTP2 = true
		server.Config.ErrorLog = log.New(io.Discard, "", 0)
		server.StartTLS()
		t.Cleanup(server.Close)
		w := open(t, op, rewrite{server.Client().Transport, server.Listener.Addr().String()})
		w.login() // the connection is open now, and kept
		w.browser = w.newBrowser()
		callback := w.callbackURL("/app")
		before := op.Count(oidcgatetest.Token)
		op.Always(oidcgatetest.Token, func(http.Handler) http.Handler {
			return http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				if r.ProtoMajor != 2 {
					t.Errorf("the token request came by %s", r.Proto)
				}
				panic(http.ErrAbortHandler) // resets the stream
			})
		})
		a := w.get(callback)
		w.denied(a, http.StatusBadGateway, oidcgate.ReasonTokenEndpointUnreachable)
		if !strings.Contains(a.body, "does not answer") || !strings.Contains(a.body, "/auth/login?return_to=%2Fapp") {
			t.Errorf("the page tells of no answer, or of no new login:\n%s", a.body)
		}
		if n := op.Count(oidcgatetest.Token) - before; n != 1 {
			t.Errorf("%d token calls, want 1", n)
		}
	})

	t.Run("F43 a provider at a link-local address is not connected to", func(t *testing.T) {
		w := newWorld(t, func(c *oidcgate.Config, p *oidcgate.Provider) {
			c.HTTP.Transport, p.Issuer = nil, "https://169.254.169.254"
		})
		a := w.get("/auth/login")
		w.denied(a, a.StatusCode, oidcgate.ReasonProviderUnreachable)
		if e := w.eventsOf(oidcgate.EventLoginFailed); !strings.Contains(e[0].Detail, "link-local") {
			t.Errorf("the cause is %q", e[0].Detail)
		}
	})
}

// rewrite carries requests to a server on loopback, whatever host they name.
type rewrite struct {
	next http.RoundTripper
	host string
}

func (r rewrite) RoundTrip(req *http.Request) (*http.Response, error) {
	req = req.Clone(req.Context())
	req.Host, req.URL.Host = req.URL.Host, r.host
	return r.next.RoundTrip(req)
}

// The configuration and the metadata follow the same rules for addresses.
func TestProviderBelowLocalhost(t *testing.T) {
	for _, issuer := range []string{"http://id.localhost:8080", "http://LOCALHOST:8080"} {
		t.Run("C002 C003 a provider at "+issuer+" is accepted by New and at the login", func(t *testing.T) {
			w := newWorldOf(t, oidcgatetest.NewProvider(t, oidcgatetest.Config{Issuer: issuer}))
			w.get(w.get("/app").location())
			if rejected := w.eventsOf(oidcgate.EventProviderRejected); len(rejected) != 0 {
				t.Errorf("events %+v", rejected)
			}
			if ready := w.eventsOf(oidcgate.EventProviderReady); len(ready) != 1 {
				t.Errorf("the provider was not found\n%s", w.logged())
			}
		})
	}
}
