package worker

import (
	"context"
	"errors"
	"time"

	"github.com/seed-2903acc3/callq/tasks"
)

// reopened is since when asynq's archive has been looked through for calls that are
// open. The zero value has seen nothing of it.
type reopened struct{ since time.Time }

// archiveSkew is more than a worker's clock, by which asynq dates what it archives, may
// differ from another's.
const archiveSkew = 30 * time.Second

// reopen puts calls back that are open though their task is archived. A Redis that was
// killed may have lost a dead letter's ending after it had acknowledged it: the worker then
// still has asynq archive the task.
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
			case errors.Is(err, tasks.ErrMalformed), errors.Is(err, tasks.ErrNewerVersion): // doctor names it
			case err != nil:
				return err
			case restored:
				w.log.Warn("Redis has lost how a call ended; its task was archived and is put back", "call", r.ID, "batch", r.Batch, "key", r.Key)
				w.queueIdles[queue].open()
			}
		}
	}
	o.since = now.Add(-archiveSkew)
	return nil
}
