package limit_test

import (
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
	"github.com/seed-2903acc3/callq/worker/limit"
)

// account is a store with helpers for the tests.
type account struct {
	t      *testing.T
	store  *limit.Store
	client *redis.Client
	// tick is called before each slot is taken; nil: the clock is Redis's own.
	tick func()
}

func each(t *testing.T, test func(t *testing.T, a *account)) {
	t.Helper()
	t.Parallel()
	redistest.Each(t, func(t *testing.T, client *redis.Client) {
		t.Parallel()
		test(t, &account{t: t, store: limit.NewStore(client), client: client})
	})
}

func planOf(t *testing.T, limits, budgets []string, perCall string) *limit.Plan {
	t.Helper()
	p, err := limit.NewPlan(limits, budgets, perCall)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func (a *account) take(p *limit.Plan) (limit.Slot, *limit.Refusal) {
	a.t.Helper()
	if a.tick != nil {
		a.tick()
	}
	slot, refusal, err := a.store.Take(a.t.Context(), "api", p)
	if err != nil {
		a.t.Fatal(err)
	}
	return slot, refusal
}

// takeAll takes slots until one is refused.
func (a *account) takeAll(p *limit.Plan) (slots []limit.Slot, why *limit.Refusal) {
	a.t.Helper()
	for {
		slot, refusal := a.take(p)
		if refusal != nil {
			return slots, refusal
		}
		if slots = append(slots, slot); len(slots) > 10_000 {
			a.t.Fatal("more than 10000 slots were taken without a refusal")
		}
	}
}

func TestTheSlotsOfARateAreEvenlySpacedAndTakenHalfASecondAhead(t *testing.T) {
	each(t, func(t *testing.T, a *account) {
		slots, why := a.takeAll(planOf(t, []string{"2000/m"}, nil, "")) // 30.15 ms apart
		if len(slots) < 16 || why.Reason != "limit" || why.Text != "2000/m" || why.Wait <= 0 || why.Wait > time.Second {
			t.Fatalf("got %d slots, then %+v; want 16 or more, then a refusal by 2000/m", len(slots), why)
		}
		for i := range slots[1:] {
			// If the test machine pauses, a gap is larger, never smaller.
			if gap := time.Duration(slots[i+1].At-slots[i].At) * time.Microsecond; gap < 30149*time.Microsecond {
				t.Errorf("gap between slots %d and %d: got %s, want 30.15ms or more", i, i+1, gap)
			}
		}
		if last := slots[len(slots)-1]; last.Wait > 500*time.Millisecond {
			t.Errorf("the last slot is %s ahead, want 500ms at most", last.Wait)
		}
	})
}

func TestTheSlotsOfABurstAreTakenAtOnce(t *testing.T) {
	each(t, func(t *testing.T, a *account) {
		slots, _ := a.takeAll(planOf(t, []string{"1/m burst 5"}, nil, ""))
		if len(slots) != 5 {
			t.Errorf("got %d slots at once, want 5", len(slots))
		}
		for _, s := range slots {
			if s.Wait != 0 {
				t.Errorf("a slot of the burst is %s ahead, want 0s", s.Wait)
			}
		}
	})
}

func TestAWindowCanBeUsedUpAtOnceAndTheNextOneStartsAtZero(t *testing.T) {
	each(t, func(t *testing.T, a *account) {
		p := planOf(t, nil, []string{"7 calls/3s"}, "")
		var windows []int64
		deadline := time.Now().Add(30 * time.Second)
		for used := 0; used < 21; {
			slots, why := a.takeAll(p)
			if why.Reason != "budget" || why.Text != "7 calls/3s" || why.Wait > 3*time.Second {
				t.Fatalf("got the refusal %+v, want one by 7 calls/3s of 3s at most", why)
			}
			for _, s := range slots {
				windows = append(windows, s.At/3_000_000)
			}
			used += len(slots)
			if time.Now().After(deadline) {
				t.Fatalf("got %d slots in 30 s, want 21", used)
			}
			<-time.After(why.Wait)
		}
		count := map[int64]int{}
		for _, w := range windows {
			if count[w]++; count[w] > 7 {
				t.Errorf("got %d calls in one window, want 7 at most", count[w])
			}
		}
	})
}

func TestAllLimitsApplyTogether(t *testing.T) {
	each(t, func(t *testing.T, a *account) {
		slots, why := a.takeAll(planOf(t, []string{"100/s burst 50", "4/day", "20/h"}, []string{"9 calls/month"}, ""))
		if len(slots) != 4 || why.Text != "4/day" {
			t.Errorf("got %d slots, then %+v; want 4, then a refusal by 4/day", len(slots), why)
		}
	})
}

func TestALimitThatIsRaisedKeepsWhatWasUsed(t *testing.T) {
	each(t, func(t *testing.T, a *account) {
		a.takeAll(planOf(t, nil, []string{"3 calls/month", "1 EUR/month"}, "0.01"))
		slots, _ := a.takeAll(planOf(t, nil, []string{"5 calls/month", "1 EUR/month"}, "0.01"))
		if len(slots) != 2 {
			t.Errorf("got %d more slots after the budget was raised from 3 to 5, want 2", len(slots))
		}
	})
}

func TestASlotThatIsReturnedIsTakenByTheNextCall(t *testing.T) {
	each(t, func(t *testing.T, a *account) {
		p := planOf(t, []string{"20/s", "6/day"}, nil, "")
		slots, _ := a.takeAll(p)
		if len(slots) != 6 {
			t.Fatalf("got %d slots, want 6", len(slots))
		}
		back := slots[5]
		if err := a.store.GiveBack(t.Context(), "api", p, back); err != nil {
			t.Fatal(err)
		}
		again, refusal := a.take(p)
		if refusal != nil || again.At < back.At {
			t.Fatalf("after slot %d was returned got %+v, %+v", back.At, again, refusal)
		}
		if _, refusal := a.take(p); refusal == nil {
			t.Error("two slots were taken after one was returned")
		}
	})
}

func TestASlotThatIsReturnedTwiceCountsOnce(t *testing.T) {
	for name, limits := range map[string][]string{"without a rate": {"6/day"}, "with a rate": {"20/s", "6/day"}} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, a *account) {
				p := planOf(t, limits, nil, "")
				slots, _ := a.takeAll(p)
				if len(slots) != 6 {
					t.Fatalf("got %d slots, want 6", len(slots))
				}
				giveBack := func() {
					t.Helper()
					if err := a.store.GiveBack(t.Context(), "api", p, slots[5]); err != nil {
						t.Fatal(err)
					}
				}
				giveBack()
				giveBack() // a repetition after a lost reply
				if again, _ := a.takeAll(p); len(again) != 1 {
					t.Fatalf("got %d slots after one was returned, want 1", len(again))
				}
				giveBack() // a repetition that arrives after another call took the slot
				if again, _ := a.takeAll(p); len(again) != 0 {
					t.Errorf("got %d slots that another call has, want 0", len(again))
				}
			})
		})
	}
}

func TestTheHighestCostSoFarIsReservedAndReconciledAfterwards(t *testing.T) {
	each(t, func(t *testing.T, a *account) {
		ctx, p := t.Context(), planOf(t, nil, []string{"1 USD/month"}, "0.10")
		first, _ := a.take(p)
		if first.Money != 100_000 {
			t.Fatalf("reserved: got %d millionths, want 100000", first.Money)
		}
		// The call cost more than was reserved: from now on 0.30 are reserved. 0.70 are left.
		if err := a.store.Reconcile(ctx, "api", p, first, 300_000); err != nil {
			t.Fatal(err)
		}
		second, _ := a.take(p)
		third, _ := a.take(p)
		if _, refusal := a.take(p); second.Money != 300_000 || refusal == nil || refusal.Reason != "budget" {
			t.Fatalf("got %d millionths reserved, then %+v; want 300000, then a refusal by the budget", second.Money, refusal)
		}
		// These calls cost less than was reserved.
		for _, slot := range []limit.Slot{second, third} {
			if err := a.store.Reconcile(ctx, "api", p, slot, 50_000); err != nil {
				t.Fatal(err)
			}
		}
		if slots, _ := a.takeAll(p); len(slots) != 2 {
			t.Errorf("got %d more slots for the 0.60 that are left, want 2", len(slots))
		}
	})
}

func TestACallThatIsNotSentReturnsAllMoneyThatWasReservedForIt(t *testing.T) {
	each(t, func(t *testing.T, a *account) {
		ctx, p := t.Context(), planOf(t, nil, []string{"1 USD/month"}, "0.10")
		first, _ := a.take(p)
		// From now on 0.30 are reserved for each call, and 0.70 are left.
		if err := a.store.Reconcile(ctx, "api", p, first, 300_000); err != nil {
			t.Fatal(err)
		}
		slots, _ := a.takeAll(p)
		if len(slots) != 2 {
			t.Fatalf("got %d slots for 0.70, want 2", len(slots))
		}
		for _, slot := range slots {
			if err := a.store.GiveBack(ctx, "api", p, slot); err != nil {
				t.Fatal(err)
			}
		}
		if again, _ := a.takeAll(p); len(again) != 2 {
			t.Errorf("got %d slots after both were returned, want 2", len(again))
		}
	})
}

func TestABillThatIsHigherThanAWholeBudgetCountsUntilTheNextWindow(t *testing.T) {
	for name, budgets := range map[string][]string{
		"one budget": {"1 USD/3s"}, "the shorter of two": {"1 USD/3s", "100 USD/month"}, "the shorter of two, the other first": {"100 USD/month", "1 USD/3s"},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, a *account) {
				p := planOf(t, nil, budgets, "0.10")
				first, _ := a.take(p)
				if err := a.store.Reconcile(t.Context(), "api", p, first, 5_000_000); err != nil {
					t.Fatal(err)
				}
				// After the time that a refusal names, a call can be made.
				for refused := 0; ; refused++ {
					next, why := a.take(p)
					if why == nil {
						if next.At/3_000_000 == first.At/3_000_000 {
							t.Fatal("a slot was taken in the window that the bill had used up")
						}
						if next.Money != 100_000 {
							t.Errorf("reserved in the next window: got %d millionths, want 100000", next.Money)
						}
						break
					}
					if why.Reason != "budget" || why.Text != "1 USD/3s" || why.Wait > 3*time.Second || refused > 5 {
						t.Fatalf("refusal %d: got %+v, want one by 1 USD/3s of 3s at most", refused+1, why)
					}
					<-time.After(why.Wait)
				}
				if kept := a.client.HGet(t.Context(), limit.Keys("api")[0], "amount").Val(); kept != "0" {
					t.Errorf("the highest bill: got %s, want 0", kept)
				}
			})
		})
	}
}

func TestACostThatIsReconciledTwiceCountsOnce(t *testing.T) {
	each(t, func(t *testing.T, a *account) {
		p := planOf(t, []string{"100/s"}, []string{"1 USD/month"}, "0.50")
		slots, _ := a.takeAll(p)
		if len(slots) != 2 {
			t.Fatalf("got %d slots, want 2", len(slots))
		}
		for range 2 { // the second one is a repetition after a lost reply
			if err := a.store.Reconcile(t.Context(), "api", p, slots[1], 0); err != nil {
				t.Fatal(err)
			}
		}
		more, _ := a.takeAll(p)
		if len(more) != 1 {
			t.Fatalf("got %d more slots for the 0.50 that are left, want 1", len(more))
		}
		if more[0].At <= slots[1].At {
			t.Errorf("slot %d was used, but taken again as %d", slots[1].At, more[0].At)
		}
	})
}

func TestParseBilledReadsCostsExactlyAndRoundsUp(t *testing.T) {
	for text, want := range map[string]int64{"0.01": 10_000, " 2 ": 2_000_000, "0.0000001": 1, "1e-3": 1000, "0": 0} {
		if got, ok := limit.ParseBilled(text); !ok || got != want {
			t.Errorf("%q: got %d, %t, want %d", text, got, ok, want)
		}
	}
	for _, text := range []string{"", "-1", "NaN", "Inf", "1e99", "free"} {
		if got, ok := limit.ParseBilled(text); ok {
			t.Errorf("%q: got %d, want no value", text, got)
		}
	}
}

func TestNewPlanNamesTheEntryThatIsWrong(t *testing.T) {
	for _, wrong := range []struct {
		limits, budgets []string
		perCall, want   string
	}{
		{limits: []string{"10/s", "10 per s"}, want: `limits[1] "10 per s" is not a limit`},
		{limits: []string{"adaptive", "adaptive"}, want: "limits[1]: adaptive is listed twice"},
		{budgets: []string{"5 USD/day"}, want: `budget[0] "5 USD/day" needs the highest cost of a call`},
		{budgets: []string{"5 USD/day", "5 EUR/day"}, perCall: "1", want: `budget[1] "5 EUR/day" is in another currency than USD`},
		{budgets: []string{"9 calls/h", "5 USD/day"}, perCall: "5.01", want: `budget[1] "5 USD/day" is less than one call costs, 5.01`},
		{budgets: []string{"5 USD/day"}, perCall: "1 USD", want: `the cost per call "1 USD" is not an amount`},
	} {
		_, err := limit.NewPlan(wrong.limits, wrong.budgets, wrong.perCall)
		if err == nil || len(err.Error()) < len(wrong.want) || err.Error()[:len(wrong.want)] != wrong.want {
			t.Errorf("got %v, want %s", err, wrong.want)
		}
	}
	if p, err := limit.NewPlan(nil, nil, "0.01"); p != nil || err != nil {
		t.Errorf("without limits: got %v, %v, want nil", p, err)
	}
}
