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
	// Queue is the call's queue.
	Queue string
	// API is the base URL of its upstream, which the batch remembers; empty if it is
	// not known.
	API string
	// Content is the call as its codec wrote it.
	Content []byte
	// NotBefore is the earliest time to make the call; zero means now.
	NotBefore time.Time
	// Deadline is the time after which the call must not be sent; zero means none.
	Deadline time.Time
}

// Acceptance says what became of an [Entry].
type Acceptance int

// The possible acceptances.
const (
	// Accepted: the call is in the ledger and in its queue.
	Accepted Acceptance = iota + 1
	// Duplicate: the same key with the same content is in the ledger already.
	Duplicate
	// Conflict: the key has different content; nothing was changed.
	Conflict
)

// Claimed is the result of [Ledger.Claim] for one entry: the queue that its key was
// claimed for, or "" if the key has different content.
type Claimed string

// Claim reserves the entries' keys, so that a key of a batch can never stand for
// two contents. Claims are made in the order of the entries, at most 1,000 at once.
//
// A producer that dies between Claim and [Ledger.Accept] leaves claims without records;
// the next Claim and Accept of the same calls complete them.
func (l *Ledger) Claim(ctx context.Context, batch string, entries []Entry) ([]Claimed, error) {
	if err := l.register(ctx, batch, entries); err != nil {
		return nil, err
	}
	args := make([]any, 0, 2*len(entries))
	claimed := make([]Claimed, len(entries))
	for i := range entries {
		args = append(args, entries[i].Key, storedHash(entries[i].Hash)+" "+entries[i].Queue)
		claimed[i] = Claimed(entries[i].Queue)
	}
	earlier, err := scriptClaim.Run(ctx, l.rdb, []string{claimsKey(batch)}, args...).Slice()
	if err != nil {
		return nil, fmt.Errorf("claim keys of batch %q: %w", batch, err)
	}
	for ; len(earlier) > 0; earlier = earlier[2:] {
		i := redislua.Number(earlier[0]) - 1
		claimed[i] = ""
		// The same content sent again with another priority stays in its first queue:
		// one key is one call.
		if hash, queue, _ := strings.Cut(redislua.Text(earlier[1]), " "); hashFrom(hash) == entries[i].Hash {
			claimed[i] = Claimed(queue)
		}
	}
	return claimed, nil
}

// Accept adds claimed calls of one batch to the ledger and to their queues, with one
// script for each queue, and returns an [Acceptance] for each call. After an error the
// calls without one (0) are in an unknown state: accept them again.
func (l *Ledger) Accept(ctx context.Context, batch string, entries []Entry, claimed []Claimed) ([]Acceptance, error) {
	verdicts := make([]Acceptance, len(entries))
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

// register records the names of the batch and of its queues, so that they can be
// listed.
func (l *Ledger) register(ctx context.Context, batch string, entries []Entry) error {
	now := time.Now().UnixMilli()
	seen := map[string]bool{}
	pipe := l.rdb.Pipeline()
	// This comes first, so that a running sweep leaves the batch alone.
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
		// asynq's client writes this once per process and never again, so a queue that
		// was deleted since would stay invisible.
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

func (l *Ledger) acceptQueue(ctx context.Context, batch, queue string, entries []Entry, indexes []int, verdicts []Acceptance) error {
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
		args = append(args, e.ID, e.Message, e.Content, e.Key, storedHash(e.Hash), due)
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

// ceilSecond rounds up: asynq's scores are whole seconds, and a call must not be sent
// early.
func ceilSecond(t time.Time) int64 {
	s := t.Unix()
	if t.Nanosecond() > 0 {
		s++
	}
	return s
}

// adopted replaces the content's hash in the claim of a task that no producer has sent.
// The task's id is its key, and no other call has that key.
const adopted = "-"

// Adopt creates an open record for a task that a worker has taken and that has none, so
// that it can be ended like any other: no task leaves the queue without a trace. Its
// batch is [AdHoc], its key the task's id.
func (rep *Repairer) Adopt(ctx context.Context, t *Delivery) error {
	entry := []Entry{{ID: t.ID, Key: t.ID, Hash: adopted, Queue: t.Queue}}
	if _, err := rep.ledger.Claim(ctx, AdHoc, entry); err != nil {
		return err
	}
	// The task exists, so accept adds nothing to asynq's lists.
	if _, err := rep.ledger.Accept(ctx, AdHoc, entry, []Claimed{Claimed(t.Queue)}); err != nil {
		return err
	}
	t.Record = Record{
		ID: t.ID, Queue: t.Queue, Batch: AdHoc, Key: t.ID, Hash: adopted, State: Open, Generation: 1, AcceptedAt: t.At,
	}
	t.Known = true
	return nil
}

// RemoveTask removes a task from asynq's active list. It is for tasks that asynq itself
// cannot remove.
func (rep *Repairer) RemoveTask(ctx context.Context, queue, id string) error {
	k := keysOf(queue)
	pipe := rep.rdb.TxPipeline()
	pipe.LRem(ctx, k.active(), 1, id)
	pipe.ZRem(ctx, k.lease(), id)
	pipe.Del(ctx, k.task(id))
	if _, err := pipe.Exec(ctx); err != nil {
		return fmt.Errorf("remove task %s from the active list: %w", id, err)
	}
	return nil
}
