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

// apply carries out the decision. It updates the circuit first, so that the fleet stops at
// once, then the ledger. The disposition that it returns is for asynq.
func (w *Worker) apply(ctx context.Context, inflight *inflightCall, a attempted) disposition {
	// The answer has arrived: it must be recorded even while the worker drains.
	ctx = context.WithoutCancel(ctx)
	c := w.report(ctx, inflight, a)
	d := c.overrule(a.decision)
	delivery := inflight.delivery
	if d.FreshKey {
		delivery.FreshKeys++
	}
	entry := inflight.entryOf(a, d, c)
	switch d.Action {
	case policy.ActionPark:
		defer w.noteReturned(inflight)
		a.wait = c.wait
		w.note(ctx, inflight, a, d, "")
		if d.Circuit.Scope == policy.ScopeEndpoint {
			delivery.ParkedAt = delivery.At.Add(time.Since(inflight.began)) // by Redis's clock
			return w.putOff(ctx, delivery, entry, c.wait, fmt.Sprintf("parked: %s %s", d.Class, a.Outcome.Code))
		}
		if !c.open {
			// The account is not held until more such answers arrive. The call must not
			// come back at once.
			return w.putOff(ctx, delivery, entry, time.Second, "parked: "+faultText(a))
		}
		return w.putBack(ctx, delivery, entry)
	case policy.ActionRetry:
		delay := w.retryDelay(inflight, a)
		delivery.Attempts = a.number
		if at := delivery.At.Add(time.Since(inflight.began) + delay); inflight.call.Deadline != nil && at.After(*inflight.call.Deadline) { // by Redis's clock
			overrule(entry, policy.ActionDeadLetter)
			return w.end(ctx, inflight, a.expired(), expired(d), entry)
		}
		defer w.noteReturned(inflight)
		streak, applied := w.retryRecord(ctx, w.dispatcher.Attempt, delivery, entry)
		w.resetStreak(ctx, inflight, a, streak)
		if !applied {
			return w.abandon(delivery)
		}
		a.next = time.Now().Add(delay)
		w.note(ctx, inflight, a, d, "")
		return disposition{kind: dispositionRetry, delay: delay, failed: true, text: fmt.Sprintf("attempt %d: %s", a.number, faultText(a))}
	default:
		delivery.Attempts = a.number
		if d.Class == policy.ClassOutcomeUnknown && inflight.canVerify() {
			delivery.Sent = a.number
			d.Action = actionVerify
			w.note(ctx, inflight, a, d, "")
			return w.verifyLater(ctx, inflight, entry, faultText(a))
		}
		return w.end(ctx, inflight, a, d, entry)
	}
}

// retryDelay returns how long the call waits before its next attempt: the backoff, but not
// less than the server asked for.
func (w *Worker) retryDelay(inflight *inflightCall, a attempted) time.Duration {
	jitter := policy.SeededJitter(inflight.delivery.ID)
	backoff, _ := inflight.account.policy.Backoff(a.decision.Backoff)
	delay := backoff.Delay(inflight.delivery.Attempts, jitter)
	least := a.decision.LeastWait
	if least <= 0 {
		return delay
	}
	if !a.Outcome.ReceivedAt.IsZero() {
		least -= time.Since(a.Outcome.ReceivedAt)
	}
	// The spread prevents that calls with the same time from the server come back together.
	return max(delay, least+time.Duration(jitter(int64(retrySpread))))
}

// retrySpread is the largest random addition to a wait that the server gave.
const retrySpread = 500 * time.Millisecond

// expired turns the decision into the end of a call whose retry would be after its deadline.
func expired(d policy.Decision) policy.Decision {
	d.Action, d.Class = policy.ActionDeadLetter, policy.ClassExpired
	d.Message, d.Advice = policy.ClassExpired.Message(), policy.ClassExpired.Advice()
	return d
}

// expired adds to the attempt's message why the call ends.
func (a attempted) expired() attempted {
	text := "its deadline passes before the next attempt"
	if said := messageOf(a); said != "" {
		text += "; the last one: " + said
	}
	a.Outcome.Message = text
	return a
}

// end records a terminal outcome.
func (w *Worker) end(ctx context.Context, inflight *inflightCall, a attempted, d policy.Decision, entry *ledger.Attempt) disposition {
	delivery := inflight.delivery
	f := ledger.Final{
		State: stateOf(d.Action),
		Ending: ledger.Ending{
			Class: string(d.Class), Rule: d.Rule, HTTPStatus: statusOf(a), Code: codeOf(a.Outcome),
			Message: messageOf(a), Transport: string(a.Outcome.Transport),
			CorrelationID: a.Outcome.CorrelationID, Endpoint: inflight.endpoint, Amount: a.Kept.Amount,
			Headers: a.Kept.Headers, BodyEncoding: a.ContentEncoding, Verified: a.verified,
			Attempts: delivery.Attempts, Parked: delivery.Parked, FirstAt: delivery.FirstAt, FinishedAt: time.Now().UTC(),
		},
		Body: a.Body, BodyType: a.ContentType,
	}
	if f.State == ledger.Done {
		f.Ending.Message = "" // what a success says is not an error message
	} else {
		f.Ending.UserMessage = d.UserMessage(time.Time{})
		f.Ending.Advice = strings.TrimSpace(d.Advice + " " + a.Advice)
	}
	if f.State == ledger.Dead {
		f.Group = ending.GroupOf(f.Ending)
	}
	entry.Amount = "" // the ending has it
	streak, applied := w.recordAnswer(ctx, delivery, f, a.Large, entry)
	w.resetStreak(ctx, inflight, a, streak)
	if !applied && f.State == ledger.Dead {
		return w.abandon(delivery)
	}
	w.note(ctx, inflight, a, d, f.State)
	if applied {
		w.countEnded(delivery, f)
	}
	return dispositionOf(delivery, f)
}

// codeOf returns the error code as the API wrote it; empty for the code zero, which means
// no error.
func codeOf(o policy.Outcome) string {
	if policy.CanonicalCode(o.Code) == "" {
		return ""
	}
	return o.Code
}

// statusOf returns the HTTP status of the answer, or of the token endpoint's answer.
func statusOf(a attempted) int {
	if a.TokenStatus != 0 {
		return a.TokenStatus
	}
	return a.Outcome.Status
}

// dispositionOf returns the disposition for a recorded ending.
func dispositionOf(delivery *ledger.Delivery, f ledger.Final) disposition {
	if f.State != ledger.Dead {
		return disposition{kind: dispositionDone}
	}
	return disposition{kind: dispositionArchive, text: ending.LastError(delivery.ID, delivery.Generation, f.Ending)}
}

// messageOf returns the API's message, or why there is none.
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

// note logs and counts an attempt, and passes its event on.
func (w *Worker) note(ctx context.Context, inflight *inflightCall, a attempted, d policy.Decision, s ledger.State) {
	delivery := inflight.delivery
	w.logAttempt(ctx, inflight, a, d, s)
	w.tracer.decided(ctx, a, d, s)
	most := 0
	if d.Action == policy.ActionRetry {
		backoff, _ := inflight.account.policy.Backoff(d.Backoff)
		most = backoff.Attempts
	}
	if !a.StartedAt.IsZero() && !inflight.verifying() {
		w.metrics.Attempt(inflight.account.name, d.Class, d.Action, a.Latency)
	}
	w.minutes.Add(inflight.account.name, minuteOutcome(d.Action, s), time.Now())
	if d.Action != policy.ActionSucceed {
		w.minutes.AddID(inflight.account.name, a.Outcome.CorrelationID, delivery.ID)
	}
	if w.notifications.noteAttempt(inflight.account.name, s) {
		return
	}
	w.cfg.OnAttempt(AttemptResult{
		Status: statusOf(a), MostAttempts: most, Next: a.next,
		ID: delivery.ID, Batch: delivery.Batch, Key: delivery.Key, Upstream: inflight.account.name, Action: d.Action, State: string(s), Class: d.Class,
		Code: a.Outcome.Code, Message: messageOf(a), Attempts: delivery.Attempts, Parked: delivery.Parked, At: time.Now(), Latency: a.Latency,
	})
}

// clip shortens an API's message to what a record may have.
func clip(s string) string { return ending.Clip(s, ending.MaxMessage) }
