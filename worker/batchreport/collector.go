package batchreport

import (
	"cmp"
	"slices"
	"time"

	"github.com/seed-2903acc3/callq/internal/decimal"
	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/ledger"
	"github.com/seed-2903acc3/callq/worker/jsonform"
)

const (
	// maxKinds, maxCauses and maxAsked bound how many different ones are counted apart: an
	// API can invent codes and rules can be many. The rest is counted together.
	maxKinds, maxCauses, maxAsked = 500, 500, 200
	// maxPerCall is the number of requests from which calls are counted together.
	maxPerCall = 12
	// examples is how many calls of a cause are shown.
	examples = 3
	// steps is how many steps the timeline has.
	steps = 96
)

// collector adds up the calls of a batch, one at a time.
type collector struct {
	now time.Time
	// from is when the timeline begins, step how long one step is.
	from time.Time
	step time.Duration

	calls     Calls
	upstreams map[string]*Upstream
	money     map[string]*moneySums
	asked     map[askedKey]*Asked
	kinds     map[kindKey]*Kind
	answers   map[Answer]int64
	uses      map[Use]int64
	perCall   [maxPerCall + 1]int64
	maybe     int64
	// incomplete is how many calls have requests that no record counts.
	incomplete int64
	causes     *causes
	timeline   [steps]Step
	open       map[string]*spans
	// first and last are when the first and the last request was sent, as far as logs say.
	first, last time.Time
}

type askedKey struct{ upstream, endpoint string }

type kindKey struct {
	use                          Use
	class, rule, code, transport string
	status                       int
}

// moneySums are the sums of one upstream.
type moneySums struct {
	billed, results decimal.Sum
	answers         int64
	// requests is how many a budget counts: a redirect is a part of its request.
	requests int64
}

// newCollector returns a collector whose timeline goes from a time to another one.
func newCollector(now, from, to time.Time) *collector {
	return &collector{
		now: now, from: from, step: max(to.Sub(from)/steps+1, time.Millisecond),
		upstreams: map[string]*Upstream{}, money: map[string]*moneySums{}, asked: map[askedKey]*Asked{}, kinds: map[kindKey]*Kind{},
		answers: map[Answer]int64{}, uses: map[Use]int64{}, causes: newCauses(), open: map[string]*spans{},
	}
}

// add counts one call.
func (c *collector) add(r ledger.Record) {
	if r.State == "" {
		return // it was claimed and never accepted, or has been forgotten
	}
	upstream := tasks.UpstreamOf(r.Queue)
	u := c.upstreams[upstream]
	if u == nil {
		u = &Upstream{Name: upstream}
		c.upstreams[upstream], c.money[upstream], c.open[upstream] = u, &moneySums{}, &spans{}
	}
	u.Calls++
	before := u.Requests
	c.addState(&r, u)
	c.addOpen(&r, c.open[upstream])
	for i := range r.Log {
		amount := ""
		if i == len(r.Log)-1 && r.Ending != nil {
			amount = r.Ending.Amount // the last line is about the answer that ended the call
		}
		c.addLine(&r, r.Log[i], amount, u)
	}
	for _, counted := range r.Earlier.Requests {
		c.addRequests(&r, counted, true, u)
	}
	sent := u.Requests - before
	c.perCall[min(sent, maxPerCall)]++
	c.maybe += int64(r.Earlier.Maybe)
	if incomplete(&r) {
		c.incomplete++
	}
	if r.State == ledger.Dead || r.State == ledger.Dropped {
		c.causes.add(&r, sent)
	}
}

// addState counts the call by its state.
func (c *collector) addState(r *ledger.Record, u *Upstream) {
	c.calls.Accepted++
	c.calls.PutBack += int64(r.Parked)
	if r.Generation > 1 {
		c.calls.Redriven++
	}
	if !r.State.Ended() {
		c.calls.Open++
		return
	}
	e := r.Ending
	if e == nil {
		e = &ledger.Ending{} // another program removed it
	}
	key := askedKey{u.Name, e.Endpoint}
	if c.asked[key] == nil && len(c.asked) >= maxAsked {
		key = askedKey{u.Name, others}
	}
	asked := c.asked[key]
	if asked == nil {
		asked = &Asked{Upstream: u.Name, Endpoint: key.endpoint}
		c.asked[key] = asked
	}
	asked.Calls++
	step := c.stepAt(r.EndedAt)
	switch r.State {
	case ledger.Done:
		c.calls.Done++
		asked.Done++
		step.Done++
		u.Results++
		if e.Verified {
			c.calls.Verified++
		}
	case ledger.Dead:
		c.calls.Dead++
		asked.Dead++
		step.Dead++
	case ledger.Dropped:
		c.calls.Dropped++
		asked.Dropped++
		step.Dropped++
	case ledger.Cancelled:
		c.calls.Cancelled++
		asked.Cancelled++
		step.Cancelled++
	}
}

// others is in the place of a name where the rest is counted together.
const others = "(others)"

// stepAt returns the step of the timeline at a time.
func (c *collector) stepAt(at time.Time) *Step {
	i := int(at.Sub(c.from) / c.step)
	return &c.timeline[min(max(i, 0), steps-1)]
}

// addOpen adds the times in which the call was open.
func (c *collector) addOpen(r *ledger.Record, open *spans) {
	from := r.AcceptedAt
	for _, f := range r.Lineage {
		open.add(from, f.Ending.FinishedAt)
		if from = f.RedrivenAt; from.IsZero() {
			from = f.Ending.FinishedAt // it is not known when it was redriven
		}
	}
	to := r.EndedAt
	if !r.State.Ended() {
		to = c.now
	}
	open.add(from, to)
}

// addLine counts the requests of one line of the log.
func (c *collector) addLine(r *ledger.Record, a ledger.Attempt, amount string, u *Upstream) {
	counted := a.Counted(amount)
	if counted.Requests == 0 {
		return
	}
	if c.first.IsZero() || a.At.Before(c.first) {
		c.first = a.At
	}
	if a.At.After(c.last) {
		c.last = a.At
	}
	switch c.addRequests(r, counted, false, u) {
	case UseRefused:
		c.stepAt(a.At).Refused++
	case UseRetried:
		c.stepAt(a.At).Retried++
	}
}

// addRequests counts requests with the same answer. earlier reports that they are not in
// the log. It returns their use.
func (c *collector) addRequests(r *ledger.Record, counted ledger.Counted, earlier bool, u *Upstream) Use {
	n, redirects := int64(counted.Requests), int64(counted.Redirects)
	use := useOf(counted, earlier)
	u.Requests += n
	money := c.money[u.Name]
	money.requests += n - redirects
	money.answers += int64(counted.Priced)
	money.billed.Add(counted.Amount)
	if use == UseResult {
		money.results.Add(counted.Amount)
	}
	if redirects > 0 {
		c.count(r, kindKey{use: UseRedirect}, redirects)
		c.answers[Answer{Without: "redirect"}] += redirects
	}
	if n -= redirects; n == 0 {
		return use
	}
	c.count(r, kindKey{use, counted.Class, counted.Rule, counted.Code, counted.Transport, counted.Status}, n)
	answer := Answer{HTTPStatus: counted.Status, Without: counted.Transport}
	if answer.Without != "" {
		answer.HTTPStatus = 0
	} else if answer.HTTPStatus == 0 {
		answer.Without = "other"
	}
	c.answers[answer] += n
	return use
}

// count counts requests by use and cause.
func (c *collector) count(r *ledger.Record, key kindKey, n int64) {
	c.uses[key.use] += n
	if c.kinds[key] == nil && len(c.kinds) >= maxKinds {
		key = kindKey{use: key.use, class: others}
	}
	kind := c.kinds[key]
	if kind == nil {
		kind = &Kind{
			Use: key.use, Class: key.class, Rule: key.rule, HTTPStatus: key.status, Code: jsonform.Code(key.code),
			Transport: key.transport, Key: r.Key,
		}
		c.kinds[key] = kind
	}
	kind.Requests += n
	kind.Key = min(kind.Key, r.Key) // the same in each report
}

// useOf returns what requests were good for.
func useOf(counted ledger.Counted, earlier bool) Use {
	switch counted.Action {
	case "succeed":
		if earlier {
			return UseRepeated
		}
		return UseResult
	case "park":
		if slices.Contains(accountClasses, counted.Class) {
			return UseRefused
		}
		return UseRetried
	case "retry":
		return UseRetried
	case ledger.ActionReplay:
		return UseReplayed
	case "verify":
		if counted.Rule == "verify" {
			return UseAsked
		}
		return UseUnclear
	default:
		return UseFailed
	}
}

// accountClasses are the classes of errors that are about the account.
var accountClasses = []string{"quota", "auth", "balance", "config"}

// incomplete reports whether the record lacks requests: a version of callq that did not
// count them removed a part of its log.
func incomplete(r *ledger.Record) bool {
	if r.Purged && !r.Earlier.Whole {
		return true
	}
	if slices.ContainsFunc(r.Lineage, func(f ledger.Former) bool { return f.RedrivenAt.IsZero() }) {
		return true
	}
	return len(r.Log) > 0 && r.Log[0].N > 1 && len(r.Earlier.Requests) == 0
}

// fill writes the sums into a report.
func (c *collector) fill(report *Report) {
	report.Calls = c.calls
	report.Upstreams = sorted(c.upstreams, func(a, b Upstream) int { return cmp.Or(cmp.Compare(b.Calls, a.Calls), cmp.Compare(a.Name, b.Name)) })
	report.Asked = sorted(c.asked, func(a, b Asked) int {
		return cmp.Or(cmp.Compare(b.Calls, a.Calls), cmp.Compare(a.Upstream, b.Upstream), cmp.Compare(a.Endpoint, b.Endpoint))
	})
	q := &report.Requests
	*q = Requests{Results: c.uses[UseResult], MaybeSent: c.maybe, ByUse: []UseCount{}, ByAnswer: []Answer{}, PerCall: []PerCall{}}
	for _, use := range uses {
		q.Sent += c.uses[use]
		if n := c.uses[use]; n > 0 {
			q.ByUse = append(q.ByUse, UseCount{use, n})
		}
	}
	q.Wasted = q.Sent - q.Results
	if c.calls.Done > 0 {
		q.PerResult = float64(q.Sent) / float64(c.calls.Done)
	}
	for answer, n := range c.answers {
		answer.Requests = n
		q.ByAnswer = append(q.ByAnswer, answer)
	}
	slices.SortFunc(q.ByAnswer, func(a, b Answer) int {
		return cmp.Or(cmp.Compare(b.Requests, a.Requests), a.HTTPStatus-b.HTTPStatus, cmp.Compare(a.Without, b.Without))
	})
	q.Kinds = sorted(c.kinds, compareKinds)
	for n, calls := range c.perCall {
		if calls > 0 {
			q.PerCall = append(q.PerCall, PerCall{n, n == maxPerCall, calls})
		}
	}
	report.Timeline = Timeline{From: c.from, Step: c.step.Seconds(), Steps: c.timeline[:]}
}

func compareKinds(a, b Kind) int {
	return cmp.Or(cmp.Compare(b.Requests, a.Requests), cmp.Compare(a.Use, b.Use), cmp.Compare(a.Class, b.Class), cmp.Compare(a.Rule, b.Rule),
		a.HTTPStatus-b.HTTPStatus, cmp.Compare(a.Code, b.Code), cmp.Compare(a.Transport, b.Transport))
}

// sorted returns the values of a map in order; never nil.
func sorted[K comparable, V any](all map[K]*V, compare func(a, b V) int) []V {
	list := make([]V, 0, len(all))
	for _, one := range all {
		list = append(list, *one)
	}
	slices.SortFunc(list, compare)
	return list
}
