package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
	"github.com/seed-2903acc3/callq/worker/circuit"
)

func TestARunSaysWhyAnAPICannotBeReached(t *testing.T) {
	t.Parallel()
	h := newHome(t, "")
	server := redistest.Redis(t)
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
	// The API has answered before, at this address and without a token endpoint.
	sum := sha256.Sum256([]byte(gone + " "))
	if err := server.Client.Set(t.Context(), "callq:{gone}:reached", hex.EncodeToString(sum[:8]), 0).Err(); err != nil {
		t.Fatal(err)
	}
	// Too few attempts for an outage.
	policy("6s", 9)
	h.write("calls.jsonl", `{"key":"k","path":"/a"}`)
	if _, errs := h.callq(exitFailedCalls, "run", "calls.jsonl"); !strings.Contains(errs, "gone: no call has ended for ") ||
		!strings.Contains(errs, "connection refused") {
		t.Errorf("run says:\n%s", errs)
	}
	policy("1ms", 1)
	h.write("calls.jsonl", `{"key":"k","path":"/b"}`)
	if _, errs := h.callq(exitFailedCalls, "run", "calls.jsonl"); !strings.Contains(errs, "gone paused") || !strings.Contains(errs, "connection refused") {
		t.Errorf("run says:\n%s", errs)
	}
	// Later, callq doctor says it too.
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
	if out, _ := h.callq(exitOK, "doctor"); !strings.Contains(out, "connection refused") {
		t.Errorf("doctor says:\n%s", out)
	}
}

func TestARunWithAnUnreachableAddressEndsAfterItsPatience(t *testing.T) {
	t.Parallel()
	eachRedis(t, func(t *testing.T, h *home) {
		for _, u := range []string{
			`{base_url: "http://127.0.0.1:1", policy: patsnap}`,
			`{base_url: "http://127.0.0.1:1", policy: http, auth: {type: oauth2, token_url: "http://127.0.0.1:1/token", client_id: me, client_secret: "${env:SECRET}"}}`,
		} {
			h.write("callq.yaml", "upstreams:\n  api: "+u+"\n")
			h.env = append(h.env, "SECRET=s3cr3t-0123456789")
			h.write("calls.jsonl", `{"path":"/a"}`+"\n"+`{"path":"/b"}`+"\n")
			_, errs := h.callq(exitFailed, "run", "calls.jsonl", "--patience", "1s")
			for _, want := range []string{"api paused", "config: no call has reached it yet: ", "connection refused", "wait", "api has been unusable for 1s", "base_url", "run the same command again"} {
				if !strings.Contains(errs, want) {
					t.Errorf("run does not say %q:\n%s", want, errs)
				}
			}
			if results := h.read("calls.jsonl.results.jsonl"); results != "" {
				t.Errorf("calls have ended: %s", results)
			}
		}
	})
}
