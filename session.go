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

// The gate keeps its sessions through scs, which makes the ids, loads, commits, and writes the
// cookie. internal/session reads and writes the records in the store.
//
// The gate calls Load, Commit and WriteSessionCookie of scs itself. IdleTimeout of scs stays zero,
// because scs would rewrite every session after every request and so restore one that ended in the
// meantime. RenewToken is not called: it deletes the old session before the new one is saved.

// newSessions returns the manager of the gate's own sessions. It is not made by scs.New, which
// starts a goroutine for an unused memory store and otherwise only gives each manager its own
// context key. The gate needs none: a [sessionCall] as the context hides the data of other managers
// from scs.
func newSessions(g *Gate) *scs.SessionManager {
	return &scs.SessionManager{
		Store:    sessionStore{keeper: g.keeper},
		Codec:    sessionCodec{},
		Lifetime: g.config.SessionLifetime,
		Cookie: scs.SessionCookie{
			Name: g.config.Site.CookieName, Path: "/",
			HttpOnly: true, Secure: g.config.secure, SameSite: http.SameSiteLaxMode,
		},
	}
}

// sessionCall is the context of a call of scs. scs passes it on to the store, so that sessions need
// not pass through scs as bytes.
type sessionCall struct {
	context.Context // of the request, for the store

	session *session.Session // found by Load, or begun by Commit
	tokens  *session.Tokens  // for Commit
	err     error            // why Load found none
}

type sessionCallKey struct{}

// Value implements [context.Context]. It hides all other values: scs must not take data of another
// manager, such as an outer gate's, for its own.
func (c *sessionCall) Value(key any) any {
	if key == (sessionCallKey{}) {
		return c
	}
	return nil
}

// loadSession returns the session of an id. The error is session.ErrGone or wraps
// ErrStoreUnavailable.
func (g *Gate) loadSession(ctx context.Context, id session.ID) (*session.Session, error) {
	call := &sessionCall{Context: ctx}
	if _, err := g.sessions.Load(call, string(id)); err != nil {
		return nil, err
	}
	return call.session, call.err
}

// beginSession saves a new session and writes its cookie. It returns when everything is in the
// store: no answer promises a session that does not exist. What is left of a session that could not
// be saved is removed.
func (g *Gate) beginSession(
	ctx context.Context, w http.ResponseWriter, id *Identity, t *session.Tokens,
) (session.Handle, error) {
	s := &session.Session{Identity: *id.record()}
	call := &sessionCall{Context: ctx, session: s, tokens: t}
	ctx, err := g.sessions.Load(call, "")
	if err != nil {
		return "", err
	}
	end, withToken := g.keeper.Expires(t), g.config.Tokens.EndWithAccessToken
	if withToken && t.RefreshToken == "" && end.Before(g.sessions.Deadline(ctx)) {
		g.sessions.SetDeadline(ctx, end)
	}
	token, deadline, err := g.sessions.Commit(ctx)
	if err != nil {
		return "", err
	}
	g.sessions.WriteSessionCookie(ctx, w, token, deadline)
	w.Header().Set("Cache-Control", "no-store") // scs adds a value of its own
	return g.keeper.Handle(s.ID), nil
}

// sessionStore is the store of scs.
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

// CommitCtx begins the call's session. Later changes of a session are not written through scs.
func (s sessionStore) CommitCtx(
	ctx context.Context, token string, _ []byte, deadline time.Time,
) error {
	call := ctx.Value(sessionCallKey{}).(*sessionCall)
	call.session.ID = session.ID(token)
	call.session.Times.Deadline = deadline.UnixMilli()
	return s.keeper.Begin(call.Context, call.session, call.tokens)
}

// DeleteCtx is for Destroy and RenewToken of scs, which the gate does not call.
func (sessionStore) DeleteCtx(context.Context, string) error { return errNoContext }

// sessionCodec does nothing: sessions do not pass through scs as bytes.
type sessionCodec struct{}

// Encode implements scs.Codec.
func (sessionCodec) Encode(time.Time, map[string]any) ([]byte, error) { return nil, nil }

// Decode implements scs.Codec.
func (sessionCodec) Decode([]byte) (time.Time, map[string]any, error) {
	return time.Time{}, nil, nil
}

// withoutContext completes scs.CtxStore. scs calls the methods with a context in place of these.
type withoutContext struct{}

var errNoContext = errors.New("oidcgate: scs must not call this method")

func (withoutContext) Find(string) ([]byte, bool, error)      { return nil, false, errNoContext }
func (withoutContext) Commit(string, []byte, time.Time) error { return errNoContext }
func (withoutContext) Delete(string) error                    { return errNoContext }

// told emits the [Event] for what happened to a session.
func (g *Gate) told(e session.Event) {
	if e.Type == event.StoreUnavailable {
		g.events.storeUnavailable(e.Err)
		return
	}
	if id := e.Identity; id != nil {
		e.Provider, e.Issuer, e.Subject = id.Provider, id.Issuer(), id.Subject()
	}
	ev := Event{
		Type: EventType(e.Type), Reason: Reason(e.Reason), Provider: e.Provider, Issuer: e.Issuer,
		Detail: errorText(e.Err), Hint: e.Hint,
	}
	if e.Subject != "" {
		ev.SubjectHash = g.keeper.UserRef(session.User{Issuer: e.Issuer, Subject: e.Subject})
	}
	if e.Handle != "" {
		ev.SessionRef = g.keeper.SessionRef(e.Handle)
	}
	g.events.emit(ev)
}

// newKeeper returns the keeper of the gate's sessions.
func newKeeper(g *Gate) *session.Keeper {
	c := &g.config
	return session.New(session.Config{
		Store: c.Store,
		Ring:  g.ring,
		Gate:  sha256.Sum256([]byte(c.gateName())),
		Limits: session.Limits{
			Idle: c.IdleTimeout, Touch: c.touchAfter,
			Attempt: c.Limits.LoginTimeout, Leeway: c.Limits.ClockSkew,
			TokenLifetime: c.Tokens.Lifetime, RefreshMargin: c.Tokens.RefreshMargin,
			Reread: c.Tokens.ClaimsMaxAge, LockLease: c.Tokens.LockLease,
			ProviderTimeout: c.HTTP.Timeout, MaxBytes: c.Limits.SessionBytes,
			MaxIDToken: op.MaxEndSessionURL, Values: c.EnableValues,
		},
		Provider: outside{g},
		Logger:   c.Logger,
		Tell:     g.told,
	})
}
