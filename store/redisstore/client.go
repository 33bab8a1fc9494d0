package redisstore

import (
	"log/slog"
	"reflect"
	"time"

	"github.com/redis/go-redis/v9"
)

// A client holds what the store needs to know about the application's client.
type client struct {
	// cure says which setting to change so that the client respects the deadline of a context in
	// every call. If empty, the client does so already.
	cure string

	// replicas is true if replicas may answer reads.
	replicas bool

	// stuck is true if the client never asks another Sentinel when the one that it knows falls silent:
	// a question takes longer than it has time for.
	stuck bool

	// patience is how long the client waits for an answer before it sends a command again; zero if
	// that is not known.
	patience time.Duration
}

// inspect reads the settings of rdb. It assumes that a client of an unknown type ignores deadlines.
func inspect(rdb redis.UniversalClient) client {
	switch rdb := rdb.(type) {
	case *redis.Client:
		o := rdb.Options()
		return client{
			cure:     cure(o.ContextTimeoutEnabled, o.ReadTimeout, o.WriteTimeout),
			stuck:    o.Addr == "FailoverClient" && !leavesSentinel(o),
			patience: o.ReadTimeout,
		}
	case *redis.Ring:
		o := rdb.Options()
		return client{
			cure:     cure(o.ContextTimeoutEnabled, o.ReadTimeout, o.WriteTimeout),
			patience: o.ReadTimeout,
		}
	case *redis.ClusterClient:
		return inspectCluster(rdb.Options())
	}
	return client{cure: "pass a *redis.Client, *redis.ClusterClient or *redis.Ring itself"}
}

// leavesSentinel reports whether a client of Sentinel has time left for another one when that which
// it knows does not answer.
func leavesSentinel(o *redis.Options) bool {
	return o.ReadTimeout > 0 && time.Duration(o.MaxRetries+1)*o.ReadTimeout < o.DialTimeout
}

// caches reports whether rdb answers reads from its memory. The options are looked up by name,
// because go-redis calls them experimental.
func caches(rdb redis.UniversalClient) bool {
	c, ok := rdb.(*redis.Client)
	if !ok {
		return false
	}
	options := reflect.ValueOf(c.Options()).Elem()
	for _, name := range []string{"ClientSideCacheConfig", "ClientSideCache"} {
		if f := options.FieldByName(name); f.IsValid() && !f.IsZero() {
			return true
		}
	}
	return false
}

func inspectCluster(o *redis.ClusterOptions) client {
	c := client{
		cure:     cure(o.ContextTimeoutEnabled, o.ReadTimeout, o.WriteTimeout),
		replicas: o.ReadOnly,
		patience: o.ReadTimeout,
	}
	// With routing policies or with replicas, go-redis looks up every command in the server's list
	// of commands. It fetches that list under a lock, with a timeout of its own of five seconds,
	// and ignores the caller's deadline.
	if c.cure == "" && (!o.DisableRoutingPolicies || o.ReadOnly) {
		c.cure = "set DisableRoutingPolicies: true and ReadOnly: false in its options"
	}
	return c
}

func cure(contextTimeoutEnabled bool, read, write time.Duration) string {
	if !contextTimeoutEnabled {
		return "set ContextTimeoutEnabled: true in its options"
	}
	// A negative timeout turns off socket deadlines, including those from contexts.
	if read < 0 || write < 0 {
		return "set no negative ReadTimeout or WriteTimeout in its options"
	}
	return ""
}

func (c client) warn(log *slog.Logger) {
	if c.cure != "" {
		log.Warn("redisstore: the Redis client ignores context deadlines, "+
			"so every call needs a goroutine", "cure", c.cure)
	}
	if c.stuck {
		log.Warn("redisstore: when the Sentinel that the Redis client knows falls silent, the client "+
			"asks no other, and is cut off until that one is back",
			"cure", "set ReadTimeout: time.Second in its options, or a DialTimeout of more than "+
				"MaxRetries+1 times ReadTimeout")
	}
	if c.replicas {
		log.Warn("redisstore: replicas may answer reads, "+
			"so a session may still work after its logout",
			"cure", "set ReadOnly, RouteByLatency and RouteRandomly to false "+
				"in the client's options")
	}
}
