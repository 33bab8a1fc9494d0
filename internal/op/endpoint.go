package op

import (
	"net/url"
	"slices"
	"strings"

	"github.com/oidcgate/oidcgate/internal/event"
	"github.com/oidcgate/oidcgate/internal/weburl"
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
	Introspection string

	PushedAuthorization string

	Discovery string // of the metadata, if it is not at the issuer
}

// chooseEndpoints prefers the configured endpoints to the discovered ones, and checks each
// discovered one that will be used.
func chooseEndpoints(discovered Endpoints, cfg *Config) (Endpoints, error) {
	if cfg.Userinfo == UserinfoOff {
		discovered.Userinfo = ""
	}
	if cfg.Pushed == PushedOff {
		discovered.PushedAuthorization = ""
	}
	if len(cfg.APIAudience) == 0 {
		discovered.Introspection = ""
	}
	chosen := cfg.Endpoints
	for _, e := range []struct {
		name     string
		chosen   *string
		found    string
		required bool
	}{
		{"authorization_endpoint", &chosen.Authorization, discovered.Authorization, true},
		{"token_endpoint", &chosen.Token, discovered.Token, cfg.wantsCode()},
		{"jwks_uri", &chosen.JWKS, discovered.JWKS, cfg.needsKeys()},
		{"userinfo_endpoint", &chosen.Userinfo, discovered.Userinfo, cfg.Userinfo == UserinfoRequired},
		{"end_session_endpoint", &chosen.EndSession, discovered.EndSession, false},
		{"revocation_endpoint", &chosen.Revocation, discovered.Revocation, false},
		{"introspection_endpoint", &chosen.Introspection, discovered.Introspection, false},
		{
			"pushed_authorization_request_endpoint", &chosen.PushedAuthorization,
			discovered.PushedAuthorization, false,
		},
	} {
		if *e.chosen != "" || e.found == "" && !e.required {
			continue
		}
		if !cfg.allows(e.found) {
			return Endpoints{}, reject(event.ReasonEndpointInvalid,
				e.name+" is not an absolute https URL of a plain host "+
					"without user information and fragment")
		}
		*e.chosen = e.found
	}
	if cfg.hasProtocolParameter(chosen.Authorization) {
		return Endpoints{}, reject(event.ReasonEndpointInvalid,
			"authorization_endpoint has a protocol parameter in its query")
	}
	return chosen, nil
}

// allows reports whether an endpoint from the provider may be used.
func (cfg *Config) allows(endpoint string) bool {
	u, err := weburl.Check(endpoint, cfg.AllowHTTP)
	// A provider on https that names an endpoint on our own loopback would make us call a service
	// that trusts this host.
	return err == nil &&
		(u.Scheme == "https" || cfg.AllowHTTP || strings.HasPrefix(cfg.Issuer, "http://"))
}

// requestParameters are the parameters of an authorization request that only this package sets. A
// second one from the configuration or from an endpoint's query would replace ours or stand beside
// it, and the provider would choose (RFC 6749, 3.1).
var requestParameters = []string{
	"client_id", "redirect_uri", "response_type", "response_mode", "scope", "state", "nonce",
	"code_challenge", "code_challenge_method", "request", "request_uri", "max_age", "acr_values",
	"client_secret", "client_assertion", "client_assertion_type", "code", "code_verifier",
	"grant_type", "id_token_hint", "dpop_jkt", "registration", "claims", "resource",
	"authorization_details",
}

// IsRequestParameter reports whether only this package may set a parameter of the authorization
// request of that name, in whatever letters.
func IsRequestParameter(name string) bool {
	return slices.Contains(requestParameters, strings.ToLower(name))
}

// registeredClaims are the claims of RFC 7519, 4.1, in a signed request. With sub in it, the
// request could pass as a token that authenticates the client (RFC 9101, 10.8).
var registeredClaims = []string{"iss", "sub", "aud", "exp", "nbf", "iat", "jti"}

// isOurs reports whether neither the configuration nor a link may choose a parameter of that name.
func isOurs(name string) bool {
	return IsRequestParameter(name) || slices.Contains(registeredClaims, strings.ToLower(name))
}

// hasProtocolParameter reports whether the endpoint's own query has a parameter that the
// authorization request may have too. It would then stand there twice (RFC 6749, 3.1).
func (cfg *Config) hasProtocolParameter(endpoint string) bool {
	u, err := url.Parse(endpoint)
	if err != nil {
		return true
	}
	for name := range u.Query() {
		configured := func(p [2]string) bool { return p[0] == name }
		_, always := cfg.Login.params()[name]
		if IsRequestParameter(name) || name == "prompt" || always ||
			slices.Contains(cfg.LinkParams, name) || slices.ContainsFunc(cfg.AuthParams, configured) {
			return true
		}
	}
	return false
}

// originOf returns the origin of an endpoint, or "" if it is not known.
func originOf(endpoint string) string {
	u, err := url.Parse(endpoint)
	if err != nil {
		return ""
	}
	return weburl.Origin(u)
}
