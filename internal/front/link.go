package front

import (
	"context"
	"errors"
	"net/http"
	"net/url"

	"github.com/oidcgate/oidcgate/internal/attempt"
	"github.com/oidcgate/oidcgate/internal/event"
	"github.com/oidcgate/oidcgate/internal/op"
	"github.com/oidcgate/oidcgate/internal/session"
)

// A signed-in user attaches a second identity by a login at its provider. The attempt carries the
// session that began it, and only that session finishes it. It stays the session of the first
// identity.

// LinkURL returns the address at which the session of that id attaches an identity of the named
// provider, or an error if there is no such provider.
func (f *Front) LinkURL(id session.ID, provider, returnTo string) (string, error) {
	up := f.Providers.Find(provider)
	if up == nil {
		return "", errors.New("oidcgate: no provider has the name " + provider)
	}
	text, err := f.Attempts.SealLink(string(id), up.at())
	if err != nil {
		return "", err
	}
	query := url.Values{"link": {text}, "return_to": {f.returnTo(returnTo)}}
	return f.loginAddress(query), nil
}

// beginLink begins the login of an identity that is attached to the visitor's session.
func (f *Front) beginLink(w http.ResponseWriter, r *http.Request, v *Visit) {
	query := r.URL.Query()
	at, ok := f.Attempts.OpenLink(string(v.ID()), query.Get("link"))
	up := f.Providers.Find(at.Provider)
	if !ok || up == nil || up.at() != at { // another may have the name by now
		refused := linkSession()
		refused.linking = v.Session != nil
		f.fail(w, r, &Provider{}, refused)
		return
	}
	b := begun{query: query}
	own, refused := f.optionsFor(r, b)
	var a attempt.Attempt
	if refused == nil {
		a, refused = newAttempt(up, b, own)
	}
	if refused == nil {
		a.ReturnTo, a.Link = f.returnTo(query.Get("return_to")), f.linkOf(v)
		refused = f.startLogin(w, r, up, a)
	}
	if refused != nil {
		refused.linking = true
		f.fail(w, r, up, refused)
	}
}

// linkOf returns what stands for the visitor's session in an attempt, or "".
func (f *Front) linkOf(v *Visit) string {
	if v.Session == nil {
		return ""
	}
	return f.Keeper.SessionRef(f.Keeper.Handle(v.ID()))
}

// link attaches the identity of a login to the session that began it. The tokens of the login are
// of no use.
func (c *callbackRequest) link(result *op.Result) *Failure {
	f, login := c.front, c.login(result)
	l := &session.Login{
		Session: session.Session{Identity: login.Identity},
		Tokens:  c.tokens(result),
		Start:   c.attempt.Start,
	}
	if c.visit.Session != nil {
		l.Before = *c.visit.Session
	}
	defer f.Keeper.Discard(c.r.Context(), l)
	if err := f.Keeper.CheckLogouts(c.r.Context(), l); err != nil {
		return notBegun(err)
	}
	// The session may have ended, or have other claims, since the callback began: the provider was
	// asked meanwhile.
	now := f.Peek(c.w, c.r)
	if now.LoadErr != nil {
		return storeFailure(now.LoadErr)
	}
	if f.linkOf(now) != c.attempt.Link {
		return linkSession()
	}
	current, err := f.current(c.r.Context(), now.Session)
	switch {
	case errors.Is(err, session.ErrGone):
		return linkSession()
	case err != nil:
		return storeFailure(err)
	}
	first, second := current.Identity, login.Identity
	if first.User() == second.User() {
		return nil // there is nothing to attach
	}
	if refused := f.Link(c.r.Context(), first, second); refused != nil {
		return refused
	}
	f.Tell(event.Record{
		Type: event.AccountLinked, Provider: c.up.Name, Issuer: c.up.Issuer,
		SubjectHash: f.Keeper.UserRef(second.User()), LinkedTo: f.Keeper.UserRef(first.User()),
		SessionRef: c.attempt.Link,
	})
	return nil
}

// current returns a session with claims that are read again if they are due, as guards do.
func (f *Front) current(ctx context.Context, s *session.Session) (*session.Session, error) {
	if !f.Keeper.Stale(s) {
		return s, nil
	}
	return f.Keeper.Reread(ctx, s)
}

func linkSession() *Failure {
	return &Failure{
		Status: http.StatusForbidden, Reason: event.ReasonLinkSession,
		Err: errors.New("the session that began the linking is not there"),
	}
}
