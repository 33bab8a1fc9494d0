package op_test

import (
	"crypto/tls"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oidcgate/oidcgate/internal/op"
)

// A transport of the application may resume TLS sessions. A resumed one has the certificate of its
// first handshake, or none.
func TestCertificateWithASessionCache(t *testing.T) {
	for name, discovered := range map[string]bool{"after a discovery without a certificate": true, "with endpoints that are configured": false} {
		t.Run("C091 each request shows the certificate of its time "+name, func(t *testing.T) {
			server, seen := tlsOP(t)
			server.StartTLS()
			transport := &http.Transport{TLSClientConfig: server.Client().Transport.(*http.Transport).TLSClientConfig.Clone()}
			transport.TLSClientConfig.ClientSessionCache = tls.NewLRUClientSessionCache(0)
			var current atomic.Pointer[tls.Certificate]
			c := op.New(newOP().config(func(cfg *op.Config) {
				cfg.Issuer, cfg.Transport, cfg.Timeout, cfg.Userinfo = server.URL, transport, time.Minute, op.UserinfoRequired
				if e := &cfg.Endpoints; !discovered {
					e.Authorization, e.Token, e.JWKS, e.Userinfo = server.URL+"/authorize", server.URL+"/mtls/token", server.URL+"/jwks", server.URL+"/mtls/userinfo"
				}
				cfg.Certificate = &op.Certificate{Current: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return current.Load(), nil }}
			}))
			for _, name := range []string{"first", "second", "third"} {
				one := newCertificate(t, name)
				current.Store(&one)
				if _, err := c.Exchange(t.Context(), "c", "v"); seen("/mtls/token") != name {
					t.Errorf("the server saw %q, want %q (%v)", seen("/mtls/token"), name, err)
				}
			}
		})
	}
}
