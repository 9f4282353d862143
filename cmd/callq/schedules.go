package main

import (
	"context"
	"log/slog"

	"github.com/seed-2903acc3/callq/cmd/callq/internal/config"
	"github.com/seed-2903acc3/callq/cmd/callq/internal/schedule"
)

// startSchedules sends the files of the backend's schedules at their times, until ctx ends or
// stop is called. stop returns when the sending has stopped. Another worker, or the next one,
// completes a batch that was being sent.
func startSchedules(ctx context.Context, d *backend, log *slog.Logger) (stop func()) {
	if len(d.cfg.Schedules) == 0 {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		schedule.Run(ctx, schedule.Config{
			Redis: d.conn.Client, Producer: d.producer, Rules: rulesOf(requestsOf(d.cfg)), Schedules: schedulesOf(d.cfg), Who: whoami(),
			Logger: log, Explain: d.explain,
		})
	}()
	return func() {
		cancel()
		<-stopped
	}
}

func schedulesOf(cfg *config.Config) []schedule.Schedule {
	var list []schedule.Schedule
	for _, s := range cfg.Schedules {
		list = append(list, schedule.Schedule{Name: s.Name, Calendar: s.Calendar, File: s.File})
	}
	return list
}
