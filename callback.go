package oidcgate

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/oidcgate/oidcgate/internal/arrive"
	"github.com/oidcgate/oidcgate/internal/attempt"
	"github.com/oidcgate/oidcgate/internal/event"
	"github.com/oidcgate/oidcgate/internal/op"
	"github.com/oidcgate/oidcgate/internal/page"
	"github.com/oidcgate/oidcgate/internal/session"
)

// callback ends a login: /auth/callback, the authorization response (OpenID Connect Core, section
// 3.1.2.5).
func (g *Gate) callback(w http.ResponseWriter, r *http.Request, up *upstream) {
	c := &callbackRequest{gate: g, w: w, r: r, up: up}
	if refused := c.answer(); refused != nil {
		if c.attempt.User == "" { // whoever tries again may be another user
			refused.retry = c.attempt.ReturnTo
		}
		g.fail(w, r, up, refused)
	}
}

// callbackRequest is a request to the callback.
type callbackRequest struct {
	gate    *Gate
	w       http.ResponseWriter
	r       *http.Request
	up      *upstream
	visit   *visit
	attempt attempt.Attempt // that the response answers; zero while it is not known
}

// answer reads like the protocol: whose response is it, what does the provider say, what does the
// application say, sign in. Each step can refuse the login, and nothing is believed before its
// check. If it returns nil, it has answered; otherwise the caller
// shows the refusal.
func (c *callbackRequest) answer() *LoginError {
	g := c.gate
	form, ok, err := arrive.Callback{
		Channel: c.up.client.Channel(), MaxBytes: c.up.client.MaxResponse(),
		Address: g.config.at.URL(g.config.at.ProviderPath("/callback", c.up.name)),
		Login:   g.LoginURL(""), UnderWay: g.attempts.Any,
	}.Receive(c.w, c.r)
	switch {
	case err != nil:
		return providerFailure(err)
	case !ok:
		return nil
	}
	c.visit = g.peek(c.w, c.r)
	page.Headers(c.w)
	if c.visit.err != nil {
		return storeFailure(c.visit.err) // whose session this login would replace is not known
	}
	response, err := c.up.client.ReadResponse(c.r.Context(), form)
	if err != nil {
		return providerFailure(err)
	}
	if c.finishedBefore(response.State) {
		page.Redirect(c.w, g.config.at.Home()) // the back button, or a reload
		return nil
	}
	a, err := g.attempts.Find(c.r, c.up.name, response.State)
	if err != nil {
		return notFound(err)
	}
	c.attempt = a
	want, err := c.expectation()
	if err != nil {
		return failure(http.StatusInternalServerError, Reason(event.ReasonInternal), err)
	}
	result, err := c.up.client.Finish(c.r.Context(), response, want)
	if err != nil {
		return c.notFinished(err) // nil: it has sent the browser to the provider again
	}
	returnTo, refused := c.begin(result)
	if refused != nil {
		return refused
	}
	// The path is checked again: an attempt is input from the browser.
	page.Redirect(c.w, g.config.at.URL(g.returnTo(returnTo)))
	return nil
}

// finishedBefore reports whether the session of this browser began with the attempt that has this
// state.
func (c *callbackRequest) finishedBefore(state string) bool {
	id := c.visit.identity
	return id != nil && id.record().Attempt == attempt.Reference(state)
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
	err := c.gate.keeper.ClaimAttempt(ctx, c.attempt.Reference())
	switch {
	case err == nil:
		c.gate.attempts.Drop(c.w, &c.attempt) // used up, whatever comes of it
		return nil
	case errors.Is(err, session.ErrUsed):
		return badRequest(ReasonStateReplayed, err)
	}
	return storeFailure(err)
}

// notFinished deals with a login that Finish did not complete. A response that is refused
// uses the attempt up in this browser. While the provider is down or busy the attempt stays, to be
// tried again.
func (c *callbackRequest) notFinished(err error) *LoginError {
	e, ok := errors.AsType[*op.Error](err)
	if ok && e.Stage == op.StageResponse {
		c.gate.attempts.Drop(c.w, &c.attempt)
	}
	if ok && e.Stage == op.StageClaimed && e.Refused {
		// The code brought nothing, and strangers must not fill the store with claims. After any other
		// failure the code may have been used, and the claim stays.
		c.gate.keeper.ReleaseAttempt(c.r.Context(), c.attempt.Reference())
	}
	if ok && e.NeedsInteraction() && c.attempt.Silent && !c.attempt.Interactive {
		// The login begins once more, and the provider may ask the user. That happens once.
		again := c.attempt
		again.Interactive = true
		c.gate.startLogin(c.w, c.r, c.up, again)
		return nil
	}
	return providerFailure(err)
}

// notFound is the failure of a login whose attempt is not in this browser.
func notFound(err error) *LoginError {
	refused := badRequest(ReasonUnknownState, err)
	if e, ok := errors.AsType[*attempt.NotFound](err); ok {
		refused.Reason = Reason(e.Reason)
	}
	return refused
}

// identity returns the identity for the new session.
func (c *callbackRequest) identity(result *op.Result) *Identity {
	now, config := time.Now(), &c.gate.config
	return &Identity{
		expires:     now.Add(config.SessionLifetime),
		idleExpires: now.Add(config.IdleTimeout),
		rec: &session.Identity{
			Provider: c.up.name, Attempt: c.attempt.Reference(), Created: now, Checked: now,
			IDToken: result.IDToken, Userinfo: result.Userinfo,
		},
	}
}

// begin has the application decide about a login, and begins its session. It returns where the
// browser goes. Of a login that is refused the refresh token is revoked.
func (c *callbackRequest) begin(result *op.Result) (returnTo string, refused *LoginError) {
	a, g := &c.attempt, c.gate
	details := result.Tokens.AuthorizationDetails
	login := &Login{identity: c.identity(result), returnTo: a.ReturnTo, details: details}
	if !a.IsFor(login.identity.Issuer(), login.identity.Subject()) {
		login.returnTo = g.config.at.DefaultPath // a step-up that another user answered
	}
	l := &session.Login{
		Session: session.Session{Identity: *login.identity.record()},
		Tokens:  session.NewTokens((*session.ProviderTokens)(result.Tokens), a.Nonce()),
		Start:   a.Start,
		Before:  session.Session{ID: c.visit.cookieID},
	}
	if c.visit.session != nil {
		l.Before = *c.visit.session
	}
	refused = g.askApplication(c.r.Context(), login)
	if refused == nil {
		l.Identity = *login.identity.record()
		refused = c.signIn(l)
	}
	if refused != nil {
		g.keeper.Discard(c.r.Context(), l)
	}
	return login.returnTo, refused
}

// signIn begins a session under a new id and ends the previous one, whose ever it is: a session id
// from before the login must not survive it (session fixation). The browser may leave while this is
// under way, so it does not end with the request.
func (c *callbackRequest) signIn(l *session.Login) *LoginError {
	g := c.gate
	if err := c.r.Context().Err(); err != nil {
		return &LoginError{
			Status: statusClientGone, Reason: Reason(event.ReasonResponseInvalid),
			Err: fmt.Errorf("the browser left: %w", err),
		}
	}
	ctx, cancel := session.Detached(c.r.Context())
	defer cancel()
	if err := g.beginSession(ctx, c.w, l); err != nil {
		return notBegun(err)
	}
	id := &l.Identity
	g.events.emit(Event{
		Type: EventLoginSucceeded, Provider: id.Provider, Issuer: id.Issuer(),
		SubjectHash: g.keeper.UserRef(session.User{Issuer: id.Issuer(), Subject: id.Subject()}),
		SessionRef:  g.keeper.SessionRef(g.keeper.Handle(l.ID)),
	})
	g.clearOlder(c.w, c.r)
	g.attempts.LoggedIn(c.w, c.r)
	return nil
}

// notBegun is the failure of a login whose session could not be saved.
func notBegun(err error) *LoginError {
	switch {
	case errors.Is(err, session.ErrTooLarge):
		return &LoginError{
			Status: http.StatusBadGateway, Reason: ReasonSessionTooLarge, Err: err,
			Hint: "drop claims in OnLogin, ask the provider for fewer, or raise Limits.SessionBytes",
		}
	case errors.Is(err, session.ErrLoggedOut):
		return &LoginError{Status: http.StatusForbidden, Reason: ReasonLogoutWon, Err: err}
	}
	return storeFailure(err)
}

// statusClientGone is what some servers log where nobody reads the answer.
const statusClientGone = 499
