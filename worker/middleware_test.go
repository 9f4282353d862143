package worker_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-2903acc3/callq/internal/programtest"
	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/worker"
	"github.com/seed-2903acc3/callq/worker/callqtest"
)

// around returns an Env with a middleware, and its log.
func around(t *testing.T, handle func(ctx context.Context, a worker.Attempt, next worker.Handler) (policy.Outcome, error)) (*callqtest.Env, *programtest.Log) {
	t.Helper()
	log := &programtest.Log{}
	return callqtest.New(t, worker.Config{
		Logger: slog.New(slog.NewTextHandler(log, nil)),
		Middleware: []worker.Middleware{func(next worker.Handler) worker.Handler {
			return func(ctx context.Context, a worker.Attempt) (policy.Outcome, error) { return handle(ctx, a, next) }
		}},
	}), log
}

func TestMiddlewareWrapsEachAttemptTheFirstOneOutermost(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var steps []string
	step := func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		steps = append(steps, fmt.Sprintf(format, args...))
	}
	log := func(name string) worker.Middleware {
		return func(next worker.Handler) worker.Handler {
			return func(ctx context.Context, a worker.Attempt) (policy.Outcome, error) {
				step("%s %s %s %d", name, a.Endpoint, a.Key, a.Number)
				outcome, err := next(ctx, a)
				step("%s %d %v", name, outcome.Status, err)
				return outcome, err
			}
		}
	}
	env := callqtest.New(t, worker.Config{Middleware: []worker.Middleware{log("outer"), log("inner")}})
	env.Sim().Script("GET /x/* -> http:503; ok")
	env.Start()
	want(t, env.Await(env.Submit(tasks.Call{Path: "/x/17", Key: "k"}).ID), tasks.StateDone, policy.ClassOK, 2)
	env.Stop()
	got := strings.Join(steps, "; ")
	if got != "outer GET /x/* k 1; inner GET /x/* k 1; inner 503 <nil>; outer 503 <nil>; outer GET /x/* k 2; inner GET /x/* k 2; inner 200 <nil>; outer 200 <nil>" {
		t.Errorf("the steps were %s", got)
	}
}

func TestWhatAMiddlewareDoesAfterTheAnswerNeitherRepeatsNorLosesTheCall(t *testing.T) {
	t.Parallel()
	for what, after := range map[string]func() (policy.Outcome, error){
		"an error":        func() (policy.Outcome, error) { return policy.Outcome{}, errors.New("the database is down") },
		"a panic":         func() (policy.Outcome, error) { panic("the database is down") },
		"another outcome": func() (policy.Outcome, error) { return policy.Outcome{Status: 503}, nil },
		"not sent":        func() (policy.Outcome, error) { return policy.Outcome{}, worker.ErrNotSent },
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			env, log := around(t, func(ctx context.Context, a worker.Attempt, next worker.Handler) (policy.Outcome, error) {
				_, _ = next(ctx, a)
				return after()
			})
			env.Start()
			want(t, env.Await(env.Submit(tasks.Call{Method: "POST", Path: "/x"}).ID), tasks.StateDone, policy.ClassOK, 1)
			if env.Sim().Arrivals() != 1 {
				t.Errorf("%d requests arrived", env.Sim().Arrivals())
			}
			env.Stop()
			if logged := strings.Contains(log.String(), `msg="a middleware failed"`); logged == (what == "another outcome") {
				t.Errorf("the log is\n%s", log)
			}
		})
	}
}

func TestASecondCallOfNextReturnsTheFirstAnswer(t *testing.T) {
	t.Parallel()
	env, _ := around(t, func(ctx context.Context, a worker.Attempt, next worker.Handler) (policy.Outcome, error) {
		first, _ := next(ctx, a)
		second, err := next(ctx, a)
		if first.Status != 200 || second.Status != 200 || err != nil {
			t.Errorf("the answers are %v, %v, %v", first, second, err)
		}
		return second, err
	})
	env.Start()
	want(t, env.Await(env.Submit(tasks.Call{Method: "POST", Path: "/x"}).ID), tasks.StateDone, policy.ClassOK, 1)
	if env.Sim().Arrivals() != 1 {
		t.Errorf("%d requests arrived", env.Sim().Arrivals())
	}
}

func TestAMiddlewareThatDoesNotCallNextIsJudgedAndNothingIsSent(t *testing.T) {
	t.Parallel()
	for what, c := range map[string]struct {
		outcome  policy.Outcome
		err      error
		state    tasks.State
		class    policy.Class
		attempts int
	}{
		"a failure": {err: &policy.Failure{Status: 404, Message: "not in our list"}, state: tasks.StateDropped, class: policy.ClassBadParameter, attempts: 1},
		"an error":  {err: errors.New("no licence"), state: tasks.StateDead, class: policy.ClassUnknown, attempts: 3},
		"an answer": {outcome: policy.Outcome{Status: 200, Body: policy.BodyEnvelope, Flag: policy.FlagTrue}, state: tasks.StateDone, class: policy.ClassOK, attempts: 1},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			env, _ := around(t, func(context.Context, worker.Attempt, worker.Handler) (policy.Outcome, error) { return c.outcome, c.err })
			env.Start()
			r := env.Await(env.Submit(tasks.Call{Path: "/x"}).ID)
			want(t, r, c.state, c.class, c.attempts)
			if c.err != nil && (r.ErrorMessage == "" || !strings.Contains(c.err.Error(), r.ErrorMessage)) {
				t.Errorf("the message is %q", r.ErrorMessage)
			}
			if env.Sim().Arrivals() != 0 {
				t.Errorf("%d requests arrived", env.Sim().Arrivals())
			}
		})
	}
}

func TestAPanicOfAMiddlewareBeforeTheRequestSpendsAnAttempt(t *testing.T) {
	t.Parallel()
	env, log := around(t, func(ctx context.Context, a worker.Attempt, next worker.Handler) (policy.Outcome, error) {
		if a.Number == 1 {
			panic("nil map")
		}
		return next(ctx, a)
	})
	env.Start()
	want(t, env.Await(env.Submit(tasks.Call{Path: "/x"}).ID), tasks.StateDone, policy.ClassOK, 2)
	env.Stop()
	if env.Sim().Arrivals() != 1 || !strings.Contains(log.String(), "panic: nil map") {
		t.Errorf("%d requests arrived; the log is\n%s", env.Sim().Arrivals(), log)
	}
}

func TestAMiddlewareCanPutACallBack(t *testing.T) {
	t.Parallel()
	var once sync.Once
	env, _ := around(t, func(ctx context.Context, a worker.Attempt, next worker.Handler) (outcome policy.Outcome, err error) {
		err = errors.New("later")
		once.Do(func() { err = fmt.Errorf("%w: maintenance", worker.ErrNotSent) })
		if errors.Is(err, worker.ErrNotSent) {
			return policy.Outcome{}, err
		}
		return next(ctx, a)
	})
	env.Start()
	began := time.Now()
	r := env.Await(env.Submit(tasks.Call{Method: "POST", Path: "/x"}).ID)
	want(t, r, tasks.StateDone, policy.ClassOK, 1)
	if r.Parked != 1 || time.Since(began) < time.Second {
		t.Errorf("parked %d times, done after %s", r.Parked, time.Since(began))
	}
}

// A middleware that gives up waiting must not make the worker lose the answer.
func TestAMiddlewareThatReturnsBeforeTheAnswerDoesNotEndTheAttempt(t *testing.T) {
	t.Parallel()
	arrived, answer, late := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(arrived) // a second request would panic
		<-answer
		fmt.Fprint(w, `{"status":true,"error_code":0}`)
	}))
	defer api.Close()
	impatient := func(next worker.Handler) worker.Handler {
		return func(ctx context.Context, a worker.Attempt) (policy.Outcome, error) {
			short, cancel := context.WithCancel(ctx)
			cancel() // the end of its context does not break the request off
			go func() {
				_, _ = next(short, a)
				_, err := next(ctx, a)
				late <- err
			}()
			<-arrived
			defer close(answer)
			return policy.Outcome{Status: 503}, nil
		}
	}
	env := callqtest.New(t, worker.Config{
		Upstreams: []worker.Upstream{{Name: callqtest.Upstream, BaseURL: api.URL}}, Middleware: []worker.Middleware{impatient},
	})
	env.Start()
	want(t, env.Await(env.Submit(tasks.Call{Method: "POST", Path: "/x"}).ID), tasks.StateDone, policy.ClassOK, 1)
	if err := <-late; err != nil {
		t.Errorf("next returned %v", err)
	}
}

type tenantKey struct{}

func TestTheValuesOfAMiddlewaresContextReachAJobsCode(t *testing.T) {
	t.Parallel()
	env, _ := around(t, func(ctx context.Context, a worker.Attempt, next worker.Handler) (policy.Outcome, error) {
		if a.Job != "noop" {
			t.Errorf("the job is %q", a.Job)
		}
		return next(context.WithValue(ctx, tenantKey{}, "acme"), a)
	})
	got := make(chan any, 1)
	err := worker.Handle(env.Worker(), callqtest.Upstream, func(ctx context.Context, _ *worker.Job[noop]) (struct{}, error) {
		got <- ctx.Value(tenantKey{})
		return struct{}{}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	receipt, err := tasks.Enqueue(t.Context(), env.Producer(), noop{}, tasks.Options{Upstream: callqtest.Upstream})
	if err != nil {
		t.Fatal(err)
	}
	env.Start()
	want(t, env.Await(receipt.ID), tasks.StateDone, policy.ClassOK, 1)
	if v := <-got; v != "acme" {
		t.Errorf("the code got %v", v)
	}
}

func TestAnAttemptThatAMiddlewareMadeItselfIsRefused(t *testing.T) {
	t.Parallel()
	env, _ := around(t, func(ctx context.Context, _ worker.Attempt, next worker.Handler) (policy.Outcome, error) {
		return next(ctx, worker.Attempt{})
	})
	env.Start()
	r := env.Await(env.Submit(tasks.Call{Path: "/x"}).ID)
	if r.State != tasks.StateDead || !strings.Contains(r.ErrorMessage, "with the Attempt that it was called with") {
		t.Errorf("%s: %s", r.State, r.ErrorMessage)
	}
}

func TestAMiddlewareCanSetHeadersOfTheRequestButNotTheCredential(t *testing.T) {
	t.Parallel()
	env, _ := around(t, func(ctx context.Context, a worker.Attempt, next worker.Handler) (policy.Outcome, error) {
		name := "Content-Type"
		if a.Batch == "other" {
			name = "Host"
		}
		a.Header.Set(name, "text/"+a.Key)
		return next(ctx, a)
	})
	env.Start()
	call := tasks.Call{Method: "POST", Path: "/x", Key: "k", Headers: map[string]string{"Content-Type": "text/plain"}, Body: []byte(`"body"`)}
	want(t, env.Await(env.Submit(call).ID), tasks.StateDone, policy.ClassOK, 1)
	if got := env.Sim().Seen()[0].Headers["Content-Type"]; got != "text/k" {
		t.Errorf("the API got %q", got)
	}
	call.Batch = "other"
	want(t, env.Await(env.Submit(call).ID), tasks.StateDead, policy.ClassMalformedTask, 0)
	if env.Sim().Arrivals() != 1 {
		t.Errorf("%d requests arrived", env.Sim().Arrivals())
	}
}
