package circuit_test

import (
	"slices"
	"testing"
	"time"

	"github.com/seed-2903acc3/callq/tasks/broker/brokertest"
	"github.com/seed-2903acc3/callq/tasks/ledger"
	"github.com/seed-2903acc3/callq/worker/circuit"
)

var leases = map[string]time.Duration{"api": time.Minute}

func TestOnAClusterTheCopiesOfTheOtherQueuesFollow(t *testing.T) {
	t.Parallel()
	client := brokertest.Cluster(t).Client
	store := circuit.NewStore(client, "worker")
	copies := func() (states []string) {
		for _, lane := range []string{"api", "api:high", "api:low"} {
			h, err := client.HMGet(t.Context(), ledger.CircuitKey(lane, ""), "state", "epoch").Result()
			if err != nil {
				t.Fatal(err)
			}
			state, _ := h[0].(string)
			epoch, _ := h[1].(string)
			states = append(states, state+" "+epoch)
		}
		return states
	}
	if err := store.Open(t.Context(), account, time.Hour, "test", "anna"); err != nil {
		t.Fatal(err)
	}
	if got := copies(); !slices.Equal(got, []string{"open 1", "open 1", "open 1"}) {
		t.Errorf("after opening the copies say %q", got)
	}
	// A copy that fell behind, as when its node was away, is mended.
	if err := client.Del(t.Context(), ledger.CircuitKey("api:low", "")).Err(); err != nil {
		t.Fatal(err)
	}
	if lost, err := store.Refresh(t.Context(), leases); err != nil || len(lost) != 0 {
		t.Fatalf("lost %q, %v", lost, err)
	}
	if got := copies(); !slices.Equal(got, []string{"open 1", "open 1", "open 1"}) {
		t.Errorf("after the mend the copies say %q", got)
	}
	if err := store.Close(t.Context(), account, "test", "anna"); err != nil {
		t.Fatal(err)
	}
	if got := copies(); !slices.Equal(got, []string{"closed 2", "closed 2", "closed 2"}) {
		t.Errorf("after closing the copies say %q", got)
	}
}

func TestARecordThatAFailOverLostIsWrittenBackByAWorkerThatKnowsIt(t *testing.T) {
	each(t, func(t *testing.T, d *desk) {
		d.report(account, circuit.Report{Verdict: circuit.OwnError, Cause: circuit.Cause{Reason: "quota", Code: "67200001"}})
		before := d.get(account)
		if err := d.client.Del(t.Context(), ledger.CircuitKey("api", "")).Err(); err != nil {
			t.Fatal(err)
		}
		if !d.Behind("api", 0) || d.Behind("api", 1) {
			t.Error("epoch 0 is older than the one this process knows, epoch 1 is not")
		}
		lost, err := d.Refresh(t.Context(), leases)
		if err != nil || !slices.Equal(lost, []string{"api"}) {
			t.Fatalf("lost %q, %v", lost, err)
		}
		if after := d.get(account); after != before {
			t.Errorf("the record is\n%+v, and was\n%+v", after, before)
		}
	})
}

func TestAWorkerThatKnowsLessThanRedisWritesNothingBack(t *testing.T) {
	each(t, func(t *testing.T, d *desk) {
		d.report(account, circuit.Report{Verdict: circuit.OwnError})
		other := circuit.NewStore(d.client, "other")
		if err := other.Close(t.Context(), account, "paid", "anna"); err != nil {
			t.Fatal(err)
		}
		if lost, err := d.Refresh(t.Context(), leases); err != nil || len(lost) != 0 {
			t.Fatalf("lost %q, %v", lost, err)
		}
		if r := d.get(account); r.State != circuit.Closed || r.Epoch != 2 {
			t.Errorf("the circuit is %s in epoch %d", r.State, r.Epoch)
		}
	})
}

func TestEveryChangeIsAnnounced(t *testing.T) {
	each(t, func(t *testing.T, d *desk) {
		follow := d.client.Subscribe(t.Context(), ledger.Channel)
		defer func() { _ = follow.Close() }()
		if _, err := follow.Receive(t.Context()); err != nil {
			t.Fatal(err)
		}
		d.report(account, circuit.Report{Verdict: circuit.OwnError})
		select {
		case m := <-follow.Channel():
			if m.Payload != ledger.CircuitKey("api", "") {
				t.Errorf("announced %q", m.Payload)
			}
		case <-time.After(30 * time.Second):
			t.Error("nothing was announced")
		}
	})
}

func TestAHoldThatIsOverWhenItIsWrittenBackWaitsForTheProbeThatMayBeOut(t *testing.T) {
	each(t, func(t *testing.T, d *desk) {
		d.report(account, circuit.Report{Verdict: circuit.OwnError, Delays: []time.Duration{time.Millisecond}})
		probed := circuit.NewStore(d.client, "other")
		<-time.After(20 * time.Millisecond)
		if a, err := probed.Admit(t.Context(), account, circuit.AdmitRequest{Token: "probe", Lease: time.Minute}); err != nil || !a.Probe {
			t.Fatalf("%+v, %v", a, err)
		}
		if err := d.client.Del(t.Context(), ledger.CircuitKey("api", "")).Err(); err != nil {
			t.Fatal(err)
		}
		// This worker has not seen that a probe was let out.
		if lost, err := d.Refresh(t.Context(), leases); err != nil || len(lost) != 1 {
			t.Fatalf("lost %q, %v", lost, err)
		}
		if a := d.admit(account, "second"); a.Admitted {
			t.Errorf("a second probe was let out beside the first: %+v", a)
		}
	})
}

func TestAHeldEndpointIsAskedAgainThoughRedisHasLostTheAccountsRecord(t *testing.T) {
	each(t, func(t *testing.T, d *desk) {
		r := circuit.Report{Verdict: circuit.OwnError, Call: "x#1"}
		d.report(endpoint, r)
		d.client.Del(t.Context(), "callq:{api}:circuit")
		r.Call = "y#1"
		d.report(endpoint, r)
		if n := d.client.HGet(t.Context(), "callq:{api}:circuit", "endpoints").Val(); n != "1" {
			t.Errorf("the account counts %q held endpoints, want 1: its calls would go on", n)
		}
	})
}
