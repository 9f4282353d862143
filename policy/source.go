package policy

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

const (
	// maxFile bounds what is read of a file.
	maxFile = 1 << 20
	// maxNesting bounds what is open at once, brackets and lists begun on one
	// line: the parser's time grows with the square of it.
	maxNesting = 200
)

// source reads one YAML file strictly and collects what is wrong with it. It
// walks the parsed file itself, since only so does every finding, of whatever
// kind, have its place and none hides the next.
type source struct {
	file    string
	anchors map[string]ast.Node
	errs    Errors
}

// openSource parses data; the node is nil for an empty file and where there are
// findings.
func openSource(file string, data []byte) (s *source, root ast.Node) {
	s = &source{file: file, anchors: map[string]ast.Node{}}
	if problem := unreadable(data); problem != "" {
		s.errs = append(s.errs, &Error{File: file, Line: 1, Column: 1, Message: problem})
		return s, nil
	}
	defer func() {
		// The parser is not ours, and what it is given may be anything.
		if r := recover(); r != nil {
			s.errs = append(s.errs, &Error{File: file, Line: 1, Column: 1, Message: "this is not YAML that can be read"})
			root = nil
		}
	}()
	parsed, err := parser.ParseBytes(data, 0)
	if err != nil {
		s.syntax(err)
		return s, nil
	}
	for _, doc := range parsed.Docs {
		if doc.Body == nil {
			continue
		}
		if root != nil {
			s.fail(doc.Body, "a file holds one YAML document; remove the second")
			return s, nil
		}
		root = doc.Body
	}
	if root != nil {
		ast.Walk(s, root)
	}
	return s, root
}

func unreadable(data []byte) string {
	switch {
	case len(data) > maxFile:
		return fmt.Sprintf("the file is larger than %d bytes", maxFile)
	case !utf8.Valid(data):
		return "the file is not UTF-8"
	}
	depth := 0
	for _, c := range data {
		switch c {
		case '[', '{':
			if depth++; depth > maxNesting {
				return fmt.Sprintf("more than %d brackets are open at once", maxNesting)
			}
		case ']', '}':
			depth = max(depth-1, 0)
		}
	}
	for line := range bytes.Lines(data) {
		dashes := 0
		for rest := bytes.TrimLeft(line, " \t"); len(rest) > 1 && rest[0] == '-' && (rest[1] == ' ' || rest[1] == '\t'); {
			if dashes++; dashes > maxNesting {
				return fmt.Sprintf("more than %d lists begin on one line", maxNesting)
			}
			rest = bytes.TrimLeft(rest[1:], " \t")
		}
	}
	return ""
}

// Visit collects the anchors, which aliases may name from anywhere.
func (s *source) Visit(n ast.Node) ast.Visitor {
	if a, ok := n.(*ast.AnchorNode); ok && a.Name != nil {
		s.anchors[a.Name.GetToken().Value] = a.Value
	}
	return s
}

func (s *source) syntax(err error) {
	finding := &Error{File: s.file, Line: 1, Column: 1, Message: "this is not YAML that can be read"}
	if y := yaml.Error(nil); errors.As(err, &y) {
		finding.Message = y.GetMessage()
		if tk := y.GetToken(); tk != nil && tk.Position != nil {
			finding.Line, finding.Column = tk.Position.Line, tk.Position.Column
		}
	}
	s.errs = append(s.errs, finding)
}

func (s *source) fail(n ast.Node, format string, args ...any) {
	s.failAt(s.position(n), format, args...)
}

func (s *source) failAt(at position, format string, args ...any) {
	s.errs = append(s.errs, &Error{File: at.file, Line: at.line, Column: at.col, Message: fmt.Sprintf(format, args...)})
}

// position is where a node begins.
func (s *source) position(n ast.Node) position {
	var tk *token.Token
	if m, ok := n.(*ast.MappingNode); ok && !m.IsFlowStyle && len(m.Values) > 0 {
		tk = m.Values[0].Key.GetToken()
	} else if n != nil {
		tk = n.GetToken()
	}
	if tk == nil || tk.Position == nil {
		return position{file: s.file, line: 1, col: 1}
	}
	return position{file: s.file, line: tk.Position.Line, col: tk.Position.Column}
}

// resolve follows anchors and aliases.
func (s *source) resolve(n ast.Node) ast.Node {
	const mostHops = 10
	for range mostHops {
		switch v := n.(type) {
		case *ast.AnchorNode:
			n = v.Value
		case *ast.AliasNode:
			target, ok := s.anchors[v.Value.GetToken().Value]
			if !ok {
				s.fail(n, "no anchor &%s is defined", v.Value.GetToken().Value)
				return nil
			}
			n = target
		default:
			return n
		}
	}
	s.fail(n, "this alias leads in a circle")
	return nil
}

// entry is what to do with one key's value.
type entry func(value ast.Node)

// mapping reads a mapping with known keys, in the order in which they stand.
// An empty value reads as an empty mapping.
func (s *source) mapping(n ast.Node, what string, entries map[string]entry) {
	s.pairs(n, what, func(key, value ast.Node, name string) {
		read, ok := entries[name]
		if !ok {
			known := make([]string, 0, len(entries))
			for k := range entries {
				known = append(known, k)
			}
			slices.Sort(known)
			s.fail(key, "%s has no key %q; it may have: %s", what, name, strings.Join(known, ", "))
			return
		}
		read(value)
	})
}

// pairs reads a mapping with any keys.
func (s *source) pairs(n ast.Node, what string, read func(key, value ast.Node, name string)) {
	at := n
	n = s.resolve(n)
	var values []*ast.MappingValueNode
	switch m := n.(type) {
	case nil, *ast.NullNode:
		return
	case *ast.MappingNode:
		values = m.Values
	case *ast.MappingValueNode:
		values = []*ast.MappingValueNode{m}
	default:
		s.fail(at, "%s is a mapping of keys to values, not %s", what, kind(n))
		return
	}
	seen := map[string]bool{}
	for _, v := range values {
		key, ok := v.Key.(*ast.StringNode)
		if !ok {
			if _, scalar := v.Key.(ast.ScalarNode); !scalar || v.Key.IsMergeKey() {
				s.fail(v.Key, "a key is a plain word; merge keys and complex keys are not read")
				continue
			}
		}
		name := v.Key.GetToken().Value
		if ok {
			name = key.Value
		}
		if seen[name] {
			s.fail(v.Key, "%q is given twice in %s", name, what)
			continue
		}
		seen[name] = true
		read(v.Key, v.Value, name)
	}
}

// list reads a sequence.
func (s *source) list(n ast.Node, what string, read func(item ast.Node)) {
	at := n
	n = s.resolve(n)
	switch l := n.(type) {
	case nil, *ast.NullNode:
	case *ast.SequenceNode:
		for _, item := range l.Values {
			read(item)
		}
	default:
		s.fail(at, "%s is a list, not %s", what, kind(n))
	}
}

// some is a list that must not be empty.
func (s *source) some(n ast.Node, what string, read func(item ast.Node)) {
	before, count := len(s.errs), 0
	s.list(n, what, func(item ast.Node) { count++; read(item) })
	if count == 0 && len(s.errs) == before {
		s.fail(n, "%s is empty; name at least one value or remove the key", what)
	}
}

func (s *source) text(n ast.Node, what string) (string, bool) {
	at := n
	n = s.resolve(n)
	switch v := n.(type) {
	case nil:
		return "", false
	case *ast.StringNode:
		return v.Value, true
	case *ast.LiteralNode:
		return v.Value.Value, true
	}
	s.fail(at, "%s is a text, not %s; quote it if it is meant as text", what, kind(n))
	return "", false
}

func (s *source) boolean(n ast.Node, what string) (bool, bool) {
	at := n
	n = s.resolve(n)
	if v, ok := n.(*ast.BoolNode); ok {
		return v.Value, true
	}
	if n != nil {
		s.fail(at, "%s is true or false, not %s", what, kind(n))
	}
	return false, false
}

// integer reads a whole number in decimal digits, at least least.
func (s *source) integer(n ast.Node, what string, least int) (int, bool) {
	at := n
	n = s.resolve(n)
	v, ok := n.(*ast.IntegerNode)
	if !ok {
		if n != nil {
			s.fail(at, "%s is a whole number, not %s", what, kind(n))
		}
		return 0, false
	}
	i, err := strconv.Atoi(v.Token.Value)
	if err != nil || i < least || i > 1<<31-1 {
		s.fail(at, "%s is a whole number from %d on, in decimal digits, not %s", what, least, v.Token.Value)
		return 0, false
	}
	return i, true
}

func (s *source) float(n ast.Node, what string) (float64, bool) {
	at := n
	n = s.resolve(n)
	switch n.(type) {
	case *ast.IntegerNode, *ast.FloatNode:
		if f, err := strconv.ParseFloat(n.GetToken().Value, 64); err == nil {
			return f, true
		}
	case nil:
		return 0, false
	}
	s.fail(at, "%s is a number, not %s", what, kind(n))
	return 0, false
}

// duration reads Go's notation, such as 1m30s, at least least.
func (s *source) duration(n ast.Node, what string, least time.Duration) (time.Duration, bool) {
	at := n
	n = s.resolve(n)
	if n == nil {
		return 0, false
	}
	scalar, ok := n.(ast.ScalarNode)
	if !ok || scalar.Type() == ast.NullType {
		s.fail(at, "%s is a duration such as 30s, 10m or 24h, not %s", what, kind(n))
		return 0, false
	}
	text := n.GetToken().Value
	d, err := time.ParseDuration(text)
	switch {
	case err != nil:
		s.fail(at, "%s is a duration such as 30s, 10m or 24h, not %q", what, text)
		return 0, false
	case d < least && least == 1:
		s.fail(at, "%s must be longer than 0, not %s", what, text)
		return 0, false
	case d < least:
		s.fail(at, "%s must be at least %s, not %s", what, least, text)
		return 0, false
	}
	return d, true
}

// oneOf reads a word of a closed set.
func oneOf[T ~string](s *source, n ast.Node, what string, values []T) (T, bool) {
	text, ok := s.text(n, what)
	if !ok {
		return "", false
	}
	if !slices.Contains(values, T(text)) {
		names := make([]string, len(values))
		for i, v := range values {
			names[i] = string(v)
		}
		s.fail(n, "%s cannot be %q; it is one of: %s", what, text, strings.Join(names, ", "))
		return "", false
	}
	return T(text), true
}

// kind says what a node is, for people.
func kind(n ast.Node) string {
	switch v := n.(type) {
	case *ast.NullNode:
		return "empty"
	case *ast.BoolNode, *ast.IntegerNode, *ast.FloatNode:
		return v.GetToken().Value
	case *ast.StringNode:
		return strconv.Quote(v.Value)
	case *ast.LiteralNode:
		return "a text"
	case *ast.MappingNode, *ast.MappingValueNode:
		return "a mapping"
	case *ast.SequenceNode:
		return "a list"
	case *ast.TagNode:
		return "a value with a tag"
	default:
		return "this"
	}
}
