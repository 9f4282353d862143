package yamlfile

import (
	"maps"
	"slices"
	"strings"
)

// suggest names the known key that was probably meant, or else all of them.
func suggest(key string, known Fields) string {
	if best := nearest(key, known); best != "" {
		return `did you mean "` + best + `"?`
	}
	return "known keys are " + strings.Join(slices.Sorted(maps.Keys(known)), ", ")
}

// nearest is the known key that was probably meant, or empty.
func nearest(key string, known Fields) string {
	best, distance := "", 3
	for _, name := range slices.Sorted(maps.Keys(known)) {
		if d := editDistance(key, name); d < distance && d < len(name) {
			best, distance = name, d
		}
	}
	return best
}

// editDistance is Levenshtein's, over bytes; keys that are much longer than any
// known one are not worth the work.
func editDistance(a, b string) int {
	if len(a) > 64 {
		return len(a)
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
