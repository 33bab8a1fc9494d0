package blackbox_test

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/oidcgate/oidcgate/blackbox/internal/idp"
	"github.com/oidcgate/oidcgate/blackbox/internal/rp"
	"github.com/oidcgate/oidcgate/blackbox/internal/visitor"
	"github.com/oidcgate/oidcgate/blackbox/internal/walk"
)

// The service proves by an assertion who it is, with every kind of key.
func TestAssertions(t *testing.T) {
	for _, algorithm := range []string{"RS256", "PS256", "ES256", "EdDSA", "HS256"} {
		t.Run("C088 "+algorithm, func(t *testing.T) {
			options, client := newShop(t)
			client.AuthAlgorithm = algorithm
			options = options.With("OIDC_CLIENT_AUTH", "secret-jwt")
			client.AuthMethod = "client_secret_jwt"
			if algorithm != "HS256" {
				file, key := rp.WriteKey(t, algorithm)
				options = options.With("OIDC_CLIENT_AUTH", "key-jwt", "OIDC_CLIENT_KEYS", algorithm+":"+file)
				client.AuthMethod, client.Secret = "private_key_jwt", ""
				client.Keys = &jose.JSONWebKeySet{Keys: []jose.JSONWebKey{key}}
			}
			op := idp.Start(t, idp.Config{Clients: []idp.Client{client}})
			walk.Tour{Issuer: op.Issuer, Alice: idp.Alice, Bob: idp.Bob, Options: options.With("OIDC_ISSUER", op.Issuer)}.Take(t)
		})
	}
}

// The service proves by its certificate who it is.
func TestCertificates(t *testing.T) {
	for _, method := range []string{"tls_client_auth", "self_signed_tls_client_auth"} {
		t.Run("C091 "+method, func(t *testing.T) {
			serverCert, serverKey, roots := rp.WriteCertificate(t, "127.0.0.1")
			clientFile, certificate := clientCertificate(t)
			options, client := newShop(t)
			client.AuthMethod, client.Secret = method, ""
			auth := "tls"
			if method == "tls_client_auth" {
				client.TLSSubject = "CN=shop"
			} else {
				auth = "self-signed-tls"
				client.Keys = &jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: certificate.PublicKey, Certificates: []*x509.Certificate{certificate}, Use: "sig", KeyID: "c"}}}
			}
			op := idp.Start(t, idp.Config{Clients: []idp.Client{client}, TLS: &idp.TLS{Cert: serverCert, Key: serverKey}})
			options = options.With("OIDC_ISSUER", op.Issuer, "OIDC_CLIENT_AUTH", auth, "OIDC_CLIENT_CERT", clientFile, "OIDC_CLIENT_SECRET", "", "CA_FILE", serverCert)
			shop := rp.Start(t, options)
			alice := visitor.New()
			alice.Trust(roots)
			p := alice.LogIn(t, alice.Get(t, shop.URL+"/app"), idp.Alice.Login, idp.Alice.Password)
			if p.Status != http.StatusOK {
				t.Fatalf("logging in ends at %s with %d:\n%s", p.URL, p.Status, p.Body)
			}
			walk.WantIdentity(t, walk.Whoami(t, alice, shop.URL), op.Issuer, idp.Alice)
		})
	}
}

// clientCertificate makes a certificate for "shop" and writes it, with its key, into one file.
func clientCertificate(t *testing.T) (file string, certificate *x509.Certificate) {
	t.Helper()
	certFile, keyFile, _ := rp.WriteCertificate(t, "shop")
	var both []byte
	for _, name := range []string{certFile, keyFile} {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		both = append(both, text...)
	}
	file = filepath.Join(t.TempDir(), "client.pem")
	if err := os.WriteFile(file, both, 0o600); err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(both, both)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err = x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	return file, certificate
}

// Access tokens are bound to a key of their session, which proves itself at userinfo too.
func TestDPoP(t *testing.T) {
	for _, nonces := range []bool{false, true} {
		t.Run(map[bool]string{false: "C092 without nonces", true: "C093 with nonces"}[nonces], func(t *testing.T) {
			options, client := newShop(t)
			client.DPoPBound = true
			op := idp.Start(t, idp.Config{Clients: []idp.Client{client}, DPoPNonces: nonces})
			options = options.With("OIDC_ISSUER", op.Issuer, "OIDC_TOKEN_BINDING", "dpop", "OIDC_USERINFO", "required")
			walk.Tour{Issuer: op.Issuer, Alice: idp.Alice, Bob: idp.Bob, Options: options}.Take(t)
		})
	}
}

// Access tokens are bound to the client's certificate, which userinfo wants to see.
func TestCertificateBoundTokens(t *testing.T) {
	serverCert, serverKey, roots := rp.WriteCertificate(t, "127.0.0.1")
	clientFile, _ := clientCertificate(t)
	keyFile, key := rp.WriteKey(t, "ES256")
	options, client := newShop(t)
	client.AuthMethod, client.Secret, client.AuthAlgorithm, client.CertificateBound = "private_key_jwt", "", "ES256", true
	client.Keys = &jose.JSONWebKeySet{Keys: []jose.JSONWebKey{key}}
	op := idp.Start(t, idp.Config{Clients: []idp.Client{client}, TLS: &idp.TLS{Cert: serverCert, Key: serverKey}})
	options = options.With("OIDC_ISSUER", op.Issuer, "OIDC_CLIENT_AUTH", "key-jwt", "OIDC_CLIENT_KEYS", keyFile, "OIDC_CLIENT_SECRET", "",
		"OIDC_TOKEN_BINDING", "mtls", "OIDC_CLIENT_CERT", clientFile, "OIDC_USERINFO", "required", "CA_FILE", serverCert)
	walk.Tour{Issuer: op.Issuer, Roots: roots, Alice: idp.Alice, Bob: idp.Bob, Options: options}.Take(t)
}
