package oidcgate

import (
	"context"
	"sync"
)

// flights are the refreshes under way in this process, by session.
type flights struct {
	mu      sync.Mutex
	running map[string]*flight
	asking  chan struct{} // holds those that ask the provider now; its room is the limit
}

// flight is one refresh. Its result may be read when done is closed.
type flight struct {
	done chan struct{}
	t    *tokens
	err  error
}

// start makes room for a flight of a session, or returns the one under way.
func (f *flights) start(session string) (_ *flight, begun bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if under := f.running[session]; under != nil {
		return under, false
	}
	if f.running == nil {
		f.running = map[string]*flight{}
		f.asking = make(chan struct{}, maxRefreshes)
	}
	f.running[session] = &flight{done: make(chan struct{})}
	return f.running[session], true
}

// end lets those go on who wait for the session's flight.
func (f *flights) end(session string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	close(f.running[session].done)
	delete(f.running, session)
}

// wait returns when no refresh is under way, or with the context's error.
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
