// Package apart calls functions of the application.
package apart

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// grace is how long after the end of ctx a function may take to see it.
const grace = 100 * time.Millisecond

// Panic is the error of a function that panicked.
type Panic struct{ Value any }

func (p *Panic) Error() string { return fmt.Sprintf("it panicked: %v", p.Value) }

// Call returns what do returns, which runs in a goroutine of its own. Functions of the application
// may panic, or never return: then the error says so, soon after ctx has ended.
func Call[T any](ctx context.Context, do func() (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	go func() {
		r := result{err: errors.New("it ended its goroutine")}
		defer func() {
			if v := recover(); v != nil {
				r.err = &Panic{v}
			}
			done <- r
		}()
		r.value, r.err = do()
	}()
	select {
	case r := <-done:
		return r.value, r.err
	case <-ctx.Done():
	}
	select {
	case r := <-done:
		return r.value, r.err
	case <-time.After(grace):
		var none T
		return none, fmt.Errorf("it does not return: %w", ctx.Err())
	}
}
