package main

import (
	"encoding/json"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
	"github.com/seed-2903acc3/callq/worker/simapi"
)

// Each demonstration meets the errors and the limits of its API, and the account is held
// several times.
func TestTheDemonstrationOfAnAPIReplayedByItsPresetEndsAsItDid(t *testing.T) {
	t.Parallel()
	apis := simapi.APIs()
	if os.Getenv("CALLQ_NIGHT") == "" {
		apis = []string{"stripe", "epo-ops"} // all take a minute
	}
	for _, api := range apis {
		t.Run(api, func(t *testing.T) {
			t.Parallel()
			h := newHome(t, filepath.Dir(redistest.Binary(t)))
			sim := simapi.New(simapi.DemoOf(api, simapi.DemoSeed))
			server := httptest.NewServer(sim)
			t.Cleanup(func() {
				_ = sim.Close()
				server.Close()
			})
			if _, err := writeDemo(h.dir, server.URL, devFlags{api: api}); err != nil {
				t.Fatal(err)
			}
			h.callq(exitFailedCalls, "run", "calls.jsonl", "-o", "out.jsonl", "--quiet")
			out, _ := h.callq(exitOK, "batch", "list", "--json")
			var batches []struct{ Batch string }
			if err := json.Unmarshal([]byte(out), &batches); err != nil || len(batches) != 1 {
				t.Fatalf("got %v, %s", err, out)
			}
			out, _ = h.callq(exitOK, "policy", "replay", batches[0].Batch, "-f", "policy.yaml", "--json")
			var got replayJSON
			if err := json.Unmarshal([]byte(out), &got); err != nil {
				t.Fatal(err)
			}
			if !got.Same || got.Calls-got.NotJudged < 100 || got.Unjudgeable > 0 || len(got.Unseen) > 0 {
				t.Errorf("got %+v", got)
			}
			t.Logf("%d calls, of which %d keep their end; %d requests; held for %.0f s", got.Calls, got.NotJudged, got.Requests, got.HeldSecondsBefore)
		})
	}
}
