package fleettest

import (
	"testing"
	"time"

	"github.com/seed-2903acc3/callq/worker/simapi"
)

func TestWhenTheProbesWorkerDiesOneOtherCallBecomesTheProbeAtTheEndOfTheLease(t *testing.T) {
	t.Parallel()
	// A probe's worker renews the probe's lease, so the timeout of the call does not matter.
	const timeout, lease = 40 * time.Second, 8 * time.Second
	const batch = "b"
	s := fleetSize(t)
	s.calls /= 4
	f := start(t, setup{size: s, settings: "timeout: 40s"})
	f.script("shared * * -> ok x%d latency=20ms; %s retry-after=%d latency=20ms forever", s.calls/4, quota, s.seconds())
	f.send(batch, s.calls)
	hold := f.awaitHold(0)
	f.script("shared * * -> hang; ok latency=300ms; ok forever")
	f.awaitAPI("the probe", func(s simapi.Stats) bool { return s.ByAnswer["hang"] > 0 })
	// Longer than its first lease, so that the lease was renewed.
	f.awaitTime(f.probeAfter(hold).At.Add(lease + 3*time.Second))
	if calls := f.arrivals(hold.Until, time.Time{}); len(calls) != 1 {
		t.Errorf("%d calls arrived during the probe, want only it: %s", len(calls), inWords(calls, hold.Until))
	}
	f.process(f.probeAfter(hold).Headers[workerHeader]).kill()
	killed := time.Now()
	f.awaitAPI("the end of the killed probe", func(s simapi.Stats) bool { return s.InFlight == 0 })
	if lost := f.probeAfter(hold); lost.Done.Sub(lost.At) >= timeout {
		t.Fatalf("the probe's worker was killed %s after its arrival, when the call was over: the test proves nothing", lost.Done.Sub(lost.At))
	}

	f.awaitEnded(batch, 0)
	f.wantBalanced(batch)
	healing := f.arrivals(killed, time.Time{})
	if len(healing) == 0 {
		t.Fatal("no call arrived after the probe was lost")
	}
	t.Logf("the second probe arrived %s after the first one's worker was killed", healing[0].At.Sub(killed).Round(time.Millisecond))
	if late := healing[0].At.Sub(killed); late > s.promptly(10*time.Second) {
		t.Errorf("the second probe arrived %s after the first one's worker was killed", late)
	}
	if calls := f.arrivals(healing[0].At, healing[0].Done); len(calls) != 1 {
		t.Errorf("%d calls arrived before the second probe's outcome was known, want only it: %s", len(calls), inWords(calls, healing[0].At))
	}
	f.wantDone(batch, s.calls, 1)
}

func TestAWorkerThatDrainsStillReportsTheResultOfItsProbe(t *testing.T) {
	t.Parallel()
	const batch = "b"
	s := fleetSize(t)
	s.calls /= 4
	f := start(t, setup{size: s})
	f.script("shared * * -> ok x%d latency=20ms; %s retry-after=%d latency=20ms forever", s.calls/4, quota, s.seconds())
	f.send(batch, s.calls)
	hold := f.awaitHold(0)
	f.script("shared * * -> ok latency=2s; ok forever")
	f.awaitAPI("the probe", func(s simapi.Stats) bool { return s.InFlight > 0 })
	p := f.process(f.probeAfter(hold).Headers[workerHeader])
	if status := p.terminate(); status != 0 {
		t.Errorf("the worker ended with status %d", status)
	}
	f.awaitEnded(batch, 0)
	f.wantDone(batch, s.calls, 1)
	f.wantBalanced(batch)
	probe := wantOneProbe(t, f, hold, f.probeAfter(hold).Done)
	if probe.Answer != "ok" || probe.ClientGone {
		t.Errorf("the worker did not wait for its probe: %+v", probe)
	}
	if next := f.arrivals(probe.Done, time.Time{}); len(next) == 0 || next[0].At.Sub(probe.Done) > s.promptly(2*time.Second) {
		t.Errorf("the fleet did not continue after the probe's success: %s", inWords(next, probe.Done))
	}
}
