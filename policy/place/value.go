package place

import (
	"encoding/json"
	"strings"

	"github.com/tidwall/gjson"
)

// Kind is the JSON type of a value.
type Kind int8

// The kinds. A JSON null is never found: APIs write it for "nothing".
const (
	KindString Kind = iota
	KindNumber
	KindBool
	KindComposite
)

// Value is a value that was found in a body.
type Value struct {
	Kind Kind
	// Text is the string, the number as the API wrote it, true or false, or the JSON of
	// an array or object. It holds at most 1,024 bytes and is not cleaned: it may have
	// control characters.
	Text string
}

// Values are the values found, by the text of their places: [Values.At] looks them up. A
// place where nothing was found is not in it.
type Values map[string][]Value

const (
	// maxText bounds the text of one value in bytes, and maxValues how many one place has.
	maxText   = 1024
	maxValues = 64
)

// At returns the values of a place that is not a header.
func (v Values) At(p Place) []Value {
	values := v[p.key()]
	if p.find == nil || p.body || len(values) == 0 {
		return values
	}
	var found []Value
	for _, value := range values {
		if part, ok := p.part([]byte(value.Text)); ok {
			found = append(found, Value{KindString, part})
		}
	}
	return found
}

func (v Values) add(text string, value Value) {
	if len(v[text]) < maxValues {
		v[text] = append(v[text], value)
	}
}

// leaf returns a value that the streaming parser has found; false for null.
func leaf(r gjson.Result) (Value, bool) {
	switch r.Type {
	case gjson.String:
		return Value{KindString, bounded(r.Str)}, true
	case gjson.Number:
		return Value{KindNumber, bounded(r.Raw)}, true
	case gjson.True, gjson.False:
		return Value{KindBool, strings.Clone(r.Raw)}, true
	case gjson.JSON:
		return Value{KindComposite, bounded(r.Raw)}, true
	default:
		return Value{}, false
	}
}

// node returns a value that a JSONPath has selected; false for null.
func node(v any) (Value, bool) {
	switch v := v.(type) {
	case nil:
		return Value{}, false
	case string:
		return Value{KindString, bounded(v)}, true
	case json.Number:
		return Value{KindNumber, bounded(v.String())}, true
	case bool:
		if v {
			return Value{KindBool, "true"}, true
		}
		return Value{KindBool, "false"}, true
	default:
		text, err := json.Marshal(v)
		return Value{KindComposite, bounded(string(text))}, err == nil
	}
}

// bounded returns a copy, so that no value keeps a whole body in memory.
func bounded(s string) string {
	return strings.Clone(strings.ToValidUTF8(s[:min(len(s), maxText)], ""))
}
