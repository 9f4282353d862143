package redact

import (
	"slices"
	"strings"
	"unicode"
)

// span is a part of a text: from inclusive, to exclusive.
type span struct {
	from, to int
	// digits tells that what is there is a whole number.
	digits bool
}

// find returns the parts of s that are credentials, in order and without overlap.
func (t *set) find(s string) []span {
	var spans []span
	for i := range t.secrets {
		spans = t.secrets[i].plain(s, spans)
	}
	for _, begin := range []byte(escapes) {
		for _, once := range []bool{false, true} {
			if once && t.once || !once && t.often {
				spans = t.escaped(s, begin, once, spans)
			}
		}
	}
	if len(spans) < 2 {
		return spans
	}
	slices.SortFunc(spans, func(a, b span) int { return a.from - b.from })
	out := spans[:1]
	for _, x := range spans[1:] {
		if last := &out[len(out)-1]; x.from < last.to {
			last.digits = last.digits && x.digits && x.from == last.from && x.to == last.to
			last.to = max(last.to, x.to)
		} else {
			out = append(out, x)
		}
	}
	return out
}

// plain finds the secret as it is.
func (x *secret) plain(s string, spans []span) []span {
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
		// The next may begin within this one.
		at += i + 1
		if x.offset > 0 && s[from:from+x.offset] != x.value[:x.offset] {
			continue
		}
		spans = x.note(s, from, to, spans, first)
	}
}

// note adds a match, or lengthens the last one of the same search.
func (x *secret) note(s string, from, to int, spans []span, first int) []span {
	if !x.counts(s, from, to) {
		return spans
	}
	if backslashes(s, from)%2 == 1 {
		from-- // what is left must not end in half an escape
	}
	if n := len(spans); n > first && from < spans[n-1].to {
		spans[n-1].to, spans[n-1].digits = max(to, spans[n-1].to), false
		return spans
	}
	return append(spans, span{from, to, x.digits})
}

// backslashes counts those that end at the index.
func backslashes(s string, end int) int {
	n := 0
	for end-n > 0 && s[end-n-1] == '\\' {
		n++
	}
	return n
}

// counts reports whether a match is the credential and no part of other text.
func (x *secret) counts(s string, from, to int) bool {
	switch {
	case x.wide && !x.digits:
		return true
	case x.wide:
		return (from == 0 || !isDigit(s[from-1])) && (to >= len(s) || !isDigit(s[to]))
	default:
		return x.stands(s, from, to)
	}
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// separators are spellings of what stands between a name and its value.
var separators = strings.NewReplacer(
	"%3f", "?", "%26", "&", `\u0026`, "&", "&amp;", "&", "%3d", "=", "%3a", ":", "%22", `"`, "%20", " ", "%5b", "[", "+", " ",
	`\u003d`, "=", `\u003a`, ":", `\u0022`, `"`, "&#34;", `"`, "&quot;", `"`, "&#61;", "=",
)

// maxName is how far before a value its name is looked for, in bytes.
const maxName = 128

// between are the characters that may stand between a name and its value.
const between = " \t\"'\\:=[({>;+"

// stands reports whether a short secret stands where credentials do.
func (x *secret) stands(s string, from, to int) bool {
	if to < len(s) && isWord(s[to]) {
		return false
	}
	before := s[max(0, from-maxName):from]
	if strings.ContainsAny(before, `%&`) || strings.Contains(before, `\u`) {
		before = separators.Replace(strings.ToLower(before))
	}
	name := strings.TrimRight(before, between)
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

// endsWith reports whether s ends with the word, in any case of letters.
func endsWith(s, word string) bool {
	n := len(s) - len(word)
	if n < 0 || !strings.EqualFold(s[n:], word) {
		return false
	}
	// As in Proxy-Authorization.
	return n == 0 || !isWord(s[n-1]) || s[n-1] == '-'
}

func isWord(c byte) bool {
	return c == '_' || c == '-' || c >= 0x80 || isDigit(c) || unicode.IsLetter(rune(c))
}

// quoter says what is written in place of a credential in a text that may be JSON.
type quoter struct {
	s string
	// at is how far s was read, quoted whether a string is open there.
	at     int
	quoted bool
}

// mark returns [Mark], in quotes where the credential is a JSON number.
func (q *quoter) mark(x span) string {
	if !x.digits {
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
