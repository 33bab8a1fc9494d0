package devpage

import (
	"slices"
	"sync"

	"github.com/oidcgate/oidcgate/internal/event"
)

// kept is how many events are remembered.
const kept = 50

// Recent are the last events of this process. The zero value has none. It may be used concurrently.
type Recent struct {
	mu   sync.Mutex
	ring [kept]event.Record
	next int // where the next event goes: in place of the oldest
}

// Before returns a receiver of events that remembers each and gives it to receive, which may be
// nil.
func (r *Recent) Before(receive func(event.Record)) func(event.Record) {
	return func(e event.Record) {
		r.add(e)
		if receive != nil {
			receive(e)
		}
	}
}

func (r *Recent) add(e event.Record) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ring[r.next] = e
	r.next = (r.next + 1) % kept
}

// all returns the events, the newest first.
func (r *Recent) all() []event.Record {
	r.mu.Lock()
	defer r.mu.Unlock()
	oldestFirst := slices.Concat(r.ring[r.next:], r.ring[:r.next])
	empty := func(e event.Record) bool { return e.Type == "" }
	list := slices.DeleteFunc(oldestFirst, empty)
	slices.Reverse(list)
	return list
}
