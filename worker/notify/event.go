package notify

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// Type is the type of an event. The set is closed.
type Type string

// The types.
const (
	TypeBatchEnded    Type = "batch_ended"
	TypeCircuitOpened Type = "circuit_opened"
	TypeCircuitClosed Type = "circuit_closed"
	TypeDeadGroup     Type = "dead_group"
)

// Types are all types of events.
var Types = []Type{TypeBatchEnded, TypeCircuitOpened, TypeCircuitClosed, TypeDeadGroup}

// Event is one of the types below.
type Event interface {
	// describe returns the event's type, its id and when it happened.
	describe() (t Type, id string, at time.Time)
}

// BatchEnded says that no call of a batch is open any more. A batch that gets more calls, or
// whose calls are redriven, ends again.
type BatchEnded struct {
	// ID is the same however often the event is sent.
	ID string `json:"-"`
	// At is when its last call ended.
	At    time.Time `json:"-"`
	Batch string    `json:"batch"`
	// Created is when its first call was accepted.
	Created time.Time `json:"created"`
	// Accepted is how many calls it has; the others are how they ended.
	Accepted  int64 `json:"accepted"`
	Done      int64 `json:"done"`
	Dead      int64 `json:"dead"`
	Dropped   int64 `json:"dropped"`
	Cancelled int64 `json:"cancelled"`
}

// CircuitOpened says that no call of an account or of an endpoint is sent before Until.
type CircuitOpened struct {
	ID string `json:"-"`
	// At is when it opened.
	At time.Time `json:"-"`
	// Circuit is its name: the upstream, or UPSTREAM~METHOD~/path.
	Circuit  string `json:"circuit"`
	Upstream string `json:"upstream"`
	// Endpoint is empty for the circuit of an account.
	Endpoint string `json:"endpoint,omitempty"`
	// Reason is the hold's: quota, rate, permission, credential, outage or operator.
	Reason string `json:"reason"`
	// Why is what the API or the operator said.
	Why string `json:"why,omitempty"`
	// Until is when the hold ends; one call finds out then whether the API works.
	Until time.Time `json:"until"`
	// Waiting is how many calls wait; 0 for an endpoint.
	Waiting int64 `json:"waiting"`
}

// CircuitClosed says that the calls of an account or of an endpoint are sent again.
type CircuitClosed struct {
	ID string `json:"-"`
	// At is when it closed, to the second.
	At       time.Time `json:"-"`
	Circuit  string    `json:"circuit"`
	Upstream string    `json:"upstream"`
	Endpoint string    `json:"endpoint,omitempty"`
	// Opened is when it opened.
	Opened time.Time `json:"opened"`
}

// DeadGroup says that calls of an upstream have failed for good for a new cause.
type DeadGroup struct {
	ID string `json:"-"`
	// At is when the first of them failed.
	At       time.Time `json:"-"`
	Upstream string    `json:"upstream"`
	// Group is the name of the group of dead letters.
	Group string `json:"group"`
	Class string `json:"class"`
	// Code is the API's error code; empty if there is none.
	Code     string `json:"error_code,omitempty"`
	Endpoint string `json:"endpoint,omitempty"`
	// Message is for end users, Advice for the operator.
	Message string `json:"user_message,omitempty"`
	Advice  string `json:"advice,omitempty"`
	// Count is how many there were when the event was made, Example the id of one.
	Count   int64  `json:"count"`
	Example string `json:"example"`
}

func (e BatchEnded) describe() (Type, string, time.Time)    { return TypeBatchEnded, e.ID, e.At }
func (e CircuitOpened) describe() (Type, string, time.Time) { return TypeCircuitOpened, e.ID, e.At }
func (e CircuitClosed) describe() (Type, string, time.Time) { return TypeCircuitClosed, e.ID, e.At }
func (e DeadGroup) describe() (Type, string, time.Time)     { return TypeDeadGroup, e.ID, e.At }

// idOf returns the id of the event that its parts identify. It has no full stop, as Standard
// Webhooks asks.
func idOf(parts ...any) string {
	text, _ := json.Marshal(parts) // strings and numbers have no error
	sum := sha256.Sum256(text)
	return "msg_" + strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:16]))
}

// Message is an event as it is stored and as the arguments of a job.
type Message struct {
	ID        string          `json:"id"`
	Type      Type            `json:"type"`
	Timestamp time.Time       `json:"timestamp"`
	Data      json.RawMessage `json:"data"`
}

// Kind is the kind of the jobs that deliver messages.
func (Message) Kind() string { return "notify" }

// MessageOf returns an event as a message.
func MessageOf(e Event) (Message, error) {
	t, id, at := e.describe()
	data, err := json.Marshal(e)
	if err != nil {
		return Message{}, fmt.Errorf("encode a %s event: %w", t, err)
	}
	return Message{ID: id, Type: t, Timestamp: at.UTC(), Data: data}, nil
}

// Event returns the message as an event.
func (m Message) Event() (Event, error) {
	switch m.Type {
	case TypeBatchEnded:
		return decode(m, func(e *BatchEnded) { e.ID, e.At = m.ID, m.Timestamp })
	case TypeCircuitOpened:
		return decode(m, func(e *CircuitOpened) { e.ID, e.At = m.ID, m.Timestamp })
	case TypeCircuitClosed:
		return decode(m, func(e *CircuitClosed) { e.ID, e.At = m.ID, m.Timestamp })
	case TypeDeadGroup:
		return decode(m, func(e *DeadGroup) { e.ID, e.At = m.ID, m.Timestamp })
	}
	return nil, fmt.Errorf("an event of type %q: this callq does not know it", m.Type)
}

func decode[E Event](m Message, complete func(*E)) (Event, error) {
	var e E
	if err := json.Unmarshal(m.Data, &e); err != nil {
		return nil, fmt.Errorf("read a %s event: %w", m.Type, err)
	}
	complete(&e)
	return e, nil
}

// JSON returns the body of a request that tells the event, in the form that Standard Webhooks
// recommends. It is the same each time, as the signature needs.
func (m Message) JSON() ([]byte, error) {
	body, err := json.Marshal(struct {
		Type      Type            `json:"type"`
		Timestamp time.Time       `json:"timestamp"`
		Data      json.RawMessage `json:"data"`
	}{m.Type, m.Timestamp, m.Data})
	if err != nil {
		return nil, fmt.Errorf("encode a %s event: %w", m.Type, err)
	}
	return body, nil
}
