package oidcgatetest_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"github.com/oidcgate/oidcgate/oidcgatetest"
)

type jwk = jose.JSONWebKey

// algorithms are all algorithms that go-jose can verify.
var algorithms = []jose.SignatureAlgorithm{
	jose.EdDSA, jose.HS256, jose.HS384, jose.HS512, jose.RS256, jose.RS384, jose.RS512,
	jose.PS256, jose.PS384, jose.PS512, jose.ES256, jose.ES384, jose.ES512,
}

func verifiesWith(key any, compact string) bool {
	token, err := jose.ParseSignedCompact(compact, algorithms)
	if err != nil {
		return false
	}
	_, err = token.Verify(key)
	return err == nil
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// TestSignWith verifies every kind of signature with go-jose.
func TestSignWith(t *testing.T) {
	p := oidcgatetest.NewProvider(t)
	rsaKey := must(rsa.GenerateKey(rand.Reader, 2048))
	publicEd, ed := must2(ed25519.GenerateKey(rand.Reader))
	secret := []byte(strings.Repeat("s", 64))
	ec := func(c elliptic.Curve) *ecdsa.PrivateKey { return must(ecdsa.GenerateKey(c, rand.Reader)) }
	p256, p384, p521 := ec(elliptic.P256()), ec(elliptic.P384()), ec(elliptic.P521())
	for _, test := range []struct {
		alg             string
		private, public any
	}{
		{"HS256", secret, secret}, {"HS384", secret, secret}, {"HS512", secret, secret},
		{"RS256", rsaKey, &rsaKey.PublicKey}, {"RS384", rsaKey, &rsaKey.PublicKey}, {"RS512", rsaKey, &rsaKey.PublicKey},
		{"PS256", rsaKey, &rsaKey.PublicKey}, {"PS384", rsaKey, &rsaKey.PublicKey}, {"PS512", rsaKey, &rsaKey.PublicKey},
		{"ES256", p256, &p256.PublicKey}, {"ES384", p384, &p384.PublicKey}, {"ES512", p521, &p521.PublicKey},
		{"EdDSA", ed, publicEd},
	} {
		t.Run(test.alg, func(t *testing.T) {
			token := p.NewJWT(map[string]any{"sub": "alice"})
			token.SignWith(test.alg, test.private)
			if !verifiesWith(test.public, token.Compact()) {
				t.Errorf("not verified: %s", token.Compact())
			}
			token.CorruptSignature()
			if verifiesWith(test.public, token.Compact()) {
				t.Errorf("verified although corrupt: %s", token.Compact())
			}
		})
	}
}

func must2[A, B any](a A, b B, err error) (A, B) {
	if err != nil {
		panic(err)
	}
	return a, b
}

func TestCompactPanicsOnAMistake(t *testing.T) {
	p := oidcgatetest.NewProvider(t)
	for name, change := range map[string]func(*oidcgatetest.JWT){
		"claims without JSON":  func(j *oidcgatetest.JWT) { j.Claims["f"] = func() {} },
		"a key that is a text": func(j *oidcgatetest.JWT) { j.Key = "secret" },
	} {
		t.Run(name, func(t *testing.T) {
			token := p.NewJWT(map[string]any{})
			change(token)
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			token.Compact()
		})
	}
}

// TestIDTokenFaults checks the ID Token that the relying party receives.
func TestIDTokenFaults(t *testing.T) {
	type jwt = *oidcgatetest.JWT
	tests := []struct {
		name     string
		change   func(jwt)
		seen     func(header, payload, signature string) bool
		verified bool
	}{
		{"a changed claim", func(j jwt) { j.Claims["iss"] = "https://evil.example" },
			func(_, payload, _ string) bool { return strings.Contains(payload, "evil.example") }, false},
		{"a missing claim", func(j jwt) { delete(j.Claims, "exp") },
			func(_, payload, _ string) bool { return !strings.Contains(payload, `"exp"`) }, true},
		{"a raw payload", func(j jwt) { j.Payload = []byte(`{"sub":"a","sub":"b"}`) },
			func(_, payload, _ string) bool { return payload == `{"sub":"a","sub":"b"}` }, false},
		{"a critical header", func(j jwt) { j.Header["crit"] = []string{"unknown"} },
			func(header, _, _ string) bool { return strings.Contains(header, `"crit":["unknown"]`) }, false},
		{"a missing header", func(j jwt) { delete(j.Header, "kid") },
			func(header, _, _ string) bool { return !strings.Contains(header, "kid") }, false},
		{"no signature", (*oidcgatetest.JWT).Unsigned,
			func(header, _, signature string) bool {
				return strings.Contains(header, `"alg":"none"`) && signature == ""
			}, false},
		{"a signature of another key", (*oidcgatetest.JWT).SignForeign,
			func(_, _, signature string) bool { return len(signature) == 256 }, false},
		{"a corrupt signature", (*oidcgatetest.JWT).CorruptSignature,
			func(_, _, signature string) bool { return len(signature) == 256 }, false},
		{"an HMAC", func(j jwt) { j.SignWith("HS256", []byte("a secret")) },
			func(_, _, signature string) bool { return len(signature) == 32 }, false},
		{"a fourth part", func(j jwt) { j.Finish = func(s string) string { return s + ".x" } },
			func(_, _, signature string) bool { return strings.HasSuffix(signature, ".x") }, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p, rp := newProvider(t)
			p.NextIDToken(test.change)
			form, _ := rp.code(t)
			compact := rp.token(t, form).members(t)["id_token"].(string)
			header, payload, signature := parts(t, compact)
			if !test.seen(header, payload, signature) {
				t.Errorf("header %s, payload %s, %d bytes of signature", header, payload, len(signature))
			}
			if _, err := rp.verify(t, compact); (err == nil) != test.verified {
				t.Errorf("verified with error %v, want success: %v", err, test.verified)
			}
			rp.login(t) // the next one is right again
		})
	}
}

func TestEveryIDToken(t *testing.T) {
	p, rp := newProvider(t, oidcgatetest.Config{Algorithm: "ES256"})
	p.EveryIDToken(func(j *oidcgatetest.JWT) { j.Claims["acr"] = "silver"; p.RotateKeys() })
	p.NextIDToken(func(j *oidcgatetest.JWT) { j.Claims["amr"] = j.Claims["acr"] })
	p.NextIDToken((*oidcgatetest.JWT).SignForeign)
	if _, claims := rp.login(t); claims["acr"] != "silver" || claims["amr"] != "silver" {
		t.Errorf("first login: acr %v, amr %v; want silver for both", claims["acr"], claims["amr"])
	}
	form, _ := rp.code(t)
	if _, err := rp.verify(t, rp.token(t, form).members(t)["id_token"].(string)); err == nil {
		t.Error("second login: a foreign signature was verified")
	}
	if _, claims := rp.login(t); claims["acr"] != "silver" || claims["amr"] != nil {
		t.Errorf("third login: acr %v, amr %v; want silver and nothing", claims["acr"], claims["amr"])
	}
	p.EveryIDToken(nil)
	if _, claims := rp.login(t); claims["acr"] != nil {
		t.Errorf("afterwards: acr %v, want nothing", claims["acr"])
	}
}

// parts decodes a compact serialization. Text after a third dot is returned undecoded as part of
// the signature.
func parts(t *testing.T, compact string) (header, payload, signature string) {
	t.Helper()
	p := strings.SplitN(compact, ".", 3)
	if len(p) != 3 {
		t.Fatalf("not a token: %q", compact)
	}
	decoded, rest, more := strings.Cut(p[2], ".")
	signature = decode(t, decoded)
	if more {
		signature += "." + rest
	}
	return decode(t, p[0]), decode(t, p[1]), signature
}
