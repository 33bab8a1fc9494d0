package oidcgate

import (
	"context"
	"net/http"
)

// Client returns an http.Client that sends the access token of the signed-in visitor with every request, as
// [Gate.Token] returns it at that moment. It belongs to the request whose context it was made with; do not
// keep it. The token goes wherever requests go: use it for the visitor's resource servers only. Redirects are
// not followed.
func (g *Gate) Client(ctx context.Context) *http.Client {
	return &http.Client{
		Transport:     &bearer{gate: g, ctx: ctx},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// bearer adds the token of one visitor. It takes it from the context it was made with and keeps none: a
// client that is shared by mistake sends no older token, and no other visitor's.
type bearer struct {
	gate *Gate
	ctx  context.Context
}

// RoundTrip implements [http.RoundTripper]. It waits for a token no longer than the request may take.
func (b *bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancel(b.ctx)
	defer cancel()
	defer context.AfterFunc(r.Context(), cancel)()
	t, err := b.gate.Token(ctx)
	if err != nil {
		if r.Body != nil {
			_ = r.Body.Close()
		}
		return nil, err
	}
	r = r.Clone(r.Context())
	t.SetAuthHeader(r)
	return http.DefaultTransport.RoundTrip(r)
}
