package redact

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// escapes are the first bytes of escape sequences: \u0041 and \/ (JSON, Go,
// JavaScript), %41 (URLs), &#65; (HTML, XML).
const escapes = `\%&`

// findEscaped finds the secrets in which at least one character is written as an escape
// that begins with the byte begin. It searches from each such escape in both
// directions, so a text without escapes costs one search for the byte. It looks only
// for secrets whose unescapeOnce has the given value.
func (t *set) findEscaped(s string, begin byte, unescapeOnce bool, spans []span) []span {
	for at := 0; ; {
		i := strings.IndexByte(s[at:], begin)
		if i < 0 {
			return spans
		}
		i += at
		if n := t.unrelatedEscape(s[i:]); n > 0 {
			at = i + n
			continue
		}
		plain, n := unescape(s[i:], unescapeOnce)
		at = i + n
		if plain.n == 0 || !t.occurs[plain.bytes[0]] {
			continue
		}
		for j := range t.secrets {
			x := &t.secrets[j]
			if x.unescapeOnce != unescapeOnce {
				continue
			}
			if from, to, ok := x.matchAround(s, i, n, plain.text()); ok {
				spans = x.addMatch(s, from, to, spans, len(spans))
				at = max(at, to)
			}
		}
	}
}

// unrelatedEscape returns the length of the escape at the start of s if its character
// occurs in no secret. It is a fast check for the common short escapes; it returns 0
// where the escape must be decoded.
func (t *set) unrelatedEscape(s string) int {
	switch {
	case len(s) < 3 || s[0] == '&':
	case s[0] == '%':
		if r, ok := hex(s, 1, 2); ok && r != '%' && !t.occurs[r] {
			return 3
		}
	case s[1] != '\\' && s[1] != 'u' && s[1] != 'U' && s[1] != 'x' && !t.occurs[s[1]]:
		return 2
	}
	return 0
}

// matchAround looks for the secret around the escape s[i:i+n], which decodes to plain.
func (x *secret) matchAround(s string, i, n int, plain string) (from, to int, ok bool) {
	for k := 0; k+len(plain) <= len(x.value); k++ {
		if x.value[k:k+len(plain)] != plain {
			continue
		}
		to, ok := x.matchForward(s, i+n, x.value[k+len(plain):])
		if !ok {
			continue
		}
		if from, ok := x.matchBackward(s, i, x.value[:k]); ok {
			return from, to, true
		}
	}
	return 0, 0, false
}

// matchForward matches want, in any escaping, from the index at on, and returns the
// index of its end.
func (x *secret) matchForward(s string, at int, want string) (end int, ok bool) {
	for want != "" {
		if at >= len(s) {
			return 0, false
		}
		if strings.IndexByte(escapes, s[at]) >= 0 {
			if plain, n := unescape(s[at:], x.unescapeOnce); plain.n > 0 && strings.HasPrefix(want, plain.text()) {
				at, want = at+n, want[plain.n:]
				continue
			}
		}
		if s[at] != want[0] {
			return 0, false
		}
		at, want = at+1, want[1:]
	}
	return at, true
}

// maxEscape is the longest escape that matchBackward looks for, in bytes: a surrogate
// pair with some extra backslashes.
const maxEscape = 24

// matchBackward matches want, in any escaping, so that it ends at the index end, and
// returns the index of its start.
func (x *secret) matchBackward(s string, end int, want string) (from int, ok bool) {
next:
	for want != "" {
		if end == 0 {
			return 0, false
		}
		// Try the longest escape first: a shorter one may be only its last part.
		for at := max(0, end-maxEscape); at < end-1; at++ {
			if strings.IndexByte(escapes, s[at]) < 0 {
				continue
			}
			if plain, n := unescape(s[at:end], x.unescapeOnce); plain.n > 0 && at+n == end && strings.HasSuffix(want, plain.text()) {
				end, want = at, want[:len(want)-plain.n]
				continue next
			}
		}
		if s[end-1] != want[len(want)-1] {
			return 0, false
		}
		end, want = end-1, want[:len(want)-1]
	}
	return end, true
}

// character is one character in UTF-8, or one byte of it. The zero value means none.
type character struct {
	bytes [utf8.UTFMax]byte
	n     int
}

func (c *character) text() string { return string(c.bytes[:c.n]) }

func byteOf(b byte) character { return character{bytes: [utf8.UTFMax]byte{b}, n: 1} }

func runeOf(r rune) (c character) {
	c.n = utf8.EncodeRune(c.bytes[:], r)
	return c
}

// unescape decodes the escape at the start of s; n is its length in bytes. If s does not
// start with an escape, it returns no character, and n is how many bytes to skip. A
// character that was escaped several times, such as JSON within JSON, is decoded in one
// step, unless once is set.
func unescape(s string, once bool) (c character, n int) {
	switch s[0] {
	case '\\':
		return unescapeBackslash(s, once)
	case '%':
		return unescapePercent(s, once)
	default:
		return unescapeEntity(s)
	}
}

func unescapeBackslash(s string, once bool) (c character, n int) {
	k := 1
	for !once && k < len(s) && s[k] == '\\' {
		k++
	}
	if k == len(s) {
		return character{}, k
	}
	switch s[k] {
	case 'u':
		if r, ok := hex(s, k+1, 4); ok && utf16.IsSurrogate(r) {
			return unescapePair(s, k+5, r)
		} else if ok {
			return runeOf(r), k + 5
		}
	case 'U':
		if r, ok := hex(s, k+1, 8); ok && utf8.ValidRune(r) {
			return runeOf(r), k + 9
		}
	case 'x':
		if r, ok := hex(s, k+1, 2); ok {
			return byteOf(byte(r)), k + 3
		}
	default:
		if c := s[k]; c > ' ' && c < 0x7f && !isDigit(c) && !unicode.IsLetter(rune(c)) {
			return byteOf(c), k + 1
		}
	}
	return character{}, k
}

// unescapePair reads the second half of a surrogate pair.
func unescapePair(s string, at int, high rune) (c character, n int) {
	for at < len(s) && s[at] == '\\' {
		at++
	}
	if at >= len(s) || s[at] != 'u' {
		return character{}, at
	}
	low, ok := hex(s, at+1, 4)
	if r := utf16.DecodeRune(high, low); ok && r != utf8.RuneError {
		return runeOf(r), at + 5
	}
	return character{}, at
}

// unescapePercent reads %41, and %2541, which is %41 encoded twice.
func unescapePercent(s string, once bool) (c character, n int) {
	r, ok := hex(s, 1, 2)
	if !ok {
		return character{}, 1
	}
	n = 3
	for r == '%' && !once {
		inner, ok := hex(s, n, 2)
		if !ok {
			break
		}
		r, n = inner, n+2
	}
	return byteOf(byte(r)), n
}

// unescapeEntity reads &amp;, &#38; and &#x26;.
func unescapeEntity(s string) (c character, n int) {
	end := strings.IndexByte(s[:min(len(s), 12)], ';')
	if end < 2 {
		return character{}, 1
	}
	name := s[1:end]
	switch name {
	case "amp":
		return byteOf('&'), end + 1
	case "lt":
		return byteOf('<'), end + 1
	case "gt":
		return byteOf('>'), end + 1
	case "quot":
		return byteOf('"'), end + 1
	case "apos":
		return byteOf('\''), end + 1
	}
	number, ok := strings.CutPrefix(name, "#")
	base := 10
	if ok && (number[:min(1, len(number))] == "x" || number[:min(1, len(number))] == "X") {
		number, base = number[1:], 16
	}
	r, err := strconv.ParseUint(number, base, 21)
	if !ok || err != nil || !utf8.ValidRune(rune(r)) {
		return character{}, 1
	}
	return runeOf(rune(r)), end + 1
}

// hex reads n hexadecimal digits.
func hex(s string, at, n int) (rune, bool) {
	if at+n > len(s) {
		return 0, false
	}
	var r rune
	for i := at; i < at+n; i++ {
		r <<= 4
		switch c := s[i]; {
		case c >= '0' && c <= '9':
			r |= rune(c - '0')
		case c >= 'a' && c <= 'f':
			r |= rune(c-'a') + 10
		case c >= 'A' && c <= 'F':
			r |= rune(c-'A') + 10
		default:
			return 0, false
		}
	}
	return r, true
}
