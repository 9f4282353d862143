package worker

import (
	"context"
	"time"

	"github.com/seed-2903acc3/callq/tasks/ledger"
)

const (
	// beatEvery is how often a worker writes its beat, and reads those of others.
	beatEvery = time.Second
	// deadAfter is how long another worker's beat must be unchanged, in consecutive reads,
	// before the worker counts as dead and its calls are put back. That is five missed
	// beats. If such a worker was only paused, the ledger refuses its calls when it
	// continues, so that it cannot send them.
	deadAfter = 6 * time.Second
)

// peer is another worker of an account, with the number of its last beat.
type peer struct{ home, worker, number string }

// peerWatch records since when each other worker's beat is unchanged. The zero value is
// ready for use. It measures elapsed time on this machine and compares no clocks.
type peerWatch struct {
	since map[peer]time.Time
	last  time.Time // when the beats were read last
}

// dead updates the watch with the beats that were read at the given time, and returns the
// workers whose beat has been unchanged for deadAfter. The caller puts their calls back.
func (o *peerWatch) dead(now time.Time, beats map[string]ledger.Beats) (dead []peer) {
	before := o.since
	if now.Sub(o.last) > 2*beatEvery {
		before = nil // this process was paused, or Redis was, and perhaps other workers too
	}
	o.since, o.last = map[peer]time.Time{}, now
	for home, workers := range beats {
		for name, number := range workers {
			b := peer{home, name, number}
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
	var o peerWatch
	atOnceAndEvery(ctx, beatEvery, func() { w.noteRedisError(w.beat(ctx, &o)) })
}

// beat writes one beat and reads those of the others.
func (w *Worker) beat(ctx context.Context, o *peerWatch) error {
	beats, err := w.roster.Beat(ctx, w.dispatcher.Name(), w.queues()...)
	if err != nil {
		return err
	}
	for _, d := range o.dead(time.Now(), beats) {
		n, err := w.roster.Reclaim(ctx, d.home, d.worker, d.number)
		if n > 0 {
			w.log.Warn("a worker was killed, stopped or cut off from Redis: its calls are put back into the queue", "upstream", d.home, "calls", n)
			w.queueIdles[d.home].open()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// leaveFleet removes this worker, which has ended and holds no call, from the roster.
func (w *Worker) leaveFleet(ctx context.Context) {
	w.noteRedisError(w.roster.Leave(ctx, w.dispatcher.Name(), w.queues()...))
}
