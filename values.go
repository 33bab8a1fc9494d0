package oidcgate

import (
	"context"
	"net/http"

	"github.com/alexedwards/scs/v2"

	"github.com/oidcgate/oidcgate/internal/front"
	"github.com/oidcgate/oidcgate/internal/saver"
	"github.com/oidcgate/oidcgate/internal/session"
	"github.com/oidcgate/oidcgate/internal/values"
)

// Values returns the scs manager for the application's own values in the session of a signed-in
// visitor: Put, Get, PopString and the like, with the request's context. It panics unless
// Config.EnableValues is true. Its methods panic, in scs's words ("no session data in context"), if
// the request did not pass through [Gate.Wrap] or Config.WithoutSession names it, and in
// Config.OnLogin, which runs before the session begins.
//
// Every login begins without values, also a stronger or a fresh one of the same user ([ACR],
// [MaxAge]), and a logout deletes them. Keep what must survive in a store of your own, by issuer
// and subject.
//
// Values are saved before the first byte of the answer is sent. If the handler changes values after
// that, they are saved when it returns. Commit saves at once and returns an error if it fails. A
// handler that panics saves nothing. When two requests save at the same time, each saves only the
// keys that it changed. Register your own types with [gob.Register]. Without a session there are no
// values, also where an access token admitted the request: values put then are dropped, with an
// event.
//
// Only the gate ends and renews sessions: Destroy, RenewToken and MergeSession return an error and
// change nothing. SetDeadline and the manager's fields have no effect.
func (g *Gate) Values() *scs.SessionManager {
	if g.values == nil {
		panic("oidcgate: Values needs Config.EnableValues to be true")
	}
	return g.values.Manager
}

// newValues returns the application's values, which a visit holds during its request.
func newValues(g *Gate) *values.Values {
	return values.New(values.Config{
		Keeper: g.keeper, Tell: g.events.Emit, Log: g.events.Log,
		Lifetime: g.config.SessionLifetime, Cookie: g.config.cookie(),
		Of: func(ctx context.Context) (*session.Session, *values.State) {
			if v := visitFrom(ctx, g); v != nil {
				return v.found.Session, &v.values
			}
			return nil, nil
		},
	})
}

// serveWithValues runs the application's handler with a ResponseWriter that saves the values before
// it sends the first byte. If they cannot be read, the session counts as unreadable too.
func (g *Gate) serveWithValues(
	next http.Handler, w http.ResponseWriter, r *http.Request, v *visit,
) {
	ctx, err := g.values.Load(v, v.found.ID())
	if gone := front.GoneBy(err); gone != "" { // a logout was faster, or another replica reads them
		v.identity, v.found.Session, v.found.Gone = nil, nil, gone
	} else if err != nil {
		v.found.LoadErr = err
	}
	var failed error
	save := func() error {
		failed = g.values.Save(ctx, v.identity == nil && v.found.LoadErr == nil)
		return failed
	}
	s := saver.New(w, save, func(http.ResponseWriter) {
		if values.Lasts(failed) {
			g.front.NotSetUp(w, r)
			return
		}
		g.front.Unavailable(w, r, &v.found)
	})
	next.ServeHTTP(s.Wrap(), r.WithContext(ctx))
	s.Finish()
	g.values.TellLost(ctx)
}
