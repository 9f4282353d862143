package ledger

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"
)

// Statuses is [Ledger.Calls] without contents and bodies: of each record only ID,
// Queue, Batch, Key, State and Generation are set.
func (l *Ledger) Statuses(ctx context.Context, batch string, id func(batch, key string) string) iter.Seq2[Record, error] {
	return l.claimed(ctx, batch, "*", id, func(ctx context.Context, queue string, ids []string) iter.Seq2[Record, error] {
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

// Names is [Ledger.Calls] without reading the records: of each call only ID, Queue, Batch and
// Key are set. It also yields those that were never accepted, and those that have ended.
func (l *Ledger) Names(ctx context.Context, batch string, id func(batch, key string) string) iter.Seq2[Record, error] {
	return l.claimed(ctx, batch, "*", id, func(_ context.Context, queue string, ids []string) iter.Seq2[Record, error] {
		return func(yield func(Record, error) bool) {
			for _, id := range ids {
				if !yield(Record{ID: id, Queue: queue}, nil) {
					return
				}
			}
		}
	})
}

// Named is [Ledger.Calls] for the calls whose keys match a pattern as in Redis's KEYS,
// without contents and bodies: of each record only ID, Queue, Batch, Key, Hash, State,
// Generation and Ending are set.
func (l *Ledger) Named(ctx context.Context, batch, pattern string, id func(batch, key string) string) iter.Seq2[Record, error] {
	return l.claimed(ctx, batch, pattern, id, func(ctx context.Context, queue string, ids []string) iter.Seq2[Record, error] {
		return func(yield func(Record, error) bool) {
			rows, err := l.fields(ctx, queue, ids, "state", "gen", "origin", "out")
			if err != nil {
				yield(Record{}, err)
				return
			}
			for i, row := range rows {
				r := recordFromHash(queue, ids[i], hash{"state", row[0], "gen", row[1], "origin", row[2], "out", row[3]})
				if !yield(r, nil) {
					return
				}
			}
		}
	})
}

// QueueState is the state of one of asynq's queues.
type QueueState struct {
	Queue string
	// Listed reports that asynq's own tools list the queue.
	Listed bool
	// Paused reports that an operator paused it.
	Paused bool
	// These are the numbers of waiting and of active tasks.
	Pending, Active, Scheduled, Retry int64
	// Unleased are active tasks without a lease: asynq will never take them back.
	Unleased []string
	// Foreign are tasks that have no record, of those that were looked at.
	Foreign []string
	// Ghosts are ids on a list whose task is gone, of those that were looked at.
	// asynq's own tools fail for the whole queue when they meet one.
	Ghosts []string
	// Overdue is how many tasks of the archive asynq would trim when it next archives
	// one.
	Overdue int64
}

// archiveJams is the number of overdue tasks from which the archive is about to jam:
// asynq passes all of them to one command, and Lua takes about 8,000. The archive's own
// trimming never leaves so many; see [archiveKeep].
const archiveJams = 6000

// Jams reports whether the archive has so many overdue tasks that asynq soon fails, or
// fails already, to archive anything in the queue.
func (s QueueState) Jams() bool { return s.Overdue >= archiveJams }

// QueueState reads the state of one queue. Of the waiting tasks it checks at most
// sample at either end of each list for those without a record or without a task.
func (rep *Repairer) QueueState(ctx context.Context, queue string, sample int) (QueueState, error) {
	k := keysOf(queue)
	s := QueueState{Queue: queue}
	fail := func(err error) (QueueState, error) { return s, fmt.Errorf("look at queue %q: %w", queue, err) }
	listed, err := rep.rdb.SIsMember(ctx, asynqAll, queue).Result()
	if err != nil {
		return fail(err)
	}
	s.Listed = listed
	// In one transaction, since a task moves between the list and the leases in one
	// step too.
	tx := rep.rdb.TxPipeline()
	active, leased := tx.LRange(ctx, k.active(), 0, -1), tx.ZRange(ctx, k.lease(), 0, -1)
	paused := tx.Exists(ctx, k.paused())
	pending, scheduled, retry := tx.LLen(ctx, k.pending()), tx.ZCard(ctx, k.scheduled()), tx.ZCard(ctx, k.retry())
	n := int64(sample)
	waiting := []*redis.StringSliceCmd{
		tx.LRange(ctx, k.pending(), 0, n-1), tx.LRange(ctx, k.pending(), -n, -1),
		tx.ZRange(ctx, k.scheduled(), 0, n-1), tx.ZRange(ctx, k.scheduled(), -n, -1),
		tx.ZRange(ctx, k.retry(), 0, n-1), tx.ZRange(ctx, k.retry(), -n, -1),
	}
	away := []*redis.StringSliceCmd{
		tx.ZRange(ctx, k.archived(), 0, n-1), tx.ZRange(ctx, k.archived(), -n, -1),
		tx.ZRange(ctx, k.completed(), 0, n-1), tx.ZRange(ctx, k.completed(), -n, -1),
	}
	size := tx.ZCard(ctx, k.archived())
	old := tx.ZCount(ctx, k.archived(), "-inf", fmt.Sprint(time.Now().Add(-archiveAge).Unix()))
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
	s.Overdue = old.Val() + max(0, size.Val()-asynqKeeps)
	if s.Foreign, err = rep.without(ctx, distinct(waiting), k.task, k.record); err != nil {
		return fail(err)
	}
	if s.Ghosts, err = rep.ghosts(ctx, k, distinct(waiting, away)); err != nil {
		return fail(err)
	}
	return s, nil
}

// ghosts returns the ids that are on a list and have no task.
func (rep *Repairer) ghosts(ctx context.Context, k keys, ids []string) ([]string, error) {
	suspects, err := rep.without(ctx, ids, nil, k.task)
	if err != nil {
		return nil, err
	}
	var found []string
	for _, id := range suspects {
		// A task may have ended since its list was read: check all of them in one step.
		tx := rep.rdb.TxPipeline()
		there := tx.Exists(ctx, k.task(id))
		on := []redis.Cmder{
			tx.LPos(ctx, k.pending(), id, redis.LPosArgs{}), tx.ZScore(ctx, k.scheduled(), id), tx.ZScore(ctx, k.retry(), id),
			tx.ZScore(ctx, k.archived(), id), tx.ZScore(ctx, k.completed(), id),
		}
		if _, err := tx.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
			return nil, err
		}
		if there.Val() == 0 && slices.ContainsFunc(on, func(c redis.Cmder) bool { return c.Err() == nil }) {
			found = append(found, id)
		}
	}
	return found, nil
}

// distinct returns the ids of some lists, each once.
func distinct(lists ...[]*redis.StringSliceCmd) []string {
	var ids []string
	seen := map[string]bool{}
	for _, list := range lists {
		for _, cmd := range list {
			for _, id := range cmd.Val() {
				if !seen[id] {
					seen[id] = true
					ids = append(ids, id)
				}
			}
		}
	}
	return ids
}

// without returns the ids that have the key has, unless that is nil, and lack the key
// lacks. Both are read in one step: a call that ends meanwhile loses its task and keeps
// its record.
func (rep *Repairer) without(ctx context.Context, ids []string, has, lacks func(id string) string) ([]string, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	pipe := rep.rdb.TxPipeline()
	there, lacking := make([]*redis.IntCmd, len(ids)), make([]*redis.IntCmd, len(ids))
	for i, id := range ids {
		if has != nil {
			there[i] = pipe.Exists(ctx, has(id))
		}
		lacking[i] = pipe.Exists(ctx, lacks(id))
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, err
	}
	var found []string
	for i, id := range ids {
		if lacking[i].Val() == 0 && (has == nil || there[i].Val() == 1) {
			found = append(found, id)
		}
	}
	return found, nil
}

// TrimArchive removes from asynq's archive what asynq would trim, and returns how many
// tasks that were. The archive is a view: the dead letters stay in the ledger.
func (rep *Repairer) TrimArchive(ctx context.Context, queue string) (trimmed int, err error) {
	k := keysOf(queue)
	for {
		n, err := scriptTrim.Run(ctx, rep.rdb, []string{k.archived()}, k.taskPrefix(), time.Now().Add(-archiveAge).Unix(), archiveKeep).Int()
		if err != nil {
			return trimmed, fmt.Errorf("trim the archive of queue %q: %w", queue, err)
		}
		if trimmed += n; n == 0 {
			return trimmed, nil
		}
	}
}

// Unlist removes ids whose task is gone from the lists of a queue, and returns how many
// there were.
func (rep *Repairer) Unlist(ctx context.Context, queue string, ids ...string) (removed int, err error) {
	step, err := rep.searchable(ctx, queue)
	if err != nil {
		return 0, err
	}
	k := keysOf(queue)
	for some := range slices.Chunk(ids, step) {
		args := []any{k.taskPrefix()}
		for _, id := range some {
			args = append(args, id)
		}
		n, err := scriptUnlist.Run(ctx, rep.rdb, []string{k.pending(), k.scheduled(), k.retry(), k.archived(), k.completed()}, args...).Int()
		if err != nil {
			return removed, fmt.Errorf("remove ids without a task from the lists of queue %q: %w", queue, err)
		}
		removed += n
	}
	return removed, nil
}

// Relist adds a queue to asynq's set of queues again, so that asynq's own tools list
// it.
func (rep *Repairer) Relist(ctx context.Context, queue string) error {
	if err := rep.rdb.SAdd(ctx, asynqAll, queue).Err(); err != nil {
		return fmt.Errorf("list queue %q: %w", queue, err)
	}
	return nil
}
