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
				d := newDesk(t, rdb)
				take := d.acceptAndTake("b", "q", "k")
				if !d.end(take, finalOf(state)) {
					t.Fatal("the first ending was refused")
				}
				first := d.record("q", take.ID)
				for _, second := range []State{Done, Dropped, Dead} {
					if d.end(take, finalOf(second)) {
						t.Fatalf("%s was written over %s", second, state)
					}
				}
				if r := d.record("q", take.ID); r.State != state || !r.EndedAt.Equal(first.EndedAt) || string(r.Body) != "body" {
					t.Fatalf("the record is %+v", r)
				}
				if c := d.counts("b"); c.Open != 0 || c.Done+c.Dropped+c.Dead != 1 {
					t.Fatalf("counts %+v", c)
				}
				if state == Dead {
					d.wantPlaces("q", take.ID, "archived", "task")
				} else {
					d.wantPlaces("q", take.ID)
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
		d := newDesk(t, rdb)
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
	late := map[string]func(*desk, *Delivery) bool{
		"end done": func(d *desk, t *Delivery) bool { return d.end(t, finalOf(Done)) },
		"end dead": func(d *desk, t *Delivery) bool {
			_, mine, err := d.dispatcher.End(d.Context(), t, finalOf(Dead), nil)
			d.must(err)
			return mine
		},
		"attempt": func(d *desk, t *Delivery) bool {
			_, mine, err := d.dispatcher.Attempt(d.Context(), t, nil)
			d.must(err)
			return mine
		},
		"park": func(d *desk, t *Delivery) bool {
			t.Parked++
			_, mine, err := d.dispatcher.Park(d.Context(), t, nil)
			d.must(err)
			return mine
		},
		"mark": func(d *desk, t *Delivery) bool {
			_, mine, err := d.dispatcher.MarkSent(d.Context(), t, 1, true, "")
			d.must(err)
			return mine
		},
	}
	for name, act := range late {
		t.Run(name, func(t *testing.T) {
			redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
				d := newDesk(t, rdb)
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
				d := newDesk(t, rdb)
				take := d.acceptAndTake("b", "q", "k")
				assumed := finalOf(Dead)
				assumed.Assumed, assumed.Ending.Class = true, "outcome_unknown"
				assumed.Group = Group{Class: "outcome_unknown"}
				if !d.end(take, assumed) {
					t.Fatal("the assumed ending was refused")
				}
				if got := d.deadKeys(assumed.Group.Name()); len(got) != 1 {
					t.Fatalf("the group of the assumed ending holds %v", got)
				}
				if d.end(take, assumed) {
					t.Fatal("one assumption replaced another")
				}
				if !d.end(take, finalOf(state)) {
					t.Fatal("the real answer was refused")
				}
				if r := d.record("q", take.ID); r.State != state || r.Ending.Class == "outcome_unknown" {
					t.Fatalf("the record is %+v", r)
				}
				groups, err := d.l.DeadGroups(t.Context())
				d.must(err)
				if state == Dead {
					if len(groups) != 1 || groups[0].Class != "unknown" || groups[0].Count != 1 || len(d.deadKeys("")) != 1 {
						t.Fatalf("groups %+v", groups)
					}
					d.wantPlaces("q", take.ID, "archived", "task")
				} else {
					if len(groups) != 0 || len(d.deadKeys("")) != 0 {
						t.Fatalf("it is still listed as dead: %+v", groups)
					}
					d.wantPlaces("q", take.ID)
				}
				if d.end(take, finalOf(Dropped)) {
					t.Fatal("a second real answer replaced the first")
				}
				r := d.record("q", take.ID)
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
		d := newDesk(t, rdb)
		take := d.acceptAndTake("b", "q", "k")
		d.end(take, finalOf(Dead))
		if d.end(take, finalOf(Done)) {
			t.Fatal("done was written over a real dead letter")
		}
	})
}

func TestAMarkStandsUntilTheAttemptIsRecorded(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newDesk(t, rdb)
		take := d.acceptAndTake("b", "q", "k")
		held, mine, err := d.dispatcher.MarkSent(t.Context(), take, 3, true, "")
		if err != nil || !mine || held != 0 {
			t.Fatal(held, mine, err)
		}
		d.retry("q", take.ID) // its worker dies
		d.forward("q")
		again := d.take("q")
		if again.Sent != 3 {
			t.Fatalf("the next worker does not see the mark: %d", again.Sent)
		}
		_, _, err = d.dispatcher.Attempt(t.Context(), again, nil)
		d.must(err)
		if r := d.record("q", take.ID); r.Sent != 0 {
			t.Fatal("a recorded attempt left the mark")
		}
	})
}

func TestNoCallIsMarkedAfterTheHoldWasWrittenSaveTheProbe(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newDesk(t, rdb)
		take := d.acceptAndTake("b", "q", "k")
		for _, until := range []time.Duration{time.Hour, -time.Hour} {
			d.hold("q", time.Now().Add(until))
			held, mine, err := d.dispatcher.MarkSent(t.Context(), take, 1, true, "")
			if err != nil || !mine || held <= 0 {
				t.Fatalf("until %s: held %s, %v, %v", until, held, mine, err)
			}
			if d.record("q", take.ID).Sent != 0 {
				t.Fatal("the call was marked")
			}
		}
		rdb.HSet(t.Context(), redislua.CircuitKey("q", ""), "token", "of another")
		if held, _, err := d.dispatcher.MarkSent(t.Context(), take, 1, true, "mine"); err != nil || held == 0 {
			t.Fatal("a probe whose lease another has was let go", held, err)
		}
		rdb.HSet(t.Context(), redislua.CircuitKey("q", ""), "token", "mine")
		held, mine, err := d.dispatcher.MarkSent(t.Context(), take, 1, true, "mine")
		if err != nil || !mine || held != 0 || d.record("q", take.ID).Sent != 1 {
			t.Fatal("the probe was refused", held, mine, err)
		}
	})
}

func TestAnAttemptKeepsTheLastTwentyLinesOfTheLog(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newDesk(t, rdb)
		d.must(rdb.HSet(t.Context(), redislua.CircuitKey("q", ""), "state", "closed", "streak", 2).Err())
		take := d.acceptAndTake("b", "q", "k")
		take.FirstAt, take.HeldBase, take.HeldOwn = time.UnixMilli(1000).UTC(), time.Second, 2*time.Second
		for n := 1; n <= 25; n++ {
			take.Attempts = n
			streak, mine, err := d.dispatcher.Attempt(t.Context(), take, &Attempt{N: n, Job: "retry", Status: 500, Code: "68300008"})
			if err != nil || !mine || streak != 2 {
				t.Fatal(streak, mine, err)
			}
		}
		r := d.record("q", take.ID)
		if len(r.Log) != 20 || r.Log[0].N != 6 || r.Log[19].N != 25 || r.Attempts != 25 {
			t.Fatalf("%d lines from %+v", len(r.Log), r.Log[0])
		}
		if !r.FirstAt.Equal(take.FirstAt) || r.HeldBase != time.Second || r.HeldOwn != 2*time.Second || !r.ParkedAt.IsZero() {
			t.Fatalf("times %+v", r)
		}
	})
}

func TestAnAttemptOfAnEndedCallChangesNothing(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newDesk(t, rdb)
		take := d.acceptAndTake("b", "q", "k")
		d.end(take, finalOf(Done))
		take.Attempts = 9
		_, mine, err := d.dispatcher.Attempt(t.Context(), take, nil)
		if err != nil || mine || d.record("q", take.ID).Attempts != 0 {
			t.Fatal(mine, err)
		}
		_, mine, err = d.dispatcher.MarkSent(t.Context(), take, 1, true, "")
		if err != nil || mine {
			t.Fatal(mine, err)
		}
	})
}

func TestAParkedCallIsTheFirstToGo(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newDesk(t, rdb)
		d.accept("b", "q", "k1", "k2", "k3")
		take := d.take("q")
		take.Parked++
		_, mine, err := d.dispatcher.Park(t.Context(), take, &Attempt{N: 1, Job: "park"})
		if err != nil || !mine {
			t.Fatal(mine, err)
		}
		d.wantPlaces("q", take.ID, "pending", "task")
		task := rdb.HGetAll(t.Context(), keysOf("q").task(take.ID)).Val()
		if task["state"] != "pending" || task["pending_since"] == "" {
			t.Fatalf("asynq's task is %v", task)
		}
		again := d.take("q")
		if again.ID != take.ID || again.Parked != 1 || again.Attempts != 0 || again.Starts != 1 || len(again.Log) != 1 {
			t.Fatalf("took %+v", again.Record)
		}
		d.wantCounts("b", Counts{Accepted: 3, Open: 3})
	})
}

// go-redis sends a script again when its reply was lost; by then another worker
// may have the task.
func TestAParkSentTwiceDoesNotTakeTheTaskFromItsNextWorker(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newDesk(t, rdb)
		take := d.acceptAndTake("b", "q", "k")
		take.Parked++
		for i := range 2 {
			_, mine, err := d.dispatcher.Park(t.Context(), take, nil)
			if first := i == 0; err != nil || mine != first {
				t.Fatal(mine, err)
			}
			if i == 0 {
				d.take("q")
			}
		}
		d.wantPlaces("q", take.ID, "active", "lease", "task")
	})
}

func TestParkingAnEndedCallTakesItsTaskOff(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newDesk(t, rdb)
		take := d.acceptAndTake("b", "q", "k")
		_, _, err := d.dispatcher.End(t.Context(), take, finalOf(Dead), nil) // by another worker, which then died
		d.must(err)
		take.Parked++
		_, mine, err := d.dispatcher.Park(t.Context(), take, nil)
		if err != nil || mine {
			t.Fatal(mine, err)
		}
		d.wantPlaces("q", take.ID)
	})
}

func TestATaskThatCannotBeDecodedIsTakenOffTheActiveList(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newDesk(t, rdb)
		take := d.acceptAndTake("b", "q", "k")
		d.must(d.repairer.RemoveTask(t.Context(), "q", take.ID))
		d.wantPlaces("q", take.ID)
	})
}

func TestRecordsReadBackWhatWasWritten(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newDesk(t, rdb)
		take := d.acceptAndTake("b", "q", "k")
		take.Attempts, take.Parked = 2, 3
		f := Final{
			State: Done, Body: []byte{0, 0xff}, BodyType: "application/octet-stream",
			Ending: Ending{
				Class: "ok", Rule: "r", HTTPStatus: 200, Code: "0", Message: "m", Transport: "t", CorrelationID: "c", UserMessage: "u",
				Advice: "a", Endpoint: "GET /x", Amount: "0.01", Attempts: 2, Parked: 3,
				FirstAt: time.Unix(1, 0).UTC(), FinishedAt: time.Unix(2, 0).UTC(),
			},
		}
		d.end(take, f)
		r := d.record("q", take.ID)
		if fmt.Sprint(*r.Ending) != fmt.Sprint(f.Ending) || string(r.Body) != string(f.Body) || r.BodyType != f.BodyType {
			t.Fatalf("read %+v", r)
		}
		if r.Attempts != 2 || r.Parked != 3 || r.EndedAt.IsZero() || r.AcceptedAt.IsZero() {
			t.Fatalf("read %+v", r)
		}
		d.must(d.l.FreeBody(t.Context(), r.Queue, r.ID))
		if r := d.record("q", take.ID); r.Body != nil || r.State != Done {
			t.Fatalf("after dropping the body: %+v", r)
		}
	})
}

func TestAWorkerThatHasLostItsCallToAnotherChangesNothing(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newDesk(t, rdb)
		late := d.acceptAndTake("b", "q", "k")
		// Its lease runs out, asynq puts the task back, and another worker takes it.
		rdb.LRem(t.Context(), keysOf("q").active(), 1, late.ID)
		rdb.LPush(t.Context(), keysOf("q").pending(), late.ID)
		take := d.take("q")
		if _, mine, err := d.dispatcher.MarkSent(t.Context(), take, 1, true, ""); err != nil || !mine {
			t.Fatal(mine, err)
		}
		late.Parked++
		if _, mine, err := d.dispatcher.Park(t.Context(), late, nil); err != nil || mine {
			t.Error("the late worker put the call back", mine, err)
		}
		if _, mine, err := d.dispatcher.Attempt(t.Context(), late, nil); err != nil || mine {
			t.Error("the late worker recorded an attempt", mine, err)
		}
		if _, mine, err := d.dispatcher.MarkSent(t.Context(), late, 1, true, ""); err != nil || mine {
			t.Error("the late worker may send the call", mine, err)
		}
		if d.record("q", take.ID).Sent != 1 {
			t.Error("the mark of the worker that has the call is gone")
		}
		d.wantPlaces("q", take.ID, "active", "lease", "task")
	})
}
