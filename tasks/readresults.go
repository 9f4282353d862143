package tasks

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"strconv"
	"time"
)

// maxResultLine is far above any body limit in use; it only keeps a file that is not a
// results file from filling the memory.
const maxResultLine = 256 << 20

// TornLineError reports that the last line of a results file has no end, as after a
// crash or a full disk. To append to the file, first cut it at Offset and then, if
// NeedsNewline, write a line end: in that case the line is complete and was yielded.
type TornLineError struct {
	Line         int
	Offset       int64
	NeedsNewline bool
}

// Error says what to do.
func (e *TornLineError) Error() string {
	if e.NeedsNewline {
		return fmt.Sprintf("line %d has no end of line; add one before writing on", e.Line)
	}
	return fmt.Sprintf("line %d is only half-written; cut the file at byte %d before writing on", e.Line, e.Offset)
}

// ReadResults reads a results file. A line that is not a result is yielded as a
// [*FieldError] and the next one follows; a last line without an end is yielded as a
// [*TornLineError], after its result if that is complete. Any other error comes from r
// and is the last element. Blank lines are skipped. The sequence can be ranged over
// once.
func ReadResults(r io.Reader) iter.Seq2[Result, error] {
	return func(yield func(Result, error) bool) {
		lines := newLineReader(r, maxResultLine)
		for {
			text, err := lines.next()
			var tooLong *FieldError
			switch {
			case errors.Is(err, io.EOF):
				return
			case err != nil && !errors.As(err, &tooLong):
				yield(Result{}, fmt.Errorf("read results after line %d: %w", lines.number, err))
				return
			case tooLong != nil && lines.whole:
				if !yield(Result{}, tooLong) {
					return
				}
				continue
			}
			text = trimJSONSpace(text)
			if len(text) == 0 && lines.whole {
				continue
			}
			result, bad := parseResult(text)
			switch {
			case bad == nil:
				if !yield(result, nil) {
					return
				}
			case lines.whole:
				bad.Line = lines.number
				if !yield(Result{}, bad) {
					return
				}
			}
			if lines.whole {
				continue
			}
			torn := &TornLineError{Line: lines.number, Offset: lines.start, NeedsNewline: bad == nil}
			if bad == nil {
				torn.Offset = lines.end
			}
			yield(Result{}, torn)
			return
		}
	}
}

// SetBaseURL returns the line of a results file with another BaseURL and all other
// bytes unchanged. A line that has none, or is not a result, is returned unchanged.
func SetBaseURL(line []byte, base string) []byte {
	text := trimJSONSpace(bytes.TrimPrefix(line, []byte("\xef\xbb\xbf")))
	if len(text) == 0 || checkJSON(text) != nil {
		return line
	}
	walk := walkJSON(text)
	for name, value, more := walk.next(); more; name, value, more = walk.next() {
		if string(name) == `"base_url"` {
			begin := bytes.Index(line, text) + walk.at - len(value)
			out := append(make([]byte, 0, len(line)+len(base)), line[:begin]...)
			return append(appendString(out, base), line[begin+len(value):]...)
		}
	}
	return line
}

func parseResult(text []byte) (Result, *FieldError) {
	if bad := checkJSON(text); bad != nil {
		bad.Fix = "the line is ignored"
		return Result{}, bad
	}
	var r Result
	walk := walkJSON(text)
	for name, value, more := walk.next(); more; name, value, more = walk.next() {
		if string(value) == "null" {
			continue
		}
		if bad := r.setField(string(name[1:len(name)-1]), value); bad != nil {
			return Result{}, bad
		}
	}
	switch {
	case r.Key == "":
		return Result{}, &FieldError{Field: "key", Problem: "is missing", Fix: "the line is ignored"}
	case r.State != StateDone && r.State != StateDead && r.State != StateDropped && r.State != StateCancelled:
		return Result{}, &FieldError{Field: "state", Problem: "there is no state " + shown(string(r.State)), Fix: "the line is ignored"}
	}
	return r, nil
}

func (r *Result) setField(name string, value []byte) (bad *FieldError) {
	if into := r.textField(name); into != nil {
		*into, bad = parseString(name, value)
		return bad
	}
	switch name {
	case "http_status":
		r.HTTPStatus, bad = parseCount(name, value)
	case "attempts":
		r.Attempts, bad = parseCount(name, value)
	case "parked":
		r.Parked, bad = parseCount(name, value)
	case "error_code":
		if isNumber(string(value)) {
			r.ErrorCode = json.Number(value)
			return nil
		}
		var text string
		text, bad = parseString(name, value)
		r.ErrorCode = json.Number(text)
	case "amount":
		if !isNumber(string(value)) {
			return &FieldError{Field: name, Problem: "is not a number", Fix: "the line is ignored"}
		}
		r.Amount = json.Number(value)
	case "verified":
		r.Verified = string(value) == "true"
	case "headers":
		r.Headers, bad = parseTexts(name, value)
	case "first_at":
		r.FirstAt, bad = parseInstant(name, value)
	case "finished_at":
		r.FinishedAt, bad = parseInstant(name, value)
	case "line":
		r.Line, bad = parseCount(name, value)
	case "meta":
		r.Meta = bytes.Clone(value)
	case "body_freed":
		r.BodyFreed = string(value) == "true"
	case "body":
		r.Body = bytes.Clone(value)
	}
	return bad
}

func (r *Result) textField(name string) *string {
	switch name {
	case "key":
		return &r.Key
	case "id":
		return &r.ID
	case "batch":
		return &r.Batch
	case "upstream":
		return &r.Upstream
	case "method":
		return &r.Method
	case "path":
		return &r.Path
	case "state":
		return (*string)(&r.State)
	case "class":
		return &r.Class
	case "rule":
		return &r.Rule
	case "error_message":
		return &r.ErrorMessage
	case "user_message":
		return &r.UserMessage
	case "advice":
		return &r.Advice
	case "correlation_id":
		return &r.CorrelationID
	case "digest":
		return &r.Digest
	case "base_url":
		return &r.BaseURL
	}
	return nil
}

func parseCount(field string, value []byte) (int, *FieldError) {
	count, err := strconv.Atoi(string(value))
	if err != nil {
		return 0, &FieldError{Field: field, Problem: "is not a whole number", Fix: "the line is ignored"}
	}
	return count, nil
}

// parseTexts reads an object of strings; one without members is nil.
func parseTexts(field string, value []byte) (map[string]string, *FieldError) {
	var texts map[string]string
	if err := json.Unmarshal(value, &texts); err != nil {
		return nil, &FieldError{Field: field, Problem: "is not an object of strings", Fix: "the line is ignored"}
	}
	if len(texts) == 0 {
		return nil, nil
	}
	return texts, nil
}

func parseInstant(field string, value []byte) (time.Time, *FieldError) {
	at, bad := parseTime(field, value)
	if bad != nil || at == nil {
		return time.Time{}, bad
	}
	return *at, nil
}
