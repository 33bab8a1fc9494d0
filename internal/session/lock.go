package session

import (
	"bytes"
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/oidcgate/oidcgate/store"
)

// lock is a key in the store that one owner holds for a lease. A value that keeps others out says
// when it is over at the latest: a key that lost its TTL in the store stops no refresh for ever.
type lock struct {
	keeper *Keeper
	key    string
	owner  []byte
	lease  time.Duration
	held   atomic.Pointer[time.Time] // when it was the owner's for sure; the lease runs since then

	// refused is true when the store refused what the last refresh brought, on whatever replica.
	refused bool

	pausedUntil time.Time // when take has found that nobody may take it
	paused      string    // the replicas that a pause is for from which it was taken
}

const (
	// pausedLock begins the owner of a lock that nobody may take until it runs out. Its end follows,
	// after the replicas that may not, each with its own end, if others may.
	pausedLock = "paused "

	// refusedLock is the owner of a lock that everybody may take. It says that the store refused
	// what the last refresh brought. The owner who takes it begins with it, for those who wait.
	refusedLock = "refused "

	refusedTTL = 10 * time.Minute
)

// holder is who has a lock.
type holder int

const (
	lockMine   holder = iota
	lockTaken         // another replica has it
	lockPaused        // nobody may take it now
)

// take tries to take the lock and says who has it.
func (l *lock) take(ctx context.Context) (holder, error) {
	l.paused = ""
	now := time.Now()
	err := l.keeper.store.Create(ctx, l.key, l.owner, l.lease)
	if err == nil {
		l.held.Store(&now)
		return lockMine, nil
	}
	if !errors.Is(err, store.ErrExists) {
		l.leave(ctx) // the answer may be lost, and nobody would know whose it is
		return lockTaken, err
	}
	value, err := l.keeper.store.Get(ctx, l.key)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return lockTaken, nil // released just now: the caller tries again
	case err != nil:
		return lockTaken, err
	}
	l.refused = strings.HasPrefix(string(value), refusedLock)
	var free bool
	l.paused, free = l.pausesOthers(string(value))
	switch {
	case string(value) == refusedLock, l.over(string(value)), free:
		return l.takeFrom(ctx, value)
	case strings.HasPrefix(string(value), pausedLock):
		l.pausedUntil = l.endOf(string(value))
		return lockPaused, nil
	}
	return lockTaken, nil
}

// Alone calls do with the tokens of a session that is about to end, and keeps the lock: do may
// spend the refresh token. It waits for a refresh that is under way, on whatever replica, but no
// longer than a second. If another logout has the lock, it returns the hint of that. It does not
// call when the tokens cannot be read.
func (k *Keeper) Alone(ctx context.Context, s *Session, do func(*Tokens)) (hint string) {
	r := newRefresh(k, *s)
	leave, err := r.takePlace(ctx, &k.places.token)
	if err != nil {
		return ""
	}
	defer leave()
	for range 10 {
		switch holder, err := r.lock.take(ctx); {
		case err != nil || holder == lockPaused:
			return ""
		case holder == lockMine:
			if t, err := k.Tokens(ctx, s.ID); err == nil {
				do(t)
			}
			return ""
		}
		if _, other := k.readHint(ctx, s.ID); other.IDToken != "" {
			return other.IDToken
		}
		if sleep(ctx, 100*time.Millisecond) != nil {
			return ""
		}
	}
	return ""
}

// pausesOthers reports whether a value pauses some replicas and not this one, and returns those
// that it still pauses, each with its end.
func (l *lock) pausesOthers(value string) (others string, _ bool) {
	list, paused := strings.CutPrefix(value, pausedLock)
	list = list[:strings.LastIndexByte(list, ' ')+1]
	for one := range strings.FieldsSeq(list) {
		replica, end, _ := strings.Cut(one, ".")
		switch over := !time.Now().Before(parseMillis(end)); {
		case over:
		case replica == l.keeper.replica:
			return "", false
		default:
			others += one + " "
		}
	}
	return others, paused && list != ""
}

// longOver is how long ago a lock must have ended, as it says, so that it is taken. A replica whose
// clock is ahead by less takes none from a refresh under way.
const longOver = 10 * time.Minute

// over reports whether a value says that it is over, by the clock of whoever wrote it. A pause that
// ends too early costs one try.
func (l *lock) over(value string) bool {
	end, late := l.endOf(value), longOver
	if strings.HasPrefix(value, pausedLock) {
		late = l.keeper.limits.Leeway
	}
	return !end.IsZero() && time.Since(end) > late
}

// endOf returns when a value is over, as it says, or the zero time.
func (l *lock) endOf(value string) time.Time {
	return parseMillis(value[strings.LastIndexByte(value, ' ')+1:])
}

// takeFrom takes a lock that has a value and may be taken. What the value says of the last refresh
// stays.
func (l *lock) takeFrom(ctx context.Context, value []byte) (holder, error) {
	owner := l.owner
	if l.refused {
		owner = append([]byte(refusedLock), owner...)
	}
	now := time.Now()
	err := l.keeper.store.Swap(ctx, l.key, value, owner, l.lease)
	switch {
	case isLost(err):
		return lockTaken, nil // another was first: the caller tries again
	case err != nil: // the answer may be lost, as in take
		ctx, cancel := Detached(ctx)
		defer cancel()
		_ = l.keeper.store.Swap(ctx, l.key, owner, value, refusedTTL)
		return lockTaken, err
	}
	l.owner = owner
	l.held.Store(&now)
	return lockMine, nil
}

// isLost reports whether a swap of the lock failed because its value is another's.
func isLost(err error) bool {
	return errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrConflict)
}

// keep renews the lease until stop is called: the provider may take longer than a lease.
func (l *lock) keep(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var done sync.WaitGroup
	done.Go(func() {
		defer l.keeper.recovered(ctx, "the store", func() {}) // the lease then runs out
		for next := l.lease / 3; sleep(ctx, next) == nil; {
			now := time.Now()
			err := l.keeper.store.Swap(ctx, l.key, l.owner, l.owner, l.lease)
			switch {
			case err == nil:
				l.held.Store(&now)
				next = l.lease / 3
			case isLost(err):
				return // which shows when the tokens are saved
			default:
				next = min(retryAfter, l.lease/3)
			}
		}
	})
	return func() { cancel(); done.Wait() }
}

// stillMine reports whether the lease cannot have run out, without asking the store.
func (l *lock) stillMine() bool {
	held := l.held.Load()
	return held != nil && time.Since(*held) < l.lease/2
}

// lost returns an error if the owner may have lost the lock, because it stood still for longer than
// the lease.
func (l *lock) lost(ctx context.Context) error {
	value, err := l.keeper.store.Get(ctx, l.key)
	switch {
	case err == nil && bytes.Equal(value, l.owner):
		return nil
	case err == nil, errors.Is(err, store.ErrNotFound):
		return errLockLost
	}
	return l.keeper.storeError(ctx, err)
}

// release gives the lock back after a refresh that ended with err. Where the store refused what it
// brought, the lock says so to all replicas, as soon as the store takes it again. It is best
// effort: the lease runs out.
func (l *lock) release(ctx context.Context, err error) {
	ctx, cancel := Detached(ctx)
	defer cancel()
	if !errors.Is(err, ErrStore) {
		l.leave(ctx)
		return
	}
	for {
		err := l.keeper.store.Swap(ctx, l.key, l.owner, []byte(refusedLock), refusedTTL)
		if err == nil || isLost(err) || sleep(ctx, retryAfter) != nil {
			return
		}
	}
}

// leave gives the lock back, if the owner has it.
func (l *lock) leave(ctx context.Context) {
	ctx, cancel := Detached(ctx)
	defer cancel()
	_ = l.keeper.store.Delete(ctx, l.key, l.owner)
}

// maxApart is how many replicas may pause without the others.
const maxApart = 8

// pause keeps everybody from taking the lock for a while, and reports whether it does; this replica
// alone, and those that were paused already, where own is true. It is best effort: the next try
// then comes sooner.
func (l *lock) pause(ctx context.Context, d time.Duration, own bool) bool {
	ctx, cancel := Detached(ctx)
	defer cancel()
	value := pausedLock
	if own && strings.Count(l.paused, " ") < maxApart {
		value += l.paused + string(withEnd(l.keeper.replica+".", d)) + " "
	}
	return l.keeper.store.Swap(ctx, l.key, l.owner, withEnd(value, d), d) == nil
}

// withEnd returns a value of a lock that says that it is over after a time.
func withEnd(value string, d time.Duration) []byte {
	return strconv.AppendInt([]byte(value), time.Now().Add(d).UnixMilli(), 10)
}
