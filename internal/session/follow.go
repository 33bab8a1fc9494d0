package session

import (
	"context"
	"errors"

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

// followExpiry ends the session as early as the "session_expiry" of a refreshed ID Token says. It
// never ends later than before: the browser's cookie and the index end with the first deadline.
func (r *refresh) followExpiry(ctx context.Context, idToken claims.Object) error {
	end := dateMember(idToken, "session_expiry")
	for !end.IsZero() {
		old, err := r.k.read(ctx, identityKind, r.s.ID)
		if err != nil || end.UnixMilli() >= old.times.Deadline {
			return err
		}
		times := Times{Deadline: end.UnixMilli(), Seen: old.times.Seen}
		fresh, err := r.k.seal(identityKind, r.s.ID, times, old.plaintext)
		if err != nil {
			return err
		}
		if err := r.k.swap(ctx, old, fresh); !errors.Is(err, errChanged) {
			return err
		}
	}
	return nil
}
