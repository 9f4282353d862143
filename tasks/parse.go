package tasks

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/seed-2903acc3/callq/internal/spelling"
)

// ParseCall reads one call in the form of a calls file, from a line or from a request.
// It refuses, with a [*FieldError], input that is not one JSON object in UTF-8, an
// unknown field, a repeated field, and a wrong type; null counts as absent.
// [Rules.Check] adds defaults and checks all other rules.
func ParseCall(data []byte) (Call, error) {
	data = trimJSONSpace(data)
	if bad := checkJSON(data); bad != nil {
		return Call{}, bad
	}
	c, bad := parseFields(data, false)
	if bad != nil {
		return Call{}, bad
	}
	return c, nil
}

// fieldNames are a line's fields in the order in which they are written.
var fieldNames = [...]string{
	"key", "batch", "upstream", "method", "path", "query", "headers", "body", "priority", "idempotent", "not_before", "deadline",
	"meta",
}

func parseFields(data []byte, stored bool) (Call, *FieldError) {
	var c Call
	var seen [len(fieldNames)]bool
	versionSeen := false
	walk := walkJSON(data)
	for rawName, value, more := walk.next(); more; rawName, value, more = walk.next() {
		name, index := knownField(rawName)
		switch {
		case stored && name == "v" && !versionSeen:
			versionSeen = true
			continue
		case index < 0:
			return Call{}, unknownField(name)
		case seen[index]:
			return Call{}, twice(name)
		}
		seen[index] = true
		if string(value) == "null" {
			continue
		}
		if bad := c.setField(name, value); bad != nil {
			return Call{}, bad
		}
	}
	return c, nil
}

func twice(field string) *FieldError {
	return &FieldError{Field: field, Problem: "appears twice", Fix: "keep one"}
}

// knownField returns a known name without allocating.
func knownField(raw []byte) (string, int) {
	for i, name := range fieldNames {
		if string(raw[1:len(raw)-1]) == name {
			return name, i
		}
	}
	name, err := unquote(raw)
	if err != nil {
		return string(raw[1 : len(raw)-1]), -1
	}
	for i, known := range fieldNames {
		if name == known {
			return known, i
		}
	}
	return name, -1
}

func (c *Call) setField(name string, value []byte) (bad *FieldError) {
	switch name {
	case "key":
		if c.Key, bad = parseKey(value); bad == nil && c.Key == "" {
			bad = &FieldError{Field: name, Problem: "is empty", Fix: "give it a value, or leave it out: the call is then known by its content"}
		}
	case "batch":
		if c.Batch, bad = parseString(name, value); bad == nil && c.Batch == "" {
			bad = &FieldError{Field: name, Problem: "is empty", Fix: "give it a value, or leave it out"}
		}
	case "upstream":
		c.Upstream, bad = parseString(name, value)
	case "method":
		switch string(value) {
		case `"GET"`:
			c.Method = "GET"
		case `"POST"`:
			c.Method = "POST"
		default:
			c.Method, bad = parseString(name, value)
		}
	case "path":
		c.Path, bad = parseString(name, value)
	case "query":
		c.Query, bad = parseQuery(value)
	case "headers":
		c.Headers, bad = parseHeaders(value)
	case "body":
		c.Body = bytes.Clone(compactValid(value))
	case "priority":
		if string(value) == `"normal"` {
			c.Priority = PriorityNormal
			return nil
		}
		var priority string
		priority, bad = parseString(name, value)
		c.Priority = Priority(priority)
	case "idempotent":
		yes := value[0] == 't'
		if !yes && value[0] != 'f' {
			return wrongType(name, "true, false or null", value)
		}
		c.Idempotent = &yes
	case "not_before":
		c.NotBefore, bad = parseTime(name, value)
	case "deadline":
		c.Deadline, bad = parseTime(name, value)
	case "meta":
		if c.Meta, bad = canonicalMeta(value); bad == nil {
			c.Meta = bytes.Clone(c.Meta)
		}
	}
	return bad
}

// parseKey accepts a number too, with its original digits: ids are numbers in many
// tables.
func parseKey(value []byte) (string, *FieldError) {
	switch value[0] {
	case '"':
		return parseString("key", value)
	case '{', '[', 't', 'f':
		return "", wrongType("key", "a string or a number", value)
	default:
		return string(value), nil
	}
}

func wrongType(field, want string, value []byte) *FieldError {
	return &FieldError{Field: field, Problem: "must be " + want + ", got " + jsonKind(value)}
}

func parseString(field string, value []byte) (string, *FieldError) {
	if value[0] != '"' {
		return "", wrongType(field, "a string", value)
	}
	s, err := unquote(value)
	if err != nil {
		return "", &FieldError{Field: field, Problem: err.Error()}
	}
	return s, nil
}

// parseTime returns nil for Go's zero time, which means no time.
func parseTime(field string, value []byte) (*time.Time, *FieldError) {
	text, bad := parseString(field, value)
	if bad != nil {
		return nil, bad
	}
	var at time.Time
	// UnmarshalText requires RFC 3339, while time.Parse accepts "2026-01-02T3:04:05,5Z"
	// as well.
	if err := at.UnmarshalText([]byte(text)); err != nil {
		return nil, &FieldError{Field: field, Problem: shown(text) + " is not an RFC 3339 time", Fix: `write it like "2026-01-31T08:00:00Z"`}
	}
	if at.IsZero() {
		return nil, nil
	}
	at = at.UTC()
	return &at, checkYear(field, at)
}

// checkYear refuses a time that RFC 3339 cannot write in UTC.
func checkYear(field string, at time.Time) *FieldError {
	if year := at.UTC().Year(); year < 0 || year > 9999 {
		return &FieldError{Field: field, Problem: "is outside the years 0 to 9999", Fix: "use an RFC 3339 time"}
	}
	return nil
}

func parseQuery(value []byte) (Query, *FieldError) {
	if value[0] != '{' {
		return nil, wrongType("query", "an object", value)
	}
	var query Query
	someNull := false
	walk := walkJSON(value)
	for rawName, one, more := walk.next(); more; rawName, one, more = walk.next() {
		name, bad := parseString("query", rawName)
		if bad != nil {
			return nil, bad
		}
		if _, there := query[name]; there {
			return nil, twice("query." + name)
		}
		parsed, bad := parseParam(one, true)
		if bad != nil {
			bad.Field = "query." + name
			return nil, bad
		}
		if query == nil {
			query = make(Query, 4)
		}
		query[name] = parsed
		someNull = someNull || parsed == nil
	}
	if someNull {
		maps.DeleteFunc(query, func(_ string, value any) bool { return value == nil })
	}
	return query, nil
}

// parseParam returns nil for null, and a list without its nulls: null leaves a
// parameter out. The caller adds the field's name, which is needed only for an error.
func parseParam(value []byte, listAllowed bool) (any, *FieldError) {
	switch value[0] {
	case '"':
		s, bad := parseString("", value)
		return s, bad
	case 't', 'f':
		return value[0] == 't', nil
	case '[':
		if !listAllowed {
			return nil, wrongType("", "a list of strings, numbers and bools", value)
		}
		list := []any{}
		walk := walkJSON(value)
		for _, one, more := walk.next(); more; _, one, more = walk.next() {
			parsed, bad := parseParam(one, false)
			if bad != nil {
				return nil, bad
			}
			if parsed != nil {
				list = append(list, parsed)
			}
		}
		return list, nil
	case 'n':
		return nil, nil
	case '{':
		bad := wrongType("", "a string, a number, a bool or a list of these", value)
		bad.Fix = "write a nested value as a string, in the encoding that the API asks for"
		return nil, bad
	default:
		return json.Number(value), nil
	}
}

func parseHeaders(value []byte) (map[string]string, *FieldError) {
	if value[0] != '{' {
		return nil, wrongType("headers", "an object of strings", value)
	}
	var headers map[string]string
	walk := walkJSON(value)
	for rawName, one, more := walk.next(); more; rawName, one, more = walk.next() {
		name, bad := parseString("headers", rawName)
		if bad != nil {
			return nil, bad
		}
		if _, there := headers[name]; there {
			return nil, twice("headers." + name)
		}
		text, bad := parseString("headers", one)
		if bad != nil {
			bad.Field = "headers." + name
			return nil, bad
		}
		if headers == nil {
			headers = make(map[string]string, 4)
		}
		headers[name] = text
	}
	return headers, nil
}

// compactBody returns a body without white space between its tokens, nil for none or
// null.
func compactBody(raw []byte) (json.RawMessage, *FieldError) {
	if raw = trimJSONSpace(raw); len(raw) == 0 || string(raw) == "null" {
		return nil, nil
	}
	if !utf8.Valid(raw) || !json.Valid(raw) {
		return nil, &FieldError{
			Field: "body", Problem: "is not valid JSON in UTF-8", Fix: `text goes between quotes, other bytes into {"base64":…,"content_type":…}`,
		}
	}
	return compactValid(raw), nil
}

// compactValid requires valid JSON, and returns raw itself if that is compact already.
func compactValid(raw []byte) json.RawMessage {
	for i := 0; i < len(raw); {
		switch raw[i] {
		case '"':
			i = stringEnd(raw, i)
		case ' ', '\t', '\r', '\n':
			var out bytes.Buffer
			out.Grow(len(raw))
			if err := json.Compact(&out, raw); err != nil {
				return raw
			}
			return out.Bytes()
		default:
			i++
		}
	}
	return raw
}

// aliases are names that other tools use for these fields.
var aliases = map[string]string{
	"url": "path", "uri": "path", "endpoint": "path", "params": "query", "args": "query", "json": "body", "data": "body",
	"payload": "body", "id": "key", "name": "key", "verb": "method", "api": "upstream", "not_after": "deadline", "delay": "not_before",
}

func unknownField(name string) *FieldError {
	bad := &FieldError{Field: name, Problem: "is unknown", Fix: "the fields are " + strings.Join(fieldNames[:], ", ")}
	if len(name) > 64 {
		bad.Field = strings.ToValidUTF8(name[:64], "") + "…"
		return bad
	}
	lower := strings.ToLower(name)
	if nearest := cmp.Or(spelling.Nearest(lower, fieldNames[:]), aliases[lower]); nearest != "" {
		bad.Fix = fmt.Sprintf("did you mean %q?", nearest)
	}
	return bad
}
