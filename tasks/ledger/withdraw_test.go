package ledger

import (
	"fmt"
	"slices"
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

// A script gets an ending once for the calls in a row that end in the same way.
func TestCallsThatAreWithdrawnTogetherEachGetTheirOwnEnding(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		var list []Withdrawal
		for i, class := range []string{"expired", "expired", "cancelled", "expired", "cancelled", "cancelled"} {
			id := d.acceptUntil("b", "q", fmt.Sprint(i), time.Now())
			w := expired(d.record("q", id))
			w.Final.Ending.Class = class
			if class == "cancelled" {
				w.Final.State = Cancelled
			}
			list = append(list, w)
		}
		d.end(d.take("q"), finalOf(Done)) // the first one

		got, err := d.l.Withdraw(t.Context(), "q", list)
		d.must(err)
		if want := []Withdrawn{MovedOn, Withdrew, Withdrew, Withdrew, Withdrew, Withdrew}; !slices.Equal(got, want) {
			t.Fatalf("got %v, want %v", got, want)
		}
		for _, w := range list[1:] {
			if r := d.record("q", w.ID); r.State != w.Final.State || r.Ending.Class != w.Final.Ending.Class {
				t.Errorf("call %s ended as %s, %s; want %s, %s", r.Key, r.State, r.Ending.Class, w.Final.State, w.Final.Ending.Class)
			}
		}
		if dead := d.deadKeys(list[1].Final.Group.Name()); !slices.Equal(dead, []string{"1", "3"}) {
			t.Errorf("the group of dead letters has %v", dead)
		}
		d.wantCounts("b", Counts{Accepted: 6, Done: 1, Dead: 2, Cancelled: 3})
	})
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
