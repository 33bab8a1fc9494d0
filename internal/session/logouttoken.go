package session

import (
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"time"

	"github.com/oidcgate/oidcgate/internal/event"
	"github.com/oidcgate/oidcgate/store"
)

// LogoutToken is what a provider sends to log a user out (OpenID Connect Back-Channel Logout,
// section 2.4). It is verified.
type LogoutToken struct {
	Issuer    string
	ID        string // "jti"
	Subject   string // or "", where there is a SessionID
	SessionID string // or "", where there is a Subject
	IssuedAt  time.Time
	Expires   time.Time
}

// LoggedOut is what came of a logout token.
type LoggedOut struct {
	First bool // of several calls with one token at the same time, true for one
	Ended int  // how many sessions this call ended
}

// UseLogoutToken ends the sessions that a logout token names, and refuses such logins under way. It
// remembers the token afterwards, not before: when it fails in between, the provider sends
// the token again, and ending the same sessions again does no harm. The error is ErrUsed when the
// token was used before. That is read before anything is written: a copy of the token must not make
// tombstones last longer. It does not end with ctx.
func (k *Keeper) UseLogoutToken(ctx context.Context, t LogoutToken) (LoggedOut, error) {
	ctx = context.WithoutCancel(ctx)
	used, err := k.logoutTokenUsed(ctx, t)
	switch {
	case err != nil:
		return LoggedOut{}, err
	case used:
		return LoggedOut{}, ErrUsed
	}
	ended, err := k.end(ctx, k.endingOf(t))
	if err != nil {
		return LoggedOut{}, err
	}
	first, err := k.rememberLogoutToken(ctx, t)
	return LoggedOut{first, ended}, err
}

// endingOf is the logout that a token asks for. A token that arrives late does not mean the
// sessions of later logins. A token with sub and sid means the sessions of that sid, and the
// user's whose ID Token had no sid: they may be out of that session.
func (k *Keeper) endingOf(t LogoutToken) ending {
	user, logout := User{t.Issuer, t.Subject}, k.heard(t.IssuedAt)
	later := func(l *leaving) bool { return l.follows(logout) }
	e := ending{reason: event.ReasonBackchannel}
	if t.SessionID == "" {
		e.tombstones = []tombstone{k.userTombstone(user, logout)}
		e.sets, e.keep = []string{k.userSet(user)}, later
		e.needsSummary = func(*leaving) bool { return true }
		return e
	}
	e.tombstones = []tombstone{k.sidTombstone(t.Issuer, t.SessionID, logout)}
	e.sets, e.keep = []string{k.sidSet(t.Issuer, t.SessionID)}, later
	if t.Subject != "" {
		e.tombstones = append(e.tombstones, k.sidlessTombstone(user, logout))
		e.sets = append(e.sets, k.userSet(user))
		e.needsSummary = func(l *leaving) bool { return !slices.Contains(l.foundIn, e.sets[0]) }
		e.keep = func(l *leaving) bool {
			named := !e.needsSummary(l) || l.SID == t.SessionID // the sid's set may not be readable
			return !named && l.SID != "" || later(l)
		}
	}
	return e
}

func (k *Keeper) logoutTokenKey(t LogoutToken) string {
	return k.nameKey(logoutIDPrefix, t.Issuer, t.ID)
}

// logoutTokenUsed reports whether a logout token was remembered.
func (k *Keeper) logoutTokenUsed(ctx context.Context, t LogoutToken) (bool, error) {
	ctx, cancel := Within(ctx, writeTimeout)
	defer cancel()
	_, err := k.store.Get(ctx, k.logoutTokenKey(t))
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	return err == nil, k.storeError(ctx, err)
}

// rememberLogoutToken remembers a logout token until after its expiry. first is false when another
// request was faster.
func (k *Keeper) rememberLogoutToken(ctx context.Context, t LogoutToken) (first bool, _ error) {
	ctx, cancel := Within(ctx, writeTimeout)
	defer cancel()
	lifetime := max(time.Until(t.Expires)+2*k.limits.Leeway, time.Minute)
	key, own := k.logoutTokenKey(t), []byte(rand.Text())
	err := k.store.Create(ctx, key, own, lifetime)
	switch {
	case errors.Is(err, store.ErrExists):
		return false, nil
	case err != nil: // the answer may be lost, and the provider tries again
		ctx, cancel := Detached(ctx)
		defer cancel()
		_ = k.store.Delete(ctx, key, own)
		return false, k.storeError(ctx, err)
	}
	return true, nil
}
