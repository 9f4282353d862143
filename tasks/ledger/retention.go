package ledger

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/tasks/redislua"
)

// AdHoc is the batch of calls that were sent without one. It never ends, so each of its
// calls is kept for the retention from its own ending.
const AdHoc = "adhoc"

// deletePage is how many calls of a batch one script deletes: each may have to be
// searched for in a list.
const deletePage = 100

// Swept counts what a [Ledger.Sweep] forgot.
type Swept struct {
	// Calls is the number of calls forgotten, Batches the number of batches that were
	// removed completely.
	Calls, Batches int
}

// Sweep forgets done, dropped and cancelled calls whose retention is over: the
// retention begins when no call of their batch is open. Dead letters stay until they
// are purged. Any number of workers may sweep at once.
func (l *Ledger) Sweep(ctx context.Context, now time.Time, retention time.Duration) (Swept, error) {
	var total Swept
	batches, err := l.Batches(ctx)
	if err != nil {
		return total, err
	}
	for _, b := range batches {
		if len(b.unread) > 0 {
			continue // its counts do not show whether a call is open
		}
		var one Swept
		if b.neverEnds() {
			one, err = l.sweepEndless(ctx, b, now.Add(-retention))
		} else {
			one, err = l.sweepBatch(ctx, b, now, retention)
		}
		total.Calls += one.Calls
		total.Batches += one.Batches
		if err != nil {
			return total, err
		}
	}
	return total, nil
}

// neverEnds reports whether the batch gets calls for ever: that of calls without a batch, or
// one of notifications.
func (b Batch) neverEnds() bool {
	return b.Name == AdHoc || len(b.Queues) > 0 && !slices.ContainsFunc(b.Queues, func(queue string) bool { return !IsNotification(queue) })
}

// sweepEndless forgets the calls of a batch that never ends, each after the retention from
// its own ending.
func (l *Ledger) sweepEndless(ctx context.Context, b Batch, before time.Time) (swept Swept, err error) {
	swept.Calls, err = l.expireIn(ctx, b, fmt.Sprint(before.UnixMicro()), "", false)
	return swept, err
}

func (l *Ledger) sweepBatch(ctx context.Context, b Batch, now time.Time, retention time.Duration) (swept Swept, err error) {
	idle, err := l.idleSince(ctx, b, now)
	if err != nil || idle == "" || now.Sub(redislua.Milli(idle)) < retention {
		return swept, err
	}
	return l.forgetAll(ctx, b, idle, false)
}

// forgetAll forgets the ended calls of a batch that is idle since idle, and the batch
// if none is left. dead selects dead letters too.
func (l *Ledger) forgetAll(ctx context.Context, b Batch, idle string, dead bool) (swept Swept, err error) {
	// Calls that ended since then were sent meanwhile, and their retention has only
	// begun.
	before := "+inf"
	if last := b.lastEnding(); last > 0 {
		before = fmt.Sprint(last)
	}
	if swept.Calls, err = l.expireIn(ctx, b, before, idle, dead); err != nil {
		return swept, err
	}
	gone, err := l.forget(ctx, b.Name, idle)
	if gone {
		swept.Batches = 1
	}
	return swept, err
}

// idleSince records since when no call of a batch is open, in Unix milliseconds. It
// returns "" while one is.
func (l *Ledger) idleSince(ctx context.Context, b Batch, now time.Time) (string, error) {
	key := metaKey(b.Name)
	if b.Counts.Open > 0 {
		if err := l.rdb.HDel(ctx, key, "idle").Err(); err != nil {
			return "", fmt.Errorf("record that batch %q is running: %w", b.Name, err)
		}
		return "", nil
	}
	// It is idle since its last call ended, even if no worker ran then.
	since := now.UnixMilli()
	if last := b.lastEnding(); last > 0 {
		since = min(since, last/1000)
	}
	if err := l.rdb.HSetNX(ctx, key, "idle", since).Err(); err != nil {
		return "", fmt.Errorf("record that batch %q is idle: %w", b.Name, err)
	}
	idle, err := l.rdb.HGet(ctx, key, "idle").Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		return "", fmt.Errorf("read since when batch %q is idle: %w", b.Name, err)
	}
	return idle, nil
}

// lastEnding is the microsecond at which the latest call of the batch ended; 0 if it is
// not known.
func (b Batch) lastEnding() (last int64) {
	for text := range strings.FieldsSeq(b.last) {
		if redislua.Whole(text, 1, maxCounted) {
			last = max(last, redislua.Integer(text))
		}
	}
	return last
}

// DeleteBatch forgets all calls of a batch at once, dead letters too, and frees their
// keys. It returns how many, and whether the batch is gone: calls whose task a worker
// still holds, or is still in a queue, are left for a later try. A batch with open
// calls is left unchanged, with [ErrOpenCalls].
func (l *Ledger) DeleteBatch(ctx context.Context, name string) (swept Swept, err error) {
	b, err := l.Batch(ctx, name)
	switch {
	case err != nil:
		return swept, err
	case len(b.unread) > 0:
		return swept, fmt.Errorf("delete batch %q: its counts have values that callq never writes: %v", name, b.unread)
	}
	idle, err := l.idleSince(ctx, b, time.Now())
	switch {
	case err != nil:
		return swept, err
	case idle == "":
		return swept, fmt.Errorf("delete batch %q: %w", name, ErrOpenCalls)
	}
	return l.forgetAll(ctx, b, idle, true)
}

// expireIn calls expire for all queues of a batch.
func (l *Ledger) expireIn(ctx context.Context, b Batch, before, idle string, dead bool) (calls int, err error) {
	for _, queue := range b.Queues {
		n, err := l.expire(ctx, b.Name, queue, before, idle, dead)
		calls += n
		if err != nil {
			return calls, err
		}
	}
	return calls, nil
}

// expire forgets a batch's calls in one queue that ended before the given microsecond.
// idle is since when the batch is idle; if it is empty, the batch need not be. dead
// selects dead letters too.
func (l *Ledger) expire(ctx context.Context, batch, queue, before, idle string, dead bool) (int, error) {
	k := keysOf(queue)
	most := page
	if dead {
		most = deletePage
	}
	total, after := 0, "-inf"
	for {
		reply, err := scriptExpire.Run(ctx, l.rdb, []string{k.counts(batch), k.ended(batch), k.lease(), k.archived(), k.dead(), k.groups(), k.pending()},
			k.recordPrefix(), before, most, redislua.Flag(idle != ""), after, k.taskPrefix(), redislua.Flag(dead), k.own, batch).Slice()
		if err != nil {
			return total, fmt.Errorf("forget old calls of batch %q: %w", batch, err)
		}
		if names := reply[2:]; len(names) > 0 {
			if err := l.forgetClaims(ctx, batch, idle, names...).Err(); err != nil {
				return total, fmt.Errorf("release old keys of batch %q: %w", batch, err)
			}
			total += len(names)
		}
		if redislua.Number(reply[0]) < int64(most) {
			return total, nil
		}
		last, err := strconv.ParseFloat(redislua.Text(reply[1]), 64)
		if err != nil {
			return total, fmt.Errorf("read the position in batch %q: %w", batch, err)
		}
		after = fmt.Sprintf("(%.0f", last)
	}
}

// forgetClaims frees the given keys of a batch; without any it frees all of them and
// forgets the batch itself.
func (l *Ledger) forgetClaims(ctx context.Context, batch, idle string, names ...any) *redis.Cmd {
	return scriptForget.Run(ctx, l.rdb, []string{metaKey(batch), claimsKey(batch)}, append([]any{idle}, names...)...)
}

// forget removes a batch all of whose calls were forgotten. A producer that sends to
// the batch at the same time undoes or prevents every step of it.
func (l *Ledger) forget(ctx context.Context, name, idle string) (bool, error) {
	b, err := l.Batch(ctx, name)
	if err != nil || b.Counts.Expired != b.Counts.Accepted || len(b.unread) > 0 {
		return false, err
	}
	for _, queue := range b.Queues {
		k := keysOf(queue)
		if err := scriptForget.Run(ctx, l.rdb, []string{k.counts(name), k.ended(name)}, "").Err(); err != nil {
			return false, fmt.Errorf("forget batch %q: %w", name, err)
		}
	}
	released, err := l.forgetClaims(ctx, name, idle).Int()
	if err != nil || released == 0 {
		return false, err
	}
	if err := l.rdb.ZRem(ctx, keyBatches, name).Err(); err != nil {
		return false, fmt.Errorf("forget batch %q: %w", name, err)
	}
	switch n, err := l.rdb.Exists(ctx, metaKey(name)).Result(); {
	case err != nil:
		return false, fmt.Errorf("forget batch %q: %w", name, err)
	case n == 0:
		return true, nil
	}
	// A producer is sending to it again and has found it listed.
	if err := l.rdb.ZAddNX(ctx, keyBatches, redis.Z{Score: float64(b.Created.UnixMilli()), Member: name}).Err(); err != nil {
		return false, fmt.Errorf("list batch %q again: %w", name, err)
	}
	return false, nil
}
