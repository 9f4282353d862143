package limit

import (
	"math"
	"time"
)

// nominal returns the length of a period; a month counts as 30 days.
func (p Period) nominal() time.Duration {
	day := 24 * time.Hour
	unit := map[Unit]time.Duration{Second: time.Second, Minute: time.Minute, Hour: time.Hour, Day: day, Week: 7 * day, Month: 30 * day}[p.Unit]
	return time.Duration(p.N) * unit
}

// epochYear is the year from which windows are counted, for periods of several units. Its
// first day is a Monday.
const epochYear = 2001

// clock returns the time of day and the zone at which windows begin.
func (r *Reset) clock() (hour, minute int, zone *time.Location) {
	if r == nil {
		return 0, 0, time.UTC
	}
	return r.Hour, r.Minute, r.Location
}

// start returns the start of the window that contains t.
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

// shift returns the start of the i-th window after the one that begins at start.
func (p Period) shift(r *Reset, start time.Time, i int) time.Time {
	for ; i < 0; i++ {
		start = p.start(r, start.Add(-time.Nanosecond))
	}
	for ; i > 0; i-- {
		// A month has at most 31 days, and a day on which clocks are set back has 25 hours.
		end := start.Add(p.nominal() * 32 / 30).Add(2 * time.Hour)
		next := p.start(r, end)
		for prev := p.start(r, next.Add(-time.Nanosecond)); prev.After(start); prev = p.start(r, next.Add(-time.Nanosecond)) {
			next = prev
		}
		start = next
	}
	return start
}

// turn returns the start of the n-th window after the epoch. Windows of days, weeks and
// months begin at their time of day by the zone's clock, whatever the length of the day;
// hours and shorter units have a fixed length.
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

// Duration returns how long n calls take under the plan if nothing else delays them, from
// the given time on and with nothing used; 0 if no limit delays them. For budgets of money
// each call costs PerCall.
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
			// The end is exact, except for very many windows, where it does not matter.
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
