package batchreport

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/seed-2903acc3/callq/worker/circuit"
	"github.com/seed-2903acc3/callq/worker/jsonform"
)

// maxHolds is how many holds a report has: the longest ones.
const maxHolds = 200

// timeOf returns when the batch ran, and the part of each hold in which its calls were open.
func (c *collector) timeOf(holds map[string][]circuit.Hold) Time {
	t := Time{FirstRequestAt: c.first, LastRequestAt: c.last, ByReason: []HeldFor{}, Holds: []Hold{}}
	var open, refused spans
	reasons := map[[2]string]*HeldFor{}
	for _, upstream := range sortedKeys(holds) {
		for _, one := range c.open[upstream].list {
			open.add(one.from, one.to)
		}
		for _, h := range holds[upstream] {
			one := c.holdOf(upstream, h)
			if one.Seconds == 0 {
				continue
			}
			t.Holds = append(t.Holds, one)
			key := [2]string{upstream, h.Reason}
			if reasons[key] == nil {
				reasons[key] = &HeldFor{Upstream: upstream, Reason: h.Reason}
			}
			reasons[key].Holds++
			reasons[key].Seconds = millis(reasons[key].Seconds + one.Seconds)
			if h.Circuit.Endpoint == "" && h.Rule == "" {
				c.addHeld(&refused, upstream, c.spanOf(h))
			}
		}
	}
	held := refused.length().Seconds()
	for upstream, list := range holds {
		held += c.limited(upstream, list, &refused)
	}
	t.Seconds = seconds(open.length())
	t.Held = min(millis(held), t.Seconds)
	t.ByReason = sorted(reasons, func(a, b HeldFor) int {
		return cmp.Or(cmp.Compare(b.Seconds, a.Seconds), cmp.Compare(a.Upstream, b.Upstream), cmp.Compare(a.Reason, b.Reason))
	})
	if len(t.Holds) > maxHolds {
		t.LeftOut = len(t.Holds) - maxHolds
		slices.SortStableFunc(t.Holds, func(a, b Hold) int { return cmp.Compare(b.Seconds, a.Seconds) })
		t.Holds = t.Holds[:maxHolds]
	}
	slices.SortStableFunc(t.Holds, func(a, b Hold) int { return a.From.Compare(b.From) })
	return t
}

// seconds returns a duration in seconds, to the millisecond.
func seconds(d time.Duration) float64 { return d.Round(time.Millisecond).Seconds() }

// millis rounds seconds to milliseconds.
func millis(s float64) float64 { return math.Round(s*1000) / 1000 }

// spanOf returns the time of a hold, until now if it goes on.
func (c *collector) spanOf(h circuit.Hold) span {
	if h.To.IsZero() {
		return span{h.From, c.now}
	}
	return span{h.From, h.To}
}

// addHeld adds the parts of a hold in which calls were open.
func (c *collector) addHeld(to *spans, upstream string, hold span) {
	for _, open := range c.open[upstream].list {
		both := open.and(hold)
		to.add(both.from, both.to)
	}
}

// limited returns for how many seconds limits held the account while calls were open and
// nothing else held it.
func (c *collector) limited(upstream string, holds []circuit.Hold, refused *spans) (total float64) {
	for _, h := range holds {
		if h.Rule == "" {
			continue
		}
		var alone spans
		c.addHeld(&alone, upstream, c.spanOf(h))
		both := time.Duration(0)
		for _, one := range alone.list {
			both += refused.within(one)
		}
		total += (alone.length() - both).Seconds() * c.shareOf(h)
	}
	return total
}

// shareOf returns in which part of a hold calls were held: a limit allows a call now and
// then.
func (c *collector) shareOf(h circuit.Hold) float64 {
	length := c.spanOf(h).length()
	if length <= 0 {
		return 0
	}
	return min(float64(h.Held)/float64(length), 1)
}

func (c *collector) holdOf(upstream string, h circuit.Hold) Hold {
	open := c.open[upstream].within(c.spanOf(h))
	return Hold{
		Circuit: h.Circuit.String(), From: h.From, To: h.To, Seconds: seconds(time.Duration(float64(open) * c.shareOf(h))), Reason: h.Reason,
		Class: h.Class, Code: jsonform.Code(h.Code), Why: cmp.Or(h.Rule, h.Note, h.Message), CorrelationID: h.CorrelationID, Who: h.Who,
		FailedProbes: h.FailedProbes,
	}
}

// unknown says in sentences what the numbers do not contain.
func (c *collector) unknown(report *Report, holds map[string][]circuit.Hold) []string {
	list := []string{}
	say := func(format string, args ...any) { list = append(list, fmt.Sprintf(format, args...)) }
	if n := report.Calls.Forgotten; n > 0 {
		say("%d calls were forgotten after the retention: only their number is known.", n)
	}
	if c.maybe > 0 {
		say("Workers ended before they recorded what they did: at most %d more requests may have been sent.", c.maybe)
	}
	if c.incomplete > 0 {
		say("%d calls were made by an earlier version of callq, which did not keep all of their attempts: more requests were sent for them.", c.incomplete)
	}
	for _, upstream := range sortedKeys(holds) {
		ended := slices.DeleteFunc(slices.Clone(holds[upstream]), func(h circuit.Hold) bool { return h.To.IsZero() })
		if len(ended) >= circuit.HoldsKept && ended[0].From.After(report.CreatedAt) {
			say("Holds of %s before %s are not known: Redis keeps the last %d of each upstream.", upstream, ended[0].From.Format("2006-01-02 15:04:05 UTC"), circuit.HoldsKept)
		}
	}
	if report.CreatedAt.Before(report.MadeAt.Add(-circuit.HoldsKeptFor)) {
		say("Redis keeps holds for %d days after the last one: older ones may be missing.", int(circuit.HoldsKeptFor.Hours()/24))
	}
	return list
}

func sortedKeys[V any](all map[string]V) []string { return slices.Sorted(maps.Keys(all)) }
