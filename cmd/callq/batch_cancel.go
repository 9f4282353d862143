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
	"github.com/seed-2903acc3/callq/worker/ending"
	"github.com/spf13/cobra"
)

func (a *app) batchCancelCommand() *cobra.Command {
	yes := false
	cmd := &cobra.Command{
		Use:   "cancel NAME",
		Short: "End all open calls of a batch that are not being made right now",
		Long: `End all open calls of a batch. Calls that a worker is making right now are left
alone: they end as they end, and may come back as a retry; cancel again then. A call
that may have been sent by a worker that was killed is not cancelled: it becomes a
dead letter of class outcome_unknown, since the API may have carried it out.`,
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
	n, err := a.cancelOpen(ctx, d, name)
	cancelled, unknown, active := n.cancelled.Load(), n.unknown.Load(), n.active.Load()
	if err != nil {
		return errors.Join(err, fmt.Errorf("%s were cancelled before that; cancel again for the rest", plural(cancelled, "call")))
	}
	if a.json {
		return a.printJSON(struct {
			Batch     string `json:"batch"`
			Cancelled int64  `json:"cancelled"`
			Unknown   int64  `json:"outcome_unknown"`
			Active    int64  `json:"active"`
		}{name, cancelled, unknown, active})
	}
	text := fmt.Sprintf("batch %s: %s cancelled", printable(name), plural(cancelled, "call"))
	if unknown > 0 {
		text += fmt.Sprintf("; %s may have been sent before: dead letters of class outcome_unknown now. Find out at the API whether they took effect (callq dead list)", grouped(unknown))
	}
	if active > 0 {
		text += fmt.Sprintf("; %s being made right now end as they end", grouped(active))
	}
	_, err = fmt.Fprintln(a.stdout, text)
	return err
}

// cancelers is how many calls are cancelled at once: each is a script of its own.
const cancelers = 8

// cancelledCalls counts what became of the open calls of a batch that is cancelled.
type cancelledCalls struct{ cancelled, unknown, active atomic.Int64 }

func (a *app) cancelOpen(ctx context.Context, d *desk, name string) (n *cancelledCalls, err error) {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	n = &cancelledCalls{}
	e := cancellation()
	open := make(chan ledger.Record)
	var wg sync.WaitGroup
	for range cancelers {
		wg.Go(func() {
			for r := range open {
				state, busy, err := ending.Cancel(ctx, d.ledger, r, e, d.endpoint)
				switch {
				case err != nil:
					stop(err)
				case state == ledger.Cancelled:
					n.cancelled.Add(1)
				case state == ledger.Dead:
					n.unknown.Add(1)
				case busy:
					n.active.Add(1)
				}
			}
		})
	}
	err = d.eachOpen(ctx, name, open, a.statusLine(), &n.cancelled)
	close(open)
	wg.Wait()
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	return n, err
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
		Class: string(policy.ClassCancelled), Message: "cancelled by " + whoami(), FinishedAt: time.Now().UTC(),
		UserMessage: "This request was cancelled before it was carried out.",
		Advice:      "Nothing to do. If it is wanted after all, redrive it, or send it again as another batch.",
	}
}
