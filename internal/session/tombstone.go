package session

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/oidcgate/oidcgate/store"
)

// A tombstone says for the longest time that a login may take that somebody was logged out. A login
// that finds one at its end is refused.

// tombstone is a logout to be remembered.
type tombstone struct {
	key string
	logoutTime
}

// logoutTime is when somebody was logged out. The clocks of this service and of the provider
// differ, so each time is compared with times of its own clock only.
type logoutTime struct {
	at time.Time // by the clock of who logged the user out, as a logout token says it

	// received is when the provider's logout came here, by this service's clock. It is zero for a
	// logout by this service, whose two times are the same.
	received time.Time
}

// heard returns the time of a logout by the provider that comes now. A token that arrives late is
// taken as received a leeway after it was issued: no clock differs by more, and logins that began
// later are not meant. A token's time is in seconds.
func (k *Keeper) heard(at time.Time) logoutTime {
	received, latest := time.Now(), at.Add(time.Second+k.limits.Leeway)
	if received.After(latest) {
		received = latest
	}
	return logoutTime{at, received}
}

// latest returns the later of the times of two logouts.
func (l logoutTime) latest(o logoutTime) logoutTime {
	if o.at.After(l.at) {
		l.at = o.at
	}
	if o.received.After(l.received) {
		l.received = o.received
	}
	return l
}

func (l logoutTime) encode() []byte {
	text := strconv.AppendInt(nil, l.at.UnixMilli(), 10)
	if !l.received.IsZero() {
		text = strconv.AppendInt(append(text, ' '), l.received.UnixMilli(), 10)
	}
	return text
}

// parseLogoutTime is the reverse of encode. Older versions wrote of the provider's logouts only
// when the token was issued, in seconds, and logins that began later were let in. ok is false for
// what is none of both, which a later version may have written.
func parseLogoutTime(value []byte) (l logoutTime, ok bool) {
	at, received, two := strings.Cut(string(value), " ")
	l = logoutTime{parseMillis(at), parseMillis(received)}
	if !two {
		l.received = l.at.Add(time.Second - time.Nanosecond)
	}
	return l, !l.at.IsZero() && !l.received.IsZero()
}

// endedTombstone refuses logins of a user that began before at, by this service's clock.
func (k *Keeper) endedTombstone(u User, at time.Time) tombstone {
	return tombstone{k.nameKey(endedPrefix, u.Issuer, u.Subject), logoutTime{at: at}}
}

// userTombstone refuses logins of a user that do not follow a logout by the provider: whoever logs
// in again after it is let in.
func (k *Keeper) userTombstone(u User, l logoutTime) tombstone {
	return tombstone{k.nameKey(loggedOutPrefix, u.Issuer, u.Subject), l}
}

// sidlessTombstone is like userTombstone, for logins whose ID Token has no sid.
func (k *Keeper) sidlessTombstone(u User, l logoutTime) tombstone {
	return tombstone{k.nameKey(loggedOutPrefix, u.Issuer, u.Subject, "without sid"), l}
}

// sidTombstone is like userTombstone, for logins out of a session of the provider's.
func (k *Keeper) sidTombstone(issuer, sid string, l logoutTime) tombstone {
	return tombstone{k.nameKey(sidLoggedOutPrefix, issuer, sid), l}
}

// CheckLogouts returns ErrLoggedOut if the user of a login was logged out since it began. The error
// is ErrTooLate when the tombstones of that time may be gone: the provider, or the application,
// took long to answer after the visitor had come back.
func (k *Keeper) CheckLogouts(ctx context.Context, l *Login) error {
	sum := l.summary()
	// Whether the login follows the logout of each mark; otherwise it is refused.
	follows := []func(logoutTime) bool{
		func(e logoutTime) bool { return l.Start.After(e.at) }, sum.follows, sum.follows,
	}
	loggedOut := false
	for i, r := range k.readMarks(ctx, k.LogoutMarks(l)) {
		if r.Err != nil {
			return k.storeError(ctx, r.Err)
		}
		logout, ok := parseLogoutTime(r.Value)
		if i == 2 && sum.SID != "" { // older versions wrote one time for it, and meant every login
			ok = ok && strings.Contains(string(r.Value), " ")
		}
		loggedOut = loggedOut || r.Found && (!ok || !follows[i](logout))
	}
	if loggedOut {
		return ErrLoggedOut
	}
	if time.Since(l.Start) > k.limits.Attempt+k.limits.Leeway {
		return ErrTooLate
	}
	return nil
}

// LogoutMarks returns the keys of the tombstones that refuse a login: of a logout by this service,
// of one by the provider, and of one of the provider's session, or of logins without one.
func (k *Keeper) LogoutMarks(l *Login) []string {
	sum := l.summary()
	var anytime logoutTime
	last := k.sidlessTombstone(sum.User, anytime)
	if sum.SID != "" {
		last = k.sidTombstone(sum.Issuer, sum.SID, anytime)
	}
	ended := k.endedTombstone(sum.User, anytime.at)
	return []string{ended.key, k.userTombstone(sum.User, anytime).key, last.key}
}

func (k *Keeper) readMarks(ctx context.Context, marks []string) []store.Result {
	ops := make([]store.Op, len(marks))
	for i, key := range marks {
		ops[i] = store.Op{Action: store.OpGet, Key: key}
	}
	return store.Do(ctx, k.store, ops)
}

// LoggedOutSince reports whether a logout has left one of these marks since a time. It takes the
// provider's clock for this service's, and is false where the store does not say.
func (k *Keeper) LoggedOutSince(ctx context.Context, marks []string, since time.Time) bool {
	return slices.ContainsFunc(k.readMarks(ctx, marks), func(r store.Result) bool {
		l, ok := parseLogoutTime(r.Value) // not ok: there is no value, or one of a later version
		return ok && (l.at.After(since) || l.received.After(since))
	})
}

// sidLoggedOut reports whether a session of the provider's was logged out.
func (k *Keeper) sidLoggedOut(ctx context.Context, issuer, sid string) (bool, error) {
	_, err := k.store.Get(ctx, k.sidTombstone(issuer, sid, logoutTime{}).key)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	return err == nil, k.storeError(ctx, err)
}

// attemptTTL outlives every login that is under way now: CheckLogouts refuses those that take
// longer, also where the replica at which one began has a clock that is ahead.
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
	value := t.encode()
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
		value = old // which refuses every login, if it cannot be read
		if before, ok := parseLogoutTime(old); ok {
			value = t.latest(before).encode()
		}
		err = k.store.Swap(ctx, t.key, old, value, k.attemptTTL())
		if !errors.Is(err, store.ErrConflict) && !errors.Is(err, store.ErrNotFound) {
			return err
		}
	}
}
