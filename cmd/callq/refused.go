package main

import (
	"fmt"

	"github.com/seed-2903acc3/callq/cmd/callq/internal/console"
	"github.com/seed-2903acc3/callq/tasks"
)

// maxRefusals is how many refused lines are shown: the rest are mostly the same mistake
// again.
const maxRefusals = 20

// showRefusals says which lines are not calls: n in all, of which the first are listed.
func (a *app) showRefusals(name string, first []*tasks.FieldError, n int) {
	for _, bad := range first {
		a.refuse(name, bad)
	}
	a.refusedMore(name, n-len(first))
}

// refuse says why a line is not a call.
func (a *app) refuse(name string, bad *tasks.FieldError) {
	a.report(&located{name + ": " + bad.Error()})
}

// refusedMore says how many more lines were refused than were shown.
func (a *app) refusedMore(name string, more int) {
	if more > 0 {
		fmt.Fprintf(a.stderr, "%s: and %s\n", console.Printable(name), console.Count(more, "more refused line", "more refused lines"))
	}
}

// showEmpty says that there is nothing in a file, for that is hardly meant.
func (a *app) showEmpty(name string, lines int) {
	if lines == 0 {
		a.progressf(`%s is empty: it holds no calls; write one JSON object a line, as {"path":"/…"}`, console.Printable(name))
	}
}
