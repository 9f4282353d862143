package filerun

import (
	"time"

	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/worker"
	"github.com/seed-2903acc3/callq/worker/waiting"
)

// Event is an event of a run. The types below are in the order in which they occur. Later
// versions may add types.
type Event interface{ event() }

// Planned reports the content of the input. It is the first event.
type Planned struct {
	// Calls is the number of different calls, Refused the number of lines that are not
	// calls. Refusals are the errors of the first 20 of those.
	Calls, Refused int
	Refusals       []*tasks.FieldError
}

// RedriveUnknown reports that Redis was unavailable, so Run could not find out whether
// failed calls were redriven after the results file was written. No call is open, and the
// run succeeds.
type RedriveUnknown struct{ Err error }

// Redriven reports that calls with a failure in the results file were redriven later. They
// end in this run.
type Redriven struct{ Calls int }

// APIUnrecorded reports results of an earlier version of callq, which did not record the
// base URL. They are treated as results of BaseURL.
type APIUnrecorded struct{ Upstream, BaseURL string }

// ResultsRestored reports that results of another base URL were copied from Redis to the
// results file, which had none. An [InputError] follows.
type ResultsRestored struct{ Results int }

// ResultsReplaced reports that the results of calls to make again were moved to File.
type ResultsReplaced struct {
	Results int
	File    string
}

// DoubtfulRepeated reports that calls are made again that the API may have carried out
// already: they ended as outcome_unknown.
type DoubtfulRepeated struct{ Calls int }

// Started reports that the run starts to make calls.
type Started struct {
	// Calls is the number of calls of the input. Ended of them have a result of a
	// previous run.
	Calls, Ended int
	Continue     Continue
}

// Continue says how a run that did not finish can be continued.
type Continue string

// The ways to continue.
const (
	ContinueFromResults Continue = "results" // a run with the same Out continues where this one ended
	ContinueFromRedis   Continue = "redis"   // a run of the same input starts with the results in Redis
	ContinueNot         Continue = "not"     // a run of the same input starts from the beginning
)

// ProbeRequested reports that a previous run left a circuit open that only a person can
// close. One call tests whether the account works again.
type ProbeRequested struct {
	Circuit string
	Why     string // the answer of the API at that time
}

// UnderWayElsewhere reports that other processes hold calls of the same upstreams. If one
// of them was killed, its calls are put back within a minute.
type UnderWayElsewhere struct{ Calls int }

// KnownResults reports that Redis already had results, so that their calls are not made.
type KnownResults struct {
	Results int
	// Bodiless is the number of results whose bodies were freed from Redis after an
	// earlier results file or export contained them.
	Bodiless int
	// Resumed reports that a previous run has written some results. Most likely it was
	// killed before it wrote these.
	Resumed bool
}

// Progress reports the progress of the run, several times a second.
type Progress struct {
	// Calls is the number of calls of the input, Ended of those that have ended, Written
	// of those with a result in Out. NotMade of the ended calls were not made by this run.
	Calls, Ended, Written, NotMade int
	// Dead, Dropped and Cancelled count the results by state.
	Dead, Dropped, Cancelled int
}

// Waiting reports every second why calls wait, in a few words, such as "held until
// 19:53:10 (quota)". Brief is empty if calls are being made.
type Waiting struct{ Brief string }

// CircuitChange is a change of the circuit of an account or an endpoint.
type CircuitChange string

// The changes.
const (
	CircuitHeld    CircuitChange = CircuitChange(waiting.ChangeHeld)    // a circuit opened: no call starts before Until
	CircuitSpent   CircuitChange = CircuitChange(waiting.ChangeSpent)   // a limit or a budget is used up until Until
	CircuitPaced   CircuitChange = CircuitChange(waiting.ChangePaced)   // a slow rate allows calls one by one, the next at Until
	CircuitFlowing CircuitChange = CircuitChange(waiting.ChangeFlowing) // calls start again
)

// CircuitChanged reports that the calls of an account or an endpoint are held, or start
// again.
type CircuitChanged struct {
	Change  CircuitChange
	Circuit string
	Until   time.Time
	// Reason is the reason of the hold, such as "quota", Why the text of the API or an
	// operator, and Rule the limit or budget, such as "limit 5000/day".
	Reason, Why, Rule string
	// Waiting is the number of calls that wait for it; 0 if unknown.
	Waiting int64
}

// CallsWait reports why calls have been waiting for a while.
type CallsWait struct {
	// Kind is the kind of the reason, such as "paused" or "concurrency".
	Kind string
	// Name is the upstream or the circuit; empty means all.
	Name  string
	Calls int64 // 0 if unknown
	// Over reports that the calls no longer wait for this reason.
	Over bool
	// Text is a sentence with the cause, its beginning, its end and what to do.
	Text string
}

// Stalled reports that no call has ended for a while because attempts fail and are
// retried.
type Stalled struct {
	// For is the time since the first failed attempt, Attempts the number of failed
	// attempts.
	For      time.Duration
	Attempts int
	// Last is the last of these attempts.
	Last worker.AttemptResult
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
