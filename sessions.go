package oidcgate

import (
	"context"
	"time"

	"github.com/oidcgate/oidcgate/internal/event"
	"github.com/oidcgate/oidcgate/internal/session"
)

// SessionInfo is a session in a list of sessions.
type SessionInfo struct {
	ID       string    // for [Sessions.End]; of no use as a cookie
	Provider string    // Name of the provider
	Label    string    // from [Login.SetLabel]: the browser, a place
	Created  time.Time // when the visitor logged in
	Current  bool      // it is the one of this request
}

// Sessions lists and ends sessions. All methods act on all replicas at once. Their cost grows with
// the number of the user's own sessions, not of all sessions. They are ended from the newest to the
// oldest. When the store cannot answer, their errors wrap [ErrStoreUnavailable] and say how many
// sessions did not end: make the call again, which finds less to do.
type Sessions struct{ gate *Gate }

// Sessions returns the sessions of the gate's visitors.
func (g *Gate) Sessions() Sessions { return Sessions{g} }

// List returns the sessions of the signed-in visitor, the newest first, or [ErrNoSession].
func (s Sessions) List(ctx context.Context) ([]SessionInfo, error) {
	v, err := s.gate.signedIn(ctx)
	if err != nil {
		return nil, err
	}
	return s.list(ctx, v.identity.record().User(), s.gate.keeper.Handle(v.found.ID()))
}

// ListUser returns the sessions of any user, the newest first. It is for administrators: it needs
// no signed-in visitor.
func (s Sessions) ListUser(ctx context.Context, issuer, subject string) ([]SessionInfo, error) {
	return s.list(ctx, session.User{Issuer: issuer, Subject: subject}, "")
}

func (s Sessions) list(
	ctx context.Context, user session.User, own session.Handle,
) ([]SessionInfo, error) {
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
	return s.gate.keeper.EndOne(ctx, v.found.Session, session.Handle(id), event.ReasonByUser)
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

// EndUser ends all sessions of a user and returns their number. Logins of the user that began
// before, to the second, are refused. It is for administrators: it needs no signed-in visitor.
func (s Sessions) EndUser(ctx context.Context, issuer, subject string) (int, error) {
	user := session.User{Issuer: issuer, Subject: subject}
	return s.gate.keeper.EndUser(ctx, user, event.ReasonByAdmin)
}

// EndProviderSession ends the sessions that began from the provider's session sid, and returns
// their number. The gate then assumes that the session at the provider has ended: for about
// [Limits.LoginTimeout] no login from it begins a session here.
func (s Sessions) EndProviderSession(ctx context.Context, issuer, sid string) (int, error) {
	return s.gate.keeper.EndProviderSession(ctx, issuer, sid, event.ReasonByAdmin)
}
