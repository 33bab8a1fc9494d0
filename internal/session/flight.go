package session

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/oidcgate/oidcgate/internal/event"
)

// flights are the refreshes under way in this process, by session.
type flights struct {
	mu      sync.Mutex
	running map[ID]*flight
	left    map[ID]leftover // by the last flights
	paused  map[ID]time.Time
	matters atomic.Bool // false: nothing that matters is unsaved; it may be read without mu
}

// flight is one refresh. Its result may be read when done is closed, and fresh when saved is.
type flight struct {
	begun   time.Time
	waiting int  // how many requests wait for it; guarded by flights.mu
	atOnce  bool // it refreshes and reads again what is not due yet
	again   bool // it repeats what the store refused

	unsaved unsaved // guarded by flights.mu

	saved chan struct{}
	fresh *Tokens // the first that it saved; it may go on and read claims

	done chan struct{}
	landing
}

// landing is the result of a flight.
type landing struct {
	tokens *Tokens
	err    error // why there are no tokens
	cause  error // why something could not be done, even if the tokens still serve
}

func newFlights() flights {
	return flights{running: map[ID]*flight{}, left: map[ID]leftover{}, paused: map[ID]time.Time{}}
}

// start makes room for a flight of a session, or returns the one under way. The caller waits for it
// until it calls leave. Where one has only just repeated in vain what the store refuses, it returns
// that, unless atOnce is true.
func (f *flights) start(id ID, atOnce bool) (_ *flight, begun bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	running, last := f.running[id], f.left[id]
	if running == nil && !atOnce {
		running = last.flight
	}
	if running == nil {
		running = &flight{
			begun: time.Now(), atOnce: atOnce, unsaved: last.unsaved,
			saved: make(chan struct{}), done: make(chan struct{}),
		}
		running.again = running.unsaved.matters()
		f.running[id], begun = running, true
	}
	running.waiting++
	return running, begun
}

// hasSaved tells those who wait that there are new tokens. Only the refresh calls it.
func (one *flight) hasSaved(t *Tokens) {
	if one.fresh == nil {
		one.fresh = t
		close(one.saved)
	}
}

// leave is called by a request that waits no longer.
func (f *flights) leave(one *flight) {
	f.mu.Lock()
	defer f.mu.Unlock()
	one.waiting--
}

// abandoned reports whether nobody waits for a flight. Then nobody joins it any more either.
func (f *flights) abandoned(id ID, one *flight) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if one.waiting > 0 {
		return false
	}
	f.forget(id, one)
	return true
}

// forget keeps requests from joining a flight. f.mu is locked.
func (f *flights) forget(id ID, one *flight) {
	if f.running[id] == one {
		delete(f.running, id)
	}
}

// end lets those go on who wait for the session's flight. A flight ends once: it returns false for
// one that has ended.
func (f *flights) end(id ID, one *flight, l landing) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	select {
	case <-one.done:
		return false
	default:
	}
	one.landing = l
	f.forget(id, one)
	f.leaveUnsaved(id, one)
	close(one.done)
	return true
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

// join returns the session's refresh under way, and begins one if there is none. The caller calls
// flights.leave when it waits no longer. A refresh that has the lock does not end with the requests
// that wait for it: a browser that leaves must not lose a token that the provider has rotated.
//
// A refresh ends when its time is over, also while a function of the application, a store or a
// transport does not return. Otherwise one call that hangs would keep the session's claims as they
// are for as long as it hangs: no later request could begin another refresh.
func (k *Keeper) join(ctx context.Context, s *Session) *flight { return k.fly(ctx, s, false) }

// fly is join. A flight that it begins does at once what is not due yet, if atOnce is true.
func (k *Keeper) fly(ctx context.Context, s *Session, atOnce bool) *flight {
	f, begun := k.flights.start(s.ID, atOnce)
	if begun {
		r := newRefresh(k, *s)
		r.flight = f
		ctx := context.WithoutCancel(ctx)
		hung := time.AfterFunc(2*(r.timeout()+saveTimeout), func() { r.hung(ctx) })
		go func() {
			defer hung.Stop()
			l := landing{err: errPanicked, cause: errPanicked} // if the goroutine ends in between
			defer func() { k.flights.end(r.s.ID, f, l) }()
			l.cause = r.runSafely(ctx)
			l.tokens, l.err = r.fallBack(l.cause)
		}()
	}
	return f
}

// hung ends a flight whose time is over.
func (r *refresh) hung(ctx context.Context) {
	if r.k.flights.end(r.s.ID, r.flight, landing{err: errHung, cause: errHung}) {
		r.tell(ctx, Event{Type: event.RefreshFailed, Reason: event.ReasonInternal, Err: errHung})
		r.noteHung(ctx)
	}
}

// runSafely makes an error of a panic, in a store or in a function of the application. In a handler
// a panic ends one request; here it would end the process.
func (r *refresh) runSafely(ctx context.Context) (err error) {
	defer r.k.recovered(ctx, "a refresh", func() { err = errPanicked })
	return r.run(ctx)
}

// The errors of refreshes that came to no end.
var (
	errPanicked = fmt.Errorf("%w: the refresh panicked", ErrProvider)
	errHung     = fmt.Errorf("%w: the refresh did not end: OnLogin, a function of the "+
		"configuration, the store or the transport does not return", ErrProvider)

	// errUnsaved says that the old claims do not count.
	errUnsaved = fmt.Errorf("%w: what a refresh brings cannot be saved", ErrStore)

	// errLockLost says that the claims of this replica may not be the latest.
	errLockLost = fmt.Errorf("%w: the lock of a refresh was lost", ErrStore)

	// errNotEnded says that nobody may have anything of the session any more.
	errNotEnded = fmt.Errorf("%w: it cannot end a session that has to end", ErrStore)

	// errNotWaited says nothing about the provider, the claims or the store.
	errNotWaited = fmt.Errorf("%w: the end of another replica's refresh was not waited for",
		ErrProvider)
)

// recovered is deferred where a panic would end the process. It tells of the panic and calls then.
func (k *Keeper) recovered(ctx context.Context, what string, then func()) {
	if v := recover(); v != nil {
		k.panicked(ctx, what, v)
		then()
	}
}
