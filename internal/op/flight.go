package op

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// flight runs one function at a time. Callers who ask while it runs wait for that run. The run goes
// on when the caller who started it gives up, so that a browser that leaves does not fail the
// others. The zero value is ready.
type flight struct {
	mu  sync.Mutex
	now *run
}

type run struct {
	done chan struct{}
	err  error // set before done is closed
}

// start begins a run of fn, or returns the one under way. fn gets ctx's values and a deadline of
// its own.
func (f *flight) start(
	ctx context.Context, timeout time.Duration, fn func(context.Context) error,
) *run {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.now != nil {
		return f.now
	}
	r := &run{done: make(chan struct{})}
	f.now = r
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
	go func() {
		defer cancel()
		defer f.land(r) // also when fn ends its goroutine
		r.err = refused("a function of the application ended its goroutine")
		r.err = call(ctx, fn)
	}()
	return r
}

func (f *flight) land(r *run) {
	f.mu.Lock()
	f.now = nil
	f.mu.Unlock()
	close(r.done)
}

// underWay returns the run under way, or nil.
func (f *flight) underWay() *run {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.now
}

// wait returns the result of the run, or fails when ctx ends first.
func (r *run) wait(ctx context.Context) error {
	select {
	case <-r.done:
		return r.err
	case <-ctx.Done():
		return networkFault(ctx.Err())
	}
}

func call(ctx context.Context, fn func(context.Context) error) (err error) {
	defer Recovered(&err)
	return fn(ctx)
}

// Recovered is deferred, and makes an error of a panic. A panic in a handler ends one request, but
// in a goroutine of ours it would end the process, and we parse what strangers send. The panic's
// value may quote that, so only its type is told.
func Recovered(err *error) {
	if v := recover(); v != nil {
		*err = refused(fmt.Sprintf("panic of type %T", v))
	}
}
