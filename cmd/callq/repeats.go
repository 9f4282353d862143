package main

import (
	"fmt"
	"strings"
)

// maxRepeats is how many lines are named that repeat an earlier one.
const maxRepeats = 3

// repeats counts the lines of a file that are the same call as an earlier line.
type repeats struct {
	n     int
	first []string
}

// add notes that line number says what line number of said.
func (r *repeats) add(line, of int) {
	if r.n++; len(r.first) < maxRepeats {
		r.first = append(r.first, fmt.Sprintf("line %d is line %d again", line, of))
	}
}

// String is empty where there are none.
func (r *repeats) String() string {
	if r.n == 0 {
		return ""
	}
	more := ""
	if r.n > len(r.first) {
		more = ", …"
	}
	return fmt.Sprintf("%s the same as an earlier one and made no call of its own (%s%s)",
		verbalOf(r.n, "line", "is", "are"), strings.Join(r.first, ", "), more)
}
