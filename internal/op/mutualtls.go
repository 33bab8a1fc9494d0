package op

import (
	"crypto/tls"
	"net/http"

	"github.com/oidcgate/oidcgate/internal/claims"
)

// usesCertificate reports whether the client proves by a certificate who it is (RFC 8705, 2).
func (cfg *Config) usesCertificate() bool { return cfg.Auth.Certificate != nil }

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
	t.TLSClientConfig.GetClientCertificate = cfg.Auth.Certificate
	return t, true
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
	} {
		if alias := r.text(name); alias != "" {
			*endpoint = alias
		}
	}
	return r.wrong
}
