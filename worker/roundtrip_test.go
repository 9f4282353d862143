package worker_test

import (
	"context"
	"fmt"
	"maps"
	"net"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
	"github.com/seed-2903acc3/callq/worker"
	"github.com/seed-2903acc3/callq/worker/callqtest"
	"github.com/seed-2903acc3/callq/worker/circuit"
	"github.com/seed-2903acc3/callq/worker/simapi"
)

// trips counts what a client asks of Redis. It is a hook of that client.
type trips struct {
	mu sync.Mutex
	n  map[string]int
}

func (c *trips) count(cmd redis.Cmder) {
	// A script of callq's has a key of callq's; asynq's have none.
	name, args := cmd.Name(), cmd.Args()
	if name == "evalsha" || name == "eval" {
		name = "script of asynq's"
		for _, arg := range args[2:] {
			if key, ok := arg.(string); ok && strings.HasPrefix(key, "callq:{") {
				name = fmt.Sprintf("script of callq's %.8s", args[1])
				break
			}
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n[name]++
}

func (c *trips) reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n = map[string]int{}
}

// counts are the trips for callq's scripts, and all others.
func (c *trips) counts() (own, others int, all map[string]int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for name, n := range c.n {
		if strings.HasPrefix(name, "script of callq's") {
			own += n
		} else {
			others += n
		}
	}
	return own, others, maps.Clone(c.n)
}

func (c *trips) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

func (c *trips) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		c.count(cmd)
		return next(ctx, cmd)
	}
}

func (c *trips) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		for _, cmd := range cmds {
			c.count(cmd)
		}
		return next(ctx, cmds)
	}
}

func TestRoundTripsToRedisForACall(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name        string
		semaphore   int
		limits      []string
		least, most float64
	}{
		{"one at a time", 1, nil, 1.9, 2},
		{"eight at once", 8, nil, 0, 1.5},
		{"waiting for a slot", 8, []string{"200/s"}, 1.2, 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			const calls = 200
			begun := time.Now()
			own, others, all := tripsOf(t, calls, c.semaphore, c.limits)
			took := time.Since(begun)
			t.Logf("%d calls took %d scripts of callq's, beside %d other commands in %s: %v", calls, own, others, took, all)
			// A tenth more for questions that find nothing to do, and what continues in the
			// background, not once a call: a machine that is slow has more of it.
			background := calls/10 + 20*int(took.Seconds())
			if most := int(c.most*calls) + background; own > most {
				t.Errorf("%d calls took %d scripts, want %v each: %v", calls, own, c.most, all)
			}
			if own < int(c.least*calls) {
				t.Errorf("%d calls took only %d scripts: the test proves nothing, or less is promised than is done", calls, own)
			}
			if others > calls/2+background {
				t.Errorf("beside its scripts %d calls took %d commands, want none but for what continues without them: %v", calls, others, all)
			}
		})
	}
}

// tripsOf counts what a worker asks of Redis to make so many calls that wait for
// it.
func tripsOf(t *testing.T, calls, concurrency int, limits []string) (own, others int, all map[string]int) {
	t.Helper()
	server := redistest.Redis(t)
	hook := &trips{n: map[string]int{}}
	client := redis.NewClient(&redis.Options{Network: "unix", Addr: server.Socket})
	client.AddHook(hook)
	defer client.Close()
	sim := simapi.New(simapi.Config{})
	web := httptest.NewServer(sim)
	defer web.Close()
	made := make(chan worker.AttemptResult, calls)
	w, err := worker.New(worker.Config{
		Redis: client, Concurrency: concurrency, OnAttempt: func(e worker.AttemptResult) { made <- e },
		Upstreams: []worker.Upstream{{Name: "api", BaseURL: web.URL, Policy: callqtest.Fast(t), Limits: limits}},
	})
	if err != nil {
		t.Fatal(err)
	}
	producer, err := tasks.NewProducer(server.Client, tasks.ProducerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	send := func(batch string, n int) {
		sum, err := producer.SubmitAll(t.Context(), batch, func(yield func(tasks.Call, error) bool) {
			for i := range n {
				if !yield(tasks.Call{Upstream: "api", Path: fmt.Sprint("/", i)}, nil) {
					return
				}
			}
		})
		if err != nil || sum.Accepted != n {
			t.Fatalf("%d of %d calls accepted: %v", sum.Accepted, n, err)
		}
	}
	await := func(n int) {
		late := time.After(time.Minute)
		for i := range n {
			select {
			case <-made:
			case <-late:
				t.Fatalf("%d of %d calls were made", i, n)
			}
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	send("first", 20) // from then on Redis holds the scripts
	await(20)
	operator, account := circuit.NewStore(server.Client, "test"), circuit.Name{Upstream: "api"}
	if err := operator.Open(t.Context(), account, time.Hour, "calls are to pile up", "test"); err != nil {
		t.Fatal(err)
	}
	send("counted", calls)
	hook.reset()
	if err := operator.Close(t.Context(), account, "go", "test"); err != nil {
		t.Fatal(err)
	}
	await(calls)
	return hook.counts()
}
