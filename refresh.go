package oidcgate

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"runtime/debug"
	"time"

	"github.com/oidcgate/oidcgate/internal/claims"
	"github.com/oidcgate/oidcgate/internal/provider"
	"github.com/oidcgate/oidcgate/store"
)

// A refresh token that rotates is good once. Two requests that spend it at the same time look to the provider
// like a thief and a victim, and it withdraws the login (RFC 9700, section 4.14.2). So of every session one
// refresh is under way at a time, over all requests and replicas:
//
//	1. in the process, one request refreshes and the others wait for its result
//	2. over the replicas, it takes the session's lock: a key in the store with a random owner and a lease,
//	   which is renewed while the provider is asked, and which a replica that dies leaves to run out
//	3. with the lock in hand it reads the tokens again: another may have been first
//	4. it writes a mark, asks the provider, and swaps the tokens it read for those it got; then the mark
//	   and the lock go
//
// A swap that fails because the session is gone was overtaken by a logout, which wins. A mark that is found
// by the next holder of the lock says that an answer of the provider was lost between 4's asking and
// swapping: if the provider then refuses the token, that was us, and not a thief.
//
// A provider that fails leaves the lock where it is, as a pause for all replicas.

const (
	lockPrefix   = "l:"
	markPrefix   = "m:"
	markTTL      = time.Hour
	pausedLock   = "paused"
	maxRefreshes = 32 // requests for new tokens at a time, of one process
)

// refreshed returns tokens that are not due, or the best there is: those at hand while they are usable and a
// refresh is another's business or paused.
func (g *Gate) refreshed(ctx context.Context, v *visit, t *tokens) (*tokens, error) {
	if t.RefreshToken == "" {
		return nil, ErrTokenExpired
	}
	f := g.join(v)
	select {
	case <-f.done:
		return f.t, f.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// join returns the session's refresh under way, and begins one if there is none. It is nobody's request: a
// browser that leaves must not lose a token that the provider has rotated.
func (g *Gate) join(v *visit) *flight {
	f, begun := g.flights.start(v.token)
	if begun {
		session := v.token
		go func() {
			defer g.flights.end(session)
			f.t, f.err = g.refreshSafely(context.WithoutCancel(v), v)
		}()
	}
	return f
}

// refreshSafely makes an error of a panic, in a store or in a function of the application: in a handler it
// would end one request, and here the process.
func (g *Gate) refreshSafely(ctx context.Context, v *visit) (t *tokens, err error) {
	defer func() {
		if v := recover(); v != nil {
			g.config.Logger.Error("oidcgate: a refresh panicked", "panic", v, "stack", string(debug.Stack()))
			t, err = nil, fmt.Errorf("%w: the refresh panicked", ErrProviderUnavailable)
		}
	}()
	return g.refreshOnce(ctx, v)
}

// refreshTimeout bounds the wait for another's refresh, and then one's own: asking the provider for metadata,
// tokens and keys, and saving against a store that stumbles.
func (g *Gate) refreshTimeout() time.Duration { return 3*g.config.ProviderTimeout + saveTimeout }

// refreshOnce waits until the tokens were refreshed by somebody or the lock is in hand, and then refreshes.
func (g *Gate) refreshOnce(ctx context.Context, v *visit) (*tokens, error) {
	ctx, cancel := context.WithTimeout(ctx, g.refreshTimeout())
	defer cancel()
	lock := lock{store: g.config.Store, key: lockPrefix + v.handle(), owner: []byte(rand.Text()), lease: g.config.LockLease}
	for {
		t, err := g.loadTokens(ctx, v.token)
		if err != nil {
			return nil, err
		}
		if done, err := g.nothingToDo(ctx, v, t); done || err != nil {
			return t, err
		}
		holder, err := lock.take(ctx)
		if err != nil {
			return g.fallBackTo(t, g.storeError(err)) // no lock, no refresh
		}
		switch holder {
		case lockMine:
			fresh, err := g.refreshLocked(ctx, v, &lock)
			if err != nil {
				return g.fallBackTo(t, err)
			}
			return fresh, nil
		case lockPaused:
			return g.fallBackTo(t, ErrProviderUnavailable)
		}
		if g.usable(t) {
			return t, nil // another refreshes it in time
		}
		if err := sleep(ctx, 20*time.Millisecond+mathrand.N(30*time.Millisecond)); err != nil {
			return nil, fmt.Errorf("%w: waiting for another refresh: %w", ErrProviderUnavailable, err)
		}
	}
}

// fallBackTo prefers a token that still serves to an error, unless the error is that the session is over.
func (g *Gate) fallBackTo(t *tokens, err error) (*tokens, error) {
	if g.usable(t) && !errors.Is(err, errGone) {
		return t, nil
	}
	return nil, err
}

// nothingToDo reports whether neither the tokens nor the claims are due: another request was first.
func (g *Gate) nothingToDo(ctx context.Context, v *visit, t *tokens) (bool, error) {
	if g.due(t, v.token) {
		return false, nil
	}
	if !g.stale(v.identity) {
		return true, nil
	}
	now, _, err := g.readIdentity(ctx, v.token)
	return err == nil && !g.stale(now), err
}

// refreshLocked refreshes with the lock in hand, in a time of its own: what was spent on waiting for the lock
// must not be missing between the provider's answer and the save.
func (g *Gate) refreshLocked(ctx context.Context, v *visit, lock *lock) (*tokens, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), g.refreshTimeout())
	defer cancel()
	defer lock.keep(ctx)()
	defer lock.release(ctx) // unless it is paused
	t, err := g.loadTokens(ctx, v.token)
	if err != nil {
		return nil, err
	}
	if done, err := g.nothingToDo(ctx, v, t); done || err != nil {
		return t, err
	}
	up := g.upstreamOf(v)
	if up == nil {
		return nil, fmt.Errorf("%w: the provider %q is not configured any more", ErrProviderUnavailable, v.identity.provider)
	}
	var idToken claims.Object
	if t.RefreshToken != "" {
		if t, idToken, err = g.exchangeRefresh(ctx, v, up, lock, t); err != nil {
			return nil, err
		}
	}
	if g.config.RereadClaims == 0 {
		return t, nil
	}
	if err := g.reread(ctx, v, up, t, idToken); err != nil {
		return t, g.rereadFailed(ctx, v, lock, err)
	}
	return t, nil
}

// exchangeRefresh asks the provider for new tokens and saves them. It returns the claims of the new ID Token,
// if there is one.
func (g *Gate) exchangeRefresh(ctx context.Context, v *visit, up *upstream, lock *lock, t *tokens) (*tokens, claims.Object, error) {
	answer, answerLost, err := g.askForTokens(ctx, v, up, lock, t)
	if errors.Is(err, ErrUnavailable) {
		return nil, "", err
	}
	if err != nil {
		t, err = g.refreshFailed(ctx, v, lock, t, err, answerLost)
		return t, "", err
	}
	fresh, idToken, err := g.accept(ctx, v, up, t, answer)
	switch {
	case keysUnavailable(err):
		return nil, "", g.keepRefreshToken(ctx, v, lock, t, fresh, err)
	case err != nil:
		return nil, "", g.refreshRefused(ctx, v, up, answer, err)
	}
	fresh, err = g.saveFresh(ctx, v, t, fresh)
	if errors.Is(err, errGone) {
		g.revoke(ctx, up, answer.RefreshToken) // a logout came first
		g.unmark(ctx, v)
	}
	if err != nil {
		return nil, "", err
	}
	g.unmark(ctx, v)
	g.events.emit(Event{Type: EventRefreshed, Provider: up.name, Issuer: up.issuer, SessionRef: g.sessionRef(v.token)})
	return fresh, idToken, nil
}

// askForTokens spends the refresh token, once there is room to ask: thousands of sessions whose tokens expire
// together come to the provider one after another. answerLost is set when the answer to an earlier request was lost.
func (g *Gate) askForTokens(ctx context.Context, v *visit, up *upstream, lock *lock, t *tokens) (answer *provider.Tokens, answerLost bool, err error) {
	select {
	case g.flights.asking <- struct{}{}:
		defer func() { <-g.flights.asking }()
	case <-ctx.Done():
		return nil, false, ctx.Err()
	}
	if _, err := up.client.Metadata(ctx); err != nil {
		return nil, false, err // nothing was spent: no mark
	}
	if answerLost, err = g.mark(ctx, v, lock.owner); err != nil {
		return nil, false, g.storeError(err)
	}
	answer, err = up.client.Refresh(ctx, t.RefreshToken)
	return answer, answerLost, err
}

// accept checks a refreshed ID Token like the first: it may never change who the user is (OpenID Connect
// Core, section 12.2). What the provider left out stays as it was.
func (g *Gate) accept(ctx context.Context, v *visit, up *upstream, old *tokens, answer *provider.Tokens) (*tokens, claims.Object, error) {
	fresh := newTokens(answer, old.nonce)
	fresh.deadline = old.deadline
	if fresh.RefreshToken == "" {
		fresh.RefreshToken = old.RefreshToken
	}
	if fresh.Scope == "" {
		fresh.Scope = old.Scope
	}
	if fresh.IDToken == "" {
		fresh.IDToken = old.IDToken
		return fresh, "", nil
	}
	idToken, err := up.client.VerifyIDToken(ctx, fresh.IDToken, provider.Expectation{
		Nonce:       old.nonce,
		AccessToken: fresh.AccessToken,
		Original:    &provider.Original{Subject: v.identity.Subject(), AuthTime: v.identity.AuthTime()},
	})
	return fresh, idToken, err
}

const saveTimeout = 10 * time.Second

// saveFresh swaps the tokens. The old refresh token is spent, so a store that stumbles is asked again for a
// while. Another's tokens in the place win: the lock was lost to a lease that ran out, and they are newer.
func (g *Gate) saveFresh(ctx context.Context, v *visit, old, fresh *tokens) (*tokens, error) {
	key := tokensRecord.key(g, v.token)
	sealed, err := g.sealTokens(key, v.token, fresh)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), saveTimeout)
	defer cancel()
	for {
		err := g.config.Store.Swap(ctx, key, old.sealed, sealed, ttlUntil(fresh.deadline, time.Now()))
		switch {
		case err == nil:
			fresh.sealed = sealed
			return fresh, nil
		case errors.Is(err, store.ErrNotFound):
			return nil, errGone
		case errors.Is(err, store.ErrConflict):
			return g.loadTokens(ctx, v.token)
		case sleep(ctx, 200*time.Millisecond) != nil:
			g.events.emit(Event{Type: EventRefreshFailed, Reason: ReasonStoreError, SessionRef: g.sessionRef(v.token), Detail: err.Error(), Hint: "the provider's new tokens could not be saved"})
			return nil, g.storeError(err)
		}
	}
}

// refreshFailed ends the session when the provider says that the refresh token is no good (RFC 6749, section
// 5.2), and pauses all replicas when the provider fails.
func (g *Gate) refreshFailed(ctx context.Context, v *visit, lock *lock, t *tokens, cause error, answerLost bool) (*tokens, error) {
	var e *provider.Error
	if !errors.As(cause, &e) || e.Code != "invalid_grant" {
		if e != nil && e.Code != "" {
			g.unmark(ctx, v) // refused in the protocol's words: the token was not rotated
		}
		return nil, g.tryAgainLater(ctx, v, lock, t, cause)
	}
	now, err := g.loadTokens(ctx, v.token)
	if errors.Is(err, errGone) {
		return nil, errGone // a logout came first, and had the token revoked
	}
	if err == nil && !bytes.Equal(now.sealed, t.sealed) {
		return now, nil // the lock was lost, and another got there
	}
	event := EventRefreshFailed
	if answerLost {
		event = EventRefreshReuse
	}
	g.events.emit(Event{Type: event, Reason: ReasonInvalidGrant, Provider: v.identity.provider, SubjectHash: g.subjectHash(v.identity), SessionRef: g.sessionRef(v.token)})
	return nil, g.endByToken(ctx, v)
}

// tryAgainLater keeps all replicas from trying again at once.
func (g *Gate) tryAgainLater(ctx context.Context, v *visit, lock *lock, t *tokens, cause error) error {
	var e *provider.Error
	errors.As(cause, &e)
	g.events.emit(Event{Type: EventRefreshFailed, Reason: reasonOf(e), Provider: v.identity.provider, SessionRef: g.sessionRef(v.token), Detail: cause.Error()})
	lock.pause(ctx, pause(time.Since(g.expiry(t).Add(-g.margin(t)))))
	return fmt.Errorf("%w: %w", ErrProviderUnavailable, cause)
}

// keysUnavailable reports whether a token could not be verified for want of the provider's keys. That says nothing
// against the token.
func keysUnavailable(err error) bool {
	var e *provider.Error
	if !errors.As(err, &e) {
		return false
	}
	switch e.Reason {
	case provider.ReasonKeysUnavailable, provider.ReasonKeyUnknown, provider.ReasonProviderUnreachable:
		return true
	}
	return false
}

// keepRefreshToken keeps of an answer whose ID Token cannot be judged now the refresh token, without which the login
// would be lost, and nothing else. The access token stays the old one and so stays due: a later refresh brings
// an ID Token again.
func (g *Gate) keepRefreshToken(ctx context.Context, v *visit, lock *lock, t, fresh *tokens, cause error) error {
	kept := *t
	kept.RefreshToken = fresh.RefreshToken
	if _, err := g.saveFresh(ctx, v, t, &kept); err != nil {
		return err
	}
	g.unmark(ctx, v)
	return g.tryAgainLater(ctx, v, lock, t, cause)
}

// refreshRefused discards tokens that came with an ID Token of somebody else or of nobody, and ends the
// session: what the provider says of it cannot be believed any more.
func (g *Gate) refreshRefused(ctx context.Context, v *visit, up *upstream, answer *provider.Tokens, cause error) error {
	var e *provider.Error
	errors.As(cause, &e)
	g.events.emit(Event{Type: EventRefreshFailed, Reason: reasonOf(e), Provider: up.name, Issuer: up.issuer, SubjectHash: g.subjectHash(v.identity), SessionRef: g.sessionRef(v.token), Detail: cause.Error()})
	g.revoke(ctx, up, answer.RefreshToken)
	return g.endByToken(ctx, v)
}

func (g *Gate) endByToken(ctx context.Context, v *visit) error {
	if err := g.endHandle(ctx, v.handle(), v.identity.summary()); err != nil {
		return err
	}
	g.unmark(ctx, v)
	g.events.emit(Event{Type: EventSessionRevoked, Reason: ReasonByToken, SubjectHash: g.subjectHash(v.identity), SessionRef: g.sessionRef(v.token)})
	return errGone
}

func reasonOf(e *provider.Error) Reason {
	if e == nil {
		return ReasonProviderDown
	}
	return Reason(e.Reason)
}

// pause is how long to leave a provider alone that has not done what is overdue for so long: longer the longer
// it is overdue, which spaces the tries out as if they were counted, and not the same for all.
func pause(overdue time.Duration) time.Duration {
	d := min(max(overdue/2, time.Second), 30*time.Second)
	return d + mathrand.N(d/4)
}

// mark notes that the provider is about to be asked, and reports whether such a note of an earlier refresh
// was left behind.
func (g *Gate) mark(ctx context.Context, v *visit, owner []byte) (answerLost bool, err error) {
	err = g.config.Store.Create(ctx, markPrefix+v.handle(), owner, markTTL)
	if errors.Is(err, store.ErrExists) {
		return true, nil
	}
	return false, err
}

func (g *Gate) unmark(ctx context.Context, v *visit) {
	_ = g.config.Store.Delete(ctx, markPrefix+v.handle(), nil) // best effort: it only colours a later event
}

// revoke tells the provider that a refresh token is not used any more. It is best effort, and short.
func (g *Gate) revoke(ctx context.Context, up *upstream, refreshToken string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), revokeTimeout)
	defer cancel()
	if err := up.client.Revoke(ctx, refreshToken); err != nil {
		g.config.Logger.Info("oidcgate: revoking a refresh token", "err", err)
	}
}

const revokeTimeout = 2 * time.Second
