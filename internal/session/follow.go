package session

import (
	"context"
	"errors"
	"slices"

	"github.com/oidcgate/oidcgate/internal/claims"
	"github.com/oidcgate/oidcgate/store"
)

// maxLaterSets is how many sets of sids lead to a session, besides that of its login. A provider
// may give every ID Token another sid.
const maxLaterSets = 4

// follow does what a refreshed ID Token says of the session. The error is ErrGone when the session
// has ended with it. fresh are the tokens that came with the ID Token; they may not be saved yet.
func (r *refresh) follow(ctx context.Context, fresh *Tokens, idToken claims.Object) error {
	if err := r.followSID(ctx, fresh, idToken); err != nil {
		return err
	}
	if fresh.record.times.Deadline == r.tokens.record.times.Deadline {
		return nil
	}
	return unlessGone(r.k.followExpiry(ctx, r.s.ID, fresh)) // save finds out what is gone
}

// followAgain does what the store refused when the last ID Token came.
func (r *refresh) followAgain(ctx context.Context) error {
	idToken := r.k.provider.Shape(&r.s.Identity, r.tokens.idTokenClaims())
	if err := r.followSID(ctx, r.tokens, idToken); err != nil {
		return err
	}
	return r.k.followExpiry(ctx, r.s.ID, r.tokens)
}

// followSID lists the session under the "sid" of a refreshed ID Token too, when it is another than
// at the login, so that a logout by either ends the session. Core, section 12.2, does not bind the
// sid. As in a login, the tombstone is read after the session is listed.
func (r *refresh) followSID(ctx context.Context, fresh *Tokens, idToken claims.Object) error {
	sid, iss := textMember(idToken, "sid"), r.s.Identity.Issuer()
	if sid == "" || sid == r.s.Identity.ProviderSessionID() {
		return nil
	}
	k, set := r.k, r.k.sidSet(iss, sid)
	loggedOut := false
	err := sideBySide(
		func() error { return r.noteSet(ctx, set) },
		func() (err error) {
			lifetime := k.ttl(fresh.record.times.Deadline)
			if err := k.store.Add(ctx, set, string(k.Handle(r.s.ID)), lifetime); err != nil {
				return k.storeError(ctx, err)
			}
			loggedOut, err = k.sidLoggedOut(ctx, iss, sid)
			return err
		},
	)
	if !loggedOut {
		return err
	}
	k.provider.Revoke(ctx, &r.s.Identity, fresh.RefreshToken)
	return r.endSession(ctx)
}

// noteSet notes in the summary that a set leads to the session, so that the end of the session
// takes it out. The oldest of too many sets loses it at once. A summary that cannot be read stays
// as it is.
func (r *refresh) noteSet(ctx context.Context, set string) error {
	k, handle := r.k, r.k.Handle(r.s.ID)
	for {
		sealed, err := k.store.Get(ctx, summaryKey(handle))
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		if err != nil {
			return k.storeError(ctx, err)
		}
		sum := k.openSummary(handle, sealed)
		fresh, dropped := sum.withSet(set)
		if sum.User == (User{}) || slices.Equal(fresh.LaterSets, sum.LaterSets) {
			return nil
		}
		for _, old := range dropped {
			if err := k.store.Remove(ctx, old, string(handle)); err != nil {
				return k.storeError(ctx, err)
			}
		}
		swapped, err := k.ring.Seal(summaryBinding(handle), nil, fresh.encode())
		if err != nil {
			return err
		}
		lifetime := k.ttl(r.tokens.record.times.Deadline)
		err = k.store.Swap(ctx, summaryKey(handle), sealed, swapped, lifetime)
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		if !errors.Is(err, store.ErrConflict) {
			return k.storeError(ctx, err)
		}
	}
}

// withSet returns the summary with a set as the last, and the sets that are too many.
func (s summary) withSet(set string) (_ summary, dropped []string) {
	sets := slices.DeleteFunc(slices.Clone(s.LaterSets), func(o string) bool { return o == set })
	sets = append(sets, set)
	surplus := max(len(sets)-maxLaterSets, 0)
	s.LaterSets = sets[surplus:]
	return s, sets[:surplus]
}

// HasSID reports whether sid is that of the login of a session, or one of the last that refreshed
// ID Tokens had. Only for another sid than that of the login the store is read.
func (k *Keeper) HasSID(ctx context.Context, s *Session, sid string) (bool, error) {
	if sid == s.Identity.ProviderSessionID() {
		return true, nil
	}
	sets, err := k.laterSets(ctx, k.Handle(s.ID))
	return slices.Contains(sets, k.sidSet(s.Identity.Issuer(), sid)), err
}

// followExpiry ends the session as early as its tokens end, which may be earlier after a refresh
// whose ID Token has a "session_expiry". It never ends later than before: the browser's cookie and
// the index end with the first deadline.
func (k *Keeper) followExpiry(ctx context.Context, id ID, t *Tokens) error {
	end := t.record.times.Deadline
	for {
		old, err := k.read(ctx, identityKind, id)
		if err != nil || end >= old.times.Deadline {
			return err
		}
		times := Times{Deadline: end, Seen: old.times.Seen}
		fresh, err := k.seal(identityKind, id, times, old.plaintext)
		if err != nil {
			return err
		}
		if err := k.swap(ctx, old, fresh); !errors.Is(err, errChanged) {
			return err
		}
	}
}

// tokensOf reads the tokens of a session. Where they end before the session, the store failed when
// a refresh brought its end nearer, and it is tried again. Best effort: so does the next reader.
func (k *Keeper) tokensOf(ctx context.Context, s *Session) (*Tokens, error) {
	t, err := k.Tokens(ctx, s.ID)
	if err == nil && t.record.times.Deadline < s.Times.Deadline {
		_ = k.followExpiry(ctx, s.ID, t)
	}
	return t, err
}

// insist repeats what the store refuses, for a while: what the provider says once must not be lost
// to a store that stumbles.
func (r *refresh) insist(ctx context.Context, do func(ctx context.Context) error) error {
	ctx, cancel := Within(context.WithoutCancel(ctx), saveTimeout)
	defer cancel()
	for {
		err := do(ctx)
		if err == nil {
			r.storeWrites()
		}
		if !errors.Is(err, ErrStore) {
			return err
		}
		r.noteUnsaved(unsavedTokens)
		if sleep(ctx, retryAfter) != nil {
			return err
		}
	}
}
