package worker

import (
	"context"
	"fmt"
	"time"
)

// maxStarts is from which start without a decision on, the start itself counted, a
// call is made alone: it may be what kills its workers, or only have been there.
const maxStarts = 5

// noteTimeout bounds the note that a call is made alone. It is far shorter than the
// time for which the others wait.
const noteTimeout = 5 * time.Second

// mostAlone is after how many workers that died while they made only this call it is
// held to kill them. One that does no harm twice gets one chance more.
func (p *passage) mostAlone() int {
	if p.idempotent {
		return 2
	}
	return 1
}

// crashed says in the record why the call ends.
func (p *passage) crashed() string {
	last := "the last one while it made no other call"
	if n := p.take.Alone; n > 1 {
		last = fmt.Sprintf("the last %d while they made no other call", n)
	}
	return fmt.Sprintf("%d workers in a row ended without a decision on it, %s", p.take.Starts-1, last)
}

// makeAlone waits until this process makes no other call, and notes that it makes
// this one alone. Where a job takes longer than any request may, it is made beside
// it, without the note. leave has the others go on. ok is false when the verb stands.
func (w *Worker) makeAlone(ctx context.Context, p *passage) (leave func(), v verb, ok bool) {
	t := p.take
	w.log.Warn("several workers ended while they made this call: it is made alone", "call", t.ID, "batch", t.Batch, "key", t.Key,
		"workers", t.Starts-1, "alone", t.Alone)
	leave, alone, ok := w.places.alone(ctx, w.draining, w.shutdownTimeout())
	if !ok {
		return nil, w.putBack(ctx, t, nil), false
	}
	p.waited = true
	if !alone {
		return leave, verb{}, true
	}
	// Others begin when the longest time is over: a note that is made later is wrong.
	noting, cancel := context.WithTimeout(ctx, noteTimeout)
	mine, err := w.dispatcher.MarkAlone(noting, t)
	cancel()
	switch {
	case err != nil:
		w.trouble(err)
		v = w.putBack(ctx, t, nil)
	case !mine:
		v = w.leave(t)
	default:
		return leave, verb{}, true
	}
	leave()
	return nil, v, false
}
