package worker

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/ending"
	"github.com/seed-2903acc3/callq/tasks/ledger"
	"github.com/seed-2903acc3/callq/worker/circuit"
	"github.com/seed-2903acc3/callq/worker/upstream"
)

// attempt sends the call, once, and once more with a fresh credential where the
// policy wants that. The decision is not carried out here.
func (w *Worker) attempt(ctx context.Context, p *passage) attempted {
	take := p.take
	job, _, isJob := p.call.Job()
	once := !p.idempotent && !isJob
	if p.late() {
		return attempted{Answer: upstream.Answer{NotSent: true}, late: true}
	}
	if once || p.waited {
		if a, ok := w.mark(ctx, p, once); !ok {
			return a
		}
		if p.late() {
			return attempted{Answer: upstream.Answer{NotSent: true}, late: true}
		}
	}
	if once {
		if err := w.noteSend(p); err != nil {
			return attempted{Answer: upstream.Answer{NotSent: true, Err: err}, untold: true}
		}
	}
	a := attempted{number: take.Attempts + 1}
	if isJob {
		a.Answer = w.runJob(ctx, p, w.jobs[jobName{p.acct.name, job}])
	} else {
		a = w.request(ctx, p)
	}
	if a.NotSent {
		return a
	}
	if !isJob && a.Outcome.Transport == policy.TransportNone {
		w.machineWorks()
	}
	w.bill(ctx, p, a.Answer)
	if take.FirstAt.IsZero() {
		take.FirstAt, take.HeldBase = take.At, take.Circuit.Held
	}
	a.decide(p, !isJob && p.acct.client.CanRefresh(a.TokenGeneration))
	if !a.decision.Refresh {
		return a
	}
	return w.replay(ctx, p, a, once)
}

// noteSend tells whoever keeps a journal that the call is about to be sent.
func (w *Worker) noteSend(p *passage) (err error) {
	call := p.call
	call.Batch, call.Key = p.take.Batch, p.take.Key
	p.back, err = w.cfg.OnSend(call)
	return err
}

// replay makes the call once more with a fresh credential, as part of the same attempt.
// Where there is none, a stands.
func (w *Worker) replay(ctx context.Context, p *passage, a attempted, once bool) attempted {
	// A refresh that fails is judged by the replay, which meets the same trouble
	// before anything is sent.
	fresh, err := p.acct.client.Refresh(ctx, a.TokenGeneration)
	if err != nil {
		w.log.Warn("the credential could not be refreshed", "upstream", p.acct.name, "error", err)
	}
	if !fresh && err == nil {
		return a
	}
	if refused, ok := w.again(ctx, p, once); !ok {
		a.Large.Close()
		return refused
	}
	replay := w.request(ctx, p)
	if replay.lost {
		a.Large.Close()
		return replay
	}
	if replay.NotSent {
		return a
	}
	a.Large.Close()
	w.bill(ctx, p, replay.Answer)
	replay.decide(p, false)
	return replay
}

// request makes the request. Where it takes a while until it leaves, for whatever reason,
// Redis has to say once more that the call is this worker's: it may have been taken for
// dead meanwhile.
func (w *Worker) request(ctx context.Context, p *passage) attempted {
	var refused attempted // why, where Redis does not confirm it
	p.request.Confirmed = p.confirmed
	p.request.Confirm = func(ctx context.Context) error {
		a, ok := w.mark(ctx, p, false)
		if !ok {
			refused = a
			return errNotConfirmed
		}
		return nil
	}
	a := attempted{number: p.take.Attempts + 1, Answer: p.acct.client.Do(ctx, p.request)}
	if refused.NotSent {
		return refused
	}
	return a
}

// errNotConfirmed keeps a request from being sent.
var errNotConfirmed = errors.New("Redis does not say that the call is still this worker's")

// mark is the last step before the request: see [ledger.Dispatcher.MarkSent].
func (w *Worker) mark(ctx context.Context, p *passage, once bool) (attempted, bool) {
	began := time.Now()
	held, mine, err := w.dispatcher.MarkSent(ctx, p.take, p.take.Attempts+1, once, p.probe())
	if once && err == nil && mine && held == 0 && time.Since(began) > stale {
		// Redis took its time to write the mark: the account may be held by now.
		began = time.Now()
		held, mine, err = w.dispatcher.MarkSent(ctx, p.take, p.take.Attempts+1, false, p.probe())
	}
	if err == nil && mine && held == 0 {
		p.confirmed = began
		return attempted{}, true
	}
	if fence := (*ledger.FenceError)(nil); !errors.As(err, &fence) {
		w.trouble(err)
	}
	return attempted{Answer: upstream.Answer{NotSent: true, Err: err}, held: held, lost: err == nil && !mine}, false
}

// probe is the token of the account's probe, if the call is it.
func (p *passage) probe() string {
	if len(p.gates) == 0 {
		return ""
	}
	return p.gates[0].token
}

// attempted is an attempt with its decision.
type attempted struct {
	upstream.Answer
	number   int
	decision policy.Decision
	// held and lost say why the call was not sent: its account is held, or its
	// record has moved on.
	held time.Duration
	lost bool
	// late says that the call's deadline passed while it waited in place.
	late bool
	// untold says that [Config.OnSend] did not want it sent.
	untold bool
	// next is when the next attempt is due; zero where there is none.
	next time.Time
}

func (a *attempted) decide(p *passage, canRefresh bool) {
	t := p.take
	a.decision = p.acct.policy.Decide(a.Outcome, policy.Attempt{
		Method: p.call.Method, Endpoint: p.endpoint, Idempotent: p.idempotent, Conditional: a.Conditional, N: a.number,
		Age:        ageOf(t, time.Now()),
		CanRefresh: canRefresh,
	})
}

// ageOf is how long a call has been tried, from its first send on: the time for
// which its account was held since, and that for which it waited for its endpoint,
// do not count.
func ageOf(t *ledger.Delivery, now time.Time) time.Duration {
	return max(now.Sub(t.FirstAt)-(t.Circuit.Held-t.HeldBase)-t.HeldOwn, 0)
}

// notSent puts a call back that did not go out: nothing was spent.
func (w *Worker) notSent(ctx context.Context, p *passage, a attempted) verb {
	p.done(circuit.Neutral)
	w.giveBack(ctx, p)
	var fence *ledger.FenceError
	switch {
	case a.lost:
		return w.leaveMarked(ctx, p)
	case a.late && p.take.Sent > 0: // an earlier worker may have sent it
		return w.endUnsent(ctx, p.take, p, policy.ClassOutcomeUnknown, ending.LostAnswer)
	case a.late:
		return w.endUnsent(ctx, p.take, p, policy.ClassExpired, deadlinePassed)
	case errors.As(a.Err, &fence):
		return w.waitForFence(ctx, p, fence)
	case errors.Is(a.Err, ErrMaybeSent):
		p.take.Sent = p.take.Attempts + 1
		return w.endUnsent(ctx, p.take, p, policy.ClassOutcomeUnknown, "its process ended between sending it and recording the answer")
	case a.untold:
		w.log.Error("a call that must not be made twice is not sent", "call", p.take.ID, "error", a.Err)
		return w.putOff(ctx, p.take, nil, time.Second, "not sent: it could not be noted")
	case errors.Is(a.Err, upstream.ErrMachine):
		return w.machineFault(ctx, p, a.Err)
	case errors.Is(a.Err, upstream.ErrRefused):
		return w.endUnsent(ctx, p.take, p, policy.ClassMalformedTask, a.Err.Error())
	default:
		return w.putBack(ctx, p.take, nil)
	}
}

// requestOf turns a call into the upstream's request. What came out of Redis is
// checked once more: nobody knows who wrote it.
func requestOf(c tasks.Call, id string) (upstream.Request, error) {
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
		Method: c.Method, Path: path, RawQuery: query, Body: body, ContentType: contentType, IdempotencyKey: id,
	}
	if len(c.Headers) > 0 {
		r.Header = make(http.Header, len(c.Headers))
		for name, value := range c.Headers {
			r.Header.Set(name, value)
		}
	}
	return r, nil
}
