package oidcgatetest

import (
	"cmp"
	"context"
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
)

// TB is what [NewProvider] uses of a testing.TB. It stands here so that programs that
// embed a provider do not link package testing and its flags.
type TB interface {
	Helper()
	Cleanup(func())
	Fatalf(format string, args ...any)
}

// Config says how a Provider behaves all its life. The zero Config is a provider at
// https://id.test that signs with RS256 and logs one user in without asking.
type Config struct {
	// Issuer is the provider's issuer identifier. It may have a path and may end in a
	// slash. If empty, it is "https://id.test".
	Issuer string

	// Algorithm signs the ID Tokens: "RS256" or "ES256". If empty, it is "RS256".
	Algorithm string

	// CodeLifetime bounds the time between the login and the token request.
	// If zero, it is one minute.
	CodeLifetime time.Duration

	// AccessTokenLifetime is told to clients as expires_in, in whole seconds.
	// If zero, it is five minutes.
	AccessTokenLifetime time.Duration

	// IDTokenLifetime is the time between the claims iat and exp.
	// If zero, it is five minutes.
	IDTokenLifetime time.Duration

	// RotateRefreshTokens makes every refresh token good for one use, each use
	// bringing the next one (RFC 9700, 4.14.2). If false, the first one stays good.
	RotateRefreshTokens bool

	// LoginPage asks who is there. It is called for each request to the authorization
	// endpoint that passed the provider's checks, and either writes a page, or ends
	// the login with [Login.Proceed] or [Login.Refuse]. A form on that page posts to
	// the address it was served from, query included, and so comes back to LoginPage.
	// A Content-Security-Policy of the page must allow the client's origin in
	// form-action, because browsers apply that to the redirect which follows.
	// If nil, the user of [Provider.SetUser] is logged in at once.
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

	// AuthMethod is the one way in which the client may authenticate. If empty, it is
	// ClientSecretBasic for a client with a Secret and NoClientSecret for one without.
	AuthMethod AuthMethod
}

// An AuthMethod is a value of token_endpoint_auth_method (OpenID Connect Core, 9).
type AuthMethod string

// The methods the provider knows.
const (
	ClientSecretBasic AuthMethod = "client_secret_basic"
	ClientSecretPost  AuthMethod = "client_secret_post"
	NoClientSecret    AuthMethod = "none"
)

// A User is somebody who can log in. Nobody is a user without a Subject.
type User struct {
	// Subject is the claim sub.
	Subject string

	// Claims stand in the ID Token and in userinfo. Claims that belong to the scopes
	// profile, email, address and phone appear where the scope was granted (OpenID
	// Connect Core, 5.4), all others always. Claims that the provider makes itself,
	// such as iss and sub, cannot be changed here; see [Provider.NextIDToken].
	Claims map[string]any

	// UserinfoClaims stand in userinfo alone.
	UserinfoClaims map[string]any
}

// Provider is an OpenID Provider, and an http.Handler that serves it at the path of its
// issuer. It is safe for concurrent use. Inside a testing/synctest bubble, make it there.
//
// It keeps no session of its own with the browser: every login asks anew.
type Provider struct {
	config  Config
	closing context.Context
	close   context.CancelFunc

	mu            sync.Mutex
	issuer        string
	clients       map[string]Client
	user          User
	users         map[string]User // by Subject: what refreshing and userinfo tell
	keys          []*signingKey   // the published ones
	signer        *signingKey     // published or not
	verifiers     []*signingKey   // every key there ever was, for id_token_hint
	codes         map[string]*grant
	accessTokens  map[string]accessToken
	refreshTokens map[string]*grant
	seen          map[Endpoint]*record
	nextIDTokens  []func(*JWT)
	everyIDToken  func(*JWT)
	servers       []*httptest.Server
}

// NewProvider returns a provider that is closed when the test ends. At most one Config
// is given; without one, the zero Config holds. A Config that [New] refuses ends the
// test. The user is Alice, with the Subject "alice", a name and a verified e-mail
// address; there are no clients yet.
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

// New is [NewProvider] for programs that are not tests. The caller closes the provider.
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
		accessTokens:  make(map[string]accessToken),
		refreshTokens: make(map[string]*grant),
		seen:          make(map[Endpoint]*record),
	}
	p.closing, p.close = context.WithCancel(context.Background())
	if _, err := p.addKey(config.Algorithm); err != nil {
		return nil, err
	}
	p.SetUser(alice())
	return p, nil
}

// checkIssuer holds issuers to OpenID Connect Discovery, 3, but allows http: on
// loopback there is nobody to hide from.
func checkIssuer(issuer string) error {
	u, err := url.Parse(issuer)
	if err != nil {
		return fmt.Errorf("oidcgatetest: Config.Issuer: %w", err)
	}
	if u.Scheme != "https" && u.Scheme != "http" || u.Host == "" {
		return fmt.Errorf("oidcgatetest: Config.Issuer: %q is not an absolute http or https URL", issuer)
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

// Close ends the answers that hang or are delayed, and the servers that [Provider.Server]
// and [Provider.TLSServer] started. Closing twice is harmless.
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

// Server starts a server on loopback and moves the issuer there: its path stays, its
// scheme and host become the server's. So Server comes before the relying party is told
// the issuer. The server ends with the provider.
func (p *Provider) Server() *httptest.Server {
	return p.moveTo(httptest.NewServer(p))
}

// TLSServer is [Provider.Server] over TLS. The server's Client trusts its certificate.
func (p *Provider) TLSServer() *httptest.Server {
	return p.moveTo(httptest.NewTLSServer(p))
}

func (p *Provider) moveTo(s *httptest.Server) *httptest.Server {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.servers = append(p.servers, s)
	p.issuer = s.URL + pathOf(p.issuer)
	return s
}

// AddClient registers a client, or registers it anew when its ID is known.
func (p *Provider) AddClient(c Client) {
	c.RedirectURLs = slices.Clone(c.RedirectURLs)
	c.PostLogoutRedirectURLs = slices.Clone(c.PostLogoutRedirectURLs)
	if c.AuthMethod == "" && c.Secret == "" {
		c.AuthMethod = NoClientSecret
	}
	c.AuthMethod = cmp.Or(c.AuthMethod, ClientSecretBasic)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clients[c.ID] = c
}

func (p *Provider) client(id string) (Client, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c, ok := p.clients[id]
	return c, ok
}

// SetUser says who is logged in by the next authorization request. A user whose Subject
// is known gets new claims, which userinfo and refreshed ID Tokens tell from now on. After
// SetUser(User{}) nobody is there, and logins are refused with access_denied.
func (p *Provider) SetUser(u User) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.user = p.remember(u)
}

// remember keeps a copy of the user for tokens issued later, and returns it. p.mu is held.
func (p *Provider) remember(u User) User {
	u.Claims = maps.Clone(u.Claims)
	u.UserinfoClaims = maps.Clone(u.UserinfoClaims)
	p.users[u.Subject] = u
	return u
}

// pathOf returns the path of a checked issuer, "" included.
func pathOf(issuer string) string {
	_, rest, _ := strings.Cut(issuer, "://")
	if i := strings.IndexByte(rest, '/'); i >= 0 {
		return rest[i:]
	}
	return ""
}
