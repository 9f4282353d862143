package worker

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/tasks/ending"
	"github.com/seed-2903acc3/callq/tasks/ledger"
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
		d.Action = policy.ActionDeadLetter
	case c.own && d.Action != policy.ActionPark:
		// A probe that meets its circuit's own error is parked.
		d.Action, d.Exhausted = policy.ActionPark, false
	}
	t := p.take
	entry := &ledger.Attempt{
		At: a.StartedAt.UTC(), N: a.number, Job: string(d.Action), Class: string(d.Class), Rule: d.Rule,
		Status: statusOf(a), Code: codeOf(a.Outcome), Transport: string(a.Outcome.Transport),
		CorrelationID: a.Outcome.CorrelationID, Latency: a.Latency.Milliseconds(),
	}
	if d.Action != policy.ActionSucceed {
		entry.Message = ending.Clip(messageOf(a), maxLogMessage)
	}
	switch d.Action {
	case policy.ActionPark:
		defer p.goesBack()
		w.note(p, a, d, "")
		if d.Circuit.Scope == policy.ScopeEndpoint {
			t.ParkedAt = t.At.Add(time.Since(p.began)) // by Redis's clock
			return w.putOff(ctx, t, entry, c.wait, fmt.Sprintf("parked: %s %s", d.Class, a.Outcome.Code))
		}
		if !c.open {
			// It takes more such answers to hold the account. Until then the call
			// must not come back at once.
			return w.putOff(ctx, t, entry, time.Second, "parked: "+faultText(a))
		}
		return w.putBack(ctx, t, entry)
	case policy.ActionRetry:
		delay := w.retryDelay(p, a)
		t.Attempts = a.number
		if at := t.At.Add(time.Since(p.began) + delay); p.call.Deadline != nil && at.After(*p.call.Deadline) { // by Redis's clock
			entry.Job = string(policy.ActionDeadLetter)
			return w.end(ctx, p, a.expired(), expired(d), entry)
		}
		defer p.goesBack()
		streak, mine := w.insistOn(ctx, w.dispatcher.Attempt, t, entry)
		w.healed(ctx, p, a, streak)
		if !mine {
			return w.leave(t)
		}
		a.next = time.Now().Add(delay)
		w.note(p, a, d, "")
		return verb{kind: again, delay: delay, failed: true, text: fmt.Sprintf("attempt %d: %s", a.number, faultText(a))}
	default:
		t.Attempts = a.number
		return w.end(ctx, p, a, d, entry)
	}
}

// retryDelay is how long the call waits before its next attempt: what the backoff
// says, and no less than the server asked for.
func (w *Worker) retryDelay(p *passage, a attempted) time.Duration {
	jitter := policy.SeededJitter(p.take.ID)
	backoff, _ := p.acct.policy.Backoff(a.decision.Backoff)
	delay := backoff.Delay(p.take.Attempts, jitter)
	least := a.decision.LeastWait
	if least <= 0 {
		return delay
	}
	if !a.Outcome.ReceivedAt.IsZero() {
		least -= time.Since(a.Outcome.ReceivedAt)
	}
	// Spread a little, so that all who were told one time do not come at once.
	return max(delay, least+time.Duration(jitter(int64(retrySpread))))
}

// retrySpread is the most by which a wait that the server gave is lengthened.
const retrySpread = 500 * time.Millisecond

// expired is a retry that could not begin before the call's deadline.
func expired(d policy.Decision) policy.Decision {
	d.Action, d.Class = policy.ActionDeadLetter, policy.ClassExpired
	d.Message, d.Advice = policy.ClassExpired.Message(), policy.ClassExpired.Advice()
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
		State: stateOf(d.Action),
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
		f.Group = ending.GroupOf(f.Ending)
	}
	streak, mine := w.recordAnswer(ctx, t, f, a.Large, entry)
	w.healed(ctx, p, a, streak)
	if !mine && f.State == ledger.Dead {
		return w.leave(t)
	}
	w.note(p, a, d, f.State)
	if f.State == ledger.Dead {
		w.news.died(ctx, p.acct.name, t.ID, t.Key, f.Ending)
	}
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
func ended(t *ledger.Delivery, f ledger.Final) verb {
	if f.State != ledger.Dead {
		return verb{kind: over}
	}
	return verb{kind: buried, text: ending.LastError(t.ID, t.Generation, f.Ending)}
}

// messageOf is what the API said, or what kept it from saying anything.
func messageOf(a attempted) string {
	if a.Outcome.Message == "" && a.Err != nil {
		return clip(a.Err.Error())
	}
	return clip(a.Outcome.Message)
}

func stateOf(a policy.Action) ledger.State {
	switch a {
	case policy.ActionSucceed:
		return ledger.Done
	case policy.ActionDrop:
		return ledger.Dropped
	default:
		return ledger.Dead
	}
}

// note writes the log line and the event of an attempt.
func (w *Worker) note(p *passage, a attempted, d policy.Decision, s ledger.State) {
	t := p.take
	w.log.Debug("attempt", "call", t.ID, "batch", t.Batch, "key", t.Key, "upstream", p.acct.name, "endpoint", p.endpoint,
		"job", string(d.Action), "class", string(d.Class), "rule", d.Rule, "status", a.Outcome.Status, "code", a.Outcome.Code,
		"transport", string(a.Outcome.Transport), "correlation_id", a.Outcome.CorrelationID, "attempt", a.number, "latency", a.Latency)
	most := 0
	if d.Action == policy.ActionRetry {
		backoff, _ := p.acct.policy.Backoff(d.Backoff)
		most = backoff.Attempts
	}
	w.cfg.OnEvent(Event{
		Status: statusOf(a), MostAttempts: most, Next: a.next,
		ID: t.ID, Batch: t.Batch, Key: t.Key, Upstream: p.acct.name, Action: d.Action, State: string(s), Class: d.Class,
		Code: a.Outcome.Code, Message: messageOf(a), Attempts: t.Attempts, Parked: t.Parked, At: time.Now(), Latency: a.Latency,
	})
}

// maxLogMessage bounds what the record of one attempt keeps of the API's message.
const maxLogMessage = 200

// clip keeps an API's message within what a record should hold.
func clip(s string) string { return ending.Clip(s, ending.MaxMessage) }
