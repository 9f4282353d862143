package worker

import (
	"fmt"
	"time"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/worker/notify"
)

// AttemptResult is the result of one attempt, for [Config.OnAttempt].
type AttemptResult struct {
	ID, Batch, Key, Upstream string
	// Action is what the policy decided; State is set when the call has ended.
	Action policy.Action
	State  string
	Class  policy.Class
	// Code is the API's error code, for logs; Message is the API's message, or why there is
	// none.
	Code, Message string

	// Status is the HTTP status; 0 where no answer came.
	Status int

	Attempts int
	Parked   int
	// MostAttempts and Next are set with a retry: how many attempts the call has in
	// all, and when the next one is due.
	MostAttempts int
	Next         time.Time
	// At is when it was recorded, Latency the time of the request.
	At      time.Time
	Latency time.Duration
}

// EventType is the type of an [Event]. The set is closed.
type EventType string

// The types of events.
const (
	EventBatchEnded    = EventType(notify.TypeBatchEnded)
	EventCircuitOpened = EventType(notify.TypeCircuitOpened)
	EventCircuitClosed = EventType(notify.TypeCircuitClosed)
	EventDeadGroup     = EventType(notify.TypeDeadGroup)
)

// Event is something that happened to the queue: [BatchEnded], [CircuitOpened],
// [CircuitClosed] or [DeadGroup].
type Event interface{ eventType() EventType }

// BatchEnded says that no call of a batch is open any more. A batch that gets more calls, or
// whose calls are redriven, ends again. The batch of calls without a batch never ends.
type BatchEnded struct {
	// ID is the same however often the event is reported, and in each webhook.
	ID string
	// At is when its last call ended.
	At    time.Time
	Batch string
	// Created is when its first call was accepted.
	Created time.Time
	// Accepted is how many calls it has; the others are how they ended.
	Accepted, Done, Dead, Dropped, Cancelled int64
}

// CircuitOpened says that no call of an account or of an endpoint is sent before Until. It is
// reported for holds of five seconds and more, once for each hold.
type CircuitOpened struct {
	ID string
	// At is when it opened.
	At time.Time
	// Circuit is its name: the upstream, or UPSTREAM~METHOD~/path. Endpoint is empty for the
	// circuit of an account.
	Circuit, Upstream, Endpoint string
	// Reason is the hold's, such as "quota"; Why is what the API or the operator said.
	Reason, Why string
	// Until is when the hold ends; one call finds out then whether the API works.
	Until time.Time
	// Waiting is how many calls wait; 0 for an endpoint.
	Waiting int64
}

// CircuitClosed says that the calls of an account or of an endpoint are sent again.
type CircuitClosed struct {
	ID string
	// At is when it closed, to the second.
	At                          time.Time
	Circuit, Upstream, Endpoint string
	// Opened is when it opened.
	Opened time.Time
}

// DeadGroup says that calls of an upstream have failed for good for a new cause. The same cause is
// reported once an hour at most.
type DeadGroup struct {
	ID string
	// At is when the first of them failed.
	At       time.Time
	Upstream string
	// Group is the name of the group of dead letters; see [tasks.DeadGroup].
	Group, Class string
	// Code is the API's error code; empty if there is none.
	Code, Endpoint string
	// Message is for end users, Advice for the operator.
	Message, Advice string
	// Count is how many there were when the event was made, Example the id of one.
	Count   int64
	Example string
}

func (BatchEnded) eventType() EventType    { return EventBatchEnded }
func (CircuitOpened) eventType() EventType { return EventCircuitOpened }
func (CircuitClosed) eventType() EventType { return EventCircuitClosed }
func (DeadGroup) eventType() EventType     { return EventDeadGroup }

// eventOf returns an event of package notify in the form for programs.
func eventOf(e notify.Event) (Event, error) {
	switch e := e.(type) {
	case notify.BatchEnded:
		return BatchEnded(e), nil
	case notify.CircuitOpened:
		return CircuitOpened(e), nil
	case notify.CircuitClosed:
		return CircuitClosed(e), nil
	case notify.DeadGroup:
		return DeadGroup(e), nil
	}
	return nil, fmt.Errorf("an event of type %T", e)
}

// Webhook is a receiver of events. Name, URL and, unless Slack is set, Secret are required.
//
// Each event is a POST request, signed as Standard Webhooks says
// (https://www.standardwebhooks.com): a receiver verifies the headers webhook-id,
// webhook-timestamp and webhook-signature with the secret and the body's bytes. Every event
// is delivered at least once, and with the same webhook-id each time; events arrive in the
// order in which they were found. Another event follows when the one before was delivered, or
// when it became a dead letter: after a day without an answer of the receiver, or if the
// receiver refused it with 3xx or 4xx. At most 10,000 events wait for a receiver; of more, the
// oldest are dropped.
type Webhook struct {
	// Name is 1 to 48 of a-z, 0-9, _ and -. Events wait for this name: as the upstream
	// notify.NAME, which no upstream of the configuration can have.
	Name string
	// URL is the address. It is read for each request. It does not get into Redis, logs or
	// records.
	URL Secret
	// Secret is whsec_ and 24 to 64 random bytes in base64; or two such secrets with a space
	// between, while one is replaced by the other. It is read for each request.
	Secret Secret
	// Events are what it gets. Defaults to all.
	Events []EventType
	// Slack reports that it is an incoming webhook of Slack: the body is {"text": …}.
	Slack bool
}

// receiver returns the webhook for package notify.
func (h Webhook) receiver() notify.Receiver {
	r := notify.Receiver{Name: h.Name, URL: h.URL, Secret: h.Secret, Format: notify.FormatJSON, Types: notify.Types}
	if h.Slack {
		r.Format = notify.FormatSlack
	}
	if h.Events != nil {
		r.Types = nil
		for _, t := range h.Events {
			r.Types = append(r.Types, notify.Type(t))
		}
	}
	return r
}
