package main

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/seed-2903acc3/callq/cmd/callq/internal/config"
	"github.com/seed-2903acc3/callq/worker/waiting"
	"github.com/spf13/cobra"
)

// watchEvery is how often the reporter of waiting calls runs.
const watchEvery = time.Second

func (a *app) workCommand() *cobra.Command {
	concurrency, listen := "", ""
	cmd := &cobra.Command{
		Use:   "work",
		Short: "Make the calls of the queue",
		Long: `Make the calls of the queue until Ctrl-C or SIGTERM. Then inflight calls end first, and
the others stay in the queue. A second signal stops at once.

Any number of workers can run on the same Redis. Each serves the status page, health
and asynq's dashboard on the admin address.

SIGHUP reads the configuration and its policies again. Inflight calls keep the old
files, later calls use the new ones. If a file has a mistake, nothing changes, and the
log says what is wrong and where. redis, admin.listen and
admin.tokens need a restart. A credential in a ${file:…} needs no signal: it is read
again when the file changes and when the API refuses it.`,
		Args: takes(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.work(cmd.Context(), config.Flag{Name: "--concurrency", Value: concurrency}, config.Flag{Name: "--listen", Value: listen})
		},
	}
	cmd.Flags().StringVar(&concurrency, "concurrency", "", "`CALLS` in flight at once, over all upstreams (default 64)")
	listenFlag(cmd, &listen)
	return cmd
}

func (a *app) work(ctx context.Context, concurrency, listen config.Flag) (err error) {
	a.relaxCollector()
	hangups := a.signals.reloads()
	load := func() (*config.Config, error) { return a.config(concurrency, listen) }
	cfg, err := load()
	if err != nil {
		return err
	}
	upstreams, err := upstreamsOf(cfg)
	if err = errors.Join(err, cfg.ResolveNotify()); err != nil {
		return errors.Join(err, cfg.ResolveAdmin()) // all mistakes at once
	}
	log := a.logger(a.level())
	server, err := openAdminServer(ctx, cfg, a.secrets, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.close()) }()
	d, err := a.connect(ctx, cfg, "work", true, log)
	if err != nil {
		return err
	}
	defer d.close(&err)
	d.registerer = server.registry
	d.warnOfLoss(ctx, log, healthy)
	first, err := newInstance(cfg, upstreams, d, log)
	if err != nil {
		return err
	}
	show := func(d *backend) error { return server.serve(d, log) }
	if err := show(first.backend); err != nil {
		return err
	}
	log.Info("working", "upstreams", first.upstreams, "concurrency", cfg.WorkerConcurrency, "redis", d.conn.Describe(), "admin", server.url(), "access", server.who)
	a.signals.drain(func() {
		log.Info("draining: waiting for the inflight calls to end; the others stay in the queue; a second signal stops at once")
	})
	r := &reloader{log: log, load: load, fixed: first.fixed, show: show, open: openFiles{}}
	return a.keepWorking(ctx, r, first, server, hangups)
}

// keepWorking runs the first instance, and those that replace it, until ctx ends.
func (a *app) keepWorking(ctx context.Context, r *reloader, first *instance, server *adminServer, hangups <-chan struct{}) error {
	working, stop := context.WithCancel(ctx)
	defer stop()
	workers := r.supervise(working, first)
	wait := func() {
		r.unschedule()
		workers.Wait()
	}
	why := a.workReporter(first.backend, r.log)
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case err := <-workers.Ended():
			stop()
			wait()
			if err == nil {
				r.log.Info("drained")
			}
			return err
		case err := <-server.ended:
			stop()
			err = errors.Join(err, <-workers.Ended())
			wait()
			return err
		case <-hangups:
			workers.Reload(working)
			why.Query.Configured = configured(workers.Current().backend.cfg)
		case <-tick.C:
			why.Poll(working, time.Now())
		}
	}
}

// workReporter returns the reporter of why a worker's calls wait. The worker logs holds at
// level info, so the reporter leaves them to it for some seconds. If --quiet or --log-level
// hides that level, the reporter logs holds at once.
func (a *app) workReporter(d *backend, log *slog.Logger) *waiting.Reporter {
	why := a.newReporter(d, true, func(line string) { log.Warn(line) })
	why.HasWatcher = log.Enabled(context.Background(), slog.LevelInfo)
	return why
}
