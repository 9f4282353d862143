package policy

import (
	"math"
	"net/http"
	"path/filepath"
	"slices"
	"time"

	"github.com/seed-2903acc3/callq/policy/yamlfile"
)

// casesFile is a file of cases as it was read, before its policy is loaded.
type casesFile struct {
	*yamlfile.File
	policy   string
	policyAt yamlfile.Pos
	cases    []Case
}

func readCases(filename string, data []byte) *casesFile {
	opened, root := yamlfile.Parse(filename, "the file of cases", data)
	f := &casesFile{File: opened}
	if f.Failures() > 0 {
		return f
	}
	if at, is := isPolicy(root); is {
		f.Failf(at, "this file is a policy, not a file of cases; write the cases in a file of their own, with policy: ./%s and cases:",
			filepath.Base(filename))
		return f
	}
	root.Mapping(yamlfile.Fields{
		"policy": func(v yamlfile.Value) { f.policy, _ = v.Text(); f.policyAt = v.Pos() },
		"cases": func(v yamlfile.Value) {
			v.List(func(item yamlfile.Value) { f.readCase(item) })
		},
	})
	if f.Failures() > 0 {
		return f
	}
	if f.policy == "" {
		f.Failf(yamlfile.Pos{File: filename, Line: 1, Column: 1}, "the file of cases names no policy; add policy: with a preset or a path")
	}
	if len(f.cases) == 0 {
		f.Failf(yamlfile.Pos{File: filename, Line: 1, Column: 1}, "the file of cases has no case; add at least one under cases:")
	}
	return f
}

// isPolicy reports whether a file has a key of policies and none of files of cases, and
// where the first one is.
func isPolicy(root yamlfile.Value) (at yamlfile.Pos, is bool) {
	cases := false
	root.Each(func(key string, child yamlfile.Value) {
		switch key {
		case "policy", "cases":
			cases = true
		case "rules", "extends", "read", "holds", "backoffs", "upstream", "pace":
			if !is {
				at, is = child.Key(), true
			}
		}
	})
	return at, is && !cases
}

func (f *casesFile) readCase(v yamlfile.Value) {
	c := Case{File: f.Name(), Line: v.Pos().Line, Request: Request{Method: http.MethodGet, Path: "/", Idempotent: true, Attempt: 1}}
	var answered, expected bool
	v.Mapping(yamlfile.Fields{
		"name":     func(v yamlfile.Value) { c.Name, _ = v.Text() },
		"request":  func(v yamlfile.Value) { f.readRequest(v, &c.Request) },
		"response": func(v yamlfile.Value) { answered = true; f.readResponse(v, &c.Response) },
		"expect":   func(v yamlfile.Value) { expected = true; f.readExpect(v, &c.Expect) },
	})
	if c.Name == "" {
		v.Failf("has no name; give it one")
	}
	if !answered {
		v.Failf("has no response; write what the API answered")
	}
	if !expected {
		v.Failf("expects nothing; write what the policy must decide")
	}
	f.cases = append(f.cases, c)
}

// safeMethods are the methods that may be repeated without harm, unless a case says
// otherwise.
var safeMethods = []string{http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodPut, http.MethodDelete}

func (f *casesFile) readRequest(v yamlfile.Value, r *Request) {
	said := false
	v.Mapping(yamlfile.Fields{
		"method":      func(v yamlfile.Value) { set(&r.Method)(v.Text()) },
		"path":        func(v yamlfile.Value) { set(&r.Path)(v.Text()) },
		"idempotent":  func(v yamlfile.Value) { r.Idempotent, said = v.Bool() },
		"conditional": func(v yamlfile.Value) { r.Conditional, _ = v.Bool() },
		"attempt":     func(v yamlfile.Value) { set(&r.Attempt)(v.Int(1, math.MaxInt32)) },
		"can_refresh": func(v yamlfile.Value) { r.CanRefresh, _ = v.Bool() },
		"age":         func(v yamlfile.Value) { set(&r.Age)(v.Duration(true)) },
	})
	if !said {
		r.Idempotent = slices.Contains(safeMethods, r.Method)
	}
}

func (f *casesFile) readResponse(v yamlfile.Value, r *Response) {
	v.Mapping(yamlfile.Fields{
		"at": func(v yamlfile.Value) {
			set(&r.At)(yamlfile.ParseText(v, func(s string) (time.Time, error) { return time.Parse(time.RFC3339, s) }))
		},
		"transport": func(v yamlfile.Value) { r.Transport, _ = yamlfile.OneOf(v, transports...) },
		"status":    func(v yamlfile.Value) { r.Status, _ = v.Int(100, math.MaxInt32) },
		"headers": func(v yamlfile.Value) {
			r.Header = http.Header{}
			v.Each(func(name string, value yamlfile.Value) {
				if text, ok := value.Scalar(); ok {
					r.Header.Add(name, text)
				}
			})
		},
		"body": func(v yamlfile.Value) { r.Body = readBody(v) },
		"cut":  func(v yamlfile.Value) { r.Cut, _ = v.Bool() },
	})
	switch {
	case r.Transport == TransportNone && r.Status == 0 && f.Failures() == 0:
		v.Failf("has neither a status nor a transport; write one of them")
	case r.Transport != TransportNone && (r.Status != 0 || r.Header != nil || r.Body != nil):
		v.Failf("has both a transport and an answer; write only one of them")
	}
}

// readBody returns a string as it is and any other value as JSON.
func readBody(v yamlfile.Value) []byte {
	switch v.Kind() {
	case yamlfile.KindString:
		text, _ := v.AnyText()
		return []byte(text)
	case yamlfile.KindNull:
		return nil
	default:
		body, _ := v.JSON()
		return body
	}
}

func (f *casesFile) readExpect(v yamlfile.Value, e *Expect) {
	before := f.Failures()
	v.Mapping(yamlfile.Fields{
		"class":     func(v yamlfile.Value) { want(&e.Class)(yamlfile.OneOf(v, classes...)) },
		"job":       func(v yamlfile.Value) { want(&e.Action)(yamlfile.OneOf(v, actions...)) },
		"rule":      func(v yamlfile.Value) { want(&e.Rule)(v.Text()) },
		"refresh":   func(v yamlfile.Value) { want(&e.Refresh)(v.Bool()) },
		"backoff":   func(v yamlfile.Value) { want(&e.Backoff)(v.Text()) },
		"wait":      func(v yamlfile.Value) { want(&e.Wait)(v.Duration(true)) },
		"fresh_key": func(v yamlfile.Value) { want(&e.FreshKey)(v.Bool()) },
		"code":      func(v yamlfile.Value) { want(&e.Code)(v.Scalar()) },
		"message":   func(v yamlfile.Value) { want(&e.Message)(v.AnyText()) },
		"exhausted": func(v yamlfile.Value) { want(&e.Exhausted)(v.Bool()) },
		"circuit": func(v yamlfile.Value) {
			v.Mapping(yamlfile.Fields{
				"effect":     func(v yamlfile.Value) { want(&e.Effect)(yamlfile.OneOf(v, effects...)) },
				"scope":      func(v yamlfile.Value) { want(&e.Scope)(yamlfile.OneOf(v, scopes...)) },
				"hold":       func(v yamlfile.Value) { want(&e.Hold)(v.Text()) },
				"after":      func(v yamlfile.Value) { want(&e.After)(v.Int(0, math.MaxInt32)) },
				"max_probes": func(v yamlfile.Value) { want(&e.MaxProbes)(v.Int(0, math.MaxInt32)) },
				"success":    func(v yamlfile.Value) { want(&e.Success)(v.Bool()) },
			})
		},
	})
	if *e == (Expect{}) && f.Failures() == before {
		v.Failf("expects nothing; write what the policy must decide")
	}
}

// want stores an expectation that could be read.
func want[T any](into **T) func(T, bool) {
	return func(v T, ok bool) {
		if ok {
			*into = &v
		}
	}
}
