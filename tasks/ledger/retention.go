package ledger

import (
	"context"
	"fmt"
	"strconv"
	"time"
)

// AdHoc is the batch of calls that were sent without one. It never ends, so its
// calls are kept each for the retention from its own ending.
const AdHoc = "adhoc"

// Swept says what a [Ledger.Sweep] forgot.
type Swept struct {
	// Calls is the number of calls forgotten, Batches that of batches of which
	// nothing is left.
	Calls, Batches int
}

// Sweep forgets done, dropped and cancelled calls whose retention is over: the
// retention runs from the moment when nothing of their batch was open. Dead
// letters stay. Any number of workers may sweep at once.
func (l *Ledger) Sweep(ctx context.Context, now time.Time, retention time.Duration) (Swept, error) {
	var total Swept
	batches, err := l.Batches(ctx)
	if err != nil {
		return total, err
	}
	for _, b := range batches {
		n, err := l.sweepBatch(ctx, b, now, retention)
		total.Calls += n
		if err != nil {
			return total, err
		}
		gone, err := l.forgetEmpty(ctx, b.Name)
		if err != nil {
			return total, err
		}
		if gone {
			total.Batches++
		}
	}
	return total, nil
}

func (l *Ledger) sweepBatch(ctx context.Context, b Batch, now time.Time, retention time.Duration) (int, error) {
	before, idle := "+inf", "1"
	if b.Name == AdHoc {
		before, idle = fmt.Sprint(now.Add(-retention).UnixMicro()), "0"
	} else {
		if b.Counts.Open > 0 {
			return 0, l.rdb.HDel(ctx, metaKey(b.Name), "idle").Err()
		}
		if err := l.rdb.HSetNX(ctx, metaKey(b.Name), "idle", now.UnixMilli()).Err(); err != nil {
			return 0, fmt.Errorf("note that batch %q is at rest: %w", b.Name, err)
		}
		since, err := l.rdb.HGet(ctx, metaKey(b.Name), "idle").Int64()
		if err != nil {
			return 0, fmt.Errorf("read since when batch %q is at rest: %w", b.Name, err)
		}
		if now.Sub(time.UnixMilli(since)) < retention {
			return 0, nil
		}
	}
	total := 0
	for _, queue := range b.Queues {
		n, err := l.expire(ctx, b.Name, queue, before, idle)
		total += n
		if err != nil {
			return total, err
		}
	}
	return total, nil
}

func (l *Ledger) expire(ctx context.Context, batch, queue, before, idle string) (int, error) {
	k := keysOf(queue)
	total, after := 0, "-inf"
	for {
		reply, err := scriptExpire.Run(ctx, l.rdb, []string{k.counts(batch), k.ended(batch)},
			k.recordPrefix(), before, page, idle, after).Slice()
		if err != nil {
			return total, fmt.Errorf("forget old calls of batch %q: %w", batch, err)
		}
		if forgotten := reply[2:]; len(forgotten) > 0 {
			names := make([]string, len(forgotten))
			for i, key := range forgotten {
				names[i] = str(key)
			}
			if err := l.rdb.HDel(ctx, claimsKey(batch), names...).Err(); err != nil {
				return total, fmt.Errorf("release old keys of batch %q: %w", batch, err)
			}
			total += len(forgotten)
		}
		if num(reply[0]) < page {
			return total, nil
		}
		last, err := strconv.ParseFloat(str(reply[1]), 64)
		if err != nil {
			return total, fmt.Errorf("read the position in batch %q: %w", batch, err)
		}
		after = fmt.Sprintf("(%.0f", last)
	}
}

// forgetEmpty removes a batch of which every call was forgotten.
func (l *Ledger) forgetEmpty(ctx context.Context, name string) (bool, error) {
	b, err := l.Batch(ctx, name)
	if err != nil || b.Counts.Expired == 0 || b.Counts.Expired != b.Counts.Accepted {
		return false, err
	}
	for _, queue := range b.Queues {
		k := keysOf(queue)
		if err := l.rdb.Del(ctx, k.counts(name), k.ended(name)).Err(); err != nil {
			return false, fmt.Errorf("forget batch %q: %w", name, err)
		}
	}
	if err := l.rdb.Del(ctx, claimsKey(name), metaKey(name)).Err(); err != nil {
		return false, fmt.Errorf("forget batch %q: %w", name, err)
	}
	if err := l.rdb.ZRem(ctx, keyBatches, name).Err(); err != nil {
		return false, fmt.Errorf("forget batch %q: %w", name, err)
	}
	return true, nil
}
