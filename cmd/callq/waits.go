package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/seed-2903acc3/callq/cmd/callq/internal/config"
	"github.com/seed-2903acc3/callq/cmd/callq/internal/console"
	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/redisinfo"
	"github.com/seed-2903acc3/callq/worker/notify"
	"github.com/seed-2903acc3/callq/worker/waiting"
)

// newReporter returns a reporter of why calls wait. here says that this process makes the
// calls of its upstreams. batches are the batches to report, none for all calls.
func (a *app) newReporter(d *backend, here bool, say func(line string), batches ...string) *waiting.Reporter {
	return &waiting.Reporter{
		Redis:  d.conn.Client,
		Query:  waiting.Query{Configured: configured(d.cfg), Here: here, Batches: batches, Where: a.where(), MaxMemory: d.cfg.Ledger.MaxMemory},
		Report: func(r waiting.Reason, over bool, now time.Time) { say(reasonLine(r, over, now)) },
	}
}

// reasonLine says why calls wait, or that they no longer wait.
func reasonLine(r waiting.Reason, over bool, now time.Time) string {
	if over {
		return r.Over()
	}
	return r.Text(now)
}

// configured returns the upstreams of a configuration with their concurrency, also those of
// the receivers of events.
func configured(cfg *config.Config) map[string]int {
	names := map[string]int{}
	for _, u := range cfg.Upstreams {
		names[u.Name] = u.Concurrency
	}
	for _, r := range cfg.Notify {
		names[notify.UpstreamOf(r.Name)] = 1
	}
	return names
}

// temporary reports whether an error of Redis is temporary, so that a command that waits
// continues to wait.
func temporary(err error) bool {
	var redisErr *redisinfo.Error
	if !errors.As(err, &redisErr) {
		return false
	}
	switch redisErr.Kind {
	case redisinfo.KindUnreachable, redisinfo.KindLost, redisinfo.KindTimeout, redisinfo.KindLoading, redisinfo.KindBusy, redisinfo.KindCluster, redisinfo.KindReplica, redisinfo.KindMemory, redisinfo.KindDisk:
		return true
	}
	return false
}

// whyWaits reads once why the open calls of a batch wait.
func (a *app) whyWaits(ctx context.Context, d *backend, b tasks.BatchInfo) (*waiting.Reporter, error) {
	t := a.newReporter(d, false, nil, b.Name)
	if b.Counts.Open == 0 {
		return t, nil
	}
	return t, t.Read(ctx)
}

// printReasons prints why calls wait, one reason a line.
func printReasons(to io.Writer, t *waiting.Reporter) error {
	text := &errWriter{w: to}
	reasons, now := t.Reasons()
	for _, r := range reasons {
		fmt.Fprintln(text, console.Printable(r.Text(now)))
	}
	return text.err
}

// checkWaits reports calls that wait for a reason that no other check reports.
func checkWaits(ctx context.Context, d *doctor) ([]diagnosis, error) {
	facts, err := waiting.Read(ctx, d.backend.conn.Client, d.newReporter(d.backend, false, nil).Query)
	if err != nil {
		return nil, err
	}
	var list []diagnosis
	for _, r := range waiting.Decide(facts) {
		one := diagnosis{Status: noted}
		switch r.Kind {
		case waiting.NoUpstream, waiting.Redis:
			one.Status = found
		case waiting.LostLease, waiting.NotBefore:
		case waiting.NoWorker: // checkWorkers reports that there is no worker at all
			if len(facts.Upstreams) > 0 && facts.Upstreams[0].Others == 0 {
				continue
			}
		case waiting.Backoff:
			if !r.LongerThan(facts.Now, time.Minute) {
				continue
			}
		default:
			continue // circuits and queues have their own checks, and the rest is temporary
		}
		one.Fix = r.Todo
		r.Todo = ""
		one.Detail = r.Text(facts.Now)
		list = append(list, one)
	}
	return orWell(list, "no call waits for any other reason"), nil
}
