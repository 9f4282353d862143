package circuit_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-2903acc3/callq/worker/circuit"
)

var detector = circuit.Detector{Window: 30 * time.Second, MinCalls: 4, Ratio: 0.5}

func pass(t *testing.T, g *circuit.Gate, r circuit.Result) (outage bool) {
	t.Helper()
	done, wait := g.Allow(endpoint.Endpoint)
	if done == nil {
		t.Fatalf("the gate is shut for %s, want open", wait)
	}
	return done(r).Account
}

func TestEnoughTransientFaultsTripTheGate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := circuit.NewGate(detector)
		for i, r := range []circuit.Result{circuit.Healthy, circuit.Failed, circuit.Healthy} {
			if pass(t, g, r) {
				t.Fatalf("call %d tripped the gate", i+1)
			}
		}
		if !pass(t, g, circuit.Failed) {
			t.Error("half of four calls failed, but the gate did not trip")
		}
		if done, _ := g.Allow(endpoint.Endpoint); done != nil {
			t.Error("a tripped gate allowed a call")
		}
	})
}

func TestFaultsOlderThanTheWindowDoNotCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := circuit.NewGate(detector)
		for range 3 {
			pass(t, g, circuit.Failed)
		}
		time.Sleep(31 * time.Second) // virtual time
		if pass(t, g, circuit.Failed) {
			t.Error("faults from before the window tripped the gate")
		}
	})
}

// gobreaker's fixed window starts at zero every 30 s: it would detect an outage late that
// lies across the start of a window.
func TestTheWindowOfFaultsIsARollingOne(t *testing.T) {
	for offset := time.Duration(0); offset < 30*time.Second; offset += 4 * time.Second {
		synctest.Test(t, func(t *testing.T) {
			g := circuit.NewGate(detector)
			time.Sleep(offset + time.Second) // virtual time
			tripped := false
			for range 4 {
				tripped = pass(t, g, circuit.Failed)
				time.Sleep(2 * time.Second)
			}
			if !tripped {
				t.Errorf("four faults within 8 s, %s after the gate was made, did not trip it", offset+time.Second)
			}
		})
	}
}

func TestAQuotaErrorTripsTheGateAtOnceAndIsNotAnOutage(t *testing.T) {
	g := circuit.NewGate(detector)
	if pass(t, g, circuit.Tripped) {
		t.Error("a quota error was reported as an outage")
	}
	if done, _ := g.Allow(endpoint.Endpoint); done != nil {
		t.Error("the gate allowed a call after a quota error")
	}
}

func TestNeutralResultsDoNotTripTheGate(t *testing.T) {
	g := circuit.NewGate(detector)
	for range 100 {
		if pass(t, g, circuit.Neutral) {
			t.Fatal("neutral results tripped the gate")
		}
	}
}

func TestAHoldShutsTheGateUntilItsEndOrANewEpoch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := circuit.NewGate(detector)
		g.Hold(1, time.Now().Add(time.Minute))
		if done, wait := g.Allow(endpoint.Endpoint); done != nil || wait != time.Minute {
			t.Errorf("wait: got %s, want a minute", wait)
		}
		g.Release(1) // the hold's own epoch
		if done, _ := g.Allow(endpoint.Endpoint); done != nil {
			t.Error("the hold's own epoch opened the gate")
		}
		g.Release(2)
		pass(t, g, circuit.Healthy)
		g.Hold(1, time.Now().Add(time.Hour)) // a report that arrives late
		pass(t, g, circuit.Healthy)
	})
}

func TestOnlyTheProbePassesAHeldGate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := circuit.NewGate(detector)
		g.Hold(1, time.Now().Add(time.Minute))
		done := g.Probe(1, endpoint.Endpoint)
		if other, _ := g.Allow(endpoint.Endpoint); other != nil {
			t.Error("a second call was allowed besides the probe")
		}
		if done(circuit.Healthy).Account {
			t.Error("a probe that succeeded was reported as an outage")
		}
		g.Release(2) // Redis has closed the circuit
		pass(t, g, circuit.Healthy)
	})
}
