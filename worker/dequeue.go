package worker

import (
	"context"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/broker"
	"github.com/seed-2903acc3/callq/tasks/ledger"
	"github.com/seed-2903acc3/callq/worker/limit"
)

// dequeue stands in for asynq's own: it waits for a free place in the process,
// asks the ledger, and keeps what it learns for the handler. While the account
// may not call it waits here, since asynq's own pauses could outlast the hold.
func (w *Worker) dequeue(ctx context.Context, d broker.Dequeue) (string, error) {
	a := w.accounts[tasks.UpstreamOf(d.Queue)]
	rest := w.rests[d.Queue]
	began := time.Now()
	left := func() time.Duration { return maxWaiting - time.Since(began) }
	for a != nil && rest != nil {
		if take := a.stock.next(); take != nil {
			if w.hand(ctx, take) {
				return take.Message, nil
			}
			w.places.release(a)
			continue
		}
		patience := left()
		if w.clustered {
			patience = 0 // asynq is to ask the other queues meanwhile
		}
		if !w.memory.wait(w.draining, left()) || !a.hold.wait(w.draining, left()) || !rest.wait(w.draining, patience) || !w.places.acquire(a, w.draining, left()) {
			break
		}
		if !w.clock.isRight() {
			w.places.release(a)
			break
		}
		if !w.memory.wait(w.draining, 0) { // the call that had the place took the last of it
			w.places.release(a)
			continue
		}
		more := 0
		if !w.clustered && !rest.idle() {
			more = w.places.more(a, mostMore)
		}
		held, empty := a.hold.known(), rest.known()
		got, err := w.take(ctx, a, d, more)
		for range more - len(got.More) {
			w.places.release(a)
		}
		if err == nil && got.Delivery != nil {
			rest.busy()
			w.keep(ctx, a, got.More)
			if w.hand(ctx, got.Delivery) {
				return got.Delivery.Message, nil
			}
		}
		w.places.release(a)
		w.nothingTaken(ctx, a, rest, got, err, held, empty)
	}
	return "", redis.Nil
}

// nothingTaken notes why a question brought no call, so that the next one is asked
// when it can bring one. held and empty are what was known when it was asked.
func (w *Worker) nothingTaken(ctx context.Context, a *account, rest *emptiness, got ledger.Dequeued, err error, held, empty uint64) {
	switch {
	case err != nil:
		// asynq asks again at once; a Redis that is down must not be hammered.
		rest.until(time.Second, empty)
		w.trouble(err)
		if w.clear(ctx, a.queues, err) {
			rest.lift()
		}
	case got.Again != nil:
		w.runAgain(ctx, got)
	case got.Held > 0:
		a.hold.until(min(got.Held, heldRecheck), held)
	case got.Full:
		a.hold.until(fullRecheck, held)
	case got.Empty:
		rest.until(rest.note(got.NextDue), empty)
	}
}

// take asks Redis for the account's next call, and for so many more: all its
// queues at once, that which asynq has drawn first. On a Cluster each queue is
// asked by itself, for one call.
func (w *Worker) take(ctx context.Context, a *account, d broker.Dequeue, more int) (ledger.Dequeued, error) {
	ask := ledger.DequeueRequest{
		Queues: a.queues, First: slices.Index(a.queues, d.Queue), LeaseUntil: d.LeaseUntil, Turn: probeLease, Concurrency: a.fleet,
		Idle: w.rests[d.Queue].idle(), More: a.draw(more, w.dice),
	}
	if a.plan != nil {
		ask.Limits = ledger.Limits{Keys: limit.Keys(a.name), Args: a.plan.Args(time.Now())}
	}
	if !w.clustered {
		return w.question(ctx, a, ask)
	}
	var err error
	ask.Queues, ask.First = []string{d.Queue}, 0
	ask.Elsewhere, err = w.leases.InFlight(ctx, otherQueues(a.queues, d.Queue)...)
	if err != nil {
		return ledger.Dequeued{}, err
	}
	if a.plan == nil || d.Queue == a.name {
		return w.question(ctx, a, ask)
	}
	// The limits live on another node than this queue: the slot is taken second.
	ask.Limits = ledger.Limits{Args: []any{a.plan.Name(), 0}}
	got, err := w.question(ctx, a, ask)
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
	}
	got.Delivery.Parked++
	if w.insist(ctx, func(ctx context.Context) error {
		_, _, err := w.dispatcher.Park(ctx, got.Delivery, nil)
		return err
	}) == nil {
		w.passTurn(ctx, got.Delivery)
	}
	return ledger.Dequeued{Held: got.Held}, err
}
