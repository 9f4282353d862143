package worker

import (
	"sync"
	"time"
)

// places are how many calls the process makes at once, shared by its accounts.
// Where there are not enough, the account with the fewest calls under way is
// served first. One that has less than half of an equal share need not wait: a
// slow account, or one with many calls, keeps no other waiting. For that up to
// half as many calls again can be under way.
type places struct {
	mu      sync.Mutex
	size    int
	free    int // below zero where accounts went beyond
	used    map[*account]int
	waiting []*waiter
}

// waiter is a fetcher that waits for a place.
type waiter struct {
	account *account
	granted chan struct{} // closed under the lock
}

func newPlaces(n int) *places { return &places{size: n, free: n, used: map[*account]int{}} }

// acquire waits for a place; false means that there was none for so long, or that
// the worker drains.
func (p *places) acquire(a *account, draining <-chan struct{}, atMost time.Duration) bool {
	select {
	case <-draining:
		return false
	default:
	}
	p.mu.Lock()
	if p.may(a) {
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

// may tells whether an account may make one more call now.
func (p *places) may(a *account) bool {
	if p.free > 0 {
		return true
	}
	active := len(p.used)
	if p.used[a] == 0 {
		active++
	}
	return p.used[a] < max(p.size/(2*active), 1)
}

// more grants up to n further places to an account that has one and can fill
// them at once, and returns how many: only those that nobody waits for.
func (p *places) more(a *account, n int) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n = max(min(n, p.free, a.concurrency-p.used[a]), 0)
	for range n {
		p.grant(a)
	}
	return n
}

func (p *places) grant(a *account) {
	p.free--
	p.used[a]++
}

// release gives a place back, and on to whoever has the fewest.
func (p *places) release(a *account) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.free++
	if p.used[a]--; p.used[a] == 0 {
		delete(p.used, a)
	}
	next := -1
	for i, w := range p.waiting {
		if next < 0 || p.used[w.account] < p.used[p.waiting[next].account] {
			next = i
		}
	}
	if next < 0 || !p.may(p.waiting[next].account) {
		return
	}
	w := p.waiting[next]
	p.waiting = append(p.waiting[:next], p.waiting[next+1:]...)
	p.grant(w.account)
	close(w.granted)
}
