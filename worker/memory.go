package worker

import (
	"context"
	"sync"
	"time"
)

const (
	// memoryEvery is how often a worker reads how many bytes the results in Redis take,
	// and memoryRecheck how long it holds calls without reading again that they are too
	// many.
	memoryEvery   = time.Second
	memoryRecheck = 5 * time.Second
)

// memory holds calls while the results in Redis take MaxMemory or more.
type memory struct {
	timedGate
	most int64

	mu sync.Mutex
	// kept is the size that was read last, plus what this process has recorded since.
	kept int64
	full bool
}

// add counts a body of n bytes that this process has recorded.
func (m *memory) add(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.kept += int64(n)
	if m.kept >= m.most && !m.full {
		m.closeFor(memoryRecheck, m.version())
	}
}

// update sets how many bytes there are. full reports whether they are too many, and changed
// whether full is another value than before.
func (m *memory) update(kept int64) (full, changed bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	was := m.full
	m.kept, m.full = kept, kept >= m.most
	if m.full {
		m.closeFor(memoryRecheck, m.version())
	} else {
		m.open()
	}
	return m.full, m.full != was
}

// watchMemory reads how many bytes the results take, until ctx ends.
func (w *Worker) watchMemory(ctx context.Context) {
	atOnceAndEvery(ctx, memoryEvery, func() {
		kept, err := w.ledger.Bodies(ctx)
		if err == nil {
			if full, changed := w.memory.update(kept); changed {
				err = w.noteMemory(ctx, kept, full)
			}
		}
		w.noteRedisError(err)
	})
}

// noteMemory logs that calls wait for memory, or continue.
func (w *Worker) noteMemory(ctx context.Context, kept int64, full bool) error {
	if full {
		w.log.Warn("the results in Redis have reached max_memory: no call starts until some are exported", "bytes", kept, "max_memory", w.memory.most)
	} else {
		w.log.Info("the results in Redis are below max_memory again: calls continue", "bytes", kept, "max_memory", w.memory.most)
	}
	return w.ledger.NoteFull(ctx, full)
}
