// Package front is what the gate says to browsers and to providers on its own routes: login,
// callback and logout, and what guards answer to a visitor who is not signed in. It finds the
// session of a request. It does not know the application: what that decides, and what is public,
// comes in as functions.
//
//	front.go         Front, and its routes
//	providers.go     the providers, which may be replaced while requests are served
//	unknown.go       providers that only another replica has
//	visit.go         the session of a request
//	cookie.go        the session id that a request brings
//	ask.go           a request that needs a login, or a store that answers
//	login.go         the login route: a login is prepared and begins
//	options.go       what the application asks of the login behind one link
//	choose.go        which provider the visitor logs in with
//	link.go          a signed-in user attaches a second identity
//	initiate.go      logins that another site begins
//	callback.go      whose response is this, and does it hold
//	begin.go         the application decides, and the session begins
//	logout.go        the user logs out: here first, then at the provider
//	backchannel.go   the provider logs out, from server to server
//	frontchannel.go  the provider logs out, by a frame in the browser
//	sessioninfo.go   who is signed in, for scripts of the site's pages
//	clientkeys.go    the public halves of the client's keys
//	returnpath.go    where the browser goes afterwards
//	page.go          pages, and problems for scripts
//	failure.go       a login that is refused: page, log and event have one reference
package front

import (
	"context"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/oidcgate/oidcgate/internal/attempt"
	"github.com/oidcgate/oidcgate/internal/browser"
	"github.com/oidcgate/oidcgate/internal/event"
	"github.com/oidcgate/oidcgate/internal/op"
	"github.com/oidcgate/oidcgate/internal/page"
	"github.com/oidcgate/oidcgate/internal/session"
	"github.com/oidcgate/oidcgate/internal/site"
	"github.com/oidcgate/oidcgate/internal/viascs"
)

// Front serves the gate's own routes. Every field is needed, unless it says otherwise. It may be
// used concurrently.
type Front struct {
	Site      *site.Site
	Providers *Providers
	Cookies   browser.Cookies
	Attempts  *attempt.Keeper
	Keeper    *session.Keeper
	Sessions  *viascs.Sessions
	Origins   *http.CrossOriginProtection // that logouts are posted from
	Pages     *page.Pages
	Logger    *slog.Logger

	// EndWithAccessToken ends a session without a refresh token together with its access token.
	EndWithAccessToken bool

	// Tell is called with every event, and must not block.
	Tell func(context.Context, event.Record)

	// Log writes a line of the log without waiting for it.
	Log func(_ context.Context, _ slog.Level, text string, _ ...slog.Attr)

	// NotRevoked is told of a refresh token that could not be revoked, and must not block.
	NotRevoked func(context.Context, error)

	// Options returns what the application wants of a login that begins with this request.
	Options func(*http.Request) (op.LoginOptions, *Failure)

	// Decide asks the application about a login that passed every check. It returns the identity as
	// the application wants it, or why the application refuses.
	Decide func(context.Context, Login) (session.Identity, *Failure)

	// Link asks the application whether the identity of a login that passed every check is attached to
	// the first, which is signed in. It returns why not, or nil.
	Link func(ctx context.Context, first session.Identity, second Login) *Failure

	SessionInfo   bool          // scripts of the site's pages learn who is signed in
	SessionClaims []string      // these claims, too
	Idle          time.Duration // after which a session ends that nobody uses

	// ShowPage, which may be nil, writes a page in place of ours, or returns false.
	ShowPage func(http.ResponseWriter, *http.Request, page.Page) bool

	// HomeRealm, which may be nil, returns the name of the provider that has an e-mail address's
	// accounts.
	HomeRealm func(email string) (provider string, ok bool)

	// Developers, which may be nil, serves the page for developers.
	Developers http.HandlerFunc

	unknown  unknown       // providers that only another replica has
	links    unknown       // providers that links to the login name
	strays   unknown       // addresses of no provider that got logout tokens
	reached  atomic.Bool   // a request for one of the own routes has come
	lacking  atomic.Bool   // that none comes was told of
	prefixed atomic.Bool   // one that has the path of BaseURL was told of
	doubled  atomic.Bool   // a return path with the path of BaseURL was told of
	sent     atomic.Uint32 // how often a visitor was sent to the login before that
}

// Serve answers a request to one of the gate's own routes. If it returns false, the path is the
// application's. Paths must match exactly.
func (f *Front) Serve(w http.ResponseWriter, r *http.Request) bool {
	route, up := f.Route(r.URL.Path)
	if route != "" {
		f.reached.Store(true)
	}
	switch route {
	case "login":
		f.login(w, r)
	case "logout":
		f.logout(w, r)
	case "logout/done":
		f.logoutDone(w, r)
	case "initiate":
		f.initiate(w, r)
	case "dev":
		f.Developers(w, r)
	case "callback":
		f.callback(w, r, up)
	case "session":
		f.sessionInfo(w, r)
	case "jwks":
		f.serveClientKeys(w, r, up)
	case "backchannel-logout":
		f.backchannelLogout(w, r, up)
	case "frontchannel-logout":
		f.frontchannelLogout(w, r, up)
	default:
		f.noteStray(r)
		f.noteUnknownCallback(r)
		f.noteWithBasePath(r.URL.Path)
		return false
	}
	return true
}

// Route returns which of the gate's own routes a path is, or "" if it is the application's. The
// provider is nil for routes that are the same for all.
func (f *Front) Route(path string) (route string, up *Provider) {
	rest, ours := strings.CutPrefix(path, f.Site.Prefix)
	if !ours {
		return "", nil
	}
	switch rest {
	case "/login", "/logout", "/logout/done":
		return rest[1:], nil
	case "/initiate":
		if f.Providers.ThirdParty() {
			return rest[1:], nil
		}
	case "/session":
		if f.SessionInfo {
			return rest[1:], nil
		}
	case "/dev":
		if f.Developers != nil {
			return rest[1:], nil
		}
	}
	return f.providerRoute(rest)
}

// providerRoute returns which route a path is of those that exist once for each provider: the
// provider's name, if it has one, is their last segment.
func (f *Front) providerRoute(path string) (route string, up *Provider) {
	name, isNamed := "", false
	if at := strings.LastIndexByte(path, '/'); at > 0 {
		path, name, isNamed = path[:at], path[at+1:], true
	}
	up = f.Providers.Find(name)
	if up == nil || isNamed && name == "" {
		return "", nil
	}
	switch path {
	case "/callback", "/frontchannel-logout":
		return path[1:], up
	case "/jwks":
		if up.HasKeys {
			return path[1:], up
		}
	case "/backchannel-logout":
		if up.Client.HasIDTokens() { // their keys verify logout tokens
			return path[1:], up
		}
	}
	return "", nil
}
