package ledger

import (
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
)

func TestACallIsWithdrawnOnlyIfItHasNotChangedSinceItWasRead(t *testing.T) {
	for name, c := range map[string]struct {
		seen func(r *Record)
		now  func(d *fixture, id string)
		want Withdrawn
	}{
		"it has not changed": {want: Withdrew},
		"it was marked as sent since": {
			now:  func(d *fixture, id string) { d.must(d.rdb.HSet(d.Context(), keysOf("q").record(id), "sent", 1).Err()) },
			want: OtherMark,
		},
		"it was marked as sent before": {
			seen: func(r *Record) { r.Sent = 2 },
			now:  func(d *fixture, id string) { d.must(d.rdb.HSet(d.Context(), keysOf("q").record(id), "sent", 2).Err()) },
			want: Withdrew,
		},
		"its mark was cleared since":       {seen: func(r *Record) { r.Sent = 1 }, want: OtherMark},
		"another generation of it is open": {seen: func(r *Record) { r.Generation = 2 }, want: MovedOn},
		"it has ended": {
			now:  func(d *fixture, id string) { d.end(d.take("q"), finalOf(Done)) },
			want: MovedOn,
		},
		"it was forgotten": {
			now:  func(d *fixture, id string) { d.must(d.rdb.Del(d.Context(), keysOf("q").record(id)).Err()) },
			want: MovedOn,
		},
	} {
		t.Run(name, func(t *testing.T) {
			redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
				d := newFixture(t, rdb)
				id := d.acceptUntil("b", "q", "k", time.Now())
				r := d.record("q", id)
				if c.seen != nil {
					c.seen(&r)
				}
				if c.now != nil {
					c.now(d, id)
				}
				before := d.counts("b")
				if got := d.withdraw(expired(r)); got != c.want {
					t.Fatalf("got %d, want %d", got, c.want)
				}
				if c.want != Withdrew && d.counts("b") != before {
					t.Errorf("got counts %+v, want them unchanged: %+v", d.counts("b"), before)
				}
			})
		})
	}
}

func TestALateAnswerReplacesTheAssumedEndingOfAWithdrawnCall(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		id := d.acceptUntil("b", "q", "k", time.Now())
		delivery := d.take("q")
		_, _, err := d.dispatcher.MarkSent(t.Context(), delivery, 1, true, "")
		d.must(err)
		// Its worker is considered dead.
		d.must(rdb.ZRem(t.Context(), keysOf("q").lease(), id).Err())
		_, err = d.repairer.Release(t.Context(), "q", time.Time{}, id)
		d.must(err)
		w := expired(d.record("q", id))
		w.Final.Assumed, w.Final.Ending.Class, w.Final.Group.Class = true, "outcome_unknown", "outcome_unknown"
		if got := d.withdraw(w); got != Withdrew {
			t.Fatalf("got withdrawal result %d", got)
		}
		d.wantCounts("b", Counts{Accepted: 1, Dead: 1})
		if !d.end(delivery, finalOf(Done)) {
			t.Fatal("the real answer was refused")
		}
		d.wantCounts("b", Counts{Accepted: 1, Done: 1})
		d.wantPlaces("q", id)
		if len(d.deadKeys("")) != 0 {
			t.Error("the call is still listed as dead")
		}
	})
}

// Searching a long list for each of many calls would block Redis.
func TestATaskStaysInALongPendingListUntilTheDequeueMeetsIt(t *testing.T) {
	d := newFixture(t, redistest.Redis(t).Client)
	id := d.acceptUntil("b", "q", "late", time.Now())
	var entries []Entry
	for i := range 5000 {
		if entries = append(entries, entryOf("b", "q", fmt.Sprint(i))); len(entries) == 1000 {
			d.send("b", entries...)
			entries = entries[:0]
		}
	}
	if got := d.withdraw(expired(d.record("q", id))); got != Withdrew {
		t.Fatalf("got withdrawal result %d", got)
	}
	d.wantPlaces("q", id, "pending", "task")
	if got := d.take("q"); got.Key != "0" {
		t.Errorf("got %s", got.Key)
	}
	d.wantPlaces("q", id)
	if redriven, busy := d.redrive(d.record("q", id)); !redriven || busy {
		t.Errorf("redriven %v, busy %v", redriven, busy)
	}
	d.wantPlaces("q", id, "pending", "task")
	if found := d.audit("b"); len(found) != 0 {
		t.Errorf("audit found %+v", found)
	}
}
