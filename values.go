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

// Values returns the scs manager for the application's own values in the session of a signed-in visitor:
// Put, Get, PopString and the like, with the request's context. It panics unless Config.EnableValues is true.
//
// Values are saved before the first byte of the answer, and once more when the handler returns if it changed
// some after that; Commit saves at once and tells whether it worked. A handler that panics saves nothing.
// Where two requests save at the same time, the keys that each changed count. A value of a type of the
// application's needs [gob.Register]. A visitor who is not logged in has no values: what is put there is
// dropped, with an event.
//
// Ending and renewing a session is the gate's: Destroy, RenewToken and MergeSession return an error, and
// nothing is changed. SetDeadline and the manager's fields have no effect.
func (g *Gate) Values() *scs.SessionManager {
	if g.values == nil {
		panic("oidcgate: Values needs Config.EnableValues to be true")
	}
	return g.values
}

// newValues returns the manager of the application's values. It is made by scs.New, because the
// application calls it with contexts in which the data of an outer gate may stand too: only scs.New
// gives a manager a key of its own. scs.New also starts a goroutine, for a memory store that is not
// used here. scs has no safe way to stop it; it wakes once a minute and does nothing.
func newValues(g *Gate) *scs.SessionManager {
	for _, v := range []any{time.Time{}, map[string]any{}, []any{}} {
		gob.Register(v) // scs takes them and gob refuses them, at the end of the request
	}
	m := scs.New()
	m.Lifetime = g.config.SessionLifetime
	m.Store = valuesStore{gate: g}
	m.Codec = valuesCodec{}
	return m
}

// savedValues is what a request knows of the application's values.
type savedValues struct {
	loaded  bool
	dropped bool           // there is no session to keep them in; the event was told
	base    claims.Object  // as the handler got them
	stored  session.Values // as they lie in the store, as far as known
}

// valuesCodec frames each value by itself, in gob, so that two requests' changes can be told apart by key.
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

// Decode implements scs.Codec. A value whose type this build does not know is left out, and left in the
// store.
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

// changes applies to current what was changed between base and mine.
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

// sameValue compares two framed values. gob writes equal maps in any order.
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

// FindCtx reads the values when the request begins. Later calls are scs's MergeSession, which takes
// a session id from anywhere.
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
	return []byte(stored.Current), true, nil // found, even if there are none: scs would drop the id
}

// CommitCtx saves what the request changed. A record that another request has changed meanwhile is
// read again, and the changes go on top. A session that was ended meanwhile gets no record.
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

// DeleteCtx is scs's Destroy, RenewToken and MergeSession.
func (valuesStore) DeleteCtx(context.Context, string) error { return errNotThroughValues }

// loadValues gives the request's context its values. Where they cannot be read, the session cannot either.
func (g *Gate) loadValues(v *visit) context.Context {
	ctx, err := g.values.Load(v, string(v.id))
	if err == nil {
		return ctx
	}
	v.err = err
	ctx, _ = g.values.Load(v, "") // without an id it cannot fail
	return ctx
}

// serveWithValues runs the application's handler behind a ResponseWriter that saves values in time.
func (g *Gate) serveWithValues(next http.Handler, w http.ResponseWriter, r *http.Request, v *visit) {
	ctx := g.loadValues(v)
	s := saver.New(w,
		func() error { return g.saveValues(ctx, v) },
		func(http.ResponseWriter) { g.unavailable(w, r) })
	next.ServeHTTP(s.Wrap(), r.WithContext(ctx))
	s.Finish()
}

// saveValues saves the values if they were changed. The browser may have left: what the handler put is saved
// all the same.
func (g *Gate) saveValues(ctx context.Context, v *visit) error {
	if g.values.Status(ctx) != scs.Modified || v.values.dropped {
		return nil
	}
	if v.identity == nil && v.err == nil {
		v.values.dropped = true
		g.events.emit(Event{Type: EventValuesNotSaved, Reason: Reason(event.ReasonAnonymous), Detail: "values were put while nobody is signed in"})
		return nil
	}
	ctx, cancel := session.Detached(ctx)
	defer cancel()
	_, _, err := g.values.Commit(ctx)
	if errors.Is(err, ErrNoSession) {
		v.values.dropped = true
		g.events.emit(Event{Type: EventValuesNotSaved, Reason: Reason(event.ReasonSessionEnded), SessionRef: g.sessionRef(g.keeper.Handle(v.id))})
		return nil
	}
	if err != nil {
		g.events.emit(Event{Type: EventValuesNotSaved, Reason: ReasonStoreError, SessionRef: g.sessionRef(g.keeper.Handle(v.id)), Detail: err.Error()})
	}
	return err
}
