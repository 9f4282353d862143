package worker

import (
	"context"
	"errors"
	"time"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/tasks/ending"
	"github.com/seed-2903acc3/callq/tasks/ledger"
)

const (
	// fenceEvery is how often a worker checks whether Redis has gone back in time.
	fenceEvery = 500 * time.Millisecond
	// closedAgain is how long a call waits at a closed fence before it is tried again.
	closedAgain = 10 * time.Second
)

// watchFences writes marks back to a Redis that has gone back in time, until ctx ends.
func (w *Worker) watchFences(ctx context.Context) {
	closed := map[string]bool{}
	every(ctx, fenceEvery, func() {
		w.noteRedisError(w.dispatcher.WatchFences(ctx))
		w.logFences(closed)
	})
}

// logFences logs which fences have closed, and opened again. closed has the
// queues whose closing was logged.
func (w *Worker) logFences(closed map[string]bool) {
	for _, queue := range w.queues() {
		var fence *ledger.FenceError
		now := errors.As(w.dispatcher.FenceShut(queue), &fence) && fence.Closed
		switch {
		case now && !closed[queue]:
			w.log.Warn("Redis has gone back in time, and the worker that recorded which calls were sent is gone: calls that must not be sent twice wait until a person releases them",
				"queue", queue, "next", "callq doctor, then callq doctor --accept-restore")
		case !now && closed[queue]:
			w.log.Info("calls that must not be sent twice start again", "queue", queue)
		}
		closed[queue] = now
	}
}

// fenced puts off a call that must not be sent while Redis may have forgotten that it was
// sent before. ok is false when disp is final.
func (w *Worker) fenced(ctx context.Context, inflight *inflightCall) (disp disposition, ok bool) {
	if _, _, isJob := inflight.call.Job(); isJob || inflight.idempotent {
		return disposition{}, true // a job's code checks the fence when it calls MarkSent
	}
	var fence *ledger.FenceError
	if !errors.As(w.dispatcher.FenceShut(inflight.delivery.Queue), &fence) {
		return disposition{}, true
	}
	return w.waitForFence(ctx, inflight, fence), false
}

func (w *Worker) waitForFence(ctx context.Context, inflight *inflightCall, fence *ledger.FenceError) disposition {
	delivery, wait := inflight.delivery, fence.Wait
	if fence.Closed {
		wait = closedAgain
	}
	delivery.Parked++
	if _, applied := w.retryRecord(ctx, w.dispatcher.Attempt, delivery, nil); !applied {
		return w.abandonMarked(ctx, inflight)
	}
	return disposition{kind: dispositionRetry, delay: wait, text: "held: " + fence.Error()}
}

// abandonMarked abandons a call whose record has changed since. It ends the call if another
// worker has recorded since that it may have been sent.
func (w *Worker) abandonMarked(ctx context.Context, inflight *inflightCall) disposition {
	given, err := w.dispatcher.GivenBack(context.WithoutCancel(ctx), inflight.delivery)
	w.noteRedisError(err)
	if given {
		return w.endUnsent(ctx, inflight.delivery, inflight, policy.ClassOutcomeUnknown, ending.LostAnswer)
	}
	return w.abandon(inflight.delivery)
}
