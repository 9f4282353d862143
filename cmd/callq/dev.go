package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/seed-2903acc3/callq/cmd/callq/internal/config"
	"github.com/seed-2903acc3/callq/cmd/callq/internal/console"
	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/worker"
	"github.com/seed-2903acc3/callq/worker/simapi"
	"github.com/spf13/cobra"
)

// demoSize is the number of calls of the demonstration, otherDemoSize that of the
// demonstration of another API than the default one.
const (
	demoSize      = 500
	otherDemoSize = 150
)

// devPolicy is the preset with waits that are short enough for a demonstration.
const devPolicy = `# The preset patsnap, with short waits for a demonstration.
version: 1
name: dev
extends: patsnap
backoffs:
  standard: {floor: 200ms, base: 500ms, cap: 5s, attempts: 6, max_age: 24h}
  brief: {floor: 200ms, base: 500ms, cap: 5s, attempts: 3, max_age: 24h}
holds:
  quota: {sources: [retry-after, ratelimit-reset, ladder], max: 25h, ladder: [2s, 5s]}
  rate: {sources: [retry-after, ratelimit-reset, ladder], max: 25h, ladder: [1s, 2s]}
  permission: {sources: [retry-after, ladder], max: 25h, ladder: [1s, 2s]}
  credential: {sources: [retry-after, ladder], max: 25h, ladder: [1s, 2s]}
  outage: {sources: [retry-after, ladder], max: 25h, ladder: [1s, 2s]}
`

// otherDevPolicy is the preset of another API. Its holds stay: they know where the API
// says how long to wait.
const otherDevPolicy = `# The preset %[1]s, with short waits for a demonstration.
version: 1
name: dev
extends: %[1]s
backoffs:
  standard: {floor: 200ms, base: 500ms, cap: 5s, attempts: 6, max_age: 24h, sources: [retry-after]}
  brief: {floor: 200ms, base: 500ms, cap: 5s, attempts: 3, max_age: 24h, sources: [retry-after]}
`

// devConfig is the configuration of the demonstration.
const devConfig = `# For your own API change four lines: its name, base_url, policy and auth.
redis: %q
upstreams:
  simapi:
    base_url: %s
    policy: ./policy.yaml    # or a preset: patsnap, http
    auth: {type: none}       # as in {type: bearer, token: "${env:API_TOKEN}"}
    timeout: 1s
`

// devEndpoints is the line for the calls of the default API.
const devEndpoints = `    endpoints: ["GET /patent/*/litigation"]
`

// devFlags are the flags of dev.
type devFlags struct {
	once bool
	addr string
	api  string
}

func (a *app) devCommand() *cobra.Command {
	var f devFlags
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Run a demonstration on this machine: simulated API, Redis, worker, dashboard",
		Long: fmt.Sprintf(`Run a demonstration on this machine, without any configuration: %d calls to a
simulated API that fails in every way of its error reference. The policy decides what
happens after each failure, and every result is written to a file.

--api makes it %d calls to another API, with that API's preset:
%s.

It uses its own Redis, configuration and folder, which are new each time. The dashboard
stays until Ctrl-C, unless --once is given.`, demoSize, otherDemoSize, inLines(simapi.APIs(), 86)),
		Args: takes(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if a.configPath != "" || a.redis != "" {
				return usage(cmd, errors.New("dev has its own configuration and Redis; remove --config and --redis"))
			}
			if err := checkAPI(f.api); err != nil {
				return err
			}
			return a.dev(cmd.Context(), f)
		},
	}
	cmd.Flags().BoolVar(&f.once, "once", false, "end after the demonstration's calls")
	cmd.Flags().StringVar(&f.addr, "addr", "", "`HOST:PORT` of the dashboard (default "+config.DefaultAdminListen+")")
	cmd.Flags().StringVar(&f.api, "api", simapi.DefaultAPI, "`NAME` of the API to simulate")
	completeFlag(cmd, "api", simapi.APIs)
	return cmd
}

func (a *app) dev(ctx context.Context, f devFlags) (err error) {
	dir, err := os.MkdirTemp("", "callq-dev-")
	if err != nil {
		return err
	}
	sim, err := startSim(ctx, f.api)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, sim.close()) }()
	cfg, err := writeDemo(dir, sim.url, f)
	if err != nil {
		return err
	}
	// The queue is not needed after the demonstration; the calls and the results stay.
	defer func() { err = errors.Join(err, os.RemoveAll(filepath.Join(dir, "redis"))) }()
	upstreams, err := upstreamsOf(cfg)
	if err != nil {
		return err
	}
	server, err := openAdminServer(ctx, cfg, a.secrets, a.logger(a.level()))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.close()) }()
	in, err := a.openCalls(filepath.Join(dir, "calls.jsonl"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	r := a.newFileRun(cfg, in, filepath.Join(dir, "results.jsonl"))
	r.config.Worker.Upstreams, r.config.Worker.Registerer = upstreams, server.registry
	first := &firstSeen{say: r.progress.Printf}
	r.config.Worker.OnAttempt = func(e worker.AttemptResult) {
		r.slow.note(e)
		first.show(e)
	}
	if _, err := r.connect(ctx); err != nil {
		return err
	}
	defer r.backend.close(&err)
	r.backend.registerer = server.registry
	if err := server.serve(r.backend, a.logger(a.level())); err != nil {
		return err
	}
	a.progressf("Dashboard: %s (and %sasynqmon/)", server.url(), server.url())
	a.progressf("HTTP API: %sv1/ (described by %[1]sv1/openapi.json)", server.url())
	a.progressf("Simulated API: %s", sim.url)
	a.progressf("Redis: %s", r.backend.conn.Describe())
	a.progressf("Calls, policy and configuration: %s", dir)
	finished, err := r.run(ctx)
	if finished {
		defer a.progressf("Next, for your own API: callq init")
	}
	if f.once || !finished {
		return err
	}
	return a.stay(ctx, server, r.backend, upstreams)
}

// stay runs the dashboard and a worker until Ctrl-C. The exit status is then 0, however
// the calls ended.
func (a *app) stay(ctx context.Context, server *adminServer, d *backend, upstreams []worker.Upstream) error {
	w, err := d.newWorker(upstreams, nil, a.logger(slog.LevelWarn))
	if err != nil {
		return err
	}
	a.progressf("The dashboard stays on %s until Ctrl-C.", server.url())
	return w.Run(ctx)
}

// simServer is the simulated API on its own port.
type simServer struct {
	url    string
	sim    *simapi.Server
	server *http.Server
}

func startSim(ctx context.Context, api string) (*simServer, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("start the simulated API: %w", err)
	}
	s := &simServer{url: "http://" + listener.Addr().String(), sim: simapi.New(simapi.DemoOf(api, simapi.DemoSeed))}
	s.server = &http.Server{Handler: s.sim, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = s.server.Serve(listener) }() // close ends it
	return s, nil
}

// close ends hanging calls first, because closing the server waits for them.
func (s *simServer) close() error { return errors.Join(s.sim.Close(), s.server.Close()) }

// writeDemo writes the files of the demonstration and reads its configuration.
func writeDemo(dir, url string, f devFlags) (*config.Config, error) {
	var calls []byte
	size, rules, settings := demoSize, devPolicy, devConfig+devEndpoints
	if f.api != simapi.DefaultAPI {
		size, rules, settings = otherDemoSize, fmt.Sprintf(otherDevPolicy, f.api), devConfig
	}
	for _, demo := range simapi.DemoCallsOf(f.api, size) {
		c := tasks.Call{Key: demo.Key, Method: demo.Method, Path: demo.Path, Body: []byte(demo.Body)}
		for name, value := range demo.Query {
			if c.Query == nil {
				c.Query = tasks.Query{}
			}
			c.Query[name] = value
		}
		if demo.Body == "" {
			c.Body = nil
		}
		line, err := tasks.AppendCall(calls, c)
		if err != nil {
			return nil, err
		}
		calls = append(line, '\n')
	}
	file := fmt.Sprintf(settings, "embedded://"+filepath.ToSlash(filepath.Join(dir, "redis")), url)
	for name, data := range map[string][]byte{"calls.jsonl": calls, "policy.yaml": []byte(rules), "callq.yaml": []byte(file)} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			return nil, err
		}
	}
	return config.Load(config.Source{
		Path: filepath.Join(dir, "callq.yaml"), AdminListen: config.Flag{Name: "--addr", Value: f.addr},
	})
}

// firstSeen prints the first failure of each kind and what follows. The summary counts all
// of them.
type firstSeen struct {
	say  func(format string, args ...any)
	mu   sync.Mutex
	seen map[string]bool
}

func (f *firstSeen) show(e worker.AttemptResult) {
	if e.Action == policy.ActionSucceed || e.Class == "" {
		return
	}
	kind := strings.TrimSpace(string(e.Class) + " " + e.Code)
	f.mu.Lock()
	again := f.seen[kind+string(e.Action)]
	if f.seen == nil {
		f.seen = map[string]bool{}
	}
	f.seen[kind+string(e.Action)] = true
	f.mu.Unlock()
	if again {
		return
	}
	f.say("%s: %s, %s", e.Key, causeText(e), followText(e, time.Now()))
}

// followText returns what follows an attempt.
func followText(e worker.AttemptResult, now time.Time) string {
	switch e.Action {
	case policy.ActionRetry:
		wait := max(e.Next.Sub(now), time.Millisecond).Round(100 * time.Millisecond)
		return fmt.Sprintf("retrying in %s (attempt %d of %d)", console.Duration(wait), e.Attempts, e.MostAttempts)
	case policy.ActionPark:
		return "waiting; not counted as an attempt"
	case policy.ActionDrop:
		return "dropped: it cannot succeed"
	}
	return fmt.Sprintf("failed for good after %s (dead letter)", console.Plural(e.Attempts, "attempt"))
}
