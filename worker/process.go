package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/ending"
	"github.com/seed-2903acc3/callq/tasks/ledger"
	"github.com/seed-2903acc3/callq/tasks/records"
	"github.com/seed-2903acc3/callq/worker/circuit"
	"github.com/seed-2903acc3/callq/worker/upstream"
)

// otherWorkerDelay is how long a call is put off that another worker may be able to make,
// but not this one.
var otherWorkerDelay = 30 * time.Second

// inflightCall is one call on its way through the worker.
type inflightCall struct {
	delivery *ledger.Delivery
	began    time.Time
	call     tasks.Call
	account  *account
	// endpoint is the folded endpoint, idempotent whether it may be sent twice.
	endpoint   string
	idempotent bool
	// request is the request to the API; jobs have none.
	request upstream.Request
	// admissions are the admissions by circuits, the account's first; most calls have no
	// more than fit in fewAdmissions.
	admissions    []admission
	fewAdmissions [2]admission
	// probeTokens are the tokens of the circuits whose probe the call is.
	probeTokens []string
	// confirmedAt is when this process last sent a request by which Redis confirmed that
	// the call is this worker's.
	confirmedAt time.Time
	// waited reports that the call has waited in this process since Redis admitted it.
	waited bool
	// breakerDone takes the result for the process's breaker; see reportBreaker.
	breakerDone func(circuit.Result) circuit.Outage
	// asks is the call whose effect the request asks for; nil: the request is the call's.
	asks *asked
	// journaled is the call that was passed to the [Journal]; nil for none.
	journaled *tasks.Call
}

// admission is one circuit's admission.
type admission struct {
	name  circuit.Name
	epoch int64
	// token is set when the call is this circuit's probe, for the named hold.
	token, hold string
	// rung is that of the hold, and heldFor how long the circuit has been open.
	rung    int
	heldFor time.Duration
}

// process takes a call through all its steps and returns what asynq must do.
func (w *Worker) process(ctx context.Context, delivery *ledger.Delivery) disposition {
	inflight, disp, ok := w.open(ctx, delivery)
	if !ok {
		w.passTurn(ctx, delivery)
		w.returnSlot(ctx, delivery)
		return disp
	}
	defer w.stopRenewing(inflight)
	if disp, ok := w.fenced(ctx, inflight); !ok {
		w.passTurn(ctx, delivery)
		w.returnSlot(ctx, delivery)
		return disp
	}
	if delivery.Starts >= maxStarts {
		leave, disp, ok := w.makeAlone(ctx, inflight)
		if !ok {
			w.passTurn(ctx, delivery)
			w.returnSlot(ctx, delivery)
			return disp
		}
		defer leave()
	}
	if disp, ok := w.admit(ctx, inflight); !ok {
		w.returnSlot(ctx, delivery)
		return disp
	}
	defer w.releaseOnPanic(ctx, inflight)
	a := w.attempt(ctx, inflight)
	defer a.Large.Close()
	if a.NotSent {
		w.returnSlot(ctx, delivery)
		defer w.noteReturned(inflight)
		return w.notSent(ctx, inflight, a)
	}
	w.unreached(ctx, inflight, &a)
	if inflight.verifying() {
		return w.applyVerification(ctx, inflight, a)
	}
	return w.apply(ctx, inflight, a)
}

// passTurn allows the next call of the queue to be dequeued after a hold, if the call that
// was dequeued does not ask for the probe.
func (w *Worker) passTurn(ctx context.Context, delivery *ledger.Delivery) {
	if !delivery.Circuit.AfterHold {
		return
	}
	w.noteRedisError(w.dispatcher.PassTurn(context.WithoutCancel(ctx), delivery.Queue))
	if a := w.accounts[tasks.UpstreamOf(delivery.Queue)]; a != nil {
		a.dequeueGate.open()
	}
}

// open reads the call, and ends it or puts it off if it must not be made now. ok is false
// when disp is final.
func (w *Worker) open(ctx context.Context, delivery *ledger.Delivery) (inflight *inflightCall, disp disposition, ok bool) {
	if !delivery.Known {
		return nil, w.adopt(ctx, delivery), false
	}
	if delivery.Corrupt != "" {
		return nil, w.endCorrupt(ctx, delivery), false
	}
	if !delivery.ParkedAt.IsZero() {
		delivery.HeldOwn += max(delivery.At.Sub(delivery.ParkedAt), 0)
		delivery.ParkedAt = time.Time{}
	}
	call, err := records.Call(&delivery.Record)
	if err == nil && call.NotBefore != nil && delivery.At.Before(*call.NotBefore) {
		// The call ended, for example by a cancel, before its not_before, and was redriven.
		return nil, w.putOff(ctx, delivery, nil, call.NotBefore.Sub(delivery.At), "waits for its not_before"), false
	}
	if errors.Is(err, tasks.ErrNewerVersion) {
		w.log.Warn("a newer callq wrote this call; it waits for a newer worker", "call", delivery.ID)
		return nil, w.putOff(ctx, delivery, nil, otherWorkerDelay, "written by a newer callq: waits for a newer worker"), false
	}
	if err != nil {
		return nil, w.endUnsent(ctx, delivery, nil, policy.ClassMalformedTask, err.Error()), false
	}
	a := w.accounts[call.Upstream]
	request, err := requestOf(call, idempotencyKey(delivery.ID, delivery.FreshKeys))
	if err == nil && a.client == nil && call.Method != tasks.MethodJob {
		err = fmt.Errorf("upstream %q has no base_url in this worker: it takes jobs only", a.name)
	}
	if err != nil {
		return nil, w.endUnsent(ctx, delivery, nil, policy.ClassMalformedTask, err.Error()), false
	}
	inflight = &inflightCall{
		delivery: delivery, began: time.Now(), call: call, account: a, request: request,
		endpoint:    a.endpoints.endpoint(call.Method, request.Path),
		idempotent:  a.isIdempotent(call, request.Path),
		waited:      time.Since(delivery.Received) > recheckAfter,
		confirmedAt: delivery.Asked,
	}
	inflight.request.NonIdempotent = !inflight.idempotent
	if !inflight.idempotent && delivery.Sent == 0 && call.Method != tasks.MethodJob {
		delivery.MaybeSent = 0 // it would have been marked first
	}
	if disp, ok := w.endBefore(ctx, inflight); !ok {
		return nil, disp, false
	}
	if job, _, isJob := call.Job(); isJob && w.jobs[jobName{call.Upstream, job}] == nil {
		w.log.Warn("no code is registered for this job; it waits for a worker that has it", "job", job, "upstream", call.Upstream)
		return nil, w.putOff(ctx, delivery, nil, otherWorkerDelay, "no code for job "+job+" in this worker"), false
	}
	return inflight, disposition{}, true
}

// endBefore ends a call that must not be sent any more. If the call may have taken effect
// and the API can be asked, it makes the request that asks. ok is false when disp is final.
func (w *Worker) endBefore(ctx context.Context, inflight *inflightCall) (disp disposition, ok bool) {
	delivery := inflight.delivery
	asks := delivery.Sent > 0 && inflight.canVerify()
	switch {
	case delivery.Sent > 0 && !asks && (!inflight.idempotent || inflight.late()):
		return w.endUnsent(ctx, delivery, inflight, policy.ClassOutcomeUnknown, ending.LostAnswer), false
	case asks && delivery.Starts >= maxStarts && delivery.Alone >= inflight.mostAlone():
		return w.endUnsent(ctx, delivery, inflight, policy.ClassOutcomeUnknown, ending.LostAnswer), false
	case delivery.Starts >= maxStarts && delivery.Alone >= inflight.mostAlone():
		return w.endUnsent(ctx, delivery, inflight, policy.ClassCrashLoop, inflight.crashed()), false
	case asks:
		if err := inflight.ask(); err != nil {
			return w.endUnsent(ctx, delivery, inflight, policy.ClassOutcomeUnknown, err.Error()), false
		}
		return disposition{}, true
	case delivery.Circuit.Convicted != "" && slices.Contains(strings.Fields(delivery.Circuit.Convicted), circuit.CallName(delivery.ID, delivery.Generation)):
		return w.endConvicted(ctx, inflight), false
	case inflight.late():
		return w.endUnsent(ctx, delivery, inflight, policy.ClassExpired, deadlinePassed), false
	}
	return disposition{}, true
}

// admit asks the circuits. ok is false when disp is final.
func (w *Worker) admit(ctx context.Context, inflight *inflightCall) (disp disposition, ok bool) {
	delivery := inflight.delivery
	account := circuit.Name{Upstream: inflight.account.name}
	if w.circuits.Behind(account.Upstream, delivery.Circuit.Epoch) {
		return w.putBackOutdated(ctx, inflight), false
	}
	if !w.waitForSlot(inflight) {
		w.passTurn(ctx, delivery)
		return w.putBack(ctx, delivery, nil), false
	}
	entry := admission{name: account, epoch: delivery.Circuit.Epoch}
	if delivery.Circuit.AfterHold {
		adm, disp, ok := w.askCircuit(ctx, inflight, account, &entry)
		if !ok {
			return disp, false
		}
		if adm.Probe {
			inflight.breakerDone = inflight.account.gate.Probe(adm.Epoch, inflight.endpoint)
		}
		delivery.Circuit.Epoch = adm.Epoch
	}
	inflight.admissions = append(inflight.fewAdmissions[:0], entry)
	if delivery.Circuit.Endpoints > 0 {
		entry := admission{name: circuit.Name{Upstream: inflight.account.name, Endpoint: inflight.endpoint}}
		if _, disp, ok := w.askCircuit(ctx, inflight, entry.name, &entry); !ok {
			w.returnProbes(ctx, inflight)
			return disp, false
		}
		inflight.admissions = append(inflight.admissions, entry)
	}
	if inflight.breakerDone != nil {
		return disposition{}, true
	}
	inflight.account.gate.Release(inflight.admissions[0].epoch)
	done, wait := inflight.account.gate.Allow(inflight.endpoint)
	if done == nil {
		w.returnProbes(ctx, inflight)
		// Only this process holds the account: Redis does not have its outage yet.
		return w.putOff(ctx, delivery, nil, wait, "held: the API fails too often"), false
	}
	inflight.breakerDone = done
	return disposition{}, true
}

// reportBreaker reports the call's result to the process's breaker, the first time that it
// is called.
func (inflight *inflightCall) reportBreaker(r circuit.Result) circuit.Outage {
	done := inflight.breakerDone
	if done == nil {
		return circuit.Outage{}
	}
	inflight.breakerDone = nil
	return done(r)
}

// releaseOnPanic releases what a call holds if its handler panics. Otherwise a half-open
// breaker would wait for its one call for ever, and a probe's lease would have to expire.
func (w *Worker) releaseOnPanic(ctx context.Context, inflight *inflightCall) {
	if v := recover(); v != nil {
		inflight.reportBreaker(circuit.Neutral)
		w.returnProbes(context.WithoutCancel(ctx), inflight)
		panic(v)
	}
}

// putBackOutdated puts a call back that was admitted in an older epoch than this process
// has read: the reply is from before a change, or Redis has lost that change.
func (w *Worker) putBackOutdated(ctx context.Context, inflight *inflightCall) disposition {
	recovered, err := w.circuits.Restore(ctx, inflight.account.name, probeLease)
	if recovered {
		w.log.Warn("Redis had lost the record of a circuit: it was written back", "circuit", inflight.account.name)
	}
	if err != nil {
		w.noteRedisError(err)
		inflight.account.dequeueGate.closeFor(time.Second, inflight.account.dequeueGate.version())
	}
	disp := w.putBack(ctx, inflight.delivery, nil)
	w.passTurn(ctx, inflight.delivery)
	return disp
}

// askCircuit asks one circuit in Redis for admission and records it in admitted.
func (w *Worker) askCircuit(ctx context.Context, inflight *inflightCall, name circuit.Name, admitted *admission) (circuit.Admission, disposition, bool) {
	token := newToken()
	request := circuit.AdmitRequest{Token: token, Lease: probeLease, Call: circuit.CallName(inflight.delivery.ID, inflight.delivery.Generation)}
	if name.Endpoint != "" {
		request.GoodAt = inflight.account.gate.GoodAt(name.Endpoint)
	}
	asked := time.Now()
	adm, err := w.circuits.Admit(ctx, name, request)
	switch {
	case err != nil:
		w.noteRedisError(err)
		disp := w.putBack(ctx, inflight.delivery, nil)
		w.passTurn(ctx, inflight.delivery)
		return adm, disp, false
	case adm.GiveUp:
		return adm, w.endGivenUp(ctx, inflight, adm), false
	case !adm.Admitted && name.Endpoint != "":
		inflight.delivery.ParkedAt = inflight.delivery.At
		w.linkHold(ctx, name)
		return adm, w.putOff(ctx, inflight.delivery, nil, adm.Wait, "held: circuit "+name.String()+" is open"), false
	case !adm.Admitted:
		return adm, w.putBack(ctx, inflight.delivery, nil), false
	}
	admitted.epoch = adm.Epoch
	if adm.Probe {
		w.linkHold(ctx, name)
		admitted.token, admitted.hold, admitted.rung, admitted.heldFor = token, adm.Hold, adm.Rung, adm.HeldFor
		inflight.probeTokens = append(inflight.probeTokens, token)
		w.probes.add(token, heldProbe{name: name, epoch: adm.Epoch, renewed: asked, renewUntil: asked.Add(inflight.account.probeLimit)})
	}
	return adm, disposition{}, true
}

// returnProbes returns the call's probes, because the call is not sent.
func (w *Worker) returnProbes(ctx context.Context, inflight *inflightCall) {
	for _, admitted := range inflight.admissions {
		if admitted.token == "" {
			continue
		}
		if _, err := w.circuits.Report(ctx, admitted.name, circuit.Report{Verdict: circuit.Unsent, Token: admitted.token}); err != nil {
			w.noteRedisError(err)
		}
		inflight.account.dequeueGate.open()
	}
}
