package broker

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
)

// patience is how long these tests wait for asynq's timers.
const patience = 30 * time.Second

// scripts is a hook that records every script on its way to Redis, and may fail it.
type scripts struct {
	mu    sync.Mutex
	seen  []seenScript
	fault func(seenScript) error
}

type seenScript struct {
	sha  string
	keys []string
	ctx  error // the error of its context
}

func (*scripts) DialHook(next redis.DialHook) redis.DialHook { return next }

func (*scripts) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (s *scripts) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		args := cmd.Args()
		if cmd.Name() != "evalsha" {
			return next(ctx, cmd)
		}
		script := seenScript{sha: args[1].(string), ctx: ctx.Err()}
		for i := range args[2].(int) {
			script.keys = append(script.keys, args[3+i].(string))
		}
		s.mu.Lock()
		s.seen = append(s.seen, script)
		fault := s.fault
		s.mu.Unlock()
		if fault != nil {
			if err := fault(script); err != nil {
				cmd.SetErr(err)
				return err
			}
		}
		return next(ctx, cmd)
	}
}

func (s *scripts) of(match func(seenScript) bool) (list []seenScript) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, script := range s.seen {
		if match(script) {
			list = append(list, script)
		}
	}
	return list
}

// suffixes matches a script by the ends of its keys.
func suffixes(ends ...string) func(seenScript) bool {
	return func(s seenScript) bool {
		if len(s.keys) < len(ends) {
			return false
		}
		for i, end := range ends {
			if !strings.HasSuffix(s.keys[i], end) {
				return false
			}
		}
		return true
	}
}

var (
	dequeueKeys = suffixes("}:pending", "}:paused", "}:active", "}:lease")
	forwardKeys = func(s seenScript) bool {
		return len(s.keys) == 2 && (suffixes("}:scheduled", "}:pending")(s) || suffixes("}:retry", "}:pending")(s))
	}
	expiredKeys = func(s seenScript) bool { return len(s.keys) == 1 && suffixes("}:lease")(s) }
	doneKeys    = func(s seenScript) bool {
		return len(s.keys) == 5 && suffixes("}:active", "}:lease", "", "", "}:processed")(s)
	}
)

func await(t *testing.T, what string, done func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for !done() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("timeout: %s did not happen", what)
		}
	}
}

// serve runs an asynq server over the client until the test ends or stop is called.
func serve(t *testing.T, rdb redis.UniversalClient, handler asynq.HandlerFunc) (stop func()) {
	t.Helper()
	server := asynq.NewServerFromRedisClient(rdb, asynq.Config{
		Concurrency: 2, Queues: map[string]int{"q": 1}, LogLevel: asynq.FatalLevel, TaskCheckInterval: 5 * time.Millisecond,
		DelayedTaskCheckInterval: 5 * time.Millisecond,
		ShutdownTimeout:          time.Second,
	})
	if err := server.Start(handler); err != nil {
		t.Fatal(err)
	}
	stop = sync.OnceFunc(server.Shutdown)
	t.Cleanup(stop)
	return stop
}

func enqueue(t *testing.T, rdb redis.UniversalClient, id string) {
	t.Helper()
	_, err := asynq.NewClientFromRedisClient(rdb).Enqueue(asynq.NewTask("kind", []byte("payload")), asynq.Queue("q"), asynq.TaskID(id))
	if err != nil {
		t.Fatal(err)
	}
}

// loadDequeue makes asynq load its dequeue script into Redis.
func loadDequeue(t *testing.T, rdb *redis.Client) {
	t.Helper()
	var loaded atomic.Bool
	server := asynq.NewServerFromRedisClient(rdb, asynq.Config{
		Concurrency: 1, Queues: map[string]int{"empty": 1}, LogLevel: asynq.FatalLevel, TaskCheckInterval: 5 * time.Millisecond,
		DelayedTaskCheckInterval: 5 * time.Millisecond,
	})
	if err := server.Start(asynq.HandlerFunc(func(context.Context, *asynq.Task) error { return nil })); err != nil {
		t.Fatal(err)
	}
	await(t, "asynq's dequeue script", func() bool {
		ok, err := rdb.ScriptExists(t.Context(), shaDequeue).Result()
		if err == nil && len(ok) == 1 {
			loaded.Store(ok[0])
		}
		return loaded.Load()
	})
	server.Shutdown()
}

// nowhere is a Redis that must not be used: it panics.
type nowhere struct{ redis.UniversalClient }
