package worker_test

import (
	"context"
	"fmt"
	"iter"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/redisconn"
	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
	"github.com/seed-2903acc3/callq/worker"
)

// open connects as callq's commands do.
func open(b *testing.B) redis.UniversalClient {
	b.Helper()
	conn, err := redisconn.Open(b.Context(), redistest.Redis(b).URL, redisconn.Options{PoolSize: 128})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = conn.Close() })
	return conn.Client
}

// rate runs a piece of work and returns how many items it did a second.
func rate(items int, work func()) float64 {
	began := time.Now()
	work()
	return float64(items) / time.Since(began).Seconds()
}

// report prints both rates, and callq's as a multiple of asynq's: only that says
// something about another machine.
func report(b *testing.B, callq, plain float64) {
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(callq, "callq/s")
	b.ReportMetric(plain, "asynq/s")
	b.ReportMetric(callq/plain, "x-asynq")
}

// BenchmarkSend compares sending calls in bulk (checked, claimed, recorded, and
// enqueued) with asynq's own client enqueueing bare tasks from 64 goroutines.
func BenchmarkSend(b *testing.B) {
	const calls = 100_000
	for b.Loop() {
		plain := rate(calls, func() { enqueuePlain(b, open(b), calls) })
		producer, err := tasks.NewProducer(open(b), tasks.ProducerConfig{})
		if err != nil {
			b.Fatal(err)
		}
		callq := rate(calls, func() {
			s, err := producer.SubmitAll(b.Context(), "bench", numbered(calls))
			if err != nil || s.Accepted != calls {
				b.Fatalf("%d accepted, %v", s.Accepted, err)
			}
		})
		report(b, callq, plain)
	}
}

func numbered(n int) iter.Seq2[tasks.Call, error] {
	return func(yield func(tasks.Call, error) bool) {
		for i := range n {
			if !yield(tasks.Call{Upstream: "api", Path: fmt.Sprintf("/patent/%d/claims", i)}, nil) {
				return
			}
		}
	}
}

func enqueuePlain(b *testing.B, client redis.UniversalClient, n int) {
	producer := asynq.NewClientFromRedisClient(client)
	var next atomic.Int64
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			for i := next.Add(1); i <= int64(n); i = next.Add(1) {
				payload := fmt.Appendf(nil, `{"upstream":"api","path":"/patent/%d/claims"}`, i)
				if _, err := producer.EnqueueContext(b.Context(), asynq.NewTask("call", payload), asynq.Queue("api")); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

type noop struct {
	N int `json:"n"`
}

func (noop) Kind() string { return "noop" }

// BenchmarkWork compares a worker on jobs that do nothing, its ledger and all,
// with one plain asynq server and a bare handler, both with a concurrency of 64.
func BenchmarkWork(b *testing.B) {
	const jobs, concurrency = 50_000, 64
	for b.Loop() {
		report(b, workCallq(b, open(b), jobs, concurrency, nil), workPlain(b, open(b), jobs, concurrency))
	}
}

func workPlain(b *testing.B, client redis.UniversalClient, jobs, concurrency int) float64 {
	enqueuePlain(b, client, jobs)
	done := make(chan struct{})
	var n atomic.Int64
	server := asynq.NewServerFromRedisClient(client, asynq.Config{
		Concurrency: concurrency, Queues: map[string]int{"api": 1}, LogLevel: asynq.FatalLevel,
	})
	defer server.Shutdown()
	return rate(jobs, func() {
		err := server.Start(asynq.HandlerFunc(func(context.Context, *asynq.Task) error {
			if n.Add(1) == int64(jobs) {
				close(done)
			}
			return nil
		}))
		if err != nil {
			b.Fatal(err)
		}
		<-done
	})
}

func workCallq(b *testing.B, client redis.UniversalClient, jobs, concurrency int, change func(*worker.Config)) float64 {
	preset, err := policy.Preset("patsnap")
	if err != nil {
		b.Fatal(err)
	}
	done := make(chan struct{})
	var n atomic.Int64
	cfg := worker.Config{
		Redis: client, Concurrency: concurrency,
		Upstreams: []worker.Upstream{{Name: "api", Policy: preset, Concurrency: concurrency}},
		OnAttempt: func(worker.AttemptResult) {
			if n.Add(1) == int64(jobs) {
				close(done)
			}
		},
	}
	if change != nil {
		change(&cfg)
	}
	w, err := worker.New(cfg)
	if err != nil {
		b.Fatal(err)
	}
	err = worker.Handle(w, "api", func(context.Context, *worker.Job[noop]) (struct{}, error) { return struct{}{}, nil })
	if err != nil {
		b.Fatal(err)
	}
	producer, err := tasks.NewProducer(client, tasks.ProducerConfig{Rules: tasks.Rules{AllowJobs: true}})
	if err != nil {
		b.Fatal(err)
	}
	_, err = producer.SubmitAll(b.Context(), "bench", func(yield func(tasks.Call, error) bool) {
		for i := range jobs {
			if !yield(tasks.NewJob(noop{i}, tasks.Options{Upstream: "api"})) {
				return
			}
		}
	})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan error, 1)
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			b.Error(err)
		}
	}()
	return rate(jobs, func() {
		go func() { ended <- w.Run(ctx) }()
		<-done
	})
}
