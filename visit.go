package oidcgate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/oidcgate/oidcgate/internal/attempt"
	"github.com/oidcgate/oidcgate/internal/browser"
	"github.com/oidcgate/oidcgate/internal/session"
)

// visit is what the gate knows about a request. It is also the request's context, so that both are
// one value. With nested gates, the inner gate's visit has the outer gate's as its parent.
type visit struct {
	context.Context
	gate     *Gate
	cookieID session.ID       // the session id in the request's cookie
	session  *session.Session // nil: there is none
	identity *Identity        // nil: the visitor is not signed in
	err      error            // why the session could not be loaded
	values   savedValues

	// What a re-read of the claims came to; see current.
	once    sync.Once
	renewed *Identity
	stale   error

	gone attempt.Gone // why the request's session cookie opens no session; "" if it does, or is none

	// The URL as Wrap saw it. StripPrefix and Mount change the URL that the guard sees.
	path, rawPath, rawQuery string
}

// mayBeSignedIn reports whether the visitor is signed in, or the store could not say.
func (v *visit) mayBeSignedIn() bool { return v.identity != nil || v.err != nil }

type visitKey struct{}

// Value implements [context.Context].
func (v *visit) Value(key any) any {
	if key == (visitKey{}) {
		return v
	}
	return v.Context.Value(key)
}

// String says where the context comes from, as those of package context do. It shows neither the
// session id nor whose session it is.
func (v *visit) String() string { return fmt.Sprint(v.Context) + ".WithVisit" }

// Format keeps %+v and %#v from printing the fields.
func (v *visit) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, v.String()) }

// LogValue implements [slog.LogValuer].
func (v *visit) LogValue() slog.Value { return slog.StringValue(v.String()) }

// visitFrom returns the visit that g gave the request, or nil: a guard trusts its own gate only.
func visitFrom(ctx context.Context, g *Gate) *visit {
	for {
		v, _ := ctx.Value(visitKey{}).(*visit)
		if v == nil || v.gate == g {
			return v
		}
		ctx = v.Context
	}
}

func newVisit(ctx context.Context, g *Gate) *visit { return &visit{Context: ctx, gate: g} }

// signIn records that the request has a session.
func (v *visit) signIn(s *session.Session) {
	v.session, v.identity = s, identityOf(s, v.gate.config.IdleTimeout)
}

// id returns the id of the request's session, or "".
func (v *visit) id() session.ID {
	if v.session == nil {
		return ""
	}
	return v.session.ID
}

// returnTo returns the path and query of the requested page as the browser sent them.
func (v *visit) returnTo() string {
	if v.rawQuery == "" {
		return v.escapedPath()
	}
	return v.escapedPath() + "?" + v.rawQuery
}

func (v *visit) escapedPath() string {
	u := url.URL{Path: v.path, RawPath: v.rawPath}
	return u.EscapedPath()
}

// withoutVisit returns ctx without the request's session, for what is done about that session.
// OnLogin, or a log handler that a store calls, would otherwise wait for itself when it asks who is
// signed in.
func withoutVisit(ctx context.Context) context.Context {
	return context.WithValue(ctx, visitKey{}, (*visit)(nil))
}

// FromContext returns the identity of the visitor, and false when the visitor is not signed in.
// With nested gates it is the innermost gate's. Behind gin, pass c.Request.Context(). Claims that
// are older than [TokenOptions.ClaimsMaxAge] are read again first, for which it waits up to two
// seconds, once in a request.
func FromContext(ctx context.Context) (*Identity, bool) {
	v, _ := ctx.Value(visitKey{}).(*visit)
	if v == nil {
		return nil, false
	}
	id, _ := v.current()
	return id, id != nil
}

// NewContext returns a context in which id is signed in at g. It is for tests of handlers, and for
// other kinds of login, such as a bearer token that you have checked: guards of g take id as
// authentic, and still apply their rules. There is no session: Token, Client and Sessions return
// [ErrNoSession], and values last only for this context.
func (g *Gate) NewContext(ctx context.Context, id *Identity) context.Context {
	v := newVisit(ctx, g)
	v.identity = id
	if g.values == nil {
		return v
	}
	return g.ownValues(v)
}

// signedIn returns the visit of a request with a session. The error is ErrNoSession when there is
// none, or says why it could not be loaded.
func (g *Gate) signedIn(ctx context.Context) (*visit, error) {
	v := visitFrom(ctx, g)
	switch {
	case v == nil:
		return nil, ErrNoSession
	case v.err != nil:
		return nil, v.err
	case v.session == nil:
		return nil, ErrNoSession
	}
	return v, nil
}

// SessionErr returns why the session of a request could not be loaded, or its claims could not be
// read again, or nil. It wraps [ErrStoreUnavailable] when the store cannot answer; the visitor may
// then be signed in.
func (g *Gate) SessionErr(ctx context.Context) error {
	if v := visitFrom(ctx, g); v != nil {
		_, err := v.current()
		return err
	}
	return nil
}

// load finds the session of a request, and notes that it is used.
func (g *Gate) load(w http.ResponseWriter, r *http.Request) *visit {
	return g.find(w, r, g.sessions.Load)
}

// peek is load for the gate's own routes, which are no use of the session.
func (g *Gate) peek(w http.ResponseWriter, r *http.Request) *visit {
	return g.find(w, r, g.sessions.Peek)
}

// find finds the session of a request. When the store cannot answer, it sets the visit's err and
// keeps the cookie: a short failure of the store must not log anybody out.
func (g *Gate) find(
	w http.ResponseWriter, r *http.Request,
	load func(context.Context, session.ID) (*session.Session, error),
) *visit {
	v := newVisit(r.Context(), g)
	v.path, v.rawPath, v.rawQuery = r.URL.Path, r.URL.RawPath, r.URL.RawQuery
	header := w.Header()
	header.Add("Vary", "Cookie")
	if v.cookieID, v.gone = g.sessionCookie(r); v.cookieID == "" {
		return v
	}
	s, err := load(v, v.cookieID)
	switch {
	case errors.Is(err, session.ErrForeign):
		v.gone = attempt.GoneKey
		return v
	case errors.Is(err, session.ErrGone), err == nil && !g.knows(&s.Identity):
		v.gone = attempt.GoneSession
		return v
	case err != nil:
		v.err = err
		return v
	}
	v.signIn(s)
	header.Set("Cache-Control", "private, no-cache")
	return v
}

// forget deletes a cookie that opens no session. The gate calls it for its own answers only, which
// no cache keeps: a shared cache that kept an answer of the application would sign out everybody
// who loads it. And it deletes only where the visitor navigates to a page. The answer to any other
// request may arrive late, after a new login in another tab, and would delete the new cookie. So
// may the answer to a repeated callback whose first answer brings the new session. A session that
// only this replica cannot read is not gone.
func (g *Gate) forget(w http.ResponseWriter, r *http.Request, v *visit) {
	if v.gone != "" && v.gone != attempt.GoneKey && browser.IsNavigation(r) {
		g.clearSession(w, r)
	}
}

// knows reports whether an identity comes from a provider of this gate, for its client. Sessions of
// a provider or client that was removed from the configuration, or replaced, are not accepted.
func (g *Gate) knows(id *session.Identity) bool {
	up := g.provider(id.Provider)
	return up != nil && up.issuer == id.Issuer() && id.HasAudience(up.clientID)
}

// upstreamOf returns the provider of a session, or nil: an identity of NewContext has no session.
func (g *Gate) upstreamOf(v *visit) *upstream {
	if v.session == nil {
		return nil
	}
	return g.provider(v.session.Identity.Provider)
}

// current returns the identity as guards and handlers may see it: with claims that are read again
// when they are due. It returns nil when the visitor is not signed in, or not any more. The error
// says why it is not known who is signed in, or whether the claims still hold. It may be called
// concurrently.
func (v *visit) current() (*Identity, error) {
	if v.identity == nil || v.session == nil {
		return v.identity, v.err
	}
	v.once.Do(func() { // so the guard and the handler have one answer, however long they take
		if !v.gate.keeper.Stale(v.identity.record()) {
			v.renewed = v.identity
			return
		}
		s, err := v.gate.keeper.Reread(withoutVisit(v), v.session)
		switch {
		case err == nil:
			v.renewed = identityOf(s, v.gate.config.IdleTimeout)
		case errors.Is(err, session.ErrGone):
			v.gone = attempt.GoneSession
		default:
			v.stale = err
		}
	})
	return v.renewed, v.stale
}

// identityOf returns what handlers see of a session.
func identityOf(s *session.Session, idle time.Duration) *Identity {
	return &Identity{
		rec:         &s.Identity,
		expires:     time.UnixMilli(s.Times.Deadline),
		idleExpires: time.UnixMilli(s.Times.Ends(idle)),
	}
}
