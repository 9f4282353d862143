package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/seed-2903acc3/callq/cmd/callq/internal/config"
	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/worker"
)

// settleFor is how long a new worker has to fail at its start. The old one goes
// on meanwhile.
const settleFor = time.Second

// generation is a worker with the configuration that it was made from. A worker
// cannot take up another one; it is followed by a worker that has it.
type generation struct {
	// desk is the way to the queue that has this configuration's rules.
	desk      *desk
	fixed     fixedConfig
	upstreams []string
	worker    *worker.Worker
	// stop makes it drain. ended then has the error of its end, nil after a drain.
	stop  context.CancelFunc
	ended chan error
}

// newGeneration makes a worker from a configuration. Its error is everything that
// is wrong with it, with the positions.
func newGeneration(cfg *config.Config, upstreams []worker.Upstream, d *desk, log *slog.Logger) (*generation, error) {
	producer, err := tasks.NewProducer(d.conn.Client, tasks.ProducerConfig{Rules: rulesOf(cfg), BaseURLs: apisOf(cfg)})
	if err != nil {
		return nil, err
	}
	fixed, err := fixedOf(cfg)
	if err != nil {
		return nil, err
	}
	own := *d
	own.cfg, own.producer = cfg, producer
	g := &generation{desk: &own, fixed: fixed, ended: make(chan error, 1)}
	for _, u := range upstreams {
		g.upstreams = append(g.upstreams, u.Name)
	}
	g.worker, err = worker.New(worker.Config{
		Redis: d.conn.Client, Upstreams: upstreams, Concurrency: cfg.WorkerConcurrency, Retention: cfg.Ledger.Retention, MaxMemory: cfg.Ledger.MaxMemory, Logger: log,
		Redactor: d.secrets,
	})
	return g, err
}

// begin takes calls until ctx ends or stop is called.
func (g *generation) begin(ctx context.Context) {
	ctx, g.stop = context.WithCancel(ctx)
	go func() { g.ended <- g.worker.Run(ctx) }()
}

// crew is the worker that takes calls, and those that it has followed, which
// drain.
type crew struct {
	log *slog.Logger
	// load reads the configuration anew.
	load func() (*config.Config, error)
	// fixed is what stays as it was when the process started.
	fixed fixedConfig
	// show has the admin address answer for another configuration.
	show    func(*desk) error
	current *generation
	leaving sync.WaitGroup
	// unschedule ends the schedules of current.
	unschedule func()
	// open are the credential files that were warned of.
	open openFiles
}

// newCrew puts the first worker to work. ctx is the one under which workers run:
// with its end all of them drain.
func newCrew(ctx context.Context, first *generation, show func(*desk) error, load func() (*config.Config, error), log *slog.Logger) *crew {
	c := &crew{log: log, load: load, fixed: first.fixed, show: show, open: openFiles{}}
	first.begin(ctx)
	c.install(ctx, first)
	return c
}

// install puts a generation in charge. What goes with a configuration besides its
// worker, which drains in its own time, is taken over here at once.
func (c *crew) install(ctx context.Context, g *generation) {
	if c.unschedule != nil {
		c.unschedule()
	}
	c.current = g
	if err := c.show(g.desk); err != nil {
		c.log.Error("the admin address stays as it was", "error", err)
	}
	c.unschedule = startSchedules(ctx, g.desk, c.log)
	c.open.warn(g.desk.cfg, c.log)
}

// reload follows the worker that takes calls with one of the configuration as it
// is now. Where anything is wrong with it, nothing changes and the log says what.
func (c *crew) reload(ctx context.Context) {
	if ctx.Err() != nil {
		return
	}
	before := c.current
	next, err := c.next(ctx)
	if err != nil {
		c.refuse(ctx, err)
		return
	}
	next.begin(ctx)
	settled := time.NewTimer(settleFor)
	defer settled.Stop()
	select {
	case err := <-next.ended:
		if err == nil {
			err = errors.New("the new worker ended at once")
		}
		c.refuse(ctx, next.desk.explain(err))
		return
	case <-ctx.Done():
		c.retire(next) // both drain
		return
	case <-settled.C:
	}
	c.install(ctx, next)
	c.retire(before)
	c.tell(before, next)
}

// next makes what is to follow, and sees to it that it can begin.
func (c *crew) next(ctx context.Context) (*generation, error) {
	cfg, err := c.load()
	if err != nil {
		return nil, err
	}
	upstreams, err := upstreamsOf(cfg)
	if err != nil {
		return nil, err
	}
	if err := cfg.ResolveAdmin(); err != nil {
		return nil, err
	}
	d := c.current.desk
	if err := d.conn.Client.Ping(ctx).Err(); err != nil {
		return nil, d.explain(err)
	}
	return newGeneration(cfg, upstreams, d, c.log)
}

// refuse says why nothing was changed, a line for each reason.
func (c *crew) refuse(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return // it is draining: what failed is that it was stopped
	}
	for _, finding := range findings(err) {
		c.log.Error(finding)
	}
	c.log.Error("not reloaded: nothing was changed, the worker goes on as before")
}

// retire lets a worker drain in its own time; wait waits for it.
func (c *crew) retire(g *generation) {
	g.stop()
	c.leaving.Go(func() {
		switch err := <-g.ended; {
		case err == nil:
			c.log.Info("the calls that were on their way under an earlier configuration have ended")
		case !errors.Is(err, context.Canceled):
			c.log.Error("the worker of an earlier configuration did not drain", "error", g.desk.explain(err))
		}
	})
}

// wait waits for all that ends with the context of the crew, save the worker that
// takes calls.
func (c *crew) wait() {
	c.unschedule()
	c.leaving.Wait()
}

// tell says what a reload has brought.
func (c *crew) tell(before, now *generation) {
	cfg := now.desk.cfg
	c.log.Info("reloaded: calls that are on their way end as they began, later ones follow the new configuration",
		"config", cfg.Path, "upstreams", now.upstreams, "concurrency", cfg.WorkerConcurrency)
	if keys := c.fixed.changed(now.fixed); len(keys) > 0 {
		c.log.Warn("these keys have changed and need a restart: the process keeps what it was started with", "keys", keys)
	}
	var added, gone []string
	for _, name := range now.upstreams {
		if !slices.Contains(before.upstreams, name) {
			added = append(added, name)
		}
	}
	for _, name := range before.upstreams {
		if !slices.Contains(now.upstreams, name) {
			gone = append(gone, name)
		}
	}
	if len(added) > 0 {
		c.log.Info("upstreams were added", "upstreams", added)
	}
	if len(gone) > 0 {
		c.log.Warn("upstreams were taken out: their calls stay in the queue, and this worker makes none of them", "upstreams", gone)
	}
}

// fixedConfig is what a process takes up only when it starts, by key. The values
// may be secrets; only their keys are told.
type fixedConfig map[string]string

func fixedOf(cfg *config.Config) (fixedConfig, error) {
	url, err := cfg.RedisURL()
	if err != nil {
		return nil, err
	}
	var tokens strings.Builder
	for _, t := range cfg.Admin.Tokens {
		// A file is compared by its name: it is read with each request anyway.
		value := t.Token.String()
		if t.Token.Kind() != config.File {
			if value, err = t.Token.Read(); err != nil {
				return nil, err
			}
		}
		fmt.Fprintf(&tokens, "%q %q %q\n", t.Name, t.Role, value)
	}
	return fixedConfig{"redis": url, "admin.listen": cfg.Admin.Listen, "admin.tokens": tokens.String()}, nil
}

// changed names the keys whose values differ.
func (f fixedConfig) changed(now fixedConfig) []string {
	var keys []string
	for _, key := range slices.Sorted(maps.Keys(f)) {
		if f[key] != now[key] {
			keys = append(keys, key)
		}
	}
	return keys
}

// findings are the single errors of err, each in a line.
func findings(err error) []string {
	switch e := err.(type) { //nolint:errorlint // this walks the tree of errors itself
	case *exitError:
		if e.err != nil {
			return findings(e.err)
		}
	case interface{ Unwrap() []error }:
		var all []string
		for _, inner := range e.Unwrap() {
			all = append(all, findings(inner)...)
		}
		return all
	}
	lines := strings.Split(err.Error(), "\n")
	for i := range lines {
		lines[i] = printable(lines[i])
	}
	return lines
}
