package presets

import "github.com/oidcgate/oidcgate"

// ApereoCAS is for a server of Apereo CAS: issuer is usually "https://id.example/cas/oidc".
//
// userinfo has the claims in "attributes", unless the server is set to FLAT
// (apereo.github.io/cas/development/authentication/OIDC-Authentication.html). It announces pushed
// requests, but version 6.6 then issues tokens about the client in place of the user: they are
// turned off. What it encrypts is compressed. Its logout tokens have the typ JWT, and those of 6.6
// no "exp". Where the response type is "id_token", leave Request.ResponseMode empty, and unset
// Userinfo and Claims.Unwrap. Tried with CAS 6.6.12.
func ApereoCAS(issuer, clientID string, auth oidcgate.ClientAuth) oidcgate.Provider {
	p := standard("CAS", issuer, clientID, auth)
	p.Userinfo = oidcgate.UserinfoRequired
	p.Claims.Unwrap = "attributes"
	p.Request.Pushed = oidcgate.PushedOff
	p.Verification.CompressedTokens = true
	p.Verification.LogoutTypeJWT = true
	p.Verification.LogoutWithoutExp = true
	return p
}

// UniknameConnect is for Unikname Connect, which is an [ApereoCAS] of its own: auth is
// [oidcgate.ClientSecretBasic], or [oidcgate.PublicClient] for PKCE alone.
//
// It releases no e-mail address (the source of its plugin for WordPress). Its key is "sub". Tokens
// may be encrypted: set ClientKeys and Verification.EncryptedIDTokens then. How it logs users out
// is unconfirmed.
func UniknameConnect(clientID string, auth oidcgate.ClientAuth) oidcgate.Provider {
	p := ApereoCAS("https://connect.unikname.com/oidc", clientID, auth)
	p.Label = "Unikname"
	p.Scopes = nil
	return p
}

// UniknameConnectEndpoints is [UniknameConnect] without discovery and without ID Tokens, by the
// three addresses of its guide for Matomo: authorize, accessToken and profile.
func UniknameConnectEndpoints(clientID string, auth oidcgate.ClientAuth) oidcgate.Provider {
	const issuer = "https://connect.unikname.com/oidc"
	p := oidcgate.OAuth2(oidcgate.OAuth2Options{
		Issuer: issuer, ClientID: clientID, Auth: auth, Scopes: []string{"openid"},
		Authorization: issuer + "/authorize", Token: issuer + "/accessToken",
		Userinfo: issuer + "/profile",
	})
	p.Label = "Unikname"
	p.Claims.Unwrap = "attributes"
	return p
}

// Unidy is for a tenant of Unidy: issuer is "https://TENANT.unidy.de".
//
// It answers in the fragment unless asked otherwise, so the query is asked for. Claims are at
// userinfo. Refresh tokens come without asking; access tokens live for two hours, ID Tokens for two
// minutes, and its logout takes no ID Token that has expired (docs.unidy.io). It takes token
// requests as forms with Basic, and as JSON, which its guide shows: set TokenRequest.JSON for that.
func Unidy(issuer, clientID string, auth oidcgate.ClientAuth) oidcgate.Provider {
	p := standard("Unidy", issuer, clientID, auth)
	p.Request.ResponseMode = "query"
	p.Userinfo = oidcgate.UserinfoRequired
	p.Logout.FreshHint = true
	return p
}

// FewlinesConnect is for a provider of Fewlines Connect: issuer as in its discovery document, which
// is handed out with the application (github.com/fewlinesco/connect-js). Several applications may
// be at one provider: give each a client of its own.
//
// It speaks OAuth 2.0 first. Ask for "openid", which is always sent. Access tokens are not for this
// service and are not read: their audience is the application's name there. Nothing was found about
// a logout.
func FewlinesConnect(issuer, clientID string, auth oidcgate.ClientAuth) oidcgate.Provider {
	p := standard("Connect", issuer, clientID, auth)
	p.Userinfo = oidcgate.UserinfoOptional
	p.Logout.Style = oidcgate.LogoutOff
	return p
}
