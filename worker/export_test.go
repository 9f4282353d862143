package worker

import (
	"context"
	"time"
)

// The tests of this package do not wait as long for a worker's death to be certain,
// as those with real processes do, nor for a worker of another version.
func init() {
	reclaimEvery, reclaimAfter = 500*time.Millisecond, time.Second
	otherWorkerDelay = 2 * time.Second
}

// NoteReached has an upstream's API be one that has answered before.
func NoteReached(ctx context.Context, w *Worker, upstream string) error {
	return w.reached.add(ctx, upstream, w.accounts[upstream].api)
}
