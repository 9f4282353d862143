package ledger

import (
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
)

func TestStartsThatWereMadeAloneCountOnceUntilTheNextDecision(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newDesk(t, rdb)
		d.accept("b", "q", "k")
		mark := func(take *Delivery, want bool) {
			t.Helper()
			if mine, err := d.dispatcher.MarkAlone(t.Context(), take); err != nil || mine != want {
				t.Fatalf("noted: %t, want %t; %v", mine, want, err)
			}
		}
		die := func(take *Delivery) {
			t.Helper()
			d.retry("q", take.ID) // its worker died
			d.forward("q")
		}
		first := d.take("q")
		die(first)
		for want := range 2 {
			take := d.take("q")
			if take.Alone != want {
				t.Fatalf("%d starts were made alone, want %d", take.Alone, want)
			}
			mark(first, false) // it is another worker's by now
			mark(take, true)
			mark(take, true) // as after a lost reply
			die(take)
		}
		take := d.take("q")
		if take.Alone != 2 || take.Starts != 4 {
			t.Fatalf("%d of %d starts were made alone, want 2 of 4", take.Alone, take.Starts)
		}
		take.Attempts = 1
		_, _, err := d.dispatcher.Attempt(t.Context(), take, nil)
		d.must(err)
		mark(take, false)
		die(take)
		if take = d.take("q"); take.Alone != 0 || take.Starts != 1 {
			t.Fatalf("after a decision %d of %d starts were made alone", take.Alone, take.Starts)
		}
		mark(take, true)
		d.end(take, finalOf(Dead))
		mark(take, false)
		if did, _ := d.redrive(d.record("q", take.ID)); !did {
			t.Fatal("it was not redriven")
		}
		if take = d.take("q"); take.Alone != 0 || take.Starts != 1 {
			t.Fatalf("after a redrive %d of %d starts were made alone", take.Alone, take.Starts)
		}
		never := d.acceptAndTake("b", "q", "never decided on")
		mark(never, true)
		d.end(never, finalOf(Dead))
		d.redrive(d.record("q", never.ID))
		if take = d.take("q"); take.Alone != 0 {
			t.Fatalf("%d starts are from before the redrive", take.Alone)
		}
	})
}
