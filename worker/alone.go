package worker

import (
	"context"
	"fmt"
	"time"
)

// maxStarts is how many starts without a decision make a call suspect, the current start
// included: it may kill its workers, or another call may have. Such a call is made alone.
const maxStarts = 5

// noteTimeout bounds the write that a call is made alone. It is far shorter than the time
// for which other calls wait.
const noteTimeout = 5 * time.Second

// mostAlone is how many workers must die while they make only this call before the call
// ends. A call that may be sent twice gets one more chance.
func (inflight *inflightCall) mostAlone() int {
	if inflight.idempotent {
		return 2
	}
	return 1
}

// crashed returns the record's message about why the call ends.
func (inflight *inflightCall) crashed() string {
	last := "the last one while it made no other call"
	if n := inflight.delivery.Alone; n > 1 {
		last = fmt.Sprintf("the last %d while they made no other call", n)
	}
	return fmt.Sprintf("%d workers in a row ended without a decision on it, %s", inflight.delivery.Starts-1, last)
}

// makeAlone waits until this process makes no other call, and records that it makes this
// one alone. If a job takes longer than any request may, the call is made besides it and
// that is not recorded. leave allows other calls again. ok is false when disp is final.
func (w *Worker) makeAlone(ctx context.Context, inflight *inflightCall) (leave func(), disp disposition, ok bool) {
	delivery := inflight.delivery
	w.log.Warn("several workers ended while they made this call; no other call is made at the same time", "call", delivery.ID, "batch", delivery.Batch, "key", delivery.Key,
		"workers", delivery.Starts-1, "alone", delivery.Alone)
	leave, alone, ok := w.semaphoreOf(inflight.account).acquireAlone(ctx, w.draining, w.shutdownTimeout())
	if !ok {
		return nil, w.putBack(ctx, delivery, nil), false
	}
	inflight.waited = true
	if !alone {
		return leave, disposition{}, true
	}
	// Other calls begin after shutdownTimeout: the record must be written before.
	noting, cancel := context.WithTimeout(ctx, noteTimeout)
	applied, err := w.dispatcher.MarkAlone(noting, delivery)
	cancel()
	switch {
	case err != nil:
		w.noteRedisError(err)
		disp = w.putBack(ctx, delivery, nil)
	case !applied:
		disp = w.abandon(delivery)
	default:
		return leave, disposition{}, true
	}
	leave()
	return nil, disp, false
}
