package tasks

import (
	"errors"
	"fmt"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/seed-2903acc3/callq/tasks/ledger"
)

// codecVersion is the newest version that callOf reads, and the one that contentOf writes.
// A change that gives a field another meaning, or adds one, raises it, keeps reading every
// earlier version, and adds golden files in a folder beside testdata/v1. Version 2 added
// meta. Version 3 has no key, batch, upstream and priority: see contentOf.
const codecVersion = 3

// The errors of a stored call that cannot be read, wrapped with details; callers branch on
// them.
var (
	// ErrNewerVersion reports that a newer callq wrote the content, which this version
	// cannot read.
	ErrNewerVersion = errors.New("the stored call was written by a newer callq")
	// ErrMalformed reports that the content is not a stored call.
	ErrMalformed = errors.New("the stored call is malformed")
)

// contentOf returns the content of a call's record in Redis: a JSON object with the version
// first, then the fields that differ from their defaults in a fixed order, numbers and
// bodies with their original digits. Equal calls have equal bytes. Key, batch, upstream and
// priority are left out: the record and the name of its queue have them. It fails, with a
// [*FieldError], on a text, number, time or body that [Rules.Check] would refuse.
func contentOf(c Call) ([]byte, error) {
	c.Key, c.Batch, c.Upstream, c.Priority = "", "", "", ""
	dst := append(make([]byte, 0, 64+len(c.Path)+len(c.Body)+len(c.Meta)), `{"v":`...)
	dst = strconv.AppendInt(dst, codecVersion, 10)
	return appendFields(dst, c)
}

// callOf returns the call of a record whose content [contentOf] or an earlier version of
// callq wrote. Its errors wrap [ErrNewerVersion] and [ErrMalformed]. It checks the form
// only; [Call.URLPath] checks the path again when it is used.
func callOf(r *ledger.Record) (Call, error) {
	data := trimJSONSpace(r.Content)
	if bad := checkJSON(data); bad != nil {
		return Call{}, fmt.Errorf("%w: it %s", ErrMalformed, bad.Problem)
	}
	version, err := storedVersion(data)
	if err != nil {
		return Call{}, err
	}
	if version > codecVersion {
		return Call{}, fmt.Errorf("%w: its version is %d, this callq reads versions up to %d; update callq", ErrNewerVersion, version, codecVersion)
	}
	c, bad := parseFields(data, true)
	if bad != nil {
		return Call{}, fmt.Errorf("%w: %w", ErrMalformed, bad)
	}
	c.Method = canonicalMethod(c.Method)
	upstream := UpstreamOf(r.Queue)
	switch {
	case version >= 3 && (c.Key != "" || c.Batch != "" || c.Upstream != "" || c.Priority != ""):
		return Call{}, fmt.Errorf("%w: it has a field that only its record has", ErrMalformed)
	case version < 3 && c.Upstream != upstream:
		return Call{}, fmt.Errorf("%w: it is for %q but is in the queue of %q", ErrMalformed, c.Upstream, upstream)
	}
	c.Key, c.Batch, c.Upstream, c.Priority = r.Key, r.Batch, upstream, priorityOf(r.Queue)
	return c, nil
}

// storedVersion reads the version only: a newer version may have any other fields.
func storedVersion(data []byte) (int, error) {
	walk := walkJSON(data)
	for name, value, more := walk.next(); more; name, value, more = walk.next() {
		if string(name) != `"v"` {
			continue
		}
		version, err := strconv.Atoi(string(value))
		switch {
		case errors.Is(err, strconv.ErrRange) && value[0] != '-':
			return 0, ErrNewerVersion
		case err != nil || version < 1:
			return 0, fmt.Errorf("%w: its version is not a number from 1", ErrMalformed)
		}
		return version, nil
	}
	return 0, fmt.Errorf("%w: it has no version", ErrMalformed)
}

// appendFields writes after "{" or after the version. A field with its default value is
// left out, except method and path: a person who looks into Redis sees at once what the
// call asks for.
func appendFields(dst []byte, c Call) ([]byte, error) {
	for _, one := range [...]struct{ field, text string }{
		{"key", c.Key}, {"batch", c.Batch}, {"upstream", c.Upstream}, {"method", canonicalMethod(c.Method)}, {"path", c.Path},
	} {
		if one.text == "" {
			continue
		}
		if !utf8.ValidString(one.text) {
			return nil, &FieldError{Field: one.field, Problem: "is not valid UTF-8"}
		}
		dst = appendString(appendName(dst, one.field), one.text)
	}
	if len(c.Query) > 0 {
		var bad *FieldError
		if dst, bad = appendQuery(appendName(dst, "query"), c.Query); bad != nil {
			return nil, bad
		}
	}
	dst, bad := appendHeaders(dst, c.Headers)
	if bad != nil {
		return nil, bad
	}
	body, bad := compactBody(c.Body)
	if bad != nil {
		return nil, bad
	}
	if body != nil {
		dst = append(appendName(dst, "body"), body...)
	}
	if c.Priority != "" && c.Priority != PriorityNormal {
		if !utf8.ValidString(string(c.Priority)) {
			return nil, &FieldError{Field: "priority", Problem: "is not valid UTF-8"}
		}
		dst = appendString(appendName(dst, "priority"), string(c.Priority))
	}
	if c.Idempotent != nil {
		dst = strconv.AppendBool(appendName(dst, "idempotent"), *c.Idempotent)
	}
	if dst, bad = appendTimes(dst, c); bad != nil {
		return nil, bad
	}
	meta, bad := canonicalMeta(c.Meta)
	if bad != nil {
		return nil, bad
	}
	if meta != nil {
		dst = append(appendName(dst, "meta"), meta...)
	}
	return append(dst, '}'), nil
}

func appendHeaders(dst []byte, headers map[string]string) ([]byte, *FieldError) {
	if len(headers) == 0 {
		return dst, nil
	}
	var few [8]string
	dst = append(appendName(dst, "headers"), '{')
	for _, name := range appendSortedNames(few[:0], headers) {
		if !utf8.ValidString(name) || !utf8.ValidString(headers[name]) {
			return nil, &FieldError{Field: "headers", Problem: "are not valid UTF-8"}
		}
		dst = appendString(appendName(dst, name), headers[name])
	}
	return append(dst, '}'), nil
}

func appendTimes(dst []byte, c Call) ([]byte, *FieldError) {
	for _, one := range [...]struct {
		field string
		at    *time.Time
	}{{"not_before", c.NotBefore}, {"deadline", c.Deadline}} {
		if one.at == nil || one.at.IsZero() {
			continue
		}
		if bad := checkYear(one.field, *one.at); bad != nil {
			return nil, bad
		}
		dst = appendTime(appendName(dst, one.field), *one.at)
	}
	return dst, nil
}

func appendQuery(dst []byte, query Query) ([]byte, *FieldError) {
	var few [8]string
	dst = append(dst, '{')
	for _, name := range appendSortedNames(few[:0], query) {
		if query[name] == nil {
			continue
		}
		value, bad := canonicalValue(name, query[name])
		if bad != nil {
			return nil, bad
		}
		if !utf8.ValidString(name) {
			return nil, &FieldError{Field: "query", Problem: "is not valid UTF-8"}
		}
		dst = appendName(dst, name)
		list, isList := value.([]any)
		if !isList {
			list = append(make([]any, 0, 1), value)
		} else {
			dst = append(dst, '[')
		}
		for i, one := range list {
			if i > 0 {
				dst = append(dst, ',')
			}
			text, quoted := one.(string)
			switch {
			case !quoted:
				dst = append(dst, scalarText(one)...)
			case !utf8.ValidString(text):
				return nil, &FieldError{Field: "query." + name, Problem: "is not valid UTF-8"}
			default:
				dst = appendString(dst, text)
			}
		}
		if isList {
			dst = append(dst, ']')
		}
	}
	return append(dst, '}'), nil
}

// AppendCall appends c as a line of a calls file, without the line end. Unlike
// json.Marshal it does not change the bytes of body and meta, so the line has the same
// content hash as c. The field batch is written if it is set; a file's line has none.
func AppendCall(dst []byte, c Call) ([]byte, error) {
	return appendFields(append(dst, '{'), c)
}

// MarshalJSON makes json.Marshal write the fields of a calls file.
func (c Call) MarshalJSON() ([]byte, error) { return AppendCall(nil, c) }

// UnmarshalJSON makes json.Unmarshal as strict as [ParseCall]. As everywhere in encoding/json, null changes nothing.
func (c *Call) UnmarshalJSON(data []byte) error {
	if string(data) == "null" {
		return nil
	}
	parsed, err := ParseCall(data)
	if err == nil {
		*c = parsed
	}
	return err
}
