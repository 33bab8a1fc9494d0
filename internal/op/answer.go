package op

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync/atomic"

	"github.com/oidcgate/oidcgate/internal/apart"
)

// How much of an answer is read.
const (
	metadataLimit = 256 << 10
	tokenLimit    = 1 << 20
)

// answer is what a provider answered, read to its end.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// guard stands between the libraries and the wire. It reads the whole answer within its limit and
// has it checked before a library sees any of it, because the libraries read without limit,
// follow redirects and put bodies into their errors. They get only what check returns, as an
// application/json answer with status 200. So no http.Client ever sees a redirect, which would
// carry the code, the verifier and the client's secret to the address it names (RFC 9700, 4.12).
type guard struct {
	base  http.RoundTripper
	limit int64
	check func(answer) ([]byte, error)
}

// RoundTrip fails with a *fault, or with what check failed with.
func (g *guard) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx, unsent := traced(req.Context())
	req = req.Clone(ctx)
	if req.Header.Get("Accept") == "" {
		req.Header.Set("Accept", "application/json")
	}
	// With this header set, no transport asks for compression and inflates the answer by itself.
	req.Header.Set("Accept-Encoding", "identity")
	// A transport of the application may not heed its context.
	a, err := apart.Call(ctx, func() (answer, error) {
		resp, err := g.base.RoundTrip(req)
		if err != nil {
			f := *networkFault(err)
			f.unsent = unsent()
			return answer{}, &f
		}
		return g.read(resp)
	})
	if err != nil {
		return nil, networkFault(err)
	}
	body, err := g.check(a)
	if err != nil {
		return nil, err
	}
	return jsonResponse(req, body), nil
}

// traced returns a context for a request. When the request has failed, unsent reports whether its
// transport wanted a connection and got none. Of a transport that says nothing of connections it
// returns false.
func traced(ctx context.Context) (_ context.Context, unsent func() bool) {
	var wanted, got atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GetConn: func(string) { wanted.Store(true) },
		GotConn: func(httptrace.GotConnInfo) { got.Store(true) },
	})
	return ctx, func() bool { return wanted.Load() && !got.Load() }
}

// read reads the body to its end. It fails with a *fault.
func (g *guard) read(resp *http.Response) (answer, error) {
	defer resp.Body.Close()
	if e := resp.Header.Get("Content-Encoding"); e != "" && !strings.EqualFold(e, "identity") {
		return answer{}, unreadable(resp.StatusCode, "the answer is compressed, which was not asked for")
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, g.limit+1))
	if err != nil {
		return answer{}, networkFault(err)
	}
	if int64(len(body)) > g.limit {
		f := unreadable(resp.StatusCode, fmt.Sprintf("the answer is longer than %d bytes", g.limit))
		f.tooLong = f.unreadable && HasMediaType(resp.Header, "application/json")
		return answer{}, f
	}
	return answer{resp.StatusCode, resp.Header, body}, nil
}

// jsonResponse is a good answer with this body.
func jsonResponse(req *http.Request, body []byte) *http.Response {
	return &http.Response{
		Status:        "200 OK",
		StatusCode:    http.StatusOK,
		Proto:         "HTTP/1.1",
		ProtoMajor:    1,
		ProtoMinor:    1,
		Header:        http.Header{"Content-Type": {"application/json"}},
		Body:          io.NopCloser(bytes.NewReader(body)),
		ContentLength: int64(len(body)),
		Request:       req,
	}
}

// guarded returns an http.Client for one request: without cookies, and with every answer
// checked before the http.Client sees it.
func guarded(
	transport http.RoundTripper, limit int64, check func(answer) ([]byte, error),
) *http.Client {
	return &http.Client{Transport: &guard{transport, limit, check}}
}

// do makes a request and returns the whole answer, of whatever status. The caller checks it.
func do(transport http.RoundTripper, req *http.Request, limit int64) (answer, error) {
	var got answer
	resp, err := guarded(transport, limit, func(a answer) ([]byte, error) {
		got = a
		return nil, nil
	}).Do(req)
	if err != nil {
		return answer{}, err
	}
	return got, resp.Body.Close()
}

// HasMediaType reports whether the Content-Type is one of want, with whatever parameters.
func HasMediaType(h http.Header, want ...string) bool {
	got, _, err := mime.ParseMediaType(h.Get("Content-Type"))
	if err != nil {
		return false
	}
	for _, w := range want {
		if got == w {
			return true
		}
	}
	return false
}

// requireOK refuses an answer whose status is not 200.
func requireOK(a answer) error {
	if a.status != http.StatusOK {
		return statusFault(a.status)
	}
	return nil
}
