package main

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/seed-2903acc3/callq/cmd/callq/internal/config"
	"github.com/seed-2903acc3/callq/worker"
	"github.com/seed-2903acc3/callq/worker/circuit"
	"github.com/spf13/cobra"
)

func (a *app) workCommand() *cobra.Command {
	concurrency, listen := "", ""
	cmd := &cobra.Command{
		Use:   "work",
		Short: "Make the calls that are in the queue",
		Long: `Make the calls that are in the queue, until Ctrl-C or SIGTERM: then what is on its
way ends first, and the rest stays in the queue. A second one stops at once.

Any number of workers may run on the same Redis. Each serves the status page,
health and asynq's dashboard on the admin address.`,
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
	cfg, err := a.config(concurrency, listen)
	if err != nil {
		return err
	}
	upstreams, err := upstreamsOf(cfg)
	if err != nil {
		return err
	}
	log := a.logger(a.level())
	door, err := openDoor(ctx, cfg, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, door.close()) }()
	d, err := a.connect(ctx, cfg, "work", true, log)
	if err != nil {
		return err
	}
	defer d.close(&err)
	w, err := worker.New(worker.Config{
		Redis: d.conn.Client, Upstreams: upstreams, Concurrency: cfg.WorkerConcurrency, Retention: cfg.Ledger.Retention, Logger: log,
	})
	if err != nil {
		return err
	}
	if err := door.serve(d, log); err != nil {
		return err
	}
	var names []string
	for _, u := range upstreams {
		names = append(names, u.Name)
	}
	log.Info("working", "upstreams", names, "concurrency", cfg.WorkerConcurrency, "redis", d.conn.Describe(), "admin", door.url())
	a.signals.drain(func() {
		log.Info("draining: the calls that are on their way end first, the rest stays in the queue; a second signal stops at once")
	})
	working, stop := context.WithCancel(ctx)
	defer stop()
	worked := make(chan error, 1)
	go func() { worked <- w.Run(working) }()
	look := &watch{circuits: d.circuits, upstreams: names, say: func(r circuit.Record, line string) {
		level := slog.LevelInfo
		if r.State == circuit.Open {
			level = slog.LevelWarn
		}
		log.Log(ctx, level, line)
	}}
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case err := <-worked:
			if err == nil {
				log.Info("drained")
			}
			return err
		case err := <-door.ended:
			stop()
			return errors.Join(err, <-worked)
		case <-tick.C:
			_ = look.look(working) // without patience it has no error
		}
	}
}
