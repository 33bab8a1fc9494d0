// Package present sends requests that present a visitor's access token.
package present

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/oidcgate/oidcgate/internal/weburl"
)

// Transport adds the visitor's token to requests. It asks for the token with the context of the
// visitor's request and does not keep it. A client that is kept by mistake therefore sends neither
// an old token nor that of another visitor. Every field is needed.
type Transport struct {
	Context   context.Context // of the visitor's request
	Origins   []string        // that get the token
	AllowHTTP bool            // also off this machine

	// Elsewhere carries requests that a redirect led to another origin. They get no token.
	Elsewhere http.RoundTripper

	// Send asks for the token, as long as ctx lasts, and sends the request with it.
	Send func(ctx context.Context, r *http.Request) (*http.Response, error)
}

// Client returns a client that sends requests by t and follows no redirect.
func Client(t *Transport) *http.Client {
	return &http.Client{
		Transport:     t,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Origins returns the origins of addresses. One that has none, such as an address without a scheme,
// stays as it is: it is told in errors, and no request has it as its origin.
func Origins(addresses []string) []string {
	var origins []string
	for _, address := range addresses {
		origin := ""
		if u, err := url.Parse(address); err == nil {
			origin = weburl.Origin(u)
		}
		origins = append(origins, cmp.Or(origin, address))
	}
	return origins
}

// Format keeps the visitor's context out of logs.
func (t *Transport) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, "oidcgate.Client") }

// RoundTrip implements [http.RoundTripper]. Neither the token nor the answer is waited for longer
// than the visitor's request and r last.
func (t *Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	known := t.knows(r)
	if !known && r.Response != nil { // a redirect led here
		return t.carry(r, t.Elsewhere.RoundTrip)
	}
	if err := t.check(r, known); err != nil {
		closeBody(r)
		return nil, err
	}
	ctx, asked := context.WithCancel(t.Context)
	defer asked()
	defer context.AfterFunc(r.Context(), asked)()
	resp, err := t.carry(r, func(r *http.Request) (*http.Response, error) { return t.Send(ctx, r) })
	if err != nil {
		closeBody(r) // closing it twice does no harm
	}
	return resp, err
}

// carry sends a request that ends with the visitor's, and so does the reading of its answer.
func (t *Transport) carry(
	r *http.Request, send func(*http.Request) (*http.Response, error),
) (*http.Response, error) {
	ctx, end := context.WithCancelCause(r.Context())
	stop := context.AfterFunc(t.Context, func() { end(context.Cause(t.Context)) })
	done := func() { stop(); end(nil) }
	resp, err := send(r.WithContext(ctx))
	switch {
	case err != nil:
		done()
		return nil, err
	case resp.StatusCode == http.StatusSwitchingProtocols: // Body is the connection, and stays one
		context.AfterFunc(t.Context, func() { _ = resp.Body.Close() })
	default:
		resp.Body = answer{resp.Body, done}
	}
	return resp, nil
}

// answer is the body of a response.
type answer struct {
	io.ReadCloser
	done func() // nobody reads on
}

func (a answer) Close() error {
	defer a.done()
	return a.ReadCloser.Close()
}

// knows reports whether r, and every request whose redirect led to it, is for one of the origins.
func (t *Transport) knows(r *http.Request) bool {
	for at := r; ; at = at.Response.Request {
		if !slices.Contains(t.Origins, weburl.Origin(at.URL)) {
			return false
		}
		if at.Response == nil || at.Response.Request == nil {
			return true
		}
	}
}

// check returns why no token is sent with r, or nil.
func (t *Transport) check(r *http.Request, known bool) error {
	insecure := r.URL.Scheme != "https" && !weburl.IsLoopback(r.URL.Hostname())
	switch {
	case r.URL.Host == "":
		return errors.New("oidcgate: no access token is sent to an address without a host; it begins " +
			"with https://, and the host follows")
	case !known:
		return fmt.Errorf("oidcgate: no access token is sent to %s; the origins that Client was given "+
			"are %q%s", weburl.Origin(r.URL), strings.Join(t.Origins, " "), t.hintOrigins())
	case insecure && !t.AllowHTTP:
		return fmt.Errorf("oidcgate: no access token is sent to %s over %s; use https",
			r.URL.Host, r.URL.Scheme)
	}
	return nil
}

// hintOrigins says which of the origins are none.
func (t *Transport) hintOrigins() string {
	for _, origin := range t.Origins {
		if u, err := url.Parse(origin); err != nil || u.Host == "" {
			return fmt.Sprintf("; %q is none: it must look like \"https://api.example\"", origin)
		}
	}
	return ""
}

// closeBody does what a RoundTripper must do with a request that it does not send.
func closeBody(r *http.Request) {
	if r.Body != nil {
		_ = r.Body.Close()
	}
}
