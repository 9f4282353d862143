package filerun

import (
	"context"
	"errors"

	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/ledger"
)

// withdrawn is the rule of calls that a run cancelled because the file no longer had them.
// If the file has them again, a later run makes them. Calls that a person cancelled stay
// cancelled.
const withdrawn = "withdrawn"

func withdrew(r ledger.Record) bool {
	return r.State == ledger.Cancelled && r.Ending != nil && r.Ending.Rule == withdrawn
}

// reconcile changes the calls of previous runs in Redis to match the plan: it cancels open
// calls that the file no longer has, so that they cost nothing, and reopens the calls to
// make again.
func (r *runner) reconcile(ctx context.Context) error {
	var err error
	if r.replaced, err = r.readReplaced(); err != nil {
		return err
	}
	r.watermarks, r.cursors = map[int]ledger.Watermark{}, map[int]*ledger.Cursor{}
	return r.eachBatch(ctx, func(i int, b ledger.Batch) (err error) {
		if r.watermarks[i], err = r.backend.ledger.Watermark(ctx, b.Name); err != nil {
			return err
		}
		c := b.Counts
		if len(r.plan.chosen) == 0 && c.Open+c.Cancelled == 0 && (!r.redo[tasks.StateDead] || c.Dead == 0) && (!r.redo[tasks.StateDropped] || c.Dropped == 0) {
			return nil
		}
		reopened := newReopener(r.backend.records.RedriveAll)
		for record, err := range r.backend.ledger.Calls(ctx, b.Name, tasks.TaskID) {
			if err != nil {
				return err
			}
			if err := r.reconcileCall(ctx, i, record, reopened); err != nil {
				return err
			}
		}
		return reopened.flush(ctx)
	})
}

func (r *runner) reconcileCall(ctx context.Context, batch int, record ledger.Record, reopened *reopener) error {
	state := tasks.State(record.State)
	chosen := r.plan.isChosen(record.Key, record.Hash)
	wanted := r.redo[state] || withdrew(record) || chosen && record.State.Ended()
	switch {
	case record.State == ledger.Open && r.plan.isSurplus(record):
		if batch >= firstOther {
			return nil // the call belongs to another file
		}
		// A call that a worker is making now cannot be cancelled.
		_, err := r.backend.client.Cancel(ctx, record.ID, tasks.Cancellation{Rule: withdrawn, Message: "the file no longer has this call"})
		if errors.Is(err, tasks.ErrBusy) || errors.Is(err, tasks.ErrEnded) || errors.Is(err, tasks.ErrNoCall) {
			return nil
		}
		return err
	case !wanted, !r.plan.isOpenIn(record.Key, record.Hash, batch), r.plan.isSurplus(record):
		return nil
	case len(record.Content) == 0:
		r.plan.moveToNext(r.plan.nameOf(record.Key, record.Hash), batch) // its content was purged: send it as a new call
		return nil
	}
	if chosen {
		if repeat, err := r.mustRepeat(record); err != nil || !repeat {
			return err
		}
	}
	return reopened.add(ctx, record)
}
