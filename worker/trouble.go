package worker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

const (
	// troubleAgain is how often it is said that Redis is in trouble while it is.
	troubleAgain = 10 * time.Second
	// troubleOver is how long Redis must have failed nobody before it is said to be
	// well: it may refuse some things, as when its memory is full, and do others.
	troubleOver = 2 * time.Second
)

// troubles is what was said of a Redis that fails. The zero value is that of one
// that is well. It is safe for concurrent use.
type troubles struct {
	mu   sync.Mutex
	last time.Time // when it failed last
	said time.Time // when that was said last; zero when it is well
}

// met notes a failure and tells whether to say so.
func (t *troubles) met(now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last = now
	if !t.said.IsZero() && now.Sub(t.said) < troubleAgain {
		return false
	}
	t.said = now
	return true
}

// over notes that Redis has answered and tells whether to say so.
func (t *troubles) over(now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.said.IsZero() || now.Sub(t.last) < troubleOver {
		return false
	}
	t.said = time.Time{}
	return true
}

// trouble logs that Redis failed, now and then and in words that people can act on.
func (w *Worker) trouble(err error) {
	if err == nil || errors.Is(err, context.Canceled) {
		return
	}
	if w.troubles.met(time.Now()) {
		w.log.Warn("Redis does not answer as it should; no call starts until it does", "error", fmt.Sprint(w.explain(err)))
	}
}

// well says that Redis answers again, where it was said that it does not.
func (w *Worker) well() {
	if w.troubles.over(time.Now()) {
		w.log.Warn("Redis answers again: calls start")
	}
}
