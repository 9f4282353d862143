// Package callqtest lets users of callq test their own calls and jobs. It provides a Redis
// in the process, a simulated API with scripted answers and counted requests, a worker,
// and functions that wait without sleeping.
//
//	env := callqtest.New(t, worker.Config{})
//	env.Sim().Script("GET /search -> 68300008 x2; ok")
//	env.Start()
//	receipt := env.Submit(tasks.Call{Path: "/search"})
//	result := env.Await(receipt.ID)
//	// result.State == tasks.StateDone, result.Attempts == 3, env.Sim().Arrivals() == 3
//
// Waits are real: a policy's backoff of a second takes a second. Give the
// upstream a policy with short waits, or use [Fast].
package callqtest

import (
	"context"
	"encoding/json"
	"errors"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/ledger"
	"github.com/seed-2903acc3/callq/tasks/records"
	"github.com/seed-2903acc3/callq/worker"
	"github.com/seed-2903acc3/callq/worker/simapi"
)

// Upstream is the name of the upstream that an Env has if its worker.Config has no
// upstreams.
const Upstream = "sim"

// patience is how long the Await functions wait before they fail the test.
const patience = time.Minute

// Env is a queue with a worker and a simulated API. It is closed when its test ends. Its
// methods must be called from the test's goroutine.
type Env struct {
	tb       testing.TB
	cfg      worker.Config
	sim      *Sim
	worker   *worker.Worker
	producer *tasks.Producer
	client   *tasks.Client
	stop     func()
}

// New returns an Env. If cfg has no Redis, the Env starts one in the process. If cfg has
// no upstreams, the Env has one named [Upstream]. Upstreams without a BaseURL call the
// simulated API; those without a Policy get [Fast].
func New(tb testing.TB, cfg worker.Config) *Env {
	tb.Helper()
	sim := simapi.New(simapi.Config{})
	server := httptest.NewServer(sim)
	tb.Cleanup(server.Close)
	tb.Cleanup(func() { _ = sim.Close() })
	if cfg.Redis == nil {
		mini := miniredis.RunT(tb)
		client := redis.NewClient(&redis.Options{Addr: mini.Addr()})
		tb.Cleanup(func() { _ = client.Close() })
		cfg.Redis = client
	}
	if len(cfg.Upstreams) == 0 {
		cfg.Upstreams = []worker.Upstream{{Name: Upstream}}
	}
	rules := tasks.Rules{AllowJobs: true}
	for i := range cfg.Upstreams {
		u := &cfg.Upstreams[i]
		if u.BaseURL == "" {
			u.BaseURL = server.URL
		}
		if u.Policy == nil {
			u.Policy = Fast(tb)
		}
		rules.Upstreams = append(rules.Upstreams, tasks.UpstreamRules{Name: u.Name})
	}
	e := &Env{tb: tb, cfg: cfg, sim: &Sim{tb: tb, server: sim, url: server.URL}, stop: func() {}}
	var err error
	if e.worker, err = worker.New(cfg); err != nil {
		tb.Fatalf("callqtest: %v", err)
	}
	if e.producer, err = tasks.NewProducer(cfg.Redis, tasks.ProducerConfig{Rules: rules, TracerProvider: cfg.TracerProvider}); err != nil {
		tb.Fatalf("callqtest: %v", err)
	}
	if e.client, err = tasks.NewClient(cfg.Redis, tasks.ClientConfig{Explain: policy.ExplainClass}); err != nil {
		tb.Fatalf("callqtest: %v", err)
	}
	return e
}

const fast = `version: 1
name: fast
extends: patsnap
backoffs:
  standard: {floor: 1ms, base: 1ms, cap: 10ms, attempts: 6, max_age: 24h}
  brief: {floor: 1ms, base: 1ms, cap: 10ms, attempts: 3, max_age: 24h}
holds:
  quota: {sources: [retry-after, ratelimit-reset, ladder], max: 25h, ladder: [1s]}
  rate: {sources: [retry-after, ratelimit-reset, ladder], max: 25h, ladder: [1s]}
  permission: {sources: [retry-after, ladder], max: 25h, ladder: [1s]}
  outage: {sources: [ladder], max: 25h, ladder: [1s]}
`

// Fast returns the preset patsnap with the shortest waits that the queue supports: about a
// second.
func Fast(tb testing.TB) *policy.Policy {
	tb.Helper()
	p, err := policy.Parse("fast.yaml", []byte(fast))
	if err != nil {
		tb.Fatalf("callqtest: %v", err)
	}
	return p
}

// Worker returns the worker, for [worker.Handle] before [Env.Start].
func (e *Env) Worker() *worker.Worker { return e.worker }

// Producer returns a producer for the Env's Redis.
func (e *Env) Producer() *tasks.Producer { return e.producer }

// Client returns a client that reads and changes the calls in the Env's queue.
func (e *Env) Client() *tasks.Client { return e.client }

// Redis returns the Env's Redis.
func (e *Env) Redis() redis.UniversalClient { return e.cfg.Redis }

// Sim returns the simulated API.
func (e *Env) Sim() *Sim { return e.sim }

// Start runs the worker until the test ends or [Env.Stop].
func (e *Env) Start() {
	e.tb.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- e.worker.Run(ctx) }()
	stopped := false
	e.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			e.tb.Errorf("callqtest: the worker ended with: %v", err)
		}
	}
	e.tb.Cleanup(func() { e.stop() })
}

// Stop drains the worker and waits until it has ended.
func (e *Env) Stop() { e.stop() }

// Submit puts a call into the queue.
func (e *Env) Submit(c tasks.Call) tasks.Receipt {
	e.tb.Helper()
	r, err := e.producer.Submit(e.tb.Context(), c)
	if err != nil {
		e.tb.Fatalf("callqtest: submit: %v", err)
	}
	return r
}

// Await waits until the call has ended, and returns its result.
func (e *Env) Await(id string) tasks.Result {
	e.tb.Helper()
	ctx, cancel := context.WithTimeout(e.tb.Context(), patience)
	defer cancel()
	r, err := e.client.Wait(ctx, id)
	if err != nil {
		e.tb.Fatalf("callqtest: call %s did not end: %v", id, err)
	}
	return r
}

// Redrive opens an ended call again, with a new budget of attempts.
func (e *Env) Redrive(id string) {
	e.tb.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := e.client.Redrive(e.tb.Context(), id)
		if err == nil {
			return
		}
		// The worker has recorded the ending and is about to release the task.
		if !errors.Is(err, tasks.ErrBusy) || time.Now().After(deadline) {
			e.tb.Fatalf("callqtest: %v", err)
		}
	}
}

// AwaitBatch waits until nothing of the batch is open, and returns its results
// by key.
func (e *Env) AwaitBatch(name string) map[string]tasks.Result {
	e.tb.Helper()
	deadline := time.Now().Add(patience)
	for {
		b, err := e.client.Batch(e.tb.Context(), name)
		if err != nil && !errors.Is(err, tasks.ErrNoBatch) {
			e.tb.Fatalf("callqtest: %v", err)
		}
		if err == nil && b.Counts.Open == 0 {
			break
		}
		if time.Now().After(deadline) {
			e.tb.Fatalf("callqtest: batch %s still has %d open calls", name, b.Counts.Open)
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-e.tb.Context().Done():
		}
	}
	results := map[string]tasks.Result{}
	for r, err := range e.client.Results(e.tb.Context(), name) {
		if err != nil {
			e.tb.Fatalf("callqtest: %v", err)
		}
		results[r.Key] = r
	}
	return results
}

// RequireEnqueued returns the arguments of all jobs of A's kind that are or were in the
// queue, in the order of their keys, and fails the test if there are none.
func RequireEnqueued[A tasks.Args](tb testing.TB, e *Env) []A {
	tb.Helper()
	var found []A
	store := ledger.New(e.cfg.Redis)
	for b, err := range e.client.Batches(tb.Context()) {
		if err != nil {
			tb.Fatalf("callqtest: %v", err)
		}
		for r, err := range store.Calls(tb.Context(), b.Name, tasks.TaskID) {
			if err != nil {
				tb.Fatalf("callqtest: %v", err)
			}
			c, err := records.Call(&r)
			if err != nil {
				continue
			}
			if args, err := tasks.DecodeArgs[A](c); err == nil {
				found = append(found, args)
			}
		}
	}
	if len(found) == 0 {
		var zero A
		tb.Fatalf("callqtest: no job %q was enqueued", zero.Kind())
	}
	return found
}

// Sim is the simulated API of an Env.
type Sim struct {
	tb     testing.TB
	server *simapi.Server
	url    string
}

// URL returns the API's base URL.
func (s *Sim) URL() string { return s.url }

// Script sets how the API answers, one rule a line; a request that no rule matches
// succeeds. The grammar is that of callq simapi:
//
//	GET /search/*  -> 68300008 x2; ok
//	POST /upload   -> http:503; http:429 retry-after=2; html; cut; reset; hang=2s
func (s *Sim) Script(text string) {
	s.tb.Helper()
	if err := s.server.Script(text); err != nil {
		s.tb.Fatalf("callqtest: script: %v", err)
	}
}

// Arrivals returns how many requests have reached the API.
func (s *Sim) Arrivals() int { return int(s.server.Stats().Arrivals) }

// Arrived returns how many requests with a method and a path have reached the API.
func (s *Sim) Arrived(method, path string) int {
	n := 0
	for _, c := range s.server.Calls() {
		if c.Method == method && c.Path == path {
			n++
		}
	}
	return n
}

// Seen is one request that reached the API.
type Seen struct {
	At                  time.Time
	Method, Path, Query string
	Headers             map[string]string
	// Answer is the script's answer: "ok", "68300008", "http:503"…
	Answer string
}

// Seen returns the requests in the order of their arrival.
func (s *Sim) Seen() []Seen {
	calls := s.server.Calls()
	seen := make([]Seen, len(calls))
	for i, c := range calls {
		seen[i] = Seen{At: c.At, Method: c.Method, Path: c.Path, Query: c.Query, Headers: c.Headers, Answer: c.Answer}
	}
	return seen
}

// AwaitArrivals waits until n requests have reached the API.
func (s *Sim) AwaitArrivals(n int) {
	s.tb.Helper()
	ctx, cancel := context.WithTimeout(s.tb.Context(), patience)
	defer cancel()
	if err := s.server.WaitFor(ctx, func(st simapi.Stats) bool { return st.Arrivals >= int64(n) }); err != nil {
		s.tb.Fatalf("callqtest: %d of %d requests arrived", s.Arrivals(), n)
	}
}

// Body decodes a result's JSON body.
func Body[T any](tb testing.TB, r tasks.Result) T {
	tb.Helper()
	var v T
	if err := json.Unmarshal(r.Body, &v); err != nil {
		tb.Fatalf("callqtest: the body of %s: %v", r.Key, err)
	}
	return v
}
