package fleettest

import (
	"testing"
	"time"

	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
)

// Replication is asynchronous. What a master confirmed in its last moments can be lost with
// it, and callq guarantees nothing about those calls. Here the master dies when its replica
// has all that it confirmed.
func TestAFailOverOfTheSentinelsLosesNothingThatTheReplicaHas(t *testing.T) {
	t.Parallel()
	s := faults(t)
	server := redistest.Sentinel(t)
	f := start(t, setup{size: s, client: server.Client, url: server.URL})
	const batch = "b"
	lines := f.makeBusy(batch, 100*time.Millisecond)
	if err := server.Master.KillInSync(t.Context()); err != nil {
		t.Fatal(err)
	}
	died := time.Now()
	back := f.awaitBack(died)
	f.wantCalm(lines, back)
	f.awaitEnded(batch, 0)
	f.wantAllDoneOnce(batch, s.calls)

	// Calls that are sent after the fail-over are made too.
	f.sendMixed("after", 100)
	f.awaitEnded("after", 0)
	f.wantAllDoneOnce("after", 100)
}
