package oidcgate

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/oidcgate/oidcgate/internal/attempt"
	"github.com/oidcgate/oidcgate/internal/browser"
	"github.com/oidcgate/oidcgate/internal/event"
	"github.com/oidcgate/oidcgate/internal/front"
	"github.com/oidcgate/oidcgate/internal/page"
)

// Require returns [Gate.Admit] as a middleware, for chi's With and Use and for ServeMux.
func (g *Gate) Require(rules ...Rule) func(http.Handler) http.Handler {
	return guard(g.Admit, rules)
}

// RequireAPI returns [Gate.AdmitAPI] as a middleware.
func (g *Gate) RequireAPI(rules ...Rule) func(http.Handler) http.Handler {
	return guard(g.AdmitAPI, rules)
}

func guard(
	admit func(http.ResponseWriter, *http.Request, ...Rule) bool, rules []Rule,
) func(http.Handler) http.Handler {
	checkRules(rules)
	rules = slices.Clone(rules)
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if admit(w, r, rules...) {
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
//     counts as a navigation, unless it has an access token or a body that is JSON; a plain POST
//     does not count as a form. For routes that only scripts and programs use, see [Gate.AdmitAPI].
//   - Signed in, but a rule refuses: 403.
//   - Signed in, but too weakly or too long ago ([ACR], [MaxAge]): one more login, whose result is
//     checked. It is asked for as the first one is.
//
// When the store cannot answer, Admit answers 503 with Retry-After, and the visitor stays signed
// in. Admit accepts only sessions of its own gate: to a request that did not pass through
// [Gate.Wrap] it answers 500 and logs the cure.
func (g *Gate) Admit(w http.ResponseWriter, r *http.Request, rules ...Rule) bool {
	return g.admit(w, r, rules, answers{})
}

// AdmitAPI is the guard of a route that scripts of the site's own pages use, with the visitor's
// session. It is [Gate.Admit] with two differences:
//
//   - It never redirects, and all of its answers are problem+json: 401 with WWW-Authenticate and,
//     in login_url, the address of a login that leads back to the page that the script is on; 403;
//     503 with Retry-After.
//   - It admits only requests that a script or a form of a page of this origin sent, or the visitor
//     alone, whatever the method. Browsers say so in Sec-Fetch-Site (W3C Fetch Metadata), or in
//     Origin for a WebSocket. Other clients, and browsers older than 2023, must send the header
//     X-Requested-With with any value.
//     Others get 403, also links on pages of this origin; a program without a session gets 401.
//     This is a protection against CSRF, and other sites cannot even measure the answers.
//
// For clients with access tokens see [Gate.AdmitToken], for both [Gate.AdmitEither].
func (g *Gate) AdmitAPI(w http.ResponseWriter, r *http.Request, rules ...Rule) bool {
	return g.admitAPI(w, r, rules, answers{asScript: true})
}

func (g *Gate) admitAPI(w http.ResponseWriter, r *http.Request, rules []Rule, how answers) bool {
	// A program without a session gets 401: nobody's browser sent it.
	v := visitFrom(r.Context(), g)
	stranger := v != nil && v.identity == nil && v.found.LoadErr == nil
	if v != nil && !browser.IsOwn(r, g.config.at.Origin) && !(stranger && browser.SaysNothing(r)) {
		g.front.NotFromHere(w, browser.AsScript(r))
		return false
	}
	return g.admit(w, r, rules, how)
}

// answers is how a guard for sessions answers a request that it refuses.
type answers struct {
	asScript   bool // as if a script had sent it
	nameTokens bool // a 401 says that an access token would do too
}

// admit lets a request pass or answers it.
func (g *Gate) admit(
	w http.ResponseWriter, r *http.Request, rules []Rule, how answers,
) bool {
	checkRules(rules)
	v := visitFrom(r.Context(), g)
	var id *Identity
	var err error
	var verdict verdict
	if v != nil {
		id, err = v.current()
	}
	if id != nil && err == nil {
		if verdict = judge(id, rules, g.config.Limits.ClockSkew); verdict.allowed {
			w.Header().Set("Cache-Control", "private, no-store")
			return true
		}
	}
	if how.asScript {
		r = browser.AsScript(r)
	}
	ask := front.Ask{Step: verdict.step, Options: loginOptions(rules)}
	if how.nameTokens {
		ask.Challenges = g.bearer.Challenges()
	}
	switch {
	case v == nil:
		g.notWrapped(w, r)
	case err != nil:
		g.front.Unavailable(w, r, &v.found)
	case id == nil:
		g.front.AskLogin(w, r, &v.found, ask)
	case verdict.refusal != "":
		g.front.Forbid(w, r, &v.found, g.denied(r, v, verdict.refusal, ""), ask.Options)
	default:
		g.stepUp(w, r, v, ask)
	}
	return false
}

// Allows reports whether the visitor of ctx is signed in and every rule allows, to show or hide a
// link. It protects nothing: the route behind the link needs a guard. It is false where the guard
// would ask for one more login, and when it is not known who is signed in.
func (g *Gate) Allows(ctx context.Context, rules ...Rule) bool {
	checkRules(rules)
	v := visitFrom(ctx, g)
	if v == nil {
		return false
	}
	id, err := v.current()
	return err == nil && id != nil && judge(id, rules, g.config.Limits.ClockSkew).allowed
}

// notWrapped answers a request that did not pass through Wrap.
func (g *Gate) notWrapped(w http.ResponseWriter, r *http.Request) {
	g.config.Logger.ErrorContext(r.Context(), "oidcgate: Admit, Require or a guard like them got a "+
		"request that did not pass through Wrap; wrap the outermost router: gate.Wrap(router), have "+
		"guards inside it and not around it, and let Config.WithoutSession leave out no route that "+
		"has a guard", "path", r.URL.Path)
	g.front.NotSetUp(w, r)
}

// stepUp answers a signed-in visitor who may enter after one more login.
func (g *Gate) stepUp(w http.ResponseWriter, r *http.Request, v *visit, ask front.Ask) {
	g.events.Emit(r.Context(), event.Record{
		Type: event.StepUpRequired, Provider: v.identity.record().Provider,
		Issuer:      v.identity.Issuer(),
		SubjectHash: g.keeper.UserRef(v.identity.record().User()),
		SessionRef:  g.front.SessionRef(&v.found),
	})
	g.front.AskLogin(w, r, &v.found, ask)
}

// verdict is what rules say of an identity. If they do not allow it and there is no refusal, a new
// login that brings step helps.
type verdict struct {
	allowed bool
	refusal string       // for the log
	scopes  []string     // those that the rules ask for, if the lack of one is the refusal
	step    attempt.Step // what a new login must bring to satisfy all rules, refusing or not
}

func judge(id *Identity, rules []Rule, leeway time.Duration) verdict {
	v := verdict{allowed: true}
	for _, rule := range rules {
		allows := rule.allows(id, leeway)
		if !allows && rule.step.Zero() {
			return verdict{refusal: rule.refusal(id), scopes: scopesOf(rule, rules)}
		}
		v.allowed = v.allowed && allows
		v.step = v.step.And(rule.step)
	}
	if v.step.Impossible() { // nobody is allowed, and a new login would loop
		v.refusal = "no ACR satisfies all rules"
	}
	return v
}

// denied emits the event for somebody who may not enter: where, and why. A hint takes the place of
// the usual one. It returns the reference of the event.
func (g *Gate) denied(r *http.Request, v *visit, why, hint string) (reference string) {
	reference = page.NewReference()
	g.events.Emit(r.Context(), event.Record{
		Type: event.AccessDenied, Status: http.StatusForbidden, Reference: reference,
		Provider: v.identity.record().Provider, Issuer: v.identity.Issuer(),
		SubjectHash: g.keeper.UserRef(v.identity.record().User()),
		SessionRef:  g.front.SessionRef(&v.found),
		Detail:      fmt.Sprintf("%.200s: %.200s", v.path(r), why), Hint: hint,
	})
	return reference
}
