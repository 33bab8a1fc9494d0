package oidcgate

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/oidcgate/oidcgate/internal/attempt"
	"github.com/oidcgate/oidcgate/internal/browser"
	"github.com/oidcgate/oidcgate/internal/check"
	"github.com/oidcgate/oidcgate/internal/devpage"
	"github.com/oidcgate/oidcgate/internal/event"
	"github.com/oidcgate/oidcgate/internal/front"
	"github.com/oidcgate/oidcgate/internal/op"
	"github.com/oidcgate/oidcgate/internal/page"
	"github.com/oidcgate/oidcgate/internal/returnto"
	"github.com/oidcgate/oidcgate/internal/seal"
	"github.com/oidcgate/oidcgate/internal/session"
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
	if config.OnLogout != nil {
		ends := func(Logout) event.Type { return event.SessionRevoked }
		g.logouts = event.NewQueue(ends, g.loggedOut)
	}
	g.events = event.NewSink(config.Logger, receiver(config.OnEvent))
	g.events.Hide = withoutVisit // it may still be loading
	ring, err := seal.NewRing(*config.Keys.ring, config.at.Name())
	if err != nil {
		return nil, &ConfigError{"Keys", "has the same key twice; give each key once"}
	}
	origins := http.NewCrossOriginProtection()
	if err := origins.AddTrustedOrigin(config.at.Origin); err != nil {
		return nil, &ConfigError{"BaseURL", err.Error()}
	}
	g.keeper = newKeeper(g, ring)
	g.front = newFront(g, ring, origins)
	if config.DevPage {
		addDevPage(g)
	}
	g.metadataPath = metadataPathOf(&g.config)
	g.bearer = newBearer(g)
	if config.EnableValues {
		g.values = newValues(g)
	}
	g.replaceProviders(providers)
	return g, nil
}

// SetProviders replaces the gate's providers while it serves requests: a customer's provider is
// added, or one is taken away, without a restart. It checks them as [New] does and changes nothing
// if there is a fault. It sends no request.
//
// A provider is recognized by its Name. What is not changed goes on: logins under way, sessions,
// and the metadata and keys that are known. Sessions of a provider that is taken away are not
// accepted until it comes back. Each replica of the gate needs the same providers: call
// SetProviders in each, before the first login at a new one. A replica that does not know a
// session's provider leaves its cookie alone.
//
// It may be called concurrently; the call that ends last counts.
func (g *Gate) SetProviders(providers ...Provider) error {
	var f check.List
	compiled := compileProviders(&f, providers, &g.config.Config)
	if err := configErrors(f); err != nil {
		return err
	}
	g.replaceProviders(compiled)
	g.keeper.EndWatches(g.knowsProviderOf)
	return nil
}

func (g *Gate) knowsProviderOf(id *session.Identity) bool { return g.front.ProviderOf(id) != nil }

// replaceProviders puts compiled providers in place of all.
func (g *Gate) replaceProviders(compiled []Provider) {
	var all []*front.Provider
	for _, p := range compiled {
		all = append(all, newProvider(g, p))
	}
	g.providers.Replace(all)
}

// warn logs settings that are allowed but seldom intended.
func warn(compiled *config, given Config) {
	if given.Store != nil && given.Keys.empty() {
		compiled.Logger.Warn("oidcgate: Config.Keys is empty, so a random key is used: " +
			"sessions in the store cannot be read by other processes or after a restart; " +
			"make a key with \"openssl rand -base64 32\"")
	}
	for _, lacks := range compiled.pages.Lacks() {
		language, texts, _ := strings.Cut(lacks, ": ")
		compiled.Logger.Warn("oidcgate: Config.Pages.Words lacks texts, which are shown in English; "+
			"docs/words.md has all of them", "language", language, "texts", texts)
	}
	if given.InsecureAllowHTTP {
		compiled.Logger.Warn("oidcgate: Config.InsecureAllowHTTP is true: " +
			"codes, tokens and cookies may cross the network unencrypted")
	}
}

// newProvider returns what the gate knows of a provider while it runs. p was compiled.
func newProvider(g *Gate, p Provider) *front.Provider {
	up := &front.Provider{
		Name: p.Name, Issuer: p.Issuer, ClientID: p.ClientID,
		HasKeys: p.ClientKeys.compiled() != nil, ThirdParty: p.Request.ThirdParty,
	}
	u, _ := url.Parse(p.Issuer) // checked by compile
	up.Origin, up.Label = weburl.Origin(u), cmp.Or(p.Label, p.Name, u.Host)
	up.Client = p.client(&g.config, func(n op.Notice) {
		g.events.Emit(context.Background(), event.Record{ // several requests may wait for a document
			Type: n.Event, Reason: n.Reason, Provider: p.Name, Issuer: p.Issuer,
			Detail: event.Text(n.Err), Hint: n.Hint,
		})
	})
	if p.Request.WithoutPKCE && p.subjectClaim != "" {
		g.config.Logger.Warn("oidcgate: Request.WithoutPKCE is true at a provider without ID Tokens: "+
			"whoever steals a code that was not used yet can log in with it", "issuer", p.Issuer)
	}
	if m, known := up.Client.Known(); known && m.EndSession == "" && p.subjectClaim == "" {
		g.config.Logger.Info("oidcgate: Endpoints.EndSession is not set, and nothing is discovered: "+
			"a logout ends the session here, and not at the provider", "issuer", p.Issuer)
	}
	return up
}

// addDevPage has the gate remember its last events and serve them to developers.
func addDevPage(g *Gate) {
	recent := &devpage.Recent{}
	g.events.Note = recent.Add
	g.front.Developers = (&devpage.Page{
		Front: g.front, Recent: recent,
		Idle: g.config.IdleTimeout, ClaimsMaxAge: g.config.Tokens.ClaimsMaxAge,
	}).Serve
}

// newFront returns what serves the gate's own routes.
func newFront(g *Gate, ring *seal.Ring, origins *http.CrossOriginProtection) *front.Front {
	c := &g.config
	cookies := browser.Cookies{Secure: c.at.Secure}
	f := &front.Front{
		Site: &c.at, Providers: &g.providers, Cookies: cookies, Keeper: g.keeper, Origins: origins,
		Attempts: &attempt.Keeper{
			Ring: ring, Cookies: cookies, Name: c.at.CookieName, Older: c.at.OlderCookie,
			Timeout: c.Limits.LoginTimeout, ClockSkew: c.Limits.ClockSkew, DefaultPath: c.at.DefaultPath,
			Evicted: func(ctx context.Context) {
				g.events.Emit(ctx, event.Record{Type: event.AttemptLimitReached})
			},
			Shortened: func(ctx context.Context, path string) {
				g.events.Emit(ctx, front.RejectedPath(path, returnto.TooLong))
			},
		},
		Sessions: viascs.New(g.keeper, viascs.Config{
			Lifetime: c.SessionLifetime, Cookie: c.cookie(), Mark: front.Mark(&c.at),
		}),
		Pages: c.pages, Logger: c.Logger, EndWithAccessToken: c.Tokens.EndWithAccessToken,
		Tell: g.events.Emit, Log: g.events.Log, NotRevoked: g.notRevoked,
		Options: g.loginOptions, Decide: g.decide, Link: g.link,
		SessionInfo: c.Site.SessionInfo, SessionClaims: c.Site.SessionClaims, Idle: c.IdleTimeout,
	}
	if c.Page != nil {
		f.ShowPage = func(w http.ResponseWriter, r *http.Request, p page.Page) bool {
			return c.Page(w, r, publicPage(p))
		}
	}
	if c.HomeRealm != nil {
		f.HomeRealm = g.homeRealm
	}
	return f
}

// Wrap returns a handler that serves the gate's own routes and gives every other request to next,
// with the visitor's session in the request's context. Use it once, outside the router or in the
// outermost router's Use. It refuses nobody; that is for [Gate.Admit] and [Gate.Require]. For what
// needs no session, such as static files, see Config.WithoutSession. Middleware that logs requests
// sees those of the gate's own routes if it is outside Wrap.
//
// The ResponseWriter is passed on as it is, unless Config.EnableValues is true. A request without a
// session cookie does not read the store, one with a session reads it once.
func (g *Gate) Wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if g.front.Serve(w, r) || g.serveMetadata(w, r) {
			return
		}
		around := visitFrom(r.Context(), g)
		wrapped := around != nil // twice, or by NewContext
		if wrapped {
			around.wrapped.Store(true)
		}
		if wrapped {
			next.ServeHTTP(w, r)
			if g.values != nil {
				g.values.TellLost(r.Context())
			}
			return
		}
		if g.config.WithoutSession != nil && g.config.WithoutSession(r) {
			next.ServeHTTP(w, g.withMark(r))
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
// service would not help. While the store is down it fails at every replica: where there are pages
// for everybody, alert on it and do not route by it. Its error may name addresses: log it, and
// answer a probe with a plain word.
func (g *Gate) Ready(ctx context.Context) error {
	if err := g.keeper.Ping(ctx); err != nil {
		return err
	}
	return g.providers.Ready(ctx)
}

// Wait waits until running refreshes are saved and all events are delivered to the log, OnEvent and
// OnLogout, or until ctx ends; its error then wraps that of ctx and says which is not done. Call it
// after the server has shut down and before you close the store. The gate may be used during and
// after it.
func (g *Gate) Wait(ctx context.Context) error {
	if err := g.keeper.Wait(ctx); err != nil {
		return fmt.Errorf("oidcgate: refreshes are under way: %w", err)
	}
	if g.logouts != nil {
		if err := g.logouts.Wait(ctx); err != nil {
			return fmt.Errorf("oidcgate: OnLogout has not returned from all logouts: %w", err)
		}
	}
	if err := g.events.Wait(ctx); err != nil {
		return fmt.Errorf("oidcgate: %w", err)
	}
	return nil
}
