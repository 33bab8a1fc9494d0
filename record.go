package oidcgate

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

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

func parseMillis(text string) time.Time {
	ms, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return time.Time{}
	}
	return time.UnixMilli(ms)
}

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

// storeError is what callers are told of an error of the store.
func (g *Gate) storeError(err error) error {
	if err == nil {
		return nil
	}
	g.events.storeIll(err)
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}

// storeAnswers asks the store for what nobody keeps.
func (g *Gate) storeAnswers(ctx context.Context) error {
	_, err := g.config.Store.Get(ctx, "ready")
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	return err
}

func (g *Gate) storeFailure(err error) *LoginError {
	g.events.storeIll(err)
	return &LoginError{Status: http.StatusServiceUnavailable, Reason: ReasonStoreError, Err: err}
}

// storeTimeout bounds writing to the store where no request does.
const storeTimeout = 3 * time.Second

// detached returns a context for writing to the store that the browser cannot end by leaving.
func detached(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
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
