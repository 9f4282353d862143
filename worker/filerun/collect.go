package filerun

import (
	"context"
	"errors"
	"time"

	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/ledger"
)

// collect writes the results of the calls that have ended since it was called last.
func (r *runner) collect(ctx context.Context) error {
	for _, i := range r.inUse() {
		if r.cursors[i] == nil {
			r.cursors[i] = &ledger.Cursor{}
		}
		for record, err := range r.back.ledger.Endings(ctx, r.batch(i), r.cursors[i]) {
			if errors.Is(err, ledger.ErrNoBatch) {
				break
			}
			if err != nil {
				return errors.Join(err, r.flush())
			}
			if !r.plan.end(record.Key, record.Hash, record.ID, i, tasks.State(record.State)) {
				r.room.leave(record.ID)
				if i < firstOther && record.State == ledger.Done && r.plan.done(record.Key, record.Hash) {
					r.mayFree(record) // a run that was killed has written it
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

// write adds the result of a call of a batch to the results.
func (r *runner) write(ctx context.Context, batch int, record ledger.Record) error {
	result := r.resultOf(record)
	if err := r.out.add(result); err != nil {
		return err
	}
	r.unwritten = append(r.unwritten, callID{result.Key, result.Digest})
	r.tally.Add(result)
	if result.BodyFreed {
		r.bodiless++
	}
	if h := r.watermarks[batch]; h != nil && h.Has(record) {
		r.known++
	}
	r.mayFree(record)
	if r.heavy < syncAfter {
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

// sync makes the results survive a crash of the machine, and frees the bodies that Redis
// need not keep.
func (r *runner) sync(ctx context.Context) error {
	r.synced = time.Now()
	if err := r.out.sync(); err != nil {
		return err
	}
	for _, call := range r.unwritten {
		r.journal.ended(call.Key, call.Digest)
	}
	r.unwritten = r.unwritten[:0]
	r.heavy = 0
	return r.free(ctx)
}
