package worker

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	dice "math/rand/v2"
	"net/url"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/broker"
	"github.com/seed-2903acc3/callq/tasks/ledger"
	"github.com/seed-2903acc3/callq/tasks/records"
	"github.com/seed-2903acc3/callq/tasks/redisinfo"
	"github.com/seed-2903acc3/callq/tasks/redislua"
	"github.com/seed-2903acc3/callq/worker/circuit"
	"github.com/seed-2903acc3/callq/worker/history"
	"github.com/seed-2903acc3/callq/worker/limit"
	"github.com/seed-2903acc3/callq/worker/metrics"
	"github.com/seed-2903acc3/callq/worker/spool"
	"github.com/seed-2903acc3/callq/worker/upstream"
)

const (
	// drainGrace is how long a drain waits in addition to the longest request.
	drainGrace = 5 * time.Second
	// sweepEvery is how often old outcomes are removed.
	sweepEvery = time.Minute
	// readingAtOnce and writingAtOnce are how many bytes of large bodies a process has in
	// memory while it decides on answers, and while it writes them to Redis. The second
	// is smaller because Redis too has several copies of a body while it receives it.
	readingAtOnce = 32 << 20
	writingAtOnce = 16 << 20
	// lastSweep bounds the sweep of a worker that ends.
	lastSweep = 2 * time.Second
)

// Worker makes calls. Make one with [New]; it runs once.
type Worker struct {
	cfg      Config
	log      *slog.Logger
	ledger   *ledger.Ledger
	repairer *ledger.Repairer
	leases   *ledger.Leases
	roster   *ledger.Roster
	// dispatcher dequeues calls and records their outcomes.
	dispatcher *ledger.Dispatcher
	records    *records.Store // makes tasks again from records
	circuits   *circuit.Store
	limits     *limit.Store
	reached    reachedAPIs
	wrapped    *broker.Wrapped
	// clustered reports that the queues of an upstream live on different nodes.
	clustered bool
	accounts  map[string]*account
	jobs      map[jobName]jobFunc

	queueIdles map[string]*queueIdle // by queue; an upstream's queues share one, except on a Cluster
	deliveries deliveries
	parks      parks
	probes     probes
	clock      clock
	semaphore  *semaphore
	// writing bounds the large bodies that are being written to Redis.
	writing *spool.Memory
	memory  memory
	// random returns a number from 0 to n-1.
	random func(n int64) int64

	// draining is closed when no new call may start, stopped when the worker does not wait
	// for calls in progress any more.
	draining    chan struct{}
	stopped     chan struct{}
	fatal       chan error
	ran         atomic.Bool
	redisHealth redisHealth
	machine     machine
	// minutes counts attempts for the chart of the last hours.
	minutes  *history.Recorder
	metrics  *metrics.Recorder // nil: none
	news     *announcements
	failures *failures
	tracer   *tracer // nil: none
	handler  Handler // the middleware; nil: none
	// notifications is nil if no event is wanted.
	notifications *notifications
}

// account is one upstream in this process.
type account struct {
	name           string
	policy         *policy.Policy
	semaphore      *semaphore // nil: it shares the worker's
	client         *upstream.Client
	credential     uint64 // the credential's mark at the last check; only follow uses it
	gate           *circuit.Gate
	reach          reach
	base           *url.URL // where its API is; nil without a client
	api            string   // identifies the API: a hash of its address and of its token endpoint's
	dequeueGate    timedGate
	prefetch       prefetch
	endpoints      patterns
	idempotent     patterns
	verify         *Verify  // nil: the API cannot be asked whether a call took effect
	honoursKey     bool     // the API honours an idempotency key
	queues         []string // the most urgent first
	weightedQueues []int    // indexes of queues, each as often as its weight
	plan           *limit.Plan
	pace           paceReports
	reportsCost    bool // its answers carry what a call was billed
	// fleet is how many calls the fleet may make at once, concurrency how many of them this
	// process may.
	fleet, concurrency int
	timeout            time.Duration
	// probeLimit is how long the lease of a probe is renewed at most.
	probeLimit time.Duration
}

func (a *account) isIdempotent(c tasks.Call, path string) bool {
	if a.honoursKey {
		return true
	}
	if c.Idempotent != nil {
		return *c.Idempotent
	}
	_, ok := a.idempotent.find(c.Method, path)
	return ok
}

// New returns a Worker. Its errors name the field that is wrong. It sends nothing to Redis
// or to an API before Run.
func New(cfg Config) (*Worker, error) {
	logger := cfg.Logger
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	host, _ := os.Hostname() // only a name for people to read
	w := &Worker{
		cfg: cfg, log: cfg.Logger, tracer: newTracer(cfg.TracerProvider, cfg.Redactor), handler: wrap(cfg.Middleware),
		ledger:     ledger.New(cfg.Redis),
		repairer:   ledger.NewRepairer(cfg.Redis),
		leases:     ledger.NewLeases(cfg.Redis),
		roster:     ledger.NewRoster(cfg.Redis),
		limits:     limit.NewStore(cfg.Redis),
		reached:    reachedAPIs{cfg.Redis},
		circuits:   circuit.NewStore(cfg.Redis, fmt.Sprintf("%s:%d", host, os.Getpid())),
		accounts:   map[string]*account{},
		jobs:       map[jobName]jobFunc{},
		queueIdles: map[string]*queueIdle{},
		semaphore:  newSemaphore(cfg.Concurrency),
		writing:    spool.NewMemory(writingAtOnce),
		memory:     memory{most: cfg.MaxMemory},
		random:     dice.Int64N,
		minutes:    history.NewRecorder(cfg.Redis),
		draining:   make(chan struct{}),
		stopped:    make(chan struct{}),
		fatal:      make(chan error, 1),
		clustered:  redislua.Clustered(cfg.Redis),
	}
	w.news, w.failures = newsOf(logger, cfg.Redactor)
	var err error
	if w.records, err = records.New(cfg.Redis); err != nil {
		return nil, err
	}
	if w.metrics, err = metrics.NewRecorder(cfg.Registerer, append(cfg.upstreamNames(), cfg.webhookNames()...)); err != nil {
		return nil, err
	}
	source, reading := "", spool.NewMemory(readingAtOnce)
	w.wrapped = broker.Wrap(cfg.Redis, broker.Hooks{
		Dequeue: w.dequeue, Forward: w.forward, Forwarded: w.forwarded, Retries: func(ctx context.Context, queue string) (int, error) { return w.dispatcher.ForwardRetries(ctx, queue) },
		Fatal: func(err error) { w.fatal <- err },
	})
	for _, u := range cfg.Upstreams {
		a, err := newAccount(u, cfg, reading)
		if err != nil {
			w.closeClients()
			return nil, err
		}
		w.addAccount(a)
		if a.plan != nil {
			source = limit.Source()
		}
	}
	if w.notifications, err = w.newNotifications(); err != nil {
		w.closeClients()
		return nil, err
	}
	w.dispatcher = ledger.NewDispatcher(cfg.Redis, source)
	return w, nil
}

func newAccount(u Upstream, cfg Config, reading *spool.Memory) (*account, error) {
	u = u.withDefaults()
	a := &account{
		name: u.Name, policy: u.Policy, timeout: u.Timeout, concurrency: u.Concurrency, honoursKey: u.IdempotencyHeader != "",
	}
	if a.timeout == 0 {
		a.timeout = DefaultTimeout
	}
	if u.Verify != nil {
		v := u.Verify.withDefaults()
		a.verify = &v
	}
	if a.concurrency == 0 {
		a.concurrency = DefaultUpstreamConcurrency
	}
	sum := sha256.Sum256([]byte(u.BaseURL + " " + u.Auth.TokenURL()))
	a.api = hex.EncodeToString(sum[:8])
	a.fleet, a.reportsCost = a.concurrency, u.CostHeader != ""
	a.concurrency = min(a.concurrency, cfg.Concurrency)
	for i, p := range []tasks.Priority{tasks.PriorityHigh, tasks.PriorityNormal, tasks.PriorityLow} {
		a.queues = append(a.queues, tasks.Queue(u.Name, p))
		a.weightedQueues = append(a.weightedQueues, slices.Repeat([]int{i}, weights[p])...)
	}
	var err error
	if a.plan, err = limit.NewPlan(u.Limits, u.Budget, u.CostPerCall, limit.PacesOf(u.Policy)...); err != nil {
		return nil, fmt.Errorf("upstream %s: %w", u.Name, err)
	}
	// A replay with a fresh credential takes the time of a second request, and the
	// token that of a third.
	a.probeLimit = 3*a.timeout + probeGrace
	breaker := u.Policy.Breaker()
	a.gate = circuit.NewGate(circuit.Detector{Window: breaker.Window, MinCalls: breaker.MinCalls, Ratio: breaker.Ratio})
	if a.endpoints, err = parsePatterns("upstream "+u.Name+": endpoints", u.Endpoints); err != nil {
		return nil, err
	}
	if a.idempotent, err = parsePatterns("upstream "+u.Name+": idempotent", u.Idempotent); err != nil {
		return nil, err
	}
	if u.BaseURL == "" {
		return a, nil
	}
	client := clientConfig(u)
	client.Timeout, client.Concurrency, client.Logger, client.Redactor = a.timeout, a.concurrency, cfg.Logger, cfg.Redactor
	client.Memory = reading
	a.client, err = upstream.New(client)
	if err == nil {
		a.base, _ = url.Parse(u.BaseURL) // upstream.New has checked it
		a.credential, _ = a.client.Fingerprint()
	}
	return a, err
}

// Run makes calls until ctx ends. Then it drains: no new call starts, calls in progress end
// and are recorded, and calls that wait go back to the queue. Run returns nil after a
// drain, and an error if it could not start or had to stop.
func (w *Worker) Run(ctx context.Context) error {
	if w.ran.Swap(true) {
		return errors.New("this worker has run already: make a new one")
	}
	defer w.closeClients()
	if err := w.checkRedis(ctx); err != nil {
		if ctx.Err() != nil {
			return nil // ctx ended before the worker started
		}
		return err
	}
	// A worker that dies without a first beat leaves its calls to the end of their leases.
	_, err := w.roster.Beat(ctx, w.dispatcher.Name(), w.queues()...)
	w.noteRedisError(err)
	w.notifications.begin(ctx)
	stopServers, err := w.startServers()
	// Calls in progress end after ctx, and the worker must keep its beat until then.
	aliveCtx, stopAlive := context.WithCancel(context.WithoutCancel(ctx))
	defer stopAlive()
	var living sync.WaitGroup
	living.Go(func() { w.stayAlive(aliveCtx) })
	living.Go(func() { w.renew(aliveCtx) })
	sweepCtx, stopSweep := context.WithCancel(ctx)
	var sweeping sync.WaitGroup
	for _, do := range []func(context.Context){w.sweep, w.follow, w.announce, w.watchMemory, w.reclaim, w.watchDeadlines, w.writeMinutes, w.failures.run, w.notify} {
		sweeping.Go(func() { do(sweepCtx) })
	}
	// Calls in progress end after ctx: until then the fences must be watched.
	fenceCtx, stopFences := context.WithCancel(context.WithoutCancel(ctx))
	defer stopFences()
	sweeping.Go(func() { w.watchFences(fenceCtx) })

	if err == nil {
		select {
		case <-ctx.Done():
		case err = <-w.fatal:
		}
	}
	close(w.draining)
	stopSweep()
	var returning sync.WaitGroup
	for _, a := range w.accounts {
		returning.Go(func() { w.returnPrefetched(ctx, a, a.prefetch.drain()) })
	}
	stopServers()
	for _, a := range w.accounts {
		a.pace.drain()
	}
	stopFences()
	close(w.stopped)
	returning.Wait()
	sweeping.Wait()
	stopAlive()
	living.Wait()
	w.failures.flush(ctx)
	w.leave(ctx, err == nil)
	return err
}

// leave removes the worker from the fleet. The last sweep starts the retention of batches
// that have just ended, because no later worker may run for a minute.
func (w *Worker) leave(ctx context.Context, sweep bool) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastSweep)
	defer cancel()
	w.leaveFleet(ctx)
	_ = w.minutes.Flush(ctx) // only a chart lacks them
	if sweep {
		_ = w.sweepOnce(ctx) // if it fails, the next worker sweeps
	}
}

// checkRedis checks that asynq's scripts, Redis and this machine's clock are as the worker
// needs them.
func (w *Worker) checkRedis(ctx context.Context) error {
	if err := broker.CheckScripts(ctx); err != nil {
		return err
	}
	err := w.cfg.Redis.Ping(ctx).Err()
	if err == nil {
		err = w.checkClock(ctx)
	}
	if err != nil {
		return w.explain(err)
	}
	return nil
}

// sweep removes outcomes whose retention is over: at once, because this worker may run for
// less than a minute, and then every minute.
func (w *Worker) sweep(ctx context.Context) {
	atOnceAndEvery(ctx, sweepEvery, func() { w.noteRedisError(w.sweepOnce(ctx)) })
}

func (w *Worker) sweepOnce(ctx context.Context) error {
	swept, err := w.ledger.Sweep(ctx, time.Now(), w.cfg.Retention)
	if swept.Calls > 0 {
		w.log.Info("old outcomes were removed", "calls", swept.Calls, "batches", swept.Batches)
	}
	return err
}

func (w *Worker) shutdownTimeout() time.Duration {
	longest := time.Duration(0)
	for _, a := range w.accounts {
		longest = max(longest, a.timeout)
	}
	return longest + drainGrace
}

func (w *Worker) closeClients() {
	for _, a := range w.accounts {
		if a.client != nil {
			a.client.Close()
		}
	}
	w.notifications.close()
}

func (w *Worker) explain(err error) error {
	return redisinfo.Explain(err, redisinfo.Describe(w.cfg.Redis))
}

func newToken() string { return rand.Text() }
