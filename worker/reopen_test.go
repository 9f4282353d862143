package worker

import (
	"context"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/ledger"
	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
)

func TestACallWhoseEndingRedisHasLostIsPutBackThoughItsTaskIsArchived(t *testing.T) {
	preset, err := policy.Preset("patsnap")
	if err != nil {
		t.Fatal(err)
	}
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := t.Context()
		w, err := New(Config{Redis: rdb, Upstreams: []Upstream{{Name: "q", BaseURL: "http://127.0.0.1:1", Policy: preset}}})
		if err != nil {
			t.Fatal(err)
		}
		producer, err := tasks.NewProducer(rdb, tasks.ProducerConfig{})
		if err != nil {
			t.Fatal(err)
		}
		archive := func(key string, at time.Time, ends bool) string {
			t.Helper()
			r, err := producer.Submit(ctx, tasks.Call{Upstream: "q", Batch: "b", Key: key, Path: "/" + key})
			if err != nil {
				t.Fatal(err)
			}
			got, err := w.dispatcher.Dequeue(ctx, ledger.DequeueRequest{Queues: []string{"q"}, LeaseUntil: time.Now().Add(time.Minute).Unix(), Turn: time.Minute})
			if err != nil || got.Delivery == nil {
				t.Fatalf("took %+v: %v", got, err)
			}
			if ends {
				f := ledger.Final{State: ledger.Dead, Ending: ledger.Ending{Class: "unknown", FinishedAt: time.Now()}, Group: ledger.Group{Class: "unknown"}}
				if _, applied, err := w.dispatcher.End(ctx, got.Delivery, f, nil); !applied || err != nil {
					t.Fatalf("the ending is not recorded: %v", err)
				}
			}
			pipe := rdb.TxPipeline()
			pipe.LRem(ctx, "asynq:{q}:active", 1, r.ID)
			pipe.ZRem(ctx, "asynq:{q}:lease", r.ID)
			pipe.ZAdd(ctx, "asynq:{q}:archived", redis.Z{Score: float64(at.Unix()), Member: r.ID})
			pipe.HSet(ctx, "asynq:{q}:t:"+r.ID, "state", "archived")
			if _, err := pipe.Exec(ctx); err != nil {
				t.Fatal(err)
			}
			return r.ID
		}
		var seen reopened
		look := func(want ...string) {
			t.Helper()
			if err := w.reopen(context.WithoutCancel(ctx), &seen, time.Now()); err != nil {
				t.Fatal(err)
			}
			pending, err := rdb.LRange(ctx, "asynq:{q}:pending", 0, -1).Result()
			if err != nil || len(pending) != len(want) || len(want) > 0 && pending[0] != want[0] {
				t.Errorf("pending are %v, want %v: %v", pending, want, err)
			}
		}
		archive("dead", time.Now(), true)
		look()
		recovered := archive("lost", time.Now().Add(-10*time.Second), false) // by the clock of its worker
		w.clock.wrong.Store(true)
		look()
		w.clock.wrong.Store(false)
		look(recovered)
		look(recovered)
		if n := rdb.ZCard(ctx, "asynq:{q}:archived").Val(); n != 1 {
			t.Errorf("%d tasks are archived, want that of the dead letter", n)
		}
	})
}
