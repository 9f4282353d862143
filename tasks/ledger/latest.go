package ledger

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/redis/go-redis/v9"
)

// LatestEndings returns the n calls of a batch that ended last, the last one first, as far
// as they are not forgotten.
func (l *Ledger) LatestEndings(ctx context.Context, b Batch, n int) ([]Record, error) {
	return l.latest(ctx, b.Queues, n, func(k keys) string { return k.ended(b.Name) })
}

// LatestDead returns the n calls that died last, the last one first: those of one group, or
// of all ("").
func (l *Ledger) LatestDead(ctx context.Context, group string, n int) ([]Record, error) {
	queues, err := l.Queues(ctx)
	if err != nil {
		return nil, err
	}
	return l.latest(ctx, queues, n, func(k keys) string {
		if group == "" {
			return k.dead()
		}
		return k.deadGroup(group)
	})
}

// latest reads the records with the highest scores of a sorted set of each queue. It takes
// two round trips for each queue at most, and one for all queues.
func (l *Ledger) latest(ctx context.Context, queues []string, n int, key func(keys) string) ([]Record, error) {
	if len(queues) == 0 {
		return nil, nil
	}
	pipe := l.rdb.Pipeline()
	replies := make([]*redis.ZSliceCmd, len(queues))
	for i, queue := range queues {
		replies[i] = pipe.ZRevRangeWithScores(ctx, key(keysOf(queue)), 0, int64(n)-1)
	}
	if err := exec(ctx, pipe); err != nil {
		return nil, fmt.Errorf("list the latest endings: %w", err)
	}
	type latestEnding struct {
		queue, id string
		score     float64
	}
	var found []latestEnding
	for i, queue := range queues {
		for _, z := range replies[i].Val() {
			found = append(found, latestEnding{queue, fmt.Sprint(z.Member), z.Score})
		}
	}
	slices.SortStableFunc(found, func(a, b latestEnding) int { return cmp.Compare(b.score, a.score) })
	found = found[:min(len(found), n)]
	byID := map[string]Record{}
	for _, queue := range queues {
		var ids []string
		for _, m := range found {
			if m.queue == queue {
				ids = append(ids, m.id)
			}
		}
		if len(ids) == 0 {
			continue
		}
		for r, err := range l.each(ctx, queue, ids) {
			if err != nil {
				return nil, err
			}
			byID[queue+" "+r.ID] = r
		}
	}
	var list []Record
	for _, m := range found {
		if r, there := byID[m.queue+" "+m.id]; there && r.Ending != nil {
			list = append(list, r)
		}
	}
	return list, nil
}

// BatchesWithKey returns the names of at most n batches that have a call with the key, the
// newest first. It looks into the newest batches only: as many as most says.
func (l *Ledger) BatchesWithKey(ctx context.Context, key string, n, most int) ([]string, error) {
	names, err := l.rdb.ZRevRange(ctx, keyBatches, 0, int64(most)-1).Result()
	if err != nil {
		return nil, fmt.Errorf("list batches: %w", err)
	}
	var found []string
	for some := range slices.Chunk(names, batchesAtOnce) {
		pipe := l.rdb.Pipeline()
		has := make([]*redis.BoolCmd, len(some))
		for i, name := range some {
			has[i] = pipe.HExists(ctx, claimsKey(name), key)
		}
		if err := exec(ctx, pipe); err != nil {
			return nil, fmt.Errorf("look for the key in %d batches: %w", len(some), err)
		}
		for i, name := range some {
			if has[i].Val() {
				if found = append(found, name); len(found) == n {
					return found, nil
				}
			}
		}
	}
	return found, nil
}
