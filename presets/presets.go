// Package presets has the settings that known providers need. Each function returns an
// [oidcgate.Provider] whose fields may still be changed: Name and Scopes, for example.
//
//	gate, err := oidcgate.New(config, presets.Google(clientID, oidcgate.ClientSecretBasic(secret)))
//
// They ask for the scopes profile and email, unless the comment says otherwise. The comment of each
// function says what the provider does in its own way, and where that was read.
// What stands there as unconfirmed was not read in a public document. Compare with the provider's
// discovery document before you ship: "oidcgate doctor" does that.
package presets

import (
	"strings"

	"github.com/oidcgate/oidcgate"
)

// standard is a provider that discovery describes.
func standard(label, issuer, clientID string, auth oidcgate.ClientAuth) oidcgate.Provider {
	return oidcgate.Provider{
		Label: label, Issuer: issuer, ClientID: clientID, Auth: auth,
		Scopes: []string{"profile", "email"},
	}
}

// Google is for accounts of Google and Google Workspace.
//
// The ID Token has the claims. Its issuer is "https://accounts.google.com", and sometimes the same
// without "https://" (developers.google.com/identity/openid-connect/reference). Refresh tokens come
// for access_type=offline, once, and again with prompt=consent: both are sent. There is no logout
// at Google, so a logout ends the session here only. No refresh token is revoked: Google then
// withdraws all that the user has granted, and so the user's other devices are signed out. A
// refreshed ID Token mostly has no name: with Tokens.ClaimsMaxAge, set Userinfo to
// [oidcgate.UserinfoOptional].
//
// hostedDomain is the Workspace domain whose users may log in, or "" for everybody. Google takes
// the parameter "hd" as a hint that a user can edit; the claim "hd" proves it.
func Google(clientID string, auth oidcgate.ClientAuth, hostedDomain string) oidcgate.Provider {
	p := standard("Google", "https://accounts.google.com", clientID, auth)
	p.Verification.Issuers = []string{"accounts.google.com"}
	p.Request.Params = map[string]string{"access_type": "offline", "prompt": "consent"}
	p.Logout = oidcgate.LogoutOptions{Style: oidcgate.LogoutOff, WithoutRevocation: true}
	if hostedDomain != "" {
		p.Request.Params["hd"] = hostedDomain
		p.Verification.RequireClaims = map[string][]string{"hd": {hostedDomain}}
	}
	return p
}

// Entra is for the accounts of one tenant of Microsoft Entra ID. tenant is its GUID: "iss" never
// has the tenant's domain name.
//
// The ID Token has the claims; userinfo needs a token for Microsoft Graph and is not asked. "email"
// may be changed by the tenant's administrators and says nothing of who owns it: "xms_edov", an
// optional claim, says whether its domain is verified. The key of a user is "sub", which is another
// for each application (learn.microsoft.com/entra/identity-platform/id-token-claims-reference). A
// user with more than 200 groups has none in the token: see [EntraGroups].
func Entra(tenant, clientID string, auth oidcgate.ClientAuth) oidcgate.Provider {
	p := standard("Microsoft", "https://login.microsoftonline.com/"+tenant+"/v2.0", clientID, auth)
	p.Scopes = []string{"profile", "email", "offline_access"}
	p.Claims.EmailVerified = "xms_edov"
	p.Claims.EmailVerifiedText = true
	p.Verification.PlainAccessTokens = true
	return p
}

// EntraMultiTenant is [Entra] for the accounts of several tenants, whose GUIDs are given. The
// discovery document has a template as its issuer; the token's "tid" goes into it, and only the
// given tenants are accepted. Personal accounts are in the tenant
// 9188040d-6c67-4c5b-b112-36a304b66dad.
func EntraMultiTenant(
	tenants []string, clientID string, auth oidcgate.ClientAuth,
) oidcgate.Provider {
	p := Entra("{tenantid}", clientID, auth)
	p.Endpoints.Discovery = "https://login.microsoftonline.com/common/v2.0/" +
		".well-known/openid-configuration"
	p.Verification.Tenants = tenants
	return p
}

// Okta is for an Okta organization, or one of its authorization servers: issuer is
// "https://example.okta.com" or "https://example.okta.com/oauth2/default".
//
// ID Tokens are thin: profile, e-mail address and groups are at userinfo
// (developer.okta.com/docs/concepts/oauth-openid). Refresh tokens come with offline_access; a web
// application keeps its first one, and the answer to a refresh has none. "groups" must be set up.
func Okta(issuer, clientID string, auth oidcgate.ClientAuth) oidcgate.Provider {
	p := standard("Okta", issuer, clientID, auth)
	p.Scopes = []string{"profile", "email", "groups", "offline_access"}
	p.Userinfo = oidcgate.UserinfoRequired
	p.Verification.PlainAccessTokens = true
	return p
}

// Auth0 is for a tenant of Auth0. domain is the one that users see: "shop.eu.auth0.com", or a
// custom domain, which is another issuer.
//
// The issuer ends in a slash. Tenants from before November 2023 announce no logout, so the older
// /v2/logout is used, which every tenant has (auth0.com/docs/authenticate/login/logout). An
// application can be set to HS256: choose RS256 in its advanced settings.
//
// organization is the id ("org_...") of the organization whose members may log in, or "" for
// everybody. The claim "org_id" proves it.
func Auth0(
	domain, clientID string, auth oidcgate.ClientAuth, organization string,
) oidcgate.Provider {
	p := standard("Auth0", "https://"+domain+"/", clientID, auth)
	p.Scopes = []string{"profile", "email", "offline_access"}
	p.Endpoints.EndSession = "https://" + domain + "/v2/logout"
	p.Logout.Style = oidcgate.LogoutAuth0
	p.Verification.PlainAccessTokens = true
	if organization != "" {
		p.Request.Params = map[string]string{"organization": organization}
		p.Verification.RequireClaims = map[string][]string{"org_id": {organization}}
	}
	return p
}

// Keycloak is for a realm of Keycloak 17 or newer: base is "https://id.example", without "/realms".
//
// Groups need the mapper "Group Membership". A client may be set to leave "iss" out of the callback
// while the realm announces it: set Verification.ResponseIss to [oidcgate.IssOptional] then. Before
// version 25 its logout tokens have the typ JWT, and before 23 no "exp": both are accepted. No
// refresh token is revoked: Keycloak then ends the session that its logout needs in order to tell
// other applications and the provider behind it, and drops the user's consent (tried with 26.7.3).
func Keycloak(base, realm, clientID string, auth oidcgate.ClientAuth) oidcgate.Provider {
	base, _, _ = strings.Cut(base, "/realms/") // of who copies the issuer
	p := standard("Keycloak", strings.TrimSuffix(base, "/")+"/realms/"+realm, clientID, auth)
	p.Logout.WithoutRevocation = true
	p.Verification.LogoutTypeJWT = true
	p.Verification.LogoutWithoutExp = true
	p.Verification.PlainAccessTokens = true
	return p
}

// Cognito is for a user pool of Amazon Cognito. domain is that of the pool's login pages:
// "shop.auth.eu-central-1.amazoncognito.com".
//
// The logout that it announces does not take the parameters of OpenID Connect. It takes client_id
// and logout_uri (docs.aws.amazon.com/cognito/latest/developerguide/logout-endpoint.html), which is
// registered as "sign-out URL". Groups are in "cognito:groups". userinfo, which is not asked,
// writes "email_verified" as a string (unconfirmed).
func Cognito(issuer, domain, clientID string, auth oidcgate.ClientAuth) oidcgate.Provider {
	p := standard("Amazon Cognito", issuer, clientID, auth)
	p.Endpoints.EndSession = "https://" + domain + "/logout"
	p.Logout.Style = oidcgate.LogoutCognito
	p.Claims.EmailVerifiedText = true
	return p
}

// GitLab is for gitlab.com and for instances of one's own: base is "https://gitlab.com".
//
// Most claims are at userinfo: "groups" has all groups, "groups_direct" of the ID Token those that
// the user is in directly (docs.gitlab.com/integration/openid_connect_provider). ID Tokens live for
// two minutes. GitLab has no logout for other applications (unconfirmed).
func GitLab(base, clientID string, auth oidcgate.ClientAuth) oidcgate.Provider {
	p := standard("GitLab", base, clientID, auth)
	p.Userinfo = oidcgate.UserinfoRequired
	p.Logout.Style = oidcgate.LogoutOff
	return p
}

// Zitadel is for an instance of Zitadel: issuer is "https://shop.zitadel.cloud".
//
// Profile and e-mail address are at userinfo, unless the application has "User Info inside ID
// Token" turned on (zitadel.com/docs/apis/openidoauth). Roles are an object, in
// "urn:zitadel:iam:org:project:roles". Its logout tokens have the typ JWT. It refuses a refresh
// token that it has withdrawn with invalid_request, which ends no session at once: with
// ClaimsMaxAge the claims of userinfo are dropped then, and the session ends later. "aud" has all
// applications of a project, and the project, so any audience is taken beside the client.
func Zitadel(issuer, clientID string, auth oidcgate.ClientAuth) oidcgate.Provider {
	p := standard("Zitadel", issuer, clientID, auth)
	p.Scopes = []string{"profile", "email", "offline_access"}
	p.Userinfo = oidcgate.UserinfoRequired
	p.Verification.LogoutTypeJWT = true
	p.Verification.TrustedAudiences = []string{"*"}
	return p
}

// Authentik is for an application of authentik: base is "https://id.example", slug the
// application's.
//
// The issuer ends in a slash. A provider without a signing key signs with the client secret
// (HS256): choose a signing key in its settings. "email_verified" is false since 2025.10, unless a
// scope mapping says otherwise. Groups come with the scope profile
// (docs.goauthentik.io/add-secure-apps). Its logout tokens live as long as its access tokens; they
// are accepted for two minutes.
func Authentik(base, slug, clientID string, auth oidcgate.ClientAuth) oidcgate.Provider {
	p := standard("authentik", base+"/application/o/"+slug+"/", clientID, auth)
	p.Scopes = []string{"profile", "email", "offline_access"}
	p.Verification.LogoutWithoutExp = true
	return p
}

// Salesforce is for an organization of Salesforce: issuer is "https://login.salesforce.com" or its
// "My Domain". "sub" is a URL. Its token answers have no expires_in
// (help.salesforce.com, "OpenID Connect"): Config.Tokens.Lifetime counts. PKCE works and is not
// announced.
func Salesforce(issuer, clientID string, auth oidcgate.ClientAuth) oidcgate.Provider {
	p := standard("Salesforce", issuer, clientID, auth)
	p.Scopes = []string{"profile", "email", "refresh_token"}
	p.Userinfo = oidcgate.UserinfoRequired
	p.Logout.Style = oidcgate.LogoutOff // unconfirmed
	return p
}

// LoginGov is for login.gov of the United States: issuer is "https://secure.login.gov", or that of
// the sandbox. It knows no secrets: the client signs, with the RS256 key in keys, for the address
// of the token endpoint (developers.login.gov/oidc). Claims are at userinfo. acr is what to ask
// for, such as "urn:acr.login.gov:auth-only"; ACR values are required. Keys change once a year. Its
// logout refuses an id_token_hint.
func LoginGov(issuer, clientID string, keys oidcgate.ClientKeys, acr string) oidcgate.Provider {
	p := standard("Login.gov", issuer, clientID, oidcgate.PrivateKeyJWT())
	p.ClientKeys = keys
	p.TokenRequest.AssertionAudience = issuer + "/api/openid_connect/token"
	p.Scopes = []string{"email"}
	p.Request.Login.ACRValues = []string{acr}
	p.Userinfo = oidcgate.UserinfoRequired
	p.Logout.Style = oidcgate.LogoutWithoutHint
	return p
}

// FranceConnect is for FranceConnect, version 2: issuer is "https://fcp-low.example/api/v2", as the
// service hands it out. userinfo is a signed JWT (docs.partenaires.franceconnect.gouv.fr). There is
// no preferred_username. The secret goes in the body (unconfirmed).
func FranceConnect(issuer, clientID string, secret oidcgate.ClientAuth) oidcgate.Provider {
	p := standard("FranceConnect", issuer, clientID, secret)
	p.Scopes = []string{"given_name", "family_name", "email"}
	p.Request.Login.ACRValues = []string{"eidas1"}
	p.Userinfo = oidcgate.UserinfoRequired
	p.Verification.SignedUserinfo = true
	p.Verification.SigningAlgs = []string{"RS256", "ES256"}
	return p
}

// ProConnect is for ProConnect: issuer is "https://host/api/v2", as the service hands it out.
// userinfo is a signed JWT. One person has a "sub" for each of the services behind ProConnect. Its
// access tokens live for a minute and are not refreshed (github.com/numerique-gouv/proconnect). It
// refuses parameters that it does not know; whether it lets PKCE through is unconfirmed.
func ProConnect(issuer, clientID string, secret oidcgate.ClientAuth) oidcgate.Provider {
	p := standard("ProConnect", issuer, clientID, secret)
	p.Scopes = []string{"given_name", "usual_name", "email", "uid", "siret"}
	p.Userinfo = oidcgate.UserinfoRequired
	p.Verification.SignedUserinfo = true
	p.Verification.SigningAlgs = []string{"RS256", "ES256"}
	return p
}
