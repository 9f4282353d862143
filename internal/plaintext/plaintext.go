// Package plaintext makes text from outside fit to be stored and printed.
package plaintext

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Clean returns s as valid UTF-8 of at most limit bytes, with a space in place of each
// control character and no space around it.
func Clean(s string, limit int) string {
	// Cut before the costly part, with room for what trimming takes away.
	s = strings.TrimSpace(s)
	s = s[:min(len(s), 2*limit)]
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "\ufffd"))
	if len(s) > limit {
		s = s[:limit]
		for !utf8.ValidString(s) {
			s = s[:len(s)-1]
		}
	}
	return strings.TrimSpace(s)
}
