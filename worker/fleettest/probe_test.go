package fleettest

import (
	"testing"
	"time"

	"github.com/seed-2903acc3/callq/worker/simapi"
)

func TestAProbeThatDiesWithItsWorkerIsFollowedByOneOtherWhenItsLeaseEnds(t *testing.T) {
	t.Parallel()
	// A probe's lease covers three requests (the call, a new credential, the call
	// again) and 15 s more.
	const timeout, lease = 3 * time.Second, 3*3*time.Second + 15*time.Second
	const batch = "b"
	s := fleetSize(t)
	s.calls /= 4
	f := start(t, setup{size: s, settings: "timeout: 3s"})
	f.script("shared * * -> ok x%d latency=20ms; %s retry-after=%d latency=20ms forever", s.calls/4, quota, s.seconds())
	f.send(batch, s.calls)
	hold := f.awaitHold(0)
	f.script("shared * * -> hang; ok latency=300ms; ok forever")
	f.awaitAPI("the probe", func(s simapi.Stats) bool { return s.ByAnswer["hang"] > 0 })
	f.process(f.probeAfter(hold).Headers[workerHeader]).kill()
	f.awaitAPI("the killed probe to leave", func(s simapi.Stats) bool { return s.InFlight == 0 })
	lost := f.probeAfter(hold)
	if lost.Done.Sub(lost.At) >= timeout {
		t.Fatalf("the probe's worker was killed %s after its arrival, when the call was over: this shows nothing", lost.Done.Sub(lost.At))
	}

	// The lost call itself waits for the end of asynq's lease.
	f.awaitEnded(batch, 1)
	f.wantDone(batch, s.calls-1, 1)
	f.wantBooks(batch)
	wantOneProbe(t, f, hold, hold.Until.Add(lease))
	healing := f.arrivals(hold.Until.Add(lease), time.Time{})
	if len(healing) == 0 {
		t.Fatal("no call arrived after the lease")
	}
	if late := healing[0].At.Sub(lost.At.Add(lease)); late > s.promptly(2*time.Second) {
		t.Errorf("the second probe arrived %s after the lease of the first", late)
	}
	if calls := f.arrivals(healing[0].At, healing[0].Done); len(calls) != 1 {
		t.Errorf("%d calls arrived before the second probe's verdict was known: %s", len(calls), inWords(calls, healing[0].At))
	}
	if !s.full {
		return
	}
	f.awaitEnded(batch, 0)
	f.wantDone(batch, s.calls, 1)
	f.wantBooks(batch)
}

func TestAWorkerThatDrainsStillTellsTheFleetWhatItsProbeMet(t *testing.T) {
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
	f.wantBooks(batch)
	probe := wantOneProbe(t, f, hold, f.probeAfter(hold).Done)
	if probe.Answer != "ok" || probe.ClientGone {
		t.Errorf("the worker did not wait for its probe: %+v", probe)
	}
	if next := f.arrivals(probe.Done, time.Time{}); len(next) == 0 || next[0].At.Sub(probe.Done) > s.promptly(2*time.Second) {
		t.Errorf("the fleet did not go on after the probe's success: %s", inWords(next, probe.Done))
	}
}
