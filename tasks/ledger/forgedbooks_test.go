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

// forgery is what somebody else wrote to Redis, and what an audit says of it.
type forgery struct {
	write   func(d *desk)
	problem string
}

func forgeries() map[string]forgery {
	k := keysOf("q")
	text := func(key string) func(*desk) {
		return func(d *desk) {
			d.must(d.rdb.Del(d.Context(), key).Err())
			d.must(d.rdb.Set(d.Context(), key, "\xffno hash", 0).Err())
		}
	}
	all := map[string]forgery{
		"counts that are a text":      {text(k.counts("b")), "hold no number (queue and count: q)"},
		"endings that are a text":     {text(k.ended("b")), "stand in the list of endings"},
		"dead letters that are text":  {text(k.dead()), "1 dead letters are on no list"},
		"a group that is a text":      {text(k.deadGroup(finalOf(Dead).Group.Name())), ""},
		"groups that are a text":      {text(k.groups()), ""},
		"an archive that is a text":   {text(k.archived()), ""},
		"a circuit that is a text":    {text(k.circuit()), ""},
		"a streak that is no number":  {func(d *desk) { d.must(d.rdb.HSet(d.Context(), k.circuit(), "streak", "x").Err()) }, ""},
		"figures that are no numbers": {func(d *desk) { d.must(d.rdb.Set(d.Context(), k.processed(), "x", 0).Err()) }, ""},
	}
	for _, field := range []string{"accepted", "open", "done", "dead", "dropped", "cancelled", "expired", "last"} {
		for _, value := range []string{"abc", "", "9223372036854775807", "-9223372036854775808", "99999999999999999999", "1e400", "nan", "inf", "0x1p60", "1.5", "\xff"} {
			problem := "(queue and count: q " + field + ")"
			if field == "last" {
				problem = ""
			}
			all[fmt.Sprintf("%s=%q", field, value)] = forgery{
				func(d *desk) { d.must(d.rdb.HSet(d.Context(), k.counts("b"), field, value).Err()) }, problem,
			}
		}
	}
	return all
}

func TestForgedBooksKeepNoCallFromEndingAndAnAuditNamesThem(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		for name, forged := range forgeries() {
			t.Run(name, func(t *testing.T) {
				d := newDesk(t, rdb)
				d.must(rdb.FlushAll(t.Context()).Err())
				dead, doubtful := d.acceptAndTake("b", "q", "dead"), d.acceptAndTake("b", "q", "doubtful")
				d.end(dead, finalOf(Dead))
				made := map[State]*Delivery{}
				for _, state := range []State{Done, Dropped, Dead} {
					made[state] = d.acceptAndTake("b", "q", "made-"+string(state))
				}
				tried, parked := d.acceptAndTake("b", "q", "tried"), d.acceptAndTake("b", "q", "parked")
				d.accept("b", "q", "cancelled")
				assumed := finalOf(Dead)
				assumed.Assumed = true

				again := func() { forged.write(d) }
				again()
				found := d.audit("b")
				if forged.problem != "" && (len(found) == 0 || !strings.Contains(fmt.Sprint(found), forged.problem)) {
					t.Errorf("the audit found %+v", found)
				}
				if _, err := d.l.Batches(t.Context()); err != nil {
					t.Error(err)
				}
				d.accept("b", "q", "accepted")
				for state, take := range made {
					again()
					if _, mine, err := d.dispatcher.End(t.Context(), take, finalOf(state), nil); err != nil || !mine {
						t.Errorf("end %s: %v, %v", state, mine, err)
					}
				}
				for _, f := range []Final{assumed, finalOf(Done)} {
					again()
					if _, mine, err := d.dispatcher.End(t.Context(), doubtful, f, nil); err != nil || !mine {
						t.Errorf("end as %s: %v, %v", f.State, mine, err)
					}
				}
				again()
				if _, mine, err := d.dispatcher.Attempt(t.Context(), tried, nil); err != nil || !mine {
					t.Errorf("attempt: %v, %v", mine, err)
				}
				parked.Parked++
				if _, mine, err := d.dispatcher.Park(t.Context(), parked, nil); err != nil || !mine {
					t.Errorf("park: %v, %v", mine, err)
				}
				if cancelled, _, err := d.l.Cancel(t.Context(), d.record("q", idOf("b", "cancelled")), Ending{}); err != nil || !cancelled {
					t.Errorf("cancel: %v, %v", cancelled, err)
				}
				again()
				if purged, _, err := d.l.Purge(t.Context(), d.record("q", made[Dead].ID)); err != nil || (!purged && rdb.ZScore(t.Context(), keysOf("q").lease(), made[Dead].ID).Err() != nil) {
					t.Errorf("purge: %v, %v", purged, err)
				}
				again()
				if forged.problem == "" && strings.HasPrefix(name, "an archive") {
					d.must(rdb.Del(t.Context(), keysOf("q").archived()).Err()) // asynq's own, which nothing of asynq's survives
				}
				if redriven, _ := d.redrive(d.record("q", dead.ID)); !redriven {
					t.Error("the dead letter was not redriven")
				}
				again()
				if _, err := d.l.Sweep(t.Context(), time.Now().Add(10*week), week); err != nil {
					t.Errorf("sweep: %v", err)
				}
				if r := d.record("q", tried.ID); r.State != Open {
					t.Errorf("an open call is %q after the sweep", r.State)
				}
				for r, err := range d.l.Standings(t.Context(), "b", idOf) {
					if d.must(err); r.ID == tried.ID {
						return
					}
				}
				t.Error("the batch has forgotten an open call")
			})
		}
	})
}

func TestACallWhoseRecordIsOverwrittenWhileItIsMadeIsLeftForTheNextTaker(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newDesk(t, rdb)
		take := d.acceptAndTake("b", "q", "k")
		d.must(rdb.Set(t.Context(), keysOf("q").record(take.ID), "no hash", 0).Err())
		take.Parked++
		for name, record := range map[string]func() (int, bool, error){
			"end":     func() (int, bool, error) { return d.dispatcher.End(t.Context(), take, finalOf(Done), nil) },
			"attempt": func() (int, bool, error) { return d.dispatcher.Attempt(t.Context(), take, nil) },
			"park":    func() (int, bool, error) { return d.dispatcher.Park(t.Context(), take, nil) },
		} {
			if _, mine, err := record(); err != nil || mine {
				t.Errorf("%s: %v, %v", name, mine, err)
			}
		}
		d.wantPlaces("q", take.ID, "active", "lease", "task")
		if found := d.audit("b"); len(found) != 1 || fmt.Sprint(found[0].Keys) != "[k]" {
			t.Errorf("the audit found %+v", found)
		}
	})
}

func TestACallInAStateOfWhichThereIsNoneIsGivenOutToBeEnded(t *testing.T) {
	for name, forge := range map[string]func(d *desk, key string){
		"an unknown one": func(d *desk, key string) { d.must(d.rdb.HSet(d.Context(), key, "state", "bogus").Err()) },
		"an empty one":   func(d *desk, key string) { d.must(d.rdb.HSet(d.Context(), key, "state", "").Err()) },
		"none":           func(d *desk, key string) { d.must(d.rdb.HDel(d.Context(), key, "state").Err()) },
	} {
		t.Run(name, func(t *testing.T) {
			redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
				d := newDesk(t, rdb)
				d.accept("b", "q", "odd", "well")
				forge(d, keysOf("q").record(idOf("b", "odd")))
				found := d.audit("b")
				if len(found) != 1 || fmt.Sprint(found[0].Keys) != "[odd]" || found[0].Fix == "" {
					t.Errorf("the audit found %+v", found)
				}
				take := d.take("q")
				if take.ID != idOf("b", "odd") || !take.Known || take.Corrupt != "state" {
					t.Fatalf("took %s, known %v, forged %q", take.ID, take.Known, take.Corrupt)
				}
				d.must(d.repairer.Repair(t.Context(), take))
				if !d.end(take, finalOf(Dead)) {
					t.Error("it was not ended")
				}
				if dead := d.deadKeys(""); fmt.Sprint(dead) != "[odd]" {
					t.Errorf("dead are %v", dead)
				}
				d.wantCounts("b", Counts{Accepted: 2, Open: 1, Dead: 1})
				if found := d.audit("b"); len(found) != 0 {
					t.Errorf("the audit found %+v", found)
				}
			})
		})
	}
}

func TestACallInAStateOfWhichThereIsNoneCanBeRestoredAndCancelled(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newDesk(t, rdb)
		d.accept("b", "q", "swept", "cancelled")
		for _, key := range []string{"swept", "cancelled"} {
			d.must(rdb.HSet(t.Context(), keysOf("q").record(idOf("b", key)), "state", "bogus").Err())
		}
		d.must(rdb.Del(t.Context(), keysOf("q").task(idOf("b", "swept"))).Err())
		if lost := d.lost(); fmt.Sprint(lost) != "[swept]" {
			t.Errorf("lost are %v", lost)
		}
		if !d.restore(d.record("q", idOf("b", "swept"))) {
			t.Error("it was not restored")
		}
		if cancelled, _, err := d.l.Cancel(t.Context(), d.record("q", idOf("b", "cancelled")), Ending{}); err != nil || !cancelled {
			t.Errorf("cancelled %v, %v", cancelled, err)
		}
		if take := d.take("q"); take.Key != "swept" || take.Corrupt != "state" {
			t.Errorf("took %s", take.Key)
		}
		d.wantCounts("b", Counts{Accepted: 2, Open: 1, Cancelled: 1})
	})
}

func TestARecordOfNoBatchIsNoneAndItsTaskIsAdopted(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newDesk(t, rdb)
		d.accept("b", "q", "k")
		d.must(rdb.HDel(t.Context(), keysOf("q").record(idOf("b", "k")), "batch").Err())
		take := d.take("q")
		if take.Known {
			t.Fatal("it is known")
		}
		d.must(d.repairer.Adopt(t.Context(), take))
		if !d.end(take, finalOf(Dead)) {
			t.Error("it was not ended")
		}
		d.wantPlaces("q", take.ID, "archived", "task")
		d.wantCounts(AdHoc, Counts{Accepted: 1, Dead: 1})
	})
}

func TestACircuitWhoseNumbersAreNoneCutsNoAnswerShort(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newDesk(t, rdb)
		for _, field := range []string{"epoch", "streak", "endpoints", "held", "since"} {
			for _, state := range []string{"open", "closed"} {
				key := redislua.CircuitKey("q", "")
				d.must(rdb.Del(t.Context(), key).Err())
				d.must(rdb.HSet(t.Context(), key, "state", state, "until", 1, field, "x").Err())
				if take := d.acceptAndTake("b", "q", state+field); take.Key != state+field {
					t.Errorf("%s, %s: took %s", state, field, take.Key)
				}
			}
		}
	})
}
