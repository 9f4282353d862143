package worker

import (
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/broker/brokertest"
	"github.com/seed-2903acc3/callq/tasks/ledger"
)

func TestABrokenMessageOfADeadWorkersCallKeepsNoOtherFromBeingRecovered(t *testing.T) {
	t.Parallel()
	rdb, ctx := brokertest.Redis(t).Client, t.Context()
	preset, err := policy.Preset("http")
	if err != nil {
		t.Fatal(err)
	}
	w, err := New(Config{Redis: rdb, Upstreams: []Upstream{{Name: "api", Policy: preset}}})
	if err != nil {
		t.Fatal(err)
	}
	producer, err := tasks.NewProducer(rdb, tasks.ProducerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	// What workers leave that died a while ago.
	long := float64(time.Now().Add(-time.Hour).Unix())
	abandoned := func(id string) {
		pipe := rdb.TxPipeline()
		pipe.LRem(ctx, "asynq:{api}:pending", 0, id)
		pipe.LPush(ctx, "asynq:{api}:active", id)
		pipe.ZAdd(ctx, "asynq:{api}:lease", redis.Z{Score: long, Member: id})
		if _, err := pipe.Exec(ctx); err != nil {
			t.Fatal(err)
		}
	}
	ids := map[string]string{}
	for _, name := range []string{"honest", "garbage", "of another kind", "gone"} {
		r, err := producer.Submit(ctx, tasks.Call{Upstream: "api", Path: "/a", Key: name})
		if err != nil {
			t.Fatal(err)
		}
		ids[name] = r.ID
		abandoned(r.ID)
	}
	rdb.HSet(ctx, "asynq:{api}:t:"+ids["garbage"], "msg", "\xff\xff no message")
	rdb.Del(ctx, "asynq:{api}:t:"+ids["of another kind"], "asynq:{api}:t:"+ids["gone"])
	rdb.Set(ctx, "asynq:{api}:t:"+ids["of another kind"], "no hash", 0)
	rdb.HSet(ctx, "asynq:{api}:t:stray", "msg", "{}")
	abandoned("stray")

	w.unjam(ctx)
	books := ledger.New(rdb)
	for _, id := range []string{ids["garbage"], ids["of another kind"], ids["gone"], "stray"} {
		if r, err := books.Get(ctx, "api", id); err != nil || r.State != ledger.Dead || r.Ending.Class != string(policy.MalformedTask) {
			t.Errorf("%s is %+v, %v", id, r, err)
		}
	}
	if r, err := books.Get(ctx, "api", ids["honest"]); err != nil || r.State != ledger.Open {
		t.Errorf("the honest call is %s, %v", r.State, err)
	}
	active, err := asynq.NewInspectorFromRedisClient(rdb).ListActiveTasks("api")
	if err != nil || len(active) != 1 || active[0].ID != ids["honest"] || !active[0].IsOrphaned {
		t.Errorf("asynq finds %+v, %v", active, err)
	}
	batches, err := books.Batches(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range batches {
		if found, err := books.Audit(ctx, b.Name, tasks.TaskID); err != nil || len(found) > 0 {
			t.Errorf("the audit of %s finds %+v, %v", b.Name, found, err)
		}
	}
}
