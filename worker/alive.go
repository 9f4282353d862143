package worker

import (
	"context"
	"time"

	"github.com/seed-2903acc3/callq/tasks/ledger"
)

const (
	// beatEvery is how often a worker writes its beat, and reads those of others.
	beatEvery = time.Second
	// deadAfter is how long another worker must not have beaten, in reads that
	// follow each other, before it counts as dead and its calls are put back.
	// That is five missed beats. A worker that only stood still finds out when it
	// goes on: the ledger refuses to let it send any of its calls.
	deadAfter = 6 * time.Second
)

// beating is another worker's number, as Redis has it under an account.
type beating struct{ home, worker, number string }

// watch is what this process has seen of other workers: since when each number has
// stood still. The zero value has seen nobody. It goes by the time that passes here
// and by no clock.
type watch struct {
	since map[beating]time.Time
	last  time.Time // when it looked
}

// dead takes the beats that were read at the given time, and returns those that have
// not changed for too long. The caller puts their calls back.
func (o *watch) dead(now time.Time, beats map[string]ledger.Beats) (dead []beating) {
	before := o.since
	if now.Sub(o.last) > 2*beatEvery {
		before = nil // this process stood still, or Redis did, and others with it
	}
	o.since, o.last = map[beating]time.Time{}, now
	for home, workers := range beats {
		for name, number := range workers {
			b := beating{home, name, number}
			first, known := before[b]
			switch {
			case !known:
				o.since[b] = now
			case now.Sub(first) < deadAfter:
				o.since[b] = first
			default:
				dead = append(dead, b)
			}
		}
	}
	return dead
}

// stayAlive writes a beat every second, and puts back the calls of workers that have
// stopped beating, until ctx ends.
func (w *Worker) stayAlive(ctx context.Context) {
	var o watch
	atOnceAndEvery(ctx, beatEvery, func() { w.noteRedisError(w.beat(ctx, &o)) })
}

// beat writes one beat and reads those of the others.
func (w *Worker) beat(ctx context.Context, o *watch) error {
	beats, err := w.roster.Beat(ctx, w.dispatcher.Name(), w.queues()...)
	if err != nil {
		return err
	}
	for _, d := range o.dead(time.Now(), beats) {
		n, err := w.roster.Reclaim(ctx, d.home, d.worker, d.number)
		if n > 0 {
			w.log.Warn("a worker was killed, stopped or cut off from Redis: its calls are taken up again", "upstream", d.home, "calls", n)
			w.queueIdles[d.home].open()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// leaveFleet forgets this worker, which has ended and holds no call.
func (w *Worker) leaveFleet(ctx context.Context) {
	w.noteRedisError(w.roster.Leave(ctx, w.dispatcher.Name(), w.queues()...))
}
