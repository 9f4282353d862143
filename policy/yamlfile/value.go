package yamlfile

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// Value is one value of a file: the value of a key, or an item of a list. The zero
// Value is an absent value, which reads as an empty mapping and an empty list.
type Value struct {
	file *File
	path string
	key  Pos
	node ast.Node
	// keyNode is the key of a value that has one.
	keyNode ast.Node
}

// Kind is the type of a value, as messages name it.
type Kind string

// The kinds. KindOther is a value with a tag, which is never read.
const (
	KindNull    Kind = "nothing"
	KindMapping Kind = "a mapping"
	KindList    Kind = "a list"
	KindString  Kind = "a string"
	KindInt     Kind = "a number"
	KindFloat   Kind = "a number with a fraction"
	KindBool    Kind = "true or false"
	KindOther   Kind = "a value with a tag"
)

// Given says which keys a mapping has. The zero value has none.
type Given struct {
	keys    map[string]bool
	unclear bool
}

// Lacks reports whether a key is missing and no other mistake is the reason. A known
// key that an unknown one was probably meant to be counts as given.
func (g Given) Lacks(key string) bool { return !g.unclear && !g.keys[key] }

// Fields are the keys that a mapping may have, each with a function that reads its
// value.
type Fields map[string]func(Value)

// IsZero reports whether the value is absent.
func (v Value) IsZero() bool { return v.file == nil }

// Path returns the key with the keys above it, as in upstreams.patsnap.timeout.
func (v Value) Path() string { return v.path }

// Key returns where the value's key is; for an item of a list, where the item is.
func (v Value) Key() Pos { return v.key }

// Pos returns where the value begins, or where its key is if the value is empty.
func (v Value) Pos() Pos {
	if v.node == nil || v.node.Type() == ast.NullType {
		return v.key
	}
	return v.file.position(v.node)
}

// Kind returns the type of the value. An alias has the type of its anchor.
func (v Value) Kind() Kind { return kindOf(v.resolve()) }

func kindOf(n ast.Node) Kind {
	switch n.(type) {
	case nil, *ast.NullNode:
		return KindNull
	case *ast.MappingNode, *ast.MappingValueNode:
		return KindMapping
	case *ast.SequenceNode:
		return KindList
	case *ast.StringNode, *ast.LiteralNode:
		return KindString
	case *ast.IntegerNode:
		return KindInt
	case *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		return KindFloat
	case *ast.BoolNode:
		return KindBool
	default:
		return KindOther
	}
}

// Failf adds a mistake about the value. The message begins with the value's path.
func (v Value) Failf(format string, args ...any) {
	v.file.Failf(v.Pos(), "%s "+format, append([]any{v.name()}, args...)...)
}

// FailKeyf is [Value.Failf] at the position of the value's key.
func (v Value) FailKeyf(format string, args ...any) {
	v.file.Failf(v.key, "%s "+format, append([]any{v.name()}, args...)...)
}

// FailAtf is [Value.Failf] at one character of a string, counted from 1. If the string is
// written with escapes or over several lines, the position is where it begins.
func (v Value) FailAtf(character int, format string, args ...any) {
	at := v.Pos()
	at.Column += offset(v.node, character)
	v.file.Failf(at, "%s "+format, append([]any{v.name()}, args...)...)
}

// FailKeyAtf is [Value.FailAtf] for the value's key.
func (v Value) FailKeyAtf(character int, format string, args ...any) {
	at := v.key
	at.Column += offset(v.keyNode, character)
	v.file.Failf(at, "%s "+format, append([]any{v.name()}, args...)...)
}

// offset returns how many columns after its beginning a string has a character.
func offset(n ast.Node, character int) int {
	text, ok := n.(*ast.StringNode)
	if !ok || character < 1 {
		return 0
	}
	switch raw := strings.TrimSpace(text.Token.Origin); {
	case raw == text.Value:
		return character - 1
	case len(raw) > 1 && raw[1:len(raw)-1] == text.Value: // between quotes
		return character
	default:
		return 0
	}
}

// name returns what messages call the value.
func (v Value) name() string {
	if v.path == "" {
		return v.file.root
	}
	return v.path
}

// FailType adds the mistake that the value has the wrong type. want is the right one,
// as in "a list".
func (v Value) FailType(want string) {
	n := v.resolve()
	if n == nil {
		return // resolve has reported the mistake
	}
	got := kindOf(n)
	if got == KindOther {
		v.Failf("has a tag or a merge; write the value out, as %s", want)
		return
	}
	quote := ""
	if want == string(KindString) && (got == KindInt || got == KindFloat || got == KindBool) {
		quote = "; put it in quotes"
	}
	v.Failf("must be %s, got %s%s", want, got, quote)
}

// resolve follows anchors and aliases. It returns nil if they lead nowhere, and reports
// that once for each position.
func (v Value) resolve() ast.Node {
	const mostHops = 10
	n := v.node
	for range mostHops {
		switch node := n.(type) {
		case *ast.AnchorNode:
			n = node.Value
		case *ast.AliasNode:
			if v.file.aliases++; v.file.aliases > maxAliases {
				v.file.failOnce(v.file.position(n), "the file follows more than %d aliases", maxAliases)
				return nil
			}
			name := node.Value.GetToken().Value
			target, ok := v.file.anchors[name]
			if !ok {
				v.file.failOnce(v.file.position(n), "no anchor &%s is defined", name)
				return nil
			}
			n = target
		default:
			return n
		}
	}
	v.file.failOnce(v.file.position(n), "this alias refers to itself")
	return nil
}

// failOnce adds a mistake unless it was added before.
func (f *File) failOnce(at Pos, format string, args ...any) {
	one := at.Errorf(format, args...)
	if !slices.ContainsFunc(f.errs, func(other *Error) bool { return *other == *one }) {
		f.Add(one)
	}
}

// Mapping reads a mapping. It calls the function of each key that is present, in the
// order of the file. An empty value reads as an empty mapping.
func (v Value) Mapping(known Fields) Given {
	g := Given{keys: map[string]bool{}}
	g.unclear = !v.Each(func(key string, child Value) {
		if read, ok := known[key]; ok {
			g.keys[key] = true
			read(child)
			return
		}
		g.keys[nearest(key, known)] = true
		where := ""
		if v.path != "" {
			where = " in " + v.path
		}
		v.file.Failf(child.key, "unknown key %q%s; %s", key, where, suggest(key, known))
	})
	return g
}

// Each calls fn for each key of a mapping, in the order of the file. It reports
// whether all of them could be read.
func (v Value) Each(fn func(key string, child Value)) (read bool) {
	var pairs []*ast.MappingValueNode
	switch n := v.resolve().(type) {
	case nil:
		return v.node == nil
	case *ast.NullNode:
		return true
	case *ast.MappingNode:
		pairs = n.Values
	case *ast.MappingValueNode:
		pairs = []*ast.MappingValueNode{n}
	default:
		v.FailType("a mapping of keys and values")
		return false
	}
	read = true
	seen := map[string]Pos{}
	for _, pair := range pairs {
		at := v.file.position(pair.Key)
		name, ok := pair.Key.(*ast.StringNode)
		if !ok {
			v.file.Failf(at, "a key of %s is not plain text; write a name (in quotes if it is a number), without anchors, tags and merges", v.name())
			read = false
			continue
		}
		key := name.Value
		if first, twice := seen[key]; twice {
			v.file.Failf(at, "key %q appears twice, first in line %d; remove one of them", key, first.Line)
			continue
		}
		seen[key] = at
		fn(key, Value{file: v.file, path: join(v.path, key), key: at, node: pair.Value, keyNode: pair.Key})
	}
	return read
}

// List calls fn for each item of a list, in order. An empty value reads as an empty
// list.
func (v Value) List(fn func(item Value)) {
	switch n := v.resolve().(type) {
	case nil, *ast.NullNode:
	case *ast.SequenceNode:
		for i, item := range n.Values {
			fn(Value{file: v.file, path: fmt.Sprintf("%s[%d]", v.path, i), key: v.file.position(item), node: item})
		}
	default:
		v.FailType("a list")
	}
}

// NonEmptyList is [Value.List] for a list that must not be empty.
func (v Value) NonEmptyList(fn func(item Value)) {
	before, count := len(v.file.errs), 0
	v.List(func(item Value) { count++; fn(item) })
	if count == 0 && len(v.file.errs) == before {
		v.Failf("is empty; name at least one value, or remove the key")
	}
}

// Len returns the number of items of a list, 0 for any other value.
func (v Value) Len() int {
	if n, ok := v.resolve().(*ast.SequenceNode); ok {
		return len(n.Values)
	}
	return 0
}

// word matches a key that a path shows without quotes.
var word = regexp.MustCompile(`^[A-Za-z0-9_.~-]+$`)

// join adds a key to a path, in quotes if it is not a plain word, so that a path is
// always one line.
func join(path, key string) string {
	if !word.MatchString(key) {
		key = strconv.Quote(key)
	}
	if path == "" {
		return key
	}
	return path + "." + key
}
