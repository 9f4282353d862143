package draft

import (
	"bytes"
	"net/http"
	"regexp"
	"strings"
	"unicode"
)

// element matches an XML element that has only text. RE2 cannot compare its two names.
var element = regexp.MustCompile(`<([A-Za-z_][\w.:-]*)>\s*([^<>]{1,200}?)\s*</([A-Za-z_][\w.:-]*)>`)

// upperWord matches a word that is written like a code.
var upperWord = regexp.MustCompile(`^[A-Z][A-Z0-9]*([_.-][A-Z0-9]+)*$`)

// isText reports whether a body is text, but neither JSON nor a web page.
func isText(body []byte) bool {
	body = bytes.TrimSpace(body)
	start := bytes.ToLower(body[:min(len(body), 16)])
	return len(body) > 0 && body[0] != '{' && body[0] != '[' && !bytes.HasPrefix(start, []byte("<!doctype html")) && !bytes.HasPrefix(start, []byte("<html")) &&
		!bytes.ContainsRune(body[:min(len(body), 512)], 0)
}

// plainWords are words that say nothing beside the status.
var plainWords = map[string]bool{"http": true, "error": true, "page": true, "status": true, "code": true, "the": true, "requested": true}

// saysMore reports whether a text says more than its HTTP status does.
func saysMore(text []byte, status int) bool {
	words := func(s string) []string {
		return strings.FieldsFunc(strings.ToLower(s), func(r rune) bool { return !unicode.IsLetter(r) })
	}
	known := map[string]bool{}
	for _, word := range words(http.StatusText(status)) {
		known[word] = true
	}
	for _, word := range words(string(text[:min(len(text), maxBody)])) {
		if !known[word] && !plainWords[word] {
			return true
		}
	}
	return false
}

// walkText visits the XML elements of a text that have only text. The path of each is a
// place that finds the first such element.
func walkText(text []byte, visit func(f found, value string)) {
	if len(text) == 0 || text[0] != '<' {
		return
	}
	seen := map[string]bool{}
	for _, m := range element.FindAllSubmatch(text[:min(len(text), maxBody)], 100) {
		name := string(m[1])
		if name != string(m[3]) || seen[name] {
			continue
		}
		seen[name] = true
		local := name[strings.LastIndexByte(name, ':')+1:]
		visit(found{path: findElement(name), name: plainName(local), depth: 2}, string(m[2]))
	}
}

// findElement is the place of the text of an XML element, as a policy file writes it.
func findElement(name string) string {
	return "{from: body, find: " + quote("<"+regexp.QuoteMeta(name)+">([^<]+)</"+regexp.QuoteMeta(name)+">") + "}"
}

// headerCode is the score of a header that probably has an error code, or 0.
func headerCode(name string) int {
	plain := plainName(strings.TrimPrefix(strings.ToLower(name), "x-"))
	for _, part := range []string{"errorcode", "fault", "error", "reason", "code"} {
		if strings.Contains(plain, part) {
			return 3
		}
	}
	return 0
}
