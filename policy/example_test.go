package policy_test

import (
	"fmt"
	"net/http"
	"os"
	"testing/fstest"
	"time"

	"github.com/seed-2903acc3/callq/policy"
)

func Example() {
	p, err := policy.Preset("patsnap")
	if err != nil {
		fmt.Println(err)
		return
	}
	d := p.Decide(
		policy.Outcome{Status: 200, Flag: policy.FlagFalse, Code: "68300008"},
		policy.Attempt{Method: "GET", Endpoint: "GET /search", Idempotent: true, N: 1},
	)
	fmt.Println(d.Class, d.Action, d.Backoff, d.Circuit.Effect)
	// Output: transient retry standard count
}

func ExampleLoad() {
	files := fstest.MapFS{"my.yaml": {Data: []byte(`
extends: patsnap
backoffs:
  standard: {attempts: 10}
rules:
  - id: vendor-maintenance
    match: {http: [503], header: {X-Reason: maintenance}}
    job: park
    circuit: {effect: open, hold: outage}
    message: "The service is down for maintenance; we will try again at {resumes_at}."
`)}}
	p, err := policy.Load(files, "my.yaml")
	if err != nil {
		fmt.Println(err)
		return
	}
	d := p.Decide(policy.Outcome{Status: 503, Header: http.Header{"X-Reason": {"maintenance"}}}, policy.Attempt{N: 1})
	fmt.Println(d.Rule, d.Action, d.Circuit.Hold)
	fmt.Println(d.UserMessage(time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC)))
	// Output:
	// vendor-maintenance park outage
	// The service is down for maintenance; we will try again at 2026-03-01 08:00:00 UTC.
}

func ExampleParse_findings() {
	_, err := policy.Parse("my.yaml", []byte("extends: patsnap\nrules:\n  - {id: busy, match: {http: [5xx]}, job: retyr}\n"))
	fmt.Println(err)
	// Output: my.yaml:3:43: rules[0].job is "retyr"; write one of succeed, retry, park, dead_letter, drop
}

func ExamplePolicy_Explain() {
	p, err := policy.Preset("http")
	if err != nil {
		fmt.Println(err)
		return
	}
	e := p.Explain(policy.Outcome{Status: 404}, policy.Attempt{Idempotent: true, N: 1})
	for _, m := range e.Missed {
		fmt.Printf("%s: %s is %s, wanted %s\n", m.Rule, m.Field, m.Got, m.Wanted)
	}
	fmt.Println(e.Decision.Rule, e.Decision.Action)
	// Output:
	// cut-answer-unsafe: http is 404, wanted ["2xx"]
	// cut-answer: http is 404, wanted ["2xx"]
	// ok: http is 404, wanted ["2xx"]
	// not-modified: http is 404, wanted [304]
	// bad-request drop
}

func ExampleHold_Until() {
	p, err := policy.Preset("http")
	if err != nil {
		fmt.Println(err)
		return
	}
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	hold, _ := p.Hold("quota")
	answer := policy.Outcome{Status: 429, Header: http.Header{"Retry-After": {"90"}}, ReceivedAt: now}
	until, source := hold.Until(answer, now, 0, nil)
	fmt.Println(until.Format(time.TimeOnly), source)
	until, source = hold.Until(policy.Outcome{Status: 429}, now, 1, nil)
	fmt.Println(until.Format(time.TimeOnly), source)
	// Output:
	// 12:01:30 retry-after
	// 12:05:00 ladder
}

func ExampleBackoff_Delay() {
	b := policy.Backoff{Floor: time.Second, Base: 2 * time.Second, Cap: 10 * time.Minute}
	half := func(n int64) int64 { return n / 2 }
	for n := range 4 {
		fmt.Println(b.Delay(n, half))
	}
	// Output:
	// 2s
	// 3s
	// 5s
	// 9s
}

func ExampleSeededJitter() {
	b := policy.Backoff{Floor: time.Second, Base: 2 * time.Second, Cap: 10 * time.Minute}
	jitter := policy.SeededJitter("batch/line-7")
	fmt.Println(b.Delay(0, jitter) < b.Delay(1, jitter), b.Delay(1, jitter) < b.Delay(2, jitter))
	// Output: true true
}

func ExampleFailure() {
	p, err := policy.Preset("patsnap")
	if err != nil {
		fmt.Println(err)
		return
	}
	failure := &policy.Failure{Code: "67200005", Message: "Insufficient balance, call failed!"}
	d := p.Decide(failure.Outcome(time.Now()), policy.Attempt{N: 1})
	fmt.Println(failure)
	fmt.Println(d.Class, d.Action)
	fmt.Println(d.UserMessage(time.Time{}))
	// Output:
	// code 67200005: Insufficient balance, call failed!
	// balance dead_letter
	// The account with the service has run out of credit.
}

func ExampleRunCases() {
	files := fstest.MapFS{"cases.yaml": {Data: []byte(`
policy: http
cases:
  - name: a teapot is dropped
    response: {status: 418}
    expect: {job: drop}
`)}}
	cases, err := policy.LoadCases(files, "cases.yaml")
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, r := range policy.RunCases(cases) {
		fmt.Printf("%s:%d: %s: %v\n", r.Case.File, r.Case.Line, r.Case.Name, r.Problems)
	}
	// Output: cases.yaml:4: a teapot is dropped: [job is retry, expected drop]
}

func ExamplePolicy_ReadAnswer() {
	p, err := policy.Parse("my.yaml", []byte(`
extends: http
read:
  code: ["$.error.code", "$.error.type"]
rules:
  - {id: no-credit, match: {code: [insufficient_quota]}, class: balance, job: dead_letter}
`))
	if err != nil {
		fmt.Println(err)
		return
	}
	o := p.ReadAnswer(policy.Response{Status: 429, Body: []byte(`{"error": {"code": "insufficient_quota", "message": "Check your plan."}}`)})
	d := p.Decide(o, policy.Attempt{Method: "POST", N: 1})
	fmt.Println(o.Code, o.Message)
	fmt.Println(d.Rule, d.Class, d.Action)
	// Output:
	// insufficient_quota Check your plan.
	// no-credit balance dead_letter
}

func ExamplePolicy_YAML() {
	p, err := policy.Parse("tiny.yaml", []byte("rules:\n  - {id: only, job: dead_letter}\n"))
	if err != nil {
		fmt.Println(err)
		return
	}
	os.Stdout.Write(p.YAML())
	// Output:
	// version: 1
	// name: "tiny"
	//
	// backoffs:
	//   brief: {floor: 1s, base: 2s, cap: 10m, attempts: 3, max_age: 24h, sources: [retry-after]}
	//   standard: {floor: 1s, base: 2s, cap: 10m, attempts: 6, max_age: 24h, sources: [retry-after]}
	//
	// holds:
	//   credential: {sources: [retry-after, ladder], max: 25h, ladder: [1m, 5m, 15m, 1h]}
	//   outage: {sources: [retry-after, ladder], max: 25h, ladder: [5s, 15s, 1m, 5m]}
	//   permission: {sources: [retry-after, ratelimit-reset, ladder], max: 25h, ladder: [5m, 30m, 2h]}
	//   quota: {sources: [retry-after, ratelimit-reset, calendar, ladder], max: 25h, ladder: [1m, 5m, 15m, 1h]}
	//   rate: {sources: [retry-after, ratelimit-reset, ladder], max: 25h, ladder: [1s, 2s, 5s, 15s, 1m]}
	//
	// breaker: {window: 30s, min_calls: 20, ratio: 0.5}
	//
	// rules:
	//   # from tiny.yaml
	//   - id: "only"
	//     class: unknown
	//     job: dead_letter
	//     circuit: {effect: none, scope: account}
	//     message: "The service reported an unknown problem."
	//     advice: "Look up the error code and message in the record, add a rule for it to the policy, then redrive."
	//   # from common (preset)
	//   # "anything-else": never reached, rule "only" matches everything that it matches
}
