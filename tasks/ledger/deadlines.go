package ledger

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/tasks/redislua"
)

// An open call with a deadline is in an index of its queue, so that its deadline ends
// it even while a hold keeps it in the queue. A call that the index lacks, such as one
// that an older version accepted, ends when it is dequeued.

// deadlineScore is the millisecond from which a call must not be sent any more.
func deadlineScore(deadline time.Time) int64 { return deadline.UnixMilli() + 1 }

const (
	// lookAgain is for how long a call whose deadline has passed is left to the worker
	// that found it, or to the worker that has taken it.
	lookAgain = time.Second
	// maxExpired is how many calls one search finds at most, and maxIndexes at how many
	// queues it looks: Redis serves no other client meanwhile.
	maxExpired = MaxWithdrawn
	maxIndexes = 500
)

// Late is the result of [Dispatcher.PastDeadline].
type Late struct {
	// Calls are open, their deadline has passed, and no worker has taken them. They are
	// to be ended with [Ledger.Withdraw].
	Calls []Record
	// Now is Redis's clock.
	Now time.Time
	// More reports that there may be more of them.
	More bool
}

// PastDeadline finds open calls of queues whose deadline has passed, by Redis's clock,
// and that no worker has taken. A call that it has returned is not returned again for a
// second. If no call of the queues has a deadline, it costs one EXISTS.
func (d *Dispatcher) PastDeadline(ctx context.Context, queues ...string) (Late, error) {
	var late Late
	for some := range slices.Chunk(queues, maxIndexes) {
		found, err := d.withDeadlines(ctx, some)
		if err != nil {
			return late, fmt.Errorf("look for deadlines: %w", err)
		}
		for _, together := range found {
			if err := d.pastDeadline(ctx, together, &late); err != nil {
				return late, fmt.Errorf("look for deadlines that have passed: %w", err)
			}
		}
	}
	return late, nil
}

// withDeadlines returns the queues that may have calls with a deadline, grouped so that
// one script can read each group.
func (d *Dispatcher) withDeadlines(ctx context.Context, queues []string) ([][]string, error) {
	if !d.clustered {
		indexes := make([]string, len(queues))
		for i, queue := range queues {
			indexes[i] = keysOf(queue).deadlines()
		}
		n, err := d.rdb.Exists(ctx, indexes...).Result()
		if err != nil || n == 0 {
			return nil, err
		}
		return [][]string{queues}, nil
	}
	pipe := d.rdb.Pipeline()
	there := make([]*redis.IntCmd, len(queues))
	for i, queue := range queues {
		there[i] = pipe.Exists(ctx, keysOf(queue).deadlines())
	}
	if err := exec(ctx, pipe); err != nil {
		return nil, err
	}
	var found [][]string
	for i, queue := range queues {
		if there[i].Val() > 0 {
			found = append(found, []string{queue})
		}
	}
	return found, nil
}

func (d *Dispatcher) pastDeadline(ctx context.Context, queues []string, late *Late) error {
	keys := make([]string, 0, 2*len(queues))
	args := append(make([]any, 0, 2+len(queues)), lookAgain.Milliseconds(), maxExpired)
	for _, queue := range queues {
		k := keysOf(queue)
		keys, args = append(keys, k.deadlines(), k.lease()), append(args, k.recordPrefix())
	}
	reply, err := scriptDeadlines.Run(ctx, d.rdb, keys, args...).Slice()
	if err != nil {
		return err
	}
	late.Now = time.UnixMilli(redislua.Number(reply[0])).UTC()
	late.More = late.More || redislua.Number(reply[1]) == 1
	for _, one := range reply[2:] {
		call := one.([]any)
		h := hashIn(call[2])
		if h.get("batch") == "" || corrupt(h) != "" {
			continue // it ends when it is dequeued, see [Repairer.Repair]
		}
		late.Calls = append(late.Calls, recordFromHash(queues[redislua.Number(call[0])-1], redislua.Text(call[1]), h))
	}
	return nil
}

// indexDeadlines puts calls back into the index of their queue. A call that has ended
// since is removed from it when its deadline has passed.
func (rep *Repairer) indexDeadlines(ctx context.Context, queue string, calls []Restoring) error {
	var members []redis.Z
	for i := range calls {
		if deadline := calls[i].Deadline; !deadline.IsZero() {
			members = append(members, redis.Z{Score: float64(deadlineScore(deadline)), Member: calls[i].ID})
		}
	}
	if len(members) == 0 {
		return nil
	}
	if err := rep.rdb.ZAdd(ctx, keysOf(queue).deadlines(), members...).Err(); err != nil {
		return fmt.Errorf("note the deadlines of %d calls of queue %q: %w", len(members), queue, err)
	}
	return nil
}
