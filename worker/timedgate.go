package worker

import (
	"sync"
	"time"
)

// timedGate is closed while a process does not have to ask Redis.
type timedGate struct {
	mu          sync.Mutex
	closedUntil time.Time
	opened      uint64
	opening     chan struct{} // closed by open; nil while no goroutine waits
}

// version returns how often open was called. Read it before a request to Redis, and pass it
// to closeFor after the reply.
func (gate *timedGate) version() uint64 {
	gate.mu.Lock()
	defer gate.mu.Unlock()
	return gate.opened
}

// closeFor closes the gate for d, unless it was opened since version was read.
func (gate *timedGate) closeFor(d time.Duration, version uint64) {
	gate.mu.Lock()
	defer gate.mu.Unlock()
	if gate.opened == version {
		gate.closedUntil = time.Now().Add(d)
	}
}

// open opens the gate. Call it when something has changed and Redis must be asked.
func (gate *timedGate) open() {
	gate.mu.Lock()
	defer gate.mu.Unlock()
	gate.opened++
	gate.closedUntil = time.Time{}
	if gate.opening != nil {
		close(gate.opening)
		gate.opening = nil
	}
}

// wait waits until the gate is open. It returns false if that takes longer than atMost, or
// if the worker drains.
func (gate *timedGate) wait(draining <-chan struct{}, atMost time.Duration) bool {
	gate.mu.Lock()
	left := time.Until(gate.closedUntil)
	if left <= 0 {
		gate.mu.Unlock()
		return true
	}
	if atMost <= 0 {
		gate.mu.Unlock()
		return false
	}
	if gate.opening == nil {
		gate.opening = make(chan struct{})
	}
	opening := gate.opening
	gate.mu.Unlock()
	timer := time.NewTimer(min(left, atMost))
	defer timer.Stop()
	select {
	case <-timer.C:
		return left <= atMost
	case <-opening:
		return true
	case <-draining:
		return false
	}
}
