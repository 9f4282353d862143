package waiting

import (
	"fmt"
	"time"

	"github.com/seed-2903acc3/callq/tasks/broker"
	"github.com/seed-2903acc3/callq/tasks/ledger"
	"github.com/seed-2903acc3/callq/worker/circuit"
)

// addFences adds the fence that holds calls while Redis may have forgotten that they were
// sent. It is not known how many calls that concerns: only those that must not be sent
// twice.
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
		Why:  "Redis was restarted or has failed over, and workers write back which calls were sent",
		Ends: "then calls that must not be sent twice continue", Until: d.now.Add(shut.Wait),
	}
	if shut.Closed {
		r.Until = time.Time{}
		r.Why = "Redis has gone back in time, and the worker that recorded which calls were sent is gone"
		r.Ends = "calls that must not be sent twice wait until a person releases them"
		r.Todo = "to list those that may have been sent: " + d.command("doctor") + "; to release the calls: " + d.command("doctor --accept-restore")
		r.Some = d.all.Pending > 0
	}
	d.add(r)
}

// addOrphaned adds the calls whose worker was killed or has stopped.
func (d *decider) addOrphaned() {
	if d.all.Overdue == 0 {
		return
	}
	d.add(Reason{
		Kind: LostLease, Calls: d.all.Overdue, Since: d.all.OverdueAt, Why: "the worker that had them was killed or has stopped",
		Ends: "another worker takes them over within a minute", Some: d.all.Pending > 0,
	})
}

// addConcurrency adds that as many calls are in progress as concurrency allows.
func (d *decider) addConcurrency() {
	if d.u.Concurrency == 0 || d.all.Active < int64(d.u.Concurrency) || d.all.Pending == 0 {
		return
	}
	d.add(Reason{
		Kind: Concurrency, Calls: d.all.Pending, Some: true,
		Why:  fmt.Sprintf("%d calls are in progress, here or in other processes, which is all that concurrency allows", d.u.Concurrency),
		Ends: "the next starts when one of them ends", Todo: "raise concurrency of the upstream if the API allows more",
	})
}

// addEndpoints adds the open circuits of single endpoints. Their calls come back after a
// pause.
func (d *decider) addEndpoints() {
	for _, r := range d.u.Endpoints {
		if r.State == circuit.Open && d.all.Retry.N > 0 {
			reason := d.circuitReason(r, 0)
			reason.Some = true
			d.add(reason)
		}
	}
}

// addBackoff adds the calls whose next attempt comes after a pause.
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
		Ends: "then they are tried again", Some: flows || d.all.Active > 0,
	})
}

// notBefore returns the reason of the calls that wait for their not_before.
func (d *decider) notBefore(flows bool) []Reason {
	s := d.all.Scheduled
	if s.N == 0 || !s.Last.After(d.now) {
		return nil
	}
	r := Reason{
		Kind: NotBefore, Name: d.u.Name, Calls: s.N, Until: s.First, Last: s.Last, Why: "not_before",
		Ends: "then the call is made", Todo: "cancel it with " + d.command("batch cancel NAME") + " if that is too late",
		Some: flows || d.all.Active > 0,
	}
	if s.N > 1 {
		r.Ends, r.Todo = "each call is made at its own time", "cancel them with "+d.command("batch cancel NAME")+" if that is too late"
	}
	if d.u.Open >= 0 {
		r.Calls = min(r.Calls, d.u.Open)
	}
	return []Reason{r}
}
