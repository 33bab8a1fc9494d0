package apart_test

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oidcgate/oidcgate/internal/apart"
)

func TestRun(t *testing.T) {
	for name, tt := range map[string]struct {
		do   func(ctx context.Context)
		want string // the end of the error's text; "" for none
		took time.Duration
	}{
		"it returns":                {func(context.Context) { time.Sleep(time.Second) }, "", time.Second},
		"it heeds the context":      {func(ctx context.Context) { <-ctx.Done() }, "", 2 * time.Second},
		"F34 it panics":             {func(context.Context) { panic("a fault") }, "panicked: a fault", 0},
		"F34 it ends its goroutine": {func(context.Context) { runtime.Goexit() }, "ended its goroutine", 0},
		"F34 it does not return": {
			func(context.Context) { time.Sleep(time.Hour) }, "does not return: context deadline exceeded", 2100 * time.Millisecond,
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
				defer cancel()
				begun := time.Now()
				err := apart.Run(ctx, func() { tt.do(ctx) })
				if took := time.Since(begun); took != tt.took {
					t.Errorf("it took %v, want %v", took, tt.took)
				}
				if text := fmt.Sprint(err); (err == nil) != (tt.want == "") || !strings.HasSuffix(text, tt.want) && err != nil {
					t.Errorf("error %v, want %q", err, tt.want)
				}
				time.Sleep(2 * time.Hour)
			})
		})
	}
}
