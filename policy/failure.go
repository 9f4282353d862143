package policy

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Failure is the error that a job's Go code returns to have it judged like an
// API's answer. Fill in what is known; the zero value reads as a request that
// never left.
type Failure struct {
	// Status is the HTTP status, 0 where there is none.
	Status int
	// Code is the API's error code in any spelling; empty and 0 both mean none.
	Code json.Number
	// Message is the API's own error message, for logs and records.
	Message string
	// CorrelationID is what the API's support asks for.
	CorrelationID string
	// RetryAfter is how long the API asked to be left alone, 0 where it did not
	// say. A circuit that the policy opens on the answer holds for as long, and a
	// retry does not go out before.
	RetryAfter time.Duration
	// MaybeSent tells, where there is neither Status nor Code, that the request
	// may have had an effect.
	MaybeSent bool
	// Err is the error underneath, if any.
	Err error
}

// Error gives what is known in one line.
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

// Unwrap gives the error underneath.
func (f *Failure) Unwrap() error { return f.Err }

// Outcome is the failure as a policy looks at it; now is when it happened.
//
// Without Status and Code no answer arrived: [TransportResetAfterSend] where MaybeSent is
// set, else [TransportResetBeforeSend]. With a status from 200 to 299 and no code, an
// answer arrived that was of no use; it reads as [BodyCut], so that no policy
// takes it for a success.
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
