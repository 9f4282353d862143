//go:build !race

package worker_test

import (
	"context"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/redisconn"
	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
	"github.com/seed-2903acc3/callq/worker"
)

// The garbage collector takes a good part of a worker's time. The bounds have room for
// another version of Go, asynq or go-redis; they are there to notice a buffer that is not
// used again, or a context for each step. It must not run in parallel with other tests:
// their allocations would count.
func TestACallOfAJobAllocatesLittle(t *testing.T) {
	const (
		warmUp, measured = 1000, 4000
		mostObjects      = 130
		mostBytes        = 9 << 10
	)
	conn, err := redisconn.Open(t.Context(), redistest.Redis(t).URL, redisconn.Options{PoolSize: 64})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	preset, err := policy.Preset("patsnap")
	if err != nil {
		t.Fatal(err)
	}
	var n atomic.Int64
	var before, after runtime.MemStats
	done := make(chan struct{})
	w, err := worker.New(worker.Config{
		Redis: conn.Client, Concurrency: 64, Upstreams: []worker.Upstream{{Name: "api", Policy: preset, Concurrency: 64}},
		OnAttempt: func(worker.AttemptResult) {
			switch n.Add(1) {
			case warmUp:
				runtime.ReadMemStats(&before)
			case warmUp + measured:
				runtime.ReadMemStats(&after)
				close(done)
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := worker.Handle(w, "api", func(context.Context, *worker.Job[noop]) (struct{}, error) { return struct{}{}, nil }); err != nil {
		t.Fatal(err)
	}
	producer, err := tasks.NewProducer(conn.Client, tasks.ProducerConfig{Rules: tasks.Rules{AllowJobs: true}})
	if err != nil {
		t.Fatal(err)
	}
	_, err = producer.SubmitAll(t.Context(), "batch", func(yield func(tasks.Call, error) bool) {
		for i := range warmUp + measured {
			if !yield(tasks.NewJob(noop{i}, tasks.Options{Upstream: "api"})) {
				return
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	<-done
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	objects, bytes := (after.Mallocs-before.Mallocs)/measured, (after.TotalAlloc-before.TotalAlloc)/measured
	t.Logf("a call allocates %d objects of %d bytes in all", objects, bytes)
	if objects > mostObjects || bytes > mostBytes {
		t.Errorf("a call allocates %d objects of %d bytes in all; the bounds are %d and %d", objects, bytes, mostObjects, mostBytes)
	}
}
