package worker_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/ledger"
	"github.com/seed-2903acc3/callq/worker"
	"github.com/seed-2903acc3/callq/worker/callqtest"
)

// orphan puts a task into the state that it has when its worker was killed, and
// asynq has waited long enough.
func orphan(t *testing.T, env *callqtest.Env, queue, id string) {
	t.Helper()
	key := "asynq:{" + queue + "}:"
	pipe := env.Redis().TxPipeline()
	pipe.LRem(t.Context(), key+"pending", 0, id)
	pipe.ZRem(t.Context(), key+"archived", id)
	pipe.LPush(t.Context(), key+"active", id)
	pipe.ZAdd(t.Context(), key+"lease", redis.Z{Score: float64(time.Now().Add(-time.Minute).Unix()), Member: id})
	pipe.HSet(t.Context(), key+"t:"+id, "state", "active")
	if _, err := pipe.Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// awaitTrue waits until a condition holds.
func awaitTrue(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !cond(); {
		if time.Now().After(deadline) {
			t.Fatalf("timed out waiting for %s", what)
		}
		<-time.After(10 * time.Millisecond)
	}
}

// wantNothingActive checks that no task is left in anybody's hands.
func wantNothingActive(t *testing.T, env *callqtest.Env, queues ...string) {
	t.Helper()
	for _, queue := range queues {
		key := "asynq:{" + queue + "}:"
		active, leased := env.Redis().LLen(t.Context(), key+"active").Val(), env.Redis().ZCard(t.Context(), key+"lease").Val()
		if active != 0 || leased != 0 {
			t.Errorf("queue %s: %d tasks are left active, %d leased", queue, active, leased)
		}
	}
}

// asynq lists the tasks whose lease is over for all queues of a server at once, and
// takes none of them back when it cannot decode one.
func TestAMessageThatCannotBeDecodedStopsNoRecovery(t *testing.T) {
	each(t, worker.Config{}, func(t *testing.T, env *callqtest.Env) {
		normal := env.Submit(tasks.Call{Path: "/normal"})
		low := env.Submit(tasks.Call{Path: "/low", Priority: tasks.PriorityLow})
		orphan(t, env, "sim", normal.ID)
		orphan(t, env, "sim:low", low.ID)
		env.Redis().HSet(t.Context(), "asynq:{sim}:t:broken", "msg", "\x0a\xffno protobuf")
		orphan(t, env, "sim", "broken")
		env.Start()
		want(t, env.Await(normal.ID), tasks.StateDone, policy.ClassOK, 1)
		want(t, env.Await(low.ID), tasks.StateDone, policy.ClassOK, 1)
		if r := awaitDead(t, env, policy.ClassMalformedTask); r.ID != "broken" {
			t.Errorf("%s is dead as malformed", r.ID)
		}
		env.Stop()
		wantNothingActive(t, env, "sim", "sim:low")
	})
}

// asynq never finds a task whose message is gone.
func TestACallWhoseTaskIsGoneIsMadeAgainWhenItsWorkerHasDied(t *testing.T) {
	each(t, worker.Config{}, func(t *testing.T, env *callqtest.Env) {
		get := interrupted(t, env, tasks.Call{Path: "/get"}, "starts", 1)
		post := interrupted(t, env, tasks.Call{Method: http.MethodPost, Path: "/post"}, "starts", 1, "sent", 1)
		odd := interrupted(t, env, tasks.Call{Path: "/odd"}, "starts", 1)
		garbled := interrupted(t, env, tasks.Call{Path: "/garbled"}, "starts", 1, "content", "{")
		for _, id := range []string{get.ID, post.ID, odd.ID, garbled.ID, "nothing"} {
			orphan(t, env, "sim", id)
			env.Redis().Del(t.Context(), "asynq:{sim}:t:"+id)
		}
		env.Redis().Set(t.Context(), "asynq:{sim}:t:"+odd.ID, "no hash", 0)
		env.Start()
		want(t, env.Await(get.ID), tasks.StateDone, policy.ClassOK, 1)
		want(t, env.Await(odd.ID), tasks.StateDone, policy.ClassOK, 1)
		want(t, env.Await(post.ID), tasks.StateDead, policy.ClassOutcomeUnknown, 1)
		env.Stop()
		wantNothingActive(t, env, "sim")
		if n := env.Sim().Arrived(http.MethodPost, "/post"); n != 0 {
			t.Errorf("the POST was sent %d more times", n)
		}
	})
}

// A worker whose Redis was paused for longer than a lease lasts is not a dead one.
func TestARunningWorkerKeepsACallWhoseLeaseHasExpired(t *testing.T) {
	each(t, worker.Config{}, func(t *testing.T, env *callqtest.Env) {
		env.Sim().Script("* * -> ok latency=2s; ok")
		env.Start()
		long := env.Submit(tasks.Call{Path: "/long"})
		awaitTrue(t, "the call to be made", func() bool { return env.Sim().Arrived(http.MethodGet, "/long") == 1 })
		over := redis.ZAddArgs{XX: true, Ch: true, Members: []redis.Z{{Score: float64(time.Now().Add(-time.Minute).Unix()), Member: long.ID}}}
		if n := env.Redis().ZAddArgs(t.Context(), "asynq:{sim}:lease", over).Val(); n != 1 {
			t.Fatal("the call has no lease that could end")
		}
		awaitTrue(t, "the lease to be lengthened", func() bool {
			return env.Redis().ZScore(t.Context(), "asynq:{sim}:lease", long.ID).Val() > float64(time.Now().Add(20*time.Second).Unix())
		})
		want(t, env.Await(long.ID), tasks.StateDone, policy.ClassOK, 1)
		env.Stop()
		if n := env.Sim().Arrived(http.MethodGet, "/long"); n != 1 {
			t.Errorf("the call was made %d times", n)
		}
	})
}

// buried makes a dead letter and waits until asynq has archived its task.
func buried(t *testing.T, env *callqtest.Env, path string) tasks.Receipt {
	t.Helper()
	r := env.Submit(tasks.Call{Path: path, Batch: "b", Key: path})
	want(t, env.Await(r.ID), tasks.StateDead, "balance", 1)
	awaitArchived(t, env, r.ID)
	return r
}

func awaitArchived(t *testing.T, env *callqtest.Env, id string) {
	t.Helper()
	awaitTrue(t, "asynq to archive the task", func() bool {
		return env.Redis().HGet(t.Context(), "asynq:{sim}:t:"+id, "state").Val() == "archived"
	})
}

// awaitState waits until a call has come to a state in a generation.
func awaitState(t *testing.T, env *callqtest.Env, id string, state ledger.State, generation int) ledger.Record {
	t.Helper()
	var r ledger.Record
	awaitTrue(t, fmt.Sprintf("call %s to be %s", id, state), func() bool {
		var err error
		if r, err = ledger.New(env.Redis()).Find(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		return r.State == state && r.Generation == generation
	})
	return r
}

// A dead letter's task has the text with which it was archived as its last error, and
// keeps it when it is run: this distinguishes Run from a crash.
func TestRunningADeadLetterWithAsynqsOwnToolsRedrivesIt(t *testing.T) {
	t.Parallel()
	for name, run := range map[string]func(i *asynq.Inspector, id string) error{
		"one": func(i *asynq.Inspector, id string) error { return i.RunTask("sim", id) },
		"all": func(i *asynq.Inspector, _ string) error { _, err := i.RunAllArchivedTasks("sim"); return err },
	} {
		t.Run(name, func(t *testing.T) {
			each(t, worker.Config{}, func(t *testing.T, env *callqtest.Env) {
				env.Sim().Script("GET /* -> 67200005 x2; ok")
				env.Start()
				r := buried(t, env, "/a")
				inspector := asynq.NewInspectorFromRedisClient(env.Redis())
				for generation := 2; generation <= 3; generation++ { // the first run dies again
					if err := run(inspector, r.ID); err != nil {
						t.Fatal(err)
					}
					if generation == 2 {
						awaitState(t, env, r.ID, ledger.Dead, 2)
						awaitArchived(t, env, r.ID)
					}
				}
				record := awaitState(t, env, r.ID, ledger.Done, 3)
				if len(record.Lineage) != 2 || record.Lineage[0].Ending.Class != "balance" || record.Attempts != 1 {
					t.Errorf("the lineage is %+v, with %d attempts", record.Lineage, record.Attempts)
				}
				env.Stop()
				if n := env.Sim().Arrived(http.MethodGet, "/a"); n != 3 {
					t.Errorf("%d requests arrived", n)
				}
				wantBooks(t, env, "b", ledger.Counts{Accepted: 1, Done: 1})
			})
		})
	}
}

func TestADeadLetterThatIsRunButCannotBeMadeAgainGoesBackToTheArchive(t *testing.T) {
	each(t, worker.Config{}, func(t *testing.T, env *callqtest.Env) {
		env.Sim().Script("GET /a -> 67200005")
		env.Start()
		r := buried(t, env, "/a")
		env.Redis().HSet(t.Context(), recordKey(r.ID), "content", "{")
		if err := asynq.NewInspectorFromRedisClient(env.Redis()).RunTask("sim", r.ID); err != nil {
			t.Fatal(err)
		}
		awaitArchived(t, env, r.ID)
		awaitState(t, env, r.ID, ledger.Dead, 1)
		want(t, env.Await(env.Submit(tasks.Call{Path: "/next"}).ID), tasks.StateDone, policy.ClassOK, 1)
		env.Stop()
		if n := env.Redis().LLen(t.Context(), "asynq:{sim}:pending").Val(); n != 0 {
			t.Errorf("%d tasks are pending still", n)
		}
		wantBooks(t, env, "b", ledger.Counts{Accepted: 1, Dead: 1})
	})
}

func wantBooks(t *testing.T, env *callqtest.Env, batch string, want ledger.Counts) {
	t.Helper()
	l := ledger.New(env.Redis())
	findings, err := l.Audit(t.Context(), batch, tasks.TaskID)
	if err != nil || len(findings) != 0 {
		t.Errorf("audit: %+v, %v", findings, err)
	}
	if b, err := l.Batch(t.Context(), batch); err != nil || b.Counts != want {
		t.Errorf("the ledger say %+v, %v", b.Counts, err)
	}
}

// A worker that dies between the ledger's ending and asynq's leaves a task behind
// that no person has run.
func TestADeadLetterThatComesBackFromACrashStaysDead(t *testing.T) {
	t.Parallel()
	messages := map[string]func(r ledger.Record, before, archived string) (message string){
		"with the message that it had before": func(_ ledger.Record, before, _ string) string { return before },
		// A redrive began a later generation, which is dead too.
		"with the archive marker of an earlier generation": func(_ ledger.Record, _, archived string) string { return archived },
	}
	for name, message := range messages {
		t.Run(name, func(t *testing.T) {
			each(t, worker.Config{}, func(t *testing.T, env *callqtest.Env) {
				env.Sim().Script("GET /* -> 67200005 forever")
				r := env.Submit(tasks.Call{Path: "/a", Batch: "b", Key: "/a"})
				key := "asynq:{sim}:t:" + r.ID
				before := env.Redis().HGet(t.Context(), key, "msg").Val()
				env.Start()
				awaitState(t, env, r.ID, ledger.Dead, 1)
				awaitArchived(t, env, r.ID)
				archived := env.Redis().HGet(t.Context(), key, "msg").Val()
				env.Redrive(r.ID)
				record := awaitState(t, env, r.ID, ledger.Dead, 2)
				awaitArchived(t, env, r.ID)
				env.Stop()

				env.Redis().HSet(t.Context(), key, "msg", message(record, before, archived))
				key = "asynq:{sim}:"
				env.Redis().ZRem(t.Context(), key+"archived", r.ID)
				env.Redis().HSet(t.Context(), key+"t:"+r.ID, "state", "pending")
				env.Redis().LPush(t.Context(), key+"pending", r.ID)
				next := callqtest.New(t, worker.Config{Redis: env.Redis()})
				next.Start()
				want(t, next.Await(next.Submit(tasks.Call{Path: "/b"}).ID), tasks.StateDone, policy.ClassOK, 1) // and with it all before it
				next.Stop()
				awaitState(t, env, r.ID, ledger.Dead, 2)
				if n := next.Sim().Arrived(http.MethodGet, "/a"); n != 0 {
					t.Errorf("the dead letter was made %d times", n)
				}
				wantBooks(t, env, "b", ledger.Counts{Accepted: 1, Dead: 1})
			})
		})
	}
}

// The text of an error becomes a protobuf string. asynq cannot write one that is not
// UTF-8, and leaves its task active for ever.
func TestNoErrorTextPreventsTheEndOfATask(t *testing.T) {
	t.Parallel()
	raw := strings.Repeat("\xff\xc3\x28é", 2000)
	for name, c := range map[string]struct {
		err      error
		attempts int
	}{
		"of a failure with a code": {&policy.Failure{Status: 200, Code: "\xff\xfe", Message: raw}, 3},
		"of any error":             {errors.New(raw), 3},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, worker.Config{}, func(t *testing.T, env *callqtest.Env) {
				handle(t, env, func(context.Context, *worker.Job[invoice]) (sent, error) { return sent{}, c.err })
				r := enqueue(t, env, tasks.Options{})
				want(t, r, tasks.StateDead, policy.ClassUnknown, c.attempts)
				awaitArchived(t, env, r.ID)
				info, err := asynq.NewInspectorFromRedisClient(env.Redis()).GetTaskInfo("sim", r.ID)
				if err != nil || len(info.LastErr) > 1<<11 || !strings.Contains(info.LastErr, r.ID) {
					t.Errorf("asynq shows %d bytes, %v", len(info.LastErr), err)
				}
				env.Stop()
				wantNothingActive(t, env, "sim")
			})
		})
	}
}

// asynq puts a task that is cancelled back at once, beside the handler that still
// makes it.
func TestACallThatAsynqCancelsIsNotMadeTwice(t *testing.T) {
	each(t, worker.Config{}, func(t *testing.T, env *callqtest.Env) {
		env.Sim().Script("POST /order -> ok latency=4s; ok")
		r := env.Submit(tasks.Call{Method: http.MethodPost, Path: "/order", Batch: "b", Key: "order"})
		env.Start()
		env.Sim().AwaitArrivals(1)
		awaitTrue(t, "asynq to listen", func() bool {
			return env.Redis().PubSubNumSub(t.Context(), "asynq:cancel").Val()["asynq:cancel"] > 0
		})
		if err := asynq.NewInspectorFromRedisClient(env.Redis()).CancelProcessing(r.ID); err != nil {
			t.Fatal(err)
		}
		// Whoever takes it up next finds that it may have been sent; then the answer
		// comes after all.
		awaitState(t, env, r.ID, ledger.Dead, 1)
		awaitState(t, env, r.ID, ledger.Done, 1)
		env.Stop()
		if n := env.Sim().Arrivals(); n != 1 {
			t.Errorf("%d requests arrived", n)
		}
		wantNothingActive(t, env, "sim")
		wantBooks(t, env, "b", ledger.Counts{Accepted: 1, Done: 1})
	})
}

func TestAJobThatAsynqCancelsContinues(t *testing.T) {
	each(t, worker.Config{}, func(t *testing.T, env *callqtest.Env) {
		began, release := make(chan string, 8), make(chan struct{})
		handle(t, env, func(ctx context.Context, j *worker.Job[invoice]) (sent, error) {
			if err := j.MarkSent(ctx); err != nil {
				return sent{}, err
			}
			began <- j.ID
			<-release
			return sent{Message: "sent"}, ctx.Err()
		})
		r, err := tasks.Enqueue(t.Context(), env.Producer(), invoice{Number: "R-1"}, tasks.Options{Upstream: callqtest.Upstream, Batch: "b", Key: "k"})
		if err != nil {
			t.Fatal(err)
		}
		<-began
		awaitTrue(t, "asynq to listen", func() bool {
			return env.Redis().PubSubNumSub(t.Context(), "asynq:cancel").Val()["asynq:cancel"] > 0
		})
		if err := asynq.NewInspectorFromRedisClient(env.Redis()).CancelProcessing(r.ID); err != nil {
			t.Fatal(err)
		}
		awaitState(t, env, r.ID, ledger.Dead, 1) // any worker may have taken it over
		close(release)
		awaitState(t, env, r.ID, ledger.Done, 1)
		env.Stop()
		if n := len(began); n != 0 {
			t.Errorf("it was begun %d more times", n)
		}
		wantBooks(t, env, "b", ledger.Counts{Accepted: 1, Done: 1})
	})
}

// asynq recovers a panic too, and shows its text in asynqmon.
func TestAPanicOfACallbackIsLoggedAndLosesNoCall(t *testing.T) {
	var panicked sync.Map // by call: the back ends are tried at once
	each(t, worker.Config{OnAttempt: func(e worker.AttemptResult) {
		if _, again := panicked.LoadOrStore(e.Key, true); !again {
			panic("with a secret in it")
		}
	}}, func(t *testing.T, env *callqtest.Env) {
		env.Sim().Script("GET /a -> 68300008; ok")
		r := env.Submit(tasks.Call{Path: "/a", Batch: "b", Key: t.Name()})
		env.Start()
		inspector := asynq.NewInspectorFromRedisClient(env.Redis())
		awaitTrue(t, "the call to be put back", func() bool {
			info, err := inspector.GetTaskInfo("sim", r.ID)
			if err == nil && strings.Contains(info.LastErr, "secret") {
				t.Errorf("asynq shows %q", info.LastErr)
			}
			return err == nil && strings.Contains(info.LastErr, "internal error") || t.Failed()
		})
		want(t, env.Await(r.ID), tasks.StateDone, policy.ClassOK, 2)
		env.Stop()
		wantBooks(t, env, "b", ledger.Counts{Accepted: 1, Done: 1})
	})
}
