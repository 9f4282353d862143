package worker

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/tasks/broker"
)

func TestAFetcherWaitsInDequeueOnlyAsLongAsItsLeaseAllows(t *testing.T) {
	for name, block := range map[string]func(*Worker){
		"for the end of a hold": func(w *Worker) { w.accounts["api"].dequeueGate.closeFor(time.Hour, 0) },
		"for a permit":          func(w *Worker) { w.semaphore.acquire(w.accounts["api"], w.draining, 0) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &Worker{
					accounts: map[string]*account{"api": {}}, queueIdles: map[string]*queueIdle{"api": {}},
					semaphore: newSemaphore(1), draining: make(chan struct{}),
				}
				block(w)
				began := time.Now()
				// This test has no Redis, so the worker must not use it either.
				_, err := w.dequeue(context.Background(), broker.Dequeue{Queue: "api"})
				if took := time.Since(began); !errors.Is(err, redis.Nil) || took != maxWaiting {
					t.Errorf("%v after %v", err, took)
				}
			})
		})
	}
}

// asynq asks again at once after an error, and so in a loop while Redis is down.
func TestARedisThatIsDownIsAskedOnceASecond(t *testing.T) {
	preset, err := policy.Preset("patsnap")
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		down := &gone{}
		rdb := offline(t)
		rdb.AddHook(down)
		w, err := New(Config{Redis: rdb, Upstreams: []Upstream{{Name: "api", BaseURL: "http://127.0.0.1:1", Policy: preset}}})
		if err != nil {
			t.Fatal(err)
		}
		for began := time.Now(); time.Since(began) < time.Minute; {
			if _, err := w.dequeue(t.Context(), broker.Dequeue{Queue: "api", LeaseUntil: time.Now().Add(time.Minute).Unix()}); !errors.Is(err, redis.Nil) {
				t.Fatal(err)
			}
		}
		if down.asked < 50 || down.asked > 61 {
			t.Errorf("Redis was asked %d times in a minute", down.asked)
		}
	})
}

// asynq acts on the end of a task's time behind the handler's back: it gives the
// task to another, and the slot to another task.
func TestAllRequestsOfACallEndBeforeAsynqsTimeoutOfItsTask(t *testing.T) {
	preset, err := policy.Preset("patsnap")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		timeout time.Duration
		fine    bool
	}{{-1, false}, {MaxTimeout, true}, {MaxTimeout + 1, false}, {broker.TaskTimeout, false}} {
		w, err := New(Config{Redis: offline(t), Upstreams: []Upstream{{
			Name: "api", BaseURL: "http://127.0.0.1:1", Policy: preset, Timeout: c.timeout,
		}}})
		if (err == nil) != c.fine {
			t.Errorf("with a time-out of %s: %v", c.timeout, err)
		}
		if err == nil && w.accounts["api"].probeLimit >= broker.TaskTimeout {
			t.Errorf("with a time-out of %s a call may take %s, its task has %s", c.timeout, w.accounts["api"].probeLimit, broker.TaskTimeout)
		}
	}
}

// asynq cuts due times to whole seconds.
func TestATaskThatIsPutBackIsNotDueBeforeItsDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for range 40 {
			time.Sleep(37 * time.Millisecond) // the bubble's clock, at any time within a second
			for _, delay := range []time.Duration{0, time.Millisecond, time.Second, 2300 * time.Millisecond} {
				now := time.Now()
				err := disposition{kind: dispositionRetry, delay: delay}.err()
				asynqs := now.Add(retryDelay(0, err, nil)).Truncate(time.Second)
				if late := asynqs.Sub(now.Add(delay)); late < 0 || late > time.Second {
					t.Errorf("asked at %s for %s, a task is due %s too late", now.Format(".000"), delay, late)
				}
			}
		}
	})
}

// Only a failed attempt counts as a failure in asynq: not a park.
func TestOnlyAFailedAttemptIsAFailureToAsynq(t *testing.T) {
	for name, c := range map[string]struct {
		err  error
		want bool
	}{
		"a failed attempt":     {disposition{kind: dispositionRetry, failed: true}.err(), true},
		"a park":               {disposition{kind: dispositionRetry}.err(), false},
		"a cancelled context":  {context.Canceled, false},
		"an error of asynq's":  {errors.New("any"), false},
		"no error, for safety": {nil, false},
	} {
		if got := isFailure(c.err); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
		if delay := retryDelay(3, c.err, nil); delay < 0 || delay > 2*time.Second {
			t.Errorf("%s comes back after %s", name, delay)
		}
	}
}

func TestAWorkerWhoseContextEndsBeforeItStartsReturnsNil(t *testing.T) {
	preset, err := policy.Preset("patsnap")
	if err != nil {
		t.Fatal(err)
	}
	w, err := New(Config{Redis: offline(t), Upstreams: []Upstream{{Name: "api", BaseURL: "http://127.0.0.1:1", Policy: preset}}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := w.Run(ctx); err != nil {
		t.Error(err)
	}
}

// offline returns a Redis client that connects to nothing.
func offline(t *testing.T) *redis.Client {
	client := redis.NewClient(&redis.Options{
		Addr: "127.0.0.1:1", MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// gone is a Redis that is down: a hook that passes nothing on.
type gone struct{ asked int }

func (*gone) DialHook(next redis.DialHook) redis.DialHook { return next }

func (g *gone) ProcessHook(redis.ProcessHook) redis.ProcessHook {
	return func(context.Context, redis.Cmder) error {
		g.asked++
		return errors.New("connection refused")
	}
}

func (g *gone) ProcessPipelineHook(redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(context.Context, []redis.Cmder) error { return errors.New("connection refused") }
}

// An asynq server asks for one task at a time, and on a Cluster gets no more.
func TestAnUpstreamHasOneFetcherAndSeveralForManyCallsOnACluster(t *testing.T) {
	preset, err := policy.Preset("patsnap")
	if err != nil {
		t.Fatal(err)
	}
	for concurrency, want := range map[int]int{1: 1, laneSize: 1, laneSize + 1: 2, 4 * laneSize: 4, 1000: maxLanes} {
		w, err := New(Config{Redis: offline(t), Concurrency: 1000, Upstreams: []Upstream{{
			Name: "api", BaseURL: "http://127.0.0.1:1", Policy: preset, Concurrency: concurrency,
		}}})
		if err != nil {
			t.Fatal(err)
		}
		if got := len(w.servers(w.accounts["api"])); got != 1 {
			t.Errorf("%d calls at once have %d fetchers, want one", concurrency, got)
		}
		w.clustered = true
		if got := len(w.servers(w.accounts["api"])); got != want {
			t.Errorf("%d calls at once on a Cluster have %d fetchers, want %d", concurrency, got, want)
		}
	}
}
