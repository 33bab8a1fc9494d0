// Package store keeps data that must live longer than one request: sessions, single-use claims,
// locks, tombstones and the sets that list a user's sessions. It defines the contract ([Store]) and
// implements it in memory ([Memory]). Package redisstore implements it in Redis, and package
// storetest tests any other implementation.
//
// # What a Store promises
//
//   - Each operation is atomic and touches one key or one set, never two. If something must hold
//     between two keys, the caller ensures it by the order of its calls. This allows a store to be
//     spread over many machines.
//   - The effect of an operation that returned nil is visible to every operation that begins
//     afterwards, in any replica of the application.
//   - An error other than the sentinel errors of this package means that the store has failed. The
//     operation may or may not have happened. The caller answers 503 and deletes nothing, neither
//     record nor cookie: a store that does not answer does not mean that nobody is signed in.
//   - Every operation may be sent again after an error or a lost reply; if it has already happened,
//     it succeeds. Client libraries resend on their own, and the owner of a claim must not be told
//     that the claim is taken. For the same reason a Create may arrive a second time after a Delete
//     that came in between. If a deletion must win against this, the deleter also writes a mark
//     under another key, and the creator reads the mark after creating.
//   - A value or member is gone when its ttl has passed, and not earlier as long as the store loses
//     no data. The answers are the same whether a value expired, was deleted, or was lost with a
//     machine. A store that fails over to a replica may lose its last writes. It then answers
//     [ErrNotFound], or returns a value that was deleted shortly before. A caller that cannot
//     accept this checks the times inside the value.
//   - Everything expires. A ttl must be positive and is rounded up to whole milliseconds. With any
//     other ttl the operation returns [ErrTTL] and writes nothing.
//
// Names are short printable ASCII. A name is used for a key or for a set, never for both. Values
// are any bytes, and may be empty. A store keeps no reference to a slice that it was given. The
// caller may keep and change a slice that it was returned.
//
// An operation takes milliseconds, and in trouble less than half a second: the steps of a login,
// and those of a logout, have three seconds together. In a slower store logins fail, and logouts
// end the session and answer with an error all the same.
//
// A store that can carry out many operations in one round trip may also be a [Batcher]. Logouts of
// users with many sessions are faster then.
package store

import (
	"context"
	"errors"
	"fmt"
	"time"
)

var (
	// ErrNotFound is returned by Get and Swap when there is no value under the key.
	ErrNotFound = errors.New("store: not found")

	// ErrExists is returned by Create when there is another value under the key.
	ErrExists = errors.New("store: another value exists")

	// ErrConflict is returned by Swap and Delete when the value is no longer
	// the one the caller saw.
	ErrConflict = errors.New("store: value has changed")

	// ErrFull is returned by Create and Add when a bounded store has no room. Such a store refuses
	// new entries and never evicts an entry before it expires.
	ErrFull = errors.New("store: full")

	// ErrTTL is returned when a ttl is zero or negative. In other stores such a ttl means
	// "forever", so a session that is written just after its deadline never expires.
	ErrTTL = errors.New("store: ttl is not positive")
)

// A Store keeps values and sets of names for a limited time. The package comment states the rules
// that hold for every operation. The interface is complete: no method will be added.
//
// All methods are safe for concurrent use. If ctx has ended before the call, the method returns an
// error that wraps ctx.Err() and writes nothing. A deadline of ctx bounds the call.
type Store interface {
	// Get returns the value under key, or ErrNotFound. It only reads: it also works when the store
	// refuses writes, and it does not change when the value expires.
	Get(ctx context.Context, key string) ([]byte, error)

	// Create stores value under key for ttl. If there is another value under key, it returns
	// ErrExists and changes nothing. If the same value is there already, it succeeds and the ttl
	// starts again.
	Create(ctx context.Context, key string, value []byte, ttl time.Duration) error

	// Swap replaces old by value, and the ttl starts again. Values are compared to detect changes,
	// so two values of a key must differ unless they mean the same: sealed records contain a new
	// nonce, and locks a random owner. A nil or empty old means the empty value. If value itself is
	// there already, Swap succeeds. If any other value is there, it returns ErrConflict. If there
	// is no value, it returns ErrNotFound, so a deletion wins against every swap that runs at the
	// same time.
	Swap(ctx context.Context, key string, old, value []byte, ttl time.Duration) error

	// Delete removes the value under key. If old is nil, it removes any value. Otherwise it removes
	// only old, and returns ErrConflict if another value is there. If there is no value, it
	// succeeds.
	Delete(ctx context.Context, key string, old []byte) error

	// Add puts member into set for ttl. Every member has its own ttl. If a member is added again,
	// the later of the two expiries counts. A set exists as long as it has members.
	Add(ctx context.Context, set, member string, ttl time.Duration) error

	// Members returns the members of set that have not expired, in no particular order. A set that
	// does not exist has no members; this is not an error.
	Members(ctx context.Context, set string) ([]string, error)

	// Remove takes member out of set. If it is not in the set, Remove succeeds.
	Remove(ctx context.Context, set, member string) error
}

// maxTTL is 146 years. It can be rounded up and added to the present time without overflow.
const maxTTL = time.Duration(1 << 62)

// RoundTTL returns ttl rounded up to whole milliseconds, or an error that wraps ErrTTL if ttl is
// zero or negative. A ttl of more than 146 years becomes 146 years. RoundTTL is for implementations
// of Store.
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
