package ledger

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
)

func TestACancelEndsWaitingCallsAndSkipsActiveOnes(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		d.accept("b", "q", "active", "retry", "scheduled", "pending", "done")
		d.take("q")
		retry := d.take("q")
		d.retry("q", retry.ID)
		k := keysOf("q")
		scheduled := idOf("b", "scheduled")
		d.must(rdb.LRem(t.Context(), k.pending(), 1, scheduled).Err())
		d.must(rdb.ZAdd(t.Context(), k.scheduled(), redis.Z{Score: 4e9, Member: scheduled}).Err())
		d.must(rdb.LRem(t.Context(), k.pending(), 1, idOf("b", "pending")).Err())
		done := d.take("q")
		d.end(done, finalOf(Done))
		d.must(rdb.LPush(t.Context(), k.pending(), idOf("b", "pending")).Err())

		for key, want := range map[string]struct {
			cancelled, active bool
			places            []string
		}{
			"active":    {false, true, []string{"active", "lease", "task"}},
			"retry":     {true, false, nil},
			"scheduled": {true, false, nil},
			"pending":   {true, false, []string{"pending", "task"}},
			"done":      {false, false, nil},
		} {
			r := d.record("q", idOf("b", key))
			for i := range 2 {
				cancelled, active, err := d.l.Cancel(t.Context(), r, Ending{Class: "cancelled"})
				d.must(err)
				if cancelled != (want.cancelled && i == 0) || active != want.active {
					t.Errorf("%s, time %d: cancelled %v, active %v", key, i+1, cancelled, active)
				}
			}
			d.wantPlaces("q", r.ID, want.places...)
		}
		d.wantCounts("b", Counts{Accepted: 5, Open: 1, Done: 1, Cancelled: 3})
		if r := d.record("q", idOf("b", "pending")); r.State != Cancelled || r.Ending.Class != "cancelled" || r.EndedAt.IsZero() {
			t.Fatalf("the record is %+v", r)
		}
	})
}

func endingsOf(d *fixture, batch string, cur *Cursor) string {
	d.Helper()
	var list []string
	for r, err := range d.l.Endings(d.Context(), batch, cur) {
		d.must(err)
		list = append(list, r.Key)
	}
	return strings.Join(list, " ")
}

func TestEndingsComeInTheOrderOfCompletionOverThreeQueues(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		var want []string
		var deliveries []*Delivery
		for i := range 30 {
			queue := []string{"q", "q:high", "q:low"}[i%3]
			deliveries = append(deliveries, d.acceptAndTake("b", queue, fmt.Sprint(i)))
		}
		for i := range deliveries { // ended in another order than accepted
			delivery := deliveries[(i*7)%len(deliveries)]
			want = append(want, delivery.Key)
			d.end(delivery, finalOf([]State{Done, Dead, Dropped}[i%3]))
		}
		if got := endingsOf(d, "b", &Cursor{}); got != strings.Join(want, " ") {
			t.Fatalf("got  %s\nwant %s", got, strings.Join(want, " "))
		}
	})
}

func TestACursorResumesAndYieldsRedrivenCallsAgain(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		cur := &Cursor{}
		d.end(d.acceptAndTake("b", "q", "k1"), finalOf(Dead))
		d.end(d.acceptAndTake("b", "q:high", "k2"), finalOf(Done))
		d.end(d.acceptAndTake("b", "q", "k3"), finalOf(Done))
		for r, err := range d.l.Endings(t.Context(), "b", cur) { // the reader stops early
			if d.must(err); r.Key == "k1" {
				break
			}
		}
		if got := endingsOf(d, "b", cur); got != "k2 k3" {
			t.Fatalf("resumed with %q", got)
		}
		if got := endingsOf(d, "b", cur); got != "" {
			t.Fatalf("nothing ended, but it yields %q", got)
		}
		d.redrive(d.record("q", idOf("b", "k1")))
		if got := endingsOf(d, "b", cur); got != "" {
			t.Fatalf("an open call was yielded: %q", got)
		}
		if got := endingsOf(d, "b", &Cursor{}); got != "k2 k3" {
			t.Fatalf("from the start: %q", got)
		}
		d.end(d.take("q"), finalOf(Done))
		if got := endingsOf(d, "b", cur); got != "k1" {
			t.Fatalf("after the redrive: %q", got)
		}
	})
}

// Two calls can end in one microsecond, and a failover can set the clock back.
func TestEndingsKeepTheirOrderWhenTheClockIsSetBack(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		d.accept("b", "q", "k1", "k2", "k3", "k4")
		ahead := time.Now().Add(time.Hour)
		d.must(rdb.HSet(t.Context(), keysOf("q").counts("b"), "last", ahead.UnixMicro()).Err())
		cancel := func(key string) {
			cancelled, _, err := d.l.Cancel(t.Context(), d.record("q", idOf("b", key)), Ending{})
			if d.must(err); !cancelled {
				t.Fatalf("%s was not cancelled", key)
			}
		}
		cancel("k4")
		d.end(d.take("q"), finalOf(Done))
		cancel("k3")
		d.end(d.take("q"), finalOf(Dead))
		if got := endingsOf(d, "b", &Cursor{}); got != "k4 k1 k3 k2" {
			t.Fatalf("they ended in the order %s", got)
		}
		last := ahead
		for _, key := range []string{"k4", "k1", "k3", "k2"} {
			if at := d.record("q", idOf("b", key)).EndedAt; !at.After(last) {
				t.Fatalf("%s ended at %s, not after %s", key, at, last)
			} else {
				last = at
			}
		}
	})
}

func TestEndingsAreReadOverManyPages(t *testing.T) {
	d := newFixture(t, redistest.Redis(t).Client)
	const n = 2*page + 100
	archiveDead(d, "q", n, 1)
	i := 0
	for r, err := range d.l.Endings(t.Context(), "b", &Cursor{}) {
		if d.must(err); r.Key != fmt.Sprint(i) {
			t.Fatalf("ending %d is %s", i, r.Key)
		}
		i++
	}
	if i != n {
		t.Fatalf("%d of %d endings", i, n)
	}
}

func TestUnknownBatchesAndCallsAreErrors(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		if _, err := d.l.Batch(t.Context(), "b"); !errors.Is(err, ErrNoBatch) {
			t.Errorf("Batch: %v", err)
		}
		if _, err := d.l.Get(t.Context(), "q", "id"); !errors.Is(err, ErrNoCall) {
			t.Errorf("Get: %v", err)
		}
		if _, err := d.l.Find(t.Context(), "id"); !errors.Is(err, ErrNoCall) {
			t.Errorf("Find: %v", err)
		}
		for _, err := range d.l.Endings(t.Context(), "b", &Cursor{}) {
			if !errors.Is(err, ErrNoBatch) {
				t.Errorf("Endings: %v", err)
			}
		}
		if _, err := d.l.Audit(t.Context(), "b", idOf); !errors.Is(err, ErrNoBatch) {
			t.Errorf("Audit: %v", err)
		}
	})
}

func TestBatchesAreListedOldestFirstWithTheirQueues(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		d.accept("b2", "q", "k")
		d.accept("b1", "q:low", "k")
		d.accept("b1", "q", "k2")
		for i, name := range []string{"b2", "b1"} {
			d.must(rdb.ZAdd(t.Context(), keyBatches, redis.Z{Score: float64(i), Member: name}).Err())
		}
		list, err := d.l.Batches(t.Context())
		d.must(err)
		if len(list) != 2 || list[0].Name != "b2" || fmt.Sprint(list[1].Queues) != "[q q:low]" || list[1].Counts.Open != 2 || list[1].Created.IsZero() {
			t.Fatalf("batches %+v", list)
		}
		r, err := d.l.Find(t.Context(), idOf("b1", "k"))
		if err != nil || r.Queue != "q:low" {
			t.Fatalf("found %+v, %v", r, err)
		}
	})
}

func TestEveryClaimedCallIsListedOnce(t *testing.T) {
	d := newFixture(t, redistest.Redis(t).Client)
	const n = 3*page + 7
	archiveDead(d, "q", n, 1)
	if _, err := d.l.Claim(t.Context(), "b", []Entry{entryOf("b", "q", "claimed only")}); err != nil {
		t.Fatal(err)
	}
	seen := map[string]State{}
	for r, err := range d.l.Calls(t.Context(), "b", idOf) {
		d.must(err)
		if _, twice := seen[r.Key]; twice {
			t.Fatalf("%s was listed twice", r.Key)
		}
		seen[r.Key] = r.State
		// Redis moves the keys of a table that grows while it is scanned.
		if len(seen) == page/2 {
			for chunk := range 12 {
				var more []Entry
				for i := range page {
					more = append(more, entryOf("b", "q", fmt.Sprintf("more-%d-%d", chunk, i)))
				}
				_, err := d.l.Claim(t.Context(), "b", more)
				d.must(err)
			}
		}
	}
	for i := range n {
		if seen[fmt.Sprint(i)] != Dead {
			t.Fatalf("call %d was not listed", i)
		}
	}
	if state, ok := seen["claimed only"]; !ok || state != "" {
		t.Fatalf("the claim without a record was listed as %q, %v", state, ok)
	}
}

// Redis returns some keys of a table again that shrinks while it is scanned.
func TestEveryClaimedCallIsListedOnceWhileMostClaimsAreForgotten(t *testing.T) {
	rdb := redistest.Redis(t).Client
	d := newFixture(t, rdb)
	const n, kept = 1200, 12
	for round := range 200 {
		var claims []any
		var gone []string
		key := func(i int) string { return fmt.Sprint(round, " ", i) } // other keys are in other places
		for i := range n {
			claims = append(claims, key(i), "hash q")
			if i%kept != 0 {
				gone = append(gone, key(i))
			}
		}
		d.must(rdb.HSet(t.Context(), claimsKey("b"), claims...).Err())
		seen := map[string]bool{}
		for r, err := range d.l.Statuses(t.Context(), "b", idOf) {
			d.must(err)
			if seen[r.Key] {
				t.Fatalf("%s was listed twice", r.Key)
			}
			if seen[r.Key] = true; len(seen) == n/4 {
				d.must(rdb.HDel(t.Context(), claimsKey("b"), gone...).Err())
			}
		}
		for i := 0; i < n; i += kept {
			if !seen[key(i)] {
				t.Fatalf("%s was not listed", key(i))
			}
		}
		d.must(rdb.Del(t.Context(), claimsKey("b")).Err())
	}
}

func TestWhatAScanRemembersDoesNotGrow(t *testing.T) {
	r := newRecent()
	for i := range 5 * recentKeys {
		if r.repeated(fmt.Sprint(i)) {
			t.Fatalf("%d is new", i)
		}
		if i > 0 && !r.repeated(fmt.Sprint(max(i-recentKeys, 0))) {
			t.Fatalf("%d was returned %d keys ago", max(i-recentKeys, 0), min(i, recentKeys))
		}
	}
	if n := len(r.young) + len(r.old); n > 2*recentKeys {
		t.Errorf("it remembers %d keys", n)
	}
}

func TestRecentBatchesAreReadPageByPageTheNewestFirst(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		var want []string
		for i := range 7 {
			name := fmt.Sprintf("b%d", i)
			d.accept(name, "q", "k")
			// All but the last two are created in the same millisecond.
			d.must(rdb.ZAdd(t.Context(), keyBatches, redis.Z{Score: float64(max(i, 4)), Member: name}).Err())
			want = append([]string{name}, want...)
		}
		var got []string
		for before := ""; ; {
			page, next, err := d.l.RecentBatches(t.Context(), before, 3)
			d.must(err)
			for _, b := range page {
				if b.Counts.Open != 1 || len(page) > 3 {
					t.Errorf("page of %d, batch %+v", len(page), b)
				}
				got = append(got, b.Name)
			}
			if next == "" {
				break
			}
			before = next
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("got %v, want %v", got, want)
		}
		if _, _, err := d.l.RecentBatches(t.Context(), "gone", 3); !errors.Is(err, ErrNoBatch) {
			t.Errorf("got %v for a batch that is gone", err)
		}
		if n, err := d.l.CountBatches(t.Context()); err != nil || n != 7 {
			t.Errorf("got %d batches, %v", n, err)
		}
	})
}
