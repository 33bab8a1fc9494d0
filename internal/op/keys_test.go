package op_test

import (
	"context"
	"crypto/rsa"
	"fmt"
	"math/big"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oidcgate/oidcgate/internal/event"
	"github.com/oidcgate/oidcgate/internal/op"
)

func verify(t *testing.T, c *op.Client, raw string) error {
	t.Helper()
	_, err := c.VerifyIDToken(t.Context(), raw, "", op.Expectation{Nonce: nonce})
	if err != nil {
		checkSilent(t, err)
	}
	return err
}

func TestKeySets(t *testing.T) {
	good := jwk(rsaKey().Public(), "k1")
	with := func(changes map[string]any) map[string]any { return changed(good, changes) }
	other := jwk(otherRSA().Public(), "k1")
	noKid := `{"alg":"RS256"}`
	many := []any{}
	for i := range 100 {
		many = append(many, with(map[string]any{"kid": fmt.Sprint(i)}))
	}
	tests := []struct {
		name   string
		set    any
		header string
		reason string
	}{
		{"one good key", keySet(good), goodHeader, ""},
		{"C011 null beside it", keySet(nil, good), goodHeader, ""},
		{"C011 an empty object beside it", keySet(map[string]any{}, good), goodHeader, ""},
		{"C011 a string beside it", keySet("key", good), goodHeader, ""},
		{"C011 an unknown kty beside it", keySet(map[string]any{"kty": "XXX", "kid": "x"}, good),
			goodHeader, ""},
		{"C011 secp256k1 beside it",
			keySet(map[string]any{"kty": "EC", "crv": "secp256k1", "x": "AA", "y": "AA"}, good), goodHeader,
			""},
		{"C011 X25519 beside it", keySet(map[string]any{"kty": "OKP", "crv": "X25519", "x": "AA"}, good),
			goodHeader, ""},
		{"C011 a bad modulus beside it",
			keySet(map[string]any{"kty": "RSA", "n": "!!", "e": "AQAB"}, good), goodHeader, ""},
		{"C011 a point off the curve beside it",
			keySet(changed(jwk(ecKey().Public(), "e"), map[string]any{"x": "AAAA"}), good), goodHeader, ""},
		{"C011 a bad certificate in it",
			keySet(with(map[string]any{"x5c": []string{"junk"}, "x5t": "junk"})), goodHeader, ""},
		{"C011 an unknown alg beside it", keySet(with(map[string]any{"kid": "x", "alg": "XX1"}), good),
			goodHeader, ""},
		{"C012 encryption keys beside it", keySet(with(map[string]any{"use": "enc"}), good), goodHeader,
			""},
		{"C012 a symmetric key beside it",
			keySet(map[string]any{"kty": "oct", "k": "c2VjcmV0", "kid": "k1"}, good), goodHeader, ""},
		{"C012 key_ops that verify", keySet(with(map[string]any{"key_ops": []string{"verify"}})),
			goodHeader, ""},
		{"C012 no use", keySet(with(map[string]any{"use": nil})), goodHeader, ""},
		{"C013 no kid and one key", keySet(good), noKid, ""},
		{"C013 no kid and two keys", keySet(jwk(otherRSA().Public(), "k0"), good), noKid, ""},
		{"C013 no kid in token or keys", keySet(with(map[string]any{"kid": nil})), noKid, ""},
		{"C013 two keys with one kid", keySet(other, good), goodHeader, ""},
		{"C013 one kid for two types", keySet(jwk(ecKey().Public(), "k1"), good), goodHeader, ""},
		{"C013 no kid and another's key", keySet(jwk(otherRSA().Public(), "k0")), noKid, "sig"},
		{"C013 no kid and no key of the type",
			keySet(jwk(ecKey().Public(), "e"), with(map[string]any{"alg": "RS512"})), noKid,
			"jwks_unavailable"},
		{"kid in another case", keySet(with(map[string]any{"kid": "K1"})), goodHeader, "key_unknown"},
		{"a key without kid for a token with one", keySet(with(map[string]any{"kid": nil})), goodHeader,
			"key_unknown"},
		{"another's key", keySet(other), goodHeader, "sig"},
		{"C012 use is enc", keySet(with(map[string]any{"use": "enc"})), goodHeader, "jwks_unavailable"},
		{"C012 key_ops that encrypt", keySet(with(map[string]any{"key_ops": []string{"encrypt"}})),
			goodHeader, "jwks_unavailable"},
		{"C012 key_ops that are a string", keySet(with(map[string]any{"key_ops": "verify"})), goodHeader,
			"jwks_unavailable"},
		{"C012 alg of the key is another",
			keySet(with(map[string]any{"alg": "RS512"}), jwk(otherRSA().Public(), "x")), goodHeader,
			"key_unknown"},
		{"C012 a private key for all to read", keySet(with(map[string]any{"d": "AQAB"})), goodHeader,
			"jwks_unavailable"},
		{"C012 RSA with 4096 bits beside it", keySet(rsaOf(4096), good), goodHeader, ""},
		{"C012 RSA with 4096 bits alone: it is read", keySet(rsaOf(4096)), goodHeader, "sig"},
		{"C012 RSA with 4097 bits: it is not", keySet(rsaOf(4097)), goodHeader, "jwks_unavailable"},
		{"C012 RSA with 2047 bits", keySet(rsaOf(2047)), goodHeader, "jwks_unavailable"},
		{"C012 RSA with 2048 bits", keySet(rsaOf(2048)), goodHeader, "sig"},
		{"C012 RSA with 1024 bits", keySet(jwk(smallRSA().Public(), "k1")), goodHeader,
			"jwks_unavailable"},
		{"C014 a symmetric key alone",
			keySet(map[string]any{"kty": "oct", "k": "c2VjcmV0", "kid": "k1"}), goodHeader,
			"jwks_unavailable"},
		{"F07 a hundred and one keys", keySet(append(many, good)...), goodHeader, "jwks_unavailable"},
		{"F07 no keys", keySet(), goodHeader, "jwks_unavailable"},
		{"F07 keys null", map[string]any{"keys": nil}, goodHeader, "jwks_unavailable"},
		{"F07 keys an object", map[string]any{"keys": good}, goodHeader, "jwks_unavailable"},
		{"C069 KEYS in place of keys", map[string]any{"KEYS": []any{good}}, goodHeader,
			"jwks_unavailable"},
		{"F07 an empty object", map[string]any{}, goodHeader, "jwks_unavailable"},
		{"F07 a list", []any{good}, goodHeader, "jwks_unavailable"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := newOP()
			o.set("jwks", answerJSON(tt.set))
			raw := signed(tt.header, encode(identity(nil)))
			if strings.Contains(tt.name, "1024") {
				raw = signedBy(smallRSA(), tt.header, encode(identity(nil)))
			}
			_, err := o.client().VerifyIDToken(t.Context(), raw, "", op.Expectation{Nonce: nonce})
			wantReason(t, err, tt.reason)
		})
	}
}

// rsaOf is a public RSA key of that many bits, for which nobody has the private key.
func rsaOf(bits uint) map[string]any {
	n := new(big.Int).Lsh(big.NewInt(1), bits-1)
	return jwk(&rsa.PublicKey{N: n.Add(n, big.NewInt(1)), E: 65537}, "k1")
}

// junk is what a key endpoint may answer in place of keys.
func junk() map[string]http.HandlerFunc {
	good := jwk(rsaKey().Public(), "k1")
	text := encode(keySet(good))
	return map[string]http.HandlerFunc{
		"HTML with status 200":     answerText(200, "text/html", "<p>hush</p>"),
		"nothing":                  answerText(200, "application/json", ""),
		"an empty object":          answerText(200, "application/json", "{}"),
		"keys null":                answerText(200, "application/json", `{"keys":null}`),
		"no keys":                  answerText(200, "application/json", `{"keys":[]}`),
		"status 500":               answerText(500, "application/json", text),
		"status 404":               answerText(404, "application/json", text),
		"status 204":               answerText(204, "application/json", ""),
		"a redirect":               func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/userinfo", http.StatusFound) },
		"a cut document":           answerText(200, "application/json", text[:len(text)-2]),
		"keys twice":               answerText(200, "application/json", `{"keys":[],`+text[1:]),
		"ten thousand keys":        answerText(200, "application/json", `{"keys":[`+strings.Repeat("{},", 9999)+encode(good)+`]}`),
		"F08 a long document":      answerText(200, "application/json", text+strings.Repeat(" ", 256<<10)),
		"F09 deep JSON":            answerText(200, "application/json", `{"keys":`+strings.Repeat("[", 100_000)),
		"keys of which none works": answerJSON(keySet(jwk(smallRSA().Public(), "k1"))),
		"a broken connection":      abort,
		"F03 nothing, for ever":    hang,
	}
}

func TestJunkNeverReplacesKeys(t *testing.T) {
	for name, h := range junk() {
		t.Run("F07 "+name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := newOP()
				c := o.client()
				wantReason(t, verify(t, c, goodToken()), "")
				o.set("jwks", h)
				time.Sleep(2 * time.Hour)
				begun := time.Now()
				wantReason(t, verify(t, c, goodToken()), "")
				if took := time.Since(begun); took > time.Second {
					t.Errorf("C129 a token whose key is known waits %v", took)
				}
				time.Sleep(time.Minute) // until the load has ended
				if n := o.count("jwks"); n != 2 {
					t.Errorf("%d loads, want 2", n)
				}
				want := []string{"provider.ready", "jwks.refreshed", "jwks.refresh_failed jwks_unavailable"}
				if got := o.events(); !slices.Equal(got, want) {
					t.Errorf("events %q, want %q", got, want)
				}
			})
		})
	}
}

func TestJunkInPlaceOfTheFirstKeys(t *testing.T) {
	for name, h := range junk() {
		t.Run("F07 "+name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := newOP()
				o.set("jwks", h)
				c := o.client()
				for range 10 {
					wantReason(t, verify(t, c, goodToken()), "jwks_unavailable")
				}
				if n := o.count("jwks"); n != 2 {
					t.Errorf("C010 %d loads for ten logins, want 2", n)
				}
				o.set("jwks", answerJSON(keySet(jwk(rsaKey().Public(), "k1"))))
				time.Sleep(30 * time.Second)
				wantReason(t, verify(t, c, goodToken()), "")
			})
		})
	}
}

func TestKeyRotation(t *testing.T) {
	rotated := func() string { return signedBy(otherRSA(), `{"alg":"RS256","kid":"k2"}`, encode(identity(nil))) }
	newKeys := answerJSON(keySet(jwk(otherRSA().Public(), "k2")))

	t.Run("C009 a new kid is accepted the first time", func(t *testing.T) {
		o := newOP()
		c := o.client()
		wantReason(t, verify(t, c, goodToken()), "")
		o.set("jwks", newKeys)
		wantReason(t, verify(t, c, rotated()), "")
		wantReason(t, verify(t, c, rotated()), "")
		if n := o.count("jwks"); n != 2 {
			t.Errorf("%d loads, want 2", n)
		}
	})
	t.Run("C009 a new key under the old kid is accepted too", func(t *testing.T) {
		o := newOP()
		c := o.client()
		wantReason(t, verify(t, c, goodToken()), "")
		o.set("jwks", answerJSON(keySet(jwk(otherRSA().Public(), "k1"))))
		wantReason(t, verify(t, c, signedBy(otherRSA(), goodHeader, encode(identity(nil)))), "")
	})
	t.Run("F05 keys that lag are found after the pause", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			o := newOP()
			c := o.client()
			wantReason(t, verify(t, c, rotated()), "key_unknown")
			o.set("jwks", newKeys)
			wantReason(t, verify(t, c, rotated()), "key_unknown")
			if got := o.events(); got[len(got)-1] != "jwks.refresh_throttled key_unknown" {
				t.Errorf("events %q", got)
			}
			time.Sleep(30 * time.Second)
			wantReason(t, verify(t, c, rotated()), "")
			if n := o.count("jwks"); n != 3 {
				t.Errorf("%d loads, want 3", n)
			}
		})
	})
	t.Run("F05 F07 nobody says that there is no key while newer keys cannot be loaded", func(t *testing.T) {
		o := newOP()
		c := o.client()
		wantReason(t, verify(t, c, goodToken()), "")
		o.set("jwks", answerText(503, "text/plain", "maintenance"))
		for range 3 { // the third causes no load
			err := verify(t, c, rotated())
			e := wantReason(t, err, "jwks_unavailable")
			if e.Status != 503 || !strings.Contains(e.Hint, "jwks_uri, is in trouble or overloaded") || !strings.Contains(err.Error(), "status 503") {
				t.Errorf("%v (%d), hint %q", err, e.Status, e.Hint)
			}
		}
		wantReason(t, verify(t, c, goodToken()), "")
		wantReason(t, verify(t, c, signedBy(otherRSA(), goodHeader, encode(identity(nil)))), "sig")
	})
	t.Run("F06 a withdrawn key is refused once the keys are too old", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			o := newOP()
			c := o.client()
			wantReason(t, verify(t, c, goodToken()), "")
			o.set("jwks", newKeys)
			time.Sleep(time.Hour)
			wantReason(t, verify(t, c, goodToken()), "key_unknown")
		})
	})
}

func TestKeyAge(t *testing.T) {
	tests := []struct {
		name, cacheControl string
		configured, want   time.Duration
	}{
		{"F06 as configured", "", time.Hour, time.Hour},
		{"F06 the provider's shorter max-age", "public, max-age=600", time.Hour, 10 * time.Minute},
		{"F06 in capitals and with must-revalidate", "must-revalidate, Max-Age=600", time.Hour,
			10 * time.Minute},
		{"F06 a longer max-age changes nothing", "max-age=86400", time.Hour, time.Hour},
		{"C010 not shorter than half a minute", "max-age=0", time.Hour, 30 * time.Second},
		{"F06 unless that is configured", "max-age=0", 10 * time.Second, 10 * time.Second},
		{"a max-age that is no number", "max-age=soon", time.Hour, time.Hour},
		{"a negative max-age", "max-age=-1", time.Hour, time.Hour},
		{"a max-age beyond bounds", "max-age=99999999999999999999", time.Hour, time.Hour},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := newOP()
				o.set("jwks", func(w http.ResponseWriter, r *http.Request) {
					w.Header().Set("Cache-Control", tt.cacheControl)
					answerJSON(keySet(jwk(rsaKey().Public(), "k1")))(w, r)
				})
				c := o.client(func(cfg *op.Config) { cfg.JWKSRefresh = tt.configured })
				wantReason(t, verify(t, c, goodToken()), "")
				time.Sleep(tt.want - time.Second)
				wantReason(t, verify(t, c, goodToken()), "")
				if n := o.count("jwks"); n != 1 {
					t.Errorf("%d loads before the keys were too old", n)
				}
				time.Sleep(time.Second)
				wantReason(t, verify(t, c, goodToken()), "")
				if n := o.count("jwks"); n != 2 {
					t.Errorf("%d loads after the keys were too old, want 2", n)
				}
			})
		})
	}
}

func TestKeyLoadsAreBounded(t *testing.T) {
	for name, forged := range map[string]func(i int) string{
		"C010 random kids": func(i int) string {
			return signedBy(otherRSA(), fmt.Sprintf(`{"alg":"RS256","kid":"x%d"}`, i), encode(identity(nil)))
		},
		"C010 a known kid and a bad signature": func(int) string {
			return signedBy(otherRSA(), goodHeader, encode(identity(nil)))
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := newOP()
				c := o.client()
				flood := func() {
					for i := range 50 {
						if err := verify(t, c, forged(i)); err == nil {
							t.Fatal("a forged token passed")
						}
					}
				}
				flood()
				if n := o.count("jwks"); n != 2 {
					t.Errorf("%d loads, want 2", n)
				}
				time.Sleep(30 * time.Second)
				flood()
				if n := o.count("jwks"); n != 3 {
					t.Errorf("%d loads half a minute later, want 3", n)
				}
				time.Sleep(time.Hour - time.Minute)
				flood()
				if n := o.count("jwks"); n != 5 {
					t.Errorf("%d loads an hour later, want 5: what is not used does not add up", n)
				}
				wantReason(t, verify(t, c, goodToken()), "")
			})
		})
	}
}

func TestKeyLoadsAreShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOP()
		o.set("jwks", func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(time.Second)
			answerJSON(keySet(jwk(rsaKey().Public(), "k1")))(w, r)
		})
		c := o.client()
		raw := goodToken()
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() { wantReason(t, verify(t, c, raw), "") })
		}
		wg.Wait()
		if n := o.count("jwks"); n != 1 {
			t.Errorf("C010 %d loads for a hundred logins at once, want 1", n)
		}
	})
}

func TestThrottledLoadsAreToldOnceASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		told := 0
		c := newOP().client(func(cfg *op.Config) {
			cfg.Notify = func(n op.Notice) {
				mu.Lock()
				defer mu.Unlock()
				if n.Event == event.JWKSRefreshThrottled {
					told++
				}
			}
		})
		junk := `{"alg":"RS256","kid":"unknown"}`
		for range 50 {
			raw := signed(junk, encode(identity(nil)))
			_, err := c.VerifyIDToken(t.Context(), raw, "", op.Expectation{Nonce: nonce})
			wantReason(t, err, "key_unknown")
		}
		if told != 1 {
			t.Errorf("told %d times of 50 junk tokens", told)
		}
	})
}

// stranger is a logout token whose key the provider does not have.
func stranger(kid string) string {
	return signedBy(otherRSA(), fmt.Sprintf(`{"alg":"RS256","kid":%q}`, kid), encode(logout(nil)))
}

func judge(t *testing.T, c *op.Client, raw string) error {
	t.Helper()
	_, err := c.VerifyLogoutToken(t.Context(), raw)
	if err != nil {
		checkSilent(t, err)
	}
	return err
}

func TestKeyLoadsOfStrangers(t *testing.T) {
	rotated := func() string { return signedBy(otherRSA(), `{"alg":"RS256","kid":"k2"}`, encode(identity(nil))) }
	newKeys := func() http.HandlerFunc { return answerJSON(keySet(jwk(otherRSA().Public(), "k2"))) }
	inBubble(t, "C009 C010 junk logout tokens use up no load that a login needs after a key rotation", func(t *testing.T) {
		o := newOP()
		c := o.client()
		wantReason(t, verify(t, c, goodToken()), "")
		for range 50 {
			judge(t, c, stranger("junk"))
		}
		o.set("jwks", newKeys())
		wantReason(t, verify(t, c, rotated()), "")
	})
	inBubble(t, "C009 C010 nor does a load that a junk logout token began just before the rotation stand for that of the login", func(t *testing.T) {
		o := newOP()
		c := o.client()
		wantReason(t, verify(t, c, goodToken()), "")
		old := answerJSON(keySet(jwk(rsaKey().Public(), "k1")))
		o.set("jwks", func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(2 * time.Second)
			old(w, r)
		})
		var junk sync.WaitGroup
		junk.Go(func() { judge(t, c, stranger("junk")) })
		time.Sleep(time.Second)
		o.set("jwks", newKeys())
		wantReason(t, verify(t, c, rotated()), "")
		junk.Wait()
	})
	inBubble(t, "C010 junk logout tokens cause two loads, and one for every half minute", func(t *testing.T) {
		o := newOP()
		c := o.client()
		wantReason(t, verify(t, c, goodToken()), "")
		for i, want := range []int{3, 4, 5} {
			for range 20 {
				judge(t, c, stranger("junk"))
			}
			if n := o.count("jwks"); n != want {
				t.Errorf("%d loads in round %d, want %d", n, i, want)
			}
			time.Sleep(30 * time.Second)
		}
	})
	inBubble(t, "C124 a genuine logout token is not refused while the keys may not be loaded", func(t *testing.T) {
		o := newOP()
		c := o.client()
		genuine := signedBy(otherRSA(), `{"alg":"RS256","kid":"k2"}`, encode(logout(nil)))
		for range 3 {
			judge(t, c, stranger("junk"))
		}
		o.set("jwks", newKeys())
		if e := wantReason(t, judge(t, c, genuine), "jwks_unavailable"); e.Status != http.StatusServiceUnavailable || e.Hint != "" {
			t.Errorf("status %d with the hint %q, want 503 and no hint: the keys are well", e.Status, e.Hint)
		}
		time.Sleep(30 * time.Second)
		wantReason(t, judge(t, c, genuine), "")
	})
	for name, h := range map[string]http.HandlerFunc{"answer 500": answerText(500, "", ""), "are junk": answerText(200, "text/html", "hush")} {
		inBubble(t, "C124 nor while the keys "+name, func(t *testing.T) {
			o := newOP()
			c := o.client()
			wantReason(t, verify(t, c, goodToken()), "")
			o.set("jwks", h)
			for range 5 {
				e := wantReason(t, judge(t, c, signedBy(otherRSA(), goodHeader, encode(logout(nil)))), "jwks_unavailable")
				if e.Status == http.StatusBadRequest {
					t.Error("the token was blamed for it: the provider would not try again")
				}
			}
			wantReason(t, judge(t, c, logoutToken(goodHeader, nil)), "")
		})
	}
}

func TestLogoutTokensThatWait(t *testing.T) {
	inBubble(t, "C129 while the keys hang sixteen tokens wait for them, others a second, and those whose key is at hand for nothing", func(t *testing.T) {
		o := newOP()
		c := o.client()
		wantReason(t, verify(t, c, goodToken()), "")
		o.set("jwks", hang)
		start := time.Now()
		var wg sync.WaitGroup
		var waited, sentAway atomic.Int64
		for range 40 {
			wg.Go(func() {
				err := judge(t, c, stranger("junk"))
				if time.Since(start) > time.Second {
					waited.Add(1)
					wantReason(t, err, "jwks_unavailable")
					return
				}
				sentAway.Add(1)
				if e := wantReason(t, err, "busy"); e.Status != http.StatusServiceUnavailable {
					t.Errorf("status %d, want 503", e.Status)
				}
			})
		}
		synctest.Wait()
		wantReason(t, judge(t, c, logoutToken(goodHeader, nil)), "")
		if time.Since(start) > 0 {
			t.Error("a token whose key is at hand waited for those of strangers")
		}
		wg.Wait()
		if waited.Load() != 16 || sentAway.Load() != 24 {
			t.Errorf("%d waited and %d were sent away, want 16 and 24", waited.Load(), sentAway.Load())
		}
	})
	inBubble(t, "C129 many at once are all judged when the keys come soon", func(t *testing.T) {
		o := newOP()
		next := answerJSON(keySet(jwk(rsaKey().Public(), "k1")))
		o.set("jwks", func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(900 * time.Millisecond)
			next(w, r)
		})
		c := o.client()
		raw := logoutToken(goodHeader, nil)
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() { wantReason(t, judge(t, c, raw), "") })
		}
		wg.Wait()
	})
}

func TestKeysThatNobodyConfirms(t *testing.T) {
	for name, h := range map[string]http.HandlerFunc{
		"are away": answerText(500, "", ""), "are junk": answerText(200, "text/html", "hush"),
	} {
		inBubble(t, "F02 F06 when the provider's keys "+name+" the last ones count for a day", func(t *testing.T) {
			o := newOP()
			c := o.client()
			wantReason(t, verify(t, c, goodToken()), "")
			o.set("jwks", h)
			time.Sleep(24*time.Hour - time.Second)
			wantReason(t, verify(t, c, goodToken()), "")
			time.Sleep(time.Second)
			for _, err := range []error{verify(t, c, goodToken()), judge(t, c, logoutToken(goodHeader, nil))} {
				if e := wantReason(t, err, "jwks_unavailable"); e.Status != http.StatusServiceUnavailable {
					t.Errorf("status %d, want 503", e.Status)
				}
			}
			o.set("jwks", answerJSON(keySet(jwk(rsaKey().Public(), "k1"))))
			time.Sleep(time.Minute)
			wantReason(t, verify(t, c, goodToken()), "")
		})
	}
	inBubble(t, "F06 or for as long as they need not be loaded again", func(t *testing.T) {
		o := newOP()
		c := o.client(func(cfg *op.Config) { cfg.JWKSRefresh = 48 * time.Hour })
		wantReason(t, verify(t, c, goodToken()), "")
		o.set("jwks", abort)
		time.Sleep(47 * time.Hour)
		wantReason(t, verify(t, c, goodToken()), "")
		time.Sleep(time.Hour)
		wantReason(t, verify(t, c, goodToken()), "jwks_unavailable")
	})
}

func TestKeyLoadsOfBrowsers(t *testing.T) {
	junk := func(i int) string {
		return signed(fmt.Sprintf(`{"alg":"RS256","kid":"junk-%d"}`, i), encode(identity(nil)))
	}
	for name, tt := range map[string]struct {
		change func(*op.Config)
		form   func(i int) url.Values
	}{
		"ID Tokens": {
			func(cfg *op.Config) { cfg.ResponseType, cfg.ResponseMode = op.TypeHybrid, "form_post" },
			func(i int) url.Values { return url.Values{"state": {"s"}, "code": {"c"}, "id_token": {junk(i)}} },
		},
		"signed responses": {
			func(cfg *op.Config) { cfg.ResponseMode = "query.jwt" },
			func(i int) url.Values { return url.Values{"response": {junk(i)}} },
		},
	} {
		inBubble(t, "C009 C010 junk "+name+" use up no load that a token response needs", func(t *testing.T) {
			o := newOP()
			c := o.client(tt.change)
			wantReason(t, verify(t, c, goodToken()), "")
			send := func(i int) {
				r, err := c.ReadResponse(t.Context(), tt.form(i).Encode())
				wantReason(t, err, "")
				_, err = c.Finish(t.Context(), r, op.Expectation{Nonce: nonce, Claim: func(context.Context) error { return nil }})
				wantReason(t, err, "key_unknown")
			}
			for i := range 4 {
				send(i)
			}
			if n := o.count("jwks"); n != 3 {
				t.Errorf("%d loads of keys, want the first one and two for junk", n)
			}
			time.Sleep(5 * time.Second) // so long they hold up other browsers when the keys are replaced
			send(5)
			if n := o.count("jwks"); n != 4 {
				t.Errorf("%d loads of keys five seconds later, want one more", n)
			}
			o.set("jwks", answerJSON(keySet(jwk(otherRSA().Public(), "k2"))))
			wantReason(t, verify(t, c, signedBy(otherRSA(), `{"alg":"RS256","kid":"k2"}`, encode(identity(nil)))), "")
		})
	}
}
