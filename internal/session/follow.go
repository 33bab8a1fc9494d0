package session

import (
	"context"
	"errors"
	"time"

	"github.com/oidcgate/oidcgate/internal/claims"
)

// followSID lists the session under the "sid" of a refreshed ID Token too, when it is another than
// at the login, so that a logout by either ends the session. Core, section 12.2, does not bind the
// sid. As in a login, the tombstone is read after the session is listed.
func (r *refresh) followSID(ctx context.Context, idToken claims.Object) error {
	sid, iss := textMember(idToken, "sid"), r.s.Identity.Issuer()
	if sid == "" || sid == r.s.Identity.ProviderSessionID() {
		return nil
	}
	lifetime := r.k.ttl(r.tokens.record.times.Deadline)
	handle := string(r.k.Handle(r.s.ID))
	if err := r.k.store.Add(ctx, r.k.sidSet(iss, sid), handle, lifetime); err != nil {
		return r.k.storeError(ctx, err)
	}
	loggedOut, err := r.k.sidLoggedOut(ctx, iss, sid)
	if err != nil || !loggedOut {
		return err
	}
	r.k.provider.Revoke(ctx, &r.s.Identity, r.tokens.RefreshToken)
	return r.endSession(ctx)
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
		if !errors.Is(err, ErrStore) {
			return err
		}
		r.flight.storeRefuses.Store(true)
		if sleep(ctx, 200*time.Millisecond) != nil {
			return err
		}
	}
}
