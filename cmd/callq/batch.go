package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/seed-2903acc3/callq/cmd/callq/internal/console"
	"github.com/seed-2903acc3/callq/internal/shellword"
	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/records"
	"github.com/seed-2903acc3/callq/worker/filerun"
	"github.com/seed-2903acc3/callq/worker/jsonform"
	"github.com/seed-2903acc3/callq/worker/waiting"
	"github.com/spf13/cobra"
)

func (a *app) batchCommand() *cobra.Command {
	return group("batch", "Follow, export, report, cancel and delete batches of calls",
		a.batchListCommand(),
		a.batchStatusCommand(),
		a.batchWaitCommand(),
		a.batchExportCommand(),
		a.batchReportCommand(),
		a.batchCancelCommand(),
		a.batchDeleteCommand(),
	)
}

// batchChangeCommand returns a command that changes a batch after it has asked. change asks
// with yes and makes the change.
func (a *app) batchChangeCommand(verb, short, long string, change func(context.Context, *backend, tasks.BatchInfo, bool) error) *cobra.Command {
	yes := false
	cmd := &cobra.Command{
		Use:               verb + " NAME",
		Short:             short,
		Long:              long,
		Args:              takes("NAME"),
		ValidArgsFunction: completeFirst(a.batchNames),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if err := a.askable(yes); err != nil {
				return err
			}
			d, err := a.backend(cmd.Context(), "batch")
			if err != nil {
				return err
			}
			defer d.close(&err)
			b, err := d.client.Batch(cmd.Context(), args[0])
			if err != nil {
				return a.noBatch(err)
			}
			return change(cmd.Context(), d, b, yes)
		},
	}
	addYes(cmd, &yes)
	return cmd
}

func (a *app) batchListCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the batches with their counts, oldest first",
		Args:  takes(),
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			d, err := a.backend(cmd.Context(), "batch")
			if err != nil {
				return err
			}
			defer d.close(&err)
			batches, err := collect(d.client.Batches(cmd.Context()))
			if err != nil {
				return err
			}
			if a.json {
				list := jsonList{w: a.stdout}
				for _, b := range batches {
					if err := list.add(jsonform.BatchOf(b)); err != nil {
						return err
					}
				}
				return list.end()
			}
			if len(batches) == 0 {
				a.progressf("There are no batches.")
				return nil
			}
			t := console.NewTable(a.stdout, "BATCH", "SENT", "ACCEPTED", "OPEN", "DONE", "DEAD", "DROPPED", "CANCELLED")
			for _, b := range batches {
				c := b.Counts
				t.Row(b.Name, timeText(b.Created), console.Grouped(c.Accepted), console.Grouped(c.Open), console.Grouped(c.Done), console.Grouped(c.Dead), console.Grouped(c.Dropped), console.Grouped(c.Cancelled))
			}
			return t.Flush()
		},
	}
}

func (a *app) batchStatusCommand() *cobra.Command {
	watch := false
	cmd := &cobra.Command{
		Use:   "status [NAME]",
		Short: "Print the counts of a batch, why calls failed and what open calls wait for",
		Long: `Print the counts of a batch, why calls failed and what open calls wait for. Without
NAME, it is the newest batch.

--watch prints it again whenever it changes, until the batch has nothing open. On a
terminal it shows the present state in place.`,
		Args:              takes("[NAME]"),
		ValidArgsFunction: completeFirst(a.batchNames),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			d, err := a.backend(cmd.Context(), "batch")
			if err != nil {
				return err
			}
			defer d.close(&err)
			b, err := d.batch(cmd.Context(), args...)
			if err != nil {
				return a.noBatch(err)
			}
			if watch {
				return a.watchBatch(cmd.Context(), d, b.Name)
			}
			return a.printStatus(cmd.Context(), d, b)
		},
	}
	cmd.Flags().BoolVar(&watch, "watch", false, "print it again whenever it changes, until nothing is open")
	return cmd
}

// printStatus prints what batch status prints.
func (a *app) printStatus(ctx context.Context, d *backend, b tasks.BatchInfo) error {
	list, err := a.whyWaits(ctx, d, b)
	if err != nil {
		return err
	}
	if a.json {
		counts := jsonform.BatchOf(b)
		counts.Waits, _ = list.Reasons()
		return a.printJSON(counts)
	}
	return errors.Join(a.ended(ctx, d, jsonform.BatchOf(b)), printReasons(a.stdout, list))
}

// batch returns the batch with the name, or without a name the newest one.
func (d *backend) batch(ctx context.Context, name ...string) (tasks.BatchInfo, error) {
	if len(name) > 0 {
		return d.client.Batch(ctx, name[0])
	}
	all, err := collect(d.client.Batches(ctx))
	switch {
	case err != nil:
		return tasks.BatchInfo{}, err
	case len(all) == 0:
		return tasks.BatchInfo{}, errors.New("there are no batches yet; callq send makes one")
	}
	return all[len(all)-1], nil
}

// collect reads a sequence to its end, or its first error.
func collect[T any](seq iter.Seq2[T, error]) (list []T, err error) {
	for one, err := range seq {
		if err != nil {
			return list, err
		}
		list = append(list, one)
	}
	return list, nil
}

// noBatch adds what to do to the error that a batch does not exist.
func (a *app) noBatch(err error) error {
	if errors.Is(err, tasks.ErrNoBatch) {
		return fmt.Errorf("%w; %s shows all batches", err, a.next("batch list"))
	}
	return err
}

// ended prints the counts of a batch and its failures, grouped by cause.
func (a *app) ended(ctx context.Context, d *backend, b jsonform.Batch) error {
	_, err := fmt.Fprintf(a.stdout, "batch %s: %s accepted = %s open + %s done + %s dead + %s dropped + %s cancelled\n",
		console.Printable(b.Batch), console.Grouped(b.Accepted), console.Grouped(b.Open), console.Grouped(b.Done), console.Grouped(b.Dead), console.Grouped(b.Dropped), console.Grouped(b.Cancelled))
	if err != nil || b.Dead+b.Dropped == 0 {
		return err
	}
	var failures filerun.Tally
	for r, err := range d.ledger.Failures(ctx, b.Batch) {
		if err != nil {
			return err
		}
		failures.Add(records.Result(r))
	}
	text := &errWriter{w: a.stdout}
	causes := causesOf(failures.Failures())
	for _, c := range causes {
		fmt.Fprintf(text, "%s\n    %s\n    Next: %s\n", console.Printable(c.headline()), console.Printable(c.Message), console.Printable(c.Advice))
	}
	if text.err != nil {
		return text.err
	}
	if b.Dead > 0 {
		a.progressf("See more with %s; try again with %s.", a.next("dead groups"), a.next("dead redrive --filter batch="+shellword.Quote(b.Batch)))
		if n := doubtful(causes); n > 0 {
			a.progressf("%s", doubt(n))
		}
	}
	return nil
}

func (a *app) batchWaitCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "wait NAME",
		Short: "Wait until all calls of a batch have ended",
		Long: `Wait until every call of a batch has ended, then print its counts. The exit status
is 3 if some calls are dead or dropped.`,
		Args:              takes("NAME"),
		ValidArgsFunction: completeFirst(a.batchNames),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			d, err := a.backend(cmd.Context(), "batch")
			if err != nil {
				return err
			}
			defer d.close(&err)
			b, err := a.await(cmd.Context(), d, args[0])
			if err != nil {
				return a.noBatch(err)
			}
			if a.json {
				err = a.printJSON(b)
			} else {
				err = a.ended(cmd.Context(), d, b)
			}
			return errors.Join(err, statusOfBatch(b))
		},
	}
}

const (
	// pollEvery is how often a command that waits polls Redis.
	pollEvery = 250 * time.Millisecond
	// idleAfter is the time without an ended call after which inflight calls are shown
	// as the reason to wait.
	idleAfter = 5 * time.Second
)

// await waits until no call of the batch is open.
func (a *app) await(ctx context.Context, d *backend, name string) (jsonform.Batch, error) {
	b, err := d.client.Batch(ctx, name)
	if err != nil || b.Counts.Open == 0 {
		return jsonform.BatchOf(b), err
	}
	first := b.Counts.Open
	bar := a.newProgress()
	bar.Begin(int(first), 0)
	defer bar.Close()
	moved, last := time.Now(), first
	err = a.waitFor(ctx, d, bar, name, func(why *waiting.Reporter) (bool, error) {
		now, err := d.client.Batch(ctx, name)
		if err == nil {
			b = now
		}
		c := b.Counts
		if c.Open != last {
			moved, last = time.Now(), c.Open
		}
		bar.Update(func() console.Status {
			return console.Status{
				Ended: int(max(first-c.Open, 0)), Waiting: why.Brief(time.Since(moved) > idleAfter),
				Failed: fmt.Sprintf("in total %s dead, %s dropped", console.Grouped(c.Dead), console.Grouped(c.Dropped)),
			}
		})
		return c.Open == 0, err
	})
	return jsonform.BatchOf(b), err
}

// waitFor calls ask until it reports the end. It prints what the calls of the batch wait
// for, and continues if Redis cannot be reached for a while.
func (a *app) waitFor(ctx context.Context, d *backend, bar *console.Progress, batch string, ask func(*waiting.Reporter) (ended bool, err error)) error {
	why := a.newReporter(d, false, func(line string) { bar.Printf("%s", line) }, batch)
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		ended, err := ask(why)
		switch err = d.explain(err); {
		case err == nil && ended:
			return nil
		case err == nil:
			why.Poll(ctx, time.Now())
		case ctx.Err() != nil || !temporary(err):
			return err
		default:
			why.Update(waiting.Facts{Now: time.Now(), Redis: err}, time.Now())
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
