package redistest_test

import (
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/oidcgate/oidcgate/internal/redistest"
)

// once makes a client that does not retry. It waits long: an answer may be late on a busy machine.
func once(o *redis.Options) {
	o.MaxRetries = -1
	o.DialerRetries = 1
	o.ReadTimeout = time.Minute
}

func TestServer(t *testing.T) {
	s := redistest.Start(t)
	rdb := s.Client(once)
	hasty := s.Client(func(o *redis.Options) { once(o); o.ReadTimeout = 200 * time.Millisecond })
	ping := func() error { return rdb.Ping(t.Context()).Err() }

	if err := rdb.Set(t.Context(), "k", "v", 0).Err(); err != nil {
		t.Fatalf("SET on a new server: %v", err)
	}
	s.Pause()
	if err := hasty.Ping(t.Context()).Err(); err == nil {
		t.Error("PING of a paused server was answered")
	}
	s.Resume()
	if err := ping(); err != nil {
		t.Errorf("PING of a resumed server: %v", err)
	}
	s.Stop()
	if err := ping(); err == nil {
		t.Error("PING of a stopped server was answered")
	}
	s.Restart()
	if err := ping(); err != nil {
		t.Errorf("PING of a restarted server: %v", err)
	}
	if got, err := rdb.Get(t.Context(), "k").Result(); !errors.Is(err, redis.Nil) {
		t.Errorf("GET after a restart: got %q, error %v; want nothing", got, err)
	}
}

func TestProxyCutsOneReply(t *testing.T) {
	s := redistest.Start(t)
	p := redistest.NewProxy(t, s.Addr)
	rdb := s.Client(func(o *redis.Options) { once(o); o.Addr = p.Addr })

	p.CutReply("counter")
	if err := rdb.Incr(t.Context(), "counter").Err(); !errors.Is(err, io.EOF) {
		t.Errorf("INCR with its reply cut: got error %v, want EOF", err)
	}
	if got, err := rdb.Incr(t.Context(), "counter").Result(); got != 2 || err != nil {
		t.Errorf("second INCR: got %d, error %v; want 2", got, err)
	}
	if got := p.Cuts(); got != 1 {
		t.Errorf("replies cut: got %d, want 1", got)
	}
}

func TestGroupFailsOver(t *testing.T) {
	g := redistest.StartSentinel(t)
	rdb := redis.NewFailoverClient(&redis.FailoverOptions{MasterName: g.Name, SentinelAddrs: g.Sentinels})
	t.Cleanup(func() { _ = rdb.Close() })

	if err := rdb.Set(t.Context(), "k", "v", 0).Err(); err != nil {
		t.Fatalf("SET before the failover: %v", err)
	}
	g.AwaitReplicas()
	g.Isolate()
	if err := rdb.Set(t.Context(), "k", "lost", 0).Err(); err != nil {
		t.Fatalf("SET that nobody else hears of: %v", err)
	}
	g.AwaitFailover(g.Kill())
	if got, err := rdb.Get(t.Context(), "k").Result(); got != "v" || err != nil {
		t.Errorf("GET after the failover: got %q, error %v; want v, which the replicas had", got, err)
	}
	if got := len(g.Replicas()); got != 1 {
		t.Errorf("replicas after the failover: got %d, want 1", got)
	}
}

func TestClusterMovesSlotsWithTheirKeys(t *testing.T) {
	nodes := redistest.StartCluster(t)
	rdb := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{nodes[0].Addr}})
	t.Cleanup(func() { _ = rdb.Close() })
	for i := range 300 {
		if err := rdb.Set(t.Context(), fmt.Sprint("k", i), i, 0).Err(); err != nil {
			t.Fatal(err)
		}
	}
	before := nodes[2].Client(nil).DBSize(t.Context()).Val()
	redistest.MoveSlots(t, nodes, 0, 2, 0, 1500)
	for i := range 300 {
		if got, err := rdb.Get(t.Context(), fmt.Sprint("k", i)).Int(); got != i || err != nil {
			t.Errorf("k%d after the move: got %d, error %v", i, got, err)
		}
	}
	if after := nodes[2].Client(nil).DBSize(t.Context()).Val(); after <= before {
		t.Errorf("the node that took slots has %d keys, had %d", after, before)
	}
}
