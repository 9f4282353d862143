package ledger

import (
	"context"
	"fmt"
	"math/bits"
	"strings"

	"github.com/redis/go-redis/v9"
)

// sampled is how many records of a batch are measured to estimate the size of all of
// them.
const sampled = 20

// Usage is how many bytes of Redis's memory a batch takes.
type Usage struct {
	// Bodies is the size of the stored bodies of its results, exactly. Records is the
	// size of the rest of its calls, their requests included, estimated from a few;
	// Claims is the size of the keys that were sent, and Lists that of the lists of its
	// endings, both estimated by Redis.
	Bodies, Records, Claims, Lists int64
}

// Total is the sum.
func (u Usage) Total() int64 { return u.Bodies + u.Records + u.Claims + u.Lists }

// Usage estimates the size of a batch, in a few round trips however large the batch is.
// id makes the id of a call.
func (l *Ledger) Usage(ctx context.Context, b Batch, id func(batch, key string) string) (Usage, error) {
	fields, _, err := l.rdb.HScan(ctx, claimsKey(b.Name), 0, "*", sampled).Result()
	if err != nil {
		return Usage{}, fmt.Errorf("list some calls of batch %q: %w", b.Name, err)
	}
	pipe := l.rdb.Pipeline()
	var claims *redis.IntCmd
	var lists, records, bodies []*redis.IntCmd
	claims = pipe.MemoryUsage(ctx, claimsKey(b.Name))
	for _, queue := range b.Queues {
		k := keysOf(queue)
		lists = append(lists, pipe.MemoryUsage(ctx, k.ended(b.Name)), pipe.MemoryUsage(ctx, k.counts(b.Name)))
	}
	for i := 0; i+1 < min(len(fields), 2*sampled); i += 2 {
		hash, queue, _ := strings.Cut(fields[i+1], " ")
		name := fields[i]
		if hash != adopted {
			name = id(b.Name, name)
		}
		record := keysOf(queue).record(name)
		records, bodies = append(records, pipe.MemoryUsage(ctx, record, 0)), append(bodies, pipe.HStrLen(ctx, record, "body"))
	}
	if err := exec(ctx, pipe); err != nil {
		return Usage{}, fmt.Errorf("estimate the size of batch %q: %w", b.Name, err)
	}
	u := Usage{Bodies: b.Bodies, Claims: claims.Val()}
	for _, list := range lists {
		u.Lists += list.Val()
	}
	n, sum := int64(0), int64(0)
	for i := range records {
		if size := records[i].Val(); size > 0 { // a claim may have no record yet
			n, sum = n+1, sum+max(size-allocated(bodies[i].Val()), 0)
		}
	}
	if n > 0 {
		u.Records = sum / n * max(b.Counts.Accepted-b.Counts.Expired, 0)
	}
	return u, nil
}

// allocated returns how many bytes Redis's allocator uses for a text of n bytes: it has
// four sizes between a power of two and the next.
func allocated(n int64) int64 {
	if n == 0 {
		return 0
	}
	n += 10 // Redis's own bytes for a text
	step := int64(1) << max(bits.Len64(uint64(n-1))-3, 4)
	return (n + step - 1) / step * step
}
