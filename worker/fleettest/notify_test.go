package fleettest

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/worker/circuit"
	"github.com/seed-2903acc3/callq/worker/notify/notifytest"
)

// collector returns the process that looks for events for the whole fleet, once there is one.
func (f *fleet) collector() (leader *process) {
	f.t.Helper()
	f.await("a worker to look for events", func() bool {
		holder, err := f.client.Get(f.t.Context(), "callq:{n:events}:collecting").Result()
		if err != nil {
			return false
		}
		pid, _, _ := strings.Cut(holder, "-")
		for _, p := range f.processes {
			if strconv.Itoa(p.cmd.Process.Pid) == pid {
				leader = p
				return true
			}
		}
		return false
	})
	return leader
}

// replace starts another process in place of one that was killed.
func (f *fleet) replace(killed *process) {
	f.processes[slices.Index(f.processes, killed)] = f.add()
}

func TestAReceiverThatWasDownGetsEveryEventAlthoughTheWorkersThatFindThemAreKilled(t *testing.T) {
	unlessMeasured(t)
	s := fleetSize(t)
	s.processes, s.concurrency = 2, 4
	down := 5 * time.Second
	if s.full {
		down = time.Minute
	}
	r := notifytest.New(t, notifytest.Secret)
	r.Answer(0)
	f := start(t, setup{size: s, notify: fmt.Sprintf("{name: ops, url: %q, secret: %q}", r.URL, notifytest.Secret)})
	upAt := time.Now().Add(down)
	const batches = 12
	name := circuit.Name{Upstream: upstream}
	for i := range batches {
		batch := fmt.Sprintf("b%d", i)
		f.send(batch, 20)
		f.awaitEnded(batch, 0)
		if i%4 == 1 {
			leader := f.collector()
			leader.kill()
			f.replace(leader)
		}
	}
	if err := f.circuits.Open(t.Context(), name, time.Hour, "test", "alice"); err != nil {
		t.Fatal(err)
	}
	f.await("the open circuit to be found", func() bool {
		n, err := f.client.HLen(t.Context(), "callq:{n:events}:open").Result()
		return err == nil && n == 1
	})
	if err := f.circuits.Close(t.Context(), name, "test", "alice"); err != nil {
		t.Fatal(err)
	}
	f.sendCalls("b0", 1, func(_ int, c *tasks.Call) { c.Key, c.Path = "more", "/b0/more" }) // b0 ends again
	f.awaitEnded("b0", 0)
	leader := f.collector()
	leader.kill()
	f.replace(leader)
	f.awaitTime(upAt)
	r.Answer(204)
	got := r.Await("all events", func(got []notifytest.Delivery) bool { return len(got) >= batches+3 })
	ended := map[string][]float64{}
	var others []string
	for _, d := range got {
		if d.Type == "batch_ended" {
			batch := d.Data["batch"].(string)
			ended[batch] = append(ended[batch], d.Data["accepted"].(float64))
			continue
		}
		others = append(others, d.Type)
	}
	for i := range batches {
		want := []float64{20}
		if i == 0 {
			want = []float64{20, 21}
		}
		if batch := fmt.Sprintf("b%d", i); !slices.Equal(ended[batch], want) {
			t.Errorf("batch %s ended with %v calls, want %v", batch, ended[batch], want)
		}
	}
	if !slices.Equal(others, []string{"circuit_opened", "circuit_closed"}) {
		t.Errorf("the other events are %v", others)
	}
	f.wantBalanced("notify.ops")
}
