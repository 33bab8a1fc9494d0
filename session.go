package oidcgate

import (
	"context"
	"crypto/sha256"
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

// beginSession saves a new session and writes its cookie.
func (g *Gate) beginSession(ctx context.Context, w http.ResponseWriter, l *session.Login) error {
	latest := l.Identity.SessionExpiry()
	if g.config.Tokens.EndWithAccessToken && l.Tokens.RefreshToken == "" {
		if end := g.keeper.Expires(l.Tokens); latest.IsZero() || end.Before(latest) {
			latest = end
		}
	}
	return g.sessions.Begin(ctx, w, l, latest)
}

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
		Logger:   c.Logger,
		Tell:     g.told,
	})
}
