package ledger

import (
	"context"
	"fmt"
	"time"
)

// ForwardRetries makes those of a queue's delayed retries pending that are due, up to
// 100 of them, and returns how many there were. They go ahead of the calls that were
// never made, but take at most every second place.
func (d *Dispatcher) ForwardRetries(ctx context.Context, queue string) (int, error) {
	k, now := keysOf(queue), time.Now()
	n, err := scriptRetries.Run(ctx, d.rdb, []string{k.retry(), k.pending()},
		k.taskPrefix(), k.recordPrefix(), k.groupPrefix(), now.Unix(), now.UnixNano()).Int()
	if err != nil {
		return 0, fmt.Errorf("make the retries of queue %q pending: %w", queue, err)
	}
	return n, nil
}
