package fleettest

import (
	"testing"
	"time"

	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
)

func TestAClusterThatLosesAMasterContinuesWithItsReplica(t *testing.T) {
	t.Parallel()
	s := faults(t)
	c := redistest.ClusterWithReplicas(t)
	f := start(t, setup{size: s, client: c.Client, url: c.URL})
	const batch = "b"
	lines := f.makeBusy(batch, 100*time.Millisecond)
	// The master that has the normal queue, and with it the account's circuit.
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
	back := f.awaitBack(died)
	// The nodes need some seconds to elect a master. A client that does not read their map
	// again uses the old one for a minute.
	if back > s.promptly(30*time.Second) {
		t.Errorf("calls were made again only %s after the master's death", back)
	}
	f.wantCalm(lines, back)
	f.awaitEnded(batch, 0)
	f.wantAllDoneOnce(batch, s.calls)
}
