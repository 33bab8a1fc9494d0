package session

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/oidcgate/oidcgate/store"
)

// A tombstone says for the longest time that a login may take that somebody was logged out. A login
// that finds one at its end is refused.

// tombstone is a logout to be remembered.
type tombstone struct {
	key string
	at  time.Time // of the logout
}

// endedTombstone refuses logins of a user that began before at, by this service's clock.
func (k *Keeper) endedTombstone(u User, at time.Time) tombstone {
	return tombstone{k.nameKey(endedPrefix, u.Issuer, u.Subject), at}
}

// userTombstone refuses logins of a user that do not follow at, which is the provider's time:
// whoever logs in again after the logout is let in.
func (k *Keeper) userTombstone(u User, at time.Time) tombstone {
	return tombstone{k.nameKey(loggedOutPrefix, u.Issuer, u.Subject), at}
}

// sidlessTombstone is like userTombstone, for logins whose ID Token has no sid.
func (k *Keeper) sidlessTombstone(u User, at time.Time) tombstone {
	return tombstone{k.nameKey(loggedOutPrefix, u.Issuer, u.Subject, "without sid"), at}
}

// sidTombstone refuses all logins out of a session of the provider's.
func (k *Keeper) sidTombstone(issuer, sid string) tombstone {
	return tombstone{k.nameKey(sidLoggedOutPrefix, issuer, sid), time.Now()}
}

// checkTombstones reads whether the user was logged out since the login began.
func (k *Keeper) checkTombstones(ctx context.Context, l *Login) error {
	sum := l.summary()
	var anytime time.Time
	checks := []struct {
		tombstone
		follows func(logout time.Time) bool // whether the login does; otherwise it is refused
	}{
		{k.endedTombstone(sum.User, anytime), l.Start.After},
		{k.userTombstone(sum.User, anytime), sum.follows},
		{k.sidlessTombstone(sum.User, anytime), sum.follows},
	}
	if sum.SID != "" {
		checks[2].tombstone = k.sidTombstone(sum.Issuer, sum.SID)
		checks[2].follows = func(time.Time) bool { return false }
	}
	ops := make([]store.Op, len(checks))
	for i, c := range checks {
		ops[i] = store.Op{Action: store.OpGet, Key: c.key}
	}
	loggedOut := false
	for i, r := range store.Do(ctx, k.store, ops) {
		if r.Err != nil {
			return k.storeError(ctx, r.Err)
		}
		at := parseMillis(string(r.Value))
		loggedOut = loggedOut || r.Found && !checks[i].follows(at)
	}
	if loggedOut {
		return ErrLoggedOut
	}
	return nil
}

// sidLoggedOut reports whether a session of the provider's was logged out.
func (k *Keeper) sidLoggedOut(ctx context.Context, issuer, sid string) (bool, error) {
	_, err := k.store.Get(ctx, k.sidTombstone(issuer, sid).key)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	return err == nil, k.storeError(ctx, err)
}

// attemptTTL outlives every login that is under way now.
func (k *Keeper) attemptTTL() time.Duration { return k.limits.Attempt + 2*k.limits.Leeway }

// writeTombstones writes all of them, or as many as the store takes.
func (k *Keeper) writeTombstones(ctx context.Context, all []tombstone) error {
	var steps []func() error
	for _, t := range all {
		steps = append(steps, func() error { return k.writeTombstone(ctx, t) })
	}
	return k.storeError(ctx, sideBySide(steps...))
}

// writeTombstone writes a tombstone. One that is there already stays or becomes later, never
// earlier.
func (k *Keeper) writeTombstone(ctx context.Context, t tombstone) error {
	value := []byte(strconv.FormatInt(t.at.UnixMilli(), 10))
	for {
		err := k.store.Create(ctx, t.key, value, k.attemptTTL())
		if !errors.Is(err, store.ErrExists) {
			return err
		}
		old, err := k.store.Get(ctx, t.key)
		if errors.Is(err, store.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		if parseMillis(string(old)).After(t.at) {
			value = old
		}
		err = k.store.Swap(ctx, t.key, old, value, k.attemptTTL())
		if !errors.Is(err, store.ErrConflict) && !errors.Is(err, store.ErrNotFound) {
			return err
		}
	}
}
