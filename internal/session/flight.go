package session

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/oidcgate/oidcgate/internal/event"
)

// flights are the refreshes under way in this process, by session.
type flights struct {
	mu      sync.Mutex
	running map[ID]*flight

	// refused are sessions of which the store refused something in the last refresh. Where a provider
	// is slow, requests do not wait for the end of the next one, and must not go on with old claims.
	refused map[ID]refusal

	trouble atomic.Bool // false: the store refuses nothing; it may be read without mu
}

// refusal is what a refresh found out about the user and the store refused.
type refusal struct {
	claims bool       // they could not be saved, or what the provider said could not be looked into
	end    *time.Time // since when the session has to end, and could not be ended; nil: it has not
}

// counts reports whether the session must not go on as it is. While the store only refuses tokens,
// or the lock, it does.
func (r refusal) counts() bool { return r.claims || r.end != nil }

// maxRefused is how many sessions are remembered that the store refused.
const maxRefused = 4096

// flight is one refresh. Its result may be read when done is closed.
type flight struct {
	begun   time.Time
	waiting int  // how many requests wait for it; guarded by flights.mu
	atOnce  bool // it refreshes and reads again what is not due yet
	again   bool // it repeats what the store refused

	done chan struct{}
	landing

	// storeRefuses is true when tokens could not be saved yet, or when the store refused the last
	// refresh. It may be read at any time.
	storeRefuses atomic.Bool

	unsaved atomic.Bool               // see refusal; it may be read at any time, too
	mustEnd atomic.Pointer[time.Time] // so may this
}

func (f *flight) refusal() refusal { return refusal{f.unsaved.Load(), f.mustEnd.Load()} }

// landing is the result of a flight.
type landing struct {
	tokens *Tokens
	err    error // why there are no tokens
	cause  error // why something could not be done, even if the tokens still serve
}

func newFlights() flights {
	return flights{running: map[ID]*flight{}, refused: map[ID]refusal{}}
}

// start makes room for a flight of a session, or returns the one under way. The caller waits for it
// until it calls leave.
func (f *flights) start(id ID, atOnce bool) (_ *flight, begun bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	running := f.running[id]
	if running == nil {
		running = &flight{begun: time.Now(), atOnce: atOnce, done: make(chan struct{})}
		last, refused := f.refused[id]
		running.again = last.counts()
		running.storeRefuses.Store(refused)
		running.unsaved.Store(last.claims)
		running.mustEnd.Store(last.end)
		f.running[id], begun = running, true
	}
	running.waiting++
	return running, begun
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

// end lets those go on who wait for the session's flight, and remembers whether the store refused
// what came of it. A flight ends once: it returns false for one that has ended.
func (f *flights) end(id ID, one *flight, l landing) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	select {
	case <-one.done:
		return false
	default:
	}
	one.landing = l
	f.forget(id, one) // so that remember counts only those that are still under way
	f.remember(id, one)
	close(one.done)
	return true
}

// remember notes whether the store refused what came of a flight. f.mu is locked.
func (f *flights) remember(id ID, one *flight) {
	settled := errors.Is(one.cause, ErrGone)
	switch {
	case one.cause == errNotWaited:
	case !settled && one.refusal().counts(), errors.Is(one.cause, ErrStore):
		f.makeRoom(one.refusal().counts())
		if len(f.refused) < maxRefused {
			f.refused[id] = one.refusal()
		}
	default:
		delete(f.refused, id)
	}
	if f.trouble.Load() || len(f.refused) > 0 {
		f.trouble.Store(len(f.refused) > 0 || f.someRefuse())
	}
}

// makeRoom forgets a session if too many are remembered: one that does not count, if there is one,
// or else any, if the new one counts. f.mu is locked.
func (f *flights) makeRoom(counts bool) {
	if len(f.refused) < maxRefused {
		return
	}
	var last ID
	for id, r := range f.refused {
		if last = id; !r.counts() {
			delete(f.refused, id)
			return
		}
	}
	if counts {
		delete(f.refused, last)
	}
}

// someRefuse reports whether the store refuses what a flight under way found out. f.mu is locked.
func (f *flights) someRefuse() bool {
	for _, one := range f.running {
		if one.refusal().counts() {
			return true
		}
	}
	return false
}

// refuses reports whether the store refuses what the session's refresh under way found out about
// the user, or what the last one did.
func (f *flights) refuses(id ID) bool {
	if !f.trouble.Load() {
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	one := f.running[id]
	return f.refused[id].counts() || one != nil && one.refusal().counts()
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
		hung := time.AfterFunc(2*(r.timeout()+saveTimeout), r.hung)
		go func() {
			defer hung.Stop()
			l := landing{err: errPanicked, cause: errPanicked} // if the goroutine ends in between
			defer func() { k.flights.end(r.s.ID, f, l) }()
			l.cause = r.runSafely(context.WithoutCancel(ctx))
			l.tokens, l.err = r.fallBack(l.cause)
		}()
	}
	return f
}

// hung ends a flight whose time is over.
func (r *refresh) hung() {
	if r.k.flights.end(r.s.ID, r.flight, landing{err: errHung, cause: errHung}) {
		r.tell(Event{Type: event.RefreshFailed, Reason: event.ReasonInternal, Err: errHung})
	}
}

// runSafely makes an error of a panic, in a store or in a function of the application. In a handler
// a panic ends one request; here it would end the process.
func (r *refresh) runSafely(ctx context.Context) (err error) {
	defer r.k.recovered("a refresh", func() { err = errPanicked })
	return r.run(ctx)
}

// The errors of refreshes that came to no end.
var (
	errPanicked = fmt.Errorf("%w: the refresh panicked", ErrProvider)
	errHung     = fmt.Errorf("%w: the refresh did not end: OnLogin, a function of the "+
		"configuration, the store or the transport does not return", ErrProvider)

	// errNotEnded says that nobody may have anything of the session any more.
	errNotEnded = fmt.Errorf("%w: it cannot end a session that has to end", ErrStore)

	// errNotWaited says nothing about the provider, the claims or the store.
	errNotWaited = fmt.Errorf("%w: the end of another replica's refresh was not waited for",
		ErrProvider)
)

// noEnd reports whether a refresh came to no end, so that nothing is known of the claims.
func noEnd(err error) bool { return err == errPanicked || err == errHung }

// recovered is deferred where a panic would end the process. It logs the panic and calls then.
func (k *Keeper) recovered(what string, then func()) {
	if v := recover(); v != nil {
		k.logger.Error("oidcgate: "+what+" panicked", "panic", v, "stack", string(debug.Stack()))
		then()
	}
}
