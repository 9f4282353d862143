// Package replay judges recorded attempts by another policy and says what would have
// changed. Its interface may change. Like [policy] it is pure: it opens no socket and
// reads no clock. It knows neither queues nor files.
//
//	r := replay.New(p)
//	for _, call := range recorded {
//		r.Add(call)
//	}
//	report := r.Report()
//	// report.Ends has the ends that differ, report.Saved the requests that would not be made
//
// What an API would have answered to a request that was never made is not known. So the
// replay of a call ends where the policy sends it again although it had ended. Answers
// come at the recorded times, whatever the policy waits.
//
// A record has what the policy of then looked at. If a rule of the other policy looks at
// something else, such as another place of the body, that attempt is in doubt: the report
// counts its call as uncertain, and says which rule looks at what.
package replay

import (
	"time"

	"github.com/seed-2903acc3/callq/policy"
)

// Call is a recorded call.
type Call struct {
	// Upstream and Key name it.
	Upstream, Key string
	// Method and Endpoint are as a policy sees them, see [policy.Attempt].
	Method, Endpoint string
	// Idempotent and Conditional are for attempts without About.
	Idempotent, Conditional bool
	// Job reports that Go code made the call: the record has all that it returned.
	Job     bool
	FirstAt time.Time
	// Attempts are those that were recorded, the oldest first.
	Attempts []Attempt
	// Parked reports that the call was put back at least once.
	Parked bool
	// End is how the call ended, and Amount what it cost by the API's words; empty if
	// the API did not say.
	End    End
	Amount string
	// Last is the answer to the last attempt, as far as it was kept beside the attempt;
	// nil if it was not. MaybeCut reports that it is not known whether its body was cut.
	Last     *policy.Response
	MaybeCut bool
}

// Attempt is a recorded attempt.
type Attempt struct {
	At      time.Time
	Latency time.Duration
	// N is its number; a park has the number that it would have had.
	N int
	// Action is what the policy decided, Class and Rule why.
	Action policy.Action
	// Carried is what was done. It differs from Action where the call was the probe of a
	// circuit, where its circuit ended it, or where its deadline passed.
	Carried policy.Action
	Class   policy.Class
	Rule    string
	// Answer is what came back.
	Answer policy.Outcome
	// About is what a policy knew of the call; nil if it was not recorded.
	About *policy.Attempt
	// Looked and Partial say what of the answer was recorded, see [policy.Kept].
	Looked  string
	Partial bool
	// FromEnd reports that Action is taken from how the call ended: the decision itself is
	// not recorded.
	FromEnd bool
	// Asked reports that the request asked for the effect of another: no policy decides
	// on its answer.
	Asked bool
	// Held is for how long the answer held its account, or its endpoint.
	Held         time.Duration
	HeldEndpoint bool
}

// received returns when the answer arrived.
func (a *Attempt) received() time.Time { return a.At.Add(a.Latency) }

// End is how a call ends. State is Again if the policy sends it again although its record
// ends there.
type End struct {
	State string `json:"state"`
	Class string `json:"class,omitempty"`
	Rule  string `json:"rule,omitempty"`
}

// The states of an End.
const (
	Done    = "done"
	Dead    = "dead"
	Dropped = "dropped"
	Again   = "again"
)

// Replay judges calls by a policy. It is not safe for concurrent use.
type Replay struct {
	policy  *policy.Policy
	report  Report
	ends    map[change]*Difference
	perhaps map[change]*Difference
	judged  map[change]*Difference
	doubts  map[policy.Doubt]int
	seen    map[string]bool
	looked  map[string]bool
	holds   []holding
	was     map[circuitName][]span
	money   money
}

// New returns a Replay by the policy p.
func New(p *policy.Policy) *Replay {
	return &Replay{
		policy: p, ends: map[change]*Difference{}, perhaps: map[change]*Difference{}, judged: map[change]*Difference{},
		doubts: map[policy.Doubt]int{}, seen: map[string]bool{}, looked: map[string]bool{}, was: map[circuitName][]span{},
	}
}

// Add judges the attempts of one call.
func (r *Replay) Add(c Call) {
	r.report.Calls++
	r.money.add(&r.money.recorded, c.Amount)
	if len(c.Attempts) == 0 {
		r.report.NotJudged++
		return
	}
	r.noteHolds(&c)
	for i := range c.Attempts {
		if !c.Attempts[i].Asked {
			r.report.Requests++
		}
	}
	end, at, certain := r.walk(&c)
	switch {
	case !certain:
		r.report.Uncertain++
		if end != c.End {
			note(r.perhaps, change{c.End, end}, c.Key)
		}
		return
	case at == len(c.Attempts)-1 && end == c.End:
		return
	}
	// Requests after the one that ends the call are saved.
	for _, a := range c.Attempts[min(at+1, len(c.Attempts)):] {
		if !a.Asked {
			r.report.Saved++
		}
	}
	switch {
	case end.State == Again:
		r.report.Added++
		r.money.add(&r.money.again, c.Amount)
	case at < len(c.Attempts)-1:
		r.money.add(&r.money.saved, c.Amount)
	}
	if end != c.End {
		note(r.ends, change{c.End, end}, c.Key)
	}
}

// walk judges the attempts until the call ends by the policy. It returns the end, and the
// number of the last attempt that would be made. An attempt in doubt keeps its decision;
// then the end is not certain.
func (r *Replay) walk(c *Call) (end End, at int, certain bool) {
	n := max(c.Attempts[0].N-1, 0)
	certain = true
	for i := range c.Attempts {
		a := &c.Attempts[i]
		if a.Asked {
			continue
		}
		last := i == len(c.Attempts)-1
		d, v := r.decide(c, a, n+1, last)
		if v == inDoubt {
			certain = false
		}
		if v != isJudged {
			if a.Carried != policy.ActionPark {
				n++
			}
			continue
		}
		if last && a.FromEnd && c.Parked && d.Action == policy.ActionPark && d.Class == a.Class && d.Rule == a.Rule {
			d.Action = a.Action // its circuit ended it
		}
		now := End{State: stateOf(d.Action), Class: string(d.Class), Rule: d.Rule}
		before := End{State: stateOf(a.Action), Class: string(a.Class), Rule: a.Rule}
		same := d.Action == a.Action && d.Class == a.Class && d.Rule == a.Rule
		if !same {
			note(r.judged, change{named(a.Action, before), named(d.Action, now)}, c.Key)
		}
		spends := d.Action
		if d.Action == a.Action {
			spends = a.Carried
		}
		if spends != policy.ActionPark {
			n++
		}
		switch {
		case same: // what was done then is done
		case !goesOn(d.Action):
			return now, i, certain
		case last && !goesOn(a.Action):
			return now, i, certain
		}
	}
	return c.End, len(c.Attempts) - 1, certain
}

// verdict says whether a policy can judge a recorded attempt.
type verdict int

const (
	isJudged verdict = iota
	// inDoubt: the decision may be another one if the record had more of the answer.
	inDoubt
	// notJudged: the record does not say what came back.
	notJudged
)

// decide judges one attempt.
func (r *Replay) decide(c *Call, a *Attempt, n int, last bool) (policy.Decision, verdict) {
	o := a.Answer
	if o.Transport == policy.TransportNone && o.Status == 0 && o.Code == "" && o.Message == "" {
		r.report.Unjudgeable++
		return policy.Decision{}, notJudged
	}
	o.ReceivedAt = a.received()
	about := policy.Attempt{Idempotent: c.Idempotent, Conditional: c.Conditional}
	if !c.FirstAt.IsZero() {
		about.Age = max(o.ReceivedAt.Sub(c.FirstAt), 0)
	}
	if a.About != nil {
		about = *a.About
	}
	about.Method, about.Endpoint, about.N = c.Method, c.Endpoint, n
	recorded := policy.Recorded{
		Outcome: o, Looked: a.Looked, Partial: a.Partial, Returned: c.Job, Succeeded: a.Action == policy.ActionSucceed,
	}
	if last && c.Last != nil && o.Transport == policy.TransportNone {
		recorded.Answer, recorded.MaybeCut = answerOf(*c.Last, o), c.MaybeCut
	}
	r.noteSeen(a)
	d, doubts := policy.DecideRecorded(r.policy, recorded, about)
	switch {
	case len(doubts) == 0:
		r.noteCircuit(c, a, o, d)
		if a.Partial {
			r.report.Partly++
		}
		return d, isJudged
	case recorded.Succeeded && recorded.Answer == nil:
		r.report.Unjudgeable++ // of an answer that went well only the status is left
		return d, notJudged
	}
	for _, doubt := range doubts {
		r.doubts[doubt]++
	}
	return d, inDoubt
}

// noteSeen notes which places the records have.
func (r *Replay) noteSeen(a *Attempt) {
	for at := range a.Answer.Found {
		r.seen[at] = true
	}
	for name := range a.Answer.Header {
		r.seen["header "+lower(name)] = true
	}
	r.looked[a.Looked] = true
}

// answerOf is the answer with the headers that only the attempt kept.
func answerOf(last policy.Response, kept policy.Outcome) *policy.Response {
	header := last.Header.Clone()
	for name, values := range kept.Header {
		if header == nil {
			header = map[string][]string{}
		}
		header[name] = values
	}
	last.Header = header
	last.Cut = last.Cut || kept.Body == policy.BodyCut
	return &last
}

func goesOn(a policy.Action) bool { return a == policy.ActionRetry || a == policy.ActionPark }

func stateOf(a policy.Action) string {
	switch a {
	case policy.ActionSucceed:
		return Done
	case policy.ActionDrop:
		return Dropped
	case policy.ActionDeadLetter:
		return Dead
	default:
		return Again
	}
}

// named is the end with the action as its state, for what is said of one attempt.
func named(a policy.Action, e End) End {
	e.State = string(a)
	return e
}
