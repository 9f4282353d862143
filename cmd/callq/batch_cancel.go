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
	yes := false
	cmd := &cobra.Command{
		Use:   "cancel NAME",
		Short: "End all open calls of a batch that are not being made right now",
		Long: `End all open calls of a batch. Calls that a worker is making right now are skipped:
they end by themselves, or come back as a retry; then cancel again. A call that a
killed worker may have sent is not cancelled: it becomes a dead letter of class
outcome_unknown, because the API may have carried it out.`,
		Args:              takes("NAME"),
		ValidArgsFunction: completeFirst(a.batchNames),
		RunE:              func(cmd *cobra.Command, args []string) error { return a.cancel(cmd.Context(), args[0], yes) },
	}
	addYes(cmd, &yes)
	return cmd
}

func (a *app) cancel(ctx context.Context, name string, yes bool) (err error) {
	if err := a.askable(yes); err != nil {
		return err
	}
	d, err := a.backend(ctx, "batch")
	if err != nil {
		return err
	}
	defer d.close(&err)
	b, err := d.client.Batch(ctx, name)
	if err != nil {
		return a.noBatch(err)
	}
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
		text += fmt.Sprintf("; %s may have been sent before: dead letters of class outcome_unknown now. Find out at the API whether they took effect (callq dead list)", console.Grouped(n.Unknown))
	}
	if n.Active > 0 {
		text += fmt.Sprintf("; %s being made right now end as they end", console.Grouped(n.Active))
	}
	_, err = fmt.Fprintln(a.stdout, text)
	return err
}
