package event

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"time"
)

// Record is one event: what happened, to whom, and why. It holds no secret.
type Record struct {
	Time        time.Time
	Type        Type
	Reason      Reason
	Reference   string // as shown to the visitor
	Provider    string // its name
	Issuer      string
	SubjectHash string
	LinkedTo    string // of a linking: the SubjectHash of who is signed in
	SessionRef  string
	Status      int    // the HTTP status answered
	Err         error  // the cause
	Detail      string // the cause, in words
	Hint        string // what an operator can do
	Dropped     uint64 // events lost to a full queue before this one

	line *line           // of the log, that is no event; then the fields above are empty
	ctx  context.Context // what the log may read more from; it does not end
}

// Text returns the text of an error for [Record.Detail], or "" without an error.
func Text(err error) string {
	if err == nil {
		return ""
	}
	return strings.ToValidUTF8(err.Error(), "\uFFFD")
}

// Attrs returns the attributes of the event's log line.
func (r Record) Attrs() []slog.Attr {
	var attrs []slog.Attr
	text := func(key, value string) {
		if value != "" {
			attrs = append(attrs, slog.String(key, value))
		}
	}
	text("reason", string(r.Reason))
	text("reference", r.Reference)
	text("provider", r.Provider)
	text("issuer", r.Issuer)
	text("sub_hash", r.SubjectHash)
	text("linked_to", r.LinkedTo)
	text("session_ref", r.SessionRef)
	if r.Status != 0 {
		attrs = append(attrs, slog.Int("status", r.Status))
	}
	text("detail", r.Detail)
	text("hint", r.Hint)
	if r.Dropped != 0 {
		attrs = append(attrs, slog.Uint64("dropped", r.Dropped))
	}
	return attrs
}

// Sink passes events on to a log and to a receiver, in order and without delaying who emits them.
// Each has a queue of its own, so that a receiver that blocks does not silence the log.
type Sink struct {
	// Note, which may be nil, gets each event at once, from who emits it. It must not block, and is
	// set before the sink is used.
	Note func(Record)

	// Hide, which may be nil, takes out of the context of a request what changes while the request is
	// served. It is set before the sink is used.
	Hide func(context.Context) context.Context

	logger  *slog.Logger
	receive func(Record)
	lines   *Queue[Record] // for the log
	events  *Queue[Record] // for receive; nil without one
	dropped uint64         // lines that no event has told yet; of write alone
	ill     atomic.Int64   // when a store error was last reported, in unix nanoseconds; 0: it is well
	slow    atomic.Int64   // when a slow receiver was last reported, in unix nanoseconds
}

// NewSink returns a sink. receive, which may be nil, gets one event at a time.
func NewSink(logger *slog.Logger, receive func(Record)) *Sink {
	s := &Sink{logger: logger, receive: receive}
	typeOf := func(r Record) Type { return r.Type }
	s.lines = NewQueue(typeOf, s.write)
	if receive != nil {
		s.events = NewQueue(typeOf, s.hand)
	}
	return s
}

// Emit passes an event on, with the time of now, and with the cure of the table if it has none of
// its own and is worth a line in the log. The line has the values of ctx, which is that of the
// request that caused the event: a handler of log/slog may know its id by them. It does not block.
func (s *Sink) Emit(ctx context.Context, r Record) {
	r.Time = time.Now()
	if r.Hint == "" && r.Level() >= slog.LevelInfo {
		r.Hint = Cure(r.Type, r.Reason)
	}
	if s.Note != nil {
		s.Note(r)
	}
	if s.events != nil && !s.events.Put(r) && notWithin(time.Minute, &s.slow) {
		s.Log(ctx, slog.LevelWarn, "OnEvent is too slow for the events that come, and misses some; "+
			"have it hand its work to a goroutine of its own")
	}
	r.ctx = s.values(ctx)
	s.lines.Put(r)
}

// values returns what a line of the log may read of a request, which may be over by then.
func (s *Sink) values(ctx context.Context) context.Context {
	if s.Hide != nil {
		ctx = s.Hide(ctx)
	}
	return context.WithoutCancel(ctx)
}

// line is a line of the log.
type line struct {
	level slog.Level
	text  string
	attrs []slog.Attr
}

// Log writes a line that is no event, with the values of ctx. It does not block.
func (s *Sink) Log(ctx context.Context, level slog.Level, text string, attrs ...slog.Attr) {
	s.lines.Put(Record{line: &line{level, text, attrs}, ctx: s.values(ctx)})
}

// Panicked writes a line about a panic. It is called where the panic is recovered, whose stack the
// line has.
func (s *Sink) Panicked(ctx context.Context, what string, v any) {
	s.Log(ctx, slog.LevelError, what+" panicked",
		slog.Any("panic", v), slog.String("stack", string(debug.Stack())))
}

// write writes one event, or another line, to the log. A panic of the log must not end the process.
func (s *Sink) write(r Record, dropped uint64) {
	defer func() { _ = recover() }()
	s.dropped += dropped
	if l := r.line; l != nil {
		s.logger.LogAttrs(r.ctx, l.level, "oidcgate: "+l.text, l.attrs...)
		return
	}
	r.Dropped, s.dropped = s.dropped, 0
	s.logger.LogAttrs(r.ctx, r.Level(), "oidcgate: "+string(r.Type), r.Attrs()...)
}

// hand passes one event to the receiver. Its panic must not end the process.
func (s *Sink) hand(r Record, dropped uint64) {
	defer func() {
		if v := recover(); v != nil {
			s.Panicked(context.Background(), "OnEvent", v)
		}
	}()
	r.Dropped = dropped
	s.receive(r)
}

// StoreUnavailable reports an error of the store, at most once a second: during an outage every
// request meets one.
func (s *Sink) StoreUnavailable(ctx context.Context, err error) {
	if notWithin(time.Second, &s.ill) {
		s.Emit(ctx, Record{Type: StoreUnavailable, Detail: err.Error()})
	}
}

// notWithin reports whether last, in unix nanoseconds, is at least d ago, and makes it now. Of
// concurrent calls one returns true.
func notWithin(d time.Duration, last *atomic.Int64) bool {
	now, before := time.Now().UnixNano(), last.Load()
	justNow := now >= before && now-before < int64(d) // a clock may have been set back
	return !justNow && last.CompareAndSwap(before, now)
}

// StoreAvailable reports that the store answers and takes writes, if StoreUnavailable has reported
// an error since that was last so.
func (s *Sink) StoreAvailable(ctx context.Context) {
	if s.ill.Swap(0) != 0 {
		s.Emit(ctx, Record{Type: StoreAvailable})
	}
}

// Wait waits until all events are delivered. If the context ends first, its error says to whom not.
func (s *Sink) Wait(ctx context.Context) error {
	if s.events != nil {
		if err := s.events.Wait(ctx); err != nil { // first: its panics are lines
			return fmt.Errorf("OnEvent has not returned from all events: %w", err)
		}
	}
	if err := s.lines.Wait(ctx); err != nil {
		return fmt.Errorf("the Logger has not written all lines: %w", err)
	}
	return nil
}
