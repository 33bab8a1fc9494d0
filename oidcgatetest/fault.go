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

// A Fault makes an endpoint answer incorrectly. It is a middleware around the endpoint: next gives
// the correct answer. A fault of your own may ignore next, or call it and change its answer.
type Fault func(next http.Handler) http.Handler

// Inject applies faults to the next request to an endpoint; the first fault is the outermost. Each
// further call applies to one further request, in the order of the calls. Inject without faults
// lets one request pass unchanged.
func (p *Provider) Inject(e Endpoint, faults ...Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	rec := p.record(e)
	rec.next = append(rec.next, slices.Clone(faults))
}

// Always applies faults to every request to an endpoint for which Inject has set nothing. They
// replace the faults of an earlier Always; Always without faults removes them.
func (p *Provider) Always(e Endpoint, faults ...Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.record(e).always = slices.Clone(faults)
}

// Clear removes all faults that Inject and Always have set for an endpoint.
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

// Answer answers instead of the endpoint. If contentType is empty, there is no Content-Type header.
func Answer(status int, contentType, body string) Fault {
	return func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header()["Content-Type"] = nil // otherwise net/http would guess one
			if contentType != "" {
				w.Header().Set("Content-Type", contentType)
			}
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
		})
	}
}

// Redirect answers with a redirect to location; status is 307, for example.
func Redirect(status int, location string) Fault {
	return func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", location)
			w.WriteHeader(status)
		})
	}
}

// Edit changes the correct answer.
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

// EditJSON changes members of a JSON answer, such as a token response or the discovery document.
// Numbers are of type json.Number. An answer that is not a JSON object is not changed.
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

// EditRedirect changes the query parameters of a redirect: the authorization response, or the
// redirect after a logout. An answer that is not a redirect is not changed.
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

// Delay gives the correct answer after d. It gives none if the client closes the connection first.
func Delay(d time.Duration) Fault {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			sleep(r.Context(), d)
			next.ServeHTTP(w, r)
		})
	}
}

// Hang reads the request and never answers. It ends when the client closes the connection or the
// provider is closed.
func Hang() Fault {
	return func(http.Handler) http.Handler {
		return http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { hang(r.Context()) })
	}
}

// HangBody sends the header and half of the body of the correct answer, and then hangs like [Hang].
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

// Trickle sends the body of the correct answer byte by byte, with a pause before each byte.
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

// Reset reads the request and then breaks the connection, like a provider that crashes after it has
// received a request. A TCP connection is reset; a connection in memory is closed.
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

// Huge puts the given number of spaces before the body of the correct answer. JSON with spaces
// before it is still valid, so only a reader with a size limit refuses it.
func Huge(spaces int64) Fault {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			answer := capture(next, r)
			answer.writeHeader(w)
			writeHuge(w, spaces, answer.Body)
		})
	}
}

// GzipBomb is [Huge] compressed with gzip, to about a thousandth of its size. It is compressed even
// if the client does not accept gzip.
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

// writeHuge stops when the client closes the connection.
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

// capture calls next and returns its answer without sending it.
func capture(next http.Handler, r *http.Request) *Response {
	rec := httptest.NewRecorder()
	next.ServeHTTP(rec, r)
	return &Response{Status: rec.Code, Header: rec.Header(), Body: rec.Body.Bytes()}
}

func (a *Response) writeHeader(w http.ResponseWriter) {
	maps.Copy(w.Header(), a.Header)
	w.WriteHeader(cmp.Or(a.Status, http.StatusOK))
}

// sleep waits for d. If ctx ends first, it aborts the answer.
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

// flush aborts the answer if the client has closed the connection.
func flush(w http.ResponseWriter) {
	if err := http.NewResponseController(w).Flush(); err != nil {
		panic(http.ErrAbortHandler)
	}
}
