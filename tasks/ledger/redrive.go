package ledger

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/seed-2903acc3/callq/tasks/redislua"
)

// Change says what became of a call that was to be redriven or purged.
type Change int

// The possible results of a change.
const (
	// Changed: the call was redriven or purged.
	Changed Change = 1
	// Unchanged: the call is in another state or generation, or was purged.
	Unchanged Change = 0
	// StillHeld: a worker still holds the call's task. Try again.
	StillHeld Change = -1
)

const (
	// MaxChanged is how many calls one script redrives or purges at most: Redis serves no
	// other client meanwhile.
	MaxChanged = 100
	// MaxChangedBytes is how many bytes of contents and bodies they should have together,
	// or else a single one of them: Redis has to free these.
	MaxChangedBytes = 1 << 20
)

// Reopening is an ended call to be redriven.
type Reopening struct {
	Record
	// Message is asynq's encoding of the call's task.
	Message string
	// Deadline is the call's own, or zero.
	Deadline time.Time
}

// RedriveAll opens ended calls of one queue again, at most [MaxChanged], in one script: each
// in a new generation with a fresh budget. With done it opens calls that are done too, whose
// results the caller must have kept: the records lose them. It returns for each call what
// became of it.
func (l *Ledger) RedriveAll(ctx context.Context, queue string, list []Reopening, done bool) ([]Change, error) {
	now := time.Now()
	k := keysOf(queue)
	args := append(make([]any, 0, 4+6*len(list)), k.taskPrefix(), k.own, now.UnixNano(), redislua.Flag(done))
	var ended []int // the places in list of those that the script gets
	for i := range list {
		c := &list[i]
		if c.Ending == nil {
			continue // it is open, or its record is gone
		}
		lineage, err := json.Marshal(append(c.Lineage[:len(c.Lineage):len(c.Lineage)],
			Former{Generation: c.Generation, State: c.State, Ending: *c.Ending, RedrivenAt: now.UTC()}))
		if err != nil {
			return nil, fmt.Errorf("encode the lineage of call %s: %w", c.ID, err)
		}
		var passes any = ""
		if !c.Deadline.IsZero() {
			passes = deadlineScore(c.Deadline)
		}
		args = append(args, c.ID, c.Generation, c.Message, lineage, passes, c.folded().encode())
		ended = append(ended, i)
	}
	changes := make([]Change, len(list))
	if len(ended) == 0 {
		return changes, nil
	}
	if err := l.restartRetention(ctx, list); err != nil {
		return nil, fmt.Errorf("redrive %d calls of queue %q: %w", len(list), queue, err)
	}
	reply, err := scriptRedrive.Run(ctx, l.rdb, []string{
		k.lease(), k.pending(), k.archived(), k.scheduled(), k.retry(), k.dead(), k.groups(), k.deadlines(),
	}, args...).Int64Slice()
	if err != nil {
		return nil, fmt.Errorf("redrive %d calls of queue %q: %w", len(list), queue, err)
	}
	for i, n := range reply {
		changes[ended[i]] = Change(n)
	}
	return changes, nil
}

// restartRetention notes that the batches of calls are not idle any more: their retention
// starts again when they are next idle.
func (l *Ledger) restartRetention(ctx context.Context, list []Reopening) error {
	pipe := l.rdb.Pipeline()
	seen := map[string]bool{}
	for i := range list {
		if batch := list[i].Batch; !seen[batch] {
			seen[batch] = true
			pipe.HDel(ctx, metaKey(batch), "idle")
		}
	}
	_, err := pipe.Exec(ctx)
	return err
}

// PurgeAll removes the bodies of dead letters of one queue, at most [MaxChanged], in one
// script, and leaves them counted. It returns for each call what became of it.
func (l *Ledger) PurgeAll(ctx context.Context, queue string, list []Record) ([]Change, error) {
	k := keysOf(queue)
	args := append(make([]any, 0, 2+3*len(list)), k.taskPrefix(), k.own)
	for i := range list {
		args = append(args, list[i].ID, list[i].Generation, list[i].folded().encode())
	}
	reply, err := scriptPurge.Run(ctx, l.rdb, []string{k.lease(), k.archived(), k.dead(), k.groups()}, args...).Int64Slice()
	if err != nil {
		return nil, fmt.Errorf("purge %d calls of queue %q: %w", len(list), queue, err)
	}
	changes := make([]Change, len(reply))
	for i, n := range reply {
		changes[i] = Change(n)
	}
	return changes, nil
}
