package oidcgate

import (
	"context"
	"crypto/x509"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/oidcgate/oidcgate/internal/returnto"
	"github.com/oidcgate/oidcgate/store"
)

// Config configures a [Gate]. It is read once, by [New], which copies it, checks every field and
// reports all faults together; changing it later changes nothing. BaseURL is always required. Store
// and Keys are required unless BaseURL is on a loopback host.
type Config struct {
	// BaseURL is what the browser has in front of every path the gate sees: "https://shop.example",
	// or "https://example.com/shop" behind a proxy that strips "/shop". Redirects, the redirect URI
	// and the cookies' security come from it and never from the Host or X-Forwarded-* headers of a
	// request.
	BaseURL string

	// Store keeps sessions. If nil, sessions are kept in memory when BaseURL is on a loopback host;
	// any other BaseURL requires a store, so that no replica forgets a session by accident.
	Store store.Store `json:"-"`

	// Keys seal cookies and records: the first seals, all open. If empty, a random key is made when
	// BaseURL is on a loopback host; any other BaseURL requires keys.
	Keys Keys

	// IdleTimeout ends a session that no request used for so long. If zero, it is one hour. Use is
	// noted only every twentieth of it (at least a minute, at most a quarter), so a session may end
	// that much earlier.
	IdleTimeout time.Duration

	// SessionLifetime ends every session this long after login, however busy it is, and bounds
	// IdleTimeout. If zero, it is 24 hours.
	SessionLifetime time.Duration

	// OnLogin runs after every check of a login and before the session exists. It may create the
	// local user, drop or add claims, or refuse: an error made by [Deny] answers 403, any other
	// error or a panic 500, and no session begins. It runs concurrently for concurrent logins.
	OnLogin func(ctx context.Context, login *Login) error `json:"-"`

	// OnEvent gets every [Event], one at a time, from a bounded queue: a slow OnEvent delays no
	// request; what does not fit into the queue is dropped and counted.
	OnEvent func(Event) `json:"-"`

	// Logger gets every event and every cause that the browser is not told. If nil, it is
	// [slog.Default].
	Logger *slog.Logger `json:"-"`

	// ErrorPage writes the pages with a status of 400 or more in place of the gate: the status,
	// which is p.Status, and the body. Headers that keep the page out of caches and frames are set
	// already. Nothing in p is HTML. Scripts get problem+json in any case.
	ErrorPage func(w http.ResponseWriter, r *http.Request, p Page) `json:"-"`

	// EnableValues gives signed-in visitors a place for the application's own values; see
	// [Gate.Values]. It costs one more read per request with a session, and one goroutine of scs
	// for each gate.
	EnableValues bool

	// What follows has defaults that fit most services.

	Site   SiteOptions  // paths and the cookie
	Tokens TokenOptions // refreshing access tokens, and the claims that come with it
	HTTP   HTTPOptions  // requests to the providers
	Limits Limits       // times and sizes

	// InsecureAllowHTTP accepts http where https is demanded: in BaseURL, Issuer and endpoints off
	// the loopback hosts. Codes, tokens and cookies then cross the network in the clear.
	InsecureAllowHTTP bool
}

// SiteOptions say where on the site the gate is.
type SiteOptions struct {
	// Prefix is the path below which the gate serves its own routes. If empty, it is "/auth".
	Prefix string

	// DefaultPath is where a login leads that began nowhere in particular, and where a visitor goes
	// whose return path was refused. If empty, it is "/".
	DefaultPath string

	// CookieName names the session cookie. If empty, it is "__Host-oidcgate", or "oidcgate" where
	// BaseURL is http. On https the name must begin with "__Host-", which makes browsers refuse the
	// cookie from sibling domains and plain http (draft-ietf-httpbis-rfc6265bis, section 4.1.3).
	CookieName string
}

// TokenOptions say how the provider's tokens of a session are kept fresh.
type TokenOptions struct {
	// Lifetime is how long an access token is taken to live when the provider does not say
	// (expires_in). If zero, it is one hour.
	Lifetime time.Duration

	// RefreshMargin is how long before its end an access token is refreshed, at most a quarter of
	// its life. If zero, it is one minute.
	RefreshMargin time.Duration

	// LockLease is how long a refresh that a dying replica left behind keeps others from refreshing
	// the same session. It is renewed while the provider is asked. If zero, it is 15 seconds.
	LockLease time.Duration

	// ClaimsMaxAge is the age at which a session's claims are read again, on its next request: the
	// tokens are refreshed, if they can be, userinfo is asked, if the provider's Userinfo says so,
	// and OnLogin decides again. So a group that is taken away at the provider is gone here after
	// that time, as long as the provider answers. Claims of the ID Token that OnLogin dropped or
	// replaced come back to it only with a new ID Token. If zero, claims stay as they were at login.
	ClaimsMaxAge time.Duration

	// EndSession ends a session with its access token, where the provider gave no refresh token.
	EndSession bool
}

// HTTPOptions are about the gate's own requests to the providers.
type HTTPOptions struct {
	// Timeout bounds each single request. If zero, it is ten seconds.
	Timeout time.Duration

	// RootCAs are the certificate authorities that providers' certificates are checked against. If
	// nil, they are the system's. A Transport has its own.
	RootCAs *x509.CertPool `json:"-"`

	// Transport carries the requests. Deadlines, size limits and the refusal of redirects apply
	// whatever it is. If nil, it is a transport with TLS 1.2 or newer that refuses link-local
	// addresses and uses no proxy. Set it for a proxy, or for tests.
	Transport http.RoundTripper `json:"-"`
}

// Limits bound what a login and a session may take.
type Limits struct {
	// LoginTimeout is the time a visitor has to log in at the provider. If zero, it is ten minutes;
	// at most an hour.
	LoginTimeout time.Duration

	// ClockSkew is how far the clocks of gate and provider may differ. If zero, it is 60 seconds;
	// at most five minutes.
	ClockSkew time.Duration

	// SessionBytes bounds what a session may take in the store, tokens aside. A login above it is
	// refused as [ReasonSessionTooLarge], unless OnLogin drops claims first. If zero, it is 16 KiB.
	SessionBytes int
}

// config is the compiled form: every default filled in, everything checked.
type config struct {
	Config
	origin      string // scheme://host[:port] of BaseURL
	basePath    string // path of BaseURL, without a slash at its end
	secure      bool   // BaseURL is https
	touchAfter  time.Duration
	logoutState string // name of the cookie that awaits the return from the provider's logout
}

// compile checks c and fills in its defaults. All faults are reported together.
func compile(c Config, providers []Provider) (config, []Provider, error) {
	f := newFaults()
	out := config{Config: c}
	out.compileBaseURL(f)
	out.compileDurations(f)
	out.compilePaths(f)
	out.compileCookie(f)
	out.compileStorage(f)
	if out.Logger == nil {
		out.Logger = slog.Default()
	}
	compiled := compileProviders(f, providers, c.InsecureAllowHTTP)
	return out, compiled, f.err()
}

func (c *config) compileBaseURL(f *faults) {
	u, err := url.Parse(c.BaseURL)
	switch {
	case c.BaseURL == "":
		f.add("BaseURL", "is empty; write the address browsers use, such as \"https://shop.example\"")
		return
	case err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "":
		f.add("BaseURL", "%q is not an absolute URL; write %q", redactURL(c.BaseURL), absolute(c.BaseURL))
		return
	case u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		f.add("BaseURL", "%q has user information, a query or a fragment; leave them out", redactURL(c.BaseURL))
		return
	case u.Scheme == "http" && !isLoopback(u.Hostname()) && !c.InsecureAllowHTTP:
		f.add("BaseURL", "%q is http; use https, or set InsecureAllowHTTP for a network you trust", c.BaseURL)
	}
	c.secure = u.Scheme == "https"
	c.origin = u.Scheme + "://" + strings.ToLower(u.Host)
	c.basePath = strings.TrimRight(u.EscapedPath(), "/")
	if c.basePath != "" {
		if _, err := returnto.Check(c.basePath, ""); err != nil {
			f.add("BaseURL", "path %q is not plain (%v); write it without dots, doubled slashes and escapes", c.basePath, err)
		}
	}
}

// absolute guesses the URL that somebody meant who left the scheme out.
func absolute(address string) string {
	for _, scheme := range []string{"https://", "http://"} {
		u, err := url.Parse(scheme + address)
		if err == nil && u.Host == address && u.User == nil && isLoopback(u.Hostname()) == (scheme == "http://") {
			return scheme + address
		}
	}
	return "https://shop.example"
}

func (c *config) compileDurations(f *faults) {
	f.duration("IdleTimeout", &c.IdleTimeout, time.Hour)
	f.duration("SessionLifetime", &c.SessionLifetime, 24*time.Hour)
	f.duration("Limits.LoginTimeout", &c.Limits.LoginTimeout, 10*time.Minute)
	f.duration("Limits.ClockSkew", &c.Limits.ClockSkew, time.Minute)
	f.duration("HTTP.Timeout", &c.HTTP.Timeout, 10*time.Second)
	f.duration("Tokens.ClaimsMaxAge", &c.Tokens.ClaimsMaxAge, 0)
	f.duration("Tokens.Lifetime", &c.Tokens.Lifetime, time.Hour)
	f.duration("Tokens.RefreshMargin", &c.Tokens.RefreshMargin, time.Minute)
	f.duration("Tokens.LockLease", &c.Tokens.LockLease, 15*time.Second)
	f.lasting("IdleTimeout", c.IdleTimeout)
	f.lasting("SessionLifetime", c.SessionLifetime)
	f.lasting("Limits.LoginTimeout", c.Limits.LoginTimeout)
	if c.IdleTimeout > c.SessionLifetime {
		c.IdleTimeout = c.SessionLifetime
	}
	if c.Limits.ClockSkew > 5*time.Minute {
		f.add("Limits.ClockSkew", "%v is more than five minutes; set the clocks right instead", c.Limits.ClockSkew)
	}
	if c.Limits.LoginTimeout > time.Hour {
		f.add("Limits.LoginTimeout", "%v is more than an hour; a login begun and forgotten should not stay open", c.Limits.LoginTimeout)
	}
	switch {
	case c.Limits.SessionBytes < 0:
		f.add("Limits.SessionBytes", "%d is negative; use 0 for 16 KiB", c.Limits.SessionBytes)
	case c.Limits.SessionBytes == 0:
		c.Limits.SessionBytes = 16 << 10
	}
	c.touchAfter = min(max(c.IdleTimeout/20, time.Minute), c.IdleTimeout/4)
}

// maxDefaultPath leaves room for the rest of an attempt in its cookie.
const maxDefaultPath = 200

var plainPrefix = regexp.MustCompile(`^(/[A-Za-z0-9._~-]+)+$`)

func (c *config) compilePaths(f *faults) {
	if c.Site.Prefix == "" {
		c.Site.Prefix = "/auth"
	}
	if !plainPrefix.MatchString(c.Site.Prefix) || strings.Contains(c.Site.Prefix, "/.") {
		f.add("Site.Prefix", "%q is not a plain path; write one such as \"/auth\"", c.Site.Prefix)
	}
	if c.Site.DefaultPath == "" {
		c.Site.DefaultPath = "/"
	}
	if _, err := returnto.Check(c.Site.DefaultPath, c.Site.Prefix); err != nil {
		f.add("Site.DefaultPath", "%.80q cannot be returned to (%v); write a path of this site such as \"/\"", c.Site.DefaultPath, err)
	}
	if len(c.Site.DefaultPath) > maxDefaultPath {
		f.add("Site.DefaultPath", "has %d bytes and fits into no login's cookie; write one of up to %d", len(c.Site.DefaultPath), maxDefaultPath)
	}
}

// cookieToken is what RFC 6265, section 4.1.1 allows in a cookie's name.
var cookieToken = regexp.MustCompile("^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")

func (c *config) compileCookie(f *faults) {
	if c.Site.CookieName == "" {
		c.Site.CookieName = "oidcgate"
		if c.secure {
			c.Site.CookieName = "__Host-oidcgate"
		}
	}
	switch {
	case !cookieToken.MatchString(c.Site.CookieName):
		f.add("Site.CookieName", "%q is not a cookie name; use letters, digits, \"-\" and \"_\"", c.Site.CookieName)
	case c.secure && !strings.HasPrefix(c.Site.CookieName, "__Host-"):
		f.add("Site.CookieName", "%q lacks the prefix that keeps other hosts from setting it; write \"__Host-%s\"", c.Site.CookieName, c.Site.CookieName)
	case !c.secure && strings.HasPrefix(c.Site.CookieName, "__"):
		f.add("Site.CookieName", "%q has a prefix that browsers refuse on http; leave it out", c.Site.CookieName)
	}
	c.logoutState = c.Site.CookieName + "-logout"
}

func (c *config) compileStorage(f *faults) {
	u, err := url.Parse(c.BaseURL)
	if c.origin == "" {
		u, err = url.Parse(absolute(c.BaseURL)) // what was meant
	}
	local := err == nil && isLoopback(u.Hostname())
	if c.Store == nil {
		if !local {
			f.add("Store", "is nil; use redisstore.New, or store.Memory for a single process")
		}
		c.Store = &store.Memory{}
	}
	if c.Keys.empty() {
		if !local {
			f.add("Keys", "is empty; make one with \"openssl rand -base64 32\" and read it with ParseKeys")
		}
		c.Keys = randomKeys()
	}
}

// providerPath is the path of a route that each provider has its own of.
func (c *config) providerPath(route, name string) string {
	if name == "" {
		return c.Site.Prefix + route
	}
	return c.Site.Prefix + route + "/" + name
}

// identity tells this gate from others that share its store and keys.
func (c *config) identity() string { return c.origin + c.basePath + "\x00" + c.Site.CookieName }
