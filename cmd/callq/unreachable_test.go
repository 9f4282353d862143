package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/seed-2903acc3/callq/tasks/broker/brokertest"
	"github.com/seed-2903acc3/callq/worker/circuit"
)

func TestItIsSaidWhyAnAPICannotBeReached(t *testing.T) {
	t.Parallel()
	h := newHome(t, "")
	server := brokertest.Redis(t)
	const gone = "http://127.0.0.1:1" // a port that was closed another test could open
	policy := func(pause string, faults int) {
		h.write("policy.yaml", fmt.Sprintf(`
version: 1
name: short
extends: patsnap
holds:
  outage: {sources: [ladder], ladder: [1500ms]}
backoffs:
  standard: {floor: %[1]s, base: %[1]s, cap: %[1]s, attempts: 2}
breaker: {window: 30s, min_calls: %[2]d, ratio: 0.5}
`, pause, faults))
	}
	h.write("callq.yaml", fmt.Sprintf("redis: %q\nupstreams: {gone: {base_url: %q, policy: ./policy.yaml}}\n", server.URL, gone))
	// Too few attempts for an outage.
	policy("6s", 9)
	h.write("calls.jsonl", `{"key":"k","path":"/a"}`)
	if _, errs := h.callq(exitLosses, "run", "calls.jsonl"); !strings.Contains(errs, "gone: 1 attempt has failed since a call has ended, the last with transient: ") ||
		!strings.Contains(errs, "connection refused") {
		t.Errorf("run says:\n%s", errs)
	}
	policy("1ms", 1)
	h.write("calls.jsonl", `{"key":"k","path":"/b"}`)
	if _, errs := h.callq(exitLosses, "run", "calls.jsonl"); !strings.Contains(errs, "gone: outage hold") || !strings.Contains(errs, "connection refused") {
		t.Errorf("run says:\n%s", errs)
	}
	// Later, to whoever looks.
	store, name := circuit.NewStore(server.Client, "worker"), circuit.Name{Upstream: "gone"}
	r, err := store.Get(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	if r.State == circuit.Open {
		if err := store.Close(t.Context(), name, "test", "test"); err != nil {
			t.Fatal(err)
		}
		r.Epoch++
	}
	if _, err := store.Report(t.Context(), name, circuit.Report{
		Verdict: circuit.OwnError, Epoch: r.Epoch, Delays: []time.Duration{time.Hour}, Cause: circuit.Cause{Reason: "outage", Class: "transient", Message: "connection refused"},
	}); err != nil {
		t.Fatal(err)
	}
	if out, _ := h.callq(exitWell, "doctor"); !strings.Contains(out, "connection refused") {
		t.Errorf("doctor says:\n%s", out)
	}
}
