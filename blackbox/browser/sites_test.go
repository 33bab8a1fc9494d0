package browser_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// Three hosts that are separate sites for a browser. Two ports of localhost would be one site and
// share cookies, so the tests of SameSite and "__Host-" would pass there without testing anything.
const (
	shopURL = "https://shop.test"
	idURL   = "https://id.test"
	evilURL = "https://evil.test"
)

// site is an https server on loopback. Its handler can be replaced between tests. Its port stays,
// because the browser gets it when it starts.
type site struct {
	host    string
	address string // host:port on loopback
	handler atomic.Pointer[http.Handler]
}

func (s *site) serve(h http.Handler) { s.handler.Store(&h) }

func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if h := s.handler.Load(); h != nil {
		(*h).ServeHTTP(w, r)
		return
	}
	http.NotFound(w, r)
}

// sites are the servers of a test, under one certificate authority.
type sites struct {
	shop, id, evil *site
	authority      *authority
}

func startSites(t *testing.T) *sites {
	t.Helper()
	a := newAuthority(t)
	start := func(host string) *site {
		s := &site{host: host}
		server := httptest.NewUnstartedServer(s)
		server.EnableHTTP2 = true
		server.TLS = &tls.Config{Certificates: []tls.Certificate{a.issue(t, host)}}
		server.Config.ErrorLog = log.New(io.Discard, "", 0) // Chromium opens connections that it does not use, which would be logged
		server.StartTLS()
		t.Cleanup(server.Close)
		s.address = server.Listener.Addr().String()
		return s
	}
	return &sites{shop: start("shop.test"), id: start("id.test"), evil: start("evil.test"), authority: a}
}

func (s *sites) all() []*site { return []*site{s.shop, s.id, s.evil} }

// flags tell Chromium the addresses of the sites and which certificate authority to trust. The URLs
// of the sites have no port, as on the Internet.
func (s *sites) flags() []chromedp.ExecAllocatorOption {
	var rules []string
	for _, site := range s.all() {
		rules = append(rules, fmt.Sprintf("MAP %s:443 %s", site.host, site.address))
	}
	return []chromedp.ExecAllocatorOption{
		chromedp.Flag("host-resolver-rules", strings.Join(rules, ", ")),
		chromedp.Flag("ignore-certificate-errors-spki-list", s.authority.fingerprint()),
	}
}

// transport sends the gate's own requests to the sites. It trusts only the same certificate
// authority.
func (s *sites) transport(t *testing.T) http.RoundTripper {
	dialer := new(net.Dialer)
	transport := &http.Transport{
		ForceAttemptHTTP2: true,
		TLSClientConfig:   &tls.Config{RootCAs: s.authority.pool()},
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			for _, site := range s.all() {
				if address == site.host+":443" {
					return dialer.DialContext(ctx, network, site.address)
				}
			}
			return nil, fmt.Errorf("no site of this test: %s", address)
		},
	}
	t.Cleanup(transport.CloseIdleConnections)
	return transport
}

// authority is a certificate authority for one test.
type authority struct {
	key         *ecdsa.PrivateKey
	certificate *x509.Certificate
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := newTemplate("oidcgate test authority")
	template.IsCA, template.BasicConstraintsValid, template.KeyUsage = true, true, x509.KeyUsageCertSign
	return &authority{key, sign(t, template, template, key, key)}
}

// issue returns a certificate for a host, with its chain.
func (a *authority) issue(t *testing.T, host string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := newTemplate(host)
	template.DNSNames, template.KeyUsage = []string{host}, x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	leaf := sign(t, template, a.certificate, key, a.key)
	return tls.Certificate{Certificate: [][]byte{leaf.Raw, a.certificate.Raw}, PrivateKey: key}
}

func newTemplate(name string) *x509.Certificate {
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()),
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    now.Add(-time.Hour),
		NotAfter:     now.Add(24 * time.Hour),
	}
}

func sign(t *testing.T, template, parent *x509.Certificate, subject, signer *ecdsa.PrivateKey) *x509.Certificate {
	t.Helper()
	raw, err := x509.CreateCertificate(rand.Reader, template, parent, &subject.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(raw)
	if err != nil {
		t.Fatal(err)
	}
	return certificate
}

func (a *authority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.certificate)
	return pool
}

// fingerprint returns the hash of the authority's key in the form that Chromium's flag needs.
func (a *authority) fingerprint() string {
	sum := sha256.Sum256(a.certificate.RawSubjectPublicKeyInfo)
	return base64.StdEncoding.EncodeToString(sum[:])
}
