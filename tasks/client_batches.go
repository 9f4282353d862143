package tasks

import (
	"context"
	"iter"
	"time"

	"github.com/seed-2903acc3/callq/tasks/ledger"
)

// Counts are the counts of a batch. At any moment
//
//	Accepted = Open + Done + Dead + Dropped + Cancelled
type Counts struct {
	Accepted, Open, Done, Dead, Dropped, Cancelled int64
	// Expired is how many of the ended calls were forgotten after the retention;
	// ExpiredDead is how many of these were purged dead letters.
	Expired, ExpiredDead int64
}

// BatchInfo is a batch with its counts.
type BatchInfo struct {
	Name    string
	Created time.Time
	Counts  Counts
	// BaseURLs are those of the upstreams that its calls were sent to, by upstream, as
	// far as they are known.
	BaseURLs map[string]string
	// BodyBytes is the size of the stored bodies of its results in Redis.
	BodyBytes int64
}

func batchInfoOf(b ledger.Batch) BatchInfo {
	return BatchInfo{Name: b.Name, Created: b.Created, Counts: Counts(b.Counts), BaseURLs: b.APIs, BodyBytes: b.Bodies}
}

// Batch returns a batch, or [ErrNoBatch].
func (c *Client) Batch(ctx context.Context, name string) (BatchInfo, error) {
	b, err := c.ledger.Batch(ctx, name)
	if err != nil {
		return BatchInfo{}, err
	}
	return batchInfoOf(b), nil
}

// Batches yields all batches, the oldest first. After an error it ends.
func (c *Client) Batches(ctx context.Context) iter.Seq2[BatchInfo, error] {
	return func(yield func(BatchInfo, error) bool) {
		batches, err := c.ledger.Batches(ctx)
		if err != nil {
			yield(BatchInfo{}, err)
			return
		}
		for _, b := range batches {
			if !yield(batchInfoOf(b), nil) {
				return
			}
		}
	}
}

// Results yields the results of a batch's ended calls, in the order in which they
// ended. It yields [ErrNoBatch] if there is no such batch. After an error it ends.
func (c *Client) Results(ctx context.Context, batch string) iter.Seq2[Result, error] {
	return func(yield func(Result, error) bool) {
		for r, err := range c.ledger.Endings(ctx, batch, &ledger.Cursor{}) {
			if !yield(resultOf(r), err) {
				return
			}
		}
	}
}

// Cancelled counts the open calls of a cancelled batch.
type Cancelled struct {
	// Cancelled were cancelled. Unknown may have been sent: they are dead letters of
	// class outcome_unknown now, or without [ClientConfig.Explain] are left as they
	// are. Active are being made by a worker, which will end them.
	Cancelled, Unknown, Active int64
}

// DeleteBatch forgets a batch at once: its results, its dead letters and its keys,
// which can be used again. It returns how many calls were forgotten, and whether the
// batch is gone: calls whose task a worker still holds, or is still in a queue, are
// left for a later try. A batch with open calls is left unchanged, with [ErrOpenCalls].
func (c *Client) DeleteBatch(ctx context.Context, name string) (calls int, gone bool, err error) {
	swept, err := c.ledger.DeleteBatch(ctx, name)
	return swept.Calls, swept.Batches > 0, err
}
