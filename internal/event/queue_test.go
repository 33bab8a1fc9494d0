package event_test

import (
	"context"
	"runtime"
	"testing"

	"github.com/oidcgate/oidcgate/internal/event"
)

func TestQueueHasASharePerType(t *testing.T) {
	t.Run("F45 events of one type displace none of another", func(t *testing.T) {
		begun, release := make(chan struct{}, 1), make(chan struct{})
		got := map[event.Type]int{}
		var dropped uint64
		q := event.NewQueue(func(e event.Type) event.Type { return e }, func(e event.Type, lost uint64) {
			select {
			case begun <- struct{}{}:
			default:
			}
			<-release
			got[e]++
			dropped += lost
		})
		q.Put(event.CookieMalformed)
		<-begun // it is with the receiver, and waits no more
		for range 5000 {
			q.Put(event.CookieMalformed)
		}
		q.Put(event.LoginSucceeded)
		close(release)
		if err := q.Wait(context.Background()); err != nil {
			t.Fatal(err)
		}
		if got[event.LoginSucceeded] != 1 || got[event.CookieMalformed] != 257 || dropped != 5000-256 {
			t.Errorf("received %v, dropped %d", got, dropped)
		}
		q.Put(event.CookieMalformed)
		if err := q.Wait(context.Background()); err != nil {
			t.Fatal(err)
		}
		if got[event.CookieMalformed] != 258 {
			t.Errorf("received %v after the flood", got)
		}
	})
}

func TestReceiverThatEndsItsGoroutine(t *testing.T) {
	t.Run("F40 the events after it are received all the same", func(t *testing.T) {
		var got []event.Type
		q := event.NewQueue(func(e event.Type) event.Type { return e }, func(e event.Type, _ uint64) {
			got = append(got, e)
			runtime.Goexit()
		})
		for _, e := range []event.Type{"a", "b", "c"} {
			q.Put(e)
		}
		if err := q.Wait(t.Context()); err != nil || len(got) != 3 {
			t.Errorf("%v, %v", got, err)
		}
		q.Put("d")
		if err := q.Wait(t.Context()); err != nil || len(got) != 4 {
			t.Errorf("%v, %v", got, err)
		}
	})
}

func TestManyEndsOfSessions(t *testing.T) {
	t.Run("F40 the ends of thousands of sessions, in one call, are all told", func(t *testing.T) {
		hold, n := make(chan struct{}), 0
		q := event.NewQueue(func(e event.Type) event.Type { return e }, func(e event.Type, lost uint64) {
			<-hold
			if n++; lost != 0 {
				t.Errorf("%d lost", lost)
			}
		})
		for range 5000 {
			q.Put(event.SessionRevoked)
		}
		close(hold)
		if err := q.Wait(t.Context()); err != nil || n != 5000 {
			t.Errorf("%d told, %v", n, err)
		}
	})
}
