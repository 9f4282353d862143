package filerun

import (
	"context"
	"errors"

	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/ledger"
)

// clearKnownSends removes from the journal the calls that Redis also has as sent. Redis
// has the newer state: a call may have been redriven since.
func (r *runner) clearKnownSends(ctx context.Context) error {
	for _, call := range r.journal.unfinished() {
		if r.plan.isAdopted(call.Key, call.Digest) {
			r.journal.ended(call.Key, call.Digest)
			continue
		}
		for i := range r.watermarks {
			record, err := r.backend.ledger.Find(ctx, tasks.TaskID(r.batch(i), call.Key))
			switch {
			case errors.Is(err, tasks.ErrNoCall):
			case err != nil:
				return err
			case record.Hash == call.Digest && hasSend(record):
				r.journal.ended(call.Key, call.Digest)
			}
		}
	}
	return nil
}

// hasSend reports whether the record in Redis shows that the call was sent. If the call is
// open and was never sent, Redis has lost the mark, as may happen on a full disk: then the
// journal is right.
func hasSend(r ledger.Record) bool {
	return r.State != ledger.Open || r.Sent > 0 || r.Attempts+r.Parked > 0 || r.Generation > 1
}
