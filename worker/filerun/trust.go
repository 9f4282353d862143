package filerun

import (
	"context"
	"errors"

	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/ledger"
)

// trustRedis leaves to Redis what it knows of itself: of those calls that the journal
// has as sent, the ones that it has. Somebody may have redriven them since.
func (r *runner) trustRedis(ctx context.Context) error {
	for _, call := range r.journal.unfinished() {
		if r.plan.held(call.Key, call.Digest) {
			r.journal.ended(call.Key, call.Digest)
			continue
		}
		for i := range r.watermarks {
			record, err := r.back.ledger.Find(ctx, tasks.TaskID(r.batch(i), call.Key))
			switch {
			case errors.Is(err, tasks.ErrNoCall):
			case err != nil:
				return err
			case record.Hash == call.Digest && knowsOfSend(record):
				r.journal.ended(call.Key, call.Digest)
			}
		}
	}
	return nil
}

// knowsOfSend reports whether Redis knows that the call of a record was sent. One that
// has it open and never sent has lost the mark, as a Redis may whose disk was full: then
// the journal is right.
func knowsOfSend(r ledger.Record) bool {
	return r.State != ledger.Open || r.Sent > 0 || r.Attempts+r.Parked > 0 || r.Generation > 1
}
