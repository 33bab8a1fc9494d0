package op_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oidcgate/oidcgate/internal/op"
)

func TestCertificateIsReplaced(t *testing.T) {
	for _, protocol := range []string{"HTTP/1.1", "HTTP/2"} {
		t.Run("C091 "+protocol+": each request shows the certificate of its time, and a certificate that stays is shown once", func(t *testing.T) {
			server, seen := tlsOP(t)
			server.EnableHTTP2 = protocol == "HTTP/2"
			opened, closed := make(chan struct{}, 100), make(chan struct{}, 100)
			server.Config.ConnState = func(_ net.Conn, s http.ConnState) {
				switch s {
				case http.StateNew:
					opened <- struct{}{}
				case http.StateClosed:
					closed <- struct{}{}
				}
			}
			server.StartTLS()
			standard := http.DefaultTransport.(*http.Transport)
			before := standard.TLSClientConfig
			standard.TLSClientConfig = server.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
			t.Cleanup(func() { standard.TLSClientConfig = before })
			var current atomic.Pointer[tls.Certificate]
			c := op.New(newOP().config(func(cfg *op.Config) {
				cfg.Issuer, cfg.Transport, cfg.Timeout, cfg.Userinfo = server.URL, nil, time.Minute, op.UserinfoRequired
				cfg.RootCAs = x509.NewCertPool()
				cfg.RootCAs.AddCert(server.Certificate())
				cfg.Certificate = &op.Certificate{Current: func(r *tls.CertificateRequestInfo) (*tls.Certificate, error) {
					again := *current.Load() // as one that is read from a file
					return &again, r.SupportsCertificate(&again)
				}}
			}))
			for i, name := range []string{"first", "second", "third"} {
				one := newCertificate(t, name)
				current.Store(&one)
				for range 5 {
					_, err := c.Exchange(t.Context(), "c", "v")
					wantReason(t, err, "")
					_, err = c.Userinfo(t.Context(), "at-1", subject)
					wantReason(t, err, "")
					r, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+"/resource", nil)
					resp, err := c.RoundTrip(r, "at-1", "")
					if err != nil {
						t.Fatal(err)
					}
					_, _ = io.Copy(io.Discard, resp.Body)
					_ = resp.Body.Close()
					for _, path := range []string{"/mtls/token", "/mtls/userinfo", "/resource"} {
						if got := seen(path); got != name {
							t.Fatalf("%s saw the certificate %q, want %q", path, got, name)
						}
					}
				}
				if n, want := len(opened), 1+2*(1+i); n != want {
					t.Errorf("%d connections, want %d: one for the metadata, and two for each certificate", n, want)
				}
				for range min(i, 1) * 2 { // those of the certificate before
					select {
					case <-closed:
					case <-time.After(15 * time.Second): // an idle one ends after 30
						t.Fatal("a connection that shows the old certificate stays open")
					}
				}
			}
		})
	}
	server, _ := tlsOP(t)
	server.StartTLS()
	for name, row := range map[string]struct {
		current func(*tls.CertificateRequestInfo) (*tls.Certificate, error)
		want    string
	}{
		"fails": {func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return nil, errors.New("no such file") }, "no such file"},
		"panics": {func(r *tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return nil, r.Context().Err() // there is none
		}, "panicked"},
		"returns none": {func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return nil, nil }, "returned none"},
	} {
		t.Run("C091 the function that gives the certificate "+name+": the request fails, and its body is closed", func(t *testing.T) {
			c := op.New(newOP().config(func(cfg *op.Config) {
				cfg.Issuer, cfg.Transport, cfg.RootCAs = server.URL, nil, x509.NewCertPool()
				cfg.RootCAs.AddCert(server.Certificate())
				cfg.Certificate = &op.Certificate{Current: row.current}
			}))
			_, err := c.Exchange(t.Context(), "c", "v")
			if err == nil || !strings.Contains(err.Error(), row.want) {
				t.Errorf("the code: error %v, want one with %q", err, row.want)
			}
			body := &closed{Reader: strings.NewReader("an order")}
			r, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+"/resource", body)
			if _, err := c.RoundTrip(r, "at-1", ""); err == nil || !body.closed {
				t.Errorf("a resource: error %v, body closed: %v", err, body.closed)
			}
		})
	}
}

// closed is a body that knows whether it was closed.
type closed struct {
	io.Reader
	closed bool
}

func (c *closed) Close() error { c.closed = true; return nil }
