package worker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/broker"
	"github.com/seed-2903acc3/callq/tasks/ledger"
)

// expired stands in for asynq's search for tasks whose worker died. asynq takes
// back no task at all, of none of its queues, while there is one among them that it
// cannot decode, and never finds one whose message is gone. So those are dealt with
// here, and asynq gets the others. By a wrong clock the leases of workers that live
// would seem to be over.
func (w *Worker) expired(ctx context.Context, queue string, by time.Time) ([]string, error) {
	if !w.clock.isRight() {
		return nil, nil
	}
	list, err := w.ledger.Expired(ctx, queue, by)
	if err != nil {
		w.trouble(err)
		return nil, err
	}
	var msgs []string
	for _, task := range list {
		if broker.Decodable(task.Message, queue, task.ID) {
			msgs = append(msgs, task.Message)
			continue
		}
		if err := w.takeBack(ctx, queue, by, task); err != nil {
			w.trouble(err)
		}
	}
	return msgs, nil
}

// takeBack puts a task that asynq cannot take back among the pending. Where its
// message is gone and the call is open the record tells what to make; a message that
// is not asynq's is for the next dequeue, which ends it; what has neither message
// nor call is taken off the lists.
func (w *Worker) takeBack(ctx context.Context, queue string, by time.Time, task ledger.Expired) error {
	if task.Message == "" {
		record, err := w.ledger.Get(ctx, queue, task.ID)
		if err != nil && !errors.Is(err, tasks.ErrNoCall) {
			return err
		}
		if err == nil && record.State == ledger.Open {
			restored, err := w.producer.Restore(ctx, record, by)
			if restored {
				w.log.Warn("the task of a call whose worker died was gone; it was made again", "call", record.ID, "batch", record.Batch, "key", record.Key)
			}
			if !errors.Is(err, tasks.ErrMalformed) && !errors.Is(err, tasks.ErrNewerVersion) {
				return err
			}
		}
	}
	_, err := w.ledger.Release(ctx, queue, by, task.ID)
	return err
}

// epitaph begins the error with which a dead letter's task goes to asynq's archive.
// lua/dequeue.lua knows it too.
func epitaph(id string, generation int) string { return fmt.Sprintf("[callq %s g%d]", id, generation) }

// runAgain redrives a dead letter that somebody has run with asynq's own tools: its
// last error is still the one with which this very generation was archived. What
// comes back for another reason, as after a crash, has ended and stays so. It stands
// among the pending until one of the two is done, so that a worker that dies over it
// leaves it to the next.
func (w *Worker) runAgain(ctx context.Context, got ledger.Dequeued) {
	var record ledger.Record
	err := w.insist(ctx, func(ctx context.Context) (err error) {
		if record, err = w.ledger.Get(ctx, got.Again.Queue, got.Again.ID); errors.Is(err, tasks.ErrNoCall) {
			return nil
		}
		return err
	})
	if err != nil || w.redrive(ctx, record, got.Message) {
		return
	}
	w.trouble(w.insist(ctx, func(ctx context.Context) error { return w.ledger.Rearchive(ctx, record) }))
}

// redrive tells whether the dead letter need not go back to the archive.
func (w *Worker) redrive(ctx context.Context, record ledger.Record, message string) (redriven bool) {
	if !strings.HasPrefix(broker.LastError(message), epitaph(record.ID, record.Generation)) {
		return false
	}
	refused := error(nil)
	err := w.insist(ctx, func(ctx context.Context) (err error) {
		redriven, _, err = w.producer.Redrive(ctx, record)
		if errors.Is(err, tasks.ErrMalformed) || errors.Is(err, tasks.ErrNewerVersion) || w.refusal(err) {
			refused = err
			return nil
		}
		if redriven {
			w.log.Info("a dead letter was run in asynq's archive and is redriven", "call", record.ID, "batch", record.Batch, "key", record.Key)
		}
		return err
	})
	switch {
	case err != nil: // it stays for the next worker
		w.log.Warn("a dead letter that was run in asynq's archive could not be redriven", "call", record.ID, "error", err)
		return true
	case refused != nil:
		w.log.Warn("a dead letter that was run in asynq's archive stays there", "call", record.ID, "error", refused)
	}
	return redriven
}
