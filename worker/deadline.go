package worker

import (
	"context"
	"slices"
	"time"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/ending"
	"github.com/seed-2903acc3/callq/tasks/ledger"
	"github.com/seed-2903acc3/callq/tasks/records"
)

// deadlineEvery is how often waiting calls are checked for deadlines that have passed: a
// call ends within two seconds of its deadline, whatever it waits for.
const deadlineEvery = time.Second

// deadlinePassed is the message in the records of such calls.
const deadlinePassed = "its deadline passed before it could be sent"

// late reports whether the call's deadline has passed, by Redis's clock at the dequeue and
// the time that has passed here since.
func (inflight *inflightCall) late() bool {
	deadline := inflight.call.Deadline
	return deadline != nil && inflight.delivery.At.Add(time.Since(inflight.delivery.Received)).After(*deadline)
}

// watchDeadlines ends calls whose deadline passes while they wait: during a hold, between
// attempts or while the queue is paused. A wrong clock of this machine does not matter,
// because the time is Redis's.
func (w *Worker) watchDeadlines(ctx context.Context) {
	queues := w.queues()
	every(ctx, deadlineEvery, func() { w.noteRedisError(w.endLate(ctx, queues)) })
}

// endLate ends the waiting calls whose deadline has passed. Several workers can do so at
// the same time: each call is ended by one of them.
func (w *Worker) endLate(ctx context.Context, queues []string) error {
	for ctx.Err() == nil {
		late, err := w.dispatcher.PastDeadline(ctx, queues...)
		if err != nil {
			return err
		}
		byQueue := map[string][]ledger.Record{}
		for _, r := range late.Calls {
			byQueue[r.Queue] = append(byQueue[r.Queue], r)
		}
		for queue, calls := range byQueue {
			for some := range slices.Chunk(calls, ledger.MaxWithdrawn) {
				if err := w.withdrawLate(ctx, queue, some, late.Now); err != nil {
					return err
				}
			}
		}
		if !late.More {
			return nil
		}
	}
	return nil
}

// withdrawLate ends calls of one queue whose deadline has passed.
func (w *Worker) withdrawLate(ctx context.Context, queue string, calls []ledger.Record, now time.Time) error {
	var lateCalls []*inflightCall
	var list []ledger.Withdrawal
	for i := range calls {
		inflight := w.lateCall(calls[i], now)
		if inflight == nil {
			continue
		}
		one, err := withdrawal(inflight)
		if err != nil {
			return err
		}
		lateCalls, list = append(lateCalls, inflight), append(list, one)
	}
	if len(list) == 0 {
		return nil
	}
	// The result is needed for the log, even while the worker drains.
	withdrawn, err := w.ledger.Withdraw(context.WithoutCancel(ctx), queue, list)
	if err != nil {
		return err
	}
	for i, inflight := range lateCalls {
		if withdrawn[i] == ledger.Withdrew {
			w.noteDead(ctx, inflight.delivery, inflight, list[i].Final)
		}
	}
	return nil
}

// lateCall returns a waiting call whose deadline has passed. It returns nil if the deadline
// has not passed, or if the call cannot be read: then it ends when it is dequeued.
func (w *Worker) lateCall(r ledger.Record, now time.Time) *inflightCall {
	call, err := records.Call(&r)
	if err != nil {
		return nil
	}
	path, err := call.URLPath()
	if err != nil {
		return nil
	}
	a := w.accounts[tasks.UpstreamOf(r.Queue)]
	inflight := &inflightCall{
		delivery: &ledger.Delivery{Record: r, At: now, Received: time.Now(), Known: true},
		began:    time.Now(), call: call, account: a, endpoint: a.endpoints.endpoint(call.Method, path),
	}
	if !inflight.late() || r.Sent > 0 && a.verify != nil { // the API is asked whether it took effect
		return nil
	}
	return inflight
}

// withdrawal returns the ending of a call whose deadline has passed. If it may have been
// sent, its outcome is unknown, and it has not expired.
func withdrawal(inflight *inflightCall) (ledger.Withdrawal, error) {
	delivery, class, detail := inflight.delivery, policy.ClassExpired, deadlinePassed
	if delivery.Sent > 0 {
		class, detail = policy.ClassOutcomeUnknown, ending.LostAnswer
	}
	return ending.Withdrawal(delivery.Record, unsent(delivery, inflight.endpoint, class, detail), delivery.At)
}
