package interleave

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oidcgate/oidcgate/store"
	"github.com/oidcgate/oidcgate/store/storetest"
)

func TestStore(t *testing.T) {
	storetest.Run(t, func(*testing.T) store.Store { return newRun(nil).Store("anybody") })
}

// counters is a scenario of actors who each add one to a counter, with or without a look whether
// another came in between, and then to a counter of their own.
func counters(names []string, careful bool, faults ...Fault) Scenario {
	return Scenario{Faults: faults, Begin: func(t *testing.T, r *Run) World {
		setup := r.Store("setup")
		if err := setup.Create(t.Context(), "n:all", []byte("0"), time.Hour); err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			s := r.Store(name)
			r.Go(name, func() string {
				got := increment(t, s, name, "n:all", careful)
				return got + increment(t, s, name, "n:"+name, careful)
			})
		}
		return World{Check: func() error {
			got, err := setup.Get(t.Context(), "n:all")
			want := fmt.Sprint(len(names))
			if err != nil || strings.HasPrefix(string(got), want) ||
				r.Happened(Crash, Refused, LostReply, Resend, Failover) {
				return err
			}
			return fmt.Errorf("the counter is %s, want %s", got, want)
		}}
	}}
}

// increment writes its name beside the number: no two values of a key may be equal unless they mean
// the same.
func increment(t *testing.T, s store.Store, name, key string, careful bool) string {
	for {
		old, err := s.Get(t.Context(), key)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return "ill"
		}
		var n int
		_, _ = fmt.Sscan(string(old), &n)
		next := []byte(fmt.Sprint(n+1, " by ", name))
		switch {
		case old == nil:
			err = s.Create(t.Context(), key, next, time.Hour)
		case careful:
			err = s.Swap(t.Context(), key, old, next, time.Hour)
		default:
			_ = s.Delete(t.Context(), key, nil)
			err = s.Create(t.Context(), key, next, time.Hour)
		}
		if err == nil {
			return string(next)
		}
		if errors.Is(err, errNoAnswer) {
			return "ill"
		}
	}
}

func TestExplore(t *testing.T) {
	names := []string{"A", "B", "C"}
	t.Run("a lost update is found, with the steps that lead there", func(t *testing.T) {
		_, violation := Explore(t, counters(names, false))
		if violation == nil || !strings.Contains(violation.Error(), "delete n:all") {
			t.Errorf("violation %v", violation)
		}
	})
	t.Run("a careful update is not lost", func(t *testing.T) {
		if _, violation := Explore(t, counters(names, true)); violation != nil {
			t.Error(violation)
		}
	})
	t.Run("who waits for ever is found", func(t *testing.T) {
		_, violation := Explore(t, Scenario{Begin: func(t *testing.T, r *Run) World {
			r.Go("A", func() string { time.Sleep(24 * time.Hour); return "" })
			return World{Check: func() error { return nil }}
		}})
		if violation == nil {
			t.Error("no violation")
		}
	})
}

// atTheSameTime is a scenario of actors who each make two steps at the same time, and then a third.
func atTheSameTime(faults ...Fault) Scenario {
	return Scenario{Faults: faults, Begin: func(t *testing.T, r *Run) World {
		for _, name := range []string{"A", "B"} {
			s := r.Store(name)
			create := func(key string) error {
				return s.Create(t.Context(), key, []byte(name), time.Hour)
			}
			r.Go(name, func() string {
				var all sync.WaitGroup
				var one, two error
				all.Go(func() { one = create("n:one") })
				all.Go(func() { two = create("n:two") })
				all.Wait()
				return fmt.Sprint(one, two, create("n:three"))
			})
		}
		return World{Check: func() error { return nil }}
	}}
}

// TestReduction shows that the orders which are left out lead nowhere else.
func TestReduction(t *testing.T) {
	tests := []struct {
		faults []Fault
		max    int
	}{
		{nil, 0}, {[]Fault{Crash}, 1}, {[]Fault{Resend}, 1}, {[]Fault{LostReply}, 1},
		{[]Fault{Refused}, 1}, {[]Fault{Stall}, 1}, {[]Fault{Failover}, 1},
		{[]Fault{Crash, Refused}, 2},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprintf("%d faults of %v", tt.max, tt.faults), func(t *testing.T) {
			for _, s := range []Scenario{
				counters([]string{"A", "B"}, true, tt.faults...), atTheSameTime(tt.faults...),
			} {
				s.MaxFaults = tt.max
				reduced, violation := Explore(t, s)
				s.Full = true
				full, fullViolation := Explore(t, s)
				if violation != nil || fullViolation != nil {
					t.Fatalf("violation %v, and in all orders %v", violation, fullViolation)
				}
				got := slices.Sorted(maps.Keys(reduced.Ends))
				want := slices.Sorted(maps.Keys(full.Ends))
				if !slices.Equal(got, want) {
					t.Errorf("ends %q, and in all orders %q", got, want)
				}
				if reduced.Executions >= full.Executions {
					t.Errorf("%d executions, and %d in all orders", reduced.Executions, full.Executions)
				}
			}
		})
	}
}
