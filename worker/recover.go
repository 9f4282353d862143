package worker

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/broker"
	"github.com/seed-2903acc3/callq/tasks/ending"
	"github.com/seed-2903acc3/callq/tasks/ledger"
)

// A running worker lengthens the leases of its calls every 5 s, by 30 s (asynq's numbers).
// These are variables for the tests of this package only.
var (
	// reclaimEvery is how often expired leases are read.
	reclaimEvery = 5 * time.Second
	// reclaimAfter is how long an expired lease must be unchanged, in consecutive reads,
	// before its worker counts as dead. This gives a running worker that could not
	// lengthen its leases the time to do it.
	reclaimAfter = 10 * time.Second
)

// overdue has the expired leases, with the time when this process first read each. Most
// calls of a dead worker are put back before, see [peerWatch]. The leases find the other
// calls: those that no worker received, that have no message, that an older callq
// dequeued, and those of a worker without a beat in Redis.
type overdue struct {
	seen map[ledger.Lease]time.Time
	last time.Time // when the leases were read last
}

// queues returns the queues of all accounts, in the order of the configuration.
func (w *Worker) queues() (queues []string) {
	for _, name := range slices.Sorted(maps.Keys(w.accounts)) {
		queues = append(queues, w.accounts[name].queues...)
	}
	return queues
}

// reclaim puts back the calls of dead workers, and those that no worker received because
// the reply to a dequeue was lost. asynq does this too, but only once a minute and some
// time after the leases' end, and for no queue at all if it cannot decode one of the tasks.
func (w *Worker) reclaim(ctx context.Context) {
	queues := w.queues()
	var o overdue
	var archived reopened
	atOnceAndEvery(ctx, reclaimEvery, func() {
		w.noteRedisError(w.reclaimOnce(ctx, &o, time.Now(), queues))
		w.noteRedisError(w.reopen(ctx, &archived, time.Now()))
	})
}

// reclaimOnce reads the expired leases once. It does nothing while the clock is wrong,
// because then the leases of running workers can look expired.
func (w *Worker) reclaimOnce(ctx context.Context, o *overdue, now time.Time, queues []string) error {
	before := o.seen
	if now.Sub(o.last) > 2*reclaimEvery {
		before = nil // this process was paused, or Redis was
	}
	o.seen = map[ledger.Lease]time.Time{}
	if !w.clock.isRight() {
		return nil
	}
	leases, err := w.leases.Overdue(ctx, now, queues...)
	if err != nil || len(leases) == 0 {
		o.last = now
		return err
	}
	own := w.deliveries.runningIDs()
	back := 0
	defer func() {
		if back > 0 {
			w.log.Warn("calls that no worker holds any more are put back into the queue: a worker was killed, or its connection to Redis broke", "calls", back)
		}
	}()
	for _, lease := range leases {
		first, known := before[lease]
		if !known {
			first = now
		}
		switch {
		case own[lease.ID]:
			// asynq does not lengthen a lease that has expired, even for a moment.
			err = w.leases.Extend(ctx, lease.Queue, lease.ID, now.Add(asynqLease))
		case lease.Until == 0 || now.Sub(first) >= reclaimAfter:
			var taken bool
			if taken, err = w.reclaimTask(ctx, lease.Queue, lease.ID, now); taken && lease.Until > 0 {
				back++ // the others were logged when their leases were ended
			}
		default:
			o.seen[lease] = first
		}
		if err != nil {
			return err
		}
	}
	o.last = now
	return nil
}

// reclaimTask puts the task of a dead worker back into pending, unless another process has
// done so. If the task's message is gone and the call is open, it makes the task again from
// the record. If the message is not asynq's, the next dequeue ends the call. A task with
// neither message nor call is removed from the lists.
func (w *Worker) reclaimTask(ctx context.Context, queue, id string, by time.Time) (taken bool, err error) {
	there, err := w.repairer.HasMessage(ctx, queue, id)
	if err != nil {
		return false, err
	}
	if !there {
		record, err := w.ledger.Get(ctx, queue, id)
		if err != nil && !errors.Is(err, tasks.ErrNoCall) {
			return false, err
		}
		if err == nil && record.State == ledger.Open {
			restored, err := w.records.Restore(ctx, record, by)
			if restored {
				w.log.Warn("the worker of a call died, and the call's task was gone: it was made again from the record", "call", record.ID, "batch", record.Batch, "key", record.Key)
			}
			if !errors.Is(err, tasks.ErrMalformed) && !errors.Is(err, tasks.ErrNewerVersion) {
				return restored, err
			}
		}
	}
	n, err := w.repairer.Release(ctx, queue, by, id)
	if n > 0 {
		w.queueIdles[queue].open()
	}
	return n > 0, err
}

// redriveRunTask redrives a dead letter that a person has run with asynq's own tools: its
// last error is still the one with which this generation of the call was archived. A task
// that comes back for another reason, such as a crash, is archived again, because its call
// has ended. The task is in pending until one of the two is done, so that another worker
// continues if this one dies.
func (w *Worker) redriveRunTask(ctx context.Context, got ledger.Dequeued) {
	var record ledger.Record
	err := w.retryWrite(ctx, func(ctx context.Context) (err error) {
		if record, err = w.ledger.Get(ctx, got.ToRedrive.Queue, got.ToRedrive.ID); errors.Is(err, tasks.ErrNoCall) {
			return nil
		}
		return err
	})
	if err != nil || w.redrive(ctx, record, got.Message) {
		return
	}
	w.noteRedisError(w.retryWrite(ctx, func(ctx context.Context) error { return w.repairer.Rearchive(ctx, record) }))
}

// redrive redrives the dead letter. It returns false if the task must go back to the archive.
func (w *Worker) redrive(ctx context.Context, record ledger.Record, message string) (redriven bool) {
	if !strings.HasPrefix(broker.LastError(message), ending.ArchiveMarker(record.ID, record.Generation)) {
		return false
	}
	refused := error(nil)
	err := w.retryWrite(ctx, func(ctx context.Context) (err error) {
		redriven, _, err = w.records.Redrive(ctx, record)
		if errors.Is(err, tasks.ErrMalformed) || errors.Is(err, tasks.ErrNewerVersion) || w.isRefusal(err) {
			refused = err
			return nil
		}
		if redriven {
			w.log.Info("a dead letter was run in asynq's archive: it is redriven", "call", record.ID, "batch", record.Batch, "key", record.Key)
		}
		return err
	})
	switch {
	case err != nil: // the task stays in pending for the next worker
		w.log.Warn("a dead letter that was run in asynq's archive could not be redriven", "call", record.ID, "error", err)
		return true
	case refused != nil:
		w.log.Warn("a dead letter that was run in asynq's archive cannot be redriven and stays there", "call", record.ID, "error", refused)
	}
	return redriven
}
