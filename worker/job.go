package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/worker/upstream"
)

// Job is a job as its code gets it.
type Job[A tasks.Args] struct {
	// Args are the arguments from the producer.
	Args A
	// ID is the job's id, the same for every attempt. Use it as the idempotency key. Batch
	// and Key are the names that the producer chose.
	ID, Batch, Key string
	// Attempt counts from 1.
	Attempt int

	mark func(context.Context) error
}

// MarkSent records that an effect follows that must not happen twice. Call it right before
// the request. If it returns an error, do not make the request: return the error, and the
// job is put back without spending an attempt. If the worker dies after MarkSent and
// before the job's outcome is recorded, the job ends as outcome_unknown. For an idempotent
// job MarkSent records nothing; if some seconds have passed it checks that the job is
// still this worker's.
func (j *Job[A]) MarkSent(ctx context.Context) error { return j.mark(ctx) }

// ErrNotSent wraps the errors of [Job.MarkSent].
var ErrNotSent = errors.New("the job must not continue")

type jobName struct{ upstream, kind string }

// jobFunc runs a job and returns its result as JSON.
type jobFunc func(ctx context.Context, inflight *inflightCall, attempt int, mark func(context.Context) error) ([]byte, error)

// Handle registers the Go code of one kind of job for one upstream, before Run.
//
// The upstream's policy decides on what the code returns. A [policy.Failure] counts as the
// API's answer that it describes; any other error, and a panic, as an unknown failure; nil
// as success, with R as the result's body. The context ends after the upstream's time-out,
// and the code must return then.
func Handle[A tasks.Args, R any](w *Worker, upstreamName string, fn func(context.Context, *Job[A]) (R, error)) error {
	var zero A
	name := jobName{upstreamName, zero.Kind()}
	if w.accounts[upstreamName] == nil {
		return fmt.Errorf("job %s: no upstream %q is configured", name.kind, upstreamName)
	}
	if w.jobs[name] != nil {
		return fmt.Errorf("job %s of upstream %q is registered twice", name.kind, upstreamName)
	}
	w.jobs[name] = func(ctx context.Context, inflight *inflightCall, attempt int, mark func(context.Context) error) ([]byte, error) {
		args, err := tasks.DecodeArgs[A](inflight.call)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", upstream.ErrRefused, err)
		}
		result, err := fn(ctx, &Job[A]{
			Args: args, ID: inflight.delivery.ID, Batch: inflight.delivery.Batch, Key: inflight.delivery.Key, Attempt: attempt, mark: mark,
		})
		if err != nil {
			return nil, err
		}
		return json.Marshal(result)
	}
	return nil
}

// runJob runs a job's code, inside the middleware, and returns its result as an upstream's
// answer.
func (w *Worker) runJob(ctx context.Context, inflight *inflightCall, job string) upstream.Answer {
	fn := w.jobs[jobName{inflight.account.name, job}]
	if w.handler == nil || w.notifications.isWebhook(inflight.account.name) {
		return w.runCode(ctx, inflight, fn)
	}
	return w.throughMiddleware(ctx, inflight, job, func(ctx context.Context, _ http.Header) upstream.Answer {
		return w.runCode(ctx, inflight, fn)
	})
}

// runCode runs a job's code and returns its result as an upstream's answer.
func (w *Worker) runCode(ctx context.Context, inflight *inflightCall, fn jobFunc) upstream.Answer {
	started := time.Now()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), inflight.account.timeout)
	defer cancel()
	marked := false
	body, err := w.guard(ctx, inflight, fn, func(ctx context.Context) error {
		if inflight.idempotent && time.Since(inflight.confirmedAt) < upstream.ConfirmAfter {
			return nil
		}
		if a, ok := w.mark(ctx, inflight, !inflight.idempotent); !ok {
			if a.held > 0 {
				return fmt.Errorf("%w: the account is held for %s", ErrNotSent, a.held.Round(time.Second))
			}
			if a.Err != nil {
				return fmt.Errorf("%w: %w", ErrNotSent, a.Err)
			}
			return fmt.Errorf("%w: its record could not be marked", ErrNotSent)
		}
		marked = !inflight.idempotent
		return nil
	})
	a := upstream.Answer{Requests: 1, StartedAt: started, Latency: time.Since(started), Err: err}
	var failure *policy.Failure
	switch {
	case err == nil:
		a.Body, a.ContentType = body, "application/json"
		a.Outcome = policy.Outcome{Status: 200, Body: policy.BodyEnvelope, Flag: policy.FlagTrue}
	case errors.Is(err, ErrNotSent), errors.Is(err, upstream.ErrRefused):
		a.NotSent = true
	case errors.As(err, &failure):
		a.Outcome = failure.Outcome(time.Now())
	case marked:
		// The code does not say whether the effect happened, so it may have.
		a.Outcome = (&policy.Failure{MaybeSent: true, Message: err.Error()}).Outcome(time.Now())
	default:
		a.Outcome = policy.Outcome{Message: err.Error(), ReceivedAt: time.Now()}
	}
	return w.withoutCredentials(a)
}

// withoutCredentials removes the worker's credentials from what a job's code returned.
func (w *Worker) withoutCredentials(a upstream.Answer) upstream.Answer {
	r := w.cfg.Redactor
	a.Body = r.Bytes(a.Body)
	a.Outcome.Message, a.Outcome.CorrelationID = r.Text(a.Outcome.Message), r.Text(a.Outcome.CorrelationID)
	if a.Err != nil {
		if text := a.Err.Error(); r.Text(text) != text {
			a.Err = &cleanError{r.Text(text), a.Err}
		}
	}
	return a
}

// cleanError is an error with its credentials removed from the text. errors.Is finds the
// inner error, but nothing can read its text.
type cleanError struct {
	text  string
	inner error
}

func (e *cleanError) Error() string { return e.text }

func (e *cleanError) Is(target error) bool { return errors.Is(e.inner, target) }

func (w *Worker) guard(ctx context.Context, inflight *inflightCall, fn jobFunc, mark func(context.Context) error) (body []byte, err error) {
	defer func() {
		if v := recover(); v != nil {
			w.log.Error("a job's code panicked", "call", inflight.delivery.ID, "panic", fmt.Sprint(v), "stack", string(debug.Stack()))
			err = fmt.Errorf("panic: %v", v)
		}
	}()
	return fn(ctx, inflight, inflight.delivery.Attempts+1, mark)
}
