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
	// patience is how long a fleet may take for one step on a busy machine.
	patience = 4 * time.Minute
)

// setup configures a fleet. The zero value is a fleet of the size that the
// environment asks for, on a Redis of its own, with the preset patsnap, against
// an API that answers all calls with success.
type setup struct {
	size
	// client and url are those of the Redis.
	client redis.UniversalClient
	url    string
	// policy is what a policy file says beyond "extends: patsnap", as YAML.
	policy string
	// settings are more keys of the upstream, as YAML: `limits: ["10/s"]`, say.
	settings string
	// together is how many calls at once the upstream takes; 0 stands for places.
	together int
	// others are further upstreams at the same API, by their names, each with its
	// keys as YAML.
	others map[string]string
	// api is the simulated API.
	api simapi.Config
}

// fleet is some processes of "callq work" with their Redis and their API. It ends
// with its test. Its methods are for the test's goroutine.
type fleet struct {
	t *testing.T
	setup
	// sim is the API; its log says when which call arrived, and with [workerHeader]
	// from which process.
	sim       *simapi.Server
	producer  *tasks.Producer
	books     *ledger.Ledger
	circuits  *circuit.Store
	inspector *asynq.Inspector
	processes []*process
	// added counts the processes that were started: no two have the same name.
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
		t: t, setup: s, sim: simapi.New(s.api), producer: producer, books: ledger.New(s.client),
		circuits: circuit.NewStore(s.client, "test"), inspector: asynq.NewInspectorFromRedisClient(s.client),
	}
	f.startAll()
	return f
}

// startAll starts as many processes as the fleet has, and returns when they work.
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

// restart has all processes drain, and starts others with what the fleet's
// settings are by now.
func (f *fleet) restart() {
	f.t.Helper()
	for _, p := range f.processes {
		if status := p.terminate(); status != 0 {
			f.t.Errorf("%s ended with status %d", p.name, status)
		}
	}
	f.startAll()
}

// add starts one more process, which may not work yet.
func (f *fleet) add() *process { return f.addOf(program(f.t)) }

// addOf is add for a program of its own, with more in its environment.
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
	add(upstream, fmt.Sprintf("concurrency: %d\n    %s", cmp.Or(f.together, f.places()), f.settings))
	for other, settings := range f.others {
		add(other, settings)
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
	f.awaitFor(patience, what, cond)
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

// awaitTime waits until a moment has come.
func (f *fleet) awaitTime(at time.Time) { <-time.After(time.Until(at)) }

// awaitAPI waits until the API's statistics meet a condition, and returns
// at once.
func (f *fleet) awaitAPI(what string, cond func(simapi.Stats) bool) {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), patience)
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

// send puts n calls into the queue, spread evenly over the priorities (without
// any, all are normal). Their paths are /BATCH/0, /BATCH/1…
func (f *fleet) send(batch string, n int, priorities ...tasks.Priority) {
	f.t.Helper()
	if len(priorities) == 0 {
		priorities = []tasks.Priority{tasks.PriorityNormal}
	}
	f.sendCalls(batch, n, func(i int, c *tasks.Call) { c.Priority = priorities[i%len(priorities)] })
}

// sendCalls is send for calls that each puts right, by their number from 0.
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

// circuit reads the account's circuit as it is now.
// follow returns a client for the fleet's Redis.
func (f *fleet) follow() *tasks.Client {
	f.t.Helper()
	c, err := tasks.NewClient(f.setup.client, tasks.ClientConfig{})
	if err != nil {
		f.t.Fatal(err)
	}
	return c
}

func (f *fleet) circuit() circuit.Record {
	f.t.Helper()
	r, err := f.circuits.Get(f.t.Context(), circuit.Name{Upstream: upstream})
	if err != nil {
		f.t.Fatal(err)
	}
	return r
}

// awaitHold waits for a hold of a later epoch than the given one, then until no
// call is in progress any more and none can arrive that was admitted before, and
// returns how the circuit stands then.
func (f *fleet) awaitHold(after int64) circuit.Record {
	f.t.Helper()
	f.awaitOpen(after)
	f.awaitTime(time.Now().Add(f.slack()))
	ctx, cancel := context.WithDeadline(f.t.Context(), f.circuit().Until)
	defer cancel()
	err := f.sim.WaitFor(ctx, func(s simapi.Stats) bool { return s.InFlight == 0 })
	r := f.circuit()
	if err != nil || !r.Held(time.Now()) {
		f.t.Fatalf("the hold was over before all calls had ended that were in progress: %v; %s", err, inWords(f.arrivals(r.Since.Add(f.slack()), time.Time{}), r.Until))
	}
	return r
}

// awaitOpen waits for a hold of a later epoch than the given one, and returns it.
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
	b, err := f.books.Batch(f.t.Context(), batch)
	if err != nil {
		f.t.Fatal(err)
	}
	return b.Counts
}

// awaitEnded waits until no call of the batch is open, except the given number.
func (f *fleet) awaitEnded(batch string, save int64) {
	f.t.Helper()
	f.await("the calls to end", func() bool { return f.counts(batch).Open <= save })
}

// wantBooks audits a batch: its counts add up, and its records agree with them.
func (f *fleet) wantBooks(batch string) {
	f.t.Helper()
	findings, err := f.books.Audit(f.t.Context(), batch, tasks.TaskID)
	if err != nil {
		f.t.Fatal(err)
	}
	for _, finding := range findings {
		f.t.Errorf("the ledger of %s: %s (%v)", batch, finding.Problem, finding.Keys)
	}
}

// wantDone checks that n calls of the batch are done with so many attempts each, and
// that the API has done the work of each of them once.
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
			f.t.Errorf("%s ended %s (%s) with %d attempts, and the API did it %d times", r.Key, r.State, r.Class, r.Attempts, worked[r.Path])
		}
	}
	if done != n || wrong > 0 {
		f.t.Errorf("%d calls of %s were done once with %d attempts, %d were not; want %d and none", done, batch, attempts, wrong, n)
	}
}

// arrivals returns the calls that reached the API from one moment on until before
// another, in their order. A zero moment is no bound.
func (f *fleet) arrivals(from, to time.Time) []simapi.Call {
	var list []simapi.Call
	for _, c := range f.sim.Calls() {
		if !c.At.Before(from) && (to.IsZero() || c.At.Before(to)) {
			list = append(list, c)
		}
	}
	return list
}

// inWords returns some arrivals for a test's message, by the time since a
// moment.
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
