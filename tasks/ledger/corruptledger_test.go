package ledger

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
	"github.com/seed-2903acc3/callq/tasks/redislua"
)

// corruption is what another program wrote to Redis, and the finding of an audit about
// it.
type corruption struct {
	write   func(d *fixture)
	problem string
}

func corruptions() map[string]corruption {
	k := keysOf("q")
	text := func(key string) func(*fixture) {
		return func(d *fixture) {
			d.must(d.rdb.Del(d.Context(), key).Err())
			d.must(d.rdb.Set(d.Context(), key, "\xffno hash", 0).Err())
		}
	}
	all := map[string]corruption{
		"counts of another type":        {text(k.counts("b")), "some are not numbers (queue and count: q)"},
		"endings of another type":       {text(k.ended("b")), "but the list of endings has"},
		"dead letters of another type":  {text(k.dead()), "1 dead letters are on no list"},
		"a group of another type":       {text(k.deadGroup(finalOf(Dead).Group.Name())), ""},
		"groups of another type":        {text(k.groups()), ""},
		"an archive of another type":    {text(k.archived()), ""},
		"a circuit of another type":     {text(k.circuit()), ""},
		"a streak that is not a number": {func(d *fixture) { d.must(d.rdb.HSet(d.Context(), k.circuit(), "streak", "x").Err()) }, ""},
		"figures that are not numbers":  {func(d *fixture) { d.must(d.rdb.Set(d.Context(), k.processed(), "x", 0).Err()) }, ""},
	}
	for _, field := range []string{"accepted", "open", "done", "dead", "dropped", "cancelled", "expired", "last"} {
		for _, value := range []string{"abc", "", "9223372036854775807", "-9223372036854775808", "99999999999999999999", "1e400", "nan", "inf", "0x1p60", "1.5", "\xff"} {
			problem := "(queue and count: q " + field + ")"
			if field == "last" {
				problem = ""
			}
			all[fmt.Sprintf("%s=%q", field, value)] = corruption{
				func(d *fixture) { d.must(d.rdb.HSet(d.Context(), k.counts("b"), field, value).Err()) }, problem,
			}
		}
	}
	return all
}

// wantApplied requires that a change succeeded although the ledger is corrupt.
func wantApplied(t *testing.T, what string, applied bool, err error) {
	t.Helper()
	if err != nil || !applied {
		t.Errorf("%s: got applied %v, %v", what, applied, err)
	}
}

// listed reports whether a batch lists a call.
func (d *fixture) listed(batch, id string) bool {
	for r, err := range d.l.Statuses(d.Context(), batch, idOf) {
		if d.must(err); r.ID == id {
			return true
		}
	}
	return false
}

// callsInEveryState creates a dead letter, active calls of which made are to be ended, and
// a pending one with the key cancelled.
func (d *fixture) callsInEveryState() (dead, doubtful, tried, parked *Delivery, made map[State]*Delivery) {
	dead, doubtful = d.acceptAndTake("b", "q", "dead"), d.acceptAndTake("b", "q", "doubtful")
	d.end(dead, finalOf(Dead))
	made = map[State]*Delivery{}
	for _, state := range []State{Done, Dropped, Dead} {
		made[state] = d.acceptAndTake("b", "q", "made-"+string(state))
	}
	tried, parked = d.acceptAndTake("b", "q", "tried"), d.acceptAndTake("b", "q", "parked")
	d.accept("b", "q", "cancelled")
	return dead, doubtful, tried, parked, made
}

func TestACorruptLedgerDoesNotKeepACallFromEndingAndAnAuditFindsIt(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		for name, corrupted := range corruptions() {
			t.Run(name, func(t *testing.T) {
				d := newFixture(t, rdb)
				d.must(rdb.FlushAll(t.Context()).Err())
				dead, doubtful, tried, parked, made := d.callsInEveryState()
				assumed := finalOf(Dead)
				assumed.Assumed = true
				corruptAgain := func() { corrupted.write(d) }
				corruptAgain()
				found := d.audit("b")
				if corrupted.problem != "" && (len(found) == 0 || !strings.Contains(fmt.Sprint(found), corrupted.problem)) {
					t.Errorf("the audit found %+v", found)
				}
				if _, err := d.l.Batches(t.Context()); err != nil {
					t.Error(err)
				}
				d.accept("b", "q", "accepted")
				for state, delivery := range made {
					corruptAgain()
					_, applied, err := d.dispatcher.End(t.Context(), delivery, finalOf(state), nil)
					wantApplied(t, fmt.Sprint("end ", state), applied, err)
				}
				for _, f := range []Final{assumed, finalOf(Done)} {
					corruptAgain()
					_, applied, err := d.dispatcher.End(t.Context(), doubtful, f, nil)
					wantApplied(t, fmt.Sprint("end as ", f.State), applied, err)
				}
				corruptAgain()
				_, applied, err := d.dispatcher.Attempt(t.Context(), tried, nil)
				wantApplied(t, "attempt", applied, err)
				parked.Parked++
				_, applied, err = d.dispatcher.Park(t.Context(), parked, nil)
				wantApplied(t, "park", applied, err)
				cancelled, _, err := d.l.Cancel(t.Context(), d.record("q", idOf("b", "cancelled")), Ending{})
				wantApplied(t, "cancel", cancelled, err)
				corruptAgain()
				purged, _, err := d.l.Purge(t.Context(), d.record("q", made[Dead].ID))
				wantApplied(t, "purge", purged || rdb.ZScore(t.Context(), keysOf("q").lease(), made[Dead].ID).Err() == nil, err)
				corruptAgain()
				if corrupted.problem == "" && strings.HasPrefix(name, "an archive") {
					d.must(rdb.Del(t.Context(), keysOf("q").archived()).Err()) // asynq's own scripts all fail on it
				}
				if redriven, _ := d.redrive(d.record("q", dead.ID)); !redriven {
					t.Error("the dead letter was not redriven")
				}
				corruptAgain()
				if _, err := d.l.Sweep(t.Context(), time.Now().Add(10*week), week); err != nil {
					t.Errorf("sweep: %v", err)
				}
				if r := d.record("q", tried.ID); r.State != Open {
					t.Errorf("got state %q of an open call after the sweep", r.State)
				}
				if !d.listed("b", tried.ID) {
					t.Error("the batch does not list an open call any more")
				}
			})
		}
	})
}

func TestACallWhoseRecordIsOverwrittenWhileItIsActiveIsLeftForTheNextWorker(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		delivery := d.acceptAndTake("b", "q", "k")
		d.must(rdb.Set(t.Context(), keysOf("q").record(delivery.ID), "not a hash", 0).Err())
		delivery.Parked++
		for name, record := range map[string]func() (int, bool, error){
			"end":     func() (int, bool, error) { return d.dispatcher.End(t.Context(), delivery, finalOf(Done), nil) },
			"attempt": func() (int, bool, error) { return d.dispatcher.Attempt(t.Context(), delivery, nil) },
			"park":    func() (int, bool, error) { return d.dispatcher.Park(t.Context(), delivery, nil) },
		} {
			if _, applied, err := record(); err != nil || applied {
				t.Errorf("%s: %v, %v", name, applied, err)
			}
		}
		d.wantPlaces("q", delivery.ID, "active", "lease", "task")
		if found := d.audit("b"); len(found) != 1 || fmt.Sprint(found[0].Keys) != "[k]" {
			t.Errorf("the audit found %+v", found)
		}
	})
}

func TestACallInAnUnknownStateIsDeliveredToBeEnded(t *testing.T) {
	for name, corrupt := range map[string]func(d *fixture, key string){
		"an unknown one": func(d *fixture, key string) { d.must(d.rdb.HSet(d.Context(), key, "state", "bogus").Err()) },
		"an empty one":   func(d *fixture, key string) { d.must(d.rdb.HSet(d.Context(), key, "state", "").Err()) },
		"none":           func(d *fixture, key string) { d.must(d.rdb.HDel(d.Context(), key, "state").Err()) },
	} {
		t.Run(name, func(t *testing.T) {
			redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
				d := newFixture(t, rdb)
				d.accept("b", "q", "unknown", "well")
				corrupt(d, keysOf("q").record(idOf("b", "unknown")))
				found := d.audit("b")
				if len(found) != 1 || fmt.Sprint(found[0].Keys) != "[unknown]" || found[0].Fix == "" {
					t.Errorf("the audit found %+v", found)
				}
				delivery := d.take("q")
				if delivery.ID != idOf("b", "unknown") || !delivery.Known || delivery.Corrupt != "state" {
					t.Fatalf("got %s, known %v, corrupt %q", delivery.ID, delivery.Known, delivery.Corrupt)
				}
				d.must(d.repairer.Repair(t.Context(), delivery))
				if !d.end(delivery, finalOf(Dead)) {
					t.Error("the call was not ended")
				}
				if dead := d.deadKeys(""); fmt.Sprint(dead) != "[unknown]" {
					t.Errorf("got dead letters %v", dead)
				}
				d.wantCounts("b", Counts{Accepted: 2, Open: 1, Dead: 1})
				if found := d.audit("b"); len(found) != 0 {
					t.Errorf("the audit found %+v", found)
				}
			})
		})
	}
}

func TestACallInAnUnknownStateCanBeRestoredAndCancelled(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		d.accept("b", "q", "swept", "cancelled")
		for _, key := range []string{"swept", "cancelled"} {
			d.must(rdb.HSet(t.Context(), keysOf("q").record(idOf("b", key)), "state", "bogus").Err())
		}
		d.must(rdb.Del(t.Context(), keysOf("q").task(idOf("b", "swept"))).Err())
		if orphaned := d.orphaned(); fmt.Sprint(orphaned) != "[swept]" {
			t.Errorf("got orphaned calls %v", orphaned)
		}
		if !d.restore(d.record("q", idOf("b", "swept"))) {
			t.Error("the call was not restored")
		}
		if cancelled, _, err := d.l.Cancel(t.Context(), d.record("q", idOf("b", "cancelled")), Ending{}); err != nil || !cancelled {
			t.Errorf("cancelled %v, %v", cancelled, err)
		}
		if delivery := d.take("q"); delivery.Key != "swept" || delivery.Corrupt != "state" {
			t.Errorf("got %s", delivery.Key)
		}
		d.wantCounts("b", Counts{Accepted: 2, Open: 1, Cancelled: 1})
	})
}

func TestATaskWhoseRecordHasNoBatchIsAdopted(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		d.accept("b", "q", "k")
		d.must(rdb.HDel(t.Context(), keysOf("q").record(idOf("b", "k")), "batch").Err())
		delivery := d.take("q")
		if delivery.Known {
			t.Fatal("the task counts as known")
		}
		d.must(d.repairer.Adopt(t.Context(), delivery))
		if !d.end(delivery, finalOf(Dead)) {
			t.Error("the task was not ended")
		}
		d.wantPlaces("q", delivery.ID, "archived", "task")
		d.wantCounts(AdHoc, Counts{Accepted: 1, Dead: 1})
	})
}

func TestACorruptCircuitDoesNotShortenTheReplyOfADequeue(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		for _, field := range []string{"epoch", "streak", "endpoints", "held", "since"} {
			for _, state := range []string{"open", "closed"} {
				key := redislua.CircuitKey("q", "")
				d.must(rdb.Del(t.Context(), key).Err())
				d.must(rdb.HSet(t.Context(), key, "state", state, "until", 1, field, "x").Err())
				if delivery := d.acceptAndTake("b", "q", state+field); delivery.Key != state+field {
					t.Errorf("%s, %s: got %s", state, field, delivery.Key)
				}
			}
		}
	})
}

func TestAnEndingRewritesCountsThatAreNotInTheFormThatCallqWrites(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		delivery := d.acceptAndTake("b", "q", "k")
		key := keysOf("q").counts("b")
		d.must(rdb.HSet(t.Context(), key, "dead", "many", "cancelled", "0x10").Err())
		d.end(delivery, finalOf(Done))
		for field, want := range map[string]string{"dead": "0", "cancelled": "16", "done": "1", "open": "0"} {
			if got := rdb.HGet(t.Context(), key, field).Val(); got != want {
				t.Errorf("%s is %q, want %q", field, got, want)
			}
		}
	})
}
