package main

import (
	"context"
	"errors"
	"time"

	"github.com/seed-2903acc3/callq/cmd/callq/internal/config"
	"github.com/spf13/cobra"
)

// watchEvery is how often circuits are looked at.
const watchEvery = time.Second

func (a *app) workCommand() *cobra.Command {
	concurrency, listen := "", ""
	cmd := &cobra.Command{
		Use:   "work",
		Short: "Make the calls of the queue",
		Long: `Make the calls of the queue until Ctrl-C or SIGTERM. Then calls that are on their way
end first, and the others stay in the queue. A second signal stops at once.

Any number of workers can run on the same Redis. Each serves the status page, health
and asynq's dashboard on the admin address.

SIGHUP reads the configuration and its policies again. Calls that are on their way
end under the old files, later calls follow the new ones. A file with a mistake
changes nothing: the log says what is wrong and where. redis, admin.listen and
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
	hangups := a.signals.reloads()
	load := func() (*config.Config, error) { return a.config(concurrency, listen) }
	cfg, err := load()
	if err != nil {
		return err
	}
	upstreams, err := upstreamsOf(cfg)
	if err != nil {
		return errors.Join(err, cfg.ResolveAdmin()) // all that is wrong, at once
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
	d.warnOfLoss(ctx, log, healthy)
	first, err := newInstance(cfg, upstreams, d, log)
	if err != nil {
		return err
	}
	show := func(d *backend) error { return server.serve(d, log) }
	if err := show(first.backend); err != nil {
		return err
	}
	log.Info("working", "upstreams", first.upstreams, "concurrency", cfg.WorkerConcurrency, "redis", d.conn.Describe(), "admin", server.url())
	a.signals.drain(func() {
		log.Info("draining: the calls that are on their way end first, the rest stays in the queue; a second signal stops at once")
	})
	r := &reloader{log: log, load: load, fixed: first.fixed, show: show, open: openFiles{}}
	return a.keepWorking(ctx, r, first, server, hangups)
}

// keepWorking runs the first instance, and those that follow it, until ctx ends.
func (a *app) keepWorking(ctx context.Context, r *reloader, first *instance, server *adminServer, hangups <-chan struct{}) error {
	working, stop := context.WithCancel(ctx)
	defer stop()
	workers := r.supervise(working, first)
	wait := func() {
		r.unschedule()
		workers.Wait()
	}
	why := a.newReporter(first.backend, true, func(line string) { r.log.Warn(line) })
	why.HasWatcher = !a.quiet // then the worker logs at once what holds its calls
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
