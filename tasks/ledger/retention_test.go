package ledger

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
)

const week = 168 * time.Hour

func (d *fixture) sweep(now time.Time) Swept {
	d.Helper()
	s, err := d.l.Sweep(d.Context(), now, week)
	d.must(err)
	return s
}

func (d *fixture) gone(queue, id string) bool {
	d.Helper()
	_, err := d.l.Get(d.Context(), queue, id)
	if err != nil && !errors.Is(err, ErrNoCall) {
		d.Fatal(err)
	}
	return err != nil
}

func TestTheRetentionBeginsWhenNoCallOfTheBatchIsOpen(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		now := time.Now()
		d.end(d.acceptAndTake("b", "q", "early"), finalOf(Done))
		open := d.acceptAndTake("b", "q:high", "late")
		if s := d.sweep(now.Add(10 * week)); s != (Swept{}) {
			t.Fatalf("swept %+v of a batch with an open call", s)
		}
		d.end(open, finalOf(Dropped))
		for _, c := range []struct {
			at   time.Duration
			want Swept
		}{
			// From the time when its last call ended, although no sweep ran then.
			{week - time.Second, Swept{}},
			{week + time.Minute, Swept{Calls: 2, Batches: 1}},
			{12 * week, Swept{}},
		} {
			if got := d.sweep(now.Add(c.at)); got != c.want {
				t.Fatalf("after %s: swept %+v, want %+v", c.at, got, c.want)
			}
		}
		if _, err := d.l.Batch(t.Context(), "b"); !errors.Is(err, ErrNoBatch) {
			t.Fatalf("the batch is still there: %v", err)
		}
		if left := leftBehind(d); len(left) > 0 {
			t.Fatalf("left behind: %v", left)
		}
	})
}

func TestACallThatEndsWhileItsOldBatchIsForgottenIsKept(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		d.end(d.acceptAndTake("b", "q", "old"), finalOf(Done))
		seen, err := d.l.Batch(t.Context(), "b")
		d.must(err)
		idle, err := d.l.idleSince(t.Context(), seen, time.Now())
		d.must(err)
		fresh := d.acceptAndTake("b", "q", "fresh")
		d.end(fresh, finalOf(Done))
		s, err := d.l.forgetAll(t.Context(), seen, idle, false)
		d.must(err)
		if s != (Swept{Calls: 1}) || d.gone("q", fresh.ID) {
			t.Errorf("swept %+v; the new call is gone: %t", s, d.gone("q", fresh.ID))
		}
	})
}

func TestDeadLettersOutliveTheirBatch(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		now := time.Now()
		d.end(d.acceptAndTake("b", "q", "done"), finalOf(Done))
		dead := d.acceptAndTake("b", "q", "dead")
		d.end(dead, finalOf(Dead))
		d.sweep(now)
		if got := d.sweep(now.Add(week)); got != (Swept{Calls: 1}) {
			t.Fatalf("swept %+v", got)
		}
		d.wantCounts("b", Counts{Accepted: 2, Done: 1, Dead: 1, Expired: 1})
		if found := d.audit("b"); len(found) != 0 {
			t.Fatalf("audit found %+v", found)
		}
		if redriven, _ := d.redrive(d.record("q", dead.ID)); !redriven {
			t.Fatal("not redriven")
		}
		d.end(d.take("q"), finalOf(Done))
		// The retention begins again, although no sweep saw the call open.
		if got := d.sweep(now.Add(week)); got != (Swept{}) {
			t.Fatalf("swept %+v", got)
		}
		if got := d.sweep(now.Add(2 * week)); got != (Swept{Calls: 1, Batches: 1}) {
			t.Fatalf("swept %+v", got)
		}
	})
}

func TestAForgottenKeyIsFreeAgain(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		now := time.Now()
		d.end(d.acceptAndTake("b", "q", "k"), finalOf(Done))
		d.end(d.acceptAndTake("b", "q", "dead"), finalOf(Dead))
		d.sweep(now)
		d.sweep(now.Add(week))
		other := entryOf("b", "q", "k")
		other.Hash = "other-hash"
		if got := d.send("b", other)[0]; got != Accepted {
			t.Fatalf("got acceptance %d", got)
		}
		d.wantCounts("b", Counts{Accepted: 3, Open: 1, Done: 1, Dead: 1, Expired: 1})
		if found := d.audit("b"); len(found) != 0 {
			t.Fatalf("audit found %+v", found)
		}
	})
}

func TestTheRetentionOfAnAdHocCallBeginsAtItsOwnEnding(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		old := d.acceptAndTake(AdHoc, "q", "old")
		d.end(old, finalOf(Done))
		d.end(d.acceptAndTake(AdHoc, "q", "dead"), finalOf(Dead))
		d.accept(AdHoc, "q", "open")
		ended := d.record("q", old.ID).EndedAt
		if got := d.sweep(ended.Add(week - time.Second)); got != (Swept{}) {
			t.Fatalf("swept %+v", got)
		}
		if got := d.sweep(ended.Add(week + time.Second)); got != (Swept{Calls: 1}) {
			t.Fatalf("swept %+v", got)
		}
		if !d.gone("q", old.ID) {
			t.Fatal("the old call still exists")
		}
		d.wantCounts(AdHoc, Counts{Accepted: 3, Open: 1, Done: 1, Dead: 1, Expired: 1})
		if found := d.audit(AdHoc); len(found) != 0 {
			t.Fatalf("audit found %+v", found)
		}
		d.end(d.take("q"), finalOf(Done))
		d.sweep(time.Now().Add(2 * week))
		if got := d.counts(AdHoc); got.Expired != 2 {
			t.Fatalf("got batches of ad hoc calls: %+v", got)
		}
	})
}

// If the record were deleted before its task, the task would look foreign.
func TestACancelledCallIsKeptWhileItsTaskIsPending(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		now := time.Now()
		d.accept("b", "q", "k")
		_, _, err := d.l.Cancel(t.Context(), d.record("q", idOf("b", "k")), Ending{Class: "cancelled"})
		d.must(err)
		d.sweep(now)
		if got := d.sweep(now.Add(week)); got != (Swept{}) {
			t.Fatalf("swept %+v", got)
		}
		if d.dequeue("q").Delivery != nil {
			t.Fatal("a cancelled call was delivered")
		}
		if got := d.sweep(now.Add(week)); got != (Swept{Calls: 1, Batches: 1}) {
			t.Fatalf("swept %+v", got)
		}
	})
}

func TestALongBatchIsForgottenPageByPage(t *testing.T) {
	d := newFixture(t, redistest.Redis(t).Client)
	now := time.Now()
	const n = 2*page + 100
	archiveDead(d, "q", n, 1)
	id := idOf("b", "done")
	d.end(d.acceptAndTake("b", "q", "done"), finalOf(Done)) // behind all pages of dead letters
	d.sweep(now)
	if got := d.sweep(now.Add(week)); got != (Swept{Calls: 1}) || !d.gone("q", id) {
		t.Fatalf("swept %+v", got)
	}
	d.wantCounts("b", Counts{Accepted: n + 1, Dead: n, Done: 1, Expired: 1})
}

// hooked runs before once, before the first script with the given digest.
type hooked struct {
	redis.UniversalClient
	sha, key string // key is the script's first; empty: any
	before   func()
}

func (h *hooked) EvalSha(ctx context.Context, sha string, keys []string, args ...any) *redis.Cmd {
	if before := h.before; sha == h.sha && before != nil && (h.key == "" || keys[0] == h.key) {
		h.before = nil
		before()
	}
	return h.UniversalClient.EvalSha(ctx, sha, keys, args...)
}

func TestACallSentWhileItsBatchIsBeingForgottenIsKept(t *testing.T) {
	for name, moment := range map[string]struct {
		script *redis.Script
		key    string
	}{
		"before its calls expire":       {scriptExpire, ""},
		"before its keys are released":  {scriptForget, metaKey("b")},
		"before its counts are removed": {scriptForget, keysOf("q").counts("b")},
	} {
		t.Run(name, func(t *testing.T) {
			redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
				d := newFixture(t, rdb)
				now := time.Now()
				d.end(d.acceptAndTake("b", "q", "k"), finalOf(Done))
				d.sweep(now)
				sweeper := New(&hooked{UniversalClient: rdb, sha: moment.script.Hash(), key: moment.key, before: func() {
					d.send("b", entryOf("b", "q", "k"), entryOf("b", "q", "new"))
				}})
				if _, err := sweeper.Sweep(t.Context(), now.Add(week), week); err != nil {
					t.Fatal(err)
				}
				if d.counts("b").Open == 0 {
					t.Fatal("the new call is not in the ledger")
				}
				list, err := d.l.Batches(t.Context())
				if err != nil || len(list) != 1 {
					t.Fatalf("batches %+v, %v", list, err)
				}
				if found := d.audit("b"); len(found) != 0 {
					t.Fatalf("audit found %+v", found)
				}
				// Whatever became of the old call, its key stands for one call now.
				again := d.send("b", entryOf("b", "q", "k"))[0]
				if again != Duplicate && again != Accepted {
					t.Fatalf("got acceptance %d", again)
				}
				for range d.counts("b").Open {
					d.end(d.take("q"), finalOf(Done))
				}
				if found := d.audit("b"); len(found) != 0 {
					t.Fatalf("audit found %+v", found)
				}
				if got := fmt.Sprint(d.dequeue("q").Delivery); got != "<nil>" {
					t.Fatalf("still in the queue: %s", got)
				}
			})
		})
	}
}

func TestNoResultIsForgottenWhileACallOfItsBatchIsOpen(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		now := time.Now()
		d.end(d.acceptAndTake("b", "q", "done"), finalOf(Done))
		d.sweep(now)
		sweeper := New(&hooked{UniversalClient: rdb, sha: scriptExpire.Hash(), before: func() { d.accept("b", "q", "new") }})
		if got, err := sweeper.Sweep(t.Context(), now.Add(week), week); got != (Swept{}) || err != nil {
			t.Errorf("swept %+v of a batch with an open call: %v", got, err)
		}
		if d.gone("q", idOf("b", "done")) {
			t.Error("the result is gone")
		}
		d.wantCounts("b", Counts{Accepted: 2, Done: 1, Open: 1})
	})
}

func TestAPurgedDeadLetterIsForgottenWithItsBatch(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		now := time.Now()
		d.end(d.acceptAndTake("b", "q", "done"), finalOf(Done))
		for _, key := range []string{"purged", "dead"} {
			delivery := d.acceptAndTake("b", "q", key)
			d.end(delivery, finalOf(Dead))
			d.archive(delivery)
		}
		purge := func(key string) {
			t.Helper()
			if purged, busy, err := d.l.Purge(t.Context(), d.record("q", idOf("b", key))); err != nil || !purged || busy {
				t.Fatalf("purged %v, busy %v, %v", purged, busy, err)
			}
		}
		purge("purged")
		d.sweep(now)
		if got := d.sweep(now.Add(week)); got != (Swept{Calls: 2}) {
			t.Fatalf("swept %+v", got)
		}
		d.wantCounts("b", Counts{Accepted: 3, Done: 1, Dead: 2, Expired: 2, ExpiredDead: 1})
		if found := d.audit("b"); len(found) != 0 {
			t.Fatalf("audit found %+v", found)
		}
		purge("dead")
		if got := d.sweep(now.Add(week)); got != (Swept{Calls: 1, Batches: 1}) {
			t.Fatalf("swept %+v", got)
		}
		if left := leftBehind(d); len(left) > 0 {
			t.Fatalf("left behind: %v", left)
		}
	})
}

func TestABatchThatIsDeletedLeavesNothingBehind(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		other := d.acceptAndTake("other", "q", "dead")
		d.end(other, finalOf(Dead))
		d.archive(other)
		d.end(d.acceptAndTake("b", "q", "done"), finalOf(Done))
		d.end(d.acceptAndTake("b", "q:low", "dropped"), finalOf(Dropped))
		for _, key := range []string{"purged", "dead"} {
			delivery := d.acceptAndTake("b", "q", key)
			d.end(delivery, finalOf(Dead))
			d.archive(delivery)
		}
		if purged, _, err := d.l.Purge(t.Context(), d.record("q", idOf("b", "purged"))); err != nil || !purged {
			t.Fatalf("purged %v, %v", purged, err)
		}
		open := d.acceptAndTake("b", "q", "open")
		if _, err := d.l.DeleteBatch(t.Context(), "b"); !errors.Is(err, ErrOpenCalls) {
			t.Fatalf("with an open call: %v", err)
		}
		if got := d.counts("b"); got.Expired != 0 {
			t.Fatalf("the deletion was refused but removed calls: %+v", got)
		}
		_, _, err := d.dispatcher.End(t.Context(), open, finalOf(Dead), nil) // its worker still holds the task
		d.must(err)
		d.accept("b", "q", "cancelled") // its task is pending
		_, _, err = d.l.Cancel(t.Context(), d.record("q", idOf("b", "cancelled")), Ending{Class: "cancelled"})
		d.must(err)
		swept, err := d.l.DeleteBatch(t.Context(), "b")
		if d.must(err); swept != (Swept{Calls: 5}) {
			t.Fatalf("swept %+v while a worker holds a task", swept)
		}
		if found := d.audit("b"); len(found) != 0 {
			t.Errorf("audit found %+v", found)
		}
		d.archive(open)
		swept, err = d.l.DeleteBatch(t.Context(), "b")
		if d.must(err); swept != (Swept{Calls: 1, Batches: 1}) {
			t.Fatalf("swept %+v", swept)
		}
		if _, err := d.l.DeleteBatch(t.Context(), "b"); !errors.Is(err, ErrNoBatch) {
			t.Errorf("the second time: %v", err)
		}
		for _, key := range rdb.Keys(t.Context(), "*").Val() {
			if name := idOf("b", ""); len(key) > 0 && (key == claimsKey("b") || key == metaKey("b") || strings.Contains(key, name)) {
				t.Errorf("%s is left", key)
			}
		}
		if keys := d.deadKeys(""); len(keys) != 1 || keys[0] != "dead" {
			t.Errorf("the dead letters are %q, want the other batch's", keys)
		}
		d.wantPlaces("q", other.ID, "archived", "task")
		if found := d.audit("other"); len(found) != 0 {
			t.Errorf("audit found %+v", found)
		}
	})
}

// leftBehind returns callq's keys, without those that it keeps of each queue for ever.
func leftBehind(d *fixture) []string {
	return slices.DeleteFunc(d.rdb.Keys(d.Context(), "callq:*").Val(), func(key string) bool {
		return key == keyQueues || strings.HasSuffix(key, ":fence")
	})
}
