package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/seed-2903acc3/callq/cmd/callq/internal/console"
	"github.com/seed-2903acc3/callq/internal/shellword"
	"github.com/seed-2903acc3/callq/tasks"
	"github.com/spf13/cobra"
)

func (a *app) batchDeleteCommand() *cobra.Command {
	yes := false
	cmd := &cobra.Command{
		Use:   "delete NAME",
		Short: "Delete a batch that has ended, with its results and dead letters",
		Long: `Delete a batch that has ended, before its retention is over: its results, its dead
letters and its keys, which can then be used again. A batch with open calls is
refused; callq batch cancel NAME ends them. Exported files stay.`,
		Args:              takes("NAME"),
		ValidArgsFunction: completeFirst(a.batchNames),
		RunE:              func(cmd *cobra.Command, args []string) error { return a.deleteBatch(cmd.Context(), args[0], yes) },
	}
	addYes(cmd, &yes)
	return cmd
}

func (a *app) deleteBatch(ctx context.Context, name string, yes bool) (err error) {
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
	open := func(n int64) error {
		return fmt.Errorf("batch %s has %s; %s ends them", console.Printable(name), console.Plural(n, "open call"), a.next("batch cancel "+shellword.Quote(name)))
	}
	c := b.Counts
	if c.Open > 0 {
		return open(c.Open)
	}
	kept, dead := c.Accepted-c.Expired, c.Dead-c.ExpiredDead
	question := fmt.Sprintf("Delete batch %s with %s?", name, console.Plural(kept, "result"))
	if dead > 0 {
		question = fmt.Sprintf("Delete batch %s with %s, of which %s cannot be redriven then?", name, console.Plural(kept, "result"), console.Plural(dead, "dead letter"))
	}
	if err := a.confirm(yes, question); err != nil {
		return err
	}
	deleted, gone, err := d.client.DeleteBatch(ctx, name)
	switch {
	case errors.Is(err, tasks.ErrOpenCalls):
		return open(1) // sent to meanwhile
	case err != nil:
		return errors.Join(err, fmt.Errorf("%s were deleted before that", console.Plural(deleted, "call")))
	}
	if !gone {
		return fmt.Errorf("%s deleted; others of batch %s are left, since their tasks still stand in a queue or in a worker's hands: run this again in a minute",
			console.Plural(deleted, "call"), console.Printable(name))
	}
	if a.json {
		return a.printJSON(struct {
			Batch   string `json:"batch"`
			Deleted int    `json:"deleted"`
		}{name, deleted})
	}
	_, err = fmt.Fprintf(a.stdout, "batch %s: deleted, %s\n", console.Printable(name), console.Plural(deleted, "call"))
	return err
}
