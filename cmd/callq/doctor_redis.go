package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/broker"
	"github.com/seed-2903acc3/callq/tasks/ledger"
	"github.com/seed-2903acc3/callq/worker/circuit"
)

func checkServer(ctx context.Context, d *doctor) ([]diagnosis, error) {
	facts, err := broker.Inspect(ctx, d.desk.conn.Client)
	if err != nil {
		return nil, err
	}
	if facts.Version == "" {
		return []diagnosis{{Status: noted, Detail: d.desk.conn.Describe() + " does not tell its version; callq needs what Redis 7.0 can do"}}, nil
	}
	return well("%s %s at %s", facts.Product, facts.Version, d.desk.conn.Describe()), nil
}

func checkEviction(ctx context.Context, d *doctor) ([]diagnosis, error) {
	facts, err := broker.Inspect(ctx, d.desk.conn.Client)
	switch {
	case err != nil:
		return nil, err
	case facts.MayEvict():
		return []diagnosis{{
			Status: found, Detail: fmt.Sprintf("maxmemory-policy is %s: Redis throws calls and results away when its memory is full", facts.EvictionPolicy),
			Fix: "redis-cli CONFIG SET maxmemory-policy noeviction, and the same in its configuration file",
		}}, nil
	case facts.EvictionPolicy == "":
		return []diagnosis{{Status: noted, Detail: "Redis does not tell its eviction policy; it must be noeviction"}}, nil
	}
	return well("Redis throws nothing away (%s)", facts.EvictionPolicy), nil
}

func checkPersistence(ctx context.Context, d *doctor) ([]diagnosis, error) {
	facts, err := broker.Inspect(ctx, d.desk.conn.Client)
	if err != nil {
		return nil, err
	}
	if facts.AppendOnly {
		return well("Redis keeps an append-only file"), nil
	}
	const fix = "redis-cli CONFIG SET appendonly yes, and the same in its configuration file"
	save, err := d.desk.conn.Client.ConfigGet(ctx, "save").Result()
	switch {
	case err != nil || facts.Version == "":
		// Hosted servers do not tell.
		return []diagnosis{{Status: noted, Detail: "Redis does not tell how it persists; see that it keeps an append-only file"}}, nil
	case save["save"] != "":
		return []diagnosis{{Status: noted, Detail: "Redis keeps snapshots only: a crash loses the calls and results of the last minutes", Fix: fix}}, nil
	}
	return []diagnosis{{Status: found, Detail: "Redis keeps nothing on disk: a restart loses all calls and results", Fix: fix}}, nil
}

func checkClock(ctx context.Context, d *doctor) ([]diagnosis, error) {
	skew, err := broker.Skew(ctx, d.desk.conn.Client)
	if err != nil {
		return nil, err
	}
	if skew = skew.Abs(); skew > broker.MaxSkew {
		return []diagnosis{{
			Status: found, Detail: fmt.Sprintf("this machine's clock and that of Redis are %s apart: workers here take no calls", humanDuration(skew)),
			Fix: "set both by NTP, as with timedatectl set-ntp true",
		}}, nil
	}
	return well("this machine's clock and that of Redis agree"), nil
}

func checkWorkers(ctx context.Context, d *doctor) ([]diagnosis, error) {
	n, err := d.desk.ledger.Workers(ctx)
	if err != nil {
		return nil, err
	}
	batches, err := d.desk.ledger.Batches(ctx)
	if err != nil {
		return nil, err
	}
	open := int64(0)
	for _, b := range batches {
		open += b.Counts.Open
	}
	if n == 0 && open > 0 {
		return []diagnosis{{Status: noted, Detail: "no worker is running, and " + verbalOf(int(open), "open call", "waits", "wait"), Fix: "callq work"}}, nil
	}
	return well("%s, %s", plural(n, "worker"), plural(open, "open call")), nil
}

func checkCircuits(ctx context.Context, d *doctor) ([]diagnosis, error) {
	upstreams, err := d.desk.upstreams(ctx)
	if err != nil {
		return nil, err
	}
	records, err := d.desk.circuits.List(ctx, upstreams)
	if err != nil {
		return nil, err
	}
	now, err := d.desk.conn.Client.Time(ctx).Result()
	if err != nil {
		return nil, err
	}
	var list []diagnosis
	for _, r := range records {
		row := rowOf(r, now)
		switch {
		case r.State == circuit.Open:
			list = append(list, diagnosis{
				Status: noted, Detail: fmt.Sprintf("%s is open until %s (%s)", row.Name, timeText(r.Until), row.reasonText()),
				Fix: fmt.Sprintf("once the cause is mended: callq circuit close '%s' --reason mended", row.Name),
			})
		case r.Limited.Sub(now) >= worthALine && r.LimitTurns:
			list = append(list, diagnosis{
				Status: noted, Detail: fmt.Sprintf("%s is open until %s (%s): it is used up", row.Name, timeText(r.Limited), row.reasonText()),
				Fix: fmt.Sprintf("wait; or, if the API allows more, have it count anew: callq circuit close '%s' --reason REASON", row.Name),
			})
		}
	}
	return orWell(list, "%s, none open", plural(len(records), "circuit")), nil
}

func checkQueues(ctx context.Context, d *doctor) ([]diagnosis, error) {
	return d.eachQueue(ctx, "%s known to asynq's tools", func(s ledger.QueueState) ([]diagnosis, error) {
		var list []diagnosis
		if s.Paused {
			list = append(list, diagnosis{
				Status: noted, Detail: fmt.Sprintf("queue %s is paused by an operator; %s in it", s.Queue, verbalOf(int(s.Pending), "call", "waits", "wait")),
				Fix: "resume it where it was paused (asynqmon)",
			})
		}
		if s.Listed {
			return list, nil
		}
		one := diagnosis{Status: found, Detail: fmt.Sprintf("queue %s is missing from asynq's list: its tools do not show it", s.Queue), Fix: "callq doctor --mend"}
		if d.mend {
			if err := d.desk.ledger.Relist(ctx, s.Queue); err != nil {
				return list, err
			}
			one.Status, one.Fix = mended, ""
		}
		return append(list, one), nil
	})
}

// sample is how many tasks and calls of each list are looked at one by one.
const sample = 1000

func (d *doctor) eachQueue(ctx context.Context, fine string, look func(ledger.QueueState) ([]diagnosis, error)) ([]diagnosis, error) {
	queues, err := d.desk.ledger.Queues(ctx)
	if err != nil {
		return nil, err
	}
	var list []diagnosis
	for _, queue := range queues {
		s, err := d.desk.ledger.QueueState(ctx, queue, sample)
		if err != nil {
			return list, err
		}
		more, err := look(s)
		list = append(list, more...)
		if err != nil {
			return list, err
		}
	}
	return orWell(list, fine, plural(len(queues), "queue")), nil
}

// checkTasks looks for tasks that nobody will take back, and for such as have no
// call.
func checkTasks(ctx context.Context, d *doctor) ([]diagnosis, error) {
	return d.eachQueue(ctx, "%s, every task with its lease and its call", func(s ledger.QueueState) ([]diagnosis, error) {
		var list []diagnosis
		if n := len(s.Unleased); n > 0 {
			one := diagnosis{
				Status: found, Fix: "callq doctor --mend",
				Detail: fmt.Sprintf("queue %s: %s being made by nobody, as %s, and would stay so for ever", s.Queue, verbalOf(n, "task", "is", "are"), some(s.Unleased)),
			}
			if d.mend {
				if _, err := d.desk.ledger.Release(ctx, s.Queue, s.Unleased...); err != nil {
					return nil, err
				}
				one.Status, one.Fix = mended, ""
			}
			list = append(list, one)
		}
		if n := len(s.Strangers); n > 0 {
			list = append(list, diagnosis{
				Status: found, Fix: "find who writes there; workers write each down as a dead letter of class malformed_task when they meet it",
				Detail: fmt.Sprintf("queue %s: %s not put there by callq, as %s", s.Queue, verbalOf(n, "task", "was", "were"), some(s.Strangers)),
			})
		}
		return list, nil
	})
}

// checkCalls looks for open calls that no worker will ever find.
func checkCalls(ctx context.Context, d *doctor) ([]diagnosis, error) {
	lost, looked, err := d.desk.ledger.Lost(ctx, tasks.TaskID, sample)
	if err != nil {
		return nil, err
	}
	if len(lost) == 0 {
		return well("%s looked at, each with its task", plural(looked, "open call")), nil
	}
	ids := make([]string, len(lost))
	for i, r := range lost {
		ids[i] = r.ID
	}
	one := diagnosis{
		Status: found, Fix: "callq doctor --mend",
		Detail: fmt.Sprintf("%s without a task, as %s: no worker will make them", verbalOf(len(lost), "open call", "is", "are"), some(ids)),
	}
	if !d.mend {
		return []diagnosis{one}, nil
	}
	one.Status, one.Fix = mended, ""
	list := []diagnosis{one}
	for _, r := range lost {
		_, err := d.desk.producer.Restore(ctx, r)
		switch {
		case errors.Is(err, tasks.ErrMalformed), errors.Is(err, tasks.ErrNewerVersion):
			list = append(list, diagnosis{Status: found, Detail: err.Error(), Fix: fmt.Sprintf("callq batch cancel '%s'", r.Batch)})
		case err != nil:
			return list, err
		}
	}
	return list, nil
}

// some names a few of many.
func some(ids []string) string {
	const few = 3
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
