package op

import (
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"sync"
)

// showing is a transport that shows the client's certificate as it is at the time of the request.
// A connection shows one certificate for as long as it lasts, and a busy one lasts for ever. So
// each certificate has connections of its own: tokens would otherwise go on being bound to the old
// one at one endpoint, and be refused at another, which sees the new one.
type showing struct {
	base    *http.Transport // without a certificate
	current certificate

	mu        sync.Mutex
	chain     [sha256.Size]byte // of the certificate that transport shows
	transport *http.Transport   // nil before the first request
}

// RoundTrip implements [http.RoundTripper].
func (s *showing) RoundTrip(r *http.Request) (*http.Response, error) {
	t, err := s.now()
	if err != nil {
		closeBody(r.Body)
		return nil, err
	}
	return t.RoundTrip(r)
}

// now returns the transport that shows the current certificate. Idle connections of the one before
// are closed. Requests under way end as they began.
func (s *showing) now() (*http.Transport, error) {
	c, err := s.current(anyHandshake())
	if err == nil && c == nil {
		err = errors.New("the function that gives the certificate returned none")
	}
	if err != nil {
		return nil, &fault{status: http.StatusBadGateway, text: err.Error()}
	}
	chain := chainOf(c)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.transport != nil && s.chain == chain {
		return s.transport, nil
	}
	before, shown := s.transport, *c
	s.transport, s.chain = s.base.Clone(), chain
	s.transport.TLSClientConfig.GetClientCertificate = func(
		*tls.CertificateRequestInfo,
	) (*tls.Certificate, error) {
		return &shown, nil
	}
	if before != nil {
		before.CloseIdleConnections()
	}
	return s.transport, nil
}

func chainOf(c *tls.Certificate) (sum [sha256.Size]byte) {
	h := sha256.New()
	for _, raw := range c.Certificate { // each says in its DER how long it is
		h.Write(raw)
	}
	h.Sum(sum[:0])
	return sum
}

// anyHandshake is what the function is told that gives the certificate: a server that takes those
// of any authority, with a key of any kind.
func anyHandshake() *tls.CertificateRequestInfo {
	return &tls.CertificateRequestInfo{
		Version: tls.VersionTLS13,
		SignatureSchemes: []tls.SignatureScheme{
			tls.ECDSAWithP256AndSHA256, tls.ECDSAWithP384AndSHA384, tls.ECDSAWithP521AndSHA512,
			tls.Ed25519, tls.PSSWithSHA256, tls.PSSWithSHA384, tls.PSSWithSHA512,
		},
	}
}

// closeBody closes the body of a request that is not sent (http.RoundTripper).
func closeBody(body io.ReadCloser) {
	if body != nil {
		_ = body.Close()
	}
}
