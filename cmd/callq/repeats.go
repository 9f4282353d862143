package main

import (
	"fmt"
	"iter"
	"strings"

	"github.com/seed-2903acc3/callq/tasks"
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

// of counts those of lines as they are read.
func (r *repeats) of(lines iter.Seq2[tasks.Line, error]) iter.Seq2[tasks.Line, error] {
	return func(yield func(tasks.Line, error) bool) {
		for line, err := range lines {
			if err == nil && line.Repeats > 0 {
				r.add(line.Number, line.Repeats)
			}
			if !yield(line, err) {
				return
			}
		}
	}
}

// showRepeats says how many lines made no call of their own.
func (a *app) showRepeats(name string, r *repeats) {
	if r.n > 0 {
		a.progressf("%s: %s", printable(name), r)
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
