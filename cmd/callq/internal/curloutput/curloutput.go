// Package curloutput reads what curl -i prints: an answer of HTTP as text. It must not
// know what the answer is for.
//
//	answer, err := curloutput.Parse(data)
//	if err != nil {
//		return err // line 3: …
//	}
//	fmt.Println(answer.Status, answer.Header, answer.Body)
package curloutput

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"

	"github.com/seed-2903acc3/callq/internal/httpsyntax"
)

// Answer is the last answer that curl printed.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// statusLine matches the first line of an answer. HTTP/2 and HTTP/3 have no reason.
var statusLine = regexp.MustCompile(`^HTTP/[0-9](?:\.[0-9])? +([0-9]{3})(?: .*)?$`)

// Parse reads what curl -i has printed. Lines end in CRLF or LF. curl prints the heads of
// all answers that it got: of interim ones (1xx), of a proxy's "200 Connection
// established", of redirects that it followed and of refusals that it answered with a
// credential. The last one counts. The error names the line that is wrong.
func Parse(data []byte) (Answer, error) {
	if bytes.HasPrefix(data, []byte("\xff\xfe")) || bytes.HasPrefix(data, []byte("\xfe\xff")) {
		return Answer{}, errors.New("the text is in UTF-16, as PowerShell writes it; let curl write the file: curl -i -o FILE URL")
	}
	r := &reader{rest: bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))}
	for {
		answer, err := r.head()
		if err != nil {
			return Answer{}, err
		}
		if r.atStatusLine() {
			continue
		}
		if answer.Status < 200 {
			return Answer{}, fmt.Errorf("line %d: the text ends after the interim answer %d; the answer itself is missing", r.line, answer.Status)
		}
		answer.Body = r.rest
		if bytes.HasPrefix(answer.Body, []byte("\x1f\x8b")) {
			return Answer{}, fmt.Errorf("line %d: the body is compressed; record the answer with curl -i --compressed", r.line+1)
		}
		return answer, nil
	}
}

// reader goes through the text line by line.
type reader struct {
	rest []byte
	// line is the number of the line that was read last.
	line int
}

// next returns the next line without its end; false at the end of the text.
func (r *reader) next() (string, bool) {
	if len(r.rest) == 0 {
		return "", false
	}
	line, rest, _ := bytes.Cut(r.rest, []byte("\n"))
	r.rest = rest
	r.line++
	return string(bytes.TrimSuffix(line, []byte("\r"))), true
}

// atStatusLine reports whether another head follows.
func (r *reader) atStatusLine() bool {
	ahead := *r
	line, ok := ahead.next()
	return ok && statusLine.MatchString(line)
}

// head reads a status line and headers, up to the empty line.
func (r *reader) head() (Answer, error) {
	line, ok := r.next()
	switch {
	case !ok:
		return Answer{}, errors.New("line 1: there is nothing; record an answer with: curl -i URL")
	case strings.HasPrefix(line, "< ") || strings.HasPrefix(line, "* ") || strings.HasPrefix(line, "> "):
		return Answer{}, fmt.Errorf("line %d: this is what curl -v prints; record the answer with curl -i", r.line)
	}
	parts := statusLine.FindStringSubmatch(line)
	if parts == nil {
		return Answer{}, fmt.Errorf("line %d: got %s, want a status line such as HTTP/1.1 429 Too Many Requests; record the answer with curl -i", r.line, shown(line))
	}
	a := Answer{Header: http.Header{}}
	a.Status, _ = strconv.Atoi(parts[1])
	if a.Status < 100 || a.Status > 599 {
		return Answer{}, fmt.Errorf("line %d: %d is not a status of HTTP; write 100 to 599", r.line, a.Status)
	}
	name := ""
	for {
		line, ok := r.next()
		if !ok || line == "" {
			return a, nil
		}
		// A line that begins with space goes on with the header before (RFC 9112, 5.2).
		if (line[0] == ' ' || line[0] == '\t') && name != "" {
			values := a.Header[name]
			values[len(values)-1] += " " + strings.TrimSpace(line)
			continue
		}
		field, value, found := strings.Cut(line, ":")
		if !found || !httpsyntax.IsToken(field) {
			return Answer{}, fmt.Errorf("line %d: got %s, want a header such as Retry-After: 60, or the empty line that is before the body", r.line, shown(line))
		}
		name = http.CanonicalHeaderKey(field)
		a.Header[name] = append(a.Header[name], strings.TrimSpace(value))
	}
}

// shown is the beginning of a line, in quotes and without control characters.
func shown(line string) string {
	const most = 60
	if r := []rune(line); len(r) > most {
		line = string(r[:most]) + "…"
	}
	return strconv.Quote(line)
}
