package values

import (
	"bytes"
	"context"
	"encoding/gob"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/oidcgate/oidcgate/internal/claims"
)

func TestValueOfAnUnknownType(t *testing.T) {
	t.Run("C107 it reads as missing, stays, and the log says so once", func(t *testing.T) {
		var lines []string
		c := Config{Log: func(_ context.Context, _ slog.Level, text string, attrs ...slog.Attr) {
			lines = append(lines, text+fmt.Sprint(attrs))
		}}
		codec := newCodec(c.logUnknown())
		gob.Register(time.Second)
		encoded, err := codec.Encode(time.Time{}, map[string]any{"ours": true, "theirs": time.Second})
		if err != nil {
			t.Fatal(err)
		}
		encoded = bytes.Replace(encoded, []byte("time.Duration"), []byte("them.Duration"), 1)
		for range 3 {
			_, values, err := codec.Decode(encoded)
			if err != nil || len(values) != 1 || values["ours"] != true {
				t.Errorf("%v, %v", values, err)
			}
		}
		if len(lines) != 1 || !strings.Contains(lines[0], "theirs") || !strings.Contains(lines[0], "gob.Register") {
			t.Errorf("the log: %q", lines)
		}
	})
}

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
				encoded, err := newCodec(nil).Encode(time.Time{}, before)
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
