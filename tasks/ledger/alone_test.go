package ledger

import (
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
)

func TestStartsAloneCountOnceUntilTheNextDecision(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		d.accept("b", "q", "k")
		mark := func(delivery *Delivery, want bool) {
			t.Helper()
			if applied, err := d.dispatcher.MarkAlone(t.Context(), delivery); err != nil || applied != want {
				t.Fatalf("noted: %t, want %t; %v", applied, want, err)
			}
		}
		die := func(delivery *Delivery) {
			t.Helper()
			d.retry("q", delivery.ID) // its worker died
			d.forward("q")
		}
		first := d.take("q")
		die(first)
		for want := range 2 {
			delivery := d.take("q")
			if delivery.Alone != want {
				t.Fatalf("got %d starts alone, want %d", delivery.Alone, want)
			}
			mark(first, false) // another worker has it now
			mark(delivery, true)
			mark(delivery, true) // as after a lost reply
			die(delivery)
		}
		delivery := d.take("q")
		if delivery.Alone != 2 || delivery.Starts != 4 {
			t.Fatalf("got %d of %d starts alone, want 2 of 4", delivery.Alone, delivery.Starts)
		}
		delivery.Attempts = 1
		_, _, err := d.dispatcher.Attempt(t.Context(), delivery, nil)
		d.must(err)
		mark(delivery, false)
		die(delivery)
		if delivery = d.take("q"); delivery.Alone != 0 || delivery.Starts != 1 {
			t.Fatalf("after a decision: got %d of %d starts alone", delivery.Alone, delivery.Starts)
		}
		mark(delivery, true)
		d.end(delivery, finalOf(Dead))
		mark(delivery, false)
		if changed, _ := d.redrive(d.record("q", delivery.ID)); !changed {
			t.Fatal("the call was not redriven")
		}
		if delivery = d.take("q"); delivery.Alone != 0 || delivery.Starts != 1 {
			t.Fatalf("after a redrive: got %d of %d starts alone", delivery.Alone, delivery.Starts)
		}
		never := d.acceptAndTake("b", "q", "never decided on")
		mark(never, true)
		d.end(never, finalOf(Dead))
		d.redrive(d.record("q", never.ID))
		if delivery = d.take("q"); delivery.Alone != 0 {
			t.Fatalf("got %d starts alone from before the redrive", delivery.Alone)
		}
	})
}
