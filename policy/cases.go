package policy

import (
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"time"
)

// Cases are recorded answers with the decisions that a policy must make on them. In
// a file:
//
//	policy: patsnap                 # a preset or, as for extends, a path
//	cases:
//	  - name: a busy service is retried
//	    request: {method: GET, path: /search, idempotent: true, conditional: false, attempt: 1, can_refresh: false, age: 0s}
//	    response: {status: 200, headers: {X-Correlation-Id: abc}, body: '{"status": false, "error_code": 68300008}'}
//	    expect: {class: transient, job: retry, backoff: standard, circuit: {effect: count}}
//	  - name: a limit holds the account until its reset
//	    response: {at: "2026-03-01T12:00:00Z", status: 429, headers: {X-RateLimit-Reset: 1772366520}}
//	    expect: {job: park, wait: 2m}
//
// A body that is not a string is written as JSON. cut: true means that the body broke
// off. If no answer arrived, the response is for example
// {transport: timeout_after_send}. All fields of the request are optional; the
// expectation needs at least one.
type Cases struct {
	// Policy is the policy under test.
	Policy *Policy
	// Cases are in the order of the file.
	Cases []Case
}

// Case is one recorded answer.
type Case struct {
	Name     string
	Request  Request
	Response Response
	Expect   Expect
	// File and Line are where the case is written.
	File string
	Line int
}

// Request is the call that was answered.
type Request struct {
	// Method is GET by default, Path is /.
	Method, Path string
	// Idempotent is by default true for GET, HEAD, OPTIONS, PUT and DELETE.
	Idempotent bool
	// Conditional reports that the request carried a precondition, such as
	// If-None-Match.
	Conditional bool
	// Attempt is the attempt's number, from 1.
	Attempt    int
	CanRefresh bool
	Age        time.Duration
}

// attempt returns the request as the input of a policy.
func (r Request) attempt() Attempt {
	return Attempt{
		Method: r.Method, Endpoint: r.Method + " " + r.Path, Idempotent: r.Idempotent, Conditional: r.Conditional,
		N: r.Attempt, Age: r.Age, CanRefresh: r.CanRefresh,
	}
}

// Response is the recorded answer, or how the attempt ended without one.
type Response struct {
	Transport Transport
	Status    int
	Header    http.Header
	Body      []byte
	// At is when the answer arrived. Zero means the beginning of 2026, in UTC.
	At time.Time
	// Cut reports that the body broke off before its declared length.
	Cut bool
}

// Expect is the expected decision. Nil fields are not compared.
type Expect struct {
	Class     *Class
	Action    *Action
	Rule      *string
	Refresh   *bool
	Backoff   *string
	Exhausted *bool
	Effect    *Effect
	Scope     *Scope
	Hold      *string
	After     *int
	MaxProbes *int
	Success   *bool
	// Wait is how long the circuit is held, or the shortest wait of a retry, without
	// jitter.
	Wait     *time.Duration
	FreshKey *bool
	// Code and Message are what is read of the answer.
	Code, Message *string
}

// CaseResult is the result of one case.
type CaseResult struct {
	Case     Case
	Decision Decision
	// Problems are the differences, one sentence each. The case passed if there are
	// none.
	Problems []string
}

// Passed reports whether the decision was as expected.
func (r CaseResult) Passed() bool { return len(r.Problems) == 0 }

// RunCases decides on every case and compares.
func RunCases(c *Cases) []CaseResult {
	results := make([]CaseResult, len(c.Cases))
	for i, one := range c.Cases {
		o := c.Policy.ReadAnswer(one.Response)
		if o.ReceivedAt = one.Response.At; o.ReceivedAt.IsZero() {
			o.ReceivedAt = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		}
		d := c.Policy.Decide(o, one.Request.attempt())
		problems := one.Expect.compare(d)
		for _, problem := range []string{
			differs("wait", one.Expect.Wait, c.Policy.firstWait(o, d)),
			differs("code", one.Expect.Code, o.Code), differs("message", one.Expect.Message, o.Message),
		} {
			if problem != "" {
				problems = append(problems, problem)
			}
		}
		results[i] = CaseResult{Case: one, Decision: d, Problems: problems}
	}
	return results
}

// firstWait is how long the first hold after the decision is, or the shortest wait of a
// retry.
func (p *Policy) firstWait(o Outcome, d Decision) time.Duration {
	if h, ok := p.holds[d.Circuit.Hold]; ok && d.Circuit.Effect == EffectOpen {
		until, _ := h.Until(o, o.ReceivedAt, 0, nil)
		return until.Sub(o.ReceivedAt)
	}
	return d.LeastWait
}

// Uncovered returns the ids of the rules of the policy's own file that none of the
// results reached.
func (c *Cases) Uncovered(results []CaseResult) []string {
	reached := map[string]bool{}
	for _, r := range results {
		reached[r.Decision.Rule] = true
	}
	var ids []string
	for i := range c.Policy.rules {
		if r := &c.Policy.rules[i]; r.at.File == c.Policy.file && !reached[r.id] {
			ids = append(ids, r.id)
		}
	}
	return ids
}

func (e Expect) compare(d Decision) []string {
	var problems []string
	add := func(problem string) {
		if problem != "" {
			problems = append(problems, problem)
		}
	}
	add(differs("class", e.Class, d.Class))
	add(differs("job", e.Action, d.Action))
	add(differs("rule", e.Rule, d.Rule))
	add(differs("refresh", e.Refresh, d.Refresh))
	add(differs("backoff", e.Backoff, d.Backoff))
	add(differs("exhausted", e.Exhausted, d.Exhausted))
	add(differs("circuit.effect", e.Effect, d.Circuit.Effect))
	add(differs("circuit.scope", e.Scope, d.Circuit.Scope))
	add(differs("circuit.hold", e.Hold, d.Circuit.Hold))
	add(differs("circuit.after", e.After, d.Circuit.After))
	add(differs("circuit.max_probes", e.MaxProbes, d.Circuit.MaxProbes))
	add(differs("circuit.success", e.Success, d.Circuit.Success))
	add(differs("fresh_key", e.FreshKey, d.FreshKey))
	return problems
}

func differs[T comparable](what string, want *T, got T) string {
	if want == nil || *want == got {
		return ""
	}
	return fmt.Sprintf("%s is %s, expected %s", what, plain(got), plain(*want))
}

func plain(v any) string {
	if s := fmt.Sprint(v); s != "" {
		return s
	}
	return "none"
}

// LoadCases reads a file of cases and the policy that it names. The policy's path is
// relative to the file's folder. Mistakes in the files are returned as
// [yamlfile.Errors].
func LoadCases(fsys fs.FS, name string) (*Cases, error) {
	data, err := fs.ReadFile(fsys, name)
	if err != nil {
		return nil, fmt.Errorf("policy: %w", err)
	}
	return joinCases(readCases(name, data), func(ref string) (*Policy, error) {
		return Load(fsys, path.Join(path.Dir(name), ref))
	})
}

// LoadCasesFile is [LoadCases] for a file on disk.
func LoadCasesFile(name string) (*Cases, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("policy: %w", err)
	}
	return joinCases(readCases(name, data), func(ref string) (*Policy, error) {
		return LoadFile(diskLoader().beside(filepath.Clean(name), ref))
	})
}

// ParseCases parses a file of cases for a policy, whatever policy it names. The name is
// used in errors.
func ParseCases(name string, data []byte, p *Policy) (*Cases, error) {
	f := readCases(name, data)
	if err := f.Err(); err != nil {
		return nil, err
	}
	return &Cases{Policy: p, Cases: f.cases}, nil
}

func joinCases(f *casesFile, load func(ref string) (*Policy, error)) (*Cases, error) {
	if err := f.Err(); err != nil {
		return nil, err
	}
	if !IsPath(f.policy) {
		load = Preset
	}
	p, err := load(f.policy)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.policyAt, err)
	}
	return &Cases{Policy: p, Cases: f.cases}, nil
}
