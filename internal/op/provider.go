// Package provider is the gate's side towards one OpenID Provider: discovery,
// keys, the authorization request, the token call, the rules for the ID Token,
// userinfo and the logout URL.
//
// The libraries do what they do well: go-oidc discovers and verifies, x/oauth2
// makes the requests, go-jose checks signatures. Round them stand rules of our
// own, stricter than theirs, and every answer passes those before a library
// sees it. What the provider sends is input from a stranger until it is
// checked; nothing of it gets into an error.
package op

import (
	"context"
	"crypto/x509"
	"net/http"
	"sync"
	"time"

	"github.com/oidcgate/oidcgate/internal/event"
)

// Config is what a [Client] works by. It is compiled and checked by the caller;
// this package trusts it.
type Config struct {
	Issuer      string // exactly as the provider writes it: compared byte for byte
	ClientID    string
	RedirectURL string

	Auth Auth

	// Endpoints are those that were given by hand. Each overrides the
	// discovered one, and when all that are needed are here nothing is
	// discovered.
	Endpoints Endpoints

	Scopes       []string    // openid first, each once
	AuthParams   [][2]string // extra parameters of the authorization request
	ResponseMode string      // sent only when it is not empty

	SigningAlgs []string // for ID Tokens and signed userinfo; never empty, asymmetric only

	TrustedAudiences []string // that may stand in aud beside the client

	Userinfo       UserinfoMode
	UserinfoSigned bool // the provider was asked to sign userinfo: an unsigned answer is refused

	Leeway           time.Duration // how far the two clocks may differ, either way
	DiscoveryRefresh time.Duration // how old metadata may become
	JWKSRefresh      time.Duration // how old keys may become: a withdrawn key is trusted no longer
	Timeout          time.Duration // for each call to the provider, as a whole

	AllowHTTP bool // http endpoints also off loopback

	// Transport makes the requests. If nil, it is the hardened transport of
	// this package. Deadlines, limits and the refusal of redirects hold for
	// either; TLS and the addresses that may be dialled are those of the
	// transport.
	Transport http.RoundTripper

	// RootCAs are what the package's own transport checks certificates against.
	// If nil, they are the system's.
	RootCAs *x509.CertPool

	// Notify is told what happens. It is called from any goroutine, with no
	// lock held, and must not block. It is never nil.
	Notify func(Notice)
}

// Endpoints are the URLs of a provider, by the words of OpenID Connect
// Discovery, 3. An empty one is unknown.
type Endpoints struct {
	Authorization string
	Token         string
	Userinfo      string
	JWKS          string
	EndSession    string
	Revocation    string
}

// UserinfoMode says what userinfo is to a login.
type UserinfoMode int

// The modes of userinfo.
const (
	UserinfoOff      UserinfoMode = iota // it is not asked for
	UserinfoOn                           // it adds claims when it answers
	UserinfoRequired                     // no login without it
)

// Notice is something that happened between us and the provider.
type Notice struct {
	Event  event.Type
	Reason event.Reason // why, when something went wrong
	Err    error        // the cause, when something went wrong
}

// Client speaks to one provider. It is safe for concurrent use.
type Client struct {
	cfg       Config
	transport http.RoundTripper
	discovery discovery
	keys      keys
	slots     chan struct{}
}

// New returns a Client. It reaches for nothing and starts no goroutine.
func New(cfg Config) *Client {
	c := &Client{
		cfg:       cfg,
		transport: cfg.Transport,
		slots:     make(chan struct{}, bulkhead),
	}
	if c.transport == nil {
		c.transport = newTransport(cfg.Timeout, cfg.RootCAs)
	}
	if cfg.needsNoDiscovery() {
		c.discovery.known = &Metadata{Issuer: cfg.Issuer, Endpoints: cfg.Endpoints}
		c.discovery.static = true
	}
	return c
}

func (cfg *Config) needsNoDiscovery() bool {
	e := cfg.Endpoints
	return e.Authorization != "" && e.Token != "" && e.JWKS != "" &&
		(e.Userinfo != "" || cfg.Userinfo == UserinfoOff)
}

// bulkhead is how many logins may talk to the provider at once.
const bulkhead = 64

// patience is how long a login waits for one of the others to finish.
const patience = time.Second

// Acquire lets a login talk to the provider, once there is room: at most 64 do
// so at a time, and who waits longer than a second is turned away with an
// *Error of status 503. A slow provider thus costs a bounded number of
// goroutines and connections. The caller calls release when done.
func (c *Client) Acquire(ctx context.Context) (release func(), err error) {
	release = sync.OnceFunc(func() { <-c.slots })
	select {
	case c.slots <- struct{}{}:
		return release, nil
	default:
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case c.slots <- struct{}{}:
		return release, nil
	case <-timer.C:
		return nil, busy(&fault{text: "too many logins wait for the provider"})
	case <-ctx.Done():
		return nil, busy(networkFault(ctx.Err()))
	}
}

func busy(err error) *Error {
	return &Error{
		Reason: event.ReasonProviderBusy,
		Status: http.StatusServiceUnavailable,
		Hint:   "the provider answers too slowly for the number of logins",
		Err:    err,
	}
}
