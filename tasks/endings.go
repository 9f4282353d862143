package tasks

import (
	"context"
	"sync"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/tasks/redislua"
)

// endings tells those who wait for calls that these have ended. All of a client's share
// one subscription, which is open while anybody waits.
type endings struct {
	rdb redis.UniversalClient

	mu      sync.Mutex
	waiting map[string]map[*endingWait]bool
	stop    context.CancelFunc
	// subscribed is closed once Redis has confirmed the subscription.
	subscribed chan struct{}
}

// endingWait is one wait for the ending of a call.
type endingWait struct {
	// ended has room for one signal.
	ended      chan struct{}
	subscribed <-chan struct{}
}

// join begins a wait. The caller calls leave at its end.
func (e *endings) join(id string) (wait *endingWait, leave func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.waiting) == 0 {
		ctx, stop := context.WithCancel(context.Background())
		e.waiting, e.stop, e.subscribed = map[string]map[*endingWait]bool{}, stop, make(chan struct{})
		go e.follow(ctx, e.subscribed)
	}
	wait = &endingWait{ended: make(chan struct{}, 1), subscribed: e.subscribed}
	if e.waiting[id] == nil {
		e.waiting[id] = map[*endingWait]bool{}
	}
	e.waiting[id][wait] = true
	return wait, func() { e.leave(id, wait) }
}

func (e *endings) leave(id string, wait *endingWait) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.waiting[id], wait)
	if len(e.waiting[id]) == 0 {
		delete(e.waiting, id)
	}
	if len(e.waiting) == 0 {
		e.stop()
	}
}

// follow passes on what Redis announces, until ctx ends. Where it cannot subscribe, those
// who wait read Redis now and then.
func (e *endings) follow(ctx context.Context, subscribed chan<- struct{}) {
	news := e.rdb.Subscribe(ctx, redislua.EndedChannel)
	defer func() { _ = news.Close() }() // it ends with its connection, whatever Close returns
	if _, err := news.Receive(ctx); err != nil {
		return
	}
	close(subscribed)
	messages := news.Channel()
	for {
		select {
		case <-ctx.Done():
			return
		case m, ok := <-messages:
			if !ok {
				return
			}
			e.tell(m.Payload)
		}
	}
}

func (e *endings) tell(id string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for wait := range e.waiting[id] {
		select {
		case wait.ended <- struct{}{}:
		default: // it has not read the last one yet
		}
	}
}
