package op_test

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"log"
	"net/http/httptest"
	"testing"

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
			cfg.Auth = op.Auth{Method: op.AuthTLS, Certificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
				panic("no vault")
			}}
		})
		_, err := c.Exchange(t.Context(), "c", "v")
		wantReason(t, err, "token_endpoint_unreachable")
	})
}
