package circuit_test

import (
	"slices"
	"testing"
	"time"

	"github.com/seed-2903acc3/callq/tasks/redislua"
	"github.com/seed-2903acc3/callq/worker/circuit"
	"github.com/seed-2903acc3/callq/worker/limit"
)

func (d *fixture) holds() []circuit.Hold {
	d.t.Helper()
	now, err := d.client.Time(d.t.Context()).Result()
	if err != nil {
		d.t.Fatal(err)
	}
	list, err := d.Holds(d.t.Context(), "api", now)
	if err != nil {
		d.t.Fatal(err)
	}
	return list
}

func (d *fixture) close(n circuit.Name) {
	d.t.Helper()
	if err := d.Close(d.t.Context(), n, "well again", "ann"); err != nil {
		d.t.Fatal(err)
	}
}

func reasons(list []circuit.Hold) (names []string) {
	for _, h := range list {
		name := h.Circuit.String() + " " + h.Reason
		if h.To.IsZero() {
			name += "…"
		}
		names = append(names, name)
	}
	return names
}

func TestAHoldIsKnownWhileItLastsAndAfterwards(t *testing.T) {
	each(t, func(t *testing.T, d *fixture) {
		if got := d.holds(); len(got) != 0 {
			t.Fatalf("got %+v before there was one", got)
		}
		cause := circuit.Cause{Reason: "quota", Hold: "quota", Class: "quota", Code: "67200001", Message: "used up \xff", CorrelationID: "c-1"}
		d.report(account, circuit.Report{Verdict: circuit.OwnError, Cause: cause})
		d.report(endpoint, circuit.Report{Verdict: circuit.OwnError, Cause: circuit.Cause{Reason: "permission", Hold: "permission"}})
		want := []string{"api quota…", "api~GET~/patent/* permission…"}
		if got := reasons(d.holds()); !slices.Equal(slices.Sorted(slices.Values(got)), want) {
			t.Fatalf("got %q, want %q", got, want)
		}
		d.close(account)
		d.close(endpoint)
		list := d.holds()
		want = []string{"api quota", "api~GET~/patent/* permission"}
		if got := reasons(list); !slices.Equal(slices.Sorted(slices.Values(got)), want) {
			t.Fatalf("got %q, want %q", got, want)
		}
		i := slices.IndexFunc(list, func(h circuit.Hold) bool { return h.Circuit == account })
		if h := list[i]; h.Code != "67200001" || h.Message != "used up \uFFFD" || h.CorrelationID != "c-1" || h.Class != "quota" || h.Who != "" || h.Held != h.To.Sub(h.From) || h.From.IsZero() {
			t.Errorf("got %+v", h)
		}
		if ttl := d.client.TTL(t.Context(), redislua.HoldsKey("api")).Val(); ttl < circuit.HoldsKeptFor-time.Hour || ttl > circuit.HoldsKeptFor {
			t.Errorf("the log is kept for %s", ttl)
		}
	})
}

func TestAHoldThatGetsAnotherReasonIsTwoHolds(t *testing.T) {
	each(t, func(t *testing.T, d *fixture) {
		d.report(account, circuit.Report{Verdict: circuit.OwnError, Delays: []time.Duration{time.Millisecond}, Cause: circuit.Cause{Reason: "rate", Hold: "rate"}})
		epoch := d.probe(account, "probe").Epoch
		d.report(account, circuit.Report{Verdict: circuit.OwnError, Epoch: epoch, Token: "probe", Cause: circuit.Cause{Reason: "quota", Hold: "quota"}})
		if err := d.Open(t.Context(), account, time.Hour, "maintenance", "bob"); err != nil {
			t.Fatal(err)
		}
		list := d.holds()
		if got, want := reasons(list), []string{"api rate", "api quota", "api operator…"}; !slices.Equal(got, want) {
			t.Fatalf("got %q, want %q", got, want)
		}
		if !list[0].To.Equal(list[1].From) || !list[1].To.Equal(list[2].From) || list[2].Who != "bob" || list[2].Note != "maintenance" {
			t.Errorf("got %+v", list)
		}
	})
}

func TestTheLogOfHoldsIsBoundedAndSurvivesForeignData(t *testing.T) {
	each(t, func(t *testing.T, d *fixture) {
		key := redislua.HoldsKey("api")
		if err := d.client.Set(t.Context(), key, "not a list", 0).Err(); err != nil {
			t.Fatal(err)
		}
		if got := d.holds(); len(got) != 0 {
			t.Fatalf("got %+v", got)
		}
		for range circuit.HoldsKept + 3 {
			if err := d.Open(t.Context(), account, time.Hour, "", "bob"); err != nil {
				t.Fatal(err)
			}
			d.close(account)
		}
		d.client.LPush(t.Context(), key, "no JSON", `{"from":"x"}`)
		if n := len(d.holds()); n != circuit.HoldsKept-2 {
			t.Errorf("%d holds, want %d", n, circuit.HoldsKept-2)
		}
	})
}

func TestAHoldByALimitIsOneHoldAsLongAsTheLimitGoesOn(t *testing.T) {
	each(t, func(t *testing.T, d *fixture) {
		limits := limit.NewStore(d.client)
		plan := func(text string) *limit.Plan {
			p, err := limit.NewPlan([]string{text}, nil, "")
			if err != nil {
				t.Fatal(err)
			}
			return p
		}
		hourly, daily := plan("1/h reset 00:00"), plan("1/day reset 00:00")
		take := func(p *limit.Plan) (limit.Slot, bool) {
			slot, refusal, err := limits.Take(t.Context(), "api", p)
			if err != nil {
				t.Fatal(err)
			}
			return slot, refusal == nil
		}
		use := func(p *limit.Plan) limit.Slot {
			slot, ok := take(p)
			if _, again := take(p); !ok || again {
				t.Fatalf("a slot: %t, another one: %t", ok, again)
			}
			return slot
		}
		slot := use(hourly)
		list := d.holds()
		if got := reasons(list); !slices.Equal(got, []string{"api limit…"}) || list[0].Rule != "1/h reset 00:00" || list[0].Held > time.Minute {
			t.Fatalf("got %+v", list)
		}
		if err := limits.GiveBack(t.Context(), "api", hourly, slot); err != nil {
			t.Fatal(err)
		}
		if got := reasons(d.holds()); !slices.Equal(got, []string{"api limit"}) {
			t.Fatalf("got %q after the slot was returned", got)
		}
		use(hourly)
		if got := reasons(d.holds()); !slices.Equal(got, []string{"api limit…"}) {
			t.Fatalf("got %q within the same two seconds", got)
		}
		use(daily)
		list = d.holds()
		if len(list) != 2 || list[0].To.After(time.Now()) || list[0].Rule != "1/h reset 00:00" || list[1].Rule != "1/day reset 00:00" {
			t.Fatalf("got %+v", list)
		}
	})
}
