package main

import (
	"context"
	"fmt"
	"time"

	"github.com/seed-2903acc3/callq/cmd/callq/internal/console"
	"github.com/seed-2903acc3/callq/worker/overview"
)

// readBatchEvery is how often batch status --watch reads the batch.
const readBatchEvery = time.Second

// watchBatch shows how far a batch is until it has nothing open, and then prints its
// status. On a terminal it shows that in place; otherwise it prints a line after each
// change. It continues if Redis cannot be reached for a while.
func (a *app) watchBatch(ctx context.Context, d *backend, name string) error {
	reader, err := d.overview()
	if err != nil {
		return err
	}
	tick := time.NewTicker(readBatchEvery)
	defer tick.Stop()
	last := overview.Batch{}
	for {
		b, err := reader.Batch(ctx, name)
		switch err = d.explain(err); {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil && !temporary(err):
			return a.noBatch(err)
		case err != nil:
			a.screen.Show("Redis cannot be read now: " + err.Error())
		case b.Open == 0:
			a.screen.Show()
			return a.finalStatus(ctx, d, name)
		case a.screen.Live():
			if err := a.showBatch(ctx, d, b); err != nil {
				return err
			}
		case countsIn(b) != countsIn(last):
			if err := a.printWatched(b); err != nil {
				return err
			}
			last = b
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (a *app) finalStatus(ctx context.Context, d *backend, name string) error {
	b, err := d.client.Batch(ctx, name)
	if err != nil {
		return a.noBatch(err)
	}
	return a.printStatus(ctx, d, b)
}

// countsIn returns what makes two readings of a batch differ.
func countsIn(b overview.Batch) [5]int64 {
	return [5]int64{b.Open, b.Done, b.Dead, b.Dropped, b.Cancelled}
}

// printWatched prints a line, or an object with --json.
func (a *app) printWatched(b overview.Batch) error {
	if a.json {
		return a.printJSON(b)
	}
	_, err := fmt.Fprintln(a.stdout, watchedText(b, time.Now()))
	return err
}

// watchedText describes a batch in one line.
func watchedText(b overview.Batch, now time.Time) string {
	text := fmt.Sprintf("batch %s: %s of %s ended; %s done, %s dead, %s dropped", console.Printable(b.Name), console.Grouped(b.Accepted-b.Open),
		console.Plural(b.Accepted, "call"), console.Grouped(b.Done), console.Grouped(b.Dead), console.Grouped(b.Dropped))
	if b.PerMinute > 0 {
		text += fmt.Sprintf("; %s/min", console.Grouped(b.PerMinute))
	}
	if b.Ends.IsZero() {
		return text + "; " + console.Printable(b.NoEnd)
	}
	return text + "; ends " + batchEndText(b, now)
}

// showBatch shows a batch, and what its calls wait for, on a terminal.
func (a *app) showBatch(ctx context.Context, d *backend, b overview.Batch) error {
	info, err := d.client.Batch(ctx, b.Name)
	if err != nil {
		return err
	}
	why, err := a.whyWaits(ctx, d, info)
	if err != nil {
		return err
	}
	width, height := a.screen.Size()
	lines := wrapped(watchedText(b, time.Now()), width)
	reasons, now := why.Reasons()
	for _, r := range reasons {
		lines = append(lines, wrapped(console.Printable(r.Text(now)), width)...)
	}
	a.screen.Show(clipped(lines, height)...)
	return nil
}
