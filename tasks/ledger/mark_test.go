package ledger

import (
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
	"github.com/seed-2903acc3/callq/tasks/redislua"
)

func TestACallIsNotMarkedInAnotherEpochThanTheOneThatAdmittedIt(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		delivery := d.acceptAndTake("b", "q", "k")
		// The account was held and opened again while this call waited in its worker.
		d.must(rdb.HSet(t.Context(), redislua.CircuitKey("q", ""), "state", "closed", "epoch", delivery.Circuit.Epoch+2).Err())
		held, applied, err := d.dispatcher.MarkSent(t.Context(), delivery, 1, true, "")
		if err != nil || !applied || held <= 0 {
			t.Errorf("got held %s, applied %t, %v; want it held, so that the call asks again", held, applied, err)
		}
		if n := d.record("q", delivery.ID).Sent; n != 0 {
			t.Errorf("attempt %d is marked as sent", n)
		}
	})
}

func TestAProbeWhoseLeaseAnotherCallHasIsNotSent(t *testing.T) {
	for _, nonIdempotent := range []bool{true, false} {
		redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
			d := newFixture(t, rdb)
			delivery := d.acceptAndTake("b", "q", "k")
			for token, want := range map[string]bool{"own": true, "another's": false, "": false} {
				d.must(rdb.HSet(t.Context(), redislua.CircuitKey("q", ""), "state", "open", "until", 1, "epoch", delivery.Circuit.Epoch, "token", token).Err())
				held, applied, err := d.dispatcher.MarkSent(t.Context(), delivery, 1, nonIdempotent, "own")
				if err != nil || !applied || (held == 0) != want {
					t.Errorf("probe token %q, non-idempotent %t: got held %s, applied %t, %v", token, nonIdempotent, held, applied, err)
				}
			}
		})
	}
}

func TestACallThatReturnsToItsQueueHasNoMark(t *testing.T) {
	for name, putBack := range map[string]func(d *fixture, delivery *Delivery){
		"a park": func(d *fixture, delivery *Delivery) {
			delivery.Parked++
			_, applied, err := d.dispatcher.Park(d.Context(), delivery, &Attempt{N: 1, Action: "park"})
			if err != nil || !applied {
				d.Fatal(applied, err)
			}
		},
		"a redrive": func(d *fixture, delivery *Delivery) {
			final := finalOf(Dead)
			final.Assumed = true // it is not known what became of the call
			if !d.end(delivery, final) {
				d.Fatal("the call had ended before")
			}
			d.archive(delivery)
			if redriven, busy := d.redrive(d.record("q", delivery.ID)); !redriven || busy {
				d.Fatal("the call was not redriven", redriven, busy)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
				d := newFixture(t, rdb)
				delivery := d.acceptAndTake("b", "q", "k")
				if held, applied, err := d.dispatcher.MarkSent(t.Context(), delivery, 1, true, ""); err != nil || !applied || held != 0 {
					t.Fatal(held, applied, err)
				}
				if d.record("q", delivery.ID).Sent != 1 {
					t.Fatal("the call was not marked, so this test shows nothing")
				}
				putBack(d, delivery)
				if again := d.take("q"); again.ID != delivery.ID || again.Sent != 0 {
					t.Errorf("the next worker got %s with a mark of attempt %d", again.ID, again.Sent)
				}
			})
		})
	}
}

func TestAWriteThatIsRepeatedAddsOneLineToTheLog(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		delivery := d.acceptAndTake("b", "q", "k")
		delivery.Attempts = 1
		line := &Attempt{N: 1, Action: "retry", Status: 500}
		// The first one reaches Redis, and its reply is lost.
		lost := *delivery
		_, _, err := d.dispatcher.Attempt(t.Context(), &lost, line)
		d.must(err)
		_, _, err = d.dispatcher.Attempt(t.Context(), delivery, line)
		d.must(err)
		if log := d.record("q", delivery.ID).Log; len(log) != 1 {
			t.Errorf("got %d lines of log: %+v", len(log), log)
		}
		// The first one does not reach Redis at all.
		gone := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", MaxRetries: -1})
		defer gone.Close()
		delivery.Attempts = 2
		if _, _, err := NewDispatcher(gone, "").Attempt(t.Context(), delivery, &Attempt{N: 2, Action: "retry", Status: 502}); err == nil {
			t.Fatal("a write without a Redis succeeded")
		}
		_, _, err = d.dispatcher.Attempt(t.Context(), delivery, &Attempt{N: 2, Action: "retry", Status: 502})
		d.must(err)
		if log := d.record("q", delivery.ID).Log; len(log) != 2 {
			t.Errorf("got %d lines of log: %+v", len(log), log)
		}
	})
}
