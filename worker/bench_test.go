package worker_test

import (
	"context"
	"fmt"
	"iter"
	"sync/atomic"
	"testing"
	"time"

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

func numbered(n int) iter.Seq2[tasks.Call, error] {
	return func(yield func(tasks.Call, error) bool) {
		for i := range n {
			if !yield(tasks.Call{Upstream: "api", Path: fmt.Sprintf("/patent/%d/claims", i)}, nil) {
				return
			}
		}
	}
}

type noop struct {
	N int `json:"n"`
}

func (noop) Kind() string { return "noop" }

// workCallq returns how many jobs that do nothing a worker does a second.
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
