package redistest_test

import (
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/redisconn"
	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
)

func TestTheQueuesOfAnUpstreamAreOnThreeMastersOfACluster(t *testing.T) {
	c := redistest.Cluster(t)
	owners := map[string]string{}
	for _, queue := range tasks.Queues("patsnap") {
		node, err := c.Client.MasterForKey(t.Context(), "asynq:{"+queue+"}:pending")
		if err != nil {
			t.Fatal(err)
		}
		owners[node.Options().Addr] = queue
		if err := c.Client.Set(t.Context(), "callq:{"+queue+"}:k", "v", 0).Err(); err != nil {
			t.Fatal(err)
		}
	}
	if len(owners) != 3 {
		t.Errorf("got queues on %v", owners)
	}
	for _, addr := range c.Addrs {
		if owners[addr] == "" {
			t.Errorf("no queue is on %s", addr)
		}
	}
}

func TestAClusterOpensByItsURL(t *testing.T) {
	c := redistest.Cluster(t)
	conn, err := redisconn.Open(t.Context(), c.URL, redisconn.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.Client.Set(t.Context(), "k", "v", 0).Err(); err != nil {
		t.Fatal(err)
	}
	if got, err := c.Client.Get(t.Context(), "k").Result(); err != nil || got != "v" {
		t.Errorf("got %q, %v", got, err)
	}
	if !strings.HasPrefix(c.URL, "redis-cluster://127.0.0.1:") {
		t.Errorf("got URL %s", c.URL)
	}
}

func TestAReplicaReplacesADeadMasterOfAClusterWithAllAcknowledgedWrites(t *testing.T) {
	c := redistest.ClusterWithReplicas(t)
	const key = "asynq:{patsnap}:pending"
	master, err := c.Client.MasterForKey(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 1000 {
		if err := c.Client.RPush(t.Context(), key, i).Err(); err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range c.Masters {
		if n.Addr == master.Options().Addr {
			if err := n.KillInSync(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	awaitLen(t, c.Client, key, 1000)
}

func TestTheSentinelsPromoteTheReplicaWithAllAcknowledgedWrites(t *testing.T) {
	s := redistest.Sentinel(t)
	conn, err := redisconn.Open(t.Context(), s.URL, redisconn.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for i := range 1000 {
		if err := conn.Client.RPush(t.Context(), "k", i).Err(); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Master.KillInSync(t.Context()); err != nil {
		t.Fatal(err)
	}
	awaitLen(t, conn.Client, "k", 1000)
	if err := conn.Client.RPush(t.Context(), "k", "more").Err(); err != nil {
		t.Errorf("after the failover: %v", err)
	}
}

// awaitLen waits until a list can be read again, and requires its length.
func awaitLen(t *testing.T, client redis.UniversalClient, key string, want int64) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; {
		n, err := client.LLen(t.Context(), key).Result()
		if err == nil {
			if n != want {
				t.Errorf("got %d entries, want %d", n, want)
			}
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("no server took the master's place: %v", err)
		}
		<-time.After(50 * time.Millisecond)
	}
}
