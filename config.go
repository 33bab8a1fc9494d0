package oidcgate

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/oidcgate/oidcgate/internal/returnto"
	"github.com/oidcgate/oidcgate/internal/weburl"
	"github.com/oidcgate/oidcgate/store"
)

// Config configures a [Gate]. [New] copies it, checks every field and reports all faults together;
// later changes have no effect. BaseURL is always required. Store and Keys are required unless
// BaseURL is on a loopback host.
type Config struct {
	// BaseURL is the public address of the application: "https://shop.example", or
	// "https://example.com/shop" behind a proxy that strips "/shop". Redirects, the redirect URI and
	// the cookies' security follow from it, never from the Host or X-Forwarded-* headers of a request.
	BaseURL string

	// Store keeps sessions. If nil, sessions are kept in memory when BaseURL is on a loopback host.
	// Any other BaseURL requires a store, because other replicas do not know a session kept in memory.
	Store store.Store `json:"-"`

	// Keys encrypt cookies and records: the first key encrypts, every key decrypts. If empty, a random
	// key is made when BaseURL is on a loopback host; any other BaseURL requires keys.
	Keys Keys

	// IdleTimeout ends a session that no request has used for this long. If zero, it is one hour. The
	// last use is saved at most once per interval: a twentieth of IdleTimeout, but at least a minute,
	// and never more than a quarter of IdleTimeout. A session may end up to one interval early.
	IdleTimeout time.Duration

	// SessionLifetime ends every session this long after login, even one in use, and bounds
	// IdleTimeout. If zero, it is 24 hours.
	SessionLifetime time.Duration

	// OnLogin runs when a login has passed every check and before the session begins. It may create
	// the local user, drop or add claims, or refuse: an error made by [Deny] answers 403, any other
	// error or a panic answers 500, and no session begins. Concurrent logins call it concurrently.
	OnLogin func(ctx context.Context, login *Login) error `json:"-"`

	// OnEvent gets every [Event], one at a time, from a bounded queue: a slow OnEvent delays no
	// request. Events that do not fit into the queue are dropped and counted.
	OnEvent func(Event) `json:"-"`

	// Logger gets every event and every cause that the browser is not told. If nil, [slog.Default].
	Logger *slog.Logger `json:"-"`

	// ErrorPage, if set, writes the pages with a status of 400 or more: the status, which is p.Status,
	// and the body. Headers that keep the page out of caches and frames are set already. The texts in
	// p are not HTML and must be escaped. Scripts always get problem+json. For a refused login r has
	// no query, but the address that the browser shows has code and state: load no scripts of others
	// on such a page. The code is of no use without this browser's cookie.
	ErrorPage func(w http.ResponseWriter, r *http.Request, p Page) `json:"-"`

	// EnableValues stores values of the application for signed-in visitors; see [Gate.Values]. It
	// costs one more read per request with a session, and one goroutine of scs per gate.
	EnableValues bool

	// The defaults of the following fields fit most services.

	Site   SiteOptions  // paths and the cookie
	Tokens TokenOptions // refreshing access tokens, and the claims that come with it
	HTTP   HTTPOptions  // requests to the providers
	Limits Limits       // times and sizes

	// InsecureAllowHTTP accepts http in BaseURL, Issuer and endpoints on any host, not only on
	// loopback hosts. Codes, tokens and cookies then cross the network unencrypted.
	InsecureAllowHTTP bool
}

// SiteOptions set the gate's paths and its cookie.
type SiteOptions struct {
	// Prefix is the path below which the gate serves its own routes. If empty, it is "/auth".
	Prefix string

	// DefaultPath is where a login without a valid return path leads. If empty, it is "/".
	DefaultPath string

	// CookieName names the session cookie. If empty, it is "__Host-Http-oidcgate", or "oidcgate" where
	// BaseURL is http. On https the name must begin with "__Host-": browsers refuse such a cookie from
	// sibling domains and from plain http (draft-ietf-httpbis-rfc6265bis, section 4.1.3). Those that
	// know "__Host-Http-" refuse it from scripts as well (draft-ietf-httpbis-layered-cookies). With
	// that prefix, sessions and logins that began under the name without "Http-" go on.
	CookieName string
}

// TokenOptions set how the tokens and claims of a session are refreshed.
type TokenOptions struct {
	// Lifetime is assumed for an access token that came without expires_in. If zero, it is one hour.
	Lifetime time.Duration

	// RefreshMargin is how long before its expiry an access token is refreshed, at most a quarter of
	// its lifetime. If zero, it is one minute.
	RefreshMargin time.Duration

	// LockLease is how long other replicas wait after a replica has crashed during a refresh. A
	// replica renews the lock while it waits for the provider. At least a second; if zero, 15 seconds.
	LockLease time.Duration

	// ClaimsMaxAge is the age at which the claims of a session are read again, by the next guard or
	// FromContext. The gate then refreshes the tokens if it can, asks userinfo if the provider's
	// Userinfo says so, and always calls OnLogin again. So a group that the provider takes away is
	// gone here after that time. While the provider does not answer, and after two seconds of waiting
	// for it, the old claims stay. If the store cannot save the new ones, guards answer 503. If zero,
	// claims stay as they were at login.
	ClaimsMaxAge time.Duration

	// KeepRefused lets a session go on with its old claims when userinfo refuses its access token as
	// invalid (RFC 6750, section 3.1), even a token that was just refreshed. If false, the session
	// ends: otherwise a user could keep a group for as long as the session lives, by revoking the
	// token at the provider.
	KeepRefused bool

	// EndWithAccessToken ends a session together with its access token if the provider gave no
	// refresh token, or a minute later if it refuses the refresh token with status 400 and no reason.
	EndWithAccessToken bool
}

// HTTPOptions set how the gate sends requests to the providers.
type HTTPOptions struct {
	// Timeout bounds each request. If zero, it is ten seconds.
	Timeout time.Duration

	// RootCAs are the certificate authorities that the providers' certificates are checked against. If
	// nil, they are the system's. They are not used with a Transport.
	RootCAs *x509.CertPool `json:"-"`

	// Transport carries the requests. Deadlines, size limits and the refusal of redirects apply to any
	// Transport. If nil, it is one with TLS 1.2 or newer that refuses link-local addresses and uses no
	// proxy. Set it for a proxy, or for tests.
	Transport http.RoundTripper `json:"-"`
}

// Limits bound the time and the size of logins and sessions.
type Limits struct {
	// LoginTimeout bounds the time to log in at the provider. If zero, ten minutes; at most an hour.
	LoginTimeout time.Duration

	// ClockSkew is how far the clocks of gate and provider may differ. If zero, it is 60 seconds; at
	// most five minutes.
	ClockSkew time.Duration

	// WatchInterval is after how long a [Gate.Watch] notices, at the latest, that its session was
	// ended by another replica or has expired. If zero, it is 15 seconds; at least one second.
	WatchInterval time.Duration

	// SessionBytes bounds the size of a session in the store, without its tokens. A larger login is
	// refused as [ReasonSessionTooLarge], unless OnLogin drops claims first. If zero, it is 16 KiB.
	SessionBytes int

	// UserSessions bounds the sessions of one user, so that no account fills the store. A login beyond
	// it ends the user's oldest session; simultaneous logins may exceed it until the user's next
	// login. If zero, it is 1,000.
	UserSessions int
}

// config is the compiled form of Config: checked and with every default filled in.
type config struct {
	Config
	origin      string // scheme://host[:port] of BaseURL
	basePath    string // path of BaseURL, without a slash at its end
	secure      bool   // BaseURL is https
	touchAfter  time.Duration
	olderCookie string // the name without "Http-"; "" if CookieName has no such prefix
}

// compile checks c and fills in its defaults. It reports all faults together.
func compile(c Config, providers []Provider) (config, []Provider, error) {
	f := newFaults()
	out := config{Config: c}
	out.compileBaseURL(f)
	out.compileDurations(f)
	out.compileLimits(f)
	out.compilePaths(f)
	out.compileCookie(f)
	out.compileStorage(f)
	if out.Logger == nil {
		out.Logger = slog.Default()
	}
	compiled := compileProviders(f, providers, &c)
	return out, compiled, f.err()
}

func (c *config) compileBaseURL(f *faults) {
	u, err := weburl.Check(c.BaseURL, c.InsecureAllowHTTP)
	shown := weburl.Redact(c.BaseURL)
	switch {
	case c.BaseURL == "":
		f.add("BaseURL", "is empty; write the address browsers use, such as \"https://shop.example\"")
	case errors.Is(err, weburl.ErrNotAbsolute):
		f.add("BaseURL", "%q is not an absolute URL; write %q", shown, suggestURL(c.BaseURL))
	case err != nil:
		f.add("BaseURL", "%q %v", shown, err)
	case u.RawQuery != "" || u.ForceQuery:
		f.add("BaseURL", "%q has a query; leave it out", shown)
	}
	if u == nil {
		return
	}
	c.secure = u.Scheme == "https"
	c.origin = weburl.Origin(u) // without a default port, as browsers and providers write it
	c.basePath = strings.TrimRight(u.EscapedPath(), "/")
	if c.basePath != "" {
		if _, err := returnto.Check(c.basePath, ""); err != nil {
			f.add("BaseURL", "path %q is not plain (%v); write it without dots, double slashes "+
				"and escapes", c.basePath, err)
		}
	}
}

// suggestURL returns the URL that an address without a scheme probably stands for.
func suggestURL(address string) string {
	u, err := url.Parse("https://" + address)
	switch {
	case err != nil || u.Host != address || u.User != nil:
		return "https://shop.example"
	case weburl.IsLoopback(u.Hostname()):
		return "http://" + address
	}
	return "https://" + address
}

func (c *config) compileDurations(f *faults) {
	f.duration("IdleTimeout", &c.IdleTimeout, time.Hour)
	f.duration("SessionLifetime", &c.SessionLifetime, 24*time.Hour)
	f.duration("Limits.LoginTimeout", &c.Limits.LoginTimeout, 10*time.Minute)
	f.duration("Limits.ClockSkew", &c.Limits.ClockSkew, time.Minute)
	f.duration("Limits.WatchInterval", &c.Limits.WatchInterval, 15*time.Second)
	f.duration("HTTP.Timeout", &c.HTTP.Timeout, 10*time.Second)
	f.duration("Tokens.ClaimsMaxAge", &c.Tokens.ClaimsMaxAge, 0)
	f.duration("Tokens.Lifetime", &c.Tokens.Lifetime, time.Hour)
	f.duration("Tokens.RefreshMargin", &c.Tokens.RefreshMargin, time.Minute)
	f.duration("Tokens.LockLease", &c.Tokens.LockLease, 15*time.Second)
	if d := c.Tokens.LockLease; d >= time.Millisecond && d < time.Second {
		f.add("Tokens.LockLease", "%v is less than a second; use 0 for 15 seconds", d)
	}
	if d := c.Limits.WatchInterval; d >= time.Millisecond && d < time.Second {
		f.add("Limits.WatchInterval", "%v is less than a second; use 0 for 15 seconds", d)
	}
	if c.IdleTimeout > c.SessionLifetime {
		c.IdleTimeout = c.SessionLifetime
	}
	c.touchAfter = min(max(c.IdleTimeout/20, time.Minute), c.IdleTimeout/4)
}

func (c *config) compileLimits(f *faults) {
	if d := c.Limits.ClockSkew; d > 5*time.Minute {
		f.add("Limits.ClockSkew", "%v is more than five minutes; correct the clocks instead", d)
	}
	if d := c.Limits.LoginTimeout; d > time.Hour {
		f.add("Limits.LoginTimeout", "%v is more than an hour; an abandoned login must end sooner", d)
	}
	if c.Limits.SessionBytes < 0 {
		f.add("Limits.SessionBytes", "%d is negative; use 0 for 16 KiB", c.Limits.SessionBytes)
	}
	if c.Limits.UserSessions < 0 {
		f.add("Limits.UserSessions", "%d is negative; use 0 for 1,000", c.Limits.UserSessions)
	}
	c.Limits.SessionBytes = cmp.Or(c.Limits.SessionBytes, 16<<10)
	c.Limits.UserSessions = cmp.Or(c.Limits.UserSessions, 1000)
}

// maxDefaultPath leaves room for the other fields of an attempt in its cookie.
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
		f.add("Site.DefaultPath", "%.80q cannot be a return path (%v); write a path of this site "+
			"such as \"/\"", c.Site.DefaultPath, err)
	}
	if len(c.Site.DefaultPath) > maxDefaultPath {
		f.add("Site.DefaultPath", "has %d bytes, too many for the cookie of a login; use at most %d",
			len(c.Site.DefaultPath), maxDefaultPath)
	}
}

// cookieToken matches the cookie names that RFC 6265, section 4.1.1 allows.
var cookieToken = regexp.MustCompile("^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")

func (c *config) compileCookie(f *faults) {
	if c.Site.CookieName == "" {
		c.Site.CookieName = "oidcgate"
		if c.secure {
			c.Site.CookieName = "__Host-Http-oidcgate"
		}
	}
	name := c.Site.CookieName
	if rest, ok := strings.CutPrefix(name, "__Host-Http-"); ok {
		c.olderCookie = "__Host-" + rest
	}
	switch {
	case !cookieToken.MatchString(name):
		f.add("Site.CookieName", "%q is not a cookie name; use letters, digits, \"-\" and \"_\"", name)
	case c.secure && !strings.HasPrefix(name, "__Host-"):
		f.add("Site.CookieName", "%q can be set by other hosts; write \"__Host-Http-%[1]s\"", name)
	case !c.secure && strings.HasPrefix(name, "__"):
		f.add("Site.CookieName", "%q has a prefix that browsers refuse on http; leave it out", name)
	}
}

func (c *config) compileStorage(f *faults) {
	u, err := url.Parse(c.BaseURL)
	if c.origin == "" {
		u, err = url.Parse(suggestURL(c.BaseURL)) // the scheme may be missing
	}
	local := err == nil && weburl.IsLoopback(u.Hostname())
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

// providerPath returns the path of a route that exists once for each provider.
func (c *config) providerPath(route, name string) string {
	if name == "" {
		return c.Site.Prefix + route
	}
	return c.Site.Prefix + route + "/" + name
}

// gateName distinguishes this gate from others that share its store and keys. The prefix "Http-" is
// left out: who begins to use it keeps the sessions.
func (c *config) gateName() string {
	return c.origin + c.basePath + "\x00" + cmp.Or(c.olderCookie, c.Site.CookieName)
}

// siteURL returns the absolute address of a checked path on this site.
func (c *config) siteURL(path string) string { return c.origin + c.basePath + path }

// ownURL returns the address of a route of the gate that leads on to returnTo.
func (c *config) ownURL(route, returnTo string) string {
	u := c.siteURL(c.Site.Prefix + route)
	if returnTo == "" {
		return u
	}
	return u + "?" + url.Values{"return_to": {returnTo}}.Encode()
}
