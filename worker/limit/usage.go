package limit

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

// Usage is how much of one limit or budget is used.
type Usage struct {
	// Text is the limit as it was written, or where the API's answers describe it. It never
	// changes for the same plan.
	Text string `json:"text"`
	// Note has, for an adaptive limit, its present rate.
	Note string `json:"note,omitempty"`
	// Kind is the kind of the limit.
	Kind Kind `json:"kind"`
	// Used and Of are in Unit: "calls", or the currency of a budget. For a rate they are
	// how many calls are taken of those that may start at once. Of is 0 where it is not
	// known.
	Used float64 `json:"used"`
	Of   float64 `json:"of"`
	Unit string  `json:"unit"`
	// Resets is when the count begins again; zero for a rate.
	Resets time.Time `json:"resets,omitzero"`
}

// Ratio returns Used / Of, from 0 to 1.
func (u Usage) Ratio() float64 {
	if u.Of <= 0 {
		return 0
	}
	return min(max(u.Used/u.Of, 0), 1)
}

// Kind is the kind of a limit. The set is closed.
type Kind string

// The kinds.
const (
	KindRate   Kind = "rate"   // evenly spaced calls, also of an adaptive limit
	KindWindow Kind = "window" // calls in an hour, a day, …
	KindBudget Kind = "budget" // calls or money in a period
	KindPace   Kind = "pace"   // a limit of the API, by its answers
)

// Usage returns how much of an account's limits and budgets is used, in the order of the
// plan. A nil plan has none. now is Redis's clock.
func (s *Store) Usage(ctx context.Context, upstream string, p *Plan, now time.Time) ([]Usage, error) {
	if p == nil {
		return nil, nil
	}
	state, err := s.rdb.HGetAll(ctx, Keys(upstream)[0]).Result()
	if err != nil && !redis.HasErrorPrefix(err, "WRONGTYPE") {
		return nil, fmt.Errorf("read how much of the limits of %s is used: %w", upstream, err)
	}
	return p.usage(usageState(state), now), nil
}

// usageState is the state of an account's limits; lua/limits.lua describes its fields.
type usageState map[string]string

// number returns the number in a field; 0 if there is none.
func (s usageState) number(field string) float64 {
	n, err := strconv.ParseFloat(s[field], 64)
	if err != nil || math.IsNaN(n) || math.IsInf(n, 0) {
		return 0
	}
	return n
}

func (p *Plan) usage(s usageState, now time.Time) []Usage {
	var list []Usage
	for _, l := range p.Limits {
		switch {
		case l.Adaptive:
			rate := s.adaptiveRate()
			u := s.rate("adaptive", 1e6/rate, 1, now)
			u.Text, u.Note = l.Text, fmt.Sprintf("now %.3g/s", rate)
			list = append(list, u)
		case l.paced():
			u := s.rate(l.key(), l.interval(), max(l.Burst, 1), now)
			u.Text = l.Text
			list = append(list, u)
		default:
			u := s.window(l.key(), l.Per, l.Reset, now)
			u.Text, u.Kind, u.Of, u.Unit = l.Text, KindWindow, float64(l.Count), unitCalls
			list = append(list, u)
		}
	}
	for _, b := range p.Budgets {
		u := s.window(b.key(), b.Per, nil, now)
		u.Text, u.Kind, u.Of, u.Unit = b.Text, KindBudget, float64(b.Calls), unitCalls
		if b.Currency != "" {
			u.Used, u.Of, u.Unit = u.Used/1e6, float64(b.Micros)/1e6, b.Currency
		}
		list = append(list, u)
	}
	for i, pace := range p.Paces {
		if u, known := s.pace(pace.key(i), now); known {
			u.Text = pace.text()
			list = append(list, u)
		}
	}
	return list
}

const unitCalls = "calls"

// rate returns the use of a rate: how far its next slot is ahead of now.
func (s usageState) rate(key string, interval float64, burst int64, now time.Time) Usage {
	ahead := s.number("t:"+key) - float64(now.UnixMicro())
	return Usage{Kind: KindRate, Used: min(max(ahead/interval, 0), float64(burst)), Of: float64(burst), Unit: unitCalls}
}

// window returns what is used of the window that contains now.
func (s usageState) window(key string, per Period, r *Reset, now time.Time) Usage {
	start := per.start(r, now)
	u := Usage{Resets: per.shift(r, start, 1)}
	if s.number("s:"+key) == float64(start.UnixMilli()) {
		u.Used = max(s.number("n:"+key), 0)
	}
	return u
}

// pace returns the use of a limit of the API, and whether the API's answers have said
// anything of it.
func (s usageState) pace(key string, now time.Time) (u Usage, known bool) {
	if s["n:"+key] == "" || s["reset:"+key] == "" {
		return Usage{}, false
	}
	of, left := s.number("top:"+key), s.number("n:"+key)
	u = Usage{Kind: KindPace, Used: max(of-left, 0), Of: max(of, left), Unit: unitCalls}
	if reset := time.UnixMicro(int64(min(s.number("reset:"+key), maxMicros))).UTC(); reset.After(now) {
		u.Resets = reset
	} else {
		u.Used = 0 // a new window has begun
	}
	return u, true
}

// maxMicros is the largest integer that Lua's numbers represent exactly.
const maxMicros = 1<<53 - 1

// adaptiveRate returns the rate in calls a second, as adaptive_rate of lua/adaptive.lua.
func (s usageState) adaptiveRate() float64 {
	const steepness = 0.00015
	top, busy := s.number("top"), s.number("busy")
	if top == 0 {
		return min(AdaptiveStart*math.Pow(2, busy), 100_000)
	}
	since := busy - math.Cbrt((1-s.number("cut"))/steepness)
	return max(top*(1+steepness*since*since*since), 0.1)
}
