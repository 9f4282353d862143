package worker

import (
	"context"
	"sync"
	"time"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/worker/limit"
)

const (
	// paceEvery is how often a process reports answers while much is left of the limit.
	paceEvery = 20 * time.Millisecond
	// paceTimeout bounds one report. Answers that could not be reported hold back as many
	// calls as they belong to, for a minute at most.
	paceTimeout = 5 * time.Second
)

// paceReports has the answers of one account that were not reported to the fleet yet. It
// combines them, so that a busy process writes to Redis much less often than it gets
// answers. The zero value has none.
type paceReports struct {
	mu      sync.Mutex
	answers []limit.Answer
	// urgent has a value when the answers must be reported without a pause; nil while no
	// goroutine reports.
	urgent  chan struct{}
	drained bool
	writing sync.WaitGroup
}

// reportPace reports to the fleet what an answer says of the API's limits, soon and without
// waiting for it: until then the call counts as one that the API may not have counted.
func (w *Worker) reportPace(ctx context.Context, inflight *inflightCall, o policy.Outcome) {
	a := inflight.account
	if !a.policy.HasPace() || inflight.delivery.Slot == 0 {
		return
	}
	answer, urgent := limit.Answer{Slot: inflight.delivery.Slot, Received: o.ReceivedAt}, false
	if answer.Received.IsZero() {
		answer.Received = time.Now()
	}
	for _, r := range a.policy.ReadPace(o) {
		answer.Readings = append(answer.Readings, limit.Reading{Pace: r.Pace, Remaining: r.Remaining, Reset: r.Reset})
		// Where as many calls may be inflight as are left, the next one waits for this report.
		urgent = urgent || r.Remaining-r.Keep <= 2*int64(a.fleet)
	}
	a.pace.add(answer, urgent, func(urgent <-chan struct{}) { w.writePace(context.WithoutCancel(ctx), a, urgent) })
}

// add adds an answer, and starts write in a goroutine unless it runs.
func (p *paceReports) add(answer limit.Answer, urgent bool, write func(urgent <-chan struct{})) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.drained {
		return
	}
	p.answers = append(p.answers, answer)
	if p.urgent == nil {
		p.urgent = make(chan struct{}, 1)
		channel := p.urgent
		p.writing.Go(func() { write(channel) })
	}
	if urgent {
		select {
		case p.urgent <- struct{}{}:
		default: // it was told already
		}
	}
}

// take removes and returns the answers. If there are none, the goroutine that asks must
// end.
func (p *paceReports) take() []limit.Answer {
	p.mu.Lock()
	defer p.mu.Unlock()
	answers := p.answers
	p.answers = nil
	if len(answers) == 0 {
		p.urgent = nil
	}
	return answers
}

// drain waits until all answers were reported. Later ones are not.
func (p *paceReports) drain() {
	p.mu.Lock()
	p.drained = true
	p.mu.Unlock()
	p.writing.Wait()
}

// writePace reports the account's answers until there are none.
func (w *Worker) writePace(ctx context.Context, a *account, urgent <-chan struct{}) {
	for {
		answers := a.pace.take()
		if len(answers) == 0 {
			return
		}
		ctx, cancel := context.WithTimeout(ctx, paceTimeout)
		freed, err := w.limits.Report(ctx, a.name, a.plan, answers)
		cancel()
		w.noteRedisError(err)
		if freed {
			a.dequeueGate.open()
		}
		select {
		case <-urgent:
		case <-time.After(paceEvery):
		case <-w.draining:
		}
	}
}
