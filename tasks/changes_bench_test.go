package tasks_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/ledger"
	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
)

// BenchmarkChanges measures changes of many calls: CancelBatch, RedriveAll and PurgeAll, in
// calls a second, and in microseconds that Redis's main thread takes for a call.
func BenchmarkChanges(b *testing.B) {
	const calls = 20_000
	var took, redisTook [3]time.Duration
	for b.Loop() {
		rdb := redistest.Redis(b).Client
		client, err := tasks.NewClient(rdb, tasks.ClientConfig{})
		if err != nil {
			b.Fatal(err)
		}
		for i, change := range []func() (int, error){
			func() (int, error) {
				n, err := client.CancelBatch(b.Context(), "batch", tasks.Cancellation{}, nil)
				return int(n.Cancelled), err
			},
			func() (int, error) {
				n, err := client.RedriveAll(b.Context(), tasks.DeadFilter{}, tasks.Pace{})
				return n.Applied, err
			},
			func() (int, error) {
				n, err := client.PurgeAll(b.Context(), tasks.DeadFilter{}, tasks.Pace{})
				return n.Applied, err
			},
		} {
			submitMany(b, rdb, "batch", calls)
			if i > 0 {
				killAll(b, rdb)
			}
			began, used := time.Now(), redistest.MainThread(b, rdb)
			n, err := change()
			if err != nil || n != calls {
				b.Fatalf("changed %d of %d calls: %v", n, calls, err)
			}
			took[i] += time.Since(began)
			redisTook[i] += redistest.MainThread(b, rdb) - used
			b.StopTimer()
			rdb.FlushAll(b.Context())
			b.StartTimer()
		}
	}
	for i, name := range []string{"cancel", "redrive", "purge"} {
		all := float64(calls * b.N)
		b.ReportMetric(all/took[i].Seconds(), name+"/s")
		b.ReportMetric(float64(redisTook[i].Microseconds())/all, "µs-redis/"+name)
	}
	b.ReportMetric(0, "ns/op")
}

// submitMany sends n calls in bulk.
func submitMany(t testing.TB, rdb *redis.Client, batch string, n int) {
	t.Helper()
	producer, err := tasks.NewProducer(rdb, tasks.ProducerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	sum, err := producer.SubmitAll(t.Context(), batch, func(yield func(tasks.Call, error) bool) {
		for i := range n {
			if !yield(tasks.Call{Upstream: "api", Path: fmt.Sprintf("/patent/%d/claims", i)}, nil) {
				return
			}
		}
	})
	if err != nil || sum.Accepted != n {
		t.Fatalf("%d of %d calls were accepted: %v", sum.Accepted, n, err)
	}
}

// killAll ends all waiting calls as dead letters, as a worker does.
func killAll(b *testing.B, rdb *redis.Client) {
	b.Helper()
	dispatcher := ledger.NewDispatcher(rdb, "")
	for {
		got, err := dispatcher.Dequeue(b.Context(), ledger.DequeueRequest{
			Queues: []string{"api"}, LeaseUntil: time.Now().Add(time.Minute).Unix(), More: make([]int, 99),
		})
		if err != nil {
			b.Fatal(err)
		}
		if got.Delivery == nil {
			return
		}
		for _, t := range append(got.More, got.Delivery) {
			final := ledger.Final{
				State: ledger.Dead, Ending: ledger.Ending{Class: "invalid", Code: "67200001", HTTPStatus: 401, Message: "the token is invalid", Attempts: 1, FinishedAt: time.Now()},
				Group: ledger.Group{Class: "invalid", Code: "67200001", Endpoint: "GET /patent/*/claims"},
			}
			if _, _, err := dispatcher.End(b.Context(), t, final, &ledger.Attempt{At: time.Now(), N: 1, Action: "dead_letter", Class: "invalid", Status: 401}); err != nil {
				b.Fatal(err)
			}
		}
		rdb.Del(b.Context(), "asynq:{api}:active", "asynq:{api}:lease")
	}
}
