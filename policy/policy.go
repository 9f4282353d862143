package policy

import (
	"slices"
	"time"

	"github.com/seed-2903acc3/callq/policy/place"
	"github.com/seed-2903acc3/callq/policy/yamlfile"
)

// Breaker says when a process's circuit breaker opens: at least MinCalls calls
// ended within Window, and the share of failures that count reached Ratio (above
// 0, at most 1).
type Breaker struct {
	Window   time.Duration
	MinCalls int
	Ratio    float64
}

// Policy is an ordered list of rules with the backoffs and holds that they
// name. Make one with [Preset], [Load], [LoadFile] or [Parse]; the zero value
// has no rules and dead-letters everything as unknown. A Policy never changes
// and may be used by any number of goroutines.
type Policy struct {
	name     string
	file     string
	breaker  Breaker
	backoffs map[string]Backoff
	holds    map[string]Hold
	rules    []rule
	upstream Upstream
	reading  reading
	paces    []pace
	// searchesSuccesses reports that a rule looks for a message in answers that are a
	// success by their status.
	searchesSuccesses bool
	// places are all places of the body that the policy names, and kept those whose
	// values an [Outcome] keeps.
	places *place.Set
	kept   []place.Place
	// namedHeaders are all headers that the policy names, by their canonical names, sorted.
	namedHeaders []string
	// looked stands for what the policy looks at, see [Kept.Looked]. keepsGood reports that a
	// record keeps something of a success too.
	looked    string
	keepsGood bool
}

// rule is one compiled rule.
type rule struct {
	id    string
	at    yamlfile.Pos
	match match
	// decision is the decision while there are attempts left. Decide clears
	// Refresh and Circuit.Success where they do not apply to an attempt.
	decision Decision
	// budget is the backoff that the rule names, if its action is retry.
	budget Backoff
	// backoffAt and holdAt are where the rule names them, for findings.
	backoffAt, holdAt yamlfile.Pos
}

// Name returns the policy's name, as its file says.
func (p *Policy) Name() string { return p.name }

// Breaker returns when a process's circuit breaker opens.
func (p *Policy) Breaker() Breaker { return p.breaker }

// Backoff looks up a backoff by the name that a [Decision] gives. Every policy
// has "standard" and "brief".
func (p *Policy) Backoff(name string) (Backoff, bool) {
	b, ok := p.backoffs[name]
	b.Sources = slices.Clone(b.Sources)
	return b, ok
}

// Hold looks up a hold by the name that a [Circuit] gives. Every policy has
// "quota", "rate", "permission", "credential" and "outage"; outage is for a
// circuit that a process's breaker opened.
func (p *Policy) Hold(name string) (Hold, bool) {
	h, ok := p.holds[name]
	if ok {
		h.Sources, h.Ladder = slices.Clone(h.Sources), slices.Clone(h.Ladder)
	}
	return h, ok
}

// Rules returns the ids of the rules, in the order in which they are tried.
func (p *Policy) Rules() []string {
	ids := make([]string, len(p.rules))
	for i := range p.rules {
		ids[i] = p.rules[i].id
	}
	return ids
}

// Decide returns what an outcome means for the call that was attempted and for
// the circuit. It is pure and total: every outcome has a decision, and equal
// values give equal decisions. The first rule that matches decides.
func (p *Policy) Decide(o Outcome, a Attempt) (d Decision) {
	in := newInput(&o, &a)
	for i := range p.rules {
		r := &p.rules[i]
		if r.match.miss(&in) != 0 {
			continue
		}
		d = r.decision
		d.Refresh = d.Refresh && a.CanRefresh
		d.Circuit.Success = d.Circuit.Success && in.answered
		if d.Action == ActionRetry {
			r.budget.spend(&d, &o, &a)
		}
		return d
	}
	return Decision{
		Class: ClassUnknown, Action: ActionDeadLetter, Circuit: Circuit{Effect: EffectNone, Scope: ScopeAccount},
		Message: ClassUnknown.Message(), Advice: "The policy has no rules: load one with policy.Preset or policy.Load.",
	}
}

// spend sets how long a retry waits at least. It turns the retry into a dead letter
// if the call's budget is used up or would be used up after that wait.
func (b *Backoff) spend(d *Decision, o *Outcome, a *Attempt) {
	if len(o.Header) > 0 || len(b.waits) > 0 {
		d.LeastWait = b.leastWait(o)
	}
	if max(a.N, 1) >= b.Attempts || saturatingAdd(max(a.Age, 0), d.LeastWait) > b.MaxAge {
		d.Action, d.Exhausted, d.Backoff = ActionDeadLetter, true, ""
	}
}
