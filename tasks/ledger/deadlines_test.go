package ledger

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
)

// acceptUntil adds a call with a deadline to the ledger.
func (d *fixture) acceptUntil(batch, queue, key string, deadline time.Time) string {
	d.Helper()
	e := entryOf(batch, queue, key)
	e.Deadline = deadline
	if v := d.send(batch, e); v[0] != Accepted {
		d.Fatalf("call %s: got acceptance %d", key, v[0])
	}
	return e.ID
}

// pastDeadline finds calls, and lets the second pass during which they are not found
// again.
func (d *fixture) pastDeadline(queues ...string) (ids []string) {
	d.Helper()
	late, err := d.dispatcher.PastDeadline(d.Context(), queues...)
	d.must(err)
	for _, r := range late.Calls {
		ids = append(ids, r.ID)
	}
	slices.Sort(ids)
	return ids
}

// makeDue makes all calls of a queue's index due to be looked at now.
func (d *fixture) makeDue(queue string) {
	d.Helper()
	for _, id := range d.indexed(queue) {
		d.must(d.rdb.ZAdd(d.Context(), keysOf(queue).deadlines(), redis.Z{Score: 1, Member: id}).Err())
	}
}

func (d *fixture) indexed(queue string) []string {
	d.Helper()
	ids, err := d.rdb.ZRange(d.Context(), keysOf(queue).deadlines(), 0, -1).Result()
	d.must(err)
	return ids
}

// expired is the ending of a call whose deadline has passed.
func expired(r Record) Withdrawal {
	return Withdrawal{Record: r, Tail: " and its end", Final: Final{
		State: Dead, Group: Group{Class: "expired", Endpoint: "GET /a"},
		Ending: Ending{Class: "expired", FinishedAt: time.Unix(0, 0).UTC()},
	}}
}

func (d *fixture) withdraw(w Withdrawal) Withdrawn {
	d.Helper()
	withdrawn, err := d.l.Withdraw(d.Context(), w.Queue, []Withdrawal{w})
	d.must(err)
	return withdrawn[0]
}

// waits are the places where a call can wait, each with the steps that lead there.
var waits = map[string]func(d *fixture, queue, key string, deadline time.Time) (id string){
	"pending": func(d *fixture, queue, key string, deadline time.Time) string {
		return d.acceptUntil("b", queue, key, deadline)
	},
	"scheduled": func(d *fixture, queue, key string, deadline time.Time) string {
		e := entryOf("b", queue, key)
		e.Deadline, e.NotBefore = deadline, deadline.Add(-time.Second)
		d.send("b", e)
		return e.ID
	},
	"retry": func(d *fixture, queue, key string, deadline time.Time) string {
		id := d.acceptUntil("b", queue, key, deadline)
		delivery := d.take(queue)
		delivery.Attempts = 1
		_, _, err := d.dispatcher.Attempt(d.Context(), delivery, &Attempt{N: 1})
		d.must(err)
		d.retry(queue, id)
		return id
	},
	"parked": func(d *fixture, queue, key string, deadline time.Time) string {
		id := d.acceptUntil("b", queue, key, deadline)
		delivery := d.take(queue)
		delivery.Parked = 1
		_, _, err := d.dispatcher.Park(d.Context(), delivery, nil)
		d.must(err)
		return id
	},
	"redriven": func(d *fixture, queue, key string, deadline time.Time) string {
		id := d.acceptUntil("b", queue, key, deadline)
		d.end(d.take(queue), finalOf(Dead))
		redriven, _, err := d.l.Redrive(d.Context(), d.record(queue, id), "message again", deadline)
		if d.must(err); !redriven {
			d.Fatal("not redriven")
		}
		return id
	},
	"restored": func(d *fixture, queue, key string, deadline time.Time) string {
		id := d.acceptUntil("b", queue, key, deadline)
		k := keysOf(queue)
		d.must(d.rdb.Del(d.Context(), k.deadlines(), k.task(id), k.pending()).Err())
		did, err := d.repairer.Restore(d.Context(), queue, []Restoring{{Record: d.record(queue, id), Message: "message again", Deadline: deadline}}, time.Now())
		if d.must(err); !did[0] {
			d.Fatal("not restored")
		}
		return id
	},
}

func TestAWaitingCallEndsAtItsDeadlineOnWhicheverListItIs(t *testing.T) {
	for name, wait := range waits {
		t.Run(name, func(t *testing.T) {
			redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
				d := newFixture(t, rdb)
				id := wait(d, "q", "k", time.Now().Add(-time.Second))
				d.hold("q", time.Now().Add(time.Hour))
				if got := d.pastDeadline("q:high", "q", "q:low"); !slices.Equal(got, []string{id}) {
					t.Fatalf("found %v, want %s", got, id)
				}
				if again := d.pastDeadline("q"); again != nil {
					t.Fatalf("another worker found %v a moment later", again)
				}
				r := d.record("q", id)
				if got := d.withdraw(expired(r)); got != Withdrew {
					t.Fatalf("got withdrawal result %d", got)
				}
				d.wantPlaces("q", id, "archived", "task")
				if msg, err := rdb.HGet(t.Context(), keysOf("q").task(id), "msg").Result(); err != nil || msg[len(msg)-len(" and its end"):] != " and its end" {
					t.Errorf("got message %q, %v", msg, err)
				}
				d.wantCounts("b", Counts{Accepted: 1, Dead: 1})
				if groups, err := d.l.DeadGroups(t.Context()); err != nil || len(groups) != 1 || groups[0].Class != "expired" || groups[0].Count != 1 {
					t.Errorf("groups %+v, %v", groups, err)
				}
				if got := d.deadKeys(""); !slices.Equal(got, []string{"k"}) {
					t.Errorf("got dead letters %v", got)
				}
				ended := 0
				for e, err := range d.l.Endings(t.Context(), "b", &Cursor{}) {
					if d.must(err); e.ID != id || e.State != Dead || e.Ending.Class != "expired" {
						t.Errorf("got ending %+v", e)
					}
					ended++
				}
				if ended != 1 {
					t.Errorf("the call ended %d times", ended)
				}
				if left := d.indexed("q"); len(left) != 0 {
					t.Errorf("the index still has %v", left)
				}
				if got := d.withdraw(expired(r)); got != MovedOn {
					t.Errorf("a second withdrawal: got %d", got)
				}
				if found := d.audit("b"); len(found) != 0 {
					t.Errorf("audit found %+v", found)
				}
			})
		})
	}
}

func TestACallBeforeItsDeadlineOrWithoutOneIsNotFound(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		d.accept("b", "q", "without")
		if rdb.Exists(t.Context(), keysOf("q").deadlines()).Val() != 0 {
			t.Error("a call without a deadline created an index")
		}
		d.acceptUntil("b", "q", "later", time.Now().Add(time.Hour))
		if got := d.pastDeadline("q"); got != nil {
			t.Errorf("found %v", got)
		}
	})
}

func TestADuplicateDoesNotChangeTheDeadline(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		d.acceptUntil("b", "q", "k", time.Now().Add(time.Hour))
		again := entryOf("b", "q", "k")
		again.Deadline = time.Now().Add(-time.Hour)
		if v := d.send("b", again); v[0] != Duplicate {
			t.Fatalf("got acceptance %d, want Duplicate", v[0])
		}
		if got := d.pastDeadline("q"); got != nil {
			t.Errorf("found %v", got)
		}
	})
}

// A call that a worker has taken is ended by that worker: it may be at the API already.
func TestACallThatAWorkerHasTakenDoesNotEndAtItsDeadline(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		id := d.acceptUntil("b", "q", "k", time.Now().Add(-time.Second))
		waiting := d.record("q", id)
		delivery := d.take("q")
		if got := d.pastDeadline("q"); got != nil {
			t.Fatalf("found %v", got)
		}
		if got := d.withdraw(expired(waiting)); got != Taken {
			t.Fatalf("got withdrawal result %d", got)
		}
		d.wantPlaces("q", id, "active", "lease", "task")
		// Its worker puts it back: the next search finds it.
		delivery.Parked = 1
		_, _, err := d.dispatcher.Park(t.Context(), delivery, nil)
		d.must(err)
		d.makeDue("q")
		if got := d.pastDeadline("q"); !slices.Equal(got, []string{id}) {
			t.Fatalf("after the call was put back: found %v", got)
		}
	})
}

func TestACallThatEndsLeavesTheIndexOfDeadlines(t *testing.T) {
	for name, end := range map[string]func(d *fixture, id string){
		"done":    func(d *fixture, _ string) { d.end(d.take("q"), finalOf(Done)) },
		"dropped": func(d *fixture, _ string) { d.end(d.take("q"), finalOf(Dropped)) },
		"dead":    func(d *fixture, _ string) { d.end(d.take("q"), finalOf(Dead)) },
		"purged": func(d *fixture, id string) {
			d.end(d.take("q"), finalOf(Dead))
			_, _, err := d.l.Purge(d.Context(), d.record("q", id))
			d.must(err)
		},
		"cancelled": func(d *fixture, id string) {
			_, _, err := d.l.Cancel(d.Context(), d.record("q", id), Ending{Class: "cancelled"})
			d.must(err)
		},
	} {
		t.Run(name, func(t *testing.T) {
			redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
				d := newFixture(t, rdb)
				end(d, d.acceptUntil("b", "q", "k", time.Now().Add(time.Hour)))
				if left := d.indexed("q"); len(left) != 0 {
					t.Errorf("the index still has %v", left)
				}
			})
		})
	}
}

// A worker of an older version does not maintain the index; a record can be missing.
func TestCallsThatAreNotOpenAreRemovedFromTheIndexOfDeadlines(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		past := time.Now().Add(-time.Second)
		done, gone, wrongType := d.acceptUntil("b", "q", "done", past), d.acceptUntil("b", "q", "gone", past), d.acceptUntil("b", "q", "wrong type", past)
		d.must(rdb.HSet(t.Context(), keysOf("q").record(done), "state", "done").Err())
		d.must(rdb.Del(t.Context(), keysOf("q").record(gone), keysOf("q").record(wrongType)).Err())
		d.must(rdb.Set(t.Context(), keysOf("q").record(wrongType), "not a zset", 0).Err())
		if got := d.pastDeadline("q"); got != nil {
			t.Errorf("found %v", got)
		}
		if left := d.indexed("q"); len(left) != 0 {
			t.Errorf("the index still has %v", left)
		}
	})
}

func TestACorruptRecordIsLeftToTheNextDequeue(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		id := d.acceptUntil("b", "q", "k", time.Now().Add(-time.Second))
		d.must(rdb.HSet(t.Context(), keysOf("q").record(id), "attempts", "many").Err())
		if got := d.pastDeadline("q"); got != nil {
			t.Errorf("found %v", got)
		}
		if delivery := d.take("q"); delivery.Corrupt != "attempts" {
			t.Errorf("got %+v", delivery)
		}
	})
}

func TestAnIndexOfDeadlinesOfAnotherTypeIsReplaced(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		corrupt := func() { d.must(rdb.Set(t.Context(), keysOf("q").deadlines(), "not a zset", 0).Err()) }
		corrupt()
		if got := d.pastDeadline("q"); got != nil {
			t.Errorf("found %v", got)
		}
		corrupt()
		d.end(d.acceptAndTake("b", "q", "k"), finalOf(Done))
		corrupt()
		id := d.acceptUntil("b", "q", "late", time.Now().Add(-time.Second))
		if got := d.pastDeadline("q"); !slices.Equal(got, []string{id}) {
			t.Errorf("found %v", got)
		}
		corrupt()
		if got := d.withdraw(expired(d.record("q", id))); got != Withdrew {
			t.Errorf("got withdrawal result %d", got)
		}
	})
}

func TestManyDeadlinesAreFoundInParts(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		past := time.Now().Add(-time.Second)
		var entries []Entry
		for i := range 2*maxExpired + 10 {
			e := entryOf("b", "q", fmt.Sprint(i))
			e.Deadline = past
			entries = append(entries, e)
		}
		d.send("b", entries...)
		var sizes []int
		for {
			late, err := d.dispatcher.PastDeadline(t.Context(), "q")
			d.must(err)
			sizes = append(sizes, len(late.Calls))
			var list []Withdrawal
			for _, r := range late.Calls {
				list = append(list, expired(r))
			}
			withdrawn, err := d.l.Withdraw(t.Context(), "q", list)
			d.must(err)
			if slices.ContainsFunc(withdrawn, func(w Withdrawn) bool { return w != Withdrew }) {
				t.Fatalf("got withdrawal results %v", withdrawn)
			}
			if !late.More {
				break
			}
		}
		if !slices.Equal(sizes, []int{maxExpired, maxExpired, 10}) {
			t.Errorf("got parts of %v calls", sizes)
		}
		d.wantCounts("b", Counts{Accepted: int64(len(entries)), Dead: int64(len(entries))})
		if n := rdb.LLen(t.Context(), keysOf("q").pending()).Val(); n != 0 {
			t.Errorf("%d tasks are left pending", n)
		}
		if found := d.audit("b"); len(found) != 0 {
			t.Errorf("audit found %+v", found)
		}
	})
}
