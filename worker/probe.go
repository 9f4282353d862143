package worker

import (
	"context"
	"slices"
	"strings"

	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/ledger"
	"github.com/seed-2903acc3/callq/worker/circuit"
)

// takeProbe takes the call that is to find out, after a hold, whether the account
// works again.
func (w *Worker) takeProbe(ctx context.Context, a *account, ask ledger.Ask, choice *ledger.ProbeChoice) (ledger.Dequeued, error) {
	probe, alone := chooseProbe(choice, a.endpointOf)
	if alone && w.clustered {
		waits, err := w.ledger.AnyWaits(ctx, otherQueues(a.queues, ask.Queues[0])...)
		if err != nil || waits {
			return ledger.Dequeued{Held: heldRecheck}, err
		}
	}
	ask.Probe = &probe
	return w.taker.Take(ctx, ask)
}

// endpointOf returns the endpoint of a call that waits; empty where it is not known.
func (a *account) endpointOf(c ledger.Candidate) string {
	path, err := tasks.Call{Method: c.Method, Path: c.Path}.URLPath()
	if c.Path == "" || err != nil {
		return ""
	}
	return a.endpoints.endpoint(c.Method, path)
}

// chooseProbe chooses the next probe: one call's own fault must not hold its
// account. It prefers a call that was not refused since the account answered well
// last, of another endpoint than the last one that was; then any that was not
// refused; then the one whose refusal is the longest ago. From the third probe on
// that fails it looks further into the queue each time, as neighbours often share
// a fault. alone tells that only the call that was refused last waits.
func chooseProbe(choice *ledger.ProbeChoice, endpointOf func(ledger.Candidate) string) (probe ledger.Candidate, alone bool) {
	age := func(c ledger.Candidate) int {
		name := circuit.CallName(c.ID, c.Generation)
		return slices.IndexFunc(choice.Refused, func(refused string) bool { return strings.TrimPrefix(refused, "!") == name })
	}
	var fresh, elsewhere []ledger.Candidate
	oldest := choice.Candidates[0]
	for _, c := range choice.Candidates {
		if circuit.CallName(c.ID, c.Generation) == choice.Next {
			return c, false
		}
		at := age(c)
		if at < age(oldest) {
			oldest = c
		}
		if at >= 0 {
			continue
		}
		fresh = append(fresh, c)
		if endpoint := endpointOf(c); endpoint != choice.RefusedAt && endpoint != "" {
			elsewhere = append(elsewhere, c)
		}
	}
	for _, pool := range [][]ledger.Candidate{elsewhere, fresh} {
		if len(pool) > 0 {
			return pool[spread(choice.Failed, len(pool))], false
		}
	}
	return oldest, age(oldest) == len(choice.Refused)-1
}

// spread returns a place from 0 to n-1: the first one until two probes have
// failed, then one place after the other, far apart.
func spread(failed, n int) int {
	if failed < 2 {
		return 0
	}
	return failed * 7919 % n // a prime: it meets every place
}

func otherQueues(queues []string, queue string) []string {
	return slices.DeleteFunc(slices.Clone(queues), func(q string) bool { return q == queue })
}
