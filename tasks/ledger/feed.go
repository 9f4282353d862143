package ledger

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// NotificationPrefix begins the names of the queues in which callq's own notifications wait.
// No upstream of a configuration can have such a name.
const NotificationPrefix = "notify."

// IsNotification reports whether a queue has callq's own notifications.
func IsNotification(queue string) bool { return strings.HasPrefix(queue, NotificationPrefix) }

// watchFor is how long a queue stays watched after [Feed.Watch].
const watchFor = 7 * 24 * time.Hour

// The lists of news of a queue; see lua/counts.lua.
const (
	listEnded  = "ended"
	listCauses = "causes"
)

// Feed tells which batches have ended and which groups of dead letters are new. The scripts
// that end calls note both, in the same step, in queues that are watched. A note stays until
// it is removed, so that a reader that dies loses none. It is safe for concurrent use.
type Feed struct{ ledger *Ledger }

// NewFeed makes a Feed on the given Redis.
func NewFeed(rdb redis.UniversalClient) *Feed { return &Feed{New(rdb)} }

// Note says that a batch has no open call in a queue any more, or that a queue has a new
// group of dead letters.
type Note struct {
	// Queue is where it was noted, Name the batch or the group.
	Queue, Name string
	// Cause reports that it is about a group of dead letters.
	Cause bool
	// At is when it was noted.
	At time.Time
}

// Watch watches queues for the next seven days.
func (f *Feed) Watch(ctx context.Context, queues ...string) error {
	pipe := f.ledger.rdb.Pipeline()
	for _, queue := range queues {
		pipe.Set(ctx, keysOf(queue).watched(), 1, watchFor)
	}
	if pipe.Len() == 0 {
		return nil
	}
	if err := exec(ctx, pipe); err != nil {
		return fmt.Errorf("watch the queues: %w", err)
	}
	return nil
}

// Notes returns at most n notes of each kind for each of the queues, from before a time and
// the oldest first. It takes one round trip.
func (f *Feed) Notes(ctx context.Context, before time.Time, n int64, queues ...string) (notes []Note, err error) {
	pipe := f.ledger.rdb.Pipeline()
	var replies []*redis.ZSliceCmd
	until := &redis.ZRangeBy{Min: "-inf", Max: strconv.FormatInt(before.UnixMicro(), 10), Count: n}
	for _, queue := range queues {
		for _, list := range []string{listCauses, listEnded} {
			replies = append(replies, pipe.ZRangeByScoreWithScores(ctx, keysOf(queue).news(list), until))
		}
	}
	if len(replies) == 0 {
		return nil, nil
	}
	if err := exec(ctx, pipe); err != nil {
		return nil, fmt.Errorf("read what has ended: %w", err)
	}
	for i, reply := range replies {
		for _, z := range reply.Val() {
			notes = append(notes, Note{Queue: queues[i/2], Name: member(z), Cause: i%2 == 0, At: time.UnixMicro(int64(z.Score))})
		}
	}
	return notes, nil
}

// Forget removes notes, except those that were noted again since they were read.
func (f *Feed) Forget(ctx context.Context, notes ...Note) error {
	byKey := map[string][]any{}
	for _, n := range notes {
		list := listEnded
		if n.Cause {
			list = listCauses
		}
		key := keysOf(n.Queue).news(list)
		byKey[key] = append(byKey[key], n.At.UnixMicro(), n.Name)
	}
	for key, pairs := range byKey {
		if err := scriptUnnote.Run(ctx, f.ledger.rdb, []string{key}, pairs...).Err(); err != nil {
			return fmt.Errorf("forget what was told: %w", err)
		}
	}
	return nil
}

// EndedBatch is a batch without open calls.
type EndedBatch struct {
	Batch
	// At is when its last call ended.
	At time.Time
}

// Ended returns those of the named batches that have no open call.
func (f *Feed) Ended(ctx context.Context, names ...string) (ended []EndedBatch, err error) {
	found, err := f.ledger.batches(ctx, names)
	if err != nil {
		return nil, err
	}
	for _, b := range found {
		if last := b.lastEnding(); b.Counts.Open == 0 && last > 0 && len(b.unread) == 0 {
			ended = append(ended, EndedBatch{b, time.UnixMicro(last)})
		}
	}
	return ended, nil
}

// Cause describes a group of dead letters of one queue.
type Cause struct {
	Group
	// Count is its size in this queue, Latest the id of the call that died last.
	Count  int64
	Latest string
}

// Cause returns a group of dead letters of a queue. ok is false if it has no members any
// more.
func (f *Feed) Cause(ctx context.Context, queue, name string) (c Cause, ok bool, err error) {
	k := keysOf(queue)
	pipe := f.ledger.rdb.Pipeline()
	description, count := pipe.HGet(ctx, k.groups(), name), pipe.ZCard(ctx, k.deadGroup(name))
	latest := pipe.ZRevRange(ctx, k.deadGroup(name), 0, 0)
	if err := exec(ctx, pipe); err != nil {
		return c, false, fmt.Errorf("read group %s of dead letters: %w", name, err)
	}
	if count.Val() == 0 || len(latest.Val()) == 0 || description.Err() != nil {
		return c, false, nil
	}
	_ = json.Unmarshal([]byte(description.Val()), &c.Group) // a corrupt description has no texts
	c.Count, c.Latest = count.Val(), latest.Val()[0]
	return c, true, nil
}

// RedisTime returns Redis's clock, by which notes are made.
func (f *Feed) RedisTime(ctx context.Context) (time.Time, error) {
	now, err := f.ledger.rdb.Time(ctx).Result()
	if err != nil {
		return time.Time{}, fmt.Errorf("ask Redis for the time: %w", err)
	}
	return now, nil
}
