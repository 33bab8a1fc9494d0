package oidcgate

import "github.com/oidcgate/oidcgate/internal/op"

// TokenBinding is how tokens are bound to the client. [DPoP] and [MutualTLS] make it.
type TokenBinding struct {
	dpop        bool
	empty       bool // the constructor was given nothing
	certificate *op.Certificate
}

// DPoP binds the tokens of each session to a key of that session (RFC 9449), by ES256 or, if the
// provider does not take that, EdDSA. A token response without such tokens refuses the login.
// [Gate.Client] proves the key with every request. The key is kept with the session's tokens,
// encrypted like them, so every replica has it.
func DPoP() TokenBinding { return TokenBinding{dpop: true} }

// MutualTLS binds tokens to the client's certificate (RFC 8705, section 3). The certificate is
// shown where tokens are requested and where [Gate.Client] uses them. With [TLSClientAuth] it must
// be the same one.
//
// All replicas must show the same certificate: they share the sessions' tokens, and those that one
// certificate got are refused with another. So do not give each replica its own, as SPIFFE does.
// When a function returns a new certificate, access tokens from before are refused until they are
// refreshed; with ClaimsMaxAge and without refresh tokens such a session ends.
func MutualTLS[C Certificate](certificate C) TokenBinding {
	auth := withCertificate(op.AuthTLS, certificate)
	return TokenBinding{certificate: auth.certificate, empty: auth.empty}
}
