package worker

import (
	"sync"
	"time"
)

const (
	// emptyPause is how long a worker does not poll queues that were empty.
	emptyPause = 50 * time.Millisecond
	// idlePause is the same after they were empty for idleAfter: many idle accounts must
	// cost Redis very little. A new call is announced.
	idlePause = 2 * time.Second
	idleAfter = 5 * time.Second
)

// queueIdle is what a process last read about queues that it polls together: since when they
// are empty, and when their next delayed task is due.
type queueIdle struct {
	timedGate

	mu    sync.Mutex
	since time.Time // zero when they are not empty
	// due is when the next delayed task is due; zero for none. It is valid only if
	// dueKnown is set.
	due      time.Time
	dueKnown bool
	// forwardedAt is when asynq last looked into a set of delayed tasks.
	forwardedAt map[string]time.Time
}

// noteEmpty records that no call waits, and when the next delayed one is due. It returns how
// long not to poll the queues.
func (idle *queueIdle) noteEmpty(due time.Time) time.Duration {
	idle.mu.Lock()
	defer idle.mu.Unlock()
	now := time.Now()
	if idle.since.IsZero() {
		idle.since = now
	}
	idle.due, idle.dueKnown = due, true
	if now.Sub(idle.since) > idleAfter {
		return idlePause
	}
	return emptyPause
}

// wereEmpty reports whether the queues were empty when they were polled last.
func (idle *queueIdle) wereEmpty() bool {
	idle.mu.Lock()
	defer idle.mu.Unlock()
	return idle.dueKnown
}

// noteCalls records that there are calls, or will be: the due time that was read before is
// not valid any more.
func (idle *queueIdle) noteCalls() {
	idle.mu.Lock()
	defer idle.mu.Unlock()
	idle.since, idle.dueKnown = time.Time{}, false
}

// shouldForward reports whether asynq should look into a set of delayed tasks for
// those that are due.
func (idle *queueIdle) shouldForward(set string, now time.Time) bool {
	idle.mu.Lock()
	defer idle.mu.Unlock()
	// One second is added because clocks differ and asynq's times are whole seconds.
	if idle.dueKnown && (idle.due.IsZero() || now.Add(time.Second).Before(idle.due)) {
		return false
	}
	if now.Sub(idle.forwardedAt[set]) < pollDelayed*3/4 {
		return false
	}
	if idle.forwardedAt == nil {
		idle.forwardedAt = map[string]time.Time{}
	}
	idle.forwardedAt[set] = now
	return true
}
