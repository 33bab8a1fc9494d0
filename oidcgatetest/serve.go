package oidcgatetest

import (
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// An Endpoint is one of the provider's endpoints.
type Endpoint string

// The endpoints. Other means every path that is none of them.
const (
	Discovery     Endpoint = "discovery"
	JWKS          Endpoint = "jwks"
	Authorization Endpoint = "authorization"
	Token         Endpoint = "token"
	Userinfo      Endpoint = "userinfo"
	EndSession    Endpoint = "end_session"
	PushedRequest Endpoint = "pushed_authorization_request"
	Introspection Endpoint = "introspection"
	Registration  Endpoint = "registration"
	WebFinger     Endpoint = "webfinger"
	Other         Endpoint = "other"
)

// paths has the path of each endpoint below the issuer.
var paths = map[Endpoint]string{
	Discovery:     "/.well-known/openid-configuration",
	JWKS:          "/jwks",
	Authorization: "/authorize",
	Token:         "/token",
	Userinfo:      "/userinfo",
	EndSession:    "/logout",
	PushedRequest: "/par",
	Introspection: "/introspect",
	Registration:  "/register",
}

// maxRequestBody, in bytes, is much larger than any request of the protocol.
const maxRequestBody = 1 << 20

// A Request is a request that an endpoint received.
type Request struct {
	Method string
	URL    *url.URL
	Host   string
	Header http.Header
	Form   url.Values // parameters of the query and the body, as in http.Request
}

// A record holds the requests that an endpoint received, and its faults.
type record struct {
	count  int
	last   *Request
	next   [][]Fault // one element for each coming request
	always []Fault   // used when next is empty
}

// ServeHTTP serves the provider's endpoints below the path of its issuer.
func (p *Provider) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(p.closing, cancel)()
	r = r.WithContext(ctx)

	// The body is read before any fault is applied, so that Reset happens after the request was
	// received, as when a provider crashes.
	r.Body = http.MaxBytesReader(w, r.Body, maxRequestBody)
	if err := r.ParseForm(); err != nil {
		http.Error(w, "malformed request", http.StatusBadRequest)
		return
	}
	endpoint := p.endpoint(r.URL.Path)
	h := p.handler(endpoint)
	for _, fault := range slices.Backward(p.arrive(endpoint, r)) {
		h = fault(h)
	}
	h.ServeHTTP(w, r)
}

// endpoint returns the endpoint at a path.
func (p *Provider) endpoint(path string) Endpoint {
	if path == webfingerPath {
		return WebFinger
	}
	base := pathOf(inTenant(p.Issuer(), anyTenant))
	rest, ok := strings.CutPrefix(path, strings.TrimSuffix(base, "/"))
	switch own := p.config.DiscoveryPath; {
	case own != "" && path == own:
		return Discovery
	case !ok || own != "" && rest == paths[Discovery]:
		return Other
	}
	for e, at := range paths {
		if rest == at {
			return e
		}
	}
	return Other
}

// URL returns the address of an endpoint.
func (p *Provider) URL(e Endpoint) string {
	if e == Discovery {
		return p.DiscoveryURL()
	}
	return strings.TrimSuffix(inTenant(p.Issuer(), anyTenant), "/") + paths[e]
}

func (p *Provider) handler(e Endpoint) http.Handler {
	if p.config.WithoutIDTokens && (e == Discovery || e == JWKS || e == EndSession) {
		return http.NotFoundHandler()
	}
	switch e {
	case Discovery:
		return allow(p.serveDiscovery, http.MethodGet, http.MethodHead)
	case JWKS:
		return allow(p.serveJWKS, http.MethodGet, http.MethodHead)
	case Authorization:
		return allow(p.serveAuthorization, http.MethodGet, http.MethodPost)
	case Token:
		return allow(p.serveToken, http.MethodPost)
	case Userinfo:
		return allow(p.serveUserinfo, http.MethodGet, http.MethodPost)
	case EndSession:
		return allow(p.serveEndSession, http.MethodGet, http.MethodPost)
	}
	if e == PushedRequest && p.config.PushedRequests {
		return allow(p.servePushedRequest, http.MethodPost)
	}
	if e == Introspection && p.config.Introspection {
		return allow(p.serveIntrospection, http.MethodPost)
	}
	if e == Registration && p.config.Registration {
		return allow(p.serveRegistration, http.MethodPost, http.MethodGet, http.MethodPut,
			http.MethodDelete)
	}
	if e == WebFinger && p.config.Registration {
		return allow(p.serveWebFinger, http.MethodGet)
	}
	return http.NotFoundHandler()
}

// allow answers 405 to every other method.
func allow(h http.HandlerFunc, methods ...string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !slices.Contains(methods, r.Method) {
			w.Header().Set("Allow", strings.Join(methods, ", "))
			http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
			return
		}
		h(w, r)
	})
}

// arrive records a request and returns the faults to apply to it.
func (p *Provider) arrive(e Endpoint, r *http.Request) []Fault {
	u := *r.URL
	p.mu.Lock()
	defer p.mu.Unlock()
	rec := p.record(e)
	rec.count++
	rec.last = &Request{
		Method: r.Method,
		URL:    &u,
		Host:   r.Host,
		Header: r.Header.Clone(),
		Form:   cloneValues(r.Form),
	}
	if len(rec.next) == 0 {
		return rec.always
	}
	faults := rec.next[0]
	rec.next = rec.next[1:]
	return faults
}

// record returns the record of an endpoint. p.mu is held.
func (p *Provider) record(e Endpoint) *record {
	if p.seen[e] == nil {
		p.seen[e] = new(record)
	}
	return p.seen[e]
}

// Count returns how many requests an endpoint received, including those with faults.
func (p *Provider) Count(e Endpoint) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.record(e).count
}

// LastRequest returns the last request that an endpoint received, or nil if there was none. It is
// shared with other callers and must not be changed.
func (p *Provider) LastRequest(e Endpoint) *Request {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.record(e).last
}

func cloneValues(v url.Values) url.Values {
	c := maps.Clone(v)
	for name, values := range c {
		c[name] = slices.Clone(values)
	}
	return c
}

// repeated returns the name of a parameter that appears more than once, or "" if there is none. RFC
// 6749, 3.1 and 3.2 forbid repeated parameters; RFC 8707, 2, allows several resources.
func repeated(v url.Values) string {
	for name, values := range v {
		if len(values) > 1 && name != "resource" {
			return name
		}
	}
	return ""
}

// noStore forbids caching, because the response may contain secrets (RFC 6749, 5.1).
func noStore(w http.ResponseWriter) {
	w.Header().Set("Cache-Control", "no-store")
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		http.Error(w, "oidcgatetest: "+err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(body) // an error means that the client has left
}

// An oauthError is an error response of the protocol (RFC 6749, 4.1.2.1 and 5.2).
type oauthError struct {
	code        string
	description string
}
