package op_test

import (
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/oidcgate/oidcgate/internal/claims"
	"github.com/oidcgate/oidcgate/internal/op"
)

const (
	apiURL   = "https://api.example/orders"
	atHeader = `{"alg":"RS256","kid":"k1","typ":"at+jwt"}`
)

// forAPI makes a client of a service that takes access tokens for these audiences.
func forAPI(audience ...string) func(*op.Config) {
	return func(cfg *op.Config) { cfg.APIAudience = audience }
}

// access is the payload of a good access token (RFC 9068, 2.2) with some claims changed.
func access(changes map[string]any) map[string]any {
	now := time.Now().Unix()
	return changed(map[string]any{
		"iss": issuer, "sub": subject, "aud": apiURL, "client_id": "app", "jti": "j-1",
		"iat": now, "exp": now + 300, "scope": "orders:read orders:write",
	}, changes)
}

func accessToken(changes map[string]any) string { return signed(atHeader, encode(access(changes))) }

// refusedToken checks that an access token was refused with a reason, or taken if that is "".
func refusedToken(t *testing.T, err error, reason string) {
	t.Helper()
	wantReason(t, err, reason)
	if e, ok := errors.AsType[*op.Error](err); ok && e.Status != http.StatusUnauthorized {
		t.Errorf("status %d of %v, want 401", e.Status, err)
	}
}

func TestAccessTokens(t *testing.T) {
	now := time.Now().Unix()
	set := func(name string, value any) string { return accessToken(map[string]any{name: value}) }
	publicPEM := func() []byte {
		der, err := x509.MarshalPKIXPublicKey(rsaKey().Public())
		if err != nil {
			t.Fatal(err)
		}
		return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	}
	good := accessToken(nil)
	parts := strings.Split(good, ".")
	for _, row := range []struct{ name, raw, reason string }{
		{"C160 a good one", good, ""},
		{"C160 for several services", set("aud", []string{"https://other.example", apiURL}), ""},
		{"C160 of a client that acts for itself", accessToken(map[string]any{"sub": "app"}), ""},

		{"C160 alg none", b64(`{"alg":"none","typ":"at+jwt"}`) + "." + parts[1] + ".", "alg"},
		{"C160 alg none with the old signature", b64(`{"alg":"none","typ":"at+jwt"}`) + "." + parts[1] + "." + parts[2], "alg"},
		{"C160 HS256 with the public key", withSecret(parts[0]+"."+parts[1]+".", "HS256", string(publicPEM())), "alg"},
		{"C160 an algorithm that was not agreed on", typedToken(t, jose.ES256, ecKey(), "at+jwt", access(nil)), "alg"},
		{"C160 signed by another", signedBy(otherRSA(), atHeader, encode(access(nil))), "sig"},
		{"C160 signed by another, whose key is in the header", typedToken(t, jose.RS256, otherRSA(), "at+jwt", access(nil)), "sig"},
		{"C160 with another payload", parts[0] + "." + b64(encode(access(map[string]any{"sub": "mallory"}))) + "." + parts[2], "sig"},
		{"C160 without a signature", parts[0] + "." + parts[1] + ".", "sig"},
		{"C160 of two parts", parts[0] + "." + parts[1], "token_malformed"},
		{"C160 with a line break", good + "\n", "token_malformed"},
		{"C160 with padding", good + "=", "token_malformed"},
		{"C160 with b64 in the header", signed(`{"alg":"RS256","kid":"k1","typ":"at+jwt","b64":true}`, encode(access(nil))), "token_malformed"},
		{"C160 with crit in the header", signed(`{"alg":"RS256","kid":"k1","typ":"at+jwt","crit":["x"],"x":1}`, encode(access(nil))), "token_malformed"},
		{"C160 with kid twice", signed(`{"alg":"RS256","kid":"k1","kid":"k2","typ":"at+jwt"}`, encode(access(nil))), "token_malformed"},
		{"C160 with a member twice", signed(atHeader, strings.Replace(encode(access(nil)), "{", `{"sub":"mallory",`, 1)), "token_malformed"},
		{"C160 that is huge", accessToken(map[string]any{"x": strings.Repeat("x", op.MaxAccessToken)}), "token_malformed"},

		{"C161 of another issuer", set("iss", "https://id.example/realms/other"), "iss_claim"},
		{"C161 of the issuer with a slash", set("iss", issuer+"/"), "iss_claim"},
		{"C161 without iss", set("iss", nil), "iss_claim"},
		{"C161 for another service", set("aud", "https://other.example"), "aud"},
		{"C161 for the client", set("aud", clientID), "aud"},
		{"C161 for nobody", set("aud", []string{}), "aud"},
		{"C161 whose aud begins like ours", set("aud", apiURL+"/more"), "aud"},
		{"C161 whose aud is an object", set("aud", map[string]any{apiURL: true}), "aud"},
		{"C161 without aud", set("aud", nil), "aud"},

		{"C162 that has expired", set("exp", now-61), "exp"},
		{"C162 that has expired within the leeway", set("exp", now-30), ""},
		{"C162 without exp", set("exp", nil), "exp"},
		{"C162 whose exp is a string", set("exp", "9999999999"), "exp"},
		{"C162 whose exp is huge", set("exp", json1e300{}), "exp"},
		{"C162 that is not valid yet", set("nbf", now+300), "nbf"},
		{"C162 from the future", set("iat", now+300), "iat"},
		{"C162 without iat", set("iat", nil), "iat"},
		{"C162 that is an hour old", set("iat", now-3600), ""},

		{"C160 without sub", set("sub", nil), "sub"},
		{"C160 whose sub is a number", set("sub", 1), "sub"},
		{"C160 whose sub has a line break", set("sub", "a\nb"), "sub"},
		{"C160 without client_id", set("client_id", nil), "client_id"},
		{"C160 whose client_id is empty", set("client_id", ""), "client_id"},
		{"C160 whose client_id has 255 bytes", set("client_id", strings.Repeat("c", 255)), ""},
		{"C160 whose client_id has 256 bytes", set("client_id", strings.Repeat("c", 256)), "client_id"},
		{"C160 without jti", set("jti", nil), "jti"},
		{"C160 whose jti is empty", set("jti", ""), "jti"},
		{"C160 whose jti has 255 bytes", set("jti", strings.Repeat("j", 255)), ""},
		{"C160 whose jti has 256 bytes", set("jti", strings.Repeat("j", 256)), "jti"},

		{"C165 bound to a key", set("cnf", map[string]any{"jkt": "x"}), ""},
		{"C165 bound to something unknown", set("cnf", map[string]any{"kid": "x"}), "token_binding"},
		{"C165 bound to nothing", set("cnf", map[string]any{}), "token_binding"},
		{"C165 whose cnf is null", set("cnf", null), "token_binding"},
		{"C165 whose cnf is a string", set("cnf", "x"), "token_binding"},
		{"C165 whose jkt is a number", set("cnf", map[string]any{"jkt": 1}), "token_binding"},
		{"C165 whose jkt is a number beside a certificate", set("cnf", map[string]any{"jkt": 1, "x5t#S256": "x"}), "token_binding"},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, err := newOP().client(forAPI(apiURL)).VerifyAccessToken(t.Context(), row.raw)
			refusedToken(t, err, row.reason)
			if e, ok := errors.AsType[*op.Error](err); ok && strings.Contains(e.Hint, "Config.API.Audience") != (row.reason == "aud") {
				t.Errorf("the hint %q", e.Hint)
			}
		})
	}
}

func TestPlainAccessTokens(t *testing.T) {
	plain := func(cfg *op.Config) { cfg.PlainAccessTokens = true }
	now := time.Now().Unix()
	base := map[string]any{"iss": issuer, "sub": subject, "aud": apiURL, "iat": now, "exp": now + 300}
	with := func(changes map[string]any) map[string]any { return changed(base, changes) }
	keycloak := with(map[string]any{"typ": "Bearer", "azp": "shop", "jti": "j-1", "sid": "s-1", "scope": "orders:read email"})
	entra := with(map[string]any{"azp": "shop", "azpacr": "1", "scp": "orders:read orders:write", "ver": "2.0"})
	const jwt, untyped = `{"alg":"RS256","kid":"k1","typ":"JWT"}`, `{"alg":"RS256","kid":"k1"}`
	for _, row := range []struct {
		name, header          string
		payload               map[string]any
		reason, client, scope string
	}{
		{"C171 like Keycloak's", jwt, keycloak, "", "shop", "orders:read email"},
		{"C171 like Keycloak's, without a scope", jwt, changed(keycloak, map[string]any{"scope": nil}), "", "shop", ""},
		{"C171 like Entra's", jwt, entra, "", "shop", "orders:read orders:write"},
		{"C171 like those of Entra for an application", jwt, changed(entra, map[string]any{"scp": nil, "roles": []string{"Orders"}}), "", "shop", ""},
		{"C171 like Entra's of version 1", jwt, changed(entra, map[string]any{"azp": nil, "azpacr": nil, "appid": "shop", "appidacr": "1"}), "", "shop", "orders:read orders:write"},
		{"C171 like Okta's", untyped, with(map[string]any{"cid": "shop", "uid": "u", "scp": []string{"orders:read", "email"}}), "", "shop", "orders:read email"},
		{"C171 like Auth0's", jwt, with(map[string]any{"azp": "shop", "aud": []string{apiURL, "https://id.example/userinfo"}, "scope": "orders:read"}), "", "shop", "orders:read"},
		{"C171 by RFC 9068", atHeader, access(nil), "", "app", "orders:read orders:write"},
		{"C171 client_id counts before azp", jwt, changed(keycloak, map[string]any{"client_id": "app"}), "", "app", "orders:read email"},
		{"C171 scope counts before scp", jwt, changed(entra, map[string]any{"scope": "orders:read"}), "", "shop", "orders:read"},

		{"C171 an ID Token for this service", jwt, with(map[string]any{"azp": "shop", "email": "a@example.com"}), "typ", "", ""},
		{"C171 an ID Token with a nonce", jwt, changed(keycloak, map[string]any{"nonce": "n"}), "typ", "", ""},
		{"C171 an ID Token with at_hash", jwt, changed(keycloak, map[string]any{"at_hash": "x"}), "typ", "", ""},
		{"C171 an ID Token with c_hash", jwt, changed(keycloak, map[string]any{"c_hash": "x"}), "typ", "", ""},
		{"C171 an ID Token with s_hash", jwt, changed(keycloak, map[string]any{"s_hash": "x"}), "typ", "", ""},
		{"C171 Keycloak's ID Token, though it has a scope", jwt, changed(keycloak, map[string]any{"typ": "ID"}), "typ", "", ""},
		{"C171 Keycloak's refresh token", jwt, changed(keycloak, map[string]any{"typ": "Refresh"}), "typ", "", ""},
		{"C171 Cognito's ID Token", untyped, changed(keycloak, map[string]any{"token_use": "id"}), "typ", "", ""},
		{"C171 a logout token", jwt, changed(keycloak, map[string]any{"events": map[string]any{}}), "typ", "", ""},
		{"C171 of another type", `{"alg":"RS256","kid":"k1","typ":"logout+jwt"}`, keycloak, "typ", "", ""},
		{"C171 without a client", jwt, changed(keycloak, map[string]any{"azp": nil}), "client_id", "", ""},
		{"C171 whose client is a number", jwt, changed(keycloak, map[string]any{"azp": 1}), "client_id", "", ""},
		{"C171 for another service", jwt, changed(keycloak, map[string]any{"aud": "account"}), "aud", "", ""},
		{"C171 without sub", jwt, changed(keycloak, map[string]any{"sub": nil}), "sub", "", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			raw := signed(row.header, encode(row.payload))
			token, err := newOP().client(forAPI(apiURL), plain).VerifyAccessToken(t.Context(), raw)
			refusedToken(t, err, row.reason)
			if err != nil {
				return
			}
			for name, want := range map[string]string{"client_id": row.client, "scope": row.scope} {
				if v, _ := token.Claims.Get(name); v != claims.Text(want) && (want != "" || v != "") {
					t.Errorf("%s: got %s, want %q", name, v.AppendJSON(nil), want)
				}
			}
			if row.header == atHeader {
				return
			}
			_, err = newOP().client(forAPI(apiURL)).VerifyAccessToken(t.Context(), raw)
			refusedToken(t, err, "typ")
			if e, _ := errors.AsType[*op.Error](err); !strings.Contains(e.Hint, "Verification.PlainAccessTokens") {
				t.Errorf("by default, hint %q does not name the field", e.Hint)
			}
		})
	}
}

// json1e300 is a number that no time is.
type json1e300 struct{}

func (json1e300) MarshalJSON() ([]byte, error) { return []byte("1e300"), nil }

// typedToken is joseToken with a typ, and with the public key in its header.
func typedToken(t testing.TB, alg jose.SignatureAlgorithm, key any, typ string, payload any) string {
	t.Helper()
	options := (&jose.SignerOptions{EmbedJWK: true}).WithType(jose.ContentType(typ))
	return signJOSE(t, alg, jose.JSONWebKey{Key: key, KeyID: "embedded"}, options, payload)
}

func signJOSE(t testing.TB, alg jose.SignatureAlgorithm, key jose.JSONWebKey, options *jose.SignerOptions, payload any) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, options)
	if err != nil {
		t.Fatal(err)
	}
	jws, err := signer.Sign([]byte(encode(payload)))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := jws.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestAccessTokensAndTheClientSecret(t *testing.T) {
	t.Run("C160 a token that the client secret signed is refused, although ID Tokens are so signed", func(t *testing.T) {
		o := newOP()
		raw := withSecret(accessToken(nil), "HS256", macSecret)
		hs256 := func(cfg *op.Config) { cfg.SigningAlgs, cfg.Auth = []string{"HS256"}, basic(macSecret) }
		_, err := o.client(forAPI(apiURL), hs256).VerifyAccessToken(t.Context(), raw)
		refusedToken(t, err, "alg")
	})
}

// Tokens with keys that nobody knows cause few loads of the keys, and keep none from logout tokens.
func TestFloodOfUnknownKeys(t *testing.T) {
	t.Run("C167 junk keys cause few loads, and leave those of logout tokens alone", func(t *testing.T) {
		o := newOP()
		c := o.client(forAPI(apiURL))
		for range 50 {
			raw := signed(`{"alg":"RS256","kid":"junk","typ":"at+jwt"}`, encode(access(nil)))
			_, err := c.VerifyAccessToken(t.Context(), raw)
			if e, ok := errors.AsType[*op.Error](err); !ok || e.Status != http.StatusUnauthorized && e.Status != http.StatusServiceUnavailable {
				t.Fatalf("%v", err)
			}
		}
		if n := o.count("jwks"); n > 2 {
			t.Errorf("%d loads of the keys", n)
		}
		if _, err := c.VerifyAccessToken(t.Context(), accessToken(nil)); err != nil {
			t.Errorf("a good token meanwhile: %v", err)
		}
		o.set("jwks", answerJSON(keySet(jwk(rsaKey().Public(), "k1"), jwk(otherRSA().Public(), "k2"))))
		late := signedBy(otherRSA(), `{"alg":"RS256","kid":"k2"}`, encode(logout(nil)))
		if _, err := c.VerifyLogoutToken(t.Context(), late); err != nil {
			t.Errorf("a logout token with a new key: %v", err)
		}
	})
	inBubble(t, "C167 junk keys hold up tokens with a new key for five seconds", func(t *testing.T) {
		o := newOP()
		c := o.client(forAPI(apiURL))
		for range 3 {
			_, _ = c.VerifyAccessToken(t.Context(), signed(`{"alg":"RS256","kid":"junk","typ":"at+jwt"}`, encode(access(nil))))
		}
		o.set("jwks", answerJSON(keySet(jwk(otherRSA().Public(), "k2"))))
		for _, want := range []bool{false, true} {
			_, err := c.VerifyAccessToken(t.Context(), signedBy(otherRSA(), `{"alg":"RS256","kid":"k2","typ":"at+jwt"}`, encode(access(nil))))
			if (err == nil) != want {
				t.Errorf("%v", err)
			}
			time.Sleep(5 * time.Second)
		}
	})
	t.Run("C167 while newer keys cannot be loaded, a token with a new key is not refused", func(t *testing.T) {
		o := newOP()
		c := o.client(forAPI(apiURL))
		if _, err := c.VerifyAccessToken(t.Context(), accessToken(nil)); err != nil {
			t.Fatal(err)
		}
		o.set("jwks", answerText(500, "text/html", "down"))
		_, err := c.VerifyAccessToken(t.Context(), signedBy(otherRSA(), `{"alg":"RS256","kid":"k2","typ":"at+jwt"}`, encode(access(nil))))
		if e, ok := errors.AsType[*op.Error](err); !ok || e.Status != http.StatusServiceUnavailable {
			t.Errorf("%v", err)
		}
	})
	t.Run("C167 while the keys cannot be loaded, a token is not refused", func(t *testing.T) {
		o := newOP()
		o.set("jwks", answerText(500, "text/html", "down"))
		_, err := o.client(forAPI(apiURL)).VerifyAccessToken(t.Context(), accessToken(nil))
		if e, ok := errors.AsType[*op.Error](err); !ok || e.Status != http.StatusServiceUnavailable {
			t.Errorf("%v", err)
		}
	})
}

func TestFloodOfOpaqueTokens(t *testing.T) {
	t.Run("C167 at most 64 questions are under way, and the next waits a second", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			o := introspecting(hang)
			c := o.client(forAPI(apiURL))
			var all sync.WaitGroup
			for range 64 {
				all.Go(func() { _, _ = c.Introspect(t.Context(), "junk", nil, false) })
			}
			synctest.Wait()
			begun := time.Now()
			_, err := c.Introspect(t.Context(), "junk", nil, false)
			if e := wantReason(t, err, "busy"); e.Status != http.StatusServiceUnavailable || time.Since(begun) != time.Second {
				t.Errorf("status %d after %v", e.Status, time.Since(begun))
			}
			// Those that the provider issued do not wait for them.
			all.Go(func() { _, _ = c.Introspect(t.Context(), "was good", nil, true) })
			all.Go(func() { _, _ = c.Introspect(t.Context(), "signed", &op.AccessToken{}, false) })
			synctest.Wait()
			if o.count("introspect") != 66 {
				t.Errorf("%d questions", o.count("introspect"))
			}
			all.Wait()
		})
	})
}

// introspection is a good answer about an opaque token, with some members changed.
func introspection(changes map[string]any) map[string]any {
	return changed(access(map[string]any{"active": true, "token_type": "Bearer", "jti": nil}), changes)
}

// introspecting is a provider that answers so about tokens.
func introspecting(answer http.HandlerFunc) *testOP {
	o := newOP()
	o.set("discovery", answerJSON(metadata(map[string]any{"introspection_endpoint": "https://id.example/introspect"})))
	o.set("introspect", answer)
	return o
}

func TestIntrospection(t *testing.T) {
	now := time.Now().Unix()
	set := func(name string, value any) http.HandlerFunc {
		return answerJSON(introspection(map[string]any{name: value}))
	}
	for _, row := range []struct {
		name   string
		answer http.HandlerFunc
		reason string
		status int
	}{
		{"C163 a good one", answerJSON(introspection(nil)), "", 0},
		{"C163 that does not say who issued it", set("iss", nil), "", 0},
		{"C163 that does not say whose it is: the client's id could be a user's", set("sub", nil), "sub", 401},
		{"C163 of a client that acts for itself", set("sub", "app"), "", 0},
		{"C163 that is not active", answerJSON(map[string]any{"active": false}), "token_inactive", 401},
		{"C163 that is not active, with all the rest", set("active", false), "token_inactive", 401},
		{"C163 whose active is a string", set("active", "true"), "introspection", 503},
		{"C163 whose active is a number", set("active", 1), "introspection", 503},
		{"C163 without active", set("active", nil), "introspection", 503},
		{"C163 of another issuer", set("iss", "https://evil.example"), "iss_claim", 401},
		{"C163 for another service", set("aud", "https://other.example"), "aud", 401},
		{"C163 that does not say for whom", set("aud", nil), "aud", 401},
		{"C163 that has expired", set("exp", now-61), "exp", 401},
		{"C163 without exp", set("exp", nil), "", 0},
		{"C163 that is not valid yet", set("nbf", now+300), "nbf", 401},
		{"C163 whose sub is a number", set("sub", 7), "sub", 401},
		{"C163 of nobody", answerJSON(introspection(map[string]any{"sub": nil, "client_id": nil})), "sub", 401},
		{"C163 bound to something unknown", set("cnf", map[string]any{"kid": "x"}), "token_binding", 401},

		{"C164 a refresh token, by token_type", set("token_type", "Refresh"), "typ", 401},
		{"C164 a refresh token, by token_use", set("token_use", "refresh_token"), "typ", 401},
		{"C164 a refresh token, by typ", set("typ", "Offline"), "typ", 401},
		{"C164 an ID Token, by typ", set("typ", "ID"), "typ", 401},
		{"C164 a refresh token, by nothing", set("token_type", nil), "typ", 401},
		{"C164 an access token, by token_use", answerJSON(introspection(map[string]any{"token_type": nil, "token_use": "access_token"})), "", 0},
		{"C164 token_type is no string", set("token_type", []string{"Bearer"}), "typ", 401},
		{"C164 an access token, by token_type, with a null typ", set("typ", null), "", 0},
		{"C069 an answer that says it twice", answerText(200, "application/json", `{"active":true,"active":true}`), "introspection", 503},

		{"C163 the client is refused", answerText(401, "application/json", `{"error":"invalid_client"}`), "introspection", 503},
		{"C163 the client may not ask", answerText(403, "application/json", `{}`), "introspection", 503},
		{"C163 the provider is ill", answerText(500, "text/html", "down"), "introspection", 503},
		{"C163 the provider is ill, and its answer is good", answerText(500, "application/json", encode(introspection(nil))), "introspection", 503},
		{"C163 a page in place of an answer", answerText(200, "text/html", `{"active":true}`), "introspection", 503},
		{"C163 a redirect", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://evil.example/", http.StatusTemporaryRedirect)
		}, "introspection", 503},
		{"C163 active twice", answerText(200, "application/json", `{"active":false,"active":true}`), "introspection", 503},
		{"C163 nothing", abort, "introspection", 503},
		{"C167 a huge answer", set("x", strings.Repeat("x", 64<<10)), "introspection", 503},
	} {
		t.Run(row.name, func(t *testing.T) {
			o := introspecting(row.answer)
			token, err := o.client(forAPI(apiURL)).Introspect(t.Context(), "opaque-1", nil, false)
			wantReason(t, err, row.reason)
			if e, ok := errors.AsType[*op.Error](err); ok && e.Status != row.status {
				t.Errorf("status %d of %v, want %d", e.Status, err, row.status)
			}
			if err == nil && (textOf(token.Claims, "iss") != issuer || textOf(token.Claims, "sub") == "") {
				t.Errorf("iss %q, sub %q", textOf(token.Claims, "iss"), textOf(token.Claims, "sub"))
			}
			if o.count("introspect") != 1 {
				t.Errorf("%d requests", o.count("introspect"))
			}
		})
	}
}

func TestIntrospectionRequest(t *testing.T) {
	t.Run("C163 the client authenticates itself, and the token stands in the form", func(t *testing.T) {
		var got *http.Request
		o := introspecting(func(w http.ResponseWriter, r *http.Request) {
			_ = r.ParseForm()
			got = r
			answerJSON(introspection(nil))(w, r)
		})
		if _, err := o.client(forAPI(apiURL)).Introspect(t.Context(), "opaque-1", nil, false); err != nil {
			t.Fatal(err)
		}
		id, secret, _ := got.BasicAuth()
		if id != clientID || secret != "hush-hush" {
			t.Errorf("the client is %q with %q", id, secret)
		}
		want := url.Values{"token": {"opaque-1"}, "token_type_hint": {"access_token"}}
		if got.PostForm.Encode() != want.Encode() || got.URL.RawQuery != "" {
			t.Errorf("form %v, query %q", got.PostForm, got.URL.RawQuery)
		}
	})
	t.Run("C163 nobody is asked by a public client", func(t *testing.T) {
		o := introspecting(answerJSON(introspection(nil)))
		public := func(cfg *op.Config) { cfg.Auth = op.Auth{Method: op.AuthNone} }
		_, err := o.client(forAPI(apiURL), public).Introspect(t.Context(), "opaque-1", nil, false)
		refusedToken(t, err, "token_opaque")
		if o.count("introspect") != 0 {
			t.Error("it was asked")
		}
	})
	t.Run("C163 nobody is asked where there is no endpoint", func(t *testing.T) {
		_, err := newOP().client(forAPI(apiURL)).Introspect(t.Context(), "opaque-1", nil, false)
		refusedToken(t, err, "token_opaque")
	})
}

// A provider without ID Tokens names its users by a member of userinfo. What its introspection calls sub
// may be what identifies somebody else.
func TestIntrospectionWithoutIDTokens(t *testing.T) {
	plain := func(cfg *op.Config) {
		cfg.SubjectClaim, cfg.Userinfo = "/user/id", op.UserinfoRequired
		cfg.Endpoints = op.Endpoints{Authorization: "https://id.example/a", Token: "https://id.example/t", Userinfo: "https://id.example/u", Introspection: "https://id.example/introspect"}
	}
	for _, row := range []struct {
		name, subject, reason string
		changes               map[string]any
	}{
		{"C163 the subject is that of userinfo", "7", "", map[string]any{"user": map[string]any{"id": 7}}},
		{"C163 without that member there is no subject, whatever sub says", "", "sub", nil},
		{"C163 without that member there is no subject, whichever client it is", "", "sub", map[string]any{"sub": nil}},
	} {
		t.Run(row.name, func(t *testing.T) {
			token, err := introspecting(answerJSON(introspection(row.changes))).client(forAPI(apiURL), plain).Introspect(t.Context(), "opaque-1", nil, false)
			refusedToken(t, err, row.reason)
			if err == nil && textOf(token.Claims, "sub") != row.subject {
				t.Errorf("sub %q, want %q", textOf(token.Claims, "sub"), row.subject)
			}
		})
	}
	t.Run("C160 it has no keys for a JWT", func(t *testing.T) {
		_, err := newOP().client(forAPI(apiURL), plain).VerifyAccessToken(t.Context(), accessToken(nil))
		refusedToken(t, err, "key_unknown")
	})
}

// A JWT that was verified counts for what it says; the answer can only take it back.
func TestIntrospectionOfAJWT(t *testing.T) {
	for _, row := range []struct {
		name   string
		answer map[string]any
		reason string
	}{
		{"C163 a JWT that is active", map[string]any{"active": true, "token_type": "Bearer"}, ""},
		{"C163 a JWT that was revoked", map[string]any{"active": false}, "token_inactive"},
		{"C163 a JWT of another user", map[string]any{"active": true, "token_type": "Bearer", "sub": "mallory"}, "sub"},
		{"C163 a JWT that ended early", map[string]any{"active": true, "token_type": "Bearer", "exp": 1}, "exp"},
		{"C165 a JWT that is bound by the answer", map[string]any{"active": true, "token_type": "DPoP", "cnf": map[string]any{"jkt": "x"}}, ""},
		{"C165 a JWT bound to something unknown", map[string]any{"active": true, "token_type": "Bearer", "cnf": map[string]any{"kid": "x"}}, "token_binding"},
		{"C163 a JWT that is a refresh token", map[string]any{"active": true, "token_type": "Refresh"}, "typ"},
	} {
		t.Run(row.name, func(t *testing.T) {
			c := introspecting(answerJSON(row.answer)).client(forAPI(apiURL))
			raw := accessToken(nil)
			known, err := c.VerifyAccessToken(t.Context(), raw)
			if err != nil {
				t.Fatal(err)
			}
			_, err = c.Introspect(t.Context(), raw, known, false)
			refusedToken(t, err, row.reason)
		})
	}
	t.Run("C165 what the answer binds is bound, and nothing takes a binding away", func(t *testing.T) {
		const active = `{"active":true,"token_type":"DPoP"`
		for _, row := range []struct{ token, answer, jkt, x5t, reason string }{
			{"", `,"cnf":{"jkt":"a"}`, "a", "", ""},
			{"a", ``, "a", "", ""},
			{"a", `,"cnf":{"jkt":"a"}`, "a", "", ""},
			{"a", `,"cnf":{"jkt":"b"}`, "", "", "token_binding"},
			{"a", `,"cnf":{"x5t#S256":"c"}`, "a", "c", ""},
		} {
			c := introspecting(answerText(200, "application/json", active+row.answer+"}")).client(forAPI(apiURL))
			known := &op.AccessToken{Claims: "", KeyThumbprint: row.token}
			got, err := c.Introspect(t.Context(), "a JWT", known, false)
			refusedToken(t, err, row.reason)
			if err == nil && (got.KeyThumbprint != row.jkt || got.CertificateThumbprint != row.x5t || known.CertificateThumbprint != "") {
				t.Errorf("%+v: %q, %q", row, got.KeyThumbprint, got.CertificateThumbprint)
			}
		}
	})
}

// proofOf makes a DPoP proof, good unless a header or a claim is changed.
type proofOf struct {
	key    any
	alg    jose.SignatureAlgorithm
	header map[string]any
	claims map[string]any
	embed  any // the jwk in the header
}

const (
	resource = "https://api.example/orders/7"
	ownedAT  = "an-access-token"
)

func ath(token string) string {
	sum := sha256.Sum256([]byte(token))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

func (p proofOf) make(t *testing.T) string {
	t.Helper()
	if p.key == nil {
		p.key, p.alg = ecKey(), jose.ES256
	}
	if p.embed == nil {
		p.embed = jose.JSONWebKey{Key: p.key.(crypto.Signer).Public()}
	}
	options := &jose.SignerOptions{}
	for name, value := range changed(map[string]any{"typ": "dpop+jwt", "jwk": p.embed}, p.header) {
		options = options.WithHeader(jose.HeaderKey(name), value)
	}
	claims := changed(map[string]any{
		"htm": "GET", "htu": resource, "jti": "p-1", "iat": time.Now().Unix(), "ath": ath(ownedAT),
	}, p.claims)
	return signJOSE(t, p.alg, jose.JSONWebKey{Key: p.key}, options, claims)
}

func TestProofThatIsNoJWS(t *testing.T) {
	good := proofOf{}.make(t)
	header, rest, _ := strings.Cut(good, ".")
	payload, _, _ := strings.Cut(rest, ".")
	for name, raw := range map[string]string{
		"no payload": header, "a payload that is no base64url": header + ".!!.sig", "no signature": header + "." + payload,
		"a signature that is no base64url": header + "." + payload + ".!!", "a fourth part": good + ".x", "an empty signature": header + "." + payload + ".",
	} {
		t.Run("C165 "+name, func(t *testing.T) {
			proof, err := op.VerifyProof(raw, op.Proven{Method: "GET", URL: resource, AccessToken: ownedAT, Leeway: time.Minute})
			if refusedToken(t, err, "dpop_proof"); proof != nil {
				t.Errorf("proof %+v", proof)
			}
		})
	}
	t.Run("C165 an address without a path is that of its root", func(t *testing.T) {
		raw := proofOf{claims: map[string]any{"htu": "https://api.example"}}.make(t)
		if _, err := op.VerifyProof(raw, op.Proven{Method: "GET", URL: "https://api.example/", AccessToken: ownedAT, Leeway: time.Minute}); err != nil {
			t.Error(err)
		}
	})
}

func TestProofs(t *testing.T) {
	now := time.Now().Unix()
	claim := func(name string, value any) proofOf { return proofOf{claims: map[string]any{name: value}} }
	header := func(name string, value any) proofOf { return proofOf{header: map[string]any{name: value}} }
	for _, row := range []struct {
		name  string
		proof proofOf
		ok    bool
	}{
		{"C165 a good proof", proofOf{}, true},
		{"C165 by an RSA key", proofOf{key: rsaKey(), alg: jose.PS256}, true},
		{"C165 by an Ed25519 key", proofOf{key: edKey(), alg: jose.EdDSA}, true},
		{"C165 htu with a query", claim("htu", resource+"?page=2"), true},
		{"C165 htu with the port and in capitals", claim("htu", "HTTPS://API.example:443/orders/7"), true},
		{"C165 made half a minute ago", claim("iat", now-30), true},

		{"C165 for another method", claim("htm", "POST"), false},
		{"C165 for the method in small letters", claim("htm", "get"), false},
		{"C165 for another path", claim("htu", "https://api.example/orders/8"), false},
		{"C165 for another host", claim("htu", "https://evil.example/orders/7"), false},
		{"C165 for the host over http", claim("htu", "http://api.example/orders/7"), false},
		{"C165 for a path alone", claim("htu", "/orders/7"), false},
		{"C165 for a path without a host", claim("htu", "https:///orders/7"), false},
		{"C165 without htu", claim("htu", nil), false},
		{"C165 whose htu is no address", claim("htu", "https://[::1/orders/7"), false},
		{"C165 whose htu names a user", claim("htu", "https://joe@api.example/orders/7"), false},
		{"C165 with a member twice", claim("x", json.RawMessage(`{"a":1,"a":2}`)), false},
		{"C165 with a jti of 255 bytes", claim("jti", strings.Repeat("x", 255)), true},
		{"C165 without htm", claim("htm", nil), false},
		{"C165 without jti", claim("jti", nil), false},
		{"C165 with a long jti", claim("jti", strings.Repeat("x", 256)), false},
		{"C165 of another token", claim("ath", ath("another")), false},
		{"C165 without ath", claim("ath", nil), false},
		{"C165 made long ago", claim("iat", now-181), false},
		{"C165 made ahead", claim("iat", now+181), false},
		{"C165 without iat", claim("iat", nil), false},
		{"C165 of another typ", header("typ", "JWT"), false},
		{"C165 without typ", header("typ", nil), false},
		{"C165 without a key", header("jwk", nil), false},
		{"C165 whose header has the private key", proofOf{embed: jose.JSONWebKey{Key: ecKey()}}, false},
		{"C165 by a key other than that of its header", proofOf{embed: jose.JSONWebKey{Key: newEC(ecKey().Curve).Public()}}, false},
		{"C165 by a key for another algorithm", proofOf{key: rsaKey(), alg: jose.PS256, embed: jose.JSONWebKey{Key: rsaKey().Public(), Algorithm: "PS512"}}, false},
		{"C165 by a weak key", proofOf{key: smallRSA(), alg: jose.PS256}, false},
		{"C165 whose key has a certificate that is none", proofOf{embed: changed(jwk(ecKey().Public(), ""), map[string]any{"x5c": []string{"junk"}})}, false},
		{"C165 with a critical extension", header("crit", []string{"x"}), false},
	} {
		t.Run(row.name, func(t *testing.T) {
			proof, err := op.VerifyProof(row.proof.make(t), op.Proven{Method: "GET", URL: resource, AccessToken: ownedAT, Leeway: time.Minute})
			if row.ok {
				if err != nil || proof.ID == "" || proof.Thumbprint == "" {
					t.Errorf("%+v, %v", proof, err)
				}
				return
			}
			refusedToken(t, err, "dpop_proof")
			if missing := strings.Contains(err.Error(), "iat is missing"); missing != (row.name == "C165 without iat") {
				t.Errorf("error %v", err)
			}
		})
	}
	for name, raw := range map[string]string{
		"nothing": "", "junk": "a.b.c", "huge": strings.Repeat("x", 1<<20),
		"alg none":            b64(`{"alg":"none","typ":"dpop+jwt"}`) + "." + b64("{}") + ".",
		"a symmetric key":     withSecret(proofOf{}.make(t), "HS256", macSecret),
		"an access token":     accessToken(nil),
		"a proof and another": proofOf{}.make(t) + "," + proofOf{}.make(t),
	} {
		t.Run("C165 "+name+" is no proof", func(t *testing.T) {
			_, err := op.VerifyProof(raw, op.Proven{Method: "GET", URL: resource, AccessToken: ownedAT, Leeway: time.Minute})
			refusedToken(t, err, "dpop_proof")
		})
	}
}

func BenchmarkVerifyAccessToken(b *testing.B) {
	for _, row := range []struct {
		alg jose.SignatureAlgorithm
		key crypto.Signer
	}{{jose.RS256, rsaKey()}, {jose.ES256, ecKey()}} {
		b.Run(string(row.alg), func(b *testing.B) {
			o := newOP()
			o.set("jwks", answerJSON(keySet(jwk(row.key.Public(), "k1"))))
			c := o.client(forAPI(apiURL), func(cfg *op.Config) { cfg.SigningAlgs = []string{string(row.alg)} })
			options := (&jose.SignerOptions{}).WithType("at+jwt")
			raw := signJOSE(b, row.alg, jose.JSONWebKey{Key: row.key, KeyID: "k1"}, options, access(nil))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.VerifyAccessToken(context.Background(), raw); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func textOf(o claims.Object, name string) string {
	v, _ := o.Get(name)
	s, _ := v.Str()
	return s
}

func TestPeekIssuer(t *testing.T) {
	const named = `{"iss":"https://id.example"}`
	for name, row := range map[string]struct{ raw, want string }{
		"of a JWT":                         {"e30." + b64(named) + ".c2ln", "https://id.example"},
		"of a JWT without a signature":     {"e30." + b64(named) + ".", "https://id.example"},
		"of two parts":                     {"e30." + b64(named), ""},
		"of four parts":                    {"e30." + b64(named) + ".c2ln.c2ln", ""},
		"without iss":                      {"e30." + b64(`{"sub":"joe"}`) + ".c2ln", ""},
		"whose iss is a number":            {"e30." + b64(`{"iss":7}`) + ".c2ln", ""},
		"with iss twice":                   {"e30." + b64(`{"iss":"https://evil.example","iss":"https://id.example"}`) + ".c2ln", ""},
		"with no base64url behind the iss": {"e30." + b64(`{"iss":"https://id.exampl"}`) + "!!!!.c2ln", ""},
		"that is as long as may be":        {"e30." + b64(named) + "." + strings.Repeat("a", op.MaxAccessToken-5-len(b64(named))), "https://id.example"},
		"that is one byte longer":          {"e30." + b64(named) + "." + strings.Repeat("a", op.MaxAccessToken-4-len(b64(named))), ""},
	} {
		t.Run("C161 the issuer of a token "+name, func(t *testing.T) {
			if got := op.PeekIssuer(row.raw); got != row.want {
				t.Errorf("%q, want %q", got, row.want)
			}
		})
	}
}

func TestIntrospectionThatCannotBeAsked(t *testing.T) {
	public := func(cfg *op.Config) { cfg.Auth = op.Auth{Method: op.AuthNone} }
	endpoint := metadata(map[string]any{"introspection_endpoint": "https://id.example/introspect"})
	for _, row := range []struct {
		name      string
		discovery http.HandlerFunc
		change    func(*op.Config)
		known     *op.AccessToken
		reason    string
		status    int
		hint      string
	}{
		{"C163 the provider cannot be reached", abort, forAPI(apiURL), nil, "provider_unreachable", 503, "check the issuer"},
		{"C163 no endpoint", answerJSON(metadata(nil)), forAPI(apiURL), nil, "token_opaque", 401, ""},
		{"C163 no endpoint for a JWT", answerJSON(metadata(nil)), forAPI(apiURL), &op.AccessToken{}, "token_opaque", 503, "set Endpoints.Introspection"},
		{"C163 a public client", answerJSON(endpoint), public, nil, "token_opaque", 401, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			o := newOP()
			o.set("discovery", row.discovery)
			_, err := o.client(row.change).Introspect(t.Context(), "opaque-1", row.known, false)
			e := wantReason(t, err, row.reason)
			if e.Status != row.status || !strings.Contains(e.Hint, row.hint) || row.hint == "" && e.Hint != "" {
				t.Errorf("status %d and hint %q, want %d and %q", e.Status, e.Hint, row.status, row.hint)
			}
			if n := o.count("introspect"); n != 0 {
				t.Errorf("%d requests", n)
			}
		})
	}
}

func TestIntrospectionRefusesASecretWithSpace(t *testing.T) {
	for secret, want := range map[string]bool{"hush-hush": false, "hush-hush\n": true} {
		o := newOP()
		o.set("discovery", answerJSON(metadata(map[string]any{"introspection_endpoint": "https://id.example/introspect"})))
		o.set("introspect", answerText(401, "application/json", `{"error":"invalid_client"}`))
		_, err := o.client(forAPI(apiURL), func(cfg *op.Config) { cfg.Auth = basic(secret) }).
			Introspect(t.Context(), "opaque-1", nil, false)
		if e := wantReason(t, err, "introspection"); strings.Contains(e.Hint, "white space") != want || e.Hint == "" {
			t.Errorf("the hint for the secret %q is %q", secret, e.Hint)
		}
	}
}
