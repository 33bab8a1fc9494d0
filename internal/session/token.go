package session

import (
	"context"
	"time"
)

// Token returns tokens whose access token is live. Tokens that are due are refreshed first. Tokens
// that still serve are returned as they are while another replica refreshes, when the provider
// fails, and after rereadWait; so are new ones whose refresh still reads claims. The error is
// ErrGone, ErrTokenExpired, the context's, or wraps ErrProvider or ErrStore.
//
// The tokens' record lies there until the deadline. A request that goes on for long may have been
// found before the session's idle end: then the session is read again.
func (k *Keeper) Token(ctx context.Context, s *Session) (*Tokens, error) {
	if time.Now().UnixMilli() >= s.Times.Ends(k.limits.Idle) {
		if _, err := k.find(ctx, s.ID); err != nil {
			return nil, err
		}
	}
	t, err := k.tokensOf(ctx, s)
	if err != nil {
		return nil, err
	}
	for range 2 { // the first refresh may be one that reads claims, until the token has ended
		due := k.due(t, s.ID)
		switch {
		case due && t.RefreshToken == "":
			return nil, ErrTokenExpired
		case !due && !k.flights.unsettled(s.ID), k.flights.isPaused(s.ID) && k.usable(t):
			return t, nil
		case k.flights.isPaused(s.ID):
			return nil, ErrProvider
		}
		t, err = k.refreshed(ctx, s, t)
		if err != nil || k.usable(t) || t.AccessToken == "" {
			return t, err
		}
	}
	return nil, ErrProvider
}

// refreshed waits for a refresh of a session, and returns the tokens then. t are those at hand.
func (k *Keeper) refreshed(ctx context.Context, s *Session, t *Tokens) (*Tokens, error) {
	f := k.join(ctx, s)
	defer k.flights.leave(f)
	var enough <-chan time.Time
	if time.Until(k.Expires(t)) > rereadWait { // it is to serve then, too
		enough = time.After(rereadWait)
	}
	for saved := f.saved; ; {
		select {
		case <-f.done:
			return f.tokens, f.err
		case <-saved:
			saved, t, enough = nil, f.fresh, time.After(rereadWait)
		case <-enough:
			if k.mustEnd(f) {
				return nil, errNotEnded
			}
			return t, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// Renew does what Token and Reread do, before it is due: it refreshes the tokens if there is a
// refresh token, and reads the claims again if Limits.Reread says that they ever are. It waits for
// the end. The error says why something of it was not done: ErrGone when the session is over, or
// one that wraps ErrProvider or ErrStore; or it is that of ctx.
func (k *Keeper) Renew(ctx context.Context, s *Session) error {
	for {
		f := k.fly(ctx, s, true)
		select {
		case <-f.done:
			k.flights.leave(f)
		case <-ctx.Done():
			k.flights.leave(f)
			return ctx.Err()
		}
		if f.atOnce {
			return f.cause
		}
	}
}
