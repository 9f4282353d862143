package worker

import (
	"context"
	"slices"
	"time"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/ending"
	"github.com/seed-2903acc3/callq/tasks/ledger"
)

// deadlineEvery is how often the calls that wait are looked at for deadlines that have
// passed: a call ends within two seconds of its deadline, whatever it waits for.
const deadlineEvery = time.Second

// deadlinePassed is what the records of such calls say.
const deadlinePassed = "its deadline passed before it could be sent"

// late reports whether the call's deadline has passed, by Redis's clock when the call
// was taken and what has gone by since.
func (p *passage) late() bool {
	deadline := p.call.Deadline
	return deadline != nil && p.take.At.Add(time.Since(p.take.Received)).After(*deadline)
}

// watchDeadlines ends calls whose deadline passes while they wait in their queue, as
// behind a hold, between attempts or while the queue is paused. A wrong clock of this
// machine does not matter: Redis says what time it is.
func (w *Worker) watchDeadlines(ctx context.Context) {
	queues := w.queues()
	every(ctx, deadlineEvery, func() { w.trouble(w.endLate(ctx, queues)) })
}

// endLate ends the waiting calls whose deadline has passed. Workers that do so at the
// same time share them.
func (w *Worker) endLate(ctx context.Context, queues []string) error {
	for ctx.Err() == nil {
		late, err := w.dispatcher.PastDeadline(ctx, queues...)
		if err != nil {
			return err
		}
		byQueue := map[string][]ledger.Record{}
		for _, r := range late.Calls {
			byQueue[r.Queue] = append(byQueue[r.Queue], r)
		}
		for queue, calls := range byQueue {
			for some := range slices.Chunk(calls, ledger.MostWithdrawn) {
				if err := w.withdrawLate(ctx, queue, some, late.Now); err != nil {
					return err
				}
			}
		}
		if !late.More {
			return nil
		}
	}
	return nil
}

// withdrawLate ends calls of one queue whose deadline has passed.
func (w *Worker) withdrawLate(ctx context.Context, queue string, calls []ledger.Record, now time.Time) error {
	var passages []*passage
	var list []ledger.Withdrawal
	for i := range calls {
		p := w.latePassage(calls[i], now)
		if p == nil {
			continue
		}
		one, err := withdrawal(p)
		if err != nil {
			return err
		}
		passages, list = append(passages, p), append(list, one)
	}
	if len(list) == 0 {
		return nil
	}
	// What is written is told, also while the worker drains.
	withdrawn, err := w.ledger.Withdraw(context.WithoutCancel(ctx), queue, list)
	if err != nil {
		return err
	}
	for i, p := range passages {
		if withdrawn[i] == ledger.Withdrew {
			w.tellDead(p.take, p, list[i].Final)
		}
	}
	return nil
}

// latePassage is a waiting call whose deadline has passed; nil for one that has no
// such deadline, or cannot be read: it ends when it is dequeued.
func (w *Worker) latePassage(r ledger.Record, now time.Time) *passage {
	call, err := tasks.Decode(r.Content)
	if err != nil {
		return nil
	}
	path, err := call.URLPath()
	if err != nil {
		return nil
	}
	a := w.accounts[tasks.UpstreamOf(r.Queue)]
	p := &passage{
		take:  &ledger.Delivery{Record: r, At: now, Received: time.Now(), Known: true},
		began: time.Now(), call: call, acct: a, endpoint: a.endpoints.endpoint(call.Method, path),
	}
	if !p.late() {
		return nil
	}
	return p
}

// withdrawal is how such a call ends. One that may have been sent did not expire:
// nobody knows what became of it.
func withdrawal(p *passage) (ledger.Withdrawal, error) {
	t, class, detail := p.take, policy.ClassExpired, deadlinePassed
	if t.Sent > 0 {
		class, detail = policy.ClassOutcomeUnknown, ending.LostAnswer
	}
	return ending.Withdrawal(t.Record, unsent(t, p.endpoint, class, detail), t.At)
}
