package worker

import (
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/ledger"
)

// What asynq does apart from the workers, each in one step, as in its scripts.

func asynqKey(queue, what string) string { return "asynq:{" + queue + "}:" + what }

// carryOut does what asynq does after its handler has returned.
func (f *fleet) carryOut(delivery *ledger.Delivery, disp disposition) {
	switch disp.kind {
	case dispositionRetry:
		f.putAway(delivery.Queue, delivery.ID, "retry", time.Now().Add(retryDelay(0, disp.err(), nil)))
	case dispositionArchive:
		f.putAway(delivery.Queue, delivery.ID, "archived", time.Now())
	case dispositionDone:
		// The scripts have taken the task off the lists, and the wrapper swallows
		// asynq's "done".
	}
}

// putAway does what asynq does to retry or archive a task.
func (f *fleet) putAway(queue, id, where string, at time.Time) {
	if f.client.LRem(f.ctx, asynqKey(queue, "active"), 0, id).Val() == 0 {
		return
	}
	f.must(f.client.ZRem(f.ctx, asynqKey(queue, "lease"), id).Err())
	f.must(f.client.ZAdd(f.ctx, asynqKey(queue, where), redis.Z{Score: float64(at.Unix()), Member: id}).Err())
	f.must(f.client.HSet(f.ctx, asynqKey(queue, "t:"+id), "state", where).Err())
}

// beats lets time pass until the other workers declare killed and frozen workers dead, and
// put their calls back.
func (f *fleet) beats() {
	for looked := time.Duration(0); looked <= deadAfter+beatEvery; looked += beatEvery {
		for _, p := range f.procs {
			if !p.frozen {
				f.must(p.w.beat(f.ctx, &p.watch))
			}
		}
		f.pass(beatEvery)
	}
}

// recover makes a live worker take back the tasks whose lease ended long ago.
func (f *fleet) recover() {
	for _, p := range f.procs {
		if p.frozen || p.drained {
			continue
		}
		var o overdue
		for looked := time.Duration(0); looked <= reclaimAfter; looked += reclaimEvery {
			_ = p.w.reclaimOnce(f.ctx, &o, time.Now(), tasks.Queues(modelUpstream)) // an error is tried again next time
			f.pass(reclaimEvery)
		}
		_ = p.w.reopen(f.ctx, &p.archived, time.Now())
		return
	}
}

// forward is asynq's forwarder: tasks that are due become pending. Those that are to
// be retried are moved by the ledger.
func (f *fleet) forward() {
	for _, queue := range tasks.Queues(modelUpstream) {
		for _, id := range f.upTo(queue, "scheduled", time.Now()) {
			f.must(f.client.LPush(f.ctx, asynqKey(queue, "pending"), id).Err())
			f.must(f.client.ZRem(f.ctx, asynqKey(queue, "scheduled"), id).Err())
			f.must(f.client.HSet(f.ctx, asynqKey(queue, "t:"+id), "state", "pending").Err())
		}
		due, pending := len(f.upTo(queue, "retry", time.Now())), f.client.LLen(f.ctx, asynqKey(queue, "pending")).Val()
		moved, err := ledger.NewDispatcher(f.client, "").ForwardRetries(f.ctx, queue)
		f.must(err)
		if now := f.client.LLen(f.ctx, asynqKey(queue, "pending")).Val(); moved != due || now != pending+int64(due) {
			f.broken("%d retries of queue %s were due, %d were moved, and %d calls are pending where %d were", due, queue, moved, now, pending)
		}
	}
}

func (f *fleet) upTo(queue, set string, at time.Time) []string {
	ids, err := f.client.ZRangeArgs(f.ctx, redis.ZRangeArgs{
		Key: asynqKey(queue, set), ByScore: true, Start: "-inf", Stop: at.Unix(),
	}).Result()
	f.must(err)
	return ids
}

// waiting counts the lists of unfinished tasks that are not empty.
func (f *fleet) waiting() int {
	n := 0
	for _, queue := range tasks.Queues(modelUpstream) {
		for _, list := range []string{"pending", "active", "lease", "retry", "scheduled"} {
			if f.mini.Exists(asynqKey(queue, list)) {
				n++
			}
		}
	}
	return n
}
