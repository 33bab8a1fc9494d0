package oidcgate

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/oidcgate/oidcgate/internal/claims"
)

// Rule says who may enter. It is made by [Claim], [EmailDomain], [Match], [ACR] and [FreshWithin]; the zero
// value is none of them, and a guard built with it panics.
type Rule struct {
	name   string // for the log
	allows func(id *Identity, leeway time.Duration) bool
	step   stepUp // what a new login must bring where the rule does not allow; zero: none helps
}

// stepUp is what a login is asked for beyond the usual (OpenID Connect Core, section 3.1.2.1).
type stepUp struct {
	ACR    []string       `json:"a,omitempty"`
	MaxAge *time.Duration `json:"m,omitempty"`
}

func (s stepUp) zero() bool { return len(s.ACR) == 0 && s.MaxAge == nil }

// Claim allows those whose claim is one of anyOf, or is a list that holds one. The name is a claim's, letter
// for letter, or an RFC 6901 pointer when it begins with "/": "/realm_access/roles". Values are compared as
// strings, exactly; the number 1 and the boolean true are not the strings "1" and "true", for these use
// [Match]. It panics when the name or a value is empty or no value is given: a guard that guards nothing is
// found when it is built.
func Claim(name string, anyOf ...string) Rule {
	if name == "" || len(anyOf) == 0 || slices.Contains(anyOf, "") {
		panic("oidcgate: Claim needs a name and values that are not empty")
	}
	anyOf = slices.Clone(anyOf)
	lookup := (*Identity).claim
	if name[0] == '/' {
		lookup = (*Identity).pointer
	}
	return Rule{name: "claim " + name, allows: func(id *Identity, _ time.Duration) bool {
		v, ok := lookup(id, name)
		return ok && holds(v, anyOf)
	}}
}

func holds(v claims.Value, anyOf []string) bool {
	if s, ok := v.Str(); ok {
		return slices.Contains(anyOf, s)
	}
	for e := range v.Elements() {
		if s, ok := e.Str(); ok && slices.Contains(anyOf, s) {
			return true
		}
	}
	return false
}

// EmailDomain allows those with a verified e-mail address (see [Identity.Email]) at one of the domains,
// compared without regard to case. It panics when no domain is given or one is not plain ASCII: write
// internationalised domains in their "xn--" form.
func EmailDomain(anyOf ...string) Rule {
	domains := make([]string, 0, len(anyOf))
	for _, d := range anyOf {
		if !wellFormed("a@" + d) {
			panic("oidcgate: EmailDomain needs domains such as \"shop.example\"")
		}
		domains = append(domains, strings.ToLower(d))
	}
	if len(domains) == 0 {
		panic("oidcgate: EmailDomain needs a domain")
	}
	return Rule{name: "e-mail domain", allows: func(id *Identity, _ time.Duration) bool {
		address, verified := id.Email()
		_, domain, _ := strings.Cut(address, "@")
		return verified && slices.Contains(domains, strings.ToLower(domain))
	}}
}

// Match allows those for whom f is true. f is called on every request that the rule guards, concurrently. It
// panics when f is nil.
func Match(f func(*Identity) bool) Rule {
	if f == nil {
		panic("oidcgate: Match needs a function")
	}
	return Rule{name: "Match", allows: func(id *Identity, _ time.Duration) bool { return f(id) }}
}

// ACR allows those whose authentication context class is one of anyOf. Others are sent to log in once more,
// with these classes as acr_values, and the ID Token must then carry one (OpenID Connect Core, section
// 3.1.2.1). It panics when no value is given or one is empty or has a space.
func ACR(anyOf ...string) Rule {
	if len(anyOf) == 0 || slices.ContainsFunc(anyOf, func(s string) bool { return s == "" || strings.Contains(s, " ") }) {
		panic("oidcgate: ACR needs values without spaces")
	}
	anyOf = slices.Clone(anyOf)
	return Rule{
		allows: func(id *Identity, _ time.Duration) bool { return slices.Contains(anyOf, id.ACR()) },
		step:   stepUp{ACR: anyOf},
	}
}

// FreshWithin allows those who authenticated at the provider within d, and [Config.Leeway] more for clocks that
// differ. Others are sent to log in once more, with max_age, and auth_time is then checked with the same leeway,
// so that who passes there passes here (OpenID Connect Core, section 3.1.2.1). It panics when d is less than a
// second.
func FreshWithin(d time.Duration) Rule {
	if d < time.Second {
		panic("oidcgate: FreshWithin needs at least a second")
	}
	return Rule{
		allows: func(id *Identity, leeway time.Duration) bool {
			t := id.AuthTime()
			return !t.IsZero() && time.Since(t) <= d+leeway
		},
		step: stepUp{MaxAge: &d},
	}
}

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

func checkRules(rules []Rule) {
	for _, rule := range rules {
		if rule.allows == nil {
			panic("oidcgate: a zero Rule guards nothing; make rules with Claim, EmailDomain, Match, ACR or FreshWithin")
		}
	}
}

// Admit is the guard: it returns true when the visitor is signed in and every rule allows, and otherwise
// answers the request itself and returns false, and the handler returns. There are three answers, and none
// of them loops:
//
//   - Nobody is signed in: a GET navigation goes to the login and comes back; a form that was posted gets a
//     page that says so, since its data would be lost on the way; anything else gets 401 with the login's
//     address as problem+json.
//   - Somebody is, and a rule says no: 403.
//   - Somebody is, but too weakly or too long ago ([ACR], [FreshWithin]): one more login, the result of which
//     is checked.
//
// When the store cannot answer it is 503 with Retry-After, and the visitor stays signed in. Admit believes
// only its own gate: on a request that did not pass through [Gate.Wrap] it answers 500 and logs the cure.
func (g *Gate) Admit(w http.ResponseWriter, r *http.Request, rules ...Rule) bool {
	checkRules(rules)
	st := stateFrom(r.Context(), g)
	switch {
	case st == nil:
		g.config.Logger.Error("oidcgate: Admit or Require on a request that did not pass through Wrap; wrap the outermost router: gate.Wrap(router)")
		g.showPage(w, r, Page{Status: http.StatusInternalServerError, Title: "Not set up", Text: "This page cannot be shown, because the service is not set up correctly."})
		return false
	case st.err != nil:
		g.unavailable(w, r)
		return false
	case st.identity == nil:
		g.askLogin(w, r, st, stepUp{})
		return false
	}
	return g.admitIdentity(w, r, st, rules)
}

func (g *Gate) admitIdentity(w http.ResponseWriter, r *http.Request, st *state, rules []Rule) bool {
	var step stepUp // what a new login must bring so that every rule allows, not only those that do not now
	enough := true
	for _, rule := range rules {
		allows := rule.allows(st.identity, g.config.Leeway)
		if !allows && rule.step.zero() {
			g.forbid(w, r, st, rule.name)
			return false
		}
		enough = enough && allows
		step = step.and(rule.step)
	}
	switch {
	case enough:
		w.Header().Set("Cache-Control", "private, no-store")
		return true
	case step.impossible():
		g.forbid(w, r, st, "ACR") // one login after the other would satisfy one rule after the other
		return false
	}
	g.events.emit(Event{Type: EventStepUpRequired, SubjectHash: g.subjectHash(st.identity)})
	g.askLogin(w, r, st, step)
	return false
}

// and combines what two rules ask for.
func (s stepUp) and(other stepUp) stepUp {
	switch {
	case s.ACR == nil:
		s.ACR = other.ACR
	case other.ACR != nil:
		s.ACR = slices.DeleteFunc(slices.Clone(s.ACR), func(acr string) bool { return !slices.Contains(other.ACR, acr) })
	}
	if other.MaxAge != nil && (s.MaxAge == nil || *other.MaxAge < *s.MaxAge) {
		s.MaxAge = other.MaxAge
	}
	return s
}

// impossible reports whether no login can bring what is asked for: rules without a class in common.
func (s stepUp) impossible() bool { return s.ACR != nil && len(s.ACR) == 0 }

// forbid answers who is signed in and may not enter. The log says where and why.
func (g *Gate) forbid(w http.ResponseWriter, r *http.Request, st *state, rule string) {
	reference := newReference()
	g.events.emit(Event{
		Type: EventAccessDenied, Status: http.StatusForbidden, Reference: reference, Provider: st.identity.provider,
		SubjectHash: g.subjectHash(st.identity), Detail: fmt.Sprintf("%.200q: %s", st.path, rule),
	})
	g.showPage(w, r, Page{
		Status:    http.StatusForbidden,
		Title:     "No access",
		Text:      "You are signed in, but this page is not for your account.",
		Reference: reference,
		Links:     []Link{{g.siteURL(g.config.DefaultPath), "Back to the site"}, {g.LogoutURL(""), "Log out"}},
	})
}

func (g *Gate) unavailable(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Retry-After", retryAfter)
	g.showPage(w, r, Page{
		Status: http.StatusServiceUnavailable,
		Title:  "Please try again",
		Text:   "We cannot look up your session at the moment. You are not signed out; try again shortly.",
	})
}

// askLogin answers a request that needs a login. Only a navigation is sent to it: a script that is redirected
// to another site fails without a reason, and each image on a page would begin a login of its own.
func (g *Gate) askLogin(w http.ResponseWriter, r *http.Request, st *state, step stepUp) {
	loginURL := g.loginURL(st, r, step)
	login := Page{
		Status: http.StatusUnauthorized,
		Title:  "Login required",
		Text:   "You are not signed in.",
		Links:  []Link{{loginURL, "Log in"}},
	}
	switch {
	case isNavigation(r):
		redirect(w, loginURL)
	case isFormPost(r):
		login.Title = "Not sent"
		login.Text = "You are not signed in any more, so what you entered was not sent. Log in, then enter it again."
		g.showPage(w, r, login)
	default:
		if !step.zero() {
			login.Title = "insufficient_user_authentication" // RFC 9470, section 3
			login.Text = "This needs a fresh or a stronger login."
		}
		ownHeaders(w)
		g.writeProblem(w, login)
	}
}

// loginURL leads to the login and back to the page that was asked for, which for anything but a GET is the
// page of this site that the browser says it was on.
func (g *Gate) loginURL(st *state, r *http.Request, step stepUp) string {
	returnTo := ""
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		returnTo = cmp.Or(st.returnTo(), r.URL.RequestURI()) // without Wrap, in a test, there is only the request
	} else if path, ours := strings.CutPrefix(r.Referer(), g.siteURL("/")); ours {
		returnTo = "/" + path
	}
	u := g.LoginURL(returnTo)
	if step.zero() {
		return u
	}
	sep := "?"
	if returnTo != "" {
		sep = "&"
	}
	return u + sep + "step=" + g.sealStep(st, step)
}

// isNavigation reports whether a request is a person going to a page in a tab of the browser. Browsers say
// so in Sec-Fetch-Mode and Sec-Fetch-Dest (W3C Fetch Metadata); for those that do not, it is a GET that takes
// HTML for an answer and was not made by a script.
func isNavigation(r *http.Request) bool {
	h := r.Header
	if r.Method != http.MethodGet || h.Get("Upgrade") != "" || isPrefetch(h) {
		return false
	}
	if mode := h.Get("Sec-Fetch-Mode"); mode != "" {
		dest := h.Get("Sec-Fetch-Dest")
		return mode == "navigate" && (dest == "document" || dest == "")
	}
	return h.Get("X-Requested-With") == "" && takesHTML(h)
}

func isPrefetch(h http.Header) bool {
	return strings.Contains(h.Get("Sec-Purpose"), "prefetch") || strings.EqualFold(h.Get("Purpose"), "prefetch")
}

// takesHTML reports whether HTML is an answer the client may want. No Accept header takes anything (RFC 9110,
// section 12.5.1), and so does "*/*" alone; where it stands beside other types than HTML, the client is a script,
// or a browser loading an image or a stylesheet.
func takesHTML(h http.Header) bool {
	accept := strings.ToLower(strings.Join(h["Accept"], ","))
	media, _, _ := strings.Cut(accept, ";")
	return strings.Contains(accept, "text/html") || strings.Contains(accept, "application/xhtml") ||
		!strings.Contains(accept, ",") && (accept == "" || strings.TrimSpace(media) == "*/*")
}

// isFormPost reports whether a request is a form that a person sent off.
func isFormPost(r *http.Request) bool {
	if r.Method != http.MethodPost || r.Header.Get("X-Requested-With") != "" {
		return false
	}
	if mode := r.Header.Get("Sec-Fetch-Mode"); mode != "" {
		return mode == "navigate"
	}
	form := strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded") ||
		strings.HasPrefix(r.Header.Get("Content-Type"), "multipart/form-data")
	return form && strings.Contains(r.Header.Get("Accept"), "text/html")
}
