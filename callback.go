package oidcgate

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/oidcgate/oidcgate/internal/claims"
	"github.com/oidcgate/oidcgate/internal/event"
	"github.com/oidcgate/oidcgate/internal/op"
	"github.com/oidcgate/oidcgate/internal/session"
)

// callback ends a login: GET /auth/callback, the authorization response (OpenID Connect Core, section
// 3.1.2.5).
func (g *Gate) callback(w http.ResponseWriter, r *http.Request, up *upstream) {
	if refused := g.finishLogin(w, r, up); refused != nil {
		g.fail(w, r, up, refused)
	}
}

// finishLogin reads like the protocol: each step is refused on its own, and nothing is believed before its
// check. It answers the request itself unless it returns why the login is refused.
func (g *Gate) finishLogin(w http.ResponseWriter, r *http.Request, up *upstream) *LoginError {
	if r.Method != http.MethodGet {
		return &LoginError{Status: http.StatusMethodNotAllowed, Reason: Reason(event.ReasonWrongResponseMode), Err: errors.New(r.Method + " in place of GET")}
	}
	v := g.load(w, r)
	ownHeaders(w)
	if v.err != nil {
		return storeFailure(v.err) // whose session this would replace is not known
	}
	response, refused := readResponse(r.URL.RawQuery)
	if refused != nil {
		return refused
	}
	if g.finished(v, response.State) {
		redirect(w, g.siteURL(g.config.Site.DefaultPath)) // the back button, or a reload: this login is done
		return nil
	}
	a, refused := g.attemptOf(r, up, response.State)
	if refused != nil {
		return refused
	}
	// This replica may not have begun the login, and whether "iss" may be missing stands in the metadata.
	if _, err := up.client.Metadata(r.Context()); err != nil {
		return providerFailure(err, a.ReturnTo)
	}
	if refused := g.checkResponse(w, up, a, response); refused != nil {
		if g.retryInteractively(w, r, up, a, response) {
			return nil
		}
		return refused
	}
	login, t, refused := g.redeem(w, r, up, a, response.Code)
	if refused == nil {
		refused = g.askApplication(r.Context(), login)
	}
	if refused == nil {
		refused = g.signIn(w, r, v, login, t)
	}
	if refused != nil {
		refused.retry = a.ReturnTo
		return refused
	}
	// The path is checked again: a cookie, sealed or not, is what a browser brought.
	redirect(w, g.siteURL(g.returnTo(a.ReturnTo)))
	return nil
}

// redeem claims the attempt and has the provider say who logged in. While the provider is too busy to be asked
// the attempt stays, to be tried again; it is claimed before the code is sent anywhere. Only a login that goes
// to the provider leaves a claim in the store, so that strangers cannot fill it.
func (g *Gate) redeem(w http.ResponseWriter, r *http.Request, up *upstream, a attempt, code string) (*Login, *session.Tokens, *LoginError) {
	release, err := up.client.Acquire(r.Context())
	if err != nil {
		return nil, nil, providerFailure(err, a.ReturnTo)
	}
	defer release()
	if refused := g.claim(r.Context(), a); refused != nil {
		return nil, nil, refused
	}
	g.clearCookie(w, a.cookie) // used up, whatever comes of it
	return g.authenticate(r.Context(), up, a, code)
}

// finished reports whether the session of this browser began with the attempt that has this state.
func (g *Gate) finished(v *visit, state string) bool {
	return v.identity != nil && v.identity.record.Attempt == stateReference(state)
}

// retryInteractively begins the login once more when the provider could not complete it without asking the user and was
// not allowed to (prompt=none; OpenID Connect Core, section 3.1.2.6). It does so once.
func (g *Gate) retryInteractively(w http.ResponseWriter, r *http.Request, up *upstream, a attempt, resp response) bool {
	switch resp.Error {
	case "login_required", "interaction_required", "consent_required", "account_selection_required":
	default:
		return false
	}
	if a.Asked || !up.silent || resp.Code != "" || resp.hasTokens || up.client.CheckResponseIssuer(resp.Iss, resp.hasIss) != nil {
		return false
	}
	g.startLogin(w, r, up, attempt{ReturnTo: a.ReturnTo, Step: a.Step, Asked: true})
	return true
}

// authenticate turns a code into a person: tokens, ID Token, userinfo, in this order.
func (g *Gate) authenticate(ctx context.Context, up *upstream, a attempt, code string) (*Login, *session.Tokens, *LoginError) {
	t, err := up.client.Exchange(ctx, code, a.verifier())
	if err != nil {
		return nil, nil, providerFailure(err, a.ReturnTo)
	}
	idToken, err := up.client.VerifyIDToken(ctx, t.IDToken, op.Expectation{
		Nonce:       a.nonce(),
		MaxAge:      a.Step.MaxAge,
		ACRValues:   a.Step.ACR,
		AccessToken: t.AccessToken,
		Start:       a.Start,
	})
	if err != nil {
		return nil, nil, providerFailure(err, a.ReturnTo)
	}
	subject, _ := idToken.Get("sub")
	sub, _ := subject.Str()
	userinfo, err := up.client.Userinfo(ctx, t.AccessToken, sub)
	if err != nil {
		return nil, nil, providerFailure(err, a.ReturnTo)
	}
	login := &Login{identity: g.newIdentity(up, a, idToken, userinfo), returnTo: a.ReturnTo}
	return login, session.NewTokens((*session.ProviderTokens)(t), a.nonce()), nil
}

func (g *Gate) newIdentity(up *upstream, a attempt, idToken, userinfo claims.Object) *Identity {
	now := time.Now()
	return &Identity{
		expires:     now.Add(g.config.SessionLifetime),
		idleExpires: now.Add(g.config.IdleTimeout),
		record: session.Identity{
			Provider: up.name, Attempt: a.reference(), Created: now, Checked: now,
			IDToken: idToken, Userinfo: userinfo,
		},
	}
}

// checkResponse checks whose response it is (RFC 9207, section 2.4) and that it is one of the code flow. One that
// is refused uses the attempt up in this browser.
func (g *Gate) checkResponse(w http.ResponseWriter, up *upstream, a attempt, resp response) *LoginError {
	refused := checkShape(resp)
	if err := up.client.CheckResponseIssuer(resp.Iss, resp.hasIss); err != nil {
		refused = providerFailure(err, a.ReturnTo)
	}
	if refused != nil {
		refused.retry = a.ReturnTo
		g.clearCookie(w, a.cookie)
	}
	return refused
}

// signIn begins a session under a new id and ends the one before, whoever's it was: an id from before the
// login never carries an identity (session fixation). The browser may leave while this is under way, so it
// does not end with the request.
func (g *Gate) signIn(w http.ResponseWriter, r *http.Request, before *visit, login *Login, t *session.Tokens) *LoginError {
	if err := r.Context().Err(); err != nil {
		return &LoginError{Status: statusClientGone, Reason: Reason(event.ReasonResponseInvalid), Err: fmt.Errorf("the browser left: %w", err)}
	}
	ctx, cancel := session.Detached(r.Context())
	defer cancel()
	handle, err := g.beginSession(ctx, w, login.identity, t)
	if errors.Is(err, session.ErrTooLarge) {
		return &LoginError{Status: http.StatusBadGateway, Reason: ReasonSessionTooLarge, Err: err, Hint: "drop claims in OnLogin, ask the provider for fewer, or raise MaxSessionBytes"}
	}
	if errors.Is(err, session.ErrLoggedOut) {
		return &LoginError{Status: http.StatusForbidden, Reason: ReasonLogoutWon, Err: err}
	}
	if err != nil {
		return storeFailure(err)
	}
	id := login.identity
	g.events.emit(Event{Type: EventLoginSucceeded, Provider: id.ProviderName(), Issuer: id.Issuer(), SubjectHash: g.subjectHash(id.Issuer(), id.Subject()), SessionRef: g.sessionRef(handle)})
	if before.asked != "" {
		_ = g.keeper.End(ctx, before.asked) // best effort: the browser has lost its id, and it ends by itself
	}
	return nil
}

// statusClientGone is what some servers log where nobody reads the answer.
const statusClientGone = 499
