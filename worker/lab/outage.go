package lab

import (
	"math/bits"
	"slices"
	"time"

	"github.com/seed-2903acc3/callq/policy"
)

const (
	// holdOutage is the policy's hold for an API that fails too often.
	holdOutage = "outage"
	// mostFaultWait is the longest wait for the next probe after one with a fault.
	mostFaultWait = 5 * time.Second
	// mostRefused is how many calls that were refused a circuit remembers.
	mostRefused = 64
	// A probe is chosen among the first calls and some from the rest of the queue.
	firstCandidates, otherCandidates = 32, 16
)

var outage = policy.Circuit{Effect: policy.EffectCount, Scope: policy.ScopeAccount, Hold: holdOutage, After: 1}

// fault is a transient fault that the probe of an outage met, as reportOutage of package
// worker judges it.
func (s *sim) fault(c *circuit, by *call, o policy.Outcome, d policy.Decision, epoch int) effect {
	suspect := !by.failedAt.IsZero() && by.failedAt.Before(s.goodAt)
	due := c.probedAt.Sub(c.from) >= s.upToRung(c.rung)
	if due && !suspect {
		s.refuse(c, by, o, d, outage, true, epoch)
		return effect{wait: time.Second}
	}
	c.failed++
	c.epoch++
	c.note(by, true)
	c.until = s.now.Add(max(mostFaultWait, d.LeastWait))
	if due || suspect || d.Action != policy.ActionRetry && !d.Exhausted {
		return effect{wait: time.Second}
	}
	return effect{open: true, probe: true, wait: c.until.Sub(s.now)}
}

// upToRung is how long an outage is held in all up to the end of a rung.
func (s *sim) upToRung(rung int) (sum time.Duration) {
	hold, _ := s.cfg.Policy.Hold(holdOutage)
	ladder := hold.Ladder
	if len(ladder) == 0 {
		ladder = []time.Duration{time.Minute}
	}
	for i := range rung {
		sum += ladder[min(i, len(ladder)-1)]
	}
	return sum
}

// note remembers a call that was refused, or whose failure spent an attempt.
func (c *circuit) note(by *call, spent bool) {
	c.refused = append(slices.DeleteFunc(c.refused, func(other *call) bool { return other == by }), by)
	c.refused = c.refused[max(len(c.refused)-mostRefused, 0):]
	c.spent = spent
}

// choose returns the index of the waiting call that is the next probe, as chooseProbe of
// package worker does.
func (c *circuit) choose(pending []*call) int {
	var candidates, fresh []int
	for i := range min(len(pending), firstCandidates) {
		candidates = append(candidates, i)
	}
	for i := 1; i <= otherCandidates && len(pending) > firstCandidates; i++ {
		candidates = append(candidates, firstCandidates-1+((len(pending)-firstCandidates)*i+otherCandidates-1)/otherCandidates)
	}
	last := len(c.refused) - 1
	tries := c.spent && c.failed >= 2 && bits.OnesCount(uint(c.failed)) == 1
	tried, triedAge, oldest, oldestAge := -1, 0, 0, mostRefused
	for _, i := range candidates {
		one := pending[i]
		age := slices.Index(c.refused, one)
		if age < oldestAge {
			oldest, oldestAge = i, age
		}
		if age < 0 {
			fresh = append(fresh, i)
		}
		if tries && age != last && one.attempts > 0 &&
			(tried < 0 || one.attempts > pending[tried].attempts || one.attempts == pending[tried].attempts && age > triedAge) {
			tried, triedAge = i, age
		}
	}
	switch {
	case tried >= 0:
		return tried
	case len(fresh) == 0:
		return oldest
	case c.failed < 2:
		return fresh[0]
	}
	return fresh[c.failed*7919%len(fresh)]
}
