package redisstore

import (
	"log/slog"
	"time"

	"github.com/redis/go-redis/v9"
)

// A client is what the store needs to know of the application's client.
type client struct {
	// cure says what to change so that the client heeds the deadline of a
	// context in everything it does. If empty, it does already.
	cure string

	// replicas says that replicas may answer reads.
	replicas bool
}

// inspect looks at the settings of rdb. A client of an unknown type is taken to
// ignore deadlines.
func inspect(rdb redis.UniversalClient) client {
	switch rdb := rdb.(type) {
	case *redis.Client:
		o := rdb.Options()
		return client{cure: cure(o.ContextTimeoutEnabled, o.ReadTimeout, o.WriteTimeout)}
	case *redis.Ring:
		o := rdb.Options()
		return client{cure: cure(o.ContextTimeoutEnabled, o.ReadTimeout, o.WriteTimeout)}
	case *redis.ClusterClient:
		return inspectCluster(rdb.Options())
	}
	return client{cure: "pass a *redis.Client, *redis.ClusterClient or *redis.Ring itself"}
}

func inspectCluster(o *redis.ClusterOptions) client {
	c := client{
		cure:     cure(o.ContextTimeoutEnabled, o.ReadTimeout, o.WriteTimeout),
		replicas: o.ReadOnly,
	}
	// With routing policies, or with replicas, each command looks into the
	// list of commands, which is fetched under a lock and within five seconds
	// that are not the caller's.
	if c.cure == "" && (!o.DisableRoutingPolicies || o.ReadOnly) {
		c.cure = "set DisableRoutingPolicies: true and ReadOnly: false in its options"
	}
	return c
}

func cure(contextTimeoutEnabled bool, read, write time.Duration) string {
	if !contextTimeoutEnabled {
		return "set ContextTimeoutEnabled: true in its options"
	}
	// A negative timeout turns socket deadlines off, those of contexts included.
	if read < 0 || write < 0 {
		return "set no negative ReadTimeout or WriteTimeout in its options"
	}
	return ""
}

func (c client) warn(log *slog.Logger) {
	if c.cure != "" {
		log.Warn("redisstore: the Redis client does not heed context deadlines, so every call costs a goroutine", "cure", c.cure)
	}
	if c.replicas {
		log.Warn("redisstore: replicas may answer reads, so a session may outlive its logout", "cure", "set ReadOnly, RouteByLatency and RouteRandomly to false in the client's options")
	}
}
