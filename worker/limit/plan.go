package limit

import (
	"fmt"
	"hash/fnv"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

const (
	// slack lengthens the interval between slots: calls do not all take the same time to
	// arrive, and must not arrive faster than the rate.
	slack = 1.005
)

// AdaptiveStart is the rate in calls a second that an adaptive limit begins with;
// it doubles every second until the API refuses.
const AdaptiveStart = 10

// Plan is all limits and budgets of an account. A nil Plan has none. It is safe for
// concurrent use.
type Plan struct {
	// Limits, Budgets and Paces are the plan's entries.
	Limits  []Limit
	Budgets []Budget
	Paces   []Pace
	// PerCall is the price of a call in millionths of the budget's currency.
	PerCall int64

	name  string
	cache atomic.Pointer[cached]
}

type cached struct {
	until time.Time
	args  []any
}

// NewPlan reads limits and budgets, and the price of a call, as texts. paces are the limits
// that the API's answers describe. NewPlan returns nil if there are no entries. Its errors
// name the entry that is wrong.
func NewPlan(limits, budgets []string, perCall string, paces ...Pace) (*Plan, error) {
	if len(limits)+len(budgets)+len(paces) == 0 {
		return nil, nil
	}
	p := &Plan{Paces: paces}
	for i, text := range limits {
		l, err := Parse(text)
		if err != nil {
			return nil, fmt.Errorf("limits[%d] %q %w", i, text, err)
		}
		if l.Adaptive && slices.ContainsFunc(p.Limits, func(l Limit) bool { return l.Adaptive }) {
			return nil, fmt.Errorf("limits[%d]: adaptive is listed twice", i)
		}
		p.Limits = append(p.Limits, l)
	}
	if perCall != "" {
		var err error
		if p.PerCall, err = ParseMicros(perCall); err != nil {
			return nil, fmt.Errorf("the cost per call %q %w", perCall, err)
		}
	}
	currency := ""
	for i, text := range budgets {
		b, err := ParseBudget(text)
		switch {
		case err != nil:
			return nil, fmt.Errorf("budget[%d] %q %w", i, text, err)
		case b.Currency != "" && p.PerCall == 0:
			return nil, fmt.Errorf("budget[%d] %q needs the highest cost of a call", i, text)
		case b.Currency != "" && b.Micros < p.PerCall:
			return nil, fmt.Errorf("budget[%d] %q is less than one call costs, %s: no call could ever be sent", i, text, perCall)
		case b.Currency != "" && currency != "" && b.Currency != currency:
			return nil, fmt.Errorf("budget[%d] %q is in another currency than %s", i, text, currency)
		}
		if b.Currency != "" {
			currency = b.Currency
		}
		p.Budgets = append(p.Budgets, b)
	}
	h := fnv.New64a()
	fmt.Fprintf(h, "%q %q %d", limits, budgets, p.PerCall)
	for _, pace := range paces {
		fmt.Fprintf(h, " %q %d", pace.Place, pace.Keep)
	}
	p.name = strconv.FormatUint(h.Sum64(), 36)
	return p, nil
}

// Name identifies the plan: a plan with other entries has another name.
func (p *Plan) Name() string { return p.name }

// Adaptive reports whether a rate error lowers the plan's rate.
func (p *Plan) Adaptive() bool {
	return p != nil && slices.ContainsFunc(p.Limits, func(l Limit) bool { return l.Adaptive })
}

// Money reports whether the plan counts money, so that costs must be reconciled.
func (p *Plan) Money() bool {
	return p != nil && slices.ContainsFunc(p.Budgets, func(b Budget) bool { return b.Currency != "" })
}

// Args returns the plan as arguments of the scripts, with the windows around now; see
// lua/limits.lua.
func (p *Plan) Args(now time.Time) []any {
	if p == nil {
		return []any{"", 0}
	}
	if c := p.cache.Load(); c != nil && now.Before(c.until) {
		return c.args
	}
	c := &cached{until: now.Add(time.Second), args: []any{p.name, len(p.Limits) + len(p.Budgets) + len(p.Paces)}}
	for _, l := range p.Limits {
		switch {
		case l.Adaptive:
			c.args = append(c.args, "adaptive", "adaptive", l.Text, AdaptiveStart, 0, 0, 0, 0, 0)
		case l.paced():
			c.args = append(c.args, "rate", l.key(), l.Text, strconv.FormatFloat(l.interval(), 'f', 3, 64), max(l.Burst, 1), 0, 0, 0, 0)
		default:
			c.args = append(c.args, "window", l.key(), l.Text, l.Count, 1)
			c.add(l.Per, l.Reset, now)
		}
	}
	for _, b := range p.Budgets {
		if b.Currency == "" {
			c.args = append(c.args, "calls", b.key(), b.Text, b.Calls, 1)
		} else {
			c.args = append(c.args, "money", b.key(), b.Text, b.Micros, p.PerCall)
		}
		c.add(b.Per, nil, now)
	}
	for i, pace := range p.Paces {
		c.args = append(c.args, "pace", pace.key(i), pace.text(), pace.Keep, 0, 0, 0, 0, 0)
	}
	p.cache.Store(c)
	return c.args
}

// add adds the starts of four windows; now is in the second one.
func (c *cached) add(per Period, reset *Reset, now time.Time) {
	start := per.start(reset, now)
	for _, i := range []int{-1, 0, 1, 2} {
		c.args = append(c.args, per.shift(reset, start, i).UnixMilli())
	}
}

// paced reports whether the limit is a rate, whose calls are spread over its period. If
// not, it is a window, which can be used up at once.
func (l Limit) paced() bool {
	return l.Burst > 0 || l.Reset == nil && (l.Per.Unit == Second || l.Per.Unit == Minute)
}

// interval returns the time between two slots of a rate, in microseconds.
func (l Limit) interval() float64 {
	return float64(l.Per.nominal().Microseconds()) / float64(l.Count) * slack
}

// key names the limit's state in Redis. It does not contain the count, so that a limit
// that is raised or lowered keeps what was used.
func (l Limit) key() string {
	key := fmt.Sprintf("%d%s", l.Per.N, l.Per.Unit)
	switch {
	case l.Burst > 0:
		return fmt.Sprintf("%s burst %d", key, l.Burst)
	case l.Reset != nil:
		return fmt.Sprintf("%s %02d:%02d %s", key, l.Reset.Hour, l.Reset.Minute, l.Reset.Location)
	}
	return key
}

func (b Budget) key() string {
	what := b.Currency
	if what == "" {
		what = "calls"
	}
	return fmt.Sprintf("%s/%d%s", what, b.Per.N, b.Per.Unit)
}

// String returns the plan as it was written, for people.
func (p *Plan) String() string {
	if p == nil {
		return "none"
	}
	var parts []string
	for _, l := range p.Limits {
		parts = append(parts, l.Text)
	}
	for _, b := range p.Budgets {
		parts = append(parts, b.Text)
	}
	for _, pace := range p.Paces {
		parts = append(parts, pace.text())
	}
	return strings.Join(parts, ", ")
}
