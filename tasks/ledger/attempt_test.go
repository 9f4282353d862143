package ledger

import (
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
	"github.com/seed-2903acc3/callq/tasks/redislua"
)

func TestAnEndingIsWrittenOnce(t *testing.T) {
	for _, state := range []State{Done, Dropped, Dead} {
		t.Run(string(state), func(t *testing.T) {
			redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
				d := newFixture(t, rdb)
				delivery := d.acceptAndTake("b", "q", "k")
				if !d.end(delivery, finalOf(state)) {
					t.Fatal("the first ending was refused")
				}
				first := d.record("q", delivery.ID)
				for _, second := range []State{Done, Dropped, Dead} {
					if d.end(delivery, finalOf(second)) {
						t.Fatalf("%s was written over %s", second, state)
					}
				}
				if r := d.record("q", delivery.ID); r.State != state || !r.EndedAt.Equal(first.EndedAt) || string(r.Body) != "body" {
					t.Fatalf("the record is %+v", r)
				}
				if c := d.counts("b"); c.Open != 0 || c.Done+c.Dropped+c.Dead != 1 {
					t.Fatalf("counts %+v", c)
				}
				if state == Dead {
					d.wantPlaces("q", delivery.ID, "archived", "task")
				} else {
					d.wantPlaces("q", delivery.ID)
				}
				if found := d.audit("b"); len(found) != 0 {
					t.Fatalf("audit found %+v", found)
				}
			})
		})
	}
}

func TestAnEndedCallIsCountedAsProcessedByAsynq(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		d.end(d.acceptAndTake("b", "q", "k"), finalOf(Done))
		k := keysOf("q")
		day := k.processed() + ":" + time.Now().UTC().Format(time.DateOnly)
		if rdb.Get(t.Context(), k.processed()).Val() != "1" || rdb.Get(t.Context(), day).Val() != "1" {
			t.Fatal("asynq's figures do not count the call")
		}
		if ttl := rdb.TTL(t.Context(), day).Val(); ttl < 89*24*time.Hour || ttl > 91*24*time.Hour {
			t.Fatalf("the day's figure lives for %s", ttl)
		}
	})
}

// A worker that lost its lease can come back when the call was redriven and is in
// another worker's hands.
func TestALateWorkerCannotTouchALaterGeneration(t *testing.T) {
	late := map[string]func(*fixture, *Delivery) bool{
		"end done": func(d *fixture, t *Delivery) bool { return d.end(t, finalOf(Done)) },
		"end dead": func(d *fixture, t *Delivery) bool {
			_, applied, err := d.dispatcher.End(d.Context(), t, finalOf(Dead), nil)
			d.must(err)
			return applied
		},
		"attempt": func(d *fixture, t *Delivery) bool {
			_, applied, err := d.dispatcher.Attempt(d.Context(), t, nil)
			d.must(err)
			return applied
		},
		"park": func(d *fixture, t *Delivery) bool {
			t.Parked++
			_, applied, err := d.dispatcher.Park(d.Context(), t, nil)
			d.must(err)
			return applied
		},
		"mark": func(d *fixture, t *Delivery) bool {
			_, applied, err := d.dispatcher.MarkSent(d.Context(), t, 1, true, "")
			d.must(err)
			return applied
		},
	}
	for name, act := range late {
		t.Run(name, func(t *testing.T) {
			redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
				d := newFixture(t, rdb)
				old := d.acceptAndTake("b", "q", "k")
				stale := *old
				d.end(old, finalOf(Dead))
				if redriven, _ := d.redrive(d.record("q", old.ID)); !redriven {
					t.Fatal("not redriven")
				}
				d.take("q")
				if act(d, &stale) {
					t.Fatal("a worker of generation 1 changed generation 2")
				}
				if r := d.record("q", old.ID); r.State != Open || r.Generation != 2 || r.Starts != 1 || r.Parked != 0 || r.Sent != 0 {
					t.Fatalf("the record is %+v", r)
				}
				d.wantPlaces("q", old.ID, "active", "lease", "task")
			})
		})
	}
}

func TestALateRealAnswerReplacesAnAssumedEnding(t *testing.T) {
	for _, state := range []State{Done, Dropped, Dead} {
		t.Run(string(state), func(t *testing.T) {
			redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
				d := newFixture(t, rdb)
				delivery := d.acceptAndTake("b", "q", "k")
				assumed := finalOf(Dead)
				assumed.Assumed, assumed.Ending.Class = true, "outcome_unknown"
				assumed.Group = Group{Class: "outcome_unknown"}
				if !d.end(delivery, assumed) {
					t.Fatal("the assumed ending was refused")
				}
				if got := d.deadKeys(assumed.Group.Name()); len(got) != 1 {
					t.Fatalf("the group of the assumed ending holds %v", got)
				}
				if d.end(delivery, assumed) {
					t.Fatal("one assumption replaced another")
				}
				if !d.end(delivery, finalOf(state)) {
					t.Fatal("the real answer was refused")
				}
				if r := d.record("q", delivery.ID); r.State != state || r.Ending.Class == "outcome_unknown" {
					t.Fatalf("the record is %+v", r)
				}
				groups, err := d.l.DeadGroups(t.Context())
				d.must(err)
				if state == Dead {
					if len(groups) != 1 || groups[0].Class != "unknown" || groups[0].Count != 1 || len(d.deadKeys("")) != 1 {
						t.Fatalf("groups %+v", groups)
					}
					d.wantPlaces("q", delivery.ID, "archived", "task")
				} else {
					if len(groups) != 0 || len(d.deadKeys("")) != 0 {
						t.Fatalf("it is still listed as dead: %+v", groups)
					}
					d.wantPlaces("q", delivery.ID)
				}
				if d.end(delivery, finalOf(Dropped)) {
					t.Fatal("a second real answer replaced the first")
				}
				r := d.record("q", delivery.ID)
				last, err := rdb.HGet(t.Context(), keysOf("q").counts("b"), "last").Int64()
				if err != nil || last != r.EndedAt.UnixMicro() {
					t.Fatalf("the batch's latest ending is at %d, the call's at %d, %v", last, r.EndedAt.UnixMicro(), err)
				}
				if n := rdb.ZCard(t.Context(), keysOf("q").dead()).Val(); n != int64(len(d.deadKeys(""))) {
					t.Fatalf("%d ids are kept as dead", n)
				}
				if found := d.audit("b"); len(found) != 0 {
					t.Fatalf("audit found %+v", found)
				}
				n := 0
				for r, err := range d.l.Endings(t.Context(), "b", &Cursor{}) {
					d.must(err)
					if n++; r.State != state {
						t.Fatalf("ending %+v", r)
					}
				}
				if n != 1 {
					t.Fatalf("%d endings", n)
				}
			})
		})
	}
}

func TestARealDeadLetterIsNotReplaced(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		delivery := d.acceptAndTake("b", "q", "k")
		d.end(delivery, finalOf(Dead))
		if d.end(delivery, finalOf(Done)) {
			t.Fatal("done was written over a real dead letter")
		}
	})
}

func TestAMarkStandsUntilTheAttemptIsRecorded(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		delivery := d.acceptAndTake("b", "q", "k")
		held, applied, err := d.dispatcher.MarkSent(t.Context(), delivery, 3, true, "")
		if err != nil || !applied || held != 0 {
			t.Fatal(held, applied, err)
		}
		d.retry("q", delivery.ID) // its worker dies
		d.forward("q")
		again := d.take("q")
		if again.Sent != 3 {
			t.Fatalf("the next worker does not see the mark: %d", again.Sent)
		}
		_, _, err = d.dispatcher.Attempt(t.Context(), again, nil)
		d.must(err)
		if r := d.record("q", delivery.ID); r.Sent != 0 {
			t.Fatal("a recorded attempt left the mark")
		}
	})
}

func TestNoCallIsMarkedAfterTheHoldWasWrittenSaveTheProbe(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		delivery := d.acceptAndTake("b", "q", "k")
		for _, until := range []time.Duration{time.Hour, -time.Hour} {
			d.hold("q", time.Now().Add(until))
			held, applied, err := d.dispatcher.MarkSent(t.Context(), delivery, 1, true, "")
			if err != nil || !applied || held <= 0 {
				t.Fatalf("until %s: held %s, %v, %v", until, held, applied, err)
			}
			if d.record("q", delivery.ID).Sent != 0 {
				t.Fatal("the call was marked")
			}
		}
		rdb.HSet(t.Context(), redislua.CircuitKey("q", ""), "token", "of another")
		if held, _, err := d.dispatcher.MarkSent(t.Context(), delivery, 1, true, "mine"); err != nil || held == 0 {
			t.Fatal("a probe whose lease another has was let go", held, err)
		}
		rdb.HSet(t.Context(), redislua.CircuitKey("q", ""), "token", "mine")
		held, applied, err := d.dispatcher.MarkSent(t.Context(), delivery, 1, true, "mine")
		if err != nil || !applied || held != 0 || d.record("q", delivery.ID).Sent != 1 {
			t.Fatal("the probe was refused", held, applied, err)
		}
	})
}

func TestAnAttemptKeepsTheLastTwentyLinesOfTheLog(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		d.must(rdb.HSet(t.Context(), redislua.CircuitKey("q", ""), "state", "closed", "streak", 2).Err())
		delivery := d.acceptAndTake("b", "q", "k")
		delivery.FirstAt, delivery.HeldBase, delivery.HeldOwn = time.UnixMilli(1000).UTC(), time.Second, 2*time.Second
		for n := 1; n <= 25; n++ {
			delivery.Attempts = n
			streak, applied, err := d.dispatcher.Attempt(t.Context(), delivery, &Attempt{N: n, Job: "retry", Status: 500, Code: "68300008"})
			if err != nil || !applied || streak != 2 {
				t.Fatal(streak, applied, err)
			}
		}
		r := d.record("q", delivery.ID)
		if len(r.Log) != 20 || r.Log[0].N != 6 || r.Log[19].N != 25 || r.Attempts != 25 {
			t.Fatalf("%d lines from %+v", len(r.Log), r.Log[0])
		}
		if !r.FirstAt.Equal(delivery.FirstAt) || r.HeldBase != time.Second || r.HeldOwn != 2*time.Second || !r.ParkedAt.IsZero() {
			t.Fatalf("times %+v", r)
		}
	})
}

func TestAnAttemptOfAnEndedCallChangesNothing(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		delivery := d.acceptAndTake("b", "q", "k")
		d.end(delivery, finalOf(Done))
		delivery.Attempts = 9
		_, applied, err := d.dispatcher.Attempt(t.Context(), delivery, nil)
		if err != nil || applied || d.record("q", delivery.ID).Attempts != 0 {
			t.Fatal(applied, err)
		}
		_, applied, err = d.dispatcher.MarkSent(t.Context(), delivery, 1, true, "")
		if err != nil || applied {
			t.Fatal(applied, err)
		}
	})
}

func TestAParkedCallIsTheFirstToGo(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		d.accept("b", "q", "k1", "k2", "k3")
		delivery := d.take("q")
		delivery.Parked++
		_, applied, err := d.dispatcher.Park(t.Context(), delivery, &Attempt{N: 1, Job: "park"})
		if err != nil || !applied {
			t.Fatal(applied, err)
		}
		d.wantPlaces("q", delivery.ID, "pending", "task")
		task := rdb.HGetAll(t.Context(), keysOf("q").task(delivery.ID)).Val()
		if task["state"] != "pending" || task["pending_since"] == "" {
			t.Fatalf("asynq's task is %v", task)
		}
		again := d.take("q")
		if again.ID != delivery.ID || again.Parked != 1 || again.Attempts != 0 || again.Starts != 1 || len(again.Log) != 1 {
			t.Fatalf("took %+v", again.Record)
		}
		d.wantCounts("b", Counts{Accepted: 3, Open: 3})
	})
}

// go-redis sends a script again when its reply was lost; by then another worker
// may have the task.
func TestAParkSentTwiceDoesNotTakeTheTaskFromItsNextWorker(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		delivery := d.acceptAndTake("b", "q", "k")
		delivery.Parked++
		for i := range 2 {
			_, applied, err := d.dispatcher.Park(t.Context(), delivery, nil)
			if first := i == 0; err != nil || applied != first {
				t.Fatal(applied, err)
			}
			if i == 0 {
				d.take("q")
			}
		}
		d.wantPlaces("q", delivery.ID, "active", "lease", "task")
	})
}

func TestParkingAnEndedCallTakesItsTaskOff(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		delivery := d.acceptAndTake("b", "q", "k")
		_, _, err := d.dispatcher.End(t.Context(), delivery, finalOf(Dead), nil) // by another worker, which then died
		d.must(err)
		delivery.Parked++
		_, applied, err := d.dispatcher.Park(t.Context(), delivery, nil)
		if err != nil || applied {
			t.Fatal(applied, err)
		}
		d.wantPlaces("q", delivery.ID)
	})
}

func TestATaskThatCannotBeDecodedIsTakenOffTheActiveList(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		delivery := d.acceptAndTake("b", "q", "k")
		d.must(d.repairer.RemoveTask(t.Context(), "q", delivery.ID))
		d.wantPlaces("q", delivery.ID)
	})
}

func TestRecordsReadBackWhatWasWritten(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		delivery := d.acceptAndTake("b", "q", "k")
		delivery.Attempts, delivery.Parked = 2, 3
		f := Final{
			State: Done, Body: []byte{0, 0xff}, BodyType: "application/octet-stream",
			Ending: Ending{
				Class: "ok", Rule: "r", HTTPStatus: 200, Code: "0", Message: "m", Transport: "t", CorrelationID: "c", UserMessage: "u",
				Advice: "a", Endpoint: "GET /x", Amount: "0.01", Attempts: 2, Parked: 3,
				FirstAt: time.Unix(1, 0).UTC(), FinishedAt: time.Unix(2, 0).UTC(),
			},
		}
		d.end(delivery, f)
		r := d.record("q", delivery.ID)
		if fmt.Sprint(*r.Ending) != fmt.Sprint(f.Ending) || string(r.Body) != string(f.Body) || r.BodyType != f.BodyType {
			t.Fatalf("read %+v", r)
		}
		if r.Attempts != 2 || r.Parked != 3 || r.EndedAt.IsZero() || r.AcceptedAt.IsZero() {
			t.Fatalf("read %+v", r)
		}
		d.must(d.l.FreeBody(t.Context(), r.Queue, r.ID))
		if r := d.record("q", delivery.ID); r.Body != nil || r.State != Done {
			t.Fatalf("after dropping the body: %+v", r)
		}
	})
}

func TestAWorkerThatHasLostItsCallToAnotherChangesNothing(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		late := d.acceptAndTake("b", "q", "k")
		// Its lease runs out, asynq puts the task back, and another worker takes it.
		rdb.LRem(t.Context(), keysOf("q").active(), 1, late.ID)
		rdb.LPush(t.Context(), keysOf("q").pending(), late.ID)
		delivery := d.take("q")
		if _, applied, err := d.dispatcher.MarkSent(t.Context(), delivery, 1, true, ""); err != nil || !applied {
			t.Fatal(applied, err)
		}
		late.Parked++
		if _, applied, err := d.dispatcher.Park(t.Context(), late, nil); err != nil || applied {
			t.Error("the late worker put the call back", applied, err)
		}
		if _, applied, err := d.dispatcher.Attempt(t.Context(), late, nil); err != nil || applied {
			t.Error("the late worker recorded an attempt", applied, err)
		}
		if _, applied, err := d.dispatcher.MarkSent(t.Context(), late, 1, true, ""); err != nil || applied {
			t.Error("the late worker may send the call", applied, err)
		}
		if d.record("q", delivery.ID).Sent != 1 {
			t.Error("the mark of the worker that has the call is gone")
		}
		d.wantPlaces("q", delivery.ID, "active", "lease", "task")
	})
}
