package main

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/seed-2903acc3/callq/cmd/callq/internal/config"
	"github.com/seed-2903acc3/callq/internal/programtest"
	"github.com/seed-2903acc3/callq/tasks/ledger"
	"github.com/seed-2903acc3/callq/tasks/redisconn"
	"github.com/seed-2903acc3/callq/worker/circuit"
	"github.com/seed-2903acc3/callq/worker/waiting"
)

func TestOnlyAQuietWorkersReporterLogsAHoldAtOnce(t *testing.T) {
	start := time.Date(2026, 5, 4, 18, 0, 0, 0, time.UTC)
	held := waiting.Upstream{
		Name: "api", Configured: true, Open: -1, Workers: 1, Concurrency: 16,
		Account: circuit.Record{
			Name: circuit.Name{Upstream: "api"}, State: circuit.Open, Reason: "quota", Class: "quota", Since: start, Until: start.Add(time.Hour),
		},
		Queues: []ledger.Waits{{Queue: "api", Pending: 5, Oldest: start}},
	}
	for _, c := range []struct {
		quiet bool
		after time.Duration
		want  bool
	}{
		{quiet: true, after: 2 * time.Second, want: true},
		{quiet: false, after: 2 * time.Second, want: false},
		{quiet: false, after: 10 * time.Second, want: true},
	} {
		out := &programtest.Log{}
		a := &app{quiet: c.quiet}
		log := slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{Level: a.level()}))
		why := a.workReporter(&backend{cfg: &config.Config{}, conn: &redisconn.Conn{}}, log)
		for _, now := range []time.Time{start, start.Add(c.after)} {
			why.Update(waiting.Facts{Now: now, Upstreams: []waiting.Upstream{held}}, now)
		}
		if got := strings.Contains(out.String(), "api: 5 calls wait"); got != c.want {
			t.Errorf("quiet %v, after %s: logged %v, want %v:\n%s", c.quiet, c.after, got, c.want, out)
		}
	}
}
