package ledger

import (
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
)

// A Redis that was stopped, or a slow network, can run a command long after its worker
// gave it up.
func TestAMarkThatArrivesAfterItsCallWasPutBackIsRefused(t *testing.T) {
	for name, putBack := range map[string]func(*fixture, *Delivery) (int, bool, error){
		"parked": func(d *fixture, c *Delivery) (int, bool, error) {
			c.Parked++
			return d.dispatcher.Park(d.Context(), c, nil)
		},
		"retried": func(d *fixture, c *Delivery) (int, bool, error) {
			return d.dispatcher.Attempt(d.Context(), c, &Attempt{N: 1})
		},
	} {
		t.Run(name, func(t *testing.T) {
			redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
				d := newFixture(t, rdb)
				c := d.acceptAndTake("b", "q", "k")
				if _, applied, err := putBack(d, c); err != nil || !applied {
					t.Fatalf("put back: %t, %v", applied, err)
				}
				if _, applied, err := d.dispatcher.MarkSent(t.Context(), c, 1, true, ""); err != nil || applied {
					t.Errorf("the late mark: got applied %t, %v; want it refused", applied, err)
				}
				if r := d.record("q", c.ID); r.Sent != 0 {
					t.Errorf("the pending call is marked as sent in attempt %d", r.Sent)
				}
				if name == "retried" {
					return
				}
				// The next worker marks it as usual.
				next := d.take("q")
				if _, applied, err := d.dispatcher.MarkSent(t.Context(), next, 1, true, ""); err != nil || !applied {
					t.Errorf("the next worker's mark: got applied %t, %v", applied, err)
				}
			})
		})
	}
}

// A worker whose lease ended can come back when the call was redriven and another
// worker has taken it.
func TestALateWorkerCannotChangeALaterGeneration(t *testing.T) {
	late := map[string]func(*fixture, *Delivery) bool{
		"end done": func(d *fixture, t *Delivery) bool { return d.end(t, finalOf(Done)) },
		"end dead": func(d *fixture, t *Delivery) bool {
			_, applied, err := d.dispatcher.End(d.Context(), t, finalOf(Dead), nil)
			d.must(err)
			return applied
		},
		"attempt": func(d *fixture, t *Delivery) bool {
			_, applied, err := d.dispatcher.Attempt(d.Context(), t, nil)
			d.must(err)
			return applied
		},
		"park": func(d *fixture, t *Delivery) bool {
			t.Parked++
			_, applied, err := d.dispatcher.Park(d.Context(), t, nil)
			d.must(err)
			return applied
		},
		"mark": func(d *fixture, t *Delivery) bool {
			_, applied, err := d.dispatcher.MarkSent(d.Context(), t, 1, true, "")
			d.must(err)
			return applied
		},
	}
	for name, act := range late {
		t.Run(name, func(t *testing.T) {
			redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
				d := newFixture(t, rdb)
				old := d.acceptAndTake("b", "q", "k")
				stale := *old
				d.end(old, finalOf(Dead))
				if redriven, _ := d.redrive(d.record("q", old.ID)); !redriven {
					t.Fatal("not redriven")
				}
				d.take("q")
				if act(d, &stale) {
					t.Fatal("a worker of generation 1 changed generation 2")
				}
				if r := d.record("q", old.ID); r.State != Open || r.Generation != 2 || r.Starts != 1 || r.Parked != 0 || r.Sent != 0 {
					t.Fatalf("the record is %+v", r)
				}
				d.wantPlaces("q", old.ID, "active", "lease", "task")
			})
		})
	}
}

func TestAWorkerWhoseCallAnotherWorkerHasTakenChangesNothing(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		late := d.acceptAndTake("b", "q", "k")
		// Its lease runs out, asynq puts the task back, and another worker takes it.
		rdb.LRem(t.Context(), keysOf("q").active(), 1, late.ID)
		rdb.LPush(t.Context(), keysOf("q").pending(), late.ID)
		delivery := d.take("q")
		if _, applied, err := d.dispatcher.MarkSent(t.Context(), delivery, 1, true, ""); err != nil || !applied {
			t.Fatal(applied, err)
		}
		late.Parked++
		if _, applied, err := d.dispatcher.Park(t.Context(), late, nil); err != nil || applied {
			t.Error("the late worker parked the call", applied, err)
		}
		if _, applied, err := d.dispatcher.Attempt(t.Context(), late, nil); err != nil || applied {
			t.Error("the late worker recorded an attempt", applied, err)
		}
		if _, applied, err := d.dispatcher.MarkSent(t.Context(), late, 1, true, ""); err != nil || applied {
			t.Error("the late worker marked the call as sent", applied, err)
		}
		if d.record("q", delivery.ID).Sent != 1 {
			t.Error("the mark of the present worker is gone")
		}
		d.wantPlaces("q", delivery.ID, "active", "lease", "task")
	})
}
