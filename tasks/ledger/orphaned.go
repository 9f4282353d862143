package ledger

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

// Search is a search for orphaned calls.
type Search struct {
	// ID makes a call's id from batch and key.
	ID func(batch, key string) string
	// By is the time up to which a lease must have ended for its worker to be
	// considered dead.
	By time.Time
	// Max is how many open calls of each batch are looked at.
	Max int
	// Looked counts the calls that were looked at.
	Looked int
}

// Orphaned yields calls that are open and whose task is gone, is on no list, or was put
// away without the ledger, so that no worker will ever make them.
func (rep *Repairer) Orphaned(ctx context.Context, s *Search) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		batches, err := rep.ledger.Batches(ctx)
		if err != nil {
			yield(Record{}, err)
			return
		}
		for _, b := range batches {
			mayBeOpen := b.Counts.Open > 0 || !b.Counts.Balanced() || len(b.unread) > 0
			if mayBeOpen && !rep.orphanedInBatch(ctx, b.Name, s, yield) {
				return
			}
		}
	}
}

const (
	// orphanedPage is how many open calls are looked at together: the pending list is read
	// once for each page.
	orphanedPage = 100_000
	// orphanedStep is for how many of them one pipeline asks.
	orphanedStep = 1000
)

func (rep *Repairer) orphanedInBatch(ctx context.Context, batch string, s *Search, yield func(Record, error) bool) bool {
	open, seen := map[string][]string{}, 0
	look := func() bool {
		for queue, ids := range open {
			if !rep.orphanedOf(ctx, queue, ids, s.By, yield) {
				return false
			}
		}
		clear(open)
		return true
	}
	for r, err := range rep.ledger.Statuses(ctx, batch, s.ID) {
		if err != nil {
			return yield(Record{}, err)
		}
		if r.State == "" || r.State.Ended() {
			continue
		}
		if seen == s.Max {
			break
		}
		open[r.Queue] = append(open[r.Queue], r.ID)
		s.Looked++
		if seen++; seen%orphanedPage == 0 && !look() {
			return false
		}
	}
	return look()
}

// orphanedOf yields the orphaned ones of some calls; false says that no more is wanted.
func (rep *Repairer) orphanedOf(ctx context.Context, queue string, ids []string, by time.Time, yield func(Record, error) bool) bool {
	suspects, err := rep.suspects(ctx, queue, ids)
	if err != nil {
		return yield(Record{}, fmt.Errorf("look for the tasks of queue %q: %w", queue, err))
	}
	step, err := rep.searchable(ctx, queue)
	if err != nil {
		return yield(Record{}, err)
	}
	for some := range slices.Chunk(suspects, step) {
		// Calls may have moved in between: check again, all in one step.
		keys, args := keysOf(queue).orphaned(by, "")
		for _, id := range some {
			args = append(args, id, "", "")
		}
		orphaned, err := scriptOrphaned.Run(ctx, rep.rdb, keys, args...).BoolSlice()
		if err != nil {
			return yield(Record{}, fmt.Errorf("look for the tasks of queue %q: %w", queue, err))
		}
		var found []string
		for i, is := range orphaned {
			if is {
				found = append(found, some[i])
			}
		}
		for r, err := range rep.each(ctx, queue, found) {
			if err == nil && (r.State == "" || r.State.Ended()) {
				continue
			}
			if !yield(r, err) || err != nil {
				return false
			}
		}
	}
	return true
}

// maxSearched is how many entries of lists one script searches, or else those of one call. Redis
// serves no other client meanwhile, some 14 ms.
const maxSearched = 1_000_000

// searchable returns for how many calls of a queue one script may search the queue's lists.
func (rep *Repairer) searchable(ctx context.Context, queue string) (int, error) {
	k, pipe := keysOf(queue), rep.rdb.Pipeline()
	pending, active := pipe.LLen(ctx, k.pending()), pipe.LLen(ctx, k.active())
	if _, err := pipe.Exec(ctx); err != nil {
		return 0, fmt.Errorf("measure the lists of queue %q: %w", queue, err)
	}
	return int(min(max(maxSearched/(1+pending.Val()+active.Val()), 1), maxRestored)), nil
}

// orphaned returns the keys and the first arguments of lua/orphaned.lua.
func (k keys) orphaned(by time.Time, now any) (names []string, args []any) {
	return []string{k.pending(), k.lease(), k.active(), k.scheduled(), k.retry(), k.archived(), k.completed()},
		[]any{k.taskPrefix(), k.recordPrefix(), by.Unix(), now}
}

// suspects returns those of some calls whose task does not seem to be on the list that its
// state names; it uses the memory of ids. In a state without a list, and in "" (the task is
// gone), asynq never takes a task back by itself.
func (rep *Repairer) suspects(ctx context.Context, queue string, ids []string) ([]string, error) {
	lost, pending := map[string]bool{}, map[string]bool{}
	for some := range slices.Chunk(ids, orphanedStep) {
		if err := rep.offSets(ctx, keysOf(queue), some, lost, pending); err != nil {
			return nil, err
		}
	}
	if err := rep.findPending(ctx, queue, pending); err != nil {
		return nil, err
	}
	return slices.DeleteFunc(ids, func(id string) bool { return !lost[id] && !pending[id] }), nil
}

// offSets adds the calls whose task is not in the set that its state names to lost, and
// those whose task says that it is pending to pending.
func (rep *Repairer) offSets(ctx context.Context, k keys, ids []string, lost, pending map[string]bool) error {
	pipe := rep.rdb.Pipeline()
	states, scores := make([]*redis.StringCmd, len(ids)), make([]map[string]*redis.FloatCmd, len(ids))
	for i, id := range ids {
		states[i] = pipe.HGet(ctx, k.task(id), "state")
		scores[i] = map[string]*redis.FloatCmd{
			"active": pipe.ZScore(ctx, k.lease(), id), "scheduled": pipe.ZScore(ctx, k.scheduled(), id), "retry": pipe.ZScore(ctx, k.retry(), id),
		}
	}
	if err := exec(ctx, pipe); err != nil {
		return err
	}
	for i, id := range ids {
		state := states[i].Val()
		if state == "pending" {
			pending[id] = true
		} else if score := scores[i][state]; score == nil || score.Err() != nil {
			lost[id] = true
		}
	}
	return nil
}

// findPending removes the ids that are on the pending list from some ids. Finding one id in
// a long list is as slow as reading the list. Ids that move meanwhile may be missed.
func (rep *Repairer) findPending(ctx context.Context, queue string, ids map[string]bool) error {
	const step = 5000
	for from := int64(0); len(ids) > 0; from += step {
		listed, err := rep.rdb.LRange(ctx, keysOf(queue).pending(), from, from+step-1).Result()
		if err != nil {
			return err
		}
		for _, id := range listed {
			delete(ids, id)
		}
		if len(listed) < step {
			break
		}
	}
	return nil
}

// maxArchived is how many of asynq's archived tasks are looked at in one step.
const maxArchived = 1000

// OpenInArchive returns the calls of a queue that are open although asynq has archived
// their task, at the given time or later. The zero time selects all of them.
func (rep *Repairer) OpenInArchive(ctx context.Context, queue string, since time.Time) (open []Record, err error) {
	k, from := keysOf(queue), "-inf"
	if !since.IsZero() {
		from = strconv.FormatInt(since.Unix(), 10)
	}
	for offset := int64(0); ; offset += maxArchived {
		ids, err := rep.rdb.ZRangeArgs(ctx, redis.ZRangeArgs{
			Key: k.archived(), ByScore: true, Start: from, Stop: "+inf", Offset: offset, Count: maxArchived,
		}).Result()
		if err != nil {
			return nil, fmt.Errorf("read asynq's archive of queue %q: %w", queue, err)
		}
		pipe := rep.rdb.Pipeline()
		states := make([]*redis.StringCmd, len(ids))
		for i, id := range ids {
			states[i] = pipe.HGet(ctx, k.record(id), "state")
		}
		if err := exec(ctx, pipe); err != nil {
			return nil, fmt.Errorf("read the states of archived calls of queue %q: %w", queue, err)
		}
		for i, id := range ids {
			if states[i].Val() != string(Open) {
				continue
			}
			r, err := rep.ledger.Get(ctx, queue, id)
			if errors.Is(err, ErrNoCall) {
				continue // it is gone since
			}
			if err != nil {
				return nil, err
			}
			open = append(open, r)
		}
		if len(ids) < maxArchived {
			return open, nil
		}
	}
}

// Release returns tasks to pending that are active without a lease, or with one that
// ended by the given time, and returns how many there were. The zero time selects only
// those without a lease.
func (rep *Repairer) Release(ctx context.Context, queue string, by time.Time, ids ...string) (int, error) {
	k := keysOf(queue)
	var over int64
	if !by.IsZero() {
		over = by.Unix()
	}
	args := []any{k.taskPrefix(), time.Now().UnixNano(), over}
	for _, id := range ids {
		args = append(args, id)
	}
	n, err := scriptRelease.Run(ctx, rep.rdb, []string{k.active(), k.lease(), k.pending()}, args...).Int()
	if err != nil {
		return 0, fmt.Errorf("release tasks of queue %q: %w", queue, err)
	}
	return n, nil
}

// maxRestored is how many calls are looked at, or restored, in one step: Redis serves
// no other client meanwhile.
const maxRestored = 1000

// Restoring is a call to be restored, with asynq's encoding of its task and the call's
// deadline, zero if it has none.
type Restoring struct {
	Record
	Message  string
	Deadline time.Time
}

// Restore puts calls of one queue back among the pending: calls that
// [Repairer.Orphaned] found, or whose lease ended by the given time and whose message
// is gone; each once. It reports for each whether it was restored: a call that has moved on
// is not an error. After an error it reports those before it.
func (rep *Repairer) Restore(ctx context.Context, queue string, calls []Restoring, by time.Time) (restored []bool, err error) {
	step, err := rep.searchable(ctx, queue)
	if err != nil {
		return nil, err
	}
	for some := range slices.Chunk(calls, step) {
		keys, args := keysOf(queue).orphaned(by, time.Now().UnixNano())
		for i := range some {
			args = append(args, some[i].ID, some[i].Generation, some[i].Message)
		}
		reply, err := scriptOrphaned.Run(ctx, rep.rdb, keys, args...).BoolSlice()
		if err != nil {
			return restored, fmt.Errorf("restore %d tasks of queue %q: %w", len(some), queue, err)
		}
		restored = append(restored, reply...)
		if err := rep.indexDeadlines(ctx, queue, some); err != nil {
			return restored, err
		}
	}
	return restored, nil
}
