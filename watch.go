package oidcgate

import (
	"context"
	"slices"
	"time"

	"github.com/oidcgate/oidcgate/internal/session"
)

// Watch returns a copy of a request's context that ends when the visitor's session ends: by a
// logout of any kind, on any replica, or because its time is over. Use it for answers that go on
// for long, such as server-sent events and WebSockets, which would otherwise go on after a logout.
// It also ends when one of the rules refuses; give it those of the route's guard:
//
//	ctx, stop := gate.Watch(r.Context(), isStaff)
//	defer stop()
//
// The cause ([context.Cause]) is then [ErrNoSession], or [ErrNotAllowed] for a rule. What this
// process ends from then on is noticed at once, and so is the end of SessionLifetime; every other
// end, and a rule, after [Limits.WatchInterval] at the latest, and the time that it takes to read
// all watched sessions, 64 at a time. A store that does not answer ends nothing before that. Claims
// that are due are read again, as for a request ([TokenOptions.ClaimsMaxAge]); where guards answer
// 503 because OnLogin cannot decide, the context ends too, and where a rule panics or takes more
// than a minute. [Scope] is for tokens, and left out. Watching does not count as use: a session
// with a long answer alone ends after IdleTimeout. A new login in the same browser replaces it.
//
// When nobody is signed in, the context has ended already; when the session could not be loaded,
// its cause is that error. In a context of [Gate.NewContext], which has no session, it ends with
// ctx. Behind a guard that admitted an access token it ends when that expires, as far as the token
// says, with [ErrTokenExpired]. Call stop when the answer ends. All watched sessions of a gate are
// read together by one goroutine, which runs only while somebody watches.
func (g *Gate) Watch(ctx context.Context, rules ...Rule) (context.Context, context.CancelFunc) {
	checkRules(rules)
	rules = slices.DeleteFunc(slices.Clone(rules), Rule.isScope)
	v, err := g.signedIn(ctx)
	if err == nil {
		s := v.found.Session
		ctx, stop := g.keeper.Watch(ctx, s, g.allowsSession(rules))
		if !g.knowsProviderOf(&s.Identity) { // SetProviders may have come since it was loaded
			g.keeper.EndWatches(g.knowsProviderOf)
		}
		return ctx, stop
	}
	watching, end := context.WithCancelCause(ctx)
	if v = visitFrom(ctx, g); v == nil || !v.withoutSession() {
		end(err)
	} else if left, ok := v.identity.tokenLeft(); ok {
		over := time.AfterFunc(left, func() { end(ErrTokenExpired) })
		return watching, func() { over.Stop(); end(nil) }
	}
	return watching, func() { end(nil) }
}

// allowsSession returns what judges sessions by rules, or nil without any.
func (g *Gate) allowsSession(rules []Rule) session.Allows {
	if len(rules) == 0 {
		return nil
	}
	return func(ctx context.Context, s *session.Session) bool {
		id := identityOf(s, g.config.IdleTimeout)
		return g.front.Allowed(ctx, func() bool {
			return judge(id, rules, g.config.Limits.ClockSkew).allowed
		})
	}
}
