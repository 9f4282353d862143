package worker

import (
	"context"
	"slices"
	"strings"

	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/ledger"
	"github.com/seed-2903acc3/callq/worker/circuit"
)

// fetchProbe dequeues the call that tests, after a hold, whether the account works
// again.
func (w *Worker) fetchProbe(ctx context.Context, a *account, request ledger.DequeueRequest, choice *ledger.ProbeChoice) (ledger.Dequeued, error) {
	probe, lonely, alone := chooseProbe(choice, a.endpointOf)
	if lonely && w.clustered {
		waits, err := w.ledger.HasPending(ctx, otherQueues(a.queues, request.Queues[0])...)
		switch {
		case err != nil || alone && waits:
			return ledger.Dequeued{Held: heldRecheck}, err
		case waits:
			lonely = false
		}
	}
	request.Probe = &probe
	got, err := w.dispatcher.Dequeue(ctx, request)
	if err == nil && got.Delivery != nil {
		got.Delivery.Circuit.AllRefused = lonely && got.Delivery.ID == probe.ID
	}
	return got, err
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
// a fault. lonely reports that every waiting call was refused, alone that the only
// waiting call is the one that was refused last.
func chooseProbe(choice *ledger.ProbeChoice, endpointOf func(ledger.Candidate) string) (probe ledger.Candidate, lonely, alone bool) {
	age := func(c ledger.Candidate) int {
		name := circuit.CallName(c.ID, c.Generation)
		return slices.IndexFunc(choice.Refused, func(refused string) bool { return strings.TrimPrefix(refused, "!") == name })
	}
	var fresh, elsewhere []ledger.Candidate
	oldest := choice.Candidates[0]
	var next *ledger.Candidate
	for _, c := range choice.Candidates {
		if circuit.CallName(c.ID, c.Generation) == choice.Next {
			next = &c
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
	if next != nil {
		return *next, len(fresh) == 0, false
	}
	for _, pool := range [][]ledger.Candidate{elsewhere, fresh} {
		if len(pool) > 0 {
			return pool[spread(choice.Failed, len(pool))], false, false
		}
	}
	return oldest, true, age(oldest) == len(choice.Refused)-1
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
