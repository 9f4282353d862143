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

// Cases are recorded answers with the decisions that a policy must give on
// them. In a file:
//
//	policy: patsnap                 # a preset or, as for extends, a path
//	cases:
//	  - name: a busy service is retried
//	    request: {method: GET, path: /search, idempotent: true, conditional: false, attempt: 1, can_refresh: false, age: 0s}
//	    response: {status: 200, headers: {X-Correlation-Id: abc}, body: '{"status": false, "error_code": 68300008}'}
//	    expect: {class: transient, job: retry, backoff: standard, circuit: {effect: count}}
//
// A body that is no text is sent as JSON; cut: true tells that it broke off;
// instead of an answer a response may be {transport: timeout_after_send}. Of
// the request, all may be left out; of the expectation, all but one.
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
	// File and Line are where the case stands.
	File string
	Line int
}

// Request is the call that was answered.
type Request struct {
	// Method is GET where a file does not say, Path /.
	Method, Path string
	// Idempotent is, where a file does not say, true of GET, HEAD, OPTIONS, PUT
	// and DELETE.
	Idempotent bool
	// Conditional reports that the request carried a precondition, such as
	// If-None-Match.
	Conditional bool
	// Attempt is the attempt's number, from 1.
	Attempt    int
	CanRefresh bool
	Age        time.Duration
}

// attempt is the request as a policy looks at it.
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
	// Cut tells that the body broke off before its declared length.
	Cut bool
}

// Expect is what a decision must be; nil fields may be anything.
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
}

// CaseResult tells how one case went.
type CaseResult struct {
	Case     Case
	Decision Decision
	// Problems are what differs, one sentence each; none means that it passed.
	Problems []string
}

// Passed tells that the decision was as expected.
func (r CaseResult) Passed() bool { return len(r.Problems) == 0 }

// RunCases decides on every case and compares. read makes an outcome of an
// answer: a policy does not know how to read bodies. It is not asked about
// attempts without an answer.
func RunCases(c *Cases, read func(Response) Outcome) []CaseResult {
	results := make([]CaseResult, len(c.Cases))
	for i, one := range c.Cases {
		o := Outcome{Transport: one.Response.Transport}
		if o.Transport == TransportNone {
			o = read(one.Response)
		}
		d := c.Policy.Decide(o, one.Request.attempt())
		results[i] = CaseResult{Case: one, Decision: d, Problems: one.Expect.compare(d)}
	}
	return results
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

// PresetCases gives the cases that ship with a preset: one at least for every
// row, and every code in a row, of its decision table.
func PresetCases(name string) (*Cases, error) {
	p, err := Preset(name)
	if err != nil {
		return nil, err
	}
	file := "presets/" + name + ".cases.yaml"
	data, err := presetFiles.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("policy: %w", err)
	}
	f := readCases(path.Base(file), data)
	if err := f.Err(); err != nil {
		return nil, err
	}
	return &Cases{Policy: p, Cases: f.cases}, nil
}

// LoadCases reads a file of cases and the policy that it names; a path counts
// from the file's folder. What is wrong comes back as [yamlfile.Errors].
func LoadCases(fsys fs.FS, name string) (*Cases, error) {
	data, err := fs.ReadFile(fsys, name)
	if err != nil {
		return nil, fmt.Errorf("policy: %w", err)
	}
	return joinCases(readCases(name, data), func(ref string) (*Policy, error) {
		return Load(fsys, path.Join(path.Dir(name), ref))
	})
}

// LoadCasesFile is [LoadCases] for a file of the machine.
func LoadCasesFile(name string) (*Cases, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("policy: %w", err)
	}
	return joinCases(readCases(name, data), func(ref string) (*Policy, error) {
		return LoadFile(diskLoader().beside(filepath.Clean(name), ref))
	})
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
