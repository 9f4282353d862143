package main

import (
	"fmt"
	"iter"
	"strings"

	"github.com/seed-2903acc3/callq/cmd/callq/internal/console"
	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/worker/filerun"
)

// maxRepeats is how many repeated lines are named.
const maxRepeats = 3

// repeats counts the lines of a file that are the same call as an earlier line.
type repeats struct {
	n     int
	first []filerun.Repeat
}

// of counts repeated lines while lines are read.
func (r *repeats) of(lines iter.Seq2[tasks.Line, error]) iter.Seq2[tasks.Line, error] {
	return func(yield func(tasks.Line, error) bool) {
		for line, err := range lines {
			if err == nil && line.Repeats > 0 {
				if r.n++; len(r.first) < maxRepeats {
					r.first = append(r.first, filerun.Repeat{Line: line.Number, Of: line.Repeats})
				}
			}
			if !yield(line, err) {
				return
			}
		}
	}
}

// showRepeats prints how many lines are repetitions and so are not calls of their own.
func (a *app) showRepeats(name string, r *repeats) {
	if r.n > 0 {
		a.progressf("%s: %s", console.Printable(name), repeatsText(r.n, r.first))
	}
}

// repeatsText says that n lines repeat an earlier line, and names the first of them.
func repeatsText(n int, first []filerun.Repeat) string {
	var named []string
	for _, one := range first {
		named = append(named, fmt.Sprintf("line %d repeats line %d", one.Line, one.Of))
	}
	more := ""
	if n > len(first) {
		more = ", …"
	}
	return fmt.Sprintf("%s an earlier line and made no call of its own (%s%s)",
		console.Subject(n, "line", "repeats", "repeat"), strings.Join(named, ", "), more)
}
