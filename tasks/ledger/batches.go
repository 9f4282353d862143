package ledger

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/tasks/redislua"
)

// batchesAtOnce is how many batches are read with one round trip.
const batchesAtOnce = 200

// Batches lists all batches, oldest first.
func (l *Ledger) Batches(ctx context.Context) ([]Batch, error) {
	names, err := l.rdb.ZRange(ctx, keyBatches, 0, -1).Result()
	if err != nil {
		return nil, fmt.Errorf("list batches: %w", err)
	}
	batches := make([]Batch, 0, len(names))
	for some := range slices.Chunk(names, batchesAtOnce) {
		found, err := l.batches(ctx, some)
		if err != nil {
			return nil, err
		}
		batches = append(batches, found...)
	}
	return batches, nil
}

// RecentBatches returns at most n batches, the newest first: those that are older than the
// batch of the name before, or the newest of all for "". The cost does not depend on how
// many batches there are. next is the name with which the following ones are read; "" at the
// end.
func (l *Ledger) RecentBatches(ctx context.Context, before string, n int) (batches []Batch, next string, err error) {
	first, err := l.rankAfter(ctx, before)
	if err != nil {
		return nil, "", err
	}
	names, err := l.rdb.ZRevRange(ctx, keyBatches, first, first+int64(n)).Result()
	if err != nil {
		return nil, "", fmt.Errorf("list batches: %w", err)
	}
	if len(names) > n {
		names = names[:n]
		next = names[n-1]
	}
	batches, err = l.batches(ctx, names)
	return batches, next, err
}

// rankAfter returns the rank, from the newest on, of the batch that is next older than the
// named one.
func (l *Ledger) rankAfter(ctx context.Context, name string) (int64, error) {
	if name == "" {
		return 0, nil
	}
	rank, err := l.rdb.ZRevRank(ctx, keyBatches, name).Result()
	switch {
	case errors.Is(err, redis.Nil):
		return 0, fmt.Errorf("%w: %q", ErrNoBatch, name)
	case err != nil:
		return 0, fmt.Errorf("find the place of batch %q in the list: %w", name, err)
	}
	return rank + 1, nil
}

// CountBatches returns how many batches there are.
func (l *Ledger) CountBatches(ctx context.Context) (int64, error) {
	n, err := l.rdb.ZCard(ctx, keyBatches).Result()
	if err != nil {
		return 0, fmt.Errorf("count the batches: %w", err)
	}
	return n, nil
}

// EndedSince returns how many calls of each batch have ended since a time and are not
// forgotten, by the batch's name and the queue. It takes one round trip.
func (l *Ledger) EndedSince(ctx context.Context, batches []Batch, since time.Time) (map[string]map[string]int64, error) {
	pipe := l.rdb.Pipeline()
	counts := map[string]map[string]*redis.IntCmd{}
	for _, b := range batches {
		counts[b.Name] = map[string]*redis.IntCmd{}
		for _, queue := range b.Queues {
			counts[b.Name][queue] = pipe.ZCount(ctx, keysOf(queue).ended(b.Name), strconv.FormatInt(since.UnixMicro(), 10), "+inf")
		}
	}
	if pipe.Len() > 0 {
		if err := exec(ctx, pipe); err != nil {
			return nil, fmt.Errorf("count the calls that ended lately: %w", err)
		}
	}
	ended := make(map[string]map[string]int64, len(counts))
	for name, of := range counts {
		ended[name] = map[string]int64{}
		for queue, cmd := range of {
			ended[name][queue] = cmd.Val()
		}
	}
	return ended, nil
}

// batches reads the named batches in two round trips. It leaves out those that are gone.
func (l *Ledger) batches(ctx context.Context, names []string) ([]Batch, error) {
	if len(names) == 0 {
		return nil, nil
	}
	pipe := l.rdb.Pipeline()
	metas := make([]*redis.MapStringStringCmd, len(names))
	for i, name := range names {
		metas[i] = pipe.HGetAll(ctx, metaKey(name))
	}
	if err := exec(ctx, pipe); err != nil {
		return nil, fmt.Errorf("read %d batches: %w", len(names), err)
	}
	pipe = l.rdb.Pipeline()
	var batches []Batch
	var counts [][]*redis.MapStringStringCmd
	for i, name := range names {
		if len(metas[i].Val()) == 0 {
			continue
		}
		b := batchOf(name, metas[i].Val())
		var of []*redis.MapStringStringCmd
		for _, queue := range b.Queues {
			of = append(of, pipe.HGetAll(ctx, keysOf(queue).counts(name)))
		}
		batches, counts = append(batches, b), append(counts, of)
	}
	if pipe.Len() > 0 {
		if err := exec(ctx, pipe); err != nil {
			return nil, fmt.Errorf("read the counts of %d batches: %w", len(names), err)
		}
	}
	for i := range batches {
		for j, cmd := range counts[i] {
			batches[i].addCounts(batches[i].Queues[j], cmd)
		}
	}
	return batches, nil
}

// Batch returns one batch, or [ErrNoBatch].
func (l *Ledger) Batch(ctx context.Context, name string) (Batch, error) {
	found, err := l.batches(ctx, []string{name})
	if err == nil && len(found) == 0 {
		err = fmt.Errorf("%w: %q", ErrNoBatch, name)
	}
	if err != nil {
		return Batch{}, err
	}
	return found[0], nil
}

// batchOf returns a batch without its counts.
func batchOf(name string, meta map[string]string) Batch {
	b := Batch{Name: name, Created: redislua.Milli(meta["created"]), APIs: map[string]string{}, Open: map[string]int64{}}
	for field, value := range meta {
		if upstream, ok := strings.CutPrefix(field, "api:"); ok {
			b.APIs[upstream] = value
		}
		if queue, ok := strings.CutPrefix(field, "q:"); ok {
			b.Queues = append(b.Queues, queue)
		}
	}
	sort.Strings(b.Queues)
	return b
}

// addCounts adds the counts of a batch in one queue. A count that cannot be read is 0,
// as in lua/number.lua: one corrupt batch must not hide the others.
func (b *Batch) addCounts(queue string, reply *redis.MapStringStringCmd) {
	if isWrongType(reply.Err()) {
		b.unread = append(b.unread, queue)
		return
	}
	h := reply.Val()
	read := func(field string) int64 {
		n := redislua.Integer(h[field])
		if text, there := h[field]; there && !redislua.Whole(text, -maxCounted, maxCounted) {
			b.unread, n = append(b.unread, queue+" "+field), 0
		}
		return n
	}
	open := read("open")
	b.Open[queue] = open
	b.Counts = b.Counts.Add(Counts{
		Accepted: read("accepted"), Open: open, Done: read("done"), Dead: read("dead"),
		Dropped: read("dropped"), Cancelled: read("cancelled"), Expired: read("expired"), ExpiredDead: read("expired_dead"),
	})
	b.Bodies += max(read("bodies"), 0)
	b.last += h["last"] + " "
}

// maxCounted is the largest integer that Lua's numbers represent exactly.
const maxCounted = 1<<53 - 1
