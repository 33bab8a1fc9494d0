package oidcgate

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/oidcgate/oidcgate/internal/claims"
	"github.com/oidcgate/oidcgate/internal/provider"
	"github.com/oidcgate/oidcgate/store"
)

// With Config.RereadClaims a session's claims follow the provider's: a group that is taken away there is gone
// here after that time at the latest, as long as the provider answers. They are read again with every refresh
// of the tokens, from the new ID Token and from userinfo, and OnLogin decides again about the result.

// stale reports whether a session's claims are due to be read again. Nobody's never are.
func (g *Gate) stale(id *Identity) bool {
	return id != nil && g.config.RereadClaims > 0 && time.Since(id.checked) >= g.config.RereadClaims
}

// recheck reads the claims of a request's session again before anybody is asked who may enter. A session that
// is over then is an anonymous visitor, and so is one whose tokens are lost, for which nobody can be asked; while
// the provider does not answer the old claims stay.
func (g *Gate) recheck(w http.ResponseWriter, r *http.Request, v *visit) {
	f := g.join(v)
	select {
	case <-f.done:
	case <-v.Done():
		return
	}
	if f.err != nil && !errors.Is(f.err, errGone) {
		return
	}
	fresh, _, err := g.readIdentity(v, v.token)
	switch {
	case err == nil && f.err == nil:
		v.identity = fresh
	case err == nil, errors.Is(err, errGone):
		v.token, v.identity = "", nil
		g.forget(w, r)
	default:
		v.token, v.identity, v.err = "", nil, g.storeError(err)
	}
}

// readIdentity reads a session's identity past scs, with the record it came in.
func (g *Gate) readIdentity(ctx context.Context, token string) (*Identity, []byte, error) {
	key := identityRecord.key(g, token)
	sealed, err := g.config.Store.Get(ctx, key)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil, errGone
	}
	if err != nil {
		return nil, nil, err
	}
	clear, plaintext, err := g.ring.Open(identityRecord.binding(key, token), timesSize, sealed)
	if err != nil {
		return nil, nil, errGone
	}
	id := decodeIdentity(plaintext)
	g.setTimes(id, parseTimes(clear))
	return id, sealed, nil
}

// reread asks the provider about the user once more and saves what is new. What the protocol says of the
// login, when and how the user authenticated, stays as it was.
func (g *Gate) reread(ctx context.Context, v *visit, up *upstream, t *tokens, idToken claims.Object) error {
	userinfo, err := up.client.RereadUserinfo(ctx, t.AccessToken, v.identity.Subject())
	if err != nil {
		return err
	}
	for {
		old, sealed, err := g.readIdentity(ctx, v.token)
		if err != nil {
			return err
		}
		login := &Login{identity: old.renewed(idToken, userinfo), again: true}
		if idToken == "" && userinfo == "" {
			login.identity = old.checkedNow() // the provider said nothing new, and OnLogin has decided on the old
		} else if refused := g.askApplication(ctx, login); refused != nil {
			return refused
		}
		err = g.swapIdentity(ctx, v.token, login.identity, sealed)
		if !errors.Is(err, store.ErrConflict) {
			return err
		}
	}
}

// renewed returns the identity with new claims. What OnLogin made of the old ones is gone, so that nothing of
// it outlives its reason.
func (id *Identity) renewed(idToken, userinfo claims.Object) *Identity {
	fresh := id.checkedNow()
	fresh.application = ""
	fresh.userinfo = userinfo
	if idToken == "" {
		return fresh
	}
	fresh.idToken = id.idToken.Filter(isProtocolClaim)
	for name, v := range idToken.All() {
		if !isProtocolClaim(name) {
			fresh.idToken = fresh.idToken.With(name, v)
		}
	}
	return fresh
}

// checkedNow returns the identity as it is, with the time of now.
func (id *Identity) checkedNow() *Identity {
	fresh := *id
	fresh.checked = time.Now()
	return &fresh
}

func isProtocolClaim(name string) bool { return slices.Contains(protocolClaims, name) }

// swapIdentity replaces a session's identity, with its times as they are.
func (g *Gate) swapIdentity(ctx context.Context, token string, id *Identity, sealed []byte) error {
	plaintext, err := id.encode()
	if err != nil {
		return err
	}
	if len(plaintext) > g.config.MaxSessionBytes {
		return errTooLarge
	}
	key := identityRecord.key(g, token)
	t := times{id.expires.UnixMilli(), id.seen}
	fresh, err := g.ring.Seal(identityRecord.binding(key, token), t.header(), plaintext)
	if err != nil {
		return err
	}
	err = g.config.Store.Swap(ctx, key, sealed, fresh, ttlUntil(t.ends(g.config.IdleTimeout), time.Now()))
	if errors.Is(err, store.ErrNotFound) {
		return errGone
	}
	return err
}

// rereadFailed ends the session when the answer is about somebody else, or too long to be kept, or the
// application refuses, and lets it go on, with an event and a pause, when the provider gives no answer.
func (g *Gate) rereadFailed(ctx context.Context, v *visit, lock *lock, err error) error {
	var refused *LoginError
	var e *provider.Error
	errors.As(err, &e)
	switch {
	case errors.As(err, &refused), errors.Is(err, errTooLarge), e != nil && e.Reason == provider.ReasonUserinfoSubject:
		g.events.emit(Event{Type: EventRefreshFailed, Reason: ReasonClaims, SessionRef: g.sessionRef(v.token), SubjectHash: g.subjectHash(v.identity), Detail: err.Error()})
		return g.endByToken(ctx, v)
	case errors.Is(err, errGone):
		return err
	}
	lock.pause(ctx, pause(time.Since(v.identity.checked)-g.config.RereadClaims))
	g.events.emit(Event{Type: EventUserinfoFailed, Reason: reasonOf(e), Provider: v.identity.provider, SessionRef: g.sessionRef(v.token), Detail: err.Error()})
	return nil
}
