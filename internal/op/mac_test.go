package op_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"errors"
	"hash"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/oidcgate/oidcgate/internal/op"
)

const macSecret = "hush: this client secret has sixty-four bytes, enough for HS512!"

// byMAC configures a client whose provider signs with its secret.
func byMAC(secret string, algs ...string) func(*op.Config) {
	return func(cfg *op.Config) { cfg.Auth, cfg.SigningAlgs = basic(secret), algs }
}

// withSecret is the token signed anew, with a secret.
func withSecret(raw, alg, secret string) string {
	parts := strings.Split(raw, ".")
	text, err := base64.RawURLEncoding.DecodeString(parts[0])
	if err != nil {
		panic(err)
	}
	var header map[string]any
	if err := json.Unmarshal(text, &header); err != nil {
		panic(err)
	}
	header["alg"] = alg
	hashes := map[string]func() hash.Hash{"HS256": sha256.New, "HS384": sha512.New384, "HS512": sha512.New}
	mac := hmac.New(hashes[alg], []byte(secret))
	input := b64(encode(header)) + "." + parts[1]
	mac.Write([]byte(input))
	return input + "." + b64(string(mac.Sum(nil)))
}

// The client secret signs every kind of token and no key of the provider does. No kind counts for
// another.
func TestKindsSignedWithSecret(t *testing.T) {
	for sample, raw := range tokenSamples() {
		for endpoint, take := range tokenEndpoints(byMAC(macSecret, "HS256")) {
			t.Run("C014 C068 "+sample+" at "+endpoint, func(t *testing.T) {
				o := newOP()
				err := take(t, o, withSecret(raw, "HS256", macSecret))
				want := fitsKind(sample, endpoint) && endpoint != "access token" // everybody with the secret could make one
				if taken := err == nil; taken != want {
					t.Errorf("taken: %v, error %v", taken, err)
				}
				for name, raw := range map[string]string{"another secret": withSecret(raw, "HS256", macSecret+"x"), "the provider's key": raw} {
					if err := take(t, newOP(), raw); err == nil {
						t.Errorf("taken, though signed with %s", name)
					}
				}
				if n := o.count("jwks"); n != 0 {
					t.Errorf("the provider's keys were asked for %d times", n)
				}
			})
		}
	}
}

func TestSignedWithSecret(t *testing.T) {
	half := func(h hash.Hash) string {
		h.Write([]byte("at-1"))
		sum := h.Sum(nil)
		return b64(string(sum[:len(sum)/2]))
	}
	token := func(changes map[string]any) string { return signed(goodHeader, encode(identity(changes))) }
	atHash := map[string]string{"HS256": half(sha256.New()), "HS384": half(sha512.New384()), "HS512": half(sha512.New())}
	publicKey := encode(jwk(rsaKey().Public(), "k1"))
	for _, row := range []struct {
		name, token string
		client      func(*op.Config)
		reason      string
	}{
		{"HS256", withSecret(token(map[string]any{"at_hash": atHash["HS256"]}), "HS256", macSecret), byMAC(macSecret, "HS256"), ""},
		{"HS384", withSecret(token(map[string]any{"at_hash": atHash["HS384"]}), "HS384", macSecret), byMAC(macSecret, "HS384"), ""},
		{"HS512", withSecret(token(map[string]any{"at_hash": atHash["HS512"]}), "HS512", macSecret), byMAC(macSecret, "HS512"), ""},
		{"HS256 with the hash of HS512", withSecret(token(map[string]any{"at_hash": atHash["HS512"]}), "HS256", macSecret), byMAC(macSecret, "HS256"), "at_hash"},
		{"HS512 with the hash of HS384", withSecret(token(map[string]any{"at_hash": atHash["HS384"]}), "HS512", macSecret), byMAC(macSecret, "HS512"), "at_hash"},
		{"HS256 in place of HS512", withSecret(goodToken(), "HS256", macSecret), byMAC(macSecret, "HS512"), "alg"},
		{"one of two", withSecret(goodToken(), "HS384", macSecret), byMAC(macSecret, "HS256", "HS384"), ""},
		{"RS256 of the provider", goodToken(), byMAC(macSecret, "HS256"), "alg"},
		{"none", b64(`{"alg":"none"}`) + "." + b64(encode(identity(nil))) + ".", byMAC(macSecret, "HS256"), "alg"},
		{"another secret", withSecret(goodToken(), "HS256", macSecret+"x"), byMAC(macSecret, "HS256"), "sig"},
		{"no secret at all", withSecret(goodToken(), "HS256", ""), byMAC(macSecret, "HS256"), "sig"},
		{"the public key", withSecret(goodToken(), "HS256", publicKey), byMAC(macSecret, "HS256"), "sig"},
		{"the secret, where none was agreed on", withSecret(goodToken(), "HS256", macSecret), byMAC(macSecret, "RS256"), "alg"},
		{"a secret of 31 bytes", withSecret(goodToken(), "HS256", macSecret[:31]), byMAC(macSecret[:31], "HS256"), "client_secret"},
		{"a secret of 32 bytes", withSecret(goodToken(), "HS256", macSecret[:32]), byMAC(macSecret[:32], "HS256"), ""},
		{"a secret of 47 bytes", withSecret(goodToken(), "HS384", macSecret[:47]), byMAC(macSecret[:47], "HS384"), "client_secret"},
		{"a secret of 63 bytes", withSecret(goodToken(), "HS512", macSecret[:63]), byMAC(macSecret[:63], "HS512"), "client_secret"},
		{"an empty secret", withSecret(goodToken(), "HS256", ""), byMAC("", "HS256"), "client_secret"},
		{"a public client", withSecret(goodToken(), "HS256", ""), func(cfg *op.Config) {
			cfg.SigningAlgs, cfg.Auth = []string{"HS256"}, op.Auth{Method: op.AuthNone}
		}, "client_secret"},
		{"the rules all the same", withSecret(token(map[string]any{"aud": "other"}), "HS256", macSecret), byMAC(macSecret, "HS256"), "aud"},
		{"the nonce all the same", withSecret(token(map[string]any{"nonce": "other"}), "HS256", macSecret), byMAC(macSecret, "HS256"), "nonce"},
	} {
		t.Run("C014 "+row.name, func(t *testing.T) {
			o := newOP()
			_, err := o.client(row.client).VerifyIDToken(t.Context(), row.token, "at-1", op.Expectation{Nonce: nonce})
			e := wantReason(t, err, row.reason)
			if row.reason == "client_secret" && (e.Status != http.StatusServiceUnavailable || e.Hint == "") {
				t.Errorf("status %d, hint %q", e.Status, e.Hint)
			}
			if hint := e != nil && strings.Contains(e.Hint, "signs with the client secret"); hint != (row.name == "the secret, where none was agreed on") {
				t.Errorf("the hint %q", e.Hint)
			}
		})
	}
	t.Run("C014 a secret that is replaced, and one that cannot be read", func(t *testing.T) {
		secret, fails := macSecret, error(nil)
		c := newOP().client(func(cfg *op.Config) {
			cfg.SigningAlgs = []string{"HS256"}
			cfg.Auth = op.Auth{Method: op.AuthPost, Secret: func(context.Context) (string, error) { return secret, fails }}
		})
		verify := func(reason string) {
			_, err := c.VerifyIDToken(t.Context(), withSecret(goodToken(), "HS256", macSecret), "", op.Expectation{Nonce: nonce})
			wantReason(t, err, reason)
		}
		verify("")
		secret = strings.ToUpper(macSecret)
		verify("sig")
		secret = macSecret
		fails = errors.New("no answer")
		verify("client_secret")
	})
	t.Run("C014 C099 keys of the provider that only encrypt requests", func(t *testing.T) {
		o := newOP()
		key := changed(jwk(otherRSA().Public(), "e1"), map[string]any{"use": "enc"})
		o.set("jwks", answerJSON(keySet(key)))
		c := o.client(signing(op.ObjectEncrypted, clientKey), byMAC(macSecret, "HS256"))
		address, err := c.AuthorizationURL(t.Context(), aFreshLogin())
		wantReason(t, err, "")
		if strings.Count(query(t, address).Get("request"), ".") != 4 {
			t.Errorf("the request is not encrypted: %s", address)
		}
		o.set("discovery", answerJSON(metadata(map[string]any{"jwks_uri": nil})))
		_, err = o.client(signing(op.ObjectEncrypted, clientKey), byMAC(macSecret, "HS256")).Metadata(t.Context())
		wantReason(t, err, "endpoint_invalid")
	})
	t.Run("C014 a provider without jwks_uri", func(t *testing.T) {
		o := newOP()
		o.set("discovery", answerJSON(metadata(map[string]any{"jwks_uri": nil})))
		_, err := o.client(byMAC(macSecret, "HS256")).Metadata(t.Context())
		wantReason(t, err, "")
		_, err = o.client().Metadata(t.Context())
		wantReason(t, err, "endpoint_invalid")
	})
}

func TestSigningAlgFaults(t *testing.T) {
	const field = "Verification.SigningAlgs"
	algs := func(method string, length int, algs ...string) func(*op.Config) {
		return func(cfg *op.Config) { cfg.Auth.Method, cfg.SecretLength, cfg.SigningAlgs = method, length, algs }
	}
	for _, row := range []struct {
		name   string
		change func(*op.Config)
		words  []string // one for each fault
	}{
		{"asymmetric ones", algs(op.AuthNone, 0, "RS256", "ES256"), nil},
		{"HS256 and a secret of 32 bytes", algs(op.AuthBasic, 32, "HS256"), nil},
		{"HS512 and a function", algs(op.AuthPost, 0, "HS512"), nil},
		{"several with the secret", algs(op.AuthSecretJWT, 64, "HS256", "HS384", "HS512"), nil},
		{"HS256 and a secret of 31 bytes", algs(op.AuthBasic, 31, "HS256"), []string{"32 bytes"}},
		{"HS384 and a secret of 47 bytes", algs(op.AuthBasic, 47, "HS384"), []string{"48 bytes"}},
		{"HS512 and a secret of 63 bytes", algs(op.AuthBasic, 63, "HS512"), []string{"64 bytes"}},
		{"both kinds", algs(op.AuthBasic, 64, "RS256", "HS256"), []string{"beside others"}},
		{"a public client", algs(op.AuthNone, 0, "HS256"), []string{"needs a client secret"}},
		{"a client with a key", algs(op.AuthKeyJWT, 0, "HS256"), []string{"needs a client secret"}},
		{"a client with a certificate", algs(op.AuthTLS, 0, "HS256"), []string{"needs a client secret"}},
		{"none", algs(op.AuthBasic, 64, "none"), []string{"not an accepted"}},
		{"a small letter", algs(op.AuthBasic, 64, "hs256"), []string{"not an accepted"}},
	} {
		t.Run("C014 "+row.name, func(t *testing.T) {
			cfg := newOP().config(decrypting(op.ClientKey{Private: rsaKey()}), row.change)
			got := cfg.Faults()
			if len(got) != len(row.words) {
				t.Fatalf("faults %q, want %d", got, len(row.words))
			}
			for i, fault := range got {
				if fault.Field != field || !strings.Contains(fault.Text, row.words[i]) || strings.Contains(fault.Text, "hush") {
					t.Errorf("fault %q, want %s with %q", fault, field, row.words[i])
				}
			}
		})
	}
	cfg := op.Config{}
	if cfg.Complete(); !slices.Equal(cfg.SigningAlgs, []string{"RS256"}) {
		t.Errorf("C014 by default %q", cfg.SigningAlgs)
	}
}
