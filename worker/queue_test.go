package worker_test

import (
	"fmt"
	"strings"
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

// find waits until the ledger has a dead letter of the class.
func awaitDead(t *testing.T, env *callqtest.Env, class policy.Class) ledger.Record {
	t.Helper()
	l := ledger.New(env.Redis())
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); {
		for r, err := range l.Dead(t.Context(), "") {
			if err != nil {
				t.Fatal(err)
			}
			if r.Ending.Class == string(class) {
				return r
			}
		}
		<-time.After(20 * time.Millisecond)
	}
	t.Fatalf("no dead letter of class %s within 30 s", class)
	return ledger.Record{}
}

func TestATaskThatAnotherProgramPutIntoTheQueueEndsAsADeadLetter(t *testing.T) {
	each(t, worker.Config{}, func(t *testing.T, env *callqtest.Env) {
		stranger := asynq.NewClientFromRedisClient(env.Redis())
		if _, err := stranger.Enqueue(asynq.NewTask("strange", []byte("\xff\xfe random")), asynq.Queue(callqtest.Upstream), asynq.TaskID("foreign")); err != nil {
			t.Fatal(err)
		}
		env.Start()
		r := awaitDead(t, env, policy.ClassMalformedTask)
		if r.ID != "foreign" || r.Batch != tasks.DefaultBatch {
			t.Errorf("the dead letter is %s of batch %s", r.ID, r.Batch)
		}
		want(t, env.Await(env.Submit(tasks.Call{Path: "/a"}).ID), tasks.StateDone, policy.ClassOK, 1)
	})
}

func TestAMessageThatAsynqCannotDecodeIsRemovedFromTheActiveList(t *testing.T) {
	each(t, worker.Config{}, func(t *testing.T, env *callqtest.Env) {
		ctx := t.Context()
		env.Redis().HSet(ctx, "asynq:{sim}:t:broken", "msg", "\x0a\xffno protobuf", "state", "pending")
		env.Redis().LPush(ctx, "asynq:{sim}:pending", "broken")
		env.Start()
		awaitDead(t, env, policy.ClassMalformedTask)
		want(t, env.Await(env.Submit(tasks.Call{Path: "/a"}).ID), tasks.StateDone, policy.ClassOK, 1)
		env.Stop()
		if n, err := env.Redis().LLen(ctx, "asynq:{sim}:active").Result(); err != nil || n != 0 {
			t.Errorf("%d tasks are left active, %v", n, err)
		}
	})
}

// interrupted puts a call into the state that a worker leaves when it is killed.
func interrupted(t *testing.T, env *callqtest.Env, c tasks.Call, fields ...any) tasks.Receipt {
	t.Helper()
	r := env.Submit(c)
	if err := env.Redis().HSet(t.Context(), "callq:{sim}:c:"+r.ID, fields...).Err(); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestACallThatMayHaveBeenSentByADeadWorkerIsNotSentAgain(t *testing.T) {
	each(t, worker.Config{}, func(t *testing.T, env *callqtest.Env) {
		post := interrupted(t, env, tasks.Call{Method: "POST", Path: "/order"}, "sent", 1, "starts", 1)
		get := interrupted(t, env, tasks.Call{Method: "GET", Path: "/order"}, "starts", 1)
		env.Start()
		want(t, env.Await(post.ID), tasks.StateDead, policy.ClassOutcomeUnknown, 1)
		want(t, env.Await(get.ID), tasks.StateDone, policy.ClassOK, 1)
		if n := env.Sim().Arrived("POST", "/order"); n != 0 {
			t.Errorf("the POST was sent %d more times", n)
		}
	})
}

func TestADrainEndsCallsInProgressAndLeavesTheOthers(t *testing.T) {
	each(t, worker.Config{Upstreams: []worker.Upstream{{Name: callqtest.Upstream, Concurrency: 2}}}, func(t *testing.T, env *callqtest.Env) {
		env.Sim().Script("GET /* -> ok latency=300ms forever")
		for i := range 20 {
			env.Submit(tasks.Call{Path: fmt.Sprintf("/%d", i), Batch: "b", Key: fmt.Sprint(i)})
		}
		env.Start()
		env.Sim().AwaitArrivals(2)
		env.Stop()
		b, err := ledger.New(env.Redis()).Batch(t.Context(), "b")
		if err != nil {
			t.Fatal(err)
		}
		if int(b.Counts.Done) != env.Sim().Arrivals() || b.Counts.Open == 0 || !b.Counts.Balanced() {
			t.Errorf("%d requests arrived and the ledger say %+v", env.Sim().Arrivals(), b.Counts)
		}
		active, err := env.Redis().LLen(t.Context(), "asynq:{sim}:active").Result()
		if err != nil || active != 0 {
			t.Errorf("%d tasks are left active, %v", active, err)
		}
	})
}

func TestAnOutageOpensTheCircuitForTheFleet(t *testing.T) {
	p := parse(t, `version: 1
name: outage
extends: patsnap
backoffs:
  standard: {floor: 1ms, base: 1ms, cap: 1ms, attempts: 20}
breaker: {window: 10s, min_calls: 5, ratio: 0.5}
`)
	each(t, worker.Config{Upstreams: []worker.Upstream{{Name: callqtest.Upstream, Policy: p, Concurrency: 2}}}, func(t *testing.T, env *callqtest.Env) {
		env.Sim().Script("shared GET /* -> http:503 x6; ok forever")
		for i := range 10 {
			env.Submit(tasks.Call{Path: fmt.Sprintf("/%d", i), Batch: "b", Key: fmt.Sprint(i)})
		}
		env.Start()
		store := circuit.NewStore(env.Redis(), "test")
		for deadline := time.Now().Add(30 * time.Second); ; {
			r, err := store.Get(t.Context(), circuit.Name{Upstream: callqtest.Upstream})
			if err != nil {
				t.Fatal(err)
			}
			if r.State == circuit.Open {
				if r.Reason != "outage" {
					t.Errorf("the circuit is open for %q, want outage", r.Reason)
				}
				break
			}
			if time.Now().After(deadline) {
				t.Fatal("the circuit did not open")
			}
			<-time.After(10 * time.Millisecond)
		}
		if err := store.Close(t.Context(), circuit.Name{Upstream: callqtest.Upstream}, "test", "test"); err != nil {
			t.Fatal(err)
		}
		for _, r := range env.AwaitBatch("b") {
			if r.State != tasks.StateDone {
				t.Errorf("%s ended %s (%s)", r.Key, r.State, r.Class)
			}
		}
	})
}

func TestACallThatEndsUnsentAfterAHoldPassesTheTurnToTheNext(t *testing.T) {
	each(t, worker.Config{}, func(t *testing.T, env *callqtest.Env) {
		store := circuit.NewStore(env.Redis(), "test")
		if err := store.Open(t.Context(), circuit.Name{Upstream: callqtest.Upstream}, 200*time.Millisecond, "test", "test"); err != nil {
			t.Fatal(err)
		}
		past := time.Now().Add(-time.Second)
		late := env.Submit(tasks.Call{Path: "/late", Deadline: &past})
		next := env.Submit(tasks.Call{Path: "/next"})
		env.Start()
		want(t, env.Await(late.ID), tasks.StateDead, policy.ClassExpired, 0)
		want(t, env.Await(next.ID), tasks.StateDone, policy.ClassOK, 1)
	})
}

func TestAnOutageThatContinuesTakesTheNextRungAndNamesTheFault(t *testing.T) {
	long := parse(t, `
version: 1
name: long
extends: patsnap
holds:
  outage: {sources: [ladder], ladder: [10ms, 20ms, 30ms]}
backoffs:
  standard: {floor: 1ms, base: 1ms, cap: 5ms, attempts: 8}
breaker: {window: 30s, min_calls: 2, ratio: 0.5}
`)
	const gone = "http://127.0.0.1:1" // a port that was closed another test could open
	cfg := worker.Config{
		Upstreams: []worker.Upstream{{Name: "gone", BaseURL: gone, Policy: long, Concurrency: 1}},
		OnAttempt: func(e worker.AttemptResult) {
			if !strings.Contains(e.Message, "connection refused") {
				t.Errorf("the message of an attempt: got %q", e.Message)
			}
		},
	}
	each(t, cfg, func(t *testing.T, env *callqtest.Env) {
		if err := worker.NoteReached(t.Context(), env.Worker(), "gone"); err != nil {
			t.Fatal(err)
		}
		env.Start()
		r := env.Submit(tasks.Call{Upstream: "gone", Path: "/a"})
		circuits := circuit.NewStore(env.Redis(), "test")
		most := 0
		awaitTrue(t, "the call to be given up", func() bool {
			c, err := circuits.Get(t.Context(), circuit.Name{Upstream: "gone"})
			if err != nil {
				t.Fatal(err)
			}
			if most = max(most, c.Rung); c.State == circuit.Open && (c.Reason != "outage" || !strings.Contains(c.Message, "connection refused")) {
				t.Fatalf("the circuit has %q: %q", c.Reason, c.Message)
			}
			record, err := ledger.New(env.Redis()).Find(t.Context(), r.ID)
			return err == nil && record.State == ledger.Dead
		})
		// Each probe is an attempt: a fault that is the call's own must end.
		want(t, env.Await(r.ID), tasks.StateDead, policy.ClassTransient, 8)
		env.Stop()
		if c, err := circuits.Get(t.Context(), circuit.Name{Upstream: "gone"}); err != nil || c.Rung < 5 || c.Failed != c.Rung-1 {
			t.Errorf("after six probes the circuit is %+v, %v", c, err)
		}
	})
}

func TestARedrivenCallStillWaitsForItsTime(t *testing.T) {
	each(t, worker.Config{}, func(t *testing.T, env *callqtest.Env) {
		soon := time.Now().Add(4 * time.Second)
		r := env.Submit(tasks.Call{Path: "/later", Batch: "b", Key: "later", NotBefore: &soon})
		l := ledger.New(env.Redis())
		record, err := l.Find(t.Context(), r.ID)
		if err != nil {
			t.Fatal(err)
		}
		if done, _, err := l.Cancel(t.Context(), record, ledger.Ending{}); err != nil || !done {
			t.Fatalf("it was cancelled: %t, %v", done, err)
		}
		env.Redrive(r.ID)
		env.Start()
		want(t, env.Await(r.ID), tasks.StateDone, policy.ClassOK, 1)
		if seen := env.Sim().Seen(); len(seen) != 1 || seen[0].At.Before(soon) {
			t.Errorf("it was made at %v, and not before was %s", seen, soon)
		}
	})
}

func TestOnlyTheOperatorEndsAPauseOfAQueue(t *testing.T) {
	each(t, worker.Config{}, func(t *testing.T, env *callqtest.Env) {
		inspector := asynq.NewInspectorFromRedisClient(env.Redis())
		env.Submit(tasks.Call{Path: "/first", Batch: "b", Key: "first"})
		env.Sim().Script("GET /first -> http:429 retry-after=1; ok")
		env.Start()
		env.Sim().AwaitArrivals(1)
		if err := inspector.PauseQueue(callqtest.Upstream); err != nil {
			t.Fatal(err)
		}
		store := circuit.NewStore(env.Redis(), "test")
		for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); {
			r, err := store.Get(t.Context(), circuit.Name{Upstream: callqtest.Upstream})
			if err != nil {
				t.Fatal(err)
			}
			if r.State == circuit.Open && time.Now().After(r.Until.Add(500*time.Millisecond)) {
				break
			}
			<-time.After(20 * time.Millisecond)
		}
		if n := env.Sim().Arrivals(); n != 1 {
			t.Errorf("%d requests arrived although the queue is paused", n)
		}
		if err := inspector.UnpauseQueue(callqtest.Upstream); err != nil {
			t.Fatal(err)
		}
		want(t, env.AwaitBatch("b")["first"], tasks.StateDone, policy.ClassOK, 1)
	})
}
