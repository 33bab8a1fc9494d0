package store_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oidcgate/oidcgate/store"
	"github.com/oidcgate/oidcgate/store/storetest"
)

func TestMemory(t *testing.T) {
	storetest.Run(t, func(*testing.T) store.Store { return new(store.Memory) })
}

// TestDo runs the conformance test on a store that has only the methods of Store.
func TestDo(t *testing.T) {
	storetest.Run(t, func(*testing.T) store.Store {
		return struct{ store.Store }{new(store.Memory)}
	})
}

// panicking is a store that has a fault.
type panicking struct{ store.Store }

func (panicking) Get(context.Context, string) ([]byte, error) { panic("a fault of the store") }

// exiting is a store with another fault.
type exiting struct{ store.Store }

func (exiting) Delete(context.Context, string, []byte) error { runtime.Goexit(); return nil }

func TestDoPanicsInItsCaller(t *testing.T) {
	t.Run("F34 a panic of the store can be recovered", func(t *testing.T) {
		defer func() {
			if v := recover(); v != "a fault of the store" {
				t.Errorf("recovered %v", v)
			}
		}()
		get := store.Op{Action: store.OpGet, Key: "k"}
		store.Do(t.Context(), panicking{new(store.Memory)}, []store.Op{get, get, get})
	})
	t.Run("F34 an operation that ends its goroutine is not done", func(t *testing.T) {
		one := store.Op{Action: store.OpDelete, Key: "k"}
		for _, r := range store.Do(t.Context(), exiting{new(store.Memory)}, []store.Op{one, one}) {
			if r.Err == nil {
				t.Error("it counts as done")
			}
		}
	})
}

func TestMemoryExpiresOnTheInstant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := new(store.Memory)
		wantErr(t, m.Create(t.Context(), "k", []byte("a"), time.Hour), nil)
		time.Sleep(time.Hour - 1)
		_, err := m.Get(t.Context(), "k")
		wantErr(t, err, nil)
		time.Sleep(1 * time.Nanosecond)
		_, err = m.Get(t.Context(), "k")
		wantErr(t, err, store.ErrNotFound)
	})
}

func TestMemoryAtItsBound(t *testing.T) {
	tests := []struct {
		name string
		op   func(m *store.Memory, t *testing.T) error
		want error
	}{
		{"a create is refused", func(m *store.Memory, t *testing.T) error {
			return m.Create(t.Context(), "new", []byte("a"), time.Hour)
		}, store.ErrFull},
		{"an add is refused", func(m *store.Memory, t *testing.T) error {
			return m.Add(t.Context(), "set", "new", time.Hour)
		}, store.ErrFull},
		{"a create sent twice succeeds", func(m *store.Memory, t *testing.T) error {
			return m.Create(t.Context(), "k", []byte("a"), time.Hour)
		}, nil},
		{"a create over another value is refused as such", func(m *store.Memory, t *testing.T) error {
			return m.Create(t.Context(), "k", []byte("b"), time.Hour)
		}, store.ErrExists},
		{"an add sent twice succeeds", func(m *store.Memory, t *testing.T) error {
			return m.Add(t.Context(), "set", "m", time.Hour)
		}, nil},
		{"a swap goes on", func(m *store.Memory, t *testing.T) error {
			return m.Swap(t.Context(), "k", []byte("a"), []byte("b"), time.Hour)
		}, nil},
		{"a delete makes room", func(m *store.Memory, t *testing.T) error {
			wantErr(t, m.Delete(t.Context(), "k", nil), nil)
			return m.Create(t.Context(), "new", []byte("a"), time.Hour)
		}, nil},
		{"a removal makes room", func(m *store.Memory, t *testing.T) error {
			wantErr(t, m.Remove(t.Context(), "set", "m"), nil)
			return m.Add(t.Context(), "set", "new", time.Hour)
		}, nil},
		{"the expired make room", func(m *store.Memory, t *testing.T) error {
			time.Sleep(time.Minute)
			return m.Create(t.Context(), "new", []byte("a"), time.Hour)
		}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := &store.Memory{MaxEntries: 2}
				wantErr(t, m.Create(t.Context(), "k", []byte("a"), time.Minute), nil)
				wantErr(t, m.Add(t.Context(), "set", "m", time.Hour), nil)
				wantErr(t, tt.op(m, t), tt.want)
			})
		})
	}
}

func TestMemoryNeverEvictsTheLiving(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := new(store.Memory)
		const bound = 100_000
		for i := range bound {
			wantErr(t, m.Create(t.Context(), fmt.Sprint("k", i), []byte("a"), time.Duration(i+1)*time.Second), nil)
		}
		wantErr(t, m.Create(t.Context(), "new", []byte("a"), time.Hour), store.ErrFull)
		time.Sleep(1000 * time.Second)
		for i := range 1000 {
			wantErr(t, m.Create(t.Context(), fmt.Sprint("new", i), []byte("a"), 48*time.Hour), nil)
		}
		wantErr(t, m.Create(t.Context(), "one more", []byte("a"), time.Hour), store.ErrFull)
		for i := range bound {
			_, err := m.Get(t.Context(), fmt.Sprint("k", i))
			if living := i >= 1000; living != (err == nil) {
				t.Fatalf("Get(k%d) after 1000 s of its %d s: error %v", i, i+1, err)
			}
		}
	})
}

// Writes drop expired entries long before the store is full, so a store that once held many entries
// does not keep their memory forever.
func TestMemoryWritesSweep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := new(store.Memory)
		const many = 1000
		for i := range many {
			wantErr(t, m.Create(t.Context(), fmt.Sprint("k", i), []byte("a"), time.Second), nil)
			wantErr(t, m.Add(t.Context(), fmt.Sprint("set", i), "m", time.Second), nil)
		}
		time.Sleep(time.Second)
		for range many {
			wantErr(t, m.Delete(t.Context(), "absent", nil), nil)
		}
		if got := m.Len(); got != 0 {
			t.Errorf("entries kept after %d expired and %d writes: got %d, want 0", 2*many, many, got)
		}
	})
}

func TestRoundTTL(t *testing.T) {
	tests := []struct{ ttl, want time.Duration }{
		{1, time.Millisecond},
		{time.Millisecond, time.Millisecond},
		{time.Millisecond + 1, 2 * time.Millisecond},
		{time.Hour, time.Hour},
	}
	for _, tt := range tests {
		if got, err := store.RoundTTL(tt.ttl); got != tt.want || err != nil {
			t.Errorf("RoundTTL(%d): got %v, error %v; want %v", tt.ttl, got, err, tt.want)
		}
	}
	if got, err := store.RoundTTL(math.MaxInt64); err != nil || got <= 100*365*24*time.Hour {
		t.Errorf("RoundTTL of the longest duration: got %v, error %v; want more than a hundred years", got, err)
	}
	for _, ttl := range []time.Duration{0, -1, math.MinInt64} {
		if got, err := store.RoundTTL(ttl); got != 0 || !errors.Is(err, store.ErrTTL) {
			t.Errorf("RoundTTL(%d): got %v, error %v; want 0, ErrTTL", ttl, got, err)
		}
	}
}

func wantErr(t *testing.T, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Fatalf("got error %v, want %v", got, want)
	}
}
