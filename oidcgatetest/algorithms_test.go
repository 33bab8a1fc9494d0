package oidcgatetest_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"github.com/oidcgate/oidcgate/oidcgatetest"
)

// decrypt opens a JWE with a private key and returns its header and what is inside.
func decrypt(t *testing.T, compact string, alg jose.KeyAlgorithm, enc jose.ContentEncryption, key any) (jose.Header, string) {
	t.Helper()
	jwe, err := jose.ParseEncryptedCompact(compact, []jose.KeyAlgorithm{alg}, []jose.ContentEncryption{enc})
	if err != nil {
		t.Fatalf("%s and %s: %v in %q", alg, enc, err, compact)
	}
	inside, err := jwe.Decrypt(key)
	if err != nil {
		t.Fatal(err)
	}
	return jwe.Header, string(inside)
}

func TestEncryptedTokens(t *testing.T) {
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	p, rp := newProvider(t)
	c := shop()
	c.Keys.Keys = []jwk{{Key: key.Public(), KeyID: "sig", Algorithm: "ES256"}, {Key: key.Public(), KeyID: "enc", Algorithm: "ECDH-ES"}}
	c.IDToken = oidcgatetest.Algorithms{Encrypted: "ECDH-ES", Content: "A256GCM"}
	c.Userinfo = oidcgatetest.Algorithms{Signed: "RS256", Encrypted: "ECDH-ES"}
	c.Response = oidcgatetest.Algorithms{Encrypted: "ECDH-ES"}
	p.AddClient(c)

	form, _ := rp.code(t)
	tokens := rp.token(t, form).members(t)
	header, idToken := decrypt(t, tokens["id_token"].(string), jose.ECDH_ES, jose.A256GCM, key)
	if header.KeyID != "enc" || header.ExtraHeaders["cty"] != "JWT" {
		t.Errorf("the ID Token's kid %q, cty %v", header.KeyID, header.ExtraHeaders["cty"])
	}
	if claims, err := rp.verify(t, idToken); err != nil || claims["sub"] != "alice" {
		t.Errorf("inside the ID Token: %v, %v", claims, err)
	}

	info := rp.userinfo(t, tokens)
	if got := info.header.Get("Content-Type"); got != "application/jwt" {
		t.Errorf("userinfo has the type %q", got)
	}
	_, signed := decrypt(t, info.body, jose.ECDH_ES, jose.A128CBC_HS256, key)
	if claims, err := rp.verify(t, signed); err != nil || claims["sub"] != "alice" || claims["email"] != "alice@example.com" {
		t.Errorf("inside userinfo: %v, %v", claims, err)
	}

	params, _ := rp.authorization()
	params.Set("response_mode", "query.jwt")
	_, object := decrypt(t, rp.authorize(t, params).Get("response"), jose.ECDH_ES, jose.A128CBC_HS256, key)
	if claims, err := rp.verify(t, object); err != nil || claims["state"] != params.Get("state") || claims["code"] == nil {
		t.Errorf("inside the response: %v, %v", claims, err)
	}

	p.NextIDToken((*oidcgatetest.JWT).CorruptSignature)
	form, _ = rp.code(t)
	_, corrupt := decrypt(t, rp.token(t, form).members(t)["id_token"].(string), jose.ECDH_ES, jose.A256GCM, key)
	if _, err := rp.verify(t, corrupt); err == nil {
		t.Error("the corrupt signature is not inside")
	}

	c.Userinfo.Signed = ""
	p.AddClient(c)
	form, _ = rp.code(t)
	header, plain := decrypt(t, rp.userinfo(t, rp.token(t, form).members(t)).body, jose.ECDH_ES, jose.A128CBC_HS256, key)
	var claims map[string]any
	if err := json.Unmarshal([]byte(plain), &claims); err != nil || claims["sub"] != "alice" || header.ExtraHeaders["cty"] != nil {
		t.Errorf("userinfo that is encrypted only: %v, %v, %v", claims, header, err)
	}
}

func TestTokensSignedWithSecret(t *testing.T) {
	p, rp := newProvider(t)
	c := shop()
	c.Secret = strings.Repeat("s", 64)
	c.IDToken.Signed, c.Userinfo.Signed = "HS512", "HS256"
	p.AddClient(c)
	rp.client = c
	form, _ := rp.code(t)
	tokens := rp.token(t, form).members(t)
	idToken := tokens["id_token"].(string)
	if !verifiesWithSecret(c.Secret, "HS512", idToken) {
		t.Errorf("the ID Token is not signed with the secret: %s", idToken)
	}
	sum := sha512.Sum512([]byte(tokens["access_token"].(string)))
	if want := base64.RawURLEncoding.EncodeToString(sum[:32]); !strings.Contains(payloadOf(idToken), want) {
		t.Errorf("at_hash is not that of HS512: %s", payloadOf(idToken))
	}
	if info := rp.userinfo(t, tokens).body; !verifiesWithSecret(c.Secret, "HS256", info) {
		t.Errorf("userinfo is not signed with the secret: %s", info)
	}
	logout := p.NewJWT(map[string]any{"aud": c.ID, "events": map[string]any{}})
	if !verifiesWithSecret(c.Secret, "HS512", logout.Compact()) || logout.Header["typ"] != "logout+jwt" || logout.Header["kid"] != nil {
		t.Errorf("a logout token: %+v", logout)
	}
}

func verifiesWithSecret(secret, alg, compact string) bool {
	header, _, _ := strings.Cut(compact, ".")
	text, _ := base64.RawURLEncoding.DecodeString(header)
	return strings.Contains(string(text), `"`+alg+`"`) && verifiesWith([]byte(secret), compact)
}

func payloadOf(compact string) string {
	text, _ := base64.RawURLEncoding.DecodeString(strings.Split(compact, ".")[1])
	return string(text)
}

func TestAddClientRefusesAlgorithms(t *testing.T) {
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	for name, change := range map[string]func(*oidcgatetest.Client){
		"no key": func(c *oidcgatetest.Client) { c.IDToken.Encrypted = "ECDH-ES" },
		"a key of another kind": func(c *oidcgatetest.Client) {
			c.Userinfo.Encrypted = "RSA-OAEP"
			c.Keys.Keys = []jwk{{Key: key.Public(), KeyID: "k"}}
		},
		"an unknown encryption": func(c *oidcgatetest.Client) {
			c.Response.Encrypted = "ECDH"
			c.Keys.Keys = []jwk{{Key: key.Public(), KeyID: "k"}}
		},
		"an unknown signature":   func(c *oidcgatetest.Client) { c.IDToken.Signed = "HS1" },
		"a signature, no secret": func(c *oidcgatetest.Client) { c.IDToken.Signed, c.Secret = "HS256", "" },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("AddClient does not panic")
				}
			}()
			c := shop()
			change(&c)
			oidcgatetest.NewProvider(t).AddClient(c)
		})
	}
}
