package oidcgate

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"net/http"
	"reflect"
	"time"

	"github.com/alexedwards/scs/v2"

	"github.com/oidcgate/oidcgate/internal/claims"
	"github.com/oidcgate/oidcgate/internal/seal"
	"github.com/oidcgate/oidcgate/store"
)

// recordKind is one of the records a session has in the store. They are apart so that no writer overwrites
// another's: a slow request that saves the application's values can neither bring back a session that was
// ended nor an older refresh token. The prefixes are not prefixes of one another.
type recordKind struct{ purpose, prefix string }

var (
	identityRecord = recordKind{"session", "s:"} // who is signed in: small, read on every request
	tokensRecord   = recordKind{"tokens", "t:"}  // the provider's tokens: read when they are needed
	valuesRecord   = recordKind{"values", "v:"}  // the application's, when it keeps some
)

// handle names a session in the store: a hash of the session id, so that a copy of the store opens no
// session, and of the gate, so that two gates with one store do not meet each other's records.
func (g *Gate) handle(token string) string { return g.recordName("", token) }

// key names the record of a session.
func (k recordKind) key(g *Gate, token string) string { return g.recordName(k.prefix, token) }

func (g *Gate) recordName(prefix, token string) string {
	var buf [sha256.Size + tokenSize]byte
	copy(buf[:], g.fingerprint[:])
	copy(buf[sha256.Size:], token)
	sum := sha256.Sum256(buf[:])
	var name [2 + tokenSize]byte // for a prefix and the hash: no garbage but the string
	return string(base64.RawURLEncoding.AppendEncode(append(name[:0], prefix...), sum[:]))
}

// binding ties a sealed record to what it is, where it lies and whose it is. The browser's cookie is part of
// the key: neither the store nor the application's key alone, nor both, read a session.
func (k recordKind) binding(key, token string) seal.Binding {
	return seal.Binding{Purpose: k.purpose, Name: key, Secret: token}
}

// times stand in the clear, authenticated header of a record. They are checked on every load: a key that
// lost its TTL in the store makes no immortal session.
type times struct{ deadline, seen int64 } // unix milliseconds

const timesSize = 16

func (t times) header() []byte {
	b := binary.BigEndian.AppendUint64(make([]byte, 0, timesSize), uint64(t.deadline))
	return binary.BigEndian.AppendUint64(b, uint64(t.seen))
}

func parseTimes(header []byte) times {
	return times{int64(binary.BigEndian.Uint64(header)), int64(binary.BigEndian.Uint64(header[8:]))}
}

// ends is when the session is over: at its deadline, or when nobody used it for the idle time.
func (t times) ends(idle time.Duration) int64 { return min(t.deadline, t.seen+idle.Milliseconds()) }

// ttlUntil is what the store is told, never zero or negative.
func ttlUntil(end int64, now time.Time) time.Duration {
	return max(time.UnixMilli(end).Sub(now), time.Millisecond)
}

// errGone is a session that is not there, whatever the reason: its cookie is an anonymous visitor's.
var errGone = errors.New("no such session")

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

// encode frames an identity for its record, without the times that stand in the record's header.
func (id *Identity) encode() ([]byte, error) {
	created, err := claims.Of(id.created.UnixMilli())
	if err != nil {
		return nil, err
	}
	checked, err := claims.Of(id.checked.UnixMilli())
	if err != nil {
		return nil, err
	}
	return []byte(claims.Object("").
		With("provider", claims.Text(id.provider)).
		With("attempt", claims.Text(id.attempt)).
		With("label", claims.Text(id.label)).
		With("created", created).
		With("checked", checked).
		With("id_token", id.idToken.Value()).
		With("userinfo", id.userinfo.Value()).
		With("application", id.application.Value())), nil
}

// Decode implements scs.Codec. It is left with nothing to do: a map for scs to keep one value in would cost
// every request more than decoding the identity.
func (identityCodec) Decode([]byte) (time.Time, map[string]any, error) {
	return time.Time{}, nil, nil
}

// decodeIdentity is the reverse of encode. Nothing is parsed: the identity's claims are pieces of the record.
func decodeIdentity(b []byte) *Identity {
	record := claims.Object(b)
	return &Identity{
		provider:    member(record, "provider"),
		attempt:     member(record, "attempt"),
		label:       member(record, "label"),
		created:     moment(record, "created"),
		checked:     moment(record, "checked"),
		idToken:     object(record, "id_token"),
		userinfo:    object(record, "userinfo"),
		application: object(record, "application"),
	}
}

func member(o claims.Object, name string) string {
	v, _ := o.Get(name)
	s, _ := v.Str()
	return s
}

// moment reads a time in unix milliseconds; the zero time when there is none.
func moment(o claims.Object, name string) time.Time {
	v, _ := o.Get(name)
	text, ok := v.Number()
	if !ok {
		return time.Time{}
	}
	return parseMillis(text)
}

func object(o claims.Object, name string) claims.Object {
	v, _ := o.Get(name)
	inner, _ := v.Object()
	return inner
}

// sessionStore is what scs stores identities in. It is called with a context that has the request's state,
// which it tells whose session it is, and its times.
type sessionStore struct {
	withoutContext
	g *Gate
}

// FindCtx reads the record of a session: one read of the store, and nothing else unless its use is noted.
func (s sessionStore) FindCtx(ctx context.Context, token string) ([]byte, bool, error) {
	st, key := stateFrom(ctx, s.g), identityRecord.key(s.g, token)
	sealed, err := s.g.config.Store.Get(st, key)
	if errors.Is(err, store.ErrNotFound) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	plaintext, err := s.open(st, key, token, sealed)
	if errors.Is(err, errGone) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	st.identity = decodeIdentity(plaintext)
	return plaintext, true, nil
}

func (s sessionStore) open(st *state, key, token string, sealed []byte) ([]byte, error) {
	clear, plaintext, err := s.g.ring.Open(identityRecord.binding(key, token), timesSize, sealed)
	if err != nil {
		s.g.unreadable(st, key, sealed, err)
		return nil, errGone
	}
	t, now := parseTimes(clear), time.Now()
	if end := t.ends(s.g.config.IdleTimeout); now.UnixMilli() >= end {
		s.g.expired(st, key, token, sealed, t)
		return nil, errGone
	}
	if now.UnixMilli()-t.seen >= s.g.config.touchAfter.Milliseconds() {
		if t, err = s.touch(st, key, token, t, sealed, plaintext, now); err != nil {
			return nil, err
		}
	}
	st.times = t
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
	if err := s.g.enlist(ctx, s.g.handle(token), stateFrom(ctx, s.g).identity, deadline); err != nil {
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

// unreadable tells a record that cannot be opened from one that is not there. One that is damaged is
// deleted; one of an unknown key or a newer version is kept: it may be another replica's, which still reads it.
func (g *Gate) unreadable(ctx context.Context, key string, sealed []byte, err error) (kept bool) {
	reason := ReasonDamaged
	kept = true
	switch {
	case errors.Is(err, seal.ErrUnknownKey):
		reason = ReasonKeyUnknown
	case errors.Is(err, seal.ErrNewerVersion):
		reason = ReasonNewerVersion
	default:
		_ = g.config.Store.Delete(ctx, key, sealed) // best effort: it opens nothing
		kept = false
	}
	g.events.emit(Event{Type: EventSessionUnreadable, Reason: reason})
	return kept
}

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
	st := newState(ctx, g)
	st.identity = id
	ctx, err := g.sessions.Load(st, "")
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
		_ = g.endHandle(ctx, g.handle(g.sessions.Token(ctx)), id.card())
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
