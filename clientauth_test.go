package oidcgate_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/oidcgate/oidcgate"
	"github.com/oidcgate/oidcgate/oidcgatetest"
)

func newClientKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newClientCertificate(t *testing.T) tls.Certificate {
	t.Helper()
	key := newClientKey(t)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "shop"}, NotAfter: time.Now().Add(time.Hour)}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(raw)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{raw}, PrivateKey: key, Leaf: leaf}
}

// register replaces the shop's registration at the provider.
func (w *world) register(change func(*oidcgatetest.Client)) {
	c := oidcgatetest.Client{ID: "shop", RedirectURLs: []string{shopURL + "/auth/callback"}, PostLogoutRedirectURLs: []string{shopURL + "/auth/logout/done"}}
	change(&c)
	w.op.AddClient(c)
}

// publishedKeys is what the shop serves as the keys of its client.
func (w *world) publishedKeys(path string) (keys jose.JSONWebKeySet, a answer) {
	w.Helper()
	a = w.get(path)
	if err := json.Unmarshal([]byte(a.body), &keys); err != nil {
		w.Fatalf("%s: %d: %v\n%s", path, a.StatusCode, err, a.body)
	}
	return keys, a
}

func TestClientAuthentication(t *testing.T) {
	const long = "a secret of more than 32 bytes, as HS256 needs"
	key := newClientKey(t)
	keys := func(p *oidcgate.Provider) {
		p.Auth = oidcgate.PrivateKeyJWT()
		p.ClientKeys = oidcgate.NewClientKeys([]oidcgate.ClientKey{{Key: key, ID: "k1"}})
	}
	for _, row := range []struct {
		name   string
		config oidcgatetest.Config
		change func(*oidcgate.Provider)
		client func(*world, *oidcgatetest.Client)
	}{
		{"C049 client_secret_post", oidcgatetest.Config{}, func(p *oidcgate.Provider) { p.Auth = oidcgate.ClientSecretPost(secret) },
			func(_ *world, c *oidcgatetest.Client) { c.Secret, c.AuthMethod = secret, oidcgatetest.ClientSecretPost }},
		{"C049 none", oidcgatetest.Config{}, func(p *oidcgate.Provider) { p.Auth = oidcgate.PublicClient() },
			func(*world, *oidcgatetest.Client) {}},
		{"C088 client_secret_jwt", oidcgatetest.Config{}, func(p *oidcgate.Provider) { p.Auth = oidcgate.ClientSecretJWT(long) },
			func(_ *world, c *oidcgatetest.Client) { c.Secret, c.AuthMethod = long, oidcgatetest.ClientSecretJWT }},
		{"C088 client_secret_jwt, with a secret that a function gives", oidcgatetest.Config{}, func(p *oidcgate.Provider) {
			p.Auth = oidcgate.ClientSecretJWT(func(context.Context) (string, error) { return long, nil })
		}, func(_ *world, c *oidcgatetest.Client) { c.Secret, c.AuthMethod = long, oidcgatetest.ClientSecretJWT }},
		{"C088 C090 private_key_jwt, with the keys that the shop serves", oidcgatetest.Config{}, keys,
			func(w *world, c *oidcgatetest.Client) {
				c.AuthMethod = oidcgatetest.PrivateKeyJWT
				c.Keys, _ = w.publishedKeys("/auth/jwks")
			}},
		{"C049 token requests as JSON", oidcgatetest.Config{JSONTokenRequests: true}, func(p *oidcgate.Provider) {
			keys(p)
			p.TokenRequest.JSON = true
		}, func(w *world, c *oidcgatetest.Client) {
			c.AuthMethod = oidcgatetest.PrivateKeyJWT
			c.Keys, _ = w.publishedKeys("/auth/jwks")
		}},
	} {
		t.Run(row.name+": login, refresh, logout", func(t *testing.T) {
			row.config.AccessTokenLifetime = time.Second
			w := newWorldOf(t, oidcgatetest.NewProvider(t, row.config), func(_ *oidcgate.Config, p *oidcgate.Provider) { row.change(p) })
			w.register(func(c *oidcgatetest.Client) { row.client(w, c) })
			w.login()
			time.Sleep(time.Second)
			var failure error
			w.handler = w.gate.Wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				_, failure = w.gate.Token(r.Context())
			}))
			if w.get("/"); failure != nil {
				t.Errorf("the refresh: %v\n%s", failure, w.logged())
			}
			w.tokenCalls(2)
		})
	}
	t.Run("C090 the keys may be kept for five minutes", func(t *testing.T) {
		w := newWorld(t, func(_ *oidcgate.Config, p *oidcgate.Provider) { keys(p) })
		_, a := w.publishedKeys("/auth/jwks")
		if got := a.Header.Values("Cache-Control"); !slices.Equal(got, []string{"public, max-age=300"}) {
			t.Errorf("Cache-Control %q", got)
		}
	})
	t.Run("C088 an assertion for another audience is refused by a provider that checks", func(t *testing.T) {
		w := newWorld(t, func(_ *oidcgate.Config, p *oidcgate.Provider) {
			keys(p)
			p.TokenRequest.AssertionAudience = "https://id.test/token"
		})
		w.register(func(c *oidcgatetest.Client) {
			c.AuthMethod = oidcgatetest.PrivateKeyJWT
			c.Keys, _ = w.publishedKeys("/auth/jwks")
		})
		w.denied(w.get(w.callbackURL("/app")), http.StatusBadGateway, oidcgate.ReasonTokenEndpointError)
	})
	for _, method := range []oidcgatetest.AuthMethod{oidcgatetest.TLSClientAuth, oidcgatetest.SelfSignedTLSClientAuth} {
		t.Run("C091 "+string(method)+": the certificate of the handshake", func(t *testing.T) {
			certificate := newClientCertificate(t)
			op := oidcgatetest.NewProvider(t)
			server := op.TLSServer()
			w := newWorldOf(t, op, func(c *oidcgate.Config, p *oidcgate.Provider) {
				c.HTTP = oidcgate.HTTPOptions{RootCAs: x509.NewCertPool()}
				c.HTTP.RootCAs.AddCert(server.Certificate())
				p.Auth = oidcgate.TLSClientAuth(certificate)
				if method == oidcgatetest.SelfSignedTLSClientAuth {
					p.Auth = oidcgate.SelfSignedTLSClientAuth(func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &certificate, nil })
				}
			})
			w.register(func(c *oidcgatetest.Client) { c.AuthMethod, c.Certificate = method, certificate.Leaf })
			u := w.get("/auth/login?return_to=/app").location()
			resp, err := withoutRedirects(server.Client()).Get(u)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			if a := w.get(resp.Header.Get("Location")); a.location() != shopURL+"/app" {
				t.Fatalf("%d\n%s", a.StatusCode, w.logged())
			}
			other := newClientCertificate(t)
			w.register(func(c *oidcgatetest.Client) { c.AuthMethod, c.Certificate = method, other.Leaf })
			resp, err = withoutRedirects(server.Client()).Get(w.get("/auth/login?return_to=/app").location())
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			w.denied(w.get(resp.Header.Get("Location")), http.StatusBadGateway, oidcgate.ReasonTokenEndpointError)
		})
	}
}

func withoutRedirects(c *http.Client) *http.Client {
	client := *c
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &client
}

func TestClientKeysAreServed(t *testing.T) {
	key := newClientKey(t)
	named := func(_ *oidcgate.Config, p *oidcgate.Provider) {
		p.Name = "staff"
		p.ClientKeys = oidcgate.NewClientKeys(func(context.Context) ([]oidcgate.ClientKey, error) {
			return []oidcgate.ClientKey{{Key: key, ID: "k1"}, {Key: key, ID: "k2", Algorithm: "ECDH-ES"}}, nil
		})
	}
	t.Run("C090 the public halves only, for caches, to everybody", func(t *testing.T) {
		w := newWorld(t, named)
		keys, a := w.publishedKeys("/auth/jwks/staff")
		if len(keys.Keys) != 2 || !keys.Keys[0].IsPublic() || !keys.Keys[1].IsPublic() || strings.Contains(a.body, `"d"`) {
			t.Errorf("served %s", a.body)
		}
		if got := a.Header.Get("Content-Type"); got != "application/jwk-set+json" {
			t.Errorf("Content-Type %q", got)
		}
		if a := w.send(w.browser, http.MethodPost, "/auth/jwks/staff", ""); a.StatusCode != http.StatusMethodNotAllowed {
			t.Errorf("a POST: %d", a.StatusCode)
		}
	})
	t.Run("C090 without keys the address is the application's", func(t *testing.T) {
		if a := newWorld(t).get("/auth/jwks"); a.body != "home" {
			t.Errorf("%d %q", a.StatusCode, a.body)
		}
	})
	t.Run("F08 keys that cannot be had: 503, and the log says why", func(t *testing.T) {
		w := newWorld(t, func(_ *oidcgate.Config, p *oidcgate.Provider) {
			p.ClientKeys = oidcgate.NewClientKeys(func(context.Context) ([]oidcgate.ClientKey, error) { return nil, errors.New("vault is sealed") })
		})
		if a := w.get("/auth/jwks"); a.StatusCode != http.StatusServiceUnavailable || strings.Contains(a.body, "vault") {
			t.Errorf("%d %s", a.StatusCode, a.body)
		}
		if !strings.Contains(w.logged(), "vault is sealed") {
			t.Errorf("the log says %s", w.logged())
		}
	})
}

func TestAssertionFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "token")
	read := oidcgate.AssertionFile(name)
	if _, err := read(t.Context()); err == nil {
		t.Error("C016 no error for a file that is not there")
	}
	for _, text := range []string{"one", "two"} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := read(t.Context()); got != text || err != nil {
			t.Errorf("C016 read %q, %v; want %q", got, err, text)
		}
	}
}

func TestClientAuthPrintsNoSecret(t *testing.T) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range []any{
		oidcgate.ClientSecretJWT("hunter2-hunter2-hunter2-hunter2-hunter2"), oidcgate.TLSClientAuth(newClientCertificate(t)),
		oidcgate.ClientKey{Key: key}, []oidcgate.ClientKey{{Key: key}}, oidcgate.NewClientKeys([]oidcgate.ClientKey{{Key: key}}),
		oidcgate.Provider{Auth: oidcgate.ClientSecretJWT("hunter2"), ClientKeys: oidcgate.NewClientKeys([]oidcgate.ClientKey{{Key: key}})},
	} {
		encoded, _ := json.Marshal(v)
		for _, text := range []string{fmt.Sprintf("%v %+v %#v %s", v, v, v, v), string(encoded)} {
			if strings.Contains(text, "hunter2") || strings.Contains(text, fmt.Sprint([]byte(key))[1:20]) || strings.Contains(text, fmt.Sprintf("%#v", []byte(key))[8:30]) {
				t.Errorf("C055 %T prints %s", v, text)
			}
		}
	}
}

func newClientKeyRSA(t *testing.T) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return key
}
