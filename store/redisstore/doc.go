// Package redisstore keeps a [store.Store] in Redis, through a go-redis client
// that the application owns, configures and closes:
//
//	rdb := redis.NewUniversalClient(&redis.UniversalOptions{
//		Addrs:                 []string{"redis.internal:6379"},
//		ContextTimeoutEnabled: true,
//	})
//	s := redisstore.New(rdb)
//
// # The Redis it needs
//
// Redis 6.2 or later, or a server that speaks as it does, with Lua scripts. Every
// command names one key, so a single server, Sentinel and Cluster serve equally;
// go-redis follows redirections and failovers. A user with these rights suffices:
//
//	ACL SETUSER gate on >password resetkeys ~oidcgate:* resetchannels -@all
//	    +get +set +del +eval +evalsha +time
//	    +zadd +zrem +zrange +zrangebyscore +zremrangebyscore +pexpireat
//
// Cluster needs also +cluster|slots and +asking, and +command where
// DisableRoutingPolicies is false.
//
// Every key has a TTL. What Redis evicts before its time is a visitor logged out
// or a revocation forgotten, so give the gate a Redis, or at least a memory limit,
// of its own with maxmemory-policy noeviction: a full Redis then refuses new
// sessions and keeps the old. Persistence (appendonly yes, appendfsync everysec)
// keeps people logged in over a restart. Replication is asynchronous: a failover
// may lose the last writes, a logout among them; min-replicas-to-write narrows
// that.
//
// # The client it needs
//
// Each call ends after [Config].Timeout whatever the client's settings. That costs
// next to nothing where the client itself heeds the deadline of a context, which
// it does with ContextTimeoutEnabled: true, and for a ClusterClient with
// DisableRoutingPolicies: true as well. (Otherwise it asks the cluster for its
// list of commands within a time of its own. All commands used here are routed by
// their key alone.) With any other client each call runs in a goroutine of its
// own, which the store leaves behind at the deadline and which ends by the
// client's ReadTimeout and WriteTimeout; the client's pool bounds their number.
// [NewWith] logs once when that is so.
//
// Reads must reach the primary: ReadOnly, RouteByLatency and RouteRandomly let a
// replica answer that has not yet heard of a logout. For the same reason leave the
// client-side cache off. A [redis.Ring] sends the keys of an unreachable shard to
// another, where they are absent: a hiccup would log people out. Prefer Cluster.
//
// Tracing hooks of go-redis see the arguments of commands: keys, which are hashes,
// and values, which are sealed.
package redisstore
