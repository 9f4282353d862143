package filerun

import (
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"time"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/tasks"
)

// Summary counts the calls of a run by state. It is zero if Run returned before it had
// read the files of previous runs.
type Summary struct {
	// Batch is the name of the batch in Redis.
	Batch string
	// Calls is the number of different calls of the input: the sum of Done, Dead,
	// Dropped, Cancelled and Open.
	Calls, Done, Dead, Dropped, Cancelled, Open int
	// Resumed calls had a result of a previous run in Out. Known results were already in
	// Redis, so no call was made. Replaced results were moved out of Out.
	Resumed, Known, Replaced int
	// Refused is the number of lines that are not calls, Duplicates of lines with the same
	// call as an earlier line. Repeats are the first of those lines.
	Refused, Duplicates int
	Repeats             []Repeat
	// Failures are the causes of dead and dropped calls, the most frequent first.
	Failures []Failure
	Duration time.Duration
	Continue Continue
}

// Repeat is a line with the same call as the earlier line Of.
type Repeat struct{ Line, Of int }

// Failure is a cause of dead or dropped calls.
type Failure struct {
	Count int
	State tasks.State
	Class policy.Class
	// Code is the code of the API, a number or a string. HTTPStatus is set if Code is
	// empty.
	Code       json.Number
	HTTPStatus int
	// Message is for end users, Advice for the operator.
	Message, Advice string
	// Key and CorrelationID identify one of the calls.
	Key, CorrelationID string
}

// Tally counts results by state and failures by cause. The zero value is ready for use. It
// is not safe for concurrent use.
type Tally struct {
	states map[tasks.State]int
	causes map[causeKey]*Failure
}

// causeKey identifies the cause of a failure.
type causeKey struct {
	state             tasks.State
	class, code, rule string
	status            int
}

// Add counts one result.
func (t *Tally) Add(r tasks.Result) {
	if t.states == nil {
		t.states, t.causes = map[tasks.State]int{}, map[causeKey]*Failure{}
	}
	t.states[r.State]++
	if r.State != tasks.StateDead && r.State != tasks.StateDropped {
		return
	}
	k := causeKey{state: r.State, class: r.Class, code: string(r.ErrorCode), rule: r.Rule}
	if k.code == "" {
		k.status = r.HTTPStatus
	}
	f := t.causes[k]
	if f == nil {
		f = &Failure{
			State: r.State, Class: policy.Class(r.Class), Code: r.ErrorCode, HTTPStatus: k.status, Message: r.UserMessage, Advice: r.Advice,
			Key: r.Key, CorrelationID: r.CorrelationID,
		}
		t.causes[k] = f
	}
	f.Count++
}

// Count returns the number of results of a state.
func (t *Tally) Count(s tasks.State) int { return t.states[s] }

// Failures returns the causes, the most frequent first.
func (t *Tally) Failures() []Failure {
	var list []Failure
	for f := range maps.Values(t.causes) {
		list = append(list, *f)
	}
	slices.SortFunc(list, func(a, b Failure) int {
		return cmp.Or(b.Count-a.Count, cmp.Compare(a.State, b.State), cmp.Compare(a.Class, b.Class), cmp.Compare(a.Code, b.Code), a.HTTPStatus-b.HTTPStatus)
	})
	return list
}
