package filerun

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/ledger"
)

// withdrawn stands as the rule of calls that a run cancelled because the file did
// not ask for them any more. A run of a file that asks again makes them; what a
// person cancelled stays so.
const withdrawn = "withdrawn"

func withdrew(r ledger.Record) bool {
	return r.State == ledger.Cancelled && r.Ending != nil && r.Ending.Rule == withdrawn
}

// reconcile brings what previous runs left in Redis in line with the plan: open
// calls that the file does not ask for any more are cancelled, so that they cost
// nothing; those that are to be made again are opened again.
func (r *runner) reconcile(ctx context.Context) error {
	var err error
	if r.replaced, err = r.readReplaced(); err != nil {
		return err
	}
	r.watermarks, r.cursors = map[int]ledger.Watermark{}, map[int]*ledger.Cursor{}
	return r.eachBatch(ctx, func(i int, b ledger.Batch) (err error) {
		if r.watermarks[i], err = r.back.ledger.Watermark(ctx, b.Name); err != nil {
			return err
		}
		c := b.Counts
		if len(r.plan.chosen) == 0 && c.Open+c.Cancelled == 0 && (!r.redo[tasks.StateDead] || c.Dead == 0) && (!r.redo[tasks.StateDropped] || c.Dropped == 0) {
			return nil
		}
		for record, err := range r.back.ledger.Calls(ctx, b.Name, tasks.TaskID) {
			if err != nil {
				return err
			}
			if err := r.reconcileCall(ctx, i, record); err != nil {
				return err
			}
		}
		return nil
	})
}

func (r *runner) reconcileCall(ctx context.Context, batch int, record ledger.Record) error {
	state := tasks.State(record.State)
	chosen := r.plan.isChosen(record.Key, record.Hash)
	wanted := r.redo[state] || withdrew(record) || chosen && record.State.Ended()
	switch {
	case record.State == ledger.Open && r.plan.surplus(record):
		if batch >= firstOther {
			return nil // another file asks for it
		}
		// A call that a worker is making right now ends as it ends.
		_, err := r.back.client.Cancel(ctx, record.ID, tasks.Cancellation{Rule: withdrawn, Message: "the file does not ask for this call any more"})
		if errors.Is(err, tasks.ErrBusy) || errors.Is(err, tasks.ErrEnded) || errors.Is(err, tasks.ErrNoCall) {
			return nil
		}
		return err
	case !wanted, !r.plan.waits(record.Key, record.Hash, batch), r.plan.surplus(record):
		return nil
	case len(record.Content) == 0:
		r.plan.next(r.plan.nameOf(record.Key, record.Hash), batch) // its content was purged: it starts anew
		return nil
	}
	if chosen {
		if again, err := r.repeats(record); err != nil || !again {
			return err
		}
	}
	for range 25 {
		busy, err := r.reopen(ctx, record)
		if err != nil || !busy {
			return err
		}
		select {
		case <-time.After(collectEvery):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return fmt.Errorf("%w: %q", ErrBusy, record.Key)
}
