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

// Summary is what became of the calls. It is zero where Run returned before it knew what
// previous runs had left.
type Summary struct {
	// Batch is the name of the batch in Redis.
	Batch string
	// Calls are the different calls of the input: Done, Dead, Dropped, Cancelled and
	// Open together.
	Calls, Done, Dead, Dropped, Cancelled, Open int
	// Resumed calls had a result of a previous run in Out. Known results came from
	// Redis, without a call. Replaced results were moved out of Out.
	Resumed, Known, Replaced int
	// Refused lines are not calls. Duplicates are lines that are the same call as a
	// line before; Repeats are the first of them.
	Refused, Duplicates int
	Repeats             []Repeat
	// Failures are why calls are dead or dropped, the most frequent cause first.
	Failures []Failure
	Duration time.Duration
	Continue Continue
}

// Repeat is a line that is the same call as a line before it.
type Repeat struct{ Line, Of int }

// Failure is a cause for which calls are dead or dropped.
type Failure struct {
	Count int
	State tasks.State
	Class policy.Class
	// Code is the API's own, a number or a string; HTTPStatus is set where it is empty.
	Code       json.Number
	HTTPStatus int
	// Message is for end users, Advice for the operator.
	Message, Advice string
	// Key and CorrelationID are those of one of the calls.
	Key, CorrelationID string
}

// Tally counts how calls ended and why some failed. The zero value has counted nothing.
// It is not safe for concurrent use.
type Tally struct {
	states map[tasks.State]int
	causes map[causeKey]*Failure
}

// causeKey is what failures of one cause have in common.
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

// Count is how many results of a state were added.
func (t *Tally) Count(s tasks.State) int { return t.states[s] }

// Failures are the causes, the most frequent first.
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
