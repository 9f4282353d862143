package worker

import (
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/ledger"
	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
	"github.com/seed-2903acc3/callq/worker/circuit"
)

// A half-open breaker lets one call through and waits for its word. A panic must
// not keep it waiting, nor the fleet for a probe.
func TestAPanicReleasesTheGateAndTheProbe(t *testing.T) {
	preset, err := policy.Preset("patsnap")
	if err != nil {
		t.Fatal(err)
	}
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		producer, err := tasks.NewProducer(rdb, tasks.ProducerConfig{})
		if err != nil {
			t.Fatal(err)
		}
		submit := func() {
			t.Helper()
			if _, err := producer.Submit(t.Context(), tasks.Call{Upstream: "api", Path: "/a"}); err != nil {
				t.Fatal(err)
			}
		}
		submit()
		w, err := New(Config{Redis: rdb, Upstreams: []Upstream{{Name: "api", BaseURL: "http://127.0.0.1:1", Policy: preset}}})
		if err != nil {
			t.Fatal(err)
		}
		a := w.accounts["api"]
		a.policy = nil // the panic
		take := func() *ledger.Delivery {
			t.Helper()
			for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); <-time.After(time.Millisecond) {
				got, err := w.dispatcher.Dequeue(t.Context(), ledger.DequeueRequest{Queues: []string{"api"}, LeaseUntil: time.Now().Add(time.Minute).Unix(), Turn: time.Minute})
				if err != nil {
					t.Fatal(err)
				}
				if got.Delivery != nil {
					return got.Delivery
				}
			}
			t.Fatal("there is no call to dequeue")
			return nil
		}
		panics := func(delivery *ledger.Delivery) {
			t.Helper()
			defer func() {
				if recover() == nil {
					t.Fatal("there was no panic: the test does not test any more")
				}
			}()
			w.process(t.Context(), delivery)
		}

		first := take()
		until := time.Now().Add(5 * time.Millisecond)
		a.gate.Hold(first.Circuit.Epoch, until)
		<-time.After(time.Until(until.Add(200 * time.Millisecond))) // half open from here on, also where the machine was paused
		panics(first)
		if done, wait := a.gate.Allow(""); done == nil {
			t.Errorf("after a panic the gate is shut, for %s", wait)
		}

		name := circuit.Name{Upstream: "api"}
		if err := w.circuits.Open(t.Context(), name, time.Millisecond, "test", "test"); err != nil {
			t.Fatal(err)
		}
		submit()
		second := take()
		if !second.Circuit.AfterHold {
			t.Fatal("the second call does not come after a hold")
		}
		panics(second)
		if adm, err := w.circuits.Admit(t.Context(), name, circuit.AdmitRequest{Token: "another", Lease: time.Minute}); err != nil || !adm.Probe {
			t.Errorf("the next probe after a panic: got %+v, %v", adm, err)
		}
	})
}
