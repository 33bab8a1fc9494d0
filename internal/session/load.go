package session

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/oidcgate/oidcgate/internal/claims"
	"github.com/oidcgate/oidcgate/internal/event"
)

// Session is a session as one request found it. It is not changed once it is loaded.
type Session struct {
	ID       ID
	Identity Identity
	Times    Times
}

// Load returns the session of an id: one read of the store, and one write more when its use is
// noted. The error is ErrGone when there is no session, and wraps ErrStore when the store cannot
// answer, which says nothing about the session.
func (k *Keeper) Load(ctx context.Context, id ID) (*Session, error) {
	r, err := k.find(ctx, id)
	if err != nil {
		return nil, err
	}
	s := &Session{id, decodeIdentity(r.plaintext), r.times}
	tooOld := time.Since(s.Identity.Created) >= k.limits.Lifetime // which may be less than it was
	if tooOld || k.touchDue(s.Times) {
		if s.Times, err = k.touch(ctx, id, r); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// touchDue reports whether the use of a session is to be noted. A note from further in the future
// than clocks may differ was made by one that was wrong. With it the record would end in the store
// while the session is in use: the TTL runs since the note was made.
func (k *Keeper) touchDue(t Times) bool {
	since := time.Now().UnixMilli() - t.Seen
	most := k.limits.Touch.Milliseconds()
	return since >= most || -since >= most+k.limits.Leeway.Milliseconds()
}

// Peek is Load for a request that is no use of the session, such as a logout.
func (k *Keeper) Peek(ctx context.Context, id ID) (*Session, error) {
	r, err := k.find(ctx, id)
	if err != nil {
		return nil, err
	}
	return &Session{id, decodeIdentity(r.plaintext), r.times}, nil
}

// find reads the record of a session, and deletes one that is over.
func (k *Keeper) find(ctx context.Context, id ID) (record, error) {
	r, err := k.read(ctx, identityKind, id)
	if err == errExpired {
		k.expired(ctx, id, r)
	}
	return r, err
}

// touch notes that the session is used, and seals its record under the first key. It may lose
// against another request that does the same. A store that refuses the write is an event and no
// error: reading goes on while writing cannot. A session that was ended meanwhile is gone, and so
// is one that is older than Limits.Lifetime, which may be less than when it began.
func (k *Keeper) touch(ctx context.Context, id ID, r record) (Times, error) {
	now := time.Now().UnixMilli()
	created := timeMember(claims.Object(r.plaintext), "created")
	r.times.Deadline = min(r.times.Deadline, created.Add(k.limits.Lifetime).UnixMilli())
	if now >= r.times.Deadline {
		k.expired(ctx, id, r)
		return r.times, errExpired
	}
	touched := Times{r.times.Deadline, now}
	fresh, err := k.seal(identityKind, id, touched, r.plaintext)
	if err == nil {
		err = k.swap(ctx, r, fresh)
	}
	switch {
	case err == nil:
		return touched, nil
	case errors.Is(err, ErrGone):
		return r.times, err
	case errors.Is(err, errChanged), callerGaveUp(ctx):
		return r.times, nil
	}
	k.tell(ctx, Event{Type: event.SessionTouchFailed, Handle: k.Handle(id), Err: err})
	return r.times, nil
}

// expired deletes what is left of a session that is over. It is best effort: the session is over
// whether the store forgets it or not. Tokens and values have the TTL of the deadline and not of
// the idle time, because noting the use of a session moves one record and not three.
func (k *Keeper) expired(ctx context.Context, id ID, r record) {
	reason := event.ReasonIdle
	if time.Now().UnixMilli() >= r.times.Deadline {
		reason = event.ReasonAbsolute
	}
	if k.store.Delete(ctx, r.key, r.sealed) == nil {
		_ = k.End(ctx, id)
	}
	k.tell(ctx, Event{Type: event.SessionExpired, Reason: reason, Handle: k.Handle(id)})
}

// Login is a login that passed every check, about to begin a session.
type Login struct {
	Session           // Begin sets Times.Seen
	Tokens  *Tokens   // of the provider
	Start   time.Time // when the login began, by this service's clock

	// Before is the browser's session from before the login, which ends. Its ID is "" when there is
	// none, and its identity is zero when it could not be read.
	Before Session
}

func (l *Login) summary() summary {
	sum := l.Identity.summary()
	sum.Start = l.Start
	return sum
}

// Begin writes a new session under an id that nobody has yet, and ends the one from before the
// login. It returns when everything is in the store. The order of its steps is what logouts rely on
// (see index.go): index, identity and tokens, tombstones. Of a session that cannot be saved whole
// nothing stays, nor of one in whose place the old one would live on. The error is ErrLoggedOut or
// ErrTooLate, or wraps ErrTooLarge or ErrStore.
func (k *Keeper) Begin(ctx context.Context, l *Login) error {
	var before replaced
	var all []*leaving
	err := sideBySide(
		func() (err error) { all, err = k.begin(ctx, l); return err },
		func() error { before = k.replacedBy(ctx, l); return nil },
	)
	if err == nil {
		err = k.replace(ctx, before)
	}
	if err == nil {
		k.tell(ctx, Event{Type: event.SessionCreated, Identity: &l.Identity, Handle: k.Handle(l.ID)})
		k.endSurplus(ctx, l, all)
		return nil
	}
	// A write that failed may have been carried out, and ctx may have ended. Best effort: nobody has
	// the id.
	ctx, cancel := Detached(ctx)
	defer cancel()
	_ = k.endHandle(ctx, k.Handle(l.ID), l.Identity.summary())
	return err
}

// replaced is the session from before a login.
type replaced struct {
	session *Session // nil if there is none
	summary summary  // zero when it cannot be read
	tokens  *Tokens  // to be revoked; nil if there are none
}

// replacedBy reads what is needed to end the session from before a login.
func (k *Keeper) replacedBy(ctx context.Context, l *Login) replaced {
	if l.Before.ID == "" {
		return replaced{}
	}
	r := replaced{session: &l.Before}
	if l.Before.Identity.IDToken == "" {
		r.summary, _ = k.readSummary(ctx, k.Handle(l.Before.ID))
		return r
	}
	r.summary = l.Before.Identity.summary()
	r.summary.LaterSets, _ = k.laterSets(ctx, k.Handle(l.Before.ID))
	if l.Identity.mayShareGrant(&l.Before.Identity) {
		return r
	}
	r.tokens, _ = k.Tokens(ctx, l.Before.ID)
	return r
}

// replace ends the session from before a login. The error says that it lives on: whoever has its id
// would stay signed in, though the visitor has logged in anew. One that could not be read is ended
// as far as it can be.
func (k *Keeper) replace(ctx context.Context, r replaced) error {
	if r.session == nil {
		return nil
	}
	l := &leaving{Handle: k.Handle(r.session.ID), summary: r.summary}
	if k.deleteIdentity(ctx, l); l.over {
		taken := k.clear(ctx, l, r.session.ID, r.tokens)
		k.revokeAll(ctx, &r.session.Identity, taken)
		if !l.over { // the store has lost the deletion
			return k.storeError(ctx, l.err)
		}
		return nil
	}
	if r.session.Identity.IDToken == "" {
		return nil
	}
	return k.storeError(ctx, l.err)
}

// Discard revokes the refresh token of a login that was refused, where no session may share its
// grant. It is best effort.
//
// Here any session of the user's may: Keycloak before 26.0.8 revokes the tokens of all that the
// user has at this client, and nobody has asked for a logout.
func (k *Keeper) Discard(ctx context.Context, l *Login) {
	refused := l.Identity.summary()
	refused.SID = ""
	if l.Tokens.RefreshToken == "" ||
		l.Before.ID != "" && refused.mayShareGrant(l.Before.Identity.summary()) {
		return
	}
	ctx, cancel := Detached(ctx) // the browser may have left
	defer cancel()
	own := k.Handle(l.ID)
	isOther := func(o *leaving) bool { return o.Handle != own }
	shared, err := k.sharesGrant(ctx, refused, isOther)
	if err == nil && !shared {
		k.provider.Revoke(ctx, &l.Identity, l.Tokens.RefreshToken)
	}
}

// sharesGrant reports whether the refresh token of a living session of the user's, of those that
// count, may be of the same grant. To revoke one of them may end the other.
func (k *Keeper) sharesGrant(
	ctx context.Context, own summary, counts func(*leaving) bool,
) (bool, error) {
	list, err := k.listed(ctx, []string{k.userSet(own.User)})
	k.describe(ctx, list)
	for _, l := range list {
		if l.err == nil && l.alive && l.mayShareGrant(own) && counts(l) {
			return true, nil
		}
		err = cmp.Or(err, l.err)
	}
	return false, k.storeError(ctx, err)
}

// begin writes a new session. It returns the sessions of its user, where their number is bounded.
func (k *Keeper) begin(ctx context.Context, l *Login) (all []*leaving, _ error) {
	if k.limits.EndWithAccessToken && l.Tokens.RefreshToken != "" {
		l.Identity.TokenEnds = k.Expires(l.Tokens)
	}
	identity := l.Identity.encode()
	if err := l.Identity.fits(identity, k.limits.MaxBytes); err != nil {
		return nil, err
	}
	if err := k.keepUserinfo(l.Tokens, *l.Tokens.Userinfo); err != nil {
		return nil, err
	}
	l.Times.Seen = time.Now().UnixMilli()
	r, err := k.seal(identityKind, l.ID, l.Times, identity)
	if err != nil {
		return nil, err
	}
	tokens, err := k.sealTokens(l.ID, l.Tokens, l.Times.Deadline)
	if err != nil {
		return nil, err
	}
	if err := k.addToIndex(ctx, l); err != nil {
		return nil, err
	}
	err = sideBySide(
		func() error { return k.create(ctx, r) },
		func() error { return k.create(ctx, tokens) },
	)
	if err != nil {
		return nil, err
	}
	var listed summary
	err = sideBySide(
		func() error { return k.CheckLogouts(ctx, l) },
		func() error { all = k.sessionsOfUser(ctx, l); return nil },
		func() (err error) { listed, err = k.readSummary(ctx, k.Handle(l.ID)); return err },
	)
	if err == nil && listed.User == (User{}) {
		err = k.checkEnded(ctx, k.Handle(l.ID))
	}
	return all, err
}

// checkEnded returns an error if a session that has begun lives, though it has no summary and
// nobody was logged out: the store has lost that, and no logout would find the session. A logout
// deletes the identity first.
func (k *Keeper) checkEnded(ctx context.Context, h Handle) error {
	alive, err := k.alive(ctx, h)
	if alive {
		err = k.storeError(ctx, errNotListed)
	}
	return err
}

var errNotListed = errors.New("oidcgate: the store has lost the summary of a session that " +
	"begins, as in a failover")

// End ends the session of an id, whether or not this replica can read it.
func (k *Keeper) End(ctx context.Context, id ID) error {
	h := k.Handle(id)
	sum, err := k.readSummary(ctx, h)
	if err != nil {
		return err
	}
	return k.endHandle(ctx, h, sum)
}
