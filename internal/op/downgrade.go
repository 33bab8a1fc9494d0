package op

import (
	"slices"

	"github.com/oidcgate/oidcgate/internal/event"
)

// refuse returns why next must not replace m, or nil. While we run, metadata may become stricter
// but never looser, and endpoints do not leave their origin. A document that is false for a moment,
// after a hijacked DNS entry or a careless deployment, must not send codes and secrets elsewhere.
// After a restart the document is accepted as it is then.
func (m *Metadata) refuse(next *Metadata) error {
	if m.IssParameter && !next.IssParameter {
		return reject(event.ReasonDowngrade,
			"authorization_response_iss_parameter_supported was withdrawn")
	}
	if slices.Contains(m.CodeChallengeMethods, "S256") && next.CodeChallengeMethods == nil {
		return reject(event.ReasonDowngrade, "code_challenge_methods_supported was withdrawn")
	}
	if m.PushedRequired && !next.PushedRequired {
		return reject(event.ReasonDowngrade, "require_pushed_authorization_requests was withdrawn")
	}
	if m.PushedAuthorization != "" && next.PushedAuthorization == "" {
		return reject(event.ReasonDowngrade, "pushed_authorization_request_endpoint was withdrawn")
	}
	for _, e := range []struct{ name, before, after string }{
		{"authorization_endpoint", m.Authorization, next.Authorization},
		{"token_endpoint", m.Token, next.Token},
		{"jwks_uri", m.JWKS, next.JWKS},
		{"userinfo_endpoint", m.Userinfo, next.Userinfo},
		{"end_session_endpoint", m.EndSession, next.EndSession},
		{"revocation_endpoint", m.Revocation, next.Revocation},
		{"introspection_endpoint", m.Introspection, next.Introspection},
		{
			"pushed_authorization_request_endpoint",
			m.PushedAuthorization, next.PushedAuthorization,
		},
	} {
		if !m.mayMove(e.before, e.after) {
			return reject(event.ReasonDowngrade, e.name+" moved to another origin")
		}
	}
	return nil
}

// mayMove reports whether an endpoint may change from before to after. A new endpoint must be at an
// origin where the provider already has another.
func (m *Metadata) mayMove(before, after string) bool {
	if after == "" {
		return true
	}
	if before != "" {
		return originOf(before) == originOf(after)
	}
	for _, known := range []string{
		m.Issuer, m.Authorization, m.Token, m.JWKS, m.Userinfo, m.EndSession,
	} {
		if known != "" && originOf(known) == originOf(after) {
			return true
		}
	}
	return false
}
