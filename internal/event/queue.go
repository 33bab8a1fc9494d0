package event

import (
	"context"
	"sync"
)

// queueSize is the number of events that may wait for a slow receiver.
const queueSize = 1024

// Queue passes events to a receiver, one at a time and in order. It has a goroutine only while
// events are waiting. A receiver that blocks does not block Put: events that do not fit into the
// queue are dropped and counted.
type Queue[E any] struct {
	receive func(e E, dropped uint64)

	mu      sync.Mutex
	waiting []E
	dropped uint64
	running bool
	idle    chan struct{} // closed when no event is left
}

// NewQueue returns a queue that calls receive for each event. dropped is the number of events that
// were dropped since the event before e.
func NewQueue[E any](receive func(e E, dropped uint64)) *Queue[E] {
	return &Queue[E]{receive: receive}
}

// Put adds an event, or drops it when the queue is full. It does not block.
func (q *Queue[E]) Put(e E) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) >= queueSize {
		q.dropped++
		return
	}
	q.waiting = append(q.waiting, e)
	if !q.running {
		q.running = true
		q.idle = make(chan struct{})
		go q.drain()
	}
}

func (q *Queue[E]) drain() {
	for {
		e, dropped, ok := q.next()
		if !ok {
			return
		}
		q.receive(e, dropped)
	}
}

func (q *Queue[E]) next() (e E, dropped uint64, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) == 0 {
		q.running, q.waiting = false, nil
		close(q.idle)
		return e, 0, false
	}
	e, q.waiting = q.waiting[0], q.waiting[1:]
	dropped, q.dropped = q.dropped, 0
	return e, dropped, true
}

// Wait waits until the receiver has got all events. It returns the context's error if that ends
// first.
func (q *Queue[E]) Wait(ctx context.Context) error {
	q.mu.Lock()
	running, idle := q.running, q.idle
	q.mu.Unlock()
	if !running {
		return nil
	}
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
