package event

import (
	"context"
	"sync"
)

// queueSize is the number of events that may wait for a slow receiver.
const queueSize = 1024

// Queue hands events to a receiver, one at a time and in order. Its goroutine lives only while there
// is something to hand over. A receiver that blocks delays nobody: what does not fit into the queue
// is dropped and counted.
type Queue[E any] struct {
	hand func(e E, dropped uint64)

	mu      sync.Mutex
	waiting []E
	dropped uint64
	running bool
	idle    chan struct{} // closed when the queue has run empty
}

// NewQueue returns a queue for a receiver. dropped is the number of events that were lost before e.
func NewQueue[E any](hand func(e E, dropped uint64)) *Queue[E] { return &Queue[E]{hand: hand} }

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
		q.hand(e, dropped)
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

// Wait returns when all events so far are handed over, or with the context's error.
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
