package ledger

import (
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
)

func TestALeaseIsOverWhenItsTimeHasComeAndCanBeLengthenedUntilItIsGivenUp(t *testing.T) {
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
			t.Errorf("at once %v are over, and %d not", ids, count(time.Now()))
		}
		if ids := overdue(ended); len(ids) != 2 || ids[0] != "q "+made.ID || ids[1] != "q:high "+urgent.ID || count(ended) != 0 {
			t.Errorf("in the end %v are over, and %d not", ids, count(ended))
		}
		d.must(d.leases.Extend(t.Context(), "q", made.ID, ended.Add(time.Minute)))
		d.must(d.leases.Extend(t.Context(), "q", made.ID, ended.Add(-time.Minute))) // no longer than it is
		d.end(urgent, finalOf(Done))
		d.must(d.leases.Extend(t.Context(), "q:high", urgent.ID, ended)) // given up
		if ids := overdue(ended); len(ids) != 0 || count(ended) != 1 {
			t.Errorf("lengthened, %v are over, and %d not", ids, count(ended))
		}
	})
}

func TestWhenNoWorkerLivesAllLeasesCanBeEndedAndTheirCallsTakenBack(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		if n, err := d.leases.End(t.Context()); n != 0 || err != nil {
			t.Errorf("of none, %d leases were ended, %v", n, err)
		}
		leased, bare := d.acceptAndTake("b", "q", "leased"), d.acceptAndTake("b", "q:low", "bare")
		d.accept("b", "q", "waits")
		d.must(rdb.ZRem(t.Context(), keysOf("q:low").lease(), bare.ID).Err())
		if n, err := d.leases.End(t.Context()); n != 2 || err != nil {
			t.Errorf("%d leases were ended, %v", n, err)
		}
		leases, err := d.leases.Overdue(t.Context(), time.Now(), "q", "q:low")
		d.must(err)
		if len(leases) != 2 || leases[0].Until != 0 || leases[1].Until != 0 {
			t.Fatalf("the leases that are over are %+v", leases)
		}
		for _, lease := range leases {
			if n, err := d.repairer.Release(t.Context(), lease.Queue, time.Now(), lease.ID); n != 1 || err != nil {
				t.Errorf("%s was taken back %d times, %v", lease.ID, n, err)
			}
		}
		// It was the next one, and is again.
		if again := d.take("q"); again.ID != leased.ID || again.Starts != 2 {
			t.Errorf("the next call is %s, for the time %d", again.ID, again.Starts)
		}
		if again := d.take("q:low"); again.ID != bare.ID {
			t.Errorf("the next low call is %s", again.ID)
		}
	})
}

func TestATaskWhoseMessageIsGoneOrWhichIsNoneIsTold(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		d.accept("b", "q", "whole", "bare", "odd")
		k := keysOf("q")
		d.must(rdb.HDel(t.Context(), k.task(idOf("b", "bare")), "msg").Err())
		d.must(rdb.Del(t.Context(), k.task(idOf("b", "odd"))).Err())
		d.must(rdb.Set(t.Context(), k.task(idOf("b", "odd")), "no hash", 0).Err())
		for key, want := range map[string]bool{"whole": true, "bare": false, "odd": false, "none": false} {
			if got, err := d.repairer.HasMessage(t.Context(), "q", idOf("b", key)); got != want || err != nil {
				t.Errorf("of %s: %t, %v", key, got, err)
			}
		}
	})
}
