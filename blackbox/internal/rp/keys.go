package rp

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
)

// WriteKey writes a private key to a PEM file, and returns it with its public half for the provider.
func WriteKey(t testing.TB, algorithm string) (file string, public jose.JSONWebKey) {
	t.Helper()
	var key crypto.Signer
	var err error
	switch algorithm {
	case "ES256", "ECDH-ES":
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "EdDSA":
		_, key, err = ed25519.GenerateKey(rand.Reader)
	default:
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	}
	if err != nil {
		t.Fatal(err)
	}
	text, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	file = writeFile(t, t.TempDir(), "key.pem", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: text}))
	public = jose.JSONWebKey{Key: key.Public(), Algorithm: algorithm, Use: "sig"}
	if strings.HasPrefix(algorithm, "RSA-") || strings.HasPrefix(algorithm, "ECDH-") {
		public.Use = "enc"
	}
	sum, err := public.Thumbprint(crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	public.KeyID = base64.RawURLEncoding.EncodeToString(sum)
	return file, public
}
