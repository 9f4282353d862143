package worker

import (
	"context"
	"sync"
	"time"
)

// semaphore bounds how many calls the process makes at once, for all accounts together.
// When it is full, the account with the fewest inflight calls is served first. An account
// with less than half of an equal share does not wait, so that a slow or busy account does
// not block the others. For this purpose the bound may be exceeded by half.
type semaphore struct {
	mu      sync.Mutex
	size    int
	free    int // negative while the bound is exceeded
	used    map[*account]int
	waiting []*waiter
	// exclusive counts the calls that are made alone, or wait for that. While there are
	// any, no permit is granted. The call whose turn it is holds turn; quiet is closed when
	// all other calls have ended.
	exclusive int
	turn      chan struct{}
	quiet     chan struct{}
}

// waiter is a fetcher that waits for a permit.
type waiter struct {
	account *account
	granted chan struct{} // closed under the lock
}

func newSemaphore(n int) *semaphore {
	return &semaphore{size: n, free: n, used: map[*account]int{}, turn: make(chan struct{}, 1)}
}

// acquire waits for a permit. It returns false if there is none within atMost, or if the
// worker drains.
func (s *semaphore) acquire(a *account, draining <-chan struct{}, atMost time.Duration) bool {
	select {
	case <-draining:
		return false
	default:
	}
	s.mu.Lock()
	if s.hasRoom(a) {
		s.grant(a)
		s.mu.Unlock()
		return true
	}
	w := &waiter{account: a, granted: make(chan struct{})}
	s.waiting = append(s.waiting, w)
	s.mu.Unlock()
	timer := time.NewTimer(atMost)
	defer timer.Stop()
	select {
	case <-w.granted:
		return true
	case <-draining:
	case <-timer.C:
	}
	return s.cancelWait(w)
}

// cancelWait stops waiting. It returns true if a permit was granted just before.
func (s *semaphore) cancelWait(w *waiter) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, other := range s.waiting {
		if other == w {
			s.waiting = append(s.waiting[:i], s.waiting[i+1:]...)
			return false
		}
	}
	return true
}

// hasRoom reports whether an account may make one more call now. s.mu must be held.
func (s *semaphore) hasRoom(a *account) bool {
	if s.exclusive > 0 {
		return false
	}
	if s.free > 0 {
		return true
	}
	active := len(s.used)
	if s.used[a] == 0 {
		active++
	}
	return s.used[a] < max(s.size/(2*active), 1)
}

// acquireMore grants up to n further permits to an account that has one and uses them at
// once. It grants only permits for which no fetcher waits, and returns how many.
func (s *semaphore) acquireMore(a *account, n int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n = max(min(n, s.free, a.concurrency-s.used[a]), 0)
	if s.exclusive > 0 {
		n = 0
	}
	for range n {
		s.grant(a)
	}
	return n
}

func (s *semaphore) grant(a *account) {
	s.free--
	s.used[a]++
}

// release returns a permit, and grants it to the waiting account with the fewest calls.
func (s *semaphore) release(a *account) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.free++
	if s.used[a]--; s.used[a] == 0 {
		delete(s.used, a)
	}
	s.signalQuiet()
	s.grantNext()
}

// grantNext grants a permit to the waiting account with the fewest calls, and reports
// whether it granted one. s.mu must be held.
func (s *semaphore) grantNext() bool {
	next := -1
	for i, w := range s.waiting {
		if next < 0 || s.used[w.account] < s.used[s.waiting[next].account] {
			next = i
		}
	}
	if next < 0 || !s.hasRoom(s.waiting[next].account) {
		return false
	}
	w := s.waiting[next]
	s.waiting = append(s.waiting[:next], s.waiting[next+1:]...)
	s.grant(w.account)
	close(w.granted)
	return true
}

// acquireAlone waits until the caller's call, which has a permit, is the only one that the
// process makes. No other call starts until leave is called; several callers of
// acquireAlone run one after the other. After atMost it stops waiting, and other calls
// start again: alone reports whether the call is alone. ok is false if the worker drains or
// ctx ends.
func (s *semaphore) acquireAlone(ctx context.Context, draining <-chan struct{}, atMost time.Duration) (leave func(), alone, ok bool) {
	s.mu.Lock()
	s.exclusive++
	s.signalQuiet()
	s.mu.Unlock()
	rejoin := func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.exclusive--
		for s.grantNext() {
			continue
		}
	}
	select {
	case s.turn <- struct{}{}:
	case <-draining:
		rejoin()
		return nil, false, false
	case <-ctx.Done():
		rejoin()
		return nil, false, false
	}
	end := sync.OnceFunc(func() {
		s.mu.Lock()
		s.quiet = nil
		s.mu.Unlock()
		<-s.turn
		rejoin()
	})
	timer := time.AfterFunc(atMost, end)
	leave = func() { timer.Stop(); end() }
	quiet := make(chan struct{})
	s.mu.Lock()
	s.quiet = quiet
	s.signalQuiet()
	s.mu.Unlock()
	late := time.NewTimer(atMost)
	defer late.Stop()
	select {
	case <-quiet:
		return leave, true, true
	case <-late.C:
		return leave, false, true
	case <-draining:
	case <-ctx.Done():
	}
	leave()
	return nil, false, false
}

// signalQuiet closes quiet when no other call is being made. s.mu must be held.
func (s *semaphore) signalQuiet() {
	if s.quiet != nil && s.size-s.free <= s.exclusive {
		close(s.quiet)
		s.quiet = nil
	}
}
