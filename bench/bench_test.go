//go:build unix

package main

import (
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/oidcgate/oidcgate/internal/redistest"
	"github.com/oidcgate/oidcgate/store"
	"github.com/oidcgate/oidcgate/store/redisstore"
)

func BenchmarkServe(b *testing.B) {
	rdb := newClient(redistest.Start(b).Addr)
	b.Cleanup(func() { _ = rdb.Close() })
	for _, s := range subjects {
		site, err := s.open(b.Context(), rdb)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(s.name, func(b *testing.B) { benchmarkServe(b, site) })
	}
}

func BenchmarkLogin(b *testing.B) {
	rdb := newClient(redistest.Start(b).Addr)
	b.Cleanup(func() { _ = rdb.Close() })
	b.Run("memory store", func(b *testing.B) { benchmarkLogin(b, &store.Memory{}) })
	b.Run("Redis store", func(b *testing.B) { benchmarkLogin(b, redisstore.New(rdb)) })
}

func TestEverySubjectAnswersAlike(t *testing.T) {
	rdb := newClient(redistest.Start(t).Addr)
	t.Cleanup(func() { _ = rdb.Close() })
	const want = `{"sub":"248289761001","email":"jane.doe@shop.example","group":"staff"}`
	for _, s := range subjects {
		t.Run(s.name, func(t *testing.T) {
			site, err := s.open(t.Context(), rdb)
			if err != nil {
				t.Fatal(err)
			}
			rec := httptest.NewRecorder()
			site.handler.ServeHTTP(rec, newRequest(t.Context(), site.cookie))
			if rec.Code != http.StatusOK || rec.Body.String() != want {
				t.Errorf("got %d %s, want %s", rec.Code, rec.Body, want)
			}
		})
	}
}

func TestASessionIsSmall(t *testing.T) {
	size, err := measureSize(t.Context(), redistest.Start(t).Addr)
	if err != nil {
		t.Fatal(err)
	}
	const tokens = idTokenSize + 1100 + 700
	if size.total < tokens || size.total > 6000 {
		t.Errorf("in Redis: got %d bytes, want at least the tokens' %d and at most 6000", size.total, tokens)
	}
	if size.request > 1000 {
		t.Errorf("a request reads %d bytes, want at most 1000", size.request)
	}
}

// TestARequestAllocatesLittle counts what the gate adds to a handler with one Redis GET.
func TestARequestAllocatesLittle(t *testing.T) {
	rdb := newClient(redistest.Start(t).Addr)
	t.Cleanup(func() { _ = rdb.Close() })
	allocations := func(open func() (*site, error)) float64 {
		s, err := open()
		if err != nil {
			t.Fatal(err)
		}
		w, r := discard{make(http.Header)}, newRequest(t.Context(), s.cookie)
		return testing.AllocsPerRun(500, func() {
			clear(w.header)
			s.handler.ServeHTTP(w, r)
		})
	}
	gate := allocations(func() (*site, error) { return openRedisGate(t.Context(), rdb) })
	floor := allocations(func() (*site, error) { return openFloor(t.Context(), rdb) })
	if own := gate - floor; own < 1 || own > 30 {
		t.Errorf("the gate allocates %v times, one GET %v times, want at most 30 more", gate, floor)
	}
}

func TestMedian(t *testing.T) {
	values := []float64{1, 2, 3, 4, 100}
	rand.Shuffle(len(values), func(i, j int) { values[i], values[j] = values[j], values[i] })
	if got := median(values, func(v float64) float64 { return v }); got != 3 {
		t.Errorf("median of %v: got %v, want 3", values, got)
	}
}
