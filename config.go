package oidcgate

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"github.com/oidcgate/oidcgate/internal/bearer"
	"github.com/oidcgate/oidcgate/internal/check"
	"github.com/oidcgate/oidcgate/internal/page"
	"github.com/oidcgate/oidcgate/internal/site"
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
	// error or a panic answers 500, and no session begins. There are no [Gate.Values] yet. The login
	// may still fail afterwards: by a logout of the user in between, or when the store fails.
	// ctx ends when the browser leaves: give what may hang a time limit. Logins call it concurrently.
	OnLogin func(ctx context.Context, login *Login) error `json:"-"`

	// OnLogout, if set, is called when a session has ended before its time, so that the application
	// can forget what belongs to it. It gets one [Logout] at a time, from a bounded queue: a slow
	// OnLogout delays no logout, and none can be refused. See Logout for the ends it is called for.
	// What must happen in any case should not depend on it: the process may end first. [Gate.Wait]
	// waits for it.
	OnLogout func(Logout) `json:"-"`

	// OnLink, if set, lets signed-in users attach a second identity to their account; see
	// [Gate.LinkURL], and docs/linking.md for the whole way. It saves that both are one user's, or
	// refuses: an error made by [Deny] answers 403, any other error or a panic 500. It is not called
	// where the second identity is the one that is signed in, and OnLogin is not asked about the
	// second. Concurrent linkings call it concurrently.
	OnLink func(ctx context.Context, linking *Linking) error `json:"-"`

	// LoginOptions, if set, is called with the request to /auth/login, also when a guard sent the
	// browser there. What it returns wins over the link and RequestOptions, but not over what
	// [Gate.LoginURL] was given, and adds to what guards demand. Concurrent logins call it
	// concurrently.
	LoginOptions func(r *http.Request) LoginOptions `json:"-"`

	// OnEvent gets every [Event], one at a time, from a bounded queue. It should return soon: it
	// delays no request and no line of the log, but events that do not fit into its queue are dropped
	// and counted, and a line says so. What may block, such as sending to another service, belongs in
	// a goroutine with a queue of its own.
	OnEvent func(Event) `json:"-"`

	// Logger gets every event and every cause that the browser is not told. If nil, [slog.Default].
	// Its handler gets the values of the context of the request that caused a line, such as an id,
	// but no user by FromContext.
	Logger *slog.Logger `json:"-"`

	// Page, if set, writes the gate's own pages: the status, which is p.Status, and the body. It
	// returns false where ours is wanted, and must then not have written. Headers that keep the page
	// out of caches and frames are set already, also in place of a Content-Security-Policy of
	// middleware: set one that fits the page, whose forms may lead to a provider (form-action). The
	// texts in p are not HTML and must be escaped. Scripts always get problem+json. For a refused
	// login r has no query, but the address that the browser shows has code and state: load no
	// scripts of others on such a page. The code is of no use without this browser's cookie.
	Page func(w http.ResponseWriter, r *http.Request, p Page) bool `json:"-"`

	// Pages set the language, the texts and the looks of the gate's own pages.
	Pages PageOptions

	// HomeRealm, if set, has the page on which visitors choose a provider ask for their e-mail
	// address. It returns the Name of the provider that has the accounts of that address's domain,
	// and false if none is known: then the visitor chooses. The provider gets the address as
	// login_hint. It only chooses: it says nothing about who the visitor is.
	HomeRealm func(email string) (provider string, ok bool) `json:"-"`

	// WithoutSession, if set, returns true for requests that need no session, such as those for static
	// files: they pass [Gate.Wrap] without a read of the store, and are no use of the session. To them
	// nobody is signed in, and a guard answers 500 and logs the cure. If nil, each request with a
	// session cookie reads the store.
	WithoutSession func(*http.Request) bool `json:"-"`

	// EnableValues stores values of the application for signed-in visitors; see [Gate.Values]. It
	// costs one more read per request with a session, and one goroutine of scs per gate.
	EnableValues bool

	// DevPage serves /auth/dev, a page that shows developers what the gate knows: the providers and
	// what is wrong with them, the visitor's session with its times and claims, and the last fifty
	// events, which are then kept in memory. It is for browsers on the machine of the service: any
	// BaseURL that is not on a loopback host is a fault then.
	DevPage bool

	// The defaults of the following fields fit most services.

	Site   SiteOptions  // paths and the cookie
	Tokens TokenOptions // refreshing access tokens, and the claims that come with it
	API    APIOptions   // access tokens that others send to this service
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

	// LoginPage is the path of a page of the application on which visitors choose how to log in, such
	// as one that also asks for a password of its own. Guards send those who are signed out there,
	// with the page that they asked for, and so do failed logins; see [Gate.ReturnPath]. Guards with
	// [LoginWith], and step-ups, lead to the provider. The page itself has no guard. If empty, all
	// lead to the provider.
	LoginPage string

	// SessionInfo serves GET /auth/session for scripts of the site's pages: JSON with who is signed in
	// and for how long, or null for nobody. It has no tokens and is no use of the session. Requests
	// that [Gate.AdmitAPI] does not take for those of the site's own pages get 403. If false, there is
	// no such route.
	SessionInfo bool

	// SessionClaims are the claims that SessionInfo shows beside the name, such as "email" or
	// "/realm_access/roles": names and pointers as [Identity.ClaimString] takes them.
	SessionClaims []string

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
	// replica renews the lock while it waits for the provider. At least three seconds; if zero, 15
	// seconds.
	LockLease time.Duration

	// ClaimsMaxAge is the age at which the claims of a session are read again, by the next guard or
	// FromContext. The gate then refreshes the tokens if it can, asks userinfo if the provider's
	// Userinfo says so, and always calls OnLogin again. So a group that the provider takes away is
	// gone here after that time. Where there is no new ID Token, what userinfo says anew counts before
	// the old one, and a claim that userinfo never had stays. While the provider does not answer, and
	// after two seconds of waiting for it or for a slow store, the old claims stay. A re-read takes a
	// dozen operations of the store. Of one user, userinfo is asked for four sessions at a time. When
	// a part of the provider's answers is missing, OnLogin decides on the claims that can be had. If
	// the store cannot save the new ones, guards answer 503. If zero, claims stay as at the login.
	ClaimsMaxAge time.Duration

	// KeepRefused lets a session go on with its claims when userinfo refuses its access token (401 or
	// 403; RFC 6750, section 3.1), also one that was just refreshed, and when the provider has nothing
	// usable for this user alone; OnLogin decides on the old claims. If false, the session ends when
	// the token is refused, or when it is over and the provider has failed three times to refresh it,
	// ClaimsMaxAge apart, while it refreshed others. The claims of userinfo go when they could not be
	// read twice, ClaimsMaxAge apart, or userinfo failed three times so for this user alone.
	// Guards answer 503 where OnLogin has failed twice so. Otherwise a user could keep a group for as
	// long as the session lives, by revoking the token or by a name that breaks userinfo or OnLogin.
	// So let claims of userinfo give rights and never take them away.
	KeepRefused bool

	// EndWithAccessToken ends a session together with its access token if the provider gave no
	// refresh token or withdraws it, or if it refuses the refresh with another status of 4xx (except
	// 429, and codes such as server_error) and does so again a minute later. A status 500 ends it as
	// without KeepRefused. Once the access token is over, the next guard or FromContext has it
	// refreshed, for which it waits up to two seconds. While the store cannot save what that brings,
	// guards answer 503.
	EndWithAccessToken bool
}

// APIOptions set which access tokens [Gate.RequireToken] and its like accept. The zero value
// accepts none.
type APIOptions struct {
	// Audience are the names of this service as an API, such as "https://shop.example/api". An access
	// token must have one of them in its "aud" (RFC 9068, section 4). Without them the guards panic.
	Audience []string

	// Introspect asks the provider about every access token (RFC 7662), so that a revoked one is
	// refused after IntrospectMaxAge. If false, it is asked about opaque tokens only, and a JWT (RFC
	// 9068) counts until it expires.
	Introspect bool

	// IntrospectMaxAge is how long an answer of the provider counts, and at most until the token's
	// "exp". That a token is not active counts for 5 seconds at most. If zero, it is 30 seconds; at
	// most five minutes.
	IntrospectMaxAge time.Duration

	// Metadata serves /.well-known/oauth-protected-resource (RFC 9728) and names it in challenges:
	// from it clients learn which providers issue tokens. The first Audience must then be a URL at or
	// below BaseURL.
	Metadata bool
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

	// ResourceTransport carries the requests of [Gate.Client] and [Gate.ExchangeClient] to resource
	// servers: with a proxy, certificate authorities of your own, or tracing. It gets them with the
	// access token. If nil, it is [http.DefaultTransport]. With [MutualTLS] it must be an
	// *http.Transport, which is copied.
	ResourceTransport http.RoundTripper `json:"-"`

	// Wrap, if set, puts a transport of the application around the one that carries the requests, be
	// it Transport or the gate's own: to measure requests, not to change them. It is called for each
	// provider, twice, and must not return nil. What a request is for stands in its context; see
	// [ProviderRequestFromContext]. Its body and header have secrets. Requests of [Gate.Client] and
	// [Gate.ExchangeClient] do not pass through it.
	Wrap func(http.RoundTripper) http.RoundTripper `json:"-"`
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
	// refused as [ReasonSessionTooLarge], unless OnLogin drops claims first. With ClaimsMaxAge the
	// claims of userinfo and the ID Token are kept as they came, too, beside the tokens, whatever
	// OnLogin drops: it decides on them while userinfo does not answer. Together they may have eight
	// times this size. If zero, it is 16 KiB.
	SessionBytes int

	// UserSessions bounds the sessions of one user, so that no account fills the store. A login beyond
	// it ends the user's oldest session; simultaneous logins, and clocks that differ, may exceed it
	// until a later login. If zero, it is 100.
	UserSessions int
}

// config is the compiled form of Config: checked and with every default filled in.
type config struct {
	Config
	at         site.Site
	pages      *page.Pages
	touchAfter time.Duration
}

// compile checks c and fills in its defaults. It reports all faults together.
func compile(c Config, providers []Provider) (config, []Provider, error) {
	var f check.List
	out := config{Config: c, at: site.Site{
		BaseURL: c.BaseURL, AllowHTTP: c.InsecureAllowHTTP,
		Prefix: c.Site.Prefix, DefaultPath: c.Site.DefaultPath, CookieName: c.Site.CookieName,
		LoginPage: c.Site.LoginPage,
	}}
	out.at.Complete(&f)
	if f.IsNil("HTTP.Transport", c.HTTP.Transport) {
		c.HTTP.Transport = nil // nobody uses it
	}
	if f.IsNil("HTTP.ResourceTransport", c.HTTP.ResourceTransport) {
		c.HTTP.ResourceTransport = nil
	}
	out.compileDurations(&f)
	out.compileLimits(&f)
	out.compileStorage(&f)
	out.compileAPI(&f)
	out.compileSessionInfo(&f)
	out.pages = page.Compile(&f, page.Options(c.Pages), &out.at)
	if c.DevPage && !out.at.Local && c.BaseURL != "" {
		f.Add("DevPage", "is true, and BaseURL is not on a loopback host; the page tells strangers too "+
			"much: leave it out there")
	}
	if out.Logger == nil {
		out.Logger = slog.Default()
	}
	compiled := compileProviders(&f, providers, &c)
	return out, compiled, configErrors(f)
}

// configErrors returns the faults as errors, or nil if there are none.
func configErrors(faults check.List) error {
	var errs []error
	for _, fault := range faults {
		errs = append(errs, &ConfigError{fault.Field, fault.Text})
	}
	return errors.Join(errs...)
}

func (c *config) compileDurations(f *check.List) {
	f.Duration("IdleTimeout", &c.IdleTimeout, time.Hour)
	f.Duration("SessionLifetime", &c.SessionLifetime, 24*time.Hour)
	f.Duration("Limits.LoginTimeout", &c.Limits.LoginTimeout, 10*time.Minute)
	f.Duration("Limits.ClockSkew", &c.Limits.ClockSkew, time.Minute)
	f.Duration("Limits.WatchInterval", &c.Limits.WatchInterval, 15*time.Second)
	f.Duration("HTTP.Timeout", &c.HTTP.Timeout, 10*time.Second)
	f.Duration("Tokens.ClaimsMaxAge", &c.Tokens.ClaimsMaxAge, 0)
	f.Duration("Tokens.Lifetime", &c.Tokens.Lifetime, time.Hour)
	f.Duration("Tokens.RefreshMargin", &c.Tokens.RefreshMargin, time.Minute)
	f.Duration("Tokens.LockLease", &c.Tokens.LockLease, 15*time.Second)
	if d := c.Tokens.LockLease; d >= time.Millisecond && d < 3*time.Second {
		f.Add("Tokens.LockLease", "%v is less than three seconds; use 0 for 15 seconds", d)
	}
	if d := c.Limits.WatchInterval; d >= time.Millisecond && d < time.Second {
		f.Add("Limits.WatchInterval", "%v is less than a second; use 0 for 15 seconds", d)
	}
	if c.IdleTimeout > c.SessionLifetime {
		c.IdleTimeout = c.SessionLifetime
	}
	c.touchAfter = min(max(c.IdleTimeout/20, time.Minute), c.IdleTimeout/4)
}

func (c *config) compileAPI(f *check.List) {
	api := &c.API
	api.Audience = slices.Clone(api.Audience)
	f.Duration("API.IntrospectMaxAge", &api.IntrospectMaxAge, 30*time.Second)
	if api.IntrospectMaxAge > 5*time.Minute {
		f.Add("API.IntrospectMaxAge", "%v is more than five minutes; a revoked token would be accepted "+
			"for so long", api.IntrospectMaxAge)
	}
	switch {
	case slices.Contains(api.Audience, ""):
		f.Add("API.Audience", "has an empty name; leave it out")
	case len(api.Audience) == 0 && (api.Introspect || api.Metadata):
		f.Add("API.Audience", "is empty, and without it no access token is accepted; name this API as "+
			"the provider does in aud")
	case api.Metadata && bearer.MetadataPath(api.Audience[0], c.at.URL("")) == "":
		f.Add("API.Audience", "begins with %q, which is not a URL at or below BaseURL, and API.Metadata "+
			"needs one (RFC 9728, section 1.2)", weburl.Redact(api.Audience[0]))
	}
}

func (c *config) compileSessionInfo(f *check.List) {
	c.Site.SessionClaims = slices.Clone(c.Site.SessionClaims)
	switch claims := c.Site.SessionClaims; {
	case slices.Contains(claims, ""):
		f.Add("Site.SessionClaims", "has an empty name; leave it out")
	case len(claims) > 0 && !c.Site.SessionInfo:
		f.Add("Site.SessionClaims", "has no use without Site.SessionInfo; set that too, or leave it out")
	}
}

// maxSessionBytes is the greatest bound on the size of a session.
const maxSessionBytes = 64 << 20

func (c *config) compileLimits(f *check.List) {
	if d := c.Limits.ClockSkew; d > 5*time.Minute {
		f.Add("Limits.ClockSkew", "%v is more than five minutes; correct the clocks instead", d)
	}
	if d := c.Limits.LoginTimeout; d > time.Hour {
		f.Add("Limits.LoginTimeout", "%v is more than an hour; an abandoned login must end sooner", d)
	}
	if c.Limits.SessionBytes < 0 {
		f.Add("Limits.SessionBytes", "%d is negative; use 0 for 16 KiB", c.Limits.SessionBytes)
	}
	if c.Limits.SessionBytes > maxSessionBytes {
		f.Add("Limits.SessionBytes", "%d is more than 64 MiB; a session is read with each request",
			c.Limits.SessionBytes)
	}
	if c.Limits.UserSessions < 0 {
		f.Add("Limits.UserSessions", "%d is negative; use 0 for 100", c.Limits.UserSessions)
	}
	c.Limits.SessionBytes = cmp.Or(c.Limits.SessionBytes, 16<<10)
	c.Limits.UserSessions = cmp.Or(c.Limits.UserSessions, 100)
}

func (c *config) compileStorage(f *check.List) {
	local := c.at.Local || c.BaseURL == "" // that is a fault by itself, and one is enough
	if c.Store == nil {
		if !local {
			f.Add("Store", "is nil, and BaseURL is not on a loopback host; use redisstore.New, or "+
				"store.Memory for a single process")
		}
		c.Store = &store.Memory{}
	}
	if c.Keys.empty() {
		if !local {
			f.Add("Keys", "is empty, and BaseURL is not on a loopback host; make one with "+
				"\"openssl rand -base64 32\" and read it with ParseKeys")
		}
		c.Keys = randomKeys()
	}
}
