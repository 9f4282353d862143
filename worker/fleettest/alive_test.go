//go:build unix

package fleettest

import (
	"math"
	"math/rand/v2"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/seed-2903acc3/callq/worker/simapi"
)

// takenUp is the time within which the calls of a killed worker are made again, 99 of
// 100 of them.
const takenUp = 10 * time.Second

func TestTheCallsOfKilledWorkersAreMadeAgainWithinTenSeconds(t *testing.T) {
	t.Parallel()
	s := faults(t)
	kills := 2
	s.concurrency, s.calls = 32, 2000
	if s.full {
		kills, s.calls = 12, 30_000 // with 4 x 32 calls at once of 500 ms each this takes two minutes
	}
	f := start(t, setup{size: s})
	f.script("* * -> ok latency=500ms forever")
	const batch = "b"
	f.send(batch, s.calls)
	var waits []time.Duration
	for i := range kills {
		f.awaitAPI("a busy fleet", func(now simapi.Stats) bool { return now.InFlight >= s.capacity()*3/4 })
		victim := f.processes[i%len(f.processes)]
		victim.kill()
		died := time.Now()
		cut := map[string]bool{}
		for _, c := range f.arrivals(time.Time{}, died) {
			if c.Headers[workerHeader] == victim.name && (c.Done.IsZero() || c.ClientGone) {
				cut[c.Path] = true
			}
		}
		if len(cut) < s.concurrency/4 {
			t.Fatalf("%s made %d calls when it was killed: the test proves nothing", victim.name, len(cut))
		}
		f.await("the calls of the killed worker to be made again", func() bool {
			for _, c := range f.arrivals(died, time.Time{}) {
				if cut[c.Path] {
					delete(cut, c.Path)
					waits = append(waits, c.At.Sub(died))
				}
			}
			return len(cut) == 0
		})
		f.processes[i%len(f.processes)] = f.add()
	}
	slices.Sort(waits)
	at := func(share float64) time.Duration { return waits[int(math.Ceil(share*float64(len(waits))))-1] }
	t.Logf("%d calls of %d killed workers were made again after %s (median), %s (p99), %s (the last one)", len(waits), kills,
		at(0.5).Round(time.Millisecond), at(0.99).Round(time.Millisecond), at(1).Round(time.Millisecond))
	if p99 := at(0.99); p99 > s.promptly(takenUp) {
		t.Errorf("99 of 100 calls were made again within %s, want %s", p99, takenUp)
	}
	f.awaitEnded(batch, 0)
	f.wantAllDoneOnce(batch, s.calls)
}

// A process that is paused keeps its connections, and the requests that it has sent reach
// the API. When it continues, Redis decides which calls it may still make.
func TestAWorkerThatIsPausedForAnyTimeLosesAndDoublesNothing(t *testing.T) {
	t.Parallel()
	s := faults(t)
	wantPauses, longest, latency := 6, 12*time.Second, 500*time.Millisecond
	s.processes, s.calls = 4, 600
	if s.full {
		wantPauses, longest, latency = 200, time.Minute, 2*time.Second
		s.processes, s.calls = 12, 12_000
	}
	random := rand.New(rand.NewPCG(seed(t), 1))
	f := start(t, setup{size: s, settings: "timeout: 10s"})
	f.script(`3%% * * -> reset-after latency=20ms; ok latency=%[1]s forever
shared * /b/*9 -> ok x%[2]d latency=50ms; %[3]s retry-after=1; ok latency=50ms forever
* * -> ok latency=%[1]s forever`, latency, s.calls/40, quota)
	const batch = "b"
	f.sendMixed(batch, s.calls)
	paused := map[*process]time.Time{} // until when
	defer func() {
		for p := range paused {
			p.signal(syscall.SIGCONT)
		}
	}()
	pauses, total := 0, time.Duration(0)
	f.awaitAPI("a busy fleet", func(now simapi.Stats) bool { return now.InFlight >= s.capacity()/2 })
	for pauses < wantPauses && f.counts(batch).Open > int64(s.capacity()) || len(paused) > 0 {
		now := time.Now()
		for p, until := range paused {
			if !now.Before(until) {
				p.signal(syscall.SIGCONT)
				delete(paused, p)
			}
		}
		// A third of the fleet keeps running, so that the pauses are noticed.
		if p := f.processes[random.IntN(len(f.processes))]; pauses < wantPauses && len(paused) < len(f.processes)*2/3 && paused[p].IsZero() {
			// Short pauses are as frequent as long ones.
			d := time.Duration(float64(time.Second) * math.Exp(random.Float64()*math.Log(longest.Seconds())))
			p.signal(syscall.SIGSTOP)
			paused[p] = now.Add(d)
			pauses++
			total += d
		}
		f.awaitTime(now.Add(50 * time.Millisecond))
	}
	if pauses < wantPauses/2 {
		t.Errorf("all calls had ended after %d of %d pauses", pauses, wantPauses)
	}
	f.awaitEnded(batch, 0)
	t.Logf("processes were stopped %d times, for %s in all", pauses, total.Round(time.Second))
	f.wantNothingLostOrTwice(batch, s.calls, pauses*s.concurrency)
	if status, output := f.callq("audit"); status != 0 {
		t.Errorf("audit ended with status %d, want 0:\n%s", status, output)
	}
}

// signal sends the process a signal.
func (p *process) signal(s syscall.Signal) {
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Errorf("%s: %v", p.name, err)
	}
}
