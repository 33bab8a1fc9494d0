package presets

import (
	"slices"
	"strings"

	"github.com/oidcgate/oidcgate"
)

// Preset describes a function of this package, for programs that write a configuration, such as
// "oidcgate init".
type Preset struct {
	// Name is what a person types: "keycloak".
	Name string

	// Call is the call in Go. What stands in braces is to be replaced by expressions: the names of
	// Ask, {clientID}, {auth}, {keys} (an [oidcgate.ClientKeys]) and {key} (an ECDSA key).
	Call string

	// Ask is what the function must know besides the client, all of them texts. Those that are
	// optional come last.
	Ask []Question

	// Method is how clients usually authenticate there, such as "client_secret_basic". If Call has no
	// {auth}, there is no other way.
	Method string

	// Register says where the client is registered, and what to set there.
	Register string

	make func(a answers, clientID string, auth clientAuth) provider
}

// Question is what a [Preset] asks for. An optional one may be answered by "".
type Question struct {
	Name, Example string
	Optional      bool
}

type (
	answers    = map[string]string
	clientAuth = oidcgate.ClientAuth
	provider   = oidcgate.Provider
)

// Provider returns what the function returns for answers by [Question.Name]. A key that the
// function takes is not in it.
func (p Preset) Provider(
	answers map[string]string, clientID string, auth oidcgate.ClientAuth,
) oidcgate.Provider {
	return p.make(answers, clientID, auth)
}

// List returns all presets by name. The caller may change the list.
func List() []Preset {
	all := slices.Concat(enterprise, public, authorities)
	for i := range all {
		all[i].Ask = slices.Clone(all[i].Ask)
	}
	slices.SortFunc(all, func(a, b Preset) int { return strings.Compare(a.Name, b.Name) })
	return all
}

const (
	basic      = "client_secret_basic"
	post       = "client_secret_post"
	signed     = "private_key_jwt"
	anInstance = "https://id.example"
	aTenant    = "11111111-2222-3333-4444-555555555555"
)

func required(name, example string) Question { return Question{Name: name, Example: example} }
func optional(name, example string) Question { return Question{name, example, true} }

// enterprise are products that an organization runs or rents.
var enterprise = []Preset{
	{"apereo-cas", "ApereoCAS({issuer}, {clientID}, {auth})", []Question{
		required("issuer", anInstance+"/cas/oidc"),
	}, basic, `Apereo CAS: a service of the type OidcRegisteredService; its logoutUrl is the ` +
		`post-logout redirect URI.`,
		func(a answers, id string, auth clientAuth) provider { return ApereoCAS(a["issuer"], id, auth) }},
	{"auth0", "Auth0({domain}, {clientID}, {auth}, {organization})", []Question{
		required("domain", "shop.eu.auth0.com"), optional("organization", "org_1"),
	}, basic, `Auth0, Applications: "Regular Web Application"; in its advanced settings RS256.`,
		func(a answers, id string, auth clientAuth) provider {
			return Auth0(a["domain"], id, auth, a["organization"])
		}},
	{"authentik", "Authentik({base}, {slug}, {clientID}, {auth})", []Question{
		required("base", anInstance), required("slug", "shop"),
	}, basic, `authentik, Applications: a provider "OAuth2/OpenID" with a signing key.`,
		func(a answers, id string, auth clientAuth) provider {
			return Authentik(a["base"], a["slug"], id, auth)
		}},
	{"cognito", "Cognito({issuer}, {domain}, {clientID}, {auth})", []Question{
		required("issuer", "https://cognito-idp.eu-central-1.amazonaws.com/POOL"),
		required("domain", "shop.auth.eu-central-1.amazoncognito.com"),
	}, basic, `Amazon Cognito, the user pool: an app client "Traditional web application" with a ` +
		`secret; its sign-out URL is the post-logout redirect URI.`,
		func(a answers, id string, auth clientAuth) provider {
			return Cognito(a["issuer"], a["domain"], id, auth)
		}},
	{"entra", "Entra({tenant}, {clientID}, {auth})", []Question{required("tenant", aTenant)}, post,
		`Entra, App registrations: a platform "Web". The secret is its Value, not its ID.`,
		func(a answers, id string, auth clientAuth) provider { return Entra(a["tenant"], id, auth) }},
	{"entra-multi-tenant", `EntraMultiTenant(strings.Split({tenants}, ","), {clientID}, {auth})`,
		[]Question{required("tenants", aTenant+",22222222-3333-4444-5555-666666666666")}, post,
		`Entra, App registrations: accounts in any directory, a platform "Web". The secret is its ` +
			`Value, not its ID.`,
		func(a answers, id string, auth clientAuth) provider {
			return EntraMultiTenant(strings.Split(a["tenants"], ","), id, auth)
		}},
	{"fewlines", "FewlinesConnect({issuer}, {clientID}, {auth})", []Question{
		required("issuer", "https://connect.shop.example"),
	}, basic, `Fewlines hands out the issuer with the application.`,
		func(a answers, id string, auth clientAuth) provider {
			return FewlinesConnect(a["issuer"], id, auth)
		}},
	{"keycloak", "Keycloak({base}, {realm}, {clientID}, {auth})", []Question{
		required("base", anInstance), required("realm", "shop"),
	}, basic, `Keycloak, Clients: "Client authentication" on, "Standard flow" on; for the back ` +
		`channel "Front channel logout" off.`,
		func(a answers, id string, auth clientAuth) provider {
			return Keycloak(a["base"], a["realm"], id, auth)
		}},
	{"okta", "Okta({issuer}, {clientID}, {auth})", []Question{
		required("issuer", "https://example.okta.com"),
	}, basic, `Okta, Applications: "OIDC", "Web Application", with "Refresh Token". Add the claim ` +
		`groups.`,
		func(a answers, id string, auth clientAuth) provider { return Okta(a["issuer"], id, auth) }},
	{"salesforce", "Salesforce({issuer}, {clientID}, {auth})", []Question{
		required("issuer", "https://login.salesforce.com"),
	}, basic, `Salesforce, App Manager: a connected app with OAuth settings.`,
		func(a answers, id string, auth clientAuth) provider {
			return Salesforce(a["issuer"], id, auth)
		}},
	{"unidy", "Unidy({issuer}, {clientID}, {auth})", []Question{
		required("issuer", "https://shop.unidy.de"),
	}, basic, `Unidy, its admin: an OAuth application. The support puts the post-logout redirect ` +
		`URI on the list of safe addresses.`,
		func(a answers, id string, auth clientAuth) provider { return Unidy(a["issuer"], id, auth) }},
	{"zitadel", "Zitadel({issuer}, {clientID}, {auth})", []Question{
		required("issuer", "https://shop.zitadel.cloud"),
	}, basic, `Zitadel, the project: an application "Web" with "Code".`,
		func(a answers, id string, auth clientAuth) provider { return Zitadel(a["issuer"], id, auth) }},
}

// public are providers where everybody may have an account.
var public = []Preset{
	{"apple", "Apple({clientID}, presets.AppleKey{TeamID: {teamID}, KeyID: {keyID}, Key: {key}})",
		[]Question{required("teamID", "TEAM"), required("keyID", "KEY")}, post,
		`Apple, Identifiers: a Services ID, which is the client id, with a domain (not localhost); ` +
			`Keys: a key with "Sign in with Apple".`,
		func(a answers, id string, _ clientAuth) provider {
			return Apple(id, AppleKey{TeamID: a["teamID"], KeyID: a["keyID"]})
		}},
	{"discord", "Discord({clientID}, {auth})", nil, basic,
		`Discord, Developer Portal, Applications: OAuth2.`,
		func(_ answers, id string, auth clientAuth) provider { return Discord(id, auth) }},
	{"github", "GitHub({clientID}, {auth})", nil, post,
		`GitHub, Settings, Developer settings, OAuth Apps.`,
		func(_ answers, id string, auth clientAuth) provider { return GitHub(id, auth) }},
	{"gitlab", "GitLab({base}, {clientID}, {auth})", []Question{
		required("base", "https://gitlab.com"),
	}, basic, `GitLab, Preferences, Applications: tick the scopes openid, profile and email.`,
		func(a answers, id string, auth clientAuth) provider { return GitLab(a["base"], id, auth) }},
	{"google", "Google({clientID}, {auth}, {hostedDomain})", []Question{
		optional("hostedDomain", "shop.example"),
	}, basic, `Google Cloud console, APIs & Services, Credentials: a client of the type "Web ` +
		`application".`,
		func(a answers, id string, auth clientAuth) provider {
			return Google(id, auth, a["hostedDomain"])
		}},
	{"linkedin", "LinkedIn({clientID}, {auth})", nil, post,
		`LinkedIn, Developers, the app: the product "Sign In with LinkedIn using OpenID Connect".`,
		func(_ answers, id string, auth clientAuth) provider { return LinkedIn(id, auth) }},
	{"slack", "Slack({clientID}, {auth})", nil, post,
		`Slack, Your Apps, the app: "OAuth & Permissions".`,
		func(_ answers, id string, auth clientAuth) provider { return Slack(id, auth) }},
	{"unikname", "UniknameConnect({clientID}, {auth})", nil, basic,
		`Unikname makes the client. Without a secret the method is none.`,
		func(_ answers, id string, auth clientAuth) provider { return UniknameConnect(id, auth) }},
	{"unikname-endpoints", "UniknameConnectEndpoints({clientID}, {auth})", nil, basic,
		`Unikname makes the client. Without a secret the method is none.`,
		func(_ answers, id string, auth clientAuth) provider {
			return UniknameConnectEndpoints(id, auth)
		}},
}

// authorities are those of states.
var authorities = []Preset{
	{"france-connect", "FranceConnect({issuer}, {clientID}, {auth})", []Question{
		required("issuer", "https://fcp-low.example/api/v2"),
	}, post, `FranceConnect, the partners' space: userinfo is signed with RS256 or ES256.`,
		func(a answers, id string, auth clientAuth) provider {
			return FranceConnect(a["issuer"], id, auth)
		}},
	{"login-gov", "LoginGov({issuer}, {clientID}, {keys}, {acr})", []Question{
		required("issuer", "https://secure.login.gov"), required("acr", "urn:acr.login.gov:auth-only"),
	}, signed, `login.gov, the partner portal: an app with private_key_jwt and the public half of ` +
		`an RSA key.`,
		func(a answers, id string, _ clientAuth) provider {
			return LoginGov(a["issuer"], id, oidcgate.ClientKeys{}, a["acr"])
		}},
	{"pro-connect", "ProConnect({issuer}, {clientID}, {auth})", []Question{
		required("issuer", "https://proconnect.example/api/v2"),
	}, post, `ProConnect, the partners' space: userinfo is signed with RS256 or ES256.`,
		func(a answers, id string, auth clientAuth) provider {
			return ProConnect(a["issuer"], id, auth)
		}},
}
