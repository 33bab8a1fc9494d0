package oidcgate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"

	"github.com/oidcgate/oidcgate/internal/browser"
	"github.com/oidcgate/oidcgate/internal/op"
	"github.com/oidcgate/oidcgate/internal/seal"
	"github.com/oidcgate/oidcgate/internal/viascs"
	"github.com/oidcgate/oidcgate/internal/weburl"
)

// New checks the configuration and returns a gate, or all faults of the configuration, each a
// [ConfigError]. It sends no request and does not wait: that a provider is down is noticed when the
// provider is first needed. It starts no goroutine, unless Config.EnableValues is true.
func New(c Config, providers ...Provider) (*Gate, error) {
	config, providers, err := compile(c, providers)
	if err != nil {
		return nil, err
	}
	warn(&config, c)
	g := &Gate{config: config}
	g.events = newEvents(config.Logger, config.OnEvent)
	ring, err := seal.NewRing(*config.Keys.ring, config.at.Name())
	if err != nil {
		return nil, &ConfigError{"Keys", "has the same key twice; give each key once"}
	}
	g.crossOrigin = http.NewCrossOriginProtection()
	if err := g.crossOrigin.AddTrustedOrigin(config.at.Origin); err != nil {
		return nil, &ConfigError{"BaseURL", err.Error()}
	}
	for _, p := range providers {
		g.providers = append(g.providers, newUpstream(g, p))
	}
	g.cookies = browser.Cookies{Secure: config.at.Secure}
	g.attempts = newAttempts(g, ring)
	g.keeper = newKeeper(g, ring)
	g.sessions = viascs.New(g.keeper, viascs.Config{
		Lifetime: config.SessionLifetime, Cookie: config.cookie(), Mark: config.mark(),
	})
	if config.EnableValues {
		g.values = newValues(g)
	}
	g.routes = g.ownRoutes()
	return g, nil
}

// warn logs settings that are allowed but seldom intended.
func warn(compiled *config, given Config) {
	if given.Store != nil && given.Keys.empty() {
		compiled.Logger.Warn("oidcgate: Config.Keys is empty, so a random key is used: " +
			"sessions in the store cannot be read by other processes or after a restart; " +
			"make a key with \"openssl rand -base64 32\"")
	}
	if given.InsecureAllowHTTP {
		compiled.Logger.Warn("oidcgate: Config.InsecureAllowHTTP is true: " +
			"codes, tokens and cookies may cross the network unencrypted")
	}
}

func newUpstream(g *Gate, p Provider) *upstream {
	up := &upstream{
		name: p.Name, issuer: p.Issuer, clientID: p.ClientID,
		hasKeys: p.ClientKeys.compiled() != nil, thirdParty: p.Request.ThirdParty,
	}
	if u, err := url.Parse(p.Issuer); err == nil { // checked by compile
		up.origin = weburl.Origin(u)
		up.label = cmp.Or(p.Name, u.Host)
	}
	up.client = p.client(&g.config, func(n op.Notice) {
		g.events.emit(Event{
			Type: EventType(n.Event), Reason: Reason(n.Reason), Provider: p.Name, Issuer: p.Issuer,
			Detail: errorText(n.Err), Hint: n.Hint,
		})
	})
	if m, known := up.client.Known(); known && m.EndSession == "" {
		g.config.Logger.Info("oidcgate: Endpoints.EndSession is not set, and nothing is discovered: "+
			"a logout ends the session here, and not at the provider", "issuer", p.Issuer)
	}
	return up
}

// ownRoutes returns the gate's own paths, which must match exactly. Others are the application's.
func (g *Gate) ownRoutes() map[string]http.HandlerFunc {
	routes := map[string]http.HandlerFunc{
		g.config.at.Prefix + "/login":       g.login,
		g.config.at.Prefix + "/logout":      g.logout,
		g.config.at.Prefix + "/logout/done": g.logoutDone,
	}
	if slices.ContainsFunc(g.providers, func(up *upstream) bool { return up.thirdParty }) {
		routes[g.config.at.Prefix+"/initiate"] = g.initiate
	}
	for _, up := range g.providers {
		of := func(route string, serve func(http.ResponseWriter, *http.Request, *upstream)) {
			path := g.config.at.ProviderPath(route, up.name)
			routes[path] = func(w http.ResponseWriter, r *http.Request) { serve(w, r, up) }
		}
		of("/callback", g.callback)
		if up.hasKeys {
			of("/jwks", g.serveClientKeys)
		}
		of("/backchannel-logout", g.backchannelLogout)
		of("/frontchannel-logout", g.frontchannelLogout)
	}
	return routes
}

// Wrap returns a handler that serves the gate's own routes and gives every other request to next,
// with the visitor's session in the request's context. Use it once, outside the router or in the
// outermost router's Use. It refuses nobody; that is for [Gate.Admit] and [Gate.Require]. Do not
// wrap what needs no session, such as static files.
//
// The ResponseWriter is passed on as it is, unless Config.EnableValues is true. A request without a
// session cookie does not read the store, one with a session reads it once.
func (g *Gate) Wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if serve, ok := g.routes[r.URL.Path]; ok {
			serve(w, r)
			return
		}
		if visitFrom(r.Context(), g) != nil { // wrapped twice, or by NewContext
			next.ServeHTTP(w, r)
			return
		}
		v := g.load(w, r)
		if g.values != nil {
			g.serveWithValues(next, w, r, v)
			return
		}
		next.ServeHTTP(w, r.WithContext(v))
	})
}

// Ready returns nil when the gate can serve logins: the store answers and took writes in the last
// few seconds, and the metadata of at least one provider has been fetched at some time. Ready
// fetches it if nobody has. It stays nil when that provider goes down: taking replicas out of
// service would not help. Its error may name addresses: log it, and answer a probe with a plain
// word.
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
		err = fmt.Errorf("oidcgate: provider %s: %w", up.label, err)
		if e, ok := errors.AsType[*op.Error](err); ok && e.Hint != "" {
			err = fmt.Errorf("%w; %s", err, e.Hint)
		}
		causes = append(causes, err)
	}
	return errors.Join(causes...)
}

// Wait waits until running refreshes are saved and all events are delivered to the log and OnEvent,
// or until ctx ends. Call it after the server has shut down and before you close the store. The
// gate may be used during and after it.
func (g *Gate) Wait(ctx context.Context) error {
	if err := g.keeper.Wait(ctx); err != nil {
		return err
	}
	return g.events.queue.Wait(ctx)
}
