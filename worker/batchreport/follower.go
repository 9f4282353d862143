package batchreport

import (
	"context"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/tasks/ledger"
)

const (
	// readAtOnce is how many endings of each queue a [Follower] reads at a time, and readEvery
	// the least time between two readings of a batch.
	readAtOnce = 5000
	readEvery  = time.Second
	// restartEvery is how often a batch is read from the beginning at most.
	restartEvery = time.Minute
	// mostFollowed is how many batches are kept.
	mostFollowed = 64
)

// Follower groups the failed calls of batches by cause for a page that is shown again and
// again. It remembers what it has read: each time it reads only what has ended since, and
// of a large batch only a part. It is safe for concurrent use.
type Follower struct {
	ledger *ledger.Ledger
	now    func() time.Time

	mu      sync.Mutex
	batches map[string]*followed
}

// followed is what is known of one batch.
type followed struct {
	mu      sync.Mutex
	created time.Time
	cursor  ledger.Cursor
	causes  *causes
	looked  int64
	// complete reports that all endings were read.
	complete bool
	// readAt is when it was read last, begunAt when it was begun from the beginning, usedAt
	// when it was asked for last.
	readAt, begunAt, usedAt time.Time
}

// NewFollower returns a Follower on the queue's Redis, which it does not close.
func NewFollower(rdb redis.UniversalClient) *Follower {
	return &Follower{ledger: ledger.New(rdb), now: time.Now, batches: map[string]*followed{}}
}

// Causes are why calls of a batch failed.
type Causes struct {
	// List are the causes, the most frequent first. Their examples have no method, path and
	// requests.
	List []Cause
	// Looked is how many endings were read. Complete reports that these are all.
	Looked   int64
	Complete bool
}

// Causes returns why calls of a batch failed, as far as it was read, or
// [ledger.ErrNoBatch].
func (f *Follower) Causes(ctx context.Context, batch string) (Causes, error) {
	b, err := f.ledger.Batch(ctx, batch)
	if err != nil {
		return Causes{}, err
	}
	one := f.of(b)
	one.mu.Lock()
	defer one.mu.Unlock()
	if err := one.read(ctx, f, b); err != nil {
		return Causes{}, err
	}
	c := Causes{List: []Cause{}, Looked: one.looked, Complete: one.complete}
	for _, sum := range one.causes.list() {
		c.List = append(c.List, sum.Cause)
	}
	return c, nil
}

// of returns what is known of a batch, and forgets the batch that was not asked for the
// longest if there are too many.
func (f *Follower) of(b ledger.Batch) *followed {
	f.mu.Lock()
	defer f.mu.Unlock()
	one := f.batches[b.Name]
	if one == nil || !one.created.Equal(b.Created) {
		one = &followed{created: b.Created, causes: newCauses()}
		f.batches[b.Name] = one
	}
	one.usedAt = f.now()
	if len(f.batches) > mostFollowed {
		oldest := b.Name
		for name, other := range f.batches {
			if other.usedAt.Before(f.batches[oldest].usedAt) {
				oldest = name
			}
		}
		delete(f.batches, oldest)
	}
	return one
}

// read reads the next endings, if it is time for that.
func (one *followed) read(ctx context.Context, f *Follower, b ledger.Batch) error {
	now := f.now()
	if now.Sub(one.readAt) < readEvery {
		return nil
	}
	// A call that was redriven was counted for its former ending.
	if one.causes.failed > b.Counts.Dead+b.Counts.Dropped && now.Sub(one.begunAt) >= restartEvery {
		one.cursor, one.causes, one.looked = ledger.Cursor{}, newCauses(), 0
	}
	if one.looked == 0 {
		one.begunAt = now
	}
	failures, looked, err := f.ledger.FailuresAfter(ctx, b, &one.cursor, readAtOnce)
	if err != nil {
		// What was read before the error is not counted: begin again.
		one.cursor, one.causes, one.looked = ledger.Cursor{}, newCauses(), 0
		return err
	}
	for i := range failures {
		one.causes.add(&failures[i], 0)
	}
	one.readAt, one.looked, one.complete = now, one.looked+int64(looked), looked < readAtOnce
	return nil
}
