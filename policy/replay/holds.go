package replay

import (
	"slices"
	"strings"
	"time"

	"github.com/seed-2903acc3/callq/policy"
)

// circuitName is an account, or an endpoint of it.
type circuitName struct{ upstream, endpoint string }

// span is a stretch of time in which a circuit was open.
type span struct{ from, to time.Time }

// holding is an answer that a circuit heard of.
type holding struct {
	at      time.Time
	circuit circuitName
	answer  policy.Outcome
	effect  policy.Circuit
}

// noteHolds collects the recorded holds.
func (r *Replay) noteHolds(c *Call) {
	for i := range c.Attempts {
		a := &c.Attempts[i]
		if a.Held <= 0 {
			continue
		}
		name := circuitName{upstream: c.Upstream}
		if a.HeldEndpoint {
			name.endpoint = c.Endpoint
		}
		r.was[name] = append(r.was[name], span{a.received(), a.received().Add(a.Held)})
	}
}

// noteCircuit collects the answers that open a circuit by the policy, or close it.
func (r *Replay) noteCircuit(c *Call, a *Attempt, o policy.Outcome, d policy.Decision) {
	if d.Circuit.Effect != policy.EffectOpen && !d.Circuit.Success {
		return
	}
	name := circuitName{upstream: c.Upstream}
	if d.Circuit.Scope == policy.ScopeEndpoint {
		name.endpoint = c.Endpoint
	}
	h := holding{at: a.received(), circuit: name, effect: d.Circuit}
	if d.Circuit.Effect == policy.EffectOpen {
		h.answer = o
	}
	r.holds = append(r.holds, h)
}

// held returns for how long the recorded holds lasted, and those of the policy. Holds of
// the breaker and of pace are not modelled.
func (r *Replay) held() (was, now time.Duration) {
	for _, spans := range r.was {
		was += union(spans)
	}
	slices.SortStableFunc(r.holds, func(a, b holding) int { return a.at.Compare(b.at) })
	circuits := map[circuitName]*circuit{}
	for _, h := range r.holds {
		if h.effect.Success {
			for _, name := range []circuitName{{upstream: h.circuit.upstream}, h.circuit} {
				if c := circuits[name]; c != nil {
					c.rung, c.streak = 0, 0
				}
			}
			continue
		}
		c := circuits[h.circuit]
		if c == nil {
			c = &circuit{}
			circuits[h.circuit] = c
		}
		c.refused(r.policy, h)
	}
	for _, c := range circuits {
		now += union(c.spans)
	}
	return was, now
}

// circuit is a circuit of the model: the ladder, and the count of refusals in a row.
type circuit struct {
	rung, streak int
	until        time.Time
	spans        []span
}

func (c *circuit) refused(p *policy.Policy, h holding) {
	c.streak++
	if c.streak < h.effect.After {
		return
	}
	hold, _ := p.Hold(h.effect.Hold)
	until, source := hold.Until(h.answer, h.at, c.rung, nil)
	switch {
	case !h.at.Before(c.until): // a new hold: the next one in a row takes the next rung
		c.rung++
	case source == policy.SourceLadder || source == policy.SourceCalendar || !until.After(c.until):
		return // the answer to a request from before the hold
	}
	c.until = until
	c.spans = append(c.spans, span{h.at, until})
}

// union returns the time that the spans cover.
func union(spans []span) (total time.Duration) {
	slices.SortFunc(spans, func(a, b span) int { return a.from.Compare(b.from) })
	var until time.Time
	for _, s := range spans {
		if s.from.Before(until) {
			s.from = until
		}
		if s.to.After(s.from) {
			total += s.to.Sub(s.from)
			until = s.to
		}
	}
	return total
}

func lower(name string) string { return strings.ToLower(name) }
