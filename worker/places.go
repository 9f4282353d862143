package worker

import (
	"context"
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
	// aside are those of the calls under way that wait to be made alone, or are;
	// while there are any, no place is granted. first is held by the one whose turn
	// it is, quiet closed for it when all others have ended.
	aside int
	first chan struct{}
	quiet chan struct{}
}

// waiter is a fetcher that waits for a place.
type waiter struct {
	account *account
	granted chan struct{} // closed under the lock
}

func newPlaces(n int) *places {
	return &places{size: n, free: n, used: map[*account]int{}, first: make(chan struct{}, 1)}
}

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
	if p.aside > 0 {
		return false
	}
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
	if p.aside > 0 {
		n = 0
	}
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
	p.hush()
	p.serve()
}

// serve grants a place to the account that waits and has the fewest, and tells
// whether there was one to grant. p.mu is held.
func (p *places) serve() bool {
	next := -1
	for i, w := range p.waiting {
		if next < 0 || p.used[w.account] < p.used[p.waiting[next].account] {
			next = i
		}
	}
	if next < 0 || !p.may(p.waiting[next].account) {
		return false
	}
	w := p.waiting[next]
	p.waiting = append(p.waiting[:next], p.waiting[next+1:]...)
	p.grant(w.account)
	close(w.granted)
	return true
}

// alone waits until the caller's call, which has a place, is the only one that is
// made. Until it leaves no other begins, but for those that are to be alone as well,
// one after the other. After atMost it waits no longer for the others, and has them
// go on as well: alone tells whether it is. ok is false when the worker drains, or ctx
// has ended.
func (p *places) alone(ctx context.Context, draining <-chan struct{}, atMost time.Duration) (leave func(), alone, ok bool) {
	p.mu.Lock()
	p.aside++
	p.hush()
	p.mu.Unlock()
	rejoin := func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.aside--
		for p.serve() {
			continue
		}
	}
	select {
	case p.first <- struct{}{}:
	case <-draining:
		rejoin()
		return nil, false, false
	case <-ctx.Done():
		rejoin()
		return nil, false, false
	}
	rest := sync.OnceFunc(func() {
		p.mu.Lock()
		p.quiet = nil
		p.mu.Unlock()
		<-p.first
		rejoin()
	})
	timer := time.AfterFunc(atMost, rest)
	leave = func() { timer.Stop(); rest() }
	quiet := make(chan struct{})
	p.mu.Lock()
	p.quiet = quiet
	p.hush()
	p.mu.Unlock()
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

// hush tells the call that waits for it that no other is being made. p.mu is held.
func (p *places) hush() {
	if p.quiet != nil && p.size-p.free <= p.aside {
		close(p.quiet)
		p.quiet = nil
	}
}
