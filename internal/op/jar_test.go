package op_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/oidcgate/oidcgate/internal/op"
)

// signing has requests signed with the client's key.
func signing(mode op.ObjectMode, keys ...op.ClientKey) func(*op.Config) {
	return func(cfg *op.Config) {
		cfg.Object, cfg.FixedKeys = mode, true
		cfg.ClientKeys = func(context.Context) ([]op.ClientKey, error) { return keys, nil }
	}
}

var clientKey = op.ClientKey{Private: ecKey(), ID: "c1"}

// opened returns the claims of a request object, whose signature is checked.
func opened(t *testing.T, object string) (header jose.Header, claims map[string]any) {
	t.Helper()
	jws, err := jose.ParseSignedCompact(object, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		t.Fatal(err)
	}
	payload, err := jws.Verify(ecKey().Public())
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(payload, &claims); err != nil {
		t.Fatal(err)
	}
	return jws.Signatures[0].Header, claims
}

// checkObject checks that an object has all that a login sends, and who signed it for whom.
func checkObject(t *testing.T, object string) {
	t.Helper()
	header, claims := opened(t, object)
	if typ := header.ExtraHeaders[jose.HeaderType]; typ != "oauth-authz-req+jwt" || header.KeyID != "c1" {
		t.Errorf("C099 typ %v, kid %q", typ, header.KeyID)
	}
	for name, want := range map[string]any{
		"iss": clientID, "aud": issuer, "client_id": clientID, "response_type": "code", "state": "hush-state",
		"nonce": nonce, "scope": "openid email", "redirect_uri": "https://app.example/auth/callback",
		"code_challenge_method": "S256", "max_age": 60.0, "sub": nil, "request": nil, "request_uri": nil,
		"client_secret": nil, "code_verifier": nil,
	} {
		if claims[name] != want {
			t.Errorf("C099 %s is %v, want %v", name, claims[name], want)
		}
	}
	now := float64(time.Now().Unix())
	exp, _ := claims["exp"].(float64)
	nbf, _ := claims["nbf"].(float64)
	iat, _ := claims["iat"].(float64)
	if exp <= now || exp > now+300 || nbf > now || nbf < now-60 || iat != nbf {
		t.Errorf("C099 exp %v, nbf %v, iat %v; now is %v", exp, nbf, iat, now)
	}
	if id, _ := claims["jti"].(string); len(id) < 20 {
		t.Errorf("C099 jti is %v", claims["jti"])
	}
}

func aFreshLogin() op.AuthorizationRequest {
	r, minute := aLogin(), time.Minute
	r.MaxAge = &minute
	return r
}

func TestRequestObject(t *testing.T) {
	t.Run("C099 in the address", func(t *testing.T) {
		c := newOP().client(signing(op.ObjectSigned, clientKey))
		seen := map[any]bool{}
		for range 2 {
			address, err := c.AuthorizationURL(t.Context(), aFreshLogin())
			wantReason(t, err, "")
			q := query(t, address)
			checkObject(t, q.Get("request"))
			_, claims := opened(t, q.Get("request"))
			seen[claims["jti"]] = true
			q.Del("request")
			want := url.Values{"client_id": {clientID}, "response_type": {"code"}, "scope": {"openid email"}}
			if q.Encode() != want.Encode() {
				t.Errorf("C099 C100 beside the object stand %v, want %v", q, want)
			}
		}
		if len(seen) != 2 {
			t.Error("C099 two objects have one jti")
		}
	})
	t.Run("C099 pushed", func(t *testing.T) {
		o, got := pushing(nil)
		address, err := o.client(signing(op.ObjectSigned, clientKey)).AuthorizationURL(t.Context(), aFreshLogin())
		wantReason(t, err, "")
		if q := query(t, address); q.Get("request_uri") != requestURI || q.Has("request") || q.Has("scope") {
			t.Errorf("the browser carries %v", q)
		}
		form := (*got)[0].PostForm
		checkObject(t, form.Get("request"))
		form.Del("request")
		if want := (url.Values{"client_id": {clientID}}); form.Encode() != want.Encode() {
			t.Errorf("C099 beside the object stand %v, want %v", form, want)
		}
	})
	t.Run("C099 the first key that signs", func(t *testing.T) {
		keys := []op.ClientKey{{Private: rsaKey(), Algorithm: "RSA-OAEP-256"}, clientKey, {Private: edKey()}}
		address, err := newOP().client(signing(op.ObjectSigned, keys...)).AuthorizationURL(t.Context(), aFreshLogin())
		wantReason(t, err, "")
		checkObject(t, query(t, address).Get("request"))
	})
	t.Run("C099 keys that cannot be had", func(t *testing.T) {
		address, err := newOP().client(func(cfg *op.Config) {
			cfg.Object = op.ObjectSigned
			cfg.ClientKeys = func(context.Context) ([]op.ClientKey, error) { return nil, errors.New("no key service") }
		}).AuthorizationURL(t.Context(), aLogin())
		if e := wantReason(t, err, "client_secret"); e.Status != 503 || address != "" {
			t.Errorf("status %d, address %q", e.Status, address)
		}
	})
}

func query(t *testing.T, address string) url.Values {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	q.Del("p") // the endpoint's own
	return q
}

func TestEncryptedRequestObject(t *testing.T) {
	const algs, encs = "request_object_encryption_alg_values_supported", "request_object_encryption_enc_values_supported"
	enc := func(m map[string]any, more map[string]any) map[string]any {
		return changed(changed(m, map[string]any{"use": "enc", "kid": "e1"}), more)
	}
	rsaEnc, ecEnc := enc(jwk(otherRSA().Public(), ""), nil), enc(jwk(ecKey().Public(), ""), nil)
	for _, tt := range []struct {
		name    string
		members map[string]any
		key     map[string]any
		private any
		reason  string
		alg     string
		enc     jose.ContentEncryption
	}{
		{"C099 an RSA key", nil, rsaEnc, otherRSA(), "", "RSA-OAEP-256", "A128CBC-HS256"},
		{"C099 an EC key", map[string]any{encs: []string{"A128CBC-HS256", "A256GCM"}}, ecEnc, ecKey(), "", "ECDH-ES+A256KW", "A256GCM"},
		{"C099 an algorithm that is announced", map[string]any{algs: []string{"RSA1_5", "RSA-OAEP"}}, rsaEnc, otherRSA(), "", "RSA-OAEP", "A128CBC-HS256"},
		{"C099 the algorithm of the key", nil, enc(rsaEnc, map[string]any{"alg": "RSA-OAEP"}), otherRSA(), "", "RSA-OAEP", "A128CBC-HS256"},
		{"C099 none that we have", map[string]any{algs: []string{"RSA1_5", "dir"}}, rsaEnc, nil, "request_object", "", ""},
		{"C099 no content encryption that we have", map[string]any{encs: []string{"XC20P"}}, rsaEnc, nil, "request_object", "", ""},
		{"C099 no key for it", nil, jwk(otherRSA().Public(), "k2"), nil, "request_object", "", ""},
		{"C099 a weak key", nil, enc(jwk(smallRSA().Public(), ""), nil), nil, "request_object", "", ""},
		{"C099 a private key for all to read", nil, enc(rsaEnc, map[string]any{"d": "AQAB"}), nil, "request_object", "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := newOP()
			o.set("discovery", answerJSON(metadata(tt.members)))
			o.set("jwks", answerJSON(keySet(jwk(rsaKey().Public(), "k1"), tt.key)))
			address, err := o.client(signing(op.ObjectEncrypted, clientKey)).AuthorizationURL(t.Context(), aFreshLogin())
			wantReason(t, err, tt.reason)
			if tt.reason != "" {
				if address != "" {
					t.Errorf("the browser goes to %q", address)
				}
				return
			}
			jwe, err := jose.ParseEncryptedCompact(query(t, address).Get("request"), []jose.KeyAlgorithm{jose.KeyAlgorithm(tt.alg)}, []jose.ContentEncryption{tt.enc})
			if err != nil {
				t.Fatal(err)
			}
			object, err := jwe.Decrypt(tt.private)
			if err != nil {
				t.Fatal(err)
			}
			if cty := jwe.Header.ExtraHeaders["cty"]; cty != "JWT" || jwe.Header.KeyID != "e1" {
				t.Errorf("cty %v, kid %q", cty, jwe.Header.KeyID)
			}
			checkObject(t, string(object))
		})
	}
}

func TestObjectFaults(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*op.Config)
		want   string
	}{
		{"C099 no such mode", signing(7, clientKey), "7 is not a mode"},
		{"C099 no keys", func(cfg *op.Config) { cfg.Object, cfg.ClientKeys = op.ObjectSigned, nil }, "needs a key"},
		{"C099 only a key that decrypts", signing(op.ObjectSigned, op.ClientKey{Private: rsaKey(), Algorithm: "RSA-OAEP"}), "needs a key"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := newOP().config(tt.change)
			faults := cfg.Faults()
			if len(faults) != 1 || faults[0].Field != "Request.Object" || !strings.Contains(faults[0].Text, tt.want) {
				t.Errorf("faults %v, want %q", faults, tt.want)
			}
		})
	}
	for _, tt := range []struct{ name, member, want string }{
		{"C099 the provider takes only signed requests", "require_signed_request_object", "takes only signed requests"},
		{"C099 the provider takes other algorithms", "request_object_signing_alg_values_supported", "signing algorithms of requests"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := newOP()
			mode, value := op.ObjectOff, any(true)
			if strings.HasSuffix(tt.member, "supported") {
				mode, value = op.ObjectSigned, []string{"RS256"}
			}
			o.set("discovery", answerJSON(metadata(map[string]any{tt.member: value})))
			_, err := o.client(signing(mode, clientKey)).Metadata(t.Context())
			wantReason(t, err, "")
			if o.notices[0].Hint == "" || !strings.Contains(o.notices[0].Hint, tt.want) {
				t.Errorf("hint %q, want %q", o.notices[0].Hint, tt.want)
			}
		})
	}
}
