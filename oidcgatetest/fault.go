package oidcgatetest

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"time"
)

// A Fault is a way to misbehave. It stands before an endpoint like any middleware, and
// so a fault of your own is an ordinary function: it may ignore next, the provider's
// right answer, or call it and change what it says.
type Fault func(next http.Handler) http.Handler

// Inject keeps faults for the next request to an endpoint; the first of them is the
// outermost. Each call is for one more request, and they wait their turn. Inject without
// faults lets one request through.
func (p *Provider) Inject(e Endpoint, faults ...Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	rec := p.record(e)
	rec.next = append(rec.next, slices.Clone(faults))
}

// Always keeps faults for all requests to an endpoint that Inject has nothing for. They
// take the place of those before; Always without faults ends them.
func (p *Provider) Always(e Endpoint, faults ...Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.record(e).always = slices.Clone(faults)
}

// Clear makes an endpoint behave: it forgets what Inject and Always keep for it.
func (p *Provider) Clear(e Endpoint) {
	p.mu.Lock()
	defer p.mu.Unlock()
	rec := p.record(e)
	rec.next, rec.always = nil, nil
}

// A Response is an answer that a fault may change before it is sent.
type Response struct {
	Status int
	Header http.Header
	Body   []byte
}

// Answer answers in the endpoint's place. An empty content type is left out.
func Answer(status int, contentType, body string) Fault {
	return func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header()["Content-Type"] = nil // else net/http guesses one
			if contentType != "" {
				w.Header().Set("Content-Type", contentType)
			}
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
		})
	}
}

// Redirect answers with a redirect, such as 307, to another address.
func Redirect(status int, location string) Fault {
	return func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", location)
			w.WriteHeader(status)
		})
	}
}

// Edit changes the right answer.
func Edit(change func(*Response)) Fault {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			answer := capture(next, r)
			change(answer)
			answer.writeHeader(w)
			_, _ = w.Write(answer.Body)
		})
	}
}

// EditJSON changes members of a JSON answer, such as a token response or the discovery
// document. Numbers are of type json.Number. An answer that is no JSON object stays as
// it is.
func EditJSON(change func(members map[string]any)) Fault {
	return Edit(func(answer *Response) {
		var members map[string]any
		d := json.NewDecoder(bytes.NewReader(answer.Body))
		d.UseNumber()
		if d.Decode(&members) != nil || members == nil {
			return
		}
		change(members)
		answer.Body = mustMarshal(members)
	})
}

// EditRedirect changes the parameters in the query of a redirect: the authorization
// response, or the way back from a logout. An answer that is no redirect stays as it is.
func EditRedirect(change func(params url.Values)) Fault {
	return Edit(func(answer *Response) {
		u, err := url.Parse(answer.Header.Get("Location"))
		if err != nil || u.Host == "" {
			return
		}
		params := u.Query()
		change(params)
		u.RawQuery = params.Encode()
		answer.Header.Set("Location", u.String())
	})
}

// Delay answers rightly, but late. It ends early when the client leaves.
func Delay(d time.Duration) Fault {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			sleep(r.Context(), d)
			next.ServeHTTP(w, r)
		})
	}
}

// Hang takes the request and never answers. It ends when the client leaves or the
// provider is closed.
func Hang() Fault {
	return func(http.Handler) http.Handler {
		return http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { hang(r.Context()) })
	}
}

// HangBody sends the header and half the body of the right answer, and then hangs.
func HangBody() Fault {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			answer := capture(next, r)
			answer.Header.Set("Content-Length", strconv.Itoa(len(answer.Body)))
			answer.writeHeader(w)
			_, _ = w.Write(answer.Body[:len(answer.Body)/2])
			flush(w)
			hang(r.Context())
		})
	}
}

// Trickle sends the body of the right answer byte by byte, with a pause before each.
func Trickle(pause time.Duration) Fault {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			answer := capture(next, r)
			answer.writeHeader(w)
			flush(w)
			for i := range answer.Body {
				sleep(r.Context(), pause)
				_, _ = w.Write(answer.Body[i : i+1])
				flush(w)
			}
		})
	}
}

// Reset takes the request and then breaks the connection, as a provider does that
// crashes at the worst moment: on TCP with a reset, in memory by closing.
func Reset() Fault {
	return func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				panic(http.ErrAbortHandler) // HTTP/2 resets the stream
			}
			reset(conn)
		})
	}
}

func reset(conn net.Conn) {
	if t, ok := conn.(*tls.Conn); ok {
		conn = t.NetConn()
	}
	if t, ok := conn.(*net.TCPConn); ok {
		_ = t.SetLinger(0) // closing then sends RST instead of FIN
	}
	_ = conn.Close()
}

// Huge puts so many spaces before the body of the right answer. JSON stays JSON: only a
// reader with a limit refuses it.
func Huge(spaces int64) Fault {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			answer := capture(next, r)
			answer.writeHeader(w)
			writeHuge(w, spaces, answer.Body)
		})
	}
}

// GzipBomb is [Huge], compressed about a thousand times. It is sent to every client,
// whether or not that accepts gzip.
func GzipBomb(spaces int64) Fault {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			answer := capture(next, r)
			answer.Header.Set("Content-Encoding", "gzip")
			answer.writeHeader(w)
			z := gzip.NewWriter(w)
			writeHuge(z, spaces, answer.Body)
			_ = z.Close()
		})
	}
}

// writeHuge stops when the reader has had enough.
func writeHuge(w io.Writer, spaces int64, body []byte) {
	chunk := bytes.Repeat([]byte{' '}, 64<<10)
	for spaces > 0 {
		n := min(spaces, int64(len(chunk)))
		if _, err := w.Write(chunk[:n]); err != nil {
			return
		}
		spaces -= n
	}
	_, _ = w.Write(body)
}

// capture has the right answer made, but not sent.
func capture(next http.Handler, r *http.Request) *Response {
	rec := httptest.NewRecorder()
	next.ServeHTTP(rec, r)
	return &Response{Status: rec.Code, Header: rec.Header(), Body: rec.Body.Bytes()}
}

func (a *Response) writeHeader(w http.ResponseWriter) {
	maps.Copy(w.Header(), a.Header)
	w.WriteHeader(cmp.Or(a.Status, http.StatusOK))
}

// sleep waits, or gives up the answer when nobody waits for it any longer.
func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		panic(http.ErrAbortHandler)
	}
}

func hang(ctx context.Context) {
	<-ctx.Done()
	panic(http.ErrAbortHandler)
}

// flush gives up the answer when the client has left.
func flush(w http.ResponseWriter) {
	if err := http.NewResponseController(w).Flush(); err != nil {
		panic(http.ErrAbortHandler)
	}
}
