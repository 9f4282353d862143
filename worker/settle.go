package worker

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/tasks/ledger"
	"github.com/seed-2903acc3/callq/worker/circuit"
	"github.com/seed-2903acc3/callq/worker/limit"
)

// settle carries the decision out: the circuit first, so that the fleet stops at
// once; then the ledger; asynq learns it last, from the verb.
func (w *Worker) settle(ctx context.Context, p *passage, a attempted) verb {
	// The answer is here and must be recorded, whatever becomes of the worker.
	ctx = context.WithoutCancel(ctx)
	c := w.report(ctx, p, a)
	d := a.decision
	switch {
	case c.ends:
		d.Job = policy.DeadLetter
	case c.own && d.Job != policy.Park:
		// A probe that meets its circuit's own error is parked.
		d.Job, d.Exhausted = policy.Park, false
	}
	t := p.take
	entry := &ledger.Attempt{
		At: a.StartedAt.UTC(), N: a.number, Job: string(d.Job), Class: string(d.Class), Rule: d.Rule,
		Status: statusOf(a), Code: codeOf(a.Outcome), Transport: string(a.Outcome.Transport),
		CorrelationID: a.Outcome.CorrelationID, Latency: a.Latency.Milliseconds(),
	}
	if d.Job != policy.Succeed {
		entry.Message = clipTo(messageOf(a), maxLogMessage)
	}
	switch d.Job {
	case policy.Park:
		defer p.goesBack()
		w.note(p, a, d, "")
		if d.Circuit.Scope == policy.ScopeEndpoint {
			t.ParkedAt = t.At.Add(time.Since(p.began)) // by Redis's clock
			return w.putOff(ctx, t, entry, c.wait, fmt.Sprintf("parked: %s %s", d.Class, a.Outcome.Code))
		}
		if !c.open {
			// It takes more such answers to hold the account. Until then the call
			// must not come back at once.
			return w.putOff(ctx, t, entry, time.Second, fmt.Sprintf("parked: %s %s", d.Class, a.Outcome.Code))
		}
		return w.putBack(ctx, t, entry)
	case policy.Retry:
		delay := w.retryDelay(p, a)
		t.Attempts = a.number
		if at := t.At.Add(time.Since(p.began) + delay); p.call.Deadline != nil && at.After(*p.call.Deadline) { // by Redis's clock
			entry.Job = string(policy.DeadLetter)
			return w.end(ctx, p, a.expired(), expired(d), entry)
		}
		defer p.goesBack()
		streak, mine := w.insistOn(ctx, w.ledger.Attempt, t, entry)
		w.healed(ctx, p, a, streak)
		if !mine {
			return w.leave(t)
		}
		w.note(p, a, d, "")
		return verb{kind: again, delay: delay, failed: true, text: fmt.Sprintf("attempt %d: %s %s", a.number, d.Class, a.Outcome.Code)}
	default:
		t.Attempts = a.number
		return w.end(ctx, p, a, d, entry)
	}
}

// retryDelay is how long the call waits before its next attempt: what the backoff
// says, and no less than the server asked for.
func (w *Worker) retryDelay(p *passage, a attempted) time.Duration {
	dice := policy.Dice(p.take.ID)
	backoff, _ := p.acct.policy.Backoff(a.decision.Backoff)
	delay := backoff.Delay(p.take.Attempts, dice)
	least := a.decision.LeastWait
	if least <= 0 {
		return delay
	}
	if !a.Outcome.ReceivedAt.IsZero() {
		least -= time.Since(a.Outcome.ReceivedAt)
	}
	// Spread a little, so that all who were told one time do not come at once.
	return max(delay, least+time.Duration(dice(int64(retrySpread))))
}

// retrySpread is the most by which a wait that the server gave is lengthened.
const retrySpread = 500 * time.Millisecond

// expired is a retry that could not begin before the call's deadline.
func expired(d policy.Decision) policy.Decision {
	d.Job, d.Class = policy.DeadLetter, policy.Expired
	d.Message, d.Advice = policy.Expired.Message(), policy.Expired.Advice()
	return d
}

// expired says in the attempt's message why the call ends with it.
func (a attempted) expired() attempted {
	text := "its deadline passes before the next attempt"
	if said := messageOf(a); said != "" {
		text += "; the last one: " + said
	}
	a.Outcome.Message = text
	return a
}

// end records a terminal outcome.
func (w *Worker) end(ctx context.Context, p *passage, a attempted, d policy.Decision, entry *ledger.Attempt) verb {
	t := p.take
	f := ledger.Final{
		State: stateOf(d.Job),
		Ending: ledger.Ending{
			Class: string(d.Class), Rule: d.Rule, HTTPStatus: statusOf(a), Code: codeOf(a.Outcome),
			Message: messageOf(a), Transport: string(a.Outcome.Transport),
			CorrelationID: a.Outcome.CorrelationID, Endpoint: p.endpoint, Amount: a.Kept.Amount,
			Headers: a.Kept.Headers, BodyEncoding: a.ContentEncoding,
			Attempts: t.Attempts, Parked: t.Parked, FirstAt: t.FirstAt, FinishedAt: time.Now().UTC(),
		},
		Body: a.Body, BodyType: a.ContentType,
	}
	if f.State != ledger.Done {
		f.Ending.UserMessage = d.UserMessage(time.Time{})
		f.Ending.Advice = strings.TrimSpace(d.Advice + " " + a.Advice)
	}
	if f.State == ledger.Dead {
		f.Group = groupOf(f.Ending)
	}
	streak, mine := w.recordEnd(ctx, t, f, entry)
	w.healed(ctx, p, a, streak)
	if !mine && f.State == ledger.Dead {
		return w.leave(t)
	}
	w.note(p, a, d, f.State)
	return ended(t, f)
}

// codeOf is the error code as the API spelt it. Zero says that there is none.
func codeOf(o policy.Outcome) string {
	if policy.CanonicalCode(o.Code) == "" {
		return ""
	}
	return o.Code
}

// statusOf is the HTTP status that came back, if only from the token endpoint.
func statusOf(a attempted) int {
	if a.TokenStatus != 0 {
		return a.TokenStatus
	}
	return a.Outcome.Status
}

// ended is the verb for a recorded ending.
func ended(t *ledger.Take, f ledger.Final) verb {
	if f.State != ledger.Dead {
		return verb{kind: over}
	}
	return verb{kind: buried, text: lastError(t, f)}
}

// lastError is the text with which a dead letter's task goes to asynq's archive.
func lastError(t *ledger.Take, f ledger.Final) string {
	text := strings.TrimSpace(fmt.Sprintf("%s %s: %s", f.Ending.Class, f.Ending.Code, f.Ending.Message))
	return epitaph(t.ID, t.Generation) + " " + text
}

// messageOf is what the API said, or what kept it from saying anything.
func messageOf(a attempted) string {
	if a.Outcome.Message == "" && a.Err != nil {
		return clip(a.Err.Error())
	}
	return clip(a.Outcome.Message)
}

func stateOf(j policy.Job) ledger.State {
	switch j {
	case policy.Succeed:
		return ledger.Done
	case policy.Drop:
		return ledger.Dropped
	default:
		return ledger.Dead
	}
}

func groupOf(e ledger.Ending) ledger.Group {
	return ledger.Group{Class: e.Class, Code: e.Code, Endpoint: e.Endpoint, Message: e.UserMessage, Advice: e.Advice}
}

// stance is how the circuit that an answer speaks to stands after the report.
type stance struct {
	// open tells that it holds, for wait; own that the call was its probe; ends that
	// it was the last of the probes that may fail, and ends.
	open, own, ends bool
	wait            time.Duration
}

// report tells the circuits and the process's breaker what the call met.
func (w *Worker) report(ctx context.Context, p *passage, a attempted) stance {
	d := a.decision
	c := stance{wait: time.Second}
	opens := circuit.Name{}
	if d.Circuit.Effect == policy.EffectOpen {
		opens = circuit.Name{Upstream: p.acct.name}
		if d.Circuit.Scope == policy.ScopeEndpoint {
			opens.Endpoint = p.endpoint
		}
	}
	outage := p.done(resultOf(d))
	told := false
	for _, g := range p.gates {
		switch {
		case g.name == opens:
			told = true
			c = w.tell(ctx, p, a, g, d.Circuit)
		case g.token == "":
		case opens.Upstream != "" && opens.Endpoint == "":
			// The account stopped the call before its endpoint could answer.
			w.send(ctx, g.name, circuit.Report{Verdict: circuit.Unsent, Token: g.token})
		case faulty(d) && g.hold == outageHold:
			// The outage goes on, and its circuit takes the next rung. The call is not
			// parked: it spends an attempt, as any call that meets a fault.
			w.tell(ctx, p, a, g, outageCircuit)
		case faulty(d):
			w.send(ctx, g.name, p.says(circuit.Report{
				Verdict: circuit.Fault, Epoch: g.epoch, Token: g.token, Fault: faultText(a),
				Delays: faultDelays(d),
			}))
		default:
			w.send(ctx, g.name, p.says(circuit.Report{Verdict: circuit.Answer, Epoch: g.epoch, Token: g.token}))
		}
	}
	if opens.Upstream != "" && !told {
		// An endpoint's circuit that was closed when the call went out.
		c = w.tell(ctx, p, a, gate{name: opens, epoch: w.circuitRecord(ctx, opens).Epoch}, d.Circuit)
	}
	if outage.Account {
		w.log.Warn("the API fails too often: its circuit opens", "upstream", p.acct.name)
		w.tell(ctx, p, a, p.gates[0], outageCircuit)
	}
	for _, endpoint := range outage.Endpoints {
		name := circuit.Name{Upstream: p.acct.name, Endpoint: endpoint}
		if r := w.circuitRecord(ctx, name); r.State == circuit.Closed {
			w.log.Warn("an endpoint fails too often while others work: its circuit opens", "circuit", name.String())
			w.tell(ctx, p, a, gate{name: name, epoch: r.Epoch}, outageCircuit)
		}
	}
	return c
}

// circuitRecord reads a circuit's record; where it cannot be read it is that of a circuit
// which was never opened.
func (w *Worker) circuitRecord(ctx context.Context, name circuit.Name) circuit.Record {
	r, err := w.circuits.Get(ctx, name)
	w.trouble(err)
	return r
}

// says adds to a report whose it is.
func (p *passage) says(r circuit.Report) circuit.Report {
	r.Call, r.Endpoint = circuit.CallName(p.take.ID, p.take.Generation), p.endpoint
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

// tell reports an error that is the circuit's own.
func (w *Worker) tell(ctx context.Context, p *passage, a attempted, g gate, c policy.Circuit) stance {
	end, source := until(p.acct.policy, c.Hold, a.Outcome, 0)
	report := p.says(circuit.Report{
		Lonely:  p.take.Circuit.Lonely && g.name.Endpoint == "",
		Parked:  c.Effect == policy.EffectOpen && (a.decision.Job == policy.Park || g.token != ""),
		Verdict: circuit.OwnError, Epoch: g.epoch, Token: g.token, ID: newToken(), After: c.After, MaxProbes: c.MaxProbes,
		Delays:     delays(p.acct.policy, c.Hold, a.Outcome),
		ServerSaid: serverSaid(source),
		Cause: circuit.Cause{
			Reason: c.Hold, Hold: c.Hold, Source: source, Class: string(a.decision.Class), Code: a.Outcome.Code,
			Message: messageOf(a), CorrelationID: a.Outcome.CorrelationID,
		},
	})
	rateError := a.decision.Class == policy.Quota && time.Until(end) <= mostRateWait
	if rateError && g.name.Endpoint == "" && p.acct.plan.Adaptive() {
		report.AdaptiveRate = limit.AdaptiveStart
	}
	standing, ok := w.send(ctx, g.name, report)
	s := stance{own: g.token != "", ends: standing.Ends, wait: time.Second}
	if !ok || !standing.Open {
		return s
	}
	if g.name.Endpoint == "" {
		p.acct.gate.Hold(standing.Epoch, time.Now().Add(standing.Wait))
	}
	s.open, s.wait = true, max(standing.Wait, time.Second)
	return s
}

// send reports to a circuit until Redis has it: a hold that the fleet does not
// hear of costs calls.
func (w *Worker) send(ctx context.Context, name circuit.Name, r circuit.Report) (circuit.Standing, bool) {
	var standing circuit.Standing
	err := w.insist(ctx, func(ctx context.Context) (err error) {
		standing, err = w.circuits.Report(ctx, name, r)
		return err
	})
	w.accounts[name.Upstream].hold.lift()
	return standing, err == nil
}

// healed resets the account's streak of failures after another answer of the API.
func (w *Worker) healed(ctx context.Context, p *passage, a attempted, streak int) {
	counts := a.decision.Circuit.Effect == policy.EffectOpen && a.decision.Circuit.Scope == policy.ScopeAccount
	if streak == 0 || counts || a.Outcome.Transport != policy.TransportNone {
		return
	}
	g := p.gates[0]
	w.send(ctx, g.name, p.says(circuit.Report{Verdict: circuit.Answer, Epoch: g.epoch}))
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

// faulty tells a transient fault, which says nothing about the account, from an
// answer that does.
func faulty(d policy.Decision) bool {
	return d.Circuit.Effect == policy.EffectCount && d.Class != policy.Unknown
}

// faultText says what an attempt met: "protocol, HTTP 200; x-correlation-id 4f1c".
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
func delays(pol *policy.Policy, hold string, o policy.Outcome) []time.Duration {
	now := time.Now()
	h, _ := pol.Hold(hold)
	list := make([]time.Duration, min(max(len(h.Ladder), 1), maxRungs))
	for rung := range list {
		end, _ := h.Until(o, now, rung, rand.Int64N)
		list[rung] = end.Sub(now)
	}
	return list
}

// faultLadder is when the next probe goes out after one that met a transient fault:
// the time of the hold has passed, and such a fault says nothing about the account.
var faultLadder = []time.Duration{time.Second, 2 * time.Second, 5 * time.Second}

// faultDelays are how long until the next probe after one that met a fault: no less
// than the server asked for.
func faultDelays(d policy.Decision) []time.Duration {
	if d.LeastWait > 0 {
		return []time.Duration{d.LeastWait}
	}
	return faultLadder
}

func serverSaid(source string) bool {
	return source == policy.SourceRetryAfter || source == policy.SourceRateLimitReset
}

func until(pol *policy.Policy, hold string, o policy.Outcome, rung int) (time.Time, string) {
	h, _ := pol.Hold(hold)
	return h.Until(o, time.Now(), rung, nil)
}

// note writes the log line and the event of an attempt.
func (w *Worker) note(p *passage, a attempted, d policy.Decision, s ledger.State) {
	t := p.take
	w.log.Debug("attempt", "call", t.ID, "batch", t.Batch, "key", t.Key, "upstream", p.acct.name, "endpoint", p.endpoint,
		"job", string(d.Job), "class", string(d.Class), "rule", d.Rule, "status", a.Outcome.Status, "code", a.Outcome.Code,
		"transport", string(a.Outcome.Transport), "correlation_id", a.Outcome.CorrelationID, "attempt", a.number, "latency", a.Latency)
	w.cfg.OnEvent(Event{
		ID: t.ID, Batch: t.Batch, Key: t.Key, Upstream: p.acct.name, Job: d.Job, State: string(s), Class: d.Class,
		Code: a.Outcome.Code, Message: messageOf(a), Attempts: t.Attempts, Parked: t.Parked, At: time.Now(), Latency: a.Latency,
	})
}

// maxLogMessage bounds what the record of one attempt keeps of the API's message.
const maxLogMessage = 200

// clip keeps an API's message within what a record should hold.
func clip(s string) string { return clipTo(s, 2<<10) }

func clipTo(s string, most int) string {
	if len(s) > most {
		s = s[:most]
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}
