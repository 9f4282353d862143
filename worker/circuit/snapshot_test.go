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

func TestOnAClusterTheCopiesOfTheOtherQueuesFollow(t *testing.T) {
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
		t.Errorf("after opening the copies say %q", got)
	}
	// A copy that fell behind, as when its node was away, is mended.
	if err := client.Del(t.Context(), redislua.CircuitKey("api:low", "")).Err(); err != nil {
		t.Fatal(err)
	}
	if lost, err := store.Refresh(t.Context(), time.Minute, "api"); err != nil || len(lost) != 0 {
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
	each(t, func(t *testing.T, d *fixture) {
		d.report(account, circuit.Report{Verdict: circuit.OwnError, Cause: circuit.Cause{Reason: "quota", Code: "67200001"}})
		before := d.get(account)
		if err := d.client.Del(t.Context(), redislua.CircuitKey("api", "")).Err(); err != nil {
			t.Fatal(err)
		}
		if !d.Behind("api", 0) || d.Behind("api", 1) {
			t.Error("epoch 0 is older than the one this process knows, epoch 1 is not")
		}
		lost, err := d.Refresh(t.Context(), time.Minute, "api")
		if err != nil || !slices.Equal(lost, []string{"api"}) {
			t.Fatalf("lost %q, %v", lost, err)
		}
		if after := d.get(account); after != before {
			t.Errorf("the record is\n%+v, and was\n%+v", after, before)
		}
	})
}

func TestAWorkerThatKnowsLessThanRedisWritesNothingBack(t *testing.T) {
	each(t, func(t *testing.T, d *fixture) {
		d.report(account, circuit.Report{Verdict: circuit.OwnError})
		other := circuit.NewStore(d.client, "other")
		if err := other.Close(t.Context(), account, "paid", "anna"); err != nil {
			t.Fatal(err)
		}
		if lost, err := d.Refresh(t.Context(), time.Minute, "api"); err != nil || len(lost) != 0 {
			t.Fatalf("lost %q, %v", lost, err)
		}
		if r := d.get(account); r.State != circuit.Closed || r.Epoch != 2 {
			t.Errorf("the circuit is %s in epoch %d", r.State, r.Epoch)
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
				t.Errorf("announced %q", m.Payload)
			}
		case <-time.After(30 * time.Second):
			t.Error("nothing was announced")
		}
	})
}

func TestAHoldThatIsOverWhenItIsWrittenBackWaitsForTheProbeThatMayBeOut(t *testing.T) {
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
		// This worker has not seen that a probe was let out.
		if lost, err := d.Refresh(t.Context(), time.Minute, "api"); err != nil || len(lost) != 1 {
			t.Fatalf("lost %q, %v", lost, err)
		}
		if a := d.admit(account, "second"); a.Admitted {
			t.Errorf("a second probe was let out beside the first: %+v", a)
		}
	})
}

// The worker that writes a record back may know of another probe, or of none.
func TestAProbesOwnWorkerPutsARecordRightThatWasWrittenBack(t *testing.T) {
	each(t, func(t *testing.T, d *fixture) {
		d.report(account, circuit.Report{Verdict: circuit.OwnError, Delays: []time.Duration{time.Millisecond}})
		d.probe(account, "unsent")
		knows := circuit.NewStore(d.client, "other")
		if _, err := knows.Refresh(t.Context(), time.Minute, "api"); err != nil {
			t.Fatal(err)
		}
		d.report(account, circuit.Report{Verdict: circuit.Unsent, Token: "unsent"})
		epoch := d.probe(account, "out").Epoch
		lose := func() {
			t.Helper()
			if err := d.client.Del(t.Context(), redislua.CircuitKey("api", "")).Err(); err != nil {
				t.Fatal(err)
			}
			if lost, err := knows.Refresh(t.Context(), time.Minute, "api"); err != nil || len(lost) != 1 {
				t.Fatalf("lost %q, %v", lost, err)
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
			t.Error("a worker that stood still for longer than the lease has the probe again")
		}
		d.report(account, circuit.Report{Verdict: circuit.Unsent, Token: "unsent", Epoch: epoch})
		if a := d.admit(account, "second"); a.Admitted {
			t.Error("a second probe was let out, as somebody else gave one back")
		}
		if !renew("out", true) || renew("unsent", true) {
			t.Error("the probe's own worker does not get it back, or another does")
		}
		lose()
		// Its answer can come before it renews.
		d.report(account, circuit.Report{Verdict: circuit.Answer, Token: "out", Epoch: epoch})
		if r := d.get(account); r.State != circuit.Closed {
			t.Errorf("after the probe's good answer the circuit is %s", r.State)
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
					t.Error("another than the probe is renewed, or the probe is not")
				}
				for _, field := range []string{"lease", "turn"} {
					at, err := d.client.HGet(t.Context(), key, field).Int64()
					if left := time.Until(time.UnixMilli(at)); err != nil || left < 50*time.Minute {
						t.Errorf("the probe's %s lasts for %s more, %v", field, left, err)
					}
				}
				// Its lease ends, and another call asks.
				if err := d.client.HSet(t.Context(), key, "lease", 1, "turn", 1).Err(); err != nil {
					t.Fatal(err)
				}
				d.probe(name, "second")
				if renew("first", epoch) || !renew("second", epoch) {
					t.Error("the first probe is renewed beside the second")
				}
				d.report(name, circuit.Report{Verdict: circuit.Answer, Token: "second", Epoch: epoch})
				if renew("second", epoch) {
					t.Error("a probe of which the verdict is known is renewed")
				}
			})
		})
	}
}

func TestAHeldEndpointIsAskedAgainThoughRedisHasLostTheAccountsRecord(t *testing.T) {
	each(t, func(t *testing.T, d *fixture) {
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
