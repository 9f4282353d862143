// Package errortext finds the error message in the body of a failed answer, in the formats
// that APIs commonly use: JSON, XML, HTML and plain text. The places that a policy names
// come first; what they do not give is searched here.
//
// This package may change.
package errortext

import (
	"bytes"
	"encoding/xml"
	"html"
	"io"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/tidwall/gjson"

	"github.com/seed-2903acc3/callq/internal/plaintext"
	"github.com/seed-2903acc3/callq/policy/place"
)

const (
	// maxMessage bounds a message in bytes.
	maxMessage = 1024
	// maxSearched is how many bytes of an XML or HTML body are searched.
	maxSearched = 64 << 10
	// maxNested is how deep a message may be nested, maxMembers how many members of one
	// object or array are read, and maxJoined how many messages are joined.
	maxNested  = 5
	maxMembers = 64
	maxJoined  = 3
)

// messageKeys are the names of members with a message, in lower case without "_" and "-",
// the best first. containerKeys are the names of members with one or several errors.
var (
	messageKeys = []string{
		"errormsg", "errormessage", "msg", "message", "errordescription", "errordetail", "errorsummary", "faultstring",
		"usermessage", "developermessage", "reason", "description", "statustext",
	}
	containerKeys = []string{"error", "errors", "fault", "exception", "detail", "details", "errormessages", "errorresponse", "response", "data", "result", "meta"}
)

// Of returns the message in the body of a failed answer, in at most 1,024 bytes of
// printable text, or "" if it finds none. body must be trimmed; html reports that it is a
// web page.
func Of(html bool, header http.Header, body []byte) string {
	switch {
	case len(body) == 0:
		return ""
	case html:
		return messageOfHTML(body)
	case body[0] == '{' || body[0] == '[':
		if place.IsJSON(body) {
			return messageOfJSON(gjson.ParseBytes(body), maxNested)
		}
		return ""
	case body[0] == '<':
		return messageOfXML(body)
	case body[0] == '"' && gjson.ValidBytes(body):
		return firstLine([]byte(gjson.ParseBytes(body).Str))
	case utf8.Valid(body[:min(len(body), maxSearched)]) || strings.HasPrefix(strings.ToLower(header.Get("Content-Type")), "text/"):
		return firstLine(body)
	}
	return ""
}

// OAuth returns the error of RFC 6749, 5.2, or another message in the JSON object body.
// refused reports whether the object has such an error.
func OAuth(body []byte) (message string, refused bool) {
	doc := gjson.ParseBytes(body)
	members := membersOf(doc)
	e := members["error"]
	refused = textOf(e) != "" || e.IsObject() || textOf(members["errordescription"]) != ""
	return messageOfObject(doc, maxNested), refused
}

// oauthCodes are the codes of RFC 6749, 5.2.
var oauthCodes = []string{"invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type", "invalid_scope"}

// IsOAuthCode reports whether code is one of the codes of RFC 6749, 5.2.
func IsOAuthCode(code string) bool { return slices.Contains(oauthCodes, code) }

// messageOfJSON searches at most depth levels of objects and arrays.
func messageOfJSON(v gjson.Result, depth int) string {
	switch {
	case v.Type == gjson.String:
		return textOf(v)
	case depth == 0:
		return ""
	case v.IsArray():
		return joinMessages(v, func(_, item gjson.Result) string { return messageOfJSON(item, depth-1) })
	case v.IsObject():
		return messageOfObject(v, depth)
	}
	return ""
}

func messageOfObject(v gjson.Result, depth int) string {
	members := membersOf(v)
	message := ""
	for _, key := range messageKeys {
		if message = textOf(members[key]); message != "" {
			break
		}
	}
	// RFC 6749, 5.2: error is a code, and error_description explains it.
	if code := textOf(members["error"]); code != "" && (message == "" || textOf(members["errordescription"]) == message) {
		return joined(code, message)
	}
	if message != "" {
		return message
	}
	if detail := textOf(members["detail"]); detail != "" {
		return joined(textOf(members["title"]), detail) // RFC 9457
	}
	for _, key := range containerKeys {
		inner, ok := members[key]
		if !ok {
			continue
		}
		if message := messageOfJSON(inner, depth-1); message != "" {
			return message
		}
		if inner.IsObject() && key != "data" && key != "result" && key != "meta" && key != "response" {
			if message := messageOfFields(inner, depth-1); message != "" {
				return message
			}
		}
	}
	if title := textOf(members["title"]); title != "" {
		return title
	}
	// {"status": "OVER_QUERY_LIMIT", "results": []}
	if status := textOf(members["status"]); !strings.EqualFold(status, "true") && !strings.EqualFold(status, "false") {
		return status
	}
	return ""
}

// messageOfFields reads messages by field, such as {"email": ["is not valid"]}.
func messageOfFields(v gjson.Result, depth int) string {
	if depth <= 0 {
		return ""
	}
	return joinMessages(v, func(key, value gjson.Result) string {
		if !value.IsArray() && value.Type != gjson.String {
			return ""
		}
		if message := messageOfJSON(value, depth-1); message != "" {
			return joined(textOf(key), message)
		}
		return ""
	})
}

func joinMessages(v gjson.Result, read func(key, value gjson.Result) string) string {
	var messages []string
	visited := 0
	v.ForEach(func(key, value gjson.Result) bool {
		if s := read(key, value); s != "" {
			messages = append(messages, s)
		}
		visited++
		return visited < maxMembers && len(messages) < maxJoined
	})
	return plaintext.Clean(strings.Join(messages, "; "), maxMessage)
}

// membersOf returns the first maxMembers members of an object by their plain names. If a
// name occurs twice, the last one counts.
func membersOf(v gjson.Result) map[string]gjson.Result {
	members := map[string]gjson.Result{}
	visited := 0
	v.ForEach(func(key, value gjson.Result) bool {
		if len(key.Str) <= 64 {
			members[plainName(key.Str)] = value
		}
		visited++
		return visited < maxMembers
	})
	return members
}

var nameReplacer = strings.NewReplacer("_", "", "-", "")

func plainName(s string) string { return nameReplacer.Replace(strings.ToLower(s)) }

// messageOfXML reads the errors of SOAP and of APIs such as S3:
// <Error><Code>NoSuchKey</Code><Message>…</Message></Error>.
func messageOfXML(body []byte) string {
	decoder := xml.NewDecoder(bytes.NewReader(bytes.ToValidUTF8(body[:min(len(body), maxSearched)], []byte("\ufffd"))))
	decoder.Strict = false
	decoder.CharsetReader = func(_ string, r io.Reader) (io.Reader, error) { return r, nil }
	found := map[string]string{}
	name, content := "", ""
	for {
		token, err := decoder.RawToken()
		if err != nil {
			break
		}
		switch token := token.(type) {
		case xml.StartElement:
			name, content = plainName(token.Name.Local), ""
		case xml.CharData:
			if name != "" && len(content) < maxMessage {
				content += string(token[:min(len(token), maxMessage)])
			}
		case xml.EndElement:
			// Only an element without child elements has a message.
			if name == plainName(token.Name.Local) && found[name] == "" {
				found[name] = plaintext.Clean(content, maxMessage)
			}
			name = ""
		}
	}
	for _, key := range messageKeys {
		if message := found[key]; message != "" {
			return joined(found["code"], message)
		}
	}
	for _, key := range []string{"text", "detail", "error", "title"} { // text: SOAP 1.2
		if message := found[key]; message != "" {
			return message
		}
	}
	return ""
}

// messageOfHTML returns the title of a page, or its first heading.
func messageOfHTML(body []byte) string {
	page := body[:min(len(body), maxSearched)]
	lower := bytes.ToLower(page)
	if len(lower) != len(page) {
		lower = page // the indexes must match, and some letters are longer in lower case
	}
	for _, tag := range []string{"title", "h1", "h2"} {
		_, rest, found := bytes.Cut(lower, []byte("<"+tag))
		if !found || len(rest) == 0 || rest[0] != '>' && rest[0] != ' ' {
			continue
		}
		begin := bytes.IndexByte(rest, '>')
		end := bytes.Index(rest, []byte("</"+tag))
		if begin < 0 || end <= begin {
			continue
		}
		from := len(page) - len(rest)
		message := strings.Join(strings.Fields(html.UnescapeString(withoutTags(string(page[from+begin+1:from+end])))), " ")
		if message = plaintext.Clean(message, maxMessage); message != "" {
			return message
		}
	}
	if !bytes.Contains(page, []byte("<")) {
		return firstLine(page)
	}
	return ""
}

func withoutTags(s string) string {
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(s, "<")
		b.WriteString(before)
		if !found {
			return b.String()
		}
		_, s, _ = strings.Cut(rest, ">")
	}
}

// firstLine returns the first line that is not empty.
func firstLine(body []byte) string {
	body = bytes.TrimSpace(body)
	if end := bytes.IndexAny(body, "\r\n"); end >= 0 {
		body = body[:end]
	}
	return plaintext.Clean(string(body[:min(len(body), 2*maxMessage)]), maxMessage)
}

func textOf(v gjson.Result) string {
	if v.Type != gjson.String {
		return ""
	}
	return plaintext.Clean(v.Str, maxMessage)
}

func joined(a, b string) string {
	switch {
	case a == "":
		return b
	case b == "" || a == b:
		return a
	}
	return plaintext.Clean(a+": "+b, maxMessage)
}
