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
	"github.com/seed-2903acc3/callq/worker/circuit"
	"github.com/seed-2903acc3/callq/worker/upstream"
)

// strangerDelay is when a call that this worker does not understand, but another
// may, comes back.
var strangerDelay = 30 * time.Second

// passage is one call on its way through the worker.
type passage struct {
	take  *ledger.Delivery
	began time.Time
	call  tasks.Call
	acct  *account
	// endpoint is the folded endpoint, idempotent whether it may be sent twice.
	endpoint   string
	idempotent bool
	// request is the call as it goes out; jobs have none.
	request upstream.Request
	// gates are what admitted the call, the account's first.
	gates []gate
	// probing are the tokens of the probes that it is, as long as it is handled.
	probing []string
	// confirmed is when this process asked last of those times that Redis said that the
	// call is its own.
	confirmed time.Time
	// waited tells that the call has waited in place since Redis admitted it.
	waited bool
	// done reports to the process's breaker, exactly once.
	done func(circuit.Result) circuit.Outage
	// back is what [Config.OnSend] wants to be told.
	back func()
}

// goesBack tells who was told of the sending that it is not the call's last.
func (p *passage) goesBack() {
	if p.back != nil {
		p.back()
		p.back = nil
	}
}

// gate is one circuit's admission.
type gate struct {
	name  circuit.Name
	epoch int64
	// token is set when the call is this circuit's probe, for the named hold.
	token, hold string
}

// process takes a call through all its steps and says what asynq is to do.
func (w *Worker) process(ctx context.Context, take *ledger.Delivery) verb {
	p, v, ok := w.open(ctx, take)
	if !ok {
		w.passTurn(ctx, take)
		w.giveSlot(ctx, take)
		return v
	}
	defer w.letGo(p)
	if v, ok := w.fenced(ctx, p); !ok {
		w.passTurn(ctx, take)
		w.giveSlot(ctx, take)
		return v
	}
	if take.Starts >= maxStarts {
		leave, v, ok := w.makeAlone(ctx, p)
		if !ok {
			w.passTurn(ctx, take)
			w.giveSlot(ctx, take)
			return v
		}
		defer leave()
	}
	if v, ok := w.admit(ctx, p); !ok {
		w.giveSlot(ctx, take)
		return v
	}
	defer w.unburden(ctx, p)
	a := w.attempt(ctx, p)
	defer a.Large.Close()
	if a.NotSent {
		w.giveSlot(ctx, take)
		defer p.goesBack()
		return w.notSent(ctx, p, a)
	}
	w.unreached(ctx, p, &a)
	return w.settle(ctx, p, a)
}

// passTurn lets the next call of the queue out after a hold, where the one that
// was let out does not ask for the probe.
func (w *Worker) passTurn(ctx context.Context, take *ledger.Delivery) {
	if !take.Circuit.AfterHold {
		return
	}
	w.trouble(w.dispatcher.PassTurn(context.WithoutCancel(ctx), take.Queue))
	if a := w.accounts[tasks.UpstreamOf(take.Queue)]; a != nil {
		a.hold.lift()
	}
}

// open reads the call and ends it where it must not be made. ok is false when
// the verb stands.
func (w *Worker) open(ctx context.Context, take *ledger.Delivery) (p *passage, v verb, ok bool) {
	if !take.Known {
		return nil, w.adopt(ctx, take), false
	}
	if take.Corrupt != "" {
		return nil, w.endForged(ctx, take), false
	}
	if !take.ParkedAt.IsZero() {
		take.HeldOwn += max(take.At.Sub(take.ParkedAt), 0)
		take.ParkedAt = time.Time{}
	}
	call, err := tasks.Decode(take.Content)
	if err == nil && call.NotBefore != nil && take.At.Before(*call.NotBefore) {
		// It was cancelled, or ended, before its time and is redriven.
		return nil, w.putOff(ctx, take, nil, call.NotBefore.Sub(take.At), "waits for its not_before"), false
	}
	if errors.Is(err, tasks.ErrNewerVersion) {
		w.log.Warn("a newer callq wrote this call; it waits for a newer worker", "call", take.ID)
		return nil, w.putOff(ctx, take, nil, strangerDelay, "written by a newer callq: waits for a newer worker"), false
	}
	if err == nil && call.Upstream != tasks.UpstreamOf(take.Queue) {
		err = fmt.Errorf("the call is for %q but stands in the queue of %q", call.Upstream, take.Queue)
	}
	if err != nil {
		return nil, w.endUnsent(ctx, take, nil, policy.ClassMalformedTask, err.Error()), false
	}
	a := w.accounts[call.Upstream]
	request, err := requestOf(call, take.ID)
	if err == nil && a.client == nil && call.Method != tasks.MethodJob {
		err = fmt.Errorf("upstream %q has no base_url in this worker: it takes jobs only", a.name)
	}
	if err != nil {
		return nil, w.endUnsent(ctx, take, nil, policy.ClassMalformedTask, err.Error()), false
	}
	p = &passage{
		take: take, began: time.Now(), call: call, acct: a, request: request,
		endpoint:   a.endpoints.endpoint(call.Method, request.Path),
		idempotent: a.isIdempotent(call, request.Path),
		waited:     time.Since(take.Received) > stale,
		confirmed:  take.Asked,
	}
	p.request.Once = !p.idempotent
	switch {
	case take.Sent > 0 && (!p.idempotent || p.late()):
		return nil, w.endUnsent(ctx, take, p, policy.ClassOutcomeUnknown, ending.LostAnswer), false
	case take.Starts >= maxStarts && take.Alone >= p.mostAlone():
		return nil, w.endUnsent(ctx, take, p, policy.ClassCrashLoop, p.crashed()), false
	case take.Circuit.Convicted != "" && slices.Contains(strings.Fields(take.Circuit.Convicted), circuit.CallName(take.ID, take.Generation)):
		return nil, w.endConvicted(ctx, p), false
	case p.late():
		return nil, w.endUnsent(ctx, take, p, policy.ClassExpired, deadlinePassed), false
	}
	if job, _, isJob := call.Job(); isJob && w.jobs[jobName{call.Upstream, job}] == nil {
		w.log.Warn("no code is registered for this job; it waits for a worker that has it", "job", job, "upstream", call.Upstream)
		return nil, w.putOff(ctx, take, nil, strangerDelay, "no code for job "+job+" in this worker"), false
	}
	return p, verb{}, true
}

// admit asks the circuits. ok is false when the verb stands.
func (w *Worker) admit(ctx context.Context, p *passage) (v verb, ok bool) {
	take := p.take
	account := circuit.Name{Upstream: p.acct.name}
	if w.circuits.Behind(account.Upstream, take.Circuit.Epoch) {
		return w.outdated(ctx, p), false
	}
	if !w.slot(p) {
		w.passTurn(ctx, take)
		return w.putBack(ctx, take, nil), false
	}
	entry := gate{name: account, epoch: take.Circuit.Epoch}
	if take.Circuit.AfterHold {
		adm, v, ok := w.ask(ctx, p, account, &entry)
		if !ok {
			return v, false
		}
		if adm.Probe {
			p.done = p.acct.gate.Probe(adm.Epoch, p.endpoint)
		}
		take.Circuit.Epoch = adm.Epoch
	}
	p.gates = append(p.gates, entry)
	if take.Circuit.Endpoints > 0 {
		entry := gate{name: circuit.Name{Upstream: p.acct.name, Endpoint: p.endpoint}}
		if _, v, ok := w.ask(ctx, p, entry.name, &entry); !ok {
			w.giveBack(ctx, p)
			return v, false
		}
		p.gates = append(p.gates, entry)
	}
	if p.done != nil {
		p.done = once(p.done)
		return verb{}, true
	}
	p.acct.gate.Admit(p.gates[0].epoch)
	done, wait := p.acct.gate.Pass(p.endpoint)
	if done == nil {
		w.giveBack(ctx, p)
		// Only this process holds: Redis does not know of it yet.
		return w.putOff(ctx, take, nil, wait, "held: the API fails too often"), false
	}
	p.done = once(done)
	return verb{}, true
}

// once makes sure that a breaker hears of a call once.
func once(done func(circuit.Result) circuit.Outage) func(circuit.Result) circuit.Outage {
	told := false
	return func(r circuit.Result) circuit.Outage {
		if told {
			return circuit.Outage{}
		}
		told = true
		return done(r)
	}
}

// unburden frees what a call holds whose handling panicked: a breaker that is half
// open and never hears of its one call lets no other through, and a probe's lease
// would have to run out.
func (w *Worker) unburden(ctx context.Context, p *passage) {
	if v := recover(); v != nil {
		p.done(circuit.Neutral)
		w.giveBack(context.WithoutCancel(ctx), p)
		panic(v)
	}
}

// outdated puts a call back that was admitted in an older epoch than this process
// knows: the answer is from before a change, or from a Redis that has lost it.
func (w *Worker) outdated(ctx context.Context, p *passage) verb {
	lost, err := w.circuits.Recover(ctx, p.acct.name, probeLease)
	if lost {
		w.log.Warn("Redis had lost the record of a circuit; it was written back", "circuit", p.acct.name)
	}
	if err != nil {
		w.trouble(err)
		p.acct.hold.until(time.Second, p.acct.hold.known())
	}
	v := w.putBack(ctx, p.take, nil)
	w.passTurn(ctx, p.take)
	return v
}

// ask asks one circuit in Redis for admission and notes it in g.
func (w *Worker) ask(ctx context.Context, p *passage, name circuit.Name, g *gate) (circuit.Admission, verb, bool) {
	token := newToken()
	request := circuit.AdmitRequest{Token: token, Lease: probeLease, Call: circuit.CallName(p.take.ID, p.take.Generation)}
	if name.Endpoint != "" {
		request.GoodAt = p.acct.gate.GoodAt(name.Endpoint)
	}
	asked := time.Now()
	adm, err := w.circuits.Admit(ctx, name, request)
	switch {
	case err != nil:
		w.trouble(err)
		v := w.putBack(ctx, p.take, nil)
		w.passTurn(ctx, p.take)
		return adm, v, false
	case adm.GiveUp:
		return adm, w.endGivenUp(ctx, p, adm), false
	case !adm.Admitted && name.Endpoint != "":
		p.take.ParkedAt = p.take.At
		return adm, w.putOff(ctx, p.take, nil, adm.Wait, "held: circuit "+name.String()+" is open"), false
	case !adm.Admitted:
		return adm, w.putBack(ctx, p.take, nil), false
	}
	g.epoch = adm.Epoch
	if adm.Probe {
		g.token, g.hold = token, adm.Hold
		p.probing = append(p.probing, token)
		w.probes.hold(token, heldProbe{name: name, epoch: adm.Epoch, renewed: asked, end: asked.Add(p.acct.longest)})
	}
	return adm, verb{}, true
}

// giveBack returns the probes that the call holds: it does not go out.
func (w *Worker) giveBack(ctx context.Context, p *passage) {
	for _, g := range p.gates {
		if g.token == "" {
			continue
		}
		if _, err := w.circuits.Report(ctx, g.name, circuit.Report{Verdict: circuit.Unsent, Token: g.token}); err != nil {
			w.trouble(err)
		}
		p.acct.hold.lift()
	}
}
