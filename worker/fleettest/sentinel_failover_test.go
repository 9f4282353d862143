package fleettest

import (
	"testing"
	"time"

	"github.com/seed-2903acc3/callq/tasks/broker/brokertest"
	"github.com/seed-2903acc3/callq/worker/simapi"
)

// Replication is asynchronous. What a master acknowledged in its last moments can
// be lost with it, and then nobody can promise anything about those calls: here it
// dies at a moment when its replica has all that it acknowledged.
func TestAFailOverOfTheSentinelsLosesNothingThatTheReplicaHas(t *testing.T) {
	t.Parallel()
	s := faults(t)
	server := brokertest.Sentinel(t)
	f := start(t, setup{size: s, client: server.Client, url: server.URL})
	f.script("* * -> ok latency=100ms forever")
	const batch = "b"
	f.sendMixed(batch, s.calls)
	f.awaitAPI("a busy fleet", func(now simapi.Stats) bool { return now.Arrivals >= int64(s.calls/4) })
	lines, _ := f.complaints()
	if err := server.Master.KillInSync(t.Context()); err != nil {
		t.Fatal(err)
	}
	died := time.Now()
	before := len(f.arrivals(time.Time{}, died.Add(slack)))
	f.awaitAPI("calls through the new master", func(now simapi.Stats) bool { return now.Arrivals > int64(before+s.calls/8) })
	back := time.Since(died)
	t.Logf("calls went out again %s after the master's death", back)
	f.wantCalm(lines, back)
	f.awaitEnded(batch, 0)
	f.wantAllDoneOnce(batch, s.calls)

	// What is sent after the fail-over is as good as before.
	f.sendMixed("after", 100)
	f.awaitEnded("after", 0)
	f.wantAllDoneOnce("after", 100)
}
