package circuit_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
	"github.com/seed-2903acc3/callq/tasks/redislua"
	"github.com/seed-2903acc3/callq/worker/circuit"
)

func TestOnAClusterTheCopiesForTheOtherQueuesAreUpdated(t *testing.T) {
	t.Parallel()
	client := redistest.Cluster(t).Client
	store := circuit.NewStore(client, "worker")
	copies := func() (states []string) {
		for _, lane := range []string{"api", "api:high", "api:low"} {
			h, err := client.HMGet(t.Context(), redislua.CircuitKey(lane, ""), "state", "epoch").Result()
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
		t.Errorf("after the open: got copies %q, want open 1 three times", got)
	}
	// A copy that is out of date, for example because its node was down, is corrected.
	if err := client.Del(t.Context(), redislua.CircuitKey("api:low", "")).Err(); err != nil {
		t.Fatal(err)
	}
	if lost, err := store.Refresh(t.Context(), time.Minute, "api"); err != nil || len(lost) != 0 {
		t.Fatalf("lost records: got %q, %v", lost, err)
	}
	if got := copies(); !slices.Equal(got, []string{"open 1", "open 1", "open 1"}) {
		t.Errorf("after the refresh: got copies %q, want open 1 three times", got)
	}
	if err := store.Close(t.Context(), account, "test", "anna"); err != nil {
		t.Fatal(err)
	}
	if got := copies(); !slices.Equal(got, []string{"closed 2", "closed 2", "closed 2"}) {
		t.Errorf("after the close: got copies %q, want closed 2 three times", got)
	}
}

func TestARecordThatAFailOverLostIsWrittenBackByAWorkerThatHasReadIt(t *testing.T) {
	each(t, func(t *testing.T, d *fixture) {
		d.report(account, circuit.Report{Verdict: circuit.OwnError, Cause: circuit.Cause{Reason: "quota", Code: "67200001"}})
		before := d.get(account)
		if err := d.client.Del(t.Context(), redislua.CircuitKey("api", "")).Err(); err != nil {
			t.Fatal(err)
		}
		if !d.Behind("api", 0) || d.Behind("api", 1) {
			t.Error("want Behind true for epoch 0 and false for epoch 1, which this process has read")
		}
		lost, err := d.Refresh(t.Context(), time.Minute, "api")
		if err != nil || !slices.Equal(lost, []string{"api"}) {
			t.Fatalf("lost records: got %q, %v", lost, err)
		}
		if after := d.get(account); after != before {
			t.Errorf("the record changed: got\n%+v, want\n%+v", after, before)
		}
	})
}

func TestAWorkerWithAnOlderRecordThanRedisWritesNothingBack(t *testing.T) {
	each(t, func(t *testing.T, d *fixture) {
		d.report(account, circuit.Report{Verdict: circuit.OwnError})
		other := circuit.NewStore(d.client, "other")
		if err := other.Close(t.Context(), account, "paid", "anna"); err != nil {
			t.Fatal(err)
		}
		if lost, err := d.Refresh(t.Context(), time.Minute, "api"); err != nil || len(lost) != 0 {
			t.Fatalf("lost records: got %q, %v", lost, err)
		}
		if r := d.get(account); r.State != circuit.Closed || r.Epoch != 2 {
			t.Errorf("got %s in epoch %d, want closed in epoch 2", r.State, r.Epoch)
		}
	})
}

func TestEveryChangeIsAnnounced(t *testing.T) {
	each(t, func(t *testing.T, d *fixture) {
		follow := d.client.Subscribe(t.Context(), redislua.Channel)
		defer func() { _ = follow.Close() }()
		if _, err := follow.Receive(t.Context()); err != nil {
			t.Fatal(err)
		}
		d.report(account, circuit.Report{Verdict: circuit.OwnError})
		select {
		case m := <-follow.Channel():
			if m.Payload != redislua.CircuitKey("api", "") {
				t.Errorf("announced %q, want the key of the circuit", m.Payload)
			}
		case <-time.After(30 * time.Second):
			t.Error("no change was announced within 30 s")
		}
	})
}

func TestAHoldThatIsWrittenBackAfterItsEndWaitsForTheProbeThatMayBeOut(t *testing.T) {
	each(t, func(t *testing.T, d *fixture) {
		d.report(account, circuit.Report{Verdict: circuit.OwnError, Delays: []time.Duration{time.Millisecond}})
		probed := circuit.NewStore(d.client, "other")
		<-time.After(20 * time.Millisecond)
		if a, err := probed.Admit(t.Context(), account, circuit.AdmitRequest{Token: "probe", Lease: time.Minute}); err != nil || !a.Probe {
			t.Fatalf("%+v, %v", a, err)
		}
		if err := d.client.Del(t.Context(), redislua.CircuitKey("api", "")).Err(); err != nil {
			t.Fatal(err)
		}
		// This worker has not read the record since the probe was admitted.
		if lost, err := d.Refresh(t.Context(), time.Minute, "api"); err != nil || len(lost) != 1 {
			t.Fatalf("lost records: got %q, %v", lost, err)
		}
		if a := d.admit(account, "second"); a.Admitted {
			t.Errorf("a second probe was admitted besides the first: %+v", a)
		}
	})
}

// The worker that writes a record back may have read the token of another probe, or none.
func TestTheProbesOwnWorkerCorrectsARecordThatWasWrittenBack(t *testing.T) {
	each(t, func(t *testing.T, d *fixture) {
		d.report(account, circuit.Report{Verdict: circuit.OwnError, Delays: []time.Duration{time.Millisecond}})
		d.probe(account, "unsent")
		other := circuit.NewStore(d.client, "other")
		if _, err := other.Refresh(t.Context(), time.Minute, "api"); err != nil {
			t.Fatal(err)
		}
		d.report(account, circuit.Report{Verdict: circuit.Unsent, Token: "unsent"})
		epoch := d.probe(account, "out").Epoch
		lose := func() {
			t.Helper()
			if err := d.client.Del(t.Context(), redislua.CircuitKey("api", "")).Err(); err != nil {
				t.Fatal(err)
			}
			if lost, err := other.Refresh(t.Context(), time.Minute, "api"); err != nil || len(lost) != 1 {
				t.Fatalf("lost records: got %q, %v", lost, err)
			}
		}
		renew := func(token string, held bool) bool {
			t.Helper()
			applied, err := d.Renew(t.Context(), account, circuit.Renewal{Token: token, Epoch: epoch, Lease: time.Minute, Held: held})
			if err != nil {
				t.Fatal(err)
			}
			return applied
		}
		lose()
		if renew("stopped", false) {
			t.Error("a worker that did not renew its lease in time got the probe again")
		}
		d.report(account, circuit.Report{Verdict: circuit.Unsent, Token: "unsent", Epoch: epoch})
		if a := d.admit(account, "second"); a.Admitted {
			t.Error("a second probe was admitted after another worker returned one")
		}
		if !renew("out", true) || renew("unsent", true) {
			t.Error("want the probe's own worker to renew it, and no other")
		}
		lose()
		// The answer can arrive before the worker renews the lease.
		d.report(account, circuit.Report{Verdict: circuit.Answer, Token: "out", Epoch: epoch})
		if r := d.get(account); r.State != circuit.Closed {
			t.Errorf("after the probe's good answer got %s, want closed", r.State)
		}
	})
}

func TestAProbesLeaseLastsWhileItIsRenewedAndNoLonger(t *testing.T) {
	for _, name := range []circuit.Name{account, endpoint} {
		t.Run(name.String(), func(t *testing.T) {
			each(t, func(t *testing.T, d *fixture) {
				d.report(name, circuit.Report{Verdict: circuit.OwnError, Delays: []time.Duration{time.Millisecond}})
				epoch := d.probe(name, "first").Epoch
				key := redislua.CircuitKey("api", strings.Replace(name.Endpoint, " ", "~", 1))
				renew := func(token string, epoch int64) bool {
					t.Helper()
					applied, err := d.Renew(t.Context(), name, circuit.Renewal{Token: token, Epoch: epoch, Lease: time.Hour, Held: true})
					if err != nil {
						t.Fatal(err)
					}
					return applied
				}
				if renew("other", epoch) || renew("first", epoch-1) || !renew("first", epoch) {
					t.Error("want the probe's lease to be renewed for its own token and epoch only")
				}
				for _, field := range []string{"lease", "turn"} {
					at, err := d.client.HGet(t.Context(), key, field).Int64()
					if left := time.Until(time.UnixMilli(at)); err != nil || left < 50*time.Minute {
						t.Errorf("the probe's %s lasts for %s, %v, want an hour", field, left, err)
					}
				}
				// Its lease ends, and another call asks.
				if err := d.client.HSet(t.Context(), key, "lease", 1, "turn", 1).Err(); err != nil {
					t.Fatal(err)
				}
				d.probe(name, "second")
				if renew("first", epoch) || !renew("second", epoch) {
					t.Error("want the second probe to be renewed, and not the first")
				}
				d.report(name, circuit.Report{Verdict: circuit.Answer, Token: "second", Epoch: epoch})
				if renew("second", epoch) {
					t.Error("a probe was renewed after its verdict")
				}
			})
		})
	}
}

func TestAReportToAHeldEndpointRestoresTheCountThatRedisHasLost(t *testing.T) {
	each(t, func(t *testing.T, d *fixture) {
		r := circuit.Report{Verdict: circuit.OwnError, Call: "x#1"}
		d.report(endpoint, r)
		d.client.Del(t.Context(), "callq:{api}:circuit")
		r.Call = "y#1"
		d.report(endpoint, r)
		if n := d.client.HGet(t.Context(), "callq:{api}:circuit", "endpoints").Val(); n != "1" {
			t.Errorf("open endpoints of the account: got %q, want 1: otherwise the endpoint's calls are sent", n)
		}
	})
}
