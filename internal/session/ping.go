package session

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"github.com/oidcgate/oidcgate/internal/event"
	"github.com/oidcgate/oidcgate/store"
)

const (
	writeAgain  = 5 * time.Second // after which it is tried again whether the store takes writes
	failedAgain = time.Second     // the same, while it takes none
	writtenKeys = 8               // so many keys, which in a Cluster lie on several machines
	writtenTTL  = time.Second
)

// pingKey returns another key each time.
func pingKey() string { return readinessPrefix + strconv.FormatUint(rand.Uint64(), 36) }

// pings remember whether the store takes writes.
type pings struct {
	mu     sync.Mutex
	tried  time.Time // when it was tried last
	failed error     // why it took none then; nil: it took them, or it is not known yet
}

// turn reports whether the caller is to try whether the store takes writes. One caller is at a
// time: strangers who begin logins must not multiply what a store has to do that is ill. For the
// others counts what came of the last try.
func (p *pings) turn() (mine bool, last error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	again := writeAgain
	if p.failed != nil {
		again = failedAgain
	}
	since := time.Since(p.tried)
	mine = since < 0 || since >= again // a clock may have been set back
	if mine {
		p.tried = time.Now()
	}
	return mine, p.failed
}

func (p *pings) ended(failed error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failed = failed
}

// Ping returns nil when the store can keep a login: it answers a read, and it took writes in the
// last few seconds. A login needs a dozen keys, so all machines of a Cluster must do so. While it
// takes none, it is asked once a second, and all get the same error.
func (k *Keeper) Ping(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	mine, last := k.pings.turn()
	switch {
	case mine:
		return k.TryWrites(ctx)
	case last != nil:
		return last
	}
	_, err := k.store.Get(ctx, pingKey())
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	return k.storeError(ctx, err)
}

// TryWrites returns nil when the store takes writes now: it writes a few keys side by side. It does
// not end with the caller, who may be a stranger and whose leaving says nothing about the store.
func (k *Keeper) TryWrites(ctx context.Context) error {
	ctx, cancel := Detached(ctx)
	defer cancel()
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
	failed := k.storeError(ctx, cmp.Or(errs...)) // one tells enough
	k.pings.ended(failed)
	if failed == nil { // a read that works would not do: a store may take no writes
		k.tell(ctx, Event{Type: event.StoreAvailable})
	}
	return failed
}
