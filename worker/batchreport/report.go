package batchreport

import (
	"time"

	"github.com/seed-2903acc3/callq/worker/jsonform"
)

// Report is what came of a batch. Lists are never nil.
type Report struct {
	Batch string `json:"batch"`
	// MadeAt is when the report was made, by Redis's clock.
	MadeAt time.Time `json:"made_at"`
	// CreatedAt is when the first call was accepted, EndedAt when the last one ended; EndedAt
	// is zero while calls are open.
	CreatedAt time.Time  `json:"created_at"`
	EndedAt   time.Time  `json:"ended_at,omitzero"`
	Upstreams []Upstream `json:"upstreams"`
	Calls     Calls      `json:"calls"`
	// Asked are the endpoints of the calls that ended, the most frequent first.
	Asked    []Asked  `json:"asked"`
	Requests Requests `json:"requests"`
	Money    []Money  `json:"money"`
	Time     Time     `json:"time"`
	// Causes are why calls are dead or dropped, the most frequent first.
	Causes   []Cause  `json:"causes"`
	Timeline Timeline `json:"timeline"`
	// Unknown says in sentences what the numbers do not contain.
	Unknown []string `json:"unknown"`
}

// Upstream is an upstream of the batch.
type Upstream struct {
	Name string `json:"name"`
	// BaseURL is the one with which the calls were sent; empty if it is not known.
	BaseURL  string `json:"base_url,omitempty"`
	Calls    int64  `json:"calls"`
	Requests int64  `json:"requests"`
	Results  int64  `json:"results"`
}

// Calls counts calls by state. Accepted = Open + Done + Dead + Dropped + Cancelled.
type Calls struct {
	Accepted  int64 `json:"accepted"`
	Open      int64 `json:"open"`
	Done      int64 `json:"done"`
	Dead      int64 `json:"dead"`
	Dropped   int64 `json:"dropped"`
	Cancelled int64 `json:"cancelled"`
	// Forgotten is how many of the ended calls were forgotten after the retention. Nothing
	// else in the report counts them.
	Forgotten int64 `json:"forgotten"`
	// Verified is how many are done because the API, asked afterwards, said so.
	Verified int64 `json:"verified"`
	// Redriven is how many were made again after they had ended.
	Redriven int64 `json:"redriven"`
	// PutBack is how often calls were put back to wait, with or without an answer.
	PutBack int64 `json:"put_back"`
}

// Asked counts the ended calls of one endpoint.
type Asked struct {
	Upstream string `json:"upstream"`
	// Endpoint is empty for calls that ended before they were sent.
	Endpoint  string `json:"endpoint"`
	Calls     int64  `json:"calls"`
	Done      int64  `json:"done"`
	Dead      int64  `json:"dead"`
	Dropped   int64  `json:"dropped"`
	Cancelled int64  `json:"cancelled"`
}

// Use is what a request was good for. The set is closed.
type Use string

// The uses. Every request has one. Only UseResult is not waste.
const (
	// UseResult: its answer is the result of a call that is done.
	UseResult Use = "result"
	// UseRefused: the API refused it for a reason of the account (a limit, a quota, the
	// credential, the balance), and the call waited.
	UseRefused Use = "refused"
	// UseRetried: it failed, and the call was sent again or waits for that.
	UseRetried Use = "retried"
	// UseReplayed: it was sent again at once with a fresh credential.
	UseReplayed Use = "replayed"
	// UseFailed: its answer ended the call as a dead letter or as dropped.
	UseFailed Use = "failed"
	// UseRepeated: its answer was a result, but the call was made again.
	UseRepeated Use = "repeated"
	// UseUnclear: it may have taken effect, and the API was asked whether it did.
	UseUnclear Use = "unclear"
	// UseAsked: it asked the API whether a call took effect.
	UseAsked Use = "asked"
	// UseRedirect: it was answered by a redirect, which was followed.
	UseRedirect Use = "redirect"
)

// uses are all uses, in the order in which they are shown.
var uses = []Use{UseResult, UseRefused, UseRetried, UseReplayed, UseFailed, UseRepeated, UseUnclear, UseAsked, UseRedirect}

// Requests counts the requests to the API. Sent is the sum of ByUse, of ByAnswer and of
// Kinds.
type Requests struct {
	Sent int64 `json:"sent"`
	// Results is how many of them are the result of a call; Wasted are the others.
	Results int64 `json:"results"`
	Wasted  int64 `json:"wasted"`
	// PerResult is Sent / done calls; 0 without any.
	PerResult float64 `json:"per_result"`
	// MaybeSent is how many more may have been sent, at most: workers ended before they
	// recorded anything.
	MaybeSent int64      `json:"maybe_sent"`
	ByUse     []UseCount `json:"by_use"`
	ByAnswer  []Answer   `json:"by_answer"`
	// Kinds are the requests by use and cause, the most frequent first.
	Kinds []Kind `json:"kinds"`
	// PerCall counts calls by how many requests each took.
	PerCall []PerCall `json:"per_call"`
}

// UseCount is how many requests had a use.
type UseCount struct {
	Use      Use   `json:"use"`
	Requests int64 `json:"requests"`
}

// Answer is how many requests were answered with a status, or not at all.
type Answer struct {
	// HTTPStatus is 0 if no complete answer came. Without then says why: the transport error,
	// "redirect" for a redirect that was followed, or "other" where the record has too many
	// kinds of answers.
	HTTPStatus int    `json:"http_status,omitempty"`
	Without    string `json:"without,omitempty"`
	Requests   int64  `json:"requests"`
}

// Kind are the requests with the same use and the same cause.
type Kind struct {
	Use        Use           `json:"use"`
	Requests   int64         `json:"requests"`
	Class      string        `json:"class,omitempty"`
	Rule       string        `json:"rule,omitempty"`
	HTTPStatus int           `json:"http_status,omitempty"`
	Code       jsonform.Code `json:"error_code"`
	Transport  string        `json:"transport,omitempty"`
	// Key is that of a call with such a request.
	Key string `json:"example_key"`
}

// PerCall is how many calls took a number of requests. The last entry has all calls with as
// many requests or more, if More is true.
type PerCall struct {
	Requests int   `json:"requests"`
	More     bool  `json:"or_more,omitempty"`
	Calls    int64 `json:"calls"`
}

// Money is what the requests to one upstream cost.
type Money struct {
	Upstream string `json:"upstream"`
	// Currency is that of the upstream's budget; empty if it has none.
	Currency string `json:"currency,omitempty"`
	// Billed is the sum of what the API's answers said, exactly; empty if no answer said
	// anything. Answers is how many did.
	Billed  string `json:"billed,omitempty"`
	Answers int64  `json:"billed_answers"`
	// BilledResults is the part of Billed for results.
	BilledResults string `json:"billed_results,omitempty"`
	// Counted is what a budget counts: what was billed, if the configuration names the header,
	// and cost.per_call for each other request. It is empty without a configured cost.
	Counted string `json:"counted,omitempty"`
	// PerResult is Counted, or else Billed, for each call that is done.
	PerResult string `json:"per_result,omitempty"`
}

// Time is when the batch ran, and for how long it could not.
type Time struct {
	// Seconds is for how long calls of the batch were open.
	Seconds float64 `json:"seconds"`
	// Held is for how long meanwhile an account of the batch was held.
	Held           float64   `json:"held_seconds"`
	FirstRequestAt time.Time `json:"first_request_at,omitzero"`
	LastRequestAt  time.Time `json:"last_request_at,omitzero"`
	ByReason       []HeldFor `json:"by_reason"`
	Holds          []Hold    `json:"holds"`
	// LeftOut is how many shorter holds Holds does not have.
	LeftOut int `json:"holds_left_out"`
}

// HeldFor is for how long an upstream was held for one reason.
type HeldFor struct {
	Upstream string  `json:"upstream"`
	Reason   string  `json:"reason"`
	Holds    int     `json:"holds"`
	Seconds  float64 `json:"seconds"`
}

// Hold is a hold while calls of the batch were open.
type Hold struct {
	// Circuit is the upstream, or NAME~METHOD~/path for one of its endpoints.
	Circuit string    `json:"circuit"`
	From    time.Time `json:"from"`
	// To is zero while the hold goes on.
	To time.Time `json:"to,omitzero"`
	// Seconds is for how long calls of the batch were held meanwhile.
	Seconds       float64       `json:"seconds"`
	Reason        string        `json:"reason"`
	Class         string        `json:"class,omitempty"`
	Code          jsonform.Code `json:"error_code"`
	Why           string        `json:"why,omitempty"`
	CorrelationID string        `json:"correlation_id,omitempty"`
	Who           string        `json:"who,omitempty"`
	FailedProbes  int           `json:"failed_probes,omitempty"`
}

// Cause is one reason why calls are dead or dropped.
type Cause struct {
	Count int64  `json:"count"`
	State string `json:"state"`
	Class string `json:"class"`
	Rule  string `json:"rule,omitempty"`
	// HTTPStatus is set if the API gave no code.
	HTTPStatus int           `json:"http_status,omitempty"`
	Code       jsonform.Code `json:"error_code"`
	// Group is the group of dead letters of the latest of these calls; empty for dropped ones.
	Group string `json:"group,omitempty"`
	// UserMessage is for end users, Advice for the operator.
	UserMessage string    `json:"user_message,omitempty"`
	Advice      string    `json:"advice,omitempty"`
	Examples    []Example `json:"examples"`
}

// Example is a call that ended for a cause.
type Example struct {
	Key      string `json:"key"`
	ID       string `json:"id"`
	Upstream string `json:"upstream"`
	// Method and Path are empty if the call was purged.
	Method        string    `json:"method,omitempty"`
	Path          string    `json:"path,omitempty"`
	Message       string    `json:"error_message,omitempty"`
	CorrelationID string    `json:"correlation_id,omitempty"`
	Requests      int64     `json:"requests"`
	FinishedAt    time.Time `json:"finished_at"`
}

// Timeline counts in equal steps how calls ended and which requests failed.
type Timeline struct {
	From time.Time `json:"from"`
	// Step is the length of a step in seconds.
	Step  float64 `json:"step_seconds"`
	Steps []Step  `json:"steps"`
}

// Step is one step. Refused and Retried are requests, without those before a redrive; the
// others are calls that ended.
type Step struct {
	Done      int64 `json:"done"`
	Dead      int64 `json:"dead"`
	Dropped   int64 `json:"dropped"`
	Cancelled int64 `json:"cancelled"`
	Refused   int64 `json:"refused"`
	Retried   int64 `json:"retried"`
}
