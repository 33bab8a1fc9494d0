package oidcgate

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"reflect"
	"time"

	"github.com/alexedwards/scs/v2"

	"github.com/oidcgate/oidcgate/store"
)

// newSessions returns scs as the gate uses it: Load, Commit and the cookie. IdleTimeout stays zero, because
// it makes scs rewrite every session after every request, which brings sessions back that were ended in the
// meantime; RenewToken is not called, because it deletes the old session before the new one is saved.
func newSessions(g *Gate) (*scs.SessionManager, error) {
	m, err := newManager()
	if err != nil {
		return nil, err
	}
	m.Store = sessionStore{g: g}
	m.Codec = identityCodec{}
	m.Lifetime = g.config.SessionLifetime
	m.Cookie = scs.SessionCookie{
		Name:     g.config.CookieName,
		Path:     "/",
		HttpOnly: true,
		Secure:   g.config.secure,
		SameSite: http.SameSiteLaxMode,
	}
	return m, nil
}

// newManager stands in for scs.New, which starts a goroutine for a memory store that nobody here uses; to stop
// it races with its start. What only scs.New does is to give each manager its own key, by which it finds its
// data in a context: without, of two gates round one request each would take the other's data for its own. scs
// has no other way to set the key; with an scs that has no such field it fails, when a gate is made.
func newManager() (*scs.SessionManager, error) {
	m := &scs.SessionManager{ErrorFunc: func(w http.ResponseWriter, _ *http.Request, _ error) {
		http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
	}}
	key := reflect.ValueOf(m).Elem().FieldByName("contextKey")
	if key.Kind() != reflect.String {
		return nil, errors.New("oidcgate: this version of github.com/alexedwards/scs/v2 is not supported; use the one that oidcgate's go.mod names")
	}
	reflect.NewAt(key.Type(), key.Addr().UnsafePointer()).Elem().SetString("oidcgate " + rand.Text())
	return m, nil
}

// identityKey is where scs keeps the identity among a session's values.
const identityKey = "identity"

// identityCodec frames an identity for its record. scs hands it over as a session's one value.
type identityCodec struct{}

// Encode implements scs.Codec.
func (identityCodec) Encode(_ time.Time, values map[string]any) ([]byte, error) {
	id, _ := values[identityKey].(*Identity)
	if id == nil {
		return nil, errors.New("oidcgate: a session without an identity")
	}
	return id.encode()
}

// Decode implements scs.Codec. It is left with nothing to do: a map for scs to keep one value in would cost
// every request more than decoding the identity.
func (identityCodec) Decode([]byte) (time.Time, map[string]any, error) {
	return time.Time{}, nil, nil
}

// sessionStore is what scs stores identities in. It is called with a context that has the request's state,
// which it tells whose session it is, and its times.
type sessionStore struct {
	withoutContext
	g *Gate
}

// FindCtx reads the record of a session: one read of the store, and nothing else unless its use is noted.
func (s sessionStore) FindCtx(ctx context.Context, token string) ([]byte, bool, error) {
	v, key := visitFrom(ctx, s.g), identityRecord.key(s.g, token)
	sealed, err := s.g.config.Store.Get(v, key)
	if errors.Is(err, store.ErrNotFound) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	plaintext, err := s.open(v, key, token, sealed)
	if errors.Is(err, errGone) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	v.identity = decodeIdentity(plaintext)
	return plaintext, true, nil
}

func (s sessionStore) open(v *visit, key, token string, sealed []byte) ([]byte, error) {
	clear, plaintext, err := s.g.ring.Open(identityRecord.binding(key, token), timesSize, sealed)
	if err != nil {
		s.g.unreadable(v, key, sealed, err)
		return nil, errGone
	}
	t, now := parseTimes(clear), time.Now()
	if end := t.ends(s.g.config.IdleTimeout); now.UnixMilli() >= end {
		s.g.expired(v, key, token, sealed, t)
		return nil, errGone
	}
	if now.UnixMilli()-t.seen >= s.g.config.touchAfter.Milliseconds() {
		if t, err = s.touch(v, key, token, t, sealed, plaintext, now); err != nil {
			return nil, err
		}
	}
	v.times = t
	return plaintext, nil
}

// touch moves the last-seen time forward, under the first key. Another request that did so first is as good.
// A store that refuses is an event and not an error: reading goes on while writing cannot. A session that
// was ended meanwhile is gone.
func (s sessionStore) touch(ctx context.Context, key, token string, t times, sealed, plaintext []byte, now time.Time) (times, error) {
	touched := times{t.deadline, now.UnixMilli()}
	fresh, err := s.g.ring.Seal(identityRecord.binding(key, token), touched.header(), plaintext)
	if err == nil {
		err = s.g.config.Store.Swap(ctx, key, sealed, fresh, ttlUntil(touched.ends(s.g.config.IdleTimeout), now))
	}
	switch {
	case err == nil:
		return touched, nil
	case errors.Is(err, store.ErrNotFound):
		return t, errGone
	case errors.Is(err, store.ErrConflict):
		return t, nil
	}
	s.g.events.storeIll(err)
	s.g.events.emit(Event{Type: EventSessionTouchFailed, SessionRef: s.g.sessionRef(token), Detail: err.Error()})
	return t, nil
}

// CommitCtx begins a session. It is only ever called for a new one: what changes later is not written
// through scs.
func (s sessionStore) CommitCtx(ctx context.Context, token string, b []byte, deadline time.Time) error {
	if len(b) > s.g.config.MaxSessionBytes {
		return errTooLarge
	}
	now := time.Now()
	if err := s.g.addToIndex(ctx, s.g.handle(token), visitFrom(ctx, s.g).identity, deadline); err != nil {
		return err
	}
	key, t := identityRecord.key(s.g, token), times{deadline.UnixMilli(), now.UnixMilli()}
	sealed, err := s.g.ring.Seal(identityRecord.binding(key, token), t.header(), b)
	if err != nil {
		return err
	}
	return s.g.config.Store.Create(ctx, key, sealed, ttlUntil(t.ends(s.g.config.IdleTimeout), now))
}

// DeleteCtx is scs's Destroy and RenewToken, which the gate does not call: it ends sessions by their handle.
func (sessionStore) DeleteCtx(context.Context, string) error { return errNoContext }

var errTooLarge = errors.New("the session is larger than MaxSessionBytes; drop claims in OnLogin")

func (g *Gate) expired(ctx context.Context, key, token string, sealed []byte, t times) {
	reason := ReasonIdle
	if time.Now().UnixMilli() >= t.deadline {
		reason = ReasonAbsolute
	}
	// Best effort: it is over whether the store forgets it or not. Tokens and values have the TTL of the absolute
	// deadline, since noting use moves one record and not three.
	if g.config.Store.Delete(ctx, key, sealed) == nil {
		_ = g.endCookie(ctx, token)
	}
	g.events.emit(Event{Type: EventSessionExpired, Reason: reason, SessionRef: g.sessionRef(token)})
}

// begin saves a new session and writes its cookie. It returns when everything is in the store: no answer
// promises a session that is not there. Of a session that cannot be saved whole nothing stays.
func (g *Gate) begin(ctx context.Context, w http.ResponseWriter, id *Identity, t *tokens) (string, error) {
	v := newVisit(ctx, g)
	v.identity = id
	ctx, err := g.sessions.Load(v, "")
	if err != nil {
		return "", err
	}
	g.sessions.Put(ctx, identityKey, id)
	if g.config.EndWithToken && t.RefreshToken == "" && g.expiry(t).Before(g.sessions.Deadline(ctx)) {
		g.sessions.SetDeadline(ctx, g.expiry(t))
	}
	token, deadline, err := g.sessions.Commit(ctx)
	if err == nil {
		err = g.saveTokens(ctx, token, t, deadline)
	}
	if err == nil {
		err = g.checkTombstones(ctx, id) // last: a logout wrote its tombstone before it read the index
	}
	if err != nil {
		// A write that failed may have been carried out. Best effort: nobody has the cookie.
		_ = g.endHandle(ctx, g.handle(g.sessions.Token(ctx)), id.summary())
		return "", err
	}
	g.sessions.WriteSessionCookie(ctx, w, token, deadline)
	w.Header().Set("Cache-Control", "no-store") // scs adds a value of its own
	g.events.emit(Event{Type: EventSessionCreated, Provider: id.provider, SubjectHash: g.subjectHash(id), SessionRef: g.sessionRef(token)})
	return token, nil
}

// withoutContext completes scs.CtxStore. scs prefers the methods with a context and never calls these.
type withoutContext struct{}

var errNoContext = errors.New("oidcgate: the store is used with a context only")

func (withoutContext) Find(string) ([]byte, bool, error)      { return nil, false, errNoContext }
func (withoutContext) Commit(string, []byte, time.Time) error { return errNoContext }
func (withoutContext) Delete(string) error                    { return errNoContext }
