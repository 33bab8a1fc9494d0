package session

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
)

// maxRefreshes is how many requests for tokens one process has under way.
const maxRefreshes = 32

// flights are the refreshes under way in this process, by session.
type flights struct {
	mu      sync.Mutex
	running map[ID]*flight
	asking  chan struct{} // holds those who ask the provider now
}

// flight is one refresh. Its result may be read when done is closed.
type flight struct {
	done   chan struct{}
	tokens *Tokens
	err    error
}

func newFlights() flights {
	return flights{running: map[ID]*flight{}, asking: make(chan struct{}, maxRefreshes)}
}

// start makes room for a flight of a session, or returns the one under way.
func (f *flights) start(id ID) (_ *flight, begun bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if running := f.running[id]; running != nil {
		return running, false
	}
	f.running[id] = &flight{done: make(chan struct{})}
	return f.running[id], true
}

// end lets those go on who wait for the session's flight.
func (f *flights) end(id ID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	close(f.running[id].done)
	delete(f.running, id)
}

// wait returns when no flight is under way, or with the context's error.
func (f *flights) wait(ctx context.Context) error {
	for {
		f.mu.Lock()
		var next *flight
		for _, next = range f.running {
			break
		}
		f.mu.Unlock()
		if next == nil {
			return nil
		}
		select {
		case <-next.done:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// join returns the session's refresh under way, and begins one if there is none. The refresh does
// not end with the request that began it: a browser that leaves must not lose a token that the
// provider has rotated.
func (k *Keeper) join(ctx context.Context, s *Session) *flight {
	f, begun := k.flights.start(s.ID)
	if begun {
		r := newRefresh(k, *s)
		go func() {
			defer k.flights.end(r.s.ID)
			f.tokens, f.err = r.runSafely(context.WithoutCancel(ctx))
		}()
	}
	return f
}

// runSafely makes an error of a panic, in a store or in a function of the application. In a handler
// a panic ends one request; here it would end the process.
func (r *refresh) runSafely(ctx context.Context) (t *Tokens, err error) {
	defer func() {
		if v := recover(); v != nil {
			r.k.logger.Error("oidcgate: a refresh panicked",
				"panic", v, "stack", string(debug.Stack()))
			t, err = nil, fmt.Errorf("%w: the refresh panicked", ErrProvider)
		}
	}()
	return r.run(ctx)
}
