package worker

import (
	"context"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/broker"
	"github.com/seed-2903acc3/callq/tasks/ledger"
	"github.com/seed-2903acc3/callq/worker/limit"
)

// dequeue replaces asynq's own: it acquires the semaphore, asks the ledger, and stores the
// delivery for the handler. While the account is held, it waits here, because asynq's own
// pauses could be longer than the hold.
func (w *Worker) dequeue(ctx context.Context, d broker.Dequeue) (string, error) {
	a := w.accounts[tasks.UpstreamOf(d.Queue)]
	idle := w.queueIdles[d.Queue]
	began := time.Now()
	left := func() time.Duration { return maxWaiting - time.Since(began) }
	for a != nil && idle != nil {
		if delivery := a.prefetch.pop(); delivery != nil {
			if w.handOver(ctx, delivery) {
				return delivery.Message, nil
			}
			w.semaphoreOf(a).release(a)
			continue
		}
		patience := left()
		if w.clustered {
			patience = 0 // so that asynq asks the other queues meanwhile
		}
		if !w.memory.wait(w.draining, left()) || !a.dequeueGate.wait(w.draining, left()) || !idle.wait(w.draining, patience) || !w.semaphoreOf(a).acquire(a, w.draining, left()) {
			break
		}
		if !w.clock.isRight() {
			w.semaphoreOf(a).release(a)
			break
		}
		if !w.memory.wait(w.draining, 0) { // the memory was used up while this waited for the semaphore
			w.semaphoreOf(a).release(a)
			continue
		}
		more := 0
		if !w.clustered && !idle.wereEmpty() {
			more = w.semaphoreOf(a).acquireMore(a, maxPrefetch)
		}
		held, empty := a.dequeueGate.version(), idle.version()
		got, err := w.fetch(ctx, a, d, more)
		for range more - len(got.More) {
			w.semaphoreOf(a).release(a)
		}
		if err == nil && got.Delivery != nil {
			idle.noteCalls()
			w.pushPrefetched(ctx, a, got.More)
			if w.handOver(ctx, got.Delivery) {
				return got.Delivery.Message, nil
			}
		}
		w.semaphoreOf(a).release(a)
		w.noteNoCall(ctx, a, idle, got, err, held, empty)
	}
	select {
	case <-w.draining:
		return "", errDraining
	default:
		return "", redis.Nil
	}
}

// errDraining is what asynq gets instead of redis.Nil while the worker drains. After
// redis.Nil it would sleep before it notices that it is stopped.
var errDraining = errors.New("the worker drains: it starts no call")

// noteNoCall records why a request returned no call, so that the next request comes when it
// can return one. held and empty are the gates' versions before the request.
func (w *Worker) noteNoCall(ctx context.Context, a *account, idle *queueIdle, got ledger.Dequeued, err error, held, empty uint64) {
	switch {
	case err != nil:
		// asynq asks again at once: do not overload a Redis that is down.
		idle.closeFor(time.Second, empty)
		w.noteRedisError(err)
		if w.quarantine(ctx, a.queues, err) {
			idle.open()
		}
	case got.ToRedrive != nil:
		w.redriveRunTask(ctx, got)
	case got.Held > 0:
		if got.HeldBy != "" {
			w.metrics.Hold(a.name, got.HeldBy)
		}
		a.dequeueGate.closeFor(min(got.Held, heldRecheck), held)
	case got.Full:
		a.dequeueGate.closeFor(fullRecheck, held)
	case got.Empty:
		idle.closeFor(idle.noteEmpty(got.NextDue), empty)
	}
}

// fetchTimeout bounds the requests of one fetch. It is much longer than a healthy Redis
// needs. Together with maxWaiting it is well below asynq's lease.
const fetchTimeout = 10 * time.Second

// fetch asks Redis for the account's next call and up to more further ones, from all its
// queues at once. On a Cluster it asks only the queue that asynq has chosen, for one call.
func (w *Worker) fetch(ctx context.Context, a *account, d broker.Dequeue, more int) (ledger.Dequeued, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), fetchTimeout)
	defer cancel()
	drawn := a.drawQueues(1+more, w.random)
	request := ledger.DequeueRequest{
		Queues: a.queues, First: drawn[0], More: drawn[1:], LeaseUntil: d.LeaseUntil, Turn: probeLease, Concurrency: a.fleet,
		Idle: w.queueIdles[d.Queue].wereEmpty(),
	}
	if a.plan != nil {
		request.Limits = ledger.Limits{Keys: limit.Keys(a.name), Args: a.plan.Args(time.Now())}
	}
	if !w.clustered {
		return w.askLedger(ctx, a, request)
	}
	var err error
	request.Queues, request.First = []string{d.Queue}, 0 // more is 0
	request.Elsewhere, err = w.leases.InFlight(ctx, otherQueues(a.queues, d.Queue)...)
	if err != nil {
		return ledger.Dequeued{}, err
	}
	if a.plan == nil || d.Queue == a.name {
		return w.askLedger(ctx, a, request)
	}
	// The limits are on another node than this queue: take the slot in a second step.
	request.Limits = ledger.Limits{Args: []any{a.plan.Name(), 0}}
	got, err := w.askLedger(ctx, a, request)
	if err != nil || got.Delivery == nil {
		return got, err
	}
	slot, refusal, err := w.limits.Take(ctx, a.name, a.plan)
	if err == nil && refusal == nil {
		got.Delivery.Slot, got.Delivery.Due, got.Delivery.Money = slot.At, time.Now().Add(slot.Wait), slot.Money
		return got, nil
	}
	if refusal != nil {
		err = w.dispatcher.NoteLimit(ctx, d.Queue, a.plan.Name(), refusal.Wait)
		got.Held = refusal.Wait
		if refusal.Began {
			got.HeldBy = refusal.Reason
		}
	}
	got.Delivery.Parked++
	if w.retryWrite(ctx, func(ctx context.Context) error {
		_, _, err := w.dispatcher.Park(ctx, got.Delivery, nil)
		return err
	}) == nil {
		w.passTurn(ctx, got.Delivery)
	}
	return ledger.Dequeued{Held: got.Held, HeldBy: got.HeldBy}, err
}
