package oidcgate

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"runtime/debug"
	"time"

	"github.com/oidcgate/oidcgate/internal/claims"
	"github.com/oidcgate/oidcgate/internal/provider"
	"github.com/oidcgate/oidcgate/store"
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
		return &LoginError{Status: http.StatusMethodNotAllowed, Reason: ReasonWrongResponseMode, Err: errors.New(r.Method + " in place of GET")}
	}
	st := g.load(w, r)
	ownHeaders(w)
	if st.err != nil {
		return g.storeFailure(st.err) // whose session this would replace is not known
	}
	response, refused := readResponse(r.URL.RawQuery)
	if refused != nil {
		return refused
	}
	if g.finished(st, response.State) {
		redirect(w, g.siteURL(g.config.DefaultPath)) // the back button, or a reload: this login is done
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
		if g.asksNow(w, r, up, a, response) {
			return nil
		}
		return refused
	}
	login, t, refused := g.redeem(w, r, up, a, response.Code)
	if refused == nil {
		refused = g.askApplication(r.Context(), login)
	}
	if refused == nil {
		refused = g.signIn(w, r, st, login, t)
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
func (g *Gate) redeem(w http.ResponseWriter, r *http.Request, up *upstream, a attempt, code string) (*Login, *tokens, *LoginError) {
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

// response holds the parameters of an authorization response.
type response struct {
	State, Code, Iss, Error string
	hasIss, hasError        bool
	odd                     bool // it holds what no code flow's response does
}

const (
	maxCode     = 4 << 10
	maxResponse = 16 << 10
)

// readResponse reads an authorization response from the query. A parameter that stands there twice is
// refused before anything is done with it: two readers would see two different responses (RFC 6749, section
// 3.1).
func readResponse(rawQuery string) (response, *LoginError) {
	if len(rawQuery) > maxResponse {
		return response{}, badResponse(ReasonResponseInvalid, "%d bytes long", len(rawQuery))
	}
	q, err := url.ParseQuery(rawQuery)
	if err != nil {
		return response{}, badResponse(ReasonResponseInvalid, "not a query")
	}
	for _, name := range []string{"state", "code", "iss", "error", "error_description", "error_uri", "response", "id_token", "access_token", "token_type", "session_state"} {
		if len(q[name]) > 1 {
			return response{}, badResponse(ReasonDuplicateParameter, "%s appears %d times", name, len(q[name]))
		}
	}
	if len(q.Get("code")) > maxCode {
		return response{}, badResponse(ReasonResponseInvalid, "a code of %d bytes", len(q.Get("code")))
	}
	return response{
		State:  q.Get("state"),
		Code:   q.Get("code"),
		Iss:    q.Get("iss"),
		Error:  q.Get("error"),
		hasIss: q.Has("iss"), hasError: q.Has("error"),
		odd: q.Has("response") || q.Has("id_token") || q.Has("access_token"),
	}, nil
}

func badResponse(reason Reason, format string, args ...any) *LoginError {
	return &LoginError{Status: http.StatusBadRequest, Reason: reason, Err: fmt.Errorf(format, args...)}
}

// attemptOf finds the attempt that the response answers, in the browser that began it. Everything else about
// the response, errors included, is believed only after that (RFC 9700, section 4.7).
func (g *Gate) attemptOf(r *http.Request, up *upstream, state string) (attempt, *LoginError) {
	if len(state) != tokenSize {
		return attempt{}, badResponse(ReasonUnknownState, "a state of %d bytes", len(state))
	}
	found := false
	for _, c := range r.CookiesNamed(g.attemptCookie(state)) {
		found = true
		a, ok := g.openAttempt(c)
		if !ok || subtle.ConstantTimeCompare([]byte(a.state()), []byte(state)) != 1 {
			continue
		}
		// A login begun at one provider does not end at another (mix-up, RFC 9700, section 4.4).
		if a.Provider != up.name {
			return attempt{}, badResponse(ReasonIssMismatch, "the login began at another provider")
		}
		if age := time.Since(a.Start); age >= g.config.AttemptTTL || age < -g.config.Leeway {
			return attempt{}, badResponse(ReasonStateExpired, "begun %v ago", age.Round(time.Second))
		}
		return a, nil
	}
	if found {
		return attempt{}, badResponse(ReasonStateBrowser, "the attempt's cookie does not belong to the state")
	}
	return attempt{}, badResponse(ReasonUnknownState, "no attempt with this state in this browser")
}

// claim takes the attempt for this request, once over all replicas and before the code is sent anywhere. Its
// value is an owner, so that a store's client that resends after a lost reply is not told "taken".
func (g *Gate) claim(ctx context.Context, a attempt) *LoginError {
	owner := []byte(rand.Text())
	ttl := g.config.AttemptTTL + 2*g.config.Leeway
	err := g.config.Store.Create(ctx, "a:"+a.reference(), owner, ttl)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, store.ErrExists):
		refused := badResponse(ReasonStateReplayed, "another request with this state came first")
		refused.retry = a.ReturnTo
		return refused
	}
	return g.storeFailure(err)
}

// reference names an attempt in the store and in the session it led to.
func (a *attempt) reference() string { return stateReference(a.state()) }

func stateReference(state string) string {
	sum := sha256.Sum256([]byte("oidcgate attempt\x00" + state))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// finished reports whether the session of this browser began with the attempt that has this state.
func (g *Gate) finished(st *state, state string) bool {
	return st.identity != nil && st.identity.attempt == stateReference(state)
}

// asksNow begins the login once more when the provider could not complete it without asking the user and was
// not allowed to (prompt=none; OpenID Connect Core, section 3.1.2.6). It does so once.
func (g *Gate) asksNow(w http.ResponseWriter, r *http.Request, up *upstream, a attempt, resp response) bool {
	switch resp.Error {
	case "login_required", "interaction_required", "consent_required", "account_selection_required":
	default:
		return false
	}
	if a.Asked || !up.silent || resp.Code != "" || resp.odd || up.client.CheckResponseIssuer(resp.Iss, resp.hasIss) != nil {
		return false
	}
	g.startLogin(w, r, up, attempt{ReturnTo: a.ReturnTo, Step: a.Step, Asked: true})
	return true
}

// authenticate turns a code into a person: tokens, ID Token, userinfo, in this order.
func (g *Gate) authenticate(ctx context.Context, up *upstream, a attempt, code string) (*Login, *tokens, *LoginError) {
	t, err := up.client.Exchange(ctx, code, a.verifier())
	if err != nil {
		return nil, nil, providerFailure(err, a.ReturnTo)
	}
	idToken, err := up.client.VerifyIDToken(ctx, t.IDToken, provider.Expectation{
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
	return login, newTokens(t, a.nonce()), nil
}

func (g *Gate) newIdentity(up *upstream, a attempt, idToken, userinfo claims.Object) *Identity {
	now := time.Now()
	return &Identity{
		expires:     now.Add(g.config.SessionLifetime),
		idleExpires: now.Add(g.config.IdleTimeout),
		provider:    up.name,
		idToken:     idToken,
		userinfo:    userinfo,
		attempt:     a.reference(),
		created:     now,
		checked:     now,
	}
}

// checkResponse checks whose response it is (RFC 9207, section 2.4) and that it is one of the code flow. One that
// is refused uses the attempt up in this browser.
func (g *Gate) checkResponse(w http.ResponseWriter, up *upstream, a attempt, resp response) *LoginError {
	refused := shapeOf(resp)
	if err := up.client.CheckResponseIssuer(resp.Iss, resp.hasIss); err != nil {
		refused = providerFailure(err, a.ReturnTo)
	}
	if refused != nil {
		refused.retry = a.ReturnTo
		g.clearCookie(w, a.cookie)
	}
	return refused
}

func shapeOf(resp response) *LoginError {
	switch {
	case resp.odd:
		return badResponse(ReasonResponseInvalid, "tokens or a response object beside the code")
	case resp.Code != "" && resp.hasError:
		return badResponse(ReasonResponseInvalid, "both a code and an error")
	case resp.Error != "":
		return providerSaid(resp.Error)
	case resp.Code == "":
		return badResponse(ReasonResponseInvalid, "neither a code nor an error")
	}
	return nil
}

// authorizationErrors are the registered error codes of RFC 6749, section 4.1.2.1 and OpenID Connect Core,
// section 3.1.2.6. Any other is "other": a stranger chooses no text of ours.
var authorizationErrors = map[string]int{
	"access_denied":              http.StatusForbidden,
	"login_required":             http.StatusForbidden,
	"interaction_required":       http.StatusForbidden,
	"consent_required":           http.StatusForbidden,
	"account_selection_required": http.StatusForbidden,
	"temporarily_unavailable":    http.StatusServiceUnavailable,
	"server_error":               http.StatusBadGateway,
	"invalid_request":            http.StatusBadGateway,
	"unauthorized_client":        http.StatusBadGateway,
	"unsupported_response_type":  http.StatusBadGateway,
	"invalid_scope":              http.StatusBadGateway,
}

func providerSaid(code string) *LoginError {
	status, registered := authorizationErrors[code]
	if !registered {
		code, status = "other", http.StatusBadGateway
	}
	return &LoginError{
		Status: status,
		Reason: ReasonProviderError + Reason(code),
		Hint:   "the provider refused the authorization request: check the redirect URI, the scopes and who may use this client there",
		Err:    &ProviderError{Code: code},
	}
}

// askApplication runs OnLogin. What it refuses has no session, and a panic of it is an error of this login
// and not the end of the process.
func (g *Gate) askApplication(ctx context.Context, login *Login) (refused *LoginError) {
	if g.config.OnLogin == nil {
		return nil
	}
	defer func() {
		if v := recover(); v != nil {
			g.config.Logger.Error("oidcgate: OnLogin panicked", "panic", v, "stack", string(debug.Stack()))
			refused = &LoginError{Status: http.StatusInternalServerError, Reason: ReasonHookError, Err: errors.New("OnLogin panicked")}
		}
	}()
	err := g.config.OnLogin(ctx, login)
	var denied *denial
	switch {
	case err == nil:
		return nil
	case errors.As(err, &denied):
		return &LoginError{Status: http.StatusForbidden, Reason: ReasonPolicyDenied, Err: err, text: denied.text}
	}
	return &LoginError{Status: http.StatusInternalServerError, Reason: ReasonHookError, Err: err}
}

// signIn begins a session under a new id and ends the one before, whoever's it was: an id from before the
// login never carries an identity (session fixation). The browser may leave while this is under way, so it
// does not end with the request.
func (g *Gate) signIn(w http.ResponseWriter, r *http.Request, before *state, login *Login, t *tokens) *LoginError {
	if err := r.Context().Err(); err != nil {
		return &LoginError{Status: statusClientGone, Reason: ReasonResponseInvalid, Err: fmt.Errorf("the browser left: %w", err)}
	}
	ctx, cancel := detached(r.Context())
	defer cancel()
	token, err := g.begin(ctx, w, login.identity, t)
	if errors.Is(err, errTooLarge) {
		return &LoginError{Status: http.StatusBadGateway, Reason: ReasonSessionTooLarge, Err: err, Hint: "drop claims in OnLogin, ask the provider for fewer, or raise MaxSessionBytes"}
	}
	if errors.Is(err, errLoggedOut) {
		return &LoginError{Status: http.StatusForbidden, Reason: ReasonLogoutWon, Err: err}
	}
	if err != nil {
		return g.storeFailure(err)
	}
	id := login.identity
	g.events.emit(Event{Type: EventLoginSucceeded, Provider: id.provider, Issuer: id.Issuer(), SubjectHash: g.subjectHash(id), SessionRef: g.sessionRef(token)})
	if before.cookie == "" {
		return nil
	}
	if err := g.endCookie(ctx, before.cookie); err != nil {
		g.events.storeIll(err) // the browser has lost its id, and it ends by itself
	}
	return nil
}

// statusClientGone is what some servers log where nobody reads the answer.
const statusClientGone = 499

// storeTimeout bounds writing to the store where no request does.
const storeTimeout = 3 * time.Second

// detached returns a context for writing to the store that the browser cannot end by leaving.
func detached(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
}

func (g *Gate) storeFailure(err error) *LoginError {
	g.events.storeIll(err)
	return &LoginError{Status: http.StatusServiceUnavailable, Reason: ReasonStoreError, Err: err}
}

// fail refuses a login: one event, one page, one reference for both. The page has only the gate's own words.
func (g *Gate) fail(w http.ResponseWriter, r *http.Request, up *upstream, e *LoginError) {
	e.Reference = newReference()
	g.events.emit(Event{
		Type: EventLoginFailed, Reason: e.Reason, Reference: e.Reference, Provider: up.name, Issuer: up.issuer,
		Status: e.Status, Err: e, Detail: errorText(e.Err), Hint: e.Hint,
	})
	if e.Status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", retryAfter)
	}
	if e.Status == http.StatusMethodNotAllowed {
		w.Header().Set("Allow", "GET")
	}
	title, text := failureText(e)
	g.showPage(w, r, Page{
		Status: e.Status, Title: title, Text: text, Reason: e.Reason, Reference: e.Reference,
		Links: []Link{{g.LoginURL(e.retry), "Log in again"}, {g.siteURL(g.config.DefaultPath), "Back to the site"}},
	})
}

// failureText says to the visitor what happened, in one sentence, and what to do, in another.
func failureText(e *LoginError) (title, text string) {
	switch {
	case e.text != "":
		return "No access", e.text
	case e.Reason == ReasonStateReplayed:
		return "Already used", "This login was finished before, perhaps in this very window. Go back to the site, or log in again."
	case e.Reason == ReasonStateExpired:
		return "That took too long", "The login was begun too long ago. Please log in again."
	case e.Reason == ReasonUnknownState || e.Reason == ReasonStateBrowser:
		return "Login not found", "This login was not begun in this browser, or it is over. Please log in again; your browser must accept cookies."
	case e.Reason == ReasonProviderError+"access_denied":
		return "Login cancelled", "The login was cancelled, or your account may not use this service."
	case e.Reason == ReasonStoreError:
		return "Please try again", "We cannot complete logins at the moment. Try again shortly."
	case e.Status == http.StatusServiceUnavailable || e.Status == http.StatusGatewayTimeout:
		return "Please try again", "The login service does not answer at the moment. Try again shortly."
	case e.Status == http.StatusBadGateway:
		return "Login failed", "The login service gave an answer that we cannot accept. If it happens again, tell us the reference."
	}
	return "Login failed", "The login could not be completed. Please log in again; if it happens again, tell us the reference."
}
