package op_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/oidcgate/oidcgate/internal/op"
)

// remote is a key that only signs, as one in a key service does.
type remote struct{ crypto.Signer }

func withKeys(keys ...op.ClientKey) func(*op.Config) {
	return func(cfg *op.Config) {
		cfg.Auth = op.Auth{Method: op.AuthKeyJWT}
		cfg.ClientKeys = func(context.Context) ([]op.ClientKey, error) { return keys, nil }
	}
}

// sentAssertions collects the assertions that reach the endpoints.
func (o *testOP) sentAssertions(t *testing.T) func() []string {
	t.Helper()
	var mu sync.Mutex
	var all []string
	for endpoint, answer := range map[string]http.HandlerFunc{
		"token": answerJSON(tokenAnswer(nil)), "revoke": answerText(200, "text/plain", ""),
	} {
		o.set(endpoint, func(w http.ResponseWriter, r *http.Request) {
			r.ParseForm()
			mu.Lock()
			defer mu.Unlock()
			if got := r.PostForm.Get("client_assertion_type"); got != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" {
				t.Errorf("C088 client_assertion_type %q", got)
			}
			if r.PostForm.Has("client_secret") || r.Header.Get("Authorization") != "" || r.PostForm.Get("client_id") != clientID {
				t.Errorf("C088 one method only: %v", r.PostForm)
			}
			all = append(all, r.PostForm.Get("client_assertion"))
			answer(w, r)
		})
	}
	return func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(all)
	}
}

func TestClientAssertion(t *testing.T) {
	_, edKey, _ := ed25519.GenerateKey(rand.Reader)
	p256, p384, p521 := newEC(elliptic.P256()), newEC(elliptic.P384()), newEC(elliptic.P521())
	const secret = "a secret of more than 32 bytes, as HS256 needs"
	for _, row := range []struct {
		name   string
		change func(*op.Config)
		public any
		alg    string
		kid    string
	}{
		{"RSA", withKeys(op.ClientKey{Private: rsaKey(), ID: "k"}), rsaKey().Public(), "RS256", "k"},
		{"RSA with PS256", withKeys(op.ClientKey{Private: rsaKey(), ID: "k", Algorithm: "PS256"}), rsaKey().Public(), "PS256", "k"},
		{"P-256", withKeys(op.ClientKey{Private: p256, ID: "k"}), p256.Public(), "ES256", "k"},
		{"P-384", withKeys(op.ClientKey{Private: p384, ID: "k"}), p384.Public(), "ES384", "k"},
		{"P-521", withKeys(op.ClientKey{Private: p521, ID: "k"}), p521.Public(), "ES512", "k"},
		{"Ed25519", withKeys(op.ClientKey{Private: edKey, ID: "k"}), edKey.Public(), "EdDSA", "k"},
		{"a key service", withKeys(op.ClientKey{Private: remote{p256}, ID: "k"}), p256.Public(), "ES256", "k"},
		{"the first that signs", withKeys(op.ClientKey{Private: p256, Algorithm: "ECDH-ES"}, op.ClientKey{Private: p384, ID: "k"}, op.ClientKey{Private: p521}),
			p384.Public(), "ES384", "k"},
		{"a secret", func(cfg *op.Config) { cfg.Auth = basic(secret); cfg.Auth.Method = op.AuthSecretJWT }, []byte(secret), "HS256", ""},
	} {
		t.Run("C088 C090 "+row.name, func(t *testing.T) {
			o := newOP()
			o.set("discovery", answerJSON(metadata(map[string]any{"revocation_endpoint": "https://id.example/revoke"})))
			sent := o.sentAssertions(t)
			c := o.client(row.change)
			for range 2 {
				_, err := c.Exchange(t.Context(), "c", "v")
				wantReason(t, err, "")
				wantReason(t, c.Revoke(t.Context(), "rt"), "")
			}
			seen := map[string]bool{}
			for _, raw := range sent() {
				jws, err := jose.ParseSignedCompact(raw, []jose.SignatureAlgorithm{jose.SignatureAlgorithm(row.alg)})
				if err != nil {
					t.Fatal(err)
				}
				payload, err := jws.Verify(row.public)
				if err != nil {
					t.Fatalf("C088 the signature: %v", err)
				}
				if row.alg == "PS256" {
					checkSalt(t, raw, row.public.(*rsa.PublicKey))
				}
				header := jws.Signatures[0].Protected
				if header.KeyID != row.kid || header.ExtraHeaders["typ"] != "JWT" {
					t.Errorf("C090 header %+v", header)
				}
				var c map[string]any
				if err := json.Unmarshal(payload, &c); err != nil {
					t.Fatal(err)
				}
				if c["iss"] != clientID || c["sub"] != clientID || c["aud"] != issuer {
					t.Errorf("C088 claims %v", c)
				}
				jti, _ := c["jti"].(string)
				if len(jti) < 26 || seen[jti] {
					t.Errorf("C088 jti %q", jti)
				}
				seen[jti] = true
				now := float64(time.Now().Unix())
				if iat, exp := c["iat"].(float64), c["exp"].(float64); iat > now || exp > now+300 || exp <= now {
					t.Errorf("C088 from %v to %v at %v", iat, exp, now)
				}
			}
			if len(seen) != 4 {
				t.Errorf("C088 %d assertions for 4 requests", len(seen))
			}
		})
	}
	t.Run("C088 another audience", func(t *testing.T) {
		o := newOP()
		sent := o.sentAssertions(t)
		c := o.client(withKeys(op.ClientKey{Private: p256}), func(cfg *op.Config) { cfg.AssertionAudience = issuer + "/token" })
		_, err := c.Exchange(t.Context(), "c", "v")
		wantReason(t, err, "")
		payload, _ := base64.RawURLEncoding.DecodeString(strings.Split(sent()[0], ".")[1])
		if !strings.Contains(string(payload), `"aud":"`+issuer+`/token"`) {
			t.Errorf("claims %s", payload)
		}
	})
	t.Run("C016 an assertion that somebody else signs, as it is now", func(t *testing.T) {
		o := newOP()
		sent := o.sentAssertions(t)
		current := "one\n" // as files end
		c := o.client(func(cfg *op.Config) {
			cfg.Auth = op.Auth{Method: op.AuthKeyJWT, Secret: func(context.Context) (string, error) { return current, nil }}
		})
		for _, current = range []string{"one\n", "two"} {
			_, err := c.Exchange(t.Context(), "c", "v")
			wantReason(t, err, "")
		}
		if got := sent(); !slices.Equal(got, []string{"one", "two"}) {
			t.Errorf("sent %q", got)
		}
	})
	t.Run("C090 a key is replaced without a restart", func(t *testing.T) {
		o := newOP()
		sent := o.sentAssertions(t)
		keys, failure := []op.ClientKey{{Private: p256, ID: "old"}}, error(nil)
		c := o.client(func(cfg *op.Config) {
			cfg.Auth = op.Auth{Method: op.AuthKeyJWT}
			cfg.ClientKeys = func(context.Context) ([]op.ClientKey, error) { return keys, failure }
		})
		for _, id := range []string{"old", "new"} {
			keys[0].ID = id
			_, err := c.Exchange(t.Context(), "c", "v")
			wantReason(t, err, "")
		}
		for i, id := range []string{"old", "new"} {
			header, _ := base64.RawURLEncoding.DecodeString(strings.Split(sent()[i], ".")[0])
			if !strings.Contains(string(header), `"kid":"`+id+`"`) {
				t.Errorf("header %s, want the kid %s", header, id)
			}
		}
		for name, bad := range map[string]func(){
			"the function fails": func() { failure = errors.New("vault is sealed") },
			"no key signs":       func() { failure, keys = nil, []op.ClientKey{{Private: p256, Algorithm: "ECDH-ES"}} },
			"a key is too weak":  func() { failure, keys = nil, []op.ClientKey{{Private: weakKey()}} },
		} {
			bad()
			_, err := c.Exchange(t.Context(), "c", "v")
			if e := wantReason(t, err, "client_secret"); e.Status != 503 || e.Hint == "" {
				t.Errorf("%s: status %d, hint %q", name, e.Status, e.Hint)
			}
		}
		if n := len(sent()); n != 2 {
			t.Errorf("C055 %d requests, some of them without an assertion", n)
		}
	})
}

// checkSalt checks that the salt of a PSS signature is as long as the hash (RFC 7518, 3.5). go-jose
// takes any.
func checkSalt(t *testing.T, raw string, public *rsa.PublicKey) {
	t.Helper()
	i := strings.LastIndexByte(raw, '.')
	signature, err := base64.RawURLEncoding.DecodeString(raw[i+1:])
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte(raw[:i]))
	if err := rsa.VerifyPSS(public, crypto.SHA256, sum[:], signature, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}); err != nil {
		t.Errorf("C090 the salt: %v", err)
	}
}

func privateBytes(t *testing.T, key *ecdsa.PrivateKey) []byte {
	t.Helper()
	raw, err := key.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func weakKey() *rsa.PrivateKey {
	//lint:ignore SA1019 a weak key for a test
	key, _ := rsa.GenerateMultiPrimeKey(rand.Reader, 2, 1024)
	return key
}

func TestPublicKeys(t *testing.T) {
	p256, decrypting := newEC(elliptic.P256()), newEC(elliptic.P384())
	c := newOP().client(withKeys(
		op.ClientKey{Private: rsaKey(), ID: "rsa"}, op.ClientKey{Private: p256}, op.ClientKey{Private: decrypting, ID: "d", Algorithm: "ECDH-ES+A256KW"},
	))
	text, err := c.PublicKeys(t.Context())
	wantReason(t, err, "")
	var doc struct{ Keys []map[string]string }
	if err := json.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	for i, want := range []map[string]string{
		{"kid": "rsa", "use": "sig", "alg": "RS256"}, {"use": "sig", "alg": "ES256"}, {"kid": "d", "use": "enc", "alg": "ECDH-ES+A256KW"},
	} {
		for _, secret := range []string{"d", "p", "q", "dp", "dq", "qi", "k"} {
			if _, ok := doc.Keys[i][secret]; ok {
				t.Errorf("C090 key %d has its private member %s", i, secret)
			}
		}
		for name, value := range want {
			if doc.Keys[i][name] != value {
				t.Errorf("C090 key %d has %s %q, want %q", i, name, doc.Keys[i][name], value)
			}
		}
	}
	if sum, _ := (&jose.JSONWebKey{Key: p256.Public()}).Thumbprint(crypto.SHA256); doc.Keys[1]["kid"] != base64.RawURLEncoding.EncodeToString(sum) {
		t.Errorf("C090 the kid %q is not the thumbprint (RFC 7638)", doc.Keys[1]["kid"])
	}
	if got := fmt.Sprintf("%v %+v %#v", op.ClientKey{Private: p256}, op.ClientKey{Private: p256}, []op.ClientKey{{Private: p256}}); strings.Contains(got, fmt.Sprint(privateBytes(t, p256))[1:20]) || !strings.Contains(got, "REDACTED") {
		t.Errorf("C055 prints %s", got)
	}
}

func TestTokenRequestsOfUnusualProviders(t *testing.T) {
	t.Run("C049 as JSON", func(t *testing.T) {
		o := newOP()
		var got map[string]any
		contentType := ""
		o.set("token", func(w http.ResponseWriter, r *http.Request) {
			contentType = r.Header.Get("Content-Type")
			if err := json.NewDecoder(r.Body).Decode(&got); err != nil {
				t.Error(err)
			}
			answerJSON(tokenAnswer(nil))(w, r)
		})
		c := o.client(func(cfg *op.Config) { cfg.JSONTokenRequests, cfg.Auth.Method = true, op.AuthPost })
		_, err := c.Exchange(t.Context(), "c", "v")
		wantReason(t, err, "")
		if contentType != "application/json" || got["code"] != "c" || got["code_verifier"] != "v" || got["client_secret"] != "hush-hush" || got["grant_type"] != "authorization_code" {
			t.Errorf("%s: %v", contentType, got)
		}
	})
	t.Run("C049 as JSON, with a parameter that is there twice", func(t *testing.T) {
		o := newOP()
		var got struct {
			Resource []string `json:"resource"`
			Code     string   `json:"code"`
		}
		o.set("token", func(w http.ResponseWriter, r *http.Request) {
			if err := json.NewDecoder(r.Body).Decode(&got); err != nil {
				t.Error(err)
			}
			answerJSON(tokenAnswer(nil))(w, r)
		})
		c := o.client(func(cfg *op.Config) {
			cfg.JSONTokenRequests, cfg.Resources = true, []string{"https://a.example", "https://b.example"}
		})
		_, err := c.Exchange(t.Context(), "c", "v")
		wantReason(t, err, "")
		if !slices.Equal(got.Resource, []string{"https://a.example", "https://b.example"}) || got.Code != "c" {
			t.Errorf("%+v", got)
		}
	})
	t.Run("C049 a revocation is a form all the same", func(t *testing.T) {
		o := newOP()
		o.set("discovery", answerJSON(metadata(map[string]any{"revocation_endpoint": "https://id.example/revoke"})))
		contentType := ""
		o.set("revoke", func(_ http.ResponseWriter, r *http.Request) { contentType = r.Header.Get("Content-Type") })
		c := o.client(func(cfg *op.Config) { cfg.JSONTokenRequests = true })
		_, _ = c.Metadata(t.Context())
		wantReason(t, c.Revoke(t.Context(), "rt"), "")
		if contentType != "application/x-www-form-urlencoded" {
			t.Errorf("sent as %s", contentType)
		}
	})
	t.Run("C050 Basic as it is", func(t *testing.T) {
		o := newOP()
		var user, password string
		o.set("token", func(w http.ResponseWriter, r *http.Request) {
			user, password, _ = r.BasicAuth()
			answerJSON(tokenAnswer(nil))(w, r)
		})
		const odd = "a%b+ c/é"
		c := o.client(func(cfg *op.Config) { cfg.ClientID, cfg.Auth, cfg.RawBasic = odd, basic(odd+":"), true })
		_, err := c.Exchange(t.Context(), "c", "v")
		wantReason(t, err, "")
		if user != odd || password != odd+":" {
			t.Errorf("%q with %q", user, password)
		}
	})
}

// tlsOP is a provider over TLS that asks for client certificates, and says which it saw. It is not
// started.
func tlsOP(t *testing.T) (server *httptest.Server, seen func(path string) string) {
	t.Helper()
	var mu sync.Mutex
	subjects := map[string]string{}
	server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		subjects[r.URL.Path] = "nobody"
		if len(r.TLS.PeerCertificates) > 0 {
			subjects[r.URL.Path] = r.TLS.PeerCertificates[0].Subject.CommonName
		}
		mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		base := "https://" + r.Host
		switch r.URL.Path {
		case "/.well-known/openid-configuration":
			_ = json.NewEncoder(w).Encode(map[string]any{
				"issuer": base, "authorization_endpoint": base + "/authorize", "token_endpoint": base + "/token",
				"jwks_uri": base + "/jwks", "userinfo_endpoint": base + "/userinfo", "revocation_endpoint": base + "/revoke",
				"mtls_endpoint_aliases": map[string]any{
					"token_endpoint": base + "/mtls/token", "userinfo_endpoint": base + "/mtls/userinfo", "revocation_endpoint": base + "/mtls/revoke",
				},
			})
		case "/token", "/mtls/token":
			_ = json.NewEncoder(w).Encode(tokenAnswer(nil))
		case "/userinfo", "/mtls/userinfo":
			_ = json.NewEncoder(w).Encode(userinfo(nil))
		default:
			_, _ = io.WriteString(w, "{}")
		}
	}))
	server.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
	t.Cleanup(server.Close)
	return server, func(path string) string {
		mu.Lock()
		defer mu.Unlock()
		return subjects[path]
	}
}

func newCertificate(t *testing.T, name string) tls.Certificate {
	t.Helper()
	key := newEC(elliptic.P256())
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour)}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{raw}, PrivateKey: key}
}

func TestMutualTLS(t *testing.T) {
	server, seen := tlsOP(t)
	server.StartTLS()
	current := newCertificate(t, "first")
	atServer := func(cfg *op.Config) {
		cfg.Issuer, cfg.Transport, cfg.Timeout, cfg.Userinfo = server.URL, nil, time.Minute, op.UserinfoRequired
		cfg.RootCAs = x509.NewCertPool()
		cfg.RootCAs.AddCert(server.Certificate())
	}
	withCertificate := func(cfg *op.Config) {
		cfg.Auth = op.Auth{Method: op.AuthTLS, Certificate: &op.Certificate{Current: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &current, nil }}}
	}
	for name, transport := range map[string]func(*op.Config){
		"our transport":      func(*op.Config) {},
		"a given *Transport": func(cfg *op.Config) { cfg.Transport = server.Client().Transport },
	} {
		t.Run("C091 "+name+": the aliases see the certificate, and nobody else does", func(t *testing.T) {
			c := op.New(newOP().config(atServer, withCertificate, transport))
			_, err := c.Exchange(t.Context(), "c", "v")
			wantReason(t, err, "")
			_, err = c.Userinfo(t.Context(), "at-1", subject)
			wantReason(t, err, "")
			wantReason(t, c.Revoke(t.Context(), "rt"), "")
			for path, want := range map[string]string{
				"/.well-known/openid-configuration": "nobody", "/mtls/token": "first",
				"/mtls/userinfo": "first", "/mtls/revoke": "first", "/token": "", "/userinfo": "", "/revoke": "",
			} {
				if got := seen(path); got != want {
					t.Errorf("C091 %s saw %q, want %q", path, got, want)
				}
			}
		})
	}
	t.Run("C091 a resource sees the certificate only if tokens are bound to it", func(t *testing.T) {
		standard := http.DefaultTransport.(*http.Transport)
		before := standard.TLSClientConfig
		standard.TLSClientConfig = server.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
		t.Cleanup(func() { standard.TLSClientConfig = before })
		bound := func(cfg *op.Config) {
			cfg.Certificate = &op.Certificate{Current: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &current, nil }}
		}
		for want, change := range map[string]func(*op.Config){"nobody": func(*op.Config) {}, "first": bound} {
			c := op.New(newOP().config(atServer, withCertificate, change))
			r, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+"/resource", nil)
			resp, err := c.RoundTrip(r, "at-1", "")
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			if got := seen("/resource"); got != want {
				t.Errorf("C091 the resource saw %q, want %q", got, want)
			}
			standard.CloseIdleConnections()
		}
	})
	t.Run("C091 without a certificate the aliases are not used", func(t *testing.T) {
		c := op.New(newOP().config(atServer))
		_, err := c.Exchange(t.Context(), "c", "v")
		wantReason(t, err, "")
		if seen("/token") != "nobody" {
			t.Errorf("/token saw %q", seen("/token"))
		}
	})
	t.Run("C091 the provider's own certificate is checked all the same", func(t *testing.T) {
		c := op.New(newOP().config(atServer, withCertificate, func(cfg *op.Config) { cfg.RootCAs = x509.NewCertPool() }))
		if _, err := c.Metadata(t.Context()); err == nil {
			t.Error("a certificate of nobody was trusted")
		}
	})
	t.Run("C091 the form names the client, and has no secret", func(t *testing.T) {
		o := newOP()
		var got tokenRequest
		o.recordToken(&got, answerJSON(tokenAnswer(nil)))
		c := o.client(func(cfg *op.Config) { cfg.Auth = op.Auth{Method: op.AuthSelfSigned} })
		_, err := c.Exchange(t.Context(), "c", "v")
		wantReason(t, err, "")
		if got.form.Get("client_id") != clientID || got.form.Has("client_secret") || got.basic {
			t.Errorf("form %v", got.form)
		}
	})
	t.Run("C091 an endpoint without an alias stays where it is", func(t *testing.T) {
		o := newOP()
		o.set("discovery", answerJSON(metadata(map[string]any{
			"mtls_endpoint_aliases": map[string]any{"token_endpoint": "https://mtls.id.example/token"}, "revocation_endpoint": "https://id.example/revoke",
		})))
		meta, err := o.client(asking(op.UserinfoRequired), withCertificate, func(cfg *op.Config) { cfg.Transport = o }).Metadata(t.Context())
		wantReason(t, err, "")
		if meta.Token != "https://mtls.id.example/token" || meta.Userinfo != "https://id.example/userinfo" || meta.Revocation != "https://id.example/revoke" {
			t.Errorf("endpoints %+v", meta.Endpoints)
		}
	})
	t.Run("C003 an alias is checked like every endpoint", func(t *testing.T) {
		o := newOP()
		for _, alias := range []any{"http://evil.example/token", 7, map[string]any{}} {
			o.set("discovery", answerJSON(metadata(map[string]any{"mtls_endpoint_aliases": map[string]any{"token_endpoint": alias}})))
			c := o.client(func(cfg *op.Config) {
				cfg.Transport = &http.Transport{}
				withCertificate(cfg)
				cfg.Transport = o
			})
			if _, err := c.Metadata(t.Context()); err == nil {
				t.Errorf("the alias %v was taken", alias)
			}
		}
	})
	t.Run("C006 C091 aliases make no other member good", func(t *testing.T) {
		o := newOP()
		o.set("discovery", answerJSON(metadata(map[string]any{
			"authorization_response_iss_parameter_supported": "true",
			"mtls_endpoint_aliases":                          map[string]any{"token_endpoint": "https://mtls.id.example/token"},
		})))
		_, err := o.client(withCertificate, func(cfg *op.Config) { cfg.Transport = o }).Metadata(t.Context())
		wantReason(t, err, "metadata_invalid")
	})
	for name, row := range map[string]struct {
		aliases any
		reason  string
	}{
		"a string": {"https://id.example/token", "metadata_invalid"}, "a list": {[]string{}, "metadata_invalid"}, "null": {null, ""},
	} {
		t.Run("C091 aliases that are "+name, func(t *testing.T) {
			o := newOP()
			o.set("discovery", answerJSON(metadata(map[string]any{"mtls_endpoint_aliases": row.aliases})))
			_, err := o.client(withCertificate, func(cfg *op.Config) { cfg.Transport = o }).Metadata(t.Context())
			wantReason(t, err, row.reason)
		})
	}
}

func TestFaultsOfClientKeys(t *testing.T) {
	p256 := newEC(elliptic.P256())
	p224, _ := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	for _, row := range []struct {
		name string
		key  op.ClientKey
		want string
	}{
		{"C132 RSA of 1,024 bits", op.ClientKey{Private: weakKey()}, "2048"},
		{"C132 P-224", op.ClientKey{Private: p224}, "too weak"},
		{"C132 P-224 that decrypts", op.ClientKey{Private: p224, Algorithm: "ECDH-ES"}, "too weak"},
		{"C090 an EC key that is nil", op.ClientKey{Private: (*ecdsa.PrivateKey)(nil)}, "no private key"},
		{"C090 an RSA key that is nil", op.ClientKey{Private: (*rsa.PrivateKey)(nil)}, "no private key"},
		{"C090 an empty EC key", op.ClientKey{Private: &ecdsa.PrivateKey{}}, "no private key"},
		{"C090 an empty RSA key", op.ClientKey{Private: &rsa.PrivateKey{}}, "no private key"},
		{"C090 an empty Ed25519 key", op.ClientKey{Private: ed25519.PrivateKey{}}, "no private key"},
		{"C090 a public key", op.ClientKey{Private: p256.Public()}, "no private key"},
		{"C090 no key", op.ClientKey{}, "no private key"},
		{"C090 ES256 with RSA", op.ClientKey{Private: rsaKey(), Algorithm: "ES256"}, "does not fit"},
		{"C090 ES384 with P-256", op.ClientKey{Private: p256, Algorithm: "ES384"}, "does not fit"},
		{"C090 none", op.ClientKey{Private: rsaKey(), Algorithm: "none"}, `"none"`},
		{"C071 RSA1_5", op.ClientKey{Private: rsaKey(), Algorithm: "RSA1_5"}, `"RSA1_5"`},
		{"C071 dir", op.ClientKey{Private: rsaKey(), Algorithm: "dir"}, `"dir"`},
		{"C071 ECDH-ES with RSA", op.ClientKey{Private: rsaKey(), Algorithm: "ECDH-ES"}, "does not fit"},
		{"C071 a key service cannot decrypt", op.ClientKey{Private: remote{rsaKey()}, Algorithm: "RSA-OAEP-256"}, "does not fit"},
	} {
		t.Run(row.name, func(t *testing.T) {
			if err := row.key.Complete(); err == nil || !strings.Contains(err.Error(), row.want) {
				t.Errorf("error %v, want one with %q", err, row.want)
			}
		})
	}
}

func TestAssertionNeedsAKeyThatSigns(t *testing.T) {
	t.Run("C088 only a key that decrypts", func(t *testing.T) {
		key := op.ClientKey{Private: rsaKey(), Algorithm: "RSA-OAEP-256"}
		cfg := newOP().config(signing(op.ObjectOff, key), func(cfg *op.Config) { cfg.Auth = op.Auth{Method: op.AuthKeyJWT} })
		if faults := cfg.Faults(); len(faults) != 1 || faults[0].Field != "ClientKeys" {
			t.Errorf("faults %v, want one of ClientKeys", faults)
		}
	})
}
