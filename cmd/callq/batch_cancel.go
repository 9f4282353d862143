package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/ledger"
	"github.com/spf13/cobra"
)

func (a *app) batchCancelCommand() *cobra.Command {
	yes := false
	cmd := &cobra.Command{
		Use:   "cancel NAME",
		Short: "End all open calls of a batch that are not being made right now",
		Long: `End all open calls of a batch. Calls that a worker is making right now are left
alone: they end as they end, and may come back as a retry; cancel again then.`,
		Args: takes("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error { return a.cancel(cmd.Context(), args[0], yes) },
	}
	addYes(cmd, &yes)
	return cmd
}

func (a *app) cancel(ctx context.Context, name string, yes bool) (err error) {
	if err := a.askable(yes); err != nil {
		return err
	}
	d, err := a.desk(ctx, "batch")
	if err != nil {
		return err
	}
	defer d.close(&err)
	b, err := d.ledger.Batch(ctx, name)
	if err != nil {
		return a.noBatch(err)
	}
	if b.Counts.Open > 0 {
		if err := a.confirm(yes, fmt.Sprintf("Cancel %s of batch %s?", plural(b.Counts.Open, "open call"), name)); err != nil {
			return err
		}
	}
	cancelled, active, err := a.cancelOpen(ctx, d, name)
	if err != nil {
		return errors.Join(err, fmt.Errorf("%s were cancelled before that; cancel again for the rest", plural(cancelled, "call")))
	}
	if a.json {
		return a.printJSON(struct {
			Batch     string `json:"batch"`
			Cancelled int    `json:"cancelled"`
			Active    int    `json:"active"`
		}{name, cancelled, active})
	}
	text := fmt.Sprintf("batch %s: %s cancelled", printable(name), plural(cancelled, "call"))
	if active > 0 {
		text += fmt.Sprintf("; %s being made right now end as they end", grouped(int64(active)))
	}
	_, err = fmt.Fprintln(a.stdout, text)
	return err
}

// cancelers is how many calls are cancelled at once: each is a script of its own.
const cancelers = 8

func (a *app) cancelOpen(ctx context.Context, d *desk, name string) (cancelled, active int, err error) {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var did, making atomic.Int64
	e := cancellation()
	open := make(chan ledger.Record)
	var wg sync.WaitGroup
	for range cancelers {
		wg.Go(func() {
			for r := range open {
				one, busy, err := d.ledger.Cancel(ctx, r, e)
				switch {
				case err != nil:
					stop(err)
				case one:
					did.Add(1)
				case busy:
					making.Add(1)
				}
			}
		})
	}
	err = d.eachOpen(ctx, name, open, a.statusLine(), &did)
	close(open)
	wg.Wait()
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	return int(did.Load()), int(making.Load()), err
}

// eachOpen hands out the open calls of a batch.
func (d *desk) eachOpen(ctx context.Context, name string, open chan<- ledger.Record, line *statusLine, did *atomic.Int64) error {
	defer line.end()
	for r, err := range d.ledger.Standings(ctx, name, tasks.TaskID) {
		if err != nil {
			return err
		}
		if r.State == "" || r.State.Ended() {
			continue
		}
		select {
		case open <- r:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		line.show(func() string { return plural(did.Load(), "call") + " cancelled" })
	}
	return nil
}

func cancellation() ledger.Ending {
	return ledger.Ending{
		Class: string(policy.Cancelled), Message: "cancelled by " + whoami(), FinishedAt: time.Now().UTC(),
		UserMessage: "This request was cancelled before it was carried out.",
		Advice:      "Nothing to do. If it is wanted after all, redrive it, or send it again as another batch.",
	}
}
