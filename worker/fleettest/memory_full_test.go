package fleettest

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/seed-2903acc3/callq/tasks/ledger"
	"github.com/seed-2903acc3/callq/worker/circuit"
	"github.com/seed-2903acc3/callq/worker/simapi"
)

// memory sets how much more memory Redis may use than now; below 0 there is no limit.
func (f *fleet) memory(more int) {
	f.t.Helper()
	limit := "0"
	if more >= 0 {
		used, err := strconv.Atoi(f.info("memory")["used_memory"])
		if err != nil {
			f.t.Fatal(err)
		}
		limit = fmt.Sprint(used + more)
	}
	if more == 0 {
		limit = "1"
	}
	if err := f.client.Do(f.t.Context(), "CONFIG", "SET", "maxmemory", limit).Err(); err != nil {
		f.t.Fatal(err)
	}
}

// Results need more memory than waiting calls, so making calls while Redis is full would let
// it grow without limit. So no call starts. The calls in flight are recorded; these are at
// most as many as the fleet makes at once.
func TestWhenRedisIsFullCallsInProgressAreRecordedAndNoOtherStarts(t *testing.T) {
	t.Parallel()
	s := faults(t)
	s.calls /= 3
	f := start(t, setup{size: s})
	const batch = "b"
	// The calls in progress when the memory is full get a quota error.
	f.script("shared * * -> ok x%d latency=50ms; %s retry-after=8 latency=2s forever", s.calls/4, quota)
	f.sendMixed(batch, s.calls)
	f.awaitAPI("calls that will be refused", func(now simapi.Stats) bool { return now.ByAnswer[quota] > 0 })
	lines, _ := f.complaints()
	f.memory(0)
	full := time.Now()
	hold := f.awaitHold(0)
	f.awaitAPI("the calls in progress to end", func(now simapi.Stats) bool { return now.InFlight == 0 })
	f.await("the answers to be recorded", func() bool {
		return f.queue(normalQueue).Active+f.queue(highQueue).Active+f.queue(lowQueue).Active == 0
	})
	if c := f.counts(batch); c.Done != int64(s.calls/4) || c.Open != int64(s.calls-s.calls/4) {
		t.Errorf("the counts are %+v, want %d done and the rest open", c, s.calls/4)
	}
	f.script("* * -> ok latency=50ms forever")
	f.awaitTime(hold.Until.Add(3 * time.Second))
	if late := f.arrivals(full.Add(f.slack()), time.Time{}); len(late) > 0 {
		t.Errorf("%d calls were started without memory: %s", len(late), inWords(late, full))
	}
	for _, p := range f.processes {
		f.await(p.name+" to say what is wrong and what to do", func() bool {
			return strings.Contains(p.log.String(), "its memory is full; raise maxmemory on the server")
		})
	}
	f.wantCalm(lines, time.Since(full))
	f.wantBalanced(batch)
	// An operator can still close the circuit.
	f.pile(upstream)
	f.release(upstream)
	if r := f.circuit(); r.State != circuit.Closed {
		t.Errorf("after an operator's close the circuit is %+v", r)
	}

	f.memory(-1)
	f.awaitEnded(batch, 0)
	f.wantAllDoneOnce(batch, s.calls)
}

func TestASendToAFullRedisReportsItAndIsCompletedByTheNext(t *testing.T) {
	t.Parallel()
	s := faults(t)
	f := start(t, setup{size: s})
	f.pile(upstream) // accepted calls stay in the queue
	const batch, lines = "b", 6000
	var text bytes.Buffer
	for i := range lines {
		fmt.Fprintf(&text, `{"key":"k%d","path":"/b/%d","query":{"note":"%s"}}`+"\n", i, i, strings.Repeat("x", 500))
	}
	file := filepath.Join(t.TempDir(), "calls.jsonl")
	if err := os.WriteFile(file, text.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	// First there is memory for no call, then for some.
	for _, more := range []int{0, 4 << 20} {
		f.memory(more)
		status, output := f.callq("send", file, "--batch", batch)
		if status != 1 || !strings.Contains(output, "its memory is full; raise maxmemory on the server") {
			t.Errorf("send to a full Redis ended with status %d:\n%s", status, output)
		}
		if strings.Contains(output, "OOM") {
			t.Errorf("send printed Redis's own error:\n%s", output)
		}
	}
	part := f.counts(batch)
	if part.Accepted == 0 || part.Accepted == lines || part.Accepted != part.Open {
		t.Errorf("with memory for some calls the counts are %+v, want a part of %d", part, lines)
	}
	f.wantTasks(part)
	f.wantBalanced(batch)

	f.memory(-1)
	if status, output := f.callq("send", file, "--batch", batch); status != 0 {
		t.Errorf("send, with memory again, ended with status %d:\n%s", status, output)
	}
	f.release(upstream)
	f.awaitEnded(batch, 0)
	f.wantAllDoneOnce(batch, lines)
	if status, output := f.callq("audit"); status != 0 {
		t.Errorf("audit ended with status %d, want 0:\n%s", status, output)
	}
}

// wantTasks checks that there is a task for each open call.
func (f *fleet) wantTasks(c ledger.Counts) {
	f.t.Helper()
	if info := f.queue(normalQueue); int64(info.Pending) != c.Open {
		f.t.Errorf("%d tasks wait for %d open calls", info.Pending, c.Open)
	}
}
