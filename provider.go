package oidcgate

import (
	"context"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/oidcgate/oidcgate/internal/check"
	"github.com/oidcgate/oidcgate/internal/op"
)

// Provider configures an OpenID Provider to log in with. Issuer, ClientID and Auth are required.
// The defaults of the small structs fit most providers.
type Provider struct {
	// Issuer is the provider's identifier, byte for byte as the provider writes it in "iss" (OpenID
	// Connect Core, section 2). It may have "{tenantid}" in its path, as that of Microsoft Entra for
	// many tenants; Verification.Tenants and Endpoints.Discovery are then required.
	Issuer string

	// ClientID is the id the provider gave this application.
	ClientID string

	// Auth is how this application authenticates at the token endpoint. It must be the method
	// registered there. The gate tries no other method, because each try would send the code again.
	Auth ClientAuth

	// Scopes are requested in addition to "openid", which is always sent. Most providers send name
	// and address only for "profile" and "email".
	Scopes []string

	// Userinfo says whether userinfo is asked after the ID Token is verified. If zero, [UserinfoOff].
	Userinfo UserinfoMode

	// Name distinguishes the providers of a gate: letters, digits, "-" and "_". It is the last segment
	// of the paths of callback, back-channel and front-channel logout: /auth/callback/NAME. They are
	// registered at the provider, so the name should not change. One provider of a gate may have no
	// name; its callback is /auth/callback.
	Name string

	// Label names the provider to visitors who choose one. If empty, it is Name or the issuer's host.
	// Pages.Words has it in other languages, by the key "provider." and Name.
	Label string

	// The defaults of the following fields fit most providers.

	Endpoints    Endpoints      // replace those in the discovery document
	ClientKeys   ClientKeys     // the client's own keys, to sign and to decrypt
	Request      RequestOptions // for the authorization request
	TokenRequest TokenRequest   // for requests that authenticate the client
	Verification Verification   // of what the provider signs
	Claims       ClaimOptions   // how the provider writes claims
	Logout       LogoutOptions  // how the browser is sent to the provider's logout
	Profile      Profile        // turns on a set of rules that the provider demands

	subjectClaim string // set by OAuth2
}

// Profile is a set of rules that a provider demands of its clients. It sets the fields that are
// left zero, and refuses what contradicts it.
type Profile int

// The profiles. FAPI 2.0 demands [PrivateKeyJWT], [ClientAssertion] or a certificate, tokens that
// are bound by [DPoP] or [MutualTLS], pushed requests, "iss" in every response, discovery, the
// algorithms PS256, ES256 and EdDSA, and https.
const (
	NoProfile           = Profile(op.NoProfile)
	FAPI2Security       = Profile(op.FAPI2Security)       // FAPI 2.0 Security Profile
	FAPI2MessageSigning = Profile(op.FAPI2MessageSigning) // and signed requests and responses
)

// Endpoints are addresses of a provider. Each one that is set replaces the discovered one. If all
// that are needed are set, nothing is discovered (OpenID Connect Discovery, section 3).
type Endpoints struct {
	Authorization string
	Token         string
	Userinfo      string
	JWKS          string
	EndSession    string

	// Discovery is the address of the discovery document. If empty, it is that of OpenID Connect
	// Discovery, section 4.1: Issuer with "/.well-known/openid-configuration". The document must have
	// Issuer as its "issuer" all the same.
	Discovery string

	PushedAuthorization string // takes requests from the gate itself (RFC 9126); see Request.Pushed
	Introspection       string // tells of access tokens that others send (RFC 7662); see Config.API

	// MaxAge is the age at which endpoints are discovered again, on their next use. If zero, one hour.
	MaxAge time.Duration
}

// TokenRequest sets the requests that authenticate the client, and what they bring.
type TokenRequest struct {
	// Binding binds tokens to this client, so that nobody else can use stolen ones: [DPoP] or
	// [MutualTLS]. The zero value asks for bearer tokens.
	Binding TokenBinding

	// AssertionAudience is the audience of client assertions ([PrivateKeyJWT], [ClientSecretJWT]). If
	// empty, it is the issuer. Some providers want the address of their token endpoint. An assertion
	// for an address could serve an attacker whose provider names that address as its own: use it for
	// a provider that takes nothing else, with keys that no other provider knows.
	AssertionAudience string

	// JSON sends token requests as a JSON object in place of a form, which RFC 6749 demands.
	JSON bool

	// LenientAnswers accepts token answers that are forms in place of JSON, have no token_type or a
	// list of scopes (Twitch), or say "ok": false in place of an error (Slack). If false, they are
	// refused (RFC 6749, section 5).
	LenientAnswers bool

	// RawBasic leaves id and secret of [ClientSecretBasic] as they are. Some providers do not decode
	// them, and refuse those with characters such as ":" and "+".
	RawBasic bool
}

// Verification sets what the gate accepts among what the provider signs.
type Verification struct {
	// SigningAlgs are the algorithms that may sign an ID Token. If empty, it is RS256 alone, the
	// default of OpenID Connect Dynamic Client Registration, section 2. HS256, HS384 and HS512 sign
	// with the client secret, of 32, 48 or 64 bytes at least, and do not stand beside others: whoever
	// has the secret can sign. A function that returns it is then called for each token, and caches.
	SigningAlgs []string

	// TrustedAudiences may stand in an ID Token's "aud" beside the client, if "azp" names the client;
	// "*" is any, as at Zitadel. Others are refused (OpenID Connect Core, section 3.1.3.7).
	TrustedAudiences []string

	// Tenants are those whose users may log in, where Issuer has "{tenantid}". An ID Token must name
	// one of them in "tid", its "iss" must be Issuer with that tenant in it, and so must the "issuer"
	// of the key, if the key set has one. Identity.Issuer is then that of the tenant. There is no way
	// to accept all: anybody can make a tenant, and users of any address in it.
	Tenants []string

	// Issuers are accepted in "iss" of what the provider signs, beside Issuer: "accounts.google.com"
	// for Google. Identity.Issuer is Issuer all the same, so that a user has one key.
	Issuers []string

	// ResponseIss says when the response parameter "iss" may be missing, which protects against
	// mix-up with another provider (RFC 9207). If there, it must be right. If zero, [IssIfAnnounced].
	ResponseIss IssMode

	// WithoutNonce accepts ID Tokens without "nonce" from a provider that drops it; another nonce is
	// still refused. Then PKCE alone keeps a stolen code from opening a session here, so it never
	// stands beside Request.WithoutPKCE, and only with Request.ResponseType "code". If false, every
	// ID Token of a login has its nonce (OpenID Connect Core, section 3.1.3.7).
	WithoutNonce bool

	// AnyNonceAtRefresh accepts refreshed ID Tokens with the nonce of another login, as Gitea and
	// Forgejo write them: that of the user's last login, on whatever device. If false, such a token
	// ends the session (OpenID Connect Core, section 12.2).
	AnyNonceAtRefresh bool

	// RequireClaims are claims of the ID Token, and the values of which each must have one, as text or
	// in a list: {"hd": {"shop.example"}}. Otherwise the login is refused, and a refresh that brings
	// an ID Token ends the session. That is the proof of what Request.Params only ask for: "hd" at
	// Google, and "organization" at Auth0 with the claim "org_id". "tid" is the claim of a tenant at
	// Entra. Access tokens at API routes (Config.API) are not checked for them; use rules there.
	RequireClaims map[string][]string

	// SignedUserinfo says that this client is registered for signed userinfo answers
	// (userinfo_signed_response_alg). The gate then refuses an unsigned one.
	SignedUserinfo bool

	// EncryptedIDTokens says that this client is registered for encrypted ID Tokens
	// (id_token_encrypted_response_alg). ID Tokens and logout tokens that are signed only are then
	// refused (OpenID Connect Core, section 3.1.3.7). If false, both count. ClientKeys decrypts.
	EncryptedIDTokens bool

	// EncryptedUserinfo says the same of userinfo answers (userinfo_encrypted_response_alg), and
	// EncryptedResponses of signed responses (JARM, section 3: authorization_encrypted_response_alg).
	EncryptedUserinfo, EncryptedResponses bool

	// CompressedTokens accepts what is compressed before it is encrypted ("zip": "DEF" of RFC 7516,
	// section 4.1.3), as Apereo CAS does. If false, it is refused (RFC 8725, section 3.6).
	CompressedTokens bool

	// PlainAccessTokens accepts, where this service is an API, access tokens that do not follow RFC
	// 9068: of the "typ" JWT or none, without "jti", and with the client in "azp", "cid" or "appid".
	// Entra, Keycloak, Okta and Auth0 issue such tokens by default. A claim that ID Tokens lack must
	// say what it is: "scope", "scp", a "typ" or "token_use" of access tokens, or Entra's "azpacr".
	// If false, they are refused, so that no ID Token passes as one (RFC 9068, section 4).
	PlainAccessTokens bool

	// LogoutTypeJWT accepts logout tokens whose header has the "typ" JWT. If false, "typ" must be
	// logout+jwt or missing (OpenID Connect Back-Channel Logout, section 2.4).
	LogoutTypeJWT bool

	// LogoutWithoutExp accepts logout tokens without "exp", as drafts of Back-Channel Logout had
	// them, or with one more than 16 minutes after "iat", as authentik's. Such a token counts for two
	// minutes after its "iat", and once, like any other. If false, it is refused.
	LogoutWithoutExp bool

	// KeysMaxAge is the age at which keys are fetched again, on their next use. If zero, one hour.
	// While they cannot be fetched, the last ones count until they are 24 hours or KeysMaxAge old,
	// whichever is longer.
	KeysMaxAge time.Duration
}

// ClaimOptions say how a provider writes claims, where it does not do as OpenID Connect Core,
// section 5.1, says. Claims are read so before guards, OnLogin and handlers see them.
type ClaimOptions struct {
	// Unwrap is an object in userinfo whose members are claims: "attributes" at Apereo CAS, "data" at
	// others. They replace no other member. If empty, nothing is lifted.
	Unwrap string

	// EmailVerified is the claim that says that the address is verified, in place of
	// "email_verified": "xms_edov" at Microsoft Entra. An address without it is not verified.
	EmailVerified string

	// EmailVerifiedText takes the strings "true" and "1" for the boolean true. If false, a string does
	// not verify an address.
	EmailVerifiedText bool

	// Further, if set, returns claims that the provider has at other addresses, such as GitHub's list
	// of e-mail addresses. It is called at each login, and when claims are read again, with the user
	// as far as known. Its client sends the user's access token to FurtherOrigins, such as
	// "https://api.github.com", and fails for any other. What it returns counts as claims of userinfo
	// and replaces those; claims of the protocol are left out, and an "email" without an
	// "email_verified" is not verified. An error, a panic, and no result within HTTP.Timeout refuse
	// the login; while claims are read again, the old ones stay, but see [TokenOptions].KeepRefused.
	// Concurrent logins call it concurrently.
	Further func(ctx context.Context, id *Identity, client *http.Client) (map[string]any, error)

	FurtherOrigins []string // that Further may ask
}

// LogoutOptions say how the browser is sent to the provider's logout. Endpoints.EndSession replaces
// the address.
type LogoutOptions struct {
	// Style is what the provider's logout takes. If zero, it is [LogoutStandard]. [LogoutAuth0] needs
	// Endpoints.EndSession: Auth0 announces the address of another logout.
	Style LogoutStyle

	// FreshHint says that the provider takes no ID Token that has expired as id_token_hint. The tokens
	// are then refreshed first, and the session ends when that is done or after three seconds.
	FreshHint bool

	// WithoutRevocation says that to revoke a refresh token ends more at the provider than the
	// session here: at Keycloak that which its logout needs, at Apple the user's consent. It is only
	// dropped then. If false, a logout revokes it (RFC 7009), and so does a login that is refused.
	WithoutRevocation bool
}

// LogoutStyle is what a provider's logout takes, such as [LogoutAuth0].
type LogoutStyle int

// The styles of logout. Each address to come back to is registered at the provider:
// BaseURL + "/auth/logout/done".
const (
	LogoutStandard    = LogoutStyle(op.LogoutStandard)    // OpenID Connect RP-Initiated Logout
	LogoutCognito     = LogoutStyle(op.LogoutCognito)     // client_id and logout_uri, as Cognito wants
	LogoutAuth0       = LogoutStyle(op.LogoutAuth0)       // client_id and returnTo, as Auth0 wants
	LogoutKinde       = LogoutStyle(op.LogoutKinde)       // redirect, as at Kinde
	LogoutOff         = LogoutStyle(op.LogoutOff)         // the provider's session goes on
	LogoutWithoutHint = LogoutStyle(op.LogoutWithoutHint) // the standard without id_token_hint
)

// IssMode, such as [IssOptional], says when a response may lack "iss" (RFC 9207, section 2.4).
type IssMode int

// The modes of the response parameter "iss". A provider announces it in its metadata
// (authorization_response_iss_parameter_supported).
const (
	IssIfAnnounced = IssMode(op.IssIfAnnounced) // not from a provider that announces it
	IssRequired    = IssMode(op.IssRequired)    // never
	IssInCodes     = IssMode(op.IssInCodes)     // also in error responses, though it is announced
	IssOptional    = IssMode(op.IssOptional)    // always: a provider announces it and leaves it out
)

// UserinfoMode, such as [UserinfoOff], says whether userinfo is asked and a login needs the answer
// (OpenID Connect Core, section 5.3). An answer about another subject refuses the login always.
type UserinfoMode int

// The userinfo modes.
const (
	UserinfoOff      = UserinfoMode(op.UserinfoOff)      // it is not asked
	UserinfoOptional = UserinfoMode(op.UserinfoOptional) // if it fails, the login goes on without it
	UserinfoRequired = UserinfoMode(op.UserinfoRequired) // if it fails, the login is refused
)

var providerName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,32}$`)

func compileProviders(f *check.List, in []Provider, c *Config) []Provider {
	if len(in) == 0 {
		f.Add("Provider", "is missing; give New at least one")
	}
	seen := map[string]bool{}
	out := slices.Clone(in)
	for i := range out {
		p := &out[i]
		var pf check.List
		if p.Name != "" && !providerName.MatchString(p.Name) {
			pf.Add("Name", "%q does not fit into a path; use up to 32 letters, digits, \"-\" and \"_\"",
				p.Name)
		}
		if seen[strings.ToLower(p.Name)] {
			pf.Add("Name", "%q is used twice; give every provider its own name", p.Name)
		}
		seen[strings.ToLower(p.Name)] = true
		cfg := p.opConfig()
		isElsewhere := func(other Provider) bool { o := other.opConfig(); return cfg.IsElsewhere(&o) }
		if slices.ContainsFunc(in[:i], isElsewhere) {
			pf.Add("Issuer", "%q is the issuer of another provider too, with other endpoints, another "+
				"claim for the subject, or ID Tokens signed with a secret: whoever is there could log in "+
				"as any of its users; give it another Issuer", p.Issuer)
		}
		p.compile(&pf, c)
		f.Within(providerLabel(*p, i, len(in)), pf)
	}
	return out
}

// providerLabel names a provider in faults: by its name, or by its index if it has none.
func providerLabel(p Provider, i, of int) string {
	switch {
	case of == 1:
		return "Provider"
	case p.Name == "":
		return fmt.Sprintf("Provider[%d]", i)
	}
	return fmt.Sprintf("Provider[%s]", p.Name)
}

func (p *Provider) compile(f *check.List, c *Config) {
	p.Auth.check(f)
	if p.TokenRequest.Binding.empty {
		f.Add("TokenRequest.Binding", "MutualTLS was given no certificate; check the error of loading it")
	}
	f.Duration("Endpoints.MaxAge", &p.Endpoints.MaxAge, time.Hour)
	f.Duration("Verification.KeysMaxAge", &p.Verification.KeysMaxAge, time.Hour)
	cfg := p.opConfig()
	cfg.AllowHTTP = c.InsecureAllowHTTP
	cfg.Transport, cfg.ToResources = c.HTTP.Transport, c.HTTP.ResourceTransport
	cfg.Further = further(p.Claims.Further, p.Name, p.Claims.FurtherOrigins, c)
	cfg.APIAudience, cfg.Introspect = c.API.Audience, c.API.Introspect
	*f = append(*f, cfg.Faults()...)
}

// client returns the client of p for internal/op.
func (p *Provider) client(c *config, notify func(op.Notice)) *op.Client {
	cfg := p.opConfig()
	cfg.RedirectURL = c.at.URL(c.at.ProviderPath("/callback", p.Name))
	cfg.Leeway = c.Limits.ClockSkew
	cfg.Timeout, cfg.Transport, cfg.RootCAs = c.HTTP.Timeout, c.HTTP.Transport, c.HTTP.RootCAs
	cfg.Name, cfg.Wrap, cfg.ToResources = p.Name, c.HTTP.Wrap, c.HTTP.ResourceTransport
	cfg.AllowHTTP, cfg.Notify = c.InsecureAllowHTTP, notify
	cfg.Further = further(p.Claims.Further, p.Name, p.Claims.FurtherOrigins, &c.Config)
	cfg.APIAudience, cfg.Introspect = c.API.Audience, c.API.Introspect
	return op.New(cfg)
}

// opConfig returns what internal/op has to know of p alone.
func (p *Provider) opConfig() op.Config {
	e, r, v, t := p.Endpoints, p.Request, p.Verification, p.TokenRequest
	cfg := op.Config{
		Profile: op.Profile(p.Profile), ThirdParty: r.ThirdParty,
		Issuer: p.Issuer, ClientID: p.ClientID,
		Auth: p.Auth.compiled(), ClientKeys: p.ClientKeys.compiled(),
		FixedKeys: p.ClientKeys.source == nil,
		DPoP:      t.Binding.dpop, Certificate: t.Binding.certificate,
		AssertionAudience: t.AssertionAudience, JSONTokenRequests: t.JSON, RawBasic: t.RawBasic,
		Endpoints: op.Endpoints{
			Authorization: e.Authorization, Token: e.Token, Userinfo: e.Userinfo,
			JWKS: e.JWKS, EndSession: e.EndSession, PushedAuthorization: e.PushedAuthorization,
			Introspection: e.Introspection, Discovery: e.Discovery,
		},
		Scopes: p.Scopes, AuthParams: op.SortedParams(r.Params), PromptLogin: r.PromptLogin,
		EssentialACR: r.EssentialACR,
		Login:        op.LoginOptions(r.Login), LinkParams: r.LinkParams, Resources: r.Resources,
		ResponseType: r.ResponseType, ResponseMode: r.ResponseMode,
		Pushed: op.PushedMode(r.Pushed), Object: op.ObjectMode(r.Object),
		SigningAlgs: slices.Clone(v.SigningAlgs), SecretLength: len(p.Auth.fixed),
		TrustedAudiences: slices.Clone(v.TrustedAudiences),
		Tenants:          slices.Clone(v.Tenants), Issuers: slices.Clone(v.Issuers),
		ResponseIss: op.IssMode(v.ResponseIss), RequireClaims: op.CloneLists(v.RequireClaims),
		WithoutPKCE: r.WithoutPKCE, WithoutNonce: v.WithoutNonce, AnyNonce: v.AnyNonceAtRefresh,
		PlainAccessTokens: v.PlainAccessTokens,
		LogoutTypeJWT:     v.LogoutTypeJWT, LogoutWithoutExp: v.LogoutWithoutExp,
		SubjectClaim: p.subjectClaim,
		Logout:       op.LogoutStyle(p.Logout.Style), FreshHint: p.Logout.FreshHint,
		WithoutRevocation: p.Logout.WithoutRevocation,
		FurtherOrigins:    p.Claims.FurtherOrigins,
		Unwrap:            p.Claims.Unwrap, EmailVerified: p.Claims.EmailVerified,
		EmailVerifiedText: p.Claims.EmailVerifiedText, LenientAnswers: t.LenientAnswers,
		Userinfo: op.UserinfoMode(p.Userinfo), UserinfoSigned: v.SignedUserinfo,
		IDTokenEncrypted: v.EncryptedIDTokens, UserinfoEncrypted: v.EncryptedUserinfo,
		ResponseEncrypted: v.EncryptedResponses, Compressed: v.CompressedTokens,
		DiscoveryRefresh: e.MaxAge, JWKSRefresh: v.KeysMaxAge,
	}
	cfg.Complete()
	return cfg
}
