package worker

import (
	"context"
	"time"

	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/ledger"
	"github.com/seed-2903acc3/callq/worker/limit"
	"github.com/seed-2903acc3/callq/worker/upstream"
)

// waitForSlot waits for the call's slot under its account's limits. It returns false when
// the worker drains first.
func (w *Worker) waitForSlot(inflight *inflightCall) bool {
	wait := time.Until(inflight.delivery.Due)
	if inflight.delivery.Due.IsZero() {
		wait = 0
	}
	if inflight.account.plan != nil {
		w.metrics.LimitWait(inflight.account.name, wait)
	}
	if wait <= 0 {
		return true
	}
	inflight.waited = true
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-w.draining:
		return false
	}
}

// returnSlot returns the slot and the money of a call that is not sent.
func (w *Worker) returnSlot(ctx context.Context, delivery *ledger.Delivery) {
	a := w.accounts[tasks.UpstreamOf(delivery.Queue)]
	if a == nil || delivery.Slot == 0 {
		return
	}
	slot := limit.Slot{At: delivery.Slot, Money: delivery.Money}
	delivery.Slot = 0
	w.noteRedisError(w.limits.GiveBack(context.WithoutCancel(ctx), a.name, a.plan, slot))
}

// retakeSlot takes a slot for a replay, and asks Redis whether the call may still be made.
// If there is no slot soon, or the account is held by now, the call is put back: it uses
// the fresh credential later.
func (w *Worker) retakeSlot(ctx context.Context, inflight *inflightCall, nonIdempotent bool) (refused attempted, ok bool) {
	delivery := inflight.delivery
	delivery.Slot = 0 // the first one was used
	refused = attempted{Answer: upstream.Answer{NotSent: true}, held: time.Second}
	if inflight.account.plan != nil {
		slot, refusal, err := w.limits.Take(ctx, inflight.account.name, inflight.account.plan)
		if err != nil || refusal != nil {
			w.noteRedisError(err)
			return refused, false
		}
		delivery.Slot, delivery.Money, delivery.Due = slot.At, slot.Money, time.Now().Add(slot.Wait)
		if !w.waitForSlot(inflight) {
			return refused, false
		}
	}
	return w.mark(ctx, inflight, nonIdempotent)
}

// reconcileCost replaces the cost that the limits reserved for a call by the billed one.
func (w *Worker) reconcileCost(ctx context.Context, inflight *inflightCall, a upstream.Answer) {
	if !inflight.account.reportsCost || !inflight.account.plan.Money() {
		return
	}
	billed, ok := limit.ParseBilled(a.Kept.Amount)
	if !ok {
		return
	}
	w.recordCost(ctx, inflight.account, limit.Slot{At: inflight.delivery.Slot, Money: inflight.delivery.Money}, billed)
}

func (w *Worker) recordCost(ctx context.Context, a *account, slot limit.Slot, billed int64) {
	_ = w.retryWrite(ctx, func(ctx context.Context) error { // if it fails, the reserved cost counts
		return w.limits.Reconcile(ctx, a.name, a.plan, slot, billed)
	})
}
