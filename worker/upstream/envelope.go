package upstream

import (
	"bytes"
	"net/http"
	"strings"
	"unicode"
	"unicode/utf8"
	"unsafe"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/tidwall/gjson"
)

const (
	// maxDepth bounds the nesting of an answer that is taken for JSON. The
	// parser recurses, and a body of brackets alone would exhaust its stack.
	maxDepth = 256
	// maxMessage and maxID bound, in bytes, what is kept of the API's words.
	maxMessage = 1024
	maxID      = 256
)

var (
	messageFields = []string{"error_msg", "error_message", "msg", "message"}
	idHeaders     = []string{"X-Correlation-Id", "X-Request-Id", "Request-Id", "X-Amzn-Requestid"}
)

// Read describes an answer to a policy: its status, headers, kind of body, and
// what its envelope says. cut tells that the body ended before its declared
// length; such a body is not looked into. Read is pure and total; ReceivedAt is
// the caller's to set, and header is kept, not copied.
//
// An envelope is a JSON object whose field status is true or false, as a
// boolean or as text. Its code is error_code, as an integer, a float or text;
// its message the first text under error_msg, error_message, msg or message, or
// title and detail of a problem (RFC 9457). Both are read from objects that are
// no envelope, too. Of a field that occurs twice the last counts. Where none of
// these has a message and the answer is no success, messageOf looks for one.
//
// An error_code that is no number cannot be a Code. It still says that
// something failed, so Flag is then false whatever the envelope says, and the
// code stands before the message.
func Read(status int, header http.Header, body []byte, cut bool) policy.Outcome {
	o := policy.Outcome{
		Status: status, Header: header, Flag: policy.FlagAbsent,
		CorrelationID: correlationID(header),
	}
	body = bytes.TrimSpace(bytes.TrimPrefix(body, []byte("\xef\xbb\xbf")))
	switch {
	case cut:
		o.Body = policy.BodyCut
	case len(body) == 0:
		o.Body = policy.BodyEmpty
	case (body[0] == '{' || body[0] == '[') && shallow(body) && gjson.ValidBytes(body):
		o.Body = policy.BodyMalformed
		if body[0] == '{' {
			readObject(&o, body)
		}
	case isHTML(header, body):
		o.Body = policy.BodyHTML
	default:
		o.Body = policy.BodyMalformed
	}
	if o.Message == "" && (status >= 300 || o.Flag == policy.FlagFalse) {
		o.Message = messageOf(o.Body, header, body)
	}
	return o
}

// readObject fills o from a valid JSON object.
func readObject(o *policy.Outcome, body []byte) {
	var (
		code          gjson.Result
		messages      [4]string
		title, detail string
	)
	// A view of the body, which may be large: nothing of it is kept.
	gjson.Parse(unsafe.String(unsafe.SliceData(body), len(body))).ForEach(func(key, value gjson.Result) bool {
		switch key.Str {
		case "status":
			o.Flag = flag(value)
		case "error_code":
			code = value
		case "title":
			title = text(value)
		case "detail":
			detail = text(value)
		default:
			for i, name := range messageFields {
				if key.Str == name {
					messages[i] = text(value)
				}
			}
		}
		return true
	})
	if o.Flag != policy.FlagAbsent {
		o.Body = policy.BodyEnvelope
	}
	for _, m := range messages {
		if m != "" {
			o.Message = m
			break
		}
	}
	if o.Message == "" && problem(o.Header) {
		o.Message = joined(title, detail)
	}
	decimal, ok := readCode(code)
	o.Code = strings.Clone(decimal)
	if !ok {
		o.Flag = policy.FlagFalse
		literal := code.Raw
		if code.Type == gjson.String {
			literal = code.Str
		}
		o.Message = joined(clean([]byte(literal), 64), o.Message)
	}
}

// flag reads the status field. Anything but true and false is no flag: RFC 9457
// has a number there.
func flag(v gjson.Result) policy.Flag {
	switch v.Type {
	case gjson.True:
		return policy.FlagTrue
	case gjson.False:
		return policy.FlagFalse
	case gjson.String:
		switch s := strings.TrimSpace(v.Str); {
		case strings.EqualFold(s, "true"):
			return policy.FlagTrue
		case strings.EqualFold(s, "false"):
			return policy.FlagFalse
		}
	}
	return policy.FlagAbsent
}

// readCode returns the code in canonical decimal form, or false for a code that
// is there and is no number.
func readCode(v gjson.Result) (string, bool) {
	switch v.Type {
	case gjson.Number:
		return policy.NumericCode(v.Raw)
	case gjson.String:
		s := strings.TrimSpace(v.Str)
		if s == "" {
			return "", true
		}
		return policy.NumericCode(s)
	case gjson.JSON:
		inner := strings.Trim(v.Raw, "{}[] \t\r\n")
		return "", inner == ""
	case gjson.True:
		return "", false
	default:
		return "", true
	}
}

// shallow tells whether the brackets of body, those inside texts aside, nest no
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

// isHTML tells whether a body that is no JSON is a web page, by its declared
// type or by how it begins.
func isHTML(header http.Header, body []byte) bool {
	declared := strings.ToLower(header.Get("Content-Type"))
	if strings.HasPrefix(declared, "text/html") || strings.HasPrefix(declared, "application/xhtml") {
		return true
	}
	start := bytes.ToLower(body[:min(len(body), 64)])
	for _, tag := range []string{"<!doctype html", "<html", "<head", "<body"} {
		if bytes.HasPrefix(start, []byte(tag)) {
			return true
		}
	}
	return false
}

func problem(header http.Header) bool {
	return strings.HasPrefix(strings.ToLower(header.Get("Content-Type")), "application/problem+json")
}

func correlationID(header http.Header) string {
	for _, name := range idHeaders {
		if v := clean([]byte(header.Get(name)), maxID); v != "" {
			return v
		}
	}
	return ""
}

func text(v gjson.Result) string {
	if v.Type != gjson.String {
		return ""
	}
	return clean([]byte(v.Str), maxMessage)
}

func joined(a, b string) string {
	switch {
	case a == "":
		return b
	case b == "" || a == b:
		return a
	}
	return clean([]byte(a+": "+b), maxMessage)
}

// clean makes text from outside fit to be kept: valid UTF-8 of at most limit
// bytes, without control characters or space around it. The result shares no
// memory with b.
func clean(b []byte, limit int) string {
	// Cut before the costly part, with room for what trimming takes away.
	b = bytes.TrimSpace(b)
	b = b[:min(len(b), 2*limit)]
	s := strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(string(b), "\ufffd"))
	if len(s) > limit {
		s = s[:limit]
		for !utf8.ValidString(s) {
			s = s[:len(s)-1]
		}
	}
	return strings.TrimSpace(s)
}
