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
		kills, s.calls = 12, 30_000 // at 4 x 32 places and 500 ms they last two minutes
	}
	f := start(t, setup{size: s})
	f.script("* * -> ok latency=500ms forever")
	const batch = "b"
	f.send(batch, s.calls)
	var waits []time.Duration
	for i := range kills {
		f.awaitAPI("a busy fleet", func(now simapi.Stats) bool { return now.InFlight >= s.places()*3/4 })
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
// the API; when it continues, Redis decides what it may do.
func TestAWorkerThatIsPausedForAnyTimeLosesAndDoublesNothing(t *testing.T) {
	t.Parallel()
	s := faults(t)
	stops, longest, latency := 6, 12*time.Second, 500*time.Millisecond
	s.processes, s.calls = 4, 600
	if s.full {
		stops, longest, latency = 200, time.Minute, 2*time.Second
		s.processes, s.calls = 12, 12_000
	}
	dice := rand.New(rand.NewPCG(seed(t), 1))
	f := start(t, setup{size: s, settings: "timeout: 10s"})
	f.script(`3%% * * -> reset-after latency=20ms; ok latency=%[1]s forever
shared * /b/*9 -> ok x%[2]d latency=50ms; %[3]s retry-after=1; ok latency=50ms forever
* * -> ok latency=%[1]s forever`, latency, s.calls/40, quota)
	const batch = "b"
	f.sendMixed(batch, s.calls)
	still := map[*process]time.Time{} // until when
	defer func() {
		for p := range still {
			p.signal(syscall.SIGCONT)
		}
	}()
	begun, total := 0, time.Duration(0)
	f.awaitAPI("a busy fleet", func(now simapi.Stats) bool { return now.InFlight >= s.places()/2 })
	for begun < stops && f.counts(batch).Open > int64(s.places()) || len(still) > 0 {
		now := time.Now()
		for p, until := range still {
			if !now.Before(until) {
				p.signal(syscall.SIGCONT)
				delete(still, p)
			}
		}
		// A third of the fleet runs on, so that the pauses are noticed.
		if p := f.processes[dice.IntN(len(f.processes))]; begun < stops && len(still) < len(f.processes)*2/3 && still[p].IsZero() {
			// As many short ones as long ones.
			d := time.Duration(float64(time.Second) * math.Exp(dice.Float64()*math.Log(longest.Seconds())))
			p.signal(syscall.SIGSTOP)
			still[p] = now.Add(d)
			begun++
			total += d
		}
		f.awaitTime(now.Add(50 * time.Millisecond))
	}
	if begun < stops/2 {
		t.Errorf("all calls had ended after %d of %d stops", begun, stops)
	}
	f.awaitEnded(batch, 0)
	t.Logf("processes were stopped %d times, for %s in all", begun, total.Round(time.Second))
	f.wantNothingLostOrTwice(batch, s.calls, begun*s.concurrency)
	if status, said := f.callq("audit"); status != 0 {
		t.Errorf("the audit ended with status %d:\n%s", status, said)
	}
}

// signal sends the process a signal.
func (p *process) signal(s syscall.Signal) {
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Errorf("%s: %v", p.name, err)
	}
}
