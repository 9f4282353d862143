package fleettest

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/ledger"
	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
	"github.com/seed-2903acc3/callq/worker/circuit"
	"github.com/seed-2903acc3/callq/worker/simapi"
)

const (
	// upstream is the one API of every fleet. The slots of its three queues are
	// far apart; see [redistest.ClusterServer].
	upstream = "patsnap"
	// workerHeader is the header by which the API's log shows which process made a call.
	workerHeader = "X-Worker"
	// waitTimeout is how long a test waits for one step of a fleet on a busy machine.
	waitTimeout = 4 * time.Minute
)

// setup configures a fleet. The zero value is a fleet of the size that the
// environment asks for, on its own Redis, with the preset patsnap, against
// an API that answers all calls with success.
type setup struct {
	size
	// client and url connect to the Redis.
	client redis.UniversalClient
	url    string
	// policy is what a policy file has after "extends: patsnap", as YAML.
	policy string
	// settings are more keys of the upstream, as YAML: `limits: ["10/s"]`, say.
	settings string
	// together is the upstream's concurrency; 0 means the fleet's capacity.
	together int
	// others are further upstreams at the same API, by their names, each with its
	// keys as YAML.
	others map[string]string
	// notify is a receiver of events, as YAML; empty for none.
	notify string
	// api is the simulated API.
	api simapi.Config
}

// fleet is some processes of "callq work" with their Redis and their API. It ends with its
// test. Only the test's goroutine may call its methods.
type fleet struct {
	t *testing.T
	setup
	// sim is the API. Its log has the time of each call and, as [workerHeader], the process
	// that made it.
	sim       *simapi.Server
	producer  *tasks.Producer
	ledger    *ledger.Ledger
	circuits  *circuit.Store
	inspector *asynq.Inspector
	processes []*process
	// added counts the processes that were started; their names are made from it.
	added int
}

// start starts a fleet and returns when all its processes work.
func start(t *testing.T, s setup) *fleet {
	t.Helper()
	if s.processes == 0 {
		s.size = fleetSize(t)
	}
	if s.client == nil {
		server := redistest.Redis(t)
		s.client, s.url = server.Client, server.URL
	}
	program(t) // before anything that is timed
	s.api.LogHeaders = append(s.api.LogHeaders, workerHeader)
	producer, err := tasks.NewProducer(s.client, tasks.ProducerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	f := &fleet{
		t: t, setup: s, sim: simapi.New(s.api), producer: producer, ledger: ledger.New(s.client),
		circuits: circuit.NewStore(s.client, "test"), inspector: asynq.NewInspectorFromRedisClient(s.client),
	}
	f.startAll()
	return f
}

// startAll starts the fleet's processes, and returns when they work.
func (f *fleet) startAll() {
	f.t.Helper()
	f.processes = nil
	for range f.size.processes {
		f.processes = append(f.processes, f.add())
	}
	f.await("the processes to work", func() bool {
		for _, p := range f.processes {
			if !p.works() {
				return false
			}
		}
		return true
	})
}

// restart drains all processes, and starts others with the fleet's current settings.
func (f *fleet) restart() {
	f.t.Helper()
	for _, p := range f.processes {
		if status := p.terminate(); status != 0 {
			f.t.Errorf("%s ended with status %d, want 0", p.name, status)
		}
	}
	f.startAll()
}

// add starts one more process, which may not work yet.
func (f *fleet) add() *process { return f.addOf(program(f.t)) }

// addOf is add for another program, with more variables in its environment.
func (f *fleet) addOf(program string, env ...string) *process {
	f.t.Helper()
	f.added++
	name := fmt.Sprintf("worker-%d", f.added)
	// Each process has its own proxy to the API, so that the API's log can name it.
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Header.Set(workerHeader, name)
		f.sim.ServeHTTP(w, r)
	}))
	f.t.Cleanup(func() {
		_ = f.sim.Close() // ends the calls that hang, for which the proxy would wait
		proxy.Close()
	})
	rules := filepath.Join(f.t.TempDir(), "policy.yaml")
	if err := os.WriteFile(rules, []byte("version: 1\nname: fleet\nextends: patsnap\n"+f.policy), 0o600); err != nil {
		f.t.Fatal(err)
	}
	config := fmt.Sprintf("redis: %q\nupstreams:\n", f.url)
	add := func(upstream, settings string) {
		config += fmt.Sprintf("  %s:\n    base_url: %q\n    policy: %q\n", upstream, proxy.URL, rules)
		if settings != "" {
			config += "    " + settings + "\n"
		}
	}
	add(upstream, fmt.Sprintf("concurrency: %d\n    %s", cmp.Or(f.together, f.capacity()), f.settings))
	for other, settings := range f.others {
		add(other, settings)
	}
	if f.notify != "" {
		config += "notify:\n  - " + f.notify + "\n"
	}
	return work(f.t, program, name, config, f.concurrency, env...)
}

// process returns the process of that name.
func (f *fleet) process(name string) *process {
	f.t.Helper()
	for _, p := range f.processes {
		if p.name == name {
			return p
		}
	}
	f.t.Fatalf("there is no process %q", name)
	return nil
}

// await waits until a condition holds.
func (f *fleet) await(what string, cond func() bool) {
	f.t.Helper()
	f.awaitFor(waitTimeout, what, cond)
}

// awaitFor is await with a given time limit.
func (f *fleet) awaitFor(most time.Duration, what string, cond func() bool) {
	f.t.Helper()
	for deadline := time.Now().Add(most); !cond(); {
		if time.Now().After(deadline) {
			f.t.Fatalf("timed out waiting for %s", what)
		}
		<-time.After(10 * time.Millisecond)
	}
}

// awaitTime waits until at.
func (f *fleet) awaitTime(at time.Time) { <-time.After(time.Until(at)) }

// awaitAPI waits until the API's statistics meet a condition, and returns
// at once.
func (f *fleet) awaitAPI(what string, cond func(simapi.Stats) bool) {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), waitTimeout)
	defer cancel()
	if err := f.sim.WaitFor(ctx, cond); err != nil {
		f.t.Fatalf("timed out waiting for %s: %v", what, err)
	}
}

// script replaces the API's script; all its rules start from the beginning.
func (f *fleet) script(format string, args ...any) {
	f.t.Helper()
	if err := f.sim.Script(fmt.Sprintf(format, args...)); err != nil {
		f.t.Fatal(err)
	}
}

// send enqueues n calls, spread evenly over the priorities; without priorities all are
// normal. Their paths are /BATCH/0, /BATCH/1…
func (f *fleet) send(batch string, n int, priorities ...tasks.Priority) {
	f.t.Helper()
	if len(priorities) == 0 {
		priorities = []tasks.Priority{tasks.PriorityNormal}
	}
	f.sendCalls(batch, n, func(i int, c *tasks.Call) { c.Priority = priorities[i%len(priorities)] })
}

// sendCalls enqueues n calls, each changed by each, which gets its number from 0.
func (f *fleet) sendCalls(batch string, n int, each func(i int, c *tasks.Call)) {
	f.t.Helper()
	sum, err := f.producer.SubmitAll(f.t.Context(), batch, func(yield func(tasks.Call, error) bool) {
		for i := range n {
			c := tasks.Call{Key: fmt.Sprintf("call-%d", i), Upstream: upstream, Path: fmt.Sprintf("/%s/%d", batch, i)}
			each(i, &c)
			if !yield(c, nil) {
				return
			}
		}
	})
	if err != nil || sum.Accepted != n {
		f.t.Fatalf("%d of %d calls accepted: %v %v", sum.Accepted, n, sum.Errors, err)
	}
}

// follow returns a client for the fleet's Redis.
func (f *fleet) follow() *tasks.Client {
	f.t.Helper()
	c, err := tasks.NewClient(f.setup.client, tasks.ClientConfig{})
	if err != nil {
		f.t.Fatal(err)
	}
	return c
}

// circuit returns the account's circuit.
func (f *fleet) circuit() circuit.Record {
	f.t.Helper()
	r, err := f.circuits.Get(f.t.Context(), circuit.Name{Upstream: upstream})
	if err != nil {
		f.t.Fatal(err)
	}
	return r
}

// awaitHold waits for a hold of a later epoch than after. Then it waits until no call is in
// flight, and none that was admitted before can arrive. It returns the circuit at that time.
func (f *fleet) awaitHold(after int64) circuit.Record {
	f.t.Helper()
	f.awaitOpen(after)
	f.awaitTime(time.Now().Add(f.slack()))
	ctx, cancel := context.WithDeadline(f.t.Context(), f.circuit().Until)
	defer cancel()
	err := f.sim.WaitFor(ctx, func(s simapi.Stats) bool { return s.InFlight == 0 })
	r := f.circuit()
	if err != nil || !r.Held(time.Now()) {
		f.t.Fatalf("the hold ended before all calls in flight had ended: %v; %s", err, inWords(f.arrivals(r.Since.Add(f.slack()), time.Time{}), r.Until))
	}
	return r
}

// awaitOpen waits for a hold of a later epoch than after, and returns it.
func (f *fleet) awaitOpen(after int64) (r circuit.Record) {
	f.t.Helper()
	f.await("the account to be held", func() bool {
		r = f.circuit()
		return r.State == circuit.Open && r.Epoch > after
	})
	return r
}

// counts returns the counts of a batch.
func (f *fleet) counts(batch string) ledger.Counts {
	f.t.Helper()
	b, err := f.ledger.Batch(f.t.Context(), batch)
	if err != nil {
		f.t.Fatal(err)
	}
	return b.Counts
}

// awaitEnded waits until at most left calls of the batch are open.
func (f *fleet) awaitEnded(batch string, left int64) {
	f.t.Helper()
	f.await("the calls to end", func() bool { return f.counts(batch).Open <= left })
}

// wantBalanced audits a batch: its counts must add up and agree with its records.
func (f *fleet) wantBalanced(batch string) {
	f.t.Helper()
	findings, err := f.ledger.Audit(f.t.Context(), batch, tasks.TaskID)
	if err != nil {
		f.t.Fatal(err)
	}
	for _, finding := range findings {
		f.t.Errorf("audit of %s: %s (%v)", batch, finding.Problem, finding.Keys)
	}
}

// wantDone checks that n calls of the batch are done, each with this number of attempts, and
// that the API did the work of each of them once.
func (f *fleet) wantDone(batch string, n, attempts int) {
	f.t.Helper()
	worked := map[string]int{}
	for _, c := range f.sim.Calls() {
		if c.Answer == "ok" {
			worked[c.Path]++
		}
	}
	done, wrong := 0, 0
	for r, err := range f.follow().Results(f.t.Context(), batch) {
		if err != nil {
			f.t.Fatal(err)
		}
		if r.State == tasks.StateDone && r.Attempts == attempts && worked[r.Path] == 1 {
			done++
		} else if wrong++; wrong <= 5 {
			f.t.Errorf("%s ended as %s (%s) with %d attempts, and the API did it %d times; want done, once", r.Key, r.State, r.Class, r.Attempts, worked[r.Path])
		}
	}
	if done != n || wrong > 0 {
		f.t.Errorf("%d calls of %s were done once with %d attempts, %d were not; want %d, none not", done, batch, attempts, wrong, n)
	}
}

// arrivals returns the calls that reached the API from from until before to, in their
// order. A zero time is no bound.
func (f *fleet) arrivals(from, to time.Time) []simapi.Call {
	var list []simapi.Call
	for _, c := range f.sim.Calls() {
		if !c.At.Before(from) && (to.IsZero() || c.At.Before(to)) {
			list = append(list, c)
		}
	}
	return list
}

// inWords returns some arrivals as text for a test's message, with the time after since.
func inWords(calls []simapi.Call, since time.Time) string {
	text := ""
	for i, c := range calls {
		if i == 8 {
			return text + fmt.Sprintf("and %d more", len(calls)-i)
		}
		text += fmt.Sprintf("%s by %s at %+.3fs: %s; ", c.Path, cmp.Or(c.Headers[workerHeader], "?"), c.At.Sub(since).Seconds(), c.Answer)
	}
	return text
}
