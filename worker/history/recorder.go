package history

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/tasks/redislua"
)

// Outcome is how an attempt ended. The set is closed.
type Outcome string

// The outcomes. Retried and Parked attempts do not end their call.
const (
	Done    Outcome = "done"
	Dead    Outcome = "dead"
	Dropped Outcome = "dropped"
	Retried Outcome = "retried"
	Parked  Outcome = "parked"
)

// Outcomes are all outcomes, in the order in which a chart shows them.
var Outcomes = []Outcome{Done, Dropped, Dead, Retried, Parked}

const (
	// kept is how long Redis keeps the counts of an hour after the last one.
	kept = 3 * time.Hour
	// unflushed bounds what a recorder keeps while Redis is away: the oldest minutes are
	// forgotten.
	unflushed = 10_000
)

// cell is one count.
type cell struct {
	upstream string
	minute   int64 // since 1970
	outcome  Outcome
}

// Recorder counts attempts and adds the counts to those in Redis. It is safe for
// concurrent use.
type Recorder struct {
	rdb redis.UniversalClient

	mu     sync.Mutex
	counts map[cell]int64
	ids    map[string]map[string]string // calls by upstream and correlation id
}

// NewRecorder returns a Recorder.
func NewRecorder(rdb redis.UniversalClient) *Recorder {
	return &Recorder{rdb: rdb, counts: map[cell]int64{}}
}

// Add counts one attempt.
func (r *Recorder) Add(upstream string, o Outcome, at time.Time) {
	c := cell{upstream, at.Unix() / 60, o}
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, there := r.counts[c]; there || len(r.counts) < unflushed {
		r.counts[c]++
	}
}

// Flush adds what was counted since the last Flush to the counts in Redis, and writes the
// noted correlation ids. If that fails, the counts are kept for the next Flush; a count that Redis had before the connection
// broke is then added twice.
func (r *Recorder) Flush(ctx context.Context) error {
	return errors.Join(r.flushCounts(ctx), r.flushIDs(ctx, time.Now()))
}

func (r *Recorder) flushCounts(ctx context.Context) error {
	r.mu.Lock()
	counts := r.counts
	r.counts = make(map[cell]int64, len(counts))
	r.mu.Unlock()
	if len(counts) == 0 {
		return nil
	}
	pipe := r.rdb.Pipeline()
	for c, n := range counts {
		key := keyOf(c.upstream, c.minute/60)
		pipe.HIncrBy(ctx, key, fieldOf(c.minute, c.outcome), n)
		pipe.Expire(ctx, key, kept)
	}
	if _, err := pipe.Exec(ctx); err != nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		for c, n := range counts {
			if _, there := r.counts[c]; there || len(r.counts) < unflushed {
				r.counts[c] += n
			}
		}
		return fmt.Errorf("write the counts of attempts: %w", err)
	}
	return nil
}

// keyOf is the key of an hour's counts.
func keyOf(upstream string, hour int64) string {
	return redislua.Own(upstream, "hour:"+strconv.FormatInt(hour, 10))
}

// fieldOf is the field of one count in the hour's hash.
func fieldOf(minute int64, o Outcome) string {
	return strconv.FormatInt(minute%60, 10) + " " + string(o)
}
