package limit

import (
	"math"
	"time"
)

// nominal is how long a period is; a month counts as 30 days.
func (p Period) nominal() time.Duration {
	day := 24 * time.Hour
	unit := map[Unit]time.Duration{Second: time.Second, Minute: time.Minute, Hour: time.Hour, Day: day, Week: 7 * day, Month: 30 * day}[p.Unit]
	return time.Duration(p.N) * unit
}

// The epoch of all windows: a Monday, the first of its month and of a year, so
// that periods of many units have a place to be counted from.
const epochYear = 2001

// clock is the time of day and the zone in which windows turn.
func (r *Reset) clock() (hour, minute int, zone *time.Location) {
	if r == nil {
		return 0, 0, time.UTC
	}
	return r.Hour, r.Minute, r.Location
}

// start is the latest turn of the period that is not after t.
func (p Period) start(r *Reset, t time.Time) time.Time {
	hour, minute, zone := r.clock()
	epoch := time.Date(epochYear, 1, 1, hour, minute, 0, 0, zone)
	guess := int(t.Sub(epoch) / p.nominal())
	for p.turn(epoch, guess).After(t) {
		guess--
	}
	for !p.turn(epoch, guess+1).After(t) {
		guess++
	}
	return p.turn(epoch, guess)
}

// shift is the start of the i-th window after the one that begins at start.
func (p Period) shift(r *Reset, start time.Time, i int) time.Time {
	for ; i < 0; i++ {
		start = p.start(r, start.Add(-time.Nanosecond))
	}
	for ; i > 0; i-- {
		// A month is at most 31 days, and a day, where clocks are set back, 25 hours.
		end := start.Add(p.nominal() * 32 / 30).Add(2 * time.Hour)
		next := p.start(r, end)
		for prev := p.start(r, next.Add(-time.Nanosecond)); prev.After(start); prev = p.start(r, next.Add(-time.Nanosecond)) {
			next = prev
		}
		start = next
	}
	return start
}

// turn is the n-th turn of the period after the epoch. Days, weeks and months
// turn at their time of the day by the zone's clock, however long the day;
// hours and less are counted out.
func (p Period) turn(epoch time.Time, n int) time.Time {
	year, month, day := epoch.Date()
	hour, minute, _ := epoch.Clock()
	n *= p.N
	switch p.Unit {
	case Month:
		return time.Date(year, month+time.Month(n), day, hour, minute, 0, 0, epoch.Location())
	case Week:
		return time.Date(year, month, day+7*n, hour, minute, 0, 0, epoch.Location())
	case Day:
		return time.Date(year, month, day+n, hour, minute, 0, 0, epoch.Location())
	default:
		return epoch.Add(Period{N: n, Unit: p.Unit}.nominal())
	}
}

// Duration is how long n calls take under the plan when nothing else holds them
// up, beginning at the given time with nothing used; 0 where no limit says.
// Budgets of money count at the price of a call.
func (p *Plan) Duration(n int64, from time.Time) time.Duration {
	if p == nil || n < 1 {
		return 0
	}
	var longest time.Duration
	window := func(count int64, per Period, r *Reset) {
		if count < 1 {
			return
		}
		if turns := (n - 1) / count; turns > 0 {
			start := per.start(r, from)
			// The exact turn, but for very many, which nobody checks.
			end := start.Add(time.Duration(turns) * per.nominal())
			if turns <= 1000 {
				end = per.shift(r, start, int(turns))
			}
			longest = max(longest, end.Sub(from))
		}
	}
	for _, l := range p.Limits {
		switch {
		case l.Adaptive:
		case l.paced():
			if late := n - max(l.Burst, 1); late > 0 {
				longest = max(longest, time.Duration(math.Round(float64(late)*l.interval()))*time.Microsecond)
			}
		default:
			window(l.Count, l.Per, l.Reset)
		}
	}
	for _, b := range p.Budgets {
		if b.Currency == "" {
			window(b.Calls, b.Per, nil)
		} else {
			window(b.Micros/max(p.PerCall, 1), b.Per, nil)
		}
	}
	return longest
}
