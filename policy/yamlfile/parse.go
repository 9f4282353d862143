package yamlfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

const (
	// maxSize is the size of the largest file, in bytes.
	maxSize = 1 << 20
	// maxNesting is how many brackets may be open at once, and how many lists may
	// begin on one line: the parser's time grows with the square of either.
	maxNesting = 200
	// maxAliases is how many aliases are followed in one file: a few nested aliases
	// would otherwise expand without end.
	maxAliases = 10_000
)

// File collects the mistakes in one file while its values are read. It is not safe
// for concurrent use.
type File struct {
	name string
	// root is what messages call the whole file, as in "the configuration".
	root    string
	anchors map[string]ast.Node
	aliases int
	errs    Errors
}

// Read reads all of r, up to one byte more than the largest file. Parse refuses a
// file of that length.
func Read(r io.Reader) ([]byte, error) { return io.ReadAll(io.LimitReader(r, maxSize+1)) }

// Parse parses data. name is the file's name in errors. root is what messages call the
// whole file, as in "the configuration". The value is the zero Value if the file is empty
// or cannot be parsed; [File.Err] returns an error only in the second case.
func Parse(name, root string, data []byte) (f *File, value Value) {
	f = &File{name: name, root: root, anchors: map[string]ast.Node{}}
	if problem := unreadable(data); problem != "" {
		f.Failf(f.start(), "%s", problem)
		return f, Value{}
	}
	defer func() {
		// The parser has crashed on hostile input before. For the user, such a file is
		// not YAML.
		if recover() != nil {
			f.Failf(f.start(), "the file cannot be read as YAML")
			value = Value{}
		}
	}()
	parsed, err := parser.ParseBytes(data, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		f.syntax(err, data)
		return f, Value{}
	}
	var documents []ast.Node
	for _, doc := range parsed.Docs {
		if doc.Body != nil && doc.Body.Type() != ast.NullType {
			documents = append(documents, doc.Body)
		}
	}
	switch len(documents) {
	case 0:
		return f, Value{}
	case 1:
		ast.Walk(anchors(f.anchors), documents[0])
		return f, Value{file: f, key: f.position(documents[0]), node: documents[0]}
	default:
		f.Failf(f.position(documents[1]), "a second document begins here; %s is a single document, so remove the ---", root)
		return f, Value{}
	}
}

// unreadable returns why data cannot be parsed at all, or "".
func unreadable(data []byte) string {
	switch {
	case len(data) > maxSize:
		return fmt.Sprintf("the file is larger than %d KiB", maxSize>>10)
	case slices.Contains(data, 0):
		return "the file contains a zero byte, so it is not text; save it as UTF-8"
	case !utf8.Valid(data):
		return "the file is not UTF-8; save it as UTF-8"
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

// anchors are the anchors of a file by their names.
type anchors map[string]ast.Node

// Visit implements [ast.Visitor].
func (a anchors) Visit(n ast.Node) ast.Visitor {
	if anchor, ok := n.(*ast.AnchorNode); ok && anchor.Name != nil {
		a[anchor.Name.GetToken().Value] = anchor.Value
	}
	return a
}

// syntax adds the parser's error, with a hint if the mistake is a common one. It leaves
// out the parser's excerpt of the file, which may show a secret.
func (f *File) syntax(err error, data []byte) {
	at := f.start()
	var syntax *yaml.SyntaxError
	if !errors.As(err, &syntax) {
		f.Failf(at, "the file cannot be read as YAML")
		return
	}
	if syntax.Token != nil && syntax.Token.Position != nil {
		at.Line, at.Column = max(syntax.Token.Position.Line, 1), max(syntax.Token.Position.Column, 1)
	}
	message := "this is not valid YAML: " + strings.ReplaceAll(syntax.Message, "\n", " ")
	if lines := strings.Split(string(data), "\n"); at.Line <= len(lines) {
		message += hint(lines[at.Line-1])
	}
	f.Failf(at, "%s", message)
}

func hint(line string) string {
	value := strings.TrimSpace(line)
	if _, after, ok := strings.Cut(line, ": "); ok {
		value = strings.TrimSpace(after)
	}
	switch {
	case strings.HasPrefix(value, "embedded:"):
		return `; a value that ends with a colon needs quotes, so write redis: "embedded:"`
	case strings.Contains(line, "${") && strings.Contains(line, "{"):
		return `; a reference within braces needs quotes, as in {token: "${env:NAME}"}`
	case strings.HasPrefix(strings.TrimLeft(line, " "), "\t"):
		return "; YAML is indented with spaces, never with tabs"
	}
	return ""
}

// Failf adds a mistake at a position.
func (f *File) Failf(at Pos, format string, args ...any) {
	f.errs = append(f.errs, at.Errorf(format, args...))
}

// Add adds mistakes that are not in the file, such as in the environment.
func (f *File) Add(errs ...*Error) { f.errs = append(f.errs, errs...) }

// Failures returns the number of mistakes so far.
func (f *File) Failures() int { return len(f.errs) }

// Errors returns the mistakes so far, sorted by line.
func (f *File) Errors() Errors {
	errs := slices.Clone(f.errs)
	errs.Sort()
	return errs
}

// Err returns [File.Errors] as an error, or nil if there are none.
func (f *File) Err() error { return f.Errors().Err() }

// Name returns the file's name in errors.
func (f *File) Name() string { return f.name }

func (f *File) start() Pos { return Pos{File: f.name, Line: 1, Column: 1} }

// position returns where a node begins, as exactly as the parser reports it.
func (f *File) position(n ast.Node) Pos {
	p := f.start()
	// A mapping's own token is its first colon.
	if m, ok := n.(*ast.MappingNode); ok && !m.IsFlowStyle && len(m.Values) > 0 {
		n = m.Values[0].Key
	}
	if n == nil || n.GetToken() == nil || n.GetToken().Position == nil {
		return p
	}
	at := n.GetToken().Position
	p.Line, p.Column = max(at.Line, 1), max(at.Column, 1)
	return p
}
