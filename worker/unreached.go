package worker

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/seed-2903acc3/callq/policy"
)

const (
	// firstCalls is how many calls find out that an address leads nowhere.
	firstCalls = 20
	// fewCallsFail is how often each of fewer calls does: they may not be all yet.
	fewCallsFail = 2
	// credentialHold is the policy's hold for what only a person can mend.
	credentialHold = "credential"
)

// reach is whether an API can be reached at all, as far as this process has seen. In the
// zero value nothing was seen. It is safe for concurrent use.
type reach struct {
	mu sync.Mutex
	// reached reports that the API has answered, here or elsewhere.
	reached bool
	// how is the way in which the calls failed, failed how often each of them did.
	how    policy.Transport
	failed map[string]int
}

// known reports whether the API is known to have answered.
func (r *reach) known() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.reached
}

// answered notes that the API has answered. It reports whether that is news.
func (r *reach) answered() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	news := !r.reached
	r.reached, r.failed = true, nil
	return news
}

// fails notes that a call has failed, and returns how many have failed alike, and how
// often the one of them that failed least.
func (r *reach) fails(how policy.Transport, call string) (calls, least int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.how != how || r.failed == nil {
		r.how, r.failed = how, map[string]int{}
	}
	if len(r.failed) < firstCalls || r.failed[call] > 0 {
		r.failed[call]++
	}
	return len(r.failed), slices.Min(slices.Collect(maps.Values(r.failed)))
}

// other notes that a call has failed in another way: the calls do not fail alike.
func (r *reach) other() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failed = nil
}

// unreached changes the decision about a call that could not reach an API which nobody
// has reached yet. Such a call spends no attempt: its address, or that of the token
// endpoint, may be wrong, and then the account is held for a person. An API that was
// reached before is out of order for a while, which the policy's rules are for.
func (w *Worker) unreached(ctx context.Context, inflight *inflightCall, a *attempted) {
	if _, _, isJob := inflight.call.Job(); isJob {
		return
	}
	ctx = context.WithoutCancel(ctx)
	account := inflight.account
	switch a.Outcome.Transport {
	case policy.TransportDial, policy.TransportDNS:
	case policy.TransportNone:
		if a.TokenStatus == 0 && account.reach.answered() {
			w.noteRedisError(w.reached.add(ctx, account.name, account.api))
		}
		return
	default:
		if !account.reach.known() {
			account.reach.other()
		}
		return
	}
	if account.reach.known() || a.decision.Class != policy.ClassTransient {
		return // a policy may have a rule of its own for such calls
	}
	if reached, err := w.reached.has(ctx, account.name, account.api); err != nil || reached {
		w.noteRedisError(err)
		if reached {
			account.reach.answered()
		}
		return
	}
	d := &a.decision
	d.Action, d.Exhausted, d.Circuit = policy.ActionPark, false, policy.Circuit{Effect: policy.EffectNone, Scope: policy.ScopeAccount}
	if inflight.delivery.Attempts == 0 && inflight.delivery.FirstAt.Equal(inflight.delivery.At) {
		inflight.delivery.FirstAt, inflight.delivery.HeldBase = time.Time{}, 0 // nothing was sent
	}
	calls, least := account.reach.fails(a.Outcome.Transport, inflight.delivery.ID)
	if inflight.probe() == "" && calls < firstCalls && (least < fewCallsFail || w.moreWait(ctx, account, calls)) {
		return
	}
	d.Class = policy.ClassConfig
	d.Message, d.Advice = policy.ClassConfig.Message(), policy.ClassConfig.Advice()
	d.Circuit = policy.Circuit{Effect: policy.EffectOpen, Scope: policy.ScopeAccount, Hold: credentialHold, After: 1}
	a.Outcome.Message = fmt.Sprintf("no call has reached it yet: %s", messageOf(*a))
}

// moreWait reports whether more calls of the account could be made than so many.
func (w *Worker) moreWait(ctx context.Context, a *account, calls int) bool {
	waits, err := w.ledger.Waits(ctx, time.Now(), a.queues)
	if err != nil {
		w.noteRedisError(err)
		return true
	}
	n := int64(0)
	for _, q := range waits {
		n += q.Active + q.Retry.N
		if !q.Paused {
			n += q.Pending
		}
	}
	return n > int64(calls)
}
