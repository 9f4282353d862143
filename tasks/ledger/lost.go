package ledger

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/redis/go-redis/v9"
)

// Search is a search for lost calls.
type Search struct {
	// ID makes a call's id from batch and key.
	ID func(batch, key string) string
	// By is until when a lease must have ended for its worker to be taken for dead.
	By time.Time
	// Most is how many open calls of each batch are looked at.
	Most int
	// Looked is how many were.
	Looked int
}

// Lost yields calls that are open and whose task is gone, stands on no list, or was
// put away behind the ledger's back, so that no worker will ever make them.
func (l *Ledger) Lost(ctx context.Context, s *Search) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		batches, err := l.Batches(ctx)
		if err != nil {
			yield(Record{}, err)
			return
		}
		for _, b := range batches {
			if b.Counts.Open > 0 && !l.lostInBatch(ctx, b.Name, s, yield) {
				return
			}
		}
	}
}

// lostPage is how many open calls are looked at together.
const lostPage = 10_000

func (l *Ledger) lostInBatch(ctx context.Context, batch string, s *Search, yield func(Record, error) bool) bool {
	open, seen := map[string][]string{}, 0
	look := func() bool {
		for queue, ids := range open {
			lost, err := l.lostOf(ctx, queue, ids, s.By)
			if err != nil {
				return yield(Record{}, err)
			}
			for _, r := range lost {
				if !yield(r, nil) {
					return false
				}
			}
		}
		clear(open)
		return true
	}
	for r, err := range l.Standings(ctx, batch, s.ID) {
		if err != nil {
			return yield(Record{}, err)
		}
		if r.State != Open {
			continue
		}
		if seen == s.Most {
			break
		}
		open[r.Queue] = append(open[r.Queue], r.ID)
		s.Looked++
		if seen++; seen%lostPage == 0 && !look() {
			return false
		}
	}
	return look()
}

func (l *Ledger) lostOf(ctx context.Context, queue string, ids []string, by time.Time) ([]Record, error) {
	suspects, err := l.suspects(ctx, queue, ids)
	if err != nil {
		return nil, fmt.Errorf("look for the tasks of queue %q: %w", queue, err)
	}
	k := keysOf(queue)
	var lost []Record
	for _, id := range suspects {
		// It may have moved in between: look again, everywhere in one step.
		tx := l.rdb.TxPipeline()
		task, record, lease := tx.HGet(ctx, k.task(id), "state"), tx.HGetAll(ctx, k.record(id)), tx.ZScore(ctx, k.lease(), id)
		on := map[string]interface{ Err() error }{
			"pending":   tx.LPos(ctx, k.pending(), id, redis.LPosArgs{}),
			"active":    tx.LPos(ctx, k.active(), id, redis.LPosArgs{}),
			"scheduled": tx.ZScore(ctx, k.scheduled(), id),
			"retry":     tx.ZScore(ctx, k.retry(), id),
		}
		if _, err := tx.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
			return nil, fmt.Errorf("look for the task of call %s: %w", id, err)
		}
		if lease.Err() == nil && lease.Val() > float64(by.Unix()) {
			continue // a worker is making it
		}
		if list := on[task.Val()]; list != nil && list.Err() == nil {
			continue
		}
		if r := recordFromHash(queue, id, record.Val()); r.State == Open {
			lost = append(lost, r)
		}
	}
	return lost, nil
}

// suspects are the calls whose task does not seem to stand on the list that it
// says. A state of which there is no list, "" where the task is gone, is one from
// which asynq never takes a task back by itself.
func (l *Ledger) suspects(ctx context.Context, queue string, ids []string) ([]string, error) {
	k := keysOf(queue)
	pipe := l.rdb.Pipeline()
	states, scores := make([]*redis.StringCmd, len(ids)), make([]map[string]*redis.FloatCmd, len(ids))
	for i, id := range ids {
		states[i] = pipe.HGet(ctx, k.task(id), "state")
		scores[i] = map[string]*redis.FloatCmd{
			"active": pipe.ZScore(ctx, k.lease(), id), "scheduled": pipe.ZScore(ctx, k.scheduled(), id), "retry": pipe.ZScore(ctx, k.retry(), id),
		}
	}
	if _, err := pipe.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
		return nil, err
	}
	var suspects []string
	var pending map[string]bool
	for i, id := range ids {
		state := states[i].Val()
		if state == "pending" {
			// To look for one in a long list is as slow as to read it.
			if pending == nil {
				var err error
				if pending, err = l.pendingIDs(ctx, queue); err != nil {
					return nil, err
				}
			}
			if pending[id] {
				continue
			}
		} else if score := scores[i][state]; score != nil && score.Err() == nil {
			continue
		}
		suspects = append(suspects, id)
	}
	return suspects, nil
}

// pendingIDs reads a queue's pending list. What moves meanwhile may be missed.
func (l *Ledger) pendingIDs(ctx context.Context, queue string) (map[string]bool, error) {
	found := map[string]bool{}
	const step = 5000
	for from := int64(0); ; from += step {
		ids, err := l.rdb.LRange(ctx, keysOf(queue).pending(), from, from+step-1).Result()
		if err != nil {
			return nil, err
		}
		for _, id := range ids {
			found[id] = true
		}
		if len(ids) < step {
			return found, nil
		}
	}
}

// Release puts tasks that are active without a lease, or with one that ended by
// the given time, back among the pending and returns how many there were. The zero
// time stands for those without a lease alone.
func (l *Ledger) Release(ctx context.Context, queue string, by time.Time, ids ...string) (int, error) {
	k := keysOf(queue)
	var over int64
	if !by.IsZero() {
		over = by.Unix()
	}
	args := []any{k.taskPrefix(), time.Now().UnixNano(), over}
	for _, id := range ids {
		args = append(args, id)
	}
	n, err := scriptRelease.Run(ctx, l.rdb, []string{k.active(), k.lease(), k.pending()}, args...).Int()
	if err != nil {
		return 0, fmt.Errorf("release tasks of queue %q: %w", queue, err)
	}
	return n, nil
}

// Restore puts the task of a call that [Ledger.Lost] found, or whose lease ended
// by the given time and whose message is gone, back among the pending; msg is
// asynq's encoding of it. It reports whether it did: the call may have moved on
// meanwhile, which is no error.
func (l *Ledger) Restore(ctx context.Context, r Record, msg string, by time.Time) (bool, error) {
	k := keysOf(r.Queue)
	n, err := scriptRestore.Run(ctx, l.rdb,
		[]string{k.pending(), k.lease(), k.active(), k.task(r.ID), k.record(r.ID), k.scheduled(), k.retry(), k.archived(), k.completed()},
		r.ID, r.Generation, msg, time.Now().UnixNano(), by.Unix()).Int()
	if err != nil {
		return false, fmt.Errorf("restore the task of call %s: %w", r.ID, err)
	}
	return n == 1, nil
}

var (
	scriptRelease = load("release")
	scriptRestore = load("restore")
)
