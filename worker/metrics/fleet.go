package metrics

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/seed-2903acc3/callq/worker/overview"
)

// patience is how long a scrape waits for Redis.
const patience = 1500 * time.Millisecond

// Reader reads the state of the queue; see [overview.Reader].
type Reader interface {
	Read(context.Context) (*overview.Overview, error)
}

// Fleet has the gauges of the whole queue. It is safe for concurrent use.
type Fleet struct {
	reader    Reader
	upstreams []string
	log       *slog.Logger

	mu      sync.Mutex
	reading *reading // nil: none is under way
}

// reading is one reading, which several scrapes can wait for.
type reading struct {
	done chan struct{}
	now  *overview.Overview // set when done is closed; nil after an error
}

// NewFleet returns the gauges of the queue that reader reads. upstreams are the configured
// ones: others together are the upstream "other". Errors of the reader go to log.
func NewFleet(reader Reader, upstreams []string, log *slog.Logger) *Fleet {
	return &Fleet{reader: reader, upstreams: upstreams, log: log}
}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

var (
	descInflight     = desc("callq_inflight", "Calls that are in progress.", "upstream")
	descCircuitOpen  = desc("callq_circuit_open", "Circuits that are open for this reason: that of the account, and those of endpoints.", "upstream", "reason")
	descCircuitUntil = desc("callq_circuit_until_seconds", "Unix time until which no call of the account starts; 0 while calls flow.", "upstream")
	descLimitUsed    = desc("callq_limit_used_ratio", "How much of the limit or budget is used, from 0 to 1.", "upstream", "limit")
	descSpent        = desc("callq_budget_spent", "What is used of the budget in its present period. Of several budgets with this unit, the one that is used most.", "upstream", "unit")
	descBudget       = desc("callq_budget_limit", "What the budget of callq_budget_spent allows in a period.", "upstream", "unit")
	descQueue        = desc("callq_queue_calls", "Calls in the queue.", "upstream", "priority", "state")
	descRunnable     = desc("callq_runnable_calls", "Calls that a worker could start now: 0 while the account is held.", "upstream")
	descOldest       = desc("callq_oldest_runnable_seconds", "How long the oldest runnable call has waited; 0 if there is none.", "upstream")
	descDead         = desc("callq_dead_calls", "Dead letters.", "upstream", "class")
	descRedisUp      = desc("callq_redis_up", "1 if the state of the queue can be read from Redis and Redis accepts writes, else 0.")
	descRedisMemory  = desc("callq_redis_memory_bytes", "Memory that Redis uses. Missing on a Cluster, or without the permission for INFO.")
)

// Describe implements [prometheus.Collector].
func (f *Fleet) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		descInflight, descCircuitOpen, descCircuitUntil, descLimitUsed, descSpent, descBudget, descQueue,
		descRunnable, descOldest, descDead, descRedisUp, descRedisMemory,
	} {
		to <- d
	}
}

// Collect implements [prometheus.Collector]. If Redis does not answer in time, it sends only
// callq_redis_up.
func (f *Fleet) Collect(to chan<- prometheus.Metric) {
	now := f.read()
	if now == nil {
		to <- gauge(descRedisUp, 0)
		return
	}
	to <- gauge(descRedisUp, 1)
	if now.RedisMemory > 0 {
		to <- gauge(descRedisMemory, float64(now.RedisMemory))
	}
	for name, one := range f.sum(now) {
		one.collect(name, to)
	}
}

func gauge(d *prometheus.Desc, value float64, labels ...string) prometheus.Metric {
	return prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
}

// read returns the state of the queue; nil if Redis does not answer in time. Scrapes at the
// same time share a reading, also one that takes longer than a scrape waits.
func (f *Fleet) read() *overview.Overview {
	f.mu.Lock()
	r := f.reading
	if r == nil {
		r = &reading{done: make(chan struct{})}
		f.reading = r
		go f.finish(r)
	}
	f.mu.Unlock()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-r.done:
		return r.now
	case <-timer.C:
		return nil
	}
}

// finish makes the reading.
func (f *Fleet) finish(r *reading) {
	now, err := f.reader.Read(context.Background()) // the reader has a time-out of its own
	if err != nil {
		f.log.Warn("the metrics cannot be read from Redis", "error", err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	r.now, f.reading = now, nil
	close(r.done)
}
