package tasks

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"mime"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// State is how a call stands: open, or how it ended.
type State string

// The ends. Dead letters wait for a person; dropped calls could never have succeeded.
const (
	StateOpen      State = "open" // not of a results file
	StateDone      State = "done"
	StateDead      State = "dead"
	StateDropped   State = "dropped"
	StateCancelled State = "cancelled"
)

// Ended reports whether the state is final until the call is redriven.
func (s State) Ended() bool {
	return s == StateDone || s == StateDead || s == StateDropped || s == StateCancelled
}

// Result is how a call or a job ended, one line of a results file. These fields are
// null in the line if they are zero: HTTPStatus, ErrorCode, the texts from Rule to
// CorrelationID, the times, Line, Meta, Body.
type Result struct {
	Key      string
	ID       string // TaskID of batch and key
	Batch    string
	Upstream string
	Method   string // JOB for a job
	Path     string // "/" and the kind for a job
	State    State
	Class    string // why, in the policy's words: ok, quota, expired, …
	Rule     string // the policy rule that decided
	// HTTPStatus is 0 if no answer came.
	HTTPStatus int
	// ErrorCode has the API's original digits; a code that is not a JSON number is
	// written as a string.
	ErrorCode    json.Number
	ErrorMessage string
	// UserMessage and Advice are for the end user and for the operator. They are written only when State is dead or dropped.
	UserMessage   string
	Advice        string
	CorrelationID string
	Attempts      int
	Parked        int
	FirstAt       time.Time // of the first send
	FinishedAt    time.Time
	// Digest is the call's ContentHash. A run that resumes skips a key only if its line
	// still has this digest.
	Digest string
	// BaseURL is the upstream's base URL in the run that wrote the line, since a result
	// of one API must not be used for another. It is left out if it is not known.
	BaseURL string
	// Line is the call's line in the file of a run when the result was written, from 1;
	// 0 if there is none.
	Line int
	// Amount is what the call cost according to the API, with the original digits;
	// empty if the API returned none, or not a number.
	Amount json.Number
	// Headers are the answer's headers that the upstream is configured to keep; nil is
	// written as {}.
	Headers map[string]string
	// Meta is the call's, unchanged; nil if it had none.
	Meta json.RawMessage
	// Body is the answer, from ResultBody or EncodedBody.
	Body json.RawMessage
	// Verified reports that Body is the answer to the request by which the API was asked
	// whether the call took effect (verify of an upstream).
	Verified bool
	// BodyFreed reports that there is no Body because it was freed from Redis after it
	// had been exported: an earlier results file has it.
	BodyFreed bool
}

// EncodeResult appends r to dst as one line with its line end. It fails only if Body or
// Meta is not valid JSON; in text that is not UTF-8 it replaces the bad bytes by
// U+FFFD.
func EncodeResult(dst []byte, r Result) ([]byte, error) {
	dst, err := r.appendJSON(dst)
	if err != nil {
		return nil, err
	}
	return append(dst, '\n'), nil
}

// MarshalJSON makes json.Marshal write the object of a results line.
func (r Result) MarshalJSON() ([]byte, error) { return r.appendJSON(nil) }

// UnmarshalJSON reads the object of a results line. Unknown fields are ignored, so that
// later versions may add some; key and state are required.
func (r *Result) UnmarshalJSON(data []byte) error {
	if string(data) == "null" {
		return nil
	}
	parsed, bad := parseResult(trimJSONSpace(data))
	if bad != nil {
		return bad
	}
	*r = parsed
	return nil
}

func (r Result) appendJSON(dst []byte) ([]byte, error) {
	body, bad := compactBody(r.Body)
	if bad != nil {
		return nil, fmt.Errorf("result of %s: its body is not valid JSON in UTF-8; build it with ResultBody", shown(r.Key))
	}
	if body == nil {
		body = json.RawMessage("null")
	}
	meta, bad := oneLineJSON("meta", r.Meta)
	if bad != nil {
		return nil, fmt.Errorf("result of %s: %w", shown(r.Key), bad)
	}
	if meta == nil {
		meta = json.RawMessage("null")
	}
	if r.State != StateDead && r.State != StateDropped {
		r.UserMessage, r.Advice = "", ""
	}
	dst = appendString(appendName(append(dst, '{'), "key"), r.Key)
	dst = appendString(appendName(dst, "id"), r.ID)
	dst = appendString(appendName(dst, "batch"), r.Batch)
	dst = appendString(appendName(dst, "upstream"), r.Upstream)
	dst = appendString(appendName(dst, "method"), r.Method)
	dst = appendString(appendName(dst, "path"), r.Path)
	dst = appendString(appendName(dst, "state"), string(r.State))
	dst = appendString(appendName(dst, "class"), r.Class)
	dst = appendText(appendName(dst, "rule"), r.Rule)
	dst = appendPositive(appendName(dst, "http_status"), r.HTTPStatus)
	dst = appendName(dst, "error_code")
	if isNumber(string(r.ErrorCode)) {
		dst = append(dst, r.ErrorCode...)
	} else {
		dst = appendText(dst, string(r.ErrorCode))
	}
	dst = appendText(appendName(dst, "error_message"), r.ErrorMessage)
	dst = appendText(appendName(dst, "user_message"), r.UserMessage)
	dst = appendText(appendName(dst, "advice"), r.Advice)
	dst = appendText(appendName(dst, "correlation_id"), r.CorrelationID)
	dst = strconv.AppendInt(appendName(dst, "attempts"), int64(r.Attempts), 10)
	dst = strconv.AppendInt(appendName(dst, "parked"), int64(r.Parked), 10)
	dst = appendTime(appendName(dst, "first_at"), r.FirstAt)
	dst = appendTime(appendName(dst, "finished_at"), r.FinishedAt)
	dst = appendString(appendName(dst, "digest"), r.Digest)
	if r.BaseURL != "" {
		dst = appendString(appendName(dst, "base_url"), r.BaseURL)
	}
	dst = appendPositive(appendName(dst, "line"), r.Line)
	amount := r.Amount
	if !isNumber(string(amount)) {
		amount = "null"
	}
	dst = append(appendName(dst, "amount"), amount...)
	dst = appendTexts(appendName(dst, "headers"), r.Headers)
	dst = append(appendName(dst, "meta"), meta...)
	dst = append(appendName(dst, "body"), body...)
	dst = appendIfTrue(dst, "verified", r.Verified)
	dst = appendIfTrue(dst, "body_freed", r.BodyFreed)
	return append(dst, '}'), nil
}

// appendIfTrue appends a field that is left out if it is false.
func appendIfTrue(dst []byte, name string, value bool) []byte {
	if !value {
		return dst
	}
	return append(appendName(dst, name), "true"...)
}

// appendPositive appends a number, or null if it is 0.
func appendPositive(dst []byte, n int) []byte {
	if n == 0 {
		return append(dst, "null"...)
	}
	return strconv.AppendInt(dst, int64(n), 10)
}

// ResultBody turns an answer into the JSON of a results line: nil (null) for none, the
// value itself for JSON, a string for other text in UTF-8,
// {"base64":…,"content_type":…} for everything else. An object or an array counts as
// JSON whatever contentType says, since APIs often give a wrong one; a single number,
// string or literal only if contentType is JSON or empty. White space between tokens is
// removed; digits, strings and the order of fields stay. The result may share data's
// memory.
func ResultBody(data []byte, contentType string) json.RawMessage {
	if len(data) == 0 {
		return nil
	}
	text := utf8.Valid(data)
	if trimmed := trimJSONSpace(bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))); text && len(trimmed) > 0 {
		structured := trimmed[0] == '{' || trimmed[0] == '['
		if structured || saysJSON(contentType) {
			if json.Valid(trimmed) {
				return compactValid(trimmed)
			}
		}
	}
	if text && bytes.IndexByte(data, 0) < 0 {
		return appendString(make([]byte, 0, len(data)+len(data)/16+2), string(data))
	}
	return base64Body(data, contentType, "")
}

// EncodedBody is [ResultBody] for an answer whose content codings could not be decoded,
// such as a gzip body with a wrong checksum:
// {"base64":…,"content_type":…,"content_encoding":"gzip"}, whatever the bytes are.
func EncodedBody(data []byte, contentType, contentEncoding string) json.RawMessage {
	if len(data) == 0 {
		return nil
	}
	return base64Body(data, contentType, contentEncoding)
}

func base64Body(data []byte, contentType, contentEncoding string) json.RawMessage {
	size := base64.StdEncoding.EncodedLen(len(data)) + len(contentType) + len(contentEncoding) + 70
	dst := append(make([]byte, 0, size), `{"base64":"`...)
	dst = base64.StdEncoding.AppendEncode(dst, data)
	dst = appendString(append(dst, `","content_type":`...), contentType)
	if contentEncoding != "" {
		dst = appendString(append(dst, `,"content_encoding":`...), contentEncoding)
	}
	return append(dst, '}')
}

// decimalOf returns a decimal number that an API wrote as a JSON number with the same
// digits, or "" for other text.
func decimalOf(s string) json.Number {
	sign := ""
	s = strings.TrimPrefix(strings.TrimSpace(s), "+")
	if strings.HasPrefix(s, "-") {
		sign, s = "-", s[1:]
	}
	whole, fraction, hasFraction := strings.Cut(s, ".")
	if whole = strings.TrimLeft(whole, "0"); whole == "" && s != "" && s != "." {
		whole = "0"
	}
	if hasFraction && fraction != "" {
		whole += "." + fraction
	}
	if number := sign + whole; isNumber(number) {
		return json.Number(number)
	}
	return ""
}

func saysJSON(contentType string) bool {
	media, _, err := mime.ParseMediaType(contentType)
	return contentType == "" || err == nil && (media == "application/json" || media == "text/json" || strings.HasSuffix(media, "+json"))
}

// DecodeBody returns the body of a result as a Go value: an API's answer, or the return
// value of a job. Without a body it returns the zero value.
func DecodeBody[T any](r Result) (T, error) {
	var value T
	if len(r.Body) == 0 {
		return value, nil
	}
	if err := json.Unmarshal(r.Body, &value); err != nil {
		return value, fmt.Errorf("body of the result of %s: %w", shown(r.Key), err)
	}
	return value, nil
}

// The append functions below write JSON that encoding/json reads back unchanged,
// without its escaping of "<", ">" and "&": a plain search must find the original text.

// appendName writes a member's name, with a comma before it unless it is the first.
func appendName(dst []byte, name string) []byte {
	if len(dst) > 0 && dst[len(dst)-1] != '{' {
		dst = append(dst, ',')
	}
	return append(appendString(dst, name), ':')
}

// appendText is appendString, but writes null for "".
func appendText(dst []byte, s string) []byte {
	if s == "" {
		return append(dst, "null"...)
	}
	return appendString(dst, s)
}

// appendTexts writes an object, sorted by name.
func appendTexts(dst []byte, texts map[string]string) []byte {
	if len(texts) == 0 {
		return append(dst, "{}"...)
	}
	dst = append(dst, '{')
	for _, name := range slices.Sorted(maps.Keys(texts)) {
		dst = appendString(appendName(dst, name), texts[name])
	}
	return append(dst, '}')
}

// appendTime writes null for the zero time.
func appendTime(dst []byte, at time.Time) []byte {
	if at.IsZero() {
		return append(dst, "null"...)
	}
	dst = at.UTC().AppendFormat(append(dst, '"'), time.RFC3339Nano)
	return append(dst, '"')
}

func appendString(dst []byte, s string) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	from := 0
	for i := 0; i < len(s); {
		b := s[i]
		switch {
		case b >= utf8.RuneSelf:
			r, size := utf8.DecodeRuneInString(s[i:])
			if r == utf8.RuneError && size == 1 {
				dst = append(append(dst, s[from:i]...), "\ufffd"...)
				from = i + 1
			}
			i += size
			continue
		case b >= ' ' && b != '"' && b != '\\':
			i++
			continue
		}
		dst = append(dst, s[from:i]...)
		switch b {
		case '"', '\\':
			dst = append(dst, '\\', b)
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hex[b>>4], hex[b&15])
		}
		i++
		from = i
	}
	return append(append(dst, s[from:]...), '"')
}
