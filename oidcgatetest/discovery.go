package oidcgatetest

import (
	"encoding/json"
	"net/http"
	"slices"

	"github.com/go-jose/go-jose/v4"
)

// serveDiscovery serves the provider's metadata (OpenID Connect Discovery, 3 and 4).
func (p *Provider) serveDiscovery(w http.ResponseWriter, _ *http.Request) {
	issuer := p.Issuer()
	metadata := map[string]any{
		"issuer":                           issuer,
		"authorization_endpoint":           p.URL(Authorization),
		"token_endpoint":                   p.URL(Token),
		"userinfo_endpoint":                p.URL(Userinfo),
		"jwks_uri":                         p.URL(JWKS),
		"end_session_endpoint":             p.URL(EndSession),
		"response_types_supported":         responseTypes,
		"response_modes_supported":         responseModes,
		"grant_types_supported":            []string{"authorization_code", "refresh_token"},
		"subject_types_supported":          []string{"public"},
		"code_challenge_methods_supported": []string{"S256"},
		"request_parameter_supported":      true,
		"request_uri_parameter_supported":  false, // if absent, it would be true
		"claims_parameter_supported":       true,
	}
	if p.config.PushedRequests {
		metadata["pushed_authorization_request_endpoint"] = p.URL(PushedRequest)
		metadata["require_pushed_authorization_requests"] = p.config.RequirePushedRequests
	}
	if p.config.Introspection {
		metadata["introspection_endpoint"] = p.URL(Introspection)
	}
	if p.config.Registration {
		metadata["registration_endpoint"] = p.URL(Registration)
	}
	metadata["scopes_supported"] = []string{
		"openid", "profile", "email", "address", "phone", "offline_access",
	}
	metadata["id_token_signing_alg_values_supported"] = append(p.algorithms(), macs...)
	metadata["userinfo_signing_alg_values_supported"] = append(p.algorithms(), macs...)
	metadata["token_endpoint_auth_methods_supported"] = authMethods
	metadata["token_endpoint_auth_signing_alg_values_supported"] = append(
		[]jose.SignatureAlgorithm{jose.HS256}, assertionAlgorithms...)
	metadata["dpop_signing_alg_values_supported"] = []string{"ES256", "EdDSA"}
	metadata["tls_client_certificate_bound_access_tokens"] = true
	metadata["authorization_signing_alg_values_supported"] = append(p.algorithms(), macs...)
	for _, kind := range []string{"id_token", "userinfo", "authorization"} {
		metadata[kind+"_encryption_alg_values_supported"] = keyEncryptions
		metadata[kind+"_encryption_enc_values_supported"] = contentEncryptions
	}
	metadata["authorization_response_iss_parameter_supported"] = !hasTenants(issuer)
	if p.config.WithoutPKCE {
		delete(metadata, "code_challenge_methods_supported")
	}
	writeJSON(w, http.StatusOK, metadata)
}

// algorithms lists the algorithms of the published keys, and RS256, which every provider must list
// (OpenID Connect Discovery, 3).
func (p *Provider) algorithms() []string {
	algs := []string{"RS256"}
	for _, k := range p.PublicKeys().Keys {
		if !slices.Contains(algs, k.Algorithm) {
			algs = append(algs, k.Algorithm)
		}
	}
	return algs
}

func (p *Provider) serveJWKS(w http.ResponseWriter, _ *http.Request) {
	issuer := p.Issuer()
	if !hasTenants(issuer) {
		writeJSON(w, http.StatusOK, p.PublicKeys())
		return
	}
	keys := []map[string]any{}
	for _, k := range p.PublicKeys().Keys {
		var members map[string]any
		_ = json.Unmarshal(mustMarshal(k), &members) // cannot fail
		members["issuer"] = issuer
		keys = append(keys, members)
	}
	writeJSON(w, http.StatusOK, map[string]any{"keys": keys})
}

// PublicKeys returns the key set that the JWKS endpoint serves.
func (p *Provider) PublicKeys() jose.JSONWebKeySet {
	p.mu.Lock()
	defer p.mu.Unlock()
	set := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{}} // an empty set is [], not null
	for _, k := range p.keys {
		set.Keys = append(set.Keys, k.public())
	}
	return set
}
