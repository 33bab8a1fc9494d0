package session

import (
	"context"
	"errors"
	"time"

	"github.com/oidcgate/oidcgate/internal/claims"
	"github.com/oidcgate/oidcgate/internal/event"
)

// With Limits.Reread a session's claims follow the provider's: a group that is taken away there is
// gone here after that time at the latest, as long as the provider answers. Claims are read again
// with every refresh of the tokens, from the new ID Token and from userinfo, and the application
// decides again about the result.

// Stale reports whether an identity's claims are due to be read again.
func (k *Keeper) Stale(id *Identity) bool {
	return k.limits.Reread > 0 && time.Since(id.Checked) >= k.limits.Reread
}

// Reread reads the claims of a session again and returns the session as it is then. While the
// provider does not answer, or when ctx ends first, it returns the session as it is. The error is
// ErrGone when the session is over then, or when its tokens are lost, for which nobody can be
// asked. It wraps ErrStore when the store cannot answer.
func (k *Keeper) Reread(ctx context.Context, s *Session) (*Session, error) {
	f := k.join(ctx, s)
	select {
	case <-f.done:
	case <-ctx.Done():
		return s, nil
	}
	if f.err != nil && !errors.Is(f.err, ErrGone) {
		return s, nil
	}
	r, err := k.read(ctx, identityKind, s.ID)
	if err == nil {
		err = f.err
	}
	if err != nil {
		return nil, err
	}
	return &Session{s.ID, decodeIdentity(r.plaintext), r.times}, nil
}

// reread asks the provider about the user and saves what is new.
func (r *refresh) reread(ctx context.Context, idToken claims.Object) error {
	userinfo, err := r.k.provider.Userinfo(ctx, &r.s.Identity, r.tokens.AccessToken)
	if err == nil {
		err = r.saveClaims(ctx, idToken, userinfo)
	}
	if err != nil {
		return r.rereadFailed(ctx, err)
	}
	return nil
}

func (r *refresh) saveClaims(ctx context.Context, idToken, userinfo claims.Object) error {
	for {
		old, err := r.k.read(ctx, identityKind, r.s.ID)
		if err != nil {
			return err
		}
		identity := decodeIdentity(old.plaintext)
		if idToken == "" && userinfo == "" {
			// The provider said nothing new, and the application has decided on the old claims.
			identity = identity.checkedNow()
		} else {
			renewed := Session{r.s.ID, identity.renewed(idToken, userinfo), old.times}
			if identity, err = r.k.provider.Decide(ctx, renewed); err != nil {
				return err
			}
		}
		err = r.saveIdentity(ctx, old, &identity)
		if !errors.Is(err, errChanged) {
			return err
		}
	}
}

// saveIdentity replaces the session's identity. The session's times stay.
func (r *refresh) saveIdentity(ctx context.Context, old record, id *Identity) error {
	plaintext := id.encode()
	if len(plaintext) > r.k.limits.MaxBytes {
		return ErrTooLarge
	}
	fresh, err := r.k.seal(identityKind, r.s.ID, old.times, plaintext)
	if err != nil {
		return err
	}
	return r.k.swap(ctx, old, fresh)
}

// rereadFailed ends the session when the answer is about somebody else or too long to be kept, or
// when the application refuses. When there is no answer, the session goes on, with an event and a
// pause.
func (r *refresh) rereadFailed(ctx context.Context, err error) error {
	f := failureOf(err)
	switch { // the refusal first: the application's error may wrap any other
	case f.Kind == Rejected, errors.Is(err, ErrTooLarge):
		r.tell(Event{Type: event.RefreshFailed, Reason: event.ReasonClaims, Err: err})
		return r.endSession(ctx)
	case errors.Is(err, ErrGone):
		return err
	}
	r.lock.pause(ctx, pause(time.Since(r.s.Identity.Checked)-r.k.limits.Reread))
	r.tell(Event{Type: event.UserinfoFailed, Reason: f.Reason, Err: err})
	return nil
}
