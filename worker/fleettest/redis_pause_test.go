//go:build unix

package fleettest

import (
	"strconv"
	"testing"
	"time"

	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
)

// A process that is paused keeps its connections and answers nothing. It carries out the
// commands that it got meanwhile when it continues, when no client waits for them any
// more.
func TestARedisThatIsPausedLosesNothingAndDoublesNothing(t *testing.T) {
	t.Parallel()
	s := faults(t)
	still := 15 * time.Second
	if s.full {
		still = 35 * time.Second // longer than asynq's leases
	}
	server := redistest.Redis(t)
	f := start(t, setup{size: s, client: server.Client, url: server.URL})
	const batch = "b"
	lines := f.makeBusy(batch, 150*time.Millisecond)
	connections := f.connections()
	server.Pause()
	began := time.Now()
	f.awaitTime(began.Add(still))
	resumed := time.Now()
	server.Resume()
	f.wantCalm(lines, still)
	if late := f.arrivals(began.Add(2*f.slack()), resumed); len(late) > 0 {
		t.Errorf("%d calls were started without Redis: %s", len(late), inWords(late, began))
	}
	f.awaitEnded(batch, 0)
	t.Logf("the last call ended %s after Redis continued", time.Since(resumed))
	f.wantAllDoneOnce(batch, s.calls)
	// A connection without an answer is closed; each process has some tens of connections.
	if opened := f.connections() - connections; opened > 100*s.processes {
		t.Errorf("%d connections were opened to a Redis that was paused for %s", opened, still)
	} else {
		t.Logf("%d connections were opened", opened)
	}
}

// connections returns how many connections Redis has accepted in total.
func (f *fleet) connections() int {
	f.t.Helper()
	n, err := strconv.Atoi(f.info("stats")["total_connections_received"])
	if err != nil {
		f.t.Fatal(err)
	}
	return n
}
