package op_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"log"
	"math/big"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/oidcgate/oidcgate/internal/op"
)

func TestCertificateFunctionPanics(t *testing.T) {
	t.Run("F34 a panic of the function that gives the certificate fails the request alone", func(t *testing.T) {
		o := newOP()
		o.set("token", answerJSON(tokenAnswer(nil)))
		server := httptest.NewUnstartedServer(o)
		server.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
		server.Config.ErrorLog = log.New(io.Discard, "", 0)
		server.StartTLS()
		defer server.Close()
		roots := x509.NewCertPool()
		roots.AddCert(server.Certificate())
		c := o.client(at(server.URL), func(cfg *op.Config) {
			cfg.Transport, cfg.RootCAs = nil, roots
			cfg.Auth = op.Auth{Method: op.AuthTLS, Certificate: &op.Certificate{Current: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
				panic("no vault")
			}}}
		})
		_, err := c.Exchange(t.Context(), "c", "v")
		wantReason(t, err, "token_endpoint_unreachable")
	})
}

// TestWeakCertificate is about a certificate that a function gives, which New does not see.
func TestWeakCertificate(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "weak"}, NotAfter: time.Now().Add(time.Hour)}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	weak := tls.Certificate{Certificate: [][]byte{raw}, PrivateKey: key}
	for _, row := range []struct {
		name    string
		profile op.Profile
		reason  string
		seen    string
	}{
		{"without a profile it is shown", op.NoProfile, "", "weak"},
		{"with FAPI 2.0 it is not", op.FAPI2Security, "token_endpoint_unreachable", ""},
	} {
		t.Run("C130 a weak certificate of a function: "+row.name, func(t *testing.T) {
			server, seen := tlsOP(t)
			server.StartTLS()
			c := op.New(newOP().config(func(cfg *op.Config) {
				cfg.Issuer, cfg.Transport, cfg.Timeout = server.URL, nil, time.Minute
				cfg.RootCAs = x509.NewCertPool()
				cfg.RootCAs.AddCert(server.Certificate())
				cfg.Profile, cfg.ResponseMode = row.profile, "jwt"
				cfg.Auth = op.Auth{Method: op.AuthTLS, Certificate: &op.Certificate{
					Current: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &weak, nil },
				}}
			}))
			_, err := c.Exchange(t.Context(), "c", "v")
			wantReason(t, err, row.reason)
			if got := seen("/mtls/token"); got != row.seen {
				t.Errorf("the token endpoint saw the certificate of %q, want %q", got, row.seen)
			}
		})
	}
}
