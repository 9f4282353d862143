package config

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// decoder walks the YAML tree. It goes on after an error, to find them all.
type decoder struct {
	file string
	dir  string
	env  func(string) string
	cfg  *Config
	errs Errors
	// tokensGiven tells that admin.tokens is there and not empty, right or wrong.
	tokensGiven bool
}

// entry is one key of a mapping, or one item of a list.
type entry struct {
	// path is the key with those above it, as in upstreams.patsnap.timeout.
	path string
	// at is where the key is; for an item, where the item is.
	at   Pos
	node ast.Node
}

// fields is what a mapping may hold. A key's function is called with its entry.
type fields map[string]func(entry)

func (d *decoder) fail(p Pos, format string, args ...any) {
	d.errs = append(d.errs, p.Errorf(format, args...))
}

// pos is the position of a node, as exactly as the parser knows it.
func (d *decoder) pos(n ast.Node) Pos {
	p := Pos{File: d.file, Line: 1, Column: 1}
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

// parse returns the root of the only document, nil where there is nothing or
// something wrong.
func (d *decoder) parse(data []byte) (root ast.Node) {
	start := Pos{File: d.file, Line: 1, Column: 1}
	// The parser has crashed on hostile input before; for the user that is a
	// file that is not YAML.
	defer func() {
		if recover() != nil {
			root = nil
			d.fail(start, "the file cannot be read as YAML")
		}
	}()
	if slices.Contains(data, 0) {
		d.fail(start, "the file holds a zero byte, so it is no text; save it as UTF-8")
		return nil
	}
	file, err := parser.ParseBytes(data, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		d.fail(d.syntax(err, string(data)))
		return nil
	}
	var bodies []ast.Node
	for _, doc := range file.Docs {
		if doc.Body != nil && doc.Body.Type() != ast.NullType {
			bodies = append(bodies, doc.Body)
		}
	}
	if len(bodies) == 0 {
		return nil
	}
	if len(bodies) > 1 {
		d.fail(d.pos(bodies[1]), "a second document begins here; the configuration is a single one, so take out the ---")
		return nil
	}
	return bodies[0]
}

// syntax says what the parser found, with a hint where the mistake is a common
// one. The parser's picture of the source is left out: it may show a secret.
func (d *decoder) syntax(err error, source string) (Pos, string, string) {
	p := Pos{File: d.file, Line: 1, Column: 1}
	var syntax *yaml.SyntaxError
	if !errors.As(err, &syntax) {
		return p, "%s", "the file cannot be read as YAML"
	}
	if syntax.Token != nil && syntax.Token.Position != nil {
		at := syntax.Token.Position
		p.Line, p.Column = max(at.Line, 1), max(at.Column, 1)
	}
	message := "this is not valid YAML: " + strings.ReplaceAll(syntax.Message, "\n", " ")
	if lines := strings.Split(source, "\n"); p.Line <= len(lines) {
		message += hint(lines[p.Line-1])
	}
	return p, "%s", message
}

func hint(line string) string {
	value := line
	if _, after, ok := strings.Cut(line, ":"); ok {
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

// given says which keys of a mapping are there.
type given struct {
	keys map[string]bool
	// unclear tells that something of it could not be read, and so may be any key.
	unclear bool
}

// lacks tells that a key is missing, and that no other mistake is the reason.
func (g given) lacks(key string) bool { return !g.unclear && !g.keys[key] }

// mapping calls the functions of the fields that are there. A key that was
// probably meant by one that is not known counts as given.
func (d *decoder) mapping(e entry, known fields) given {
	g := given{keys: map[string]bool{}}
	g.unclear = !d.eachKey(e, func(key string, child entry) {
		if decode, ok := known[key]; ok {
			g.keys[key] = true
			decode(child)
			return
		}
		g.keys[nearest(key, known)] = true
		where := ""
		if e.path != "" {
			where = " in " + e.path
		}
		d.fail(child.at, "unknown key %q%s; %s", key, where, suggest(key, known))
	})
	return g
}

// eachKey calls fn for the keys of a mapping, in order, each once. It returns
// whether all of them could be read.
func (d *decoder) eachKey(e entry, fn func(key string, child entry)) (read bool) {
	node, ok := e.node.(*ast.MappingNode)
	if !ok {
		if e.node.Type() != ast.NullType {
			d.wrongType(e, "a mapping of keys and values")
			return false
		}
		return true
	}
	read = true
	seen := map[string]Pos{}
	for _, value := range node.Values {
		at := d.pos(value.Key)
		name, ok := value.Key.(*ast.StringNode)
		if !ok {
			d.fail(at, "a key of %s is no plain text; write a name (quoted, if it is a number), without anchors, tags and merges", orRoot(e.path))
			read = false
			continue
		}
		key := name.Value
		if first, twice := seen[key]; twice {
			d.fail(at, "key %q is there twice, first in line %d; keep one of them", key, first.Line)
			continue
		}
		seen[key] = at
		fn(key, entry{path: join(e.path, key), at: at, node: value.Value})
	}
	return read
}

// list calls fn for the items of a list, in order.
func (d *decoder) list(e entry, fn func(entry)) {
	node, ok := e.node.(*ast.SequenceNode)
	if !ok {
		if e.node.Type() != ast.NullType {
			d.wrongType(e, "a list, as in [a, b]")
		}
		return
	}
	for i, value := range node.Values {
		fn(entry{path: fmt.Sprintf("%s[%d]", e.path, i), at: d.pos(value), node: value})
	}
}

// str reads a string, which must not be empty.
func (d *decoder) str(e entry) (string, bool) {
	var value string
	switch node := e.node.(type) {
	case *ast.StringNode:
		value = node.Value
	case *ast.LiteralNode:
		value = node.Value.Value
	case *ast.NullNode:
		d.fail(e.at, "%s has no value; write one, or take the key out", e.path)
		return "", false
	default:
		d.wrongType(e, "a string")
		return "", false
	}
	if value == "" {
		d.fail(d.pos(e.node), "%s is empty; write a value, or take the key out", e.path)
		return "", false
	}
	return value, true
}

// plain is str for a value that may not hold references.
func (d *decoder) plain(e entry) (string, bool) {
	value, ok := d.str(e)
	if ok && strings.Contains(value, "${") {
		d.fail(d.pos(e.node), "%s cannot hold a ${…} reference; write the value itself", e.path)
		return "", false
	}
	return value, ok
}

// choice reads one of the values.
func (d *decoder) choice(e entry, values ...string) (string, bool) {
	value, ok := d.plain(e)
	if ok && !slices.Contains(values, value) {
		d.fail(d.pos(e.node), "%s is %q; write one of %s", e.path, value, strings.Join(values, ", "))
		return "", false
	}
	return value, ok
}

// number reads a whole number in a range.
func (d *decoder) number(e entry, least, most int) (int, bool) {
	node, ok := e.node.(*ast.IntegerNode)
	if !ok {
		d.wrongType(e, "a whole number")
		return 0, false
	}
	n, err := strconv.Atoi(node.Token.Value)
	if err != nil || n < least || n > most {
		d.fail(d.pos(e.node), "%s is %s; write a number from %d to %d", e.path, node.Token.Value, least, most)
		return 0, false
	}
	return n, true
}

// duration reads a duration above zero.
func (d *decoder) duration(e entry) (time.Duration, bool) {
	if node, ok := e.node.(*ast.IntegerNode); ok {
		d.fail(d.pos(e.node), "%s is %s without a unit; write one, as in %ss or 5m", e.path, node.Token.Value, node.Token.Value)
		return 0, false
	}
	text, ok := d.plain(e)
	if !ok {
		return 0, false
	}
	value, err := time.ParseDuration(text)
	if err != nil {
		d.fail(d.pos(e.node), "%s is %q, which is no duration; write a number and a unit, as in 30s, 5m or 168h", e.path, text)
		return 0, false
	}
	if value <= 0 {
		d.fail(d.pos(e.node), "%s is %q; write a duration above 0", e.path, text)
		return 0, false
	}
	return value, true
}

func (d *decoder) wrongType(e entry, want string) {
	p, have := e.at, ""
	if e.node.Type() != ast.NullType {
		p = d.pos(e.node)
	}
	switch e.node.(type) {
	case *ast.NullNode:
		have = "nothing"
	case *ast.MappingNode:
		have = "a mapping"
	case *ast.SequenceNode:
		have = "a list"
	case *ast.StringNode, *ast.LiteralNode:
		have = "a string"
	case *ast.IntegerNode:
		have = "a number"
	case *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		have = "a number with a fraction"
	case *ast.BoolNode:
		have = "a truth value"
	default:
		d.fail(p, "%s uses an anchor, an alias, a tag or a merge; write the value out, as %s", orRoot(e.path), want)
		return
	}
	quote := ""
	if want == "a string" && (strings.HasPrefix(have, "a number") || have == "a truth value") {
		quote = "; put it in quotes"
	}
	d.fail(p, "%s must be %s, and here is %s%s", orRoot(e.path), want, have, quote)
}

// text reads a string that may hold references. It is checked and stored now if
// it holds none, and otherwise when its section is resolved.
func (d *decoder) text(e entry, s section, check func(string) error, store func(string)) {
	if secret, ok := d.secret(e, s, check, store); ok && secret.Kind() == Literal {
		value, _ := secret.Read() // literal text always reads
		store(value)
	}
}

// secret reads a string that may hold references, and sees to it that check is
// asked about what it stands for. store may be nil.
func (d *decoder) secret(e entry, s section, check func(string) error, store func(string)) (Secret, bool) {
	secret, ok := d.references(e)
	if !ok {
		return Secret{}, false
	}
	p := secret.Pos()
	if secret.Kind() == Literal {
		value, _ := secret.Read() // literal text always reads
		return secret, d.checkNow(p, e.path, value, check)
	}
	d.cfg.deferred = append(d.cfg.deferred, deferred{s, e.path, func() error {
		value, err := secret.Read()
		if err != nil {
			return err
		}
		if err := check(value); err != nil {
			return p.Errorf("%s, as %s has it, %v", e.path, secret, err)
		}
		if store != nil {
			store(value)
		}
		return nil
	}})
	return secret, true
}

// references reads a string and the references in it, and checks nothing else.
func (d *decoder) references(e entry) (Secret, bool) {
	raw, ok := d.str(e)
	if !ok {
		return Secret{}, false
	}
	p := d.pos(e.node)
	parts, err := splitReferences(raw)
	if err != nil {
		d.fail(p, "%s: %v", e.path, err)
		return Secret{}, false
	}
	return newSecret(secret{pos: p, key: e.path, dir: d.dir, env: d.env, parts: parts}), true
}

func (d *decoder) checkNow(p Pos, path, value string, check func(string) error) bool {
	if err := check(value); err != nil {
		d.fail(p, "%s %v", path, err)
		return false
	}
	return true
}

func (d *decoder) literal(p Pos, key, value string) Secret {
	return newSecret(secret{pos: p, key: key, dir: d.dir, env: d.env, parts: []part{{Literal, value}}})
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

func orRoot(path string) string {
	if path == "" {
		return "the configuration"
	}
	return path
}
