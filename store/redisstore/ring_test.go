package redisstore_test

import (
	"errors"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/oidcgate/oidcgate/internal/redistest"
	"github.com/oidcgate/oidcgate/store/redisstore"
)

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
