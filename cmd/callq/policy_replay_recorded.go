package main

import (
	"cmp"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/policy/replay"
	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/ledger"
	"github.com/seed-2903acc3/callq/tasks/records"
	"github.com/seed-2903acc3/callq/worker/upstream"
)

// notByPolicy are the classes of ends that no policy decides.
var notByPolicy = map[policy.Class]bool{
	policy.ClassExpired: true, policy.ClassCancelled: true, policy.ClassCrashLoop: true, policy.ClassMalformedTask: true,
}

// recorder turns what is recorded of calls into calls to replay.
type recorder struct {
	endpoint func(upstream, method, path string) string
	// idempotent reports whether a call may be sent twice, by the other policy. known is false
	// if that is said nowhere, so that it is as it was.
	idempotent func(c tasks.Call) (idempotent, known bool)
}

// start returns the call without its attempts.
func (rec *recorder) start(r tasks.Result) replay.Call {
	path, _, _ := strings.Cut(r.Path, "?")
	return replay.Call{
		Upstream: r.Upstream, Key: r.Key, Method: r.Method, Endpoint: rec.endpoint(r.Upstream, r.Method, path),
		Job: r.Method == tasks.MethodJob, FirstAt: r.FirstAt, Parked: r.Parked > 0, Amount: string(r.Amount),
		End: replay.End{State: string(r.State), Class: r.Class, Rule: r.Rule},
	}
}

// ofResult is a line of a results file: only the last answer is known.
func (rec *recorder) ofResult(r tasks.Result) replay.Call {
	c := rec.start(r)
	class := policy.Class(r.Class)
	if r.HTTPStatus == 0 || r.Verified || r.Rule == ruleVerify || notByPolicy[class] || r.Method == tasks.MethodJob {
		return c // no answer, or one that no policy judged
	}
	idempotent, known := rec.idempotent(tasks.Call{Upstream: r.Upstream, Method: r.Method, Path: r.Path})
	c.Idempotent = idempotent && (known || class != policy.ClassOutcomeUnknown)
	// Without a precondition a 304 is no success.
	c.Conditional = r.HTTPStatus == http.StatusNotModified && r.State == tasks.StateDone
	action := map[tasks.State]policy.Action{
		tasks.StateDone: policy.ActionSucceed, tasks.StateDropped: policy.ActionDrop, tasks.StateDead: policy.ActionDeadLetter,
	}[r.State]
	a := replay.Attempt{
		At: r.FinishedAt, N: r.Attempts, Action: action, Carried: action, Class: class, Rule: r.Rule, FromEnd: true,
		Answer: policy.Outcome{Status: r.HTTPStatus, Code: string(r.ErrorCode), Message: r.ErrorMessage, CorrelationID: r.CorrelationID},
	}
	a.Answer.Flag, a.Answer.Body = policy.FlagAbsent, policy.BodyEnvelope
	if r.State == tasks.StateDone {
		a.Answer.Flag = policy.FlagTrue
	}
	if c.Last = lastAnswer(r, ""); c.Last != nil {
		c.MaybeCut = maybeCut(r, c.Last)
	}
	c.Attempts = []replay.Attempt{a}
	return c
}

// maybeCut reports whether a body may have been cut, which a results file does not say: it
// is the beginning of something, and was an answer that could not be used.
func maybeCut(r tasks.Result, last *policy.Response) bool {
	class := policy.Class(r.Class)
	if last.Cut || class != policy.ClassProtocol && class != policy.ClassOutcomeUnknown || r.HTTPStatus > 299 {
		return false
	}
	var p *policy.Policy
	kind := p.ReadAnswer(*last).Body
	return kind == policy.BodyMalformed || kind == policy.BodyEmpty
}

// lastAnswer is the answer to the last attempt as the result has it; nil if it was freed.
func lastAnswer(r tasks.Result, contentType string) *policy.Response {
	if r.BodyFreed {
		return nil
	}
	header := http.Header{}
	for name, value := range r.Headers {
		header.Set(name, value)
	}
	body, kind, encoded := bodyOf(r.Body)
	if kind = cmp.Or(kind, contentType); kind != "" {
		header.Set("Content-Type", kind)
	}
	return &policy.Response{Status: r.HTTPStatus, Header: header, Body: body, Cut: encoded}
}

// ofLedger is a call of the ledger with its attempts.
func (rec *recorder) ofLedger(record ledger.Record) replay.Call {
	r := records.Result(record)
	c := rec.start(r)
	if record.Ending != nil && record.Ending.Endpoint != "" {
		c.Endpoint = record.Ending.Endpoint
	}
	for _, recorded := range record.Log {
		c.Attempts = append(c.Attempts, attemptOf(recorded))
	}
	if c.Job {
		return c
	}
	rec.noteCall(&c, &record)
	if n := len(c.Attempts); n > 0 && !r.Verified {
		last := &c.Attempts[n-1]
		ended := !last.Asked && string(last.Class) == r.Class && last.Rule == r.Rule
		if ended && last.Answer.Status == r.HTTPStatus && last.Answer.Transport == policy.TransportNone && hasBody(record, last) {
			c.Last = lastAnswer(r, record.BodyType)
		}
	}
	return c
}

// noteCall sets what is known of the call from what was sent.
func (rec *recorder) noteCall(c *replay.Call, record *ledger.Record) {
	call, err := records.Call(record)
	if err != nil {
		call = tasks.Call{Method: c.Method} // its content was purged
	}
	call.Upstream = c.Upstream
	header := http.Header{}
	for name, value := range call.Headers {
		header.Set(name, value)
	}
	c.Conditional = upstream.IsConditional(header)
	idempotent, known := rec.idempotent(call)
	c.Idempotent = idempotent
	for i := range c.Attempts {
		if about := c.Attempts[i].About; known && err == nil && about != nil {
			about.Idempotent = idempotent
		}
	}
}

// hasBody reports whether the record has the body of the last answer. One that was refused
// until it was given up has none.
func hasBody(record ledger.Record, last *replay.Attempt) bool {
	return len(record.Body) > 0 || last.Action == policy.ActionSucceed || last.Answer.Body == policy.BodyEmpty
}

// ruleVerify is the rule in the record of a request that asks for the effect of another.
const ruleVerify = "verify"

func attemptOf(recorded ledger.Attempt) replay.Attempt {
	a := replay.Attempt{
		At: recorded.At, Latency: time.Duration(recorded.Latency) * time.Millisecond, N: recorded.N,
		Action: policy.Action(cmp.Or(recorded.Decided, recorded.Action)), Carried: policy.Action(recorded.Action),
		Class: policy.Class(recorded.Class), Rule: recorded.Rule,
		Held: time.Duration(recorded.Held) * time.Millisecond, HeldEndpoint: recorded.HeldEndpoint,
		Asked: recorded.Rule == ruleVerify,
	}
	kept := policy.Kept{Flag: policy.FlagAbsent, Body: policy.BodyEnvelope}
	if len(recorded.Kept) > 0 && json.Unmarshal(recorded.Kept, &kept) == nil {
		about := kept.Attempt()
		a.About, a.Looked, a.Partial = &about, kept.Looked, kept.Partial
	}
	if a.Action == policy.ActionSucceed {
		kept.Flag = policy.FlagTrue
	}
	kept.Status = cmp.Or(kept.Status, recorded.Status)
	kept.Code, kept.Message = cmp.Or(kept.Code, recorded.Code), cmp.Or(kept.Message, recorded.Message)
	if a.Class == policy.ClassConfig && a.Carried == policy.ActionPark && a.Action == policy.ActionRetry {
		a.Class = policy.ClassTransient // the worker took the address for a wrong one
	}
	a.Answer = kept.Outcome()
	a.Answer.Transport = policy.Transport(recorded.Transport)
	return a
}
