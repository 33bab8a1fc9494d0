package oidcgate

import (
	"context"
	"time"

	"github.com/oidcgate/oidcgate/internal/event"
	"github.com/oidcgate/oidcgate/internal/session"
)

// SessionInfo is a session in a list of sessions.
type SessionInfo struct {
	ID       string    // for [Sessions.End] and [Sessions.EndUserSession]; of no use as a cookie
	Provider string    // Name of the provider
	Label    string    // from [Login.SetLabel]: the browser, a place
	Created  time.Time // when the visitor logged in
	Current  bool      // it is that of the request
}

// Sessions lists and ends sessions. All methods act on all replicas at once. Their cost grows with
// the number of the user's own sessions, not of all sessions. They are ended from the newest to the
// oldest. When the store cannot answer, their errors wrap [ErrStoreUnavailable] and say how many
// sessions did not end: make the call again, which finds less to do. A visitor whose own session
// has ended since the request began has none: [ErrNoSession].
type Sessions struct{ gate *Gate }

// Sessions returns the sessions of the gate's visitors.
func (g *Gate) Sessions() Sessions { return Sessions{g} }

// List returns the sessions of the signed-in visitor, the newest first, or [ErrNoSession].
func (s Sessions) List(ctx context.Context) ([]SessionInfo, error) {
	v, err := s.gate.signedIn(ctx)
	if err == nil {
		_, err = s.gate.keeper.Peek(ctx, v.found.ID())
	}
	if err != nil {
		return nil, err
	}
	return s.list(ctx, v.identity.record().User(), v)
}

// ListUser returns the sessions of any user, the newest first. It is for administrators, and for
// the other identities of a visitor's account: it needs no signed-in visitor.
func (s Sessions) ListUser(ctx context.Context, issuer, subject string) ([]SessionInfo, error) {
	v, _ := s.gate.signedIn(ctx)
	return s.list(ctx, session.User{Issuer: issuer, Subject: subject}, v)
}

// list returns the sessions of a user, for the visitor v, which may be nil.
func (s Sessions) list(ctx context.Context, user session.User, v *visit) ([]SessionInfo, error) {
	var own session.Handle
	if v != nil {
		own = s.gate.keeper.Handle(v.found.ID())
	}
	listed, err := s.gate.keeper.List(ctx, user)
	var list []SessionInfo
	for _, l := range listed {
		list = append(list, SessionInfo{
			ID: string(l.Handle), Provider: l.Provider, Label: l.Label, Created: l.Created,
			Current: l.Handle == own,
		})
	}
	return list, err
}

// End ends one session of the signed-in visitor. It returns [ErrNoSession] if id is not the ID of
// one of the visitor's sessions.
func (s Sessions) End(ctx context.Context, id string) error {
	v, err := s.gate.signedIn(ctx)
	if err != nil {
		return err
	}
	return s.gate.keeper.EndOwn(ctx, v.found.Session, session.Handle(id), event.ReasonByUser)
}

// EndOthers ends all other sessions of the signed-in visitor and returns their number. Logins of
// the visitor that began before, to the second, are refused.
func (s Sessions) EndOthers(ctx context.Context) (int, error) {
	v, err := s.gate.signedIn(ctx)
	if err != nil {
		return 0, err
	}
	return s.gate.keeper.EndOthers(ctx, v.found.Session, event.ReasonByUser)
}

// EndUser ends all sessions of a user and returns their number: 0 also where nobody of that issuer
// and subject has ever logged in. Logins of the user that began before, to the second, are refused.
// It is for administrators: it needs no signed-in visitor. Without issuer or subject it fails.
func (s Sessions) EndUser(ctx context.Context, issuer, subject string) (int, error) {
	user := session.User{Issuer: issuer, Subject: subject}
	return s.gate.keeper.EndUser(ctx, user, event.ReasonByAdmin)
}

// EndUserSession ends one session of a user, which [Sessions.ListUser] has listed. It returns
// [ErrNoSession] if id is not the ID of one of them. It needs no signed-in visitor: check first
// that the caller may end it.
func (s Sessions) EndUserSession(ctx context.Context, issuer, subject, id string) error {
	user := session.User{Issuer: issuer, Subject: subject}
	return s.gate.keeper.EndOne(ctx, user, session.Handle(id), event.ReasonByAdmin)
}

// EndProviderSession ends the sessions that began from the provider's session sid, and returns
// their number. The gate then assumes that the session at the provider has ended: for about
// [Limits.LoginTimeout] no login from it begins a session here.
func (s Sessions) EndProviderSession(ctx context.Context, issuer, sid string) (int, error) {
	return s.gate.keeper.EndProviderSession(ctx, issuer, sid, event.ReasonByAdmin)
}
