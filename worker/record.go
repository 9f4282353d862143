package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/tasks/ending"
	"github.com/seed-2903acc3/callq/tasks/ledger"
	"github.com/seed-2903acc3/callq/tasks/redisinfo"
	"github.com/seed-2903acc3/callq/worker/circuit"
	"github.com/seed-2903acc3/callq/worker/spool"
)

// insistFor is how long a worker goes on trying to record what it knows. It is
// longer than a Redis takes to come back from its file or to fail over; a
// worker that cannot record leaves the call to asynq's lease.
const insistFor = 10 * time.Minute

// insist runs a write until Redis has taken it. Only the end of the process, or
// of the worker's patience, stops it: ctx does not.
func (w *Worker) insist(ctx context.Context, write func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), insistFor)
	defer cancel()
	pause := 50 * time.Millisecond
	for {
		err := write(ctx)
		if err == nil {
			return nil
		}
		w.trouble(err)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return err
		case <-w.stopped:
			return err
		}
		pause = min(2*pause, 2*time.Second)
	}
}

// record is a write of the ledger that notes an attempt.
type record func(context.Context, *ledger.Delivery, *ledger.Attempt) (streak int, mine bool, err error)

func (w *Worker) insistOn(ctx context.Context, write record, t *ledger.Delivery, a *ledger.Attempt) (streak int, mine bool) {
	err := w.insist(ctx, func(ctx context.Context) (err error) {
		streak, mine, err = write(ctx, t, a)
		return err
	})
	return streak, mine && err == nil
}

// recordEnd records an ending. The script takes the tasks of done and dropped
// calls off asynq's lists, so asynq's own "done" has nothing left to do.
func (w *Worker) recordEnd(ctx context.Context, t *ledger.Delivery, f ledger.Final, a *ledger.Attempt) (streak int, mine bool) {
	if f.State != ledger.Dead {
		w.wrapped.Removed(t.Queue, t.ID)
	}
	streak, mine = w.insistOn(ctx, func(ctx context.Context, t *ledger.Delivery, a *ledger.Attempt) (int, bool, error) {
		return w.dispatcher.End(ctx, t, f, a)
	}, t, a)
	if mine {
		w.memory.add(len(f.Body))
	}
	return streak, mine
}

// recordAnswer is recordEnd for an ending with an answer, whose body may be a large one.
func (w *Worker) recordAnswer(ctx context.Context, t *ledger.Delivery, f ledger.Final, large *spool.File, a *ledger.Attempt) (streak int, mine bool) {
	if large.Size() == 0 {
		return w.recordEnd(ctx, t, f, a)
	}
	written := w.cfg.OnLarge(t.Batch, t.ID, large.Size())
	release, ok := w.writing.Take(large.Size(), w.stopped)
	defer release()
	if ok {
		var err error
		if f.Body, err = large.Bytes(0); err != nil {
			w.log.Error("the body of an answer is lost", "call", t.ID, "error", err)
			ok = false
		}
	}
	if !ok {
		// The end of its lease brings the call back.
		w.wrapped.Removed(t.Queue, t.ID)
		written(false)
		return 0, false
	}
	streak, mine = w.recordEnd(ctx, t, f, a)
	written(mine)
	return streak, mine
}

// leave has asynq let go of the task without touching it. Its record has moved on
// with another worker, or could not be written: then the end of asynq's lease
// brings the task back.
func (w *Worker) leave(t *ledger.Delivery) verb {
	w.wrapped.Removed(t.Queue, t.ID)
	return verb{kind: over}
}

// putBack records a put-back that spent no attempt and leaves the task at the
// head of its queue, which the account's circuit holds.
func (w *Worker) putBack(ctx context.Context, t *ledger.Delivery, a *ledger.Attempt) verb {
	t.Parked++
	// asynq will be told that the task is done, and must not pass that on: by
	// then the task may be in another worker's hands.
	w.wrapped.Removed(t.Queue, t.ID)
	w.parks.note(t.ID)
	w.insistOn(ctx, w.dispatcher.Park, t, a)
	return verb{kind: over}
}

// putOff records a put-back that spent no attempt and has the task come back
// after a while, though its account is not held.
func (w *Worker) putOff(ctx context.Context, t *ledger.Delivery, a *ledger.Attempt, wait time.Duration, text string) verb {
	t.Parked++
	if _, mine := w.insistOn(ctx, w.dispatcher.Attempt, t, a); !mine {
		return w.leave(t)
	}
	return verb{kind: again, delay: wait, text: text}
}

// endUnsent dead-letters a call that is not to be sent; detail says for the record
// what is wrong with this one. p is nil where the call could not be read.
func (w *Worker) endUnsent(ctx context.Context, t *ledger.Delivery, p *passage, class policy.Class, detail string) verb {
	endpoint := ""
	if p != nil {
		endpoint = p.endpoint
	}
	return w.endDead(ctx, t, p, unsent(t, endpoint, class, detail))
}

// unsent is the ending of a call that is not to be sent.
func unsent(t *ledger.Delivery, endpoint string, class policy.Class, detail string) ledger.Final {
	f := ending.Unsent(&t.Record, ending.Reason{
		Class: string(class), Detail: detail, UserMessage: class.Message(), Advice: class.Advice(), Endpoint: endpoint,
	})
	t.Attempts = f.Ending.Attempts
	return f
}

// endGivenUp dead-letters a call whose circuit has seen too many probes fail.
func (w *Worker) endGivenUp(ctx context.Context, p *passage, adm circuit.Admission) verb {
	t := p.take
	return w.endDead(ctx, t, p, ledger.Final{
		State: ledger.Dead,
		Ending: ledger.Ending{
			Class: string(policy.ClassQuota), Rule: "max_probes", Code: adm.Code, CorrelationID: adm.CorrelationID,
			Message: clip(adm.Message), Endpoint: p.endpoint,
			UserMessage: "This service is not available to this account at the moment.",
			Advice:      "Probe after probe was refused. See that the account's package covers this endpoint, then close the circuit and redrive.",
			Attempts:    t.Attempts, Parked: t.Parked, FirstAt: t.FirstAt, FinishedAt: time.Now().UTC(),
		},
	})
}

// endConvicted dead-letters a call that was refused each time that only it was
// refused, the last time as the first call after a hold, when the next one was
// answered well: the fault is its own, and it must hold nobody any more.
func (w *Worker) endConvicted(ctx context.Context, p *passage) verb {
	return w.endDead(ctx, p.take, p, convicted(p.take, p.endpoint))
}

// convicted is the ending of a call that alone is refused, with what it met last.
func convicted(t *ledger.Delivery, endpoint string) ledger.Final {
	class := policy.ClassQuota
	f := ledger.Final{
		State: ledger.Dead,
		Ending: ledger.Ending{
			Rule: "own_fault", Endpoint: endpoint,
			UserMessage: "The service refuses this request again and again, and accepts others.",
			Advice:      "Only this call is refused: look at what it asks for. The account works. Change the call, or redrive it once the API accepts it.",
			Attempts:    t.Attempts, Parked: t.Parked, FirstAt: t.FirstAt, FinishedAt: time.Now().UTC(),
		},
	}
	for _, a := range slices.Backward(t.Log) {
		if a.Job == string(policy.ActionPark) && a.Class != "" {
			class = policy.Class(a.Class)
			f.Ending.Rule, f.Ending.HTTPStatus, f.Ending.Code, f.Ending.CorrelationID = a.Rule, a.Status, a.Code, a.CorrelationID
			f.Ending.Message = a.Message
			break
		}
	}
	f.Ending.Class = string(class)
	return f
}

func (w *Worker) endDead(ctx context.Context, t *ledger.Delivery, p *passage, f ledger.Final) verb {
	f.Group = ending.GroupOf(f.Ending)
	if _, mine := w.recordEnd(ctx, t, f, nil); !mine {
		return w.leave(t)
	}
	w.tellDead(t, p, f)
	return ended(t, f)
}

// tellDead writes the event and the log line of a call that is dead and was not sent.
func (w *Worker) tellDead(t *ledger.Delivery, p *passage, f ledger.Final) {
	if p != nil {
		d := policy.Decision{Action: policy.ActionDeadLetter, Class: policy.Class(f.Ending.Class), Rule: f.Ending.Rule}
		w.note(p, attempted{number: t.Attempts}, d, ledger.Dead)
	}
	w.log.Warn("a call is dead; it is not sent", "call", t.ID, "batch", t.Batch, "key", t.Key, "class", f.Ending.Class, "message", f.Ending.Message)
}

// adopt gives a task that somebody else put into the queue a record, and ends it.
func (w *Worker) adopt(ctx context.Context, t *ledger.Delivery) verb {
	err := w.insist(ctx, func(ctx context.Context) error { return w.repairer.Adopt(ctx, t) })
	if err != nil {
		return verb{kind: again, delay: time.Second, text: "callq: the task has no record"}
	}
	return w.endUnsent(ctx, t, nil, policy.ClassMalformedTask, "the task was not put into the queue by callq")
}

// endForged ends a call whose record holds what callq cannot have written. It is
// not made: its attempts could not be counted.
func (w *Worker) endForged(ctx context.Context, t *ledger.Delivery) verb {
	detail := fmt.Sprintf("its record in Redis was written by somebody else: its field %s holds what callq never keeps there", t.Corrupt)
	err := w.insist(ctx, func(ctx context.Context) error { return w.repairer.Repair(ctx, t) })
	if err != nil {
		return verb{kind: again, delay: time.Second, text: "callq: " + detail}
	}
	return w.endUnsent(ctx, t, nil, policy.ClassMalformedTask, detail)
}

// clear looks for what keeps Redis from giving a task out, where it has refused
// to for a reason of its own: one record that somebody forged must not stop a queue.
// It tells whether it found anything.
func (w *Worker) clear(ctx context.Context, queues []string, refused error) (found bool) {
	if !w.refusal(refused) {
		return false
	}
	for _, queue := range queues {
		calls, err := w.repairer.Quarantine(ctx, queue)
		w.trouble(err)
		if len(calls) > 0 {
			w.log.Warn("what somebody else wrote to Redis stopped a queue; it was put out of the way", "queue", queue, "calls", calls)
			found = true
		}
	}
	return found
}

// refusal tells that Redis has refused for a reason that only what stands in it
// explains: it will do so again.
func (w *Worker) refusal(err error) bool {
	var told *redisinfo.Error
	var reply redis.Error
	return errors.As(err, &reply) && errors.As(w.explain(err), &told) && told.Kind == redisinfo.KindUnknown
}

// discard ends a task that asynq itself cannot decode and takes it off asynq's
// lists, since asynq could do nothing with it but stumble.
func (w *Worker) discard(ctx context.Context, t *ledger.Delivery) {
	if !t.Known {
		if err := w.insist(ctx, func(ctx context.Context) error { return w.repairer.Adopt(ctx, t) }); err != nil {
			return
		}
	}
	w.endUnsent(ctx, t, nil, policy.ClassMalformedTask, "the task's message is not asynq's")
	err := w.insist(ctx, func(ctx context.Context) error { return w.repairer.RemoveTask(ctx, t.Queue, t.ID) })
	if err != nil {
		w.log.Error("a task that cannot be decoded is still on asynq's active list", "call", t.ID, "queue", t.Queue)
	}
}
