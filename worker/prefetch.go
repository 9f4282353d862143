package worker

import (
	"context"
	"sync"
	"time"

	"github.com/seed-2903acc3/callq/tasks/ledger"
)

// asynq dequeues one task at a time, which would cost a round trip to Redis for each. A
// process that may make several more calls dequeues them with one script. It gives the
// first to asynq at once, and the others when asynq asks next; asynq asks without a pause
// while it gets calls. Each of these calls has acquired the semaphore, so a process that
// dies holds no more calls than its concurrency.

const (
	// maxPrefetch is how many further calls one script dequeues at most. More would save
	// little, and if the reply is lost, all of them wait for the end of their leases.
	maxPrefetch = 31
	// recheckAfter is the age of a dequeue above which the worker asks Redis again whether
	// the call may be made. asynq asks for the next task within microseconds.
	recheckAfter = 50 * time.Millisecond
)

// prefetch holds calls of one account that were dequeued together with another.
type prefetch struct {
	mu     sync.Mutex
	calls  []*ledger.Delivery
	closed bool
}

// pop removes and returns the next call; nil for none.
func (s *prefetch) pop() *ledger.Delivery {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.calls) == 0 {
		return nil
	}
	delivery := s.calls[0]
	s.calls = s.calls[1:]
	return delivery
}

// push adds calls. It returns false when the worker drains: the caller must return them.
func (s *prefetch) push(calls []*ledger.Delivery) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.calls = append(s.calls, calls...)
	}
	return !s.closed
}

// drain removes and returns all calls. push returns false from then on.
func (s *prefetch) drain() []*ledger.Delivery {
	s.mu.Lock()
	defer s.mu.Unlock()
	left := s.calls
	s.calls, s.closed = nil, true
	return left
}

// pushPrefetched stores calls until asynq asks for them.
func (w *Worker) pushPrefetched(ctx context.Context, a *account, calls []*ledger.Delivery) {
	if len(calls) > 0 && !a.prefetch.push(calls) {
		w.returnPrefetched(ctx, a, calls)
	}
}

// returnPrefetched puts calls back at the heads of their queues, because asynq will not ask
// for them any more.
func (w *Worker) returnPrefetched(ctx context.Context, a *account, calls []*ledger.Delivery) {
	for i := len(calls) - 1; i >= 0; i-- {
		delivery := calls[i]
		delivery.Parked++
		w.retryRecord(ctx, w.dispatcher.Park, delivery, nil)
		w.returnSlot(ctx, delivery)
		w.semaphoreOf(a).release(a)
	}
}

// drawQueues chooses for each of n calls which queue is asked first, by their weights.
func (a *account) drawQueues(n int, random func(int64) int64) []int {
	drawn := make([]int, n)
	for i := range drawn {
		drawn[i] = a.weightedQueues[random(int64(len(a.weightedQueues)))]
	}
	return drawn
}
