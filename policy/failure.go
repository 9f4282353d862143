package policy

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Failure is an error that a job's Go code returns so that the policy decides on it
// as on an API's answer. Fill in what is known. The zero value means that the request
// was never sent.
type Failure struct {
	// Status is the HTTP status, 0 if there is none.
	Status int
	// Code is the API's error code in any spelling; empty and 0 both mean none.
	Code json.Number
	// Message is the API's own error message, for logs and records.
	Message string
	// CorrelationID is what the API's support asks for.
	CorrelationID string
	// RetryAfter is how long the API asked to wait, 0 if it did not say. A circuit
	// that the policy opens on the answer is held for that long, and a retry is not
	// sent earlier.
	RetryAfter time.Duration
	// MaybeSent says, if there is neither Status nor Code, that the request may have
	// had an effect.
	MaybeSent bool
	// Err is the error underneath, if any.
	Err error
}

// Error returns what is known in one line.
func (f *Failure) Error() string {
	var parts []string
	if f.Status != 0 {
		parts = append(parts, fmt.Sprintf("status %d", f.Status))
	}
	if f.Code != "" {
		parts = append(parts, "code "+string(f.Code))
	}
	text := strings.Join(parts, ", ")
	if text == "" {
		text = "the call failed"
	}
	if f.Message != "" {
		text += ": " + f.Message
	}
	if f.Err != nil {
		text += ": " + f.Err.Error()
	}
	return text
}

// Unwrap returns the error underneath.
func (f *Failure) Unwrap() error { return f.Err }

// Outcome returns the failure as the input of a policy; now is when it happened.
//
// Without Status and Code no answer arrived: the outcome is [TransportResetAfterSend]
// if MaybeSent is set, else [TransportResetBeforeSend]. With a status from 200 to 299
// and no code, an answer arrived that could not be used. Its body is [BodyCut], so that
// no policy treats it as a success.
func (f *Failure) Outcome(now time.Time) Outcome {
	o := Outcome{
		Status:        f.Status,
		Flag:          FlagFalse,
		Code:          CanonicalCode(string(f.Code)),
		Message:       f.Message,
		CorrelationID: f.CorrelationID,
		ReceivedAt:    now,
	}
	if f.RetryAfter > 0 {
		seconds := int64(f.RetryAfter / time.Second)
		if f.RetryAfter%time.Second != 0 {
			seconds++
		}
		o.Header = http.Header{"Retry-After": {strconv.FormatInt(seconds, 10)}}
	}
	switch {
	case f.Status == 0 && o.Code == "":
		o.Flag = FlagAbsent
		o.Transport = TransportResetBeforeSend
		if f.MaybeSent {
			o.Transport = TransportResetAfterSend
		}
	case f.Status >= 200 && f.Status <= 299:
		o.Body = BodyCut
		if o.Code == "" {
			o.Flag = FlagAbsent
		}
	}
	return o
}
