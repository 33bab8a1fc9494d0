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
	"github.com/oidcgate/oidcgate/store"
)

// Values returns the scs manager for the application's own values in the session of a signed-in visitor:
// Put, Get, PopString and the like, with the request's context. It panics unless Config.Values is true.
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
		panic("oidcgate: Values needs Config.Values to be true")
	}
	return g.values
}

func newValues(g *Gate) (*scs.SessionManager, error) {
	for _, v := range []any{time.Time{}, map[string]any{}, []any{}} {
		gob.Register(v) // scs takes them and gob refuses them, at the end of the request
	}
	m, err := newSessions(g)
	if err != nil {
		return nil, err
	}
	m.Store = valuesStore{g: g}
	m.Codec = valuesCodec{}
	return m, nil
}

// savedValues is what a request knows of the application's record.
type savedValues struct {
	loaded  bool
	dropped bool          // there is no session to keep them in; the event was told
	base    claims.Object // the values as the handler got them
	current claims.Object // the values as they are in the store, as far as known
	sealed  []byte        // the record they came in; nil: there is none
	foreign bool          // there is one that only another replica can read, and is not ours to replace
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
	g *Gate
}

var errNotThroughValues = errors.New("oidcgate: sessions are ended and renewed by the gate, not through Values")

// FindCtx reads the values when the request begins. Later calls are scs's MergeSession, which takes a session
// id from anywhere.
func (s valuesStore) FindCtx(ctx context.Context, token string) ([]byte, bool, error) {
	v := visitFrom(ctx, s.g)
	if v == nil || v.saved.loaded || token != v.token {
		return nil, false, errNotThroughValues
	}
	if err := s.read(ctx, v, token); err != nil {
		return nil, false, err
	}
	v.saved.loaded = true
	v.saved.base = v.saved.current.Filter(func(name string) bool {
		v, _ := v.saved.current.Get(name)
		_, ok := decodeValue(v)
		return ok
	})
	return []byte(v.saved.current), true, nil // found, even if there are none: scs would drop the id
}

// read fetches the record as it is now.
func (s valuesStore) read(ctx context.Context, v *visit, token string) error {
	key := valuesRecord.key(s.g, token)
	v.saved.current, v.saved.sealed, v.saved.foreign = "", nil, false
	sealed, err := s.g.config.Store.Get(ctx, key)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	clear, plaintext, err := s.g.ring.Open(valuesRecord.binding(key, token), timesSize, sealed)
	if err != nil {
		v.saved.foreign = s.g.unreadable(ctx, key, sealed, err)
		return nil
	}
	if time.Now().UnixMilli() < parseTimes(clear).deadline {
		v.saved.current, v.saved.sealed = claims.Object(plaintext), sealed
	}
	return nil
}

// CommitCtx saves what the request changed. A record that another request has changed meanwhile is read
// again, and the changes go on top. A session that was ended meanwhile gets no record.
func (s valuesStore) CommitCtx(ctx context.Context, _ string, b []byte, _ time.Time) error {
	v := visitFrom(ctx, s.g)
	if v == nil || v.token == "" {
		return ErrNoSession
	}
	mine := claims.Object(b)
	if len(b) > s.g.config.MaxSessionBytes {
		return errors.New("oidcgate: the values are larger than MaxSessionBytes")
	}
	for range maxSaves {
		if v.saved.foreign {
			return errForeign
		}
		err := s.write(ctx, v, changes(v.saved.base, mine, v.saved.current))
		if err == nil {
			v.saved.base = mine
			return nil
		}
		if !errors.Is(err, store.ErrConflict) && !errors.Is(err, store.ErrExists) && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		if err := s.alive(ctx, v); err != nil {
			return err
		}
		if err := s.read(ctx, v, v.token); err != nil {
			return err
		}
	}
	return fmt.Errorf("oidcgate: the values changed %d times while they were saved", maxSaves)
}

// maxSaves is how often a save is tried against others of the same session.
const maxSaves = 20

var errForeign = errors.New("oidcgate: the values are sealed with a key, or by a version, that this replica does not know")

func (s valuesStore) write(ctx context.Context, v *visit, values claims.Object) error {
	if values == v.saved.current {
		return nil
	}
	key := valuesRecord.key(s.g, v.token)
	sealed, err := s.g.ring.Seal(valuesRecord.binding(key, v.token), times{deadline: v.times.deadline}.header(), []byte(values))
	if err != nil {
		return err
	}
	ttl := ttlUntil(v.times.deadline, time.Now())
	if v.saved.sealed != nil {
		err = s.g.config.Store.Swap(ctx, key, v.saved.sealed, sealed, ttl)
	} else if err = s.g.config.Store.Create(ctx, key, sealed, ttl); err == nil {
		err = s.alive(ctx, v)
	}
	if err != nil {
		return err
	}
	v.saved.current, v.saved.sealed = values, sealed
	return nil
}

// alive makes sure that the session was not ended meanwhile. A logout deletes the identity first and the
// values last, so a record made in between is deleted by one of the two.
func (s valuesStore) alive(ctx context.Context, v *visit) error {
	_, err := s.g.config.Store.Get(ctx, identityRecord.key(s.g, v.token))
	if errors.Is(err, store.ErrNotFound) {
		_ = s.g.config.Store.Delete(ctx, valuesRecord.key(s.g, v.token), nil) // best effort: nobody can read it
		return ErrNoSession
	}
	return err
}

// DeleteCtx is scs's Destroy, RenewToken and MergeSession.
func (valuesStore) DeleteCtx(context.Context, string) error { return errNotThroughValues }

// loadValues gives the request's context its values. Where they cannot be read, the session cannot either.
func (g *Gate) loadValues(v *visit) context.Context {
	ctx, err := g.values.Load(v, v.token)
	if err == nil {
		return ctx
	}
	v.err = g.storeError(err)
	ctx, _ = g.values.Load(v, "") // without an id it cannot fail
	return ctx
}

// serveWithValues runs the application's handler behind a ResponseWriter that saves values in time.
func (g *Gate) serveWithValues(next http.Handler, w http.ResponseWriter, r *http.Request, v *visit) {
	ctx := g.loadValues(v)
	saver := &saver{ResponseWriter: w, before: w.Header().Clone()}
	saver.save = func() error { return g.saveValues(ctx, v) }
	saver.fail = func(http.ResponseWriter) { g.unavailable(w, r) }
	next.ServeHTTP(saver.wrap(), r.WithContext(ctx))
	saver.finish()
}

// saveValues saves the values if they were changed. The browser may have left: what the handler put is saved
// all the same.
func (g *Gate) saveValues(ctx context.Context, v *visit) error {
	if g.values.Status(ctx) != scs.Modified || v.saved.dropped {
		return nil
	}
	if v.identity == nil && v.err == nil {
		v.saved.dropped = true
		g.events.emit(Event{Type: EventValuesNotSaved, Reason: ReasonAnonymous, Detail: "values were put while nobody is signed in"})
		return nil
	}
	ctx, cancel := detached(ctx)
	defer cancel()
	_, _, err := g.values.Commit(ctx)
	if errors.Is(err, ErrNoSession) {
		v.saved.dropped = true
		g.events.emit(Event{Type: EventValuesNotSaved, Reason: ReasonSessionEnded, SessionRef: g.sessionRef(v.token)})
		return nil
	}
	if err != nil {
		g.events.emit(Event{Type: EventValuesNotSaved, Reason: ReasonStoreError, SessionRef: g.sessionRef(v.token), Detail: err.Error()})
	}
	return err
}
