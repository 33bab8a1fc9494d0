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

// Add remembers an event in place of the oldest.
func (r *Recent) Add(e event.Record) {
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
