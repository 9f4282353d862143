package jsonform

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/seed-2903acc3/callq/tasks"
)

// Code is an API's error code in JSON: a number as the API wrote it, null if there is
// none, otherwise a string.
type Code string

// MarshalJSON implements [json.Marshaler].
func (c Code) MarshalJSON() ([]byte, error) {
	if c == "" {
		return []byte("null"), nil
	}
	if raw := []byte(c); json.Valid(raw) && strings.IndexByte("-0123456789", raw[0]) >= 0 {
		return raw, nil
	}
	return json.Marshal(string(c))
}

// DeadGroup is what dead letters have in common.
type DeadGroup struct {
	Group    string   `json:"group" doc:"The name of the group."`
	Count    int64    `json:"count" doc:"How many dead letters it has."`
	Class    string   `json:"class" doc:"The class of the failure, in the words of the policy."`
	Code     Code     `json:"error_code" doc:"The API's error code: a number or a string as the API gave it; null if there is none."`
	Endpoint string   `json:"endpoint" doc:"The endpoint that the calls are for."`
	Message  string   `json:"user_message" doc:"What to tell an end user."`
	Advice   string   `json:"advice" doc:"What an operator can do."`
	Queues   []string `json:"queues,omitempty" nullable:"false" doc:"The queues in which it has dead letters."`
}

// DeadGroupOf returns the form of a group.
func DeadGroupOf(g tasks.DeadGroup) DeadGroup {
	return DeadGroup{g.Name, g.Count, g.Class, Code(g.Code), g.Endpoint, g.Message, g.Advice, g.Queues}
}

// Letter returns a dead letter for a list: the line of its result without the body, with
// its group.
func Letter(c tasks.CallInfo) (json.RawMessage, error) {
	c.Result.Body = nil
	return withFields(c.Result, struct {
		Group    string `json:"group"`
		Endpoint string `json:"endpoint"`
	}{c.Group, c.Endpoint})
}

// Attempt is one send of a call, or one decision not to send it.
type Attempt struct {
	At            time.Time `json:"at"`
	Attempt       int       `json:"attempt"`
	Job           string    `json:"job"`
	Class         string    `json:"class"`
	Rule          string    `json:"rule"`
	HTTPStatus    int       `json:"http_status"`
	Code          Code      `json:"error_code"`
	Transport     string    `json:"transport"`
	CorrelationID string    `json:"correlation_id"`
	LatencyMS     int64     `json:"latency_ms"`
}

// Former is an ending of a call before it was redriven.
type Former struct {
	Generation    int       `json:"generation"`
	State         string    `json:"state"`
	Class         string    `json:"class"`
	Code          Code      `json:"error_code"`
	CorrelationID string    `json:"correlation_id"`
	Attempts      int       `json:"attempts"`
	FinishedAt    time.Time `json:"finished_at"`
}

// Call returns a call's result line with all else that the ledger has of it.
func Call(r tasks.CallInfo) (json.RawMessage, error) {
	more := struct {
		Group      string          `json:"group"`
		Endpoint   string          `json:"endpoint"`
		Transport  string          `json:"transport"`
		Generation int             `json:"generation"`
		AcceptedAt time.Time       `json:"accepted_at"`
		Purged     bool            `json:"purged"`
		Log        []Attempt       `json:"log"`
		Lineage    []Former        `json:"lineage"`
		Call       json.RawMessage `json:"call"`
	}{
		Group: r.Group, Endpoint: r.Endpoint, Transport: r.Transport, Generation: r.Generation,
		AcceptedAt: r.AcceptedAt, Purged: r.Purged, Log: []Attempt{}, Lineage: []Former{}, Call: CallLine(r),
	}
	for _, l := range r.Attempts {
		more.Log = append(more.Log, Attempt{
			l.At, l.Number, l.Decision, l.Class, l.Rule, l.HTTPStatus, Code(l.ErrorCode), l.Transport, l.CorrelationID, l.Latency.Milliseconds(),
		})
	}
	for _, f := range r.Former {
		more.Lineage = append(more.Lineage, Former{f.Generation, string(f.State), f.Class, Code(f.ErrorCode), f.CorrelationID, f.Attempts, f.FinishedAt})
	}
	return withFields(r.Result, more)
}

// CallLine returns the call as a line of a file of calls, or null if it was purged or
// cannot be read.
func CallLine(r tasks.CallInfo) json.RawMessage {
	if r.Call != nil {
		c := *r.Call
		c.Batch = ""
		if text, err := tasks.AppendCall(nil, c); err == nil {
			return text
		}
	}
	return json.RawMessage("null")
}

// withFields encodes two objects as one.
func withFields(object, more any) (json.RawMessage, error) {
	first, err := json.Marshal(object)
	second, err2 := json.Marshal(more)
	if err := errors.Join(err, err2); err != nil {
		return nil, fmt.Errorf("write a call: %w", err)
	}
	return append(append(first[:len(first)-1], ','), second[1:]...), nil
}
