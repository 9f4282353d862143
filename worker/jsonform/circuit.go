package jsonform

import (
	"time"

	"github.com/seed-2903acc3/callq/worker/circuit"
	"github.com/seed-2903acc3/callq/worker/waiting"
)

// Circuit is a circuit. An account that a limit or a budget holds is also shown as open,
// but no probe follows.
type Circuit struct {
	Name          string     `json:"name" doc:"The upstream, or NAME~METHOD~/path for an endpoint."`
	Upstream      string     `json:"upstream"`
	Endpoint      string     `json:"endpoint" doc:"The endpoint, as METHOD /path; empty for an account."`
	State         string     `json:"state" enum:"closed,open"`
	Until         *time.Time `json:"until" doc:"When the hold ends. Then one call, the probe, is made."`
	Since         *time.Time `json:"since" doc:"When the hold began."`
	Reason        string     `json:"reason" doc:"Why it is open: quota, rate, permission, credential, outage, operator, limit, budget."`
	Limit         string     `json:"limit" doc:"The limit or the budget that holds, as it is written in callq.yaml."`
	Class         string     `json:"class" doc:"The class of the answer that opened it."`
	Code          Code       `json:"error_code" doc:"The error code of that answer: a number or a string as the API gave it; null if there is none."`
	Message       string     `json:"error_message"`
	CorrelationID string     `json:"correlation_id"`
	Who           string     `json:"who" doc:"The worker or the operator that opened or closed it last."`
	Note          string     `json:"note" doc:"The reason that an operator gave."`
	Epoch         int64      `json:"epoch" doc:"How often it opened or closed."`
	Rung          int        `json:"rung" doc:"How many holds in a row there were."`
	Streak        int        `json:"streak"`
	Failed        int        `json:"failed_probes" doc:"How many probes failed in a row."`
	Fault         string     `json:"probe_fault" doc:"The last probe's error, if it says nothing about the hold."`
	Probing       bool       `json:"probing" doc:"The probe is being made."`
	Waiting       int64      `json:"waiting" doc:"How many calls of the account wait."`

	// LimitBy and LimitUntil belong to Limit; LimitBy is empty if no limit holds.
	// LimitOnly reports that only a limit holds, and not the circuit itself.
	LimitBy    string    `json:"-"`
	LimitUntil time.Time `json:"-"`
	LimitOnly  bool      `json:"-"`
}

// CircuitOf returns the form of a circuit's record. now is the time by Redis's clock.
func CircuitOf(r circuit.Record, now time.Time) Circuit {
	at := func(t time.Time) *time.Time {
		if t.IsZero() {
			return nil
		}
		return &t
	}
	row := Circuit{
		Name: r.Name.String(), Upstream: r.Name.Upstream, Endpoint: r.Name.Endpoint, State: string(r.State),
		Who: r.Who, Note: r.Note, Epoch: r.Epoch, Streak: r.Streak, Waiting: r.Waiting,
	}
	if now.Before(r.Limited) {
		row.Limit, row.LimitBy, row.LimitUntil = r.LimitedText, waiting.LimitedBy(r), r.Limited
	}
	// The record of a closed circuit still has the fields of its last opening.
	switch {
	case r.State == circuit.Open:
		row.Until, row.Since, row.Reason, row.Class, row.Code = at(r.Until), at(r.Since), r.Reason, r.Class, Code(r.Code)
		row.Message, row.CorrelationID, row.Rung, row.Failed, row.Probing = r.Message, r.CorrelationID, r.Rung, r.Failed, r.Probing
		row.Fault = r.Fault
	case row.LimitBy != "":
		row.State, row.Until, row.Reason, row.LimitOnly = string(circuit.Open), at(r.Limited), row.LimitBy, true
	}
	return row
}
