package upstream

import (
	"bytes"
	"encoding/xml"
	"html"
	"io"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/tidwall/gjson"
)

// This file finds what an API says of a failure, in the shapes that APIs use.
// A place that a policy names for itself belongs before messageOf.

const (
	// maxLooked is how many bytes of an XML or HTML body are looked through.
	maxLooked = 64 << 10
	// maxNested is how many containers a message may lie in, maxMembers how many
	// members of one are looked at, and maxJoined how many messages are joined.
	maxNested  = 5
	maxMembers = 64
	maxJoined  = 3
)

// messageKeys are the members that hold a message, in lower case without "_" and
// "-", the best first. containerKeys hold an error, or several.
var (
	messageKeys = []string{
		"errormsg", "errormessage", "msg", "message", "errordescription", "errordetail", "errorsummary", "faultstring",
		"usermessage", "developermessage", "reason", "description", "statustext",
	}
	containerKeys = []string{"error", "errors", "fault", "exception", "detail", "details", "errormessages", "errorresponse", "response", "data", "result", "meta"}
)

// messageOf returns what the body of a failed answer says: kind is what Read found
// the body to be, and body is trimmed. It returns "" where nothing is recognized.
func messageOf(kind policy.Body, header http.Header, body []byte) string {
	switch {
	case kind == policy.BodyEmpty, kind == policy.BodyCut:
		return ""
	case kind == policy.BodyHTML:
		return messageOfHTML(body)
	case body[0] == '{' || body[0] == '[':
		if shallow(body) && gjson.ValidBytes(body) {
			return messageOfJSON(gjson.ParseBytes(body), maxNested)
		}
		return ""
	case body[0] == '<':
		return messageOfXML(body)
	case body[0] == '"' && gjson.ValidBytes(body):
		return firstLine([]byte(gjson.ParseBytes(body).Str))
	case utf8.Valid(body[:min(len(body), maxLooked)]) || strings.HasPrefix(strings.ToLower(header.Get("Content-Type")), "text/"):
		return firstLine(body)
	}
	return ""
}

// messageOfJSON looks into depth containers.
func messageOfJSON(v gjson.Result, depth int) string {
	switch {
	case v.Type == gjson.String:
		return text(v)
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
	said := ""
	for _, key := range messageKeys {
		if said = text(members[key]); said != "" {
			break
		}
	}
	// RFC 6749, 5.2: error is a code, and error_description says what it means.
	if code := text(members["error"]); code != "" {
		return joined(code, said)
	}
	if said != "" {
		return said
	}
	if detail := text(members["detail"]); detail != "" {
		return joined(text(members["title"]), detail) // RFC 9457
	}
	for _, key := range containerKeys {
		inner, there := members[key]
		if !there {
			continue
		}
		if said := messageOfJSON(inner, depth-1); said != "" {
			return said
		}
		if inner.IsObject() && key != "data" && key != "result" && key != "meta" && key != "response" {
			if said := messageOfFields(inner, depth-1); said != "" {
				return said
			}
		}
	}
	return text(members["title"])
}

// messageOfFields reads {"email": ["is not valid"]}: messages by the field that
// they are about.
func messageOfFields(v gjson.Result, depth int) string {
	if depth <= 0 {
		return ""
	}
	return joinMessages(v, func(key, value gjson.Result) string {
		if !value.IsArray() && value.Type != gjson.String {
			return ""
		}
		if said := messageOfJSON(value, depth-1); said != "" {
			return joined(text(key), said)
		}
		return ""
	})
}

func joinMessages(v gjson.Result, read func(key, value gjson.Result) string) string {
	var said []string
	looked := 0
	v.ForEach(func(key, value gjson.Result) bool {
		if s := read(key, value); s != "" {
			said = append(said, s)
		}
		looked++
		return looked < maxMembers && len(said) < maxJoined
	})
	return clean([]byte(strings.Join(said, "; ")), maxMessage)
}

// membersOf returns the first members of an object by their plain names. Of a name
// that occurs twice the last counts.
func membersOf(v gjson.Result) map[string]gjson.Result {
	members := map[string]gjson.Result{}
	looked := 0
	v.ForEach(func(key, value gjson.Result) bool {
		if len(key.Str) <= 64 {
			members[plainName(key.Str)] = value
		}
		looked++
		return looked < maxMembers
	})
	return members
}

var nameReplacer = strings.NewReplacer("_", "", "-", "")

func plainName(s string) string { return nameReplacer.Replace(strings.ToLower(s)) }

// messageOfXML reads the errors of SOAP and of APIs such as S3:
// <Error><Code>NoSuchKey</Code><Message>…</Message></Error>.
func messageOfXML(body []byte) string {
	decoder := xml.NewDecoder(bytes.NewReader(bytes.ToValidUTF8(body[:min(len(body), maxLooked)], []byte("\ufffd"))))
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
			// Only a leaf has a message.
			if name == plainName(token.Name.Local) && found[name] == "" {
				found[name] = clean([]byte(content), maxMessage)
			}
			name = ""
		}
	}
	for _, key := range messageKeys {
		if said := found[key]; said != "" {
			return joined(found["code"], said)
		}
	}
	for _, key := range []string{"text", "detail", "error", "title"} { // text: SOAP 1.2
		if said := found[key]; said != "" {
			return said
		}
	}
	return ""
}

// messageOfHTML returns the title of a page, or its first heading.
func messageOfHTML(body []byte) string {
	page := body[:min(len(body), maxLooked)]
	lower := bytes.ToLower(page)
	if len(lower) != len(page) {
		lower = page // some letter is longer in lower case
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
		said := strings.Join(strings.Fields(html.UnescapeString(withoutTags(string(page[from+begin+1:from+end])))), " ")
		if said = clean([]byte(said), maxMessage); said != "" {
			return said
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

// firstLine returns the first line that says something.
func firstLine(body []byte) string {
	body = bytes.TrimSpace(body)
	if end := bytes.IndexAny(body, "\r\n"); end >= 0 {
		body = body[:end]
	}
	return clean(body, maxMessage)
}
