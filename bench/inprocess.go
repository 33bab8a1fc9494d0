//go:build unix

package main

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/oidcgate/oidcgate/store"
	"github.com/oidcgate/oidcgate/store/redisstore"
)

// discard is a ResponseWriter that does almost nothing.
type discard struct{ header http.Header }

func (d discard) Header() http.Header         { return d.header }
func (d discard) Write(b []byte) (int, error) { return len(b), nil }
func (d discard) WriteHeader(int)             {}

func newRequest(ctx context.Context, cookie string) *http.Request {
	r := httptest.NewRequestWithContext(ctx, http.MethodGet, shopURL+"/me", nil)
	r.Header.Set("Cookie", cookie)
	return r
}

// benchmarkServe measures the handler alone, without a server.
func benchmarkServe(b *testing.B, s *site) {
	r := newRequest(b.Context(), s.cookie)
	rec := httptest.NewRecorder()
	if s.handler.ServeHTTP(rec, r); rec.Code != http.StatusOK {
		b.Fatalf("status %d: %s", rec.Code, rec.Body)
	}
	w := discard{make(http.Header)}
	b.ReportAllocs()
	for b.Loop() {
		clear(w.header)
		s.handler.ServeHTTP(w, r)
	}
}

// benchmarkLogin measures a login from the guarded page back to it. The browser and the provider,
// which signs the ID Token, run in the same process and are included.
func benchmarkLogin(b *testing.B, s store.Store) {
	shop, err := newShop(s)
	if err != nil {
		b.Fatal(err)
	}
	defer shop.provider.Close()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := shop.login(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

// A result is the result of a benchmark, with its name.
type result struct {
	name string
	testing.BenchmarkResult
}

func measureCosts(ctx context.Context, redisAddr string) ([]result, error) {
	rdb := newClient(redisAddr)
	defer func() { _ = rdb.Close() }()
	var results []result
	for _, s := range subjects {
		progress("one request at a time: %s", s.name)
		site, err := s.open(ctx, rdb)
		if err != nil {
			return nil, err
		}
		r, err := benchmark(s.name, func(b *testing.B) { benchmarkServe(b, site) })
		if err != nil {
			return nil, err
		}
		results = append(results, r)
	}
	return results, nil
}

func measureLogins(redisAddr string) ([]result, error) {
	rdb := newClient(redisAddr)
	defer func() { _ = rdb.Close() }()
	stores := []struct {
		name  string
		store store.Store
	}{
		{"memory store", &store.Memory{}},
		{"Redis store", redisstore.New(rdb)},
	}
	var results []result
	for _, s := range stores {
		progress("logins: %s", s.name)
		r, err := benchmark(s.name, func(b *testing.B) { benchmarkLogin(b, s.store) })
		if err != nil {
			return nil, err
		}
		results = append(results, r)
	}
	return results, nil
}

func benchmark(name string, f func(*testing.B)) (result, error) {
	r := result{name, testing.Benchmark(f)}
	if r.N == 0 { // the benchmark failed
		return r, errors.New(name + ": the benchmark failed")
	}
	return r, nil
}

// A size is the memory that one session takes in Redis.
type size struct {
	keys    int
	request int64 // the record that a request reads, in bytes
	total   int64 // all values, in bytes
}

// measureSize logs in on an empty Redis and adds up the sizes of all values, including the mark of
// the used login attempt.
func measureSize(ctx context.Context, redisAddr string) (size, error) {
	rdb := newClient(redisAddr)
	defer func() { _ = rdb.Close() }()
	if err := rdb.FlushDB(ctx).Err(); err != nil {
		return size{}, err
	}
	if _, err := openRedisGate(ctx, rdb); err != nil {
		return size{}, err
	}
	keys, err := rdb.Keys(ctx, "*").Result()
	if err != nil {
		return size{}, err
	}
	s := size{keys: len(keys)}
	for _, key := range keys {
		n, err := valueSize(ctx, rdb, key)
		if err != nil {
			return s, err
		}
		s.total += n
	}
	record, err := sessionRecord(ctx, rdb)
	if err != nil {
		return s, err
	}
	s.request, err = rdb.StrLen(ctx, record).Result()
	return s, err
}

// valueSize returns the length of a string, or the memory that Redis uses for a value of another
// type.
func valueSize(ctx context.Context, rdb *redis.Client, key string) (int64, error) {
	kind, err := rdb.Type(ctx, key).Result()
	if err != nil {
		return 0, err
	}
	if kind == "string" {
		return rdb.StrLen(ctx, key).Result()
	}
	return rdb.MemoryUsage(ctx, key).Result()
}
