package worker

import (
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"
	"pgregory.net/rapid"
)

// awake draws a worker that is not frozen.
func (f *fleet) awake(t *rapid.T) *proc {
	p := f.procs[rapid.IntRange(0, modelWorkers-1).Draw(t, "worker")]
	if p.frozen {
		t.Skip("it is frozen")
	}
	return p
}

// ready draws a step that can continue.
func (f *fleet) ready(t *rapid.T) *step {
	var ready []*step
	for _, s := range f.steps {
		if s.paused && !s.proc.frozen {
			ready = append(ready, s)
		}
	}
	if len(ready) == 0 {
		t.Skip("no step can continue")
	}
	return ready[rapid.IntRange(0, len(ready)-1).Draw(t, "step")]
}

// wake lets a step continue until it is paused again, waits or ends.
func (f *fleet) wake(s *step, loseReply bool) {
	s.loseReply = loseReply
	s.wakeUp <- struct{}{}
	f.awaitPaused()
	s.loseReply = false
}

// awaitPaused waits until every step is paused, and removes those that have ended.
func (f *fleet) awaitPaused() {
	synctest.Wait()
	f.sleep(2 * scriptTime)
	synctest.Wait()
	var left []*step
	for _, s := range f.steps {
		if s.over {
			s.cancel()
		} else {
			left = append(left, s)
		}
	}
	f.steps = left
}

// sleep lets time pass. What a timer wakes meanwhile runs after all that the model has
// done.
func (f *fleet) sleep(d time.Duration) {
	f.mu.Lock()
	f.mu.Unlock() //nolint:staticcheck // orders what is before it, for the race detector
	time.Sleep(d)
}

// pass lets time pass. Workers send heartbeats and renew the leases of their probes. A
// frozen worker does not: it loses its leases, and then the contexts of its handlers end.
func (f *fleet) pass(d time.Duration) {
	if d > mostUnwritten {
		f.writeUp()
	}
	f.sleep(d)
	f.renew()
	f.awaitPaused()
	f.forward()
	now := time.Now()
	for _, s := range f.steps {
		switch {
		case s.delivery == nil || s.lapsed:
		case s.proc.frozen && now.After(s.leased):
			s.lapsed = true
			s.cancel()
		case !s.proc.frozen:
			s.leased = now.Add(modelLease)
			f.must(f.client.ZAddXX(f.ctx, "asynq:{"+s.delivery.Queue+"}:lease",
				redis.Z{Score: float64(s.leased.Unix()), Member: s.delivery.ID}).Err())
		}
	}
	f.awaitPaused()
}

// renew renews the leases of the probes, except those of frozen workers.
func (f *fleet) renew() {
	for _, p := range f.procs {
		if !p.frozen {
			_ = p.w.renewOnce(f.ctx) // an error is tried again next time
		}
	}
	for name, p := range f.probes {
		if now := f.look(name); now.token == p.token {
			p.end = now.lease
		}
	}
}

// end ends a process at once, and all its steps.
func (f *fleet) end(p *proc) {
	if p.dead.Swap(true) {
		return
	}
	if !p.drained {
		close(p.w.draining)
	}
	close(p.w.stopped)
	synctest.Wait()
	for again := true; again; {
		again = false
		for _, s := range f.steps {
			if s.proc == p && s.paused {
				again = true
				s.wakeUp <- struct{}{}
				synctest.Wait()
			}
		}
		f.awaitPaused()
	}
	var left []*step
	for _, s := range f.steps {
		if s.proc != p {
			left = append(left, s)
		}
	}
	f.steps = left // a step that waits for a timer ends by itself
}

// disband ends all processes.
func (f *fleet) disband() {
	for _, p := range f.procs {
		f.end(p)
	}
	time.Sleep(time.Hour) // past every timer
	synctest.Wait()
}
