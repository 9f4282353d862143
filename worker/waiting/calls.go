package waiting

import (
	"fmt"
	"time"

	"github.com/seed-2903acc3/callq/tasks/broker"
	"github.com/seed-2903acc3/callq/tasks/ledger"
	"github.com/seed-2903acc3/callq/worker/circuit"
)

// addFences adds those of a Redis that may have forgotten that calls were sent. How many of
// the calls must not be sent twice is not known.
func (d *decider) addFences() {
	var shut *ledger.FenceState
	for i := range d.u.Queues {
		f := &d.u.Queues[i].Fence
		if (f.Closed || f.Wait > 0) && (shut == nil || f.Closed && !shut.Closed) {
			shut = f
		}
	}
	if shut == nil {
		return
	}
	r := Reason{
		Kind: Fence, Since: shut.Shut, Some: true,
		Why:  "Redis was started again or has failed over, and workers give back which calls were sent",
		Ends: "calls that must not be sent twice go on then", Until: d.now.Add(shut.Wait),
	}
	if shut.Closed {
		r.Until = time.Time{}
		r.Why = "Redis has gone back in time, and the worker is gone that knows which calls were sent"
		r.Ends = "calls that must not be sent twice go on when a person lets them"
		r.Todo = "see which may have been sent, and let them go, with " + d.command("doctor --accept-restore")
		r.Some = d.all.Pending > 0
	}
	d.add(r)
}

// orphaned are calls whose worker was killed or has stopped.
func (d *decider) addOrphaned() {
	if d.all.Overdue == 0 {
		return
	}
	d.add(Reason{
		Kind: LostLease, Calls: d.all.Overdue, Since: d.all.OverdueAt, Why: "the worker that had them was killed or has stopped",
		Ends: "another worker takes them up within a minute", Some: d.all.Pending > 0,
	})
}

// concurrency is that as many calls are under way as may be.
func (d *decider) addConcurrency() {
	if d.u.Concurrency == 0 || d.all.Active < int64(d.u.Concurrency) || d.all.Pending == 0 {
		return
	}
	d.add(Reason{
		Kind: Concurrency, Calls: d.all.Pending, Some: true,
		Why:  fmt.Sprintf("all %d calls that concurrency allows are under way, here or in other processes", d.u.Concurrency),
		Ends: "the next goes out when one of them ends", Todo: "raise concurrency of the upstream if the API allows more",
	})
}

// endpoints are the circuits of single endpoints. Their calls come back after a pause.
func (d *decider) addEndpoints() {
	for _, r := range d.u.Endpoints {
		if r.State == circuit.Open && d.all.Retry.N > 0 {
			reason := d.circuitReason(r, 0)
			reason.Some = true
			d.add(reason)
		}
	}
}

// backoff are calls whose next attempt comes after a pause.
func (d *decider) addBackoff(flows bool) {
	if d.all.Retry.N == 0 {
		return
	}
	why := "the next attempt comes after a pause"
	if said := broker.LastError(d.all.Retry.Message); said != "" {
		why += " (" + said + ")"
	}
	d.add(Reason{
		Kind: Backoff, Calls: d.all.Retry.N, Until: d.all.Retry.First, Last: d.all.Retry.Last, Why: why,
		Ends: "they are tried again then", Some: flows || d.all.Active > 0,
	})
}

// notBefore are calls whose time is to come.
func (d *decider) notBefore(flows bool) []Reason {
	s := d.all.Scheduled
	if s.N == 0 || !s.Last.After(d.now) {
		return nil
	}
	r := Reason{
		Kind: NotBefore, Name: d.u.Name, Calls: s.N, Until: s.First, Last: s.Last, Why: "not_before",
		Ends: "the call is made then", Todo: "cancel it with " + d.command("batch cancel NAME") + " if that is too late",
		Some: flows || d.all.Active > 0,
	}
	if s.N > 1 {
		r.Ends, r.Todo = "each is made when its time comes", "cancel them with "+d.command("batch cancel NAME")+" if that is too late"
	}
	if d.u.Open >= 0 {
		r.Calls = min(r.Calls, d.u.Open)
	}
	return []Reason{r}
}
