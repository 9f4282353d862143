package place

import (
	"encoding/json"
	"io"
	"strings"

	"github.com/tidwall/gjson"
)

const (
	// maxPart is how many bytes of the part that a JSONPath's leading names select are
	// decoded, and maxWhole how many of a body where it has no leading names.
	maxPart  = 256 << 10
	maxWhole = 1 << 20
	// maxDepth bounds the nesting of a body that is taken for JSON: parsers recurse, and
	// a body of brackets alone would exhaust the stack.
	maxDepth = 256
)

// IsJSON reports whether body is one JSON value, which nests at most 256 deep.
func IsJSON(body []byte) bool { return shallow(body) && gjson.ValidBytes(body) }

// shallow reports whether the brackets of body, those inside strings aside, nest no
// deeper than maxDepth.
func shallow(body []byte) bool {
	depth, quoted := 0, false
	for i := 0; i < len(body); i++ {
		switch c := body[i]; {
		case quoted:
			switch c {
			case '\\':
				i++
			case '"':
				quoted = false
			}
		case c == '"':
			quoted = true
		case c == '{' || c == '[':
			if depth++; depth > maxDepth {
				return false
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return true
}

// decode decodes the first limit bytes of a JSON value. Of a longer one it returns what
// is whole: arrays and objects end early. Numbers are [json.Number].
func decode(data string, limit int) any {
	cut := len(data) > limit
	d := json.NewDecoder(strings.NewReader(data[:min(len(data), limit)]))
	d.UseNumber()
	b := builder{decoder: d}
	if cut {
		b.end = int64(limit)
	}
	v, _ := b.value()
	return v
}

// builder builds a value from tokens. end is where the data was cut off; 0: nowhere.
type builder struct {
	decoder *json.Decoder
	end     int64
}

// value returns the next value and whether it is whole.
func (b *builder) value() (any, bool) {
	token, err := b.decoder.Token()
	// A number at the cut may have lost digits.
	if err != nil || b.end > 0 && b.decoder.InputOffset() >= b.end {
		return nil, false
	}
	switch token {
	case json.Delim('['):
		return b.array()
	case json.Delim('{'):
		return b.object()
	}
	return token, true
}

func (b *builder) array() ([]any, bool) {
	items := []any{}
	for b.decoder.More() {
		item, whole := b.value()
		if whole || !isNothing(item) {
			items = append(items, item)
		}
		if !whole {
			return items, false
		}
	}
	return items, b.closed()
}

func (b *builder) object() (map[string]any, bool) {
	members := map[string]any{}
	for b.decoder.More() {
		name, err := b.decoder.Token()
		if err != nil {
			return members, false
		}
		member, whole := b.value()
		if whole || !isNothing(member) {
			members[name.(string)] = member
		}
		if !whole {
			return members, false
		}
	}
	return members, b.closed()
}

// isNothing reports whether a value that is not whole has no part that is.
func isNothing(v any) bool { return v == nil }

// closed reads the closing bracket; false where the data ends before it.
func (b *builder) closed() bool {
	_, err := b.decoder.Token()
	return err == nil || err == io.EOF && b.end == 0
}
