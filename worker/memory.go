package worker

import (
	"context"
	"sync"
	"time"
)

const (
	// memoryEvery is how often a worker reads how many bytes the results take that are
	// kept in Redis, memoryRecheck for how long it trusts that they are too many.
	memoryEvery   = time.Second
	memoryRecheck = 5 * time.Second
)

// memory holds calls back while the results in Redis take as many bytes as they may.
type memory struct {
	timedGate
	most int64

	mu sync.Mutex
	// kept is the size that was read last, plus what this process has recorded since.
	kept int64
	full bool
}

// add notes that a body of n bytes was recorded.
func (m *memory) add(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.kept += int64(n)
	if m.kept >= m.most && !m.full {
		m.closeFor(memoryRecheck, m.version())
	}
}

// learn notes how many bytes there are. changed reports that they are too many now and
// were not, or the other way round.
func (m *memory) learn(kept int64) (full, changed bool) {
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
			if full, changed := w.memory.learn(kept); changed {
				err = w.noteMemory(ctx, kept, full)
			}
		}
		w.noteRedisError(err)
	})
}

// noteMemory logs that calls wait for memory, or go on.
func (w *Worker) noteMemory(ctx context.Context, kept int64, full bool) error {
	if full {
		w.log.Warn("the results in Redis take as many bytes as they may: no call begins until some are exported", "bytes", kept, "max_memory", w.memory.most)
	} else {
		w.log.Info("the results in Redis take less than they may again: calls go on", "bytes", kept, "max_memory", w.memory.most)
	}
	return w.ledger.NoteFull(ctx, full)
}
