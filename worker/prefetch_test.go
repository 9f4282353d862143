package worker

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/broker"
	"github.com/seed-2903acc3/callq/tasks/ledger"
	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
)

// workerWithCalls returns a worker, and enqueues calls in the order of their keys. The test
// does what asynq does.
func workerWithCalls(t *testing.T, rdb *redis.Client, concurrency, calls int, limits ...string) *Worker {
	t.Helper()
	pol, err := policy.Preset("patsnap")
	if err != nil {
		t.Fatal(err)
	}
	w, err := New(Config{Redis: rdb, Concurrency: concurrency, Upstreams: []Upstream{{
		Name: "api", BaseURL: "http://api.invalid", Policy: pol, Limits: limits,
	}}})
	if err != nil {
		t.Fatal(err)
	}
	producer, err := tasks.NewProducer(rdb, tasks.ProducerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range calls {
		if _, err := producer.Submit(t.Context(), tasks.Call{Upstream: "api", Path: "/", Key: fmt.Sprint(i), Batch: "b"}); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

// fetch does what an asynq server does when it is free to take a task.
func fetch(t *testing.T, w *Worker) *ledger.Delivery {
	t.Helper()
	msg, err := w.dequeue(t.Context(), broker.Dequeue{Queue: "api", LeaseUntil: time.Now().Add(time.Minute).Unix()})
	if err != nil {
		t.Fatal(err)
	}
	for _, delivery := range w.deliveries.handed {
		if delivery.Message == msg {
			return delivery
		}
	}
	t.Fatalf("no delivery has the message %q", msg)
	return nil
}

func count(rdb *redis.Client, list string) int64 {
	return rdb.LLen(context.Background(), asynqKey("api", list)).Val()
}

func TestPrefetchedCallsHaveTheSemaphoreAndAreMadeInOrder(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		w := workerWithCalls(t, rdb, 3, 5)
		for i := range 3 {
			if delivery := fetch(t, w); delivery.Key != fmt.Sprint(i) {
				t.Fatalf("got call %s, want %d", delivery.Key, i)
			}
			if active := count(rdb, "active"); active != 3 {
				t.Fatalf("%d calls are dequeued, want 3", active)
			}
		}
		if w.semaphore.free != 0 {
			t.Errorf("%d permits are free, want 0", w.semaphore.free)
		}
	})
}

func TestUnusedPermitsOfAPrefetchAreReleased(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		w := workerWithCalls(t, rdb, 8, 2)
		fetch(t, w)
		fetch(t, w)
		if w.semaphore.free != 6 {
			t.Errorf("%d permits are free, want 6", w.semaphore.free)
		}
	})
}

func TestADrainPutsBackPrefetchedCalls(t *testing.T) {
	for _, limits := range [][]string{nil, {"100/day"}} {
		redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
			w := workerWithCalls(t, rdb, 5, 6, limits...)
			a := w.accounts["api"]
			fetch(t, w)
			close(w.draining)
			left := a.prefetch.drain()
			w.returnPrefetched(t.Context(), a, left[2:])
			w.pushPrefetched(t.Context(), a, left[:2]) // a fetcher that is too late
			if a.prefetch.pop() != nil || count(rdb, "active") != 1 || w.semaphore.free != 4 {
				t.Errorf("%d calls are active and %d permits free, want 1 and 4, and nothing prefetched", count(rdb, "active"), w.semaphore.free)
			}
			other := workerWithCalls(t, rdb, 5, 0, limits...)
			var order []string
			for range 5 {
				delivery := fetch(t, other)
				order = append(order, delivery.Key)
				if parked := delivery.Key != "5"; delivery.Starts != 1 || delivery.Parked == 1 != parked {
					t.Errorf("call %s: start %d, parked %d", delivery.Key, delivery.Starts, delivery.Parked)
				}
			}
			if want := []string{"1", "2", "3", "4", "5"}; !slices.Equal(order, want) {
				t.Errorf("the calls came back in the order %v, want %v", order, want)
			}
			if used := rdb.HGet(t.Context(), "callq:{api}:limits", "n:1day").Val(); limits != nil && used != "6" {
				t.Errorf("limit %v: used %q, want 6", rdb.HGetAll(t.Context(), "callq:{api}:limits").Val(), used)
			}
		})
	}
}

func TestACallThatWaitedAfterItsDequeueAsksRedisAgain(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		w := workerWithCalls(t, rdb, 2, 2)
		for _, since := range []time.Duration{0, 2 * recheckAfter} {
			delivery := fetch(t, w)
			delivery.Received = time.Now().Add(-since)
			inflight, _, ok := w.open(t.Context(), delivery)
			if !ok || inflight.waited != (since > recheckAfter) {
				t.Errorf("%s after its dequeue: opened %v, waited %v", since, ok, inflight.waited)
			}
		}
	})
}
