package worker

import (
	"flag"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
)

// Three workers run the real code with the real scripts, and pause before every
// command to Redis and before and after each request to the API, so that every order of
// their steps is possible. rapid draws the order. It also kills and freezes workers, loses
// replies, lets time pass, acts as an operator, and chooses the API's answers. Redis uses
// the clock of the workers' bubble, and time passes only when the model lets it pass.
func TestTheInvariantsHoldForRandomHistoriesOfAFleet(t *testing.T) {
	// A step is a script on miniredis: about a millisecond under -race.
	modelFlag(t, "rapid.checks", "15")
	modelFlag(t, "rapid.steps", modelSteps)
	pol := modelPolicyOf(t)
	rapid.Check(t, func(rt *rapid.T) { live(t, rt, pol) })
}

// live runs one fleet from its start to its end, and returns a hash of its history.
func live(t *testing.T, rt *rapid.T, pol *policy.Policy) (history uint64) {
	// rapid fails and discards a run by a panic, which may not leave the bubble
	// by itself.
	var panicked any
	synctest.Test(t, func(t *testing.T) {
		defer func() { panicked = recover() }()
		client, mini := redistest.Mini(t)
		client.AddHook(stepHook{})
		f := newFleet(rt, client, mini, pol)
		defer f.disband()
		for range modelCalls / 2 {
			f.submit(rt)
		}
		f.changeAnswers(rt)
		rt.Repeat(map[string]func(*rapid.T){
			"submit": f.submit, "take": f.take, "take more": f.take, "take much more": f.takeAll, "take all": f.takeAll,
			"step": f.step, "step more": f.step, "step much more": f.step, "step on": f.run, "step further": f.run,
			"step ahead": f.step, "step forth": f.step, "step far": f.run,
			"kill": f.kill, "freeze": f.freeze, "thaw": f.thaw, "late": f.late, "silent": f.silent, "drain": f.stop,
			"a moment": f.moment, "a moment more": f.moment, "to the end of the hold": f.toTheEnd, "beyond a lease": f.beyond, "to the turn": f.toTheTurn,
			"recover":   f.recoverAll,
			"slow disk": f.slowDisk, "written": f.written, "crash": f.crash, "fall together": f.fallTogether, "stall": f.stall, "kill in turn": f.killInTurn,
			"refresh": f.refresh, "fail over": f.failOver, "operate": f.operate, "pause": f.pause, "redrive": f.redrive,
			"answers": f.changeAnswers, "": f.check,
		})
		f.close()
		history = f.history.Sum64()
	})
	switch {
	case panicked == nil:
	case fmt.Sprintf("%T", panicked) == "rapid.invalidData":
		panic(panicked) // on a separate line: rapid distinguishes failures by it
	default:
		panic(panicked)
	}
	return history
}

// modelFlag sets one of rapid's flags, unless the command line has.
func modelFlag(t *testing.T, name, value string) {
	t.Helper()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == name })
	if given {
		return
	}
	before := flag.Lookup(name).Value.String()
	if err := flag.Set(name, value); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = flag.Set(name, before) })
}

const (
	modelUpstream = "api"
	modelBatch    = "b"
	modelPolicy   = `version: 1
name: model
extends: patsnap
backoffs:
  standard: {floor: 1s, base: 1s, cap: 10s, attempts: 4, max_age: 24h}
  brief: {floor: 1s, base: 1s, cap: 10s, attempts: 3, max_age: 24h}
holds:
  quota: {sources: [retry-after, ladder], max: 25h, ladder: [1m, 5m, 15m]}
  rate: {sources: [retry-after, ladder], max: 25h, ladder: [1s, 2s, 4s]}
  permission: {sources: [retry-after, ladder], max: 25h, ladder: [20s, 1m]}
  credential: {sources: [ladder], max: 25h, ladder: [1m]}
  outage: {sources: [ladder], max: 25h, ladder: [10s]}
breaker: {window: 30s, min_calls: 4, ratio: 0.5}
`
)

// modelAnswers are the API's answers. A job's code that returns no failure has
// succeeded.
var modelAnswers = map[string]*policy.Failure{
	"ok":          nil,
	"quota":       {Status: 429, Code: "67200001"},
	"quota until": {Status: 429, Code: "67200001", RetryAfter: 90 * time.Second},
	"quota soon":  {Status: 429, Code: "67200001", RetryAfter: 5 * time.Second},
	"rate":        {Status: 429, Code: "67200002"},
	"transient":   {Status: 503},
	"auth":        {Status: 401, Code: "67200003"},
	"permission":  {Status: 403, Code: "67200004"},
	"silence":     {MaybeSent: true},
}

// parked reports whether an answer puts a call back without spending an attempt; auth
// does so for a probe.
func parked(answer string) bool {
	return strings.HasPrefix(answer, "quota") || answer == "rate" || answer == "permission"
}

// scenario is an account's limits.
type scenario struct {
	limits, budget []string
	concurrency    int
}

var scenarios = []scenario{
	{concurrency: 3},
	{concurrency: 2, limits: []string{"2/s burst 2"}},
	{concurrency: 3, limits: []string{"4/h"}},
	{concurrency: 2, limits: []string{"3/s", "5/h"}},
	{concurrency: 3, limits: []string{"1/s burst 3"}, budget: []string{"6 calls/day"}},
	{concurrency: 3, budget: []string{"0.05 USD/h"}},
}

const (
	modelWorkers  = 3
	modelCalls    = 10
	modelPrice    = "0.01"
	modelSteps    = "140"
	modelLease    = 30 * time.Second // asynq's
	modelTimeout  = DefaultTimeout
	modelAccount  = "account"
	modelUnlisted = ""
)

// modelRead and modelWrite are the jobs: one may be made twice, the other not.
type (
	modelRead  struct{ N int }
	modelWrite struct{ N int }
)

func (modelRead) Kind() string  { return "read" }
func (modelWrite) Kind() string { return "write" }

func (f *fleet) submit(t *rapid.T) {
	if len(f.ids) >= modelCalls {
		t.Skip("enough calls")
	}
	id := f.enqueue(rapid.Bool().Draw(t, "idempotent"),
		rapid.SampledFrom([]tasks.Priority{tasks.PriorityNormal, tasks.PriorityNormal, tasks.PriorityHigh, tasks.PriorityLow}).Draw(t, "priority"))
	f.calls[id].fault = rapid.SampledFrom(modelFaults).Draw(t, "its own fault")
}

// modelFaults are how the API answers a call that it always answers alike; empty is a good
// call, as most are.
var modelFaults = []string{"", "", "", "", "", "", "", "quota", "quota soon", "rate", "permission", "transient", "auth"}

func (f *fleet) enqueue(idempotent bool, priority tasks.Priority) string {
	endpoint := "read"
	if !idempotent {
		endpoint = "write"
	}
	c := &modelCall{
		queue: tasks.Queue(modelUpstream, priority), idempotent: idempotent, priority: priority, endpoint: endpoint,
		spent: map[int]int{}, sent: map[int]int{},
	}
	id := f.send(len(f.ids), c)
	f.calls[id] = c
	f.ids = append(f.ids, id)
	return id
}

// take makes a worker ask for its next call.
func (f *fleet) take(t *rapid.T) {
	p := f.awake(t)
	if p.drained {
		t.Skip("it drains")
	}
	f.begin(p, rapid.SampledFrom(tasks.Queues(modelUpstream)).Draw(t, "queue"), rapid.IntRange(0, 2).Draw(t, "more"))
}

// takeAll makes every worker ask for a call.
func (f *fleet) takeAll(*rapid.T) {
	for _, p := range f.procs {
		if !p.frozen && !p.drained {
			f.begin(p, modelUpstream, 0)
		}
	}
}

// seldom skips an action three times of four.
func seldom(t *rapid.T) {
	if rapid.IntRange(0, 3).Draw(t, "really") < 3 {
		t.Skip("not now")
	}
}

// step wakes one paused step once.
func (f *fleet) step(t *rapid.T) {
	s := f.ready(t)
	f.wake(s, rapid.IntRange(0, 24).Draw(t, "the reply is lost") == 24)
}

// run wakes one step several times without the others.
func (f *fleet) run(t *rapid.T) {
	s := f.ready(t)
	for range rapid.IntRange(2, 8).Draw(t, "steps") {
		if !s.paused {
			return
		}
		f.wake(s, false)
	}
}

// kill ends a worker at once and starts another instead.
func (f *fleet) kill(t *rapid.T) {
	seldom(t)
	i := rapid.IntRange(0, modelWorkers-1).Draw(t, "worker")
	if f.keeper == f.procs[i] {
		t.Skip("only this worker has what Redis has lost")
	}
	f.logEvent("worker %d is killed", i)
	f.end(f.procs[i])
	f.procs[i] = f.newProc()
}

// freeze stops a worker with its heartbeat, as when a laptop is closed.
func (f *fleet) freeze(t *rapid.T) {
	seldom(t)
	p := f.awake(t)
	f.logEvent("worker %d freezes", slices.Index(f.procs, p))
	p.frozen = true
}

// late freezes a worker until others have its calls, and lets it continue then.
func (f *fleet) late(t *rapid.T) {
	seldom(t)
	p := f.ready(t).proc
	f.logEvent("worker %d sleeps until its leases have ended", slices.Index(f.procs, p))
	p.frozen = true
	f.pass(modelLease + 2*time.Second)
	f.recover()
	f.pass(time.Second)
	for _, other := range f.procs {
		if !other.frozen && !other.drained {
			f.begin(other, modelUpstream, 1)
		}
	}
	p.frozen = false
}

// silent pauses a worker until it is declared dead and others have its calls,
// though their leases last, and lets it continue then.
func (f *fleet) silent(t *rapid.T) {
	seldom(t)
	p := f.ready(t).proc
	f.logEvent("worker %d is silent until it is declared dead", slices.Index(f.procs, p))
	p.frozen = true
	f.beats()
	f.takeAll(t)
	if rapid.Bool().Draw(t, "they continue") {
		for range 12 {
			for _, s := range slices.Clone(f.steps) {
				if s.paused && !s.proc.frozen {
					f.wake(s, false)
				}
			}
		}
	}
	p.frozen = false
}

func (f *fleet) thaw(t *rapid.T) {
	for _, p := range f.procs {
		if p.frozen {
			p.frozen = false
			return
		}
	}
	t.Skip("none is frozen")
}

// stop makes a worker drain. A worker that has drained is replaced by another.
func (f *fleet) stop(t *rapid.T) {
	seldom(t)
	p := f.awake(t)
	if p == f.keeper {
		t.Skip("only this worker has what Redis has lost")
	}
	if !p.drained {
		p.drained = true
		close(p.w.draining)
		synctest.Wait()
		return
	}
	if slices.ContainsFunc(f.steps, func(s *step) bool { return s.proc == p }) {
		t.Skip("it still drains")
	}
	f.procs[slices.Index(f.procs, p)] = f.newProc()
	f.end(p)
}

func (f *fleet) moment(t *rapid.T) {
	f.pass(time.Duration(rapid.SampledFrom([]int{1, 100, 400, 1000, 3000, 12000}).Draw(t, "ms")) * time.Millisecond)
}

// toTheEnd lets time pass until a hold ends, or a millisecond less.
func (f *fleet) toTheEnd(t *rapid.T) {
	name := rapid.SampledFrom(f.circuits).Draw(t, "circuit")
	c := f.look(name)
	left := time.Until(time.UnixMilli(max(c.until, c.limited)))
	if left <= 0 || left > 2*time.Hour {
		t.Skip("no hold")
	}
	f.pass(max(left-time.Duration(rapid.IntRange(-1, 1).Draw(t, "early"))*time.Millisecond, 0))
}

func (f *fleet) beyond(t *rapid.T) {
	seldom(t)
	f.pass(rapid.SampledFrom([]time.Duration{31 * time.Second, 62 * time.Second, 3 * time.Minute}).Draw(t, "time"))
}

// toTheTurn lets time pass until shortly before or after the hour, when windows turn.
func (f *fleet) toTheTurn(t *rapid.T) {
	seldom(t)
	off := rapid.SampledFrom([]int{-700, -300, -1, 0, 300}).Draw(t, "ms")
	f.pass(time.Until(time.Now().Truncate(time.Hour).Add(time.Hour + time.Duration(off)*time.Millisecond)))
}
