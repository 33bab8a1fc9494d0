package oidcgate

import (
	"context"
	"net/http"
	"net/url"
	"time"
)

// visit is what the gate knows of a request. It is the request's context, so that one value serves both; a
// state inside another gate's finds the other through its parent.
type visit struct {
	context.Context
	gate     *Gate
	cookie   string    // the session id the request brought, whether a session goes with it or not
	token    string    // the same, when a session goes with it
	identity *Identity // nil: nobody is signed in
	times    times
	err      error // the store could not answer
	saved    savedValues

	path, rawPath, rawQuery string // as Wrap saw them: StripPrefix and Mount change what the guard sees
}

type visitKey struct{}

// Value implements [context.Context].
func (v *visit) Value(key any) any {
	if key == (visitKey{}) {
		return v
	}
	return v.Context.Value(key)
}

// visitFrom returns the state that g gave the request, or nil. Another gate's is not taken for it: a guard
// believes its own gate only.
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

// handle names the records of the request's session.
func (v *visit) handle() string { return v.gate.handle(v.token) }

// returnTo is the page that was asked for, as the browser has it.
func (v *visit) returnTo() string {
	u := url.URL{Path: v.path, RawPath: v.rawPath}
	if v.rawQuery == "" {
		return u.EscapedPath()
	}
	return u.EscapedPath() + "?" + v.rawQuery
}

// FromContext returns the identity of the visitor, and false when nobody is signed in. With nested gates it
// is the innermost one's. Behind gin, pass c.Request.Context().
func FromContext(ctx context.Context) (*Identity, bool) {
	v, _ := ctx.Value(visitKey{}).(*visit)
	if v == nil || v.identity == nil {
		return nil, false
	}
	return v.identity, true
}

// load finds the session of a request. Whatever the cookie is, the answer is a state: signed in, anonymous,
// or the store's trouble, in which case the cookie is left alone, because a store that hiccups has logged
// nobody out.
func (g *Gate) load(w http.ResponseWriter, r *http.Request) *visit {
	v := newVisit(r.Context(), g)
	v.path, v.rawPath, v.rawQuery = r.URL.Path, r.URL.RawPath, r.URL.RawQuery
	header := w.Header()
	header.Add("Vary", "Cookie")
	token, ok := g.sessionCookie(w, r)
	if !ok {
		return v
	}
	v.cookie = token
	if _, err := g.sessions.Load(v, token); err != nil {
		v.err = g.storeError(err)
		return v
	}
	if v.identity == nil || !g.knows(v.identity) {
		v.identity = nil
		g.forget(w, r)
		return v
	}
	v.token = token
	g.setTimes(v.identity, v.times)
	header.Set("Cache-Control", "private, no-cache")
	return v
}

// knows reports whether an identity comes from a provider of this gate: one that was taken out of the
// configuration, or replaced by another, lets nobody in any more.
func (g *Gate) knows(id *Identity) bool {
	up := g.provider(id.provider)
	return up != nil && up.issuer == id.Issuer()
}

func (g *Gate) setTimes(id *Identity, t times) {
	id.seen = t.seen
	id.expires = time.UnixMilli(t.deadline)
	id.idleExpires = time.UnixMilli(t.ends(g.config.IdleTimeout))
}

// signedIn returns the state of a request with a session; ErrNoSession when there is none, or why it could
// not be loaded.
func (g *Gate) signedIn(ctx context.Context) (*visit, error) {
	v := visitFrom(ctx, g)
	switch {
	case v == nil:
		return nil, ErrNoSession
	case v.err != nil:
		return nil, v.err
	case v.token == "":
		return nil, ErrNoSession
	}
	return v, nil
}

// Err returns why the session of a request could not be loaded, or nil: an error that wraps [ErrUnavailable]
// when the store cannot answer. A page that is not guarded may tell from it that the visitor is perhaps
// signed in.
func (g *Gate) Err(ctx context.Context) error {
	if v := visitFrom(ctx, g); v != nil {
		return v.err
	}
	return nil
}

// NewContext returns a context in which id is signed in at g: for tests of handlers, and for other ways of
// logging in, such as a bearer token that the application has checked. Guards of g believe it.
func (g *Gate) NewContext(ctx context.Context, id *Identity) context.Context {
	v := newVisit(ctx, g)
	v.identity = id
	if g.values == nil {
		return v
	}
	return g.loadValues(v)
}
