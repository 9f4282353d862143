package worker

import (
	"context"
	"math/bits"
	"slices"
	"strings"

	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/ledger"
	"github.com/seed-2903acc3/callq/worker/circuit"
)

// fetchProbe dequeues the call that tests after a hold whether the account works again.
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

// chooseProbe chooses the next probe so that one call's own fault does not hold its
// account. First it prefers calls that were not refused since the last good answer, and
// among them calls of another endpoint than the last refused call. If all were refused, it
// takes the one whose refusal is the longest ago. After two failed probes it chooses each
// time a call further back in the queue, because neighbours often have the same fault.
// In an outage it sometimes chooses a call that has failed before, see chooseTried.
// lonely reports that every waiting call was refused, alone that the only waiting call is
// the one that was refused last.
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
	if tried := chooseTried(choice, age); tried != nil {
		return *tried, len(fresh) == 0, false
	}
	for _, pool := range [][]ledger.Candidate{elsewhere, fresh} {
		if len(pool) > 0 {
			return pool[spread(choice.Failed, len(pool))], false, false
		}
	}
	return oldest, true, age(oldest) == len(choice.Refused)-1
}

// chooseTried returns the waiting call that has failed most often, or nil if another call
// is to be the probe. Where each call fails some times before it succeeds, calls that were
// never made would all fail as the probe, and one that has failed before soon succeeds. So
// it is chosen after two failed probes of an outage, after four, eight and so on: a long
// outage then makes one call seldom. age is the index of a call in choice.Refused, or -1.
func chooseTried(choice *ledger.ProbeChoice, age func(ledger.Candidate) int) (tried *ledger.Candidate) {
	last := len(choice.Refused) - 1
	if last < 0 || !strings.HasPrefix(choice.Refused[last], "!") || choice.Failed < 2 || bits.OnesCount(uint(choice.Failed)) != 1 {
		return nil
	}
	for _, c := range choice.Candidates {
		switch at := age(c); {
		case at == last || c.Attempts == 0:
		case tried == nil || c.Attempts > tried.Attempts || c.Attempts == tried.Attempts && at > age(*tried):
			tried = &c
		}
	}
	return tried
}

// spread returns an index from 0 to n-1: 0 until two probes have failed, and then a
// different one each time, far from the last.
func spread(failed, n int) int {
	if failed < 2 {
		return 0
	}
	return failed * 7919 % n // 7919 is a prime, so every index has its turn
}

func otherQueues(queues []string, queue string) []string {
	return slices.DeleteFunc(slices.Clone(queues), func(q string) bool { return q == queue })
}
