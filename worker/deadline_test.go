package worker_test

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/ledger"
	"github.com/seed-2903acc3/callq/worker"
	"github.com/seed-2903acc3/callq/worker/callqtest"
	"github.com/seed-2903acc3/callq/worker/circuit"
)

// balanced checks the counts of a batch, and that an audit finds nothing.
func balanced(t *testing.T, env *callqtest.Env, batch string, want ledger.Counts) {
	t.Helper()
	l := ledger.New(env.Redis())
	b, err := l.Batch(t.Context(), batch)
	if err != nil || b.Counts != want {
		t.Errorf("got counts %+v, %v, want %+v", b.Counts, err, want)
	}
	if found, err := l.Audit(t.Context(), batch, tasks.TaskID); err != nil || len(found) > 0 {
		t.Errorf("audit: got %+v, %v, want nothing", found, err)
	}
}

func openCircuit(t *testing.T, env *callqtest.Env, endpoint string) {
	t.Helper()
	name := circuit.Name{Upstream: callqtest.Upstream, Endpoint: endpoint}
	if err := circuit.NewStore(env.Redis(), "test").Open(t.Context(), name, time.Hour, "test", "test"); err != nil {
		t.Fatal(err)
	}
}

// Each of these would keep the call for an hour or more.
var holds = map[string]struct {
	upstream worker.Upstream
	hold     func(t *testing.T, env *callqtest.Env)
	arrivals int
}{
	"the account":  {hold: func(t *testing.T, env *callqtest.Env) { openCircuit(t, env, "") }},
	"its endpoint": {hold: func(t *testing.T, env *callqtest.Env) { openCircuit(t, env, "GET /late") }},
	"an operator's pause": {hold: func(t *testing.T, env *callqtest.Env) {
		if err := asynq.NewInspectorFromRedisClient(env.Redis()).PauseQueue(callqtest.Upstream); err != nil {
			t.Fatal(err)
		}
	}},
	"a limit": {
		upstream: worker.Upstream{Limits: []string{"1/month"}}, arrivals: 1,
		hold: func(_ *testing.T, env *callqtest.Env) { env.Await(env.Submit(tasks.Call{Path: "/first"}).ID) },
	},
	"a budget": {
		upstream: worker.Upstream{Budget: []string{"1 calls/month"}}, arrivals: 1,
		hold: func(_ *testing.T, env *callqtest.Env) { env.Await(env.Submit(tasks.Call{Path: "/first"}).ID) },
	},
	"an answer of the API": {arrivals: 1, hold: func(t *testing.T, env *callqtest.Env) {
		env.Sim().Script("GET /first -> http:429 retry-after=3600 forever")
		env.Submit(tasks.Call{Path: "/first"})
		store := circuit.NewStore(env.Redis(), "test")
		awaitTrue(t, "the hold", func() bool {
			r, err := store.Get(t.Context(), circuit.Name{Upstream: callqtest.Upstream})
			return err == nil && r.State == circuit.Open
		})
	}},
	"other calls in flight": {
		upstream: worker.Upstream{Concurrency: 1, Timeout: 5 * time.Minute}, arrivals: 1,
		hold: func(_ *testing.T, env *callqtest.Env) {
			env.Sim().Script("GET /first -> ok latency=12s")
			env.Submit(tasks.Call{Path: "/first"})
			env.Sim().AwaitArrivals(1)
		},
	},
}

func TestADeadlineEndsACallWhateverHoldsIt(t *testing.T) {
	t.Parallel()
	for name, c := range holds {
		t.Run(name, func(t *testing.T) {
			c.upstream.Name = callqtest.Upstream
			var mu sync.Mutex
			events := map[string]worker.AttemptResult{}
			cfg := worker.Config{Upstreams: []worker.Upstream{c.upstream}, OnAttempt: func(e worker.AttemptResult) {
				mu.Lock()
				defer mu.Unlock()
				if e.Class == policy.ClassExpired {
					events[e.ID] = e
				}
			}}
			each(t, cfg, func(t *testing.T, env *callqtest.Env) {
				env.Start()
				c.hold(t, env)
				deadline := time.Now().Add(1500 * time.Millisecond)
				r := env.Submit(tasks.Call{Path: "/late", Batch: "b", Key: "late", Deadline: &deadline})
				later := time.Now().Add(time.Hour)
				still := env.Submit(tasks.Call{Path: "/late/still", Batch: "other", Key: "still", Deadline: &later})
				result := env.Await(r.ID)
				want(t, result, tasks.StateDead, policy.ClassExpired, 0)
				if result.FinishedAt.Before(deadline) || result.FinishedAt.After(deadline.Add(10*time.Second)) {
					t.Errorf("it ended at %s, want within 10s of its deadline %s", result.FinishedAt, deadline)
				}
				if result.UserMessage == "" || result.Advice == "" {
					t.Errorf("message %q and advice %q, want both", result.UserMessage, result.Advice)
				}
				if n := env.Sim().Arrived("GET", "/late"); n != 0 {
					t.Errorf("it was sent %d times, want 0", n)
				}
				if n := env.Sim().Arrivals(); n != c.arrivals && name != "its endpoint" {
					t.Errorf("%d calls arrived, want %d", n, c.arrivals)
				}
				balanced(t, env, "b", ledger.Counts{Accepted: 1, Dead: 1})
				awaitTrue(t, "the event", func() bool { mu.Lock(); defer mu.Unlock(); return events[r.ID].State == string(ledger.Dead) })
				if record, err := ledger.New(env.Redis()).Find(t.Context(), still.ID); err != nil || name != "its endpoint" && record.State != ledger.Open {
					t.Errorf("a call before its deadline: got state %s, %v, want open", record.State, err)
				}
				info, err := asynq.NewInspectorFromRedisClient(env.Redis()).GetTaskInfo(callqtest.Upstream, r.ID)
				if err != nil || info.State != asynq.TaskStateArchived || !strings.Contains(info.LastErr, "expired : its deadline passed") || info.LastFailedAt.IsZero() {
					t.Errorf("asynq has %+v, %v, want it archived as expired", info, err)
				}
			})
		})
	}
}

func TestAWorkerThatStartsEndsTheCallsWhoseDeadlinePassedMeanwhile(t *testing.T) {
	each(t, worker.Config{}, func(t *testing.T, env *callqtest.Env) {
		openCircuit(t, env, "")
		past := time.Now().Add(-time.Hour)
		for _, p := range []tasks.Priority{tasks.PriorityHigh, tasks.PriorityNormal, tasks.PriorityLow} {
			env.Submit(tasks.Call{Path: "/late", Batch: "b", Key: string(p), Priority: p, Deadline: &past})
		}
		env.Start()
		for _, r := range env.AwaitBatch("b") {
			want(t, r, tasks.StateDead, policy.ClassExpired, 0)
		}
		balanced(t, env, "b", ledger.Counts{Accepted: 3, Dead: 3})
	})
}

// An older version did not index deadlines; its calls end when they are dequeued.
func TestACallThatIsNotInTheIndexOfDeadlinesEndsWhenItIsDequeued(t *testing.T) {
	each(t, worker.Config{}, func(t *testing.T, env *callqtest.Env) {
		past := time.Now().Add(-time.Second)
		r := env.Submit(tasks.Call{Path: "/late", Deadline: &past})
		if n, err := env.Redis().Del(t.Context(), "callq:{sim}:deadlines").Result(); err != nil || n != 1 {
			t.Fatal(n, err)
		}
		env.Start()
		want(t, env.Await(r.ID), tasks.StateDead, policy.ClassExpired, 0)
	})
}

func TestACallThatMayHaveBeenSentDoesNotExpire(t *testing.T) {
	each(t, worker.Config{}, func(t *testing.T, env *callqtest.Env) {
		openCircuit(t, env, "")
		past := time.Now().Add(-time.Second)
		post := interrupted(t, env, tasks.Call{Method: "POST", Path: "/order", Deadline: &past}, "sent", 1, "starts", 1)
		get := interrupted(t, env, tasks.Call{Path: "/order", Deadline: &past}, "starts", 1)
		env.Start()
		want(t, env.Await(post.ID), tasks.StateDead, policy.ClassOutcomeUnknown, 1)
		want(t, env.Await(get.ID), tasks.StateDead, policy.ClassExpired, 0)
		record, err := ledger.New(env.Redis()).Find(t.Context(), post.ID)
		if err != nil || record.Ending.Message == "" || record.Group == "" {
			t.Errorf("the record is %+v, %v", record, err)
		}
	})
}

func TestAnExpiredCallThatIsRedrivenExpiresAgainAtOnce(t *testing.T) {
	each(t, worker.Config{}, func(t *testing.T, env *callqtest.Env) {
		openCircuit(t, env, "")
		past := time.Now().Add(-time.Second)
		id := env.Submit(tasks.Call{Path: "/late", Batch: "b", Key: "k", Deadline: &past}).ID
		env.Start()
		want(t, env.Await(id), tasks.StateDead, policy.ClassExpired, 0)
		inspector := asynq.NewInspectorFromRedisClient(env.Redis())
		for generation, again := range []func(){
			1: func() { env.Redrive(id) },
			2: func() { // behind the ledger's back, as in asynqmon of another program
				if err := circuit.NewStore(env.Redis(), "test").Close(t.Context(), circuit.Name{Upstream: callqtest.Upstream}, "test", "test"); err != nil {
					t.Fatal(err)
				}
				if err := inspector.RunTask(callqtest.Upstream, id); err != nil {
					t.Fatal(err)
				}
			},
		} {
			if generation == 0 {
				continue
			}
			again()
			awaitTrue(t, "the redriven call to end", func() bool {
				r, err := ledger.New(env.Redis()).Find(t.Context(), id)
				return err == nil && r.Generation == generation+1 && r.State == ledger.Dead && len(r.Lineage) == generation && r.Ending.Class == string(policy.ClassExpired)
			})
		}
		balanced(t, env, "b", ledger.Counts{Accepted: 1, Dead: 1})
		if n := env.Sim().Arrivals(); n != 0 {
			t.Errorf("%d calls arrived", n)
		}
	})
}

func TestADeadlineAppliesWhileACallWaitsForItsSlot(t *testing.T) {
	each(t, worker.Config{Upstreams: []worker.Upstream{{Name: callqtest.Upstream, Limits: []string{"135/m burst 1"}}}}, func(t *testing.T, env *callqtest.Env) {
		deadline := time.Now().Add(time.Hour)
		env.Submit(tasks.Call{Path: "/first", Deadline: &deadline})
		env.Start()
		env.Sim().AwaitArrivals(1)
		deadline = time.Now().Add(150 * time.Millisecond) // its slot is 440 ms away
		want(t, env.Await(env.Submit(tasks.Call{Path: "/late", Deadline: &deadline}).ID), tasks.StateDead, policy.ClassExpired, 0)
		if n := env.Sim().Arrivals(); n != 1 {
			t.Errorf("%d calls arrived, want 1", n)
		}
		want(t, env.Await(env.Submit(tasks.Call{Path: "/next"}).ID), tasks.StateDone, policy.ClassOK, 1)
	})
}

func TestAJobsDeadlineEndsItWhileItIsHeld(t *testing.T) {
	each(t, worker.Config{}, func(t *testing.T, env *callqtest.Env) {
		openCircuit(t, env, "")
		env.Start()
		deadline := time.Now().Add(time.Second)
		want(t, enqueue(t, env, tasks.Options{Deadline: &deadline}), tasks.StateDead, policy.ClassExpired, 0)
	})
}
