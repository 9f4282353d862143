package policy

import (
	"bytes"
	"net/http"
	"strings"

	"github.com/seed-2903acc3/callq/internal/plaintext"
	"github.com/seed-2903acc3/callq/policy/errortext"
	"github.com/seed-2903acc3/callq/policy/place"
)

// idHeaders are the usual names of the header that identifies a request at the API.
var idHeaders = []string{"X-Correlation-Id", "X-Request-Id", "Request-Id", "X-Amzn-Requestid"}

// ReadAnswer describes an answer as a policy looks at it: its status, headers, kind of
// body, and what it says at the places that p names; a nil policy names
// none. A cut body is not parsed. ReadAnswer is pure and total. It does not set ReceivedAt,
// and keeps the header without copying it.
//
// If p finds no correlation id, the usual headers are read. If it finds no message and the
// answer is not a success, the common formats of errors are searched; in a success too if
// a rule of p matches messages there, for APIs that refuse with 200.
func (p *Policy) ReadAnswer(r Response) Outcome {
	o, _ := p.readAnswer(r)
	return o
}

// readAnswer is ReadAnswer. It also returns the places that gave the values.
func (p *Policy) readAnswer(r Response) (o Outcome, from givers) {
	if r.Transport != TransportNone {
		return Outcome{Transport: r.Transport, Header: r.Header}, givers{}
	}
	o = Outcome{
		Status: r.Status, Header: r.Header, Flag: FlagAbsent,
		CorrelationID: CorrelationID(r.Header),
	}
	body := bytes.TrimSpace(bytes.TrimPrefix(r.Body, []byte("\xef\xbb\xbf")))
	var json, text []byte
	switch {
	case r.Cut:
		o.Body = BodyCut
	case len(body) == 0:
		o.Body = BodyEmpty
	case (body[0] == '{' || body[0] == '[') && place.IsJSON(body):
		o.Body, json = BodyEnvelope, body
	case isHTML(r.Header, body):
		o.Body, text = BodyHTML, body
	default:
		o.Body, text = BodyMalformed, body
	}
	if p != nil {
		from = p.read(&o, json, text)
	}
	failed := r.Status >= 300 || o.Flag == FlagFalse || o.Code != "" && o.Code != "0"
	search := failed || p != nil && p.searchesSuccesses && (len(json) > 0 || isXML(body))
	if o.Message == "" && !r.Cut && search {
		o.Message = errortext.Of(o.Body == BodyHTML, r.Header, body)
	}
	return o, from
}

func isXML(body []byte) bool {
	return bytes.HasPrefix(body, []byte("<?xml")) || bytes.HasPrefix(body, []byte("<Error"))
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

// CorrelationID returns the id of a request at the API from the usual headers, or "". It
// is printable and has at most 256 bytes.
func CorrelationID(header http.Header) string {
	id, _ := correlationID(header)
	return id
}

// correlationID is CorrelationID. It also returns the name of the header.
func correlationID(header http.Header) (id, name string) {
	for _, name := range idHeaders {
		if v := plaintext.Clean(header.Get(name), maxID); v != "" {
			return v, name
		}
	}
	return "", ""
}
