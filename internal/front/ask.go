package front

import (
	"cmp"
	"log/slog"
	"net/http"
	"net/url"
	"strings"

	"github.com/oidcgate/oidcgate/internal/attempt"
	"github.com/oidcgate/oidcgate/internal/browser"
	"github.com/oidcgate/oidcgate/internal/op"
	"github.com/oidcgate/oidcgate/internal/page"
)

// Unavailable answers a request whose session cannot be looked up now. A person who navigates may
// open the page again; what a form has posted is not sent twice.
func (f *Front) Unavailable(w http.ResponseWriter, r *http.Request, v *Visit) {
	w.Header().Set("Retry-After", retryAfter)
	p := page.Page{
		Kind: page.KindUnavailable, Status: http.StatusServiceUnavailable, Say: page.Unavailable,
	}
	if browser.IsNavigation(r) {
		if path := f.ReturnTo(r, v); path != "" {
			p.Links = []page.Link{{URL: f.Site.URL(path), Say: page.TryAgain}}
		}
	}
	f.Show(w, r, p)
}

// NotSetUp answers a request that fails until the application is changed. The log says how.
func (f *Front) NotSetUp(w http.ResponseWriter, r *http.Request) {
	f.Show(w, r, page.Page{
		Kind: page.KindRefused, Status: http.StatusInternalServerError, Say: page.NotSetUp,
	})
}

// Ask is what a guard wants of the login that it asks for.
type Ask struct {
	Step       attempt.Step     // zero: a login of any kind will do
	Options    *op.LoginOptions // nil: none
	Challenges []string         // of what else would do, for WWW-Authenticate
}

// AskLogin answers a request that needs a login. It redirects only navigations: a script that is
// redirected to another site fails without a reason, and each image on a page would begin a login.
func (f *Front) AskLogin(w http.ResponseWriter, r *http.Request, v *Visit, ask Ask) {
	ownPage := f.onOwnPage(v, ask)
	if ownPage && v.EscapedPath() == f.Site.LoginPage {
		f.Logger.ErrorContext(r.Context(), "oidcgate: a guard refuses the page of Site.LoginPage to "+
			"those who are to log in there; have the page outside the guards", "path", f.Site.LoginPage)
		f.NotSetUp(w, r)
		return
	}
	loginURL, step := f.loginURL(v, r, ask), ask.Step
	login := page.Page{
		Kind: page.KindRequired, Status: http.StatusUnauthorized, Say: page.LoginRequired,
		Links: []page.Link{{URL: loginURL, Say: page.LogIn}},
	}
	if !ownPage { // otherwise the login forgets the cookie, which says what was gone
		f.Forget(w, r, v)
	}
	switch {
	case browser.IsNavigation(r):
		if !ownPage {
			f.noteSent()
		}
		page.Redirect(w, loginURL)
	case browser.IsFormPost(r):
		login.Kind, login.Say = page.KindNotSent, page.NotSent
		if !step.Zero() {
			login.Say, login.Links[0].Say = page.NotSentStepUp, page.LogInAgain
		}
		f.Show(w, r, login)
	default:
		if !step.Zero() {
			login.Title = "insufficient_user_authentication" // RFC 9470, section 3
			login.Say = page.StepUp
		}
		page.Headers(w)
		w.Header()["Www-Authenticate"] = append([]string{step.Challenge()}, ask.Challenges...)
		f.written(page.Problem(w, f.Pages.Speak(w, r, login)))
	}
}

// Forbid answers a signed-in visitor who may not enter. Whoever is signed in without a session has
// nothing to log out of here.
func (f *Front) Forbid(
	w http.ResponseWriter, r *http.Request, v *Visit, reference string, options *op.LoginOptions,
) {
	p := page.Page{
		Kind: page.KindForbidden, Status: http.StatusForbidden, Say: page.NoAccess, Reference: reference,
		Links: []page.Link{
			{URL: f.Site.Home(), Say: page.Back},
			{URL: f.anotherAccountURL(f.ReturnTo(r, v), options), Say: page.AnotherAccount},
		},
	}
	if v.Session != nil {
		p.Links = append(p.Links, page.Link{URL: f.Site.OwnURL("/logout", ""), Say: page.LogOut})
	}
	f.Show(w, r, p)
}

// NotFromHere answers a request that a page of another site may have caused.
func (f *Front) NotFromHere(w http.ResponseWriter, r *http.Request) {
	f.noteElsewhere(r)
	say := page.RequestElsewhere
	if browser.SaysNothing(r) {
		say = page.RequestUnclear
	}
	f.Show(w, r, page.Page{Kind: page.KindRefused, Status: http.StatusForbidden, Say: say})
}

// noteElsewhere logs a request that no page of this origin has caused. Strangers can send many, but
// not to a service that is being developed on this machine.
func (f *Front) noteElsewhere(r *http.Request) {
	level := slog.LevelDebug
	if f.Site.Local {
		level = slog.LevelInfo
	}
	if !f.Logger.Enabled(r.Context(), level) {
		return // no place in the queue for nothing
	}
	why := "a request does not come from a page of this origin; if it is one of yours, such as that " +
		"of a development server, BaseURL must be its origin"
	switch {
	case r.Header.Get("Sec-Fetch-Site") == "same-origin":
		why = "a link or a form leads to a route that is for scripts: guard a page by Require"
	case browser.SaysNothing(r) && r.Header.Get("Origin") == "":
		why = "a request does not say that a page of this origin has sent it; a program sends the " +
			"header X-Requested-With"
	}
	f.Log(r.Context(), level, why,
		slog.String("path", short(r.URL.Path)), slog.String("base_url", f.Site.URL("")),
		slog.String("origin", short(r.Header.Get("Origin"))),
		slog.String("sec_fetch_site", short(r.Header.Get("Sec-Fetch-Site"))))
}

// anotherAccountURL returns the address of a login at which the visitor may choose another account.
// options, which may be nil, are what the guard asks for, without what names the account.
func (f *Front) anotherAccountURL(returnTo string, options *op.LoginOptions) string {
	query := url.Values{op.AnotherAccount: {"1"}}
	if returnTo != "" {
		query.Set("return_to", returnTo)
	}
	if options != nil {
		some := *options
		some.LoginHint, some.IDTokenHint, some.Prompt = "", "", "" // another parameter asks to choose
		f.addOptions(query, some)
	}
	return f.loginAddress(query)
}

// sentInVain is how many visitors are sent to the login, without one who arrives, before the log
// says so. With several replicas the first ones may arrive elsewhere. On a developer's machine
// there is one replica.
const (
	sentInVain     = 8
	sentInVainHere = 3
)

// noteSent notices a gate to which requests for its own routes never come: Wrap may be inside a
// group or a prefix of the router, which answers them with 404.
func (f *Front) noteSent() {
	many := uint32(sentInVain)
	if f.Site.Local {
		many = sentInVainHere
	}
	if f.reached.Load() || f.sent.Add(1) != many || !f.lacking.CompareAndSwap(false, true) {
		return
	}
	f.Logger.Warn("oidcgate: visitors are sent to the login, and no request for it has come to this "+
		"gate. If logins end in 404, wrap the outermost router: gate.Wrap(router), not a group or a "+
		"prefix of it; or give BaseURL the prefix's path, and use http.StripPrefix. If browsers find "+
		"nothing or another program there, BaseURL is not the address of this service. Otherwise "+
		"another replica gets them",
		"visitors", many, "login", f.Site.OwnURL("/login", ""))
}

// noteWithBasePath tells once of a request for one of the own routes that still has the path of
// BaseURL, unless another has come without it. The application answers it.
func (f *Front) noteWithBasePath(path string) {
	rest, ok := strings.CutPrefix(path, f.Site.BasePath)
	if f.Site.BasePath == "" || !ok || f.reached.Load() {
		return
	}
	if route, _ := f.Route(rest); route != "" && f.prefixed.CompareAndSwap(false, true) {
		f.lacking.Store(true) // this line says it better
		f.Logger.Warn("oidcgate: a request for the gate came with the path of BaseURL, and so is not "+
			"served: a proxy or http.StripPrefix around Wrap must take BaseURL's path off. If your own "+
			"routes have the path, leave it out of BaseURL", "path", path, "want", rest)
	}
}

// noteBasePath tells once of a return path that begins with the path of BaseURL, which stands in
// front of it already.
func (f *Front) noteBasePath(path string) {
	rest, begins := strings.CutPrefix(path, f.Site.BasePath)
	if f.Site.BasePath == "" || !begins || rest != "" && rest[0] != '/' {
		return
	}
	if f.doubled.CompareAndSwap(false, true) {
		f.Logger.Warn("oidcgate: a return path begins with the path of BaseURL. The gate puts that in "+
			"front of each: if such a login ends in 404, leave it out of the path that you pass, or have a "+
			"proxy or http.StripPrefix take it off the requests",
			"path", f.Site.BasePath, "leads_to", f.Site.BasePath+f.Site.BasePath)
	}
}

// ReturnTo returns where a login leads back to: the requested page, or, for what no person opened,
// the page in the Referer header, if that is on this site: what a script fetches is no page. An
// address that cannot be a return path is left out: repeated, a long one would break proxies.
func (f *Front) ReturnTo(r *http.Request, v *Visit) string {
	if browser.IsNavigation(r) {
		path := cmp.Or(v.ReturnTo(), r.URL.RequestURI()) // NewContext knows no path
		return f.checkReturnTo(r.Context(), path)
	}
	path, ours := strings.CutPrefix(r.Referer(), f.Site.URL("/"))
	if !ours {
		return ""
	}
	return f.checkReturnTo(r.Context(), "/"+path)
}

// onOwnPage reports whether a login begins on the application's page. Where another replica may
// know the session, that page would lead back, and the browser go round; see checkRounds.
func (f *Front) onOwnPage(v *Visit, ask Ask) bool {
	return f.Site.LoginPage != "" && ask.Step.Zero() && ask.Options == nil && !v.Gone.Elsewhere()
}

// loginURL returns the address of a login that leads back to where the visitor is.
func (f *Front) loginURL(v *Visit, r *http.Request, ask Ask) string {
	query := url.Values{}
	if returnTo := f.ReturnTo(r, v); returnTo != "" {
		query.Set("return_to", returnTo)
	}
	if f.onOwnPage(v, ask) {
		f.leadPastLoginPage(r, query)
		return f.loginPageURL(query)
	}
	if v.Gone != "" {
		query.Set(goneParam, string(v.Gone))
	}
	if !ask.Step.Zero() {
		query.Set("step", f.Attempts.SealStep(string(v.ID()), ask.Step))
	}
	if ask.Options != nil {
		f.addOptions(query, *ask.Options)
	}
	return f.loginAddress(query)
}

func (f *Front) loginPageURL(query url.Values) string {
	return withQuery(f.Site.URL(f.Site.LoginPage), query)
}

// leadPastLoginPage has a login that a script of the login page asks for lead where that leads.
func (f *Front) leadPastLoginPage(r *http.Request, query url.Values) {
	path, its, _ := strings.Cut(query.Get("return_to"), "?")
	if path != f.Site.LoginPage {
		return
	}
	query.Del("return_to")
	if asked, err := url.ParseQuery(its); err == nil {
		if returnTo := f.checkReturnTo(r.Context(), asked.Get("return_to")); returnTo != "" {
			query.Set("return_to", returnTo)
		}
	}
}

// loginAddress returns the address of the login with these parameters.
func (f *Front) loginAddress(query url.Values) string {
	return withQuery(f.Site.OwnURL("/login", ""), query)
}

func withQuery(address string, query url.Values) string {
	if len(query) == 0 {
		return address
	}
	return address + "?" + query.Encode()
}
