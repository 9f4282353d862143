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
	return d.eachQueue(ctx, "%s, all in asynq's list", func(s ledger.QueueState) ([]diagnosis, error) {
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
		if d.repair {
			if err := d.backend.repairer.Relist(ctx, s.Queue); err != nil {
				return list, err
			}
			one.Status, one.Fix = repaired, ""
		}
		return append(list, one), nil
	})
}

const (
	// sample is how many tasks of each list are checked.
	sample = 1000
	// manyCalls is how many open calls are checked, which takes some seconds.
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

// checkTasks finds tasks that no worker will put back, tasks without a call, and states in
// which asynq's own tools fail.
func checkTasks(ctx context.Context, d *doctor) ([]diagnosis, error) {
	return d.eachQueue(ctx, "%s, every task with its lease and its call", func(s ledger.QueueState) ([]diagnosis, error) {
		var list []diagnosis
		add := func(detail string, repair func() error) error {
			one := diagnosis{Status: found, Detail: "queue " + s.Queue + ": " + detail, Fix: d.next("doctor --mend")}
			if d.repair {
				if err := repair(); err != nil {
					return err
				}
				one.Status, one.Fix = repaired, ""
			}
			list = append(list, one)
			return nil
		}
		if n := len(s.Unleased); n > 0 {
			err := add(fmt.Sprintf("%s active without a lease, such as %s, and would never be put back", console.Subject(n, "task", "is", "are"), some(s.Unleased)), func() error {
				_, err := d.backend.repairer.Release(ctx, s.Queue, time.Time{}, s.Unleased...)
				return err
			})
			if err != nil {
				return list, err
			}
		}
		if n := len(s.Ghosts); n > 0 {
			err := add(fmt.Sprintf("%s on its lists without a task, such as %s: asynq's tools fail for the queue", console.Subject(n, "id", "is", "are"), some(s.Ghosts)), func() error {
				_, err := d.backend.repairer.Unlist(ctx, s.Queue, s.Ghosts...)
				return err
			})
			if err != nil {
				return list, err
			}
		}
		if s.Jams() {
			detail := fmt.Sprintf("asynq's archive is too full: it has %s that asynq would delete in one step, which fails; then no task of the queue can be archived", console.Plural(s.Overdue, "task"))
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
				Status: found, Fix: "find the program that writes there; callq work turns each into a dead letter: " + d.next("dead list --filter class=malformed_task"),
				Detail: fmt.Sprintf("queue %s: %s not put there by callq, such as %s", s.Queue, console.Subject(n, "task", "was", "were"), some(s.Foreign)),
			})
		}
		return list, nil
	})
}

// leaseGrace is the time after the end of a lease within which a running worker certainly
// puts the task back.
const leaseGrace = 5 * time.Minute

// checkCalls finds open calls without a task, which no worker would make. To repair, it
// checks all open calls.
func checkCalls(ctx context.Context, d *doctor) ([]diagnosis, error) {
	search := ledger.Search{ID: tasks.TaskID, By: time.Now().Add(-leaseGrace), Max: manyCalls}
	if d.repair {
		search.Max = math.MaxInt
	}
	var ids []string
	orphaned := 0
	orphans := func(yield func(ledger.Record, error) bool) {
		for r, err := range d.backend.repairer.Orphaned(ctx, &search) {
			if err == nil {
				if orphaned++; len(ids) < enough {
					ids = append(ids, r.ID)
				}
			}
			if !yield(r, err) {
				return
			}
		}
	}
	list, restored, err := d.restore(ctx, orphans, search.By)
	if err != nil {
		return list, err
	}
	one := diagnosis{Detail: fmt.Sprintf("%s without a task, such as %s: no worker will make them", console.Subject(orphaned, "open call", "is", "are"), some(ids))}
	switch {
	case orphaned == 0:
		return well("%s checked, each with its task", console.Plural(search.Looked, "open call")), nil
	case !d.repair:
		one.Status, one.Fix = found, d.next("doctor --mend")
		list = append(list, one)
	case restored > 0:
		one.Status = repaired
		list = append([]diagnosis{one}, list...)
	}
	// An orphaned call that was neither restored nor reported has changed meanwhile.
	return orWell(list, "%s checked, each with its task", console.Plural(search.Looked, "open call")), nil
}

// restore puts orphaned calls back if it is to repair them, and returns a finding for each
// batch with calls that cannot be put back.
func (d *doctor) restore(ctx context.Context, orphans iter.Seq2[ledger.Record, error], by time.Time) (list []diagnosis, restored int, err error) {
	if !d.repair {
		for _, err := range orphans {
			if err != nil {
				return nil, 0, err
			}
		}
		return nil, 0, nil
	}
	of, more := map[string]int{}, map[int]int{}
	restored, err = d.backend.records.RestoreAll(ctx, orphans, by, func(r ledger.Record, err error) {
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

// enough is how many ids [some] needs.
const enough = few + 1

const few = 3

// some lists the first few of many ids.
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
