package oidcgate

import (
	"context"
	"crypto/sha256"
	"errors"
	"net/http"
	"time"

	"github.com/alexedwards/scs/v2"

	"github.com/oidcgate/oidcgate/internal/event"
	"github.com/oidcgate/oidcgate/internal/op"
	"github.com/oidcgate/oidcgate/internal/session"
)

// The gate's sessions are kept through scs: it makes the ids, and it loads, commits and writes the
// cookie. What a record is, and how it is read and written, is internal/session's.
//
// The gate calls Load, Commit and WriteSessionCookie of scs itself. IdleTimeout stays zero: it
// makes scs rewrite every session after every request, which brings sessions back that were ended
// in the meantime. RenewToken is not called: it deletes the old session before the new one is saved.

// newSessions returns the manager of the gate's own sessions. It is not made by scs.New, which
// starts a goroutine for a memory store that nobody uses here. What only scs.New does is to give
// each manager a key of its own in contexts. The gate needs none: it calls scs with a [sessionCall]
// as the context, which shows scs nothing of other managers.
func newSessions(g *Gate) *scs.SessionManager {
	return &scs.SessionManager{
		Store:    sessionStore{keeper: g.keeper},
		Codec:    sessionCodec{},
		Lifetime: g.config.SessionLifetime,
		Cookie: scs.SessionCookie{
			Name:     g.config.Site.CookieName,
			Path:     "/",
			HttpOnly: true,
			Secure:   g.config.secure,
			SameSite: http.SameSiteLaxMode,
		},
	}
}

// sessionCall is the context of a call of scs. scs passes it on to the store, so that the session
// need not travel through scs as bytes.
type sessionCall struct {
	context.Context // of the request, for the store

	session session.Session // what Load finds, or what Commit begins
	tokens  *session.Tokens // for Commit
	err     error           // why Load finds none
}

type sessionCallKey struct{}

// Value implements [context.Context]. It has no values but itself: data of another manager, such as
// that of a gate outside, must not be taken for this one's.
func (c *sessionCall) Value(key any) any {
	if key == (sessionCallKey{}) {
		return c
	}
	return nil
}

// loadSession returns the session of an id. The error is session.ErrGone or wraps ErrStoreUnavailable.
func (g *Gate) loadSession(ctx context.Context, id session.ID) (session.Session, error) {
	call := &sessionCall{Context: ctx}
	if _, err := g.sessions.Load(call, string(id)); err != nil {
		return session.Session{}, err
	}
	return call.session, call.err
}

// beginSession saves a new session and writes its cookie. When it returns, everything is in the
// store: no answer promises a session that is not there. Of a session that cannot be saved whole
// nothing stays.
func (g *Gate) beginSession(
	ctx context.Context, w http.ResponseWriter, id *Identity, t *session.Tokens,
) (session.Handle, error) {
	call := &sessionCall{Context: ctx, tokens: t}
	call.session.Identity = id.record
	ctx, err := g.sessions.Load(call, "")
	if err != nil {
		return "", err
	}
	if end := g.keeper.Expires(t); g.config.Tokens.EndSession && t.RefreshToken == "" &&
		end.Before(g.sessions.Deadline(ctx)) {
		g.sessions.SetDeadline(ctx, end)
	}
	token, deadline, err := g.sessions.Commit(ctx)
	if err != nil {
		return "", err
	}
	g.sessions.WriteSessionCookie(ctx, w, token, deadline)
	w.Header().Set("Cache-Control", "no-store") // scs adds a value of its own
	return g.keeper.Handle(call.session.ID), nil
}

// sessionStore is what scs keeps sessions in.
type sessionStore struct {
	withoutContext
	keeper *session.Keeper
}

// FindCtx loads the session into the call.
func (s sessionStore) FindCtx(ctx context.Context, token string) ([]byte, bool, error) {
	call := ctx.Value(sessionCallKey{}).(*sessionCall)
	call.session, call.err = s.keeper.Load(call.Context, session.ID(token))
	return nil, call.err == nil, nil
}

// CommitCtx begins the call's session. scs is asked to commit new sessions only: what changes later
// is not written through it.
func (s sessionStore) CommitCtx(
	ctx context.Context, token string, _ []byte, deadline time.Time,
) error {
	call := ctx.Value(sessionCallKey{}).(*sessionCall)
	call.session.ID = session.ID(token)
	call.session.Times.Deadline = deadline.UnixMilli()
	return s.keeper.Begin(call.Context, &call.session, call.tokens)
}

// DeleteCtx is scs's Destroy and RenewToken, which the gate does not call.
func (sessionStore) DeleteCtx(context.Context, string) error { return errNoContext }

// sessionCodec has nothing to do: sessions do not pass through scs as bytes.
type sessionCodec struct{}

// Encode implements scs.Codec.
func (sessionCodec) Encode(time.Time, map[string]any) ([]byte, error) { return nil, nil }

// Decode implements scs.Codec.
func (sessionCodec) Decode([]byte) (time.Time, map[string]any, error) {
	return time.Time{}, nil, nil
}

// withoutContext completes scs.CtxStore. scs prefers the methods with a context and never calls
// these.
type withoutContext struct{}

var errNoContext = errors.New("oidcgate: the store is used with a context only")

func (withoutContext) Find(string) ([]byte, bool, error)      { return nil, false, errNoContext }
func (withoutContext) Commit(string, []byte, time.Time) error { return errNoContext }
func (withoutContext) Delete(string) error                    { return errNoContext }

// told makes an [Event] of what happened to a session.
func (g *Gate) told(e session.Event) {
	if e.Type == event.StoreUnavailable {
		g.events.storeUnavailable(e.Err)
		return
	}
	if e.Identity != nil {
		e.Provider, e.Issuer, e.Subject = e.Identity.Provider, e.Identity.Issuer(), e.Identity.Subject()
	}
	ev := Event{
		Type: EventType(e.Type), Reason: Reason(e.Reason), Provider: e.Provider, Issuer: e.Issuer,
		Detail: errorText(e.Err), Hint: e.Hint,
	}
	if e.Subject != "" {
		ev.SubjectHash = g.subjectHash(e.Issuer, e.Subject)
	}
	if e.Handle != "" {
		ev.SessionRef = g.sessionRef(e.Handle)
	}
	g.events.emit(ev)
}

// newKeeper returns the keeper of the gate's sessions.
func newKeeper(g *Gate) *session.Keeper {
	c := &g.config
	return session.New(session.Config{
		Store: c.Store,
		Ring:  g.ring,
		Gate:  sha256.Sum256([]byte(c.identity())),
		Limits: session.Limits{
			Idle: c.IdleTimeout, Touch: c.touchAfter, Attempt: c.Limits.LoginTimeout, Leeway: c.Limits.ClockSkew,
			TokenLifetime: c.Tokens.Lifetime, RefreshMargin: c.Tokens.RefreshMargin, Reread: c.Tokens.ClaimsMaxAge,
			LockLease: c.Tokens.LockLease, ProviderTimeout: c.HTTP.Timeout,
			MaxBytes: c.Limits.SessionBytes, MaxIDToken: op.MaxEndSessionURL, Values: c.EnableValues,
		},
		Provider: asker{g},
		Logger:   c.Logger,
		Tell:     g.told,
	})
}
