package oidcgate

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/oidcgate/oidcgate/store"
)

// UserSession is a session in a list of sessions.
type UserSession struct {
	ID       string    // for [Sessions.End]; of no use as a cookie
	Provider string    // Name of the provider
	Label    string    // what [Login.SetLabel] was told: the browser, a place
	Created  time.Time // when the visitor logged in
	Current  bool      // it is the one of this request
}

// Sessions lists and ends sessions. All methods work over all replicas, at once, and cost what the user's own
// sessions cost; none looks through the others. Their errors wrap [ErrUnavailable] when the store cannot
// answer: then some sessions may have been ended, and the call can be made again.
type Sessions struct{ gate *Gate }

// Sessions returns the sessions of the gate's visitors.
func (g *Gate) Sessions() Sessions { return Sessions{g} }

// List returns the sessions of the signed-in visitor, the newest first, or [ErrNoSession].
func (s Sessions) List(ctx context.Context) ([]UserSession, error) {
	v, err := s.gate.signedIn(ctx)
	if err != nil {
		return nil, err
	}
	set := s.gate.subjectSet(v.identity.Issuer(), v.identity.Subject())
	handles, err := s.gate.config.Store.Members(ctx, set)
	if err != nil {
		return nil, s.gate.storeError(err)
	}
	var list []UserSession
	for _, handle := range handles {
		c, err := s.gate.readSummary(ctx, handle)
		if errors.Is(err, store.ErrNotFound) {
			continue // over; the set forgets it in time
		}
		if err != nil {
			return nil, s.gate.storeError(err)
		}
		alive, err := s.gate.alive(ctx, handle)
		if err != nil {
			return nil, s.gate.storeError(err)
		}
		if !alive {
			continue
		}
		list = append(list, UserSession{handle, c.Provider, c.Label, c.Created, handle == v.handle()})
	}
	slices.SortFunc(list, func(a, b UserSession) int { return b.Created.Compare(a.Created) })
	return list, nil
}

// End ends one session of the signed-in visitor. An ID that is not one of the visitor's own is
// [ErrNoSession].
func (s Sessions) End(ctx context.Context, id string) error {
	v, err := s.gate.signedIn(ctx)
	if err != nil {
		return err
	}
	set := s.gate.subjectSet(v.identity.Issuer(), v.identity.Subject())
	handles, err := s.gate.config.Store.Members(ctx, set)
	if err != nil {
		return s.gate.storeError(err)
	}
	if !slices.Contains(handles, id) {
		return ErrNoSession
	}
	c, err := s.gate.readSummary(ctx, id)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return s.gate.storeError(err)
	}
	if err := s.gate.endHandle(ctx, id, c); err != nil {
		return s.gate.storeError(err)
	}
	s.gate.events.emit(Event{Type: EventSessionRevoked, Reason: ReasonByUser, SubjectHash: s.gate.subjectHash(v.identity), SessionRef: s.gate.handleRef(id)})
	return nil
}

// EndOthers ends all sessions of the signed-in visitor but this one, and returns their number.
func (s Sessions) EndOthers(ctx context.Context) (int, error) {
	v, err := s.gate.signedIn(ctx)
	if err != nil {
		return 0, err
	}
	set := s.gate.subjectSet(v.identity.Issuer(), v.identity.Subject())
	others := func(handle string, _ summary) bool { return handle == v.handle() }
	n, err := s.gate.endSet(ctx, set, others, ReasonByUser)
	return n, s.gate.storeError(err)
}

// EndUser ends all sessions of a user, those included whose login is under way, and returns their number:
// for administrators, whoever is signed in.
func (s Sessions) EndUser(ctx context.Context, issuer, subject string) (int, error) {
	n, err := s.gate.endUser(ctx, issuer, subject, time.Now(), nobody, ReasonByAdmin)
	return n, s.gate.storeError(err)
}

// EndProviderSession is [Sessions.EndUser] for the session that the provider calls sid, which is taken to be over
// there, too: no login out of it begins a session here for about [Config.AttemptTTL].
func (s Sessions) EndProviderSession(ctx context.Context, issuer, sid string) (int, error) {
	n, err := s.gate.endProviderSession(ctx, issuer, sid, ReasonByAdmin)
	return n, s.gate.storeError(err)
}
