package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"sync"
	"time"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/worker/upstream"
)

// Middleware wraps the making of each attempt: the request to the API, or the run of a
// job's code. It is called once, by [New], as in net/http:
//
//	func timed(next worker.Handler) worker.Handler {
//		return func(ctx context.Context, a worker.Attempt) (policy.Outcome, error) {
//			began := time.Now()
//			outcome, err := next(ctx, a)
//			observe(a.Upstream, outcome.Status, time.Since(began))
//			return outcome, err
//		}
//	}
//
// What next has returned is final: the worker uses the API's answer whatever the middleware
// returns after it, and logs an error or a panic of the middleware. So no middleware can
// lose or repeat a call. A second call of next returns the first result again.
//
// If the middleware does not call next, nothing is sent, and its own result is judged by
// the policy: a [policy.Failure] as the API's answer that it describes; any other error,
// and a panic, as an unknown failure; without an error the outcome. An error that wraps
// [ErrNotSent] puts the call back for a second instead, and spends no attempt.
//
// The values of the context that next gets reach the job's code. Its end does not: a
// request that has begun is not broken off.
type Middleware func(next Handler) Handler

// Handler makes one attempt. The error says why there is no answer; it wraps [ErrNotSent]
// if nothing was sent: then the outcome is zero, and no attempt is spent.
type Handler func(context.Context, Attempt) (policy.Outcome, error)

// Attempt is what a [Middleware] knows of the attempt that it wraps. An attempt whose
// credential is refused and renewed has two requests, and the middleware wraps each.
type Attempt struct {
	// ID is the call's id, the same for every attempt. Batch and Key are the names that
	// the producer chose.
	ID, Batch, Key string
	// Upstream is the name of the upstream, Endpoint the folded endpoint: "GET /patent/*".
	Upstream, Endpoint string
	// Number counts the attempts from 1. Parks do not count.
	Number int
	// Call is the call. It must not be changed.
	Call tasks.Call
	// Header is added to the request, over the call's own fields; a middleware may set
	// fields, such as a signature of the call. Those that the worker sets itself, as the
	// credential, are refused, and the call ends. Add secrets to [Config.Redactor]. A job
	// has no request.
	Header http.Header
	// Job is the kind of a job; empty for a request.
	Job string
	// Idempotent reports that the call may be made twice.
	Idempotent bool
	// Verifies reports that the request asks whether the call took effect, see [Verify].
	Verifies bool

	sending *sending
}

// errPutBack reports that a middleware does not want the call to be made now.
var errPutBack = errors.New("put back by a middleware")

// sending is one request, or one run of a job, below the middleware. It happens at most
// once.
type sending struct {
	ctx context.Context
	do  func(context.Context, http.Header) upstream.Answer

	mu          sync.Mutex
	began, over bool
	done        chan struct{} // closed when the answer is there
	answer      upstream.Answer
	panicked    any
}

// innermost is the handler below all middleware.
func innermost(ctx context.Context, a Attempt) (policy.Outcome, error) {
	if a.sending == nil {
		return policy.Outcome{}, errors.New("a middleware must call next with the Attempt that it was called with")
	}
	return a.sending.run(ctx, a.Header)
}

// run sends, the first time that it is called before the middleware has returned.
func (s *sending) run(ctx context.Context, header http.Header) (policy.Outcome, error) {
	s.mu.Lock()
	began, over := s.began, s.over
	s.began = s.began || !s.over
	s.mu.Unlock()
	switch {
	case began:
		<-s.done
	case over:
		return policy.Outcome{}, fmt.Errorf("%w: the attempt is over", ErrNotSent)
	default:
		s.first(ctx, header)
	}
	switch {
	case s.panicked != nil:
		return policy.Outcome{}, fmt.Errorf("panic: %v", s.panicked)
	case s.answer.NotSent && errors.Is(s.answer.Err, ErrNotSent):
		return policy.Outcome{}, s.answer.Err
	case s.answer.NotSent && s.answer.Err != nil:
		return policy.Outcome{}, fmt.Errorf("%w: %w", ErrNotSent, s.answer.Err)
	case s.answer.NotSent:
		return policy.Outcome{}, ErrNotSent
	}
	return s.answer.Outcome, s.answer.Err
}

// first sends. A panic is kept for the worker, which must handle it as one without
// middleware.
func (s *sending) first(ctx context.Context, header http.Header) {
	defer close(s.done)
	defer func() { s.panicked = recover() }()
	s.answer = s.do(valuesOf{s.ctx, ctx}, header)
}

// wait ends the sending: nothing is sent any more. If something is being sent it waits for
// the answer. It reports whether there is one.
func (s *sending) wait() (sent bool) {
	s.mu.Lock()
	s.over = true
	sent = s.began
	s.mu.Unlock()
	if sent {
		<-s.done
	}
	return sent
}

// valuesOf is a context with the values of another one.
type valuesOf struct {
	context.Context
	values context.Context
}

func (c valuesOf) Value(key any) any { return c.values.Value(key) }

// wrap returns the handler that calls the middleware in order, the first one outermost; nil
// without middleware.
func wrap(middleware []Middleware) Handler {
	if len(middleware) == 0 {
		return nil
	}
	h := Handler(innermost)
	for i := len(middleware) - 1; i >= 0; i-- {
		h = middleware[i](h)
	}
	return h
}

// throughMiddleware calls do inside the middleware.
func (w *Worker) throughMiddleware(ctx context.Context, inflight *inflightCall, job string, do func(context.Context, http.Header) upstream.Answer) upstream.Answer {
	s := &sending{ctx: ctx, do: do, done: make(chan struct{})}
	call := inflight.call
	if inflight.verifying() {
		call = inflight.asks.call
	}
	call.Batch, call.Key = inflight.delivery.Batch, inflight.delivery.Key
	started := time.Now()
	outcome, panicked, err := callSafely(ctx, w.handler, Attempt{
		ID: inflight.delivery.ID, Batch: call.Batch, Key: call.Key, Upstream: inflight.account.name, Endpoint: inflight.endpoint,
		Number: inflight.delivery.Attempts + 1, Call: call, Header: http.Header{}, Job: job, Idempotent: inflight.idempotent, Verifies: inflight.verifying(), sending: s,
	})
	sent := s.wait()
	if panicked != "" {
		w.noteMiddleware(ctx, inflight, panicked)
	}
	if !sent {
		return w.withoutCredentials(unsentAnswer(outcome, err, started))
	}
	if s.panicked != nil {
		panic(s.panicked)
	}
	if err != nil && panicked == "" && s.answer.Err == nil && !s.answer.NotSent {
		w.noteMiddleware(ctx, inflight, err.Error())
	}
	return s.answer
}

// noteMiddleware logs what went wrong in a middleware.
func (w *Worker) noteMiddleware(ctx context.Context, inflight *inflightCall, text string) {
	if !w.failures.enabled(ctx, slog.LevelError) {
		return
	}
	delivery := inflight.delivery
	w.failures.note(ctx, failure{
		failureKind: failureKind{message: "a middleware failed", upstream: inflight.account.name},
		level:       slog.LevelError, call: delivery.ID, batch: delivery.Batch, key: delivery.Key, endpoint: inflight.endpoint,
		attempt: delivery.Attempts + 1, text: text,
	})
}

// callSafely calls a handler. A panic is returned as its text, with the stack.
func callSafely(ctx context.Context, h Handler, a Attempt) (outcome policy.Outcome, panicked string, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("a middleware panicked: %v", v)
			panicked = fmt.Sprintf("panic: %v\n%s", v, debug.Stack())
		}
	}()
	outcome, err = h(ctx, a)
	return outcome, "", err
}

// unsentAnswer returns the result of a middleware that did not call next, as an answer.
func unsentAnswer(outcome policy.Outcome, err error, started time.Time) upstream.Answer {
	a := upstream.Answer{StartedAt: started, Latency: time.Since(started), Err: err}
	var failure *policy.Failure
	switch {
	case errors.Is(err, ErrNotSent):
		a.NotSent, a.Err = true, fmt.Errorf("%w: %w", errPutBack, err)
	case errors.As(err, &failure):
		a.Outcome = failure.Outcome(time.Now())
	case err != nil:
		a.Outcome = policy.Outcome{Message: err.Error(), ReceivedAt: time.Now()}
	default:
		a.Outcome = outcome
		if a.Outcome.ReceivedAt.IsZero() {
			a.Outcome.ReceivedAt = time.Now()
		}
	}
	return a
}
