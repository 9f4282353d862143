package worker

import (
	"sync"
	"time"
)

const (
	// emptyRest is how long queues that were found empty are left alone.
	emptyRest = 50 * time.Millisecond
	// idleRest is the same once they have been empty for idleAfter: many accounts
	// that have nothing to do must cost Redis next to nothing. What is sent
	// meanwhile is announced.
	idleRest  = 2 * time.Second
	idleAfter = 5 * time.Second
)

// pause is until when a process need not ask Redis, as far as it knows.
type pause struct {
	mu    sync.Mutex
	end   time.Time
	lifts uint64
	over  chan struct{} // closed by lift; nil while nobody waits
}

// known is how much the process knows: what Redis says to a question that is
// asked after it is no older.
func (p *pause) known() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lifts
}

// until begins a pause of d; one that was lifted since the question is not begun.
func (p *pause) until(d time.Duration, known uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.lifts == known {
		p.end = time.Now().Add(d)
	}
}

// lift ends the pause: something has changed, and Redis is to be asked.
func (p *pause) lift() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lifts++
	p.end = time.Time{}
	if p.over != nil {
		close(p.over)
		p.over = nil
	}
}

// wait waits until the pause is over; false means that this takes longer than
// atMost, or that the worker drains.
func (p *pause) wait(draining <-chan struct{}, atMost time.Duration) bool {
	p.mu.Lock()
	left := time.Until(p.end)
	if left <= 0 {
		p.mu.Unlock()
		return true
	}
	if atMost <= 0 {
		p.mu.Unlock()
		return false
	}
	if p.over == nil {
		p.over = make(chan struct{})
	}
	over := p.over
	p.mu.Unlock()
	timer := time.NewTimer(min(left, atMost))
	defer timer.Stop()
	select {
	case <-timer.C:
		return left <= atMost
	case <-over:
		return true
	case <-draining:
		return false
	}
}

// emptiness is what a process knows of queues that are asked together: how long
// they have been empty, and of their delayed tasks.
type emptiness struct {
	pause

	mu    sync.Mutex
	since time.Time // zero when they are not empty
	// due is when the next delayed task is, zero for none; surely tells that this
	// is known.
	due    time.Time
	surely bool
	// looked is when asynq was last let look into a set of delayed tasks.
	looked map[string]time.Time
}

// note notes that no call waits, and when the next one that is delayed is due. It
// returns for how long to leave the queues alone.
func (e *emptiness) note(due time.Time) time.Duration {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := time.Now()
	if e.since.IsZero() {
		e.since = now
	}
	e.due, e.surely = due, true
	if now.Sub(e.since) > idleAfter {
		return idleRest
	}
	return emptyRest
}

// idle tells that the queues were empty when they were asked last.
func (e *emptiness) idle() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.surely
}

// busy notes that there are calls, or will be: what was known of delayed ones is
// not sure any more.
func (e *emptiness) busy() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.since, e.surely = time.Time{}, false
}

// look tells whether asynq is to look into a set of delayed tasks for those that
// are due.
func (e *emptiness) look(set string, now time.Time) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	// A second more, as clocks differ and asynq's are whole seconds.
	if e.surely && (e.due.IsZero() || now.Add(time.Second).Before(e.due)) {
		return false
	}
	if now.Sub(e.looked[set]) < pollDelayed*3/4 {
		return false
	}
	if e.looked == nil {
		e.looked = map[string]time.Time{}
	}
	e.looked[set] = now
	return true
}
