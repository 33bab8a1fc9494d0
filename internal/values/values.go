// Package values keeps the application's values of a session through scs. It encodes them, merges
// the changes of two requests, and saves them.
//
//	values.go  the values of a request: loaded, changed and saved
//	codec.go   their encoding, and how changes are merged
package values

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/alexedwards/scs/v2"

	"github.com/oidcgate/oidcgate/internal/claims"
	"github.com/oidcgate/oidcgate/internal/event"
	"github.com/oidcgate/oidcgate/internal/session"
	"github.com/oidcgate/oidcgate/internal/viascs"
)

// Values are the values of the sessions of a keeper.
type Values struct {
	Manager *scs.SessionManager
	config  Config
}

// Config is what [Values] are made of. Every field is needed.
type Config struct {
	Keeper   *session.Keeper
	Lifetime time.Duration
	Cookie   scs.SessionCookie
	Tell     func(context.Context, event.Record)
	Log      func(_ context.Context, _ slog.Level, text string, _ ...slog.Attr)

	// Of returns the session of a request, by its context, and the state of its values. Both are nil
	// for a context that knows of no session and of no values; the session alone when there is none.
	Of func(context.Context) (*session.Session, *State)
}

// State is the state of the values during one request.
type State struct {
	loaded  bool
	dropped bool           // there is no session to keep them in; the event was emitted
	base    claims.Object  // as they were when the request began, or was saved last
	stored  session.Values // the record in the store when it was last read or written

	// If somebody is signed in without a session: by what, and whether there were values to save,
	// of the session of the same request, when that became known.
	without string
	lost    bool
	told    atomic.Bool

	inner atomic.Pointer[context.Context] // the last one of Own within this request
}

// New returns the values of a keeper's sessions. It uses scs.New, because the context of a request
// may also hold the values of an outer gate, and only scs.New gives each manager a context key of
// its own. scs.New also starts a goroutine for a memory store that is not used here. scs has no
// safe way to stop it; it wakes once a minute and does nothing.
func New(c Config) *Values {
	m := scs.New()
	m.Lifetime, m.Cookie = c.Lifetime, c.Cookie
	m.Store, m.Codec = store{config: c}, newCodec(c.logUnknown())
	return &Values{Manager: m, config: c}
}

// logUnknown returns what logs that a value has a type that this process does not know: once for
// each name, and for not more than a hundred.
func (c *Config) logUnknown() func(name string) {
	var mu sync.Mutex
	told := map[string]bool{}
	return func(name string) {
		mu.Lock()
		defer mu.Unlock()
		if told[name] || len(told) == 100 {
			return
		}
		told[name] = true
		c.Log(context.Background(), slog.LevelWarn, "a value has a type that this process does not know "+
			"and reads as missing; call gob.Register for the type, on every replica, before one of them "+
			"puts it", slog.String("value", name))
	}
}

// Load returns the context of a request with the values of its session. With an error, which says
// why they cannot be read, there are none in it.
func (v *Values) Load(ctx context.Context, id session.ID) (context.Context, error) {
	loaded, err := v.Manager.Load(ctx, string(id))
	if err != nil {
		loaded, _ = v.Manager.Load(ctx, "") // without an id it cannot fail
	}
	return loaded, err
}

// Own returns a context with values of its own, which are kept nowhere, for an identity of
// Gate.NewContext. around, which may be nil, is the state of the request that ctx is within, whose
// values are not these.
func (v *Values) Own(ctx context.Context, around *State) context.Context {
	hidden := &hiding{Context: ctx, hides: true}
	own, _ := v.Manager.Load(hidden, "") // without an id it cannot fail
	hidden.hides = false
	_, state := v.config.Of(ctx)
	state.without = "an identity of Gate.NewContext"
	if around != nil {
		around.inner.Store(&own)
	}
	return own
}

// Drop takes the values of the session out of the context of a request that is an access token's,
// and not that session's. What is put there later is kept nowhere.
func (v *Values) Drop(ctx context.Context) {
	_, state := v.config.Of(ctx)
	state.without, state.lost = "an access token", v.Manager.Status(ctx) == scs.Modified
	_ = v.Manager.Clear(ctx) // fails for a session that was destroyed, which nobody can do
}

// TellLost tells, at the end of a request, of values that were put for somebody who is signed in
// without a session.
func (v *Values) TellLost(ctx context.Context) {
	_, state := v.config.Of(ctx)
	if inner := state.inner.Load(); inner != nil {
		v.TellLost(*inner)
	}
	if state.without == "" || state.dropped || !state.lost && len(v.Manager.Keys(ctx)) == 0 {
		return
	}
	if !state.told.CompareAndSwap(false, true) { // a context of NewContext may serve several requests
		return
	}
	v.config.Tell(ctx, event.Record{Type: event.ValuesNotSaved, Reason: event.ReasonNoSession,
		Detail: "values were put for " + state.without + ", which has no session"})
}

// Save saves the values if they were changed, even if the browser has closed the connection.
// isAnonymous says that nobody is signed in.
func (v *Values) Save(ctx context.Context, isAnonymous bool) error {
	s, state := v.config.Of(ctx)
	if v.Manager.Status(ctx) != scs.Modified || state.dropped || state.without != "" {
		return nil
	}
	if isAnonymous {
		state.dropped = true
		v.config.Tell(ctx, event.Record{Type: event.ValuesNotSaved, Reason: event.ReasonAnonymous,
			Detail: "values were put while nobody is signed in"})
		return nil
	}
	if s == nil { // the store could not say who is signed in
		v.config.Tell(ctx, event.Record{Type: event.ValuesNotSaved, Reason: event.ReasonStoreError,
			Detail: errNotLoaded.Error()})
		return errNotLoaded
	}
	detached, cancel := session.Detached(ctx)
	defer cancel()
	_, _, err := v.Manager.Commit(detached)
	if err == nil {
		return nil
	}
	failed := event.Record{
		Type: event.ValuesNotSaved, Reason: event.ReasonStoreError, Detail: err.Error(),
		SessionRef: v.config.Keeper.SessionRef(v.config.Keeper.Handle(s.ID)),
	}
	switch {
	case errors.Is(err, errType):
		failed.Reason = event.ReasonValueType
	case errors.Is(err, session.ErrValuesTooLarge):
		failed.Reason = event.ReasonSessionTooLarge
		failed.Hint = "put less into Values, or raise Limits.SessionBytes"
	case errors.Is(err, session.ErrGone):
		state.dropped = true
		failed.Reason, failed.Detail = event.ReasonSessionEnded, ""
		err = nil // the answer is sent without its values
	}
	v.config.Tell(ctx, failed)
	return err
}

// Lasts reports whether the error of a save stays until the application is changed.
func Lasts(err error) bool {
	return errors.Is(err, errType) || errors.Is(err, session.ErrValuesTooLarge)
}

// store is what scs stores the values in.
type store struct {
	viascs.WithoutContext
	config Config
}

var errNotLoaded = errors.New("oidcgate: the session of the values could not be loaded")

var errNotThroughValues = errors.New(
	"oidcgate: sessions are ended and renewed by the gate, not through Values")

// FindCtx reads the values when the request begins. It refuses later calls: they come from scs's
// MergeSession, which could name any session.
func (s store) FindCtx(ctx context.Context, token string) ([]byte, bool, error) {
	of, state := s.config.Of(ctx)
	if of == nil || state.loaded || token != string(of.ID) {
		return nil, false, errNotThroughValues
	}
	stored, err := s.config.Keeper.ReadValues(ctx, of)
	if err != nil {
		return nil, false, err
	}
	state.loaded, state.stored = true, stored
	state.base = stored.Current
	return []byte(stored.Current), true, nil // true even if there are none: else scs drops the id
}

// CommitCtx saves what the request changed. If another request has changed the record meanwhile, it
// is read again and the changes are applied to it. A session that has ended meanwhile gets no
// record.
func (s store) CommitCtx(ctx context.Context, _ string, b []byte, _ time.Time) error {
	of, state := s.config.Of(ctx)
	if of == nil {
		return session.ErrGone
	}
	mine, base := claims.Object(b), known(state.base)
	merged := func(current claims.Object) claims.Object { return merge(base, mine, current) }
	err := s.config.Keeper.SaveValues(ctx, of, &state.stored, merged)
	if err == nil {
		state.base = mine
	}
	return err
}

// DeleteCtx is called by scs's Destroy, RenewToken and MergeSession.
func (store) DeleteCtx(context.Context, string) error { return errNotThroughValues }

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
