package fleettest

import (
	"fmt"
	"testing"
	"time"

	"github.com/seed-2903acc3/callq/worker/simapi"
)

// four returns the size of a fleet of four processes, each with this concurrency.
func four(t *testing.T, concurrency int) size {
	t.Helper()
	s := fleetSize(t)
	s.processes, s.concurrency = 4, concurrency
	return s
}

func TestAFleetUsesItsRateAndNeverExceedsIt(t *testing.T) {
	unlessMeasured(t)
	perSecond, long, used := 100, 13*time.Second, 0.50
	s := four(t, 16)
	if s.full {
		perSecond, long, used = 200, 40*time.Second, 0.99
	}
	const batch, window = "b", 10 * time.Second
	n := perSecond * int(long/time.Second)
	f := start(t, setup{size: s, settings: fmt.Sprintf(`limits: ["%d/s"]`, perSecond), api: simapi.Config{Latency: simapi.Latency{Min: 20 * time.Millisecond}}})
	began := time.Now()
	f.send(batch, n)
	f.awaitEnded(batch, 0)
	f.wantDone(batch, n, 1)
	f.wantBalanced(batch)
	calls := f.arrivals(time.Time{}, time.Time{})
	for i, c := range calls {
		// On a busy machine a call can be late. It can be early only by the error of a
		// worker's estimate of Redis's clock.
		const unknown = 100 * time.Millisecond
		turn := began.Add(time.Duration(i) * time.Second / time.Duration(perSecond))
		if c.At.Before(turn.Add(-unknown)) {
			t.Fatalf("call %d arrived %s before its turn at %d/s", i+1, turn.Sub(c.At), perSecond)
		}
	}
	may := perSecond * int(window/time.Second)
	fewest, most := windows(calls, window)
	t.Logf("%d calls may be made in %s; %d to %d were (%.2f%% to %.2f%%)", may, window,
		fewest, most, 100*float64(fewest)/float64(may), 100*float64(most)/float64(may))
	// Calls that a busy machine holds up arrive together with later ones.
	if s.full && most > may {
		t.Errorf("%d calls arrived within %s, want at most %d", most, window, may)
	}
	if float64(fewest) < used*float64(may) {
		t.Errorf("%d calls arrived within %s of %d that may be made, want %.0f%%", fewest, window, may, 100*used)
	}
	by := map[string]int{}
	for _, c := range f.sim.Calls() {
		by[c.Headers[workerHeader]]++
	}
	if len(by) != s.processes {
		t.Errorf("the calls were made by %v, want all %d processes to take part", by, s.processes)
	}
}

func TestAFleetFindsAHiddenRateAndStaysJustUnderIt(t *testing.T) {
	t.Parallel()
	s := four(t, 16)
	// The rates that the API has one after another, how long each lasts, and the time that the
	// fleet has to adapt to it.
	rates, long, known := []float64{50}, 25*time.Second, 10*time.Second
	refused, used := 0.15, 0.30
	if s.full {
		rates, long, known = []float64{100, 30, 100}, 2*time.Minute, time.Minute
		refused, used = 0.01, 0.90
	}
	f := start(t, setup{size: s, settings: "limits: [adaptive]", api: simapi.Config{
		Rate: simapi.Rate{PerSecond: rates[0]}, Latency: simapi.Latency{Min: 20 * time.Millisecond},
	}})
	total := 0.0
	for _, rate := range rates {
		total += rate * 1.1 * long.Seconds()
	}
	f.send("b", int(total))
	for i, rate := range rates {
		if i > 0 {
			f.sim.SetRate(simapi.Rate{PerSecond: rate})
		}
		began := time.Now()
		f.awaitTime(began.Add(long))
		from, to := began.Add(known), began.Add(long)
		calls := f.arrivals(from, to)
		no := 0
		for _, c := range calls {
			if c.Answer != "ok" {
				no++
			}
		}
		share, use := float64(no)/float64(max(len(calls), 1)), float64(len(calls)-no)/(rate*to.Sub(from).Seconds())
		t.Logf("%.0f/s: %.1f%% used, %d of %d calls refused (%.2f%%)", rate, 100*use, no, len(calls), 100*share)
		if share >= refused || use <= used {
			t.Errorf("at %.0f/s %.2f%% of the calls were refused and %.1f%% of the rate were used, want under %.0f%% and over %.0f%%",
				rate, 100*share, 100*use, 100*refused, 100*used)
		}
	}
}

func TestAFleetMakesNoMoreCallsAtOnceThanItsConcurrency(t *testing.T) {
	t.Parallel()
	const batch, together = "b", 10
	s := four(t, 10)
	s.calls /= 4
	f := start(t, setup{size: s, together: together, api: simapi.Config{Latency: simapi.Latency{Min: 100 * time.Millisecond}}})
	f.send(batch, s.calls)
	f.awaitEnded(batch, 0)
	f.wantDone(batch, s.calls, 1)
	f.wantBalanced(batch)
	if most := f.sim.Stats().MaxConcurrent; most != together {
		t.Errorf("%d calls were made at once, want %d", most, together)
	}
	if !s.full {
		return
	}

	// The calls of a killed process count as in flight until asynq's leases end.
	f.script("shared * * -> hang=5s x%d; ok forever", together)
	f.send("hung", together)
	f.awaitAPI("the calls to hang", func(s simapi.Stats) bool { return s.InFlight == together })
	var dead *process
	lost := 0
	for _, c := range f.arrivals(time.Time{}, time.Time{})[s.calls:] {
		if dead == nil {
			dead = f.process(c.Headers[workerHeader])
		}
		if c.Headers[workerHeader] == dead.name {
			lost++
		}
	}
	dead.kill()
	killed := time.Now()
	f.script("shared * * -> ok latency=1s forever")
	f.send("after", 60*together)
	f.awaitAPI("the whole concurrency to be used again", func(s simapi.Stats) bool { return time.Since(killed) > 10*time.Second && s.InFlight == together })
	t.Logf("%d of %d calls at once were lost with their process, and possible again %s later", lost, together, time.Since(killed))
	if back := time.Since(killed); back > 45*time.Second {
		t.Errorf("%d calls at once were possible again %s after their process was killed, want asynq's lease of 30 s", lost, back)
	}
	if most := f.sim.Stats().MaxConcurrent; most != together {
		t.Errorf("%d calls were made at once, want %d", most, together)
	}
}
