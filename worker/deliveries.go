package worker

import (
	"sync"

	"github.com/seed-2903acc3/callq/tasks/ledger"
)

// deliveries are the calls of this process from their dequeue to the end of their handler.
// The zero value has none. It is safe for concurrent use.
type deliveries struct {
	mu sync.Mutex
	// handed has those whose handler asynq is about to start, by the call's id.
	handed map[string]*ledger.Delivery
	// running has those that a handler makes.
	running map[*ledger.Delivery]struct{}
}

// hand stores a call for its handler.
func (ds *deliveries) hand(delivery *ledger.Delivery) {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	if ds.handed == nil {
		ds.handed = map[string]*ledger.Delivery{}
	}
	ds.handed[delivery.ID] = delivery
}

// start returns the call with the id, whose handler has started; nil if there is none. end
// must follow.
func (ds *deliveries) start(id string) *ledger.Delivery {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	delivery := ds.handed[id]
	if delivery == nil {
		return nil
	}
	delete(ds.handed, id)
	if ds.running == nil {
		ds.running = map[*ledger.Delivery]struct{}{}
	}
	ds.running[delivery] = struct{}{}
	return delivery
}

// end removes a call whose handler has ended.
func (ds *deliveries) end(delivery *ledger.Delivery) {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	delete(ds.running, delivery)
}

// runningIDs returns the ids of the calls that a handler makes.
func (ds *deliveries) runningIDs() map[string]bool {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	ids := make(map[string]bool, len(ds.running))
	for delivery := range ds.running {
		ids[delivery.ID] = true
	}
	return ids
}
