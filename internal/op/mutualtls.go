package op

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"

	"github.com/oidcgate/oidcgate/internal/claims"
)

// Certificate is a client's certificate with its private key.
type Certificate struct {
	// Current returns the certificate for a request. It is called before each one, concurrently.
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
// connections of its own, so that nobody else gets to see the certificate, and others for each
// certificate. ok is false if the configured transport cannot show one.
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
	t.TLSClientConfig.ClientSessionCache = nil // a session that is resumed shows its first certificate
	current := cfg.Auth.Certificate
	if cfg.Certificate != nil {
		current = cfg.Certificate
	}
	return &showing{base: t, current: withoutPanic(cfg.strong(current.Current))}, true
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

// withoutPanic returns a function whose panic fails the request.
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
