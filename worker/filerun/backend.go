package filerun

import (
	"context"
	"fmt"
	"os"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/ledger"
	"github.com/seed-2903acc3/callq/tasks/records"
	"github.com/seed-2903acc3/callq/tasks/redisinfo"
	"github.com/seed-2903acc3/callq/worker"
	"github.com/seed-2903acc3/callq/worker/circuit"
)

// backend is the Redis of a run with its stores.
type backend struct {
	Backend
	ledger   *ledger.Ledger
	circuits *circuit.Store
	producer *tasks.Producer
	client   *tasks.Client
	records  *records.Store
}

// connect opens Redis and the stores.
func (r *runner) connect(ctx context.Context) error {
	opened, err := r.cfg.Connect(ctx)
	if err != nil {
		return err
	}
	endpoint, err := worker.Endpoints(r.cfg.Worker.Upstreams)
	if err != nil {
		return err
	}
	host, _ := os.Hostname() // the name is informational
	back := &backend{
		Backend: opened, ledger: ledger.New(opened.Redis),
		circuits: circuit.NewStore(opened.Redis, fmt.Sprintf("%s:%d", host, os.Getpid())),
	}
	if back.producer, err = tasks.NewProducer(opened.Redis, tasks.ProducerConfig{
		Rules: r.rules, BaseURLs: r.urls, TracerProvider: r.cfg.Worker.TracerProvider,
	}); err != nil {
		return err
	}
	back.client, err = tasks.NewClient(opened.Redis, tasks.ClientConfig{Endpoint: endpoint, Explain: policy.ExplainClass})
	if err != nil {
		return err
	}
	if back.records, err = records.New(opened.Redis); err != nil {
		return err
	}
	r.backend = back
	return nil
}

// explain adds to an error of Redis what to do about it.
func (b *backend) explain(err error) error {
	return redisinfo.Explain(err, redisinfo.Describe(b.Redis))
}
