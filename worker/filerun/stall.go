package filerun

import (
	"sync"
	"time"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/worker"
)

const (
	// stalledFor is how long no call ends, while attempts fail, before that is told.
	stalledFor = 5 * time.Second
	// stalledAgain is when it is told again.
	stalledAgain = 30 * time.Second
)

// stall notices that no call ends: those to an API that cannot be reached are retried
// for a while before the first of them is given up. Its methods are safe for concurrent
// use.
type stall struct {
	mu     sync.Mutex
	failed int // attempts since a call has ended
	last   worker.Event
	since  time.Time // the first of these attempts
	quiet  time.Time // nothing is told until then
}

// note takes an attempt into account.
func (s *stall) note(e worker.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case e.Action == policy.ActionRetry:
		if s.failed == 0 {
			s.since, s.quiet = e.At, e.At.Add(stalledFor)
		}
		s.failed++
		s.last = e
	case e.Action != policy.ActionPark:
		s.failed = 0
	}
}

// look returns what there is to tell, mostly nothing.
func (s *stall) look(now time.Time) (Stalled, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed == 0 || now.Before(s.quiet) {
		return Stalled{}, false
	}
	s.quiet = now.Add(stalledAgain)
	return Stalled{For: now.Sub(s.since), Attempts: s.failed, Last: s.last}, true
}
