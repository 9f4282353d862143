// Package wiretest tests that no call is lost or made twice when the connection
// between callq and Redis fails: replies and requests are lost or cut in the middle,
// connections break at random, the network is slow or down. Redis itself works all the
// time. The package has only tests. It is a module of its own, so that programs that
// import callq do not depend on the proxy.
//
//	r := newRig(t, script)
//	client := r.client(dial)
//	r.send(client, "b", 100)
//	r.work(client, 8)
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
	// waitTimeout is how long a test waits for a worker on a busy machine.
	waitTimeout = 2 * time.Minute
)

func TestMain(m *testing.M) {
	redis.SetLogger(noLog{}) // the connections fail on purpose
	redistest.Parallel(3)
	m.Run()
}

type noLog struct{}

func (noLog) Printf(context.Context, string, ...any) {}

// rig is a Redis that works, an API, and a worker whose connection to Redis fails. It
// ends with its test.
type rig struct {
	t      *testing.T
	redis  *redistest.Node
	sim    *simapi.Server
	url    string
	ledger *ledger.Ledger
	// log has what the workers have logged.
	log programtest.Log
	// stop drains the worker and waits until it has ended.
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
	return &rig{t: t, redis: node, sim: sim, url: web.URL, ledger: ledger.New(node.Client), stop: func() {}}
}

// client returns a client that connects with dial and has the settings that callq uses.
func (r *rig) client(dial func(ctx context.Context, network, addr string) (net.Conn, error)) *redis.Client {
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

// call returns the i-th call of a batch. A third of the calls are not idempotent.
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

// send enqueues n calls. It submits a call again after an error: a call that the ledger
// already has is not enqueued twice.
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
			r.t.Fatalf("call %d was not accepted: %v", i, err)
		}
	}
}

// work runs a worker until the test ends or the next worker starts.
func (r *rig) work(client redis.UniversalClient, concurrency int) {
	r.t.Helper()
	w, err := worker.New(worker.Config{
		Redis: client, Concurrency: concurrency, Logger: slog.New(slog.NewTextHandler(&r.log, nil)),
		Upstreams: []worker.Upstream{{
			Name: upstream, BaseURL: r.url, Policy: callqtest.Fast(r.t), Concurrency: concurrency, Timeout: 5 * time.Second,
		}},
	})
	if err != nil {
		r.t.Fatal(err)
	}
	r.stop()
	r.t.Cleanup(func() { r.stop() }) // runs before the client's cleanup, which closes it
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			r.t.Errorf("the worker ended with an error: %v", err)
		}
	})
}

// finish waits until the queues are empty and no call is in flight, and drains the
// worker. Then another worker, with a connection that works, makes the calls that are
// left. There are none, unless the fault can make orphans: Redis has handed out a task and
// the reply was lost, so no worker has it. Its lease ends a minute or two later; finish
// does not wait for that, but sets the end of the lease to the past. It returns the number
// of orphans.
func (r *rig) finish(batch string, mayOrphan bool) (orphans int) {
	r.t.Helper()
	r.await("empty queues", func() bool {
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
			expired := redis.Z{Score: float64(time.Now().Add(-time.Minute).Unix()), Member: id}
			if err := r.redis.Client.ZAddXX(r.t.Context(), lease, expired).Err(); err != nil {
				r.t.Fatal(err)
			}
		}
	}
	r.work(r.redis.Client, 16)
	r.await("the end of all calls", func() bool { return r.counts(batch).Open == 0 })
	return orphans
}

func (r *rig) await(what string, cond func() bool) {
	r.t.Helper()
	for deadline := time.Now().Add(waitTimeout); !cond(); {
		if time.Now().After(deadline) {
			r.t.Fatalf("timed out waiting for %s; the API counted %+v; Redis has\n%sthe worker logged:\n%s", what, r.sim.Stats(), r.status(), r.log.Tail(4<<10))
		}
		<-time.After(10 * time.Millisecond)
	}
}

// status returns the account's circuit and queues as text, for a test's message.
func (r *rig) status() string {
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
	b, err := r.ledger.Batch(r.t.Context(), batch)
	if err != nil {
		r.t.Fatal(err)
	}
	return b.Counts
}

// wantAllDoneOnce checks that all n calls of a batch are done, that each has one result,
// that the ledger is consistent, and that the API did the work of each call once. None of
// these faults is a reason to make a call twice: a worker tries to record an answer until
// it succeeds.
func (r *rig) wantAllDoneOnce(batch string, n int) {
	r.t.Helper()
	findings, err := r.ledger.Audit(r.t.Context(), batch, tasks.TaskID)
	if err != nil {
		r.t.Fatal(err)
	}
	for _, f := range findings {
		r.t.Errorf("audit: %s (%v)", f.Problem, f.Keys)
	}
	if c := r.counts(batch); c.Accepted != int64(n) || c.Done != int64(n) {
		r.t.Errorf("got counts %+v, want %d calls accepted and done", c, n)
	}
	worked := map[string]int{}
	for _, c := range r.sim.Calls() {
		if c.Answer == "ok" {
			worked[c.Method+" "+c.Path]++
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
		if times := worked[res.Method+" "+res.Path]; res.State != tasks.StateDone || times != 1 || results[res.Key] != 1 {
			if wrong++; wrong <= 5 {
				r.t.Errorf("%s (%s) ended as %s (%s: %s) with %d results, and the API did it %d times; want done, one result, once",
					res.Key, res.Method, res.State, res.Class, res.ErrorMessage, results[res.Key], times)
			}
		}
	}
	if len(results) != n || wrong > 0 {
		r.t.Errorf("got results of %d calls, %d of them wrong; want %d, none wrong", len(results), wrong, n)
	}
	for _, queue := range tasks.Queues(upstream) {
		if keys := r.redis.Client.Keys(r.t.Context(), "asynq:{"+queue+"}:t:*").Val(); len(keys) > 0 {
			r.t.Errorf("got tasks left in %s: %s; want none", queue, strings.Join(keys, ", "))
		}
	}
}
