package redistest

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	clusterNodes = 3
	clusterSlots = 16384
)

// StartCluster starts a Redis Cluster of three primaries without replicas. It returns them when all
// of them report that the cluster is complete. The first serves the lowest slots.
func StartCluster(t testing.TB) []*Server {
	t.Helper()
	var nodes []*Server
	for i := range clusterNodes {
		node := Start(t, "--cluster-enabled", "yes")
		rdb := node.Client(nil)
		low, high := i*clusterSlots/clusterNodes, (i+1)*clusterSlots/clusterNodes-1
		if err := rdb.ClusterAddSlotsRange(t.Context(), low, high).Err(); err != nil {
			t.Fatalf("giving slots %d to %d to node %d: %v", low, high, i, err)
		}
		meet(t, rdb, nodes)
		nodes = append(nodes, node)
	}
	for _, node := range nodes {
		awaitCluster(t, node)
	}
	return nodes
}

func meet(t testing.TB, rdb *redis.Client, nodes []*Server) {
	t.Helper()
	for _, node := range nodes {
		host, port, err := net.SplitHostPort(node.Addr)
		if err == nil {
			err = rdb.ClusterMeet(t.Context(), host, port).Err()
		}
		if err != nil {
			t.Fatalf("meeting %s: %v", node.Addr, err)
		}
	}
}

func awaitCluster(t testing.TB, node *Server) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startTime)
	defer cancel()
	rdb := node.Client(nil)
	for {
		info, err := rdb.ClusterInfo(ctx).Result()
		complete := strings.Contains(info, "cluster_known_nodes:3")
		if complete && strings.Contains(info, "cluster_state:ok") {
			return
		}
		if ctx.Err() != nil {
			t.Fatalf("waiting for the cluster: error %v, node %s says:\n%s", err, node.Addr, info)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// MoveSlots moves slots low to high and their keys from one node of a cluster to another. Clients
// may send commands meanwhile: for a key in a slot that is being moved they get ASK or TRYAGAIN,
// and MOVED afterwards.
func MoveSlots(t testing.TB, nodes []*Server, from, to, low, high int) {
	t.Helper()
	var ids []string
	var clients []*redis.Client
	for _, node := range nodes {
		rdb := node.Client(nil)
		id, err := rdb.Do(t.Context(), "CLUSTER", "MYID").Text()
		if err != nil {
			t.Fatalf("asking node %s for its id: %v", node.Addr, err)
		}
		clients, ids = append(clients, rdb), append(ids, id)
	}
	for slot := low; slot <= high; slot++ {
		setSlot(t, clients[to], slot, "IMPORTING", ids[from])
		setSlot(t, clients[from], slot, "MIGRATING", ids[to])
		moveKeys(t, clients[from], nodes[to].Addr, slot)
		// The new owner is told first, so that the slot always has an owner.
		setSlot(t, clients[to], slot, "NODE", ids[to])
		for i, rdb := range clients {
			if i != to {
				setSlot(t, rdb, slot, "NODE", ids[to])
			}
		}
	}
}

func setSlot(t testing.TB, rdb *redis.Client, slot int, state, node string) {
	t.Helper()
	if err := rdb.Do(t.Context(), "CLUSTER", "SETSLOT", slot, state, node).Err(); err != nil {
		t.Fatalf("slot %d %s: %v", slot, state, err)
	}
}

func moveKeys(t testing.TB, from *redis.Client, to string, slot int) {
	t.Helper()
	host, port, err := net.SplitHostPort(to)
	if err != nil {
		t.Fatal(err)
	}
	for {
		keys, err := from.ClusterGetKeysInSlot(t.Context(), slot, 100).Result()
		if err != nil {
			t.Fatalf("keys in slot %d: %v", slot, err)
		}
		if len(keys) == 0 {
			return
		}
		move := []any{"MIGRATE", host, port, "", 0, 10_000, "KEYS"}
		for _, key := range keys {
			move = append(move, key)
		}
		if err := from.Do(t.Context(), move...).Err(); err != nil {
			t.Fatalf("moving slot %d: %v", slot, err)
		}
	}
}
