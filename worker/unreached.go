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
	// firstCalls is how many calls must fail alike to prove that an address is wrong.
	firstCalls = 20
	// fewCallsFail is how often each call must fail if there are fewer calls.
	fewCallsFail = 2
	// credentialHold is the policy's hold for errors that only a person can fix.
	credentialHold = "credential"
)

// reach records whether an API can be reached at all. The zero value has no results yet. It
// is safe for concurrent use.
type reach struct {
	mu sync.Mutex
	// reached reports that the API has answered this worker or another.
	reached bool
	// how is the kind of failure, failed how often each call has failed.
	how    policy.Transport
	failed map[string]int
}

// known reports whether the API is known to have answered.
func (r *reach) known() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.reached
}

// answered records that the API has answered. It reports whether that was unknown before.
func (r *reach) answered() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	first := !r.reached
	r.reached, r.failed = true, nil
	return first
}

// fails records that a call has failed. It returns how many calls have failed alike, and how
// often the one with the fewest failures has.
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

// other records that a call has failed in another way: the calls do not fail alike.
func (r *reach) other() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failed = nil
}

// unreached changes the decision about a call that could not reach an API which has never
// answered any worker. Such a call spends no attempt: the API's address, or that of the
// token endpoint, may be wrong, and then the account is held until a person corrects it. An
// API that has answered before has a temporary outage, which the policy's rules handle.
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
	a.overruled = d.Action
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

// moreWait reports whether the account has more than calls calls that could be made.
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
