package worker

import (
	"context"
	"fmt"
	"time"
)

// maxStarts is from which start without a decision on, the start itself counted, a
// call is made alone: it may be what kills its workers, or only have been there.
const maxStarts = 5

// noteTimeout bounds the note that a call is made alone. It is far shorter than the
// time for which the others wait.
const noteTimeout = 5 * time.Second

// mostAlone is after how many workers that died while they made only this call it is
// held to kill them. One that does no harm twice gets one chance more.
func (inflight *inflightCall) mostAlone() int {
	if inflight.idempotent {
		return 2
	}
	return 1
}

// crashed is the record's message about why the call ends.
func (inflight *inflightCall) crashed() string {
	last := "the last one while it made no other call"
	if n := inflight.delivery.Alone; n > 1 {
		last = fmt.Sprintf("the last %d while they made no other call", n)
	}
	return fmt.Sprintf("%d workers in a row ended without a decision on it, %s", inflight.delivery.Starts-1, last)
}

// makeAlone waits until this process makes no other call, and notes that it makes
// this one alone. Where a job takes longer than any request may, it is made beside
// it, without the note. leave lets the others begin again. ok is false when disp is
// final.
func (w *Worker) makeAlone(ctx context.Context, inflight *inflightCall) (leave func(), disp disposition, ok bool) {
	delivery := inflight.delivery
	w.log.Warn("several workers ended while they made this call: it is made alone", "call", delivery.ID, "batch", delivery.Batch, "key", delivery.Key,
		"workers", delivery.Starts-1, "alone", delivery.Alone)
	leave, alone, ok := w.semaphore.acquireAlone(ctx, w.draining, w.shutdownTimeout())
	if !ok {
		return nil, w.putBack(ctx, delivery, nil), false
	}
	inflight.waited = true
	if !alone {
		return leave, disposition{}, true
	}
	// Others begin when the longest time is over: a note that is made later is wrong.
	noting, cancel := context.WithTimeout(ctx, noteTimeout)
	applied, err := w.dispatcher.MarkAlone(noting, delivery)
	cancel()
	switch {
	case err != nil:
		w.noteRedisError(err)
		disp = w.putBack(ctx, delivery, nil)
	case !applied:
		disp = w.leave(delivery)
	default:
		return leave, disposition{}, true
	}
	leave()
	return nil, disp, false
}
