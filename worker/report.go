package worker

import (
	"context"
	"fmt"
	"time"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/worker/circuit"
	"github.com/seed-2903acc3/callq/worker/limit"
)

// circuitEffect is the state, after the report, of the circuit that an answer is about.
type circuitEffect struct {
	// open reports that the circuit is open, for wait; probe that the call was its probe;
	// ends that the call must end, see [circuit.Status]. endpoint reports that it is an
	// endpoint's circuit.
	open, probe, ends, endpoint bool
	wait                        time.Duration
}

// overrule returns what is done, which may differ from what the policy decided.
func (c circuitEffect) overrule(d policy.Decision) policy.Decision {
	switch {
	case c.ends:
		d.Action = policy.ActionDeadLetter
	case c.probe && d.Action != policy.ActionPark:
		// A probe that gets its circuit's own error is parked.
		d.Action, d.Exhausted = policy.ActionPark, false
		if c.endpoint {
			d.Circuit.Scope = policy.ScopeEndpoint
		}
	}
	return d
}

// report reports the attempt's result to the circuits and to the process's breaker.
func (w *Worker) report(ctx context.Context, inflight *inflightCall, a attempted) circuitEffect {
	d := a.decision
	c := circuitEffect{wait: time.Second}
	opens := circuit.Name{}
	if d.Circuit.Effect == policy.EffectOpen {
		opens = circuit.Name{Upstream: inflight.account.name}
		if d.Circuit.Scope == policy.ScopeEndpoint {
			opens.Endpoint = inflight.endpoint
		}
	}
	result := resultOf(d)
	if d.Class == policy.ClassOutcomeUnknown && inflight.canVerify() {
		result = circuit.Neutral // the API may have carried it out: it is asked
	}
	outage := inflight.reportBreaker(result)
	reported := false
	for _, admitted := range inflight.admissions {
		switch {
		case admitted.name == opens && admitted.token != "" && d.Circuit.After > 1 && d.Circuit.Hold != admitted.hold:
			reported = true
			c = w.reportCounted(ctx, inflight, a, admitted)
		case admitted.name == opens:
			reported = true
			c = w.reportOwnError(ctx, inflight, a, admitted, d.Circuit)
		case admitted.token == "":
		case opens.Upstream != "" && opens.Endpoint == "":
			// The account refused the call before the endpoint could answer.
			w.sendReport(ctx, admitted.name, circuit.Report{Verdict: circuit.Unsent, Token: admitted.token})
		case faulty(d) && admitted.hold == outageHold:
			c = w.reportOutage(ctx, inflight, a, admitted)
		case faulty(d):
			w.sendReport(ctx, admitted.name, inflight.withCall(circuit.Report{
				Verdict: circuit.Fault, Epoch: admitted.epoch, Token: admitted.token, Fault: faultText(a),
				Delays: faultDelays(d),
			}))
		default:
			w.sendReport(ctx, admitted.name, inflight.withCall(circuit.Report{Verdict: circuit.Answer, Epoch: admitted.epoch, Token: admitted.token}))
		}
	}
	if opens.Upstream != "" && !reported {
		// The endpoint's circuit was closed when the call was sent.
		c = w.reportOwnError(ctx, inflight, a, admission{name: opens, epoch: w.circuitRecord(ctx, opens).Epoch}, d.Circuit)
	}
	if outage.Account {
		w.log.Warn("the API fails too often: its circuit is opened", "upstream", inflight.account.name)
		w.reportOwnError(ctx, inflight, a, inflight.admissions[0], outageCircuit)
	}
	for _, endpoint := range outage.Endpoints {
		name := circuit.Name{Upstream: inflight.account.name, Endpoint: endpoint}
		if r := w.circuitRecord(ctx, name); r.State == circuit.Closed {
			w.log.Warn("an endpoint fails too often while others work: its circuit is opened", "circuit", name.String())
			w.reportOwnError(ctx, inflight, a, admission{name: name, epoch: r.Epoch}, outageCircuit)
		}
	}
	return c
}

// circuitRecord reads a circuit's record. If that fails, it returns the record of a circuit
// that was never opened.
func (w *Worker) circuitRecord(ctx context.Context, name circuit.Name) circuit.Record {
	r, err := w.circuits.Get(ctx, name)
	w.noteRedisError(err)
	return r
}

// withCall adds the call to a report.
func (inflight *inflightCall) withCall(r circuit.Report) circuit.Report {
	r.Call, r.Endpoint = circuit.CallName(inflight.delivery.ID, inflight.delivery.Generation), inflight.endpoint
	return r
}

// mostRateWait is the longest wait after a rate error. A quota error with a longer wait
// means that a quota is used up.
const mostRateWait = time.Minute

// reportOwnError reports a circuit's own error.
func (w *Worker) reportOwnError(ctx context.Context, inflight *inflightCall, a attempted, admitted admission, c policy.Circuit) circuitEffect {
	end, source := until(inflight.account.policy, c.Hold, a.Outcome, 0)
	most := time.Duration(0)
	if c == outageCircuit && admitted.token != "" {
		most = max(mostFaultWait, a.decision.LeastWait)
	}
	report := inflight.withCall(circuit.Report{
		AllRefused: inflight.delivery.Circuit.AllRefused && admitted.name.Endpoint == "",
		Parked:     c.Effect == policy.EffectOpen && (a.decision.Action == policy.ActionPark || admitted.token != ""),
		Verdict:    circuit.OwnError, Epoch: admitted.epoch, Token: admitted.token, ID: newToken(), After: c.After, MaxProbes: c.MaxProbes,
		Delays:     delays(inflight.account.policy, c.Hold, a.Outcome, most, w.random),
		ServerSaid: serverSaid(source),
		Cause: circuit.Cause{
			Reason: c.Hold, Hold: c.Hold, Source: string(source), Class: string(a.decision.Class), Code: a.Outcome.Code,
			Message: messageOf(a), CorrelationID: a.Outcome.CorrelationID, Trace: w.tracer.parent(ctx),
		},
	})
	rateError := a.decision.Class == policy.ClassQuota && time.Until(end) <= mostRateWait
	if rateError && admitted.name.Endpoint == "" && inflight.account.plan.Adaptive() {
		report.AdaptiveRate = limit.AdaptiveStart
	}
	status, ok := w.sendReport(ctx, admitted.name, report)
	if status.Began {
		w.metrics.Hold(admitted.name.Upstream, c.Hold)
		w.tracer.holdBegan(ctx, admitted.name, c.Hold, status.Wait)
	} else if status.Open {
		w.linkHold(ctx, admitted.name)
	}
	if c.Effect == policy.EffectOpen && admitted.token == "" && inflight.beganAfter(status.OpenBefore) {
		w.metrics.RefusedAfterHold(admitted.name.Upstream)
	}
	s := circuitEffect{probe: admitted.token != "", ends: status.Ends, wait: time.Second}
	if !ok || !status.Open {
		return s
	}
	if admitted.name.Endpoint == "" {
		inflight.account.gate.Hold(status.Epoch, time.Now().Add(status.Wait))
	}
	s.open, s.wait = true, max(status.Wait, time.Second)
	return s
}

// beganAfter reports whether Redis confirmed after the circuit opened that the call may be
// made. It compares by Redis's clock, whose times are in whole milliseconds, and returns
// false in doubt and for the zero time.
func (inflight *inflightCall) beganAfter(opened time.Time) bool {
	delivery := inflight.delivery
	confirmed := delivery.At.Add(max(inflight.confirmedAt.Sub(delivery.Received), 0))
	return !opened.IsZero() && !confirmed.Before(opened.Add(time.Millisecond))
}

// reportCounted reports an error that opens the circuit only after several in a row, met by
// the probe of a hold that is for another error. Until there are so many, it says nothing
// about the account: the call ends by its job, the hold stays, and the next probe is
// another call and follows soon.
func (w *Worker) reportCounted(ctx context.Context, inflight *inflightCall, a attempted, admitted admission) circuitEffect {
	c := a.decision.Circuit
	waits := faultLadder
	if end, source := until(inflight.account.policy, c.Hold, a.Outcome, 0); serverSaid(source) {
		waits = []time.Duration{time.Until(end)}
	}
	status, _ := w.sendReport(ctx, admitted.name, inflight.withCall(circuit.Report{
		Verdict: circuit.Fault, After: c.After, Epoch: admitted.epoch, Token: admitted.token, Fault: faultText(a), Delays: waits,
	}))
	if status.Reached {
		return w.reportOwnError(ctx, inflight, a, admitted, c)
	}
	return circuitEffect{wait: time.Second}
}

// sendReport sends a report to a circuit until Redis has it: without it the fleet would
// continue to call.
func (w *Worker) sendReport(ctx context.Context, name circuit.Name, r circuit.Report) (circuit.Status, bool) {
	var status circuit.Status
	err := w.retryWrite(ctx, func(ctx context.Context) (err error) {
		status, err = w.circuits.Report(ctx, name, r)
		return err
	})
	w.accounts[name.Upstream].dequeueGate.open()
	return status, err == nil
}

// resetStreak resets the account's streak of own errors after any other answer of the API.
func (w *Worker) resetStreak(ctx context.Context, inflight *inflightCall, a attempted, streak int) {
	counts := a.decision.Circuit.Effect == policy.EffectOpen && a.decision.Circuit.Scope == policy.ScopeAccount
	if streak == 0 || counts || a.Outcome.Transport != policy.TransportNone {
		return
	}
	admitted := inflight.admissions[0]
	w.sendReport(ctx, admitted.name, inflight.withCall(circuit.Report{Verdict: circuit.Answer, Epoch: admitted.epoch}))
}

// resultOf returns what a decision means to the process's breaker.
func resultOf(d policy.Decision) circuit.Result {
	switch {
	case d.Circuit.Effect == policy.EffectCount:
		return circuit.Failed
	case d.Circuit.Effect == policy.EffectOpen && d.Circuit.Scope == policy.ScopeAccount && d.Circuit.After <= 1:
		return circuit.Tripped
	case d.Circuit.Success, d.Circuit.Effect == policy.EffectOpen && d.Circuit.Scope == policy.ScopeEndpoint:
		return circuit.Healthy
	default:
		return circuit.Neutral
	}
}

// faulty reports whether the decision is about a transient fault, which says nothing about
// the account.
func faulty(d policy.Decision) bool {
	return d.Circuit.Effect == policy.EffectCount && d.Class != policy.ClassUnknown
}

// faultText describes a fault: "protocol, HTTP 200; x-correlation-id 4f1c".
func faultText(a attempted) string {
	text := string(a.decision.Class)
	switch {
	case codeOf(a.Outcome) != "":
		text += " " + a.Outcome.Code
	case a.Outcome.Status != 0:
		text += fmt.Sprintf(", HTTP %d", a.Outcome.Status)
	}
	if message := messageOf(a); message != "" {
		text += ": " + message
	}
	if a.Outcome.CorrelationID != "" {
		text += "; x-correlation-id " + a.Outcome.CorrelationID
	}
	return text
}

// maxRungs bounds the ladder that is sent to Redis; the last rung repeats.
const maxRungs = 16

// delays returns how long the named hold lasts on each rung after an answer. Where the
// server gave no time, it lasts no longer than most, unless that is 0.
func delays(pol *policy.Policy, hold string, o policy.Outcome, most time.Duration, jitter func(int64) int64) []time.Duration {
	now := time.Now()
	h, _ := pol.Hold(hold)
	list := make([]time.Duration, min(max(len(h.Ladder), 1), maxRungs))
	for rung := range list {
		end, source := h.Until(o, now, rung, jitter)
		list[rung] = end.Sub(now)
		if most > 0 && !serverSaid(source) {
			list[rung] = min(list[rung], most)
		}
	}
	return list
}

// faultLadder is how long to wait for the next probe after one with a transient fault,
// which is not about the hold.
var faultLadder = []time.Duration{time.Second, 2 * time.Second, mostFaultWait}

// faultDelays returns how long to wait for the next probe after one with a fault: not less
// than the server asked for.
func faultDelays(d policy.Decision) []time.Duration {
	if d.LeastWait > 0 {
		return []time.Duration{d.LeastWait}
	}
	return faultLadder
}

// serverSaid reports whether a hold's end comes from the answer.
func serverSaid(source policy.Source) bool {
	return source != policy.SourceLadder && source != policy.SourceCalendar
}

func until(pol *policy.Policy, hold string, o policy.Outcome, rung int) (time.Time, policy.Source) {
	h, _ := pol.Hold(hold)
	return h.Until(o, time.Now(), rung, nil)
}
