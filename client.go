package oidcgate

import (
	"context"
	"fmt"
	"io"
	"net/http"

	"github.com/oidcgate/oidcgate/internal/weburl"
)

// Client returns an http.Client that sends the visitor's access token with every request, as
// [Gate.Token] returns it at that moment. ctx is the context of the visitor's request; do not keep
// the client after it. The client sends the token to every server that it is used for: use it for
// the visitor's resource servers only. It refuses http, except to this machine or with
// Config.InsecureAllowHTTP (RFC 6750, section 5.3). It does not follow redirects; if you change
// that, a request that was redirected to another host gets no token.
func (g *Gate) Client(ctx context.Context) *http.Client {
	return &http.Client{
		Transport:     &bearer{gate: g, ctx: ctx},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// bearer adds the visitor's token to requests. It asks for the token with the context of the
// visitor's request and does not keep it. A client that is kept by mistake therefore sends neither
// an old token nor that of another visitor.
type bearer struct {
	gate *Gate
	ctx  context.Context
}

// Format keeps the visitor's context out of logs.
func (b *bearer) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, "oidcgate.Client") }

// RoundTrip implements [http.RoundTripper]. It waits for a token no longer than r may take.
func (b *bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	if redirectedAway(r) {
		return http.DefaultTransport.RoundTrip(r)
	}
	insecure := r.URL.Scheme != "https" && !weburl.IsLoopback(r.URL.Hostname())
	if insecure && !b.gate.config.InsecureAllowHTTP {
		closeBody(r)
		return nil, fmt.Errorf("oidcgate: no access token is sent to %s over %s; use https",
			r.URL.Host, r.URL.Scheme)
	}
	ctx, cancel := context.WithCancel(b.ctx)
	defer cancel()
	defer context.AfterFunc(r.Context(), cancel)()
	t, err := b.gate.Token(ctx)
	if err != nil {
		closeBody(r)
		return nil, err
	}
	r = r.Clone(r.Context())
	t.SetAuthHeader(r)
	return http.DefaultTransport.RoundTrip(r)
}

// redirectedAway reports whether a redirect of another host led to r.
func redirectedAway(r *http.Request) bool {
	for at := r; at.Response != nil && at.Response.Request != nil; {
		at = at.Response.Request
		if at.URL.Host != r.URL.Host {
			return true
		}
	}
	return false
}

// closeBody does what a RoundTripper must do with a request that it does not send.
func closeBody(r *http.Request) {
	if r.Body != nil {
		_ = r.Body.Close()
	}
}
