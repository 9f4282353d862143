package fleettest

import (
	"fmt"
	"testing"
	"time"

	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/worker/simapi"
)

// other is a second upstream, with the default concurrency of 16.
const other = "other"

// sendTo is send for another upstream.
func (f *fleet) sendTo(upstream, batch string, n int) {
	f.t.Helper()
	f.sendCalls(batch, n, func(_ int, c *tasks.Call) { c.Upstream = upstream })
}

func TestIdleUpstreamsCostLittleAndDoNotSlowABusyOne(t *testing.T) {
	t.Parallel()
	s := fleetSize(t)
	s.processes, s.concurrency, s.calls = 2, 8, s.calls/2
	idle, while := 9, 4*time.Second
	if s.full {
		s.processes, idle, while = 8, 49, 10*time.Second
	}
	api := simapi.Config{Latency: simapi.Latency{Min: 50 * time.Millisecond}}
	measure := func(f *fleet) float64 {
		const batch = "busy"
		f.send("first", 10*s.capacity())
		f.awaitEnded("first", 0)
		f.send(batch, s.calls)
		f.awaitEnded(batch, 0)
		f.wantDone(batch, s.calls, 1)
		return rate(under("/busy/", f.arrivals(time.Time{}, time.Time{})))
	}
	alone := 0.0
	if s.full { // a rate can be measured on a machine that does nothing else
		f := start(t, setup{size: s, api: api})
		alone = measure(f)
		for _, p := range f.processes {
			p.terminate()
		}
	}

	others := map[string]string{}
	for i := range idle {
		others[fmt.Sprintf("idle%d", i)] = ""
	}
	f := start(t, setup{size: s, api: api, others: others})
	f.awaitTime(time.Now().Add(8 * time.Second)) // all workers have polled empty queues for a while
	f.resetCommands()
	began, cpu := time.Now(), f.redisCPU()
	f.awaitTime(began.Add(while))
	used, ran, took := f.redisCPU()-cpu, f.ran(), time.Since(began)
	commands := 0
	for _, n := range ran {
		commands += n
	}
	each := float64(commands) / took.Seconds() / float64((idle+1)*s.processes)
	share := float64(used) / float64(took)
	t.Logf("%d idle upstreams on %d processes cost Redis %.1f commands a second each and %.2f%% of a core: it ran %v", idle+1, s.processes, each, 100*share, ran)
	if each > 15 {
		t.Errorf("an idle upstream costs Redis %.1f commands a second in each process, want under 15", each)
	}
	if s.full && share > 0.05 {
		t.Errorf("%d idle upstreams on %d processes cost Redis %.2f%% of a core, want under 5%%", idle+1, s.processes, 100*share)
	}
	beside := measure(f)
	t.Logf("%.0f calls a second beside %d idle upstreams, %.0f alone", beside, idle, alone)
	if beside < 0.9*alone {
		t.Errorf("%.0f calls a second beside %d idle upstreams, %.0f alone; want 90%% of that", beside, idle, alone)
	}
}

func TestATenantDoesNotWaitForAnotherThatIsHeld(t *testing.T) {
	t.Parallel()
	s := fleetSize(t)
	many := 10 * s.calls
	if s.full {
		many = 5 * s.calls
	}
	f := start(t, setup{size: s, others: map[string]string{other: ""}, api: simapi.Config{Latency: simapi.Latency{Min: 20 * time.Millisecond}}})
	solo := f.wait("solo")
	f.pile(upstream)
	f.send("held", many)
	f.wantTwiceAtMost(solo, f.wait("beside"))
	f.wantNoArrival("/held/", time.Time{}, time.Now())
}

func TestATenantDoesNotWaitForAnotherThatIsSlow(t *testing.T) {
	t.Parallel()
	s := fleetSize(t)
	if s.full {
		s.processes, s.concurrency = 1, 64 // both tenants share the process
	}
	f := start(t, setup{size: s, others: map[string]string{other: ""}})
	f.script("* /slow/* -> ok latency=2s forever\n* * -> ok latency=20ms forever")
	solo := f.wait("solo")
	f.send("slow", s.calls)
	f.awaitAPI("the slow upstream to use the whole concurrency", func(s simapi.Stats) bool { return s.InFlight == f.capacity() })
	f.wantTwiceAtMost(solo, f.wait("beside"))
	if calls := len(under("/slow/", f.arrivals(time.Time{}, time.Time{}))); calls < f.capacity() || calls == s.calls {
		t.Errorf("%d of the slow upstream's %d calls arrived: the test proves nothing", calls, s.calls)
	}
}

// wait sends 100 calls to the other upstream and returns within what time 95 of them
// arrived.
func (f *fleet) wait(batch string) time.Duration {
	f.t.Helper()
	const n = 100
	began := time.Now()
	f.sendTo(other, batch, n)
	f.awaitEnded(batch, 0)
	calls := under("/"+batch+"/", f.arrivals(began, time.Time{}))
	if len(calls) != n {
		f.t.Fatalf("%d of %d calls arrived", len(calls), n)
	}
	return calls[n*95/100-1].At.Sub(began)
}

// wantTwiceAtMost compares a tenant's wait with its wait when it was alone.
func (f *fleet) wantTwiceAtMost(solo, beside time.Duration) {
	f.t.Helper()
	f.t.Logf("95%% of a tenant's calls arrived within %s when it was alone, within %s beside the other", solo, beside)
	if most := f.promptly(2 * solo); beside > most {
		f.t.Errorf("95%% of a tenant's calls arrived within %s beside another, within %s when it was alone; want %s", beside, solo, most)
	}
}
