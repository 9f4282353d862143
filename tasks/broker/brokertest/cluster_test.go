package brokertest_test

import (
	"strings"
	"testing"

	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/broker"
	"github.com/seed-2903acc3/callq/tasks/broker/brokertest"
)

func TestTheQueuesOfAnUpstreamLiveOnThreeMastersOfACluster(t *testing.T) {
	c := brokertest.Cluster(t)
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
		t.Errorf("the queues live on %v", owners)
	}
	for _, addr := range c.Addrs {
		if owners[addr] == "" {
			t.Errorf("no queue lives on %s", addr)
		}
	}
}

func TestAClusterOpensByItsURL(t *testing.T) {
	c := brokertest.Cluster(t)
	conn, err := broker.Open(t.Context(), c.URL, broker.Options{})
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
		t.Errorf("the URL is %s", c.URL)
	}
}
