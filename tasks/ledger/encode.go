package ledger

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"
)

// Each call's attempt and ending are written as JSON. These functions write the same bytes
// as encoding/json, which looks at every field through reflection and allocates for it.

// appendLogJSON appends a record's log with one more line, unless a is nil.
func appendLogJSON(dst []byte, log []Attempt, a *Attempt) ([]byte, error) {
	if log == nil && a == nil {
		return append(dst, "null"...), nil
	}
	if a != nil {
		log = latest(log, LogLimit-1)
	}
	dst = append(dst, '[')
	var err error
	for i := range log {
		if i > 0 {
			dst = append(dst, ',')
		}
		if dst, err = appendAttempt(dst, &log[i]); err != nil {
			return nil, err
		}
	}
	if a != nil {
		if len(log) > 0 {
			dst = append(dst, ',')
		}
		if dst, err = appendAttempt(dst, a); err != nil {
			return nil, err
		}
	}
	return append(dst, ']'), nil
}

// latest returns the last n lines of a log.
func latest(log []Attempt, n int) []Attempt { return log[max(len(log)-n, 0):] }

func appendAttempt(dst []byte, a *Attempt) ([]byte, error) {
	o := object{dst: append(dst, '{')}
	o.time("at", a.At)
	o.number("n", int64(a.N))
	o.text("job", a.Action)
	o.text("class", a.Class)
	o.textUnlessEmpty("rule", a.Rule)
	o.numberUnlessZero("status", int64(a.Status))
	o.textUnlessEmpty("code", a.Code)
	o.textUnlessEmpty("transport", a.Transport)
	o.textUnlessEmpty("correlation_id", a.CorrelationID)
	o.textUnlessEmpty("message", a.Message)
	o.numberUnlessZero("ms", a.Latency)
	o.textUnlessEmpty("decided", a.Decided)
	o.numberUnlessZero("held_ms", a.Held)
	o.flag("held_endpoint", a.HeldEndpoint)
	o.numberUnlessZero("more", int64(a.More))
	o.textUnlessEmpty("amount", a.Amount)
	if len(a.Kept) > 0 {
		o.value("kept", a.Kept)
	}
	return append(o.dst, '}'), o.err
}

func encodeEnding(e Ending) ([]byte, error) {
	out, err := appendEnding(nil, &e)
	if err != nil {
		return nil, fmt.Errorf("encode an ending: %w", err)
	}
	return out, nil
}

func appendEnding(dst []byte, e *Ending) ([]byte, error) {
	o := object{dst: append(dst, '{')}
	o.text("class", e.Class)
	o.textUnlessEmpty("rule", e.Rule)
	o.numberUnlessZero("status", int64(e.HTTPStatus))
	o.textUnlessEmpty("code", e.Code)
	o.textUnlessEmpty("message", e.Message)
	o.textUnlessEmpty("transport", e.Transport)
	o.textUnlessEmpty("correlation_id", e.CorrelationID)
	o.textUnlessEmpty("user_message", e.UserMessage)
	o.textUnlessEmpty("advice", e.Advice)
	o.textUnlessEmpty("endpoint", e.Endpoint)
	o.textUnlessEmpty("amount", e.Amount)
	if len(e.Headers) > 0 {
		o.texts("headers", e.Headers)
	}
	o.textUnlessEmpty("body_encoding", e.BodyEncoding)
	o.flag("verified", e.Verified)
	o.number("attempts", int64(e.Attempts))
	o.number("parked", int64(e.Parked))
	if !e.FirstAt.IsZero() {
		o.time("first_at", e.FirstAt)
	}
	o.time("finished_at", e.FinishedAt)
	return append(o.dst, '}'), o.err
}

// object is a JSON object that is being written: dst ends with its opening brace or with a
// field. err is why a value has no form in JSON.
type object struct {
	dst []byte
	err error
}

func (o *object) name(name string) {
	if o.dst[len(o.dst)-1] != '{' {
		o.dst = append(o.dst, ',')
	}
	o.dst = append(append(append(o.dst, '"'), name...), '"', ':')
}

func (o *object) text(name, value string) {
	o.name(name)
	o.dst = appendText(o.dst, value)
}

func (o *object) textUnlessEmpty(name, value string) {
	if value != "" {
		o.text(name, value)
	}
}

func (o *object) number(name string, n int64) {
	o.name(name)
	o.dst = strconv.AppendInt(o.dst, n, 10)
}

func (o *object) numberUnlessZero(name string, n int64) {
	if n != 0 {
		o.number(name, n)
	}
}

// flag writes true; false is left out.
func (o *object) flag(name string, set bool) {
	if set {
		o.name(name)
		o.dst = append(o.dst, "true"...)
	}
}

func (o *object) time(name string, at time.Time) {
	o.name(name)
	if year := at.Year(); year < 0 || year > 9999 {
		o.err = fmt.Errorf("the time %s has no form in JSON", at)
	}
	o.dst = append(at.AppendFormat(append(o.dst, '"'), time.RFC3339Nano), '"')
}

func (o *object) texts(name string, values map[string]string) {
	o.name(name)
	inner := object{dst: append(o.dst, '{')}
	for _, key := range slices.Sorted(maps.Keys(values)) {
		if inner.dst[len(inner.dst)-1] != '{' {
			inner.dst = append(inner.dst, ',')
		}
		inner.dst = append(appendText(inner.dst, key), ':')
		inner.dst = appendText(inner.dst, values[key])
	}
	o.dst = append(inner.dst, '}')
}

// value writes JSON that is ready.
func (o *object) value(name string, raw json.RawMessage) {
	o.name(name)
	if !json.Valid(raw) {
		o.err = fmt.Errorf("the field %s is not JSON", name)
	}
	o.dst = append(o.dst, raw...)
}

// appendText appends a text in quotes.
func appendText(dst []byte, text string) []byte {
	for i := range len(text) {
		if b := text[i]; b < ' ' || b >= utf8.RuneSelf || b == '"' || b == '\\' || b == '<' || b == '>' || b == '&' {
			quoted, _ := json.Marshal(text) // a text has always a form in JSON
			return append(dst, quoted...)
		}
	}
	return append(append(append(dst, '"'), text...), '"')
}
