package main

import (
	"bytes"
	"cmp"
	"context"
	_ "embed"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/coder/websocket"

	"github.com/oidcgate/oidcgate"
)

// The handlers of this file do what real handlers do and what a middleware can easily break: they
// are slow, send headers early, stream, take over the connection, and panic. Only put and get have
// a guard; the others show whether a user is signed in. With SESSION_VALUES they also store the
// value k=v of the query.

// who returns a text that names the signed-in user.
func (s *service) who(r *http.Request) string {
	if id, ok := oidcgate.FromContext(r.Context()); ok {
		return "signed in as " + id.Subject()
	}
	if s.gate.SessionErr(r.Context()) != nil {
		return "cannot tell at the moment whether you are signed in"
	}
	return "not signed in"
}

// remember puts the value of the query into the session and reports whether it did so.
func (s *service) remember(r *http.Request) bool {
	_, signedIn := oidcgate.FromContext(r.Context())
	key := r.URL.Query().Get("k")
	if !s.options.config.EnableValues || !signedIn || key == "" {
		return false
	}
	s.gate.Values().Put(r.Context(), key, r.URL.Query().Get("v"))
	return true
}

// withoutValues answers 501 and returns true if SESSION_VALUES is off.
func (s *service) withoutValues(w http.ResponseWriter) bool {
	if s.options.config.EnableValues {
		return false
	}
	http.Error(w, "SESSION_VALUES is off, so no values are stored", http.StatusNotImplemented)
	return true
}

func (s *service) put(w http.ResponseWriter, r *http.Request) {
	switch {
	case s.withoutValues(w):
	case s.remember(r):
		fmt.Fprintln(w, "saved")
	default:
		http.Error(w, "the query needs k=KEY and v=VALUE", http.StatusBadRequest)
	}
}

func (s *service) get(w http.ResponseWriter, r *http.Request) {
	if s.withoutValues(w) {
		return
	}
	key := r.URL.Query().Get("k")
	if !s.gate.Values().Exists(r.Context(), key) {
		http.NotFound(w, r)
		return
	}
	writeText(w, s.gate.Values().GetString(r.Context(), key))
}

// writeText answers with text from an untrusted source. The headers keep browsers from reading it
// as HTML.
func writeText(w http.ResponseWriter, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	_, _ = io.WriteString(w, text)
}

const maxSlow = time.Minute

// slow answers after ms milliseconds, but at most one minute.
func (s *service) slow(w http.ResponseWriter, r *http.Request) {
	ms, err := strconv.Atoi(r.URL.Query().Get("ms"))
	if err != nil || ms < 0 {
		http.Error(w, "the query needs ms=MILLISECONDS", http.StatusBadRequest)
		return
	}
	if !wait(r.Context(), min(time.Duration(ms)*time.Millisecond, maxSlow)) {
		return
	}
	s.remember(r)
	writeText(w, s.who(r)+"\n")
}

// wait waits for d. It returns false if ctx ends first.
func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// hint103 sends a 103 (Early Hints, RFC 8297) before its answer.
func (s *service) hint103(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Link", "</file>; rel=preload; as=fetch")
	w.WriteHeader(http.StatusEarlyHints)
	s.remember(r)
	w.WriteHeader(http.StatusOK)
	writeText(w, s.who(r)+"\n")
}

// flushFirst sends its headers before it stores a value. The status has then been sent already, so
// it saves the value with Commit and writes the result into the body.
func (s *service) flushFirst(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if err := http.NewResponseController(w).Flush(); err != nil {
		return
	}
	fmt.Fprintln(w, s.who(r))
	saved, err := s.saveNow(r)
	switch {
	case err != nil:
		fmt.Fprintln(w, "error")
		return
	case saved:
		fmt.Fprintln(w, "saved")
	}
	fmt.Fprintln(w, "done")
}

// saveNow saves the value of the query at once and reports whether there was one. It returns an
// error if the session could not be read.
func (s *service) saveNow(r *http.Request) (bool, error) {
	if !s.remember(r) {
		return false, s.gate.SessionErr(r.Context())
	}
	_, _, err := s.gate.Values().Commit(r.Context())
	return err == nil, err
}

// hijack takes over the connection: for a websocket that echoes messages, or to write a response
// without net/http.
func (s *service) hijack(w http.ResponseWriter, r *http.Request) {
	s.remember(r)
	if r.Header.Get("Upgrade") != "" {
		s.echo(w, r)
		return
	}
	if r.ProtoMajor != 1 { // HTTP/2 requests share a connection, and gin panics on Hijack
		http.Error(w, "this connection cannot be taken over", http.StatusHTTPVersionNotSupported)
		return
	}
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		s.logger.Error("rp: taking over the connection", "err", err)
		return
	}
	defer func() { _ = conn.Close() }()
	body := s.who(r) + "\n"
	// The headers that the gate has set, such as cookies, must be written here too.
	header := w.Header().Clone()
	header.Set("Content-Type", "text/plain; charset=utf-8")
	header.Set("Content-Length", strconv.Itoa(len(body)))
	header.Set("Connection", "close")
	fmt.Fprint(buffered, "HTTP/1.1 200 OK\r\n")
	_ = header.Write(buffered)
	fmt.Fprint(buffered, "\r\n"+body)
	_ = buffered.Flush() // an error means that the client has left
}

// echo sends the name of the signed-in user and then sends every message back. CORS does not apply
// to websockets, so any site could open one with the user's cookie. Accept prevents this: it
// compares the Origin header with the host.
func (s *service) echo(w http.ResponseWriter, r *http.Request) {
	conn, err := websocket.Accept(w, r, nil)
	if err != nil {
		return // Accept has answered
	}
	defer func() { _ = conn.CloseNow() }()
	// The server neither waits for nor closes a connection that was taken over; s.streams ends it
	// at shutdown.
	if conn.Write(s.streams, websocket.MessageText, []byte(s.who(r))) != nil {
		return
	}
	for {
		kind, message, err := conn.Read(s.streams)
		if err != nil || conn.Write(s.streams, kind, message) != nil {
			return
		}
	}
}

func (s *service) panics(_ http.ResponseWriter, r *http.Request) {
	s.remember(r)
	panic("rp: as asked for")
}

// The limits of /sse.
const (
	sseEvents    = 5
	maxSSEEvents = 1000
	sseInterval  = 100 * time.Millisecond
)

// sse sends n server-sent events, five by default. It flushes the headers first, so that the
// browser knows it is connected.
func (s *service) sse(w http.ResponseWriter, r *http.Request) {
	n, err := strconv.Atoi(cmp.Or(r.URL.Query().Get("n"), strconv.Itoa(sseEvents)))
	if err != nil {
		http.Error(w, "n must be the number of events", http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	control := http.NewResponseController(w)
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(s.streams, cancel)()
	for i := range min(n, maxSSEEvents) {
		if control.Flush() != nil || !wait(ctx, sseInterval) {
			return
		}
		fmt.Fprintf(w, "id: %d\ndata: %s\n\n", i+1, s.who(r))
	}
}

//go:embed file.txt
var fileText []byte

// fileModified is a constant, so that it is the same on every replica.
var fileModified = time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC)

// file supports range requests and conditional requests.
func (s *service) file(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Signed-In", s.who(r))
	http.ServeContent(w, r, "file.txt", fileModified, bytes.NewReader(fileText))
}
