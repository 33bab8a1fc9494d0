package session

import (
	"context"
	"crypto/rand"
	"errors"
	"time"

	"github.com/oidcgate/oidcgate/store"
)

// ErrUsed means that another request came first.
var ErrUsed = errors.New("another request came first")

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

// UseProof notes that a DPoP proof by the key of that thumbprint was used, for ttl, over all
// replicas. first is false if it was used before (RFC 9449, section 11.1).
func (k *Keeper) UseProof(
	ctx context.Context, thumbprint, id string, ttl time.Duration,
) (first bool, _ error) {
	ctx, cancel := Within(ctx, writeTimeout)
	defer cancel()
	err := k.store.Create(ctx, k.nameKey(proofPrefix, thumbprint, id), []byte(rand.Text()), ttl)
	if errors.Is(err, store.ErrExists) {
		return false, nil
	}
	return err == nil, k.storeError(ctx, err)
}

// ReleaseAttempt gives up a claim, so that it takes no room in the store. Call it only when the
// provider has refused the attempt's code and issued nothing: a second request then gets no more.
// It is best effort.
func (k *Keeper) ReleaseAttempt(ctx context.Context, reference string) {
	ctx, cancel := Detached(ctx)
	defer cancel()
	_ = k.store.Delete(ctx, attemptPrefix+reference, nil)
}
