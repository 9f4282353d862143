package limit_test

import (
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
	"github.com/seed-2903acc3/callq/tasks/redislua"
	"github.com/seed-2903acc3/callq/worker/limit"
)

// pacePlan is the plan of an account without limits of its own.
func pacePlan(t *testing.T, keep int64) *limit.Plan {
	t.Helper()
	p, err := limit.NewPlan(nil, nil, "", limit.Pace{Place: "header x-remaining", Keep: keep})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// answered reports an answer that says what is left, and returns whether a call may start
// that was refused before.
func (a *account) answered(p *limit.Plan, s limit.Slot, left int64, reset time.Duration) bool {
	a.t.Helper()
	return a.report(p, limit.Answer{Slot: s.At, Received: time.Now(), Readings: []limit.Reading{{Remaining: left, Reset: reset}}})
}

func (a *account) report(p *limit.Plan, answers ...limit.Answer) bool {
	a.t.Helper()
	freed, err := a.store.Report(a.t.Context(), "api", p, answers)
	if err != nil {
		a.t.Fatal(err)
	}
	return freed
}

// takeSlots takes n slots.
func (a *account) takeSlots(p *limit.Plan, n int) (slots []limit.Slot) {
	a.t.Helper()
	for range n {
		slot, refusal := a.take(p)
		if refusal != nil {
			a.t.Fatalf("slot %d of %d: refused: %+v", len(slots)+1, n, refusal)
		}
		slots = append(slots, slot)
	}
	return slots
}

func TestNoMoreCallsStartThanAnAnswerSaysAreLeft(t *testing.T) {
	for name, c := range map[string]struct{ left, keep, want int64 }{
		"all of them":                  {left: 5, want: 5},
		"less those for other clients": {left: 5, keep: 3, want: 2},
		"none is left":                 {left: 0},
		"none but for other clients":   {left: 3, keep: 3},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, a *account) {
				p := pacePlan(t, c.keep)
				a.answered(p, a.takeSlots(p, 1)[0], c.left, time.Hour)
				if slots, _ := a.takeAll(p); int64(len(slots)) != c.want {
					t.Errorf("got %d slots, want %d", len(slots), c.want)
				}
			})
		})
	}
}

func TestAnAccountOfWhichNothingIsLeftIsHeldUntilTheReset(t *testing.T) {
	each(t, func(t *testing.T, a *account) {
		p := pacePlan(t, 2)
		a.answered(p, a.takeSlots(p, 1)[0], 2, time.Hour)
		_, why := a.take(p)
		if why == nil || why.Reason != "limit" || why.Text != "x-remaining of the API (keep 2)" || why.Wait < 59*time.Minute || why.Wait > time.Hour {
			t.Fatalf("got the refusal %+v, want one by the limit for an hour", why)
		}
		note := a.client.HGetAll(t.Context(), redislua.CircuitKey("api", "")).Val()
		if note["limited_by"] != "limit" || note["limited_turn"] != "1" || note["limited_text"] != why.Text || note["state"] != "" {
			t.Errorf("the circuit record: got %v, want a note that the limit is used up", note)
		}
	})
}

func TestACallCountsUntilItsAnswerWasReported(t *testing.T) {
	each(t, func(t *testing.T, a *account) {
		p := pacePlan(t, 0)
		a.answered(p, a.takeSlots(p, 1)[0], 3, time.Hour)
		slots := a.takeSlots(p, 3)
		_, why := a.take(p)
		if why == nil || why.Wait > time.Second {
			t.Fatalf("got the refusal %+v, want a short one: the answers of three calls decide", why)
		}
		// The first call was counted, and so was a call of another client.
		if a.answered(p, slots[0], 2, time.Hour) {
			t.Error("a call may start after the answer that 2 are left, with 2 inflight")
		}
		// A refund.
		if !a.answered(p, slots[1], 2, time.Hour) {
			t.Error("no call may start after the answer that 2 are left, with 1 inflight")
		}
		if more, _ := a.takeAll(p); len(more) != 1 {
			t.Errorf("got %d slots, want 1", len(more))
		}
	})
}

func TestASlotThatIsReturnedDoesNotCountForThePace(t *testing.T) {
	each(t, func(t *testing.T, a *account) {
		p := pacePlan(t, 0)
		a.answered(p, a.takeSlots(p, 1)[0], 2, time.Hour)
		slots := a.takeSlots(p, 2)
		for range 2 { // the second one is a repetition after a lost reply
			if err := a.store.GiveBack(t.Context(), "api", p, slots[1]); err != nil {
				t.Fatal(err)
			}
		}
		if more, _ := a.takeAll(p); len(more) != 1 {
			t.Errorf("got %d slots after one was returned, want 1", len(more))
		}
	})
}

func TestAnswersThatArriveOutOfOrderDoNotRaiseWhatIsLeft(t *testing.T) {
	for name, order := range map[string][]int{
		"in the order of the slots": {0, 1, 2, 3}, "the other way round": {3, 2, 1, 0}, "mixed": {2, 0, 3, 1},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, a *account) {
				p := pacePlan(t, 0)
				a.answered(p, a.takeSlots(p, 1)[0], 8, time.Hour)
				slots := a.takeSlots(p, 4)
				// The requests arrived at the API in that order.
				for i, at := range order {
					a.answered(p, slots[at], int64(7-i), time.Hour)
				}
				if more, _ := a.takeAll(p); len(more) != 4 {
					t.Errorf("got %d slots after 4 of 8 calls, want 4", len(more))
				}
			})
		})
		t.Run(name+", in one report", func(t *testing.T) {
			each(t, func(t *testing.T, a *account) {
				p := pacePlan(t, 0)
				a.answered(p, a.takeSlots(p, 1)[0], 8, time.Hour)
				slots := a.takeSlots(p, 4)
				answers := make([]limit.Answer, 4)
				for i, at := range order {
					answers[at] = limit.Answer{Slot: slots[at].At, Received: time.Now(), Readings: []limit.Reading{{Remaining: int64(7 - i), Reset: time.Hour}}}
				}
				for range 2 { // the second one is a repetition after a lost reply
					a.report(p, answers...)
				}
				if more, _ := a.takeAll(p); len(more) != 4 {
					t.Errorf("got %d slots after 4 of 8 calls, want 4", len(more))
				}
			})
		})
	}
}

func TestACallWithoutAnAnswerIsTakenOffWhatIsLeft(t *testing.T) {
	each(t, func(t *testing.T, a *account) {
		p := pacePlan(t, 0)
		a.answered(p, a.takeSlots(p, 1)[0], 5, time.Hour)
		slots := a.takeSlots(p, 2)
		for range 2 { // the second one is a repetition after a lost reply
			a.report(p, limit.Answer{Slot: slots[0].At, Received: time.Now()}, limit.Answer{Slot: slots[1].At, Received: time.Now()})
		}
		if more, _ := a.takeAll(p); len(more) != 3 {
			t.Errorf("got %d slots after two timeouts, want 3", len(more))
		}
	})
}

func TestBeforeTheFirstAnswerOnlyAFewCallsAreInflight(t *testing.T) {
	each(t, func(t *testing.T, a *account) {
		p := pacePlan(t, 0)
		slots, why := a.takeAll(p)
		if len(slots) != 2 || why.Wait > time.Second {
			t.Fatalf("got %d slots, then %+v; want 2, then a short wait", len(slots), why)
		}
		// An API that says nothing is not waited for.
		a.report(p, limit.Answer{Slot: slots[0].At, Received: time.Now()})
		a.takeSlots(p, 100)
	})
}

func TestTwoPacesApplyTogetherAndBesideLimits(t *testing.T) {
	each(t, func(t *testing.T, a *account) {
		p, err := limit.NewPlan([]string{"100/day"}, nil, "", limit.Pace{Place: "header x-minute"}, limit.Pace{Place: "header x-day"})
		if err != nil {
			t.Fatal(err)
		}
		slot := a.takeSlots(p, 1)[0]
		a.report(p, limit.Answer{Slot: slot.At, Received: time.Now(), Readings: []limit.Reading{
			{Pace: 0, Remaining: 6, Reset: time.Minute}, {Pace: 1, Remaining: 4, Reset: time.Hour},
		}})
		slots, _ := a.takeAll(p)
		if len(slots) != 4 {
			t.Fatalf("got %d slots, want the 4 of the smaller one", len(slots))
		}
		for i, s := range slots {
			a.report(p, limit.Answer{Slot: s.At, Received: time.Now(), Readings: []limit.Reading{
				{Pace: 0, Remaining: int64(5 - i), Reset: time.Minute}, {Pace: 1, Remaining: int64(3 - i), Reset: time.Hour},
			}})
		}
		if _, why := a.take(p); why == nil || why.Text != "x-day of the API" || why.Wait < 59*time.Minute {
			t.Errorf("got the refusal %+v, want one by x-day", why)
		}
		if used := a.client.HGet(t.Context(), limit.Keys("api")[0], "n:1day").Val(); used != "5" {
			t.Errorf("used of 100/day: got %s, want 5", used)
		}
	})
}

func TestAReadingHoldsAnAccountForADayAtMost(t *testing.T) {
	each(t, func(t *testing.T, a *account) {
		p := pacePlan(t, 0)
		a.answered(p, a.takeSlots(p, 1)[0], 0, 1000*time.Hour)
		if _, why := a.take(p); why == nil || why.Wait > 25*time.Hour || why.Wait < 24*time.Hour {
			t.Errorf("got the refusal %+v, want one for 25 hours", why)
		}
	})
}

func TestThePlanIsNamedByItsPaces(t *testing.T) {
	none, keep := pacePlan(t, 0), pacePlan(t, 1)
	if none.Name() == keep.Name() {
		t.Error("plans that keep 0 and 1 have the same name")
	}
	if got := keep.String(); got != "x-remaining of the API (keep 1)" {
		t.Errorf("got %q", got)
	}
}

func TestAnswersAreReportedWhenRedisIsOutOfMemory(t *testing.T) {
	t.Parallel()
	client := redistest.Redis(t).Client
	a := &account{t: t, store: limit.NewStore(client), client: client}
	p := pacePlan(t, 0)
	a.answered(p, a.takeSlots(p, 1)[0], 2, time.Hour)
	slots := a.takeSlots(p, 2)
	if err := client.ConfigSet(t.Context(), "maxmemory", "1").Err(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := a.store.Take(t.Context(), "api", p); err == nil || !strings.Contains(err.Error(), "OOM") {
		t.Fatalf("Take with a full Redis: got %v, want an OOM error", err)
	}
	a.answered(p, slots[0], 1, time.Hour)
	if err := client.ConfigSet(t.Context(), "maxmemory", "0").Err(); err != nil {
		t.Fatal(err)
	}
	if err := a.store.GiveBack(t.Context(), "api", p, slots[1]); err != nil {
		t.Fatal(err)
	}
	if more, _ := a.takeAll(p); len(more) != 1 {
		t.Errorf("got %d slots, want 1", len(more))
	}
}

// forget does what the close of a circuit does, see circuit/lua/operate.lua.
func forget(t *testing.T, client *redis.Client) {
	t.Helper()
	circuit := redislua.CircuitKey("api", "")
	key := client.HGet(t.Context(), circuit, "limited_key").Val()
	if err := client.HDel(t.Context(), limit.Keys("api")[0], "s:"+key, "n:"+key, "amount").Err(); err != nil {
		t.Fatal(err)
	}
	if err := client.HDel(t.Context(), circuit, "limited").Err(); err != nil {
		t.Fatal(err)
	}
}
