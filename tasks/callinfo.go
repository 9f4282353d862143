package tasks

import (
	"time"

	"github.com/seed-2903acc3/callq/tasks/ledger"
)

// CallInfo is the state of one call in the queue.
type CallInfo struct {
	// Result is the call's line of a results file. For an open call it has what is
	// known so far, with State [StateOpen].
	Result Result
	// Call is the call itself; nil if it was purged or cannot be read.
	Call *Call
	// Queue is the queue that the call waits in, or waited in.
	Queue string
	// Generation begins at 1 and grows each time the call is redriven.
	Generation int
	AcceptedAt time.Time
	// Endpoint is the endpoint that the call counts for, once it has ended.
	Endpoint string
	// Transport is the transport error, if no answer came.
	Transport string
	// Group is the group of dead letters that the call belongs to, empty if none.
	Group string
	// Purged reports that the call's content was removed.
	Purged bool
	// MaybeSent reports that the call may have been sent, and that its answer is not
	// known yet.
	MaybeSent bool
	// Attempts are the latest ones of this generation, at most 20, the oldest first.
	// They include parks, which spend no attempt.
	Attempts []AttemptInfo
	// Former are the earlier endings of a redriven call, the oldest first.
	Former []FormerEnding
}

// AttemptInfo is one send of a call, or one decision not to send it.
type AttemptInfo struct {
	// At is when the request was sent, or when the decision was made.
	At time.Time
	// Number counts attempts from 1; a park has the number that it would have had.
	Number int
	// Decision is what the policy decided: succeed, retry, park, dead_letter, drop.
	Decision    string
	Class, Rule string
	// HTTPStatus is 0 if no answer came; Transport then has the error.
	HTTPStatus           int
	ErrorCode, Transport string
	CorrelationID        string
	// Message is the beginning of the API's error message, for an attempt that failed.
	Message string
	// Latency is the time from send to answer.
	Latency time.Duration
}

// FormerEnding is how a call ended before it was redriven.
type FormerEnding struct {
	Generation               int
	State                    State
	Class                    string
	ErrorCode, CorrelationID string
	Attempts                 int
	FinishedAt               time.Time
}

// CanRedrive returns why the call cannot be redriven in its present state: [ErrOpen],
// [ErrDone] or [ErrPurged]; nil if it can.
func (c CallInfo) CanRedrive() error {
	switch {
	case c.Purged:
		return ErrPurged
	case c.Result.State == StateOpen:
		return ErrOpen
	case c.Result.State == StateDone:
		return ErrDone
	}
	return nil
}

// CanPurge returns why the call cannot be purged in its present state: [ErrPurged] or
// [ErrNotDead]; nil if it can.
func (c CallInfo) CanPurge() error {
	switch {
	case c.Purged:
		return ErrPurged
	case c.Result.State != StateDead:
		return ErrNotDead
	}
	return nil
}

func callInfoOf(r ledger.Record) CallInfo {
	info := CallInfo{
		Result: resultOf(r), Queue: r.Queue, Generation: r.Generation, AcceptedAt: r.AcceptedAt, Group: r.Group,
		Purged: r.Purged, MaybeSent: r.State == ledger.Open && r.Sent > 0,
	}
	if c, err := callOf(&r); err == nil {
		info.Call = &c
	}
	if e := r.Ending; e != nil {
		info.Endpoint, info.Transport = e.Endpoint, e.Transport
	}
	for _, a := range r.Log {
		info.Attempts = append(info.Attempts, AttemptInfo{
			At: a.At, Number: a.N, Decision: a.Action, Class: a.Class, Rule: a.Rule, HTTPStatus: a.Status, ErrorCode: a.Code,
			Transport: a.Transport, CorrelationID: a.CorrelationID, Message: a.Message, Latency: time.Duration(a.Latency) * time.Millisecond,
		})
	}
	for _, f := range r.Lineage {
		e := f.Ending
		info.Former = append(info.Former, FormerEnding{
			Generation: f.Generation, State: State(f.State), Class: e.Class, ErrorCode: e.Code, CorrelationID: e.CorrelationID,
			Attempts: e.Attempts, FinishedAt: e.FinishedAt,
		})
	}
	return info
}
