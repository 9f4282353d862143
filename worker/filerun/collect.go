package filerun

import (
	"context"
	"errors"
	"time"

	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/ledger"
)

// collect writes the results of the calls that have ended since its last call.
func (r *runner) collect(ctx context.Context) error {
	for _, i := range r.inUse() {
		if r.cursors[i] == nil {
			r.cursors[i] = &ledger.Cursor{}
		}
		for record, err := range r.backend.ledger.Endings(ctx, r.batch(i), r.cursors[i]) {
			if errors.Is(err, ledger.ErrNoBatch) {
				break
			}
			if err != nil {
				return errors.Join(err, r.flush())
			}
			if !r.plan.recordEnd(record.Key, record.Hash, record.ID, i, tasks.State(record.State)) {
				r.room.release(record.ID)
				if i < firstOther && record.State == ledger.Done && r.plan.done(record.Key, record.Hash) {
					r.noteExported(record) // a run that was killed has written its result
				}
				continue
			}
			if err := r.write(ctx, i, record); err != nil {
				return err
			}
		}
	}
	return r.flush()
}

// write adds the result of a call to the results.
func (r *runner) write(ctx context.Context, batch int, record ledger.Record) error {
	result := r.resultOf(record)
	if err := r.out.add(result); err != nil {
		return err
	}
	r.unsynced = append(r.unsynced, callID{result.Key, result.Digest})
	r.tally.Add(result)
	if result.BodyFreed {
		r.bodiless++
	}
	if h := r.watermarks[batch]; h != nil && h.Has(record) {
		r.known++
	}
	r.noteExported(record)
	if r.unsyncedLarge < syncAfter {
		return nil
	}
	return errors.Join(r.flush(), r.sync(ctx))
}

// flush writes the results that were added.
func (r *runner) flush() error {
	if err := r.out.flush(); err != nil {
		return err
	}
	r.written = r.plan.accepted - r.plan.open()
	return nil
}

// sync syncs the results file to disk, and frees the bodies that Redis no longer needs.
func (r *runner) sync(ctx context.Context) error {
	r.synced = time.Now()
	if err := r.out.sync(); err != nil {
		return err
	}
	for _, call := range r.unsynced {
		r.journal.ended(call.Key, call.Digest)
	}
	r.unsynced = r.unsynced[:0]
	r.unsyncedLarge = 0
	return r.freeBodies(ctx)
}
