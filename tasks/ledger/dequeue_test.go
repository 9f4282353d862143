package ledger

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
	"github.com/seed-2903acc3/callq/tasks/redislua"
)

func TestADequeueReturnsTheRecordAndLeasesTheTask(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		d.accept("b", "q", "k1", "k2")
		got := d.dequeue("q")
		if got.Delivery.Message != "message of k1" {
			t.Fatalf("message %q", got.Delivery.Message)
		}
		delivery := got.Delivery
		if !delivery.Known || delivery.Key != "k1" || delivery.Batch != "b" || string(delivery.Content) != "content of k1" || delivery.Generation != 1 || delivery.State != Open {
			t.Fatalf("got %+v", delivery)
		}
		if age := time.Since(delivery.At); age < -time.Minute || age > time.Minute {
			t.Fatalf("taken at %s", delivery.At)
		}
		d.wantPlaces("q", delivery.ID, "active", "lease", "task")
		task := rdb.HGetAll(t.Context(), keysOf("q").task(delivery.ID)).Val()
		if task["state"] != "active" || task["msg"] == "" {
			t.Fatalf("asynq's task is %v", task)
		}
	})
}

func TestStartsCountTheDeliveriesSinceTheLastDecision(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		d.accept("b", "q", "k")
		for want := 1; want <= 3; want++ {
			delivery := d.take("q")
			if delivery.Starts != want {
				t.Fatalf("start %d, want %d", delivery.Starts, want)
			}
			d.retry("q", delivery.ID) // its worker died
			d.forward("q")
		}
		delivery := d.take("q")
		delivery.Attempts = 1
		_, applied, err := d.dispatcher.Attempt(t.Context(), delivery, &Attempt{N: 1})
		if err != nil || !applied {
			t.Fatal(applied, err)
		}
		d.retry("q", delivery.ID)
		d.forward("q")
		if delivery := d.take("q"); delivery.Starts != 1 || delivery.Attempts != 1 {
			t.Fatalf("after a decision: got start %d, attempts %d", delivery.Starts, delivery.Attempts)
		}
	})
}

func TestAPausedQueueDeliversNothing(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		d.accept("b", "q", "k")
		d.must(rdb.Set(t.Context(), keysOf("q").paused(), 1, 0).Err())
		if got := d.dequeue("q"); got.Delivery != nil || got.Held != 0 {
			t.Fatalf("got %+v", got)
		}
		// A hold that begins and ends does not change the operator's pause.
		d.hold("q", time.Now().Add(-time.Second))
		if d.dequeue("q").Delivery != nil {
			t.Fatal("after a hold, a paused queue delivered a call")
		}
		d.must(rdb.Del(t.Context(), keysOf("q").paused()).Err())
		d.take("q")
	})
}

func TestAHeldQueueDeliversNothingAndReturnsTheWait(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		d.accept("b", "q", "k")
		d.hold("q", time.Now().Add(time.Hour))
		got := d.dequeue("q")
		if got.Delivery != nil || got.Held < 59*time.Minute || got.Held > time.Hour {
			t.Fatalf("got %+v", got)
		}
		d.wantPlaces("q", idOf("b", "k"), "pending", "task")
	})
}

func TestAfterAHoldExactlyOneOfManyDequeuersGetsATask(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		for i := range 50 {
			d.accept("b", "q", fmt.Sprint(i))
		}
		d.hold("q", time.Now().Add(-time.Second))
		var wg sync.WaitGroup
		var out, held atomic.Int32
		for range 16 {
			wg.Go(func() {
				for range 10 {
					got, err := NewDispatcher(d.rdb, "").Dequeue(context.Background(), DequeueRequest{Queues: []string{"q"}, LeaseUntil: time.Now().Add(time.Minute).Unix(), Turn: time.Hour})
					switch {
					case err != nil:
						t.Error(err)
					case got.Delivery != nil:
						out.Add(1)
						c := got.Delivery.Circuit
						if !c.AfterHold || c.Epoch != 7 || c.Streak != 2 || c.Endpoints != 1 || c.Held < time.Minute+2*time.Second {
							t.Errorf("got circuit %+v", c)
						}
					case got.Held > 59*time.Minute:
						held.Add(1)
					}
				}
			})
		}
		wg.Wait()
		if out.Load() != 1 || held.Load() != 159 {
			t.Fatalf("got %d calls delivered, %d dequeues held", out.Load(), held.Load())
		}
	})
}

func TestAProbeWhoseWorkerDiesDelaysTheNextProbeByOneTurn(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		d.accept("b", "q", "k1", "k2")
		d.hold("q", time.Now().Add(-time.Second))
		d.take("q") // its worker dies
		if got := d.dequeue("q"); got.Delivery != nil || got.Held <= 0 {
			t.Fatalf("got %+v", got)
		}
		d.must(rdb.HSet(t.Context(), redislua.CircuitKey("q", ""), "turn", time.Now().Add(-time.Millisecond).UnixMilli()).Err())
		if delivery := d.take("q"); !delivery.Circuit.AfterHold {
			t.Fatal("the next call does not report that it comes after a hold")
		}
	})
}

func TestADequeueRemovesPendingTasksThatHaveEnded(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		for i := range 150 { // more than one dequeue removes
			d.accept("b", "q", fmt.Sprint(i))
		}
		d.accept("b", "q", "alive")
		for i := range 150 {
			cancelled, active, err := d.l.Cancel(t.Context(), d.record("q", idOf("b", fmt.Sprint(i))), Ending{Class: "cancelled"})
			if err != nil || !cancelled || active {
				t.Fatal(cancelled, active, err)
			}
		}
		d.hold("q", time.Now().Add(-time.Second))
		if got := d.dequeue("q"); got.Delivery != nil || got.Empty {
			t.Fatal("the first dequeue should not be finished, and report that there may be more")
		}
		delivery := d.take("q") // removing them does not use up a turn
		if delivery.Key != "alive" {
			t.Fatalf("got %s", delivery.Key)
		}
		k := keysOf("q")
		if n := rdb.LLen(t.Context(), k.pending()).Val() + rdb.LLen(t.Context(), k.active()).Val(); n != 1 {
			t.Fatalf("%d tasks are still on the lists", n)
		}
		for i := range 150 {
			d.wantPlaces("q", idOf("b", fmt.Sprint(i)))
		}
		d.wantCounts("b", Counts{Accepted: 151, Open: 1, Cancelled: 150})
	})
}

func TestATaskWithoutItsHashDoesNotJamTheQueue(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		d.accept("b", "q", "without a hash", "kept")
		d.must(rdb.Del(t.Context(), keysOf("q").task(idOf("b", "without a hash"))).Err())
		if delivery := d.take("q"); delivery.Key != "kept" {
			t.Fatalf("got %s", delivery.Key)
		}
		d.wantPlaces("q", idOf("b", "without a hash"))
		found := d.audit("b")
		if len(found) != 1 || len(found[0].Keys) != 1 || found[0].Keys[0] != "without a hash" {
			t.Fatalf("audit found %+v", found)
		}
	})
}
