// Package glob matches texts against patterns in which a star stands for any text.
package glob

// Match reports whether text matches pattern. A star in the pattern stands for any text,
// including slashes. Match backtracks only to the last star, so it takes at most
// len(pattern)*len(text) steps.
func Match(pattern, text string) bool {
	p, i := 0, 0
	star, from := -1, 0
	for i < len(text) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, from = p, i
			p++
		case p < len(pattern) && pattern[p] == text[i]:
			p++
			i++
		case star >= 0:
			from++
			p, i = star+1, from
		default:
			return false
		}
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}
