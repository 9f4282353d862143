package worker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

const (
	// redisWarnEvery is how often a worker logs that Redis fails.
	redisWarnEvery = 10 * time.Second
	// redisRecoveredAfter is how long Redis must not fail before the worker logs that it
	// answers again: a Redis with full memory refuses some commands and answers others.
	redisRecoveredAfter = 2 * time.Second
)

// redisHealth decides when to log that Redis fails, and that it answers again. The zero
// value is a Redis that answers. It is safe for concurrent use.
type redisHealth struct {
	mu       sync.Mutex
	failedAt time.Time // when Redis failed last
	loggedAt time.Time // when that was logged last; zero while Redis answers
}

// failed records a failure and reports whether to log it.
func (h *redisHealth) failed(now time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.failedAt = now
	if !h.loggedAt.IsZero() && now.Sub(h.loggedAt) < redisWarnEvery {
		return false
	}
	h.loggedAt = now
	return true
}

// answered records that Redis has answered and reports whether to log it.
func (h *redisHealth) answered(now time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.loggedAt.IsZero() || now.Sub(h.failedAt) < redisRecoveredAfter {
		return false
	}
	h.loggedAt = time.Time{}
	return true
}

// noteRedisError logs that Redis failed, at most every redisWarnEvery, with what to do.
func (w *Worker) noteRedisError(err error) {
	if err == nil || errors.Is(err, context.Canceled) {
		return
	}
	w.metrics.LedgerError()
	if w.redisHealth.failed(time.Now()) {
		w.log.Warn("Redis failed: no call starts until it answers again", "error", fmt.Sprint(w.explain(err)))
	}
}

// noteRedisAnswer logs that Redis answers again, if it was logged that it does not.
func (w *Worker) noteRedisAnswer() {
	if w.redisHealth.answered(time.Now()) {
		w.log.Warn("Redis answers again: calls start")
	}
}
