package redisstore

import (
	"context"
	"sync/atomic"
	"time"
)

// windowsPerTimeout is the number of windows in one timeout. A call may end up to one window, a
// sixteenth of its timeout, early.
const windowsPerTimeout = 16

// A deadline limits the duration of calls. context.WithTimeout would also do so, but it creates a
// timer, a channel and an entry in its parent for each call, which is a measurable cost next to one
// GET. Here all calls that begin within the same sixteenth of the timeout share one timer and one
// channel.
type deadline struct {
	timeout time.Duration
	current atomic.Pointer[window]
}

// A window is the common end of calls that began at about the same time.
type window struct {
	closes time.Time // calls that begin later get another window
	ends   time.Time // the deadline of the calls
	done   chan struct{}
}

// bound returns a context with the values of ctx that ends after the timeout, or ctx itself if ctx
// ends first. The context needs no cancel function. It does not end when ctx is cancelled: go-redis
// checks for cancellation only while it waits for a connection, never while it waits for an answer,
// and that wait ends with the timeout too.
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
	// Calls that create a window at the same time may each use their own. Later calls may join any
	// of them.
	d.current.Store(next)
	return next
}

// boundContext has the values of its parent and the deadline of its window.
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
