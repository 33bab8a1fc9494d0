package oidcgate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/oidcgate/oidcgate/internal/op"
	"github.com/oidcgate/oidcgate/internal/seal"
)

// New checks the configuration and returns a gate, or all that is wrong with the configuration, each fault a
// [ConfigError]. It waits for nothing, calls nobody and starts no goroutine: a provider that is down is found
// when it is needed.
func New(c Config, providers ...Provider) (*Gate, error) {
	config, providers, err := compile(c, providers)
	if err != nil {
		return nil, err
	}
	warn(&config, c)
	g := &Gate{config: config}
	g.logoutChecks = make(chan struct{}, maxLogoutChecks)
	g.events = newEvents(config.Logger, config.OnEvent)
	if g.ring, err = seal.NewRing(*config.Keys.ring, config.identity()); err != nil {
		return nil, &ConfigError{"Keys", "has the same key twice; give each key once"}
	}
	g.origins = http.NewCrossOriginProtection()
	if err := g.origins.AddTrustedOrigin(config.origin); err != nil {
		return nil, &ConfigError{"BaseURL", err.Error()}
	}
	for _, p := range providers {
		g.providers = append(g.providers, newUpstream(g, p))
	}
	g.keeper = newKeeper(g)
	g.sessions = newSessions(g)
	if config.EnableValues {
		g.values = newValues(g)
	}
	g.routes = g.ownRoutes()
	return g, nil
}

// warn tells what is allowed and seldom meant.
func warn(compiled *config, given Config) {
	if given.Store != nil && given.Keys.empty() {
		compiled.Logger.Warn("oidcgate: Config.Keys is empty, so a random key is used: other processes and the next start cannot read the sessions in the store")
	}
	if given.InsecureAllowHTTP {
		compiled.Logger.Warn("oidcgate: Config.InsecureAllowHTTP is true: codes, tokens and cookies may cross the network in the clear")
	}
}

func newUpstream(g *Gate, p Provider) *upstream {
	up := &upstream{name: p.Name, issuer: p.Issuer, silent: p.Request.Params["prompt"] == "none"}
	if u, err := url.Parse(p.Issuer); err == nil { // checked by compile
		up.origin = u.Scheme + "://" + u.Host
		up.label = cmp.Or(p.Name, u.Host)
	}
	up.client = p.client(&g.config, func(n op.Notice) {
		g.events.emit(Event{Type: EventType(n.Event), Reason: Reason(n.Reason), Provider: p.Name, Issuer: p.Issuer, Detail: errorText(n.Err)})
	})
	return up
}

// ownRoutes are the paths the gate answers itself. They are matched exactly; every other path is the
// application's.
func (g *Gate) ownRoutes() map[string]http.HandlerFunc {
	routes := map[string]http.HandlerFunc{
		g.config.Site.Prefix + "/login":       g.login,
		g.config.Site.Prefix + "/logout":      g.logout,
		g.config.Site.Prefix + "/logout/done": g.logoutDone,
	}
	for _, up := range g.providers {
		of := func(route string, serve func(http.ResponseWriter, *http.Request, *upstream)) {
			routes[g.config.providerPath(route, up.name)] = func(w http.ResponseWriter, r *http.Request) { serve(w, r, up) }
		}
		of("/callback", g.callback)
		of("/backchannel-logout", g.backchannelLogout)
		of("/frontchannel-logout", g.frontchannelLogout)
	}
	return routes
}

// Wrap returns a handler that serves the gate's own routes and gives every other request to next, with the
// session of its visitor in the request's context. It stands outside the router, or in the top router's Use,
// once; it decides about nobody, which is for [Gate.Admit] and [Gate.Require]. What needs no session, such as
// static files, belongs outside.
//
// The ResponseWriter is passed on as it is, unless Config.EnableValues is true. A visitor without a session cookie
// costs no access to the store, one with a session costs one read.
func (g *Gate) Wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if serve, ok := g.routes[r.URL.Path]; ok {
			serve(w, r)
			return
		}
		if visitFrom(r.Context(), g) != nil { // wrapped twice, or a test's identity
			next.ServeHTTP(w, r)
			return
		}
		v := g.load(w, r)
		g.reread(w, r, v) // not on the gate's own routes: none of them needs the newest claims
		if g.values != nil {
			g.serveWithValues(next, w, r, v)
			return
		}
		next.ServeHTTP(w, r.WithContext(v))
	})
}

// Ready returns nil when the gate can serve logins: the store answers, and of at least one provider the
// metadata has been had at some time. A provider that is down for the moment is no reason to take a replica
// out of service.
func (g *Gate) Ready(ctx context.Context) error {
	if err := g.keeper.Ping(ctx); err != nil {
		return err
	}
	var causes []error
	for _, up := range g.providers {
		_, err := up.client.Metadata(ctx)
		if err == nil {
			return nil
		}
		causes = append(causes, fmt.Errorf("oidcgate: provider %s: %w", up.label, err))
	}
	return errors.Join(causes...)
}

// Wait waits until refreshes under way are saved and all events are handed to the log and to OnEvent, or the
// context ends: call it when the server has shut down, before the store is closed, which is the application's
// to do. The gate may be used during and after it.
func (g *Gate) Wait(ctx context.Context) error {
	if err := g.keeper.Wait(ctx); err != nil {
		return err
	}
	return g.events.queue.Wait(ctx)
}
