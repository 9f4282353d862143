package worker

import (
	"context"
	"fmt"
	"time"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/worker/circuit"
	"github.com/seed-2903acc3/callq/worker/limit"
)

// circuitEffect is how the circuit that an answer speaks to stands after the report.
type circuitEffect struct {
	// open reports that the circuit holds, for wait; probe that the call was its probe;
	// ends that it was the last probe that may fail, and that the call ends.
	open, probe, ends bool
	wait              time.Duration
}

// report reports to the circuits and to the process's breaker what the call met.
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
	outage := inflight.reportBreaker(resultOf(d))
	reported := false
	for _, admitted := range inflight.admissions {
		switch {
		case admitted.name == opens:
			reported = true
			c = w.reportOwnError(ctx, inflight, a, admitted, d.Circuit)
		case admitted.token == "":
		case opens.Upstream != "" && opens.Endpoint == "":
			// The account stopped the call before its endpoint could answer.
			w.sendReport(ctx, admitted.name, circuit.Report{Verdict: circuit.Unsent, Token: admitted.token})
		case faulty(d) && admitted.hold == outageHold:
			// The outage goes on, and its circuit takes the next rung. The call is not
			// parked: it spends an attempt, as any call that meets a fault.
			w.reportOwnError(ctx, inflight, a, admitted, outageCircuit)
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
		// An endpoint's circuit that was closed when the call went out.
		c = w.reportOwnError(ctx, inflight, a, admission{name: opens, epoch: w.circuitRecord(ctx, opens).Epoch}, d.Circuit)
	}
	if outage.Account {
		w.log.Warn("the API fails too often: its circuit opens", "upstream", inflight.account.name)
		w.reportOwnError(ctx, inflight, a, inflight.admissions[0], outageCircuit)
	}
	for _, endpoint := range outage.Endpoints {
		name := circuit.Name{Upstream: inflight.account.name, Endpoint: endpoint}
		if r := w.circuitRecord(ctx, name); r.State == circuit.Closed {
			w.log.Warn("an endpoint fails too often while others work: its circuit opens", "circuit", name.String())
			w.reportOwnError(ctx, inflight, a, admission{name: name, epoch: r.Epoch}, outageCircuit)
		}
	}
	return c
}

// circuitRecord reads a circuit's record; where it cannot be read it is that of a circuit
// which was never opened.
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

const (
	// mostRateWait is the longest wait after a quota error that says: too many calls a
	// second. A longer one is for a quota that is used up.
	mostRateWait = time.Minute
	// outageHold is the policy's hold for an API that fails too often.
	outageHold = "outage"
)

// outageCircuit is what an outage does to the circuit that it is of.
var outageCircuit = policy.Circuit{Effect: policy.EffectCount, Hold: outageHold, After: 1}

// reportOwnError reports an error that is the circuit's own.
func (w *Worker) reportOwnError(ctx context.Context, inflight *inflightCall, a attempted, admitted admission, c policy.Circuit) circuitEffect {
	end, source := until(inflight.account.policy, c.Hold, a.Outcome, 0)
	report := inflight.withCall(circuit.Report{
		AllRefused: inflight.delivery.Circuit.AllRefused && admitted.name.Endpoint == "",
		Parked:     c.Effect == policy.EffectOpen && (a.decision.Action == policy.ActionPark || admitted.token != ""),
		Verdict:    circuit.OwnError, Epoch: admitted.epoch, Token: admitted.token, ID: newToken(), After: c.After, MaxProbes: c.MaxProbes,
		Delays:     delays(inflight.account.policy, c.Hold, a.Outcome, w.random),
		ServerSaid: serverSaid(source),
		Cause: circuit.Cause{
			Reason: c.Hold, Hold: c.Hold, Source: string(source), Class: string(a.decision.Class), Code: a.Outcome.Code,
			Message: messageOf(a), CorrelationID: a.Outcome.CorrelationID,
		},
	})
	rateError := a.decision.Class == policy.ClassQuota && time.Until(end) <= mostRateWait
	if rateError && admitted.name.Endpoint == "" && inflight.account.plan.Adaptive() {
		report.AdaptiveRate = limit.AdaptiveStart
	}
	status, ok := w.sendReport(ctx, admitted.name, report)
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

// sendReport reports to a circuit until Redis has it: without the record the fleet
// goes on calling.
func (w *Worker) sendReport(ctx context.Context, name circuit.Name, r circuit.Report) (circuit.Status, bool) {
	var status circuit.Status
	err := w.retryWrite(ctx, func(ctx context.Context) (err error) {
		status, err = w.circuits.Report(ctx, name, r)
		return err
	})
	w.accounts[name.Upstream].dequeueGate.open()
	return status, err == nil
}

// healed resets the account's streak of failures after another answer of the API.
func (w *Worker) healed(ctx context.Context, inflight *inflightCall, a attempted, streak int) {
	counts := a.decision.Circuit.Effect == policy.EffectOpen && a.decision.Circuit.Scope == policy.ScopeAccount
	if streak == 0 || counts || a.Outcome.Transport != policy.TransportNone {
		return
	}
	admitted := inflight.admissions[0]
	w.sendReport(ctx, admitted.name, inflight.withCall(circuit.Report{Verdict: circuit.Answer, Epoch: admitted.epoch}))
}

// resultOf is what a decision means to the process's breaker.
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

// faulty distinguishes a transient fault, which is not about the account, from an
// answer that does.
func faulty(d policy.Decision) bool {
	return d.Circuit.Effect == policy.EffectCount && d.Class != policy.ClassUnknown
}

// faultText describes what an attempt met: "protocol, HTTP 200; x-correlation-id 4f1c".
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

// maxRungs bounds the ladder that goes to Redis; the last rung repeats anyway.
const maxRungs = 16

// delays are how long the named hold lasts on each rung after an answer.
func delays(pol *policy.Policy, hold string, o policy.Outcome, jitter func(int64) int64) []time.Duration {
	now := time.Now()
	h, _ := pol.Hold(hold)
	list := make([]time.Duration, min(max(len(h.Ladder), 1), maxRungs))
	for rung := range list {
		end, _ := h.Until(o, now, rung, jitter)
		list[rung] = end.Sub(now)
	}
	return list
}

// faultLadder is when the next probe goes out after one that met a transient fault:
// the time of the hold has passed, and such a fault is not about the account.
var faultLadder = []time.Duration{time.Second, 2 * time.Second, 5 * time.Second}

// faultDelays are how long until the next probe after one that met a fault: no less
// than the server asked for.
func faultDelays(d policy.Decision) []time.Duration {
	if d.LeastWait > 0 {
		return []time.Duration{d.LeastWait}
	}
	return faultLadder
}

func serverSaid(source policy.Source) bool {
	return source == policy.SourceRetryAfter || source == policy.SourceRateLimitReset
}

func until(pol *policy.Policy, hold string, o policy.Outcome, rung int) (time.Time, policy.Source) {
	h, _ := pol.Hold(hold)
	return h.Until(o, time.Now(), rung, nil)
}
