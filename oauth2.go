package oidcgate

import "cmp"

// OAuth2Options configure a provider that speaks OAuth 2.0 and issues no ID Tokens; see [OAuth2].
// All fields but Scopes and SubjectClaim are required.
type OAuth2Options struct {
	// Issuer names the provider in [Identity.Issuer]. Choose the URL by which the provider is known,
	// or the "iss" of its authorization responses if it sends that, and never change it: issuer and
	// subject together are the key of a user.
	Issuer string

	ClientID string
	Auth     ClientAuth // as for any [Provider]
	Scopes   []string   // "openid" is not added

	// The addresses of the provider. Userinfo returns a JSON object for an access token.
	Authorization, Token, Userinfo string

	// SubjectClaim is the member of userinfo that identifies the user, for ever: a name, or a JSON
	// Pointer (RFC 6901) if it begins with "/". It is a string or a whole number. If empty, it is
	// "sub". Never use an address or a login name that may be given to somebody else.
	SubjectClaim string
}

// OAuth2 returns a Provider without ID Tokens: GitHub, a provider that is set up by three URLs, an
// OpenID Provider whose client may not use the scope openid. The user is who userinfo says.
// [Identity.HasIDToken] is false for them. The other fields of the Provider may be set afterwards.
//
// State, PKCE and the browser's cookie protect such a login as any other; with Request.WithoutPKCE,
// whoever steals a code that was not used yet can log in with it. What an ID Token adds is missing.
// Nothing is signed, so the TLS connection to the provider alone vouches for the answer. There is
// no nonce. Nothing says for which client the access token is: never take one from elsewhere for a
// login. Nobody can meet rules with [ACR] and [MaxAge], and the provider cannot log users out here.
// An ID Token that comes all the same is ignored.
func OAuth2(o OAuth2Options) Provider {
	return Provider{
		Issuer: o.Issuer, ClientID: o.ClientID, Auth: o.Auth, Scopes: o.Scopes,
		Userinfo: UserinfoRequired,
		Endpoints: Endpoints{
			Authorization: o.Authorization, Token: o.Token, Userinfo: o.Userinfo,
		},
		subjectClaim: cmp.Or(o.SubjectClaim, "sub"),
	}
}

// HasIDToken reports whether an ID Token, which the provider signs, says who the user is. It is
// false for users of providers made by [OAuth2], for identities made by [NewIdentity], and for
// those of access tokens.
func (id *Identity) HasIDToken() bool { return !id.token && id.record().HasIDToken() }
