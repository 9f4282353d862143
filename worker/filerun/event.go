package filerun

import (
	"time"

	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/worker"
	"github.com/seed-2903acc3/callq/worker/waiting"
)

// Event is what happens in a run, in the order of the types below. The set of types is
// closed, but later versions may add to it.
type Event interface{ event() }

// Planned tells what the input asks for. It is the first event.
type Planned struct {
	// Calls are the different calls, Refused the lines that are not calls; Refusals say
	// why, of the first 20 of those.
	Calls, Refused int
	Refusals       []*tasks.FieldError
}

// RedriveUnknown tells that Redis could not be asked whether failed calls were redriven
// since the results file was written. No call is open, and the run ends well.
type RedriveUnknown struct{ Err error }

// Redriven tells that calls which the results file has as failed were redriven since:
// they end in this run.
type Redriven struct{ Calls int }

// APIUnrecorded tells that an earlier version of callq made results which do not say
// with which base URL; they count for this one.
type APIUnrecorded struct{ Upstream, BaseURL string }

// ResultsRestored tells that the results file, which had none, got those that Redis has
// of another base URL. An [InputError] follows.
type ResultsRestored struct{ Results int }

// ResultsReplaced tells that results of calls that are made again were moved to File.
type ResultsReplaced struct {
	Results int
	File    string
}

// DoubtfulRepeated tells that calls are made again which may have been carried out
// already: they ended as outcome_unknown.
type DoubtfulRepeated struct{ Calls int }

// Started tells that the calls are made from now on.
type Started struct {
	// Calls are those of the plan; Ended of these have a result of a previous run.
	Calls, Ended int
	Continue     Continue
}

// Continue says how a run goes on that does not finish.
type Continue string

// The ways to go on.
const (
	ContinueFromResults Continue = "results" // a run with the same Out goes on where this one ended
	ContinueFromRedis   Continue = "redis"   // a run of the same input begins with the results that Redis has
	ContinueNot         Continue = "not"     // a run of the same input begins anew
)

// ProbeRequested tells that a previous run left a circuit open for a person: one call
// finds out whether the account works again.
type ProbeRequested struct {
	Circuit string
	Why     string // what the API said then
}

// UnderWayElsewhere tells that other processes hold calls of the same upstreams. If one
// of them was killed, its calls are taken up again within a minute.
type UnderWayElsewhere struct{ Calls int }

// KnownResults tells that Redis had results already, for which no call is made.
type KnownResults struct {
	Results int
	// Bodiless are how many of these and others had their bodies freed from Redis,
	// after an earlier results file or export had it.
	Bodiless int
	// Resumed reports that a previous run has written some results: most likely it was
	// killed before it wrote these.
	Resumed bool
}

// Progress tells how far the run is, several times a second.
type Progress struct {
	// Calls are those of the plan, Ended those with an ending, Written those with a
	// result in Out. NotMade of the ended ones were not made by this run.
	Calls, Ended, Written, NotMade int
	// Dead, Dropped and Cancelled are the states of those with a result.
	Dead, Dropped, Cancelled int
}

// Waiting tells what keeps calls from being made, in few words, as in "held until
// 19:53:10 (quota)"; it is empty where they are made. It is told every second.
type Waiting struct{ Brief string }

// CircuitChange says what has changed about an account or an endpoint.
type CircuitChange string

// The changes.
const (
	CircuitHeld    CircuitChange = CircuitChange(waiting.ChangeHeld)    // a circuit opened: no call starts before Until
	CircuitSpent   CircuitChange = CircuitChange(waiting.ChangeSpent)   // a limit or a budget is used up until Until
	CircuitPaced   CircuitChange = CircuitChange(waiting.ChangePaced)   // a slow rate allows calls one by one, the next at Until
	CircuitFlowing CircuitChange = CircuitChange(waiting.ChangeFlowing) // calls start again
)

// CircuitChanged tells that the calls of an account, or of an endpoint, are held back,
// or start again.
type CircuitChanged struct {
	Change  CircuitChange
	Circuit string
	Until   time.Time
	// Reason is the hold's, as "quota", and Why what the API or an operator said; Rule
	// is the limit or the budget, as "limit 5000/day".
	Reason, Why, Rule string
	// Waiting is how many calls wait behind it; 0 where that is not known.
	Waiting int64
}

// CallsWait tells why calls have waited for a while, and with Over that the reason has
// passed.
type CallsWait struct {
	// Kind is the kind of the reason, as "paused" or "concurrency".
	Kind string
	// Name is the upstream or the circuit; empty: all.
	Name  string
	Calls int64 // 0: not known
	Over  bool
	// Text is a sentence with the cause, since when, what ends it and what to do.
	Text string
}

// Stalled tells that no call has ended for a while, as attempts fail and are retried.
type Stalled struct {
	// For is since when, Attempts how many attempts have failed since.
	For      time.Duration
	Attempts int
	// Last is the last of these attempts.
	Last worker.Event
}

func (Planned) event()           {}
func (RedriveUnknown) event()    {}
func (Redriven) event()          {}
func (APIUnrecorded) event()     {}
func (ResultsRestored) event()   {}
func (ResultsReplaced) event()   {}
func (DoubtfulRepeated) event()  {}
func (Started) event()           {}
func (ProbeRequested) event()    {}
func (UnderWayElsewhere) event() {}
func (KnownResults) event()      {}
func (Progress) event()          {}
func (Waiting) event()           {}
func (CircuitChanged) event()    {}
func (CallsWait) event()         {}
func (Stalled) event()           {}
