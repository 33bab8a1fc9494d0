package session

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/oidcgate/oidcgate/store"
)

const (
	writeAgain  = 5 * time.Second // after which it is tried again whether the store takes writes
	writtenKeys = 8               // so many keys, which in a Cluster lie on several machines
	writtenTTL  = time.Second
)

// pingKey returns another key each time.
func pingKey() string { return readinessPrefix + strconv.FormatUint(rand.Uint64(), 36) }

// pings remember when the store last took writes.
type pings struct {
	wrote atomic.Int64 // in unix nanoseconds; zero: not, or not any more
}

// Ping returns nil when the store can keep a login: it answers a read, and it took writes in the
// last few seconds. A login needs a dozen keys, so all machines of a Cluster must do so.
func (k *Keeper) Ping(ctx context.Context) error {
	wrote, now := k.pings.wrote.Load(), time.Now().UnixNano()
	due := now < wrote || now-wrote >= int64(writeAgain) // a clock may have been set back
	if wrote == 0 || due && k.pings.wrote.CompareAndSwap(wrote, now) {
		return k.pingWrites(ctx, now)
	}
	_, err := k.store.Get(ctx, pingKey())
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	return k.storeError(ctx, err)
}

// pingWrites writes a few keys side by side. While it fails, everybody who asks tries it.
func (k *Keeper) pingWrites(ctx context.Context, now int64) error {
	errs := make([]error, writtenKeys)
	var steps []func() error
	for i := range errs {
		steps = append(steps, func() error {
			key := pingKey()
			if errs[i] = k.store.Create(ctx, key, []byte("1"), writtenTTL); errs[i] == nil {
				_ = k.store.Delete(ctx, key, nil) // a small store is not filled by it
			}
			return nil
		})
	}
	_ = sideBySide(steps...)
	failed := cmp.Or(errs...) // one tells enough
	if failed != nil {
		now = 0
	}
	k.pings.wrote.Store(now)
	return k.storeError(ctx, failed)
}
