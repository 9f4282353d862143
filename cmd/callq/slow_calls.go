package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/seed-2903acc3/callq/cmd/callq/internal/console"
	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/worker"
)

const (
	// mostSlow is how many calls that wait for a retry are stored, slowShown how many
	// are shown.
	mostSlow, slowShown = 10_000, 3
)

// slowCalls are the calls of a run that wait for another attempt. The zero value has
// none. It is safe for concurrent use.
type slowCalls struct {
	mu    sync.Mutex
	calls map[string]worker.AttemptResult
}

// note adds the result of an attempt.
func (s *slowCalls) note(e worker.AttemptResult) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e.Action != policy.ActionRetry {
		delete(s.calls, e.ID)
		return
	}
	if s.calls == nil {
		s.calls = map[string]worker.AttemptResult{}
	}
	if _, known := s.calls[e.ID]; known || len(s.calls) < mostSlow {
		s.calls[e.ID] = e
	}
}

// lines returns a line for each of the calls with the most attempts.
func (s *slowCalls) lines(now time.Time) (lines []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var slowest []worker.AttemptResult
	for _, e := range s.calls {
		slowest = append(slowest, e)
		slices.SortFunc(slowest, func(a, b worker.AttemptResult) int {
			return cmp.Or(b.Attempts-a.Attempts, b.Next.Compare(a.Next), cmp.Compare(a.ID, b.ID))
		})
		slowest = slowest[:min(len(slowest), slowShown)]
	}
	for _, e := range slowest {
		lines = append(lines, retryLine(e, now))
	}
	return lines
}

// retryLine returns, for example, "row-58: HTTP 500 (transient), attempt 4 of 6 failed, next
// in 15s".
func retryLine(e worker.AttemptResult, now time.Time) string {
	next := "due now"
	if wait := e.Next.Sub(now).Round(time.Second); wait > 0 {
		next = "next in " + console.Duration(wait)
	}
	return fmt.Sprintf("%s: %s, attempt %d of %d failed, %s", e.Key, causeText(e), e.Attempts, e.MostAttempts, next)
}

// causeText returns why an attempt failed, for example "error 68300005 (transient)", "HTTP
// 500 (transient)" or "connection refused (transient)".
func causeText(e worker.AttemptResult) string {
	what := e.Message
	switch {
	case e.Code != "":
		what = "error " + e.Code
	case e.Status != 0:
		what = fmt.Sprintf("HTTP %d", e.Status)
	}
	return strings.TrimSpace(fmt.Sprintf("%s (%s)", what, e.Class))
}
