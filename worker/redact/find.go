package redact

import (
	"slices"
	"strings"
	"unicode"
)

// span is a part of a text: from inclusive, to exclusive.
type span struct {
	from, to int
	// isNumber reports that the part is an integer.
	isNumber bool
}

// find returns the parts of s that are credentials, in order and without overlap.
func (t *set) find(s string) []span {
	var spans []span
	for i := range t.secrets {
		spans = t.secrets[i].findPlain(s, spans)
	}
	for _, begin := range []byte(escapes) {
		if t.anyUnescapeRepeated {
			spans = t.findEscaped(s, begin, false, spans)
		}
		if t.anyUnescapeOnce {
			spans = t.findEscaped(s, begin, true, spans)
		}
	}
	if len(spans) < 2 {
		return spans
	}
	slices.SortFunc(spans, func(a, b span) int { return a.from - b.from })
	out := spans[:1]
	for _, x := range spans[1:] {
		if last := &out[len(out)-1]; x.from < last.to {
			last.isNumber = last.isNumber && x.isNumber && x.from == last.from && x.to == last.to
			last.to = max(last.to, x.to)
		} else {
			out = append(out, x)
		}
	}
	return out
}

// findPlain finds the secret without escapes.
func (x *secret) findPlain(s string, spans []span) []span {
	first := len(spans)
	for at := x.offset; ; {
		if at > len(s) {
			return spans
		}
		i := strings.Index(s[at:], x.needle)
		if i < 0 {
			return spans
		}
		from, to := at+i-x.offset, at+i+len(x.needle)
		// The next match may overlap this one.
		at += i + 1
		if x.offset > 0 && s[from:from+x.offset] != x.value[:x.offset] {
			continue
		}
		spans = x.addMatch(s, from, to, spans, first)
	}
}

// addMatch adds a match to spans. It extends the last span instead if that is from the
// same search, which means at index first or later, and overlaps the match.
func (x *secret) addMatch(s string, from, to int, spans []span, first int) []span {
	if !x.isCredential(s, from, to) {
		return spans
	}
	if backslashesBefore(s, from)%2 == 1 {
		from-- // the remaining text must not end in half an escape
	}
	if n := len(spans); n > first && from < spans[n-1].to {
		spans[n-1].to, spans[n-1].isNumber = max(to, spans[n-1].to), false
		return spans
	}
	return append(spans, span{from, to, x.isNumber})
}

// backslashesBefore counts the backslashes directly before the index.
func backslashesBefore(s string, end int) int {
	n := 0
	for end-n > 0 && s[end-n-1] == '\\' {
		n++
	}
	return n
}

// isCredential reports whether a match is the credential, not a part of other text.
func (x *secret) isCredential(s string, from, to int) bool {
	switch {
	case x.everywhere && !x.isNumber:
		return true
	case x.everywhere:
		return (from == 0 || !isDigit(s[from-1])) && (to >= len(s) || !isDigit(s[to]))
	default:
		return x.inCredentialPosition(s, from, to)
	}
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// decodeSeparators decodes the escaped characters that may separate a name from its value.
var decodeSeparators = strings.NewReplacer(
	"%3f", "?", "%26", "&", `\u0026`, "&", "&amp;", "&", "%3d", "=", "%3a", ":", "%22", `"`, "%20", " ", "%5b", "[", "+", " ",
	`\u003d`, "=", `\u003a`, ":", `\u0022`, `"`, "&#34;", `"`, "&quot;", `"`, "&#61;", "=",
)

// maxName is how many bytes before a value are searched for its name.
const maxName = 128

// separators are the characters that may separate a name from its value.
const separators = " \t\"'\\:=[({>;+"

// inCredentialPosition reports whether the text before a short secret shows that it is a
// credential.
func (x *secret) inCredentialPosition(s string, from, to int) bool {
	if to < len(s) && isWord(s[to]) {
		return false
	}
	before := s[max(0, from-maxName):from]
	if strings.ContainsAny(before, `%&`) || strings.Contains(before, `\u`) {
		before = decodeSeparators.Replace(strings.ToLower(before))
	}
	name := strings.TrimRight(before, separators)
	sign := before[len(name):]
	if name == "" || sign == "" {
		return false
	}
	assigned := strings.ContainsAny(sign, ":=>")
	for _, word := range x.words {
		if (assigned || isScheme(word)) && endsWith(name, word) {
			return true
		}
	}
	return assigned && endsWith(name, "authorization")
}

// endsWith reports whether s ends with the word, ignoring case.
func endsWith(s, word string) bool {
	n := len(s) - len(word)
	if n < 0 || !strings.EqualFold(s[n:], word) {
		return false
	}
	// The hyphen allows names such as Proxy-Authorization.
	return n == 0 || !isWord(s[n-1]) || s[n-1] == '-'
}

func isWord(c byte) bool {
	return c == '_' || c == '-' || c >= 0x80 || isDigit(c) || unicode.IsLetter(rune(c))
}

// quoter returns the replacements for the credentials of a text that may be JSON.
type quoter struct {
	s string
	// at is how far s has been read; quoted reports whether at is within a JSON string.
	at     int
	quoted bool
}

// mark returns [Mark], in quotes if the credential is a JSON number.
func (q *quoter) mark(x span) string {
	if !x.isNumber {
		return Mark
	}
	switch whole := strings.Trim(q.s, " \t\r\n\ufeff"); {
	case whole == q.s[x.from:x.to]:
	case whole[0] != '{' && whole[0] != '[':
		return Mark
	}
	for ; q.at < x.from; q.at++ {
		switch {
		case q.s[q.at] == '\\' && q.quoted:
			q.at++
		case q.s[q.at] == '"':
			q.quoted = !q.quoted
		}
	}
	if q.quoted {
		return Mark
	}
	return `"` + Mark + `"`
}
