package ledger

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/tasks/redislua"
)

// Entry is a call about to be accepted.
type Entry struct {
	// ID is the task's id, Message asynq's encoding of the task.
	ID, Message string
	// Key and Hash are the call's key in its batch and its content's hash.
	Key, Hash string
	// Queue is the queue that it is for.
	Queue string
	// API is the base URL of its upstream, which the batch remembers; empty: it is not
	// known.
	API string
	// Content is the call as its codec wrote it.
	Content []byte
	// NotBefore is when the call may be made first; zero means now.
	NotBefore time.Time
	// Deadline is the time after which the call must not be sent; zero means none.
	Deadline time.Time
}

// Verdict says what became of an [Entry].
type Verdict int

// The verdicts.
const (
	// Accepted: the call is in the books and in its queue.
	Accepted Verdict = iota + 1
	// Duplicate: the same key with the same content is in the books already.
	Duplicate
	// Conflict: the key stands for other content; nothing was changed.
	Conflict
)

// Claimed is what a [Ledger.Claim] has to say of one entry: the queue that its
// key was claimed for, or "" where the key stands for other content.
type Claimed string

// Claim reserves the entries' keys, so that a key of a batch can never stand for
// two contents. Claims are made in the order of the entries, at most 1,000 at once.
//
// Who dies between Claim and [Ledger.Accept] leaves claims without records; the
// next Claim and Accept of the same calls complete them.
func (l *Ledger) Claim(ctx context.Context, batch string, entries []Entry) ([]Claimed, error) {
	if err := l.register(ctx, batch, entries); err != nil {
		return nil, err
	}
	args := make([]any, 0, 2*len(entries))
	claimed := make([]Claimed, len(entries))
	for i := range entries {
		args = append(args, entries[i].Key, entries[i].Hash+" "+entries[i].Queue)
		claimed[i] = Claimed(entries[i].Queue)
	}
	earlier, err := scriptClaim.Run(ctx, l.rdb, []string{claimsKey(batch)}, args...).Slice()
	if err != nil {
		return nil, fmt.Errorf("claim keys of batch %q: %w", batch, err)
	}
	for ; len(earlier) > 0; earlier = earlier[2:] {
		i := redislua.Number(earlier[0]) - 1
		claimed[i] = ""
		// The same content sent again with another priority stays in the queue
		// that it was first sent to: one key is one call.
		if hash, queue, _ := strings.Cut(redislua.Text(earlier[1]), " "); hash == entries[i].Hash {
			claimed[i] = Claimed(queue)
		}
	}
	return claimed, nil
}

// Accept takes claimed calls of one batch into the books and their queues, one
// script a queue, and returns a verdict for each. Where an error is returned
// nothing is known of the calls that have no verdict (0): accept them again.
func (l *Ledger) Accept(ctx context.Context, batch string, entries []Entry, claimed []Claimed) ([]Verdict, error) {
	verdicts := make([]Verdict, len(entries))
	queues := map[string][]int{}
	for i, queue := range claimed {
		if queue == "" {
			verdicts[i] = Conflict
			continue
		}
		queues[string(queue)] = append(queues[string(queue)], i)
	}
	for queue, indexes := range queues {
		if err := l.acceptQueue(ctx, batch, queue, entries, indexes, verdicts); err != nil {
			return verdicts, err
		}
	}
	return verdicts, nil
}

// register makes the batch and its queues known, so that they are found again.
func (l *Ledger) register(ctx context.Context, batch string, entries []Entry) error {
	now := time.Now().UnixMilli()
	seen := map[string]bool{}
	pipe := l.rdb.Pipeline()
	// First of all, so that a sweep under way leaves the batch alone.
	pipe.HDel(ctx, metaKey(batch), "idle")
	pipe.HSetNX(ctx, metaKey(batch), "created", now)
	pipe.ZAddNX(ctx, keyBatches, redis.Z{Score: float64(now), Member: batch})
	for i := range entries {
		queue := entries[i].Queue
		if seen[queue] {
			continue
		}
		seen[queue] = true
		pipe.SAdd(ctx, keyQueues, queue)
		// asynq's client writes this once per process and never again, so a
		// queue that was deleted in between would stay invisible.
		pipe.SAdd(ctx, asynqAll, queue)
		pipe.HSet(ctx, metaKey(batch), "q:"+queue, 1)
		if entries[i].API != "" {
			pipe.HSetNX(ctx, metaKey(batch), "api:"+redislua.UpstreamOf(queue), entries[i].API)
		}
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return fmt.Errorf("register batch %q: %w", batch, err)
	}
	return nil
}

func (l *Ledger) acceptQueue(ctx context.Context, batch, queue string, entries []Entry, indexes []int, verdicts []Verdict) error {
	k := keysOf(queue)
	args := make([]any, 0, 5+6*len(indexes))
	args = append(args, time.Now().UnixNano(), k.taskPrefix(), k.recordPrefix(), batch, 0)
	for n, i := range indexes {
		if deadline := entries[i].Deadline; !deadline.IsZero() {
			args = append(args, n+1, deadlineScore(deadline))
		}
	}
	args[4] = (len(args) - 5) / 2
	for _, i := range indexes {
		e := &entries[i]
		var due int64
		if !e.NotBefore.IsZero() {
			due = ceilSecond(e.NotBefore)
		}
		args = append(args, e.ID, e.Message, e.Content, e.Key, e.Hash, due)
	}
	took, err := scriptAccept.Run(ctx, l.rdb, []string{k.pending(), k.scheduled(), k.counts(batch), k.deadlines(), k.fence()}, args...).Int64Slice()
	if err != nil {
		return fmt.Errorf("accept %d calls into queue %q: %w", len(indexes), queue, err)
	}
	for n, i := range indexes {
		verdicts[i] = Duplicate
		if took[n] == 1 {
			verdicts[i] = Accepted
		}
	}
	return nil
}

// ceilSecond rounds up: asynq's scores are whole seconds, and a call must not go
// out early.
func ceilSecond(t time.Time) int64 {
	s := t.Unix()
	if t.Nanosecond() > 0 {
		s++
	}
	return s
}

// adopted stands in place of the content's hash in the claim of a task that nobody
// has sent. Its id is its key, which no other call's is.
const adopted = "-"

// Adopt makes an open record for a task that is in a worker's hands and has
// none, so that it can be ended like any other: nothing leaves the queue without
// a trace. Its batch is [AdHoc], its key the task's id.
func (rep *Repairer) Adopt(ctx context.Context, t *Delivery) error {
	entry := []Entry{{ID: t.ID, Key: t.ID, Hash: adopted, Queue: t.Queue}}
	if _, err := rep.ledger.Claim(ctx, AdHoc, entry); err != nil {
		return err
	}
	// The task is there, so accept adds nothing to asynq's lists.
	if _, err := rep.ledger.Accept(ctx, AdHoc, entry, []Claimed{Claimed(t.Queue)}); err != nil {
		return err
	}
	t.Record = Record{
		ID: t.ID, Queue: t.Queue, Batch: AdHoc, Key: t.ID, Hash: adopted, State: Open, Generation: 1, AcceptedAt: t.At,
	}
	t.Known = true
	return nil
}

// RemoveTask takes a task off asynq's active list, for one that asynq cannot
// take off itself.
func (rep *Repairer) RemoveTask(ctx context.Context, queue, id string) error {
	k := keysOf(queue)
	pipe := rep.rdb.TxPipeline()
	pipe.LRem(ctx, k.active(), 1, id)
	pipe.ZRem(ctx, k.lease(), id)
	pipe.Del(ctx, k.task(id))
	if _, err := pipe.Exec(ctx); err != nil {
		return fmt.Errorf("take task %s off the active list: %w", id, err)
	}
	return nil
}
