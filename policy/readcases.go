package policy

import (
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// maxBodyNesting bounds how deep a body given as YAML may go.
const maxBodyNesting = 100

// casesFile is a file of cases as it was read, before its policy is loaded.
type casesFile struct {
	*source
	policy   string
	policyAt position
	cases    []Case
}

func readCases(filename string, data []byte) *casesFile {
	s, root := openSource(filename, data)
	f := &casesFile{source: s}
	if len(f.errs) > 0 {
		return f
	}
	f.mapping(root, "a file of cases", map[string]entry{
		"policy": func(v ast.Node) { f.policy, _ = f.text(v, "policy"); f.policyAt = f.position(v) },
		"cases": func(v ast.Node) {
			f.list(v, "cases", func(item ast.Node) { f.readCase(item) })
		},
	})
	if len(f.errs) > 0 {
		return f
	}
	if f.policy == "" {
		f.errs = append(f.errs, &Error{File: filename, Line: 1, Column: 1, Message: "a file of cases names its policy: a preset or a path"})
	}
	if len(f.cases) == 0 {
		f.errs = append(f.errs, &Error{File: filename, Line: 1, Column: 1, Message: "a file of cases holds at least one case"})
	}
	return f
}

func (f *casesFile) readCase(n ast.Node) {
	c := Case{File: f.file, Line: f.position(n).line, Request: Request{Method: http.MethodGet, Path: "/", Idempotent: true, Attempt: 1}}
	var answered, expected bool
	f.mapping(n, "a case", map[string]entry{
		"name":     func(v ast.Node) { c.Name, _ = f.text(v, "name") },
		"request":  func(v ast.Node) { f.readRequest(v, &c.Request) },
		"response": func(v ast.Node) { answered = true; f.readResponse(v, &c.Response) },
		"expect":   func(v ast.Node) { expected = true; f.readExpect(v, &c.Expect) },
	})
	if c.Name == "" {
		f.fail(n, "a case needs a name")
	}
	if !answered {
		f.fail(n, "a case needs a response")
	}
	if !expected {
		f.fail(n, "a case needs to expect something")
	}
	f.cases = append(f.cases, c)
}

// safeMethods are those of which a repeat does no harm, unless a case says
// otherwise.
var safeMethods = []string{http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodPut, http.MethodDelete}

func (f *casesFile) readRequest(n ast.Node, r *Request) {
	said := false
	f.mapping(n, "request", map[string]entry{
		"method":      func(v ast.Node) { set(&r.Method)(f.text(v, "method")) },
		"path":        func(v ast.Node) { set(&r.Path)(f.text(v, "path")) },
		"idempotent":  func(v ast.Node) { r.Idempotent, said = f.boolean(v, "idempotent") },
		"conditional": func(v ast.Node) { r.Conditional, _ = f.boolean(v, "conditional") },
		"attempt":     func(v ast.Node) { set(&r.Attempt)(f.integer(v, "attempt", 1)) },
		"can_refresh": func(v ast.Node) { r.CanRefresh, _ = f.boolean(v, "can_refresh") },
		"age":         func(v ast.Node) { set(&r.Age)(f.duration(v, "age", 0)) },
	})
	if !said {
		r.Idempotent = slices.Contains(safeMethods, r.Method)
	}
}

func (f *casesFile) readResponse(n ast.Node, r *Response) {
	f.mapping(n, "response", map[string]entry{
		"transport": func(v ast.Node) { r.Transport, _ = oneOf(f.source, v, "transport", transports) },
		"status":    func(v ast.Node) { r.Status, _ = f.integer(v, "status", 100) },
		"headers": func(v ast.Node) {
			r.Header = http.Header{}
			f.pairs(v, "headers", func(_, value ast.Node, name string) {
				text, ok := f.scalar(value)
				if !ok {
					f.fail(value, "a header is a text or a number, not %s", kind(f.resolve(value)))
					return
				}
				r.Header.Add(name, text)
			})
		},
		"body": func(v ast.Node) { r.Body = f.readBody(v) },
		"cut":  func(v ast.Node) { r.Cut, _ = f.boolean(v, "cut") },
	})
	switch {
	case r.Transport == TransportNone && r.Status == 0 && len(f.errs) == 0:
		f.fail(n, "a response has a status, or the transport that failed")
	case r.Transport != TransportNone && (r.Status != 0 || r.Header != nil || r.Body != nil):
		f.fail(n, "a response has a transport that failed or an answer, not both")
	}
}

// readBody keeps a text as it is and writes anything else as JSON.
func (f *casesFile) readBody(n ast.Node) []byte {
	switch v := f.resolve(n).(type) {
	case *ast.StringNode:
		return []byte(v.Value)
	case *ast.LiteralNode:
		return []byte(v.Value.Value)
	case *ast.NullNode:
		return nil
	default:
		var w strings.Builder
		f.json(&w, n, maxBodyNesting)
		return []byte(w.String())
	}
}

// json writes numbers as they stand, so that no digit is lost. Aliases are not
// followed here: a few of them could unfold without end.
func (f *casesFile) json(w *strings.Builder, n ast.Node, depth int) {
	if depth == 0 {
		f.fail(n, "this body is nested too deep; give it as a text")
		return
	}
	switch v := n.(type) {
	case *ast.MappingNode:
		w.WriteByte('{')
		for i, pair := range v.Values {
			if i > 0 {
				w.WriteByte(',')
			}
			w.WriteString(quote(pair.Key.GetToken().Value) + ":")
			f.json(w, pair.Value, depth-1)
		}
		w.WriteByte('}')
	case *ast.SequenceNode:
		w.WriteByte('[')
		for i, item := range v.Values {
			if i > 0 {
				w.WriteByte(',')
			}
			f.json(w, item, depth-1)
		}
		w.WriteByte(']')
	case *ast.StringNode:
		w.WriteString(quote(v.Value))
	case *ast.LiteralNode:
		w.WriteString(quote(v.Value.Value))
	case *ast.BoolNode:
		w.WriteString(strconv.FormatBool(v.Value))
	case *ast.NullNode:
		w.WriteString("null")
	case *ast.IntegerNode, *ast.FloatNode:
		w.WriteString(v.GetToken().Value)
	default:
		f.fail(n, "this cannot be written as JSON; give the body as a text")
	}
}

func (f *casesFile) readExpect(n ast.Node, e *Expect) {
	before := len(f.errs)
	f.mapping(n, "expect", map[string]entry{
		"class":     func(v ast.Node) { want(&e.Class)(oneOf(f.source, v, "class", classes)) },
		"job":       func(v ast.Node) { want(&e.Action)(oneOf(f.source, v, "job", actions)) },
		"rule":      func(v ast.Node) { want(&e.Rule)(f.text(v, "rule")) },
		"refresh":   func(v ast.Node) { want(&e.Refresh)(f.boolean(v, "refresh")) },
		"backoff":   func(v ast.Node) { want(&e.Backoff)(f.text(v, "backoff")) },
		"exhausted": func(v ast.Node) { want(&e.Exhausted)(f.boolean(v, "exhausted")) },
		"circuit": func(v ast.Node) {
			f.mapping(v, "circuit", map[string]entry{
				"effect":     func(v ast.Node) { want(&e.Effect)(oneOf(f.source, v, "effect", effects)) },
				"scope":      func(v ast.Node) { want(&e.Scope)(oneOf(f.source, v, "scope", scopes)) },
				"hold":       func(v ast.Node) { want(&e.Hold)(f.text(v, "hold")) },
				"after":      func(v ast.Node) { want(&e.After)(f.integer(v, "after", 0)) },
				"max_probes": func(v ast.Node) { want(&e.MaxProbes)(f.integer(v, "max_probes", 0)) },
				"success":    func(v ast.Node) { want(&e.Success)(f.boolean(v, "success")) },
			})
		},
	})
	if *e == (Expect{}) && len(f.errs) == before {
		f.fail(n, "a case needs to expect something")
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
