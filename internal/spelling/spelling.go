// Package spelling finds the word that was probably meant by one that is not known.
package spelling

// Nearest returns the known word that word differs from in at most two letters, or "".
// Of several that are equally near it is the first.
func Nearest(word string, known []string) string {
	const longest = 64 // what is longer is no misspelt word, and not worth the work
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

// distance is Levenshtein's, over bytes.
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
