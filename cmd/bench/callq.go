package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/worker"
)

const (
	// upstreamName is callq's upstream, and asynq's queue.
	upstreamName = "api"
	batchName    = "bench"
	// payloadSize is the size of a job's arguments, in bytes.
	payloadSize = 100
)

// jobResult is what a no-op job returns, on the sides that keep results.
var jobResult = json.RawMessage(`{"status":true,"id":"US11234567B2","pages":12}`)

// limits never stop a call, so that only their cost is measured.
var limits = []string{"1000000/s", "1000000000/day"}

// job is a no-op job. Its arguments are payloadSize bytes of JSON.
type job struct {
	N    int    `json:"n"`
	Text string `json:"text"`
}

// Kind implements [tasks.Args].
func (job) Kind() string { return "noop" }

func newJob(i int) job {
	const around = len(`{"n":,"text":""}`)
	return job{N: i, Text: strings.Repeat("x", payloadSize-around-len(strconv.Itoa(i)))}
}

// jobCalls yields n jobs.
func jobCalls(n int) iter.Seq2[tasks.Call, error] {
	return func(yield func(tasks.Call, error) bool) {
		for i := range n {
			if !yield(tasks.NewJob(newJob(i), tasks.Options{Upstream: upstreamName})) {
				return
			}
		}
	}
}

// submit sends n jobs in bulk.
func submit(ctx context.Context, s *server, n int) error {
	producer, err := tasks.NewProducer(s.client, tasks.ProducerConfig{Rules: tasks.Rules{AllowJobs: true}})
	if err != nil {
		return err
	}
	sum, err := producer.SubmitAll(ctx, batchName, jobCalls(n))
	if err == nil && sum.Accepted != n {
		err = fmt.Errorf("%d of %d calls were accepted", sum.Accepted, n)
	}
	return err
}

// variant says what callq's worker does beyond its least.
type variant struct {
	// limited: the upstream has limits.
	limited bool
	// marked: each job calls MarkSent, so that it is not done twice if the worker dies.
	marked bool
}

// callqWorker is callq's worker on no-op jobs.
func callqWorker(name string, v variant) contender {
	return contender{name: name, callq: true, prepare: func(ctx context.Context, s *server, n int) (*work, error) {
		all := newCounter(n)
		w, err := newWorker(s, v, all)
		if err != nil {
			return nil, err
		}
		if err := submit(ctx, s, n); err != nil {
			return nil, err
		}
		working, stop := context.WithCancel(ctx)
		var ended chan error
		return &work{
			run: func() error {
				ended = make(chan error, 1)
				go func() { ended <- w.Run(working) }()
				select {
				case <-all.done:
					return nil
				case err := <-ended:
					ended <- err
					return errors.Join(errors.New("the worker ended"), err)
				}
			},
			end: func() error {
				stop()
				if ended == nil {
					return nil
				}
				return errors.Join(<-ended, checkDone(ctx, s, batchName, n))
			},
		}, nil
	}}
}

func newWorker(s *server, v variant, all *counter) (*worker.Worker, error) {
	preset, err := policy.Preset("http")
	if err != nil {
		return nil, err
	}
	up := worker.Upstream{Name: upstreamName, Policy: preset, Concurrency: places}
	if v.limited {
		up.Limits = limits
	}
	w, err := worker.New(worker.Config{
		Redis: s.client, Concurrency: places, Upstreams: []worker.Upstream{up}, Logger: slog.New(slog.DiscardHandler),
		OnAttempt: func(worker.AttemptResult) { all.add() },
	})
	if err != nil {
		return nil, err
	}
	return w, worker.Handle(w, upstreamName, func(ctx context.Context, j *worker.Job[job]) (json.RawMessage, error) {
		if v.marked {
			if err := j.MarkSent(ctx); err != nil {
				return nil, err
			}
		}
		return jobResult, nil
	})
}

// checkDone returns an error unless n calls of a batch are done.
func checkDone(ctx context.Context, s *server, batch string, n int) error {
	client, err := tasks.NewClient(s.client, tasks.ClientConfig{})
	if err != nil {
		return err
	}
	info, err := client.Batch(ctx, batch)
	if err == nil && info.Counts.Done != int64(n) {
		err = fmt.Errorf("%d of %d calls are done: %+v", info.Counts.Done, n, info.Counts)
	}
	return err
}

// counter counts calls. done is closed when all of them were counted.
type counter struct {
	left atomic.Int64
	done chan struct{}
}

func newCounter(n int) *counter {
	c := &counter{done: make(chan struct{})}
	c.left.Store(int64(n))
	return c
}

func (c *counter) add() {
	if c.left.Add(-1) == 0 {
		close(c.done)
	}
}

// callqProducer is callq's bulk send: each call is checked, claimed by its key, recorded
// and enqueued.
func callqProducer(name string) contender {
	return contender{name: name, callq: true, prepare: func(ctx context.Context, s *server, n int) (*work, error) {
		return &work{
			run: func() error { return submit(ctx, s, n) },
			end: func() error { return nil },
		}, nil
	}}
}
