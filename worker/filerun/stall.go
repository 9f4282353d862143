package filerun

import (
	"sync"
	"time"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/worker"
)

const (
	// stalledFor is how long no call must have ended, while attempts fail, before it is
	// reported.
	stalledFor = 5 * time.Second
	// stalledAgain is the time between two reports.
	stalledAgain = 30 * time.Second
)

// stall detects that no call ends. Calls to an API that cannot be reached are retried for
// a while before the first of them ends. The methods are safe for concurrent use.
type stall struct {
	mu         sync.Mutex
	failed     int // failed attempts since a call has ended
	last       worker.AttemptResult
	since      time.Time // the first of these attempts
	nextReport time.Time // no report before this time
}

// record adds an attempt.
func (s *stall) record(e worker.AttemptResult) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case e.Action == policy.ActionRetry:
		if s.failed == 0 {
			s.since, s.nextReport = e.At, e.At.Add(stalledFor)
		}
		s.failed++
		s.last = e
	case e.Action != policy.ActionPark:
		s.failed = 0
	}
}

// check returns whether a stall must be reported now, and the report.
func (s *stall) check(now time.Time) (Stalled, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed == 0 || now.Before(s.nextReport) {
		return Stalled{}, false
	}
	s.nextReport = now.Add(stalledAgain)
	return Stalled{For: now.Sub(s.since), Attempts: s.failed, Last: s.last}, true
}
