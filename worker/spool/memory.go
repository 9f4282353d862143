// Package spool keeps large bodies out of memory: they are in temporary files, and only a
// bounded number of their bytes is in memory at once. It may change in any version.
package spool

import "sync"

// Large is the size in bytes above which a body is large.
const Large = 256 << 10

// Memory bounds how many bytes of large bodies a process has in memory at once. Requests
// are granted in their order. It is safe for concurrent use; a nil Memory has no bound.
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

// Take waits until n bytes are free, and takes them; if n is larger than the bound, it
// takes the whole bound. If stop is closed first, ok is false. The caller must call release
// once in either case.
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
			m.serve() // a smaller request may have waited behind it
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

// serve grants the waiting requests that fit, in their order. m.mu must be held.
func (m *Memory) serve() {
	for len(m.waiting) > 0 && m.waiting[0].n <= m.free {
		m.free -= m.waiting[0].n
		close(m.waiting[0].granted)
		m.waiting = m.waiting[1:]
	}
}
