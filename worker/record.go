package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/ending"
	"github.com/seed-2903acc3/callq/tasks/ledger"
	"github.com/seed-2903acc3/callq/tasks/redisinfo"
	"github.com/seed-2903acc3/callq/worker/circuit"
	"github.com/seed-2903acc3/callq/worker/spool"
)

// retryWriteFor is how long a worker retries the write of an outcome. It is longer than a
// restart or a fail-over of Redis takes. After that the call comes back at the end of its
// lease.
const retryWriteFor = 10 * time.Minute

// retryWrite runs a write until it succeeds. Only the end of the process and
// retryWriteFor, from its first failure on, stop it: ctx does not.
func (w *Worker) retryWrite(ctx context.Context, write func(context.Context) error) error {
	ctx = context.WithoutCancel(ctx)
	var until time.Time // zero until a write has failed
	pause := 50 * time.Millisecond
	for {
		err := write(ctx)
		if err == nil {
			return nil
		}
		w.noteRedisError(err)
		if until.IsZero() {
			until = time.Now().Add(retryWriteFor)
		}
		select {
		case <-time.After(min(pause, time.Until(until))):
			if !time.Now().Before(until) {
				return err
			}
		case <-w.stopped:
			return err
		}
		pause = min(2*pause, 2*time.Second)
	}
}

// record is a function that writes an attempt to the ledger.
type record func(context.Context, *ledger.Delivery, *ledger.Attempt) (streak int, applied bool, err error)

func (w *Worker) retryRecord(ctx context.Context, write record, delivery *ledger.Delivery, a *ledger.Attempt) (streak int, applied bool) {
	err := w.retryWrite(ctx, func(ctx context.Context) (err error) {
		streak, applied, err = write(ctx, delivery, a)
		return err
	})
	return streak, applied && err == nil
}

// recordEnd records an ending. The script removes the tasks of done and dropped calls from
// asynq's lists, so asynq's own "done" has nothing left to do.
func (w *Worker) recordEnd(ctx context.Context, delivery *ledger.Delivery, f ledger.Final, a *ledger.Attempt) (streak int, applied bool) {
	if f.State != ledger.Dead {
		w.wrapped.Removed(delivery.Queue, delivery.ID)
	}
	streak, applied = w.retryRecord(ctx, func(ctx context.Context, delivery *ledger.Delivery, a *ledger.Attempt) (int, bool, error) {
		return w.dispatcher.End(ctx, delivery, f, a)
	}, delivery, a)
	if applied {
		w.memory.add(len(f.Body))
	}
	return streak, applied
}

// recordAnswer is recordEnd for an ending with an answer, whose body may be a large one.
func (w *Worker) recordAnswer(ctx context.Context, delivery *ledger.Delivery, f ledger.Final, large *spool.File, a *ledger.Attempt) (streak int, applied bool) {
	if large.Size() == 0 {
		return w.recordEnd(ctx, delivery, f, a)
	}
	written := w.cfg.OnLarge(delivery.Batch, delivery.ID, large.Size())
	release, ok := w.writing.Take(large.Size(), w.stopped)
	defer release()
	if ok {
		var err error
		if f.Body, err = large.Bytes(0); err != nil {
			w.log.Error("the body of an answer is lost", "call", delivery.ID, "error", err)
			ok = false
		}
	}
	if !ok {
		// The call comes back at the end of its lease.
		w.wrapped.Removed(delivery.Queue, delivery.ID)
		written(false)
		return 0, false
	}
	streak, applied = w.recordEnd(ctx, delivery, f, a)
	written(applied)
	return streak, applied
}

// abandon makes asynq drop the task without a change in Redis. Another worker has changed
// the call's record, or the record could not be written: then the task comes back at the
// end of its lease.
func (w *Worker) abandon(delivery *ledger.Delivery) disposition {
	w.wrapped.Removed(delivery.Queue, delivery.ID)
	return disposition{kind: dispositionDone}
}

// putBack parks a call: it spends no attempt, and its task goes to the head of its queue,
// which the account's circuit holds.
func (w *Worker) putBack(ctx context.Context, delivery *ledger.Delivery, a *ledger.Attempt) disposition {
	delivery.Parked++
	if a == nil {
		w.tracer.putBack(ctx, "waits at the head of its queue", 0)
	}
	// asynq gets nil, as for a task that is done. Its write must be suppressed, because
	// another worker may have the task by then.
	w.wrapped.Removed(delivery.Queue, delivery.ID)
	w.parks.note(delivery.ID)
	w.retryRecord(ctx, w.dispatcher.Park, delivery, a)
	return disposition{kind: dispositionDone}
}

// putOff puts a call back without spending an attempt; the task comes back after wait.
func (w *Worker) putOff(ctx context.Context, delivery *ledger.Delivery, a *ledger.Attempt, wait time.Duration, text string) disposition {
	delivery.Parked++
	if a == nil {
		w.tracer.putBack(ctx, text, wait)
	}
	if _, applied := w.retryRecord(ctx, w.dispatcher.Attempt, delivery, a); !applied {
		return w.abandon(delivery)
	}
	return disposition{kind: dispositionRetry, delay: wait, text: text}
}

// endUnsent dead-letters a call that must not be sent; detail is the record's message.
// inflight is nil if the call could not be read.
func (w *Worker) endUnsent(ctx context.Context, delivery *ledger.Delivery, inflight *inflightCall, class policy.Class, detail string) disposition {
	endpoint := ""
	if inflight != nil {
		endpoint = inflight.endpoint
	}
	return w.endDead(ctx, delivery, inflight, unsent(delivery, endpoint, class, detail))
}

// unsent returns the ending of a call that must not be sent.
func unsent(delivery *ledger.Delivery, endpoint string, class policy.Class, detail string) ledger.Final {
	f := ending.Unsent(&delivery.Record, ending.Reason{
		Class: string(class), Detail: detail, UserMessage: class.Message(), Advice: class.Advice(), Endpoint: endpoint,
	})
	delivery.Attempts = f.Ending.Attempts
	return f
}

// endGivenUp dead-letters a call of a circuit whose probes have failed too often.
func (w *Worker) endGivenUp(ctx context.Context, inflight *inflightCall, adm circuit.Admission) disposition {
	delivery := inflight.delivery
	return w.endDead(ctx, delivery, inflight, ledger.Final{
		State: ledger.Dead,
		Ending: ledger.Ending{
			Class: string(policy.ClassQuota), Rule: "max_probes", Code: adm.Code, CorrelationID: adm.CorrelationID,
			Message: clip(adm.Message), Endpoint: inflight.endpoint,
			UserMessage: "This service is not available to this account at the moment.",
			Advice:      "Every probe was refused. Make sure that the account's package includes this endpoint, then close the circuit and redrive.",
			Attempts:    delivery.Attempts, Parked: delivery.Parked, FirstAt: delivery.FirstAt, FinishedAt: time.Now().UTC(),
		},
	})
}

// endConvicted dead-letters a call whose own fault is proven: several times only this call
// was refused, the last time as the probe, and the next call got a good answer. It must not
// hold the account any more.
func (w *Worker) endConvicted(ctx context.Context, inflight *inflightCall) disposition {
	return w.endDead(ctx, inflight.delivery, inflight, convicted(inflight.delivery, inflight.endpoint))
}

// convicted returns the ending of a call with a fault of its own, with its last answer.
func convicted(delivery *ledger.Delivery, endpoint string) ledger.Final {
	class := policy.ClassQuota
	f := ledger.Final{
		State: ledger.Dead,
		Ending: ledger.Ending{
			Rule: "own_fault", Endpoint: endpoint,
			UserMessage: "The service refuses this request again and again, and accepts others.",
			Advice:      "Only this call is refused: look at what it asks for. The account works. Change the call, or redrive it once the API accepts it.",
			Attempts:    delivery.Attempts, Parked: delivery.Parked, FirstAt: delivery.FirstAt, FinishedAt: time.Now().UTC(),
		},
	}
	for _, a := range slices.Backward(delivery.Log) {
		if a.Action == string(policy.ActionPark) && a.Class != "" {
			class = policy.Class(a.Class)
			f.Ending.Rule, f.Ending.HTTPStatus, f.Ending.Code, f.Ending.CorrelationID = a.Rule, a.Status, a.Code, a.CorrelationID
			f.Ending.Message = a.Message
			break
		}
	}
	f.Ending.Class = string(class)
	return f
}

func (w *Worker) endDead(ctx context.Context, delivery *ledger.Delivery, inflight *inflightCall, f ledger.Final) disposition {
	f.Group = ending.GroupOf(f.Ending)
	if _, applied := w.recordEnd(ctx, delivery, f, nil); !applied {
		return w.abandon(delivery)
	}
	w.noteDead(ctx, delivery, inflight, f)
	return dispositionOf(delivery, f)
}

// countEnded counts the end of a call in the metrics.
func (w *Worker) countEnded(delivery *ledger.Delivery, f ledger.Final) {
	took := time.Duration(-1)
	if !delivery.AcceptedAt.IsZero() {
		took = delivery.At.Add(time.Since(delivery.Received)).Sub(delivery.AcceptedAt) // by Redis's clock
	}
	w.metrics.Ended(tasks.UpstreamOf(delivery.Queue), f.State, f.Ending.Class, took)
}

// noteDead writes the event and the log line of a dead call that was not sent.
func (w *Worker) noteDead(ctx context.Context, delivery *ledger.Delivery, inflight *inflightCall, f ledger.Final) {
	if inflight != nil {
		d := policy.Decision{Action: policy.ActionDeadLetter, Class: policy.Class(f.Ending.Class), Rule: f.Ending.Rule}
		w.note(ctx, inflight, attempted{number: delivery.Attempts, unsent: true}, d, ledger.Dead)
	}
	w.countEnded(delivery, f)
	w.logUnsent(ctx, delivery, inflight, f.Ending)
}

// adopt makes a record for a task that another program put into the queue, and ends it.
func (w *Worker) adopt(ctx context.Context, delivery *ledger.Delivery) disposition {
	err := w.retryWrite(ctx, func(ctx context.Context) error { return w.repairer.Adopt(ctx, delivery) })
	if err != nil {
		return disposition{kind: dispositionRetry, delay: time.Second, text: "callq: the task has no record"}
	}
	return w.endUnsent(ctx, delivery, nil, policy.ClassMalformedTask, "the task was not put into the queue by callq")
}

// endCorrupt ends a call whose record holds values that callq cannot have written. The
// call is not made: its attempts could not be counted.
func (w *Worker) endCorrupt(ctx context.Context, delivery *ledger.Delivery) disposition {
	detail := fmt.Sprintf("its record in Redis was changed by another program: the field %s has a value that callq never writes", delivery.Corrupt)
	err := w.retryWrite(ctx, func(ctx context.Context) error { return w.repairer.Repair(ctx, delivery) })
	if err != nil {
		return disposition{kind: dispositionRetry, delay: time.Second, text: "callq: " + detail}
	}
	return w.endUnsent(ctx, delivery, nil, policy.ClassMalformedTask, detail)
}

// quarantine removes corrupt data from queues whose dequeue Redis has refused: one corrupt
// record must not stop a queue. It reports whether it found any.
func (w *Worker) quarantine(ctx context.Context, queues []string, refused error) (found bool) {
	if !w.isRefusal(refused) {
		return false
	}
	for _, queue := range queues {
		calls, err := w.repairer.Quarantine(ctx, queue)
		w.noteRedisError(err)
		if len(calls) > 0 {
			w.log.Warn("another program wrote data to Redis that stopped a queue: it was moved away", "queue", queue, "calls", calls)
			found = true
		}
	}
	return found
}

// isRefusal reports whether Redis refused a command because of its data: it will refuse it
// again.
func (w *Worker) isRefusal(err error) bool {
	var explained *redisinfo.Error
	var reply redis.Error
	return errors.As(err, &reply) && errors.As(w.explain(err), &explained) && explained.Kind == redisinfo.KindUnknown
}

// discard ends a task that asynq cannot decode and removes it from asynq's lists, where it
// would stop asynq from recovering leases.
func (w *Worker) discard(ctx context.Context, delivery *ledger.Delivery) {
	if !delivery.Known {
		if err := w.retryWrite(ctx, func(ctx context.Context) error { return w.repairer.Adopt(ctx, delivery) }); err != nil {
			return
		}
	}
	w.endUnsent(ctx, delivery, nil, policy.ClassMalformedTask, "the task's message is not asynq's")
	err := w.retryWrite(ctx, func(ctx context.Context) error { return w.repairer.RemoveTask(ctx, delivery.Queue, delivery.ID) })
	if err != nil {
		w.log.Error("a task that cannot be decoded is still on asynq's active list", "call", delivery.ID, "queue", delivery.Queue)
	}
}
