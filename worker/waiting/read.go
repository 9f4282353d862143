package waiting

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/broker"
	"github.com/seed-2903acc3/callq/tasks/ledger"
	"github.com/seed-2903acc3/callq/tasks/redisinfo"
	"github.com/seed-2903acc3/callq/tasks/redislua"
	"github.com/seed-2903acc3/callq/worker/circuit"
)

// nothing is a key that never exists.
const nothing = "callq:nothing"

// Query selects the calls whose reasons are read.
type Query struct {
	// Configured are the upstreams of this process's configuration with their
	// concurrency; Here reports that this process makes their calls.
	Configured map[string]int
	Here       bool
	// Batches limits the query to calls of these batches; empty: all calls.
	Batches []string
	// MaxMemory is how many bytes the results in Redis may take; 0: their size is not
	// read.
	MaxMemory int64
	// Where has the flags that a command of callq needs to find the same Redis; see [Facts].
	Where string
}

// Read reads the facts from Redis: some ten round trips, however many calls there
// are.
func Read(ctx context.Context, rdb redis.UniversalClient, q Query) (Facts, error) {
	before := time.Now()
	now, err := rdb.Time(ctx).Result()
	if err != nil {
		return Facts{}, err
	}
	f := Facts{Now: now, Where: q.Where}
	if q.Here {
		f.Skew = redisinfo.SkewOf(now, before, time.Now())
	}
	if f.Redis = refusal(ctx, rdb); f.Redis != nil {
		return f, nil
	}
	store := ledger.New(rdb)
	open, err := openCalls(ctx, store, q.Batches)
	if err != nil {
		return f, err
	}
	if err := f.readMemory(ctx, store, q.MaxMemory); err != nil {
		return f, err
	}
	queues, err := store.Queues(ctx)
	if err != nil {
		return f, err
	}
	if len(q.Batches) > 0 {
		queues = slices.DeleteFunc(queues, func(queue string) bool { return open[tasks.UpstreamOf(queue)] == 0 })
	}
	waits, err := store.Waits(ctx, now, queues, q.Batches...)
	if err != nil {
		return f, err
	}
	of := map[string][]ledger.Waits{}
	var names []string
	for _, w := range waits {
		name := tasks.UpstreamOf(w.Queue)
		if of[name] == nil {
			names = append(names, name)
		}
		of[name] = append(of[name], w)
	}
	records, err := circuit.NewStore(rdb, "").Watch(ctx, names)
	if err != nil {
		return f, err
	}
	workers, err := broker.Workers(ctx, rdb)
	if err != nil {
		return f, err
	}
	for _, name := range names {
		f.Upstreams = append(f.Upstreams, q.upstream(name, open, of[name], workers, records))
	}
	return f, nil
}

// upstream collects the facts of one upstream.
func (q Query) upstream(name string, open map[string]int64, queues []ledger.Waits, workers map[string]int, records []circuit.Record) Upstream {
	concurrency, configured := q.Configured[name]
	u := Upstream{Name: name, Configured: configured, Concurrency: concurrency, Open: -1, Queues: queues, Workers: workers[name]}
	if len(q.Batches) > 0 {
		u.Open = open[name]
	}
	if configured && q.Here {
		u.Workers = max(u.Workers, 1)
	}
	if len(workers) > 0 || q.Here {
		u.Others = 1
	}
	for _, r := range records {
		switch {
		case r.Name.Upstream != name:
		case r.Name.Endpoint == "":
			u.Account = r
		default:
			u.Endpoints = append(u.Endpoints, r)
		}
	}
	return u
}

// readMemory reads how many bytes the results take, and since when that is too many.
func (f *Facts) readMemory(ctx context.Context, store *ledger.Ledger, most int64) (err error) {
	if most == 0 {
		return nil
	}
	f.MaxMemory = most
	if f.Bodies, err = store.Bodies(ctx); err == nil && f.Bodies >= most {
		f.FullSince, err = store.FullSince(ctx)
	}
	return err
}

// refusal returns why Redis refuses writes though it answers; nil where it does not
// refuse them, or where that cannot be found out.
func refusal(ctx context.Context, rdb redis.UniversalClient) error {
	// A Redis that refuses writes also refuses to delete a key that does not exist, except
	// when its memory is full.
	err := rdb.Del(ctx, nothing).Err()
	if explained := (*redisinfo.Error)(nil); errors.As(redisinfo.Explain(err, redisinfo.Describe(rdb)), &explained) {
		switch explained.Kind {
		case redisinfo.KindDisk, redisinfo.KindReplica:
			return explained
		}
	}
	if redislua.Clustered(rdb) {
		return nil // one node would answer for all
	}
	facts, err := redisinfo.Inspect(ctx, rdb)
	if err != nil {
		return nil // for example, this user has no permission for INFO
	}
	return facts.Refusal(redisinfo.Describe(rdb))
}

// openCalls counts the open calls of batches, by upstream.
func openCalls(ctx context.Context, store *ledger.Ledger, batches []string) (map[string]int64, error) {
	open := map[string]int64{}
	for _, name := range batches {
		if err := store.AddOpen(ctx, name, open, tasks.UpstreamOf); err != nil {
			return nil, err
		}
	}
	return open, nil
}
