package redisstore_test

import (
	"bytes"
	"context"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/oidcgate/oidcgate/internal/redistest"
	"github.com/oidcgate/oidcgate/store/redisstore"
)

// BenchmarkGet compares Store.Get with a plain GET of go-redis. The record has the usual size and
// the context is like that of a request.
func BenchmarkGet(b *testing.B) {
	server := redistest.Start(b)
	heeding, ignoring := server.Client(heedContext), server.Client(nil)
	record := bytes.Repeat([]byte("r"), 530)
	if err := redisstore.New(heeding).Create(b.Context(), "k", record, time.Hour); err != nil {
		b.Fatal(err)
	}
	raw := func(rdb *redis.Client) func(context.Context) ([]byte, error) {
		return func(ctx context.Context) ([]byte, error) { return rdb.Get(ctx, "oidcgate:k").Bytes() }
	}
	through := func(rdb *redis.Client) func(context.Context) ([]byte, error) {
		s := newStore(rdb, redisstore.Config{})
		if err := s.Create(b.Context(), "k", record, time.Hour); err != nil {
			b.Fatal(err)
		}
		return func(ctx context.Context) ([]byte, error) { return s.Get(ctx, "k") }
	}
	withTimeout := func(ctx context.Context) ([]byte, error) {
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		return heeding.Get(ctx, "oidcgate:k").Bytes()
	}
	benchmarks := []struct {
		name string
		get  func(context.Context) ([]byte, error)
	}{
		{"go-redis", raw(heeding)},
		{"go-redis with context.WithTimeout", withTimeout},
		{"store on a client that heeds contexts", through(heeding)},
		{"store on a client that ignores contexts", through(ignoring)},
	}
	for _, bb := range benchmarks {
		b.Run(bb.name, func(b *testing.B) {
			ctx, cancel := context.WithCancel(b.Context())
			defer cancel()
			b.ReportAllocs()
			for b.Loop() {
				if got, err := bb.get(ctx); err != nil || len(got) != len(record) {
					b.Fatalf("got %d bytes, error %v", len(got), err)
				}
			}
		})
	}
}
