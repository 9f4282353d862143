package overview

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/ledger"
	"github.com/seed-2903acc3/callq/tasks/redisinfo"
	"github.com/seed-2903acc3/callq/tasks/redislua"
	"github.com/seed-2903acc3/callq/worker/circuit"
	"github.com/seed-2903acc3/callq/worker/history"
	"github.com/seed-2903acc3/callq/worker/limit"
	"github.com/seed-2903acc3/callq/worker/waiting"
)

const (
	// fresh is how long a reading is shared.
	fresh = time.Second
	// readTimeout bounds one reading.
	readTimeout = 10 * time.Second
	// chartMinutes is how many minutes of history a reading has.
	chartMinutes = 60
	// mostGroups is how many groups of dead letters a reading has.
	mostGroups = 50
)

// Config configures a Reader. Redis is required.
type Config struct {
	// Redis is the queue's. It is not closed.
	Redis redis.UniversalClient
	// Upstreams are the configured ones. Those that only the queue knows are shown too.
	Upstreams []ConfiguredUpstream
	// MaxMemory is how many bytes the results in Redis may take; 0: not known.
	MaxMemory int64
}

// ConfiguredUpstream is what the configuration says of an upstream; see worker.Upstream.
type ConfiguredUpstream struct {
	Name        string
	Concurrency int
	// Limits, Budget and CostPerCall are as in the configuration.
	Limits, Budget []string
	CostPerCall    string
	// Policy says which limits the API's answers describe; nil for none.
	Policy *policy.Policy
}

// Reader reads overviews. It is safe for concurrent use.
type Reader struct {
	cfg      Config
	ledger   *ledger.Ledger
	circuits *circuit.Store
	limits   *limit.Store
	plans    map[string]*limit.Plan

	mu     sync.Mutex // held while a reading is made
	last   *Overview
	lastAt time.Time
}

// NewReader returns a Reader. Its errors name the limit or the budget that is wrong.
func NewReader(cfg Config) (*Reader, error) {
	r := &Reader{
		cfg: cfg, ledger: ledger.New(cfg.Redis), circuits: circuit.NewStore(cfg.Redis, ""), limits: limit.NewStore(cfg.Redis),
		plans: map[string]*limit.Plan{},
	}
	for _, u := range cfg.Upstreams {
		plan, err := limit.NewPlan(u.Limits, u.Budget, u.CostPerCall, limit.PacesOf(u.Policy)...)
		if err != nil {
			return nil, fmt.Errorf("upstream %s: %w", u.Name, err)
		}
		r.plans[u.Name] = plan
	}
	return r, nil
}

// Read returns the present state, or one that is at most a second old. An error is about
// Redis.
func (r *Reader) Read(ctx context.Context) (*Overview, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.last != nil && time.Since(r.lastAt) < fresh {
		return r.last, nil
	}
	// Others wait for this reading: it must not end when this caller leaves.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), readTimeout)
	defer cancel()
	now, err := r.read(ctx)
	if err != nil {
		return nil, err
	}
	r.last, r.lastAt = now, time.Now()
	return now, nil
}

func (r *Reader) read(ctx context.Context) (*Overview, error) {
	configured := map[string]int{}
	for _, u := range r.cfg.Upstreams {
		configured[u.Name] = u.Concurrency
	}
	facts, err := waiting.Read(ctx, r.cfg.Redis, waiting.Query{Configured: configured, MaxMemory: max(r.cfg.MaxMemory, 1)})
	if err != nil {
		return nil, err
	}
	if facts.Redis != nil {
		return nil, facts.Redis
	}
	facts.MaxMemory = r.cfg.MaxMemory
	names := r.names(facts)
	records, err := r.records(ctx, facts, names)
	if err != nil {
		return nil, err
	}
	minutes, err := history.Read(ctx, r.cfg.Redis, names, facts.Now, chartMinutes)
	if err != nil {
		return nil, err
	}
	groups, err := r.ledger.DeadGroups(ctx)
	if err != nil {
		return nil, err
	}
	o := &Overview{
		Now: facts.Now, Waits: waiting.Decide(facts), Bodies: facts.Bodies, MostBodies: r.cfg.MaxMemory,
		RedisMemory: usedMemory(ctx, r.cfg.Redis), DeadGroups: len(groups),
	}
	dead := o.addGroups(groups)
	full := facts.MaxMemory > 0 && facts.Bodies >= facts.MaxMemory
	for _, name := range names {
		u := upstreamOf(name, facts, records, full)
		u.Dead, u.Minutes = dead[name], minutes[name]
		if u.Limits, err = r.limits.Usage(ctx, name, r.plans[name], facts.Now); err != nil {
			return nil, err
		}
		o.Upstreams = append(o.Upstreams, u)
	}
	return o, nil
}

// addGroups adds the dead letters, and returns how many each upstream has, by class.
func (o *Overview) addGroups(groups []ledger.DeadGroup) map[string]map[string]int64 {
	dead := map[string]map[string]int64{}
	for _, g := range groups {
		o.Dead += g.Count
		one := DeadGroup{
			Name: g.Name, Count: g.Count, Class: g.Class, Code: g.Code, Endpoint: g.Endpoint, Message: g.Message, Advice: g.Advice,
		}
		for _, queue := range g.Queues {
			name := tasks.UpstreamOf(queue)
			if dead[name] == nil {
				dead[name] = map[string]int64{}
			}
			dead[name][g.Class] += g.Counts[queue]
			if !slices.Contains(one.Upstreams, name) {
				one.Upstreams = append(one.Upstreams, name)
			}
		}
		if len(o.Groups) < mostGroups {
			o.Groups = append(o.Groups, one)
		}
	}
	return dead
}

// records returns the circuits of the named upstreams. The facts have those of upstreams that
// ever had a call.
func (r *Reader) records(ctx context.Context, facts waiting.Facts, names []string) ([]circuit.Record, error) {
	var records []circuit.Record
	for _, u := range facts.Upstreams {
		records = append(append(records, u.Account), u.Endpoints...)
		names = slices.DeleteFunc(slices.Clone(names), func(name string) bool { return name == u.Name })
	}
	if len(names) == 0 {
		return records, nil
	}
	others, err := r.circuits.Watch(ctx, names)
	return append(records, others...), err
}

// names returns the configured upstreams in their order, and then those that only the
// queue knows.
func (r *Reader) names(facts waiting.Facts) (names []string) {
	for _, u := range r.cfg.Upstreams {
		names = append(names, u.Name)
	}
	for _, u := range facts.Upstreams {
		if !slices.Contains(names, u.Name) {
			names = append(names, u.Name)
		}
	}
	return names
}

// upstreamOf collects what is known of an upstream. full reports that the results in Redis
// leave no room for more.
func upstreamOf(name string, facts waiting.Facts, records []circuit.Record, full bool) Upstream {
	u := Upstream{Name: name, Circuit: Circuit{Name: name, State: Flowing}}
	for _, r := range records {
		switch {
		case r.Name.Upstream != name:
		case r.Name.Endpoint == "":
			u.Circuit = circuitOf(r, facts.Now)
		case r.State == circuit.Open:
			u.Endpoints = append(u.Endpoints, circuitOf(r, facts.Now))
		}
	}
	held := full || u.Circuit.State != Flowing
	for _, p := range []tasks.Priority{tasks.PriorityHigh, tasks.PriorityNormal, tasks.PriorityLow} {
		u.Queues = append(u.Queues, Queue{Priority: string(p)})
	}
	i := slices.IndexFunc(facts.Upstreams, func(f waiting.Upstream) bool { return f.Name == name })
	if i < 0 {
		return u
	}
	f := facts.Upstreams[i]
	u.Configured, u.Workers, u.Concurrency = f.Configured, f.Workers, f.Concurrency
	for _, w := range f.Queues {
		j := slices.IndexFunc(u.Queues, func(q Queue) bool { return tasks.Queue(name, tasks.Priority(q.Priority)) == w.Queue })
		if j < 0 {
			continue
		}
		q := &u.Queues[j]
		q.Pending, q.Active, q.Retry, q.Scheduled, q.Paused = w.Pending, w.Active, w.Retry.N, w.Scheduled.N, w.Paused
		u.Inflight += w.Active
		u.Waiting += w.Pending + w.Retry.N + w.Scheduled.N
		if held || w.Paused || w.Pending == 0 {
			continue
		}
		u.Runnable += w.Pending
		if u.OldestRunnable.IsZero() || !w.Oldest.IsZero() && w.Oldest.Before(u.OldestRunnable) {
			u.OldestRunnable = w.Oldest
		}
	}
	return u
}

// usedMemory returns how many bytes Redis uses; 0 where one node cannot answer for all, or
// where INFO is not allowed.
func usedMemory(ctx context.Context, rdb redis.UniversalClient) int64 {
	if redislua.Clustered(rdb) {
		return 0
	}
	facts, err := redisinfo.Inspect(ctx, rdb)
	if err != nil {
		return 0
	}
	return facts.UsedMemory
}
