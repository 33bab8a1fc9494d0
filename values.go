package oidcgate

import (
	"bytes"
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"time"

	"github.com/alexedwards/scs/v2"

	"github.com/oidcgate/oidcgate/internal/claims"
	"github.com/oidcgate/oidcgate/internal/event"
	"github.com/oidcgate/oidcgate/internal/saver"
	"github.com/oidcgate/oidcgate/internal/session"
)

// Values returns the scs manager for the application's own values in the session of a signed-in
// visitor: Put, Get, PopString and the like, with the request's context. It panics unless
// Config.EnableValues is true.
//
// Values are saved before the first byte of the answer is sent. If the handler changes values after
// that, they are saved when it returns. Commit saves at once and returns an error if it fails. A
// handler that panics saves nothing. When two requests save at the same time, each saves only the
// keys that it changed. Types of the application's need [gob.Register]. A visitor who is not logged
// in has no values: values put then are dropped, with an event.
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
	for _, v := range []any{time.Time{}, map[string]any{}, []any{}} {
		gob.Register(v) // else gob refuses these types when the request is saved
	}
	m := scs.New()
	m.Lifetime = g.config.SessionLifetime
	m.Store = valuesStore{gate: g}
	m.Codec = valuesCodec{}
	return m
}

// savedValues is the state of the application's values during one request.
type savedValues struct {
	loaded  bool
	dropped bool           // there is no session to keep them in; the event was emitted
	base    claims.Object  // as the handler got them
	stored  session.Values // the record in the store when it was last read or written
}

// valuesCodec encodes each value on its own, with gob, so that the changes of two requests can be
// merged by key.
type valuesCodec struct{}

// Encode implements scs.Codec.
func (valuesCodec) Encode(_ time.Time, values map[string]any) ([]byte, error) {
	var o claims.Object
	for _, name := range slices.Sorted(maps.Keys(values)) {
		value := values[name]
		var b bytes.Buffer
		if err := gob.NewEncoder(&b).Encode(&value); err != nil {
			return nil, fmt.Errorf("oidcgate: value %q: %w; see gob.Register", name, err)
		}
		o = o.With(name, claims.Text(b.String()))
	}
	return []byte(o), nil
}

// Decode implements scs.Codec. A value of a type that this build does not know is left out here and
// stays in the store.
func (valuesCodec) Decode(b []byte) (time.Time, map[string]any, error) {
	values := make(map[string]any)
	for name, v := range claims.Object(b).All() {
		if value, ok := decodeValue(v); ok {
			values[name] = value
		}
	}
	return time.Now().Add(time.Hour), values, nil
}

func decodeValue(v claims.Value) (any, bool) {
	text, _ := v.Str()
	var value any
	err := gob.NewDecoder(bytes.NewReader([]byte(text))).Decode(&value)
	return value, err == nil
}

// changes applies to current the changes that lead from base to mine.
func changes(base, mine, current claims.Object) claims.Object {
	for name, v := range mine.All() {
		if old, ok := base.Get(name); !ok || !sameValue(old, v) {
			current = current.With(name, v)
		}
	}
	return current.Filter(func(name string) bool {
		_, was := base.Get(name)
		_, is := mine.Get(name)
		return is || !was
	})
}

// sameValue compares two encoded values. It decodes them, because gob writes the keys of equal maps
// in any order.
func sameValue(a, b claims.Value) bool {
	if a == b {
		return true
	}
	x, okX := decodeValue(a)
	y, okY := decodeValue(b)
	return okX && okY && reflect.DeepEqual(x, y)
}

// valuesStore is what scs stores the application's values in.
type valuesStore struct {
	withoutContext
	gate *Gate
}

var errNotThroughValues = errors.New(
	"oidcgate: sessions are ended and renewed by the gate, not through Values")

// FindCtx reads the values when the request begins. It refuses later calls: they come from scs's
// MergeSession, which could name any session.
func (s valuesStore) FindCtx(ctx context.Context, token string) ([]byte, bool, error) {
	v := visitFrom(ctx, s.gate)
	if v == nil || v.values.loaded || token != string(v.id) {
		return nil, false, errNotThroughValues
	}
	stored, err := s.gate.keeper.ReadValues(ctx, v.id)
	if err != nil {
		return nil, false, err
	}
	v.values.loaded, v.values.stored = true, stored
	v.values.base = stored.Current.Filter(func(name string) bool {
		value, _ := stored.Current.Get(name)
		_, ok := decodeValue(value)
		return ok
	})
	return []byte(stored.Current), true, nil // true even if there are none: else scs drops the id
}

// CommitCtx saves what the request changed. If another request has changed the record meanwhile, it
// is read again and the changes are applied to it. A session that has ended meanwhile gets no
// record.
func (s valuesStore) CommitCtx(ctx context.Context, _ string, b []byte, _ time.Time) error {
	v := visitFrom(ctx, s.gate)
	if v == nil || v.id == "" {
		return ErrNoSession
	}
	if len(b) > s.gate.config.Limits.SessionBytes {
		return errors.New("oidcgate: the values are larger than Limits.SessionBytes")
	}
	mine, values := claims.Object(b), &v.values
	merge := func(current claims.Object) claims.Object { return changes(values.base, mine, current) }
	err := s.gate.keeper.SaveValues(ctx, v.session(), &values.stored, merge)
	if err == nil {
		values.base = mine
	}
	return err
}

// DeleteCtx is called by scs's Destroy, RenewToken and MergeSession.
func (valuesStore) DeleteCtx(context.Context, string) error { return errNotThroughValues }

// loadValues returns the visit's context with the values in it. If they cannot be read, the session
// counts as unreadable too.
func (g *Gate) loadValues(v *visit) context.Context {
	ctx, err := g.values.Load(v, string(v.id))
	if err == nil {
		return ctx
	}
	v.err = err
	ctx, _ = g.values.Load(v, "") // without an id it cannot fail
	return ctx
}

// serveWithValues runs the application's handler with a ResponseWriter that saves the values before
// it sends the first byte.
func (g *Gate) serveWithValues(
	next http.Handler, w http.ResponseWriter, r *http.Request, v *visit,
) {
	ctx := g.loadValues(v)
	s := saver.New(w,
		func() error { return g.saveValues(ctx, v) },
		func(http.ResponseWriter) { g.unavailable(w, r) })
	next.ServeHTTP(s.Wrap(), r.WithContext(ctx))
	s.Finish()
}

// saveValues saves the values if they were changed, even if the browser has closed the connection.
func (g *Gate) saveValues(ctx context.Context, v *visit) error {
	if g.values.Status(ctx) != scs.Modified || v.values.dropped {
		return nil
	}
	if v.identity == nil && v.err == nil {
		v.values.dropped = true
		g.events.emit(Event{Type: EventValuesNotSaved, Reason: Reason(event.ReasonAnonymous),
			Detail: "values were put while nobody is signed in"})
		return nil
	}
	detached, cancel := session.Detached(ctx)
	defer cancel()
	_, _, err := g.values.Commit(detached)
	if err == nil {
		return nil
	}
	failed := Event{
		Type: EventValuesNotSaved, Reason: ReasonStoreError,
		SessionRef: g.sessionRef(g.keeper.Handle(v.id)), Detail: err.Error(),
	}
	if errors.Is(err, ErrNoSession) {
		v.values.dropped = true
		failed.Reason, failed.Detail, err = Reason(event.ReasonSessionEnded), "", nil
	}
	g.events.emit(failed)
	return err
}
