// Package store holds what must outlive a request: sessions, single-use
// claims, locks, tombstones and the sets that list a person's sessions. It
// states the promises ([Store]) and keeps them in memory ([Memory]);
// redisstore keeps them in Redis, and storetest checks any other keeper.
//
// # What a Store promises
//
//   - Each operation is atomic on its own and names one key or one set, never
//     two: whatever must hold between two keys is the caller's to arrange by the
//     order of its calls. That is what lets a store be spread over many machines.
//   - An operation that returned nil is seen by every operation that begins
//     afterwards, through any replica of the application.
//   - An error other than the sentinels of this package means that the store is
//     ill. The operation may or may not have happened. The caller refuses
//     service for the moment and clears nothing: "the store did not answer" is
//     not "nobody is logged in".
//   - Every operation may be sent again after an error or a lost reply: one that
//     has happened already succeeds. A client library resends on its own, and the
//     rightful owner of a claim must not be told that it is taken. A Create may
//     for the same reason arrive once more after a Delete that came in between;
//     a deletion that has to win needs a mark under a key of its own, which the
//     creator reads after creating.
//   - What has a ttl is gone when the ttl has passed, and never earlier while the
//     store keeps its memory. "Gone" is the same whether a value expired, was
//     deleted, or was lost with a machine: a store that fails over to a replica
//     may forget its last writes, and then answers [ErrNotFound] or brings back a
//     value deleted just before. Who cannot bear that checks the times inside the
//     value.
//   - Everything expires. A ttl is positive, is rounded up to whole milliseconds,
//     and anything else is [ErrTTL] with nothing written.
//
// Names are short printable ASCII. A name is used for a key or for a set, never
// for both. Values are any bytes, also none. A store keeps no slice that it was
// given, and a slice that it returns is the caller's to keep and to change.
package store

import (
	"context"
	"errors"
	"fmt"
	"time"
)

var (
	// ErrNotFound is returned by Get and Swap when nothing lives under the key.
	ErrNotFound = errors.New("store: not found")

	// ErrExists is returned by Create when another value lives under the key.
	ErrExists = errors.New("store: another value exists")

	// ErrConflict is returned by Swap and Delete when the value is no longer
	// the one the caller saw.
	ErrConflict = errors.New("store: value has changed")

	// ErrFull is returned by Create and Add when a bounded store has no room.
	// Such a store refuses newcomers; it never evicts the living.
	ErrFull = errors.New("store: full")

	// ErrTTL is returned when a ttl is zero or negative. Elsewhere such a ttl
	// has come to mean "forever", and a session whose deadline had just passed
	// became immortal.
	ErrTTL = errors.New("store: ttl is not positive")
)

// A Store keeps values and sets of names for a limited time. The promises that
// hold for every operation stand in the package comment. The interface is
// complete and grows no method.
//
// All methods may be called concurrently. A context that has ended before the
// call is an error that wraps ctx.Err(), and nothing is written; one that has a
// deadline bounds the call.
type Store interface {
	// Get returns the value under key, or ErrNotFound. It is a pure read:
	// it works where writing does not, and moves no expiry.
	Get(ctx context.Context, key string) ([]byte, error)

	// Create stores value under key for ttl, unless another value lives
	// there: then it is ErrExists and nothing changes. Where the same value
	// lives already Create succeeds, and ttl counts anew.
	Create(ctx context.Context, key string, value []byte, ttl time.Duration) error

	// Swap replaces old by value, and ttl counts anew. A value is its own
	// version, so no two values of a key may be equal unless they mean the
	// same: sealed records carry a fresh nonce, locks a random owner. An empty
	// old is the empty value. Where value itself lives already Swap succeeds;
	// where another lives it is ErrConflict, and where none lives ErrNotFound,
	// so that a deletion wins against every swap in flight.
	Swap(ctx context.Context, key string, old, value []byte, ttl time.Duration) error

	// Delete removes the value under key. If old is nil, that is whatever
	// lives there; otherwise only old itself, and another value is
	// ErrConflict. Where nothing lives Delete succeeds.
	Delete(ctx context.Context, key string, old []byte) error

	// Add puts member into set for ttl. Every member has a ttl of its own; of
	// a member that is added again the later expiry counts. A set begins with
	// its first member and ends with its last.
	Add(ctx context.Context, set, member string, ttl time.Duration) error

	// Members returns the living members of set in no order. A set that is
	// not there has none, and that is not an error.
	Members(ctx context.Context, set string) ([]string, error)

	// Remove takes member out of set. Where it is absent Remove succeeds.
	Remove(ctx context.Context, set, member string) error
}

// maxTTL is 146 years, far enough from overflow to be rounded up and added to
// the present.
const maxTTL = time.Duration(1 << 62)

// RoundTTL returns ttl rounded up to whole milliseconds, or an error that wraps
// ErrTTL if ttl is zero or negative. More than 146 years become 146 years. It is
// for those who implement Store.
func RoundTTL(ttl time.Duration) (time.Duration, error) {
	if ttl <= 0 {
		return 0, fmt.Errorf("%w: %v", ErrTTL, ttl)
	}
	ttl = min(ttl, maxTTL)
	if rest := ttl % time.Millisecond; rest != 0 {
		ttl += time.Millisecond - rest
	}
	return ttl, nil
}
