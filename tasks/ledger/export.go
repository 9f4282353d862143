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

	"github.com/seed-2903acc3/callq/tasks/redislua"
)

// Watermark is the latest ending of each queue, for a batch or for the dead letters, at
// one moment. A reader of a running batch stops at the watermark and sees each call
// once: a call that ends again later is above it.
type Watermark map[string]int64 // queue -> microsecond of the latest ending

// Watermark returns the batch's watermark, or [ErrNoBatch].
func (l *Ledger) Watermark(ctx context.Context, batch string) (Watermark, error) {
	b, err := l.Batch(ctx, batch)
	if err != nil {
		return nil, err
	}
	h := Watermark{}
	for _, queue := range b.Queues {
		zs, err := l.rdb.ZRevRangeWithScores(ctx, keysOf(queue).ended(batch), 0, 0).Result()
		if err != nil {
			return nil, fmt.Errorf("read the last ending of batch %q: %w", batch, err)
		}
		if len(zs) == 1 {
			h[queue] = int64(zs[0].Score)
		}
	}
	return h, nil
}

// DeadWatermark returns the watermark of the dead letters of all queues. A redrive that
// stops at it does not redrive a call twice that dies again meanwhile.
func (l *Ledger) DeadWatermark(ctx context.Context) (Watermark, error) {
	queues, err := l.Queues(ctx)
	if err != nil {
		return nil, err
	}
	h := Watermark{}
	for _, queue := range queues {
		zs, err := l.rdb.ZRevRangeWithScores(ctx, keysOf(queue).dead(), 0, 0).Result()
		if err != nil {
			return nil, fmt.Errorf("read the last dead letter of queue %q: %w", queue, err)
		}
		if len(zs) == 1 {
			h[queue] = int64(zs[0].Score)
		}
	}
	return h, nil
}

// Has reports whether an ended call is at or below the watermark.
func (w Watermark) Has(r Record) bool { return r.EndedAt.UnixMicro() <= w[r.Queue] }

// FreeBodies removes the stored results of the batch's calls that ended in one of the
// states, up to the watermark, and returns how many there were. The rest of their
// records stays.
func (l *Ledger) FreeBodies(ctx context.Context, batch string, h Watermark, states ...State) (int, error) {
	total := 0
	for queue, last := range h {
		k := keysOf(queue)
		after := "-inf"
		for {
			args := []any{k.own, after, last, page, batch}
			for _, s := range states {
				args = append(args, string(s))
			}
			reply, err := scriptFree.Run(ctx, l.rdb, []string{k.ended(batch)}, args...).Slice()
			if err != nil {
				return total, fmt.Errorf("free the bodies of batch %q: %w", batch, err)
			}
			total += int(redislua.Number(reply[2]))
			if redislua.Number(reply[0]) < page {
				break
			}
			score, err := strconv.ParseFloat(redislua.Text(reply[1]), 64)
			if err != nil {
				return total, fmt.Errorf("read the position in batch %q: %w", batch, err)
			}
			after = fmt.Sprintf("(%.0f", score)
		}
	}
	return total, nil
}

// FreeBody removes the stored results of single ended calls of one queue. The rest of
// their records stays.
func (l *Ledger) FreeBody(ctx context.Context, queue string, ids ...string) error {
	k := keysOf(queue)
	for page := range slices.Chunk(ids, page) {
		args := []any{k.own, "", "", "", ""}
		for _, id := range page {
			args = append(args, id)
		}
		if err := scriptFree.Run(ctx, l.rdb, []string{k.ended("")}, args...).Err(); err != nil {
			return fmt.Errorf("free %d bodies: %w", len(page), err)
		}
	}
	return nil
}

// Bodies returns how many bytes the stored results of all batches take.
func (l *Ledger) Bodies(ctx context.Context) (total int64, err error) {
	queues, err := l.Queues(ctx)
	if err != nil || len(queues) == 0 {
		return 0, err
	}
	pipe := l.rdb.Pipeline()
	counts := make([]*redis.StringCmd, len(queues))
	for i, queue := range queues {
		counts[i] = pipe.Get(ctx, keysOf(queue).bodies())
	}
	if err := exec(ctx, pipe); err != nil {
		return 0, fmt.Errorf("read how many bytes the results take: %w", err)
	}
	for _, n := range counts {
		total += max(redislua.Integer(n.Val()), 0)
	}
	return total, nil
}

// NoteFull records whether the results have reached the bytes that they may take, and
// since when.
func (l *Ledger) NoteFull(ctx context.Context, full bool) error {
	note := func() error { return l.rdb.Del(ctx, keyFull).Err() }
	if full {
		// SET with NX instead of SETNX, a command of its own, which a user may lack.
		note = func() error {
			return l.rdb.SetArgs(ctx, keyFull, time.Now().UnixMilli(), redis.SetArgs{Mode: "NX"}).Err()
		}
	}
	if err := note(); err != nil && !errors.Is(err, redis.Nil) {
		return fmt.Errorf("record that the results take too much memory: %w", err)
	}
	return nil
}

// FullSince returns since when the results have reached the bytes that they may take;
// zero if they have not.
func (l *Ledger) FullSince(ctx context.Context) (time.Time, error) {
	since, err := l.rdb.Get(ctx, keyFull).Result()
	if err != nil && !errors.Is(err, redis.Nil) && !isWrongType(err) {
		return time.Time{}, fmt.Errorf("read since when the results take too much memory: %w", err)
	}
	return redislua.Milli(since), nil
}

// Failures yields the batch's dead and dropped calls, queue by queue in the order in
// which they ended, without their contents and bodies: of each record only ID, Queue,
// Batch, Key, State, Ending and Group are set. After an error the sequence ends.
func (l *Ledger) Failures(ctx context.Context, batch string) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		b, err := l.Batch(ctx, batch)
		if err != nil {
			yield(Record{}, err)
			return
		}
		if b.Counts.Dead+b.Counts.Dropped == 0 {
			return
		}
		for _, queue := range b.Queues {
			if !l.failuresOf(ctx, queue, batch, yield) {
				return
			}
		}
	}
}

func (l *Ledger) failuresOf(ctx context.Context, queue, batch string, yield func(Record, error) bool) bool {
	k := keysOf(queue)
	for from := "-inf"; ; {
		zs, err := l.rdb.ZRangeByScoreWithScores(ctx, k.ended(batch), &redis.ZRangeBy{Min: from, Max: "+inf", Count: page}).Result()
		if err != nil {
			yield(Record{}, fmt.Errorf("list ended calls of batch %q: %w", batch, err))
			return false
		}
		ids := members(zs)
		rows, err := l.fields(ctx, queue, ids, "state", "origin", "out", "group")
		if err != nil {
			yield(Record{}, err)
			return false
		}
		for i, row := range rows {
			r := recordFromHash(queue, ids[i], hash{"state", row[0], "batch", batch, "origin", row[1], "out", row[2], "group", row[3]})
			if (r.State == Dead || r.State == Dropped) && !yield(r, nil) {
				return false
			}
		}
		if len(zs) < page {
			return true
		}
		from = fmt.Sprintf("(%.0f", zs[len(zs)-1].Score)
	}
}
