package ledger

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
)

// takeMany asks for up to n calls, each of the queue with the given index first.
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
			{[]int{0, 2}, 7, []string{"n4"}}, // those six are in flight
			{[]int{0}, 7, nil},
			{[]int{0, 2, 2}, 0, []string{"n5"}},
			{[]int{0, 2, 2}, 0, nil},
		} {
			upstream.Concurrency = max(one.most-1, 0)
			if deliveries := d.takeMany(upstream, one.first...); !slices.Equal(keysTaken(deliveries), one.want) {
				t.Fatalf("asked for %v, took %v, want %v", one.first, keysTaken(deliveries), one.want)
			} else {
				for _, delivery := range deliveries {
					if delivery.Token != 1 || delivery.Starts != 1 || delivery.Message != "message of "+delivery.Key {
						t.Errorf("took %+v", delivery)
					}
					d.wantPlaces(delivery.Queue, delivery.ID, "active", "lease", "task")
				}
			}
		}
	})
}

func TestCallsThatEndedWhileTheyWaitedAreTakenOffBetweenTheOthers(t *testing.T) {
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
			t.Errorf("took %v, want %v", taken, want)
		}
		d.wantPlaces("q", idOf("b", "3"))
	})
}

func TestAQuestionForSeveralCallsThatIsSentAgainIsAnsweredWithTheSameOnes(t *testing.T) {
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
			t.Fatalf("took %v, and then %v", keysTaken(first), keysTaken(again))
		}
		for i, k := range again {
			if k.Token != first[i].Token || k.Starts != 1 || k.Message != first[i].Message || k.Queue != first[i].Queue || k.State != Open {
				t.Errorf("took %+v again as %+v", first[i], k)
			}
		}
		d.end(again[0], finalOf(Done))
		dispatcher.requests.Add(-1)
		if left := keysTaken(ask(1, 1)); !slices.Equal(left, []string{"2", "h1"}) {
			t.Errorf("of three, one has ended, and taken are %v", left)
		}
		if next := keysTaken(ask(1, 1)); !slices.Equal(next, []string{"3", "4"}) {
			t.Errorf("the next question took %v", next)
		}
		dispatcher.requests.Add(-1)
		d.hold("q:high", time.Now().Add(time.Hour))
		d.hold("q", time.Now().Add(time.Hour))
		if held := ask(1, 1); held != nil {
			t.Errorf("took %v though the account is held", keysTaken(held))
		}
		if ttl := rdb.TTL(t.Context(), keysOf("q").asked(dispatcher.name)).Val(); ttl <= 0 || ttl >= 30*time.Second {
			t.Errorf("the answer is kept for %s, the leases last 30 s", ttl)
		}
	})
}

// Between the question and its repetition the calls may have become somebody else's.
func TestAQuestionThatIsSentAgainIsNotAnsweredWithACallThatWasPutBackOrIsAnothers(t *testing.T) {
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
			t.Fatalf("took %v", keysTaken(first))
		}
		dispatcher.requests.Add(-1) // its reply is lost
		if n, err := d.repairer.Release(t.Context(), "q", time.Now().Add(time.Minute), first[1].ID); n != 1 || err != nil {
			t.Fatalf("released %d: %v", n, err)
		}
		other := d.take("q")
		if other.ID != first[1].ID || other.Token == first[1].Token {
			t.Fatalf("took %s with the token %d", other.Key, other.Token)
		}
		first[0].Parked++
		_, _, err := d.dispatcher.Park(t.Context(), first[0], nil)
		d.must(err)
		if again := ask(0, 0); len(again) != 1 || again[0].ID != first[2].ID {
			t.Errorf("the question that was sent again is answered with %v", keysTaken(again))
		}
		d.wantPlaces("q", first[0].ID, "pending", "task")
	})
}

func TestARecordThatSomebodyForgedStopsNoCallBesideIt(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		d.accept("b", "q", "1", "2", "3", "4", "5")
		for i, starts := range []string{"many", "9223372036854775807", "-0", "007"} {
			d.must(rdb.HSet(t.Context(), keysOf("q").record(idOf("b", fmt.Sprint(i+1))), "starts", starts).Err())
		}
		deliveries := d.takeMany(DequeueRequest{Queues: []string{"q"}}, 0, 0, 0, 0, 0)
		if len(deliveries) != 5 {
			t.Fatalf("took %v", keysTaken(deliveries))
		}
		for i, k := range deliveries {
			if (k.Corrupt == "starts") != (i < 4) {
				t.Errorf("call %s has a forged %q", k.Key, k.Corrupt)
			}
		}
	})
}

func TestARecordThatIsNoHashStopsACommonStepBeforeItHasChangedAnything(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		d.accept("b", "q", "1", "2", "3")
		bad := idOf("b", "2")
		d.must(rdb.Set(t.Context(), keysOf("q").task(bad), "no hash", 0).Err())
		_, err := NewDispatcher(d.rdb, "").Dequeue(t.Context(), DequeueRequest{Queues: []string{"q"}, More: []int{0, 0}, LeaseUntil: 1, Turn: time.Minute})
		if err == nil || rdb.LLen(t.Context(), keysOf("q").pending()).Val() != 3 {
			t.Fatalf("%d tasks are pending, %v", rdb.LLen(t.Context(), keysOf("q").pending()).Val(), err)
		}
		if cleared, err := d.repairer.Quarantine(t.Context(), "q"); err != nil || !slices.Equal(cleared, []string{bad}) {
			t.Fatalf("cleared %v, %v", cleared, err)
		}
		if taken := keysTaken(d.takeMany(DequeueRequest{Queues: []string{"q"}}, 0, 0, 0)); !slices.Equal(taken, []string{"1", "3"}) {
			t.Errorf("took %v", taken)
		}
	})
}

func TestADeadLetterThatIsRunAgainAmongOthersIsMetByItself(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		dead := d.acceptAndTake("b", "q", "dead")
		d.end(dead, finalOf(Dead))
		d.accept("b", "q", "1", "2")
		// asynq's Run, which puts it behind the first of the others.
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

func TestOfHeavyCallsFewAreTakenInOneStep(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		for _, key := range []string{"1", "2", "3", "4"} {
			e := entryOf("b", "q", key)
			e.Content = make([]byte, 600<<10)
			d.send("b", e)
		}
		for _, want := range [][]string{{"1", "2"}, {"3", "4"}} {
			if taken := keysTaken(d.takeMany(DequeueRequest{Queues: []string{"q"}}, 0, 0, 0)); !slices.Equal(taken, want) {
				t.Errorf("took %v, want %v", taken, want)
			}
		}
	})
}

func TestAPausedQueueGivesNothingToWhoAsksForMany(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		d.accept("b", "q", "n1", "n2")
		d.accept("b", "q:low", "l1")
		d.must(rdb.Set(t.Context(), keysOf("q").paused(), 1, 0).Err())
		if taken := keysTaken(d.takeMany(DequeueRequest{Queues: []string{"q", "q:low"}}, 0, 0, 1, 0)); !slices.Equal(taken, []string{"l1"}) {
			t.Errorf("took %v", taken)
		}
	})
}

func TestAfterAHoldOneCallIsLetOutHoweverManyAreWanted(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		d.accept("b", "q", "1", "2", "3")
		d.hold("q", time.Now().Add(-time.Second))
		if deliveries := d.takeMany(DequeueRequest{Queues: []string{"q"}}, 0, 0, 0); len(deliveries) != 1 || !deliveries[0].Circuit.AfterHold {
			t.Fatalf("took %v", keysTaken(deliveries))
		}
		if deliveries := d.takeMany(DequeueRequest{Queues: []string{"q"}}, 0, 0, 0); deliveries != nil {
			t.Fatalf("took %v beside the one that was let out", keysTaken(deliveries))
		}
	})
}

// closings makes ready what ends several calls in one step.
func (d *fixture) closings(deliveries []*Delivery, finals ...Final) []*closing {
	d.Helper()
	var list []*closing
	for i, delivery := range deliveries {
		e, err := closingOf(delivery, finals[i], nil)
		d.must(err)
		list = append(list, e)
	}
	return list
}

func TestEndingsOfOneStepAreEachRecordedOnceInOrder(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		d.accept("b", "q", "done", "dead", "dropped", "late", "doubtful", "done2")
		d.accept("another", "q", "elsewhere")
		deliveries := d.takeMany(DequeueRequest{Queues: []string{"q"}}, 0, 0, 0, 0, 0, 0, 0, 0)
		if len(deliveries) != 7 {
			t.Fatalf("took %v", keysTaken(deliveries))
		}
		assumed := finalOf(Dead)
		assumed.Assumed = true
		d.end(deliveries[3], finalOf(Done))
		d.end(deliveries[4], assumed)
		for again := range 2 { // as after a lost reply
			list := d.closings(deliveries, finalOf(Done), finalOf(Dead), finalOf(Dropped), finalOf(Dropped), finalOf(Done), finalOf(Done), finalOf(Done))
			d.dispatcher.finish(t.Context(), "q", list)
			for i, e := range list {
				if want := again == 0 && i != 3; e.err != nil || e.applied != want {
					t.Errorf("run %d: %s: mine %v, %v", again, deliveries[i].Key, e.applied, e.err)
				}
			}
			d.archive(deliveries[1])
		}
		d.wantCounts("b", Counts{Accepted: 6, Done: 4, Dead: 1, Dropped: 1})
		d.wantCounts("another", Counts{Accepted: 1, Done: 1})
		var order []string
		for r, err := range d.l.Endings(t.Context(), "b", &Cursor{}) {
			d.must(err)
			order = append(order, r.Key)
		}
		if want := []string{"late", "done", "dead", "dropped", "doubtful", "done2"}; !slices.Equal(order, want) {
			t.Errorf("the calls ended in the order %v, want %v", order, want)
		}
		if n := rdb.Get(t.Context(), keysOf("q").processed()).Val(); n != "5" {
			t.Errorf("asynq's count of processed tasks is %s, want 5", n)
		}
		if left := rdb.LLen(t.Context(), keysOf("q").active()).Val(); left != 0 {
			t.Errorf("%d tasks are active still", left)
		}
	})
}

func TestWhatRedisRefusesOfOneEndingDoesNotKeepTheOthers(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		d.accept("b", "q", "1", "2", "3")
		deliveries := d.takeMany(DequeueRequest{Queues: []string{"q"}}, 0, 0, 0)
		list := d.closings(deliveries, finalOf(Done), finalOf(Done), finalOf(Done))
		list[1].args[9] = "no number"
		d.dispatcher.finish(t.Context(), "q", list)
		if !list[0].applied || list[1].err == nil || !list[2].applied {
			t.Errorf("%v %v, %v, %v %v", list[0].applied, list[0].err, list[1].err, list[2].applied, list[2].err)
		}
		d.wantCounts("b", Counts{Accepted: 3, Open: 1, Done: 2})
	})
}

// gathered has endings of the named calls written while the first one is, and
// returns which went to Redis together.
func gathered(t *testing.T, first func(), weights map[string]int, names ...string) (together [][]string) {
	synctest.Test(t, func(t *testing.T) {
		goOn := make(chan struct{})
		f := &finisher{}
		f.finish = func(_ context.Context, list []*closing) {
			if len(together) == 0 {
				<-goOn
			}
			var ids []string
			for _, e := range list {
				ids = append(ids, e.id)
				e.err = nil
			}
			together = append(together, ids)
			if len(together) == 1 {
				first()
			}
		}
		for _, id := range names {
			go f.write(t.Context(), &closing{id: id, weight: weights[id], turn: make(chan struct{})})
			synctest.Wait()
		}
		close(goOn)
		synctest.Wait()
		if f.busy || len(f.waiting) > 0 {
			t.Errorf("%d wait still, or somebody writes", len(f.waiting))
		}
	})
	return together
}

func TestEndingsThatComeWhileOneIsWrittenGoTogether(t *testing.T) {
	for _, c := range []struct {
		what    string
		weights map[string]int
		names   []string
		want    string
	}{
		{"several", nil, []string{"a", "b", "c", "d"}, "[[a] [b c d]]"},
		{"none", nil, []string{"a"}, "[[a]]"},
		{"one call twice", nil, []string{"a", "b", "c", "b", "d"}, "[[a] [b c] [b d]]"},
		{"heavy ones", map[string]int{"b": maxEndingBytes / 2, "c": maxEndingBytes, "d": 2 * maxEndingBytes}, []string{"a", "b", "c", "d", "e"}, "[[a] [b] [c] [d] [e]]"},
	} {
		if together := fmt.Sprint(gathered(t, func() {}, c.weights, c.names...)); together != c.want {
			t.Errorf("%s: %s, want %s", c.what, together, c.want)
		}
	}
	many := make([]string, 1+maxEndings+1)
	for i := range many {
		many[i] = fmt.Sprint(i)
	}
	if together := gathered(t, func() {}, nil, many...); len(together) != 3 || len(together[1]) != maxEndings {
		t.Errorf("of %d endings went together: %v", len(many), together)
	}
}

func TestAWriterThatIsLostLeavesNobodyWaiting(t *testing.T) {
	if together := fmt.Sprint(gathered(t, runtime.Goexit, nil, "a", "b", "c")); together != "[[a] [b c]]" {
		t.Errorf("together went %s", together)
	}
}
