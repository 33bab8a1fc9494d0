package front

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/oidcgate/oidcgate/internal/attempt"
	"github.com/oidcgate/oidcgate/internal/browser"
	"github.com/oidcgate/oidcgate/internal/event"
	"github.com/oidcgate/oidcgate/internal/op"
	"github.com/oidcgate/oidcgate/internal/page"
	"github.com/oidcgate/oidcgate/internal/session"
)

// A signed-in user attaches a second identity by a login at its provider. The attempt carries the
// session that began it, and only that session finishes it. It stays the session of the first
// identity.

// LinkURL returns the address at which the session of that id attaches an identity of the named
// provider, or an error if there is no such provider. options may be nil.
func (f *Front) LinkURL(
	ctx context.Context, id session.ID, provider, returnTo string, options *op.LoginOptions,
) (string, error) {
	up := f.named(cmp.Or(provider, unnamed))
	if up == nil {
		return "", fmt.Errorf("oidcgate: no provider has the name %q", provider)
	}
	text, err := f.Attempts.SealLink(string(id), up.at())
	if err != nil {
		return "", err
	}
	query := url.Values{"link": {text}, "return_to": {f.returnTo(ctx, returnTo)}}
	if options != nil {
		f.addOptions(query, *options)
	}
	return f.loginAddress(query), nil
}

// beginLink begins the login of an identity that is attached to the visitor's session.
func (f *Front) beginLink(w http.ResponseWriter, r *http.Request, v *Visit) {
	b := begun{query: r.URL.Query()}
	returnTo := f.returnTo(r.Context(), b.query.Get("return_to"))
	if browser.IsCrossSite(r) { // as in beginLogin, where the application redirects to the address
		page.Redirect(w, f.Site.URL(returnTo))
		return
	}
	up, refused := f.providerOfLink(v, b.query.Get("link"))
	var own op.LoginOptions
	if refused == nil {
		own, refused = f.optionsFor(r, b)
	}
	var a attempt.Attempt
	if refused == nil {
		a, refused = newAttempt(up, b, own)
	}
	a.ReturnTo, a.Link = returnTo, string(f.handleOf(v))
	if refused == nil {
		refused = f.startLogin(w, r, up, a)
	}
	if refused != nil {
		f.noteLinking(r.Context(), refused, v, &a)
		f.fail(w, r, up, refused)
	}
}

// providerOfLink returns the provider of a link that is for the visitor's session. With a Failure
// it is one without a name.
func (f *Front) providerOfLink(v *Visit, link string) (*Provider, *Failure) {
	if v.LoadErr != nil {
		return &Provider{}, storeFailure(v.LoadErr)
	}
	at, ok := f.Attempts.OpenLink(string(v.ID()), link)
	if at == (attempt.At{}) {
		return &Provider{}, linkSession()
	}
	up := f.Providers.Find(at.Provider)
	if !ok || up == nil || up.at() != at { // another may have the name by now
		return &Provider{}, &Failure{
			Status: http.StatusForbidden, Reason: event.ReasonLinkExpired,
			Err: errors.New("the link is too old, or its provider is not there any more"),
		}
	}
	return up, nil
}

// noteLinking notes that the visitor v wanted a linking, not a login.
func (f *Front) noteLinking(ctx context.Context, refused *Failure, v *Visit, a *attempt.Attempt) {
	refused.linking, refused.signedIn = true, v.MayBeSignedIn()
	// The path is checked again: an attempt is input from the browser.
	refused.retry = f.returnTo(ctx, a.ReturnTo)
	h := cmp.Or(f.handleOf(v), session.Handle(a.Link))
	if h == "" && v.LoadErr != nil {
		h = f.Keeper.Handle(v.CookieID)
	}
	refused.sessionRef = f.refOf(h)
	if v.Session != nil {
		refused.linkedTo = v.Session.Identity.User()
	}
}

// SessionRef returns what stands for the visitor's session in events, or "".
func (f *Front) SessionRef(v *Visit) string { return f.refOf(f.handleOf(v)) }

func (f *Front) refOf(h session.Handle) string {
	if h == "" {
		return ""
	}
	return f.Keeper.SessionRef(h)
}

// handleOf returns what stands for the visitor's session in an attempt, whatever the keys, or "".
func (f *Front) handleOf(v *Visit) session.Handle {
	if v.Session == nil {
		return ""
	}
	return f.Keeper.Handle(v.ID())
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
	if refused := c.left(); refused != nil {
		return refused
	}
	ctx, cancel := session.Detached(c.r.Context())
	defer cancel()
	if err := f.Keeper.CheckLogouts(ctx, l); err != nil {
		return notBegun(err)
	}
	current, refused := c.linked(ctx)
	if refused != nil {
		return refused
	}
	first, second := current.Identity.User(), login.Identity.User()
	if first == second {
		return nil // there is nothing to attach
	}
	if refused := f.Link(c.r.Context(), current.Identity, login); refused != nil {
		return refused
	}
	f.Tell(ctx, event.Record{
		Type: event.AccountLinked, Provider: c.up.Name, Issuer: c.up.Issuer,
		SubjectHash: f.Keeper.UserRef(second), LinkedTo: f.Keeper.UserRef(first),
		SessionRef: f.SessionRef(c.visit),
	})
	return nil
}

// linked returns the session that began a linking, as it is now: it may have ended, or have other
// claims, since the callback began, because the provider was asked meanwhile.
func (c *callbackRequest) linked(ctx context.Context) (*session.Session, *Failure) {
	f := c.front
	now := f.Peek(c.w, c.r.WithContext(ctx))
	if now.LoadErr == nil {
		now.LoadErr = f.noteValues(ctx, now)
	}
	if now.LoadErr != nil {
		return nil, storeFailure(now.LoadErr)
	}
	c.visit = now
	if string(f.handleOf(now)) != c.attempt.Link {
		return nil, linkSession()
	}
	current, err := f.current(ctx, now.Session)
	switch {
	case errors.Is(err, session.ErrGone):
		now.Session = nil
		return nil, linkSession()
	case err != nil:
		return nil, storeFailure(err)
	}
	return current, nil
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
