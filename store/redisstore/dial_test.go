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
