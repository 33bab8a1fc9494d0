package event

import (
	"context"
	"sync"
)

// queueShare is the number of events of one type that may wait for a slow receiver. Each type has a
// share of its own: events that strangers cause at will displace no others.
const queueShare = 256

// sessionShare is how many ends of sessions may wait: one call may end thousands.
const sessionShare = 10_000

func shareOf(t Type) int {
	if t == SessionRevoked {
		return sessionShare
	}
	return queueShare
}

// Queue passes events to a receiver, one at a time and in order. It has a goroutine only while
// events are waiting. A receiver that blocks does not block Put: events that do not fit into the
// share of their type are dropped and counted.
type Queue[E any] struct {
	typeOf  func(E) Type
	receive func(e E, dropped uint64)

	mu      sync.Mutex
	waiting []E
	shares  map[Type]int // how many events of a type wait
	dropped uint64
	running bool
	idle    chan struct{} // closed when no event is left
}

// NewQueue returns a queue that calls receive for each event. dropped is the number of events that
// were dropped since the event before e.
func NewQueue[E any](typeOf func(E) Type, receive func(e E, dropped uint64)) *Queue[E] {
	return &Queue[E]{typeOf: typeOf, receive: receive, shares: map[Type]int{}}
}

// Put adds an event, or drops it when too many of its type wait, and then returns false. It does
// not block.
func (q *Queue[E]) Put(e E) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	t := q.typeOf(e)
	if q.shares[t] >= shareOf(t) {
		q.dropped++
		return false
	}
	q.shares[t]++
	q.waiting = append(q.waiting, e)
	if !q.running {
		q.running = true
		q.idle = make(chan struct{})
		go q.drain()
	}
	return true
}

func (q *Queue[E]) drain() {
	over := false
	defer func() {
		if !over { // the receiver has ended its goroutine (runtime.Goexit)
			go q.drain()
		}
	}()
	for {
		e, dropped, ok := q.next()
		if over = !ok; over {
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
	q.shares[q.typeOf(e)]--
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
