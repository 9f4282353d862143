package ledger

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
)

func TestARedriveOpensACallAgainAndKeepsTheFormerEnding(t *testing.T) {
	for _, state := range []State{Dead, Dropped, Cancelled} {
		t.Run(string(state), func(t *testing.T) {
			redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
				d := newFixture(t, rdb)
				d.accept("b", "q", "k")
				id := idOf("b", "k")
				if state == Cancelled {
					_, _, err := d.l.Cancel(t.Context(), d.record("q", id), Ending{Class: "cancelled"})
					d.must(err)
				} else {
					delivery := d.take("q")
					delivery.Attempts, delivery.Parked, delivery.FirstAt = 6, 2, time.Now()
					d.end(delivery, finalOf(state))
				}
				ended := d.record("q", id)
				if redriven, busy := d.redrive(ended); !redriven || busy {
					t.Fatal(redriven, busy)
				}
				r := d.record("q", id)
				if r.State != Open || r.Generation != 2 || r.Ending != nil || r.Attempts != 0 || r.Parked != 0 || !r.FirstAt.IsZero() ||
					r.Body != nil || r.Group != "" || string(r.Content) != "content of k" {
					t.Fatalf("the record is %+v", r)
				}
				if len(r.Lineage) != 1 || r.Lineage[0].State != state || r.Lineage[0].Generation != 1 || r.Lineage[0].Ending.Class != ended.Ending.Class {
					t.Fatalf("the lineage is %+v", r.Lineage)
				}
				d.wantPlaces("q", id, "pending", "task")
				d.wantCounts("b", Counts{Accepted: 1, Open: 1})
				if len(d.deadKeys("")) != 0 {
					t.Fatal("the call is still listed as dead")
				}
				if redriven, busy := d.redrive(ended); redriven || busy {
					t.Fatal("a second redrive of the same generation opened it again")
				}
				delivery := d.take("q")
				if delivery.Generation != 2 || delivery.Starts != 1 {
					t.Fatalf("got %+v", delivery.Record)
				}
				if !d.end(delivery, finalOf(Done)) {
					t.Fatal("the second generation could not end")
				}
				if found := d.audit("b"); len(found) != 0 {
					t.Fatalf("audit found %+v", found)
				}
			})
		})
	}
}

func TestADoneCallIsNotRedriven(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		delivery := d.acceptAndTake("b", "q", "k")
		d.end(delivery, finalOf(Done))
		if redriven, busy := d.redrive(d.record("q", delivery.ID)); redriven || busy {
			t.Fatal(redriven, busy)
		}
		d.wantCounts("b", Counts{Accepted: 1, Done: 1})
	})
}

func TestACallThatAWorkerHoldsIsNeitherRedrivenNorPurged(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		delivery := d.acceptAndTake("b", "q", "k")
		_, _, err := d.dispatcher.End(t.Context(), delivery, finalOf(Dead), nil) // asynq has not archived the task yet
		d.must(err)
		r := d.record("q", delivery.ID)
		if redriven, busy := d.redrive(r); redriven || !busy {
			t.Fatal(redriven, busy)
		}
		if purged, busy, err := d.l.Purge(t.Context(), r); purged || !busy || err != nil {
			t.Fatal(purged, busy, err)
		}
		d.archive(delivery)
		if redriven, busy := d.redrive(r); !redriven || busy {
			t.Fatal(redriven, busy)
		}
	})
}

// A worker whose lease ended ends the call while its task is due for a retry.
func TestARedrivenTaskIsOnOneListOnly(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		delivery := d.acceptAndTake("b", "q", "k")
		d.retry("q", delivery.ID)
		d.end(delivery, finalOf(Dead))
		d.wantPlaces("q", delivery.ID, "retry", "task")
		d.redrive(d.record("q", delivery.ID))
		d.wantPlaces("q", delivery.ID, "pending", "task")
	})
}

func TestACancelledCallThatIsStillPendingIsRedrivenInItsPlace(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		d.accept("b", "q", "k1", "k2")
		for range 3 {
			r := d.record("q", idOf("b", "k1"))
			_, _, err := d.l.Cancel(t.Context(), r, Ending{Class: "cancelled"})
			d.must(err)
			d.wantPlaces("q", r.ID, "pending", "task")
			if redriven, _ := d.redrive(d.record("q", r.ID)); !redriven {
				t.Fatal("not redriven")
			}
			d.wantPlaces("q", r.ID, "pending", "task")
		}
		if got := d.dequeue("q"); got.Delivery == nil || got.Delivery.Key != "k1" || got.Delivery.Message != "message again" {
			t.Fatalf("got %+v", got)
		}
	})
}

func TestAPurgedDeadLetterStaysCountedAndHasNoBodies(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		delivery := d.acceptAndTake("b", "q", "k")
		d.end(delivery, finalOf(Dead))
		r := d.record("q", delivery.ID)
		stale := r
		stale.Generation++
		if purged, busy, err := d.l.Purge(t.Context(), stale); purged || busy || err != nil {
			t.Fatal("another generation was purged", purged, busy, err)
		}
		if purged, busy, err := d.l.Purge(t.Context(), r); !purged || busy || err != nil {
			t.Fatal(purged, busy, err)
		}
		if purged, _, err := d.l.Purge(t.Context(), d.record("q", delivery.ID)); !purged || err != nil {
			t.Fatal("purging twice must be harmless", purged, err)
		}
		r = d.record("q", delivery.ID)
		if !r.Purged || r.State != Dead || r.Content != nil || r.Body != nil || r.Ending == nil || r.Ending.Class != "unknown" {
			t.Fatalf("the record is %+v", r)
		}
		d.wantPlaces("q", delivery.ID)
		d.wantCounts("b", Counts{Accepted: 1, Dead: 1})
		groups, err := d.l.DeadGroups(t.Context())
		if err != nil || len(groups) != 0 || len(d.deadKeys("")) != 0 {
			t.Fatalf("the letter is still listed: %+v, %v", groups, err)
		}
		if redriven, busy := d.redrive(r); redriven || busy {
			t.Fatal("a purged call was redriven")
		}
		if found := d.audit("b"); len(found) != 0 {
			t.Fatalf("audit found %+v", found)
		}
	})
}

func TestDeadLettersAreGroupedAcrossQueues(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		other := finalOf(Dead)
		other.Group = Group{Class: "balance", Code: "67200005", Endpoint: "GET /b", Message: "latest", Advice: "pay"}
		d.end(d.acceptAndTake("b", "q", "k1"), finalOf(Dead))
		d.end(d.acceptAndTake("b", "q", "k2"), other)
		d.end(d.acceptAndTake("b", "q:high", "k3"), other)
		groups, err := d.l.DeadGroups(t.Context())
		d.must(err)
		if len(groups) != 2 || groups[0].Group != other.Group || groups[0].Count != 2 || len(groups[0].Queues) != 2 || groups[1].Count != 1 {
			t.Fatalf("groups %+v", groups)
		}
		if got := fmt.Sprint(d.deadKeys(other.Group.Name())); got != "[k2 k3]" {
			t.Fatalf("group holds %s", got)
		}
		// A group without members is removed.
		d.redrive(d.record("q", idOf("b", "k1")))
		if groups, err = d.l.DeadGroups(t.Context()); err != nil || len(groups) != 1 {
			t.Fatalf("groups %+v, %v", groups, err)
		}
	})
}

// manyDead is how many dead letters the next tests list, only on real Redis since
// miniredis is slow with long lists. CALLQ_TEST_DEAD=100000 is the promised size.
func manyDead(t *testing.T) int {
	n, err := strconv.Atoi(os.Getenv("CALLQ_TEST_DEAD"))
	if err != nil || n < 1 {
		n = 3000
	}
	if testing.Short() {
		n = min(n, 1200)
	}
	return n
}

// archiveDead creates n dead letters of one batch, quickly, with the given number of
// goroutines. With one of them they die in the order of their keys.
func archiveDead(d *fixture, queue string, n, hands int) {
	d.Helper()
	const chunk = 500
	for from := 0; from < n; from += chunk {
		var entries []Entry
		for i := from; i < min(from+chunk, n); i++ {
			entries = append(entries, entryOf("b", queue, fmt.Sprint(i)))
		}
		d.send("b", entries...)
	}
	dispatcher := NewDispatcher(d.rdb, "")
	var wg sync.WaitGroup
	var left atomic.Int64
	left.Store(int64(n))
	for range hands {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				got, err := dispatcher.Dequeue(d.Context(), DequeueRequest{Queues: []string{queue}, LeaseUntil: time.Now().Add(time.Minute).Unix(), Turn: time.Minute})
				if err == nil && got.Delivery == nil {
					err = errors.New("there is no call to dequeue")
				}
				if err == nil {
					_, _, err = d.dispatcher.End(d.Context(), got.Delivery, finalOf(Dead), nil)
				}
				if err != nil {
					d.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	// asynq archives them: only then can they be redriven.
	d.must(d.rdb.Del(d.Context(), keysOf(queue).active(), keysOf(queue).lease()).Err())
	if d.Failed() {
		d.FailNow()
	}
}

func TestManyDeadLettersAreAllListedOldestFirst(t *testing.T) {
	d, n := newFixture(t, redistest.Redis(t).Client), manyDead(t)
	archiveDead(d, "q", n, 1)
	for _, group := range []string{"", finalOf(Dead).Group.Name()} {
		list := d.deadKeys(group)
		if len(list) != n {
			t.Fatalf("%d of %d dead letters of group %q are listed", len(list), n, group)
		}
		for i, key := range list {
			if key != fmt.Sprint(i) {
				t.Fatalf("letter %d is %s", i, key)
			}
		}
	}
}

func TestEveryDeadLetterIsListedWhileOthersAreRedriven(t *testing.T) {
	d, n := newFixture(t, redistest.Redis(t).Client), manyDead(t)
	archiveDead(d, "q", n, 8)
	if list, err := d.l.DeadGroups(t.Context()); err != nil || len(list) != 1 || list[0].Count != int64(n) {
		t.Fatalf("the groups are %+v, %v", list, err)
	}
	seen := map[string]int{}
	for r, err := range d.l.Dead(t.Context(), "") {
		d.must(err)
		seen[r.Key]++
		if redriven, busy := d.redrive(r); !redriven || busy {
			t.Fatalf("call %s: %v, %v", r.Key, redriven, busy)
		}
	}
	if len(seen) != n {
		t.Fatalf("got %d of %d dead letters", len(seen), n)
	}
	for key, times := range seen {
		if times != 1 {
			t.Fatalf("got %s %d times", key, times)
		}
	}
	d.wantCounts("b", Counts{Accepted: int64(n), Open: int64(n)})
	if found := d.audit("b"); len(found) != 0 {
		t.Fatalf("audit found %+v", found)
	}
	if n := d.rdb.Exists(t.Context(), keysOf("q").dead(), keysOf("q").groups()).Val(); n != 0 {
		t.Fatal("dead letters or groups are left")
	}
}

// Calls of two batches can end in the same microsecond.
func TestDeadLettersOfOneMicrosecondAreAllListedOnce(t *testing.T) {
	rdb := redistest.Redis(t).Client
	d := newFixture(t, rdb)
	const n = 1200
	archiveDead(d, "q", n, 4)
	k := keysOf("q")
	for i, id := range rdb.ZRange(t.Context(), k.dead(), 0, -1).Val() {
		score := float64(1_000_000 + i/3) // three each, and no page size is a multiple of three
		d.must(rdb.ZAdd(t.Context(), k.dead(), redis.Z{Score: score, Member: id}).Err())
	}
	seen := map[string]bool{}
	for _, key := range d.deadKeys("") {
		if seen[key] {
			t.Fatalf("%s was listed twice", key)
		}
		seen[key] = true
	}
	if len(seen) != n {
		t.Fatalf("got %d of %d dead letters", len(seen), n)
	}
}

func TestTheLatestEndingsComeFirstAcrossQueues(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		var want []string
		for i, queue := range []string{"q", "r", "q", "r"} {
			key := fmt.Sprint("k", i)
			d.accept("b", queue, key)
			d.end(d.take(queue), finalOf(Dead))
			want = append([]string{idOf("b", key)}, want...)
		}
		d.accept("b", "q", "open")
		ids := func(list []Record, err error) (got []string) {
			d.must(err)
			for _, r := range list {
				got = append(got, r.ID)
			}
			return got
		}
		b, err := d.l.Batch(t.Context(), "b")
		d.must(err)
		group := d.record("q", want[1]).Group
		for name, got := range map[string][]string{
			"of the batch": ids(d.l.LatestEndings(t.Context(), b, 3)),
			"of all":       ids(d.l.LatestDead(t.Context(), "", 3)),
			"of a group":   ids(d.l.LatestDead(t.Context(), group, 3)),
		} {
			if fmt.Sprint(got) != fmt.Sprint(want[:3]) {
				t.Errorf("%s: got %v, want %v", name, got, want[:3])
			}
		}
		if b.Open["q"] != 1 || b.Open["r"] != 0 {
			t.Errorf("open calls by queue: %v", b.Open)
		}
		names, err := d.l.BatchesWithKey(t.Context(), "k2", 5, 100)
		d.must(err)
		none, err := d.l.BatchesWithKey(t.Context(), "other", 5, 100)
		d.must(err)
		if fmt.Sprint(names) != "[b]" || len(none) != 0 {
			t.Errorf("batches with the key: %v; with another: %v", names, none)
		}
	})
}
