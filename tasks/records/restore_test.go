package records_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/ledger"
	"github.com/seed-2903acc3/callq/tasks/records"
	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
)

// manyOrphaned is how many orphaned calls are restored. CALLQ_TEST_LOST=100000 must
// take less than a minute.
func manyOrphaned() int {
	n, err := strconv.Atoi(os.Getenv("CALLQ_TEST_LOST"))
	if err != nil || n < 1 {
		n = 4500
	}
	return n
}

// roundTrips counts the round trips of a client.
type roundTrips struct{ n int }

func (*roundTrips) DialHook(next redis.DialHook) redis.DialHook { return next }

func (r *roundTrips) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error { r.n++; return next(ctx, cmd) }
}

func (r *roundTrips) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error { r.n++; return next(ctx, cmds) }
}

// submitMany submits n calls, every third with low priority, and returns the keys of
// their tasks.
func submitMany(t *testing.T, rdb *redis.Client, n int) (keys []string) {
	t.Helper()
	p, err := tasks.NewProducer(rdb, tasks.ProducerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = p.SubmitAll(t.Context(), "b", func(yield func(tasks.Call, error) bool) {
		for i := range n {
			c := tasks.Call{Upstream: "sim", Path: fmt.Sprintf("/%d", i), Key: fmt.Sprint(i)}
			queue := "sim"
			if i%3 == 0 {
				c.Priority, queue = tasks.PriorityLow, "sim:low"
			}
			keys = append(keys, "asynq:{"+queue+"}:t:"+tasks.TaskID("b", c.Key))
			if !yield(c, nil) {
				return
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// wantPendingOnce requires that want calls are pending, apart from one, and each once.
func wantPendingOnce(t *testing.T, rdb *redis.Client, except string, want int) {
	t.Helper()
	pending := map[string]int{}
	for _, queue := range []string{"sim", "sim:low"} {
		for _, id := range rdb.LRange(t.Context(), "asynq:{"+queue+"}:pending", 0, -1).Val() {
			pending[id]++
		}
	}
	delete(pending, except)
	if len(pending) != want {
		t.Errorf("got %d pending calls, want %d", len(pending), want)
	}
	for id, times := range pending {
		if times != 1 {
			t.Errorf("call %s is pending %d times", id, times)
		}
	}
}

func TestOrphanedCallsAreRestoredManyAtATime(t *testing.T) {
	damages := map[string]func(rdb *redis.Client, keys []string) error{
		"all tasks gone, and the lists": func(rdb *redis.Client, keys []string) error {
			return rdb.Del(t.Context(), append(keys, "asynq:{sim}:pending", "asynq:{sim:low}:pending")...).Err()
		},
		"all tasks gone, their ids still on the lists": func(rdb *redis.Client, keys []string) error {
			return rdb.Del(t.Context(), keys...).Err()
		},
		"all tasks on no list": func(rdb *redis.Client, _ []string) error {
			return rdb.Del(t.Context(), "asynq:{sim}:pending", "asynq:{sim:low}:pending").Err()
		},
	}
	for name, damage := range damages {
		t.Run(name, func(t *testing.T) {
			rdb := redistest.Redis(t).Client
			n := manyOrphaned()
			keys := submitMany(t, rdb, n)
			garbled := tasks.TaskID("b", "1")
			if err := errors.Join(damage(rdb, keys), rdb.HSet(t.Context(), "callq:{sim}:c:"+garbled, "content", "{").Err()); err != nil {
				t.Fatal(err)
			}
			trips, refused := &roundTrips{}, []string(nil)
			rdb.AddHook(trips)
			search := ledger.Search{ID: tasks.TaskID, By: time.Now(), Max: n}
			began := time.Now()
			store, err := records.New(rdb)
			if err != nil {
				t.Fatal(err)
			}
			restored, err := store.RestoreAll(t.Context(), ledger.NewRepairer(rdb).Orphaned(t.Context(), &search), search.By, func(r ledger.Record, err error) {
				refused = append(refused, r.ID)
			})
			t.Logf("%d calls in %v, %d round trips", restored, time.Since(began), trips.n)
			if err != nil || restored != n-1 || fmt.Sprint(refused) != fmt.Sprint([]string{garbled}) {
				t.Errorf("got %d of %d restored, %v refused, %v", restored, n, refused, err)
			}
			if trips.n > n/50+40 {
				t.Errorf("got %d round trips", trips.n)
			}
			wantPendingOnce(t, rdb, garbled, n-1)
			for r, err := range ledger.NewRepairer(rdb).Orphaned(t.Context(), &search) {
				if err != nil || r.ID != garbled {
					t.Errorf("still orphaned: %s, %v", r.ID, err)
				}
			}
		})
	}
}
