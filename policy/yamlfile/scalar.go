package yamlfile

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
)

// Text reads a string, which must not be empty.
func (v Value) Text() (string, bool) {
	text, ok := v.AnyText()
	if ok && text == "" {
		v.Failf("is empty; write a value, or remove the key")
		return "", false
	}
	return text, ok
}

// AnyText reads a string, which may be "".
func (v Value) AnyText() (string, bool) {
	switch n := v.resolve().(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.LiteralNode:
		return n.Value.Value, true
	case *ast.NullNode:
		v.Failf("has no value; write one, or remove the key")
	default:
		v.FailType(string(KindString))
	}
	return "", false
}

// Scalar reads a string, a number, true or false, as it is written.
func (v Value) Scalar() (string, bool) {
	switch n := v.resolve().(type) {
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
		return n.GetToken().Value, true
	}
	return v.AnyText()
}

// Bool reads true or false.
func (v Value) Bool() (value, ok bool) {
	if n, ok := v.resolve().(*ast.BoolNode); ok {
		return n.Value, true
	}
	v.FailType("true or false")
	return false, false
}

// Int reads a whole number in decimal digits, between least and most.
func (v Value) Int(least, most int) (int, bool) {
	node, ok := v.resolve().(*ast.IntegerNode)
	if !ok {
		v.FailType("a whole number")
		return 0, false
	}
	n, err := strconv.Atoi(node.Token.Value)
	if err != nil || n < least || n > most {
		v.Failf("is %s; write a number from %d to %d", node.Token.Value, least, most)
		return 0, false
	}
	return n, true
}

// Float reads a number, with or without a fraction.
func (v Value) Float() (float64, bool) {
	switch n := v.resolve().(type) {
	case *ast.IntegerNode, *ast.FloatNode:
		if f, err := strconv.ParseFloat(n.GetToken().Value, 64); err == nil {
			return f, true
		}
	}
	v.FailType("a number")
	return 0, false
}

// Duration reads a duration in Go's notation, as in 30s or 1h30m. It must be above 0,
// or at least 0 if zero is true.
func (v Value) Duration(zero bool) (time.Duration, bool) {
	if n, ok := v.resolve().(*ast.IntegerNode); ok {
		v.Failf("is %s without a unit; write one, as in %ss or 5m", n.Token.Value, n.Token.Value)
		return 0, false
	}
	text, ok := v.Text()
	if !ok {
		return 0, false
	}
	d, err := time.ParseDuration(text)
	switch {
	case err != nil:
		v.Failf("is %q, which is not a duration; write a number and a unit, as in 30s, 5m or 168h", text)
	case d < 0 && zero:
		v.Failf("is %q; write a duration of 0s or more", text)
	case d <= 0 && !zero:
		v.Failf("is %q; write a duration above 0", text)
	default:
		return d, true
	}
	return 0, false
}

// OneOf reads a word of a closed set.
func OneOf[T ~string](v Value, values ...T) (T, bool) {
	text, ok := v.Text()
	if ok && !slices.Contains(values, T(text)) {
		v.Failf("is %q; write one of %s", text, Words(values...))
		return "", false
	}
	return T(text), ok
}

// ParseText reads a string and parses it. The message of a mistake is the string and
// parse's error, which says what is wrong and what to write.
func ParseText[T any](v Value, parse func(string) (T, error)) (value T, ok bool) {
	text, ok := v.Text()
	if !ok {
		return value, false
	}
	value, err := parse(text)
	if err != nil {
		v.file.Failf(v.Pos(), "%s: %q %v", v.name(), text, err)
		return value, false
	}
	return value, true
}

// Words joins the words of a closed set with commas, for messages.
func Words[T ~string](values ...T) string {
	words := make([]string, len(values))
	for i, value := range values {
		words[i] = string(value)
	}
	return strings.Join(words, ", ")
}
