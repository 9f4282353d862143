package ledger

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
)

// takeMany asks for up to len(first) calls, each of the queue with the given index
// first.
func (d *fixture) takeMany(a DequeueRequest, first ...int) []*Delivery {
	d.Helper()
	a.LeaseUntil, a.Turn = time.Now().Add(30*time.Second).Unix(), time.Minute
	a.First, a.More = first[0], first[1:]
	got, err := NewDispatcher(d.rdb, "").Dequeue(d.Context(), a)
	d.must(err)
	if got.Delivery == nil {
		return nil
	}
	return append([]*Delivery{got.Delivery}, got.More...)
}

func keysTaken(deliveries []*Delivery) []string {
	var names []string
	for _, t := range deliveries {
		names = append(names, t.Key)
	}
	return names
}

func TestSeveralCallsAreTakenInOneStepInTheirOrder(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		upstream := DequeueRequest{Queues: []string{"q:high", "q", "q:low"}}
		d.accept("b", "q:high", "h1")
		d.accept("b", "q", "n1", "n2", "n3", "n4", "n5")
		d.accept("b", "q:low", "l1")
		for _, one := range []struct {
			first []int
			most  int
			want  []string
		}{
			{[]int{1, 1}, 0, []string{"n1", "n2"}},
			{[]int{2, 0, 1}, 0, []string{"l1", "h1", "n3"}},
			{[]int{0, 2}, 7, []string{"n4"}}, // the six calls are inflight
			{[]int{0}, 7, nil},
			{[]int{0, 2, 2}, 0, []string{"n5"}},
			{[]int{0, 2, 2}, 0, nil},
		} {
			upstream.Concurrency = max(one.most-1, 0)
			if deliveries := d.takeMany(upstream, one.first...); !slices.Equal(keysTaken(deliveries), one.want) {
				t.Fatalf("request %v: got %v, want %v", one.first, keysTaken(deliveries), one.want)
			} else {
				for _, delivery := range deliveries {
					if delivery.Token != 1 || delivery.Starts != 1 || delivery.Message != "message of "+delivery.Key {
						t.Errorf("got %+v", delivery)
					}
					d.wantPlaces(delivery.Queue, delivery.ID, "active", "lease", "task")
				}
			}
		}
	})
}

func TestPendingCallsThatHaveEndedAreRemovedFromBetweenTheOthers(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		var names []string
		for i := range 9 {
			names = append(names, fmt.Sprint(i))
		}
		d.accept("b", "q", names...)
		for _, key := range []string{"0", "1", "3", "7"} {
			cancelled, _, err := d.l.Cancel(t.Context(), d.record("q", idOf("b", key)), Ending{})
			if err != nil || !cancelled {
				t.Fatal(cancelled, err)
			}
		}
		var taken []string
		for range 5 {
			taken = append(taken, keysTaken(d.takeMany(DequeueRequest{Queues: []string{"q"}}, 0, 0, 0))...)
		}
		if want := []string{"2", "4", "5", "6", "8"}; !slices.Equal(taken, want) {
			t.Errorf("got %v, want %v", taken, want)
		}
		d.wantPlaces("q", idOf("b", "3"))
	})
}

func TestARepeatedRequestForSeveralCallsGetsTheSameCalls(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		d.accept("b", "q:high", "h1")
		d.accept("b", "q", "1", "2", "3", "4", "5")
		dispatcher := NewDispatcher(d.rdb, "")
		ask := func(first ...int) (deliveries []*Delivery) {
			t.Helper()
			got, err := dispatcher.Dequeue(t.Context(), DequeueRequest{
				Queues: []string{"q:high", "q"}, LeaseUntil: time.Now().Add(30 * time.Second).Unix(), Turn: time.Minute, First: first[0], More: first[1:],
			})
			d.must(err)
			if got.Delivery != nil {
				deliveries = append([]*Delivery{got.Delivery}, got.More...)
			}
			return deliveries
		}
		first := ask(1, 0, 1)
		dispatcher.requests.Add(-1) // its reply is lost
		again := ask(1, 0, 1)
		if want := []string{"1", "2", "h1"}; !slices.Equal(keysTaken(first), want) || !slices.Equal(keysTaken(again), want) {
			t.Fatalf("got %v, and then %v", keysTaken(first), keysTaken(again))
		}
		for i, k := range again {
			if k.Token != first[i].Token || k.Starts != 1 || k.Message != first[i].Message || k.Queue != first[i].Queue || k.State != Open {
				t.Errorf("got %+v, and then %+v", first[i], k)
			}
		}
		d.end(again[0], finalOf(Done))
		dispatcher.requests.Add(-1)
		if left := keysTaken(ask(1, 1)); !slices.Equal(left, []string{"2", "h1"}) {
			t.Errorf("after one of three calls has ended: got %v", left)
		}
		if next := keysTaken(ask(1, 1)); !slices.Equal(next, []string{"3", "4"}) {
			t.Errorf("the next request: got %v", next)
		}
		dispatcher.requests.Add(-1)
		d.hold("q:high", time.Now().Add(time.Hour))
		d.hold("q", time.Now().Add(time.Hour))
		if held := ask(1, 1); held != nil {
			t.Errorf("got %v although the account is held", keysTaken(held))
		}
		if ttl := rdb.TTL(t.Context(), keysOf("q").asked(dispatcher.name)).Val(); ttl <= 0 || ttl >= 30*time.Second {
			t.Errorf("the reply is stored for %s, the leases last 30 s", ttl)
		}
	})
}

// Between the request and its repetition other workers may have taken the calls.
func TestARepeatedRequestDoesNotGetCallsThatWereReleasedOrTakenSince(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		d.accept("b", "q", "1", "2", "3")
		dispatcher := NewDispatcher(d.rdb, "")
		ask := func(more ...int) []*Delivery {
			t.Helper()
			got, err := dispatcher.Dequeue(t.Context(), DequeueRequest{
				Queues: []string{"q"}, LeaseUntil: time.Now().Add(30 * time.Second).Unix(), Turn: time.Minute, More: more,
			})
			d.must(err)
			return append([]*Delivery{got.Delivery}, got.More...)
		}
		first := ask(0, 0)
		if len(first) != 3 {
			t.Fatalf("got %v", keysTaken(first))
		}
		dispatcher.requests.Add(-1) // its reply is lost
		if n, err := d.repairer.Release(t.Context(), "q", time.Now().Add(time.Minute), first[1].ID); n != 1 || err != nil {
			t.Fatalf("got %d released, %v", n, err)
		}
		other := d.take("q")
		if other.ID != first[1].ID || other.Token == first[1].Token {
			t.Fatalf("got %s with token %d", other.Key, other.Token)
		}
		first[0].Parked++
		_, _, err := d.dispatcher.Park(t.Context(), first[0], nil)
		d.must(err)
		if again := ask(0, 0); len(again) != 1 || again[0].ID != first[2].ID {
			t.Errorf("the repeated request: got %v", keysTaken(again))
		}
		d.wantPlaces("q", first[0].ID, "pending", "task")
	})
}

func TestACorruptRecordDoesNotStopOtherCalls(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		d.accept("b", "q", "1", "2", "3", "4", "5")
		for i, starts := range []string{"many", "9223372036854775807", "-0", "007"} {
			d.must(rdb.HSet(t.Context(), keysOf("q").record(idOf("b", fmt.Sprint(i+1))), "starts", starts).Err())
		}
		deliveries := d.takeMany(DequeueRequest{Queues: []string{"q"}}, 0, 0, 0, 0, 0)
		if len(deliveries) != 5 {
			t.Fatalf("got %v", keysTaken(deliveries))
		}
		for i, k := range deliveries {
			if (k.Corrupt == "starts") != (i < 4) {
				t.Errorf("call %s: got corrupt field %q", k.Key, k.Corrupt)
			}
		}
	})
}

func TestARecordThatIsNotAHashFailsADequeueBeforeItHasChangedAnything(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		d.accept("b", "q", "1", "2", "3")
		bad := idOf("b", "2")
		d.must(rdb.Set(t.Context(), keysOf("q").task(bad), "not a hash", 0).Err())
		_, err := NewDispatcher(d.rdb, "").Dequeue(t.Context(), DequeueRequest{Queues: []string{"q"}, More: []int{0, 0}, LeaseUntil: 1, Turn: time.Minute})
		if err == nil || rdb.LLen(t.Context(), keysOf("q").pending()).Val() != 3 {
			t.Fatalf("got %d pending tasks, %v", rdb.LLen(t.Context(), keysOf("q").pending()).Val(), err)
		}
		if cleared, err := d.repairer.Quarantine(t.Context(), "q"); err != nil || !slices.Equal(cleared, []string{bad}) {
			t.Fatalf("got quarantined %v, %v", cleared, err)
		}
		if taken := keysTaken(d.takeMany(DequeueRequest{Queues: []string{"q"}}, 0, 0, 0)); !slices.Equal(taken, []string{"1", "3"}) {
			t.Errorf("got %v", taken)
		}
	})
}

func TestADeadLetterThatAsynqRanIsReturnedAlone(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		dead := d.acceptAndTake("b", "q", "dead")
		d.end(dead, finalOf(Dead))
		d.accept("b", "q", "1", "2")
		// asynq's Run puts it behind the first of the others.
		k := keysOf("q")
		d.must(rdb.HSet(t.Context(), k.task(dead.ID), "state", "pending", "msg", "[callq "+dead.ID+" g1] text").Err())
		d.must(rdb.ZRem(t.Context(), k.archived(), dead.ID).Err())
		d.must(rdb.LInsertBefore(t.Context(), k.pending(), idOf("b", "1"), dead.ID).Err())
		a := DequeueRequest{Queues: []string{"q"}, More: []int{0, 0}, LeaseUntil: 1, Turn: time.Minute}
		dispatcher := NewDispatcher(d.rdb, "")
		for _, want := range []string{"1", "dead", "2"} {
			got, err := dispatcher.Dequeue(t.Context(), a)
			d.must(err)
			switch {
			case got.ToRedrive != nil:
				if want != "dead" || got.ToRedrive.ID != dead.ID || got.ToRedrive.Queue != "q" || len(got.More) > 0 {
					t.Errorf("got %+v, want %s", got, want)
				}
				d.wantPlaces("q", dead.ID, "pending", "task")
			case got.Delivery == nil || got.Delivery.Key != want || len(got.More) > 0:
				t.Errorf("got %+v, want %s", got, want)
			}
		}
	})
}

func TestFewLargeCallsAreTakenInOneStep(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		for _, key := range []string{"1", "2", "3", "4"} {
			e := entryOf("b", "q", key)
			e.Content = make([]byte, 600<<10)
			d.send("b", e)
		}
		for _, want := range [][]string{{"1", "2"}, {"3", "4"}} {
			if taken := keysTaken(d.takeMany(DequeueRequest{Queues: []string{"q"}}, 0, 0, 0)); !slices.Equal(taken, want) {
				t.Errorf("got %v, want %v", taken, want)
			}
		}
	})
}

func TestAPausedQueueDeliversNothingToARequestForMany(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		d.accept("b", "q", "n1", "n2")
		d.accept("b", "q:low", "l1")
		d.must(rdb.Set(t.Context(), keysOf("q").paused(), 1, 0).Err())
		if taken := keysTaken(d.takeMany(DequeueRequest{Queues: []string{"q", "q:low"}}, 0, 0, 1, 0)); !slices.Equal(taken, []string{"l1"}) {
			t.Errorf("got %v", taken)
		}
	})
}

func TestAfterAHoldOneCallIsDeliveredHoweverManyAreWanted(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		d.accept("b", "q", "1", "2", "3")
		d.hold("q", time.Now().Add(-time.Second))
		if deliveries := d.takeMany(DequeueRequest{Queues: []string{"q"}}, 0, 0, 0); len(deliveries) != 1 || !deliveries[0].Circuit.AfterHold {
			t.Fatalf("got %v", keysTaken(deliveries))
		}
		if deliveries := d.takeMany(DequeueRequest{Queues: []string{"q"}}, 0, 0, 0); deliveries != nil {
			t.Fatalf("got %v besides the call that was delivered", keysTaken(deliveries))
		}
	})
}

func TestARecordWithVeryManyFieldsIsTakenLikeTheOthers(t *testing.T) {
	// A function of Redis's Lua cannot have as many arguments.
	rdb := redistest.Redis(t).Client
	d := newFixture(t, rdb)
	d.accept("b", "q", "0", "1", "2")
	many := map[string]any{"": "a field without a name"}
	for i := range 10_000 {
		many[fmt.Sprint("field", i)] = i
	}
	d.must(rdb.HSet(t.Context(), keysOf("q").record(idOf("b", "1")), many).Err())
	for i := range 3 {
		if delivery := d.take("q"); delivery.Key != fmt.Sprint(i) || string(delivery.Content) != fmt.Sprint("content of ", i) || delivery.Corrupt != "" {
			t.Errorf("got %+v as call %d", delivery.Record, i)
		}
	}
}
