package lab

import (
	"time"

	"github.com/seed-2903acc3/callq/policy"
)

// mostRateWait is the longest wait of an error that lowers an adaptive rate.
const mostRateWait = time.Minute

// faultLadder is how long a circuit waits for the next probe after one with a fault.
var faultLadder = []time.Duration{time.Second, 2 * time.Second, mostFaultWait}

// circuit is the record of one circuit, as lua/report.lua of package circuit changes it.
type circuit struct {
	open                         bool
	epoch                        int
	until, from                  time.Time
	hold                         string
	rung, failed, streak, faults int
	// probe is the call that tests the circuit, since probedAt.
	probe    *call
	probedAt time.Time
	// refused are the calls that were refused since the last good answer, the latest
	// last; spent reports that its refusal spent an attempt.
	refused []*call
	spent   bool
	held    time.Duration
}

// effect is what a report did.
type effect struct {
	open, probe, ends bool
	wait              time.Duration
}

// heldUntil is for how long the circuit was open up to now.
func (c *circuit) heldUntil(now time.Time) time.Duration {
	if c.open {
		return c.held + now.Sub(c.from)
	}
	return c.held
}

// ended notes the hold that ends now.
func (c *circuit) ended(s *sim) {
	c.held += s.now.Sub(c.from)
	s.report.Holds = append(s.report.Holds, Hold{c.from.Sub(s.cfg.Start), s.now.Sub(s.cfg.Start), c.hold})
}

// judge reports an answer to the circuits and to the breaker.
func (s *sim) judge(c *call, o policy.Outcome, d policy.Decision, epochs [2]int) (e effect) {
	e.wait = time.Second
	faulty := d.Circuit.Effect == policy.EffectCount && d.Class != policy.ClassUnknown
	for i, scope := range []policy.Scope{policy.ScopeAccount, policy.ScopeEndpoint} {
		circuit := s.circuits[scope]
		probe := circuit.probe == c
		if probe {
			circuit.probe = nil
		}
		switch {
		case d.Circuit.Effect == policy.EffectOpen && d.Circuit.Scope == scope && probe && circuit.counts(d.Circuit):
			circuit.note(c, true)
			circuit.failed++
			circuit.fault(s.now, 0)
		case d.Circuit.Effect == policy.EffectOpen && d.Circuit.Scope == scope:
			e = s.refuse(circuit, c, o, d, d.Circuit, probe, epochs[i])
		case d.Circuit.Effect == policy.EffectOpen && scope == policy.ScopeEndpoint: // it was not asked
		case faulty && probe && circuit.hold == holdOutage:
			e = s.fault(circuit, c, o, d, epochs[i])
		case faulty:
			if o.Transport == policy.TransportNone {
				circuit.streak = 0
			}
			if probe {
				circuit.fault(s.now, d.LeastWait)
			}
		case probe:
			circuit.ended(s)
			*circuit = closed(circuit)
		case !circuit.open && circuit.epoch == epochs[i]:
			circuit.streak, circuit.refused = 0, nil
		}
	}
	if d.Circuit.Success {
		s.goodAt = s.now
	}
	account := s.circuits[policy.ScopeAccount]
	if s.breaker.count(s.now, s.cfg.Policy.Breaker(), d) && !account.open {
		s.refuse(account, c, o, d, outage, false, account.epoch)
	}
	return e
}

// fault postpones the next probe after one that says nothing about the account.
func (c *circuit) fault(now time.Time, least time.Duration) {
	c.faults++
	wait := faultLadder[min(c.faults, len(faultLadder))-1]
	if least > 0 {
		wait = least
	}
	c.until = now.Add(wait)
}

// counts counts an error that the probe met, if the hold is for another one, and reports
// whether it says nothing yet: only several in a row open the circuit.
func (c *circuit) counts(effectOf policy.Circuit) bool {
	if effectOf.After <= 1 || c.hold == effectOf.Hold {
		return false
	}
	c.streak++
	return c.streak < effectOf.After
}

// closed is the circuit after a good answer to its probe.
func closed(c *circuit) circuit { return circuit{epoch: c.epoch + 1, held: c.held} }

// refuse reports an error that is the circuit's own.
func (s *sim) refuse(c *circuit, by *call, o policy.Outcome, d policy.Decision, effectOf policy.Circuit, probe bool, epoch int) effect {
	hold, _ := s.cfg.Policy.Hold(effectOf.Hold)
	end, source := hold.Until(o, s.now, 0, nil)
	saidByServer := source != policy.SourceLadder && source != policy.SourceCalendar
	adaptive := s.limits.adaptive() && effectOf.Scope == policy.ScopeAccount &&
		d.Class == policy.ClassQuota && end.Sub(s.now) <= mostRateWait
	until := func(rung int) time.Time {
		at, _ := hold.Until(o, s.now, rung-1, s.random.Int64N)
		if !adaptive {
			return at
		}
		slot := s.limits.cut(s.now)
		switch {
		case saidByServer:
			return later(at, slot)
		case rung <= 1:
			return slot
		}
		at, _ = hold.Until(o, s.now, rung-2, s.random.Int64N)
		return at
	}
	switch {
	case probe:
		if c.hold != effectOf.Hold {
			c.rung, c.failed = 0, 0
		}
		c.faults = 0
		c.note(by, effectOf.Effect == policy.EffectCount)
		c.rung, c.failed, c.hold, c.until = c.rung+1, c.failed+1, effectOf.Hold, until(c.rung+1)
		if most := s.now.Add(max(mostFaultWait, d.LeastWait)); effectOf == outage && !saidByServer && c.until.After(most) {
			c.until = most
		}
		c.epoch++
		c.streak = 0
		ends := effectOf.MaxProbes > 0 && c.failed >= effectOf.MaxProbes
		return effect{open: true, probe: true, ends: ends, wait: c.until.Sub(s.now)}
	case !c.open && epoch == c.epoch:
		c.note(by, effectOf.Effect == policy.EffectCount)
		if c.streak++; c.streak < max(effectOf.After, 1) {
			return effect{wait: time.Second}
		}
		*c = circuit{open: true, epoch: c.epoch + 1, from: s.now, until: until(1), hold: effectOf.Hold, rung: 1, refused: c.refused, spent: c.spent, held: c.held}
	case c.open && saidByServer && s.now.Before(c.until):
		at, _ := hold.Until(o, s.now, 0, s.random.Int64N)
		c.until = later(c.until, at)
	}
	return effect{open: c.open, wait: max(c.until.Sub(s.now), time.Second)}
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// breaker detects an outage over a rolling window of ten slices.
type breaker struct {
	good, bad [10]int
	slice     int64
}

// count counts an answer and reports whether it reveals an outage.
func (b *breaker) count(now time.Time, detector policy.Breaker, d policy.Decision) (outage bool) {
	failed := d.Circuit.Effect == policy.EffectCount
	if !failed && !d.Circuit.Success || detector.MinCalls <= 0 || detector.Window <= 0 {
		return false
	}
	slice := now.UnixNano() / max(int64(detector.Window)/10, 1)
	for n := min(slice-b.slice, 10); n > 0; n-- {
		b.good[(slice-n+1)%10], b.bad[(slice-n+1)%10] = 0, 0
	}
	b.slice = slice
	if failed {
		b.bad[slice%10]++
	} else {
		b.good[slice%10]++
	}
	good, bad := 0, 0
	for i := range b.good {
		good, bad = good+b.good[i], bad+b.bad[i]
	}
	if !failed || good+bad < detector.MinCalls || float64(bad) < detector.Ratio*float64(good+bad) {
		return false
	}
	*b = breaker{slice: slice}
	return true
}
