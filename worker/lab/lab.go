// Package lab runs a policy against a simulated API on a simulated clock: hours of calls in
// seconds, without Redis and without sockets. It may change in any version.
//
// What decides is the real code: [policy.Policy] reads and judges every answer,
// [simapi.Server] gives them by its script, and [limit.Plan] says what a limit is. Modelled
// are, by the rules of the scripts that do it for the fleet:
//
//   - the queue: first in, first out; a parked call goes back to its head; a retry comes
//     back on a whole second, as in asynq, and goes ahead of every second waiting call
//   - the circuit of the account: opening after N, the ladder, the time that the server
//     gave, which call is the probe, faults of the probe, max_probes for the probe itself,
//     and the breaker for outages
//   - rates, windows and the adaptive rate; a slot is reserved up to half a second ahead
//   - workers, each with one call at a time; attempts and the age of a call without the
//     time that it was held
//
// Not modelled are: pace, budgets, priorities, credentials, verify, other endpoints (an
// endpoint's hold is its own circuit for the only endpoint), a call's own fault, several
// processes, and the time that callq itself takes.
package lab

import (
	"cmp"
	"container/heap"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/worker/limit"
	"github.com/seed-2903acc3/callq/worker/simapi"
)

// Config describes a simulation.
type Config struct {
	Policy *policy.Policy
	// API names a simulated API; empty is the default one. Script is what it answers; nil:
	// success.
	API    string
	Script *simapi.Script
	// Calls is how many calls there are, Workers how many are made at once.
	Calls, Workers int
	// Path is the calls' path, in which {n} is the number of the call. Defaults to "/{n}".
	Path string
	// Limits are those of an upstream.
	Limits []string
	// Latency is how long an answer takes, besides what the script says. Timeout ends a
	// call. They default to 100 ms and 30 s.
	Latency, Timeout time.Duration
	Seed             uint64
	// Start is when the simulation begins, for calendars and windows.
	Start time.Time
}

// Longest is when a simulation ends even if calls are open.
const Longest = 31 * 24 * time.Hour

// End is how calls end.
type End struct {
	State string `json:"state"`
	Class string `json:"class"`
	Rule  string `json:"rule"`
}

// Report is what happened.
type Report struct {
	Calls int
	// Sent counts requests, Refused those that were parked, Retried those that will be
	// made again. Attempts are the sends that counted, of all calls that have ended.
	Sent, Refused, Retried, Attempts int
	// Open calls have not ended within [Longest].
	Open int
	// Took is the time until the last call ended, Held for how much of it the account, or
	// the endpoint, was held.
	Took, Held time.Duration
	Ends       map[End]int
	Holds      []Hold
	// Events are the requests in the order of their answers.
	Events []Event
}

// Hold is a stretch of time in which no call started but the probe at its end.
type Hold struct {
	From, To time.Duration
	Name     string
}

// Event is a request that was answered.
type Event struct {
	At      time.Duration
	Refused bool
	Ended   bool
}

type call struct {
	id              string
	n               int
	attempts, parks int
	first           time.Time
	heldBefore      time.Duration
	endpoint        string
	// failedAt is when an attempt failed first; passed reports that a retry has passed
	// the call.
	failedAt time.Time
	passed   bool
}

type event struct {
	at    time.Time
	order int
	do    func()
}

type events []event

func (e events) Len() int { return len(e) }
func (e events) Less(a, b int) bool {
	return cmp.Or(e[a].at.Compare(e[b].at), e[a].order-e[b].order) < 0
}
func (e events) Swap(a, b int) { e[a], e[b] = e[b], e[a] }
func (e *events) Push(v any)   { *e = append(*e, v.(event)) }
func (e *events) Pop() any {
	last := (*e)[len(*e)-1]
	*e = (*e)[:len(*e)-1]
	return last
}

type sim struct {
	cfg      Config
	now      time.Time
	order    int
	events   events
	pending  []*call
	idle     int
	wakeAt   time.Time
	api      *api
	limits   *limits
	circuits map[policy.Scope]*circuit
	breaker  breaker
	random   *rand.Rand
	goodAt   time.Time // of the last good answer
	lastDone time.Time
	report   Report
}

// Run simulates. It fails for a configuration that is not possible.
func Run(cfg Config) (Report, error) {
	if cfg.Policy == nil || cfg.Calls < 1 || cfg.Workers < 1 {
		return Report{}, errors.New("lab: needs a policy, a call and a worker")
	}
	cfg.Path = cmp.Or(cfg.Path, "/{n}")
	if !strings.HasPrefix(cfg.Path, "/") {
		return Report{}, fmt.Errorf("lab: the path %q must begin with /", cfg.Path)
	}
	cfg.Latency, cfg.Timeout = cmp.Or(cfg.Latency, 100*time.Millisecond), cmp.Or(cfg.Timeout, 30*time.Second)
	plan, err := limit.NewPlan(cfg.Limits, nil, "")
	if err != nil {
		return Report{}, err
	}
	s := &sim{
		cfg: cfg, now: cfg.Start, idle: cfg.Workers, limits: newLimits(plan), lastDone: cfg.Start,
		random:   rand.New(rand.NewPCG(cfg.Seed, 1)),
		circuits: map[policy.Scope]*circuit{policy.ScopeAccount: {}, policy.ScopeEndpoint: {}},
		report:   Report{Calls: cfg.Calls, Ends: map[End]int{}},
	}
	s.api = newAPI(s)
	defer s.api.close()
	for n := range cfg.Calls {
		s.pending = append(s.pending, &call{id: fmt.Sprintf("%d-%d", cfg.Seed, n), n: n + 1, endpoint: "GET " + strings.ReplaceAll(cfg.Path, "{n}", "*")})
	}
	s.report.Open = cfg.Calls
	s.dispatch()
	end := cfg.Start.Add(Longest)
	for len(s.events) > 0 && s.report.Open > 0 {
		next := heap.Pop(&s.events).(event)
		if next.at.After(end) {
			break
		}
		s.now = next.at
		next.do()
	}
	s.finish()
	return s.report, nil
}

func (s *sim) finish() {
	s.report.Took = s.lastDone.Sub(s.cfg.Start)
	for _, c := range s.circuits {
		if c.open {
			c.ended(s)
		}
	}
	slices.SortFunc(s.report.Holds, func(a, b Hold) int { return cmp.Compare(a.From, b.From) })
	var until time.Duration
	for _, h := range s.report.Holds {
		s.report.Held += max(h.To-max(h.From, until), 0)
		until = max(until, h.To)
	}
}

func (s *sim) at(when time.Time, do func()) {
	s.order++
	heap.Push(&s.events, event{when, s.order, do})
}

// wake dispatches again at a time, once.
func (s *sim) wake(when time.Time) {
	if s.wakeAt.After(s.now) && !when.Before(s.wakeAt) {
		return
	}
	s.wakeAt = when
	s.at(when, s.dispatch)
}

// dispatch starts calls while workers are idle and nothing holds the calls.
func (s *sim) dispatch() {
	for s.idle > 0 && len(s.pending) > 0 {
		var probed *circuit
		for _, scope := range []policy.Scope{policy.ScopeAccount, policy.ScopeEndpoint} {
			c := s.circuits[scope]
			switch {
			case !c.open:
			case s.now.Before(c.until):
				s.wake(c.until)
				return
			case c.probe != nil:
				return
			default:
				probed = c
			}
		}
		slot, wait := s.limits.peek(s.now)
		if wait > 0 {
			s.wake(s.now.Add(wait))
			return
		}
		s.limits.take(s.now, slot)
		i := 0
		if probed != nil {
			i = probed.choose(s.pending)
		}
		next := s.pending[i]
		s.pending = slices.Delete(s.pending, i, i+1)
		if probed != nil {
			probed.probe, probed.probedAt = next, s.now
		}
		s.idle--
		s.at(slot, func() { s.send(next) })
	}
}

// send sends a call, unless its account was held since its slot was reserved.
func (s *sim) send(c *call) {
	epochs := [2]int{}
	for i, scope := range []policy.Scope{policy.ScopeAccount, policy.ScopeEndpoint} {
		circuit := s.circuits[scope]
		if circuit.open && circuit.probe != c {
			s.idle++
			s.pending = append([]*call{c}, s.pending...)
			s.dispatch()
			return
		}
		epochs[i] = circuit.epoch
	}
	s.report.Sent++
	if c.first.IsZero() {
		c.first, c.heldBefore = s.now, s.circuits[policy.ScopeAccount].heldUntil(s.now)
	}
	outcome, took := s.api.answer(c)
	s.at(s.now.Add(took), func() { s.answered(c, outcome, epochs) })
}

// answered judges an answer and carries out the decision.
func (s *sim) answered(c *call, o policy.Outcome, epochs [2]int) {
	s.idle++
	o.ReceivedAt = s.now
	held := s.circuits[policy.ScopeAccount].heldUntil(s.now)
	d := s.cfg.Policy.Decide(o, policy.Attempt{
		Method: http.MethodGet, Endpoint: c.endpoint, Idempotent: true, N: c.attempts + 1,
		Age: max(s.now.Sub(c.first)-(held-c.heldBefore), 0),
	})
	effect := s.judge(c, o, d, epochs)
	switch {
	case effect.ends:
		d.Action = policy.ActionDeadLetter
	case effect.probe && d.Action != policy.ActionPark:
		d.Action, d.Exhausted = policy.ActionPark, false
	}
	e := Event{At: s.now.Sub(s.cfg.Start)}
	switch d.Action {
	case policy.ActionPark:
		c.parks++
		s.report.Refused++
		e.Refused = true
		if effect.open && d.Circuit.Scope == policy.ScopeAccount {
			s.pending = append([]*call{c}, s.pending...)
		} else {
			s.later(c, max(effect.wait, time.Second), s.last)
		}
	case policy.ActionRetry:
		s.report.Retried++
		delay := s.delay(c, d)
		if c.attempts++; c.failedAt.IsZero() {
			c.failedAt = s.now
		}
		s.later(c, delay, s.ahead)
	default:
		c.attempts++
		e.Ended = true
		s.report.Open--
		s.report.Attempts += c.attempts
		s.report.Ends[End{stateOf(d.Action), string(d.Class), d.Rule}]++
		s.lastDone = s.now
	}
	s.report.Events = append(s.report.Events, e)
	s.dispatch()
}

// delay is how long a call waits before it is retried.
func (s *sim) delay(c *call, d policy.Decision) time.Duration {
	jitter := policy.SeededJitter(c.id)
	backoff, _ := s.cfg.Policy.Backoff(d.Backoff)
	delay := backoff.Delay(c.attempts, jitter)
	if d.LeastWait > 0 {
		delay = max(delay, d.LeastWait+time.Duration(jitter(int64(500*time.Millisecond))))
	}
	return delay
}

// later puts a call back after a delay, at a place of the queue. Due times are whole
// seconds.
func (s *sim) later(c *call, delay time.Duration, place func() int) {
	due := s.now.Add(delay)
	if whole := due.Truncate(time.Second); whole.Before(due) {
		due = whole.Add(time.Second)
	}
	s.at(due, func() {
		s.pending = slices.Insert(s.pending, place(), c)
		s.dispatch()
	})
}

// last is the place at the end of the queue.
func (s *sim) last() int { return len(s.pending) }

// ahead is the place of a retry: in front of the next call that no retry has passed yet.
func (s *sim) ahead() int {
	front := true
	for i, c := range s.pending {
		front = front && c.parks > 0
		if c.attempts == 0 && !front && !c.passed {
			c.passed = true
			return i
		}
	}
	return len(s.pending)
}

func stateOf(a policy.Action) string {
	switch a {
	case policy.ActionSucceed:
		return "done"
	case policy.ActionDrop:
		return "dropped"
	default:
		return "dead"
	}
}
