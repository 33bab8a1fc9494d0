package front

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/oidcgate/oidcgate/internal/browser"
	"github.com/oidcgate/oidcgate/internal/event"
	"github.com/oidcgate/oidcgate/internal/op"
	"github.com/oidcgate/oidcgate/internal/session"
)

// Login is a login that passed every check, as the application decides about it.
type Login struct {
	Identity session.Identity
	ReturnTo string // where the browser goes
	Details  string // that the provider granted with the access token (RFC 9396), or ""
	Request  *http.Request
}

// login returns what the application is asked about.
func (c *callbackRequest) login(result *op.Result) Login {
	now, a := time.Now().Truncate(time.Millisecond), &c.attempt // as the store keeps it
	l := Login{
		Identity: session.Identity{
			Provider: c.up.Name, Attempt: a.Reference(), Created: now, Checked: now,
			IDToken: result.IDToken, Userinfo: result.Userinfo, Untaken: result.Untaken,
		},
		ReturnTo: a.ReturnTo, Details: result.Tokens.AuthorizationDetails,
		Request: browser.WithoutQuery(c.r),
	}
	if !a.IsFor(l.Identity.Issuer(), l.Identity.Subject()) {
		l.ReturnTo = c.front.Site.DefaultPath // a step-up that another user answered
	}
	return l
}

// begin has the application decide about a login, and begins its session. It returns where the
// browser goes. Of a login that is refused the refresh token is revoked.
func (c *callbackRequest) begin(result *op.Result) (returnTo string, refused *Failure) {
	a, f := &c.attempt, c.front
	if a.Link != "" {
		return a.ReturnTo, c.link(result)
	}
	login := c.login(result)
	l := &session.Login{
		Session: session.Session{Identity: login.Identity},
		Tokens:  c.tokens(result),
		Start:   a.Start,
		Before:  session.Session{ID: c.visit.CookieID},
	}
	if c.visit.Session != nil {
		l.Before = *c.visit.Session
	}
	decided, refused := f.Decide(c.r.Context(), login)
	if refused == nil {
		l.Identity = decided
		refused = c.signIn(l)
	}
	if refused != nil {
		f.Keeper.Discard(c.r.Context(), l)
	}
	return login.ReturnTo, refused
}

// tokens returns what the session keeps of the provider's answers.
func (c *callbackRequest) tokens(result *op.Result) *session.Tokens {
	tokens := (*session.ProviderTokens)(result.Tokens)
	return session.NewTokens(tokens, c.attempt.Nonce(), result.Userinfo)
}

// signIn begins a session under a new id and ends the previous one, whose ever it is: a session id
// from before the login must not survive it (session fixation). The browser may leave while this is
// under way, so it does not end with the request.
func (c *callbackRequest) signIn(l *session.Login) *Failure {
	f := c.front
	if refused := c.left(); refused != nil {
		return refused
	}
	ctx, cancel := session.Detached(c.r.Context())
	defer cancel()
	if err := f.beginSession(ctx, c.w, l); err != nil {
		return notBegun(err)
	}
	id := &l.Identity
	f.Tell(ctx, event.Record{
		Type: event.LoginSucceeded, Provider: id.Provider, Issuer: id.Issuer(),
		SubjectHash: f.Keeper.UserRef(id.User()),
		SessionRef:  f.Keeper.SessionRef(f.Keeper.Handle(l.ID)),
	})
	f.clearOlder(c.w, c.r)
	f.keepChoice(c.w, c.r, c.up)
	f.Attempts.LoggedIn(c.w, c.r, func() []string { return f.Keeper.LogoutMarks(l) })
	return nil
}

// left returns the failure of a browser that has left, or nil.
func (c *callbackRequest) left() *Failure {
	err := c.r.Context().Err()
	if err == nil {
		return nil
	}
	return &Failure{
		Status: statusClientGone, Reason: event.ReasonResponseInvalid,
		Err: fmt.Errorf("the browser left: %w", err),
	}
}

// beginSession saves a new session and writes its cookie.
func (f *Front) beginSession(ctx context.Context, w http.ResponseWriter, l *session.Login) error {
	latest := l.Identity.SessionExpiry()
	if f.EndWithAccessToken && l.Tokens.AccessToken != "" && l.Tokens.RefreshToken == "" {
		if end := f.Keeper.Expires(l.Tokens); latest.IsZero() || end.Before(latest) {
			latest = end
		}
	}
	return f.Sessions.Begin(ctx, w, l, latest)
}

// notBegun is the failure of a login whose session could not be saved.
func notBegun(err error) *Failure {
	switch {
	case errors.Is(err, session.ErrTooLarge):
		return &Failure{
			Status: http.StatusBadGateway, Reason: event.ReasonSessionTooLarge, Err: err,
			Hint: "drop claims in OnLogin, ask the provider for fewer, or raise Limits.SessionBytes",
		}
	case errors.Is(err, session.ErrLoggedOut):
		return &Failure{Status: http.StatusForbidden, Reason: event.ReasonLogoutWon, Err: err}
	case errors.Is(err, session.ErrTooLate):
		return badRequest(event.ReasonStateExpired, err)
	}
	return storeFailure(err)
}

// statusClientGone is what some servers log where nobody reads the answer.
const statusClientGone = 499
