package main

import (
	"context"
	"fmt"
	"iter"
	"math"
	"time"

	"github.com/seed-2903acc3/callq/cmd/callq/internal/console"
	"github.com/seed-2903acc3/callq/internal/shellword"
	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/ledger"
)

func checkQueues(ctx context.Context, d *doctor) ([]diagnosis, error) {
	return d.eachQueue(ctx, "%s known to asynq's tools", func(s ledger.QueueState) ([]diagnosis, error) {
		var list []diagnosis
		if s.Paused {
			list = append(list, diagnosis{
				Status: noted, Detail: fmt.Sprintf("queue %s is paused by an operator; %s in it", s.Queue, console.Subject(int(s.Pending), "call", "waits", "wait")),
				Fix: "resume it where it was paused (asynqmon)",
			})
		}
		if s.Listed {
			return list, nil
		}
		one := diagnosis{Status: found, Detail: fmt.Sprintf("queue %s is missing from asynq's list: its tools do not show it", s.Queue), Fix: d.next("doctor --mend")}
		if d.mend {
			if err := d.backend.repairer.Relist(ctx, s.Queue); err != nil {
				return list, err
			}
			one.Status, one.Fix = mended, ""
		}
		return append(list, one), nil
	})
}

const (
	// sample is how many tasks of each list are looked at one by one.
	sample = 1000
	// manyCalls is the same for the open calls of a batch: some seconds' worth.
	manyCalls = 100_000
)

func (d *doctor) eachQueue(ctx context.Context, fine string, look func(ledger.QueueState) ([]diagnosis, error)) ([]diagnosis, error) {
	queues, err := d.backend.ledger.Queues(ctx)
	if err != nil {
		return nil, err
	}
	var list []diagnosis
	for _, queue := range queues {
		s, err := d.backend.repairer.QueueState(ctx, queue, sample)
		if err != nil {
			return list, err
		}
		more, err := look(s)
		list = append(list, more...)
		if err != nil {
			return list, err
		}
	}
	return orWell(list, fine, console.Plural(len(queues), "queue")), nil
}

// checkTasks looks for tasks that nobody will take back, for such as have no call,
// and for what has asynq's own tools fail.
func checkTasks(ctx context.Context, d *doctor) ([]diagnosis, error) {
	return d.eachQueue(ctx, "%s, every task with its lease and its call", func(s ledger.QueueState) ([]diagnosis, error) {
		var list []diagnosis
		add := func(detail string, mend func() error) error {
			one := diagnosis{Status: found, Detail: "queue " + s.Queue + ": " + detail, Fix: d.next("doctor --mend")}
			if d.mend {
				if err := mend(); err != nil {
					return err
				}
				one.Status, one.Fix = mended, ""
			}
			list = append(list, one)
			return nil
		}
		if n := len(s.Unleased); n > 0 {
			err := add(fmt.Sprintf("%s being made by nobody, as %s, and would stay so for ever", console.Subject(n, "task", "is", "are"), some(s.Unleased)), func() error {
				_, err := d.backend.repairer.Release(ctx, s.Queue, time.Time{}, s.Unleased...)
				return err
			})
			if err != nil {
				return list, err
			}
		}
		if n := len(s.Ghosts); n > 0 {
			err := add(fmt.Sprintf("%s on its lists without a task, as %s: asynq's tools fail for the queue", console.Subject(n, "id", "stands", "stand"), some(s.Ghosts)), func() error {
				_, err := d.backend.repairer.Unlist(ctx, s.Queue, s.Ghosts...)
				return err
			})
			if err != nil {
				return list, err
			}
		}
		if s.Jams() {
			detail := fmt.Sprintf("asynq's archive is about to jam: it holds %s that asynq would delete in one step, and fails to; then nothing of the queue can be archived", console.Plural(s.Overdue, "task"))
			err := add(detail, func() error {
				_, err := d.backend.repairer.TrimArchive(ctx, s.Queue)
				return err
			})
			if err != nil {
				return list, err
			}
		}
		if n := len(s.Foreign); n > 0 {
			list = append(list, diagnosis{
				Status: found, Fix: "find who writes there; callq work takes each down as a dead letter: " + d.next("dead list --filter class=malformed_task"),
				Detail: fmt.Sprintf("queue %s: %s not put there by callq, as %s", s.Queue, console.Subject(n, "task", "was", "were"), some(s.Foreign)),
			})
		}
		return list, nil
	})
}

// leaseGrace is how long after the end of its lease a task is taken back for certain,
// if a worker runs.
const leaseGrace = 5 * time.Minute

// checkCalls looks for open calls that no worker will ever find. To mend it looks at
// all of them.
func checkCalls(ctx context.Context, d *doctor) ([]diagnosis, error) {
	search := ledger.Search{ID: tasks.TaskID, By: time.Now().Add(-leaseGrace), Max: manyCalls}
	if d.mend {
		search.Max = math.MaxInt
	}
	var ids []string
	lost := 0
	lostOnes := func(yield func(ledger.Record, error) bool) {
		for r, err := range d.backend.repairer.Orphaned(ctx, &search) {
			if err == nil {
				if lost++; len(ids) < enough {
					ids = append(ids, r.ID)
				}
			}
			if !yield(r, err) {
				return
			}
		}
	}
	list, restored, err := d.restoreOf(ctx, lostOnes, search.By)
	if err != nil {
		return list, err
	}
	one := diagnosis{Detail: fmt.Sprintf("%s without a task, as %s: no worker will make them", console.Subject(lost, "open call", "is", "are"), some(ids))}
	switch {
	case lost == 0:
		return well("%s looked at, each with its task", console.Plural(search.Looked, "open call")), nil
	case !d.mend:
		one.Status, one.Fix = found, d.next("doctor --mend")
		list = append(list, one)
	case restored > 0:
		one.Status = mended
		list = append([]diagnosis{one}, list...)
	}
	// What is lost and was neither restored nor named has moved on.
	return orWell(list, "%s looked at, each with its task", console.Plural(search.Looked, "open call")), nil
}

// restoreOf puts lost calls back where it is to mend, and has a finding for each batch
// of which some cannot be.
func (d *doctor) restoreOf(ctx context.Context, lost iter.Seq2[ledger.Record, error], by time.Time) (list []diagnosis, restored int, err error) {
	if !d.mend {
		for _, err := range lost {
			if err != nil {
				return nil, 0, err
			}
		}
		return nil, 0, nil
	}
	of, more := map[string]int{}, map[int]int{}
	restored, err = d.backend.records.RestoreAll(ctx, lost, by, func(r ledger.Record, err error) {
		if i, known := of[r.Batch]; known {
			more[i]++
			return
		}
		of[r.Batch] = len(list)
		list = append(list, diagnosis{Status: found, Detail: err.Error(), Fix: d.next("batch cancel " + shellword.Quote(r.Batch))})
	})
	for i, n := range more {
		list[i].Detail += fmt.Sprintf(", nor can %s of the batch", console.Plural(n, "other call"))
	}
	return list, restored, err
}

// enough is how many ids [some] needs to see.
const enough = few + 1

const few = 3

// some names a few of many.
func some(ids []string) string {
	text := ""
	for i, id := range ids[:min(len(ids), few)] {
		if i > 0 {
			text += ", "
		}
		text += id
	}
	if len(ids) > few {
		text += ", …"
	}
	return text
}
