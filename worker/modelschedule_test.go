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
		if s.stands && !s.proc.frozen {
			ready = append(ready, s)
		}
	}
	if len(ready) == 0 {
		t.Skip("no step can continue")
	}
	return ready[rapid.IntRange(0, len(ready)-1).Draw(t, "who")]
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
	f.rest(2 * scriptTime)
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

// rest lets time pass. Whom a timer wakes meanwhile comes after all that the
// model has done.
func (f *fleet) rest(d time.Duration) {
	f.mu.Lock()
	f.mu.Unlock() //nolint:staticcheck // orders what is before it, for the race detector
	time.Sleep(d)
}

// pass lets time pass. Heartbeats continue, and the leases of probes are renewed, but for
// those who are frozen: those lose their leases, and then the contexts of their
// handlers end.
func (f *fleet) pass(d time.Duration) {
	if d > mostUnwritten {
		f.writeUp()
	}
	f.rest(d)
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

// renew renews the leases of the probes, but for those of the frozen.
func (f *fleet) renew() {
	for _, p := range f.procs {
		if !p.frozen {
			_ = p.w.renewOnce(f.ctx) // what fails is done next time
		}
	}
	for name, p := range f.probes {
		if now := f.look(name); now.token == p.token {
			p.end = now.lease
		}
	}
}

// end ends a process at once: its steps go nowhere any more.
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
			if s.proc == p && s.stands {
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
	f.steps = left // who waits for a timer ends by itself
}

// disband ends all processes.
func (f *fleet) disband() {
	for _, p := range f.procs {
		f.end(p)
	}
	time.Sleep(time.Hour) // past every timer
	synctest.Wait()
}
