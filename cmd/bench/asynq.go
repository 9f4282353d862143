package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hibiken/asynq"

	"github.com/seed-2903acc3/callq/internal/pause"
)

const (
	taskType = "noop"
	// asynqSenders is how many goroutines enqueue: asynq has no bulk send.
	asynqSenders = 64
	// asynqPoll is how often an idle asynq server asks for tasks. It matters only when the
	// queue is empty: a shorter one makes Shutdown faster.
	asynqPoll = 200 * time.Millisecond
	// retention keeps a task with its result.
	retention = 168 * time.Hour
)

// enqueue enqueues n tasks from asynqSenders goroutines. sent, unless nil, is called after
// each.
func enqueue(ctx context.Context, s *server, n int, payload func(i int) ([]byte, error), sent func(), opts ...asynq.Option) error {
	client := asynq.NewClientFromRedisClient(s.client)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	opts = append([]asynq.Option{asynq.Queue(upstreamName)}, opts...)
	var next atomic.Int64
	var wg sync.WaitGroup
	for range asynqSenders {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n && ctx.Err() == nil; i = int(next.Add(1)) - 1 {
				text, err := payload(i)
				if err == nil {
					_, err = client.EnqueueContext(ctx, asynq.NewTask(taskType, text), opts...)
				}
				if err != nil {
					cancel(fmt.Errorf("enqueue: %w", err))
					return
				}
				if sent != nil {
					sent()
				}
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}

func jobPayload(i int) ([]byte, error) { return json.Marshal(newJob(i)) }

// asynqServers are asynq servers in this process that share the places.
type asynqServers struct {
	s       *server
	servers []*asynq.Server
	// keep: tasks have a retention, and so their results are kept.
	keep bool
}

func (a *asynqServers) start(count int, handler asynq.HandlerFunc) error {
	for range count {
		server := asynq.NewServerFromRedisClient(a.s.client, asynq.Config{
			Concurrency: places / count, Queues: map[string]int{upstreamName: 1}, LogLevel: asynq.FatalLevel, TaskCheckInterval: asynqPoll,
		})
		if err := server.Start(handler); err != nil {
			return err
		}
		a.servers = append(a.servers, server)
	}
	return nil
}

// options are those with which tasks are enqueued.
func (a *asynqServers) options() []asynq.Option {
	if a.keep {
		return []asynq.Option{asynq.Retention(retention)}
	}
	return nil
}

// recorded waits until asynq has recorded the end of every task: all the handlers have
// returned before.
func (a *asynqServers) recorded(ctx context.Context) error {
	for {
		active, err := a.s.client.LLen(ctx, "asynq:{"+upstreamName+"}:active").Result()
		if err != nil || active == 0 {
			return err
		}
		if err := pause.For(ctx, time.Millisecond); err != nil {
			return err
		}
	}
}

// stop stops the servers, and returns an error unless n tasks succeeded.
func (a *asynqServers) stop(n int) error {
	var wg sync.WaitGroup
	for _, server := range a.servers {
		wg.Go(server.Shutdown)
	}
	wg.Wait()
	info, err := asynq.NewInspectorFromRedisClient(a.s.client).GetQueueInfo(upstreamName)
	switch {
	case err != nil:
		return err
	case info.ProcessedTotal != n || info.FailedTotal != 0:
		return fmt.Errorf("asynq processed %d of %d tasks, and %d failed", info.ProcessedTotal, n, info.FailedTotal)
	case a.keep && info.Completed != n:
		return fmt.Errorf("asynq kept the results of %d of %d tasks", info.Completed, n)
	}
	return nil
}

// asynqWorker is asynq's side on no-op jobs.
func asynqWorker(name string, servers int, keep bool) contender {
	return contender{name: name, prepare: func(ctx context.Context, s *server, n int) (*work, error) {
		a := &asynqServers{s: s, keep: keep}
		if err := enqueue(ctx, s, n, jobPayload, nil, a.options()...); err != nil {
			return nil, err
		}
		all := newCounter(n)
		var failed atomic.Pointer[error]
		handler := func(_ context.Context, t *asynq.Task) error {
			if keep {
				if _, err := t.ResultWriter().Write(jobResult); err != nil {
					failed.Store(&err)
				}
			}
			all.add()
			return nil
		}
		return &work{
			run: func() error {
				if err := a.start(servers, handler); err != nil {
					return err
				}
				select {
				case <-all.done:
				case <-ctx.Done():
					return ctx.Err()
				}
				return a.recorded(ctx)
			},
			end: func() error {
				err := a.stop(n)
				if f := failed.Load(); f != nil {
					err = errors.Join(err, *f)
				}
				return err
			},
		}, nil
	}}
}

// asynqClient is asynq's client, which enqueues from many goroutines.
func asynqClient(name string) contender {
	return contender{name: name, prepare: func(ctx context.Context, s *server, n int) (*work, error) {
		return &work{
			run: func() error { return enqueue(ctx, s, n, jobPayload, nil) },
			end: func() error { return nil },
		}, nil
	}}
}
