package oidcgate

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/oidcgate/oidcgate/internal/bearer"
	"github.com/oidcgate/oidcgate/internal/front"
	"github.com/oidcgate/oidcgate/internal/session"
	"github.com/oidcgate/oidcgate/internal/values"
)

// visit is what the gate knows about a request. It is also the request's context, so that both are
// one value. With nested gates, the inner gate's visit has the outer gate's as its parent.
type visit struct {
	context.Context
	gate     *Gate
	found    front.Visit // not embedded: encoding/json would show the session's claims
	identity *Identity   // nil: the visitor is not signed in
	values   values.State
	sent     *bearer.Token // that the identity is of; nil: of none
	wrapped  atomic.Bool   // the request has passed through Wrap
	given    bool          // by NewContext: the context may be that of many requests

	// What a re-read of the claims came to; see current.
	once    sync.Once
	renewed *Identity
	stale   error
}

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
// other kinds of login, such as a password: guards of g for sessions take id as authentic, and
// still apply their rules. Behind [Gate.Wrap] guards for access tokens do not; see
// [Gate.AdmitToken]. There is no session: Token, Client and Sessions return [ErrNoSession], and
// values last only for this context.
func (g *Gate) NewContext(ctx context.Context, id *Identity) context.Context {
	v := newVisit(ctx, g)
	v.identity, v.given = id, true
	var outer *values.State
	if around := visitFrom(ctx, g); around != nil {
		v.wrapped.Store(around.wrapped.Load())
		outer = &around.values
	} else if ctx.Value(wrappedKey{g}) != nil {
		v.wrapped.Store(true)
	}
	if g.values == nil {
		return v
	}
	return g.values.Own(v, outer)
}

// wrappedKey is the key of the mark of a request that passed through Wrap and got no visit.
type wrappedKey struct{ gate *Gate }

// withMark marks a request of Config.WithoutSession, if NewContext may need that: only guards for
// access tokens ask it.
func (g *Gate) withMark(r *http.Request) *http.Request {
	if len(g.config.API.Audience) == 0 {
		return r
	}
	return r.WithContext(context.WithValue(r.Context(), wrappedKey{g}, true))
}

// signedIn returns the visit of a request with a session. The error is ErrNoSession when there is
// none, or says why it could not be loaded.
func (g *Gate) signedIn(ctx context.Context) (*visit, error) {
	v := visitFrom(ctx, g)
	switch {
	case v == nil:
		return nil, ErrNoSession
	case v.found.LoadErr != nil:
		return nil, v.found.LoadErr
	case v.found.Session == nil:
		return nil, ErrNoSession
	}
	return v, nil
}

// admitted is signedIn for who may go on, as guards see it: whoever OnLogin refuses when claims are
// read again gets no tokens either, also while the store cannot end the session.
func (g *Gate) admitted(ctx context.Context) (*visit, error) {
	v, err := g.signedIn(ctx)
	if err != nil {
		return nil, err
	}
	id, err := v.current()
	if err == nil && id == nil {
		err = ErrNoSession
	}
	return v, err
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

// SessionRef returns what stands for the session of ctx in events (Event.SessionRef), for the
// application's own logs, or "" without a session. It is a keyed hash, as [Gate.SubjectHash] is:
// while a key is changed, replicas with another first key return another. Key no data by it.
func (g *Gate) SessionRef(ctx context.Context) string {
	if v := visitFrom(ctx, g); v != nil {
		return g.front.SessionRef(&v.found)
	}
	return ""
}

// load finds the session of a request, and notes that it is used.
func (g *Gate) load(w http.ResponseWriter, r *http.Request) *visit {
	v := newVisit(r.Context(), g)
	v.wrapped.Store(true)
	g.front.Load(v, w, r, &v.found)
	if v.found.Session != nil {
		v.identity = identityOf(v.found.Session, g.config.IdleTimeout)
	}
	return v
}

// path returns the path of the request as it came in.
func (v *visit) path(r *http.Request) string {
	for ; v != nil; v = visitFrom(v.Context, v.gate) { // NewContext knows no path
		if path := v.found.EscapedPath(); path != "" {
			return path
		}
	}
	return r.URL.EscapedPath()
}

// current returns the identity as guards and handlers may see it: with claims that are read again
// when they are due. It returns nil when the visitor is not signed in, or not any more. The error
// says why it is not known who is signed in, or whether the claims still hold. It may be called
// concurrently.
func (v *visit) current() (*Identity, error) {
	if v.found.LoadErr != nil { // of the session, or of the application's values in it
		return nil, v.found.LoadErr
	}
	if v.identity == nil || v.found.Session == nil {
		return v.identity, nil
	}
	v.once.Do(func() { // so the guard and the handler have one answer, however long they take
		if !v.gate.keeper.Stale(v.found.Session) {
			v.renewed = v.identity
			return
		}
		s, err := v.gate.keeper.Reread(withoutVisit(v), v.found.Session)
		if err == nil {
			v.renewed = identityOf(s, v.gate.config.IdleTimeout)
		} else if v.found.Gone = front.GoneBy(err); v.found.Gone == "" {
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
