package ledger

import (
	"errors"
	"fmt"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
)

func TestWhatEndsAfterTheHorizonIsBehindIt(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		d.end(d.acceptAndTake("b", "q", "before"), finalOf(Dead))
		d.end(d.acceptAndTake("b", "q:high", "other-queue"), finalOf(Done))
		horizon, err := d.l.Watermark(t.Context(), "b")
		d.must(err)
		dead, err := d.l.DeadWatermark(t.Context())
		d.must(err)
		again := d.record("q", idOf("b", "before"))
		if !horizon.Has(again) || !dead.Has(again) || !horizon.Has(d.record("q:high", idOf("b", "other-queue"))) {
			t.Fatal("what had ended is behind the horizon")
		}
		d.redrive(again)
		d.end(d.take("q"), finalOf(Dead))
		d.end(d.acceptAndTake("b", "q:low", "new-queue"), finalOf(Done))
		for _, r := range []Record{d.record("q", again.ID), d.record("q:low", idOf("b", "new-queue"))} {
			if horizon.Has(r) || dead.Has(r) {
				t.Errorf("%s ended later and is within the horizon", r.Key)
			}
		}
	})
}

func TestAHorizonOfNoBatchIsAnError(t *testing.T) {
	client, _ := redistest.Mini(t)
	if _, err := New(client).Watermark(t.Context(), "nothing"); !errors.Is(err, ErrNoBatch) {
		t.Fatal(err)
	}
}

func TestOnlyResultsWithinTheHorizonAndOfTheStatesAreFreed(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		for i := range page + 10 {
			d.end(d.acceptAndTake("b", "q", fmt.Sprint("done-", i)), finalOf(Done))
		}
		d.end(d.acceptAndTake("b", "q", "dropped"), finalOf(Dropped))
		d.end(d.acceptAndTake("b", "q", "dead"), finalOf(Dead))
		horizon, err := d.l.Watermark(t.Context(), "b")
		d.must(err)
		d.end(d.acceptAndTake("b", "q", "late"), finalOf(Done))

		freed, err := d.l.FreeBodies(t.Context(), "b", horizon, Done, Dropped)
		if err != nil || freed != page+11 {
			t.Fatalf("freed %d, %v", freed, err)
		}
		if again, err := d.l.FreeBodies(t.Context(), "b", horizon, Done, Dropped); err != nil || again != 0 {
			t.Fatalf("freed %d more, %v", again, err)
		}
		for key, kept := range map[string]bool{"done-0": false, fmt.Sprint("done-", page+9): false, "dropped": false, "dead": true, "late": true} {
			r := d.record("q", idOf("b", key))
			if (r.Body != nil) != kept || r.Ending == nil || r.Content == nil {
				t.Errorf("%s: body kept is %v, want %v; the rest of it: %+v", key, r.Body != nil, kept, r.Ending)
			}
		}
	})
}

func TestFailuresAreTheDeadAndTheDropped(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		for _, s := range []State{Done, Dead, Dropped} {
			d.end(d.acceptAndTake("b", "q", string(s)), finalOf(s))
		}
		d.accept("b", "q", "open")
		got := ""
		for r, err := range d.l.Failures(t.Context(), "b") {
			d.must(err)
			if r.Ending == nil || r.Ending.Code != "1" || r.Body != nil || r.Content != nil {
				t.Errorf("%+v", r)
			}
			got += fmt.Sprintf("%s %s; ", r.Key, r.State)
		}
		if got != "dead dead; dropped dropped; " {
			t.Fatal(got)
		}
	})
}
