package session

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/oidcgate/oidcgate/internal/event"
)

// refusedFor is how long a provider may refuse to refresh an access token, before that counts as
// the end that Limits.EndWithAccessToken asks for. A provider that is set up wrong for a moment
// ends no session, whenever its visitor comes back.
const refusedFor = time.Minute

// deniedFor is how long a provider may deny a user before that ends the session. Auth0 denies all
// users while one of its Actions fails.
const deniedFor = 5 * time.Minute

// refused ends the session when the provider says that the refresh token is no good (RFC 6749,
// section 5.2) or refuses the user. Where claims are read again, so does an answer with more than
// is taken: users may write some of it, and would keep a group that they are about to lose. After
// any other failure the session goes on.
func (r *refresh) refused(ctx context.Context, f *Failure, lost bool) error {
	switch {
	case f.Kind == InvalidGrant, f.Kind == UserRefused:
		return r.withdrawn(ctx, f, lost)
	case f.Kind == UserDenied:
		again, err := r.isDeniedAgain(ctx)
		switch {
		case err != nil:
			return err
		case again:
			return r.withdrawn(ctx, f, lost)
		}
	case f.Kind == Rejected && r.k.limits.Reread > 0 && !r.k.limits.KeepRefused:
		if overtaken, err := r.overtaken(ctx); overtaken || err != nil {
			return err
		}
		return r.reject(ctx, f)
	}
	return r.goOnWithout(ctx, f)
}

// goOnWithout does what can be done without a new token: claims that are due are read again with
// the access token at hand, and the application decides. Then it pauses all replicas. The error is
// ErrGone when the session ends, or wraps ErrStore or ErrProvider.
func (r *refresh) goOnWithout(ctx context.Context, f *Failure) error {
	over, hint, err := r.isOver(ctx, f)
	if err != nil {
		return err
	}
	if over {
		if overtaken, err := r.overtaken(ctx); overtaken || err != nil {
			return err
		}
		r.tell(ctx, Event{Type: event.RefreshFailed, Reason: f.Reason, Err: f, Hint: hint})
		return r.endAndRevoke(ctx)
	}
	r.failed, r.unsure, r.own = true, !f.refuses(), f.Own
	r.answerLost = r.unsure && f.Kind != NotRotated
	if err := r.rereadWithout(ctx); err != nil {
		return err
	}
	return r.tryAgainLater(ctx, f)
}

// isOver reports whether the session ends for a failure that alone says nothing against it.
func (r *refresh) isOver(ctx context.Context, f *Failure) (over bool, hint string, err error) {
	l := &r.k.limits
	if f.refuses() && l.EndWithAccessToken {
		over, err = r.isRefusedAgain(ctx)
	}
	counts := l.Reread > 0 && !l.KeepRefused || l.EndWithAccessToken
	if over || err != nil || !f.Alone || !counts {
		return over, "", err
	}
	over, err = r.isAlone(ctx)
	return over, hintAlone, err
}

// isRefusedAgain reports whether the provider refused the tokens refusedFor ago or longer, and the
// access token is over.
func (r *refresh) isRefusedAgain(ctx context.Context) (bool, error) {
	ago, err := r.refusedAgo(ctx)
	return ago >= refusedFor && !r.k.usable(r.tokens), err
}

// isDeniedAgain reports whether the provider denied the user deniedFor ago or longer, and not all
// others too.
func (r *refresh) isDeniedAgain(ctx context.Context) (bool, error) {
	alone := r.k.served.token.failsNotAll(r.asker(), r.tokens.Refused, r.k.memory())
	ago, err := r.refusedAgo(ctx)
	return ago >= deniedFor && alone, err
}

// refusedAgo returns how long ago the provider refused the tokens first, which it notes with them.
func (r *refresh) refusedAgo(ctx context.Context) (time.Duration, error) {
	if since := r.tokens.Refused; !since.IsZero() {
		return time.Since(since), nil
	}
	noted := *r.tokens
	noted.Refused = time.Now()
	return 0, r.note(ctx, &noted)
}

const hintAlone = "the provider has no usable answer for this session again and again, and has " +
	"one for others: the user may be gone there, or have logged in on another device at a provider " +
	"with one refresh token for each user, such as Dex"

// isAlone notes with the tokens that the provider failed to refresh them, and reports whether the
// access token is over and the provider fails for this session alone.
func (r *refresh) isAlone(ctx context.Context) (bool, error) {
	noted := *r.tokens
	noted.Failed = r.k.next(noted.Failed, &r.k.served.token, r.asker())
	if noted.Failed == r.tokens.Failed {
		return false, nil
	}
	if noted.Failed.isLong() && !r.k.usable(r.tokens) {
		return true, nil
	}
	return false, r.note(ctx, &noted)
}

// note saves the tokens with a note of what became of them. A store that refuses it loses nothing:
// the next failure is noted. If its answer is lost, the tokens may lie there with the note.
func (r *refresh) note(ctx context.Context, noted *Tokens) error {
	sealed, err := r.k.sealTokens(r.s.ID, noted, noted.record.times.Deadline)
	if err == nil {
		err = r.k.swap(ctx, r.tokens.record, sealed)
	}
	switch {
	case err == nil:
		noted.record = sealed
		r.tokens = noted
	case errors.Is(err, ErrGone):
		return err
	default:
		if err := r.takeOver(ctx); !errors.Is(err, ErrStore) {
			return err
		}
	}
	return nil
}

// rereadWithout reads claims again without a new token, if they are due or the store refused them,
// unless there is no time left.
func (r *refresh) rereadWithout(ctx context.Context) error {
	if ctx.Err() != nil {
		return nil
	}
	if !r.flight.again {
		if due, err := r.claimsDue(ctx); !due {
			return err
		}
	}
	return r.reread(ctx, "")
}

// overtaken reports whether the lock was lost and another replica has refreshed. Its tokens count
// then. The error is ErrGone when a logout came first, which had the tokens revoked; or it is not
// known whether another replica has refreshed.
func (r *refresh) overtaken(ctx context.Context) (bool, error) {
	var now *Tokens
	err := r.insist(ctx, func(ctx context.Context) (err error) {
		now, err = r.k.Tokens(ctx, r.s.ID)
		return err
	})
	if errors.Is(err, ErrStore) {
		r.noteUnsaved(unsavedClaims)
	}
	if err != nil {
		return false, err
	}
	old := r.tokens
	r.tokens = now
	return !now.areThoseOf(old), nil
}

// withdrawn ends the session, unless another replica has refreshed meanwhile.
func (r *refresh) withdrawn(ctx context.Context, f *Failure, lost bool) error {
	if overtaken, err := r.overtaken(ctx); overtaken || err != nil {
		return err
	}
	e := Event{Type: event.RefreshFailed, Reason: event.ReasonInvalidGrant, Err: f}
	switch {
	case f.Kind == UserRefused, f.Kind == UserDenied:
		e.Reason = f.Reason
	case lost:
		e.Type = event.RefreshReuseSuspected
	}
	if e.Reason == event.ReasonInvalidGrant {
		e.Hint = event.Cure(e.Type, e.Reason) // that of the failure is for a code, too
	}
	r.tell(ctx, e)
	return r.endSession(ctx)
}

// tryAgainLater keeps all replicas from trying again at once; of what only this one may have, such
// as a way to the provider that is broken or an old client secret, this one.
func (r *refresh) tryAgainLater(ctx context.Context, f *Failure) error {
	e := Event{Type: event.RefreshFailed, Reason: f.Reason, Err: f}
	if f.Kind == Refused {
		e.Hint = "the provider gives no reason; if the refresh token was withdrawn, this goes on: " +
			"Tokens.EndWithAccessToken ends such a session a minute after the first refusal"
	}
	if f.Kind == UserDenied {
		e.Hint = "the provider denies this user: the session ends when it does so again five minutes " +
			"later, unless it serves nobody else"
	}
	r.tell(ctx, e)
	due := r.k.Expires(r.tokens).Add(-r.k.margin(r.tokens))
	r.pause(ctx, r.k.pause(time.Since(due)))
	return fmt.Errorf("%w: %w", ErrProvider, f)
}

// keepRefreshToken saves of an answer that cannot be accepted the refresh token, without which the
// login would be lost, and nothing else: the access token stays the old one and so stays due, and a
// later refresh brings a whole answer.
func (r *refresh) keepRefreshToken(ctx context.Context, token string) error {
	kept := *r.tokens
	kept.RefreshToken = token
	if err := r.save(ctx, &kept); err != nil {
		return err
	}
	r.unmarkAsked(ctx)
	return nil
}

// notVerified deals with an answer whose user is not known. For want of keys, while clocks differ
// or userinfo does not answer, or when it may refuse (Limits.KeepRefused), the session goes on with
// the refresh token of the answer. In every other case the tokens are somebody else's or nobody's.
// Then the provider's word about this session cannot be believed any more: the tokens are discarded
// and the session ends.
func (r *refresh) notVerified(ctx context.Context, fresh *Tokens, f *Failure) error {
	if f.Kind == NotVerifiable || f.Kind == TokenRefused && r.k.limits.KeepRefused {
		if err := r.keepRefreshToken(ctx, fresh.RefreshToken); err != nil {
			return err
		}
		r.unread, r.limited = f.Unread, f.Limited
		return r.goOnWithout(ctx, f)
	}
	r.tell(ctx, Event{Type: event.RefreshFailed, Reason: f.Reason, Err: f})
	err := r.endSession(ctx)
	r.revoke(ctx, fresh.RefreshToken)
	return err
}

// endSession ends the session because the provider or the application no longer stands by it. It
// returns ErrGone when that is done. Until then nobody gets anything of the session here, and the
// next request tries again.
func (r *refresh) endSession(ctx context.Context) error {
	r.noteUnsaved(unsavedEnd)
	r.unmarkAsked(ctx) // the answer is not lost
	handle := r.k.Handle(r.s.ID)
	r.wasOver = r.k.hasNoIdentity(ctx, handle) // then whoever has ended it has told so
	over := r.wasOver
	err := r.insist(ctx, func(ctx context.Context) error {
		err := r.k.endHandle(ctx, handle, r.s.Identity.summary())
		if !over && (err == nil || errors.Is(err, ErrLeftovers)) {
			over = true
			r.tell(ctx, Event{Type: event.SessionRevoked, Reason: event.ReasonByToken})
		}
		return err
	})
	switch {
	case err == nil:
		return ErrGone
	case over:
		return fmt.Errorf("%w: %w", ErrLeftovers, err)
	}
	return err
}

// overruled reads the tokens, and reports whether another replica has found since then, by whatever
// clock, that the session need not end: it has read the claims again, or refreshed the tokens where
// claims never are. Otherwise the session ends, and nobody is asked again: an answer that does not
// come now would take nothing back.
func (r *refresh) overruled(ctx context.Context, since time.Time) (bool, error) {
	now, err := r.k.read(ctx, identityKind, r.s.ID)
	if err != nil {
		return false, err
	}
	t, err := r.k.Tokens(ctx, r.s.ID)
	if errors.Is(err, ErrGone) {
		t, err = &Tokens{}, nil
	}
	if err != nil {
		return false, err
	}
	r.tokens = t
	found := decodeIdentity(now.plaintext).Checked
	if r.k.limits.Reread == 0 {
		found = t.Issued
	}
	return found.After(since.Add(r.k.limits.Leeway)), nil
}

// endAndRevoke is endSession for a session whose refresh token is still good: nobody has it any
// more.
func (r *refresh) endAndRevoke(ctx context.Context) error {
	err := r.endSession(ctx)
	if errors.Is(err, ErrGone) || errors.Is(err, ErrLeftovers) {
		r.revoke(ctx, r.tokens.RefreshToken)
	}
	return err
}

// revoke revokes a refresh token that nobody has any more, of a session that is over. If a login
// has replaced the session, the token may be of the same grant, and stays.
func (r *refresh) revoke(ctx context.Context, token string) {
	if !r.wasOver || !r.replaced(ctx) {
		r.k.provider.Revoke(ctx, &r.s.Identity, token)
	}
}
