package oidcgate

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/oidcgate/oidcgate/internal/attempt"
	"github.com/oidcgate/oidcgate/internal/browser"
	"github.com/oidcgate/oidcgate/internal/page"
)

// Require returns [Gate.Admit] as a middleware, for chi's With and Use and for ServeMux.
func (g *Gate) Require(rules ...Rule) func(http.Handler) http.Handler {
	checkRules(rules)
	rules = slices.Clone(rules)
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if g.Admit(w, r, rules...) {
				next.ServeHTTP(w, r)
			}
		})
	}
}

// Admit is the guard. It returns true when the visitor is signed in and every rule allows.
// Otherwise it answers the request itself and returns false, and the handler must return. There are
// three answers, and none of them causes a loop:
//
//   - Not signed in: a GET navigation goes to the login and comes back; a posted form gets a page
//     that says that its data was not sent, because the way to the login would lose it; any other
//     request gets 401 as problem+json, with the login's address in login_url. A plain GET of curl
//     counts as a navigation, a plain POST does not count as a form.
//   - Signed in, but a rule refuses: 403.
//   - Signed in, but too weakly or too long ago ([ACR], [MaxAge]): one more login, whose result is
//     checked.
//
// When the store cannot answer, Admit answers 503 with Retry-After, and the visitor stays signed
// in. Admit accepts only sessions of its own gate: to a request that did not pass through
// [Gate.Wrap] it answers 500 and logs the cure.
func (g *Gate) Admit(w http.ResponseWriter, r *http.Request, rules ...Rule) bool {
	checkRules(rules)
	v := visitFrom(r.Context(), g)
	switch {
	case v == nil:
		g.config.Logger.Error("oidcgate: Admit or Require got a request that did not pass through " +
			"Wrap; wrap the outermost router: gate.Wrap(router)")
		g.showPage(w, r, Page{
			Status: http.StatusInternalServerError, Title: "Not set up",
			Text: "This page cannot be shown, because the service is not set up correctly.",
		})
		return false
	}
	id, err := v.current()
	switch {
	case err != nil:
		g.unavailable(w, r)
		return false
	case id == nil:
		g.askLogin(w, r, v, attempt.Step{})
		return false
	}
	return g.admitIdentity(w, r, v, rules)
}

func (g *Gate) admitIdentity(w http.ResponseWriter, r *http.Request, v *visit, rules []Rule) bool {
	id, _ := v.current()
	var step attempt.Step // what a new login must bring to satisfy all rules, refusing or not
	allAllow := true
	for _, rule := range rules {
		allows := rule.allows(id, g.config.Limits.ClockSkew)
		if !allows && rule.step.Zero() {
			g.forbid(w, r, v, rule.refusal())
			return false
		}
		allAllow = allAllow && allows
		step = step.And(rule.step)
	}
	switch {
	case allAllow:
		w.Header().Set("Cache-Control", "private, no-store")
		return true
	case step.Impossible():
		g.forbid(w, r, v, "no ACR satisfies all rules") // a new login would loop
		return false
	}
	subject := g.keeper.UserRef(v.identity.user())
	g.events.emit(Event{Type: EventStepUpRequired, SubjectHash: subject})
	g.askLogin(w, r, v, step)
	return false
}

// forbid answers a signed-in visitor who may not enter. The event says where and why.
func (g *Gate) forbid(w http.ResponseWriter, r *http.Request, v *visit, why string) {
	reference := page.NewReference()
	path := cmp.Or(v.escapedPath(), r.URL.EscapedPath()) // NewContext knows no path
	g.events.emit(Event{
		Type: EventAccessDenied, Status: http.StatusForbidden, Reference: reference,
		Provider:    v.identity.record().Provider,
		SubjectHash: g.keeper.UserRef(v.identity.user()),
		Detail:      fmt.Sprintf("%.200s: %.200s", path, why),
	})
	home := g.config.at.Home()
	g.showPage(w, r, Page{
		Status: http.StatusForbidden, Title: "No access", Reference: reference,
		Text:  "You are signed in, but this page is not for your account.",
		Links: []Link{{home, "Back to the site"}, {g.LogoutURL(""), "Log out"}},
	})
}

func (g *Gate) unavailable(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Retry-After", retryAfter)
	g.showPage(w, r, Page{
		Status: http.StatusServiceUnavailable, Title: "Please try again",
		Text: "We cannot look up your session at the moment. You are not signed out; try again shortly.",
	})
}

// askLogin answers a request that needs a login. It redirects only navigations: a script that is
// redirected to another site fails without a reason, and each image on a page would begin a login.
func (g *Gate) askLogin(w http.ResponseWriter, r *http.Request, v *visit, step attempt.Step) {
	loginURL := g.loginURL(v, r, step)
	login := Page{
		Status: http.StatusUnauthorized, Title: "Login required", Text: "You are not signed in.",
		Links: []Link{{loginURL, "Log in"}},
	}
	g.forget(w, r, v)
	switch {
	case browser.IsNavigation(r):
		page.Redirect(w, loginURL)
	case browser.IsFormPost(r):
		login.Title = "Not sent"
		login.Text = "You are not signed in any more, so what you entered was not sent. " +
			"Log in, then enter it again."
		g.showPage(w, r, login)
	default:
		if !step.Zero() {
			login.Title = "insufficient_user_authentication" // RFC 9470, section 3
			login.Text = "This needs a fresh or a stronger login."
		}
		page.Headers(w)
		w.Header().Set("WWW-Authenticate", step.Challenge())
		g.written(page.Problem(w, login.content()))
	}
}

// loginURL returns the address of a login that leads back to the requested page. For methods other
// than GET and HEAD it leads back to the page in the Referer header, if that is on this site. An
// address that cannot be a return path is left out: repeated, a long one would break proxies.
func (g *Gate) loginURL(v *visit, r *http.Request, step attempt.Step) string {
	returnTo := ""
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		returnTo = cmp.Or(v.returnTo(), r.URL.RequestURI()) // NewContext knows no path
	} else if path, ours := strings.CutPrefix(r.Referer(), g.config.at.URL("/")); ours {
		returnTo = "/" + path
	}
	query := url.Values{}
	if returnTo = g.checkReturnTo(returnTo); returnTo != "" {
		query.Set("return_to", returnTo)
	}
	if v.gone != "" {
		query.Set("gone", string(v.gone)) // see checkRounds
	}
	if !step.Zero() {
		query.Set("step", g.attempts.SealStep(string(v.id()), step))
	}
	if len(query) == 0 {
		return g.LoginURL("")
	}
	return g.LoginURL("") + "?" + query.Encode()
}
