// Package spool keeps large bodies out of memory: they wait in files that have no
// name, and a bounded number of their bytes is worked on at once. It may change.
package spool

import "sync"

// Large is from how many bytes on a body counts as large.
const Large = 256 << 10

// Memory bounds how many bytes of large bodies a process has in memory at once. Who
// comes first is served first. It is safe for concurrent use; nil bounds nothing.
type Memory struct {
	size int64

	mu      sync.Mutex
	free    int64
	waiting []*request
}

type request struct {
	n       int64
	granted chan struct{}
}

// NewMemory returns a bound of size bytes.
func NewMemory(size int64) *Memory { return &Memory{size: size, free: size} }

// Take waits until n bytes are free, and takes them; more than the bound counts as the
// whole of it. It gives up when stop is closed, and ok is false then. The caller must call
// release, once, in either case.
func (m *Memory) Take(n int64, stop <-chan struct{}) (release func(), ok bool) {
	if m == nil || n <= 0 {
		return func() {}, true
	}
	n = min(n, m.size)
	release = func() { m.give(n) }
	m.mu.Lock()
	if len(m.waiting) == 0 && m.free >= n {
		m.free -= n
		m.mu.Unlock()
		return release, true
	}
	r := &request{n: n, granted: make(chan struct{})}
	m.waiting = append(m.waiting, r)
	m.mu.Unlock()
	select {
	case <-r.granted:
		return release, true
	case <-stop:
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, other := range m.waiting {
		if other == r {
			m.waiting = append(m.waiting[:i:i], m.waiting[i+1:]...)
			m.serve() // a smaller one may have stood behind it
			return func() {}, false
		}
	}
	return release, true // it was granted just before
}

func (m *Memory) give(n int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.free += n
	m.serve()
}

// serve grants what it can to those who wait. m.mu must be held.
func (m *Memory) serve() {
	for len(m.waiting) > 0 && m.waiting[0].n <= m.free {
		m.free -= m.waiting[0].n
		close(m.waiting[0].granted)
		m.waiting = m.waiting[1:]
	}
}
