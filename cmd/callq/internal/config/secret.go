package config

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/seed-2903acc3/callq/policy/yamlfile"
	"github.com/seed-2903acc3/callq/worker/upstream"
)

// Kind says where the value of a [Secret] comes from.
type Kind string

// The kinds. A value made of several parts has the kind of the part that can
// change the soonest: a file, then the environment, then the text itself.
const (
	Literal Kind = "literal"
	Env     Kind = "env"
	File    Kind = "file"
)

const hidden = "(hidden)"

// Secret is a string of the configuration that may contain references. [Secret.Read]
// reads them each time, so that a rotated file is noticed. Printed, logged or encoded, a
// Secret shows its references and never the value. The zero value is an absent key.
type Secret struct {
	// get is a function because fmt cannot call String on an unexported field: printing
	// a struct with a Secret in such a field then shows only an address.
	get func() *secret
}

func newSecret(p secret) Secret { return Secret{func() *secret { return &p }} }

type secret struct {
	pos   yamlfile.Pos
	key   string
	dir   string
	env   func(string) string
	parts []part
}

type part struct {
	kind Kind
	text string
}

// IsZero reports whether the key is absent.
func (s Secret) IsZero() bool { return s.get == nil }

// Pos returns where the value is written.
func (s Secret) Pos() yamlfile.Pos {
	if s.get == nil {
		return yamlfile.Pos{}
	}
	return s.get().pos
}

// Kind returns where the value comes from, Literal for the zero value.
func (s Secret) Kind() Kind {
	kind := Literal
	if s.get == nil {
		return kind
	}
	for _, part := range s.get().parts {
		switch part.kind {
		case File:
			return File
		case Env:
			kind = Env
		}
	}
	return kind
}

// Files returns the absolute paths of the files that the value is read from, for callers
// that watch them for changes. It is empty unless Kind is File.
func (s Secret) Files() []string {
	if s.get == nil {
		return nil
	}
	var files []string
	for _, part := range s.get().parts {
		if part.kind == File {
			files = append(files, s.get().path(part.text))
		}
	}
	return files
}

// Read reads the environment and the files again and returns the value. An error is an
// [*yamlfile.Error] with the position of the value. The zero value is the empty string.
// Read is safe for concurrent use.
func (s Secret) Read() (string, error) {
	if s.get == nil {
		return "", nil
	}
	p := s.get()
	var b strings.Builder
	for _, part := range p.parts {
		switch part.kind {
		case Env:
			value := p.env(part.text)
			if value == "" {
				return "", p.pos.Errorf("%s: the environment variable %s is not set; set it, or correct its name", p.key, part.text)
			}
			b.WriteString(value)
		case File:
			value, err := upstream.ReadSecretFile(p.path(part.text))
			if err != nil {
				return "", p.pos.Errorf("%s: %v", p.key, err)
			}
			b.WriteString(value)
		default:
			b.WriteString(part.text)
		}
	}
	return b.String(), nil
}

// Parts calls one of the functions for each part, in order: with the text of a literal
// part, the name of a variable, or the absolute path of a file. It is for callers that
// read the parts themselves.
func (s Secret) Parts(literal, env, file func(string)) {
	if s.get == nil {
		return
	}
	p := s.get()
	for _, part := range p.parts {
		switch part.kind {
		case Env:
			env(part.text)
		case File:
			file(p.path(part.text))
		default:
			literal(part.text)
		}
	}
}

func (p *secret) path(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(p.dir, name)
}

// String returns the references; literal text is hidden.
func (s Secret) String() string {
	if s.get == nil {
		return ""
	}
	var b strings.Builder
	for _, part := range s.get().parts {
		switch part.kind {
		case Literal:
			b.WriteString(hidden)
		default:
			b.WriteString("${" + string(part.kind) + ":" + part.text + "}")
		}
	}
	return b.String()
}

// GoString returns String in quotes.
func (s Secret) GoString() string { return "config.Secret(" + strconv.Quote(s.String()) + ")" }

// LogValue returns String.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText returns String, for JSON and other encodings.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// splitReferences splits text into literal parts and references. $${ is a literal ${.
func splitReferences(text string) ([]part, error) {
	var parts []part
	var literal strings.Builder
	flush := func() {
		if literal.Len() > 0 {
			parts = append(parts, part{Literal, literal.String()})
			literal.Reset()
		}
	}
	for text != "" {
		i := strings.Index(text, "${")
		if i < 0 {
			literal.WriteString(text)
			break
		}
		if i > 0 && text[i-1] == '$' {
			literal.WriteString(text[:i-1] + "${")
			text = text[i+2:]
			continue
		}
		literal.WriteString(text[:i])
		inner, rest, closed := strings.Cut(text[i+2:], "}")
		if !closed {
			return nil, errors.New("a ${ has no closing }; write ${env:NAME} or ${file:PATH}, or $${ for the characters themselves")
		}
		kind, name, _ := strings.Cut(inner, ":")
		switch {
		case kind == string(Env) && isVariable(name):
		case kind == string(File) && name != "" && !strings.ContainsAny(name, "\x00\r\n"):
		case isVariable(inner):
			return nil, fmt.Errorf("${%s} is not a reference; write ${env:%[1]s}, or $${ for the characters themselves", inner)
		default:
			return nil, errors.New("a ${…} is not a reference; write ${env:NAME} or ${file:PATH}, or $${ for the characters themselves")
		}
		flush()
		parts = append(parts, part{Kind(kind), name})
		text = rest
	}
	flush()
	return parts, nil
}

func isVariable(name string) bool {
	for i, r := range name {
		switch {
		case r == '_', 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z':
		case '0' <= r && r <= '9' && i > 0:
		default:
			return false
		}
	}
	return name != ""
}
