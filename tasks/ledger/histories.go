package ledger

import (
	"context"
	"fmt"
	"iter"

	"github.com/redis/go-redis/v9"
)

// historyFields are the fields of a record without its content and body.
var historyFields = []string{
	"state", "gen", "origin", "out", "log", "lineage", "earlier", "starts", "settled", "attempts", "parked", "first", "ended", "group", "purged",
}

// Histories is [Ledger.Calls] without contents and bodies: the records say what became of
// each call and which requests were sent for it. A call that was never accepted, or is
// missing, yields a Record without a state.
func (l *Ledger) Histories(ctx context.Context, batch string, id func(batch, key string) string) iter.Seq2[Record, error] {
	return l.claimed(ctx, batch, "*", id, func(ctx context.Context, queue string, ids []string) iter.Seq2[Record, error] {
		return l.eachWith(ctx, queue, ids, historyFields)
	})
}

// FailuresAfter returns the dead and dropped calls among the next endings of a batch, at
// most n of each queue, and moves the cursor. Of each record only ID, Queue, Batch, Key,
// State, EndedAt, Ending and Group are set. looked is how many endings were read; it is 0
// when there are no more for now. A call that was redriven and ended again is returned
// again.
func (l *Ledger) FailuresAfter(ctx context.Context, b Batch, cur *Cursor, n int64) (failures []Record, looked int, err error) {
	if cur.last == nil {
		cur.last = map[string]string{}
	}
	for _, queue := range b.Queues {
		for left := n; left > 0; left -= page {
			from := "-inf"
			if last := cur.last[queue]; last != "" {
				from = "(" + last
			}
			zs, err := l.rdb.ZRangeByScoreWithScores(ctx, keysOf(queue).ended(b.Name), &redis.ZRangeBy{Min: from, Max: "+inf", Count: min(left, page)}).Result()
			if err != nil {
				return failures, looked, fmt.Errorf("list ended calls of batch %q: %w", b.Name, err)
			}
			if len(zs) == 0 {
				break
			}
			ids := members(zs)
			rows, err := l.fields(ctx, queue, ids, "state", "origin", "out", "group", "ended")
			if err != nil {
				return failures, looked, err
			}
			for i, row := range rows {
				r := recordFromHash(queue, ids[i], hash{"state", row[0], "batch", b.Name, "origin", row[1], "out", row[2], "group", row[3], "ended", row[4]})
				if r.State == Dead || r.State == Dropped {
					failures = append(failures, r)
				}
			}
			looked += len(zs)
			cur.last[queue] = scoreText(zs[len(zs)-1])
		}
	}
	return failures, looked, nil
}
