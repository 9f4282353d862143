package fleettest

import (
	"strings"
	"testing"
	"time"

	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
	"github.com/seed-2903acc3/callq/worker/simapi"
)

// While an fsync takes long, Redis with appendfsync everysec answers before it has
// written, and a kill makes it lose what it confirmed: calls that were dequeued,
// marked, answered and recorded are open again.
func TestNoCallIsSentTwiceByARedisThatIsKilledOnASlowDisk(t *testing.T) {
	t.Parallel()
	s := faults(t)
	kills := 3
	s.calls = 900
	if s.full {
		kills, s.calls = 12, 4000
	}
	server := redistest.SlowDisk(t, 1200*time.Millisecond)
	f := start(t, setup{size: s, client: server.Client, url: server.URL})
	f.script("* * -> ok latency=150ms forever")
	const batch = "b"
	f.sendMixed(batch, s.calls)
	f.await("the batch to be in Redis's file", func() bool {
		info, err := server.Client.Info(t.Context(), "persistence").Result()
		return err == nil && strings.Contains(info, "\naof_buffer_length:0\r")
	})
	list := killsOf(seed(t), 0, kills, 1, s.calls)
	for _, b := range list {
		f.awaitAPI("more calls", func(now simapi.Stats) bool { return now.Arrivals >= int64(b.after) })
		server.Restart()
	}
	f.awaitEnded(batch, 0)
	f.wantNothingLostOrTwice(batch, s.calls, s.calls)
	if status, output := f.callq("audit"); status != 0 {
		t.Errorf("audit ended with status %d, want 0:\n%s", status, output)
	}
}
