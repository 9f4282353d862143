package main

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/worker"
)

const (
	// stillFor is how long no call ends, while attempts fail, before that is said.
	stillFor = 5 * time.Second
	// stillAgain is when it is said again.
	stillAgain = 30 * time.Second
)

// standstill says why nothing ends: the calls to an API that cannot be reached are
// tried again for a while before the first of them is given up. Its methods are safe
// for concurrent use.
type standstill struct {
	mu     sync.Mutex
	failed int // attempts since a call has ended
	last   worker.Event
	quiet  time.Time // nothing is to be said until then
}

// note learns of an attempt.
func (s *standstill) note(e worker.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case e.Action == policy.ActionRetry:
		if s.failed == 0 {
			s.quiet = e.At.Add(stillFor)
		}
		s.failed++
		s.last = e
	case e.Action != policy.ActionPark:
		s.failed = 0
	}
}

// line is what there is to say, mostly nothing.
func (s *standstill) line(now time.Time) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed == 0 || now.Before(s.quiet) {
		return ""
	}
	s.quiet = now.Add(stillAgain)
	e := s.last
	why := strings.TrimSpace(string(e.Class) + " " + e.Code)
	if e.Message != "" {
		why += ": " + e.Message
	}
	return fmt.Sprintf("%s: %s since a call has ended, the last with %s; the calls are tried again",
		e.Upstream, verbalOf(s.failed, "attempt", "has failed", "have failed"), why)
}
