package op

import (
	"net/netip"
	"net/url"
	"strings"

	"github.com/oidcgate/oidcgate/internal/event"
)

// Endpoints are the URLs of a provider, named as in OpenID Connect Discovery, 3. An empty one is
// unknown.
type Endpoints struct {
	Authorization string
	Token         string
	Userinfo      string
	JWKS          string
	EndSession    string
	Revocation    string
}

// chooseEndpoints prefers the configured endpoints to the discovered ones, and checks each
// discovered one that will be used.
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
			return Endpoints{}, reject(event.ReasonEndpointInvalid,
				e.name+" is not an absolute https URL without user information and fragment")
		}
		*e.chosen = e.found
	}
	if hasProtocolParameter(chosen.Authorization) {
		return Endpoints{}, reject(event.ReasonEndpointInvalid,
			"authorization_endpoint has a protocol parameter in its query")
	}
	return chosen, nil
}

// allows reports whether an endpoint from the provider may be used.
func (cfg *Config) allows(endpoint string) bool {
	u, err := url.Parse(endpoint)
	if err != nil || len(endpoint) > 2048 || u.Hostname() == "" || u.User != nil ||
		strings.Contains(endpoint, "#") {
		return false
	}
	switch u.Scheme {
	case "https":
		return true
	case "http":
		// A provider on https that names an endpoint on our own loopback would make us call a
		// service that trusts this host.
		return cfg.AllowHTTP || isLoopback(u) && strings.HasPrefix(cfg.Issuer, "http://")
	default:
		return false
	}
}

func isLoopback(u *url.URL) bool {
	ip, err := netip.ParseAddr(u.Hostname())
	return err == nil && ip.IsLoopback() || strings.EqualFold(u.Hostname(), "localhost")
}

// hasProtocolParameter reports whether the endpoint's own query would make a parameter of the
// authorization request appear twice (RFC 6749, 3.1).
func hasProtocolParameter(endpoint string) bool {
	u, err := url.Parse(endpoint)
	if err != nil {
		return true
	}
	query := u.Query()
	for _, name := range []string{
		"response_type", "client_id", "redirect_uri", "scope", "state", "nonce",
		"response_mode", "code_challenge", "code_challenge_method", "request", "request_uri",
		"prompt", "max_age", "acr_values",
	} {
		if query.Has(name) {
			return true
		}
	}
	return false
}

// originOf returns scheme, host and port of a URL in the form in which browsers compare them
// (RFC 6454, 6.2), or "" if there is no host.
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
