package worker

import (
	"errors"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/tasks/broker"
)

// After redis.Nil asynq sleeps for up to 375 ms, and its server cannot be stopped meanwhile.
func TestAWorkerThatDrainsDoesNotMakeAsynqSleep(t *testing.T) {
	w := &Worker{draining: make(chan struct{})}
	if _, err := w.dequeue(t.Context(), broker.Dequeue{Queue: "api"}); !errors.Is(err, redis.Nil) {
		t.Errorf("without a call: got %v, want redis.Nil", err)
	}
	close(w.draining)
	if _, err := w.dequeue(t.Context(), broker.Dequeue{Queue: "api"}); err == nil || errors.Is(err, redis.Nil) {
		t.Errorf("while it drains: got %v, want another error than redis.Nil", err)
	}
}
