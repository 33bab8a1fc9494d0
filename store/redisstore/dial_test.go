package redisstore_test

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/oidcgate/oidcgate/internal/redistest"
	"github.com/oidcgate/oidcgate/store/redisstore"
)

// go-redis connects again and again until the time of a call is over. The error must still say that
// the connection is refused, or an operator looks for a slow network.
func TestErrorsSayThatTheConnectionIsRefused(t *testing.T) {
	for name, heeds := range map[string]bool{"a client that heeds deadlines": true, "a client that ignores them": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := redistest.Start(t)
			s := redisstore.NewWith(server.Client(func(o *redis.Options) {
				o.ContextTimeoutEnabled = heeds
				o.DialerRetryTimeout = time.Hour // it waits for the second connection until the time is over
			}), redisstore.Config{Timeout: time.Second})
			fill(t, s)
			server.Stop()
			for _, o := range []operation{reads[0], reads[2], writes[0]} {
				t.Run(o.name, func(t *testing.T) {
					t.Parallel()
					if err := o.do(t.Context(), s); !errors.Is(err, syscall.ECONNREFUSED) {
						t.Errorf("%v, want an error that says that the connection is refused", err)
					}
				})
			}
		})
	}
}

func TestRingSaysWhyThereIsNoConnection(t *testing.T) {
	t.Run("F16 its nodes are there from the start", func(t *testing.T) {
		server := redistest.Start(t)
		rdb := redis.NewRing(&redis.RingOptions{
			Addrs: map[string]string{"a": server.Addr}, ContextTimeoutEnabled: true, HeartbeatFrequency: time.Hour, DialerRetryTimeout: time.Hour,
		})
		t.Cleanup(func() { _ = rdb.Close() })
		s := redisstore.NewWith(rdb, redisstore.Config{Timeout: time.Second})
		fill(t, s)
		server.Stop()
		for _, o := range []operation{reads[0], reads[2], writes[0]} {
			if err := o.do(t.Context(), s); !errors.Is(err, syscall.ECONNREFUSED) {
				t.Errorf("%s: %v", o.name, err)
			}
		}
	})
}

// A Cluster puts a replica in the place of a machine that dies. The dead one cannot say so.
func TestClusterMapIsLoadedAnew(t *testing.T) {
	for name, heeds := range map[string]bool{"a client that heeds deadlines": true, "a client that ignores them": false} {
		t.Run("F18 a machine of a Cluster dies: "+name, func(t *testing.T) {
			t.Parallel()
			dies, takesOver := redistest.Start(t), redistest.Start(t)
			var addr atomic.Pointer[string]
			addr.Store(&dies.Addr)
			rdb := redis.NewClusterClient(&redis.ClusterOptions{
				ContextTimeoutEnabled: heeds, DisableRoutingPolicies: heeds, MaxRetries: 1,
				ClusterStateReloadInterval: time.Hour,
				ClusterSlots: func(context.Context) ([]redis.ClusterSlot, error) {
					return []redis.ClusterSlot{{End: 16383, Nodes: []redis.ClusterNode{{Addr: *addr.Load()}}}}, nil
				},
			})
			t.Cleanup(func() { _ = rdb.Close() })
			s := redisstore.NewWith(rdb, redisstore.Config{Prefix: "p:", Logger: slog.New(slog.DiscardHandler)})
			fill(t, s)
			fill(t, redisstore.NewWith(takesOver.Client(heedContext), redisstore.Config{Prefix: "p:"}))
			dies.Stop()
			addr.Store(&takesOver.Addr)
			for _, op := range all(reads, writes[1:2], removals[:1]) {
				for op.do(t.Context(), s) != nil {
					time.Sleep(50 * time.Millisecond) // until it works; else the test ends with its time
				}
			}
		})
	}
}
