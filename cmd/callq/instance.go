package main

import (
	"context"
	"errors"
	"log/slog"
	"slices"

	"github.com/seed-2903acc3/callq/cmd/callq/internal/config"
	"github.com/seed-2903acc3/callq/cmd/callq/internal/supervisor"
	"github.com/seed-2903acc3/callq/worker"
)

// instance is a worker with its configuration. A worker cannot change its configuration:
// another instance replaces it.
type instance struct {
	// backend is the connection with this configuration's rules.
	backend   *backend
	fixed     fixedConfig
	upstreams []string
	worker    *worker.Worker
}

// newInstance makes an instance from a configuration. The error has all mistakes, with
// their positions.
func newInstance(cfg *config.Config, upstreams []worker.Upstream, d *backend, log *slog.Logger) (*instance, error) {
	own, err := d.withConfig(cfg)
	if err != nil {
		return nil, err
	}
	fixed, err := fixedOf(cfg)
	if err != nil {
		return nil, err
	}
	i := &instance{backend: own, fixed: fixed, upstreams: configuredNames(cfg)}
	webhooks, err := webhooksOf(cfg)
	if err != nil {
		return nil, err
	}
	i.worker, err = own.newWorker(upstreams, webhooks, log)
	return i, err
}

// newWorker makes a worker with the backend's configuration.
func (d *backend) newWorker(upstreams []worker.Upstream, webhooks []worker.Webhook, log *slog.Logger) (*worker.Worker, error) {
	cfg := workerConfig(d.cfg, d.secrets, log)
	cfg.Redis, cfg.Upstreams, cfg.Notify = d.conn.Client, upstreams, webhooks
	cfg.Registerer, cfg.TracerProvider = d.registerer, d.traces
	return worker.New(cfg)
}

// workerConfig returns a worker's configuration without its upstreams.
func workerConfig(cfg *config.Config, secrets *worker.Redactor, log *slog.Logger) worker.Config {
	return worker.Config{
		Concurrency: cfg.WorkerConcurrency, Retention: cfg.Ledger.Retention, MaxMemory: cfg.Ledger.MaxMemory,
		Logger: log, Redactor: secrets,
	}
}

// Run makes calls until ctx ends, and then drains.
func (i *instance) Run(ctx context.Context) error { return i.worker.Run(ctx) }

// reloader reloads the configuration files of a worker's process.
type reloader struct {
	log *slog.Logger
	// load reads the configuration again.
	load func() (*config.Config, error)
	// fixed are the values that need a restart, as they were when the process started.
	fixed fixedConfig
	// show makes the admin server answer for another configuration.
	show func(*backend) error
	// unschedule stops the schedules of the current instance.
	unschedule func()
	// open are the credential files that have been warned about.
	open openFiles
}

// supervise runs the first instance and those that replace it.
func (r *reloader) supervise(ctx context.Context, first *instance) *supervisor.Supervisor[*instance] {
	var workers *supervisor.Supervisor[*instance]
	workers = supervisor.Start(ctx, first, supervisor.Config[*instance]{
		Load: r.next, Installed: r.installed, Drained: r.drained,
		Refused: func(err error) { r.refused(workers.Current(), err) },
	})
	return workers
}

// next makes an instance from the present configuration, and checks that it can start.
func (r *reloader) next(ctx context.Context, current *instance) (*instance, error) {
	cfg, err := r.load()
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
	d := current.backend
	if err := d.conn.Client.Ping(ctx).Err(); err != nil {
		return nil, d.explain(err)
	}
	return newInstance(cfg, upstreams, d, r.log)
}

// installed changes everything besides the worker that depends on the configuration.
func (r *reloader) installed(ctx context.Context, before, now *instance) {
	if r.unschedule != nil {
		r.unschedule()
	}
	if err := r.show(now.backend); err != nil {
		r.log.Error("the admin server still uses the old configuration", "error", err)
	}
	r.unschedule = startSchedules(ctx, now.backend, r.log)
	r.open.warn(now.backend.cfg, r.log)
	if before != nil {
		r.reloaded(before, now)
	}
}

// refused logs why nothing was changed, one line for each reason.
func (r *reloader) refused(current *instance, err error) {
	for _, finding := range findings(current.backend.explain(err)) {
		r.log.Error(finding)
	}
	r.log.Error("not reloaded: nothing was changed, the worker continues with its configuration")
}

// drained logs that the inflight calls of an earlier configuration have ended.
func (r *reloader) drained(old *instance, err error) {
	switch {
	case err == nil:
		r.log.Info("all inflight calls of the earlier configuration have ended")
	case !errors.Is(err, context.Canceled):
		r.log.Error("the worker of an earlier configuration did not drain", "error", old.backend.explain(err))
	}
}

// reloaded logs what a reload has changed.
func (r *reloader) reloaded(before, now *instance) {
	cfg := now.backend.cfg
	r.log.Info("reloaded: inflight calls keep the old configuration, later calls use the new one",
		"config", cfg.Path, "upstreams", now.upstreams, "concurrency", cfg.WorkerConcurrency)
	if keys := r.fixed.changed(now.fixed); len(keys) > 0 {
		r.log.Warn("these keys have changed and need a restart: the process still uses the old values", "keys", keys)
	}
	if added := without(now.upstreams, before.upstreams); len(added) > 0 {
		r.log.Info("upstreams were added", "upstreams", added)
	}
	if removed := without(before.upstreams, now.upstreams); len(removed) > 0 {
		r.log.Warn("upstreams were removed: their calls stay in the queue, and this worker does not make them", "upstreams", removed)
	}
}

// without returns the names that are not among others.
func without(names, others []string) (left []string) {
	for _, name := range names {
		if !slices.Contains(others, name) {
			left = append(left, name)
		}
	}
	return left
}
