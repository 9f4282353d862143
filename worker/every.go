package worker

import (
	"context"
	"time"
)

// every does something after each interval, until ctx ends.
func every(ctx context.Context, interval time.Duration, do func()) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			do()
		}
	}
}

// atOnceAndEvery is every that does it at its beginning, too.
func atOnceAndEvery(ctx context.Context, interval time.Duration, do func()) {
	do()
	every(ctx, interval, do)
}
