package ledger

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/tasks/redislua"
)

// AdHoc is the batch of calls that were sent without one. It never ends, so its
// calls are kept each for the retention from its own ending.
const AdHoc = "adhoc"

// deletePage is how many calls of a batch one script deletes: each may be looked for in
// a list.
const deletePage = 100

// Swept says what a [Ledger.Sweep] forgot.
type Swept struct {
	// Calls is the number of calls forgotten, Batches that of batches of which
	// nothing is left.
	Calls, Batches int
}

// Sweep forgets done, dropped and cancelled calls whose retention is over: the
// retention runs from the moment when nothing of their batch was open. Dead
// letters stay until they are purged. Any number of workers may sweep at once.
func (l *Ledger) Sweep(ctx context.Context, now time.Time, retention time.Duration) (Swept, error) {
	var total Swept
	batches, err := l.Batches(ctx)
	if err != nil {
		return total, err
	}
	for _, b := range batches {
		if len(b.unread) > 0 {
			continue // nobody can tell that nothing of it is open
		}
		var one Swept
		if b.Name == AdHoc {
			one, err = l.sweepAdHoc(ctx, b, now.Add(-retention))
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

func (l *Ledger) sweepAdHoc(ctx context.Context, b Batch, before time.Time) (swept Swept, err error) {
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

// forgetAll forgets the ended calls of a batch that is at rest since idle, and the
// batch where none is left. dead tells that dead letters go too.
func (l *Ledger) forgetAll(ctx context.Context, b Batch, idle string, dead bool) (swept Swept, err error) {
	// What ended since then was sent meanwhile, and its retention has only begun.
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

// idleSince notes since when nothing of a batch is open, in Unix milliseconds.
// It is empty while something is.
func (l *Ledger) idleSince(ctx context.Context, b Batch, now time.Time) (string, error) {
	key := metaKey(b.Name)
	if b.Counts.Open > 0 {
		if err := l.rdb.HDel(ctx, key, "idle").Err(); err != nil {
			return "", fmt.Errorf("note that batch %q is under way: %w", b.Name, err)
		}
		return "", nil
	}
	// It is at rest since its last call ended, whoever was there to see that.
	since := now.UnixMilli()
	if last := b.lastEnding(); last > 0 {
		since = min(since, last/1000)
	}
	if err := l.rdb.HSetNX(ctx, key, "idle", since).Err(); err != nil {
		return "", fmt.Errorf("note that batch %q is at rest: %w", b.Name, err)
	}
	idle, err := l.rdb.HGet(ctx, key, "idle").Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		return "", fmt.Errorf("read since when batch %q is at rest: %w", b.Name, err)
	}
	return idle, nil
}

// lastEnding is the microsecond at which the latest call of the batch ended; 0: it is not
// known.
func (b Batch) lastEnding() (last int64) {
	for text := range strings.FieldsSeq(b.last) {
		if redislua.Whole(text, 1, mostCounted) {
			last = max(last, redislua.Integer(text))
		}
	}
	return last
}

// DeleteBatch forgets all calls of a batch at once, dead letters too, and frees their
// keys. It returns how many, and whether the batch is gone: calls whose task a worker
// still holds, or that still stands in a queue, are left for a later try. A batch with
// open calls is left as it is, with [ErrOpenCalls].
func (l *Ledger) DeleteBatch(ctx context.Context, name string) (swept Swept, err error) {
	b, err := l.Batch(ctx, name)
	switch {
	case err != nil:
		return swept, err
	case len(b.unread) > 0:
		return swept, fmt.Errorf("delete batch %q: its counts hold what callq never writes: %v", name, b.unread)
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

// expireIn is expire for all queues of a batch.
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

// expire forgets a batch's calls in one queue that ended before the given
// microsecond. idle is since when the batch is at rest; empty, it need not be. dead
// tells that dead letters go too.
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

// forgetClaims frees keys of a batch, or all of them and forgets the batch itself.
func (l *Ledger) forgetClaims(ctx context.Context, batch, idle string, names ...any) *redis.Cmd {
	return scriptForget.Run(ctx, l.rdb, []string{metaKey(batch), claimsKey(batch)}, append([]any{idle}, names...)...)
}

// forget removes a batch of which every call was forgotten. Every step of it is
// undone by who sends to the batch at the same time, or does not happen.
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
	// Somebody sends to it again and has found it listed.
	if err := l.rdb.ZAddNX(ctx, keyBatches, redis.Z{Score: float64(b.Created.UnixMilli()), Member: name}).Err(); err != nil {
		return false, fmt.Errorf("list batch %q again: %w", name, err)
	}
	return false, nil
}
