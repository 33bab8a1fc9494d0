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
	Label    string    // what [Login.SetLabel] was told: the browser, a place
	Created  time.Time // when the visitor logged in
	Current  bool      // it is the one of this request
}

// Sessions lists and ends sessions. All methods work over all replicas, at once, and cost what the
// user's own sessions cost; none looks through the others. Their errors wrap [ErrStoreUnavailable] when
// the store cannot answer: then some sessions may have been ended, and the call can be made again.
type Sessions struct{ gate *Gate }

// Sessions returns the sessions of the gate's visitors.
func (g *Gate) Sessions() Sessions { return Sessions{g} }

// List returns the sessions of the signed-in visitor, the newest first, or [ErrNoSession].
func (s Sessions) List(ctx context.Context) ([]SessionInfo, error) {
	v, err := s.gate.signedIn(ctx)
	if err != nil {
		return nil, err
	}
	user := session.User{Issuer: v.identity.Issuer(), Subject: v.identity.Subject()}
	listed, err := s.gate.keeper.List(ctx, user)
	own := s.gate.keeper.Handle(v.id)
	var list []SessionInfo
	for _, l := range listed {
		list = append(list, SessionInfo{
			ID: string(l.Handle), Provider: l.Provider, Label: l.Label, Created: l.Created,
			Current: l.Handle == own,
		})
	}
	return list, err
}

// End ends one session of the signed-in visitor. An ID that is not one of the visitor's own is
// [ErrNoSession].
func (s Sessions) End(ctx context.Context, id string) error {
	v, err := s.gate.signedIn(ctx)
	if err != nil {
		return err
	}
	return s.gate.keeper.EndOne(ctx, v.session(), session.Handle(id), event.ReasonByUser)
}

// EndOthers ends all sessions of the signed-in visitor but this one, and returns their number.
func (s Sessions) EndOthers(ctx context.Context) (int, error) {
	v, err := s.gate.signedIn(ctx)
	if err != nil {
		return 0, err
	}
	return s.gate.keeper.EndOthers(ctx, v.session(), event.ReasonByUser)
}

// EndUser ends all sessions of a user, those included whose login is under way, and returns their
// number. It is for administrators and asks nobody's leave.
func (s Sessions) EndUser(ctx context.Context, issuer, subject string) (int, error) {
	user := session.User{Issuer: issuer, Subject: subject}
	return s.gate.keeper.EndUser(ctx, user, time.Now(), event.ReasonByAdmin)
}

// EndProviderSession is [Sessions.EndUser] for the session that the provider calls sid. It is taken
// to be over at the provider too: no login out of it begins a session here for about
// [Limits.LoginTimeout].
func (s Sessions) EndProviderSession(ctx context.Context, issuer, sid string) (int, error) {
	return s.gate.keeper.EndProviderSession(ctx, issuer, sid, event.ReasonByAdmin)
}
