package page

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/ledger"
)

// when is a time that may be zero.
type when time.Time

// Time returns the time.
func (w when) Time() time.Time { return time.Time(w) }

// attempt is one step of a call's timeline.
type attempt struct {
	At     when
	Number int
	// Kind is succeed, retry, park, dead_letter or drop.
	Kind, Class, Rule, Code, Message, Transport, CorrelationID string
	Status                                                     int
	Latency                                                    time.Duration
}

func attemptOf(a ledger.Attempt) attempt {
	return attempt{
		At: when(a.At), Number: a.N, Kind: a.Action, Class: a.Class, Rule: a.Rule, Code: a.Code, Message: a.Message,
		Transport: a.Transport, CorrelationID: a.CorrelationID, Status: a.Status, Latency: time.Duration(a.Latency) * time.Millisecond,
	}
}

// Title says in words what happened.
func (a attempt) Title() string {
	switch policy.Action(a.Kind) {
	case policy.ActionSucceed:
		return "Answered"
	case policy.ActionRetry:
		return "Failed, to be tried again"
	case policy.ActionPark:
		return "Refused, parked: this spends no attempt"
	case policy.ActionDeadLetter:
		return "Failed for good: dead letter"
	case policy.ActionDrop:
		return "Failed: dropped"
	}
	return a.Kind
}

// doubtful is the class of calls that may have taken effect.
const doubtful = string(policy.ClassOutcomeUnknown)

// callData is one call.
type callData struct {
	tasks.CallInfo
	Timeline []attempt
	// Request and Answer are the beginnings of the bodies, as text.
	Request, Answer string
	// Left is how many earlier attempts the record does not have any more.
	Left                int
	CanRedrive, CanEnd  bool
	Doubtful, Collapsed bool
}

const mostShown = 4096

func (p *Pages) loadCall(r *http.Request) (string, any, error) {
	info, err := p.cfg.Client.Call(r.Context(), r.PathValue("id"))
	if err != nil {
		return "", nil, err
	}
	d := callData{CallInfo: info, CanRedrive: info.CanRedrive() == nil, CanEnd: info.Result.State == tasks.StateOpen, Doubtful: info.Result.Class == doubtful}
	sent := 0
	for _, a := range info.Attempts {
		if a.Decision != string(policy.ActionPark) {
			sent++
		}
		d.Timeline = append(d.Timeline, attempt{
			At: when(a.At), Number: a.Number, Kind: a.Decision, Class: a.Class, Rule: a.Rule, Code: a.ErrorCode, Message: a.Message,
			Transport: a.Transport, CorrelationID: a.CorrelationID, Status: a.HTTPStatus, Latency: a.Latency,
		})
	}
	d.Left = max(info.Result.Attempts-sent, 0)
	if info.Call != nil {
		d.Request = shown(info.Call.Body)
	}
	d.Answer = shown(info.Result.Body)
	return "Call " + info.Result.Key, d, nil
}

// shown returns the beginning of a body as text.
func shown(body json.RawMessage) string {
	text := string(body)
	var plain string
	if json.Unmarshal(body, &plain) == nil {
		text = plain
	}
	if text == "null" {
		return ""
	}
	if len(text) > mostShown {
		text = strings.ToValidUTF8(text[:mostShown], "") + " …"
	}
	if !utf8.ValidString(text) {
		return strings.ToValidUTF8(text, "\uFFFD")
	}
	return text
}

func isGone(err error) bool { return errors.Is(err, tasks.ErrNoCall) }
