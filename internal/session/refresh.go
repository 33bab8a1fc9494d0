package session

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"sync/atomic"
	"time"

	"github.com/oidcgate/oidcgate/internal/claims"
	"github.com/oidcgate/oidcgate/internal/event"
	"github.com/oidcgate/oidcgate/store"
)

// A refresh token that rotates is good once. Two requests that spend it at the same time look to
// the provider like a thief and a victim, and it withdraws the login (RFC 9700, section 4.14.2). So
// a session has one refresh under way at a time, over all requests and replicas:
//
//  1. In the process one request refreshes, and the others wait for its result (flight.go).
//  2. Over the replicas it takes the session's lock: a key in the store with a random owner and a
//     lease. The lease is renewed while the provider is asked. It runs out when the replica dies.
//  3. With the lock in hand it reads the tokens again: another replica may have been first.
//  4. It marks that the provider is asked, asks, and swaps the tokens it read for those it got.
//     Then the mark and the lock are deleted. The mark is also deleted when the refresh token was
//     not sent, or the provider issued nothing for it.
//
// A swap fails when the session is gone: a logout came first, and it wins. A mark that the next
// holder of the lock finds says that an answer of the provider was lost before it was saved. When
// the provider then refuses the token, the reason is the lost answer and not a thief.
//
// When the provider fails, the lock becomes a pause for all replicas, or for those that failed.

const (
	askedTTL    = time.Hour
	saveTimeout = 10 * time.Second
	retryAfter  = 200 * time.Millisecond // the store refused a write that must not be lost
)

// refresh is one refresh of a session by this process.
type refresh struct {
	k      *Keeper
	s      Session // as the request found it
	flight *flight
	lock   lock
	tokens *Tokens // as they were read or received last

	exchanged bool // the tokens have just come from the provider
	recent    bool // they came from it for a re-read that is tried again, and are not due
	wasOver   bool // others have ended the session meanwhile

	own      bool        // what fails may be this replica's fault alone
	limited  bool        // userinfo failed, which was to say so, perhaps for this user alone
	unread   bool        // userinfo cannot be read, which was to say whose the tokens are
	deciding atomic.Bool // the application is being asked

	failed bool // the tokens could not be refreshed, which is told when the claims have been read

	// unsure is true when the refresh failed and was not refused: an ID Token with new claims is
	// missing then. With answerLost the provider may have replaced the access token all the same.
	unsure, answerLost bool
}

func newRefresh(k *Keeper, s Session) *refresh {
	r := &refresh{k: k, s: s}
	lease := k.limits.LockLease
	longest := 2*r.timeout() + lease // it waits, and then it refreshes
	r.lock = lock{
		keeper: k,
		key:    lockPrefix + string(k.Handle(s.ID)),
		owner:  withEnd(rand.Text()+" ", longest),
		lease:  lease,
	}
	return r
}

// timeout bounds the wait for another's refresh, and then this one: asking the provider for
// metadata, tokens and keys, and saving in a store that stumbles.
func (r *refresh) timeout() time.Duration { return 3*r.k.limits.ProviderTimeout + saveTimeout }

// run waits until somebody has done what is due or the lock is in hand, and then does it. It waits
// for another replica only as long as a request waits here: the provider may hang, and every try
// asks the store three times.
func (r *refresh) run(ctx context.Context) error {
	ctx, cancel := Within(ctx, r.timeout())
	defer cancel()
	if u := r.k.flights.unsavedOf(r.flight); u.what == unsavedEnd {
		if err := r.endAtLast(ctx, u.since); err != nil {
			return err
		}
	}
	for {
		if done, err := r.nothingToDo(ctx); done || err != nil {
			return err
		}
		holder, err := r.lock.take(ctx)
		if holder == lockMine {
			r.storeWrites()
		}
		if r.lock.refused {
			r.noteUnsaved(unsavedTokens)
		}
		switch {
		case err != nil:
			return r.k.storeError(ctx, err)
		case holder == lockMine:
			return r.runLocked(ctx)
		case holder == lockPaused:
			r.k.flights.pause(r.s.ID, min(time.Until(r.lock.pausedUntil), otherPause))
			return ErrProvider
		case r.k.usable(r.tokens) && !r.k.claimsStale(&r.s.Identity) && !r.flight.again:
			return nil // another refreshes them in time
		}
		if err := sleep(ctx, r.k.pollAfter(time.Since(r.flight.begun))); err != nil {
			return errNotWaited
		}
		if r.k.flights.abandoned(r.s.ID, r.flight) {
			return errNotWaited
		}
	}
}

// endAtLast ends a session that the store did not end, unless another replica has found meanwhile
// that it need not end. The error is nil only then.
func (r *refresh) endAtLast(ctx context.Context, since time.Time) error {
	overruled, err := r.overruled(ctx, since)
	switch {
	case errors.Is(err, ErrGone): // it has ended, and something of it may be left
		return cmp.Or(r.k.End(ctx, r.s.ID), err)
	case err != nil:
		return err
	case !overruled:
		return r.endAndRevoke(ctx)
	}
	r.settled(unsavedClaims)
	return nil
}

// pollAfter is how long to leave the store alone for which another replica's refresh was waited so
// long: a third of it, between 20 milliseconds and about a second, and not the same for everybody.
func (k *Keeper) pollAfter(waited time.Duration) time.Duration {
	d := min(max(waited/3, 20*time.Millisecond), 700*time.Millisecond)
	return d + k.jitter(d/2)
}

// nothingToDo reads the tokens into r.tokens, and reports whether neither they nor the claims are
// due. With [flight.atOnce] or [flight.again] there is always something to do.
func (r *refresh) nothingToDo(ctx context.Context) (bool, error) {
	t, err := r.k.tokensOf(ctx, &r.s)
	if err != nil {
		return false, err
	}
	r.tokens = t
	if r.flight.atOnce || r.flight.again || r.k.due(t, r.s.ID) {
		return false, nil
	}
	r.noteTokenEnd(ctx)
	stale, err := r.claimsDue(ctx)
	return !stale, err
}

// claimsDue reports whether the claims are still due to be read again.
func (r *refresh) claimsDue(ctx context.Context) (bool, error) {
	if !r.k.claimsStale(&r.s.Identity) {
		return false, nil
	}
	now, err := r.k.read(ctx, identityKind, r.s.ID)
	if err != nil {
		return false, err
	}
	identity := decodeIdentity(now.plaintext)
	return r.k.claimsStale(&identity), nil
}

// fallBack returns the tokens of the refresh. After an error it returns those that were there
// before, if they still serve, unless the session is gone or has to end.
func (r *refresh) fallBack(err error) (*Tokens, error) {
	over := errors.Is(err, ErrGone) || r.k.mustEnd(r.flight)
	if err != nil && (over || r.tokens == nil || !r.k.usable(r.tokens)) {
		return nil, err
	}
	return r.tokens, nil
}

// runLocked refreshes with the lock in hand. It has a time of its own: what was spent on waiting
// for the lock must not be missing between the provider's answer and the save.
func (r *refresh) runLocked(ctx context.Context) (err error) {
	ctx, cancel := Within(context.WithoutCancel(ctx), r.timeout())
	defer cancel()
	defer r.lock.keep(ctx)()
	defer func() {
		if errors.Is(err, ErrStore) {
			r.noteUnsaved(unsavedTokens)
		}
		r.lock.release(ctx, err) // unless it is a pause by then
	}()
	if done, err := r.nothingToDo(ctx); done || err != nil {
		return err
	}
	if r.flight.again {
		if err := r.followAgain(ctx); err != nil {
			return err
		}
	}
	var idToken claims.Object
	r.recent = r.isRecent()
	if r.tokens.RefreshToken != "" && !r.recent {
		if idToken, err = r.exchange(ctx); err != nil {
			return err
		}
	}
	if r.k.limits.Reread == 0 {
		r.settled(0)
		return nil
	}
	return r.reread(ctx, idToken)
}

// exchange spends the refresh token and saves what comes for it. It returns the claims of the new
// ID Token, if there is one.
func (r *refresh) exchange(ctx context.Context) (claims.Object, error) {
	r.recent = false
	answer, lost, err := r.ask(ctx)
	if errors.Is(err, ErrStore) || err == errNotWaited {
		return "", err
	}
	if err == nil {
		return r.accept(ctx, answer)
	}
	if answer != nil {
		if err := r.keepRefreshToken(ctx, answer.RefreshToken); err != nil {
			return "", err
		}
	}
	return "", r.refused(ctx, failureOf(err), lost)
}

// accept saves the tokens of an answer. It returns the claims of the new ID Token, if there is one.
func (r *refresh) accept(ctx context.Context, answer *ProviderTokens) (claims.Object, error) {
	fresh := r.tokens.followedBy(answer)
	idToken, err := r.verify(ctx, answer, fresh)
	if tooLong := r.k.checkSources(fresh, ""); err == nil && tooLong != nil {
		err = &Failure{Kind: Rejected, Reason: event.ReasonClaims, Err: tooLong}
	}
	if err != nil {
		return "", r.notVerified(ctx, fresh, failureOf(err))
	}
	if end := dateMember(idToken, "session_expiry"); !end.IsZero() { // see followExpiry
		deadline := &fresh.record.times.Deadline
		*deadline = min(*deadline, end.UnixMilli())
	}
	// Before the tokens are saved: when this process dies in between, nobody else would do it.
	notFollowed := r.insist(ctx, func(ctx context.Context) error {
		return r.follow(ctx, fresh, idToken)
	})
	if errors.Is(notFollowed, ErrGone) || r.k.mustEnd(r.flight) {
		return "", notFollowed
	}
	if err := r.save(ctx, fresh); err != nil {
		return "", err
	}
	r.unmarkAsked(ctx)
	err = r.insist(ctx, func(ctx context.Context) error { // ErrGone, if a logout came meanwhile
		return r.k.followExpiry(ctx, r.s.ID, r.tokens)
	})
	if err := cmp.Or(err, notFollowed); err != nil {
		if errors.Is(err, ErrStore) {
			r.noteUnsaved(unsavedClaims)
		}
		return "", err
	}
	r.exchanged = true
	r.k.served.token.note(r.asker())
	r.flight.hasSaved(r.tokens)
	r.noteTokenEnd(ctx)
	r.tell(ctx, Event{Type: event.RefreshSucceeded})
	return idToken, nil
}

// ask sends the refresh token to the provider, once there is room to ask: thousands of sessions
// whose tokens end together come to the provider one after another. lost says that the answer to
// an earlier request was lost.
func (r *refresh) ask(ctx context.Context) (answer *ProviderTokens, lost bool, err error) {
	end, _ := ctx.Deadline()
	// An answer that comes after the end would be lost, and the refresh token with it.
	waits, cancel := context.WithDeadline(ctx, end.Add(-2*r.k.limits.ProviderTimeout))
	defer cancel()
	leave, err := r.takePlace(waits, &r.k.places.token)
	if err != nil {
		return nil, false, busy(err) // also for the user's own sessions: a slow provider ends none
	}
	defer leave()
	if err := r.k.provider.Reach(ctx, &r.s.Identity); err != nil {
		return nil, false, err // nothing was spent: no mark
	}
	lost, err = r.markAsked(ctx)
	if err == nil {
		err = r.stillLocked(ctx)
	}
	if err != nil {
		// The answer may be lost, and the provider was not asked.
		_ = r.k.store.Delete(ctx, r.askedKey(), r.lock.owner)
		return nil, false, err
	}
	answer, err = r.k.provider.Refresh(ctx, &r.s.Identity, &r.tokens.ProviderTokens)
	if err != nil && !lost && failureOf(err).spentNothing() {
		r.unmarkAsked(ctx)
	}
	return answer, lost, err
}

// stillLocked returns an error if the lock is another replica's by now: this one may have waited
// for a place while it was cut off from the store, or stood still. Then the other has sent the
// refresh token, and its tokens count.
func (r *refresh) stillLocked(ctx context.Context) error {
	if r.lock.stillMine() {
		return nil
	}
	err := r.lock.lost(ctx)
	if err != errLockLost {
		return err
	}
	if err := r.takeOver(ctx); err != nil {
		return err
	}
	return errNotWaited
}

// verify checks a refreshed ID Token like the first: it may never change who the user is (OpenID
// Connect Core, section 12.2). Where the provider issues none, the provider is asked whose the new
// access token is, before anybody gets that.
func (r *refresh) verify(
	ctx context.Context, answer *ProviderTokens, fresh *Tokens,
) (claims.Object, error) {
	if answer.IDToken == "" {
		if r.s.Identity.HasIDToken() {
			return "", nil
		}
		leave, err := r.placeAtUserinfo(ctx)
		if err != nil {
			f := failureOf(err)
			f.Kind, f.Alone, f.Limited = NotVerifiable, false, f.Alone
			return "", f
		}
		defer leave()
	}
	return r.k.provider.Verify(ctx, &r.s.Identity, fresh)
}

// save swaps the tokens. The old refresh token is spent, so a store that stumbles is asked again
// for a while. Tokens of another that lie there win: the lock was lost to a lease that ran out, and
// they are newer. When a logout came first, it knew the old refresh token only; the new one is
// revoked, unless a login has replaced the session.
func (r *refresh) save(ctx context.Context, fresh *Tokens) error {
	sealed, err := r.k.sealTokens(r.s.ID, fresh, fresh.record.times.Deadline)
	if err != nil {
		return err
	}
	err = r.insist(ctx, func(ctx context.Context) error {
		return r.k.swap(ctx, r.tokens.record, sealed)
	})
	ctx, cancel := Detached(ctx)
	defer cancel()
	switch {
	case err == nil:
		fresh.record = sealed
		r.tokens = fresh
		return nil
	case errors.Is(err, ErrGone):
		r.wasOver = true
		r.revoke(ctx, fresh.RefreshToken)
		r.unmarkAsked(ctx)
		return err
	case errors.Is(err, errChanged):
		old := r.tokens
		if err := r.takeOver(ctx); err != nil || !r.tokens.areThoseOf(old) {
			return err
		}
		return r.save(ctx, fresh.over(old, r.tokens))
	}
	r.tell(ctx, Event{
		Type: event.RefreshFailed, Reason: event.ReasonStoreError, Err: err,
		Hint: "the provider's new tokens could not be saved",
	})
	return err
}

// replaced reports whether a login that began a session during the refresh may have put it in the
// place of this one, and its tokens may be of the same grant. When the store cannot say, no login
// counts.
func (r *refresh) replaced(ctx context.Context) bool {
	since := r.flight.begun.Add(-r.k.limits.Leeway)
	shared, _ := r.k.sharesGrant(ctx, r.s.Identity.summary(), func(l *leaving) bool {
		return l.Created.After(since)
	})
	return shared
}

// areThoseOf reports whether two records have the same tokens: another replica has only noted
// something with them.
func (t *Tokens) areThoseOf(other *Tokens) bool {
	return t.AccessToken == other.AccessToken && t.RefreshToken == other.RefreshToken
}

// over returns tokens that were made of old, for the place of now, which has them too: what is
// noted there stays, if it was not about to change.
func (t *Tokens) over(old, now *Tokens) *Tokens {
	after := *t
	if t.Userinfo == old.Userinfo {
		after.Userinfo = now.Userinfo
	}
	if t.Overtaken == old.Overtaken {
		after.Overtaken = now.Overtaken
	}
	return &after
}

// takeOver returns with the tokens that another replica has saved.
func (r *refresh) takeOver(ctx context.Context) error {
	t, err := r.k.Tokens(ctx, r.s.ID)
	if err == nil {
		r.tokens = t
	}
	return err
}

func (r *refresh) askedKey() string { return askedPrefix + string(r.k.Handle(r.s.ID)) }

// markAsked notes that the provider is about to be asked. It reports whether such a note of an
// earlier refresh was left behind.
func (r *refresh) markAsked(ctx context.Context) (lost bool, _ error) {
	err := r.k.store.Create(ctx, r.askedKey(), r.lock.owner, askedTTL)
	if errors.Is(err, store.ErrExists) {
		return true, nil
	}
	return false, r.k.storeError(ctx, err)
}

// unmarkAsked is best effort: the note only changes the type of a later event.
func (r *refresh) unmarkAsked(ctx context.Context) {
	_ = r.k.store.Delete(ctx, r.askedKey(), nil)
}

func (r *refresh) tell(ctx context.Context, e Event) {
	e.Identity, e.Handle = &r.s.Identity, r.k.Handle(r.s.ID)
	if f, ok := e.Err.(*Failure); ok && e.Hint == "" {
		e.Hint = f.Hint
	}
	r.k.tell(ctx, e)
}
