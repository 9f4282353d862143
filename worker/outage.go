package worker

import (
	"context"
	"time"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/tasks/ledger"
	"github.com/seed-2903acc3/callq/worker/circuit"
)

// outageHold is the policy's hold for an API that fails too often.
const outageHold = "outage"

// outageCircuit is the effect of an outage on its circuit.
var outageCircuit = policy.Circuit{Effect: policy.EffectCount, Hold: outageHold, After: 1}

// mostFaultWait is the longest wait for the next probe after one with a transient fault,
// unless the server gave a later time. It is short, because the hold's time is over.
const mostFaultWait = 5 * time.Second

// reportOutage reports that the probe of an outage has met a transient fault. The next
// probe, another call, follows soon, because the fault may be the call's own. The ladder
// says how often a probe spends an attempt and the circuit takes the next rung. The probes
// between are parked: a long outage must not use up the attempts of the few calls that
// wait. A call that failed before another one got a good answer is not parked.
func (w *Worker) reportOutage(ctx context.Context, inflight *inflightCall, a attempted, admitted admission) circuitEffect {
	d := a.decision
	hold, _ := inflight.account.policy.Hold(outageHold)
	suspect := failedBefore(inflight.delivery, inflight.account.gate.GoodAt(inflight.endpoint))
	due := admitted.heldFor >= upToRung(hold, admitted.rung)
	if due && !suspect {
		w.reportOwnError(ctx, inflight, a, admitted, outageCircuit)
		return circuitEffect{wait: time.Second}
	}
	status, ok := w.sendReport(ctx, admitted.name, inflight.withCall(circuit.Report{
		Verdict: circuit.Fault, Outage: true, Epoch: admitted.epoch, Token: admitted.token, Fault: faultText(a),
		Delays: []time.Duration{max(mostFaultWait, d.LeastWait)},
	}))
	retries := d.Action == policy.ActionRetry || d.Exhausted
	if due || suspect || !retries {
		return circuitEffect{wait: time.Second}
	}
	return circuitEffect{
		open: ok && status.Open, probe: true, endpoint: admitted.name.Endpoint != "", wait: max(status.Wait, time.Second),
	}
}

// upToRung returns how long a hold lasts in all up to the end of a rung, by its ladder.
func upToRung(h policy.Hold, rung int) (sum time.Duration) {
	ladder := h.Ladder
	if len(ladder) == 0 {
		ladder = []time.Duration{time.Minute}
	}
	for i := range rung {
		sum += ladder[min(i, len(ladder)-1)]
	}
	return sum
}

// failedBefore reports whether an attempt of the call failed before the given time.
func failedBefore(delivery *ledger.Delivery, at time.Time) bool {
	for _, one := range delivery.Log {
		if one.Action == string(policy.ActionRetry) && one.At.Add(time.Duration(one.Latency)*time.Millisecond).Before(at) {
			return true
		}
	}
	return false
}
