// Package ending makes the endings of calls that end without an answer: calls that are
// not to be sent, and calls whose outcome is not known. This package is an internal
// part of callq and may change.
//
// It must not depend on policies: the caller that ends a call provides the texts.
//
//	state, active, err := ending.Cancel(ctx, l, record, ledger.Ending{Class: "cancelled"}, unknown)
package ending

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/seed-2903acc3/callq/tasks/broker"
	"github.com/seed-2903acc3/callq/tasks/ledger"
)

const (
	// LostAnswer is the reason why the answer of a call that may have been sent is not
	// known.
	LostAnswer = "its worker ended between sending it and recording the answer"
	// maxErrorText bounds, in bytes, what asynq stores as a task's last error.
	maxErrorText = 1 << 10
	// MaxMessage bounds, in bytes, what a record stores of a message.
	MaxMessage = 2 << 10
)

// The classes of calls that end without an answer; policies have the same names.
const (
	classOutcomeUnknown = "outcome_unknown"
	classMalformedTask  = "malformed_task"
)

// Reason says why a call is not sent, or not sent again.
type Reason struct {
	// Class is the policy's class. A call of class outcome_unknown may have been sent:
	// a real answer replaces its ending.
	Class string
	// Detail is what is wrong with this call.
	Detail string
	// UserMessage and Advice are for the end user and the operator.
	UserMessage, Advice string
	// Endpoint is the call's endpoint, empty if the call cannot be read.
	Endpoint string
}

// Unsent is the ending of a call that is not to be sent, now or again.
func Unsent(r *ledger.Record, why Reason) ledger.Final {
	f := ledger.Final{
		State: ledger.Dead,
		Ending: ledger.Ending{
			Class: why.Class, Message: Clip(why.Detail, MaxMessage), UserMessage: why.UserMessage, Advice: why.Advice, Endpoint: why.Endpoint,
			Attempts: r.Attempts, Parked: r.Parked, FirstAt: r.FirstAt, FinishedAt: time.Now().UTC(),
		},
		Assumed: why.Class == classOutcomeUnknown,
	}
	if n := len(r.Log); n > 0 && why.Class != classMalformedTask {
		// The API's latest message is the most helpful text for support.
		f.Ending.Code, f.Ending.CorrelationID, f.Ending.HTTPStatus = r.Log[n-1].Code, r.Log[n-1].CorrelationID, r.Log[n-1].Status
	}
	if f.Assumed {
		// The attempt that was being made may have reached the API: it counts.
		f.Ending.Attempts = max(r.Attempts, r.Sent)
	}
	return f
}

// Withdrawal makes the withdrawal with which a waiting call ends as a dead letter.
func Withdrawal(r ledger.Record, f ledger.Final, at time.Time) (ledger.Withdrawal, error) {
	f.Ending.FinishedAt, f.Group = at, GroupOf(f.Ending)
	tail, err := broker.LastErrorTail(ErrorText(LastError(r.ID, r.Generation, f.Ending)), at)
	return ledger.Withdrawal{Record: r, Final: f, Tail: tail}, err
}

// Cancel ends an open call that no worker is making, and returns its new state:
// cancelled, or dead if it may have been sent and its outcome is not known. unknown
// returns what to record for the latter; if it is nil, such a call is left as it is,
// with [ledger.ErrMaybeSent]. The state is empty if the call was left as it is: it had
// ended before, or a worker is making it, which active reports. Of the record only its
// id, its queue and its batch are needed.
func Cancel(ctx context.Context, l *ledger.Ledger, r ledger.Record, e ledger.Ending, unknown func(*ledger.Record) Reason) (state ledger.State, active bool, err error) {
	for {
		cancelled, active, err := l.Cancel(ctx, r, e)
		switch {
		case err == nil && cancelled:
			return ledger.Cancelled, false, nil
		case !errors.Is(err, ledger.ErrMaybeSent):
			return "", active, err
		}
		marked, err := l.Get(ctx, r.Queue, r.ID)
		if errors.Is(err, ledger.ErrNoCall) {
			return "", false, nil
		}
		if err != nil {
			return "", false, err
		}
		if marked.Sent == 0 {
			continue // its worker, or another one, has recorded a decision
		}
		if unknown == nil {
			return "", false, ledger.ErrMaybeSent
		}
		why := unknown(&marked)
		why.Class, why.Detail = classOutcomeUnknown, LostAnswer+"; then it was cancelled"
		w, err := Withdrawal(marked, Unsent(&marked, why), time.Now().UTC())
		if err != nil {
			return "", false, err
		}
		withdrawn, err := l.Withdraw(ctx, r.Queue, []ledger.Withdrawal{w})
		switch {
		case err != nil:
			return "", false, err
		case withdrawn[0] == ledger.Withdrew:
			return ledger.Dead, false, nil
		case withdrawn[0] != ledger.OtherMark:
			return "", withdrawn[0] == ledger.Taken, nil
		}
	}
}

// ArchiveMarker begins the error with which a dead letter's task is archived by asynq.
// The ledger's lua/grab.lua looks for it too.
func ArchiveMarker(id string, generation int) string {
	return fmt.Sprintf("[callq %s g%d]", id, generation)
}

// LastError is the text with which a dead letter's task is archived by asynq.
func LastError(id string, generation int, e ledger.Ending) string {
	return ArchiveMarker(id, generation) + " " + strings.TrimSpace(fmt.Sprintf("%s %s: %s", e.Class, e.Code, e.Message))
}

// ErrorText returns a text in the form that asynq can store: a task whose last error is
// not valid UTF-8 would stay active for ever.
func ErrorText(text string) string {
	text = strings.ToValidUTF8(text, "\uFFFD")
	if len(text) > maxErrorText {
		text = strings.ToValidUTF8(text[:maxErrorText], "")
	}
	return text
}

// GroupOf is the group of dead letters that an ending belongs to.
func GroupOf(e ledger.Ending) ledger.Group {
	return ledger.Group{Class: e.Class, Code: e.Code, Endpoint: e.Endpoint, Message: e.UserMessage, Advice: e.Advice}
}

// Clip cuts a text to at most so many bytes of valid UTF-8.
func Clip(s string, most int) string {
	if len(s) > most {
		s = s[:most]
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}
