package tasks

import (
	"bytes"
	"encoding/json"
	"fmt"
	"unicode/utf8"
)

// canonicalMeta returns meta as it is stored and returned: its bytes unchanged, on one
// line. It returns nil for none or null.
func canonicalMeta(raw json.RawMessage) (json.RawMessage, *FieldError) {
	if raw = trimJSONSpace(raw); len(raw) == 0 || string(raw) == "null" {
		return nil, nil
	}
	raw, bad := oneLineJSON("meta", raw)
	if bad != nil {
		bad.Fix = `write an object, such as {"row":17}`
		return nil, bad
	}
	if raw[0] != '{' {
		bad := wrongType("meta", "an object", raw)
		bad.Fix = `put the value into one, such as {"row":17}`
		return nil, bad
	}
	if len(raw) > maxMeta {
		return nil, &FieldError{
			Field: "meta", Problem: fmt.Sprintf("has %d bytes", len(raw)),
			Fix: fmt.Sprintf("at most %d are allowed; keep the rest in a file of your own, by the call's key", maxMeta),
		}
	}
	return raw, nil
}

// oneLineJSON returns valid JSON unchanged, without line breaks between tokens, which
// would split a line of a file. It returns nil for no bytes.
func oneLineJSON(field string, raw json.RawMessage) (json.RawMessage, *FieldError) {
	switch raw = trimJSONSpace(raw); {
	case len(raw) == 0:
		return nil, nil
	case !utf8.Valid(raw) || !json.Valid(raw):
		return nil, &FieldError{Field: field, Problem: "is not valid JSON in UTF-8"}
	case bytes.ContainsAny(raw, "\r\n"):
		return compactValid(raw), nil
	}
	return raw, nil
}
