package front

import (
	"context"
	"errors"
	"net/http"

	"github.com/oidcgate/oidcgate/internal/arrive"
	"github.com/oidcgate/oidcgate/internal/attempt"
	"github.com/oidcgate/oidcgate/internal/event"
	"github.com/oidcgate/oidcgate/internal/op"
	"github.com/oidcgate/oidcgate/internal/page"
	"github.com/oidcgate/oidcgate/internal/session"
)

// callback ends a login: /auth/callback, the authorization response (OpenID Connect Core, section
// 3.1.2.5).
func (f *Front) callback(w http.ResponseWriter, r *http.Request, up *Provider) {
	c := &callbackRequest{front: f, w: w, r: r, up: up}
	if refused := c.answer(); refused != nil {
		c.refuse(refused)
	}
}

// callbackRequest is a request to the callback.
type callbackRequest struct {
	front   *Front
	w       http.ResponseWriter
	r       *http.Request
	up      *Provider
	visit   *Visit
	attempt attempt.Attempt // that the response answers; zero while it is not known
}

// answer reads like the protocol: whose response is it, what does the provider say, what does the
// application say, sign in. Each step can refuse the login, and nothing is believed before its
// check. If it returns nil, it has answered; otherwise the caller shows the refusal.
func (c *callbackRequest) answer() *Failure {
	f := c.front
	form, ok, err := arrive.Callback{
		Channel: c.up.Client.Channel(), MaxBytes: c.up.Client.MaxResponse(),
		Address: f.Site.URL(f.Site.ProviderPath("/callback", c.up.Name)),
		Back:    f.Site.Home(), UnderWay: f.Attempts.Any, Pages: f.Pages,
	}.Receive(c.w, c.r)
	switch {
	case err != nil:
		return providerFailure(err)
	case !ok:
		return nil
	}
	c.visit = f.Peek(c.w, c.r)
	page.Headers(c.w)
	response, err := c.up.Client.ReadResponse(c.r.Context(), form)
	if err != nil {
		return providerFailure(err)
	}
	a, err := f.Attempts.Find(c.r, c.up.at(), response.State)
	c.attempt = a // of one that is over, too: where the page leads depends on it
	switch {
	case c.visit.LoadErr != nil: // whose session this login would replace is not known
		return storeFailure(c.visit.LoadErr)
	case c.finishedBefore(response.State):
		page.Redirect(c.w, f.Site.Home()) // the back button, or a reload
		return nil
	case err != nil:
		return notFound(err)
	}
	want, err := c.expectation()
	if err != nil {
		return internalFailure(err)
	}
	result, err := c.up.Client.Finish(c.r.Context(), response, want)
	if err != nil {
		c.discard(result, err)
		return c.notFinished(err) // nil: it has sent the browser to the provider again
	}
	returnTo, refused := c.begin(result)
	if refused != nil {
		refused.user = (&session.Identity{IDToken: result.IDToken}).User()
		return refused
	}
	// The path is checked again: an attempt is input from the browser.
	page.Redirect(c.w, f.Site.URL(f.returnTo(c.r.Context(), returnTo)))
	return nil
}

// finishedBefore reports whether the session of this browser began with the attempt that has this
// state.
func (c *callbackRequest) finishedBefore(state string) bool {
	s := c.visit.Session
	return s != nil && s.Identity.Attempt == attempt.Reference(state)
}

// discard revokes the refresh token that came with the answer of a login that is refused, if one
// came. It may share the grant of another session: it stays if this browser has one, or if it is
// known whose it is and the user has one. A provider without ID Tokens does not say whose it is,
// and mostly has one grant for each user. While clocks differ all logins are refused, and those
// who are signed in elsewhere lose nothing by that.
func (c *callbackRequest) discard(result *op.Result, refused error) {
	e, _ := errors.AsType[*op.Error](refused)
	switch {
	case result == nil || c.visit.CookieID != "":
	case result.IDToken != "":
		c.front.Keeper.Discard(c.r.Context(), &session.Login{
			Session: session.Session{Identity: c.login(result).Identity}, Tokens: c.tokens(result),
		})
	case c.up.Client.HasIDTokens() && (e == nil || !e.Clock):
		if err := c.up.Client.Revoke(c.r.Context(), result.Tokens.RefreshToken); err != nil {
			c.front.NotRevoked(c.r.Context(), err)
		}
	}
}

// refuse shows why the login, or the linking, did not succeed.
func (c *callbackRequest) refuse(refused *Failure) {
	f, a := c.front, &c.attempt
	if c.visit == nil {
		c.visit = f.Peek(c.w, c.r)
	}
	switch {
	case a.Link != "":
		f.noteLinking(c.r.Context(), refused, c.visit, a)
	case a.Seed == nil: // a linking perhaps, in whose place a login would replace the session
		refused.signedIn = c.visit.MayBeSignedIn()
	case a.User == "": // whoever tries again may be another user
		refused.retry = a.ReturnTo
	}
	refused.again = f.loginAt(c.up, nil, refused.retry)
	f.fail(c.w, c.r, c.up, refused)
}

// expectation is what the provider's answer must agree with.
func (c *callbackRequest) expectation() (op.Expectation, error) {
	a := &c.attempt
	key, err := dpopKey(a)
	return op.Expectation{
		DPoPKey:      key,
		Nonce:        a.Nonce(),
		CodeVerifier: a.Verifier(),
		MaxAge:       a.Step.MaxAge,
		ACRValues:    a.Step.ACR,
		Start:        a.Start,
		Claim:        c.claimAttempt,
	}, err
}

// claimAttempt takes the attempt for this request, once over all replicas.
func (c *callbackRequest) claimAttempt(ctx context.Context) error {
	err := c.front.Keeper.ClaimAttempt(ctx, c.attempt.Reference())
	switch {
	case err == nil:
		c.front.Attempts.Drop(c.w, &c.attempt) // used up, whatever comes of it
		return nil
	case errors.Is(err, session.ErrUsed):
		return badRequest(event.ReasonStateReplayed, err)
	}
	return storeFailure(err)
}

// notFinished deals with a login that Finish did not complete. A response that is refused
// uses the attempt up in this browser. While the provider is down or busy the attempt stays, to be
// tried again.
func (c *callbackRequest) notFinished(err error) *Failure {
	e, ok := errors.AsType[*op.Error](err)
	if ok && e.Stage == op.StageResponse {
		c.front.Attempts.Drop(c.w, &c.attempt)
	}
	if ok && e.Stage == op.StageClaimed && e.Refused {
		// The code brought nothing, and strangers must not fill the store with claims. After any other
		// failure the code may have been used, and the claim stays.
		c.front.Keeper.ReleaseAttempt(c.r.Context(), c.attempt.Reference())
	}
	if ok && e.IsLate() && c.isSignedIn() {
		returnTo := c.front.returnTo(c.r.Context(), c.attempt.ReturnTo)
		page.Redirect(c.w, c.front.Site.URL(returnTo))
		return nil
	}
	if ok && e.NeedsInteraction() && c.attempt.Silent && !c.attempt.Interactive {
		// The login begins once more, and the provider may ask the user. That happens once.
		again := c.attempt
		again.Interactive = true
		return c.front.startLogin(c.w, c.r, c.up, again)
	}
	return providerFailure(err)
}

// isSignedIn reports whether the visitor has logged in since the login was begun, with another tab,
// and so has what it was begun for.
func (c *callbackRequest) isSignedIn() bool {
	a := &c.attempt
	return a.Link == "" && a.Step.Zero() && c.front.providerOf(c.visit) == c.up &&
		!c.visit.Session.Identity.Created.Before(a.Start)
}

// notFound is the failure of a login whose attempt is not in this browser.
func notFound(err error) *Failure {
	refused := badRequest(event.ReasonUnknownState, err)
	if e, ok := errors.AsType[*attempt.NotFound](err); ok {
		refused.Reason = e.Reason
	}
	if refused.Reason == event.ReasonStateKeyUnknown { // the fault is not the visitor's
		refused.Status = http.StatusInternalServerError
		refused.Hint = "give all replicas the same Keys; a new key stands second in all of them before " +
			"it is first in one, and a key that is replaced stays, after the new one, until the logins " +
			"under way are over"
	}
	return refused
}
