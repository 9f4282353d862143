package ledger

import (
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
)

// runInArchive is what asynq's Run does to a dead letter's task.
func (d *fixture) runInArchive(t *Delivery) {
	d.Helper()
	k := keysOf(t.Queue)
	d.must(d.rdb.ZRem(d.Context(), k.archived(), t.ID).Err())
	d.must(d.rdb.LPush(d.Context(), k.pending(), t.ID).Err())
	d.must(d.rdb.HSet(d.Context(), k.task(t.ID), "state", "pending", "msg", "[callq "+t.ID+" g1] text").Err())
}

// A worker may die as soon as it has met such a dead letter.
func TestADequeueMeetsADeadLetterThatAsynqRanUntilItIsRedrivenOrRearchived(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		redriven, refused := d.acceptAndTake("b", "q", "redriven"), d.acceptAndTake("b", "q", "refused")
		for _, delivery := range []*Delivery{redriven, refused} {
			d.end(delivery, finalOf(Dead))
			d.runInArchive(delivery)
		}
		for i := range 6 {
			want := []*Delivery{redriven, refused}[i%2]
			if got := d.dequeue("q"); got.ToRedrive == nil || got.ToRedrive.ID != want.ID {
				t.Fatalf("round %d: got %+v", i, got)
			}
			d.wantPlaces("q", want.ID, "pending", "task")
		}
		for range 2 { // as after a lost reply
			d.must(d.repairer.Rearchive(t.Context(), d.record("q", refused.ID)))
			d.wantPlaces("q", refused.ID, "archived", "task")
		}
		before := d.record("q", redriven.ID)
		if changed, _ := d.redrive(before); !changed {
			t.Fatal("the call was not redriven")
		}
		d.must(d.repairer.Rearchive(t.Context(), before)) // by another worker that met it too
		d.wantPlaces("q", redriven.ID, "pending", "task")
		if delivery := d.take("q"); delivery.ID != redriven.ID || delivery.Generation != 2 {
			t.Errorf("got %s, generation %d", delivery.Key, delivery.Generation)
		}
		if got := d.dequeue("q"); got.Delivery != nil || got.ToRedrive != nil {
			t.Errorf("got %+v", got)
		}
		d.wantCounts("b", Counts{Accepted: 2, Open: 1, Dead: 1})
	})
}

func TestOnlyRedriveAnyOpensADoneCallAgain(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		delivery := d.acceptAndTake("b", "q", "done")
		d.end(delivery, finalOf(Done))
		before := d.record("q", delivery.ID)
		if changed, _ := d.redrive(before); changed {
			t.Fatal("Redrive opened a done call")
		}
		d.wantCounts("b", Counts{Accepted: 1, Done: 1})
		for i, want := range []bool{true, false} { // the second time as after a lost reply
			changed, busy, err := d.l.RedriveAny(t.Context(), before, "message", time.Time{})
			if err != nil || busy || changed != want {
				t.Fatalf("time %d: %v, %v, %v", i+1, changed, busy, err)
			}
			d.wantCounts("b", Counts{Accepted: 1, Open: 1})
			d.wantPlaces("q", delivery.ID, "pending", "task")
		}
		got := d.record("q", delivery.ID)
		if got.State != Open || got.Generation != 2 || len(got.Lineage) != 1 || got.Lineage[0].State != Done || got.Body != nil {
			t.Errorf("the record is %+v", got)
		}
		findings, err := d.l.Audit(t.Context(), "b", func(_, key string) string { return delivery.ID })
		if err != nil || len(findings) > 0 {
			t.Errorf("got %+v, %v", findings, err)
		}
		if _, applied, err := d.dispatcher.End(t.Context(), delivery, finalOf(Done), nil); err != nil || applied {
			t.Errorf("the former worker ended it: %v, %v", applied, err)
		}
		d.end(d.take("q"), finalOf(Dead))
		d.wantCounts("b", Counts{Accepted: 1, Dead: 1})
	})
}

func TestADeadLetterThatAsynqRanDoesNotDelayOtherCalls(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		dead := d.acceptAndTake("b", "q", "dead")
		d.end(dead, finalOf(Dead))
		d.runInArchive(dead)
		d.accept("b", "q", "1", "2")
		dispatcher := NewDispatcher(d.rdb, "")
		for _, want := range []string{"", "1", "2", ""} {
			got, err := dispatcher.Dequeue(t.Context(), DequeueRequest{Queues: []string{"q"}, LeaseUntil: time.Now().Add(time.Minute).Unix(), Turn: time.Minute})
			d.must(err)
			if (got.ToRedrive != nil) != (want == "") || want != "" && got.Delivery.Key != want {
				t.Errorf("got %+v, want %q", got, want)
			}
		}
	})
}
