// Package apart calls what may call functions of the application.
package apart

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// grace is how long after the end of ctx do may take to see it.
const grace = 100 * time.Millisecond

// Run runs do in a goroutine of its own, and returns when it has ended, or soon after ctx ends. A
// function of the configuration that do calls may panic, or never return: the error says so. Run
// returns nil when do has returned.
func Run(ctx context.Context, do func()) error {
	done := make(chan error, 1)
	go func() {
		err := errors.New("a function of the configuration, or a transport, ended its goroutine")
		defer func() {
			if v := recover(); v != nil {
				err = fmt.Errorf("a function of the configuration, or a transport, panicked: %v", v)
			}
			done <- err
		}()
		do()
		err = nil
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	select {
	case err := <-done:
		return err
	case <-time.After(grace):
		return fmt.Errorf("a function of the configuration, or a transport, does not return: %w",
			ctx.Err())
	}
}
