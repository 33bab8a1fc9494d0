package apart_test

import (
	"context"
	"errors"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oidcgate/oidcgate/internal/apart"
)

func TestCall(t *testing.T) {
	wrong := errors.New("wrong")
	for name, tt := range map[string]struct {
		do    func(ctx context.Context) (int, error)
		value int
		text  string // of the error
		took  time.Duration
	}{
		"it returns a value":     {func(context.Context) (int, error) { time.Sleep(time.Second); return 1, nil }, 1, "", time.Second},
		"it returns an error":    {func(context.Context) (int, error) { return 0, wrong }, 0, "wrong", 0},
		"it heeds the context":   {func(ctx context.Context) (int, error) { <-ctx.Done(); return 0, wrong }, 0, "wrong", 2 * time.Second},
		"F34 it panics":          {func(context.Context) (int, error) { panic("a fault") }, 0, "it panicked: a fault", 0},
		"F34 it does not return": {func(context.Context) (int, error) { time.Sleep(time.Hour); return 1, nil }, 0, "it does not return: context deadline exceeded", 2100 * time.Millisecond},
		"F34 it ends its goroutine": {func(context.Context) (int, error) {
			runtime.Goexit()
			return 1, nil
		}, 0, "it ended its goroutine", 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
				defer cancel()
				begun := time.Now()
				value, err := apart.Call(ctx, func() (int, error) { return tt.do(ctx) })
				text := ""
				if err != nil {
					text = err.Error()
				}
				if took := time.Since(begun); value != tt.value || text != tt.text || took != tt.took {
					t.Errorf("%d and %q after %v, want %d and %q after %v", value, text, took, tt.value, tt.text, tt.took)
				}
				time.Sleep(2 * time.Hour)
			})
		})
	}
}
