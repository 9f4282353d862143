package overview

import (
	"cmp"
	"time"

	"github.com/seed-2903acc3/callq/worker/circuit"
	"github.com/seed-2903acc3/callq/worker/waiting"
)

// State is what happens to the calls of an account or an endpoint. The set is closed.
type State string

// The states.
const (
	// Flowing: calls are made.
	Flowing State = "flowing"
	// Paused: no call starts before Until.
	Paused State = "paused"
	// Testing: the hold is over, and one call tests whether the API works again.
	Testing State = "testing"
)

// Circuit is the circuit of an account or an endpoint.
type Circuit struct {
	// Name is NAME, or NAME~METHOD~/path for an endpoint.
	Name  string `json:"name"`
	State State  `json:"state"`
	// Reason is the reason of the hold: quota, rate, permission, credential, outage,
	// operator, limit or budget; empty while calls flow.
	Reason string `json:"reason,omitempty"`
	// Why says in words what the API answered, or what an operator gave as the reason; for a
	// limit or a budget it is the rule.
	Why string `json:"why,omitempty"`
	// Fault is the fault of the last probe, if it says nothing about the account.
	Fault string `json:"probe_fault,omitempty"`
	// Class, Code, Message and CorrelationID are those of the answer that opened it.
	Class         string `json:"class,omitempty"`
	Code          string `json:"error_code,omitempty"`
	Message       string `json:"error_message,omitempty"`
	CorrelationID string `json:"correlation_id,omitempty"`
	// Since is when it opened, Until when calls start again, or the next probe.
	Since time.Time `json:"since,omitzero"`
	Until time.Time `json:"until,omitzero"`
	// Who opened or closed it last.
	Who string `json:"who,omitempty"`
	// FailedProbes counts probes that failed in a row.
	FailedProbes int `json:"failed_probes,omitempty"`
	// Refused is true if it was opened by refusals of the API: it can be closed by a
	// person. A limit or a budget ends by itself, and closing resets its count.
	Refused bool `json:"refused,omitempty"`
}

// circuitOf describes a record. now is Redis's clock.
func circuitOf(r circuit.Record, now time.Time) Circuit {
	c := Circuit{Name: r.Name.String(), State: Flowing, Who: r.Who}
	switch {
	case r.State == circuit.Open:
		c.State, c.Reason, c.Since, c.Until, c.Refused = Paused, r.Reason, r.Since, r.Until, true
		c.Class, c.Code, c.Message, c.CorrelationID = r.Class, r.Code, r.Message, r.CorrelationID
		c.FailedProbes = r.Failed
		c.Why = cmp.Or(r.Note, r.Message)
		c.Fault = r.Fault
		if r.Probing || !now.Before(r.Until) {
			c.State = Testing
		}
		if now.Before(r.Limited) && r.Limited.After(r.Until) {
			c.State, c.Until = Paused, r.Limited
		}
	case now.Before(r.Limited) && (r.LimitTurns || r.Limited.Sub(now) >= time.Second):
		// A rate that allows its next call within a second is not a hold for people.
		c.State, c.Reason, c.Until, c.Why = Paused, waiting.LimitedBy(r), r.Limited, r.LimitedText
	}
	return c
}
