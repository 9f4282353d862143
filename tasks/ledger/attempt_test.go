package ledger

import (
	"fmt"
	"slices"
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
						t.Fatalf("%s replaced %s", second, state)
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

// wantOneEnding requires that a batch has one ending, in the given state.
func (d *fixture) wantOneEnding(batch string, want State) {
	d.Helper()
	var got []State
	for r, err := range d.l.Endings(d.Context(), batch, &Cursor{}) {
		d.must(err)
		got = append(got, r.State)
	}
	if !slices.Equal(got, []State{want}) {
		d.Fatalf("got endings %v, want [%s]", got, want)
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
						t.Fatalf("the call is still listed as dead: %+v", groups)
					}
					d.wantPlaces("q", delivery.ID)
				}
				if d.end(delivery, finalOf(Dropped)) {
					t.Fatal("a second real answer replaced the first")
				}
				r := d.record("q", delivery.ID)
				last, err := rdb.HGet(t.Context(), keysOf("q").counts("b"), "last").Int64()
				if err != nil || last != r.EndedAt.UnixMicro() {
					t.Fatalf("got the batch's latest ending at %d, want the call's at %d, %v", last, r.EndedAt.UnixMicro(), err)
				}
				if n := rdb.ZCard(t.Context(), keysOf("q").dead()).Val(); n != int64(len(d.deadKeys(""))) {
					t.Fatalf("got %d ids of dead letters", n)
				}
				if found := d.audit("b"); len(found) != 0 {
					t.Fatalf("audit found %+v", found)
				}
				d.wantOneEnding("b", state)
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
			t.Fatal("done replaced a real dead letter")
		}
	})
}

func TestAMarkStaysUntilTheAttemptIsRecorded(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		delivery := d.acceptAndTake("b", "q", "k")
		held, applied, err := d.dispatcher.MarkSent(t.Context(), delivery, 3, true, "")
		if err != nil || !applied || held != 0 {
			t.Fatal(held, applied, err)
		}
		d.retry("q", delivery.ID) // its worker died
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

func TestOnlyTheProbeIsMarkedWhileTheAccountIsHeld(t *testing.T) {
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
		if held, _, err := d.dispatcher.MarkSent(t.Context(), delivery, 1, true, "own"); err != nil || held == 0 {
			t.Fatal("a probe whose lease another call has was not held", held, err)
		}
		rdb.HSet(t.Context(), redislua.CircuitKey("q", ""), "token", "own")
		held, applied, err := d.dispatcher.MarkSent(t.Context(), delivery, 1, true, "own")
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
			streak, applied, err := d.dispatcher.Attempt(t.Context(), delivery, &Attempt{N: n, Action: "retry", Status: 500, Code: "68300008"})
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

func TestAParkedCallIsDequeuedFirst(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		d.accept("b", "q", "k1", "k2", "k3")
		delivery := d.take("q")
		delivery.Parked++
		_, applied, err := d.dispatcher.Park(t.Context(), delivery, &Attempt{N: 1, Action: "park"})
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
			t.Fatalf("got %+v", again.Record)
		}
		d.wantCounts("b", Counts{Accepted: 3, Open: 3})
	})
}

// go-redis sends a script again when its reply was lost; another worker may have the
// task by then.
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

func TestParkingAnEndedCallRemovesItsTask(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		delivery := d.acceptAndTake("b", "q", "k")
		_, _, err := d.dispatcher.End(t.Context(), delivery, finalOf(Dead), nil) // by another worker, which died then
		d.must(err)
		delivery.Parked++
		_, applied, err := d.dispatcher.Park(t.Context(), delivery, nil)
		if err != nil || applied {
			t.Fatal(applied, err)
		}
		d.wantPlaces("q", delivery.ID)
	})
}

func TestATaskThatCannotBeDecodedIsRemovedFromTheActiveList(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		delivery := d.acceptAndTake("b", "q", "k")
		d.must(d.repairer.RemoveTask(t.Context(), "q", delivery.ID))
		d.wantPlaces("q", delivery.ID)
	})
}

func TestARecordReadsBackAsItWasWritten(t *testing.T) {
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
