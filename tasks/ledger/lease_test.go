package ledger

import (
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
)

func TestALeaseEndsAtItsTimeAndCanBeExtendedUntilItIsGivenUp(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		made := d.acceptAndTake("b", "q", "made")
		urgent := d.acceptAndTake("b", "q:high", "urgent")
		ended := time.Now().Add(31 * time.Second)
		overdue := func(by time.Time) (ids []string) {
			t.Helper()
			leases, err := d.leases.Overdue(t.Context(), by, "q", "q:high", "q:low")
			d.must(err)
			for _, lease := range leases {
				if lease.Until == 0 {
					t.Errorf("the lease of %s was ended", lease.ID)
				}
				ids = append(ids, lease.Queue+" "+lease.ID)
			}
			return ids
		}
		count := func(after time.Time) int64 {
			t.Helper()
			n, err := d.leases.Count(t.Context(), after, "q", "q:high", "q:low")
			d.must(err)
			return n
		}
		if ids := overdue(time.Now()); len(ids) != 0 || count(time.Now()) != 2 {
			t.Errorf("now: got %v overdue and %d running", ids, count(time.Now()))
		}
		if ids := overdue(ended); len(ids) != 2 || ids[0] != "q "+made.ID || ids[1] != "q:high "+urgent.ID || count(ended) != 0 {
			t.Errorf("after their end: got %v overdue and %d running", ids, count(ended))
		}
		d.must(d.leases.Extend(t.Context(), "q", made.ID, ended.Add(time.Minute)))
		d.must(d.leases.Extend(t.Context(), "q", made.ID, ended.Add(-time.Minute))) // not longer than it is already
		d.end(urgent, finalOf(Done))
		d.must(d.leases.Extend(t.Context(), "q:high", urgent.ID, ended)) // given up
		if ids := overdue(ended); len(ids) != 0 || count(ended) != 1 {
			t.Errorf("after Extend: got %v overdue and %d running", ids, count(ended))
		}
	})
}

func TestAllLeasesCanBeEndedAndTheirCallsReleased(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		if n, err := d.leases.End(t.Context()); n != 0 || err != nil {
			t.Errorf("without leases: got %d ended, %v", n, err)
		}
		leased, bare := d.acceptAndTake("b", "q", "leased"), d.acceptAndTake("b", "q:low", "bare")
		d.accept("b", "q", "waits")
		d.must(rdb.ZRem(t.Context(), keysOf("q:low").lease(), bare.ID).Err())
		if n, err := d.leases.End(t.Context()); n != 2 || err != nil {
			t.Errorf("got %d leases ended, %v", n, err)
		}
		leases, err := d.leases.Overdue(t.Context(), time.Now(), "q", "q:low")
		d.must(err)
		if len(leases) != 2 || leases[0].Until != 0 || leases[1].Until != 0 {
			t.Fatalf("got overdue leases %+v", leases)
		}
		for _, lease := range leases {
			if n, err := d.repairer.Release(t.Context(), lease.Queue, time.Now(), lease.ID); n != 1 || err != nil {
				t.Errorf("%s was released %d times, %v", lease.ID, n, err)
			}
		}
		// It was the next call before, and is again.
		if again := d.take("q"); again.ID != leased.ID || again.Starts != 2 {
			t.Errorf("got next call %s with start %d", again.ID, again.Starts)
		}
		if again := d.take("q:low"); again.ID != bare.ID {
			t.Errorf("got next low call %s", again.ID)
		}
	})
}

func TestHasMessageReportsTasksWithoutAMessage(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		d.accept("b", "q", "whole", "bare", "wrong type")
		k := keysOf("q")
		d.must(rdb.HDel(t.Context(), k.task(idOf("b", "bare")), "msg").Err())
		d.must(rdb.Del(t.Context(), k.task(idOf("b", "wrong type"))).Err())
		d.must(rdb.Set(t.Context(), k.task(idOf("b", "wrong type")), "not a hash", 0).Err())
		for key, want := range map[string]bool{"whole": true, "bare": false, "wrong type": false, "none": false} {
			if got, err := d.repairer.HasMessage(t.Context(), "q", idOf("b", key)); got != want || err != nil {
				t.Errorf("%s: got %t, %v", key, got, err)
			}
		}
	})
}
