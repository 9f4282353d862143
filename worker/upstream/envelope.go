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
	// maxDepth limits the nesting of a body that is read as JSON. The parser recurses,
	// and a body of brackets only would exhaust its stack.
	maxDepth = 256
	// maxMessage and maxID limit, in bytes, the texts of the API that are kept.
	maxMessage = 1024
	maxID      = 256
)

var (
	messageFields = []string{"error_msg", "error_message", "msg", "message"}
	idHeaders     = []string{"X-Correlation-Id", "X-Request-Id", "Request-Id", "X-Amzn-Requestid"}
)

// Read describes an answer for a policy: its status, headers, kind of body, and the
// content of its envelope. cut reports that the body ended before its declared length;
// Read does not parse such a body. Read has no side effects and accepts any input. The
// caller must set ReceivedAt. The outcome keeps header, without a copy.
//
// An envelope is a JSON object whose field status is true or false, as a boolean or as
// text. Its code is error_code, as an integer, a float or text. Its message is the first
// text under error_msg, error_message, msg or message, or title and detail of a problem
// (RFC 9457). Read finds code and message in other objects, too. If a field occurs twice,
// the last one counts. If these fields have no message and the answer is not a success,
// messageOf looks for one.
//
// An error_code that is not a number cannot be a Code. It still means a failure, so Flag
// is then false, whatever status says, and the message begins with the code.
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
	case (body[0] == '{' || body[0] == '[') && isShallow(body) && gjson.ValidBytes(body):
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
	// Parse without a copy, because the body may be large. The outcome keeps no part of it.
	gjson.Parse(unsafe.String(unsafe.SliceData(body), len(body))).ForEach(func(key, value gjson.Result) bool {
		switch key.Str {
		case "status":
			o.Flag = readFlag(value)
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
	if o.Message == "" && isProblem(o.Header) {
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
		o.Message = joined(sanitize([]byte(literal), 64), o.Message)
	}
}

// readFlag reads the status field. Any value but true and false is FlagAbsent: RFC 9457
// has a number there.
func readFlag(v gjson.Result) policy.Flag {
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

// readCode returns the code in canonical decimal form. It returns false if there is a
// code that is not a number.
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

// isShallow reports whether the brackets of body are nested at most maxDepth deep. It
// ignores brackets within JSON strings.
func isShallow(body []byte) bool {
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

// isHTML reports whether a body that is not JSON is a web page, by its declared type or
// by its first tag.
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

func isProblem(header http.Header) bool {
	return strings.HasPrefix(strings.ToLower(header.Get("Content-Type")), "application/problem+json")
}

func correlationID(header http.Header) string {
	for _, name := range idHeaders {
		if v := sanitize([]byte(header.Get(name)), maxID); v != "" {
			return v
		}
	}
	return ""
}

func text(v gjson.Result) string {
	if v.Type != gjson.String {
		return ""
	}
	return sanitize([]byte(v.Str), maxMessage)
}

func joined(a, b string) string {
	switch {
	case a == "":
		return b
	case b == "" || a == b:
		return a
	}
	return sanitize([]byte(a+": "+b), maxMessage)
}

// sanitize returns untrusted text as valid UTF-8 of at most limit bytes, without control
// characters and surrounding space. The result shares no memory with b.
func sanitize(b []byte, limit int) string {
	// Cut first, because the rest is slow. Leave room for what the trimming removes.
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
