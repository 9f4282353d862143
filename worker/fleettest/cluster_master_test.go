package fleettest

import (
	"testing"
	"time"

	"github.com/seed-2903acc3/callq/tasks/broker/brokertest"
	"github.com/seed-2903acc3/callq/worker/simapi"
)

func TestAClusterThatLosesAMasterGoesOnWithItsReplica(t *testing.T) {
	t.Parallel()
	s := faults(t)
	c := brokertest.ClusterWithReplicas(t)
	f := start(t, setup{size: s, client: c.Client, url: c.URL})
	f.script("* * -> ok latency=100ms forever")
	const batch = "b"
	f.sendMixed(batch, s.calls)
	f.awaitAPI("a busy fleet", func(now simapi.Stats) bool { return now.Arrivals >= int64(s.calls/4) })
	lines, _ := f.complaints()
	// The one that has the normal calls, and with them the account's circuit.
	owner, err := c.Client.MasterForKey(t.Context(), "asynq:{"+normalQueue+"}:pending")
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range c.Masters {
		if n.Addr == owner.Options().Addr {
			err = n.KillInSync(t.Context())
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	died := time.Now()
	before := len(f.arrivals(time.Time{}, died.Add(slack)))
	f.awaitAPI("calls through the new master", func(now simapi.Stats) bool { return now.Arrivals > int64(before+s.calls/8) })
	back := time.Since(died)
	t.Logf("calls went out again %s after the master's death", back)
	// The nodes take some seconds to agree; a stale map of them lives for a minute
	// unless it is asked for anew.
	if back > 30*time.Second {
		t.Errorf("calls went out again only %s after the master's death", back)
	}
	f.wantCalm(lines, back)
	f.awaitEnded(batch, 0)
	f.wantAllDoneOnce(batch, s.calls)
}
