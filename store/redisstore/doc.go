// Package redisstore implements [store.Store] in Redis. It uses a go-redis client that the
// application creates, configures and closes:
//
//	rdb := redis.NewUniversalClient(&redis.UniversalOptions{
//		Addrs:                 []string{"redis.internal:6379"},
//		ContextTimeoutEnabled: true,
//	})
//	s := redisstore.New(rdb)
//
// # Requirements on Redis
//
// Redis 6.2 or later, or a compatible server, with Lua scripts. Every command names one key, so a
// single server, Sentinel and Cluster all work; go-redis follows redirections and failovers. A
// Redis user with these rights is sufficient:
//
//	ACL SETUSER gate on >password resetkeys ~oidcgate:* resetchannels -@all
//	    +get +set +del +exists +eval +evalsha +time
//	    +zadd +zrem +zrange +zrangebyscore +zremrangebyscore +pexpireat
//
// Cluster also needs +cluster|slots and +asking, and +command if DisableRoutingPolicies is false.
//
// Every key has a TTL (time to live). If Redis evicts a key earlier, a visitor is signed out or a
// revocation is forgotten. So give the gate its own Redis, or at least its own memory limit, with
// maxmemory-policy noeviction: a full Redis then refuses new sessions and keeps the existing ones.
// It takes a Swap whose value is no more than a KiB longer, so the use of sessions is noted, and
// the tokens of a refresh that was under way are saved. No refresh begins while it is full.
// Persistence (appendonly yes, appendfsync everysec) keeps users signed in when Redis restarts.
// Replication is asynchronous: a failover may lose the last writes, including a logout and refresh
// tokens that a provider has just replaced, whose sessions then end. The Redis setting
// min-replicas-to-write makes this less likely. A failover that is planned loses nothing if the
// primary takes no writes meanwhile: CLIENT PAUSE 4000 WRITE there, then SENTINEL FAILOVER.
//
// On Cluster the keys of one session lie in several slots, so on several machines. While one
// machine answers reads and refuses writes for longer than ten seconds, as min-replicas-to-write
// has it do when its replicas are away, some of the sessions that are refreshed in that time are
// lost: the lock is taken on one machine, the provider replaces the refresh token, and the new one
// cannot be saved on the other. At the next refresh the provider takes the old one for stolen, and
// the session ends. With three masters these are up to one in seven of the sessions that are
// refreshed meanwhile (measured: 4 of 60). Sessions that are not refreshed stay, and so do those
// whose provider keeps refresh tokens as they are. On a single server or with Sentinel only those
// are lost whose refresh is under way when it begins: later the lock cannot be taken either.
//
// # Requirements on the client
//
// Each call ends after [Config].Timeout, whatever the settings of the client. This costs almost
// nothing if the client itself respects the deadline of a context. It does so with
// ContextTimeoutEnabled: true; a ClusterClient also needs DisableRoutingPolicies: true, because
// otherwise it asks the cluster for its list of commands with a timeout of its own. (The routing
// policies are not needed: every command used here is routed by its key.) With any other client
// each call runs in its own goroutine. When the deadline passes, the store returns and the
// goroutine continues until the client's ReadTimeout or WriteTimeout ends it; the size of the
// client's pool limits the number of these goroutines. In that case [NewWith] logs one warning. The
// hand-over takes some 15 microseconds of a lone read, and under load, when reads share round
// trips, up to 5 % of a request's processor time.
//
// With Sentinel set ReadTimeout: time.Second. go-redis knows one Sentinel at a time, and asks
// another only if a question, sent MaxRetries+1 times, ends within DialTimeout. With its defaults
// it does not: when that Sentinel's machine falls silent, the client is cut off until it is back.
//
// Reads must go to the primary. With ReadOnly, RouteByLatency or RouteRandomly a replica may answer
// that has not yet received a logout. For the same reason [NewWith] refuses a client with a
// client-side cache. A [redis.Ring] sends the keys of an unreachable shard to another shard, which
// does not have them, so a short network failure would sign users out. Use Cluster instead.
//
// go-redis sends a command again when its connection breaks. A proxy in front of Redis that is
// ended may deliver the first one seconds later all the same. If that created a session which was
// ended in between, the session is there again until its idle time, and a logout by user does not
// find it. A client with MaxRetries: -1 rules it out; then a login is answered 503 when a
// connection breaks.
//
// Tracing hooks of go-redis see the arguments of commands. The gate's keys are hashes and its
// values are encrypted.
package redisstore
