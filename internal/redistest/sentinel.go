package redistest

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	sentinels    = 3
	replicas     = 2
	sentinelName = "main"
	failoverTime = time.Minute
)

// A Group is a primary with two replicas and three Sentinels, of which two must agree on a
// failover. Its methods fail the test if they fail; call them from the goroutine of the test.
type Group struct {
	Name      string   // the name of the primary in the Sentinels' configuration
	Sentinels []string // host:port of each

	t      testing.TB
	nodes  []*Server
	paused []*Server
}

// StartSentinel starts a group and returns it when every Sentinel knows all members. options are
// arguments of the primary and the replicas.
func StartSentinel(t testing.TB, options ...string) *Group {
	t.Helper()
	g := &Group{Name: sentinelName, t: t, nodes: []*Server{Start(t, options...)}}
	host, port, err := net.SplitHostPort(g.nodes[0].Addr)
	if err != nil {
		t.Fatal(err)
	}
	for range replicas {
		replica := []string{"--replicaof", host + " " + port, "--repl-diskless-sync-delay", "0"}
		g.nodes = append(g.nodes, Start(t, append(replica, options...)...))
	}
	for range sentinels {
		g.Sentinels = append(g.Sentinels, startSentinel(t, host, port).Addr)
	}
	g.awaitPeers()
	return g
}

// startSentinel starts one Sentinel. It needs a configuration file, in which it saves its state.
func startSentinel(t testing.TB, host, port string) *Server {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "sentinel.conf")
	config := fmt.Sprintf(`bind 127.0.0.1
dir %s
sentinel monitor %[2]s %[3]s %[4]s 2
sentinel down-after-milliseconds %[2]s 1500
sentinel failover-timeout %[2]s 6000
`, dir, sentinelName, host, port)
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	s := &Server{t: t, file: file, args: []string{"--sentinel"}}
	t.Cleanup(s.Stop)
	s.startSomewhere()
	return s
}

// awaitPeers waits until every Sentinel knows the others and the replicas, and the replicas have
// all data. Before that a failover is not possible.
func (g *Group) awaitPeers() {
	g.t.Helper()
	rdb := g.nodes[0].Client(nil)
	await(g.t, startTime, "the Sentinels know one another", func(ctx context.Context) bool {
		for _, addr := range g.Sentinels {
			if !g.knowsAll(ctx, addr) {
				return false
			}
		}
		return rdb.Wait(ctx, replicas, time.Second).Val() == replicas
	})
}

func (g *Group) knowsAll(ctx context.Context, addr string) bool {
	s := g.sentinel(addr)
	defer func() { _ = s.Close() }()
	state, err := s.Master(ctx, g.Name).Result()
	return err == nil && state["num-other-sentinels"] == fmt.Sprint(sentinels-1) &&
		state["num-slaves"] == fmt.Sprint(replicas)
}

func (g *Group) sentinel(addr string) *redis.SentinelClient {
	return redis.NewSentinelClient(&redis.Options{Addr: addr})
}

// Primary returns the node that the Sentinels name.
func (g *Group) Primary() *Server {
	g.t.Helper()
	s := g.sentinel(g.Sentinels[0])
	defer func() { _ = s.Close() }()
	addr, err := s.GetMasterAddrByName(g.t.Context(), g.Name).Result()
	if err != nil {
		g.t.Fatalf("asking for the primary: %v", err)
	}
	for _, node := range g.nodes {
		if node.Addr == net.JoinHostPort(addr[0], addr[1]) {
			return node
		}
	}
	g.t.Fatalf("the Sentinels name %v, which is none of the nodes", addr)
	return nil
}

// Replicas returns the nodes that are running and not the primary.
func (g *Group) Replicas() []*Server {
	g.t.Helper()
	primary := g.Primary()
	var others []*Server
	for _, node := range g.nodes {
		if node != primary && node.process != nil {
			others = append(others, node)
		}
	}
	return others
}

// AwaitReplicas waits until the replicas have all earlier writes, so that a failover loses none of
// them.
func (g *Group) AwaitReplicas() {
	g.t.Helper()
	want := len(g.Replicas())
	rdb := g.Primary().Client(nil)
	await(g.t, startTime, "the replicas have every write", func(ctx context.Context) bool {
		// WAIT waits only for the connection's own writes, so it needs one.
		conn := rdb.Conn()
		defer func() { _ = conn.Close() }()
		return conn.Set(ctx, "redistest", "1", time.Minute).Err() == nil &&
			conn.Wait(ctx, want, time.Second).Val() == int64(want)
	})
}

// Isolate stops replication: writes after it are lost when the primary is killed.
func (g *Group) Isolate() {
	g.t.Helper()
	g.paused = g.Replicas()
	for _, replica := range g.paused {
		replica.Pause()
	}
	// Close the connections, or the replicas would read later writes from them after Resume.
	rdb := g.Primary().Client(nil)
	if err := rdb.ClientKillByFilter(g.t.Context(), "TYPE", "replica").Err(); err != nil {
		g.t.Fatalf("cutting the replicas off: %v", err)
	}
}

// Kill kills the primary and ends Isolate. AwaitFailover waits until the Sentinels have replaced
// it.
func (g *Group) Kill() (killed *Server) {
	g.t.Helper()
	killed = g.Primary()
	killed.Stop()
	for _, replica := range g.paused {
		replica.Resume()
	}
	g.paused = nil
	return killed
}

// AwaitFailover waits until the Sentinels name another primary than old, and it accepts writes.
func (g *Group) AwaitFailover(old *Server) {
	g.t.Helper()
	await(g.t, failoverTime, "the Sentinels replace the primary", func(ctx context.Context) bool {
		primary := g.Primary()
		return primary != old && writes(ctx, primary)
	})
}

// writes reports whether a node accepts a write.
func writes(ctx context.Context, node *Server) bool {
	rdb := redis.NewClient(&redis.Options{Addr: node.Addr})
	defer func() { _ = rdb.Close() }()
	return rdb.Set(ctx, "redistest", "1", time.Minute).Err() == nil
}

// await calls ask until it returns true. It fails the test after d.
func await(t testing.TB, d time.Duration, what string, ask func(context.Context) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	for !ask(ctx) {
		if ctx.Err() != nil {
			t.Fatalf("waited %v in vain until %s", d, what)
		}
		time.Sleep(50 * time.Millisecond)
	}
}
