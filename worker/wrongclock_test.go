package worker

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/tasks/broker"
	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
)

// A worker whose clock is ahead would take other workers' calls from them and make
// delayed ones too early.
func TestAWorkerWithAWrongClockDoesNotTouchLeasesAndDelayedTasks(t *testing.T) {
	preset, err := policy.Preset("patsnap")
	if err != nil {
		t.Fatal(err)
	}
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		long := float64(time.Now().Add(-time.Hour).Unix())
		for _, id := range []string{"held", "due"} {
			_, err := asynq.NewClientFromRedisClient(rdb).Enqueue(asynq.NewTask("kind", nil), asynq.Queue("q"), asynq.TaskID(id))
			if err != nil {
				t.Fatal(err)
			}
			pipe := rdb.TxPipeline()
			pipe.LRem(t.Context(), "asynq:{q}:pending", 1, id)
			if id == "due" {
				pipe.ZAdd(t.Context(), "asynq:{q}:scheduled", redis.Z{Score: long, Member: id})
			} else {
				pipe.ZAdd(t.Context(), "asynq:{q}:lease", redis.Z{Score: long, Member: id})
				pipe.LPush(t.Context(), "asynq:{q}:active", id)
			}
			if _, err := pipe.Exec(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		moved := func() (n int64) {
			return 2 - rdb.ZCard(t.Context(), "asynq:{q}:lease").Val() - rdb.ZCard(t.Context(), "asynq:{q}:scheduled").Val()
		}
		w, err := New(Config{Redis: rdb, Upstreams: []Upstream{{Name: "q", BaseURL: "http://127.0.0.1:1", Policy: preset}}})
		if err != nil {
			t.Fatal(err)
		}
		var forwards atomic.Int64
		var o overdue
		for _, right := range []bool{false, true} {
			w.clock.wrong.Store(!right)
			server := asynq.NewServerFromRedisClient(broker.Wrap(rdb, broker.Hooks{
				Dequeue: func(context.Context, broker.Dequeue) (string, error) { return "", redis.Nil },
				Forward: func(queue, set string) bool { defer forwards.Add(1); return w.forward(queue, set) },
			}), asynq.Config{
				Concurrency: 1, Queues: map[string]int{"q": 1}, LogLevel: asynq.FatalLevel,
				TaskCheckInterval: 5 * time.Millisecond, DelayedTaskCheckInterval: 5 * time.Millisecond, ShutdownTimeout: time.Second,
			})
			if err := server.Start(asynq.HandlerFunc(func(context.Context, *asynq.Task) error { return nil })); err != nil {
				t.Fatal(err)
			}
			// Two looks, as far from each other as makes a worker's death certain.
			for range 2 {
				if err := w.reclaimOnce(t.Context(), &o, time.Now(), []string{"q"}); err != nil {
					t.Fatal(err)
				}
				if right {
					for lease, first := range o.seen {
						o.seen[lease] = first.Add(-reclaimAfter)
					}
				}
			}
			done := func() bool { return moved() == 2 }
			if !right {
				done = func() bool { return forwards.Load() > 10 }
			}
			for deadline := time.Now().Add(30 * time.Second); !done(); {
				if time.Now().After(deadline) {
					t.Errorf("timed out waiting for asynq, with a right clock %t", right)
					break
				}
				<-time.After(5 * time.Millisecond)
			}
			server.Shutdown()
			if !right && moved() > 0 {
				t.Error("tasks were moved by a worker with a wrong clock")
			}
		}
	})
}
