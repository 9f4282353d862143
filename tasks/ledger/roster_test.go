package ledger

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
)

// beat records a beat of a worker of the account q.
func (d *fixture) beat(worker string) Beats {
	d.Helper()
	beats, err := d.roster.Beat(d.Context(), worker, "q:high", "q", "q:low")
	d.must(err)
	return beats["q"]
}

func (d *fixture) reclaim(worker, number string) int {
	d.Helper()
	n, err := d.roster.Reclaim(d.Context(), "q", worker, number)
	d.must(err)
	return n
}

// takeAs dequeues n calls of the account q as one worker.
func (d *fixture) takeAs(dispatcher *Dispatcher, n int) []*Delivery {
	d.Helper()
	got, err := dispatcher.Dequeue(d.Context(), DequeueRequest{
		Queues: []string{"q:high", "q", "q:low"}, First: 0, More: make([]int, n-1),
		LeaseUntil: time.Now().Add(30 * time.Second).Unix(), Turn: time.Minute,
	})
	d.must(err)
	if got.Delivery == nil || len(got.More) != n-1 {
		d.Fatalf("got %+v, want %d calls", got, n)
	}
	return append([]*Delivery{got.Delivery}, got.More...)
}

func TestTheCallsOfADeadWorkerReturnToTheirPlacesAndThoseOfOthersStay(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		dead, lives := NewDispatcher(d.rdb, ""), NewDispatcher(d.rdb, "")
		d.accept("b", "q", "n1", "n2", "n3", "n4")
		d.accept("b", "q:high", "h1")
		d.accept("b", "q:low", "l1")
		d.beat(dead.Name())
		taken := d.takeAs(dead, 3)
		if got := keysTaken(taken); !slices.Equal(got, []string{"h1", "n1", "n2"}) {
			t.Fatalf("got %v", got)
		}
		other := d.takeAs(lives, 1)[0]
		number := d.beat(lives.Name())[dead.Name()]
		if n := d.reclaim(dead.Name(), number); n != 3 {
			t.Errorf("got %d calls put back, want 3", n)
		}
		for _, delivery := range taken {
			d.wantPlaces(delivery.Queue, delivery.ID, "pending", "task")
		}
		d.wantPlaces("q", other.ID, "active", "lease", "task")
		if beats := d.beat(lives.Name()); len(beats) != 1 {
			t.Errorf("the dead worker is not forgotten: %v", beats)
		}
		if n := d.reclaim(dead.Name(), number); n != 0 {
			t.Errorf("repeated, as after a lost reply: got %d calls put back, want 0", n)
		}
		again := d.takeAs(lives, 3)
		if got := keysTaken(again); !slices.Equal(got, []string{"h1", "n1", "n2"}) || again[0].Starts != 2 {
			t.Errorf("then got %v, the first one with start %d", got, again[0].Starts)
		}
	})
}

func TestALivingWorkerKeepsItsCalls(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		dispatcher := NewDispatcher(d.rdb, "")
		d.accept("b", "q", "k")
		number := d.beat(dispatcher.Name())[dispatcher.Name()]
		delivery := d.takeAs(dispatcher, 1)[0]
		d.beat(dispatcher.Name())
		if n := d.reclaim(dispatcher.Name(), number); n != 0 {
			t.Errorf("%d calls of a worker with a recent beat were put back", n)
		}
		d.wantPlaces("q", delivery.ID, "active", "lease", "task")
		d.must(d.roster.Leave(t.Context(), dispatcher.Name(), "q", "q:low"))
		if n := rdb.Exists(t.Context(), keysOf("q").workers()).Val(); n != 0 {
			t.Error("a worker that has left is still listed")
		}
	})
}

// An older version of callq notes no worker, but counts the start.
func TestACallThatAnotherWorkerHasTakenSinceIsNotReclaimed(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		dispatcher := NewDispatcher(d.rdb, "")
		d.accept("b", "q", "k", "gone")
		number := d.beat(dispatcher.Name())[dispatcher.Name()]
		taken := d.takeAs(dispatcher, 2)
		d.must(rdb.HIncrBy(t.Context(), keysOf("q").record(taken[0].ID), "starts", 1).Err())
		d.must(rdb.HDel(t.Context(), keysOf("q").task(taken[1].ID), "msg").Err())
		if n := d.reclaim(dispatcher.Name(), number); n != 0 {
			t.Errorf("%d calls were put back", n)
		}
		for _, delivery := range taken {
			d.wantPlaces("q", delivery.ID, "active", "lease", "task")
		}
	})
}

func TestACallThatWasReclaimedIsNotSentByItsFormerWorker(t *testing.T) {
	for _, nonIdempotent := range []bool{true, false} {
		t.Run(fmt.Sprintf("non-idempotent %t", nonIdempotent), func(t *testing.T) {
			redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
				d := newFixture(t, rdb)
				dispatcher := NewDispatcher(d.rdb, "")
				d.accept("b", "q", "k")
				number := d.beat(dispatcher.Name())[dispatcher.Name()]
				delivery := d.takeAs(dispatcher, 1)[0]
				mark := func() bool {
					t.Helper()
					held, applied, err := d.dispatcher.MarkSent(t.Context(), delivery, 1, nonIdempotent, "")
					d.must(err)
					if held != 0 {
						t.Fatalf("the call is held for %s", held)
					}
					return applied
				}
				if !nonIdempotent && !mark() {
					t.Error("a call must not be sent by the worker that holds it")
				}
				if n := d.reclaim(dispatcher.Name(), number); n != 1 {
					t.Fatalf("%d calls were put back", n)
				}
				if mark() {
					t.Error("the call may be sent while it is pending")
				}
				other := d.take("q")
				if mark() {
					t.Error("the call may be sent while another worker holds it")
				}
				if other.Sent != 0 {
					t.Error("the call is marked as sent")
				}
			})
		})
	}
}

func TestARepeatedRequestDoesNotGetCallsThatOtherWorkersHold(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		dispatcher, other := NewDispatcher(d.rdb, ""), NewDispatcher(d.rdb, "")
		d.accept("b", "q", "1", "2", "3", "4")
		number := d.beat(dispatcher.Name())[dispatcher.Name()]
		d.takeAs(dispatcher, 2)
		dispatcher.requests.Store(0) // its reply was lost
		if n := d.reclaim(dispatcher.Name(), number); n != 2 {
			t.Fatalf("%d calls were put back", n)
		}
		d.takeAs(other, 2)
		if again := keysTaken(d.takeAs(dispatcher, 2)); !slices.Equal(again, []string{"3", "4"}) {
			t.Errorf("the repeated request got %v, which another worker holds", again)
		}
	})
}

func TestABeatReplacesACorruptRoster(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		key := keysOf("q").workers()
		for _, write := range []func() error{
			func() error { return rdb.Set(t.Context(), key, "not a hash", 0).Err() },
			func() error { return rdb.HSet(t.Context(), key, "w", "no number").Err() },
		} {
			d.must(rdb.Del(t.Context(), key).Err())
			d.must(write())
			if beats := d.beat("w"); !maps.Equal(beats, Beats{"w": "1"}) {
				t.Errorf("the workers are %v", beats)
			}
		}
		d.must(rdb.HSet(t.Context(), key, "corrupt", "no number").Err())
		if n := d.reclaim("corrupt", "no number"); n != 0 {
			t.Errorf("%d calls were put back", n)
		}
		if beats := d.beat("w"); len(beats) != 1 {
			t.Errorf("a corrupt entry was not removed: %v", beats)
		}
		if ttl := rdb.TTL(t.Context(), key).Val(); ttl <= 0 || ttl > workersKept {
			t.Errorf("the key is kept for %s once no worker is left", ttl)
		}
	})
}

// On a Cluster each queue has its own workers, since no script can touch two queues.
func TestOnAClusterTheCallsOfADeadWorkerReturnQueueByQueue(t *testing.T) {
	t.Parallel()
	client := redistest.Cluster(t).Client
	l := New(client)
	roster, dispatcher, queues := NewRoster(client), NewDispatcher(client, ""), []string{"q:high", "q", "q:low"}
	before, err := roster.Beat(t.Context(), dispatcher.Name(), queues...)
	if err != nil || len(before) != len(queues) {
		t.Fatalf("the workers are %v, %v", before, err)
	}
	for _, queue := range queues {
		e := []Entry{entryOf("b", queue, queue)}
		claimed, err := l.Claim(t.Context(), "b", e)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := l.Accept(t.Context(), "b", e, claimed); err != nil {
			t.Fatal(err)
		}
		got, err := dispatcher.Dequeue(t.Context(), DequeueRequest{Queues: []string{queue}, LeaseUntil: time.Now().Add(time.Minute).Unix(), Turn: time.Minute})
		if err != nil || got.Delivery == nil {
			t.Fatalf("got %+v, %v", got, err)
		}
	}
	for home, workers := range before {
		if n, err := roster.Reclaim(t.Context(), home, dispatcher.Name(), workers[dispatcher.Name()]); n != 1 || err != nil {
			t.Errorf("of queue %s %d calls were put back, %v", home, n, err)
		}
	}
	if n, err := NewLeases(client).InFlight(t.Context(), queues...); n != 0 || err != nil {
		t.Errorf("%d calls are still inflight, %v", n, err)
	}
	if err := roster.Leave(t.Context(), dispatcher.Name(), queues...); err != nil {
		t.Error(err)
	}
}
