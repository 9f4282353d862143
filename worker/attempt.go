package worker

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/ending"
	"github.com/seed-2903acc3/callq/tasks/ledger"
	"github.com/seed-2903acc3/callq/worker/circuit"
	"github.com/seed-2903acc3/callq/worker/upstream"
)

// attempt sends the call, and sends it once more with a fresh credential if the policy says
// so. It does not carry out the decision.
func (w *Worker) attempt(ctx context.Context, inflight *inflightCall) attempted {
	delivery := inflight.delivery
	job, _, isJob := inflight.call.Job()
	nonIdempotent := !inflight.idempotent && !isJob
	if inflight.late() && !inflight.verifying() {
		return attempted{Answer: upstream.Answer{NotSent: true}, late: true}
	}
	if nonIdempotent || inflight.waited {
		if a, ok := w.mark(ctx, inflight, nonIdempotent); !ok {
			return a
		}
		if inflight.late() && !inflight.verifying() {
			return attempted{Answer: upstream.Answer{NotSent: true}, late: true}
		}
	}
	if nonIdempotent {
		if err := w.noteSend(inflight); err != nil {
			return attempted{Answer: upstream.Answer{NotSent: true, Err: err}, journalRefused: true}
		}
	}
	a := attempted{number: delivery.Attempts + 1}
	if isJob {
		a.Answer = w.runJob(ctx, inflight, job)
	} else {
		a = w.request(ctx, inflight)
	}
	if a.NotSent {
		return a
	}
	if !isJob && a.Outcome.Transport == policy.TransportNone {
		w.machineWorks()
	}
	w.reportPace(ctx, inflight, a.Outcome)
	w.reconcileCost(ctx, inflight, a.Answer)
	if delivery.FirstAt.IsZero() {
		delivery.FirstAt, delivery.HeldBase = delivery.At, delivery.Circuit.Held
	}
	a.decide(inflight, !isJob && inflight.account.client.CanRefresh(a.TokenGeneration))
	if !a.decision.Refresh {
		a.noteAccepted(inflight)
		return a
	}
	return w.replay(ctx, inflight, a, nonIdempotent)
}

// noteSend records in the journal that the call is about to be sent.
func (w *Worker) noteSend(inflight *inflightCall) error {
	call := inflight.call
	call.Batch, call.Key = inflight.delivery.Batch, inflight.delivery.Key
	err := w.cfg.Journal.Sending(call)
	if err == nil {
		inflight.journaled = &call
	}
	return err
}

// noteReturned records in the journal that the attempt is not the call's last, or was not
// sent.
func (w *Worker) noteReturned(inflight *inflightCall) {
	if inflight.journaled != nil {
		w.cfg.Journal.Returned(*inflight.journaled)
		inflight.journaled = nil
	}
}

// replay sends the call once more with a fresh credential, as a part of the same attempt.
// If there is no fresh credential, it returns a.
func (w *Worker) replay(ctx context.Context, inflight *inflightCall, a attempted, nonIdempotent bool) attempted {
	// If the refresh fails, the replay fails in the same way before anything is sent, and
	// the policy decides on that outcome.
	fresh, err := inflight.account.client.Refresh(ctx, a.TokenGeneration)
	if err != nil {
		w.log.Warn("the credential could not be refreshed", "upstream", inflight.account.name, "error", err)
	}
	if !fresh && err == nil {
		return a
	}
	inflight.delivery.NoteReplayed(*lineOf(a, a.decision.Action, a.decision))
	if refused, ok := w.retakeSlot(ctx, inflight, nonIdempotent); !ok {
		a.Large.Close()
		return refused
	}
	replay := w.request(ctx, inflight)
	a.Large.Close()
	if replay.NotSent {
		return replay // it uses the fresh credential later
	}
	w.reportPace(ctx, inflight, replay.Outcome)
	w.reconcileCost(ctx, inflight, replay.Answer)
	if replay.decide(inflight, true); replay.decision.Refresh {
		inflight.account.client.NoteRefused(replay.TokenGeneration)
	}
	replay.decide(inflight, false)
	replay.noteAccepted(inflight)
	return replay
}

// noteAccepted records that the API accepted the credential, if the answer shows it.
func (a *attempted) noteAccepted(inflight *inflightCall) {
	if a.TokenGeneration > 0 && a.decision.Circuit.Success && a.decision.Class != policy.ClassAuth {
		inflight.account.client.NoteAccepted(a.TokenGeneration)
	}
}

// request makes the request. If it takes a while until the request is sent, Redis must
// confirm again that the call is this worker's: meanwhile other workers may have declared
// this worker dead.
func (w *Worker) request(ctx context.Context, inflight *inflightCall) attempted {
	var refused attempted // set if Redis does not confirm it
	inflight.request.Confirmed = inflight.confirmedAt
	inflight.request.Confirm = func(ctx context.Context) error {
		a, ok := w.mark(ctx, inflight, false)
		if !ok {
			refused = a
			return errNotConfirmed
		}
		return nil
	}
	a := attempted{number: inflight.delivery.Attempts + 1}
	if w.handler == nil {
		a.Answer = w.send(ctx, inflight, nil)
	} else {
		a.Answer = w.throughMiddleware(ctx, inflight, "", func(ctx context.Context, header http.Header) upstream.Answer {
			return w.send(ctx, inflight, header)
		})
	}
	if refused.NotSent {
		return refused
	}
	return a
}

// errNotConfirmed stops a request before it is sent.
var errNotConfirmed = errors.New("Redis did not confirm that the call is still this worker's")

// mark is the last step before the request: see [ledger.Dispatcher.MarkSent].
func (w *Worker) mark(ctx context.Context, inflight *inflightCall, nonIdempotent bool) (attempted, bool) {
	began := time.Now()
	held, applied, err := w.dispatcher.MarkSent(ctx, inflight.delivery, inflight.delivery.Attempts+1, nonIdempotent, inflight.probe())
	if nonIdempotent && err == nil && applied && held == 0 && time.Since(began) > recheckAfter {
		// Redis was slow to write the mark: the account may be held by now.
		began = time.Now()
		held, applied, err = w.dispatcher.MarkSent(ctx, inflight.delivery, inflight.delivery.Attempts+1, false, inflight.probe())
	}
	if err == nil && applied && held == 0 {
		inflight.confirmedAt = began
		return attempted{}, true
	}
	if fence := (*ledger.FenceError)(nil); !errors.As(err, &fence) {
		w.noteRedisError(err)
	}
	return attempted{Answer: upstream.Answer{NotSent: true, Err: err}, held: held, superseded: err == nil && !applied}, false
}

// probe returns the token of the account's probe, if the call is the probe.
func (inflight *inflightCall) probe() string {
	if len(inflight.admissions) == 0 {
		return ""
	}
	return inflight.admissions[0].token
}

// attempted is an attempt with its decision.
type attempted struct {
	upstream.Answer
	number int
	// judged is what the policy knew of the call, and decision what it decided.
	judged   policy.Attempt
	decision policy.Decision
	// overruled is the policy's action, if the decision is not the policy's.
	overruled policy.Action
	// held and superseded say why the call was not sent: its account is held for that
	// long, or another worker has changed its record.
	held       time.Duration
	superseded bool
	// late reports that the call's deadline passed while it waited in this worker.
	late bool
	// verified reports that the answer is that of a request which asked whether the call
	// took effect.
	verified bool
	// journalRefused reports that the [Journal] returned an error.
	journalRefused bool
	// next is when the next attempt is due; zero where there is none. wait is for how long
	// a parked call waits at least.
	next time.Time
	wait time.Duration
	// unsent reports that there was no attempt: the call ends without one.
	unsent bool
}

func (a *attempted) decide(inflight *inflightCall, canRefresh bool) {
	delivery, number := inflight.delivery, a.number
	if inflight.verifying() {
		number = 1 // it spends no attempt
	}
	a.judged = policy.Attempt{
		Method: inflight.call.Method, Endpoint: inflight.endpoint, Idempotent: inflight.idempotent, Conditional: a.Conditional, N: number,
		Age:        ageOf(delivery, time.Now()),
		CanRefresh: canRefresh,
	}
	a.decision = inflight.account.policy.Decide(a.Outcome, a.judged)
}

// ageOf returns the time since the call was first sent, without the time in which its
// account was held, and without the time in which it waited for its endpoint.
func ageOf(delivery *ledger.Delivery, now time.Time) time.Duration {
	return max(now.Sub(delivery.FirstAt)-(delivery.Circuit.Held-delivery.HeldBase)-delivery.HeldOwn, 0)
}

// notSent handles a call that was not sent: it is put back or ended; no attempt is spent.
func (w *Worker) notSent(ctx context.Context, inflight *inflightCall, a attempted) disposition {
	inflight.reportBreaker(circuit.Neutral)
	w.returnProbes(ctx, inflight)
	var fence *ledger.FenceError
	switch {
	case a.superseded:
		return w.abandonMarked(ctx, inflight)
	case a.late && inflight.delivery.Sent > 0: // an earlier worker may have sent it
		return w.endUnsent(ctx, inflight.delivery, inflight, policy.ClassOutcomeUnknown, ending.LostAnswer)
	case a.late:
		return w.endUnsent(ctx, inflight.delivery, inflight, policy.ClassExpired, deadlinePassed)
	case errors.As(a.Err, &fence):
		return w.waitForFence(ctx, inflight, fence)
	case errors.Is(a.Err, ErrMaybeSent):
		inflight.delivery.Sent = inflight.delivery.Attempts + 1
		if inflight.canVerify() {
			return w.verifyLater(ctx, inflight, nil, "a process before may have sent it")
		}
		return w.endUnsent(ctx, inflight.delivery, inflight, policy.ClassOutcomeUnknown, "its process ended between sending it and recording the answer")
	case a.journalRefused:
		w.log.Error("a call that must not be made twice is not sent: the journal cannot be written", "call", inflight.delivery.ID, "error", a.Err)
		return w.putOff(ctx, inflight.delivery, nil, time.Second, "not sent: the journal cannot be written")
	case errors.Is(a.Err, errPutBack):
		return w.putOff(ctx, inflight.delivery, nil, time.Second, errPutBack.Error())
	case errors.Is(a.Err, upstream.ErrMachine):
		return w.machineFault(ctx, inflight, a.Err)
	case errors.Is(a.Err, upstream.ErrRefused):
		return w.endUnsent(ctx, inflight.delivery, inflight, policy.ClassMalformedTask, a.Err.Error())
	default:
		return w.putBack(ctx, inflight.delivery, nil)
	}
}

// idempotencyKey is the key under which a call is sent: its id, so that every attempt has
// the same one, until the policy asks for a fresh key.
func idempotencyKey(id string, fresh int) string {
	if fresh == 0 {
		return id
	}
	return id + "-" + strconv.Itoa(fresh)
}

// requestOf turns a call into the upstream's request. It checks the call again, because
// other clients can write to Redis.
func requestOf(c tasks.Call, idempotencyKey string) (upstream.Request, error) {
	path, err := c.URLPath()
	if err != nil {
		return upstream.Request{}, err
	}
	query, err := c.URLQuery()
	if err != nil {
		return upstream.Request{}, err
	}
	body, contentType, err := c.RequestBody()
	if err != nil {
		return upstream.Request{}, err
	}
	r := upstream.Request{
		Method: c.Method, Path: path, RawQuery: query, Body: body, ContentType: contentType, IdempotencyKey: idempotencyKey,
	}
	if len(c.Headers) > 0 {
		r.Header = make(http.Header, len(c.Headers))
		for name, value := range c.Headers {
			r.Header.Set(name, value)
		}
	}
	return r, nil
}
