package ledger

import (
	"errors"
	"fmt"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
)

func TestCallsThatEndAfterTheWatermarkAreAboveIt(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		d.end(d.acceptAndTake("b", "q", "before"), finalOf(Dead))
		d.end(d.acceptAndTake("b", "q:high", "other-queue"), finalOf(Done))
		watermark, err := d.l.Watermark(t.Context(), "b")
		d.must(err)
		dead, err := d.l.DeadWatermark(t.Context())
		d.must(err)
		again := d.record("q", idOf("b", "before"))
		if !watermark.Has(again) || !dead.Has(again) || !watermark.Has(d.record("q:high", idOf("b", "other-queue"))) {
			t.Fatal("calls that had ended are above the watermark")
		}
		d.redrive(again)
		d.end(d.take("q"), finalOf(Dead))
		d.end(d.acceptAndTake("b", "q:low", "new-queue"), finalOf(Done))
		for _, r := range []Record{d.record("q", again.ID), d.record("q:low", idOf("b", "new-queue"))} {
			if watermark.Has(r) || dead.Has(r) {
				t.Errorf("%s ended later and is below the watermark", r.Key)
			}
		}
	})
}

func TestTheWatermarkOfAnUnknownBatchIsAnError(t *testing.T) {
	client, _ := redistest.Mini(t)
	if _, err := New(client).Watermark(t.Context(), "nothing"); !errors.Is(err, ErrNoBatch) {
		t.Fatal(err)
	}
}

func TestOnlyResultsBelowTheWatermarkAndInTheStatesAreFreed(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		for i := range page + 10 {
			d.end(d.acceptAndTake("b", "q", fmt.Sprint("done-", i)), finalOf(Done))
		}
		d.end(d.acceptAndTake("b", "q", "dropped"), finalOf(Dropped))
		d.end(d.acceptAndTake("b", "q", "dead"), finalOf(Dead))
		watermark, err := d.l.Watermark(t.Context(), "b")
		d.must(err)
		d.end(d.acceptAndTake("b", "q", "late"), finalOf(Done))

		freed, err := d.l.FreeBodies(t.Context(), "b", watermark, Done, Dropped)
		if err != nil || freed != page+11 {
			t.Fatalf("got %d bodies freed, %v", freed, err)
		}
		if again, err := d.l.FreeBodies(t.Context(), "b", watermark, Done, Dropped); err != nil || again != 0 {
			t.Fatalf("got %d more bodies freed, %v", again, err)
		}
		for key, kept := range map[string]bool{"done-0": false, fmt.Sprint("done-", page+9): false, "dropped": false, "dead": true, "late": true} {
			r := d.record("q", idOf("b", key))
			if (r.Body != nil) != kept || r.Ending == nil || r.Content == nil {
				t.Errorf("%s: body kept: got %v, want %v; its ending: %+v", key, r.Body != nil, kept, r.Ending)
			}
		}
	})
}

func TestFailuresAreDeadAndDroppedCalls(t *testing.T) {
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
				t.Errorf("got %+v", r)
			}
			got += fmt.Sprintf("%s %s; ", r.Key, r.State)
		}
		if got != "dead dead; dropped dropped; " {
			t.Fatal(got)
		}
	})
}
