package ledger

import (
	"context"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// Lease is the time until which a task belongs to the worker that took it, as asynq
// wrote it by that worker's clock.
type Lease struct {
	Queue, ID string
	// Until is in Unix seconds. It is 0 if [Leases.End] ended the lease.
	Until float64
}

// maxLeases bounds how many leases of a queue are listed. Leases that were handled make
// room for the next ones.
const maxLeases = 1000

// Overdue lists the leases of queues that ended by the given time.
func (l *Leases) Overdue(ctx context.Context, by time.Time, queues ...string) ([]Lease, error) {
	pipe := l.rdb.Pipeline()
	found := make([]*redis.ZSliceCmd, len(queues))
	for i, queue := range queues {
		found[i] = pipe.ZRangeArgsWithScores(ctx, redis.ZRangeArgs{
			Key: keysOf(queue).lease(), ByScore: true, Start: "-inf", Stop: by.Unix(), Count: maxLeases,
		})
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, fmt.Errorf("list the leases that are over: %w", err)
	}
	var leases []Lease
	for i, queue := range queues {
		for _, z := range found[i].Val() {
			leases = append(leases, Lease{Queue: queue, ID: z.Member.(string), Until: z.Score})
		}
	}
	return leases, nil
}

// Extend lengthens a lease, unless it has been given up or is longer already.
func (l *Leases) Extend(ctx context.Context, queue, id string, until time.Time) error {
	return l.rdb.ZAddArgs(ctx, keysOf(queue).lease(), redis.ZAddArgs{
		XX: true, GT: true, Members: []redis.Z{{Score: float64(until.Unix()), Member: id}},
	}).Err()
}

// End ends the leases of all active tasks, and returns how many there are. It is for a
// caller that is sure that no worker is alive, so that no process has to wait for the
// leases of dead ones.
func (l *Leases) End(ctx context.Context) (int, error) {
	queues, err := l.queues(ctx)
	if err != nil {
		return 0, err
	}
	ended := 0
	for _, queue := range queues {
		k := keysOf(queue)
		ids, err := l.rdb.LRange(ctx, k.active(), 0, -1).Result()
		if err != nil {
			return ended, fmt.Errorf("list the active tasks of queue %q: %w", queue, err)
		}
		members := make([]redis.Z, len(ids))
		for i, id := range ids {
			members[i].Member = id
		}
		if len(ids) > 0 {
			if err := l.rdb.ZAdd(ctx, k.lease(), members...).Err(); err != nil {
				return ended, fmt.Errorf("end the leases of queue %q: %w", queue, err)
			}
		}
		ended += len(ids)
	}
	return ended, nil
}

// Count counts the tasks of queues whose lease lasts beyond the given time, so that
// they seem to belong to a living worker.
func (l *Leases) Count(ctx context.Context, after time.Time, queues ...string) (int64, error) {
	pipe := l.rdb.Pipeline()
	counts := make([]*redis.IntCmd, len(queues))
	for i, queue := range queues {
		counts[i] = pipe.ZCount(ctx, keysOf(queue).lease(), fmt.Sprintf("(%d", after.Unix()), "+inf")
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return 0, fmt.Errorf("count the inflight calls: %w", err)
	}
	n := int64(0)
	for _, c := range counts {
		n += c.Val()
	}
	return n, nil
}

// HasMessage reports whether a task has asynq's encoding of it. Without it the task
// cannot be recovered after its worker's death.
func (rep *Repairer) HasMessage(ctx context.Context, queue, id string) (bool, error) {
	there, err := rep.rdb.HExists(ctx, keysOf(queue).task(id), "msg").Result()
	if err != nil && !isWrongType(err) {
		return false, fmt.Errorf("look for the task of call %s: %w", id, err)
	}
	return there, nil
}
