package oidcgatetest

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// TB has the methods of testing.TB that [NewProvider] uses. It is declared here so that programs
// that embed a provider do not link package testing and its flags.
type TB interface {
	Helper()
	Cleanup(func())
	Fatalf(format string, args ...any)
}

// Config holds the settings of a Provider, which do not change later. The zero Config gives a
// provider at https://id.test that signs with RS256 and logs one user in without a login page.
type Config struct {
	// Issuer is the provider's issuer identifier, an http or https URL. It may have a path and may
	// end in a slash. If empty, it is "https://id.test".
	//
	// With "{tenantid}" in its path the provider is like Microsoft Entra for many tenants: an ID Token
	// is issued by the tenant of its user, who has it in the claim "tid", and the keys have this
	// issuer in their "issuer". Responses then have no iss. The endpoints are those of the tenant
	// "organizations".
	Issuer string

	// DiscoveryPath is the path of the discovery document. If empty, it follows from Issuer (OpenID
	// Connect Discovery, 4.1).
	DiscoveryPath string

	// WithoutPKCE refuses requests with PKCE, as some providers do that do not know it. If false,
	// requests without it are refused.
	WithoutPKCE bool

	// WithoutNonce leaves the nonce out of ID Tokens, as some providers do.
	WithoutNonce bool

	// Algorithm is the signing algorithm of ID Tokens: "RS256" or "ES256". If empty, it is "RS256".
	Algorithm string

	// CodeLifetime is how long an authorization code is valid. If zero, it is one minute.
	CodeLifetime time.Duration

	// AccessTokenLifetime is how long an access token is valid. Clients get it as expires_in, in
	// whole seconds. If zero, it is five minutes.
	AccessTokenLifetime time.Duration

	// IDTokenLifetime is the time between the claims iat and exp.
	// If zero, it is five minutes.
	IDTokenLifetime time.Duration

	// RotateRefreshTokens makes every refresh token valid for one use only; each use returns a new
	// one (RFC 9700, 4.14.2). If false, the first refresh token stays valid.
	RotateRefreshTokens bool

	// JWTAccessTokens makes access tokens JWTs (RFC 9068), those of a token exchange too. If false,
	// they are opaque: a service needs Introspection to know whom they are for.
	JWTAccessTokens bool

	// AccessTokenAudience is the aud of access tokens: the name of the API that they are for. If
	// empty, it is "https://api.test". Tokens of an exchange have another; see Client.Exchanges.
	AccessTokenAudience string

	// Introspection adds an endpoint that tells clients about access tokens (RFC 7662).
	Introspection bool

	// Registration adds an endpoint at which clients register themselves (RFC 7591, RFC 7592), and
	// one that names this provider as the issuer of every e-mail address (WebFinger).
	Registration bool

	// InitialAccessToken is needed to register. If empty, everybody may. It has no meaning without
	// Registration.
	InitialAccessToken string

	// DPoPNonces makes every DPoP proof need a nonce, which the provider tells in DPoP-Nonce (RFC
	// 9449, 8). If false, proofs need none.
	DPoPNonces bool

	// JSONTokenRequests makes the token endpoint take JSON objects in place of forms.
	JSONTokenRequests bool

	// PushedRequests adds an endpoint for pushed authorization requests (RFC 9126).
	PushedRequests bool

	// RequirePushedRequests refuses authorization requests that were not pushed. It has no meaning
	// without PushedRequests.
	RequirePushedRequests bool

	// WithoutIDTokens makes the provider a server of OAuth 2.0 alone: it issues no ID Tokens, has
	// neither discovery nor keys nor logout, takes any scope, and puts every claim of the user into
	// userinfo. [Provider.URL] has its addresses, for oidcgate.OAuth2.
	WithoutIDTokens bool

	// LoginPage shows a login page. It is called for each request to the authorization endpoint
	// that passed the provider's checks. It either writes a page, or ends the login with
	// [Login.Proceed] or [Login.Refuse]. A form on that page must post to the URL of the page,
	// including the query; the post calls LoginPage again. If the page has a
	// Content-Security-Policy, its form-action must allow the client's origin, because browsers
	// apply form-action to the redirect that follows the post. If LoginPage is nil, the user of
	// [Provider.SetUser] is logged in at once.
	LoginPage func(w http.ResponseWriter, r *http.Request, login *Login)
}

// A Client is a relying party registered at the provider.
type Client struct {
	ID     string
	Secret string

	// RedirectURLs are compared with redirect_uri byte for byte (RFC 9700, 2.1).
	RedirectURLs []string

	// PostLogoutRedirectURLs are compared with post_logout_redirect_uri byte for byte.
	PostLogoutRedirectURLs []string

	// AuthMethod is the only method by which the client may authenticate. If empty, it is
	// ClientSecretBasic for a client with a Secret and NoClientSecret for one without.
	AuthMethod AuthMethod

	// Keys are the client's public keys, for PrivateKeyJWT, for request objects (RFC 9101), and to
	// encrypt for the client. They must have a kid. Those that encrypt have the Algorithm for which
	// they are used, or none. A client without keys may send no request objects.
	Keys jose.JSONWebKeySet

	// Exchanges are the audiences and resources for which the client may exchange access tokens (RFC
	// 8693), those of its logins and those that other clients send it. The new token's aud is the
	// audience or resource that was asked for, or a list of both, and its scope is the one that was
	// asked for, or else that of the token.
	Exchanges []string

	// CertificateBound binds the client's access tokens to Certificate, whatever its AuthMethod (RFC
	// 8705, 3): the client must show the certificate where it requests and uses them.
	CertificateBound bool

	// IDToken, Userinfo and Response say how ID Tokens and logout tokens, userinfo responses, and
	// authorization responses (JARM) are signed and encrypted. If zero, ID Tokens and responses are
	// signed, and userinfo is JSON.
	IDToken, Userinfo, Response Algorithms

	// Certificate is what the client must show with TLSClientAuth and SelfSignedTLSClientAuth. Only
	// [Provider.TLSServer] sees certificates.
	Certificate *x509.Certificate
}

// A User can log in at the provider.
type User struct {
	// Subject is the claim sub. If empty, it is "alice".
	Subject string

	// Claims appear in the ID Token and in the userinfo response. Claims that belong to the scopes
	// profile, email, address and phone appear only if the scope was granted (OpenID Connect Core,
	// 5.4); all others always appear. Claims that the provider sets itself, such as iss and sub,
	// cannot be changed here; use [Provider.NextIDToken].
	Claims map[string]any

	// UserinfoClaims appear only in the userinfo response.
	UserinfoClaims map[string]any
}

// Provider is an OpenID Provider. It is an http.Handler that serves its endpoints below the path of
// its issuer. [NewProvider] and [New] create one; the zero Provider must not be used. It is safe
// for concurrent use. A provider that is used in a testing/synctest bubble must be created in that
// bubble.
//
// It keeps no session with the browser, so every authorization request is a new login.
type Provider struct {
	config  Config
	closing context.Context
	close   context.CancelFunc

	mu            sync.Mutex
	issuer        string
	clients       map[string]Client
	names         []string // of [Provider.ProviderFor]
	user          User
	users         map[string]User // by Subject, for refreshed ID Tokens and userinfo
	keys          []*signingKey   // the published keys
	signer        *signingKey     // the newest key; it may be unpublished
	verifiers     []*signingKey   // all keys, including removed ones, for id_token_hint
	codes         map[string]*grant
	pushed        map[string]pushedRequest // by request_uri
	accessTokens  map[string]accessToken
	opaque        map[string]map[string]any // claims of tokens of NewOpaqueToken
	revoked       map[string]bool           // access tokens
	registered    map[string]registered     // by client id
	refreshTokens map[string]*grant
	seen          map[Endpoint]*record
	seenIDs       map[string]bool // the jti of assertions and proofs
	nonce         string          // of DPoP proofs
	nextIDTokens  []func(*JWT)
	everyIDToken  func(*JWT)
	nextResponses []func(url.Values)
	nextObjects   []func(*JWT)
	servers       []*httptest.Server
}

// NewProvider returns a provider that is closed when the test ends. It takes at most one Config;
// without one, it uses the zero Config. If [New] returns an error, the test fails. The user is
// Alice, with the Subject "alice", a name and a verified e-mail address. There are no clients yet.
func NewProvider(t TB, config ...Config) *Provider {
	t.Helper()
	if len(config) > 1 {
		t.Fatalf("oidcgatetest: NewProvider takes one Config, not %d", len(config))
	}
	p, err := New(append(config, Config{})[0])
	if err != nil {
		t.Fatalf("%v", err)
	}
	t.Cleanup(p.Close)
	return p
}

// New is like [NewProvider] for programs that are not tests. It returns an error if config has an
// invalid Issuer or Algorithm. The caller must call [Provider.Close].
func New(config Config) (*Provider, error) {
	config.Issuer = cmp.Or(config.Issuer, defaultIssuer)
	config.Algorithm = cmp.Or(config.Algorithm, "RS256")
	config.CodeLifetime = cmp.Or(config.CodeLifetime, time.Minute)
	config.AccessTokenLifetime = cmp.Or(config.AccessTokenLifetime, 5*time.Minute)
	config.IDTokenLifetime = cmp.Or(config.IDTokenLifetime, 5*time.Minute)
	if err := checkIssuer(config.Issuer); err != nil {
		return nil, err
	}
	p := &Provider{
		config:        config,
		issuer:        config.Issuer,
		clients:       make(map[string]Client),
		users:         make(map[string]User),
		codes:         make(map[string]*grant),
		pushed:        make(map[string]pushedRequest),
		accessTokens:  make(map[string]accessToken),
		opaque:        make(map[string]map[string]any),
		revoked:       make(map[string]bool),
		registered:    make(map[string]registered),
		refreshTokens: make(map[string]*grant),
		seen:          make(map[Endpoint]*record),
		seenIDs:       make(map[string]bool),
	}
	p.ReplaceDPoPNonce()
	p.closing, p.close = context.WithCancel(context.Background())
	if _, err := p.addKey(config.Algorithm); err != nil {
		return nil, err
	}
	p.SetUser(alice())
	return p, nil
}

// checkIssuer applies the rules of OpenID Connect Discovery, 3, but also allows http, for providers
// on loopback.
func checkIssuer(issuer string) error {
	u, err := url.Parse(issuer)
	if err != nil {
		return fmt.Errorf("oidcgatetest: Config.Issuer: %w", err)
	}
	if u.Scheme != "https" && u.Scheme != "http" || u.Host == "" {
		return fmt.Errorf(
			"oidcgatetest: Config.Issuer: %q is not an absolute http or https URL", issuer)
	}
	if strings.ContainsAny(issuer, "?#") {
		return errors.New("oidcgatetest: Config.Issuer: an issuer has neither query nor fragment")
	}
	return nil
}

func alice() User {
	return User{Subject: "alice", Claims: map[string]any{
		"name":               "Alice Example",
		"preferred_username": "alice",
		"email":              "alice@example.com",
		"email_verified":     true,
	}}
}

// Close ends answers that hang or are delayed, and closes the servers that [Provider.Server] and
// [Provider.TLSServer] started. It may be called more than once.
func (p *Provider) Close() {
	p.close()
	p.mu.Lock()
	servers := p.servers
	p.servers = nil
	p.mu.Unlock()
	for _, s := range servers {
		s.Close()
	}
}

// Issuer returns the issuer identifier.
func (p *Provider) Issuer() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.issuer
}

// DiscoveryURL returns the address of the discovery document.
func (p *Provider) DiscoveryURL() string {
	base := inTenant(p.Issuer(), anyTenant)
	if p.config.DiscoveryPath != "" {
		return strings.TrimSuffix(base, pathOf(base)) + p.config.DiscoveryPath
	}
	return strings.TrimSuffix(base, "/") + paths[Discovery]
}

// Server starts a server on a loopback address and changes the issuer to it: the issuer keeps its
// path and gets the server's scheme and host. So call Server before you configure the relying party
// with the issuer. [Provider.Close] closes the server.
func (p *Provider) Server() *httptest.Server {
	return p.moveTo(httptest.NewServer(p))
}

// TLSServer is [Provider.Server] over TLS. The server's Client trusts its certificate. Clients may
// show one of their own.
func (p *Provider) TLSServer() *httptest.Server {
	s := httptest.NewUnstartedServer(p)
	s.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
	s.StartTLS()
	return p.moveTo(s)
}

func (p *Provider) moveTo(s *httptest.Server) *httptest.Server {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.servers = append(p.servers, s)
	p.issuer = s.URL + pathOf(p.issuer)
	return s
}

// AddClient registers a client. It replaces a client with the same ID. It panics if tokens cannot
// be signed and encrypted as the client says, because that is an error in the test.
func (p *Provider) AddClient(c Client) {
	c.RedirectURLs = slices.Clone(c.RedirectURLs)
	c.PostLogoutRedirectURLs = slices.Clone(c.PostLogoutRedirectURLs)
	c.Exchanges = slices.Clone(c.Exchanges)
	if c.AuthMethod == "" && c.Secret == "" {
		c.AuthMethod = NoClientSecret
	}
	c.AuthMethod = cmp.Or(c.AuthMethod, ClientSecretBasic)
	c.Keys.Keys = slices.Clone(c.Keys.Keys)
	for _, a := range []Algorithms{c.IDToken, c.Userinfo, c.Response} {
		a.check(c)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clients[c.ID] = c
}

// AllowExchange lets a client that is registered, such as that of [Provider.ProviderFor], exchange
// access tokens for these audiences and resources, in addition to its Exchanges. It panics if there
// is no such client.
func (p *Provider) AllowExchange(clientID string, targets ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c, ok := p.clients[clientID]
	if !ok {
		panic(fmt.Sprintf("oidcgatetest: AllowExchange: there is no client %q", clientID))
	}
	c.Exchanges = slices.Concat(c.Exchanges, targets)
	p.clients[clientID] = c
}

func (p *Provider) client(id string) (Client, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c, ok := p.clients[id]
	return c, ok
}

// SetUser sets the user whom the next authorization requests log in. If there is already a user
// with that Subject, its claims are replaced, and userinfo and refreshed ID Tokens contain the new
// claims from now on.
func (p *Provider) SetUser(u User) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.user = p.remember(u.named())
}

// SetNobody makes the provider refuse the next logins with access_denied, or with login_required
// where no page may be shown (prompt=none).
func (p *Provider) SetNobody() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.user = User{}
}

// named returns u with the Subject that it has if none is given.
func (u User) named() User {
	u.Subject = cmp.Or(u.Subject, "alice")
	return u
}

// remember stores a copy of the user for tokens issued later, and returns the copy. p.mu is held.
func (p *Provider) remember(u User) User {
	u.Claims = maps.Clone(u.Claims)
	u.UserinfoClaims = maps.Clone(u.UserinfoClaims)
	p.users[u.Subject] = u
	return u
}

// The tenants of an issuer, as Microsoft Entra writes them.
const (
	tenantMark = "{tenantid}"
	anyTenant  = "organizations"
)

func inTenant(issuer, tenant string) string {
	return strings.ReplaceAll(issuer, tenantMark, tenant)
}

func hasTenants(issuer string) bool { return strings.Contains(issuer, tenantMark) }

// tenantOf returns the tenant of a user, or "".
func tenantOf(claims map[string]any) string {
	tenant, _ := claims["tid"].(string)
	return tenant
}

// pathOf returns the path of a checked issuer, or "" if it has none.
func pathOf(issuer string) string {
	_, rest, _ := strings.Cut(issuer, "://")
	if i := strings.IndexByte(rest, '/'); i >= 0 {
		return rest[i:]
	}
	return ""
}
