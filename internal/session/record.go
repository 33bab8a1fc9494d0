package session

import (
	"context"
	"encoding/binary"
	"errors"
	"strconv"
	"time"

	"github.com/oidcgate/oidcgate/internal/claims"
	"github.com/oidcgate/oidcgate/internal/event"
	"github.com/oidcgate/oidcgate/internal/seal"
	"github.com/oidcgate/oidcgate/store"
)

// kind is one of the records that a session has. They are apart so that no writer overwrites
// another's: a slow request that saves the application's values can bring back neither a session
// that was ended nor an older refresh token.
type kind struct{ purpose, prefix string }

var (
	identityKind = kind{"session", identityPrefix} // small: read on every request
	tokensKind   = kind{"tokens", tokensPrefix}    // read when tokens are needed
	valuesKind   = kind{"values", valuesPrefix}    // only when the application keeps values

	exchangedKind = kind{"exchanged", exchangedPrefix} // only when tokens are exchanged
	hintKind      = kind{"logout hint", hintPrefix}    // for a minute after a logout
)

// binding ties a record to what it is, where it lies and whose it is. The session id is part of
// the key: neither the store nor the application's key alone, nor both, open a session.
func (kd kind) binding(key string, id ID) seal.Binding {
	return seal.Binding{Purpose: kd.purpose, Name: key, Secret: string(id)}
}

// Times stand in the clear, authenticated header of a record. They are checked at every read: a
// key that lost its TTL in the store makes no immortal session. Both are unix milliseconds. Seen is
// zero in the records of tokens and values.
type Times struct{ Deadline, Seen int64 }

const timesSize = 16

func (t Times) header() []byte {
	b := binary.BigEndian.AppendUint64(make([]byte, 0, timesSize), uint64(t.Deadline))
	return binary.BigEndian.AppendUint64(b, uint64(t.Seen))
}

func parseTimes(header []byte) Times {
	return Times{
		int64(binary.BigEndian.Uint64(header)),
		int64(binary.BigEndian.Uint64(header[8:])),
	}
}

// Ends is when the session is over, in unix milliseconds: at its deadline, or when nobody used it
// for the idle time.
func (t Times) Ends(idle time.Duration) int64 {
	if t.Seen == 0 {
		return t.Deadline
	}
	return min(t.Deadline, t.Seen+idle.Milliseconds())
}

// ttl is what the store is told of what ends at a time in unix milliseconds: never zero or
// negative, and never more than a session may live, also when the clock was set back.
func (k *Keeper) ttl(end int64) time.Duration {
	return min(max(time.Until(time.UnixMilli(end)), time.Millisecond), k.limits.Lifetime)
}

// record is what lies in the store, opened.
type record struct {
	key       string
	sealed    []byte // as it lies there
	times     Times
	plaintext []byte
}

// Why a record cannot be used. All are ErrGone to callers.
var (
	errExpired = &gone{"the record has expired"}
	errDamaged = &gone{"the record is damaged"}
	errForeign = &gone{"the record has a key or a version that this replica does not know"}
)

// ErrForeign is an [ErrGone]: the record is there, and other replicas may read it.
var ErrForeign error = errForeign

// gone is a kind of ErrGone.
type gone struct{ why string }

func (e *gone) Error() string        { return "oidcgate: " + e.why }
func (e *gone) Is(target error) bool { return target == ErrGone }

// read returns a record of a session. The error is ErrGone when it is not there, cannot be opened
// or is over, and the store's otherwise. With errExpired comes the record.
func (k *Keeper) read(ctx context.Context, kd kind, id ID) (record, error) {
	r := record{key: k.idKey(kd.prefix, id)}
	var err error
	r.sealed, err = k.store.Get(ctx, r.key)
	if errors.Is(err, store.ErrNotFound) {
		return record{}, ErrGone
	}
	if err != nil {
		return record{}, k.storeError(ctx, err)
	}
	header, plaintext, err := k.ring.Open(kd.binding(r.key, id), timesSize, r.sealed)
	if err != nil {
		return record{}, k.unreadable(ctx, r, err)
	}
	r.times, r.plaintext = parseTimes(header), plaintext
	if time.Now().UnixMilli() >= r.times.Ends(k.limits.Idle) {
		return r, errExpired
	}
	return r, nil
}

// unreadable tells of a record that cannot be opened. One that is damaged is deleted. One of an
// unknown key or a newer version is kept: another replica may still read it.
func (k *Keeper) unreadable(ctx context.Context, r record, cause error) error {
	e := Event{Type: event.SessionUnreadable, Reason: event.ReasonDamaged, Err: cause}
	result := errDamaged
	switch {
	case errors.Is(cause, seal.ErrUnknownKey):
		e.Reason, result = event.ReasonKeyUnknown, errForeign
		e.Hint = "give all replicas the same Keys; a new key stands second in all of them before it is " +
			"first in one, and a key that is replaced stays, after the new one, until its sessions have " +
			"ended"
	case errors.Is(cause, seal.ErrNewerVersion):
		e.Reason, result = event.ReasonVersionNewer, errForeign
	default:
		_ = k.store.Delete(ctx, r.key, r.sealed) // best effort: it opens nothing
	}
	k.tell(ctx, e)
	return result
}

// seal returns a record's plaintext and times as they lie in the store.
func (k *Keeper) seal(kd kind, id ID, t Times, plaintext []byte) (record, error) {
	r := record{key: k.idKey(kd.prefix, id), times: t, plaintext: plaintext}
	var err error
	r.sealed, err = k.ring.Seal(kd.binding(r.key, id), t.header(), plaintext)
	return r, err
}

// errChanged means that another has written the record since it was read.
var errChanged = errors.New("oidcgate: the record has changed")

// create writes a record. The error is errChanged when one is there already.
func (k *Keeper) create(ctx context.Context, r record) error {
	err := k.store.Create(ctx, r.key, r.sealed, k.ttl(r.times.Ends(k.limits.Idle)))
	if errors.Is(err, store.ErrExists) {
		return errChanged
	}
	return k.storeError(ctx, err)
}

// swap writes a record in the place of the one that was read. The error is ErrGone when that was
// deleted meanwhile, errChanged when it was overwritten, and the store's otherwise.
func (k *Keeper) swap(ctx context.Context, old, r record) error {
	lifetime := k.ttl(r.times.Ends(k.limits.Idle))
	err := k.store.Swap(ctx, r.key, old.sealed, r.sealed, lifetime)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return ErrGone
	case errors.Is(err, store.ErrConflict):
		return errChanged
	}
	return k.storeError(ctx, err)
}

// editIdentity writes what edit makes of a session's identity, as often as others change it
// meanwhile, unless edit returns false. The session's times stay.
func (k *Keeper) editIdentity(ctx context.Context, id ID, edit func(*Identity) bool) error {
	for {
		old, err := k.read(ctx, identityKind, id)
		if err != nil {
			return err
		}
		identity := decodeIdentity(old.plaintext)
		if !edit(&identity) {
			return nil
		}
		fresh, err := k.seal(identityKind, id, old.times, identity.encode())
		if err == nil {
			err = k.swap(ctx, old, fresh)
		}
		if !errors.Is(err, errChanged) {
			return err
		}
	}
}

// The members of records are framed, so that reading them parses nothing.

func textMember(o claims.Object, name string) string {
	v, _ := o.Get(name)
	s, _ := v.Str()
	return s
}

// timeMember reads a time in unix milliseconds; the zero time when there is none, without a parse:
// its error would be the only allocation for an identity that has no such time.
func timeMember(o claims.Object, name string) time.Time {
	v, ok := o.Get(name)
	if !ok {
		return time.Time{}
	}
	text, _ := v.Number()
	return parseMillis(text)
}

func objectMember(o claims.Object, name string) claims.Object {
	v, _ := o.Get(name)
	inner, _ := v.Object()
	return inner
}

func millis(t time.Time) claims.Value { return claims.Int(t.UnixMilli()) }

func parseMillis(text string) time.Time {
	ms, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return time.Time{}
	}
	return time.UnixMilli(ms)
}
