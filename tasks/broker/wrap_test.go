package broker

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
)

// If a new asynq changes one of its scripts, this test fails.
func TestThePinnedDigestsAreThoseOfTheLinkedAsynq(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		hook := &scripts{}
		rdb.AddHook(hook)
		enqueue(t, rdb, "id")
		done := make(chan struct{}, 1)
		stop := serve(t, rdb, func(context.Context, *asynq.Task) error { done <- struct{}{}; return nil })
		select {
		case <-done:
		case <-time.After(patience):
			t.Fatal("the task was never handled")
		}
		await(t, "asynq's done", func() bool { return len(hook.of(doneKeys)) > 0 })
		await(t, "asynq's forward", func() bool { return len(hook.of(forwardKeys)) > 0 })
		await(t, "asynq's search for expired leases", func() bool { return len(hook.of(expiredKeys)) > 0 })
		stop()
		for _, c := range []struct {
			name, sha string
			match     func(seenScript) bool
		}{
			{"enqueue", shaEnqueue, suffixes("}:t:id", "}:pending")},
			{"dequeue", shaDequeue, dequeueKeys},
			{"done", shaDone, doneKeys},
			{"forward", shaForward, forwardKeys},
			{"search for expired leases", shaExpired, expiredKeys},
		} {
			list := hook.of(c.match)
			if len(list) == 0 {
				t.Errorf("asynq ran no %s script", c.name)
			}
			for _, script := range list {
				if script.sha != c.sha {
					t.Errorf("asynq's %s: got digest %s, want the pinned %s", c.name, script.sha, c.sha)
				}
			}
		}
		for _, script := range hook.of(dequeueKeys) {
			if !looksLikeDequeue(script.keys) || queueOf(script.keys[0]) != "q" {
				t.Errorf("asynq's dequeue with keys %v would not be recognized", script.keys)
			}
		}
	})
}

// wantHandledByHooks requires that asynq did by itself none of the steps that the hooks
// and the worker replace.
func wantHandledByHooks(t *testing.T, rdb *redis.Client, hook *scripts) {
	t.Helper()
	if n := rdb.LLen(t.Context(), "asynq:{q}:pending").Val(); n != 1 {
		t.Errorf("got %d pending tasks: asynq took one by itself", n)
	}
	if list := hook.of(func(s seenScript) bool { return s.sha == shaDequeue }); len(list) != 0 {
		t.Error("asynq's dequeue script reached Redis")
	}
	if list := hook.of(expiredKeys); len(list) != 0 {
		t.Error("asynq searched for tasks of dead workers, which is the worker's part")
	}
	if list := hook.of(doneKeys); len(list) != 0 {
		t.Error("asynq's done reached Redis for a task that was already removed")
	}
}

func TestAnAsynqServerDequeuesThroughTheDequeueHook(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		hook := &scripts{}
		rdb.AddHook(hook)
		enqueue(t, rdb, "of asynq")
		encoder, err := NewEncoder()
		if err != nil {
			t.Fatal(err)
		}
		m, err := encoder.Encode(t.Context(), "q", "of the hook", "kind", []byte("hook payload"), nil)
		if err != nil {
			t.Fatal(err)
		}
		var given atomic.Bool
		var asked sync.Map
		wrapped := Wrap(rdb, Hooks{Dequeue: func(_ context.Context, d Dequeue) (string, error) {
			if until, ok := d.LeaseUntil.(int64); d.Queue != "q" || !ok || until < time.Now().Unix() {
				t.Errorf("got request %+v", d)
			}
			if given.CompareAndSwap(false, true) {
				return m.Data, nil
			}
			return "", redis.Nil
		}, Forward: func(queue, set string) bool {
			asked.Store(queue+" "+set, true)
			return set == "retry"
		}})
		got := make(chan string, 2)
		stop := serve(t, wrapped, func(_ context.Context, task *asynq.Task) error {
			wrapped.Removed("q", task.ResultWriter().TaskID())
			got <- task.ResultWriter().TaskID() + " " + string(task.Payload())
			return nil
		})
		select {
		case text := <-got:
			if text != "of the hook hook payload" {
				t.Fatalf("got %q handled", text)
			}
		case <-time.After(patience):
			t.Fatal("no task was handled")
		}
		forwards := func() int { return len(hook.of(forwardKeys)) }
		await(t, "asynq's search for delayed tasks", func() bool { return forwards() > 0 })
		stop()
		for _, script := range hook.of(forwardKeys) {
			if script.keys[0] != "asynq:{q}:retry" {
				t.Errorf("asynq searched %s although no task is due there", script.keys[0])
			}
		}
		if _, ok := asked.Load("q scheduled"); !ok {
			t.Error("the Forward hook was not called for the scheduled set")
		}
		wantHandledByHooks(t, rdb, hook)
	})
}

func TestEachCallOfRemovedAnswersOneDone(t *testing.T) {
	rdb, _ := redistest.Mini(t)
	hook := &scripts{}
	rdb.AddHook(hook)
	w := Wrap(rdb, Hooks{})
	done := func(id string) error {
		keys := []string{"asynq:{q}:active", "asynq:{q}:lease", "asynq:{q}:t:" + id, "asynq:{q}:processed:day", "asynq:{q}:processed"}
		return w.EvalSha(t.Context(), shaDone, keys, id, 1, 1).Err()
	}
	reached := func() int { return len(hook.of(doneKeys)) }
	w.Removed("q", "id")
	w.Removed("q", "id")
	for i, c := range []struct {
		id      string
		reaches int
	}{{"other", 1}, {"id", 1}, {"id", 1}, {"id", 2}} {
		err := done(c.id)
		if reached() != c.reaches || (err == nil) != (c.reaches == reached() && i > 0 && i < 3) {
			t.Fatalf("done %d of %s: %v, %d reached Redis", i, c.id, err, reached())
		}
	}
}

func TestACallOfRemovedIsForgottenIfNoDoneFollows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := Wrap(nil, Hooks{})
		w.Removed("q", "id")
		time.Sleep(removedFor + time.Second) // by the bubble's clock
		if w.swallow(task{"q", "id"}) {
			t.Fatal("an old call of Removed answered a later done")
		}
	})
}

// asynq passes its syncer a context that is cancelled by then, so that every retry of a
// failed "done" fails and the task runs again when its lease ends.
func TestAFailedDoneIsRetried(t *testing.T) {
	for _, c := range []struct {
		name    string
		wrapped bool
	}{{"with the wrapper", true}, {"without it all retries of asynq fail", false}} {
		t.Run(c.name, func(t *testing.T) {
			rdb := redistest.Redis(t).Client
			var failed atomic.Bool
			hook := &scripts{fault: func(s seenScript) error {
				if doneKeys(s) && failed.CompareAndSwap(false, true) {
					return errors.New("connection reset")
				}
				return nil
			}}
			rdb.AddHook(hook)
			enqueue(t, rdb, "id")
			var client redis.UniversalClient = rdb
			if c.wrapped {
				client = Wrap(rdb, Hooks{Dequeue: func(ctx context.Context, d Dequeue) (string, error) {
					k := "asynq:{q}:"
					keys := []string{k + "pending", k + "paused", k + "active", k + "lease"}
					return rdb.EvalSha(ctx, shaDequeue, keys, d.LeaseUntil, k+"t:").Text()
				}})
				loadDequeue(t, rdb)
			}
			stop := serve(t, client, func(context.Context, *asynq.Task) error { return nil })
			await(t, "the first done", failed.Load)
			await(t, "the failed done to reach the syncer", func() bool {
				stop() // the syncer tries once more when it stops
				return len(hook.of(doneKeys)) > 1 || !c.wrapped
			})
			left := rdb.LLen(t.Context(), "asynq:{q}:active").Val()
			if c.wrapped && left != 0 {
				t.Error("the task is still active")
			}
			if !c.wrapped && left != 1 {
				t.Error("asynq's own retry succeeded: the wrapper may not be needed any more")
			}
			for _, script := range hook.of(doneKeys) {
				if c.wrapped && script.ctx != nil {
					t.Errorf("a done was sent with a context that has the error %v", script.ctx)
				}
			}
		})
	}
}

func TestAScriptRunsAlthoughItsCallerHasCancelled(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		w := Wrap(rdb, Hooks{})
		set := redis.NewScript("return redis.call('SET', KEYS[1], 'v')")
		if err := set.Run(ctx, w, []string{"k"}).Err(); err != nil { // EVALSHA, then EVAL
			t.Fatal(err)
		}
		if got := rdb.Get(t.Context(), "k").Val(); got != "v" {
			t.Fatalf("got %q", got)
		}
		if err := set.Run(ctx, rdb, []string{"k"}).Err(); !errors.Is(err, context.Canceled) {
			t.Fatalf("without the wrapper: %v", err)
		}
	})
}

func TestAnUnknownDequeueScriptFailsEveryDequeueAndIsReportedOnce(t *testing.T) {
	var fatal []error
	w := Wrap(nowhere{}, Hooks{Dequeue: func(context.Context, Dequeue) (string, error) {
		t.Error("the Dequeue hook was called although asynq's script is unknown")
		return "", redis.Nil
	}, Fatal: func(err error) { fatal = append(fatal, err) }})
	keys := []string{"asynq:{q}:pending", "asynq:{q}:paused", "asynq:{q}:active", "asynq:{q}:lease"}
	for _, sha := range []string{"0123", "0123", shaDequeue, "4567"} {
		err := w.EvalSha(t.Context(), sha, keys, int64(1), "asynq:{q}:t:").Err()
		if !errors.Is(err, ErrUnknownScript) {
			t.Fatalf("dequeue with digest %s: %v", sha, err)
		}
	}
	if len(fatal) != 1 || !errors.Is(fatal[0], ErrUnknownScript) || !strings.Contains(fatal[0].Error(), "v0.26.0") {
		t.Fatalf("got reports %v", fatal)
	}
}

// asynq's client writes a queue's name only once. The ledger writes it with every send;
// see its tests.
func TestAsynqsClientDoesNotListAQueueAgain(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		client := asynq.NewClientFromRedisClient(rdb)
		listed := func() bool { return rdb.SIsMember(t.Context(), "asynq:queues", "q").Val() }
		for i, want := range []bool{true, false} {
			if _, err := client.Enqueue(asynq.NewTask("kind", nil), asynq.Queue("q")); err != nil {
				t.Fatal(err)
			}
			if listed() != want {
				t.Fatalf("after send %d: listed %v; if asynq fixes this, the ledger need not list queues", i+1, !want)
			}
			if err := rdb.FlushAll(t.Context()).Err(); err != nil {
				t.Fatal(err)
			}
		}
	})
}
