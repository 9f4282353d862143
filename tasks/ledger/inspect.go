package ledger

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// Standings is [Ledger.Calls] without what the calls weigh: of each record only
// ID, Queue, Batch, Key, State and Generation are set.
func (l *Ledger) Standings(ctx context.Context, batch string, id func(batch, key string) string) iter.Seq2[Record, error] {
	return l.claimed(ctx, batch, id, func(ctx context.Context, queue string, ids []string) iter.Seq2[Record, error] {
		return func(yield func(Record, error) bool) {
			rows, err := l.fields(ctx, queue, ids, "state", "gen")
			if err != nil {
				yield(Record{}, err)
				return
			}
			for i, row := range rows {
				if !yield(Record{ID: ids[i], Queue: queue, State: State(row[0]), Generation: count(row[1])}, nil) {
					return
				}
			}
		}
	})
}

// QueueState is how one of asynq's queues stands, beside the ledger.
type QueueState struct {
	Queue string
	// Listed tells that asynq's own tools find the queue.
	Listed bool
	// Paused tells that an operator paused it.
	Paused bool
	// What waits, and what is being made.
	Pending, Active, Scheduled, Retry int64
	// Unleased are tasks that stand as being made and have no lease: nobody
	// will ever take them back.
	Unleased []string
	// Strangers are tasks that have no record, of those that were looked at.
	Strangers []string
}

// QueueState looks at one queue. Of the waiting tasks it looks at no more than
// sample at either end of each list for those without a record.
func (l *Ledger) QueueState(ctx context.Context, queue string, sample int) (QueueState, error) {
	k := keysOf(queue)
	s := QueueState{Queue: queue}
	fail := func(err error) (QueueState, error) { return s, fmt.Errorf("look at queue %q: %w", queue, err) }
	listed, err := l.rdb.SIsMember(ctx, asynqAll, queue).Result()
	if err != nil {
		return fail(err)
	}
	s.Listed = listed
	// In one transaction, since a task moves between the list and the leases in
	// one step too.
	tx := l.rdb.TxPipeline()
	active, leased := tx.LRange(ctx, k.active(), 0, -1), tx.ZRange(ctx, k.lease(), 0, -1)
	paused := tx.Exists(ctx, k.paused())
	pending, scheduled, retry := tx.LLen(ctx, k.pending()), tx.ZCard(ctx, k.scheduled()), tx.ZCard(ctx, k.retry())
	n := int64(sample)
	waiting := []*redis.StringSliceCmd{
		tx.LRange(ctx, k.pending(), 0, n-1), tx.LRange(ctx, k.pending(), -n, -1),
		tx.ZRange(ctx, k.scheduled(), 0, n-1), tx.ZRange(ctx, k.scheduled(), -n, -1),
		tx.ZRange(ctx, k.retry(), 0, n-1), tx.ZRange(ctx, k.retry(), -n, -1),
	}
	if _, err := tx.Exec(ctx); err != nil {
		return fail(err)
	}
	s.Paused = paused.Val() == 1
	s.Pending, s.Scheduled, s.Retry, s.Active = pending.Val(), scheduled.Val(), retry.Val(), int64(len(active.Val()))
	hasLease := map[string]bool{}
	for _, id := range leased.Val() {
		hasLease[id] = true
	}
	for _, id := range active.Val() {
		if !hasLease[id] {
			s.Unleased = append(s.Unleased, id)
		}
	}
	var ids []string
	seen := map[string]bool{}
	for _, cmd := range waiting {
		for _, id := range cmd.Val() {
			if !seen[id] {
				seen[id] = true
				ids = append(ids, id)
			}
		}
	}
	s.Strangers, err = l.strangers(ctx, k, ids)
	if err != nil {
		return fail(err)
	}
	return s, nil
}

// strangers are the tasks that have no record. What ends while it looks is gone
// together with its task and none.
func (l *Ledger) strangers(ctx context.Context, k keys, ids []string) ([]string, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	pipe := l.rdb.TxPipeline()
	tasks, records := make([]*redis.IntCmd, len(ids)), make([]*redis.IntCmd, len(ids))
	for i, id := range ids {
		tasks[i], records[i] = pipe.Exists(ctx, k.task(id)), pipe.Exists(ctx, k.record(id))
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, err
	}
	var found []string
	for i, id := range ids {
		if tasks[i].Val() == 1 && records[i].Val() == 0 {
			found = append(found, id)
		}
	}
	return found, nil
}

// Lost returns calls that are open and whose task is gone, or was put away
// behind the ledger's back, so that no worker will ever make them. It looks at
// no more than sample open calls of each batch, and returns how many it looked at.
func (l *Ledger) Lost(ctx context.Context, id func(batch, key string) string, sample int) (lost []Record, looked int, err error) {
	batches, err := l.Batches(ctx)
	if err != nil {
		return nil, 0, err
	}
	for _, b := range batches {
		if b.Counts.Open == 0 {
			continue
		}
		open := map[string][]string{}
		seen, found := 0, 0
		for r, err := range l.Standings(ctx, b.Name, id) {
			if err != nil {
				return nil, looked, err
			}
			// A batch that is nearly done hides its open calls among many.
			if seen++; found == sample || seen > 100*sample {
				break
			}
			if r.State == Open {
				open[r.Queue] = append(open[r.Queue], r.ID)
				found++
			}
		}
		looked += found
		for queue, ids := range open {
			more, err := l.lostOf(ctx, queue, ids)
			if err != nil {
				return nil, looked, err
			}
			lost = append(lost, more...)
		}
	}
	return lost, looked, nil
}

func (l *Ledger) lostOf(ctx context.Context, queue string, ids []string) ([]Record, error) {
	k := keysOf(queue)
	pipe := l.rdb.Pipeline()
	tasks := make([]*redis.StringCmd, len(ids))
	for i, id := range ids {
		tasks[i] = pipe.HGet(ctx, k.task(id), "state")
	}
	if _, err := pipe.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
		return nil, fmt.Errorf("look for the tasks of queue %q: %w", queue, err)
	}
	var lost []Record
	for i, id := range ids {
		if !putAway(tasks[i].Val()) {
			continue
		}
		// It may have ended in between: look again, at both in one step.
		tx := l.rdb.TxPipeline()
		task, record := tx.HGet(ctx, k.task(id), "state"), tx.HGetAll(ctx, k.record(id))
		if _, err := tx.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
			return nil, fmt.Errorf("look for the task of call %s: %w", id, err)
		}
		if r := recordFromHash(queue, id, record.Val()); r.State == Open && putAway(task.Val()) {
			lost = append(lost, r)
		}
	}
	return lost, nil
}

// putAway tells the states of a task, "" for none, from which asynq never takes
// it back by itself.
func putAway(taskState string) bool {
	return taskState == "" || taskState == "archived" || taskState == "completed"
}

// Relist makes a queue known to asynq's own tools again.
func (l *Ledger) Relist(ctx context.Context, queue string) error {
	if err := l.rdb.SAdd(ctx, asynqAll, queue).Err(); err != nil {
		return fmt.Errorf("list queue %q: %w", queue, err)
	}
	return nil
}

// Release puts tasks that are active without a lease back among the pending and
// returns how many there were.
func (l *Ledger) Release(ctx context.Context, queue string, ids ...string) (int, error) {
	k := keysOf(queue)
	args := []any{k.taskPrefix(), time.Now().UnixNano()}
	for _, id := range ids {
		args = append(args, id)
	}
	n, err := scriptRelease.Run(ctx, l.rdb, []string{k.active(), k.lease(), k.pending()}, args...).Int()
	if err != nil {
		return 0, fmt.Errorf("release tasks of queue %q: %w", queue, err)
	}
	return n, nil
}

// Restore puts the task of a call that [Ledger.Lost] found back among the
// pending; msg is asynq's encoding of it. It reports whether it did: the call
// may have moved on meanwhile, which is no error.
func (l *Ledger) Restore(ctx context.Context, r Record, msg string) (bool, error) {
	k := keysOf(r.Queue)
	n, err := scriptRestore.Run(ctx, l.rdb,
		[]string{k.pending(), k.lease(), k.active(), k.task(r.ID), k.record(r.ID), k.scheduled(), k.retry(), k.archived(), k.asynq + "completed"},
		r.ID, r.Generation, msg, time.Now().UnixNano()).Int()
	if err != nil {
		return false, fmt.Errorf("restore the task of call %s: %w", r.ID, err)
	}
	return n == 1, nil
}

// Workers counts the processes that are at work on any queue, as their
// heartbeats tell.
func (l *Ledger) Workers(ctx context.Context) (int, error) {
	alive, err := l.rdb.ZRangeByScore(ctx, "asynq:servers", &redis.ZRangeBy{Min: fmt.Sprint(time.Now().Unix()), Max: "+inf"}).Result()
	if err != nil {
		return 0, fmt.Errorf("list the workers: %w", err)
	}
	processes := map[string]bool{}
	for _, server := range alive {
		// asynq:servers:{HOST:PID:ID}, and one process runs several servers.
		processes[server[:max(strings.LastIndexByte(server, ':'), 0)]] = true
	}
	return len(processes), nil
}

var (
	scriptFree    = load("free")
	scriptRelease = load("release")
	scriptRestore = load("restore")
)
