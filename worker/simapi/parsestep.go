package simapi

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/seed-2903acc3/callq/internal/httpsyntax"
)

const (
	maxRepeat = 1_000_000_000
	maxBig    = 1 << 30
)

// parseStep reads an answer with its options; table has the answers that the script's API names.
func parseStep(words []word, table *api) (step, error) {
	s := step{times: 1}
	seen := map[string]bool{}
	for _, w := range words {
		if w.sep {
			return s, fmt.Errorf("a second ->; a line has one")
		}
		name, err := parseOption(w, &s)
		if err != nil {
			return s, err
		}
		if name == "" {
			name = "answer"
			before := s.answer
			if err := parseAnswer(w, &s.answer, table); err != nil {
				if before.kind == kindBody {
					err = fmt.Errorf("%w; a body with spaces stands between backquotes, as in body=`a b`", err)
				}
				return s, err
			}
			if seen[name] && !seen["status and body"] && s.answer.joins(before) {
				name = "status and body"
			}
			if seen[name] {
				return s, fmt.Errorf("%q is a second answer; separate answers with ;", clip(w.text))
			}
		}
		if seen[name] && name != "header" {
			return s, fmt.Errorf("%q: its kind is given twice; remove one", clip(w.text))
		}
		seen[name] = true
	}
	if !seen["answer"] {
		s.answer.kind = kindOK
	}
	a := &s.answer
	if !a.onTheWire() && (a.gzip || a.retry.set || len(a.header) > 0) {
		return s, fmt.Errorf("%s sends no answer that could carry gzip, retry-after or header", a.kind)
	}
	if err := a.checkReplyOptions(); err != nil {
		return s, err
	}
	a.label = labelOf(*a)
	return s, nil
}

// joins makes one answer of http:STATUS and body=TEXT, of which one is a and the other was
// before. It returns false where they are something else.
func (a *answer) joins(before answer) bool {
	switch {
	case a.kind == kindBody && a.status == 0 && before.kind == kindHTTP:
		a.kind, a.status = kindHTTP, before.status
		return true
	case a.kind == kindHTTP && before.kind == kindBody && before.status == 0:
		return true // text is that of before
	}
	return false
}

// checkReplyOptions refuses a message or a wait that the answer has no place for, and fills in the reply's own.
func (a *answer) checkReplyOptions() error {
	if a.kind != kindReply {
		switch {
		case a.wait != 0:
			return fmt.Errorf("wait goes with an answer that the API names, not with %s; write retry-after=SECONDS", a.kind)
		case a.message != "" && a.kind != kindCode && a.kind != kindNoCode:
			return fmt.Errorf("message goes with an error code or no-code, not with %s", a.kind)
		}
		return nil
	}
	switch {
	case a.wait != 0 && !a.reply.saysWait():
		return fmt.Errorf("%s does not say how long to wait; write retry-after=SECONDS", a.label)
	case a.message != "" && !a.reply.saysMessage():
		return fmt.Errorf("%s has no message of its own", a.label)
	}
	a.message = orElse(a.message, a.reply.message)
	if a.wait == 0 {
		a.wait = a.reply.wait
	}
	if a.status == 0 {
		a.status = a.reply.status
	}
	return nil
}

// parseOption reads what is not the answer itself. The name is "" when the word is none of its.
func parseOption(w word, s *step) (name string, err error) {
	a := &s.answer
	if n, is := strings.CutPrefix(w.text, "x"); is && n != "" && strings.Trim(n, "0123456789") == "" {
		s.times, err = strconv.Atoi(n)
		if err != nil || s.times < 1 || s.times > maxRepeat {
			return "", fmt.Errorf("%q; want x1 to x%d, or forever", clip(w.text), maxRepeat)
		}
		return "times", nil
	}
	switch w.text {
	case "forever":
		s.times = 0
		return "times", nil
	case "gzip":
		a.gzip = true
		return "gzip", nil
	}
	name, value, found := strings.Cut(w.text, "=")
	if !found {
		return "", nil
	}
	switch name {
	case "latency":
		a.latency, err = parseDuration(name, value, 0)
	case "wait":
		a.wait, err = parseDuration(name, value, 1)
	case "retry-after":
		a.retry, err = parseRetryAfter(value)
	case "header":
		var h [2]string
		if h, err = parseHeader(value); err == nil {
			a.header = append(a.header[:len(a.header):len(a.header)], h)
		}
	case "message":
		a.message = value
		if value == "" {
			err = fmt.Errorf("message is empty; write message=\"some text\"")
		}
	default:
		return "", nil
	}
	return name, err
}

func parseAnswer(w word, a *answer, table *api) error {
	text, status, err := cutStatus(w)
	if err != nil {
		return err
	}
	a.status = status
	if table != nil {
		if r, named := table.replies[text]; named {
			a.kind, a.label, a.reply = kindReply, text, &r
			return nil
		}
		if isCode(text) || text == string(kindNoCode) {
			return fmt.Errorf("%q is an answer of %s, not of %s", clip(text), DefaultAPI, table.name)
		}
	}
	name, value, valued := strings.Cut(text, "=")
	scheme, rest, _ := strings.Cut(text, ":")
	switch {
	case isCode(text):
		a.kind, a.code = kindCode, text
	case scheme == "http":
		a.kind = kindHTTP
		n, convErr := strconv.Atoi(rest)
		if convErr != nil || len(rest) != 3 || n < 200 || n > 599 || status != 0 {
			return fmt.Errorf("%q; want http: and a status from 200 to 599", clip(w.text))
		}
		a.status = n
	case scheme == "redirect":
		a.kind, a.location = kindRedirect, rest
		err = checkRedirect(rest, status)
	case valued && name == "body":
		a.kind, a.text, a.hasText = kindBody, value, true
	case valued && name == "big":
		a.kind = kindBig
		a.size, err = parseSize(value)
	case valued && name == "hang":
		a.kind = kindHang
		a.hang, err = parseDuration(name, value, 1)
	default:
		a.kind = kind(text)
		switch a.kind {
		case kindOK, kindNoCode, kindHTML, kindEmpty, kindMalformed, kindCut, kindHang, kindReset, kindResetAfter:
		default:
			own := "an error code, no-code"
			if table != nil {
				own = strings.Join(Answers(table.name), ", ")
			}
			return fmt.Errorf("unknown answer %q; want ok, %s, http:STATUS, html, empty, malformed, cut, "+
				"body=TEXT, big=SIZE, redirect:TARGET, hang, reset or reset-after", clip(w.text), own)
		}
	}
	if err == nil && status != 0 && !a.onTheWire() {
		err = fmt.Errorf("%s sends no answer that could have status %d", a.kind, status)
	}
	return err
}

// cutStatus takes @STATUS off the end of an answer, unless it stands in quotes.
func cutStatus(w word) (text string, status int, err error) {
	at := strings.LastIndexByte(w.text, '@')
	if at < w.bare || len(w.text)-at != 4 || strings.Trim(w.text[at+1:], "0123456789") != "" {
		return w.text, 0, nil
	}
	status, _ = strconv.Atoi(w.text[at+1:])
	if status < 200 || status > 599 {
		return "", 0, fmt.Errorf("%q: status %d; want 200 to 599", clip(w.text), status)
	}
	return w.text[:at], status, nil
}

func checkRedirect(target string, status int) error {
	if status != 0 && (status < 301 || status > 308 || status > 303 && status < 307) {
		return fmt.Errorf("status %d is no redirect; want 301, 302, 303, 307 or 308", status)
	}
	u, err := url.Parse(target)
	if err != nil || strings.ContainsAny(target, " \t\r\n") {
		return fmt.Errorf("%q is no URL; write redirect:/path or redirect:http://host/path", clip(target))
	}
	absolute := (u.Scheme == "http" || u.Scheme == "https") && u.Host != ""
	if !absolute && !strings.HasPrefix(target, "/") {
		return fmt.Errorf("redirect target %q; want /path or http://host/path", clip(target))
	}
	return nil
}

func parseDuration(name, value string, least time.Duration) (time.Duration, error) {
	d, err := time.ParseDuration(value)
	if err != nil || d < least {
		return 0, fmt.Errorf("%s=%s; want a duration such as 50ms or 2s", name, clip(value))
	}
	return d, nil
}

func parseRetryAfter(value string) (retryAfter, error) {
	if date, is := strings.CutPrefix(value, "date:"); is {
		d, err := time.ParseDuration(date)
		if err != nil {
			return retryAfter{}, fmt.Errorf("retry-after=%s; want date: and a duration, such as date:2s", clip(value))
		}
		return retryAfter{set: true, date: true, wait: d}, nil
	}
	n, err := strconv.ParseUint(value, 10, 31)
	if err != nil {
		return retryAfter{}, fmt.Errorf("retry-after=%s; want whole seconds or date:DURATION; send anything else with header=Retry-After:…", clip(value))
	}
	return retryAfter{set: true, wait: time.Duration(n) * time.Second}, nil
}

func parseHeader(text string) ([2]string, error) {
	name, value, found := strings.Cut(text, ":")
	if !found || !httpsyntax.IsToken(name) {
		return [2]string{}, fmt.Errorf("header=%s; want header=NAME:VALUE", clip(text))
	}
	name = http.CanonicalHeaderKey(name)
	if name == "Content-Length" || name == "Transfer-Encoding" {
		return [2]string{}, fmt.Errorf("header %s frames the answer; use cut for a wrong length", name)
	}
	value = strings.TrimSpace(value)
	if !httpsyntax.IsPrintable(value, true) {
		return [2]string{}, fmt.Errorf("header %s has a control character in its value; remove it", name)
	}
	return [2]string{name, value}, nil
}

func parseSize(text string) (int64, error) {
	digits := strings.TrimRight(text, "BKMGi")
	unit, known := map[string]int64{
		"B": 1, "KB": 1e3, "MB": 1e6, "GB": 1e9, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30,
	}[text[len(digits):]]
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || !known || n < 1 || n > maxBig/unit {
		return 0, fmt.Errorf("big=%s; want a size from 1B to 1GiB, such as 10MB", clip(text))
	}
	return n * unit, nil
}

// labelOf names an answer as a script would write it, without what every call has its own of.
func labelOf(a answer) string {
	name := string(a.kind)
	switch a.kind {
	case kindCode:
		name = a.code
	case kindHTTP:
		return "http:" + strconv.Itoa(a.status)
	case kindReply:
		return a.label
	}
	if a.status != 0 && a.status != http.StatusOK {
		name += "@" + strconv.Itoa(a.status)
	}
	return name
}
