package overview

import (
	"testing"
	"time"

	"github.com/seed-2903acc3/callq/worker/history"
	"github.com/seed-2903acc3/callq/worker/limit"
)

var noon = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)

// minutes returns a history that ends with the present minute, oldest first.
func minutes(done ...int64) (list []history.Minute) {
	for _, n := range done {
		m := history.Minute{}
		if n > 0 {
			m.Counts = map[history.Outcome]int64{history.Done: n, history.Retried: 99}
		}
		list = append(list, m)
	}
	return list
}

func TestTheEndOfABatchIsForecastByItsRateItsLimitsAndItsHolds(t *testing.T) {
	plan, err := limit.NewPlan([]string{"60/day"}, nil, "")
	if err != nil {
		t.Fatal(err)
	}
	paused := Circuit{State: Paused, Class: "quota", Refused: true, Until: noon.Add(2 * time.Hour)}
	for _, tt := range []struct {
		name  string
		u     Upstream
		plan  *limit.Plan
		n     int64
		ended int64
		want  time.Duration
		why   string
	}{
		{name: "by the rate of the last minute", u: Upstream{Workers: 1}, n: 100, ended: 10, want: 10 * time.Minute},
		{name: "by the usual rate where none ended in the last minute", u: Upstream{Workers: 1, Minutes: minutes(20, 0, 40, 1)}, n: 60, want: 2 * time.Minute},
		{name: "the present minute counts where there is no other", u: Upstream{Workers: 1, Minutes: minutes(0, 0, 30)}, n: 60, want: 2 * time.Minute},
		{name: "after the hold", u: Upstream{Workers: 1, Circuit: paused, Minutes: minutes(20, 0)}, n: 60, ended: 60, want: 2*time.Hour + 3*time.Minute},
		{name: "a limit is slower than the rate", u: Upstream{Workers: 1}, plan: plan, n: 61, ended: 10, want: 12 * time.Hour},
		{name: "a probe is out", u: Upstream{Workers: 1, Circuit: Circuit{State: Testing, Class: "quota"}, Minutes: minutes(20, 0)}, n: 20, want: time.Minute},
		{name: "only calls of a paused endpoint are left", u: Upstream{Workers: 1, Minutes: minutes(20, 0), Endpoints: []Circuit{{Name: "api~GET~/a"}}}, n: 5, why: "no call ends while api~GET~/a is paused"},
		{name: "an endpoint is paused and other calls end", u: Upstream{Workers: 1, Endpoints: []Circuit{{Name: "api~GET~/a"}}}, n: 10, ended: 10, want: time.Minute},
		{name: "nothing has ended", u: Upstream{Workers: 1}, n: 5, why: "no call has ended yet"},
		{name: "no worker", n: 5, ended: 3, why: "no worker makes its calls"},
		{name: "the credential is wrong", u: Upstream{Workers: 1, Circuit: Circuit{State: Paused, Class: "auth", Refused: true, Until: noon.Add(time.Hour)}}, n: 5, ended: 5, why: "paused until somebody fixes the cause"},
	} {
		if tt.u.Circuit.State == "" {
			tt.u.Circuit.State = Flowing
		}
		end, why := tt.u.ends(noon, tt.n, tt.ended, tt.plan)
		if why != tt.why || why == "" && end.Sub(noon) != tt.want {
			t.Errorf("%s: got %s %q, want %s %q", tt.name, end.Sub(noon), why, tt.want, tt.why)
		}
	}
}

func TestABatchOfTwoUpstreamsEndsWithTheLaterOne(t *testing.T) {
	now := &Overview{Now: noon, Upstreams: []Upstream{
		{Name: "a", Workers: 1, Circuit: Circuit{State: Flowing}}, {Name: "b", Workers: 1, Circuit: Circuit{State: Flowing}},
	}}
	b := Batch{Upstreams: []string{"a", "b", "c"}}
	b.forecast(now, map[string]int64{"a": 10, "b": 10}, map[string]int64{"a": 10, "b": 5}, nil)
	if b.PerMinute != 15 || !b.Ends.Equal(noon.Add(2*time.Minute)) || b.NoEnd != "" {
		t.Errorf("got %+v", b)
	}
	b.forecast(now, map[string]int64{"a": 10, "c": 1}, nil, nil)
	if b.NoEnd == "" || !b.Ends.IsZero() {
		t.Errorf("got %+v, want no end", b)
	}
}
