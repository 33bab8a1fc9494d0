package session

import (
	"context"
	"crypto/rand"
	"errors"
	"time"

	"github.com/oidcgate/oidcgate/store"
)

// ErrUsed means that another request has used the attempt.
var ErrUsed = errors.New("another request with this state came first")

// ClaimAttempt takes a login attempt for one request, over all replicas. The value in the store is
// an owner, so that a store's client that sends its command again after a lost reply is not told
// that the attempt is used.
func (k *Keeper) ClaimAttempt(ctx context.Context, reference string) error {
	owner := []byte(rand.Text())
	err := k.store.Create(ctx, attemptPrefix+reference, owner, k.attemptTTL())
	if errors.Is(err, store.ErrExists) {
		return ErrUsed
	}
	return k.storeError(ctx, err)
}

// LogoutTokenUsed reports whether a logout token was remembered by [Keeper.UseLogoutToken].
func (k *Keeper) LogoutTokenUsed(ctx context.Context, issuer, tokenID string) (bool, error) {
	_, err := k.store.Get(ctx, k.nameKey(logoutIDPrefix, issuer, tokenID))
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	return err == nil, k.storeError(ctx, err)
}

// UseLogoutToken remembers a logout token until after its expiry. Call it after the sessions are
// ended: a request that fails in between is sent again, and ending a session twice is ending it.
func (k *Keeper) UseLogoutToken(
	ctx context.Context, issuer, tokenID string, expires time.Time,
) error {
	lifetime := max(time.Until(expires)+2*k.limits.Leeway, time.Minute)
	key := k.nameKey(logoutIDPrefix, issuer, tokenID)
	return k.storeError(ctx, k.store.Create(ctx, key, []byte("1"), lifetime))
}
