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

// StartCluster starts a Redis Cluster of three primaries without replicas, and
// returns them when they agree that it is whole. The first serves the lowest slots.
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
		if strings.Contains(info, "cluster_state:ok") && strings.Contains(info, "cluster_known_nodes:3") {
			return
		}
		if ctx.Err() != nil {
			t.Fatalf("waiting for the cluster: error %v, node %s says:\n%s", err, node.Addr, info)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
