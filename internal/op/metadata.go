package op

import (
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/oidcgate/oidcgate/internal/claims"
	"github.com/oidcgate/oidcgate/internal/event"
)

// Metadata is what we know of the provider (OpenID Connect Discovery, 3): from
// its document, from the configuration, or from both.
type Metadata struct {
	Issuer string
	Endpoints

	// IssParameter says that every authorization response carries iss
	// (RFC 9207, 3).
	IssParameter bool

	// What the provider lists, nil when it does not list it.
	CodeChallengeMethods []string
	SigningAlgs          []string
	TokenAuthMethods     []string
}

// reject is the Error for a document that we do not work by. The browser gets
// 503: to a visitor, a provider we may not use is a provider that is down.
func reject(reason event.Reason, text string) *Error {
	e := invalid(reason, text)
	e.Status = http.StatusServiceUnavailable
	e.Hint = "the provider's metadata is not what the configuration expects; compare its discovery document"
	return e
}

// otherIssuer is the Error for metadata of an issuer that is not the configured
// one. The two are compared byte for byte (RFC 8414, 3.3), and a slash at the
// end is the commonest difference.
func otherIssuer(announced, configured string) *Error {
	e := reject(event.ReasonIssuerMismatch, "the metadata is that of another issuer")
	switch {
	case announced == configured+"/":
		e.Hint = "set Issuer with a slash at its end, as the provider writes it"
	case announced+"/" == configured:
		e.Hint = "set Issuer without the slash at its end, as the provider writes it"
	}
	return e
}

// newMetadata reads a discovery document. What decides over security is typed
// strictly: "true" is not true, and a string is not a list of one.
func newMetadata(doc claims.Object, cfg *Config) (*Metadata, error) {
	r := memberReader{doc: doc}
	m := &Metadata{
		Issuer:               r.text("issuer"),
		IssParameter:         r.flag("authorization_response_iss_parameter_supported"),
		CodeChallengeMethods: r.list("code_challenge_methods_supported"),
		SigningAlgs:          r.list("id_token_signing_alg_values_supported"),
		TokenAuthMethods:     r.list("token_endpoint_auth_methods_supported"),
	}
	discovered := Endpoints{
		Authorization: r.text("authorization_endpoint"),
		Token:         r.text("token_endpoint"),
		Userinfo:      r.text("userinfo_endpoint"),
		JWKS:          r.text("jwks_uri"),
		EndSession:    r.text("end_session_endpoint"),
		Revocation:    r.text("revocation_endpoint"),
	}
	if r.wrong != "" {
		return nil, reject(event.ReasonMetadataInvalid, r.wrong+" has the wrong type")
	}
	if m.Issuer != cfg.Issuer {
		return nil, otherIssuer(m.Issuer, cfg.Issuer)
	}
	// Without S256 the provider would take any verifier for any code. A
	// provider that lists nothing is sent the challenge all the same: who does
	// not know a parameter ignores it (RFC 6749, 3.1).
	if m.CodeChallengeMethods != nil && !slices.Contains(m.CodeChallengeMethods, "S256") {
		return nil, reject(event.ReasonPKCEUnsupported, "code_challenge_methods_supported does not list S256")
	}
	var err error
	m.Endpoints, err = chooseEndpoints(discovered, cfg)
	return m, err
}

// chooseEndpoints takes the configured endpoints before the discovered ones and
// checks each of the latter that will be used.
func chooseEndpoints(discovered Endpoints, cfg *Config) (Endpoints, error) {
	if cfg.Userinfo == UserinfoOff {
		discovered.Userinfo = ""
	}
	chosen := cfg.Endpoints
	for _, e := range []struct {
		name     string
		chosen   *string
		found    string
		required bool
	}{
		{"authorization_endpoint", &chosen.Authorization, discovered.Authorization, true},
		{"token_endpoint", &chosen.Token, discovered.Token, true},
		{"jwks_uri", &chosen.JWKS, discovered.JWKS, true},
		{"userinfo_endpoint", &chosen.Userinfo, discovered.Userinfo, cfg.Userinfo == UserinfoRequired},
		{"end_session_endpoint", &chosen.EndSession, discovered.EndSession, false},
		{"revocation_endpoint", &chosen.Revocation, discovered.Revocation, false},
	} {
		if *e.chosen != "" || e.found == "" && !e.required {
			continue
		}
		if !cfg.allows(e.found) {
			return Endpoints{}, reject(event.ReasonEndpointInvalid, e.name+" is not an absolute https URL without user information and fragment")
		}
		*e.chosen = e.found
	}
	if hasProtocolParameter(chosen.Authorization) {
		return Endpoints{}, reject(event.ReasonEndpointInvalid, "authorization_endpoint has a protocol parameter in its query")
	}
	return chosen, nil
}

// allows reports whether an endpoint from the provider may be used.
func (cfg *Config) allows(endpoint string) bool {
	u, err := url.Parse(endpoint)
	if err != nil || len(endpoint) > 2048 || u.Hostname() == "" || u.User != nil || strings.Contains(endpoint, "#") {
		return false
	}
	switch u.Scheme {
	case "https":
		return true
	case "http":
		// A provider on https that names an endpoint on our own loopback
		// reaches for a service that trusts this host.
		return cfg.AllowHTTP || isLoopback(u) && strings.HasPrefix(cfg.Issuer, "http://")
	default:
		return false
	}
}

func isLoopback(u *url.URL) bool {
	ip, err := netip.ParseAddr(u.Hostname())
	return err == nil && ip.IsLoopback() || strings.EqualFold(u.Hostname(), "localhost")
}

// hasProtocolParameter reports whether the endpoint's own query would make a
// parameter of the authorization request appear twice (RFC 6749, 3.1).
func hasProtocolParameter(endpoint string) bool {
	u, err := url.Parse(endpoint)
	if err != nil {
		return true
	}
	query := u.Query()
	for _, name := range []string{
		"response_type", "client_id", "redirect_uri", "scope", "state", "nonce", "response_mode",
		"code_challenge", "code_challenge_method", "request", "request_uri", "prompt", "max_age", "acr_values",
	} {
		if query.Has(name) {
			return true
		}
	}
	return false
}

// refuse returns why next must not take m's place, or nil. Metadata may become
// stricter while we run, never looser, and endpoints do not leave their origin:
// whoever can change the document for a moment, a hijacked DNS entry or a
// careless deployment, must not send codes and secrets elsewhere. A restart
// takes what is then there.
func (m *Metadata) refuse(next *Metadata) error {
	if m.IssParameter && !next.IssParameter {
		return reject(event.ReasonDowngrade, "authorization_response_iss_parameter_supported was withdrawn")
	}
	if slices.Contains(m.CodeChallengeMethods, "S256") && next.CodeChallengeMethods == nil {
		return reject(event.ReasonDowngrade, "code_challenge_methods_supported was withdrawn")
	}
	for _, e := range []struct{ name, before, after string }{
		{"authorization_endpoint", m.Authorization, next.Authorization},
		{"token_endpoint", m.Token, next.Token},
		{"jwks_uri", m.JWKS, next.JWKS},
		{"userinfo_endpoint", m.Userinfo, next.Userinfo},
		{"end_session_endpoint", m.EndSession, next.EndSession},
		{"revocation_endpoint", m.Revocation, next.Revocation},
	} {
		if !m.mayMove(e.before, e.after) {
			return reject(event.ReasonDowngrade, e.name+" moved to another origin")
		}
	}
	return nil
}

// mayMove reports whether an endpoint may change from before to after. One that
// is new must be at an origin where the provider already is.
func (m *Metadata) mayMove(before, after string) bool {
	if after == "" {
		return true
	}
	if before != "" {
		return originOf(before) == originOf(after)
	}
	for _, known := range []string{m.Issuer, m.Authorization, m.Token, m.JWKS, m.Userinfo, m.EndSession} {
		if known != "" && originOf(known) == originOf(after) {
			return true
		}
	}
	return false
}

// originOf returns scheme, host and port of a URL as a browser would compare
// them (RFC 6454, 6.2), or "" if there is no host.
func originOf(endpoint string) string {
	u, err := url.Parse(endpoint)
	if err != nil || u.Host == "" {
		return ""
	}
	host := strings.ToLower(u.Host)
	switch u.Scheme {
	case "https":
		host = strings.TrimSuffix(host, ":443")
	case "http":
		host = strings.TrimSuffix(host, ":80")
	}
	return u.Scheme + "://" + host
}

// memberReader reads members of a fixed type. A member that is absent or null
// has the zero value; the first of another type is remembered.
type memberReader struct {
	doc   claims.Object
	wrong string
}

func (r *memberReader) get(name string) (claims.Value, bool) {
	v, ok := r.doc.Get(name)
	return v, ok && v.Kind() != claims.Null
}

func (r *memberReader) check(name string, ok bool) {
	if !ok && r.wrong == "" {
		r.wrong = name
	}
}

func (r *memberReader) text(name string) string {
	v, ok := r.get(name)
	if !ok {
		return ""
	}
	s, ok := v.Str()
	r.check(name, ok)
	return s
}

func (r *memberReader) flag(name string) bool {
	v, ok := r.get(name)
	if !ok {
		return false
	}
	b, ok := v.Bool()
	r.check(name, ok)
	return b
}

func (r *memberReader) list(name string) []string {
	v, ok := r.get(name)
	if !ok {
		return nil
	}
	list, ok := textList(v)
	r.check(name, ok)
	return list
}

// textList returns the strings of an array of strings, never nil if v is one.
func textList(v claims.Value) ([]string, bool) {
	if v.Kind() != claims.Array {
		return nil, false
	}
	list := []string{}
	for e := range v.Elements() {
		s, ok := e.Str()
		if !ok {
			return nil, false
		}
		list = append(list, s)
	}
	return list, true
}
