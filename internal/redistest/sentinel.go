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

// A Group is a primary with two replicas, watched by three Sentinels of which two must agree. Its methods fail
// the test where they cannot do their work; call them from the test's own goroutine.
type Group struct {
	Name      string   // what the Sentinels call it
	Sentinels []string // host:port of each

	t      testing.TB
	nodes  []*Server
	paused []*Server
}

// StartSentinel starts a group and returns it when every Sentinel knows all of it. Options are those of the
// nodes' command line.
func StartSentinel(t testing.TB, options ...string) *Group {
	t.Helper()
	g := &Group{Name: sentinelName, t: t, nodes: []*Server{Start(t, options...)}}
	host, port, err := net.SplitHostPort(g.nodes[0].Addr)
	if err != nil {
		t.Fatal(err)
	}
	for range replicas {
		following := append([]string{"--replicaof", host + " " + port, "--repl-diskless-sync-delay", "0"}, options...)
		g.nodes = append(g.nodes, Start(t, following...))
	}
	for range sentinels {
		g.Sentinels = append(g.Sentinels, startSentinel(t, host, port).Addr)
	}
	g.awaitPeers()
	return g
}

// startSentinel starts one Sentinel. It keeps what it learns in its configuration file.
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

// awaitPeers waits until every Sentinel knows the others and the replicas, and the replicas have all data:
// before that there is no failover.
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
	return err == nil && state["num-other-sentinels"] == fmt.Sprint(sentinels-1) && state["num-slaves"] == fmt.Sprint(replicas)
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

// AwaitReplicas returns when the replicas have every write of before, so that a failover loses none of them.
func (g *Group) AwaitReplicas() {
	g.t.Helper()
	want := len(g.Replicas())
	rdb := g.Primary().Client(nil)
	await(g.t, startTime, "the replicas have every write", func(ctx context.Context) bool {
		// WAIT counts for the connection's own writes only, so there must be one.
		conn := rdb.Conn()
		defer func() { _ = conn.Close() }()
		return conn.Set(ctx, "redistest", "1", time.Minute).Err() == nil && conn.Wait(ctx, want, time.Second).Val() == int64(want)
	})
}

// Isolate cuts the primary off from its replicas: what is written from now on is lost when it is killed.
func (g *Group) Isolate() {
	g.t.Helper()
	g.paused = g.Replicas()
	for _, replica := range g.paused {
		replica.Pause()
	}
	// Else what is written would wait for them in their sockets.
	if err := g.Primary().Client(nil).ClientKillByFilter(g.t.Context(), "TYPE", "replica").Err(); err != nil {
		g.t.Fatalf("cutting the replicas off: %v", err)
	}
}

// Kill kills the primary, whom AwaitFailover then waits for the Sentinels to replace, and ends Isolate.
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

// AwaitFailover returns when the Sentinels name another primary than old, and that accepts writes.
func (g *Group) AwaitFailover(old *Server) {
	g.t.Helper()
	await(g.t, failoverTime, "the Sentinels make another node the primary", func(ctx context.Context) bool {
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

// await asks until the answer is yes.
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
