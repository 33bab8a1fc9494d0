// Package saver has a ResponseWriter that saves before the first byte of an answer leaves. It knows
// nothing of what is saved.
package saver

import (
	"bufio"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
)

// Saver is the ResponseWriter of handlers whose work must be saved before the first byte leaves,
// whatever sends it, so that an answer never promises what was not saved. When saving fails, the
// answer is that of fail in place of the handler's, whole: status, headers and body.
type Saver struct {
	http.ResponseWriter
	save   func() error
	fail   func(http.ResponseWriter)
	before http.Header // the headers as the handler got them

	begun  bool // the first byte is out
	failed bool
}

// New returns a Saver in front of w. The handler gets what [Saver.Wrap] returns; when the handler
// has returned, call [Saver.Finish].
func New(w http.ResponseWriter, save func() error, fail func(http.ResponseWriter)) *Saver {
	return &Saver{ResponseWriter: w, save: save, fail: fail, before: w.Header().Clone()}
}

// errNotSaved is what a handler gets that writes after saving has failed.
var errNotSaved = errors.New("oidcgate: the values could not be saved")

// ready saves and reports whether the handler's bytes may go out.
func (s *Saver) ready() bool {
	if s.begun || s.failed {
		return !s.failed
	}
	if s.save() != nil {
		s.failed = true
		clear(s.Header())
		maps.Copy(s.Header(), s.before)
		s.fail(s.ResponseWriter)
		return false
	}
	return true
}

// WriteHeader implements [http.ResponseWriter]. A 1xx status is not the answer yet: values put after it are
// saved before the final one.
func (s *Saver) WriteHeader(status int) {
	if !s.ready() {
		return
	}
	s.begun = s.begun || status >= http.StatusOK || status == http.StatusSwitchingProtocols
	s.ResponseWriter.WriteHeader(status)
}

// Write implements [io.Writer].
func (s *Saver) Write(b []byte) (int, error) {
	if !s.ready() {
		return 0, errNotSaved
	}
	s.begun = true
	return s.ResponseWriter.Write(b)
}

// WriteString implements [io.StringWriter].
func (s *Saver) WriteString(text string) (int, error) {
	if !s.ready() {
		return 0, errNotSaved
	}
	s.begun = true
	return io.WriteString(s.ResponseWriter, text)
}

// Unwrap is for [http.ResponseController].
func (s *Saver) Unwrap() http.ResponseWriter { return s.ResponseWriter }

// Finish saves what the handler changed and did not send, or changed after it had begun to send.
func (s *Saver) Finish() {
	if s.begun {
		_ = s.save() // too late for the answer; the event tells
		return
	}
	s.ready()
}

// Wrap returns the saver with the optional interfaces that the writer below has, and no others: a handler
// that asks what its writer can do gets the same answer as without us. Servers speak either HTTP/1, with
// Hijacker, or HTTP/2, with Pusher.
func (s *Saver) Wrap() http.ResponseWriter {
	flusher, canFlush := s.ResponseWriter.(http.Flusher)
	if !canFlush {
		return s
	}
	flush := flushSaver{s, flusher}
	if hijacker, ok := s.ResponseWriter.(http.Hijacker); ok {
		return &http1Saver{flush, hijacker}
	}
	if pusher, ok := s.ResponseWriter.(http.Pusher); ok {
		return &http2Saver{flush, pusher}
	}
	return &flush
}

type flushSaver struct {
	*Saver
	flusher http.Flusher
}

// Flush implements [http.Flusher].
func (s *flushSaver) Flush() { _ = s.FlushError() }

// FlushError is what [http.ResponseController] calls for Flush.
func (s *flushSaver) FlushError() error {
	if !s.ready() {
		return errNotSaved
	}
	s.begun = true
	if f, ok := s.flusher.(interface{ FlushError() error }); ok {
		return f.FlushError()
	}
	s.flusher.Flush()
	return nil
}

type http1Saver struct {
	flushSaver
	hijacker http.Hijacker
}

// Hijack implements [http.Hijacker].
func (s *http1Saver) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	if !s.ready() {
		return nil, nil, errNotSaved
	}
	conn, rw, err := s.hijacker.Hijack()
	s.begun = s.begun || err == nil
	return conn, rw, err
}

// ReadFrom implements [io.ReaderFrom], by which files go out without being copied.
func (s *http1Saver) ReadFrom(src io.Reader) (int64, error) {
	if !s.ready() {
		return 0, errNotSaved
	}
	s.begun = true
	return io.Copy(s.ResponseWriter, src)
}

// CloseNotify implements [http.CloseNotifier], which gin asks its writer for.
func (s *flushSaver) CloseNotify() <-chan bool {
	//lint:ignore SA1019 gin's writer asserts it
	if n, ok := s.ResponseWriter.(http.CloseNotifier); ok {
		return n.CloseNotify()
	}
	return make(chan bool)
}

type http2Saver struct {
	flushSaver
	pusher http.Pusher
}

// Push implements [http.Pusher].
func (s *http2Saver) Push(target string, options *http.PushOptions) error {
	return s.pusher.Push(target, options)
}
