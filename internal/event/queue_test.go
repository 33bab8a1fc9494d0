package event_test

import (
	"context"
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
