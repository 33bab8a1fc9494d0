package oidcgate

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/oidcgate/oidcgate/internal/weburl"
)

// Client returns an http.Client that sends the visitor's access token with every request, as
// [Gate.Token] returns it at that moment, with what proves that the token is ours if
// TokenRequest.Binding asks for that. ctx is the context of the visitor's request; do not keep the
// client after it.
//
// origins are the resource servers that get the token, such as "https://api.example". A request to
// any other address fails. So does one over http, except to this machine or with
// Config.InsecureAllowHTTP (RFC 6750, section 5.3). The client does not follow redirects; if you
// change that, a request that was redirected to another origin goes there without the token.
func (g *Gate) Client(ctx context.Context, origins ...string) *http.Client {
	b := &bearer{gate: g, ctx: ctx}
	for _, origin := range origins {
		if u, err := url.Parse(origin); err == nil {
			b.origins = append(b.origins, weburl.Origin(u))
		}
	}
	return &http.Client{
		Transport:     b,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// bearer adds the visitor's token to requests. It asks for the token with the context of the
// visitor's request and does not keep it. A client that is kept by mistake therefore sends neither
// an old token nor that of another visitor.
type bearer struct {
	gate    *Gate
	ctx     context.Context
	origins []string
}

// Format keeps the visitor's context out of logs.
func (b *bearer) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, "oidcgate.Client") }

// RoundTrip implements [http.RoundTripper]. It waits for a token no longer than r may take.
func (b *bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	known := b.knows(r)
	if !known && r.Response != nil { // a redirect led here
		return http.DefaultTransport.RoundTrip(r)
	}
	if err := b.check(r, known); err != nil {
		closeBody(r)
		return nil, err
	}
	ctx, cancel := context.WithCancel(b.ctx)
	defer cancel()
	defer context.AfterFunc(r.Context(), cancel)()
	t, up, err := b.gate.tokens(ctx)
	if err != nil {
		closeBody(r)
		return nil, err
	}
	return up.client.RoundTrip(r, t.AccessToken, t.DPoPKey)
}

// knows reports whether r, and every request whose redirect led to it, is for one of the origins.
func (b *bearer) knows(r *http.Request) bool {
	for at := r; ; at = at.Response.Request {
		if !slices.Contains(b.origins, weburl.Origin(at.URL)) {
			return false
		}
		if at.Response == nil || at.Response.Request == nil {
			return true
		}
	}
}

// check returns why no token is sent with r, or nil.
func (b *bearer) check(r *http.Request, known bool) error {
	insecure := r.URL.Scheme != "https" && !weburl.IsLoopback(r.URL.Hostname())
	switch {
	case !known:
		return fmt.Errorf("oidcgate: no access token is sent to %s; the origins that Client was given "+
			"are %q", weburl.Origin(r.URL), strings.Join(b.origins, " "))
	case insecure && !b.gate.config.InsecureAllowHTTP:
		return fmt.Errorf("oidcgate: no access token is sent to %s over %s; use https",
			r.URL.Host, r.URL.Scheme)
	}
	return nil
}

// closeBody does what a RoundTripper must do with a request that it does not send.
func closeBody(r *http.Request) {
	if r.Body != nil {
		_ = r.Body.Close()
	}
}
