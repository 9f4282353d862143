package tasks_test

import (
	"fmt"
	"strconv"
	"strings"
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
	var took, redisTook [3]float64
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
			began, used := time.Now(), mainThread(b, rdb)
			n, err := change()
			if err != nil || n != calls {
				b.Fatalf("changed %d of %d calls: %v", n, calls, err)
			}
			took[i] += time.Since(began).Seconds()
			redisTook[i] += mainThread(b, rdb) - used
			b.StopTimer()
			rdb.FlushAll(b.Context())
			b.StartTimer()
		}
	}
	for i, name := range []string{"cancel", "redrive", "purge"} {
		all := float64(calls * b.N)
		b.ReportMetric(all/took[i], name+"/s")
		b.ReportMetric(redisTook[i]*1e6/all, "µs-redis/"+name)
	}
	b.ReportMetric(0, "ns/op")
}

func submitMany(b *testing.B, rdb *redis.Client, batch string, n int) {
	b.Helper()
	producer, err := tasks.NewProducer(rdb, tasks.ProducerConfig{})
	if err != nil {
		b.Fatal(err)
	}
	sum, err := producer.SubmitAll(b.Context(), batch, func(yield func(tasks.Call, error) bool) {
		for i := range n {
			if !yield(tasks.Call{Upstream: "api", Path: fmt.Sprintf("/patent/%d/claims", i)}, nil) {
				return
			}
		}
	})
	if err != nil || sum.Accepted != n {
		b.Fatalf("%d of %d calls were accepted: %v", sum.Accepted, n, err)
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

// mainThread returns how many seconds of CPU time Redis's main thread has taken.
func mainThread(b *testing.B, rdb *redis.Client) (sum float64) {
	b.Helper()
	for line := range strings.Lines(rdb.Info(b.Context(), "cpu").Val()) {
		if name, value, _ := strings.Cut(strings.TrimSpace(line), ":"); strings.HasSuffix(name, "_main_thread") {
			n, err := strconv.ParseFloat(value, 64)
			if err != nil {
				b.Fatal(err)
			}
			sum += n
		}
	}
	return sum
}
