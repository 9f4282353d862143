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

// Waits is what a queue shows about why its calls wait.
type Waits struct {
	Queue string
	// Paused reports that an operator has paused the queue; PausedAt is when, zero if
	// that is not known.
	Paused   bool
	PausedAt time.Time
	// Pending is how many calls can be made now, Active how many are being made.
	Pending, Active int64
	// Oldest is since when the call at the head of the queue can be made.
	Oldest time.Time
	// Overdue is how many active calls have a lease that has ended, as after a worker
	// was killed; OverdueAt is when the first of these leases ended.
	Overdue   int64
	OverdueAt time.Time
	// Retry are calls that are due again after a pause, Scheduled those whose
	// not_before is in the future.
	Retry, Scheduled Delayed
	// Fence is the queue's fence.
	Fence FenceState
}

// Delayed are the delayed calls of a queue.
type Delayed struct {
	N int64
	// First and Last are when the first and the last of them are due.
	First, Last time.Time
	// Message is asynq's encoding of the first one; only for Retry.
	Message string
}

// waitsSample is how many delayed calls of a queue are read one by one to find those of
// some batches.
const waitsSample = 100

// Waits reads the state of queues. If batches are given, the delayed calls are those of
// these batches, as far as the first calls and the last call of each set show them. It
// takes two round trips.
func (l *Ledger) Waits(ctx context.Context, now time.Time, queues []string, batches ...string) ([]Waits, error) {
	if len(queues) == 0 {
		return nil, nil
	}
	pipe := l.rdb.Pipeline()
	asked := make([]waitsReply, len(queues))
	for i, queue := range queues {
		asked[i] = askWaits(ctx, pipe, keysOf(queue), now)
		asked[i].fence = pipe.HGetAll(ctx, keysOf(queue).fence())
	}
	if err := exec(ctx, pipe); err != nil {
		return nil, fmt.Errorf("find why calls wait: %w", err)
	}
	pipe = l.rdb.Pipeline()
	for i, queue := range queues {
		asked[i].askCalls(ctx, pipe, keysOf(queue), len(batches) > 0)
	}
	if pipe.Len() > 0 {
		if err := exec(ctx, pipe); err != nil {
			return nil, fmt.Errorf("find why calls wait: %w", err)
		}
	}
	list := make([]Waits, len(queues))
	for i, queue := range queues {
		list[i] = asked[i].waits(queue, batches)
		list[i].Fence = fenceFrom(queue, asked[i].fence.Val(), now, l.gather())
	}
	return list, nil
}

// waitsReply holds the replies about one queue.
type waitsReply struct {
	paused          *redis.StringCmd
	pending, active *redis.IntCmd
	oldest          *redis.StringCmd
	since           *redis.SliceCmd // of the call at the head
	overdue         *redis.IntCmd
	firstLease      *redis.ZSliceCmd
	retry, schedule delayedReply
	fence           *redis.MapStringStringCmd
}

// delayedReply holds the replies about one set of delayed calls.
type delayedReply struct {
	n           *redis.IntCmd
	first, last *redis.ZSliceCmd
	batch       map[string]*redis.SliceCmd // by the calls' ids
	message     *redis.SliceCmd
}

func askWaits(ctx context.Context, pipe redis.Pipeliner, k keys, now time.Time) waitsReply {
	by := strconv.FormatInt(now.Unix(), 10)
	return waitsReply{
		paused: pipe.Get(ctx, k.paused()), pending: pipe.LLen(ctx, k.pending()), active: pipe.LLen(ctx, k.active()),
		oldest:  pipe.LIndex(ctx, k.pending(), -1),
		overdue: pipe.ZCount(ctx, k.lease(), "-inf", by), firstLease: pipe.ZRangeWithScores(ctx, k.lease(), 0, 0),
		retry: askDelayed(ctx, pipe, k.retry()), schedule: askDelayed(ctx, pipe, k.scheduled()),
	}
}

func askDelayed(ctx context.Context, pipe redis.Pipeliner, key string) delayedReply {
	return delayedReply{
		n: pipe.ZCard(ctx, key), first: pipe.ZRangeWithScores(ctx, key, 0, waitsSample-1), last: pipe.ZRangeWithScores(ctx, key, -1, -1),
		batch: map[string]*redis.SliceCmd{},
	}
}

// askCalls reads single calls, once their ids are known.
func (r *waitsReply) askCalls(ctx context.Context, pipe redis.Pipeliner, k keys, batches bool) {
	if id := r.oldest.Val(); id != "" {
		r.since = pipe.HMGet(ctx, k.task(id), "pending_since")
	}
	if first := r.retry.first.Val(); len(first) > 0 {
		r.retry.message = pipe.HMGet(ctx, k.task(member(first[0])), "msg")
	}
	if !batches {
		return
	}
	for _, d := range []delayedReply{r.retry, r.schedule} {
		for _, z := range slices.Concat(d.first.Val(), d.last.Val()) {
			if id := member(z); d.batch[id] == nil {
				d.batch[id] = pipe.HMGet(ctx, k.record(id), "batch")
			}
		}
	}
}

func (r *waitsReply) waits(queue string, batches []string) Waits {
	w := Waits{
		Queue: queue, Paused: !errors.Is(r.paused.Err(), redis.Nil), Pending: r.pending.Val(), Active: r.active.Val(),
		Overdue: r.overdue.Val(), Retry: r.retry.delayed(batches), Scheduled: r.schedule.delayed(batches),
	}
	// asynq stores when a queue was paused, in seconds. Other text is ignored.
	const aTime = 1e9
	if at := redislua.Integer(r.paused.Val()); at > aTime && at < redislua.MaxMilli/1000 {
		w.PausedAt = time.Unix(at, 0).UTC()
	}
	if r.since != nil && len(r.since.Val()) > 0 {
		if ns := redislua.Integer(redislua.Text(r.since.Val()[0])); ns > 0 {
			w.Oldest = time.Unix(0, ns).UTC()
		}
	}
	if first := r.firstLease.Val(); w.Overdue > 0 && len(first) > 0 && first[0].Score > 0 {
		w.OverdueAt = dueAt(first[0])
	}
	return w
}

// delayed returns the calls of a set that belong to the given batches.
func (r *delayedReply) delayed(batches []string) Delayed {
	first, d := r.first.Val(), Delayed{N: r.n.Val()}
	of := func(z redis.Z) bool {
		cmd := r.batch[member(z)]
		return len(batches) == 0 || cmd != nil && len(cmd.Val()) > 0 && slices.Contains(batches, redislua.Text(cmd.Val()[0]))
	}
	seen := 0
	for _, z := range slices.Concat(first, r.last.Val()) {
		if !of(z) {
			continue
		}
		if seen++; d.First.IsZero() {
			d.First = dueAt(z)
		}
		d.Last = dueAt(z)
	}
	switch {
	case seen == 0 && len(batches) > 0:
		return Delayed{}
	case len(batches) > 0 && d.N <= waitsSample:
		d.N = 0
		for _, z := range first {
			if of(z) {
				d.N++
			}
		}
	}
	if r.message != nil && len(r.message.Val()) > 0 && len(first) > 0 && of(first[0]) {
		d.Message = redislua.Text(r.message.Val()[0])
	}
	return d
}

// dueAt is the time of an element whose score is in seconds. A score beyond the
// calendar becomes the calendar's last year.
func dueAt(z redis.Z) time.Time {
	return time.Unix(int64(min(max(z.Score, 0), redislua.MaxMilli/1000)), 0).UTC()
}

// AddOpen adds to open how many calls of a batch are open in each of its queues, under
// the name that of returns for the queue. A batch that does not exist has none.
func (l *Ledger) AddOpen(ctx context.Context, batch string, open map[string]int64, of func(queue string) string) error {
	meta, err := l.rdb.HGetAll(ctx, metaKey(batch)).Result()
	if err != nil && !isWrongType(err) {
		return fmt.Errorf("read batch %q: %w", batch, err)
	}
	pipe := l.rdb.Pipeline()
	counts := map[string]*redis.StringCmd{}
	for field := range meta {
		if queue, ok := strings.CutPrefix(field, "q:"); ok {
			counts[queue] = pipe.HGet(ctx, keysOf(queue).counts(batch), "open")
		}
	}
	if len(counts) == 0 {
		return nil
	}
	if err := exec(ctx, pipe); err != nil {
		return fmt.Errorf("count the open calls of batch %q: %w", batch, err)
	}
	for queue, cmd := range counts {
		open[of(queue)] += redislua.Integer(cmd.Val())
	}
	return nil
}
