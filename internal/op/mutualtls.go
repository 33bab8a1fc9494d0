package op

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/oidcgate/oidcgate/internal/claims"
)

// Certificate is a client's certificate with its private key.
type Certificate struct {
	// Current returns the certificate for a handshake. It is called concurrently.
	Current func(*tls.CertificateRequestInfo) (*tls.Certificate, error)

	fixed *tls.Certificate // what Current always returns; nil if that may change
}

// FixedCertificate returns a Certificate that does not change.
func FixedCertificate(c *tls.Certificate) *Certificate {
	return &Certificate{
		Current: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return c, nil },
		fixed:   c,
	}
}

// unchanging returns the certificate if it does not change, or nil.
func (c *Certificate) unchanging() *tls.Certificate {
	if c == nil {
		return nil
	}
	return c.fixed
}

// usesCertificate reports whether the client shows a certificate: to prove who it is (RFC 8705, 2),
// or because tokens are bound to it (3).
func (cfg *Config) usesCertificate() bool {
	return cfg.Auth.Certificate != nil || cfg.Certificate != nil
}

// mutual returns the transport for the endpoints at which the client shows its certificate. It has
// connections of its own, so that nobody else gets to see the certificate. ok is false if the
// configured transport cannot show one.
func (cfg *Config) mutual(transport http.RoundTripper) (mutual http.RoundTripper, ok bool) {
	if !cfg.usesCertificate() {
		return transport, true
	}
	t, ok := transport.(*http.Transport)
	if !ok {
		return nil, false
	}
	t = t.Clone()
	if t.TLSClientConfig == nil {
		t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	t.TLSClientConfig.Certificates = nil
	current := cfg.Auth.Certificate
	if cfg.Certificate != nil {
		current = cfg.Certificate
	}
	t.TLSClientConfig.GetClientCertificate = withoutPanic(cfg.strong(current.Current))
	return t, true
}

type certificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error)

// strong returns a function that fails for a certificate that the profile does not allow.
func (cfg *Config) strong(current certificate) certificate {
	return func(r *tls.CertificateRequestInfo) (*tls.Certificate, error) {
		c, err := current(r)
		if err == nil && !cfg.mayShow(c) {
			return nil, errors.New("the client's certificate " + hintProfileCertificate)
		}
		return c, err
	}
}

// withoutPanic returns a function whose panic fails the handshake. Package net/http calls it in a
// goroutine of its own, where a panic would end the process.
func withoutPanic(current certificate) certificate {
	return func(r *tls.CertificateRequestInfo) (c *tls.Certificate, err error) {
		defer func() {
			if v := recover(); v != nil {
				c, err = nil, fmt.Errorf("the function that gives the certificate panicked: %v", v)
			}
		}()
		return current(r)
	}
}

// RoundTrip sends a request to a resource with an access token, and with what proves that the token
// is this client's: its certificate, or a proof by the key of that text. If the answer is that the
// proof needs a nonce, the request is sent once more, unless its body cannot be read twice (RFC
// 9449, 9).
func (c *Client) RoundTrip(r *http.Request, accessToken, dpopKey string) (*http.Response, error) {
	key, err := ParseDPoPKey(dpopKey)
	if err != nil {
		return nil, err
	}
	resp, err := c.roundTrip(r, r.Body, accessToken, key)
	if err != nil || key == nil || !c.WantsNonce(r.URL, resp.StatusCode, resp.Header) {
		return resp, err
	}
	body := r.Body
	if body != nil && body != http.NoBody {
		if r.GetBody == nil {
			return resp, nil
		}
		if body, err = r.GetBody(); err != nil {
			return resp, nil
		}
	}
	_ = resp.Body.Close()
	return c.roundTrip(r, body, accessToken, key)
}

func (c *Client) roundTrip(
	r *http.Request, body io.ReadCloser, accessToken string, key *DPoPKey,
) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Body = body
	if err := c.Present(r, accessToken, key); err != nil {
		if body != nil {
			_ = body.Close()
		}
		return nil, err
	}
	return c.resources().RoundTrip(r)
}

// resources is the transport to resources: that of package net/http, with the certificate that
// tokens are bound to, if they are.
func (c *Client) resources() http.RoundTripper {
	if c.cfg.Certificate == nil {
		return http.DefaultTransport
	}
	c.toResources.once.Do(func() {
		c.toResources.transport, _ = c.cfg.mutual(http.DefaultTransport)
	})
	if c.toResources.transport == nil { // the program has put something else there
		return http.DefaultTransport
	}
	return c.toResources.transport
}

// aliases puts the endpoints that the provider has for clients with certificates in place of the
// others (RFC 8705, 5).
func (e *Endpoints) aliases(doc claims.Object) (wrong string) {
	v, ok := doc.Get("mtls_endpoint_aliases")
	if !ok || v.Kind() == claims.Null {
		return ""
	}
	members, ok := v.Object()
	if !ok {
		return "mtls_endpoint_aliases"
	}
	r := memberReader{doc: members}
	for name, endpoint := range map[string]*string{
		"token_endpoint":      &e.Token,
		"userinfo_endpoint":   &e.Userinfo,
		"revocation_endpoint": &e.Revocation,

		"introspection_endpoint": &e.Introspection,

		"pushed_authorization_request_endpoint": &e.PushedAuthorization,
	} {
		if alias := r.text(name); alias != "" {
			*endpoint = alias
		}
	}
	return r.wrong
}
