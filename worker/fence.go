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
	// fenceEvery is how often it is asked whether Redis has gone back in time.
	fenceEvery = 500 * time.Millisecond
	// closedAgain is when a call that met a closed fence asks again.
	closedAgain = 10 * time.Second
)

// watchFences gives marks back to a Redis that has gone back in time, until ctx ends.
func (w *Worker) watchFences(ctx context.Context) {
	closed := map[string]bool{}
	every(ctx, fenceEvery, func() {
		w.trouble(w.dispatcher.WatchFences(ctx))
		w.sayFences(closed)
	})
}

// sayFences logs which fences have closed, and opened again. closed are those of which
// it was said.
func (w *Worker) sayFences(closed map[string]bool) {
	for _, queue := range w.queues() {
		var fence *ledger.FenceError
		now := errors.As(w.dispatcher.FenceShut(queue), &fence) && fence.Closed
		switch {
		case now && !closed[queue]:
			w.log.Warn("Redis has gone back in time, and the worker that knows which calls were sent is gone: calls that must not be sent twice wait for a person",
				"queue", queue, "next", "callq doctor, then callq doctor --accept-restore")
		case !now && closed[queue]:
			w.log.Info("calls that must not be sent twice start again", "queue", queue)
		}
		closed[queue] = now
	}
}

// fenced puts a call off that must not be sent while Redis may have forgotten that it
// was. ok is false when the verb stands.
func (w *Worker) fenced(ctx context.Context, p *passage) (v verb, ok bool) {
	if _, _, isJob := p.call.Job(); isJob || p.idempotent {
		return verb{}, true // a job's code asks by itself
	}
	var fence *ledger.FenceError
	if !errors.As(w.dispatcher.FenceShut(p.take.Queue), &fence) {
		return verb{}, true
	}
	return w.waitForFence(ctx, p, fence), false
}

func (w *Worker) waitForFence(ctx context.Context, p *passage, fence *ledger.FenceError) verb {
	t, wait := p.take, fence.Wait
	if fence.Closed {
		wait = closedAgain
	}
	t.Parked++
	if _, mine := w.insistOn(ctx, w.dispatcher.Attempt, t, nil); !mine {
		return w.leaveMarked(ctx, p)
	}
	return verb{kind: again, delay: wait, text: "held: " + fence.Error()}
}

// leaveMarked leaves a call whose record has moved on, but ends one of which another
// worker has said, since it was taken, that it may have been sent.
func (w *Worker) leaveMarked(ctx context.Context, p *passage) verb {
	given, err := w.dispatcher.GivenBack(context.WithoutCancel(ctx), p.take)
	w.trouble(err)
	if given {
		return w.endUnsent(ctx, p.take, p, policy.ClassOutcomeUnknown, ending.LostAnswer)
	}
	return w.leave(p.take)
}
