package filerun

import (
	"context"
	"fmt"
	"time"

	"github.com/seed-2903acc3/callq/tasks/ledger"
)

// busyTries is how often a call is reopened while a worker still holds its task.
const busyTries = 25

// reopener reopens ended calls, those of a queue some at a time.
type reopener struct {
	// redrive reopens calls of one queue, also done ones if done is set.
	redrive func(ctx context.Context, list []ledger.Record, done bool) ([]ledger.Change, error)
	waiting map[reopenedWith][]ledger.Record
	bytes   int
}

// reopenedWith is what calls have in common that are reopened together: a call that was not
// done when it was read, and is now, has a result that nobody has kept.
type reopenedWith struct {
	queue string
	done  bool
}

func newReopener(redrive func(context.Context, []ledger.Record, bool) ([]ledger.Change, error)) *reopener {
	return &reopener{redrive: redrive, waiting: map[reopenedWith][]ledger.Record{}}
}

// add reopens a call, together with the next ones. Those that wait are reopened before they
// are too many, or too large, for a script.
func (o *reopener) add(ctx context.Context, r ledger.Record) error {
	with := reopenedWith{r.Queue, r.State == ledger.Done}
	if o.bytes+r.Size() > ledger.MaxChangedBytes || len(o.waiting[with]) == ledger.MaxChanged {
		if err := o.flush(ctx); err != nil {
			return err
		}
	}
	o.waiting[with] = append(o.waiting[with], r)
	o.bytes += r.Size()
	return nil
}

// flush reopens the calls that wait for others.
func (o *reopener) flush(ctx context.Context) error {
	for with, list := range o.waiting {
		if err := o.reopen(ctx, list, with.done); err != nil {
			return err
		}
	}
	clear(o.waiting)
	o.bytes = 0
	return nil
}

func (o *reopener) reopen(ctx context.Context, list []ledger.Record, done bool) error {
	for range busyTries {
		changes, err := o.redrive(ctx, list, done)
		if err != nil {
			return err
		}
		var held []ledger.Record
		for i, c := range changes {
			if c == ledger.StillHeld {
				held = append(held, list[i])
			}
		}
		if list = held; len(list) == 0 {
			return nil
		}
		select {
		case <-time.After(collectEvery):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return fmt.Errorf("%w: %q", ErrBusy, list[0].Key)
}
