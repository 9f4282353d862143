package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/seed-2903acc3/callq/cmd/callq/internal/console"
	"github.com/seed-2903acc3/callq/tasks"
	"github.com/spf13/cobra"
)

func (a *app) batchCancelCommand() *cobra.Command {
	return a.batchChangeCommand("cancel", "End all open calls of a batch that are not being made right now",
		`End all open calls of a batch. Calls that a worker is making right now are skipped:
they end by themselves, or come back as a retry; then cancel again. A call that a
killed worker may have sent is not cancelled: it becomes a dead letter of class
outcome_unknown, because the API may have carried it out.`, a.cancel)
}

func (a *app) cancel(ctx context.Context, d *backend, b tasks.BatchInfo, yes bool) error {
	name := b.Name
	if b.Counts.Open > 0 {
		if err := a.confirm(yes, fmt.Sprintf("Cancel %s of batch %s?", console.Plural(b.Counts.Open, "open call"), name)); err != nil {
			return err
		}
	}
	line := a.newProgress()
	n, err := d.client.CancelBatch(ctx, name, tasks.Cancellation{Message: "cancelled by " + whoami()}, func(n tasks.Cancelled) {
		line.Line(func() string { return console.Plural(n.Cancelled, "call") + " cancelled" })
	})
	line.Close()
	if err != nil {
		return errors.Join(err, fmt.Errorf("%s were cancelled before that; cancel again for the rest", console.Plural(n.Cancelled, "call")))
	}
	if a.json {
		return a.printJSON(struct {
			Batch     string `json:"batch"`
			Cancelled int64  `json:"cancelled"`
			Unknown   int64  `json:"outcome_unknown"`
			Active    int64  `json:"active"`
		}{name, n.Cancelled, n.Unknown, n.Active})
	}
	text := fmt.Sprintf("batch %s: %s cancelled", console.Printable(name), console.Plural(n.Cancelled, "call"))
	if n.Unknown > 0 {
		text += fmt.Sprintf("; %s may have been sent before and are now dead letters of class outcome_unknown. Check at the API whether they took effect (callq dead list)", console.Grouped(n.Unknown))
	}
	if n.Active > 0 {
		text += fmt.Sprintf("; %s not cancelled, because workers are making them right now", console.Grouped(n.Active))
	}
	_, err = fmt.Fprintln(a.stdout, text)
	return err
}
