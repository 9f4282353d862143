package worker

import (
	"context"
	"time"
)

// every calls do after each interval, until ctx ends.
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

// atOnceAndEvery calls do at once and then after each interval, until ctx ends.
func atOnceAndEvery(ctx context.Context, interval time.Duration, do func()) {
	do()
	every(ctx, interval, do)
}
