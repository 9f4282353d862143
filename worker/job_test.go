package worker_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/worker"
	"github.com/seed-2903acc3/callq/worker/callqtest"
)

type invoice struct {
	Number string `json:"number"`
}

func (invoice) Kind() string { return "invoice.send" }

type sent struct {
	Message string `json:"message"`
}

func handle(t *testing.T, env *callqtest.Env, fn func(context.Context, *worker.Job[invoice]) (sent, error)) {
	t.Helper()
	if err := worker.Handle(env.Worker(), callqtest.Upstream, fn); err != nil {
		t.Fatal(err)
	}
	env.Start()
}

func enqueue(t *testing.T, env *callqtest.Env, o tasks.Options) tasks.Result {
	t.Helper()
	o.Upstream = callqtest.Upstream
	r, err := tasks.Enqueue(t.Context(), env.Producer(), invoice{Number: "R-1"}, o)
	if err != nil {
		t.Fatal(err)
	}
	return env.Await(r.ID)
}

func TestAJobsResultIsTheBodyOfItsResult(t *testing.T) {
	each(t, worker.Config{}, func(t *testing.T, env *callqtest.Env) {
		handle(t, env, func(_ context.Context, j *worker.Job[invoice]) (sent, error) {
			return sent{Message: "sent " + j.Args.Number}, nil
		})
		r := enqueue(t, env, tasks.Options{})
		want(t, r, tasks.StateDone, policy.ClassOK, 1)
		if got := callqtest.Body[sent](t, r); got.Message != "sent R-1" {
			t.Errorf("the body is %+v", got)
		}
		if r.Method != tasks.MethodJob || r.Path != "/invoice.send" {
			t.Errorf("the result is of %s %s", r.Method, r.Path)
		}
	})
}

func TestTheUpstreamsPolicyDecidesOnAJobsFailure(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		failure  error
		state    tasks.State
		class    policy.Class
		attempts int
	}{
		"bad parameter": {&policy.Failure{Code: "68300004"}, tasks.StateDropped, policy.ClassBadParameter, 1},
		"balance":       {&policy.Failure{Code: "67200005"}, tasks.StateDead, policy.ClassBalance, 1},
		"any error":     {errors.New("no idea"), tasks.StateDead, policy.ClassUnknown, 3},
		"status":        {&policy.Failure{Status: 404}, tasks.StateDropped, policy.ClassBadParameter, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			env := callqtest.New(t, worker.Config{})
			handle(t, env, func(context.Context, *worker.Job[invoice]) (sent, error) { return sent{}, c.failure })
			want(t, enqueue(t, env, tasks.Options{}), c.state, c.class, c.attempts)
		})
	}
}

func TestAJobThatPanicsFailsAndTheWorkerContinues(t *testing.T) {
	t.Parallel()
	env := callqtest.New(t, worker.Config{})
	var runs atomic.Int32
	handle(t, env, func(context.Context, *worker.Job[invoice]) (sent, error) {
		if runs.Add(1) == 1 {
			panic("out of luck")
		}
		return sent{}, nil
	})
	want(t, enqueue(t, env, tasks.Options{}), tasks.StateDone, policy.ClassOK, 2)
}

func TestAJobThatFailsAfterMarkSentIsNotRunAgain(t *testing.T) {
	each(t, worker.Config{}, func(t *testing.T, env *callqtest.Env) {
		var runs atomic.Int32
		handle(t, env, func(ctx context.Context, j *worker.Job[invoice]) (sent, error) {
			runs.Add(1)
			if err := j.MarkSent(ctx); err != nil {
				return sent{}, err
			}
			return sent{}, errors.New("the connection broke")
		})
		want(t, enqueue(t, env, tasks.Options{}), tasks.StateDead, policy.ClassOutcomeUnknown, 1)
		if n := runs.Load(); n != 1 {
			t.Errorf("the job ran %d times, want once", n)
		}
	})
}

func TestMarkSentRecordsNothingForAnIdempotentJob(t *testing.T) {
	t.Parallel()
	env := callqtest.New(t, worker.Config{})
	var runs atomic.Int32
	handle(t, env, func(ctx context.Context, j *worker.Job[invoice]) (sent, error) {
		if err := j.MarkSent(ctx); err != nil {
			return sent{}, err
		}
		if runs.Add(1) == 1 {
			return sent{}, &policy.Failure{MaybeSent: true}
		}
		return sent{}, nil
	})
	yes := true
	want(t, enqueue(t, env, tasks.Options{Idempotent: &yes}), tasks.StateDone, policy.ClassOK, 2)
}

func TestHandleRefusesAJobThatCannotRun(t *testing.T) {
	t.Parallel()
	env := callqtest.New(t, worker.Config{})
	fn := func(context.Context, *worker.Job[invoice]) (sent, error) { return sent{}, nil }
	if err := worker.Handle(env.Worker(), "unknown", fn); err == nil {
		t.Error("a job of an unknown upstream was registered")
	}
	if err := worker.Handle(env.Worker(), callqtest.Upstream, fn); err != nil {
		t.Error(err)
	}
	if err := worker.Handle(env.Worker(), callqtest.Upstream, fn); err == nil {
		t.Error("a job was registered twice")
	}
}
