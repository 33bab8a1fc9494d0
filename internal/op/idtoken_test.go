package op_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/oidcgate/oidcgate/internal/op"
)

func TestVerifyIDTokenClaims(t *testing.T) {
	now := time.Now().Unix()
	tests := []struct {
		name    string
		changes map[string]any
		reason  string
	}{
		{"a good token", nil, ""},
		{"C059 aud as a list of us", map[string]any{"aud": []string{clientID}}, ""},
		{"C060 azp is us", map[string]any{"azp": clientID}, ""},
		{"C062 exp with a fraction", map[string]any{"exp": float64(now) + 300.5}, ""},
		{"C064 nbf is now", map[string]any{"nbf": now}, ""},
		{"C066 sub of 255 characters", map[string]any{"sub": strings.Repeat("x", 255)}, ""},
		{"C053 unknown claims are ignored", map[string]any{"x": map[string]any{"y": 1}}, ""},
		{"C072 distributed claims are left alone", map[string]any{
			"_claim_names":   map[string]any{"score": "src"},
			"_claim_sources": map[string]any{"src": map[string]any{"endpoint": "https://id.example/userinfo", "access_token": "x"}},
		}, ""},

		{"C058 iss with a slash", map[string]any{"iss": issuer + "/"}, "iss_claim"},
		{"C058 iss in capitals", map[string]any{"iss": strings.ToUpper(issuer)}, "iss_claim"},
		{"C058 iss missing", map[string]any{"iss": nil}, "iss_claim"},
		{"C058 iss is a list", map[string]any{"iss": []string{issuer}}, "iss_claim"},
		{"C059 aud of another client", map[string]any{"aud": "other"}, "aud"},
		{"C059 aud of two clients", map[string]any{"aud": []string{clientID, "other"}}, "aud"},
		{"C059 aud of two clients with azp",
			map[string]any{"aud": []string{clientID, "other"}, "azp": clientID}, "aud"},
		{"C059 aud empty", map[string]any{"aud": []string{}}, "aud"},
		{"C059 aud nested", map[string]any{"aud": [][]string{{clientID}}}, "aud"},
		{"C059 aud a number", map[string]any{"aud": 1}, "aud"},
		{"C059 aud missing", map[string]any{"aud": nil}, "aud"},
		{"C059 aud in another case", map[string]any{"aud": "Shop"}, "aud"},
		{"C060 azp of another client", map[string]any{"azp": "other"}, "azp"},
		{"C060 azp empty", map[string]any{"azp": ""}, "azp"},
		{"C060 azp a number", map[string]any{"azp": 1}, "azp"},
		{"C062 exp past", map[string]any{"exp": now - 120}, "exp"},
		{"C062 exp missing", map[string]any{"exp": nil}, "exp"},
		{"C062 exp a string", map[string]any{"exp": fmt.Sprint(now + 300)}, "exp"},
		{"C062 exp negative", map[string]any{"exp": -1}, "exp"},
		{"C062 exp huge", map[string]any{"exp": 1e300}, "exp"},
		{"C062 exp beyond int64", map[string]any{"exp": 1.9e19}, "exp"},
		{"C063 iat missing", map[string]any{"iat": nil}, "iat"},
		{"C063 iat tomorrow", map[string]any{"iat": now + 86400}, "iat"},
		{"C063 iat yesterday", map[string]any{"iat": now - 86400}, "iat"},
		{"C063 iat a string", map[string]any{"iat": fmt.Sprint(now)}, "iat"},
		{"C105 session_expiry null", map[string]any{"session_expiry": null}, ""},
		{"C105 session_expiry past", map[string]any{"session_expiry": now}, "session_expiry"},
		{"C105 session_expiry in milliseconds", map[string]any{"session_expiry": (now + 3600) * 1000}, "session_expiry"},
		{"C105 session_expiry a string", map[string]any{"session_expiry": fmt.Sprint(now + 3600)}, "session_expiry"},
		{"C105 session_expiry negative", map[string]any{"session_expiry": -1}, "session_expiry"},
		{"C064 nbf in ten minutes", map[string]any{"nbf": now + 600}, "nbf"},
		{"C064 nbf a string", map[string]any{"nbf": "0"}, "nbf"},
		{"C065 nonce missing", map[string]any{"nonce": nil}, "nonce"},
		{"C065 nonce of another login", map[string]any{"nonce": "other"}, "nonce"},
		{"C065 nonce empty", map[string]any{"nonce": ""}, "nonce"},
		{"C065 nonce a list", map[string]any{"nonce": []string{nonce}}, "nonce"},
		{"C066 sub missing", map[string]any{"sub": nil}, "sub"},
		{"C066 sub empty", map[string]any{"sub": ""}, "sub"},
		{"C066 sub is the client", map[string]any{"sub": "shop"}, "sub"},
		{"C066 sub a number", map[string]any{"sub": 248289761001}, "sub"},
		{"C066 sub of 256 characters", map[string]any{"sub": strings.Repeat("x", 256)}, "sub"},
		{"C066 sub not ASCII", map[string]any{"sub": "jané"}, "sub"},
		{"C066 sub with a line break", map[string]any{"sub": "a\nlogin ok"}, "sub"},
		{"C068 a logout token", map[string]any{"events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}}}, "typ"},
		{"C057 at_hash of another access token", map[string]any{"at_hash": halfHash("other")}, "at_hash"},
		{"C057 at_hash a number", map[string]any{"at_hash": 1}, "at_hash"},
		{"C057 at_hash of ours", map[string]any{"at_hash": halfHash("at-1")}, ""},
	}
	c := newOP().client()
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			raw := signed(goodHeader, encode(identity(tt.changes)))
			id, err := c.VerifyIDToken(t.Context(), raw, "at-1", op.Expectation{Nonce: nonce})
			if e := wantReason(t, err, tt.reason); e != nil && e.Status != 502 {
				t.Errorf("status %d, want 502", e.Status)
			}
			if _, ok := id.Get("sub"); ok != (tt.reason == "") {
				t.Errorf("claims are there: %v", ok)
			}
		})
	}
}

func TestSessionExpiryHint(t *testing.T) {
	now := time.Now().Unix()
	c := newOP().client()
	for _, row := range []struct {
		name string
		end  any
		hint string
	}{
		{"C105 past", now - 1, "compare the clocks"},
		{"C105 in milliseconds", (now + 3600) * 1000, "milliseconds"},
		{"C105 in milliseconds, with a fraction", float64(now+3600)*1000 + 0.5, "milliseconds"},
		{"C105 a string", fmt.Sprint(now + 3600), "JSON number of seconds"},
	} {
		t.Run(row.name, func(t *testing.T) {
			raw := signed(goodHeader, encode(identity(map[string]any{"session_expiry": row.end})))
			_, err := c.VerifyIDToken(t.Context(), raw, "at-1", op.Expectation{Nonce: nonce})
			if e := wantReason(t, err, "session_expiry"); e != nil && !strings.Contains(e.Hint, row.hint) {
				t.Errorf("the hint is %q, want %q in it", e.Hint, row.hint)
			}
		})
	}
}

func TestNonceHint(t *testing.T) {
	c := newOP().client()
	for _, row := range []struct {
		name  string
		value any
		hint  string
	}{
		{"C065 missing", nil, "Verification.WithoutNonce"},
		{"C065 of another login", "other", "unchanged"},
	} {
		t.Run(row.name, func(t *testing.T) {
			raw := signed(goodHeader, encode(identity(map[string]any{"nonce": row.value})))
			_, err := c.VerifyIDToken(t.Context(), raw, "at-1", op.Expectation{Nonce: nonce})
			if e := wantReason(t, err, "nonce"); !strings.Contains(e.Hint, row.hint) {
				t.Errorf("the hint is %q", e.Hint)
			}
		})
	}
}

func halfHash(token string) string {
	sum := sha256.Sum256([]byte(token))
	return base64.RawURLEncoding.EncodeToString(sum[:16])
}

func TestVerifyIDTokenPayload(t *testing.T) {
	good := encode(identity(nil))
	with := func(member string) string { return strings.TrimSuffix(good, "}") + "," + member + "}" }
	tests := []struct{ name, payload, reason string }{
		{"C069 two subs", with(`"sub":"admin"`), "id_token_malformed"},
		{"C069 two subs, one of them escaped", with(`"s\u0075b":"admin"`), "id_token_malformed"},
		{"C069 duplicates below", with(`"x":{"a":1,"a":2}`), "id_token_malformed"},
		{"C069 ISS beside iss", with(`"ISS":"https://evil.example"`), "id_token_malformed"},
		{"C069 ISS in place of iss", strings.Replace(good, `"iss"`, `"ISS"`, 1), "iss_claim"},
		{"C069 NONCE in place of nonce", strings.Replace(good, `"nonce"`, `"Nonce"`, 1), "nonce"},
		{"C069 a long s in place of that of sub", strings.Replace(good, `"sub"`, `"ſub"`, 1), "sub"},
		{"C069 invalid UTF-8", with("\"x\":\"\xff\""), "id_token_malformed"},
		{"C069 a lone surrogate", with(`"x":"\ud800"`), "id_token_malformed"},
		{"C069 a list", "[" + good + "]", "id_token_malformed"},
		{"C069 two objects", good + good, "id_token_malformed"},
		{"no JSON", "hello", "id_token_malformed"},
		{"nothing", "", "id_token_malformed"},
		{"null", "null", "id_token_malformed"},
		{"F09 deep JSON", with(`"x":` + strings.Repeat("[", 10_000) + strings.Repeat("]", 10_000)),
			"id_token_malformed"},
		{"C062 exp 1e300 as it is written", strings.Replace(good, `"exp":`, `"exp":1e300,"x":`, 1), "exp"},
	}
	c := newOP().client()
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			raw := signed(goodHeader, tt.payload)
			_, err := c.VerifyIDToken(t.Context(), raw, "", op.Expectation{Nonce: nonce})
			wantReason(t, err, tt.reason)
		})
	}
}

func TestVerifyIDTokenWithoutNonce(t *testing.T) {
	c := newOP().client()
	for _, claim := range []any{nil, "", nonce} {
		raw := signed(goodHeader, encode(identity(map[string]any{"nonce": claim})))
		_, err := c.VerifyIDToken(t.Context(), raw, "", op.Expectation{})
		wantReason(t, err, "nonce") // C065 a login that expects no nonce accepts none
	}
}

func TestVerifyIDTokenHeader(t *testing.T) {
	embedded := encode(jwk(otherRSA().Public(), "k1"))
	tests := []struct{ name, header, reason string }{
		{"C068 typ JWT", `{"alg":"RS256","kid":"k1","typ":"JWT"}`, ""},
		{"C008 a jwk that is not used", `{"alg":"RS256","kid":"k1","jwk":` + embedded + `}`, ""},
		{"C013 no kid", `{"alg":"RS256"}`, ""},
		{"C014 alg none", `{"alg":"none"}`, "alg"},
		{"C014 alg None", `{"alg":"None","kid":"k1"}`, "alg"},
		{"C014 alg nOnE", `{"alg":"nOnE","kid":"k1"}`, "alg"},
		{"C014 alg empty", `{"alg":"","kid":"k1"}`, "alg"},
		{"C014 alg missing", `{"kid":"k1"}`, "alg"},
		{"C014 alg not agreed on", `{"alg":"PS256","kid":"k1"}`, "alg"},
		{"C014 alg HS256", `{"alg":"HS256","kid":"k1"}`, "alg"},
		{"C014 alg a list", `{"alg":["RS256"],"kid":"k1"}`, "alg"},
		{"C069 ALG in place of alg", `{"ALG":"RS256","kid":"k1"}`, "alg"},
		{"C069 alg twice", `{"alg":"RS256","alg":"none","kid":"k1"}`, "id_token_malformed"},
		{"C068 typ at+jwt", `{"alg":"RS256","kid":"k1","typ":"at+jwt"}`, "typ"},
		{"C068 typ logout+jwt", `{"alg":"RS256","kid":"k1","typ":"logout+jwt"}`, "typ"},
		{"C068 typ dpop+jwt", `{"alg":"RS256","kid":"k1","typ":"dpop+jwt"}`, "typ"},
		{"C068 typ secevent+jwt", `{"alg":"RS256","kid":"k1","typ":"secevent+jwt"}`, "typ"},
		{"C068 typ oauth-authz-req+jwt", `{"alg":"RS256","kid":"k1","typ":"oauth-authz-req+jwt"}`, "typ"},
		{"C068 typ token-introspection+jwt",
			`{"alg":"RS256","kid":"k1","typ":"token-introspection+jwt"}`, "typ"},
		{"C068 typ a number", `{"alg":"RS256","kid":"k1","typ":1}`, "typ"},
		{"C070 crit", `{"alg":"RS256","kid":"k1","crit":["exp"],"exp":1}`, "id_token_malformed"},
		{"C070 b64 false", `{"alg":"RS256","kid":"k1","b64":false}`, "id_token_malformed"},
		{"C070 zip", `{"alg":"RS256","kid":"k1","zip":"DEF"}`, "id_token_malformed"},
		{"kid a number", `{"alg":"RS256","kid":1}`, "id_token_malformed"},
		{"the header is no object", `"RS256"`, "id_token_malformed"},
		{"the header is empty", ``, "id_token_malformed"},
	}
	c := newOP().client()
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			raw := signed(tt.header, encode(identity(nil)))
			_, err := c.VerifyIDToken(t.Context(), raw, "", op.Expectation{Nonce: nonce})
			wantReason(t, err, tt.reason)
		})
	}
}

func TestVerifyIDTokenForgeries(t *testing.T) {
	payload := encode(identity(nil))
	good := goodToken()
	embedded := encode(jwk(otherRSA().Public(), "evil"))
	forge := func(header string) string { return signedBy(otherRSA(), header, payload) }
	body := good[:strings.LastIndex(good, ".")]
	tests := []struct{ name, raw, reason string }{
		{"C061 another key with a known kid", forge(goodHeader), "sig"},
		{"C061 another key without kid", forge(`{"alg":"RS256"}`), "sig"},
		{"C061 a payload of another token",
			replacePart(good, 1, b64(encode(identity(map[string]any{"sub": "admin"})))), "sig"},
		{"C061 no signature", body + ".", "sig"},
		{"C061 a flipped bit", flip(good), "sig"},
		{"C008 an embedded jwk", forge(`{"alg":"RS256","kid":"evil","jwk":` + embedded + `}`),
			"key_unknown"},
		{"C008 an embedded jwk under a known kid",
			forge(`{"alg":"RS256","kid":"k1","jwk":` + embedded + `}`), "sig"},
		{"C008 a jku", forge(`{"alg":"RS256","kid":"evil","jku":"https://id.example/userinfo"}`),
			"key_unknown"},
		{"C008 an x5u", forge(`{"alg":"RS256","kid":"evil","x5u":"https://id.example/userinfo"}`),
			"key_unknown"},
		{"C014 alg none without signature", b64(`{"alg":"none"}`) + "." + b64(payload) + ".", "alg"},
		{"C014 HS256 keyed with the public key", hs256(publicPEM(t), payload), "alg"},
		{"C014 HS256 keyed with the client secret", hs256([]byte("hush-hush"), payload), "alg"},
		{"C070 one part", "abc", "id_token_malformed"},
		{"C070 two parts", body, "id_token_malformed"},
		{"C070 four parts", good + ".x", "id_token_malformed"},
		{"C071 five parts, encrypted", "e30.e30.e30.e30.e30", "id_token_malformed"},
		{"C070 JSON serialization", `{"payload":"` + b64(payload) + `","signatures":[]}`,
			"id_token_malformed"},
		{"C070 padding", good + "=", "id_token_malformed"},
		{"C070 stray bits at the end", stray(good), "id_token_malformed"},
		{"C070 a line break", good[:20] + "\n" + good[20:], "id_token_malformed"},
		{"C070 a space at the end", good + " ", "id_token_malformed"},
		{"C070 standard base64", "+/+/" + good, "id_token_malformed"},
		{"C070 too long", good + strings.Repeat("A", 256<<10), "id_token_malformed"},
		{"nothing", "", "id_token_malformed"},
	}
	o := newOP()
	c := o.client()
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := c.VerifyIDToken(t.Context(), tt.raw, "", op.Expectation{Nonce: nonce})
			wantReason(t, err, tt.reason)
		})
	}
	if n := o.count("userinfo"); n != 0 {
		t.Errorf("C008 a URL from a header was fetched %d times", n)
	}
	if n := o.count("jwks"); n > 2 {
		t.Errorf("C010 the keys were loaded %d times", n)
	}
}

func replacePart(raw string, i int, part string) string {
	parts := strings.Split(raw, ".")
	parts[i] = part
	return strings.Join(parts, ".")
}

// stray sets a bit of the last character that no byte of the signature uses.
func stray(raw string) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	last := strings.IndexByte(alphabet, raw[len(raw)-1])
	return raw[:len(raw)-1] + alphabet[last+1:last+2]
}

func flip(raw string) string {
	at := strings.LastIndex(raw, ".") + 10
	c := byte('A')
	if raw[at] == c {
		c = 'B'
	}
	return raw[:at] + string(c) + raw[at+1:]
}

func publicPEM(t *testing.T) []byte {
	der, err := x509.MarshalPKIXPublicKey(rsaKey().Public())
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func hs256(key []byte, payload string) string {
	input := b64(`{"alg":"HS256","kid":"k1"}`) + "." + b64(payload)
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(input))
	return input + "." + b64(string(mac.Sum(nil)))
}

func TestVerifyIDTokenAlgorithms(t *testing.T) {
	o := newOP()
	o.set("jwks", answerJSON(keySet(
		jwk(rsaKey().Public(), "r"), jwk(ecKey().Public(), "e"), jwk(ec384Key().Public(), "f"), jwk(edKey().Public(), "d"),
	)))
	c := o.client(func(cfg *op.Config) {
		cfg.SigningAlgs = []string{"RS256", "PS256", "RS512", "ES256", "ES384", "EdDSA"}
	})
	sum := sha512.Sum512([]byte("at-1"))
	half512 := base64.RawURLEncoding.EncodeToString(sum[:32])
	sum384 := sha512.Sum384([]byte("at-1"))
	half384 := base64.RawURLEncoding.EncodeToString(sum384[:24])
	for _, tt := range []struct {
		alg    jose.SignatureAlgorithm
		key    any
		kid    string
		atHash string
		reason string
	}{
		{jose.RS256, rsaKey(), "r", halfHash("at-1"), ""},
		{jose.PS256, rsaKey(), "r", halfHash("at-1"), ""},
		{jose.RS512, rsaKey(), "r", half512, ""},
		{jose.ES256, ecKey(), "e", halfHash("at-1"), ""},
		{jose.ES384, ec384Key(), "f", half384, ""},
		{jose.EdDSA, edKey(), "d", half512, ""},
		{jose.ES384, ec384Key(), "e", half384, "key_unknown"}, // kid of a P-256 key
		{jose.ES256, ecKey(), "r", halfHash("at-1"), "key_unknown"},
		{jose.PS384, rsaKey(), "r", half384, "alg"},
		{jose.RS512, rsaKey(), "r", halfHash("at-1"), "at_hash"},
	} {
		t.Run(fmt.Sprintf("C012 %s with key %s is %q", tt.alg, tt.kid, tt.reason), func(t *testing.T) {
			raw := joseToken(t, tt.alg, tt.key, tt.kid, identity(map[string]any{"at_hash": tt.atHash}))
			_, err := c.VerifyIDToken(t.Context(), raw, "at-1", op.Expectation{Nonce: nonce})
			wantReason(t, err, tt.reason)
		})
	}
}

func TestVerifyIDTokenStepUp(t *testing.T) {
	now := time.Now()
	age := func(d time.Duration) *time.Duration { return &d }
	tests := []struct {
		name    string
		changes map[string]any
		want    op.Expectation
		reason  string
	}{
		{"C067 acr that was asked for", map[string]any{"acr": "gold"},
			op.Expectation{ACRValues: []string{"gold", "silver"}}, ""},
		{"C067 acr weaker", map[string]any{"acr": "bronze"},
			op.Expectation{ACRValues: []string{"gold", "silver"}}, "acr"},
		{"C067 acr missing", nil, op.Expectation{ACRValues: []string{"gold"}}, "acr"},
		{"C067 acr a list", map[string]any{"acr": []string{"gold"}},
			op.Expectation{ACRValues: []string{"gold"}}, "acr"},
		{"C025 auth_time fresh", map[string]any{"auth_time": now.Unix()},
			op.Expectation{MaxAge: age(time.Minute)}, ""},
		{"C025 auth_time old", map[string]any{"auth_time": now.Unix() - 300},
			op.Expectation{MaxAge: age(time.Minute)}, "auth_time"},
		{"C067 auth_time missing", nil, op.Expectation{MaxAge: age(time.Hour)}, "auth_time"},
		{"C067 auth_time a string", map[string]any{"auth_time": fmt.Sprint(now.Unix())},
			op.Expectation{MaxAge: age(time.Hour)}, "auth_time"},
		{"C067 auth_time in the future", map[string]any{"auth_time": now.Unix() + 600},
			op.Expectation{MaxAge: age(time.Hour)}, "auth_time"},
		{"C025 max_age 0 and a user who took five minutes over the consent page", map[string]any{"auth_time": now.Unix() - 300},
			op.Expectation{MaxAge: age(0), Start: now.Add(-301 * time.Second)}, ""},
		{"C025 max_age 0 and a login from before", map[string]any{"auth_time": now.Unix() - 400},
			op.Expectation{MaxAge: age(0), Start: now.Add(-300 * time.Second)}, "auth_time"},
	}
	c := newOP().client()
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.want.Nonce = nonce
			raw := signed(goodHeader, encode(identity(tt.changes)))
			_, err := c.VerifyIDToken(t.Context(), raw, "", tt.want)
			wantReason(t, err, tt.reason)
		})
	}
}

func TestVerifyIDTokenTrustedAudience(t *testing.T) {
	c := newOP().client(func(cfg *op.Config) { cfg.TrustedAudiences = []string{"api"} })
	for _, row := range []struct {
		name   string
		claims map[string]any
		reason string
	}{
		{"C059 C060 a trusted audience beside us, and azp is us",
			map[string]any{"aud": []string{clientID, "api"}, "azp": clientID}, ""},
		{"C060 a trusted audience beside us, without azp",
			map[string]any{"aud": []string{clientID, "api"}}, "aud"},
		{"C060 a trusted audience beside us, and azp is it",
			map[string]any{"aud": []string{clientID, "api"}, "azp": "api"}, "aud"},
		{"C059 a trusted audience alone", map[string]any{"aud": "api"}, "aud"},
		{"C059 a trusted audience alone in a list, and azp is us",
			map[string]any{"aud": []string{"api"}, "azp": clientID}, "aud"},
		{"C059 a third audience nobody trusts",
			map[string]any{"aud": []string{clientID, "api", "evil"}, "azp": clientID}, "aud"},
	} {
		t.Run(row.name, func(t *testing.T) {
			raw := signed(goodHeader, encode(identity(row.claims)))
			_, err := c.VerifyIDToken(t.Context(), raw, "", op.Expectation{Nonce: nonce})
			wantReason(t, err, row.reason)
		})
	}
}

// TestVerifyIDTokenAnyAudience: Zitadel's have all applications of a project.
func TestVerifyIDTokenAnyAudience(t *testing.T) {
	c := newOP().client(func(cfg *op.Config) { cfg.TrustedAudiences = []string{"*"} })
	for _, row := range []struct {
		name   string
		claims map[string]any
		reason string
	}{
		{"C059 any audience beside us, and azp is us", map[string]any{"aud": []string{"other", clientID, "project"}, "azp": clientID}, ""},
		{"C060 without azp", map[string]any{"aud": []string{"other", clientID}}, "aud"},
		{"C060 azp is another", map[string]any{"aud": []string{"other", clientID}, "azp": "other"}, "aud"},
		{"C059 any audience without us", map[string]any{"aud": []string{"other"}, "azp": clientID}, "aud"},
		{"C059 another alone", map[string]any{"aud": "other"}, "aud"},
	} {
		t.Run(row.name, func(t *testing.T) {
			raw := signed(goodHeader, encode(identity(row.claims)))
			_, err := c.VerifyIDToken(t.Context(), raw, "", op.Expectation{Nonce: nonce})
			wantReason(t, err, row.reason)
		})
	}
}

func TestVerifyRefreshedIDToken(t *testing.T) {
	since := time.Now().Add(-time.Hour).Truncate(time.Second)
	tests := []struct {
		name    string
		changes map[string]any
		reason  string
	}{
		{"C081 without nonce", map[string]any{"nonce": nil}, ""},
		{"C081 with the nonce of the login", nil, ""},
		{"C081 with the auth_time of the login", map[string]any{"auth_time": since.Unix()}, ""},
		{"C081 another nonce", map[string]any{"nonce": "other"}, "nonce"},
		{"C081 another user", map[string]any{"sub": "admin"}, "sub"},
		{"C081 another issuer", map[string]any{"iss": issuer + "1"}, "iss_claim"},
		{"C081 another client", map[string]any{"aud": "other"}, "aud"},
		{"C081 an auth_time that is no number", map[string]any{"auth_time": "noon"}, "auth_time"},
		{"C081 an earlier auth_time", map[string]any{"auth_time": since.Unix() - 1}, "auth_time"},
		{"C081 a later auth_time: the user has authenticated for another application", map[string]any{"auth_time": since.Unix() + 60}, ""},
		{"C081 an old token", map[string]any{"iat": time.Now().Unix() - 3600}, "iat"},
	}
	c := newOP().client()
	t.Run("C081 an auth_time where the login had none", func(t *testing.T) {
		raw := signed(goodHeader, encode(identity(map[string]any{"auth_time": since.Unix()})))
		_, _, err := c.VerifyRefreshed(t.Context(), raw, "at-1", op.Original{Subject: subject, Nonce: nonce})
		wantReason(t, err, "")
	})
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			raw := signed(goodHeader, encode(identity(tt.changes)))
			_, _, err := c.VerifyRefreshed(t.Context(), raw, "at-1", op.Original{
				Subject:  subject,
				AuthTime: since,
				Nonce:    nonce,
			})
			wantReason(t, err, tt.reason)
		})
	}
}

// The token is made at one time and read at another, with both clocks a
// bubble's.
func TestVerifyIDTokenClockSkew(t *testing.T) {
	tests := []struct {
		name   string
		skew   time.Duration // how far our clock is ahead of the provider's
		life   int64         // of the token, in seconds
		reason string
	}{
		{"F14 equal clocks", 0, 300, ""},
		{"F14 we are 30 seconds ahead of a token that lives for one", 30 * time.Second, 1, ""},
		{"F14 we are a minute ahead, to the second", 60 * time.Second, 1, ""},
		{"F14 we are two minutes ahead", 2 * time.Minute, 1, "exp"},
		{"F14 we are ten minutes ahead of a long-lived token", 10 * time.Minute, 86400, ""},
		{"F14 we are an hour ahead of a long-lived token", time.Hour, 86400, "iat"},
		{"F14 we are 30 seconds behind", -30 * time.Second, 300, ""},
		{"F14 we are a minute behind", -60 * time.Second, 300, ""},
		{"F14 we are two minutes behind", -2 * time.Minute, 300, "iat"},
		{"F14 we are an hour behind", -time.Hour, 300, "iat"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				issued := time.Now().Add(-tt.skew).Unix()
				raw := signed(goodHeader, encode(identity(map[string]any{"iat": issued, "nbf": issued, "exp": issued + tt.life})))
				_, err := newOP().client().VerifyIDToken(t.Context(), raw, "", op.Expectation{Nonce: nonce})
				wantReason(t, err, tt.reason)
			})
		})
	}
}

// A token whose times cannot be says by how much, which way, and what to do.
func TestClocksApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := time.Now()
		for _, row := range []struct {
			name, claim  string
			value        any
			detail, hint string
		}{
			{"C062 this clock is ahead", "exp", now.Add(-125 * time.Second).Unix(), "exp is 2m5s past by this machine's clock; up to 1m0s may be", "this machine's clock is ahead"},
			{"C063 the provider's clock is ahead", "iat", now.Add(5 * time.Minute).Unix(), "iat is 5m0s in the future by this machine's clock; up to 1m0s may be", "the provider's clock is ahead"},
			{"C064 the token counts later", "nbf", now.Add(time.Hour).Unix(), "nbf is 1h0m0s in the future by this machine's clock; up to 1m0s may be", "the provider's clock is ahead"},
			{"C063 issued long ago", "iat", now.Add(-time.Hour).Unix(), "iat is 1h0m0s past by this machine's clock; up to 11m0s may be", "this machine's clock is ahead"},
			{"C062 issued when", "exp", now.Add(-125 * time.Second).Unix(), "; iat says issued ", "this machine's clock is ahead"},
			{"C105 the session is over", "session_expiry", now.Add(-time.Hour).Unix(), "session_expiry is 1h0m0s past by this machine's clock", ""},
			{"C062 no time", "exp", "soon", "exp is no number of seconds", ""},
		} {
			raw := signed(goodHeader, encode(identity(map[string]any{row.claim: row.value})))
			_, err := newOP().client().VerifyIDToken(t.Context(), raw, "at-1", op.Expectation{Nonce: nonce})
			e, ok := errors.AsType[*op.Error](err)
			if !ok || !strings.Contains(e.Error(), row.detail) || !strings.HasPrefix(e.Hint, row.hint) || strings.Contains(e.Hint, "NTP") != (row.hint != "") {
				t.Errorf("%s: %v, hint %q", row.name, err, e.Hint)
			}
		}
	})
}

// FuzzVerifyIDToken states that nothing but the token itself passes for it: no
// other spelling, and nothing made from it.
func FuzzVerifyIDToken(f *testing.F) {
	good := goodToken()
	c := newOP().client(func(cfg *op.Config) { cfg.Leeway = 24 * time.Hour }) // fuzzing may outlive the token
	f.Add(good)
	f.Add(good + "=")
	f.Add(good[:30] + "\n" + good[30:])
	f.Add(b64(`{"alg":"none"}`) + "." + strings.Split(good, ".")[1] + ".")
	f.Add(signed(`{"alg":"RS256","kid":"k1","crit":[]}`, `{}`))
	f.Fuzz(func(t *testing.T, raw string) {
		id, err := c.VerifyIDToken(t.Context(), raw, "", op.Expectation{Nonce: nonce})
		if (err == nil) != (raw == good) {
			t.Fatalf("VerifyIDToken(%q) = %v, %v", raw, id, err)
		}
		if err != nil {
			checkSilent(t, err)
		}
	})
}
