package oidcgate

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"net/url"

	"github.com/oidcgate/oidcgate/internal/attempt"
	"github.com/oidcgate/oidcgate/internal/browser"
	"github.com/oidcgate/oidcgate/internal/event"
	"github.com/oidcgate/oidcgate/internal/op"
	"github.com/oidcgate/oidcgate/internal/page"
	"github.com/oidcgate/oidcgate/internal/returnto"
	"github.com/oidcgate/oidcgate/internal/seal"
)

// login begins a login: GET /auth/login. It accepts only navigations, so that scripts, images and
// browsers that load pages in advance leave no attempts behind.
func (g *Gate) login(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet {
		g.methodNotAllowed(w, r, "GET")
		return
	}
	if !browser.IsNavigation(r) {
		g.showPage(w, r, Page{
			Status: http.StatusBadRequest, Title: "Open this in a tab",
			Text: "A login begins in a tab of the browser, not inside a page or a script.",
		})
		return
	}
	v := g.peek(w, r)
	g.forget(w, r, v)
	query := r.URL.Query()
	returnTo := g.returnTo(query.Get("return_to"))
	step := g.attempts.OpenStep(string(v.id()), query.Get("step"))
	if v.mayBeSignedIn() && step.Zero() && browser.IsCrossSite(r) {
		// A link on another site must not replace the signed-in user (login CSRF, RFC 9700, section 4.7).
		page.Redirect(w, g.config.at.URL(returnTo))
		return
	}
	up := g.choose(query.Get("provider"))
	if !step.Zero() {
		up = g.upstreamOf(v) // a step-up goes to the provider of the session
	}
	if up == nil {
		g.showChoice(w, r, returnTo)
		return
	}
	a, err := g.newAttempt(r, query, up, step)
	if err != nil {
		g.fail(w, r, up, providerFailure(err))
		return
	}
	a.ReturnTo = returnTo
	if a.Silent && a.IDTokenHint == "" {
		a.IDTokenHint = g.idTokenHint(r.Context(), v, up)
	}
	if !step.Zero() {
		a.User = attempt.UserOf(v.identity.Issuer(), v.identity.Subject())
	}
	if refused := g.checkRounds(w, r, v); refused != nil {
		refused.retry = returnTo
		g.fail(w, r, up, refused)
		return
	}
	g.startLogin(w, r, up, a)
}

// newAttempt returns a login that asks for what the guard, the application and the link want.
func (g *Gate) newAttempt(
	r *http.Request, query url.Values, up *upstream, step attempt.Step,
) (_ attempt.Attempt, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = g.panicked("LoginOptions", v)
		}
	}()
	var own LoginOptions
	if g.config.LoginOptions != nil {
		own = g.config.LoginOptions(r)
	}
	o, err := up.client.Options(query, op.LoginOptions(own))
	return attempt.Attempt{
		Step:   step.Also(attempt.Step{MaxAge: o.Fresh(), ACR: o.ACRValues}),
		Silent: up.client.IsSilent(o), Options: o.Encode(), IDTokenHint: o.IDTokenHint,
	}, err
}

// idTokenHint returns the ID Token of the visitor's session, or "". A provider may want it with
// prompt=none (OpenID Connect Core, section 3.1.2.1). One that is too long for an address is left
// out.
func (g *Gate) idTokenHint(ctx context.Context, v *visit, up *upstream) string {
	if g.upstreamOf(v) != up {
		return ""
	}
	t, err := g.keeper.Tokens(ctx, v.id())
	if err != nil || len(t.IDToken) > op.MaxEndSessionURL/2 {
		return ""
	}
	return t.IDToken
}

// checkRounds refuses a login when the sessions of those before it were gone at once.
func (g *Gate) checkRounds(w http.ResponseWriter, r *http.Request, v *visit) *LoginError {
	// A guard says what was gone. It may be at another replica.
	gone := cmp.Or(attempt.Gone(r.URL.Query().Get("gone")), v.gone)
	if v.identity != nil && gone == "" || !g.attempts.IsLoop(w, r) {
		return nil
	}
	status, reason, hint := attempt.Loop(gone)
	err := errors.New("the sessions of the logins before were gone at once")
	return &LoginError{Status: status, Reason: Reason(reason), Hint: hint, Err: err}
}

// unnamed is the value of the parameter provider for the provider whose name is empty.
const unnamed = "."

// choose returns the provider of that name, or the only provider. It returns nil when the name is
// empty or unknown: then the visitor has to choose.
func (g *Gate) choose(name string) *upstream {
	switch {
	case len(g.providers) == 1:
		return g.providers[0]
	case name == "":
		return nil
	case name == unnamed:
		return g.provider("")
	}
	return g.provider(name)
}

func (g *Gate) showChoice(w http.ResponseWriter, r *http.Request, returnTo string) {
	p := Page{Status: http.StatusOK, Title: "Log in", Text: "Choose where you have your account."}
	for _, up := range g.providers {
		q := up.client.LinkValues(r.URL.Query())
		q.Set("return_to", returnTo)
		q.Set("provider", cmp.Or(up.name, unnamed))
		p.Links = append(p.Links, Link{g.config.at.OwnURL("/login", "") + "?" + q.Encode(), up.label})
	}
	g.showPage(w, r, p)
}

// startLogin sends the browser to the provider (OpenID Connect Core, section 3.1.2.1; RFC 7636,
// section 4).
func (g *Gate) startLogin(w http.ResponseWriter, r *http.Request, up *upstream, a attempt.Attempt) {
	location, refused := g.prepareLogin(w, r, up, a)
	if refused != nil {
		refused.retry = a.ReturnTo
		g.fail(w, r, up, refused)
		return
	}
	g.events.emit(Event{Type: EventLoginStarted, Provider: up.name, Issuer: up.issuer})
	page.Redirect(w, location)
}

// prepareLogin writes the cookie of the attempt and returns the provider's address for it.
func (g *Gate) prepareLogin(
	w http.ResponseWriter, r *http.Request, up *upstream, a attempt.Attempt,
) (location string, refused *LoginError) {
	// The visitor should not type a password when the store cannot save a session afterwards.
	if err := g.keeper.Ping(r.Context()); err != nil {
		return "", storeFailure(err)
	}
	if err := a.Begin(up.name); err != nil {
		return "", failure(http.StatusInternalServerError, Reason(event.ReasonInternal), err)
	}
	alg, err := up.client.DPoPAlg(r.Context())
	if err != nil {
		return "", providerFailure(err)
	}
	a.DPoP = alg
	request, err := authorizationRequest(&a)
	if err != nil {
		return "", failure(http.StatusInternalServerError, Reason(event.ReasonInternal), err)
	}
	location, err = up.client.AuthorizationURL(r.Context(), request)
	if err != nil {
		return "", providerFailure(err)
	}
	if err := g.attempts.Keep(w, r, a); err != nil {
		return "", failure(http.StatusInternalServerError, Reason(event.ReasonInternal), err)
	}
	return location, nil
}

func authorizationRequest(a *attempt.Attempt) (op.AuthorizationRequest, error) {
	key, err := dpopKey(a)
	return op.AuthorizationRequest{
		State: a.State(), Nonce: a.Nonce(), CodeVerifier: a.Verifier(), DPoPKey: key,
		MaxAge: a.Step.MaxAge, ACRValues: a.Step.ACR, Interactive: a.Interactive,
		IDTokenHint: a.IDTokenHint, Options: a.Options,
	}, err
}

// dpopKey returns the key to which the tokens of a login are bound, or nil if they are not bound.
func dpopKey(a *attempt.Attempt) (*op.DPoPKey, error) {
	if a.DPoP == "" {
		return nil, nil
	}
	return op.NewDPoPKey(a.DPoP, a.DPoPSecret())
}

// newAttempts returns the keeper of the logins and logouts that are under way.
func newAttempts(g *Gate, ring *seal.Ring) *attempt.Keeper {
	c := &g.config
	return &attempt.Keeper{
		Ring: ring, Cookies: g.cookies, Name: c.at.CookieName, Older: c.at.OlderCookie,
		Timeout: c.Limits.LoginTimeout, ClockSkew: c.Limits.ClockSkew, DefaultPath: c.at.DefaultPath,
		Evicted:   func() { g.events.emit(Event{Type: EventAttemptLimitReached}) },
		Shortened: func(returnTo string) { g.rejectReturnTo(returnTo, returnto.TooLong) },
	}
}
