package worker

import (
	"context"
	"errors"
	"time"

	"github.com/seed-2903acc3/callq/tasks"
)

// reopened records from when on asynq's archive must be searched for open calls. The zero
// value means from its beginning.
type reopened struct{ since time.Time }

// archiveSkew is more than the clocks of two workers may differ. asynq dates what it
// archives by its worker's clock.
const archiveSkew = 30 * time.Second

// reopen puts calls back that are open though their task is archived. That happens if a
// Redis that was killed has lost the ending of a dead letter after it had confirmed it, and
// the worker then had asynq archive the task.
func (w *Worker) reopen(ctx context.Context, o *reopened, now time.Time) error {
	if !w.clock.isRight() {
		return nil
	}
	for _, queue := range w.queues() {
		records, err := w.repairer.OpenInArchive(ctx, queue, o.since)
		if err != nil {
			return err
		}
		for _, r := range records {
			restored, err := w.records.Restore(ctx, r, now)
			switch {
			case errors.Is(err, tasks.ErrMalformed), errors.Is(err, tasks.ErrNewerVersion): // callq doctor reports it
			case err != nil:
				return err
			case restored:
				w.log.Warn("Redis has lost the ending of a call: its task was archived and is put back into the queue", "call", r.ID, "batch", r.Batch, "key", r.Key)
				w.queueIdles[queue].open()
			}
		}
	}
	o.since = now.Add(-archiveSkew)
	return nil
}
