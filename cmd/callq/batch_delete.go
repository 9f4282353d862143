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
	return a.batchChangeCommand("delete", "Delete a batch that has ended, with its results and dead letters",
		`Delete a batch that has ended, before its retention is over: its results, its dead
letters and its keys, which can then be used again. A batch with open calls is
refused; callq batch cancel NAME ends them. Exported files stay.`, a.deleteBatch)
}

func (a *app) deleteBatch(ctx context.Context, d *backend, b tasks.BatchInfo, yes bool) error {
	name := b.Name
	open := func(n int64) error {
		return fmt.Errorf("batch %s has %s; end them with %s", console.Printable(name), console.Plural(n, "open call"), a.next("batch cancel "+shellword.Quote(name)))
	}
	c := b.Counts
	if c.Open > 0 {
		return open(c.Open)
	}
	kept, dead := c.Accepted-c.Expired, c.Dead-c.ExpiredDead
	question := fmt.Sprintf("Delete batch %s with %s?", name, console.Plural(kept, "result"))
	if dead > 0 {
		question = fmt.Sprintf("Delete batch %s with %s, including %s, which can then no longer be redriven?", name, console.Plural(kept, "result"), console.Plural(dead, "dead letter"))
	}
	if err := a.confirm(yes, question); err != nil {
		return err
	}
	deleted, gone, err := d.client.DeleteBatch(ctx, name)
	switch {
	case errors.Is(err, tasks.ErrOpenCalls):
		return open(1) // a call was sent meanwhile
	case err != nil:
		return errors.Join(err, fmt.Errorf("%s were deleted before that", console.Plural(deleted, "call")))
	}
	if !gone {
		return fmt.Errorf("%s deleted; others of batch %s are left, because their tasks are still in a queue or a worker has them: run this command again in a minute",
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
