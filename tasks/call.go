package tasks

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"time"
)

// Priority selects one of an upstream's three queues. The zero value means [PriorityNormal].
type Priority string

// The priorities, most urgent first.
const (
	PriorityHigh   Priority = "high"
	PriorityNormal Priority = "normal"
	PriorityLow    Priority = "low"
)

// Call is one HTTP request to make. Only Path is required, and Upstream if several are
// configured. [Rules.Check] completes it and refuses what cannot be sent. Its JSON form
// is a line of a calls file; [ParseCall] and [AppendCall] read and write that without
// losing a digit.
type Call struct {
	// Key is the call's name in its batch, 1 to 200 bytes. In a calls file it defaults to the [ContentKey].
	Key string
	// Batch groups calls that are sent, followed and exported together. Empty: the producer chooses.
	Batch string
	// Upstream names the API to call. Defaults to the configured one if there is just one.
	Upstream string
	// Method is the HTTP method. Defaults to GET, whether or not there is a body.
	Method string
	// Path begins with "/", is relative to the upstream's base_url and may have a query
	// string.
	Path string
	// Query is added to the query string in Path. Nil adds nothing.
	Query Query
	// Headers are sent in addition to the worker's own; see [ReservedHeader].
	Headers map[string]string
	// Body is raw JSON: a string is sent as its text, {"base64":…,"content_type":…} as
	// those bytes, anything else as JSON. Nil or null: no body.
	Body json.RawMessage
	// Priority defaults to [PriorityNormal].
	Priority Priority
	// Idempotent says whether sending the call twice does no harm. Nil: the upstream's
	// configuration decides.
	Idempotent *bool
	// NotBefore is the earliest time of the first send. Nil: now.
	NotBefore *time.Time
	// Deadline is the time after which no send begins. Nil: none.
	Deadline *time.Time
	// Meta is a JSON object of the sender's own, at most 64 KiB. The result has it
	// unchanged. It is not sent and not part of [ContentHash]. Nil or null: none.
	Meta json.RawMessage
}

// Query holds query parameters: a string, a bool, a number, or a slice of these, which
// repeats the parameter. Numbers read from JSON are [json.Number] and are sent with the
// same digits. A nil value is left out, as is a nil in a slice.
type Query map[string]any

// RequestBody returns the bytes to send and their content type: the call's Content-Type
// header if it has one; else text/plain for a string, the given type
// (application/octet-stream if that is empty) for base64, and application/json for
// everything else, without white space between tokens. Without a body data is nil and
// contentType empty. data may share memory with Body. An error is a [*FieldError].
func (c Call) RequestBody() (data []byte, contentType string, err error) {
	data, contentType, bad := c.requestBody()
	if bad != nil {
		return nil, "", bad
	}
	return data, contentType, nil
}

func (c *Call) requestBody() (data []byte, contentType string, bad *FieldError) {
	raw, bad := compactBody(c.Body)
	if bad != nil || raw == nil {
		return nil, "", bad
	}
	return c.renderBody(raw)
}

// renderBody requires raw to be valid and compact.
func (c *Call) renderBody(raw []byte) (data []byte, contentType string, bad *FieldError) {
	encoded, named, isBytes := bytesForm(raw)
	switch {
	case c.Method == MethodJob:
		data, contentType = raw, "application/json"
	case raw[0] == '"':
		text, err := unquote(raw)
		if err != nil {
			return nil, "", &FieldError{Field: "body", Problem: err.Error(), Fix: `send these bytes as {"base64":…,"content_type":…}`}
		}
		data, contentType = []byte(text), "text/plain; charset=utf-8"
	case isBytes:
		if data, contentType, bad = decodeBytesForm(encoded, named); bad != nil {
			return nil, "", bad
		}
	default:
		data, contentType = raw, "application/json"
	}
	for name, value := range c.Headers {
		if strings.EqualFold(name, "Content-Type") {
			contentType = value
		}
	}
	return data, contentType, nil
}

// bytesForm recognizes {"base64":…,"content_type":…}: an object with just these two
// fields.
func bytesForm(raw []byte) (encoded, contentType []byte, ok bool) {
	if raw[0] != '{' {
		return nil, nil, false
	}
	walk := walkJSON(raw)
	for name, value, more := walk.next(); more; name, value, more = walk.next() {
		switch string(name) {
		case `"base64"`:
			encoded = value
		case `"content_type"`:
			contentType = value
		default:
			return nil, nil, false
		}
	}
	return encoded, contentType, encoded != nil && contentType != nil
}

func decodeBytesForm(encoded, named []byte) (data []byte, contentType string, bad *FieldError) {
	if encoded[0] != '"' {
		return nil, "", wrongType("body.base64", "a string", encoded)
	}
	text, err := unquote(encoded)
	if err != nil {
		return nil, "", &FieldError{Field: "body.base64", Problem: err.Error()}
	}
	// The decoder would skip line breaks, and the stored call would then differ from
	// the one that was written.
	if data, err = base64.StdEncoding.Strict().DecodeString(text); err != nil || strings.ContainsAny(text, "\r\n") {
		return nil, "", &FieldError{
			Field: "body.base64", Problem: "is not base64",
			Fix: "use the standard alphabet with padding (RFC 4648, section 4), on one line",
		}
	}
	switch {
	case string(named) == "null":
	case named[0] != '"':
		return nil, "", wrongType("body.content_type", "a string", named)
	default:
		if contentType, err = unquote(named); err != nil {
			return nil, "", &FieldError{Field: "body.content_type", Problem: err.Error()}
		}
		if bad := checkText("body.content_type", contentType); bad != nil {
			return nil, "", bad
		}
	}
	if contentType == "" {
		contentType = "application/octet-stream"
	}
	return data, contentType, nil
}

// URLPath returns the path, without its query string, percent-encoded and ready to be
// appended to an upstream's base_url. It refuses, with a [*FieldError], a path that
// could leave that base ("//host", "..", an absolute URL), so that this also holds for
// a call that did not go through [Rules.Check].
func (c Call) URLPath() (string, error) {
	if bad := checkPath(c.Path); bad != nil {
		return "", bad
	}
	path, _, _ := strings.Cut(c.Path, "?")
	return string(appendEscaped(make([]byte, 0, len(path)+16), path, pathByte)), nil
}

// URLQuery returns the encoded query string without "?": first the one in Path,
// unchanged, then Query, by name and, for a slice, in the slice's order. An error is a
// [*FieldError].
func (c Call) URLQuery() (string, error) {
	_, raw, _ := strings.Cut(c.Path, "?")
	if bad := checkEscapes(raw); bad != nil {
		return "", bad
	}
	if len(c.Query) == 0 && plain(raw) {
		return raw, nil
	}
	dst := appendEscaped(make([]byte, 0, len(raw)+64), raw, queryByte)
	var few [8]string
	for _, name := range appendSortedNames(few[:0], c.Query) {
		if c.Query[name] == nil {
			continue
		}
		value, bad := canonicalValue(name, c.Query[name])
		if bad != nil {
			return "", bad
		}
		list, isList := value.([]any)
		if !isList {
			dst = appendParam(dst, name, value)
			continue
		}
		for _, one := range list {
			dst = appendParam(dst, name, one)
		}
	}
	return string(dst), nil
}

// appendSortedNames gets a dst on the caller's stack, which saves an allocation for
// each call.
func appendSortedNames[V any](dst []string, m map[string]V) []string {
	for name := range m {
		dst = append(dst, name)
	}
	slices.Sort(dst)
	return dst
}

func appendParam(dst []byte, name string, value any) []byte {
	if len(dst) > 0 {
		dst = append(dst, '&')
	}
	dst = appendEscaped(dst, name, unreservedByte)
	dst = append(dst, '=')
	return appendEscaped(dst, scalarText(value), unreservedByte)
}

// scalarText returns the text that is sent for a canonical scalar.
func scalarText(value any) string {
	switch v := value.(type) {
	case string:
		return v
	case json.Number:
		return string(v)
	default:
		return fmt.Sprint(v)
	}
}

// canonicalValue turns a Go value, which is not nil, into a string, bool, json.Number
// or a slice of these.
func canonicalValue(name string, value any) (any, *FieldError) {
	switch v := value.(type) {
	case string, bool:
		return value, nil
	case json.Number:
		if !isNumber(string(v)) {
			return nil, &FieldError{Field: "query." + name, Problem: "is not a JSON number"}
		}
		return value, nil
	case []any:
		return canonicalList(name, v)
	}
	switch v := reflect.ValueOf(value); v.Kind() {
	case reflect.String:
		return v.String(), nil
	case reflect.Bool:
		return v.Bool(), nil
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Float32, reflect.Float64:
		if v.CanFloat() && (math.IsNaN(v.Float()) || math.IsInf(v.Float(), 0)) {
			return nil, &FieldError{Field: "query." + name, Problem: "is not a finite number"}
		}
		// Marshal depends on the width of the type: a float32 0.1 stays 0.1.
		text, err := json.Marshal(plainNumber(v))
		if err != nil {
			return nil, &FieldError{Field: "query." + name, Problem: "is not a JSON number"}
		}
		return json.Number(text), nil
	case reflect.Slice, reflect.Array:
		list := make([]any, v.Len())
		for i := range list {
			list[i] = v.Index(i).Interface()
		}
		return canonicalList(name, list)
	default:
		return nil, &FieldError{
			Field: "query." + name, Problem: "must be a string, a number, a bool or a list of these",
			Fix: "write a nested value as a string, in the encoding that the API asks for",
		}
	}
}

// plainNumber converts a value to its plain number type, so that its own MarshalJSON is
// not called.
func plainNumber(v reflect.Value) any {
	switch {
	case v.CanInt():
		return v.Int()
	case v.CanUint():
		return v.Uint()
	case v.Kind() == reflect.Float32:
		return float32(v.Float())
	default:
		return v.Float()
	}
}

// canonicalList does not change the caller's slice; it copies it if an element changes
// or, being nil, is left out.
func canonicalList(name string, list []any) ([]any, *FieldError) {
	var out []any
	for i, one := range list {
		value := one
		if _, isText := one.(string); !isText && one != nil {
			var bad *FieldError
			if value, bad = canonicalValue(name, one); bad != nil {
				return nil, bad
			}
			if _, nested := value.([]any); nested {
				return nil, &FieldError{
					Field: "query." + name, Problem: "is a list of lists", Fix: "a list may have strings, numbers and bools only",
				}
			}
		}
		if out == nil && (one == nil || !sameScalar(one, value)) {
			out = append(make([]any, 0, len(list)), list[:i]...)
		}
		if out != nil && one != nil {
			out = append(out, value)
		}
	}
	if out == nil {
		return list, nil
	}
	return out, nil
}

// sameScalar reports whether canonicalValue left a value unchanged. Values of other
// types may not be comparable.
func sameScalar(before, after any) bool {
	switch before.(type) {
	case string, bool, json.Number:
		return before == after
	}
	return false
}

// The three sets are RFC 3986's: unreserved (2.3), pchar with "/" (3.3), query (3.4).
func unreservedByte(b byte) bool {
	return 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z' || '0' <= b && b <= '9' || b == '-' || b == '.' || b == '_' || b == '~'
}

func pathByte(b byte) bool {
	// An existing escape stays; checkPath has made sure that it is complete.
	return unreservedByte(b) || strings.IndexByte("!$&'()*+,;=:@/%", b) >= 0
}

func queryByte(b byte) bool { return pathByte(b) || b == '?' }

func appendEscaped(dst []byte, s string, allowed func(byte) bool) []byte {
	const hex = "0123456789ABCDEF"
	for i := range len(s) {
		if b := s[i]; allowed(b) {
			dst = append(dst, b)
		} else {
			dst = append(dst, '%', hex[b>>4], hex[b&15])
		}
	}
	return dst
}

func plain(query string) bool {
	for i := range len(query) {
		if !queryByte(query[i]) {
			return false
		}
	}
	return true
}

// deadline is the call's deadline, zero if it has none.
func (c *Call) deadline() time.Time {
	if c.Deadline == nil {
		return time.Time{}
	}
	return *c.Deadline
}
