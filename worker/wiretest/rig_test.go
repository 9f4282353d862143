// Package wiretest proves what becomes of calls when the wire between callq and
// Redis fails: replies and requests that are lost or cut in the middle,
// connections that break at random, a wire that is slow, or down. Redis itself is
// well all the time. The package has tests alone; it is a module of its own, so
// that who embeds callq does not inherit the proxy.
//
//	r := newRig(t)
//	client := r.through(...)
//	r.send(client, "b", 100)
//	r.work(client)
//	r.finish("b", false)
//	r.wantAllDoneOnce("b", 100)
package wiretest

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/seed-2903acc3/callq/internal/programtest"
	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/ledger"
	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
	"github.com/seed-2903acc3/callq/tasks/redislua"
	"github.com/seed-2903acc3/callq/worker"
	"github.com/seed-2903acc3/callq/worker/callqtest"
	"github.com/seed-2903acc3/callq/worker/simapi"
)

const (
	upstream = "api"
	// patience is how long a worker may take for anything on a busy machine.
	patience = 2 * time.Minute
)

func TestMain(m *testing.M) {
	redis.SetLogger(quiet{}) // what it has to say of a wire that fails is no news here
	redistest.Parallel(3)
	m.Run()
}

type quiet struct{}

func (quiet) Printf(context.Context, string, ...any) {}

// rig is a Redis that is well, an API, and a worker that reaches the Redis over a
// wire which is not. It ends with its test.
type rig struct {
	t     *testing.T
	redis *redistest.Node
	sim   *simapi.Server
	url   string
	books *ledger.Ledger
	// said is what the workers have logged.
	said programtest.Log
	stop func()
}

func newRig(t *testing.T, script string) *rig {
	t.Helper()
	sim := simapi.New(simapi.Config{})
	if err := sim.Script(script); err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(sim)
	t.Cleanup(web.Close)
	t.Cleanup(func() { _ = sim.Close() })
	node := redistest.TCP(t)
	r := &rig{t: t, redis: node, sim: sim, url: web.URL, books: ledger.New(node.Client), stop: func() {}}
	return r
}

// through is a client with the settings that callq gives its own.
func (r *rig) through(dial func(ctx context.Context, network, addr string) (net.Conn, error)) *redis.Client {
	r.t.Helper()
	client := redis.NewClient(&redis.Options{
		Addr: r.redis.Addr, Dialer: dial,
		DialTimeout: 5 * time.Second, DialerRetries: 2, ReadTimeout: 5 * time.Second, WriteTimeout: 5 * time.Second,
		ContextTimeoutEnabled: true, MaxRetries: 3, MaxRetryBackoff: 500 * time.Millisecond, DisableIdentity: true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
	r.t.Cleanup(func() { _ = client.Close() })
	return client
}

// call is the i-th of a batch: a third of them must not be made twice.
func call(batch string, i int) tasks.Call {
	c := tasks.Call{
		Upstream: upstream, Batch: batch, Key: fmt.Sprintf("k%d", i), Path: fmt.Sprintf("/%s/%d", batch, i),
		Priority: []tasks.Priority{tasks.PriorityNormal, tasks.PriorityHigh, tasks.PriorityLow}[i/3%3],
	}
	if i%3 == 0 {
		c.Method = http.MethodPost
	}
	return c
}

func (r *rig) producer(client redis.UniversalClient) *tasks.Producer {
	r.t.Helper()
	p, err := tasks.NewProducer(client, tasks.ProducerConfig{})
	if err != nil {
		r.t.Fatal(err)
	}
	return p
}

// send puts n calls into the queue. Who is told that it failed sends once more:
// what is in the books already is left alone.
func (r *rig) send(client redis.UniversalClient, batch string, n int) {
	r.t.Helper()
	p := r.producer(client)
	for i := range n {
		var err error
		for range 20 {
			if _, err = p.Submit(r.t.Context(), call(batch, i)); err == nil {
				break
			}
		}
		if err != nil {
			r.t.Fatalf("call %d is not accepted: %v", i, err)
		}
	}
}

// work runs a worker until the test ends, or the next one is started.
func (r *rig) work(client redis.UniversalClient, concurrency int) {
	r.t.Helper()
	w, err := worker.New(worker.Config{
		Redis: client, Concurrency: concurrency, Logger: slog.New(slog.NewTextHandler(&r.said, nil)),
		Upstreams: []worker.Upstream{{
			Name: upstream, BaseURL: r.url, Policy: callqtest.Fast(r.t), Concurrency: concurrency, Timeout: 5 * time.Second,
		}},
	})
	if err != nil {
		r.t.Fatal(err)
	}
	r.stop()
	r.t.Cleanup(func() { r.stop() }) // before its client is closed
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			r.t.Errorf("the worker: %v", err)
		}
	})
}

// finish waits until nothing waits in the queues any more and no call is under
// way, drains the worker, and has another, which is near Redis, make what is left.
// That is nothing, unless the wire may make orphans: tasks that Redis has given out
// while the reply was lost. Nobody has those but asynq's lease, which is over a
// minute or two later; the test does not wait for that, and puts its end into the
// past.
func (r *rig) finish(batch string, mayOrphan bool) (orphans int) {
	r.t.Helper()
	r.await("the queues to be empty", func() bool {
		for _, queue := range tasks.Queues(upstream) {
			key := "asynq:{" + queue + "}:"
			c := r.redis.Client
			if c.LLen(r.t.Context(), key+"pending").Val()+c.ZCard(r.t.Context(), key+"retry").Val()+c.ZCard(r.t.Context(), key+"scheduled").Val() > 0 {
				return false
			}
			if !mayOrphan && c.LLen(r.t.Context(), key+"active").Val() > 0 {
				return false
			}
		}
		return r.sim.Stats().InFlight == 0
	})
	r.stop()
	orphans = int(r.counts(batch).Open)
	for _, queue := range tasks.Queues(upstream) {
		lease := "asynq:{" + queue + "}:lease"
		for _, id := range r.redis.Client.ZRange(r.t.Context(), lease, 0, -1).Val() {
			over := redis.Z{Score: float64(time.Now().Add(-time.Minute).Unix()), Member: id}
			if err := r.redis.Client.ZAddXX(r.t.Context(), lease, over).Err(); err != nil {
				r.t.Fatal(err)
			}
		}
	}
	r.work(r.redis.Client, 16)
	r.await("the calls to end", func() bool { return r.counts(batch).Open == 0 })
	return orphans
}

func (r *rig) await(what string, cond func() bool) {
	r.t.Helper()
	for deadline := time.Now().Add(patience); !cond(); {
		if time.Now().After(deadline) {
			r.t.Fatalf("waited in vain for %s; the API has seen %+v; Redis has\n%sthe worker said:\n%s", what, r.sim.Stats(), r.standing(), r.said.Tail(4<<10))
		}
		<-time.After(10 * time.Millisecond)
	}
}

// standing is how the account's circuit and queues stand, for a test's message.
func (r *rig) standing() string {
	c, ctx := r.redis.Client, r.t.Context()
	text := fmt.Sprintf("%v\n", c.HGetAll(ctx, redislua.CircuitKey(upstream, "")).Val())
	for _, queue := range tasks.Queues(upstream) {
		key := "asynq:{" + queue + "}:"
		text += fmt.Sprintf("%s: %d pending, active %v, leases %v, retry %v\n", queue, c.LLen(ctx, key+"pending").Val(),
			c.LRange(ctx, key+"active", 0, -1).Val(), c.ZRangeWithScores(ctx, key+"lease", 0, -1).Val(), c.ZRangeWithScores(ctx, key+"retry", 0, -1).Val())
	}
	return text
}

func (r *rig) counts(batch string) ledger.Counts {
	r.t.Helper()
	b, err := r.books.Batch(r.t.Context(), batch)
	if err != nil {
		r.t.Fatal(err)
	}
	return b.Counts
}

// wantAllDoneOnce says that all n calls of a batch are done, that each has one
// result, that the books agree, and that the API did the work of each call once.
// None of these faults is a reason to make a call twice: what has an answer is
// recorded, however often that takes.
func (r *rig) wantAllDoneOnce(batch string, n int) {
	r.t.Helper()
	findings, err := r.books.Audit(r.t.Context(), batch, tasks.TaskID)
	if err != nil {
		r.t.Fatal(err)
	}
	for _, f := range findings {
		r.t.Errorf("the books: %s (%v)", f.Problem, f.Keys)
	}
	if c := r.counts(batch); c.Accepted != int64(n) || c.Done != int64(n) {
		r.t.Errorf("the books have %+v, want all of %d done", c, n)
	}
	did := map[string]int{}
	for _, c := range r.sim.Calls() {
		if c.Answer == "ok" {
			did[c.Method+" "+c.Path]++
		}
	}
	results, wrong := map[string]int{}, 0
	client, err := tasks.NewClient(r.redis.Client, tasks.ClientConfig{})
	if err != nil {
		r.t.Fatal(err)
	}
	for res, err := range client.Results(r.t.Context(), batch) {
		if err != nil {
			r.t.Fatal(err)
		}
		results[res.Key]++
		if times := did[res.Method+" "+res.Path]; res.State != tasks.StateDone || times != 1 || results[res.Key] != 1 {
			if wrong++; wrong <= 5 {
				r.t.Errorf("%s (%s) ended %s (%s: %s) with %d results, and the API did it %d times",
					res.Key, res.Method, res.State, res.Class, res.ErrorMessage, results[res.Key], times)
			}
		}
	}
	if len(results) != n || wrong > 0 {
		r.t.Errorf("%d calls have results, %d of them wrong ones; want %d and none", len(results), wrong, n)
	}
	for _, queue := range tasks.Queues(upstream) {
		if keys := r.redis.Client.Keys(r.t.Context(), "asynq:{"+queue+"}:t:*").Val(); len(keys) > 0 {
			r.t.Errorf("tasks are left in %s: %s", queue, strings.Join(keys, ", "))
		}
	}
}
