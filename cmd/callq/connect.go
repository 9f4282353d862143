package main

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"go.opentelemetry.io/otel/trace"

	"github.com/seed-2903acc3/callq/cmd/callq/internal/config"
	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/ledger"
	"github.com/seed-2903acc3/callq/tasks/records"
	"github.com/seed-2903acc3/callq/tasks/redisconn"
	"github.com/seed-2903acc3/callq/tasks/redisinfo"
	"github.com/seed-2903acc3/callq/worker"
	"github.com/seed-2903acc3/callq/worker/circuit"
	"github.com/seed-2903acc3/callq/worker/filerun"
)

// backend is a connection to Redis with its stores.
type backend struct {
	secrets  *worker.Redactor
	cfg      *config.Config
	conn     *redisconn.Conn
	ledger   *ledger.Ledger
	circuits *circuit.Store
	producer *tasks.Producer
	client   *tasks.Client
	records  *records.Store
	repairer *ledger.Repairer
	// traces receives the spans of producers and workers; nil: none.
	traces trace.TracerProvider
	// registerer receives the metrics of workers; nil: none.
	registerer prometheus.Registerer
}

// traced are the purposes of commands that enqueue or make calls.
var traced = []string{"run", "work", "send", "admin"}

// connect opens the Redis of the configuration. shared is for commands that need the data
// of other processes, or leave data for them. Every error says what to do.
func (a *app) connect(ctx context.Context, cfg *config.Config, purpose string, shared bool, log *slog.Logger) (*backend, error) {
	url, err := cfg.RedisURL()
	if err != nil {
		return nil, err
	}
	a.addRedisSecrets(url)
	conn, err := redisconn.Open(ctx, url, redisconn.Options{
		Purpose: purpose, ConfigPath: cfg.Path, RequireShared: shared, PoolSize: cfg.WorkerConcurrency + 16, Logger: log,
		Alone: func(ctx context.Context, rdb redis.UniversalClient) error { return reclaim(ctx, cfg, rdb, log) },
	})
	if errors.Is(err, redisconn.ErrURL) {
		return nil, usageError("%w", err)
	}
	if err != nil {
		return nil, err
	}
	stored, err := records.New(conn.Client)
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	d := &backend{
		secrets: a.secrets, records: stored, conn: conn, ledger: ledger.New(conn.Client), repairer: ledger.NewRepairer(conn.Client),
		circuits: circuit.NewStore(conn.Client, whoami()),
	}
	if slices.Contains(traced, purpose) {
		d.traces = a.tracerProvider(log)
	}
	if d, err = d.withConfig(cfg); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return d, nil
}

// withConfig returns the same connection with another configuration.
func (d *backend) withConfig(cfg *config.Config) (*backend, error) {
	own := *d
	own.cfg = cfg
	upstreams := requestsOf(cfg)
	endpoint, err := worker.Endpoints(upstreams)
	if err != nil {
		return nil, err
	}
	own.producer, err = tasks.NewProducer(d.conn.Client, tasks.ProducerConfig{Rules: rulesOf(upstreams), BaseURLs: baseURLsOf(cfg), TracerProvider: d.traces})
	if err != nil {
		return nil, err
	}
	own.client, err = tasks.NewClient(d.conn.Client, tasks.ClientConfig{Endpoint: endpoint, Explain: policy.ExplainClass})
	return &own, err
}

// reclaim reclaims the leases of dead processes. No other process has this Redis open, so
// their calls need not wait until the leases expire.
func reclaim(ctx context.Context, cfg *config.Config, rdb redis.UniversalClient, log *slog.Logger) error {
	l := ledger.New(rdb)
	// There is no running worker that could restore what this Redis has lost.
	queues, err := l.Queues(ctx)
	if err == nil {
		err = ledger.NewFences(rdb).OpenWithoutWait(ctx, queues...)
	}
	if err != nil {
		return err
	}
	n, err := ledger.NewLeases(rdb).End(ctx)
	if err != nil || n == 0 {
		return err
	}
	log.Warn("a worker was killed; its inflight calls are made again", "calls", n)
	upstreams, err := upstreamNames(ctx, cfg, l)
	if err != nil {
		return err
	}
	return circuit.NewStore(rdb, whoami()).EndProbes(ctx, upstreams)
}

// backend loads the configuration and connects, for commands that need the data of other
// processes.
func (a *app) backend(ctx context.Context, purpose string) (*backend, error) {
	cfg, err := a.config(config.Flag{}, config.Flag{})
	if err != nil {
		return nil, err
	}
	return a.connect(ctx, cfg, purpose, true, a.logger(slog.LevelWarn))
}

// close closes the connection. It explains the errors of Redis in err, which is what the
// command returns.
func (d *backend) close(err *error) {
	*err = errors.Join(d.explain(*err), d.conn.Close())
}

// explain turns an error of Redis into an explanation. Other errors stay unchanged.
func (d *backend) explain(err error) error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var parts []error
		for _, one := range joined.Unwrap() {
			parts = append(parts, d.explain(one))
		}
		return errors.Join(parts...)
	}
	var status *exitError
	var path *fs.PathError
	var link *os.LinkError
	var storage *filerun.StorageError
	if errors.As(err, &status) || errors.As(err, &path) || errors.As(err, &link) || errors.As(err, &storage) {
		return err
	}
	explained := d.conn.Explain(err)
	var explanation *redisinfo.Error
	var reply redis.Error
	if errors.As(explained, &explanation) && explanation.Kind == redisinfo.KindUnknown && !errors.As(err, &reply) {
		return err
	}
	return explained
}
