package oidcgate

import (
	"context"
	"crypto/sha256"
	"log/slog"
	"net/http"

	"github.com/alexedwards/scs/v2"

	"github.com/oidcgate/oidcgate/internal/event"
	"github.com/oidcgate/oidcgate/internal/op"
	"github.com/oidcgate/oidcgate/internal/seal"
	"github.com/oidcgate/oidcgate/internal/session"
)

// cookie returns the session cookie's attributes.
func (c *config) cookie() scs.SessionCookie {
	return scs.SessionCookie{
		Name: c.at.CookieName, Path: "/",
		HttpOnly: true, Secure: c.at.Secure, SameSite: http.SameSiteLaxMode,
	}
}

// told emits the event for what happened to a session.
func (g *Gate) told(ctx context.Context, e session.Event) {
	switch e.Type {
	case event.StoreUnavailable:
		g.events.StoreUnavailable(ctx, e.Err)
		return
	case event.StoreAvailable:
		g.events.StoreAvailable(ctx)
		return
	}
	if id := e.Identity; id != nil {
		e.Provider, e.Issuer, e.Subject = id.Provider, id.Issuer(), id.Subject()
	}
	r := event.Record{
		Type: e.Type, Reason: e.Reason, Provider: e.Provider, Issuer: e.Issuer,
		Detail: event.Text(e.Err), Hint: e.Hint,
	}
	if e.Subject != "" {
		r.SubjectHash = g.keeper.UserRef(session.User{Issuer: e.Issuer, Subject: e.Subject})
	}
	if e.Handle != "" {
		r.SessionRef = g.keeper.SessionRef(e.Handle)
	}
	g.events.Emit(ctx, r)
	if e.Type == event.SessionRevoked && e.Subject != "" && g.logouts != nil {
		g.logouts.Put(Logout{
			Issuer: e.Issuer, Subject: e.Subject, SubjectHash: r.SubjectHash,
			SessionID: string(e.Handle), SessionRef: r.SessionRef, Reason: Reason(e.Reason),
		})
	}
}

// loggedOut hands the end of a session to OnLogout.
func (g *Gate) loggedOut(l Logout, dropped uint64) {
	defer func() {
		if v := recover(); v != nil {
			g.events.Panicked(context.Background(), "OnLogout", v)
		}
	}()
	if dropped > 0 {
		g.events.Log(context.Background(), slog.LevelError, "OnLogout is too slow and missed sessions "+
			"that ended; have it hand its work to a goroutine of its own", slog.Uint64("missed", dropped))
	}
	g.config.OnLogout(l)
}

// newKeeper returns the keeper of the gate's sessions.
func newKeeper(g *Gate, ring *seal.Ring) *session.Keeper {
	c := &g.config
	return session.New(session.Config{
		Store: c.Store,
		Ring:  ring,
		Gate:  sha256.Sum256([]byte(c.at.Name())),
		Limits: session.Limits{
			Lifetime: c.SessionLifetime, Idle: c.IdleTimeout, Touch: c.touchAfter,
			Attempt: c.Limits.LoginTimeout, Leeway: c.Limits.ClockSkew,
			TokenLifetime: c.Tokens.Lifetime, RefreshMargin: c.Tokens.RefreshMargin,
			Reread: c.Tokens.ClaimsMaxAge, KeepRefused: c.Tokens.KeepRefused,
			EndWithAccessToken: c.Tokens.EndWithAccessToken, LockLease: c.Tokens.LockLease,
			Watch:           c.Limits.WatchInterval,
			ProviderTimeout: c.HTTP.Timeout, MaxBytes: c.Limits.SessionBytes,
			MaxIDToken: op.MaxEndSessionURL, Values: c.EnableValues,
			UserSessions: c.Limits.UserSessions,
		},
		Provider: g.others(),
		Panicked: g.events.Panicked,
		Tell:     g.told,
	})
}
