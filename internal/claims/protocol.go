package claims

// IsProtocol reports whether a claim belongs to the ID Token of a login: it says who the user is,
// when and how they logged in, for which client, and with what (OpenID Connect Core, 2, 3.1.3.6;
// RFC 7519, 4.1). Nobody else may state, replace or drop it: neither userinfo nor the application,
// nor an ID Token that comes later.
func IsProtocol(name string) bool {
	switch name {
	case "iss", "sub", "aud", "exp", "iat", "nbf", "jti", "azp", "nonce", "auth_time", "acr", "amr",
		"sid", "at_hash", "c_hash", "session_expiry", "events":
		return true
	}
	return false
}
