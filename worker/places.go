package worker

import (
	"sync"
	"time"
)

// places are how many calls the process makes at once, shared by its accounts.
// Where there are not enough, the account with the fewest calls under way is
// served first, and one that has none may always make one: a slow account, or
// one with many calls, keeps no other waiting.
type places struct {
	mu      sync.Mutex
	free    int
	used    map[*account]int
	waiting []*waiter
}

// waiter is a fetcher that waits for a place.
type waiter struct {
	account *account
	granted chan struct{} // closed under the lock
}

func newPlaces(n int) *places { return &places{free: n, used: map[*account]int{}} }

// acquire waits for a place; false means that there was none for so long, or that
// the worker drains.
func (p *places) acquire(a *account, draining <-chan struct{}, atMost time.Duration) bool {
	select {
	case <-draining:
		return false
	default:
	}
	p.mu.Lock()
	if p.free > 0 || p.used[a] == 0 {
		p.grant(a)
		p.mu.Unlock()
		return true
	}
	w := &waiter{account: a, granted: make(chan struct{})}
	p.waiting = append(p.waiting, w)
	p.mu.Unlock()
	timer := time.NewTimer(atMost)
	defer timer.Stop()
	select {
	case <-w.granted:
		return true
	case <-draining:
	case <-timer.C:
	}
	return p.giveUp(w)
}

// giveUp stops waiting; true means that a place was granted just before.
func (p *places) giveUp(w *waiter) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, other := range p.waiting {
		if other == w {
			p.waiting = append(p.waiting[:i], p.waiting[i+1:]...)
			return false
		}
	}
	return true
}

func (p *places) grant(a *account) {
	p.free-- // below zero where an account's first call needs no free place
	p.used[a]++
}

// release gives a place back, and on to whoever has the fewest.
func (p *places) release(a *account) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.free++
	p.used[a]--
	next := -1
	for i, w := range p.waiting {
		if next < 0 || p.used[w.account] < p.used[p.waiting[next].account] {
			next = i
		}
	}
	if next < 0 || p.free <= 0 && p.used[p.waiting[next].account] > 0 {
		return
	}
	w := p.waiting[next]
	p.waiting = append(p.waiting[:next], p.waiting[next+1:]...)
	p.grant(w.account)
	close(w.granted)
}
