package limit_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/seed-2903acc3/callq/worker/limit"
)

// usage reads the use of a plan's limits by Redis's clock.
func (a *account) usage(p *limit.Plan) []limit.Usage {
	a.t.Helper()
	now, err := a.client.Time(a.t.Context()).Result()
	if err != nil {
		a.t.Fatal(err)
	}
	list, err := a.store.Usage(a.t.Context(), "api", p, now)
	if err != nil {
		a.t.Fatal(err)
	}
	return list
}

func TestUsageCountsTheSlotsOfWindowsAndTheMoneyOfBudgets(t *testing.T) {
	each(t, func(t *testing.T, a *account) {
		p := planOf(t, []string{"50/month"}, []string{"8 USD/month", "40 calls/month"}, "0.5")
		a.take(p)
		slot, _ := a.take(p)
		if err := a.store.Reconcile(t.Context(), "api", p, slot, 250_000); err != nil {
			t.Fatal(err)
		}
		list := a.usage(p)
		var got string
		for _, u := range list {
			got += fmt.Sprintf("%s %s: %g of %g %s\n", u.Kind, u.Text, u.Used, u.Of, u.Unit)
			if until := time.Until(u.Resets); until <= 0 || until > 31*24*time.Hour {
				t.Errorf("%s resets in %s, want by the end of the month", u.Text, until)
			}
		}
		want := "window 50/month: 2 of 50 calls\nbudget 8 USD/month: 0.75 of 8 USD\nbudget 40 calls/month: 2 of 40 calls\n"
		if got != want {
			t.Errorf("got\n%swant\n%s", got, want)
		}
		if ratio := list[1].Ratio(); ratio != 0.75/8 {
			t.Errorf("the ratio is %g", ratio)
		}
	})
}

func TestUsageOfARateIsOneWhileItsSlotsAreTakenAsFastAsItAllows(t *testing.T) {
	each(t, func(t *testing.T, a *account) {
		for _, text := range []string{"20/m burst 3", "adaptive"} {
			p := planOf(t, []string{text}, nil, "")
			if before := a.usage(p)[0]; before.Used != 0 || before.Kind != limit.KindRate || before.Text != text {
				t.Errorf("%s: got %+v before any call", text, before)
			}
			a.takeAll(p)
			if after := a.usage(p)[0]; after.Ratio() < 0.9 {
				t.Errorf("%s: got %+v, want it used up", text, after)
			}
		}
	})
}

func TestUsageOfAPaceIsWhatTheAnswersSay(t *testing.T) {
	each(t, func(t *testing.T, a *account) {
		p, err := limit.NewPlan(nil, nil, "", limit.Pace{Place: "header x-left"})
		if err != nil {
			t.Fatal(err)
		}
		if list := a.usage(p); len(list) != 0 {
			t.Errorf("got %+v before any answer", list)
		}
		for _, left := range []int64{10, 7} {
			slot, refusal := a.take(p)
			if refusal != nil {
				t.Fatalf("refused: %+v", refusal)
			}
			reading := limit.Reading{Remaining: left, Reset: time.Hour}
			if _, err := a.store.Report(t.Context(), "api", p, []limit.Answer{{Slot: slot.At, Received: time.Now(), Readings: []limit.Reading{reading}}}); err != nil {
				t.Fatal(err)
			}
		}
		list := a.usage(p)
		if len(list) != 1 || list[0].Kind != limit.KindPace || list[0].Of != 10 || list[0].Used != 3 || time.Until(list[0].Resets) < 50*time.Minute {
			t.Errorf("got %+v, want 3 of 10 used until the reset", list)
		}
	})
}

func TestANilPlanHasNoUsage(t *testing.T) {
	if list, err := limit.NewStore(nil).Usage(t.Context(), "api", nil, time.Now()); list != nil || err != nil {
		t.Errorf("got %v, %v", list, err)
	}
}
