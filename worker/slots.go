package worker

import (
	"context"
	"time"

	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/ledger"
	"github.com/seed-2903acc3/callq/worker/limit"
	"github.com/seed-2903acc3/callq/worker/upstream"
)

// slot waits for the call's slot under its account's limits; false means that the
// worker drains first.
func (w *Worker) slot(p *passage) bool {
	wait := time.Until(p.take.Due)
	if p.take.Due.IsZero() || wait <= 0 {
		return true
	}
	p.waited = true
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-w.draining:
		return false
	}
}

// giveSlot gives back what the limits reserved for a call that does not go out.
func (w *Worker) giveSlot(ctx context.Context, take *ledger.Delivery) {
	a := w.accounts[tasks.UpstreamOf(take.Queue)]
	if a == nil || take.Slot == 0 {
		return
	}
	slot := limit.Slot{At: take.Slot, Money: take.Money}
	take.Slot = 0
	w.trouble(w.limits.GiveBack(context.WithoutCancel(ctx), a.name, a.plan, slot))
}

// again takes the slot of a replay, and asks whether the call is still to be made.
// Where there is none within a moment, or the account is held by now, the call goes
// back: it has the fresh credential later.
func (w *Worker) again(ctx context.Context, p *passage, once bool) (refused attempted, ok bool) {
	take := p.take
	take.Slot = 0 // the first one was used
	refused = attempted{Answer: upstream.Answer{NotSent: true}, held: time.Second}
	if p.acct.plan != nil {
		slot, refusal, err := w.limits.Take(ctx, p.acct.name, p.acct.plan)
		if err != nil || refusal != nil {
			w.trouble(err)
			return refused, false
		}
		take.Slot, take.Money, take.Due = slot.At, slot.Money, time.Now().Add(slot.Wait)
		if !w.slot(p) {
			return refused, false
		}
	}
	return w.mark(ctx, p, once)
}

// bill settles what the limits reserved for a call with what it was billed.
func (w *Worker) bill(ctx context.Context, p *passage, a upstream.Answer) {
	billed, ok := limit.ParseBilled(a.Kept.Amount)
	if !ok || !p.acct.bills || !p.acct.plan.Money() {
		return
	}
	slot := limit.Slot{At: p.take.Slot, Money: p.take.Money}
	_ = w.insist(ctx, func(ctx context.Context) error { // what it cannot write stays at the most that a call costs
		return w.limits.Settle(ctx, p.acct.name, p.acct.plan, slot, billed)
	})
}
