package op

import (
	"context"
	"crypto/x509"
	"net/http"
	"time"

	"github.com/oidcgate/oidcgate/internal/claims"
)

// Send sends a request with an access token, and with what proves that the token is ours.
type Send func(r *http.Request) (*http.Response, error)

// Config is what a [Client] works by. The caller fills in the defaults and checks every field; this
// package trusts it.
type Config struct {
	Name string // of the provider, as the application calls it; may be empty

	// Issuer is exactly as the provider writes it, and compared byte for byte. With {tenantid} in it,
	// it is a template: each of Tenants has its own issuer.
	Issuer      string
	Tenants     []string
	Issuers     []string // that tokens may have in place of Issuer, which then replaces them
	ClientID    string
	RedirectURL string

	Auth Auth

	// ClientKeys returns the client's own keys, those that sign and those that decrypt. It is called
	// for each use, concurrently. It may be nil.
	ClientKeys func(context.Context) ([]ClientKey, error)
	FixedKeys  bool // they never change, and Faults checks them

	Profile    Profile // rules for all of the following
	ThirdParty bool    // others may begin logins

	DPoP bool // tokens are bound to a key of their session

	Certificate *Certificate // to which tokens are bound; may be nil

	AssertionAudience string // aud of client assertions; if empty, the issuer
	JSONTokenRequests bool   // token requests are JSON in place of a form
	RawBasic          bool   // id and secret are not encoded in a Basic header

	// Endpoints are those that were given by hand. Each overrides the discovered one. When all
	// that are needed are here, nothing is discovered.
	Endpoints Endpoints

	Scopes       []string     // openid first, each once
	AuthParams   [][2]string  // extra parameters of the authorization request
	ResponseType string       // as sent
	ResponseMode string       // sent only when it is not empty
	Login        LoginOptions // of every request, unless it says otherwise
	LinkParams   []string     // parameters that a link to the login may set
	WithoutPKCE  bool         // the provider fails on a code challenge
	Resources    []string     // that access tokens are for (RFC 8707)
	Pushed       PushedMode
	Object       ObjectMode // needs ClientKeys

	// SigningAlgs may sign tokens. They are all asymmetric or all HS256 and its variants; never empty.
	SigningAlgs  []string
	SecretLength int // of a client secret that never changes; zero for another

	TrustedAudiences []string // may stand in aud beside the client; "*" is any

	// APIAudience are the names of this service in the aud of access tokens that others send it. If
	// empty, it takes none.
	APIAudience []string
	Introspect  bool // all of these access tokens are introspected, not only the opaque ones

	ResponseIss  IssMode
	WithoutNonce bool // ID Tokens may lack the nonce, but have no other
	AnyNonce     bool // refreshed ID Tokens may have another

	// RequireClaims are claims of ID Tokens, and the values of which each must have one.
	RequireClaims map[string][]string

	EssentialACR bool // a request with acr_values also asks for acr as an essential claim

	PromptLogin bool // a request with max_age also has prompt=login

	Logout    LogoutStyle // how the browser is sent to the provider's logout
	FreshHint bool        // with an ID Token that has not expired

	WithoutRevocation bool // refresh tokens are dropped only

	// How claims are read before anything sees them: members of the object Unwrap of userinfo are
	// lifted, and EmailVerified names the claim that says that an address is verified.
	Unwrap            string
	EmailVerified     string
	EmailVerifiedText bool // "true" counts too

	// Further, which may be nil, returns claims that the provider has at other addresses. It gets what
	// is known of the user, and a function that sends a request with the access token.
	Further func(ctx context.Context, id, userinfo claims.Object, send Send) (claims.Object, error)

	FurtherOrigins []string // that Further may ask, by the caller's word

	LenientAnswers bool // of the token endpoint

	PlainAccessTokens bool // access tokens of callers need not follow RFC 9068

	LogoutTypeJWT    bool // logout tokens may say that they are just a JWT
	LogoutWithoutExp bool // logout tokens may lack exp; they count for two minutes then

	// SubjectClaim is set for a provider without ID Tokens: the member of userinfo, by its name or a
	// JSON Pointer, that identifies the user.
	SubjectClaim string

	Userinfo       UserinfoMode
	UserinfoSigned bool // the provider agreed to sign userinfo: an unsigned answer is refused

	// The client is registered for encrypted tokens, and others are refused. IDTokenEncrypted is for
	// logout tokens too.
	IDTokenEncrypted, UserinfoEncrypted, ResponseEncrypted bool

	Compressed bool // accepts encrypted tokens that are compressed

	Leeway           time.Duration // how far the two clocks may differ, either way
	DiscoveryRefresh time.Duration // how old metadata may become
	JWKSRefresh      time.Duration // how old keys may become: a withdrawn key is trusted so long
	Timeout          time.Duration // for each request to the provider, as a whole

	AllowHTTP bool // http endpoints also off loopback

	// Transport makes the requests. If nil, it is the hardened transport of this package.
	// Deadlines, limits and the refusal of redirects hold for every transport. The rules for TLS
	// and for the addresses that may be dialled are those of the transport itself.
	Transport http.RoundTripper

	// Wrap, which may be nil, returns a transport that passes requests on to the one it gets. A
	// request's context has its [Purpose]. It never returns nil.
	Wrap func(http.RoundTripper) http.RoundTripper

	// ToResources carries requests to resources. If nil, it is that of package net/http.
	ToResources http.RoundTripper

	// RootCAs are what the package's own transport checks certificates against. If nil, they are
	// the system's.
	RootCAs *x509.CertPool

	// Notify is told what happens. It is called from any goroutine, with no lock held, and must
	// not block. It is never nil.
	Notify func(Notice)
}

// UserinfoMode says what userinfo is to a login.
type UserinfoMode int

// The modes of userinfo.
const (
	UserinfoOff      UserinfoMode = iota // it is not asked for
	UserinfoOptional                     // it adds claims when it answers
	UserinfoRequired                     // no login without it
)

// IssMode says when the response parameter iss may be missing (RFC 9207). When it is there, it is
// compared.
type IssMode int

// The modes of the response parameter iss.
const (
	IssIfAnnounced IssMode = iota // only if the metadata does not announce it
	IssRequired                   // never
	IssInCodes                    // and in error responses, though the metadata announces it
	IssOptional                   // always
)

func (cfg *Config) needsNoDiscovery() bool {
	e := cfg.Endpoints
	return e.Discovery == "" && e.Authorization != "" && (e.Token != "" || !cfg.wantsCode()) &&
		(e.JWKS != "" || !cfg.needsKeys()) && (e.Userinfo != "" || cfg.Userinfo == UserinfoOff) &&
		(e.PushedAuthorization != "" || cfg.Pushed != PushedRequired)
}
