package oidcgate

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/alexedwards/scs/v2"

	"github.com/oidcgate/oidcgate/internal/claims"
	"github.com/oidcgate/oidcgate/internal/event"
	"github.com/oidcgate/oidcgate/internal/saver"
	"github.com/oidcgate/oidcgate/internal/session"
	"github.com/oidcgate/oidcgate/internal/values"
	"github.com/oidcgate/oidcgate/internal/viascs"
)

// Values returns the scs manager for the application's own values in the session of a signed-in
// visitor: Put, Get, PopString and the like, with the request's context. It panics unless
// Config.EnableValues is true.
//
// Values are saved before the first byte of the answer is sent. If the handler changes values after
// that, they are saved when it returns. Commit saves at once and returns an error if it fails. A
// handler that panics saves nothing. When two requests save at the same time, each saves only the
// keys that it changed. Register your own types with [gob.Register]. A visitor who is not logged in
// has no values: values put then are dropped, with an event.
//
// Only the gate ends and renews sessions: Destroy, RenewToken and MergeSession return an error and
// change nothing. SetDeadline and the manager's fields have no effect.
func (g *Gate) Values() *scs.SessionManager {
	if g.values == nil {
		panic("oidcgate: Values needs Config.EnableValues to be true")
	}
	return g.values
}

// newValues returns the manager of the application's values. It uses scs.New, because the context
// of a request may also hold the values of an outer gate, and only scs.New gives each manager a
// context key of its own. scs.New also starts a goroutine for a memory store that is not used here.
// scs has no safe way to stop it; it wakes once a minute and does nothing.
func newValues(g *Gate) *scs.SessionManager {
	m := scs.New()
	m.Lifetime, m.Cookie = g.config.SessionLifetime, g.config.cookie()
	m.Store = valuesStore{gate: g}
	m.Codec = values.New()
	return m
}

// savedValues is the state of the application's values during one request.
type savedValues struct {
	loaded  bool
	dropped bool           // there is no session to keep them in; the event was emitted
	base    claims.Object  // as the handler got them
	stored  session.Values // the record in the store when it was last read or written
}

// valuesStore is what scs stores the application's values in.
type valuesStore struct {
	viascs.WithoutContext
	gate *Gate
}

var errNotThroughValues = errors.New(
	"oidcgate: sessions are ended and renewed by the gate, not through Values")

// FindCtx reads the values when the request begins. It refuses later calls: they come from scs's
// MergeSession, which could name any session.
func (s valuesStore) FindCtx(ctx context.Context, token string) ([]byte, bool, error) {
	v := visitFrom(ctx, s.gate)
	if v == nil || v.values.loaded || token != string(v.found.ID()) {
		return nil, false, errNotThroughValues
	}
	stored, err := s.gate.keeper.ReadValues(ctx, v.found.ID())
	if err != nil {
		return nil, false, err
	}
	v.values.loaded, v.values.stored = true, stored
	v.values.base = values.Known(stored.Current)
	return []byte(stored.Current), true, nil // true even if there are none: else scs drops the id
}

// CommitCtx saves what the request changed. If another request has changed the record meanwhile, it
// is read again and the changes are applied to it. A session that has ended meanwhile gets no
// record.
func (s valuesStore) CommitCtx(ctx context.Context, _ string, b []byte, _ time.Time) error {
	v := visitFrom(ctx, s.gate)
	if v == nil || v.found.Session == nil {
		return ErrNoSession
	}
	mine, saved := claims.Object(b), &v.values
	merge := func(current claims.Object) claims.Object {
		return values.Merge(saved.base, mine, current)
	}
	err := s.gate.keeper.SaveValues(ctx, v.found.Session, &saved.stored, merge)
	if err == nil {
		saved.base = mine
	}
	return err
}

// DeleteCtx is called by scs's Destroy, RenewToken and MergeSession.
func (valuesStore) DeleteCtx(context.Context, string) error { return errNotThroughValues }

// loadValues returns the visit's context with the values in it. If they cannot be read, the session
// counts as unreadable too.
func (g *Gate) loadValues(v *visit) context.Context {
	ctx, err := g.values.Load(v, string(v.found.ID()))
	if err == nil {
		return ctx
	}
	v.found.LoadErr = err
	ctx, _ = g.values.Load(v, "") // without an id it cannot fail
	return ctx
}

// ownValues returns the visit's context with values of its own, which are kept nowhere. The context
// of v may be that of a request with a session, whose values are not v's.
func (g *Gate) ownValues(v *visit) context.Context {
	hidden := &hiding{Context: v, hides: true}
	ctx, _ := g.values.Load(hidden, "") // without an id it cannot fail
	hidden.hides = false
	return ctx
}

// hiding is a context that hides its values from scs, which would take them for its own.
type hiding struct {
	context.Context
	hides bool
}

// Value implements [context.Context].
func (h *hiding) Value(key any) any {
	if h.hides {
		return nil
	}
	return h.Context.Value(key)
}

// Format keeps the values out of logs.
func (h *hiding) Format(s fmt.State, _ rune) { _, _ = fmt.Fprintf(s, "%v", h.Context) }

// serveWithValues runs the application's handler with a ResponseWriter that saves the values before
// it sends the first byte.
func (g *Gate) serveWithValues(
	next http.Handler, w http.ResponseWriter, r *http.Request, v *visit,
) {
	ctx := g.loadValues(v)
	s := saver.New(w,
		func() error { return g.saveValues(ctx, v) },
		func(http.ResponseWriter) { g.front.Unavailable(w, r) })
	next.ServeHTTP(s.Wrap(), r.WithContext(ctx))
	s.Finish()
}

// saveValues saves the values if they were changed, even if the browser has closed the connection.
func (g *Gate) saveValues(ctx context.Context, v *visit) (err error) {
	if g.values.Status(ctx) != scs.Modified || v.values.dropped {
		return nil
	}
	if v.identity == nil && v.found.LoadErr == nil {
		v.values.dropped = true
		g.events.Emit(event.Record{Type: event.ValuesNotSaved, Reason: event.ReasonAnonymous,
			Detail: "values were put while nobody is signed in"})
		return nil
	}
	detached, cancel := session.Detached(ctx)
	defer cancel()
	if _, _, err = g.values.Commit(detached); err == nil {
		return nil
	}
	failed := event.Record{
		Type: event.ValuesNotSaved, Reason: event.ReasonStoreError,
		SessionRef: g.keeper.SessionRef(g.keeper.Handle(v.found.ID())), Detail: err.Error(),
	}
	if errors.Is(err, ErrNoSession) {
		v.values.dropped = true
		failed.Reason, failed.Detail = event.ReasonSessionEnded, ""
		err = nil // the answer is sent without its values
	}
	g.events.Emit(failed)
	return err
}
