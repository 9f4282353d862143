package worker

import (
	"context"
	"fmt"
	"hash"
	"hash/fnv"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"pgregory.net/rapid"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/ledger"
	"github.com/seed-2903acc3/callq/tasks/records"
	"github.com/seed-2903acc3/callq/tasks/redislua"
	"github.com/seed-2903acc3/callq/worker/circuit"
)

// fleet is the model: the workers, Redis, the API, and what should be true.
type fleet struct {
	rt       *rapid.T
	ctx      context.Context
	client   *redis.Client
	mini     *miniredis.Miniredis
	pol      *policy.Policy
	account  scenario
	procs    []*proc
	steps    []*step
	operator *circuit.Store // with which an operator opens and closes circuits
	producer *tasks.Producer
	records  *records.Store
	ledger   *ledger.Ledger

	calls map[string]*modelCall
	ids   []string
	mood  string // how the API answers now
	// ill is the endpoint, if any, whose calls are always answered with illness. With
	// cured set, neither it nor any call has a fault any more.
	ill, illness string
	cured        bool
	// rungs counts the holds that have started.
	rungs    int
	paused   map[string]bool
	circuits []string
	names    map[string]circuit.Name
	probes   map[string]*probe // by circuit
	counters *counters
	// lost is the epoch of an account's record that Redis has lost, until it has the
	// record again; keeper is the worker that remembers it.
	lost     int64
	lostOnce bool
	keeper   *proc
	epochs   map[string]int64
	// goodAt is when the API last gave a good answer, by endpoint.
	goodAt map[string]time.Time
	// forgets reports that this Redis may lose its last seconds; amnesia, that it did.
	forgets, amnesia bool
	disk             *disk
	// seed is the seed of the workers' random numbers; history is a hash of all events.
	seed    uint64
	history hash.Hash64

	mu       sync.Mutex
	problems []string
	story    []string
}

// modelCall is the model's record of a call.
type modelCall struct {
	queue      string
	idempotent bool
	priority   tasks.Priority
	// endpoint is the call's. fault is how the API answers this call, whatever it answers
	// to others; it is empty for a good call.
	endpoint, fault string
	// sent counts the sends, by generation; spent counts those that did not park the call.
	spent, sent map[int]int
	arrivals    []*arrival
	marks       []*step // that have marked it as sent
	alones      []*step // that have recorded that they make it alone
}

// arrival is a request at the API. It is resolved when its worker has recorded
// that the call continues.
type arrival struct {
	generation          int
	retryable, resolved bool
	answeredAt          time.Time
}

// probe is the lease of a probe, until its outcome.
type probe struct {
	token string
	end   int64 // ms
}

func newFleet(rt *rapid.T, client *redis.Client, mini *miniredis.Miniredis, pol *policy.Policy) *fleet {
	f := &fleet{
		rt: rt, ctx: context.Background(), client: client, mini: mini, pol: pol,
		account:  rapid.SampledFrom(scenarios).Draw(rt, "account"),
		operator: circuit.NewStore(client, "operator"), ledger: ledger.New(client), mood: "ok",
		calls: map[string]*modelCall{}, paused: map[string]bool{}, circuits: []string{modelAccount, "read", "write"},
		names: circuitNames, probes: map[string]*probe{}, epochs: map[string]int64{}, goodAt: map[string]time.Time{},
		disk: &disk{}, seed: rapid.Uint64().Draw(rt, "random numbers"), history: fnv.New64a(),
	}
	client.AddHook(diskHook{f.disk})
	f.forgets = rapid.Bool().Draw(rt, "Redis may forget its last seconds")
	if rapid.IntRange(0, 3).Draw(rt, "an endpoint is ill") == 0 {
		f.ill = rapid.SampledFrom([]string{"read", "write"}).Draw(rt, "endpoint")
		f.illness = rapid.SampledFrom([]string{"transient", "permission"}).Draw(rt, "illness")
	}
	var err error
	f.producer, err = tasks.NewProducer(client, tasks.ProducerConfig{})
	f.must(err)
	f.records, err = records.New(client)
	f.must(err)
	for range modelWorkers {
		f.procs = append(f.procs, f.newProc())
	}
	f.counters = newCounters(f.procs[0].w.accounts[modelUpstream].plan)
	return f
}

func (f *fleet) newProc() *proc {
	w, err := New(Config{Redis: f.client, Upstreams: []Upstream{{
		Name: modelUpstream, Policy: f.pol, Timeout: modelTimeout, Concurrency: f.account.concurrency,
		Limits: f.account.limits, Budget: f.account.budget, CostPerCall: modelPrice,
	}}})
	f.must(err)
	f.must(Handle(w, modelUpstream, func(ctx context.Context, j *Job[modelRead]) (string, error) {
		return stepOf(ctx).request(ctx, j.MarkSent)
	}))
	f.must(Handle(w, modelUpstream, func(ctx context.Context, j *Job[modelWrite]) (string, error) {
		return stepOf(ctx).request(ctx, j.MarkSent)
	}))
	f.seed++
	w.random = rand.New(rand.NewPCG(f.seed, 0)).Int64N
	p := &proc{w: w}
	f.must(w.beat(f.ctx, &p.watch))
	return p
}

// answerTo returns what the API answers to a call.
func (f *fleet) answerTo(c *modelCall) string {
	switch {
	case f.cured:
	case c.fault != "":
		return c.fault
	case c.endpoint == f.ill:
		return f.illness
	}
	return f.mood
}

// good reports whether neither the call nor its endpoint has a fault.
func (f *fleet) good(c *modelCall) bool { return c.fault == "" && c.endpoint != f.ill }

func (f *fleet) must(err error) {
	if err != nil {
		f.rt.Helper()
		f.rt.Fatal(err)
	}
}

// broken records a violation; the next check fails with it.
func (f *fleet) broken(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.problems = append(f.problems, fmt.Sprintf(format, args...))
}

// logEvent records what happened, for the reader of a failure and for the history.
func (f *fleet) logEvent(format string, args ...any) {
	fmt.Fprintf(f.history, format+"\n", args...)
	f.log(format, args...)
}

// log records an event for the reader of a failure only.
func (f *fleet) log(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.story = append(f.story, time.Now().Format("15:04:05.000 ")+fmt.Sprintf(format, args...))
}

func (f *fleet) describe() string {
	var b strings.Builder
	for _, line := range f.story {
		b.WriteString("\n\t" + line)
	}
	for _, name := range f.circuits {
		fmt.Fprintf(&b, "\n%s: %+v", name, f.look(name))
	}
	for _, s := range f.steps {
		fmt.Fprintf(&b, "\n%s: paused %v, before %s", s, s.paused, s.at)
	}
	for _, queue := range tasks.Queues(modelUpstream) {
		for _, list := range []string{"pending", "active"} {
			fmt.Fprintf(&b, "\n%s %s: %v", queue, list, f.client.LRange(f.ctx, asynqKey(queue, list), 0, -1).Val())
		}
		for _, set := range []string{"lease", "retry", "scheduled", "archived"} {
			fmt.Fprintf(&b, "\n%s %s: %v", queue, set, f.client.ZRangeWithScores(f.ctx, asynqKey(queue, set), 0, -1).Val())
		}
	}
	for _, id := range f.ids {
		fmt.Fprintf(&b, "\n%s: %v", id, f.client.HGetAll(f.ctx, f.record(id)).Val())
	}
	return b.String()
}

// String names a step for the story.
func (s *step) String() string {
	for i, p := range s.f.procs {
		if p == s.proc && s.delivery != nil {
			return fmt.Sprintf("worker %d, call %s", i, s.delivery.Key)
		} else if p == s.proc {
			return fmt.Sprintf("worker %d", i)
		}
	}
	return "a worker that is gone"
}

func (f *fleet) record(id string) string { return "callq:{" + f.calls[id].queue + "}:c:" + id }

func (f *fleet) key(name string) string {
	return redislua.CircuitKey(modelUpstream, strings.Replace(f.names[name].Endpoint, " ", "~", 1))
}

func (f *fleet) hget(key, field string) string { return f.mini.HGet(key, field) }

func (f *fleet) number(key, field string) int64 {
	n, _ := strconv.ParseInt(f.hget(key, field), 10, 64)
	return n
}

// circuitLook is a circuit's record as Redis has it; times in ms.
type circuitLook struct {
	open                                     bool
	token, hold                              string
	epoch, until, rung, turn, lease, limited int64
	endpoints                                int64
}

func (f *fleet) look(name string) circuitLook {
	key := f.key(name)
	return circuitLook{
		open: f.hget(key, "state") == "open", token: f.hget(key, "token"), hold: f.hget(key, "hold"), epoch: f.number(key, "epoch"),
		until: f.number(key, "until"), rung: f.number(key, "rung"), turn: f.number(key, "turn"),
		lease: f.number(key, "lease"), limited: f.number(key, "limited"), endpoints: f.number(key, "endpoints"),
	}
}

func (f *fleet) lookAll() map[string]circuitLook {
	all := map[string]circuitLook{}
	for _, name := range f.circuits {
		all[name] = f.look(name)
	}
	if f.lost > 0 && all[modelAccount].epoch >= f.lost {
		f.lost, f.keeper = 0, nil
	}
	return all
}

// forgetProbe records that an operator has ended a circuit's probe.
func (f *fleet) forgetProbe(name string) { delete(f.probes, name) }

// open counts the calls that are not ended.
func (f *fleet) open() int {
	n := 0
	for _, id := range f.ids {
		if f.hget(f.record(id), "state") == "open" {
			n++
		}
	}
	return n
}
