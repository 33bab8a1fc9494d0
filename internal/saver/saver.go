// Package saver has a ResponseWriter that calls a function to save something before it sends the
// first byte of an answer.
package saver

import (
	"bufio"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
)

// Saver is a ResponseWriter that saves before the first byte of the answer is sent, by whichever
// method, so that no answer reports as done what was not saved. When saving fails, fail writes the
// whole answer in place of the handler: status, headers and body.
type Saver struct {
	http.ResponseWriter
	save   func() error
	fail   func(http.ResponseWriter)
	before http.Header // the headers as the handler got them

	begun  bool // the first byte was sent
	failed bool // saving failed, and fail has answered
}

// New returns a Saver in front of w. The handler gets what [Saver.Wrap] returns; when the handler
// has returned, call [Saver.Finish].
func New(w http.ResponseWriter, save func() error, fail func(http.ResponseWriter)) *Saver {
	return &Saver{ResponseWriter: w, save: save, fail: fail, before: w.Header().Clone()}
}

// errNotSaved is the error for a handler that writes after saving has failed.
var errNotSaved = errors.New("oidcgate: the values could not be saved")

// ready saves, unless the answer has begun, and reports whether the handler may send bytes.
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

// WriteHeader implements [http.ResponseWriter]. A 1xx status does not begin the answer: what the
// handler changes after it is saved before the final status.
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

// Unwrap is for [http.ResponseController], which looks below for what the saver has not.
func (s *Saver) Unwrap() http.ResponseWriter { return unwrapped{s} }

// unwrapped saves before what the writer below can do by its own Unwrap alone.
type unwrapped struct{ *Saver }

// FlushError is called by [http.ResponseController].
func (u unwrapped) FlushError() error {
	if !u.ready() {
		return errNotSaved
	}
	err := http.NewResponseController(u.ResponseWriter).Flush()
	u.begun = u.begun || !errors.Is(err, http.ErrNotSupported)
	return err
}

// Hijack implements [http.Hijacker].
func (u unwrapped) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	if !u.ready() {
		return nil, nil, errNotSaved
	}
	conn, rw, err := http.NewResponseController(u.ResponseWriter).Hijack()
	u.begun = u.begun || err == nil
	return conn, rw, err
}

// Unwrap is for what needs no saving, such as deadlines.
func (u unwrapped) Unwrap() http.ResponseWriter { return u.ResponseWriter }

// Finish saves when the handler has returned: for the first time if it sent nothing, and else once
// more, for what it changed after the first byte.
func (s *Saver) Finish() {
	if s.begun {
		_ = s.save() // too late to change the answer; save reports its errors itself
		return
	}
	s.ready()
}

// Wrap returns the saver with the optional interfaces of the writer below it, so that a handler
// that looks for one finds the same as without the saver. A writer of net/http has Flusher, and
// either Hijacker (HTTP/1) or Pusher (HTTP/2). What a writer has by its Unwrap alone, the saver has
// by its own.
func (s *Saver) Wrap() http.ResponseWriter {
	if _, canFlush := s.ResponseWriter.(http.Flusher); !canFlush {
		return s
	}
	flush := flushSaver{s}
	if _, canHijack := s.ResponseWriter.(http.Hijacker); canHijack {
		return &http1Saver{flush}
	}
	if pusher, ok := s.ResponseWriter.(http.Pusher); ok {
		return &http2Saver{flush, pusher}
	}
	return &flush
}

type flushSaver struct{ *Saver }

// Flush implements [http.Flusher].
func (s *flushSaver) Flush() { _ = s.FlushError() }

// FlushError is called by [http.ResponseController] for Flush.
func (s *flushSaver) FlushError() error { return unwrapped{s.Saver}.FlushError() }

type http1Saver struct{ flushSaver }

// Hijack implements [http.Hijacker].
func (s *http1Saver) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return unwrapped{s.Saver}.Hijack()
}

// ReadFrom implements [io.ReaderFrom], so that the server can send files without copying them.
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
