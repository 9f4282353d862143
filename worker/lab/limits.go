package lab

import (
	"math"
	"strconv"
	"time"

	"github.com/seed-2903acc3/callq/worker/limit"
)

// ahead is how long before its time a slot can be reserved.
const ahead = 500 * time.Millisecond

// limits is the state of an account's limits, by the rules of lua/limits.lua and
// lua/adaptive.lua of package limit. Times are microseconds since 1970.
type limits struct {
	plan  *limit.Plan
	due   map[string]float64
	start map[string]int64
	used  map[string]float64
	rate  adaptiveRate
}

// entry is one limit of a plan, as [limit.Plan.Args] has it.
type entry struct {
	kind, key string
	n         [6]float64
}

func newLimits(plan *limit.Plan) *limits {
	return &limits{plan: plan, due: map[string]float64{}, start: map[string]int64{}, used: map[string]float64{}}
}

func (l *limits) adaptive() bool { return l.plan.Adaptive() }

// entries reads the plan; windows are those around now.
func (l *limits) entries(now time.Time) (list []entry) {
	args := l.plan.Args(now)
	for i := 2; i+8 < len(args); i += 9 {
		e := entry{kind: args[i].(string), key: args[i+1].(string)}
		for j := range e.n {
			e.n[j] = number(args[i+3+j])
		}
		if e.kind == "adaptive" {
			e.n[0], e.n[1] = 1e6/l.rate.now(e.n[0]), 1
		}
		list = append(list, e)
	}
	return list
}

func number(v any) float64 {
	switch n := v.(type) {
	case int:
		return float64(n)
	case int64:
		return float64(n)
	case string:
		f, err := strconv.ParseFloat(n, 64)
		if err == nil {
			return f
		}
	}
	return 0
}

func (e entry) paced() bool { return e.kind == "rate" || e.kind == "adaptive" }

// window returns the start and the end, in milliseconds, of the window that a slot falls
// into.
func (e entry) window(slot float64) (start, stop int64) {
	i := 2
	for i < 4 && slot/1000 >= e.n[i+1] {
		i++
	}
	return int64(e.n[i]), int64(e.n[i+1])
}

func (l *limits) usedOf(e entry, start int64) float64 {
	if l.start[e.key] == start {
		return l.used[e.key]
	}
	return 0
}

// peek returns the next free slot, or for how long there is none.
func (l *limits) peek(now time.Time) (slot time.Time, wait time.Duration) {
	began := float64(now.UnixMicro())
	at := began
	entries := l.entries(now)
	for _, e := range entries {
		if e.paced() {
			at = math.Max(at, l.due[e.key]-(e.n[1]-1)*e.n[0])
		}
	}
	if early := time.Duration(at-began)*time.Microsecond - ahead; early > 0 {
		return time.Time{}, early.Truncate(time.Millisecond) + time.Millisecond
	}
	for _, e := range entries {
		if !e.paced() {
			start, stop := e.window(at)
			if l.usedOf(e, start)+e.n[1] > e.n[0] {
				wait = max(wait, time.UnixMilli(stop).Sub(now), time.Millisecond)
			}
		}
	}
	if at <= began {
		return now, wait
	}
	return time.UnixMicro(int64(math.Ceil(at))), wait
}

// take takes a slot that peek has returned.
func (l *limits) take(now, slot time.Time) {
	at := float64(slot.UnixMicro())
	for _, e := range l.entries(now) {
		if !e.paced() {
			start, _ := e.window(at)
			l.used[e.key] = l.usedOf(e, start) + e.n[1]
			l.start[e.key] = start
			continue
		}
		l.due[e.key] = math.Max(l.due[e.key], at) + e.n[0]
		if e.kind == "adaptive" {
			l.rate.use(float64(now.UnixMicro()), at)
		}
	}
}

// cut lowers the adaptive rate and returns its next slot.
func (l *limits) cut(now time.Time) time.Time {
	slot := l.rate.cut(float64(now.UnixMicro()))
	l.due["adaptive"] = slot
	return time.UnixMicro(int64(math.Ceil(slot)))
}

// adaptiveRate follows the API's rate errors: cut at once, grown back along a cubic.
type adaptiveRate struct {
	top, share, busy, cutAt float64
	second, count, peak     float64
	last                    float64
}

const steepness = 0.00015

// now is the rate, in calls a second.
func (r *adaptiveRate) now(first float64) float64 {
	if r.top == 0 {
		return math.Min(first*math.Pow(2, r.busy), 100000)
	}
	back := math.Cbrt((1 - r.share) / steepness)
	x := r.busy - back
	return math.Max(r.top*(1+steepness*x*x*x), 0.1)
}

func (r *adaptiveRate) use(now, slot float64) {
	second := math.Floor(slot / 1e6)
	if r.last == 0 {
		r.second, r.last = second, slot
	}
	if second != r.second {
		r.peak = math.Max(r.count, r.peak) * math.Pow(0.8, math.Min(math.Abs(second-r.second), 50))
		r.count = 0
	}
	if slot-now > 1000 {
		r.busy += math.Min(math.Max(slot-r.last, 0), 1e6) / 1e6
	}
	r.second, r.last = second, slot
	r.count++
}

func (r *adaptiveRate) cut(now float64) (slot float64) {
	rate := math.Min(r.now(limit.AdaptiveStart), math.Max(math.Max(r.peak, r.count), 1)*1.25)
	share := 0.85
	if now-r.cutAt < 5e6 {
		share = 0.6
	}
	top := rate
	if rate < r.top {
		top = rate * 0.95
	}
	r.top, r.share, r.busy, r.cutAt, r.count, r.peak = top, share, 0, now, 0, top*share
	return now + 1e6/(top*share)
}
