package op_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/oidcgate/oidcgate/internal/op"
)

// These targets send what no provider sends. What is not byte for byte a good answer must fail, and
// nothing may panic.

func FuzzLogoutToken(f *testing.F) {
	good := signed(goodHeader, encode(logout(map[string]any{"exp": time.Now().Add(9 * time.Minute).Unix()})))
	for _, raw := range []string{good, "", "..", "a.b.c", goodToken(), signed(`{"alg":"none"}`, "{}"), good + "=", strings.Replace(good, ".", "..", 1)} {
		f.Add(raw)
	}
	c := newOP().client()
	f.Fuzz(func(t *testing.T, raw string) {
		token, err := c.VerifyLogoutToken(t.Context(), raw)
		if raw != good && err == nil && !strings.HasPrefix(raw, good[:strings.LastIndexByte(good, '.')]) {
			t.Errorf("%q is taken as %+v", raw, token)
		}
	})
}

func FuzzUserinfo(f *testing.F) {
	for _, body := range []string{encode(userinfo(nil)), `{"sub":"` + subject + `","sub":"x"}`, `{}`, `null`, `[]`, `{"sub":7}`, "\xff", signed(goodHeader, encode(signedUserinfo(nil)))} {
		f.Add(body, false)
		f.Add(body, true)
	}
	o := newOP()
	c := o.client(func(cfg *op.Config) { cfg.Userinfo = op.UserinfoRequired })
	f.Fuzz(func(t *testing.T, body string, isJWT bool) {
		contentType := "application/json"
		if isJWT {
			contentType = "application/jwt"
		}
		o.set("userinfo", answerText(200, contentType, body))
		info, err := c.Userinfo(t.Context(), "at-1", subject)
		if err == nil && !isJWT && !strings.Contains(body, "sub") {
			t.Errorf("%q is taken as %s", body, info.AppendJSON(nil))
		}
	})
}

func FuzzKeySet(f *testing.F) {
	key := jwk(rsaKey().Public(), "k1")
	good, _ := json.Marshal(keySet(key))
	for _, body := range []string{string(good), `{}`, `{"keys":null}`, `{"keys":[{}]}`, `{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB"}]}`,
		`{"keys":[{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}]}`, `{"keys":[{"kty":"oct","k":"AAAA"}]}`, strings.Replace(string(good), "RSA", "EC", 1)} {
		f.Add(body)
	}
	modulus := key["n"].(string)
	raw := goodToken()
	f.Fuzz(func(t *testing.T, body string) {
		o := newOP()
		o.set("jwks", answerText(200, "application/json", body))
		_, err := o.client().VerifyIDToken(t.Context(), raw, "at-1", op.Expectation{Nonce: nonce})
		if err == nil && !strings.Contains(body, modulus[:20]) {
			t.Errorf("verified with %q", body)
		}
	})
}

func FuzzResponseObject(f *testing.F) {
	good := signed(goodHeader, encode(map[string]any{
		"iss": issuer, "aud": clientID, "exp": time.Now().Add(9 * time.Minute).Unix(), "state": "st", "code": "hush-code",
	}))
	for _, raw := range []string{good, "", "..", "a.b.c", "a.b.c.d.e", goodToken(), signed(`{"alg":"none"}`, `{"state":"st"}`)} {
		f.Add(raw)
	}
	o := newOP()
	o.answerLogin()
	c := o.client(func(cfg *op.Config) { cfg.ResponseMode = "query.jwt" })
	f.Fuzz(func(t *testing.T, raw string) {
		response, err := c.ReadResponse(t.Context(), url.Values{"response": {raw}}.Encode())
		if err != nil {
			return
		}
		_, err = c.Finish(t.Context(), response, op.Expectation{
			Nonce: nonce, CodeVerifier: "v", Claim: func(context.Context) error { return nil },
		})
		if err == nil && !strings.HasPrefix(raw, good[:strings.LastIndexByte(good, '.')]) {
			t.Errorf("%q is taken", raw)
		}
	})
}

func FuzzDPoPNonce(f *testing.F) {
	for _, nonce := range []string{"", "n-1", " ", "a\"b", "a\\b", "\x7f", "é", strings.Repeat("n", 1<<10), strings.Repeat("n", 1<<10+1)} {
		f.Add(nonce)
	}
	key, err := op.NewDPoPKey("EdDSA", []byte(strings.Repeat("s", 32)))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, nonce string) {
		o := newOP()
		var sent []string
		o.set("token", func(w http.ResponseWriter, r *http.Request) {
			payload, err := base64.RawURLEncoding.DecodeString(strings.Split(r.Header.Get("DPoP"), ".")[1])
			var claims struct{ Nonce string }
			if err != nil || json.Unmarshal(payload, &claims) != nil {
				t.Errorf("the proof %q", r.Header.Get("DPoP"))
			}
			sent = append(sent, claims.Nonce)
			w.Header()["Dpop-Nonce"] = []string{nonce}
			answerText(400, "application/json", `{"error":"use_dpop_nonce"}`)(w, r)
		})
		_, err := o.client(func(cfg *op.Config) { cfg.DPoP = true }).Refresh(t.Context(), "rt", key.Text())
		if err == nil || len(sent) > 2 || len(sent) == 2 && sent[1] != nonce && sent[1] != "" {
			t.Errorf("%q: sent %q, error %v", nonce, sent, err)
		}
	})
}

func FuzzTokenAnswer(f *testing.F) {
	for _, body := range []string{encode(tokenAnswer(nil)), `{}`, `{"error":null}`, `{"error":"invalid_grant"}`, `{"expires_in":"1e9"}`, `{"access_token":"\u0000"}`, `{"access_token":"a","token_type":"bearer","expires_in":-1}`} {
		f.Add(body, 200)
		f.Add(body, 400)
	}
	o := newOP()
	c := o.client()
	f.Fuzz(func(t *testing.T, body string, status int) {
		o.set("token", answerText(200+(status%400+400)%400, "application/json", body))
		tokens, err := c.Refresh(t.Context(), "rt", "")
		if err == nil && (tokens.AccessToken == "" || strings.ContainsAny(tokens.AccessToken, " \r\n\x00")) {
			t.Errorf("%q gives the access token %q", body, tokens.AccessToken)
		}
	})
}
