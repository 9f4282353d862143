package worker

import (
	"context"
	"sync"
	"time"

	"github.com/seed-2903acc3/callq/tasks/ledger"
)

// asynq takes one task at a time, and each would cost a round trip to Redis. Where
// a process has several places free, they are filled by one question: the first
// call goes to asynq at once, the others when it asks next, which it does
// without a pause while it gets calls. Each of them has its place already, so a
// process that dies holds no more calls than it has places.

const (
	// mostMore is how many calls are taken along with one at most. It is most of
	// what there is to win, and as many wait for the end of their lease where the
	// reply is lost.
	mostMore = 15
	// stale is when a call that was taken must ask once more whether it may be
	// made. From one to the next asynq needs some microseconds.
	stale = 50 * time.Millisecond
)

// stock are calls of one account that were taken along with another.
type stock struct {
	mu     sync.Mutex
	calls  []*ledger.Delivery
	closed bool
}

// next returns the next call, nil for none.
func (s *stock) next() *ledger.Delivery {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.calls) == 0 {
		return nil
	}
	take := s.calls[0]
	s.calls = s.calls[1:]
	return take
}

// put adds calls; false means that the worker drains and they must go back.
func (s *stock) put(calls []*ledger.Delivery) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.calls = append(s.calls, calls...)
	}
	return !s.closed
}

// drain returns what is left. There will be no more.
func (s *stock) drain() []*ledger.Delivery {
	s.mu.Lock()
	defer s.mu.Unlock()
	left := s.calls
	s.calls, s.closed = nil, true
	return left
}

// keep keeps calls until asynq asks for them.
func (w *Worker) keep(ctx context.Context, a *account, calls []*ledger.Delivery) {
	if len(calls) > 0 && !a.stock.put(calls) {
		w.unkeep(ctx, a, calls)
	}
}

// unkeep puts calls back for which asynq will not ask any more, each to where it
// stood.
func (w *Worker) unkeep(ctx context.Context, a *account, calls []*ledger.Delivery) {
	for i := len(calls) - 1; i >= 0; i-- {
		take := calls[i]
		take.Parked++
		w.insistOn(ctx, w.dispatcher.Park, take, nil)
		w.giveSlot(ctx, take)
		w.places.release(a)
	}
}

// draw chooses for each of n calls which queue is asked first, with the weights
// by which asynq chooses for its own.
func (a *account) draw(n int, dice func(int64) int64) []int {
	drawn := make([]int, n)
	for i := range drawn {
		drawn[i] = a.lots[dice(int64(len(a.lots)))]
	}
	return drawn
}
