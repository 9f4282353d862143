package ledger

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
)

func (d *fixture) queueState(queue string) QueueState {
	d.Helper()
	s, err := d.repairer.QueueState(d.Context(), queue, 10)
	d.must(err)
	return s
}

func (d *fixture) orphaned() []string {
	d.Helper()
	var keys []string
	for r, err := range d.repairer.Orphaned(d.Context(), &Search{ID: idOf, By: time.Now().Add(-time.Minute), Max: 10}) {
		d.must(err)
		keys = append(keys, r.Key)
	}
	slices.Sort(keys)
	return keys
}

func (d *fixture) restore(r Record) bool {
	d.Helper()
	did, err := d.repairer.Restore(d.Context(), r.Queue, []Restoring{{Record: r, Message: "message again"}}, time.Now().Add(-time.Minute))
	d.must(err)
	return did[0]
}

func TestAHealthyQueueHasNoFindings(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		d.accept("b", "q", "made", "retried", "waits")
		d.take("q")
		d.retry("q", d.take("q").ID)
		s := d.queueState("q")
		if !s.Listed || s.Paused || s.Pending != 1 || s.Active != 1 || s.Retry != 1 || len(s.Unleased) != 0 || len(s.Foreign) != 0 {
			t.Fatalf("got queue state %+v", s)
		}
		if orphaned := d.orphaned(); len(orphaned) != 0 {
			t.Fatalf("got orphaned calls %v", orphaned)
		}
	})
}

func TestAnActiveTaskWithoutALeaseIsReleased(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		d.accept("b", "q", "stuck", "made", "waits")
		stuck, made := d.take("q"), d.take("q")
		d.must(rdb.ZRem(t.Context(), keysOf("q").lease(), stuck.ID).Err())
		s := d.queueState("q")
		if fmt.Sprint(s.Unleased) != fmt.Sprint([]string{stuck.ID}) {
			t.Fatalf("got unleased tasks %v", s.Unleased)
		}
		if n, err := d.repairer.Release(t.Context(), "q", time.Time{}, stuck.ID, made.ID); err != nil || n != 1 {
			t.Fatalf("released %d, %v", n, err)
		}
		d.wantPlaces("q", stuck.ID, "pending", "task")
		d.wantPlaces("q", made.ID, "active", "lease", "task")
		if again := d.take("q"); again.ID != stuck.ID {
			t.Fatalf("got next call %s: the released call is not in its former place", again.Key)
		}
	})
}

func TestAnIDWithoutATaskIsRemovedFromTheActiveList(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		d.must(rdb.LPush(t.Context(), keysOf("q").active(), "ghost").Err())
		if n, err := d.repairer.Release(t.Context(), "q", time.Time{}, "ghost"); err != nil || n != 1 {
			t.Fatalf("released %d, %v", n, err)
		}
		d.wantPlaces("q", "ghost")
	})
}

func TestATaskWithoutARecordIsForeign(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		d.accept("b", "q", "ours")
		d.must(rdb.HSet(t.Context(), keysOf("q").task("foreign"), "msg", "m", "state", "pending").Err())
		d.must(rdb.LPush(t.Context(), keysOf("q").pending(), "foreign").Err())
		if s := d.queueState("q"); fmt.Sprint(s.Foreign) != "[foreign]" {
			t.Fatalf("got foreign tasks %v", s.Foreign)
		}
	})
}

func TestACallWhoseTaskIsGoneIsOrphanedUntilItIsRestored(t *testing.T) {
	damages := map[string]func(d *fixture, id string){
		"on no list, though its state is pending": func(d *fixture, id string) {
			d.must(d.rdb.LRem(d.Context(), keysOf("q").pending(), 0, id).Err())
		},
		"on no list, though its state is active": func(d *fixture, id string) {
			d.must(d.rdb.LRem(d.Context(), keysOf("q").pending(), 0, id).Err())
			d.must(d.rdb.HSet(d.Context(), keysOf("q").task(id), "state", "active").Err())
		},
		"on no list, though its state is retry": func(d *fixture, id string) {
			d.must(d.rdb.LRem(d.Context(), keysOf("q").pending(), 0, id).Err())
			d.must(d.rdb.HSet(d.Context(), keysOf("q").task(id), "state", "retry").Err())
		},
		"deleted while a dead worker held it": func(d *fixture, id string) {
			d.must(d.rdb.LRem(d.Context(), keysOf("q").pending(), 0, id).Err())
			d.must(d.rdb.LPush(d.Context(), keysOf("q").active(), id).Err())
			d.must(d.rdb.ZAdd(d.Context(), keysOf("q").lease(), redis.Z{Score: float64(time.Now().Add(-2 * time.Minute).Unix()), Member: id}).Err())
			d.must(d.rdb.Del(d.Context(), keysOf("q").task(id)).Err())
		},
		"deleted": func(d *fixture, id string) {
			d.must(d.rdb.LRem(d.Context(), keysOf("q").pending(), 0, id).Err())
			d.must(d.rdb.Del(d.Context(), keysOf("q").task(id)).Err())
		},
		"deleted, but its id is still on a list": func(d *fixture, id string) {
			d.must(d.rdb.Del(d.Context(), keysOf("q").task(id)).Err())
		},
		"archived": func(d *fixture, id string) {
			d.must(d.rdb.LRem(d.Context(), keysOf("q").pending(), 0, id).Err())
			d.must(d.rdb.ZAdd(d.Context(), keysOf("q").archived(), redis.Z{Score: 1, Member: id}).Err())
			d.must(d.rdb.HSet(d.Context(), keysOf("q").task(id), "state", "archived").Err())
		},
	}
	for name, damage := range damages {
		t.Run(name, func(t *testing.T) {
			redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
				d := newFixture(t, rdb)
				d.accept("b", "q", "orphaned", "well")
				id := idOf("b", "orphaned")
				damage(d, id)
				if got := d.orphaned(); fmt.Sprint(got) != "[orphaned]" {
					t.Fatalf("got orphaned calls %v", got)
				}
				if !d.restore(d.record("q", id)) {
					t.Fatal("the call was not restored")
				}
				d.wantPlaces("q", id, "pending", "task")
				if d.restore(d.record("q", id)) {
					t.Fatal("the call was restored twice")
				}
				if got := d.orphaned(); len(got) != 0 {
					t.Fatalf("still orphaned: %v", got)
				}
				d.wantCounts("b", Counts{Accepted: 2, Open: 2})
			})
		})
	}
}

func TestACallThatMovedOnIsNotRestored(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		delivery := d.acceptAndTake("b", "q", "k")
		before := d.record("q", delivery.ID)
		d.must(rdb.Del(t.Context(), keysOf("q").task(delivery.ID)).Err())
		if d.restore(before) {
			t.Error("an active call was restored")
		}
		d.end(delivery, finalOf(Done))
		if d.restore(before) {
			t.Error("a done call was restored")
		}
	})
}

func TestAQueueThatAsynqForgotIsListedAgain(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		d.accept("b", "q", "k")
		d.must(rdb.SRem(t.Context(), asynqAll, "q").Err())
		if d.queueState("q").Listed {
			t.Fatal("the queue counts as listed")
		}
		d.must(d.repairer.Relist(t.Context(), "q"))
		if !d.queueState("q").Listed {
			t.Fatal("the queue is still not listed")
		}
	})
}

func TestStatusesYieldsEveryCallOnce(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		d.end(d.acceptAndTake("b", "q", "done"), finalOf(Done))
		d.accept("b", "q", "open")
		d.accept("b", "q:high", "urgent")
		got := map[string]State{}
		for r, err := range d.l.Statuses(t.Context(), "b", idOf) {
			d.must(err)
			if _, twice := got[r.Key]; twice || r.ID != idOf("b", r.Key) || r.Batch != "b" || r.Generation != 1 {
				t.Errorf("got %+v", r)
			}
			got[r.Key] = r.State
		}
		if want := map[string]State{"done": Done, "open": Open, "urgent": Open}; fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("got statuses %v", got)
		}
	})
}
