package main

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/cmd/callq/internal/config"
	"github.com/seed-2903acc3/callq/internal/programtest"
	"github.com/seed-2903acc3/callq/tasks/redisconn"
	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
)

// pings counts those that Redis is asked for, and fails the one of a number.
type pings struct {
	asked atomic.Int64
	fails atomic.Int64
}

func (p *pings) DialHook(next redis.DialHook) redis.DialHook { return next }

func (p *pings) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (p *pings) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if cmd.Name() == "ping" && p.asked.Add(1) == p.fails.Load() {
			return errors.New("gone for a moment")
		}
		return next(ctx, cmd)
	}
}

func TestIfANewWorkerCannotStartTheOldOneContinues(t *testing.T) {
	t.Parallel()
	client, _ := redistest.Mini(t)
	p := &pings{}
	client.AddHook(p)
	h := newHome(t, filepath.Dir(program(t)))
	h.write("callq.yaml", "upstreams: {sim: {base_url: \"http://127.0.0.1:1\", policy: patsnap}}\n")
	load := func() (*config.Config, error) { return config.Load(config.Source{Path: h.file("callq.yaml")}) }
	cfg, err := load()
	if err != nil {
		t.Fatal(err)
	}
	upstreams, err := upstreamsOf(cfg)
	if err != nil {
		t.Fatal(err)
	}
	out := &programtest.Log{}
	log := slog.New(slog.NewTextHandler(out, nil))
	first, err := newInstance(cfg, upstreams, &backend{cfg: cfg, conn: &redisconn.Conn{Client: client}}, log)
	if err != nil {
		t.Fatal(err)
	}
	ctx, drain := context.WithCancel(t.Context())
	defer drain()
	r := &reloader{log: log, load: load, fixed: first.fixed, show: func(*backend) error { return nil }, open: openFiles{}}
	workers := r.supervise(ctx, first)
	await(t, "the first worker", func() bool { return p.asked.Load() == 1 })

	p.fails.Store(3) // the second is the one that is asked before anything is begun
	workers.Reload(ctx)
	if workers.Current() != first || !strings.Contains(out.String(), "gone for a moment") || !strings.Contains(out.String(), "nothing was changed") {
		t.Errorf("got:\n%s", out)
	}
	select {
	case err := <-workers.Ended():
		t.Fatalf("the old worker has ended: %v", err)
	default:
	}

	workers.Reload(ctx)
	if workers.Current() == first || !strings.Contains(out.String(), "msg=\"reloaded: ") {
		t.Errorf("got:\n%s", out)
	}
	if now := workers.Current().backend; now.client == first.backend.client || now.producer == first.backend.producer {
		t.Error("calls are still checked and folded as by the configuration of before")
	}
	await(t, "the drain of the first worker", func() bool { return strings.Contains(out.String(), "the earlier configuration have ended") })

	// With the signal to drain, both the worker at work and one that has only
	// just begun end.
	began := p.asked.Load()
	go func() {
		for p.asked.Load() < began+2 {
			<-time.After(time.Millisecond)
		}
		drain()
	}()
	second := workers.Current()
	workers.Reload(ctx)
	if err := <-workers.Ended(); err != nil || workers.Current() != second {
		t.Errorf("ended with %v", err)
	}
	r.unschedule()
	workers.Wait()
	if strings.Contains(out.String(), "did not drain") {
		t.Errorf("got:\n%s", out)
	}
	workers.Reload(ctx) // comes too late
	if n := strings.Count(out.String(), "nothing was changed"); n != 1 {
		t.Errorf("got:\n%s", out)
	}
}
