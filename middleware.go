package oidcgate

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/alexedwards/scs/v2"

	"github.com/oidcgate/oidcgate/internal/provider"
	"github.com/oidcgate/oidcgate/internal/seal"
	"github.com/oidcgate/oidcgate/store"
)

// Gate puts OpenID Connect login in front of a handler. It is made by [New], wrapped round a router by
// [Gate.Wrap], and asked by [Gate.Admit] or [Gate.Require] who may enter. All methods may be called
// concurrently. A gate holds no visitor's state: any number of replicas with the same configuration, store
// and keys are one gate.
type Gate struct {
	config       config
	providers    []*upstream
	ring         *seal.Ring
	fingerprint  [sha256.Size]byte // of the gate: BaseURL and cookie name
	sessions     *scs.SessionManager
	values       *scs.SessionManager // nil unless Config.Values
	events       *events
	flights      flights
	logoutChecks chan struct{}
	origins      *http.CrossOriginProtection
	routes       map[string]http.HandlerFunc
}

// upstream is one provider of a gate.
type upstream struct {
	name   string
	label  string // for people: the name, or the issuer's host
	issuer string
	origin string // of the issuer
	silent bool   // its logins are asked for with prompt=none
	client *provider.Client
}

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
	g.events = &events{logger: config.Logger, onEvent: config.OnEvent}
	identity := config.origin + config.basePath + "\x00" + config.CookieName
	g.fingerprint = sha256.Sum256([]byte(identity))
	if g.ring, err = seal.NewRing(*config.Keys.ring, identity); err != nil {
		return nil, &ConfigError{"Keys", "has the same key twice; give each key once"}
	}
	g.origins = http.NewCrossOriginProtection()
	if err := g.origins.AddTrustedOrigin(config.origin); err != nil {
		return nil, &ConfigError{"BaseURL", err.Error()}
	}
	for _, p := range providers {
		g.providers = append(g.providers, newUpstream(g, p))
	}
	if g.sessions, err = newSessions(g); err != nil {
		return nil, err
	}
	if config.Values {
		if g.values, err = newValues(g); err != nil {
			return nil, err
		}
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
	up := &upstream{name: p.Name, issuer: p.Issuer, silent: p.AuthParams["prompt"] == "none"}
	if u, err := url.Parse(p.Issuer); err == nil { // checked by compile
		up.origin = u.Scheme + "://" + u.Host
		up.label = cmp.Or(p.Name, u.Host)
	}
	up.client = p.client(&g.config, func(n provider.Notice) {
		g.events.emit(Event{Type: EventType(n.Event), Reason: Reason(n.Reason), Provider: p.Name, Issuer: p.Issuer, Detail: errorText(n.Err)})
	})
	return up
}

// ownRoutes are the paths the gate answers itself. They are matched exactly; every other path is the
// application's.
func (g *Gate) ownRoutes() map[string]http.HandlerFunc {
	routes := map[string]http.HandlerFunc{
		g.config.Prefix + "/login":       g.login,
		g.config.Prefix + "/logout":      g.logout,
		g.config.Prefix + "/logout/done": g.logoutDone,
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
// The ResponseWriter is passed on as it is, unless Config.Values is true. A visitor without a session cookie
// costs no access to the store, one with a session costs one read.
func (g *Gate) Wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if serve, ok := g.routes[r.URL.Path]; ok {
			serve(w, r)
			return
		}
		if stateFrom(r.Context(), g) != nil { // wrapped twice, or a test's identity
			next.ServeHTTP(w, r)
			return
		}
		st := g.load(w, r)
		if g.stale(st.identity) { // for the application only: no route of the gate's own asks the provider for that
			g.recheck(w, r, st)
		}
		if g.values != nil {
			g.serveWithValues(next, w, r, st)
			return
		}
		next.ServeHTTP(w, r.WithContext(st))
	})
}

// state is what the gate knows of a request. It is the request's context, so that one value serves both; a
// state inside another gate's finds the other through its parent.
type state struct {
	context.Context
	gate     *Gate
	cookie   string    // the session id the request brought, whether a session goes with it or not
	token    string    // the same, when a session goes with it
	identity *Identity // nil: nobody is signed in
	times    times
	err      error // the store could not answer
	saved    savedValues

	path, rawPath, rawQuery string // as Wrap saw them: StripPrefix and Mount change what the guard sees
}

type stateKey struct{}

// Value implements [context.Context].
func (st *state) Value(key any) any {
	if key == (stateKey{}) {
		return st
	}
	return st.Context.Value(key)
}

// stateFrom returns the state that g gave the request, or nil. Another gate's is not taken for it: a guard
// believes its own gate only.
func stateFrom(ctx context.Context, g *Gate) *state {
	for {
		st, _ := ctx.Value(stateKey{}).(*state)
		if st == nil || st.gate == g {
			return st
		}
		ctx = st.Context
	}
}

func newState(ctx context.Context, g *Gate) *state { return &state{Context: ctx, gate: g} }

// handle names the records of the request's session.
func (st *state) handle() string { return st.gate.handle(st.token) }

// signedIn returns the state of a request with a session; ErrNoSession when there is none, or why it could
// not be loaded.
func (g *Gate) signedIn(ctx context.Context) (*state, error) {
	st := stateFrom(ctx, g)
	switch {
	case st == nil:
		return nil, ErrNoSession
	case st.err != nil:
		return nil, st.err
	case st.token == "":
		return nil, ErrNoSession
	}
	return st, nil
}

// ill is what callers are told of an error of the store.
func (g *Gate) ill(err error) error {
	if err == nil {
		return nil
	}
	g.events.storeIll(err)
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}

// load finds the session of a request. Whatever the cookie is, the answer is a state: signed in, anonymous,
// or the store's trouble, in which case the cookie is left alone, because a store that hiccups has logged
// nobody out.
func (g *Gate) load(w http.ResponseWriter, r *http.Request) *state {
	st := newState(r.Context(), g)
	st.path, st.rawPath, st.rawQuery = r.URL.Path, r.URL.RawPath, r.URL.RawQuery
	header := w.Header()
	header.Add("Vary", "Cookie")
	token, ok := g.sessionCookie(w, r)
	if !ok {
		return st
	}
	st.cookie = token
	if _, err := g.sessions.Load(st, token); err != nil {
		st.err = g.ill(err)
		return st
	}
	if st.identity == nil || !g.knows(st.identity) {
		st.identity = nil
		g.forget(w, r)
		return st
	}
	st.token = token
	g.setTimes(st.identity, st.times)
	header.Set("Cache-Control", "private, no-cache")
	return st
}

// knows reports whether an identity comes from a provider of this gate: one that was taken out of the
// configuration, or replaced by another, lets nobody in any more.
func (g *Gate) knows(id *Identity) bool {
	up := g.provider(id.provider)
	return up != nil && up.issuer == id.Issuer()
}

func (g *Gate) setTimes(id *Identity, t times) {
	id.seen = t.seen
	id.expires = time.UnixMilli(t.deadline)
	id.idleExpires = time.UnixMilli(t.ends(g.config.IdleTimeout))
}

// Err returns why the session of a request could not be loaded, or nil: an error that wraps [ErrUnavailable]
// when the store cannot answer. A page that is not guarded may tell from it that the visitor is perhaps
// signed in.
func (g *Gate) Err(ctx context.Context) error {
	if st := stateFrom(ctx, g); st != nil {
		return st.err
	}
	return nil
}

// NewContext returns a context in which id is signed in at g: for tests of handlers, and for other ways of
// logging in, such as a bearer token that the application has checked. Guards of g believe it.
func (g *Gate) NewContext(ctx context.Context, id *Identity) context.Context {
	st := newState(ctx, g)
	st.identity = id
	if g.values == nil {
		return st
	}
	return g.loadValues(st)
}

// Ready returns nil when the gate can serve logins: the store answers, and of at least one provider the
// metadata has been had at some time. A provider that is down for the moment is no reason to take a replica
// out of service.
func (g *Gate) Ready(ctx context.Context) error {
	if err := g.storeAnswers(ctx); err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
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

// storeAnswers asks the store for what nobody keeps.
func (g *Gate) storeAnswers(ctx context.Context) error {
	_, err := g.config.Store.Get(ctx, "ready")
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	return err
}

// Close waits until refreshes under way are saved and all events are handed to the log and to OnEvent, or the
// context ends: call it when the server has shut down, before the store is closed, which is the application's
// to do. The gate may be used during and after it.
func (g *Gate) Close(ctx context.Context) error {
	if err := g.flights.wait(ctx); err != nil {
		return err
	}
	return g.events.wait(ctx)
}

// LoginURL returns the address that logs a visitor in and leads back to returnTo, a path of this site as the
// browser has it below BaseURL, for links in templates. It is opened in the same tab.
func (g *Gate) LoginURL(returnTo string) string {
	return g.ownURL("/login", returnTo)
}

// LogoutURL returns the address to POST to for logging out; a GET of it asks for confirmation first. After
// that the visitor comes to returnTo, or to a page that says "signed out" when it is empty.
func (g *Gate) LogoutURL(returnTo string) string {
	return g.ownURL("/logout", returnTo)
}

func (g *Gate) ownURL(route, returnTo string) string {
	u := g.config.origin + g.config.basePath + g.config.Prefix + route
	if returnTo == "" {
		return u
	}
	return u + "?" + url.Values{"return_to": {returnTo}}.Encode()
}

// siteURL is the absolute address of a checked path on this site.
func (g *Gate) siteURL(path string) string { return g.config.origin + g.config.basePath + path }

func (g *Gate) provider(name string) *upstream {
	for _, up := range g.providers {
		if up.name == name {
			return up
		}
	}
	return nil
}

// subjectHash and sessionRef stand for a person and a session in events: keyed hashes, so that whoever reads
// them cannot try out names. They are the same on every replica with the same first key.
func (g *Gate) subjectHash(id *Identity) string {
	return g.hash("subject", id.Issuer()+"\x00"+id.Subject())
}

func (g *Gate) sessionRef(token string) string { return g.handleRef(g.handle(token)) }

func (g *Gate) handleRef(handle string) string { return g.hash("session", handle) }

func (g *Gate) hash(kind, value string) string {
	return base64.RawURLEncoding.EncodeToString(g.ring.Fingerprint(kind, value)[:9])
}

// Format prints the gate without its configuration, in which there are secrets.
func (g *Gate) Format(s fmt.State, _ rune) {
	_, _ = io.WriteString(s, "oidcgate.Gate("+g.config.origin+g.config.basePath+")")
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return strings.ToValidUTF8(err.Error(), "\uFFFD")
}
