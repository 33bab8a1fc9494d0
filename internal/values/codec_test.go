package values

import (
	"fmt"
	"testing"
	"time"

	"github.com/oidcgate/oidcgate/internal/claims"
)

// What is copied for each of many small values must not be all of them.
func TestWorkForManyValues(t *testing.T) {
	copied := func(n int) int64 {
		before := map[string]any{}
		for i := range n {
			before[fmt.Sprint("value ", i)] = true
		}
		return testing.Benchmark(func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				encoded, err := newCodec().Encode(time.Time{}, before)
				if err != nil {
					b.Fatal(err)
				}
				stored := claims.Object(encoded)
				changed := stored.With("value 0", claims.Text("another"))
				if got := merge(known(stored), changed, stored); got != changed {
					b.Fatal("the change is lost")
				}
			}
		}).AllocedBytesPerOp()
	}
	t.Run("F38 grows with their number, and not with its square", func(t *testing.T) {
		few, many := copied(100), copied(800)
		if many > 16*few {
			t.Errorf("for 100 values %d bytes are allocated, and for 800 of them %d", few, many)
		}
	})
}
