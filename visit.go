package oidcgate

import (
	"context"
	"net/http"
	"net/url"
	"time"
)

// state is what the gate knows of a request. It is the request's context, so that one value serves both; a
// state inside another gate's finds the other through its parent.
type state struct {
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

type stateKey struct{}

// Value implements [context.Context].
func (st *state) Value(key any) any {
	if key == (stateKey{}) {
		return st
	}
	return st.Context.Value(key)
}

// stateFrom returns the state that g gave the request, or nil. Another gate's is not taken for it: a guard
// believes its own gate only.
func stateFrom(ctx context.Context, g *Gate) *state {
	for {
		st, _ := ctx.Value(stateKey{}).(*state)
		if st == nil || st.gate == g {
			return st
		}
		ctx = st.Context
	}
}

func newState(ctx context.Context, g *Gate) *state { return &state{Context: ctx, gate: g} }

// handle names the records of the request's session.
func (st *state) handle() string { return st.gate.handle(st.token) }

// returnTo is the page that was asked for, as the browser has it.
func (st *state) returnTo() string {
	u := url.URL{Path: st.path, RawPath: st.rawPath}
	if st.rawQuery == "" {
		return u.EscapedPath()
	}
	return u.EscapedPath() + "?" + st.rawQuery
}

// FromContext returns the identity of the visitor, and false when nobody is signed in. With nested gates it
// is the innermost one's. Behind gin, pass c.Request.Context().
func FromContext(ctx context.Context) (*Identity, bool) {
	st, _ := ctx.Value(stateKey{}).(*state)
	if st == nil || st.identity == nil {
		return nil, false
	}
	return st.identity, true
}

// load finds the session of a request. Whatever the cookie is, the answer is a state: signed in, anonymous,
// or the store's trouble, in which case the cookie is left alone, because a store that hiccups has logged
// nobody out.
func (g *Gate) load(w http.ResponseWriter, r *http.Request) *state {
	st := newState(r.Context(), g)
	st.path, st.rawPath, st.rawQuery = r.URL.Path, r.URL.RawPath, r.URL.RawQuery
	header := w.Header()
	header.Add("Vary", "Cookie")
	token, ok := g.sessionCookie(w, r)
	if !ok {
		return st
	}
	st.cookie = token
	if _, err := g.sessions.Load(st, token); err != nil {
		st.err = g.ill(err)
		return st
	}
	if st.identity == nil || !g.knows(st.identity) {
		st.identity = nil
		g.forget(w, r)
		return st
	}
	st.token = token
	g.setTimes(st.identity, st.times)
	header.Set("Cache-Control", "private, no-cache")
	return st
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
func (g *Gate) signedIn(ctx context.Context) (*state, error) {
	st := stateFrom(ctx, g)
	switch {
	case st == nil:
		return nil, ErrNoSession
	case st.err != nil:
		return nil, st.err
	case st.token == "":
		return nil, ErrNoSession
	}
	return st, nil
}

// Err returns why the session of a request could not be loaded, or nil: an error that wraps [ErrUnavailable]
// when the store cannot answer. A page that is not guarded may tell from it that the visitor is perhaps
// signed in.
func (g *Gate) Err(ctx context.Context) error {
	if st := stateFrom(ctx, g); st != nil {
		return st.err
	}
	return nil
}

// NewContext returns a context in which id is signed in at g: for tests of handlers, and for other ways of
// logging in, such as a bearer token that the application has checked. Guards of g believe it.
func (g *Gate) NewContext(ctx context.Context, id *Identity) context.Context {
	st := newState(ctx, g)
	st.identity = id
	if g.values == nil {
		return st
	}
	return g.loadValues(st)
}
