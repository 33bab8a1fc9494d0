package redisstore

import (
	"context"
	"sync/atomic"
	"time"
)

// windowsPerTimeout is how finely deadlines are told apart: a call may end a
// sixteenth of its timeout early.
const windowsPerTimeout = 16

// A deadline bounds calls in time. context.WithTimeout would do, but makes a
// timer, a channel and an entry in its parent for each call, which shows beside
// one GET. Here the calls that begin within a sixteenth of the timeout share one
// timer and one channel.
type deadline struct {
	timeout time.Duration
	current atomic.Pointer[window]
}

// A window is a moment at which calls end.
type window struct {
	closes time.Time // no call joins later
	ends   time.Time
	done   chan struct{}
}

// bound returns a context with the values of ctx that ends after the timeout, or
// ctx itself if that ends no later. The context needs no cancelling and does not
// end with ctx: go-redis looks for cancellation only while it waits for a
// connection, never while it waits for an answer, and not for longer than the
// timeout.
func (d *deadline) bound(ctx context.Context) context.Context {
	w := d.window(time.Now())
	if end, ok := ctx.Deadline(); ok && !end.After(w.ends) {
		return ctx
	}
	return &boundContext{ctx, w}
}

func (d *deadline) window(now time.Time) *window {
	w := d.current.Load()
	if w != nil && now.Before(w.closes) {
		return w
	}
	next := &window{
		closes: now.Add(d.timeout / windowsPerTimeout),
		ends:   now.Add(d.timeout),
		done:   make(chan struct{}),
	}
	time.AfterFunc(d.timeout, func() { close(next.done) })
	// Of several that open a window at once each may keep its own; it does not
	// matter which of them the later calls join.
	d.current.Store(next)
	return next
}

// boundContext has the values of its parent and the end of a window.
type boundContext struct {
	context.Context
	window *window
}

func (c *boundContext) Deadline() (time.Time, bool) { return c.window.ends, true }
func (c *boundContext) Done() <-chan struct{}       { return c.window.done }

func (c *boundContext) Err() error {
	select {
	case <-c.window.done:
		return context.DeadlineExceeded
	default:
		return nil
	}
}
