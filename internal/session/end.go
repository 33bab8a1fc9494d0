package session

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/oidcgate/oidcgate/internal/event"
	"github.com/oidcgate/oidcgate/store"
)

const (
	// endBatch is how many sessions are ended at a time, and endFew in a store that knows no batches.
	endBatch = 500
	endFew   = 8

	// endTime is the time that each session of a logout adds to its deadline.
	endTime = 10 * time.Millisecond
)

// ending is a logout of several sessions.
type ending struct {
	tombstones []tombstone // against logins under way
	sets       []string    // that list the sessions
	user       User        // whose sessions they are; zero if only the summaries say so
	reason     event.Reason

	// keep returns true for a session that is not meant. If nil, all are. Without a tombstone,
	// sessions that do not live are not meant either.
	keep func(*leaving) bool

	// needsSummary returns true for a living session whose summary keep looks at. Such a session
	// stays when its summary cannot be read: it may be one of a later login. If nil, keep looks at
	// none.
	needsSummary func(*leaving) bool

	// also is a session that ends whether or not a set lists it. "" is none.
	also Handle

	// keepIndex leaves the sessions in the index. Where a tombstone could not be written, a login
	// under way may still begin one of them, and the next logout must find it.
	keepIndex bool
}

// means reports whether the logout means a session. One that does not live may be about to begin.
// If it were taken out of the index and no tombstone refused its login, no later logout would find
// it.
func (e *ending) means(l *leaving) bool {
	if len(e.tombstones) == 0 && !l.alive {
		return false
	}
	return e.keep == nil || !e.keep(l)
}

// meansUnread reports whether the logout means a living session whose summary cannot be read.
func (e *ending) meansUnread(l *leaving) bool {
	return (e.needsSummary == nil || !e.needsSummary(l)) && e.means(l)
}

// leaving is a session that ends.
type leaving struct {
	Handle
	summary          // the zero summary when it could not be read
	alive   bool     // the session is not over already
	foundIn []string // the sets that led here
	over    bool     // what lets the visitor in is deleted
	err     error    // why not everything of it could be deleted

	// unread is true when the summary could not be read, though the session lives. Then it ends, but
	// its index stays for the next logout.
	unread bool

	// alone is true for a session that no logout looked up. Its summary is read when it ends.
	alone bool
}

// end carries out a logout and returns how many sessions it ended. The newest end first. What
// cannot be done does not keep the rest from being done; the error says so, and the same call again
// finds less to do. A store that is too slow to end all ends some at each call.
func (k *Keeper) end(ctx context.Context, e ending) (int, error) {
	notRemembered := k.rememberLogout(ctx, e)
	e.keepIndex = notRemembered != nil
	ended, err := k.endListed(ctx, e)
	return ended, errors.Join(notRemembered, err)
}

// rememberLogout writes the tombstones of a logout. That must come before its sets are read.
func (k *Keeper) rememberLogout(ctx context.Context, e ending) error {
	ctx, cancel := Within(ctx, writeTimeout)
	defer cancel()
	return k.writeTombstones(ctx, e.tombstones)
}

// endListed ends the sessions that are listed. It has a time that fits their number, and uses at
// most half of it to read what it can of them.
func (k *Keeper) endListed(ctx context.Context, e ending) (int, error) {
	list, notListed := k.listed(ctx, e.sets)
	isAlso := func(l *leaving) bool { return l.Handle == e.also }
	if e.also != "" && !slices.ContainsFunc(list, isAlso) {
		list = append(list, &leaving{Handle: e.also})
	}
	most := writeTimeout + time.Duration(len(list))*endTime
	reading, read := Within(ctx, most/2)
	begun := time.Now()
	k.describe(reading, list)
	read()
	list = slices.DeleteFunc(list, func(l *leaving) bool { return l.err == nil && !e.means(l) })
	for _, l := range list {
		l.unread = l.err != nil && l.alive && e.meansUnread(l)
	}
	slices.SortFunc(list, newestFirst)
	ended, err := k.endAll(ctx, list, e, most-time.Since(begun))
	return ended, errors.Join(notListed, err)
}

func newestFirst(a, b *leaving) int { return b.Created.Compare(a.Created) }

// listed returns the members of sets. With an error they are those of the sets that could be read.
func (k *Keeper) listed(ctx context.Context, sets []string) ([]*leaving, error) {
	ctx, cancel := Within(ctx, writeTimeout)
	defer cancel()
	members := make([][]string, len(sets))
	var steps []func() error
	for i, set := range sets {
		steps = append(steps, func() (err error) {
			members[i], err = k.store.Members(ctx, set)
			return err
		})
	}
	err := k.storeError(ctx, sideBySide(steps...))
	var list []*leaving
	byHandle := map[string]*leaving{}
	for i, set := range sets {
		for _, h := range members[i] {
			if byHandle[h] == nil {
				byHandle[h] = &leaving{Handle: Handle(h)}
				list = append(list, byHandle[h])
			}
			byHandle[h].foundIn = append(byHandle[h].foundIn, set)
		}
	}
	return list, err
}

// describe reads the summaries of sessions, and which of them are alive: an idle session is over
// before its index entry is. A session about which the store fails gets an error.
func (k *Keeper) describe(ctx context.Context, list []*leaving) {
	ops := make([]store.Op, 0, 2*len(list))
	for _, l := range list {
		ops = append(ops,
			store.Op{Action: store.OpGet, Key: summaryKey(l.Handle)},
			looksFor(l))
	}
	results := store.Do(ctx, k.store, ops)
	for i, l := range list {
		sum, identity := results[2*i], results[2*i+1]
		l.err = cmp.Or(sum.Err, identity.Err)
		l.alive = identity.Found
		l.summary = k.openSummary(l.Handle, sum.Value)
	}
}

// endAll ends the sessions of a list, in its order, and tells of those that lived. It gives up when
// it can end none of a batch. A session whose identity is deleted has ended, whatever else of it
// could not be deleted. When most is over, it begins no batch but the first. One that has begun
// has a time of its own: what is left of it would stand in the way of the next try.
func (k *Keeper) endAll(
	ctx context.Context, list []*leaving, e ending, most time.Duration,
) (ended int, _ error) {
	var cause error
	size := endFew
	if _, ok := k.store.(store.Batcher); ok {
		size = endBatch
	}
	begun := time.Now()
	for rest := list; len(rest) > 0; {
		if len(rest) < len(list) && time.Since(begun) >= most {
			cause = cmp.Or(cause, errTooSlow)
			break
		}
		batch := rest[:min(size, len(rest))]
		rest = rest[len(batch):]
		over := 0
		k.eraseWithin(ctx, max(most, writeTimeout), batch, e.keepIndex)
		for _, l := range batch {
			cause = cmp.Or(l.err, cause)
			if l.over {
				over++
			}
			if l.over && l.alive {
				ended++
				k.tell(ctx, l.revoked(cmp.Or(l.User, e.user), e.reason))
			}
		}
		if over == 0 {
			break
		}
	}
	if cause != nil {
		cause = unfinished(list, cause)
	}
	return ended, k.storeError(ctx, cause)
}

// unfinished is the error of a logout that could not do all of it.
func unfinished(list []*leaving, cause error) error {
	lives, left := 0, 0
	for _, l := range list {
		switch {
		case !l.over:
			lives++
		case l.err != nil:
			left++
		}
	}
	switch {
	case left == 0:
		return fmt.Errorf("%d of %d sessions were not ended: %w", lives, len(list), cause)
	case lives == 0:
		return fmt.Errorf("all sessions have ended, and of %d something is left: %w", left, cause)
	}
	return fmt.Errorf("%d of %d sessions were not ended, and of %d others something is left: %w",
		lives, len(list), left, cause)
}

// revoked is the event of the end of a session.
func (l *leaving) revoked(of User, reason event.Reason) Event {
	return Event{
		Type: event.SessionRevoked, Reason: reason, Handle: l.Handle,
		Provider: l.Provider, Issuer: of.Issuer, Subject: of.Subject,
	}
}

// endHandle ends a session that no logout looked up. sum is zero when it is not known.
func (k *Keeper) endHandle(ctx context.Context, h Handle, sum summary) error {
	l := &leaving{Handle: h, summary: sum, alone: true}
	k.erase(ctx, []*leaving{l}, false)
	return k.notEnded(ctx, l)
}

// notEnded returns why not everything of a session could be deleted, or nil.
func (k *Keeper) notEnded(ctx context.Context, l *leaving) error {
	return leftovers(l, k.storeError(ctx, l.err))
}

// leftovers says of err that the session has ended all the same, if it has.
func leftovers(l *leaving, err error) error {
	if err != nil && l.over {
		return fmt.Errorf("%w: %w", ErrLeftovers, err)
	}
	return err
}

// EndUser ends all sessions of a user, and refuses the logins that began until now. It returns how
// many sessions it ended.
func (k *Keeper) EndUser(ctx context.Context, u User, reason event.Reason) (int, error) {
	if err := u.check(); err != nil {
		return 0, err
	}
	return k.end(ctx, k.endingOfUser(u, reason))
}

// check returns an error for what names nobody.
func (u User) check() error {
	if u.Issuer == "" || u.Subject == "" {
		return errors.New("oidcgate: the sessions of a user need an issuer and a subject")
	}
	return nil
}

func (k *Keeper) endingOfUser(u User, reason event.Reason) ending {
	now := time.Now()
	return ending{
		tombstones: []tombstone{k.endedTombstone(u, now)},
		sets:       []string{k.userSet(u)}, user: u, reason: reason,
		keep: func(l *leaving) bool { return !l.alive && l.Start.After(now) }, // about to begin
	}
}

var errNoSID = errors.New("oidcgate: EndProviderSession needs an issuer and a sid")

// EndProviderSession ends the sessions out of the provider's session sid, and every login out of it
// that is under way.
func (k *Keeper) EndProviderSession(
	ctx context.Context, issuer, sid string, reason event.Reason,
) (int, error) {
	if issuer == "" || sid == "" {
		return 0, errNoSID
	}
	noneFollows := logoutTime{at: time.Now().Add(k.attemptTTL())} // while the tombstone lies
	return k.end(ctx, ending{
		tombstones: []tombstone{k.sidTombstone(issuer, sid, noneFollows)},
		sets:       []string{k.sidSet(issuer, sid)}, reason: reason,
	})
}

// EndBySID ends the sessions out of the provider's session sid, and own, which is one of them, also
// if the sid's set does not list it or cannot be read. Logins out of it are let in, also those that
// are under way: who asks may not be the provider.
func (k *Keeper) EndBySID(
	ctx context.Context, own Handle, issuer, sid string, reason event.Reason,
) (int, error) {
	return k.end(ctx, ending{sets: []string{k.sidSet(issuer, sid)}, also: own, reason: reason})
}

// EndOthers ends the sessions of the user of s, except s, and refuses the user's logins that began
// until now. The error is ErrGone when s has ended.
func (k *Keeper) EndOthers(ctx context.Context, s *Session, reason event.Reason) (int, error) {
	if _, err := k.Peek(ctx, s.ID); err != nil {
		return 0, err
	}
	own := k.Handle(s.ID)
	e := k.endingOfUser(s.Identity.summary().User, reason)
	later := e.keep
	e.keep = func(l *leaving) bool { return l.Handle == own || later(l) }
	return k.end(ctx, e)
}

// EndOwn ends one session of the user of s. The error is ErrGone when h is not one of them, or is
// another one than s, which has ended.
func (k *Keeper) EndOwn(ctx context.Context, s *Session, h Handle, reason event.Reason) error {
	if h != k.Handle(s.ID) {
		if _, err := k.Peek(ctx, s.ID); err != nil {
			return err
		}
	}
	return k.EndOne(ctx, s.Identity.User(), h, reason)
}

// EndOne ends one session of a user. The error is ErrGone when h is not one of them.
func (k *Keeper) EndOne(ctx context.Context, user User, h Handle, reason event.Reason) error {
	set := k.userSet(user)
	handles, err := k.store.Members(ctx, set)
	if err != nil {
		return k.storeError(ctx, err)
	}
	if !slices.Contains(handles, string(h)) {
		return ErrGone
	}
	// The user's set comes last: if something is left behind, the next call finds the session there.
	l := &leaving{Handle: h, alone: true, foundIn: []string{set}}
	if k.describe(ctx, []*leaving{l}); l.err != nil {
		return k.storeError(ctx, l.err)
	}
	k.erase(ctx, []*leaving{l}, false)
	if l.over && l.alive {
		k.tell(ctx, l.revoked(user, reason))
	}
	return k.notEnded(ctx, l)
}

// sessionsOfUser lists the sessions of a user who logs in, where their number is bounded. It lists
// none when the store does not answer: the next login sees them.
func (k *Keeper) sessionsOfUser(ctx context.Context, l *Login) []*leaving {
	if k.limits.UserSessions == 0 {
		return nil
	}
	list, _ := k.listed(ctx, []string{k.userSet(l.Identity.summary().User)})
	return list
}

// endSurplus ends the oldest sessions of a user who has more than allowed, but for that of the
// login itself. Those that are over count as the oldest. It is best effort: the next login tries
// again.
func (k *Keeper) endSurplus(ctx context.Context, l *Login, list []*leaving) {
	surplus := len(list) - k.limits.UserSessions
	if surplus <= 0 {
		return
	}
	k.describe(ctx, list)
	slices.SortFunc(list, oldestFirst)
	own := k.Handle(l.ID)
	// The cut comes first: two logins at the same moment must not end each other's session. So where
	// clocks differ, the bound may be exceeded.
	list = slices.DeleteFunc(list[:surplus], func(l *leaving) bool {
		mayBegin := !l.alive && time.Since(l.Start) < k.attemptTTL() // see CheckLogouts
		return l.Handle == own || mayBegin
	})
	_, _ = k.endAll(ctx, list, ending{reason: event.ReasonSessionLimit}, writeTimeout)
}

// oldestFirst puts sessions that are over before those that live. All replicas have the same order.
func oldestFirst(a, b *leaving) int {
	switch {
	case a.alive && !b.alive:
		return 1
	case b.alive && !a.alive:
		return -1
	}
	return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.Handle, b.Handle))
}
