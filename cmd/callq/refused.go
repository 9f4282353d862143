package main

import (
	"fmt"

	"github.com/seed-2903acc3/callq/cmd/callq/internal/console"
	"github.com/seed-2903acc3/callq/tasks"
)

// maxRefusals is how many refused lines are shown. The others usually have the same
// mistake.
const maxRefusals = 20

// showRefusals prints which lines are not calls. There are n of them, and first are the
// first ones.
func (a *app) showRefusals(name string, first []*tasks.FieldError, n int) {
	for _, bad := range first {
		a.refuse(name, bad)
	}
	a.refusedMore(name, n-len(first))
}

// refuse prints why a line is not a call.
func (a *app) refuse(name string, bad *tasks.FieldError) {
	a.report(&located{name + ": " + bad.Error()})
}

// refusedMore prints how many refused lines were not shown.
func (a *app) refusedMore(name string, more int) {
	if more > 0 {
		fmt.Fprintf(a.stderr, "%s: and %s\n", console.Printable(name), console.Count(more, "more refused line", "more refused lines"))
	}
}

// showEmpty prints that a file is empty, which is probably a mistake.
func (a *app) showEmpty(name string, lines int) {
	if lines == 0 {
		if name == "-" {
			name = "standard input"
		}
		a.progressf(`%s is empty: it contains no calls; write one JSON object a line, as in {"path":"/…"}`, console.Printable(name))
	}
}
