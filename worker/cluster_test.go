package worker_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/ledger"
	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
	"github.com/seed-2903acc3/callq/worker"
	"github.com/seed-2903acc3/callq/worker/callqtest"
	"github.com/seed-2903acc3/callq/worker/circuit"
)

func TestOnAClusterOneBudgetAppliesToTheThreeQueuesOfAnUpstream(t *testing.T) {
	t.Parallel()
	client := redistest.Cluster(t).Client
	// The slots of patsnap's three queues are on three masters.
	env := callqtest.New(t, worker.Config{Redis: client, Upstreams: []worker.Upstream{{Name: "patsnap", Budget: []string{"12 calls/month"}}}})
	second, err := worker.New(worker.Config{Redis: client, Upstreams: []worker.Upstream{{
		Name: "patsnap", BaseURL: env.Sim().URL(), Policy: callqtest.Fast(t), Budget: []string{"12 calls/month"},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		for _, p := range []tasks.Priority{tasks.PriorityHigh, tasks.PriorityNormal, tasks.PriorityLow} {
			env.Submit(tasks.Call{Path: fmt.Sprintf("/%d/%s", i, p), Priority: p, Batch: "b", Key: fmt.Sprint(i, p)})
		}
	}
	env.Start()
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- second.Run(ctx) }()
	defer func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	store, calls := circuit.NewStore(client, "test"), ledger.New(client)
	name := circuit.Name{Upstream: "patsnap"}
	for _, want := range []int{12, 24} {
		env.Sim().AwaitArrivals(want)
		var r circuit.Record
		for deadline := time.Now().Add(30 * time.Second); r.LimitedBy == "" && time.Now().Before(deadline); <-time.After(10 * time.Millisecond) {
			if r, err = store.Get(t.Context(), name); err != nil {
				t.Fatal(err)
			}
		}
		if r.LimitedBy != "budget" || r.LimitedText != "12 calls/month" {
			t.Fatalf("after %[3]d calls held by %[1]q %[2]q, want the budget of 12 calls/month", r.LimitedBy, r.LimitedText, want)
		}
		// The calls in flight end, and no other starts.
		for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); <-time.After(20 * time.Millisecond) {
			if b, err := calls.Batch(t.Context(), "b"); err == nil && int(b.Counts.Done) == want {
				break
			}
		}
		if n := env.Sim().Arrivals(); n != want {
			t.Fatalf("%d calls arrived, want %d", n, want)
		}
		if err := store.Close(t.Context(), name, "we pay", "test"); err != nil {
			t.Fatal(err)
		}
	}
	for _, r := range env.AwaitBatch("b") {
		if r.State != tasks.StateDone || r.Attempts != 1 {
			t.Errorf("%s: got %s with %d attempts, want done with 1", r.Key, r.State, r.Attempts)
		}
	}
}

func TestOnAClusterADeadlineEndsCallsOfEachQueueWhileTheirAccountIsHeld(t *testing.T) {
	t.Parallel()
	client := redistest.Cluster(t).Client
	env := callqtest.New(t, worker.Config{Redis: client, Upstreams: []worker.Upstream{{Name: "patsnap"}}})
	if err := circuit.NewStore(client, "test").Open(t.Context(), circuit.Name{Upstream: "patsnap"}, time.Hour, "test", "test"); err != nil {
		t.Fatal(err)
	}
	env.Start()
	deadline := time.Now().Add(time.Second)
	for _, p := range []tasks.Priority{tasks.PriorityHigh, tasks.PriorityNormal, tasks.PriorityLow} {
		env.Submit(tasks.Call{Path: "/late", Priority: p, Batch: "b", Key: string(p), Deadline: &deadline})
	}
	for _, r := range env.AwaitBatch("b") {
		want(t, r, tasks.StateDead, policy.ClassExpired, 0)
	}
	balanced(t, env, "b", ledger.Counts{Accepted: 3, Dead: 3})
}
