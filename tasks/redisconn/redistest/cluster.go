package redistest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

const (
	masters   = 3
	slotCount = 16384
)

// ClusterServer is a real Redis or Valkey Cluster of three masters, which belongs to
// one test and ends with it. The slots are divided into three equal parts, so that each
// of the queues patsnap, patsnap:low and patsnap:high is on another master.
type ClusterServer struct {
	// Client talks to the Cluster.
	Client *redis.ClusterClient
	// URL is for programs that open the Cluster themselves:
	// redis-cluster://h:p,h:p,h:p.
	URL string
	// Addrs are the masters, HOST:PORT, in the order of their slots.
	Addrs []string
	// Masters are the servers behind Addrs, Replicas their replicas, in the same order;
	// [Cluster] starts none.
	Masters, Replicas []*Node
}

// nodeTimeout is how long a Cluster with replicas waits for a master before it
// considers it dead.
const nodeTimeout = 3 * time.Second

// Cluster starts an empty Cluster on free ports of the loopback address. See [Binary]
// for the case that there is no server to start.
func Cluster(t testing.TB) *ClusterServer {
	t.Helper()
	return startCluster(t, 0)
}

// ClusterWithReplicas is [Cluster] with one replica for each master, which takes the
// master's place some seconds after its death.
func ClusterWithReplicas(t testing.TB) *ClusterServer {
	t.Helper()
	return startCluster(t, masters)
}

func startCluster(t testing.TB, replicas int) *ClusterServer {
	t.Helper()
	binary := Binary(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	c := &ClusterServer{}
	for len(c.Masters) < masters {
		n := startNode(ctx, t, binary, inCluster)
		c.Masters, c.Addrs = append(c.Masters, n), append(c.Addrs, n.Addr)
	}
	for len(c.Replicas) < replicas {
		c.Replicas = append(c.Replicas, startNode(ctx, t, binary, inCluster))
	}
	if err := join(ctx, c.Masters, c.Replicas); err != nil {
		t.Fatalf("form a Cluster: %v", err)
	}
	c.URL = "redis-cluster://" + strings.Join(c.Addrs, ",")
	c.Client = redis.NewClusterClient(&redis.ClusterOptions{
		Addrs: c.Addrs, ContextTimeoutEnabled: true, DisableIdentity: true, ClusterStateReloadInterval: time.Second,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
	t.Cleanup(func() { _ = c.Client.Close() })
	return c
}

// inCluster returns the options of a node.
func inCluster() ([]string, error) {
	bus, err := freePort()
	return []string{"--cluster-enabled", "yes", "--cluster-port", bus, "--cluster-node-timeout", fmt.Sprint(nodeTimeout.Milliseconds())}, err
}

// join connects the nodes, divides the slots, gives each master its replica, and
// returns when all of them see the whole Cluster.
func join(ctx context.Context, leads, replicas []*Node) error {
	for i, n := range leads {
		first, last := i*slotCount/masters, (i+1)*slotCount/masters-1
		err := errors.Join(
			// With equal epochs the nodes would have to vote first.
			n.Client.Do(ctx, "CLUSTER", "SET-CONFIG-EPOCH", i+1).Err(),
			n.Client.ClusterAddSlotsRange(ctx, first, last).Err(),
		)
		if err != nil {
			return err
		}
	}
	all := slices.Concat(leads, replicas)
	for _, n := range all {
		for _, other := range all {
			if n == other {
				continue
			}
			if err := n.meet(ctx, other); err != nil {
				return err
			}
		}
	}
	for i, n := range replicas {
		id, err := leads[i].Client.ClusterMyID(ctx).Result()
		if err != nil {
			return err
		}
		// The replica refuses until it has found its master.
		if err := retry(ctx, func() error { return n.Client.ClusterReplicate(ctx, id).Err() }); err != nil {
			return fmt.Errorf("%s follows %s: %w", n.Addr, leads[i].Addr, err)
		}
	}
	for _, n := range all {
		if err := retry(ctx, func() error { return n.whole(ctx, len(all)) }); err != nil {
			return err
		}
	}
	for _, n := range replicas {
		if err := retry(ctx, func() error { return n.following(ctx) }); err != nil {
			return err
		}
	}
	return nil
}

func (n *Node) meet(ctx context.Context, other *Node) error {
	host, port, err := net.SplitHostPort(other.Addr)
	if err != nil {
		return err
	}
	bus, err := other.Client.ConfigGet(ctx, "cluster-port").Result()
	if err != nil {
		return err
	}
	return n.Client.Do(ctx, "CLUSTER", "MEET", host, port, bus["cluster-port"]).Err()
}

// whole returns nil when the node sees a Cluster of so many nodes that serves all
// slots.
func (n *Node) whole(ctx context.Context, nodes int) error {
	info, err := n.Client.ClusterInfo(ctx).Result()
	if err != nil {
		return err
	}
	for _, want := range []string{
		"cluster_state:ok", fmt.Sprintf("cluster_slots_ok:%d", slotCount), fmt.Sprintf("cluster_size:%d", masters),
		fmt.Sprintf("cluster_known_nodes:%d", nodes),
	} {
		if !strings.Contains(info, want+"\r\n") {
			return fmt.Errorf("%s sees %q, which is not %s", n.Addr, info, want)
		}
	}
	return nil
}
