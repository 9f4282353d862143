// Package spelling suggests a known word for a misspelled one.
package spelling

// Nearest returns the known word that differs from word in the fewest letters, and in at
// most two, or "". Of several such words it returns the first.
func Nearest(word string, known []string) string {
	const longest = 64 // a longer word is not a misspelling, and would cost time
	if len(word) > longest {
		return ""
	}
	best, nearest := 3, ""
	for _, one := range known {
		if d := distance(word, one); d < best && d < len(one) {
			best, nearest = d, one
		}
	}
	return nearest
}

// distance is the Levenshtein distance, in bytes.
func distance(a, b string) int {
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
