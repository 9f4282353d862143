package worker_test

import (
	"errors"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/ledger"
	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
	"github.com/seed-2903acc3/callq/worker"
	"github.com/seed-2903acc3/callq/worker/callqtest"
)

// Old outcomes are looked for once a minute beside that.
func TestWorkersThatRunForLessThanAMinuteRemoveOldResults(t *testing.T) {
	t.Parallel()
	redistest.Each(t, func(t *testing.T, client *redis.Client) {
		t.Parallel()
		first := callqtest.New(t, worker.Config{Redis: client})
		first.Submit(tasks.Call{Batch: "b", Key: "k", Path: "/x"})
		first.Start()
		first.AwaitBatch("b")
		first.Stop()
		if !client.HExists(t.Context(), "callq:{b:b}:meta", "idle").Val() {
			t.Fatal("the retention of a batch that has ended does not begin when its worker ends")
		}

		second := callqtest.New(t, worker.Config{Redis: client, Retention: time.Millisecond})
		second.Start()
		l := ledger.New(client)
		for deadline := time.Now().Add(40 * time.Second); ; {
			_, err := l.Batch(t.Context(), "b")
			if errors.Is(err, ledger.ErrNoBatch) {
				return
			}
			if err != nil || time.Now().After(deadline) {
				t.Fatalf("the batch is still there: %v", err)
			}
			<-time.After(20 * time.Millisecond)
		}
	})
}
