package session

import (
	"context"
	"errors"
	"time"

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
	r, err := k.read(ctx, identityKind, id)
	if err == errExpired {
		k.expired(ctx, id, r)
	}
	if err != nil {
		return nil, err
	}
	if time.Now().UnixMilli()-r.times.Seen >= k.limits.Touch.Milliseconds() {
		if r.times, err = k.touch(ctx, id, r); err != nil {
			return nil, err
		}
	}
	return &Session{id, decodeIdentity(r.plaintext), r.times}, nil
}

// touch notes that the session is used, and seals its record under the first key. It may lose
// against another request that does the same. A store that refuses the write is an event and no
// error: reading goes on while writing cannot. A session that was ended meanwhile is gone.
func (k *Keeper) touch(ctx context.Context, id ID, r record) (Times, error) {
	touched := Times{r.times.Deadline, time.Now().UnixMilli()}
	fresh, err := k.seal(identityKind, id, touched, r.plaintext)
	if err == nil {
		err = k.swap(ctx, r, fresh)
	}
	switch {
	case err == nil:
		return touched, nil
	case errors.Is(err, ErrGone):
		return r.times, err
	case errors.Is(err, errChanged):
		return r.times, nil
	}
	k.tell(Event{Type: event.SessionTouchFailed, Handle: k.Handle(id), Err: err})
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
	k.tell(Event{Type: event.SessionExpired, Reason: reason, Handle: k.Handle(id)})
}

// Begin writes a new session under an id that nobody has yet. It returns when everything is in the
// store. The order of its steps is what logouts rely on (see index.go): index, identity, tokens,
// tombstones. Of a session that cannot be saved whole nothing stays. The error is ErrTooLarge,
// ErrLoggedOut, or wraps ErrStore.
func (k *Keeper) Begin(ctx context.Context, s *Session, t *Tokens) error {
	err := k.begin(ctx, s, t)
	if err == nil {
		return nil
	}
	// A write that failed may have been carried out. Best effort: nobody has the id.
	_ = k.endHandle(ctx, k.Handle(s.ID), s.Identity.summary())
	return err
}

func (k *Keeper) begin(ctx context.Context, s *Session, t *Tokens) error {
	identity := s.Identity.encode()
	if len(identity) > k.limits.MaxBytes {
		return ErrTooLarge
	}
	s.Times.Seen = time.Now().UnixMilli()
	r, err := k.seal(identityKind, s.ID, s.Times, identity)
	if err != nil {
		return err
	}
	tokens, err := k.sealTokens(s.ID, t, s.Times.Deadline)
	if err != nil {
		return err
	}
	if err := k.addToIndex(ctx, s); err != nil {
		return err
	}
	if err := k.create(ctx, r); err != nil {
		return err
	}
	if err := k.create(ctx, tokens); err != nil {
		return err
	}
	if err := k.checkTombstones(ctx, &s.Identity); err != nil {
		return err
	}
	k.tell(Event{Type: event.SessionCreated, Identity: &s.Identity, Handle: k.Handle(s.ID)})
	return nil
}

// End ends the session of an id, whether or not this replica can read it.
func (k *Keeper) End(ctx context.Context, id ID) error { return k.endUnread(ctx, k.Handle(id)) }

// endUnread ends a session of which only the handle is known.
func (k *Keeper) endUnread(ctx context.Context, h Handle) error {
	sum, err := k.readSummary(ctx, h)
	if err != nil && !errors.Is(err, ErrGone) {
		return err
	}
	return k.endHandle(ctx, h, sum)
}

// EndSession ends a session that was loaded.
func (k *Keeper) EndSession(ctx context.Context, s *Session, reason event.Reason) error {
	handle := k.Handle(s.ID)
	if err := k.endHandle(ctx, handle, s.Identity.summary()); err != nil {
		return err
	}
	k.tell(Event{
		Type: event.SessionRevoked, Reason: reason, Identity: &s.Identity, Handle: handle,
	})
	return nil
}
